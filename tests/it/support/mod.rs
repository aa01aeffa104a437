//! What the tests share.

pub(crate) mod calico;
pub(crate) mod certificates;
pub(crate) mod etcd;
pub(crate) mod exporter;
pub(crate) mod follow;
pub(crate) mod netns;
pub(crate) mod picture;
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
