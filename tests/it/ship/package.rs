//! The Debian package, unpacked.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

fn package() -> PathBuf {
    let folder = PathBuf::from(std::env::var_os("CALICO_EXPORTER_DEB").expect("the package's folder"));
    let mut found: Vec<PathBuf> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|it| it == "deb"));
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn run(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap();
    assert!(output.status.success(), "{program} {words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Its files below a directory of their own.
pub(super) fn unpacked() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    run("dpkg-deb", &["--extract", package().to_str().unwrap(), root.path().to_str().unwrap()]);
    root
}

#[test]
#[ignore = "make ship-test: it needs the package"]
fn the_package_has_what_an_operator_needs() {
    let package = package();
    let package = package.to_str().unwrap();
    let field = |name: &str| run("dpkg-deb", &["--field", package, name]).trim().to_owned();
    assert_eq!(field("Package"), "calico-exporter");
    assert_eq!(field("Version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(field("Depends"), "", "a static program depends on nothing");
    let root = unpacked();
    let at = |path: &str| root.path().join(path);
    for (path, mode) in [
        ("usr/bin/calico-exporter", 0o755),
        ("usr/lib/systemd/system/calico-exporter.service", 0o644),
        ("usr/lib/systemd/system/calico-exporter-ipam.service", 0o644),
        ("etc/default/calico-exporter", 0o640),
        ("usr/share/man/man1/calico-exporter.1.gz", 0o644),
        ("usr/share/man/man1/calico-exporter-check.1.gz", 0o644),
        ("usr/share/bash-completion/completions/calico-exporter", 0o644),
        ("usr/share/calico-exporter/alerts/calico.rules.yml", 0o644),
        ("usr/share/calico-exporter/dashboards/calico-host.json", 0o644),
        ("usr/share/doc/calico-exporter/copyright", 0o644),
        ("usr/share/doc/calico-exporter/docs/runbook.md", 0o644),
    ] {
        let found = std::fs::metadata(at(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(found.permissions().mode() & 0o777, mode, "{path}");
    }
    let said = run(at("usr/bin/calico-exporter").to_str().unwrap(), &["--version"]);
    assert!(said.contains(env!("CARGO_PKG_VERSION")), "{said}");
    for unit in ["calico-exporter", "calico-exporter-ipam"] {
        let text = std::fs::read_to_string(at(&format!("usr/lib/systemd/system/{unit}.service"))).unwrap();
        assert!(text.contains("ExecStart=/usr/bin/calico-exporter ") && !text.contains("/usr/local"), "{text}");
        assert!(text.contains("EnvironmentFile=-/etc/default/calico-exporter"));
    }
    // Every line of the defaults is commented out or a setting that the units pass on.
    let defaults = std::fs::read_to_string(at("etc/default/calico-exporter")).unwrap();
    assert!(defaults.lines().all(|line| line.is_empty() || line.starts_with('#')), "{defaults}");
    let files = run("dpkg-deb", &["--contents", package]);
    assert!(files.lines().all(|line| line.contains("root/root")), "{files}");
    let scripts = tempfile::tempdir().unwrap();
    run("dpkg-deb", &["--control", package, scripts.path().to_str().unwrap()]);
    let conffiles = std::fs::read_to_string(scripts.path().join("conffiles")).unwrap();
    assert_eq!(conffiles.trim(), "/etc/default/calico-exporter");
    for script in ["postinst", "prerm", "postrm"] {
        run("sh", &["-n", scripts.path().join(script).to_str().unwrap()]);
    }
    install(Path::new(package));
}

/// Into a root directory of its own, with a database of its own.
fn install(package: &Path) {
    let root = tempfile::tempdir().unwrap();
    let admin = root.path().join("var/lib/dpkg");
    std::fs::create_dir_all(admin.join("info")).unwrap();
    std::fs::create_dir_all(admin.join("updates")).unwrap();
    std::fs::write(admin.join("status"), "").unwrap();
    std::fs::write(admin.join("available"), "").unwrap();
    let words =
        ["--root", root.path().to_str().unwrap(), "--force-script-chrootless", "--unpack", package.to_str().unwrap()];
    run("dpkg", &words);
    assert!(root.path().join("usr/bin/calico-exporter").is_file());
    let listed = run("dpkg", &["--root", root.path().to_str().unwrap(), "--listfiles", "calico-exporter"]);
    assert!(listed.contains("/usr/bin/calico-exporter"), "{listed}");
}
