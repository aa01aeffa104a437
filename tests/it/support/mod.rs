//! What the tests share.

pub(crate) mod calico;
pub(crate) mod certificates;
pub(crate) mod cluster;
pub(crate) mod custom;
pub(crate) mod dumped;
pub(crate) mod etcd;
pub(crate) mod exporter;
pub(crate) mod fake_etcd;
pub(crate) mod follow;
pub(crate) mod http2;
#[cfg(feature = "kubernetes")]
pub(crate) mod kube;
pub(crate) mod netns;
pub(crate) mod picture;
pub(crate) mod prometheus;
pub(crate) mod promql;
pub(crate) mod proxy;

use std::path::PathBuf;

/// The path of a tool that a test needs. Where it is missing, a test in CI fails; elsewhere it says loudly that it
/// does not run, and `None` tells it to stop.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{name} is missing and CI is set");
        eprintln!("\n!!! SKIPPED: {name} is missing, this test shows nothing !!!\n");
    }
    found
}

/// A program of Prometheus 3, which `make prometheus-3` builds.
pub(crate) fn of_prometheus_3(name: &str) -> Option<PathBuf> {
    let file = repository("target/prometheus-3").join(name);
    if file.is_file() {
        return Some(file);
    }
    assert!(std::env::var_os("CALICO_EXPORTER_TEST_PROMETHEUS_3").is_none(), "{} is missing", file.display());
    eprintln!("\n!!! SKIPPED: make prometheus-3 was not run, this test shows nothing !!!\n");
    None
}

/// A file of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The files of a folder of the repository, and of those below it, whose name ends so; sorted.
pub(crate) fn files_below(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![repository(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{folder} has no {ending}");
    found
}

/// Compares with a file of the repository; `BLESS=1` writes it.
pub(crate) fn same_as_file(path: &str, actual: &str) {
    let file = repository(path);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, actual).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    for (number, (expected, actual)) in expected.lines().zip(actual.lines()).enumerate() {
        assert_eq!(expected, actual, "{path}:{}: if that is meant, run with BLESS=1", number + 1);
    }
    assert!(expected == actual, "{path} has another length: if that is meant, run with BLESS=1");
}
