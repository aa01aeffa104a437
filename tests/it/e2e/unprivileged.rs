//! It needs nothing that root has: the same host, seen by nobody.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::forms::assert_healthy;
use super::host::Host;
use crate::support::exporter::Exporter;
use crate::support::netns::in_namespace;

const NOBODY: u32 = 65534;

/// The program where anybody may execute it: what it was built into may be another user's home.
pub(super) fn program_for_anybody(dir: &Path) -> Command {
    let copy = dir.join("calico-exporter");
    let original = env!("CARGO_BIN_EXE_calico-exporter");
    std::fs::hard_link(original, &copy).or_else(|_| std::fs::copy(original, &copy).map(drop)).unwrap();
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(copy);
    command.env_clear().current_dir("/").uid(NOBODY).gid(NOBODY);
    command
}

#[test]
fn without_root_and_without_capabilities_it_sees_everything() {
    in_namespace(async |namespace| {
        let Some(host) = Host::start(namespace).await else { return };
        let dir = tempfile::tempdir().unwrap();
        let url = host.etcd.url();
        let exporter = Exporter::spawn(
            program_for_anybody(dir.path()),
            &["--etcd.endpoints", &url, "--node.name", "h1", "--routes.grace", "1s", "--datastore.resync", "1h"],
        );
        assert_healthy(&exporter.until_ready());
        assert_eq!(exporter.status("Uid"), ["65534"; 4].join("\t"));
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(exporter.status(set), "0".repeat(16), "{set}");
        }
        // Events reach it as well.
        host.namespace.ip("route del 10.66.17.0/26");
        exporter.until_found(&["remote_block missing 10.66.17.0/26"]);
        let scrape = exporter.scrape();
        assert!(scrape.value("process_open_fds", &[]).unwrap() > 0.0);
        let check = program_for_anybody(tempfile::tempdir().unwrap().path())
            .args(["check", "--etcd.endpoints", &url, "--node.name", "h1", "--no-collector.leaks", "--settle", "0s"])
            .output()
            .unwrap();
        assert_eq!(check.status.code(), Some(1), "{check:?}");
        let text = String::from_utf8(check.stdout).unwrap();
        assert!(text.contains("10.66.17.0/26") && text.contains("missing"), "{text}");
    });
}
