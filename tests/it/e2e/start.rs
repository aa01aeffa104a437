//! What cannot be used is refused at once: one line on stderr that names flag and value, and exit code 2.

use std::net::TcpListener;

use crate::support::exporter::{program, run};

/// A dump and the kernel that belongs to it.
const FILES: [&str; 6] = [
    "--datastore.file",
    "tests/fixtures/three-hosts/etcd.json",
    "--routes.file",
    "tests/fixtures/three-hosts/h1.routes.json",
    "--links.file",
    "tests/fixtures/three-hosts/h1.links.json",
];
const ETCD: [&str; 2] = ["--etcd.endpoints", "http://127.0.0.1:1"];

/// Runs it, and sees that it refuses in one line in which all of these are.
fn refused(arguments: &[&str], wanted: &[&str]) {
    let output = run(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
    assert!(said.starts_with("calico-exporter: ") && said.ends_with('\n'), "{said}");
    for word in wanted {
        assert!(said.contains(word), "{arguments:?}: no {word:?} in {said}");
    }
}

#[test]
fn bad_flags_are_named_with_their_values() {
    for (arguments, wanted) in [
        (&["--routes.grace", "soon"][..], &["--routes.grace", "soon"][..]),
        (&["--routes.grace"], &["--routes.grace"]),
        (&["--datastore.resync=1parsec"], &["--datastore.resync", "1parsec"]),
        (&["--calico.backend", "frr"], &["--calico.backend", "frr", "vxlan"]),
        (&["--log.level", "loud"], &["--log.level", "loud"]),
        (&["--log.format", "xml"], &["--log.format", "xml"]),
        (&["--web.max-requests=-1"], &["--web.max-requests", "-1"]),
        (&["--web.max-requests=many"], &["--web.max-requests", "many"]),
        (&["--nonsense"], &["--nonsense"]),
        (&["--etcd.endpoint", "http://a:1"], &["--etcd.endpoint"]),
        (&["nonsense"], &["nonsense"]),
        (&["check", "--output", "yaml"], &["--output", "yaml"]),
        (&["check", "--settle=-1s"], &["--settle", "-1s"]),
        (&["--etcd.endpoints", "127.0.0.1:2379"], &["--etcd.endpoints", "127.0.0.1:2379"]),
        (&["--etcd.endpoints", ""], &["--etcd.endpoints"]),
        (&["--etcd.endpoints", "ftp://a:1"], &["--etcd.endpoints", "ftp://a:1"]),
        (&[], &["--etcd.endpoints", "ETCD_ENDPOINTS"]),
        (&["--links.file", "l.json"], &["--links.file", "--routes.file"]),
        (&["--node.name", "a/b", ETCD[0], ETCD[1]], &["--node.name", "a/b"]),
        (&["--web.telemetry-path", "metrics", ETCD[0], ETCD[1]], &["--web.telemetry-path", "metrics"]),
        (&["--web.telemetry-path", "/a?b", ETCD[0], ETCD[1]], &["--web.telemetry-path", "/a?b"]),
        (&["--web.telemetry-path", "/a b", ETCD[0], ETCD[1]], &["--web.telemetry-path", "/a b", "%20"]),
        (&["--no-collector.ipam", "--no-collector.routes", ETCD[0], ETCD[1]], &["nothing to do"]),
        (&[FILES[0], FILES[1], ETCD[0], ETCD[1]], &["--etcd.endpoints", "--datastore.file"]),
    ] {
        refused(arguments, wanted);
    }
}

#[test]
fn files_that_cannot_be_read_are_named_with_their_flags() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let nonsense = write("nonsense", "nonsense");
    let https = ["--etcd.endpoints", "https://127.0.0.1:1"];
    let nowhere = "/nowhere/file";
    for flag in ["--etcd.ca-file", "--etcd.password-file"] {
        refused(&[https[0], https[1], flag, nowhere], &[flag, nowhere]);
    }
    refused(
        &[https[0], https[1], "--etcd.cert-file", nowhere, "--etcd.key-file", &nonsense],
        &["--etcd.cert-file", nowhere],
    );
    refused(&[https[0], https[1], "--etcd.ca-file", &nonsense], &["--etcd.ca-file", &nonsense]);
    refused(
        &[https[0], https[1], "--etcd.cert-file", &nonsense, "--etcd.key-file", &nonsense],
        &["--etcd.cert-file", &nonsense],
    );
    refused(&[https[0], https[1], "--etcd.cert-file", &nonsense], &["--etcd.key-file"]);
    refused(&["--calico.config", nowhere], &["--calico.config", nowhere]);
    refused(&["--calico.config", &nonsense], &["--calico.config", &nonsense]);
    for command in ["serve", "check"] {
        refused(&[command, FILES[0], nowhere], &[FILES[0], nowhere]);
        refused(&[command, FILES[0], &nonsense], &[FILES[0], &nonsense]);
        refused(&[command, FILES[0], FILES[1], FILES[2], nowhere], &[FILES[2], nowhere]);
        refused(&[command, FILES[0], FILES[1], FILES[2], FILES[3], FILES[4], &nonsense], &[FILES[4], &nonsense]);
    }
    // Whose routes they are cannot be told without devices.
    refused(&["check", FILES[0], FILES[1], FILES[2], FILES[3]], &["--node.name"]);
}

#[test]
fn the_environment_is_named_where_the_value_came_from_there() {
    let output = program().env("ETCD_ENDPOINTS", "nonsense").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    for word in ["--etcd.endpoints", "ETCD_ENDPOINTS", "nonsense"] {
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn an_address_that_cannot_be_had_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for address in [taken.as_str(), "nonsense", "127.0.0.1", "127.0.0.1:99999", "1.2.3:80", "192.0.2.1:0"] {
        refused(&[&FILES[..], &["--web.listen-address", address]].concat(), &["--web.listen-address", address]);
    }
    refused(
        &[&FILES[..], &["--web.listen-address", "127.0.0.1:0", "--web.listen-address", &taken]].concat(),
        &["--web.listen-address", &taken],
    );
}

#[test]
fn check_without_an_etcd_cannot_tell() {
    refused(&["check", "--etcd.endpoints", "http://127.0.0.1:1", "--no-collector.routes"], &["http://127.0.0.1:1"]);
}

#[test]
fn version_and_help_are_answered_on_stdout() {
    for (arguments, wanted) in [
        (&["--version"][..], &["calico-exporter", env!("CARGO_PKG_VERSION")][..]),
        (&["--help"], &["Usage:", "--etcd.endpoints", "--routes.grace", "check"]),
        (&["check", "--help"], &["Usage:", "--settle"]),
        (&["serve", "--help"], &["Usage:", "--web.listen-address"]),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(output.stderr.is_empty(), "{arguments:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(wanted.iter().all(|word| said.contains(word)), "{arguments:?}: {said}");
    }
}
