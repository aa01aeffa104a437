//! What `--help` says of a special value holds of the running program.

use std::process::Command;

use crate::support::exporter::{Exporter, program, run};

const SOURCES: [&str; 8] = [
    "--datastore.file",
    "tests/fixtures/three-hosts/etcd.json",
    "--routes.file",
    "tests/fixtures/three-hosts/h1.routes.json",
    "--links.file",
    "tests/fixtures/three-hosts/h1.links.json",
    "--node.name",
    "h1",
];

/// The flags whose help gives a value a meaning of its own. A new one has to be tried below.
#[test]
fn no_special_value_is_documented_without_a_test() {
    let mut special = Vec::new();
    for command in ["serve", "check", "explain", "bundle", "plan"] {
        let help = run(&[command, "--help"]).stdout;
        let help = String::from_utf8(help).unwrap();
        for option in help.split("\n\n").filter(|part| part.trim_start().starts_with('-')) {
            let words = option.split_whitespace().collect::<Vec<_>>().join(" ");
            if words.contains("; 0") {
                special.push(format!("{command} {}", words.split(' ').next().unwrap()));
            }
        }
    }
    let known = [
        "serve --routes.grace",
        "serve --leaks.grace",
        "serve --history.size",
        "serve --web.max-requests",
        "check --settle",
    ];
    assert_eq!(special, known);
}

#[test]
fn no_limit_of_requests_refuses_none() {
    let exporter = Exporter::start(&[&SOURCES[..], &["--web.max-requests", "0"]].concat());
    exporter.until_ready();
    for path in ["/metrics", "/", "/findings", "/api/v1/findings", "/api/v1/history"] {
        assert_eq!(exporter.get(path).status, 200, "{path}");
    }
}

#[test]
fn no_memory_for_the_history_keeps_nothing() {
    // A route that another host's block has to have is missing, which is a fault that begins.
    let routes: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(SOURCES[3]).unwrap()).unwrap();
    let remote = |route: &serde_json::Value| route["dev"] == "tunl0" && route["dst"].as_str().unwrap().ends_with("/26");
    let fewer: Vec<_> = routes.iter().filter(|route| !remote(route)).collect();
    assert!(fewer.len() < routes.len());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("routes.json");
    std::fs::write(&file, serde_json::to_vec(&fewer).unwrap()).unwrap();
    let mut sources = SOURCES;
    sources[3] = file.to_str().unwrap();
    let kept = |size: &str| {
        let exporter = Exporter::start(&[&sources[..], &["--history.size", size]].concat());
        exporter.until_ready();
        let history = exporter.get("/api/v1/history");
        assert_eq!(history.status, 200);
        let history: serde_json::Value = serde_json::from_slice(&history.body).unwrap();
        assert_eq!(exporter.get("/history").status, 200);
        history["entries"].as_array().unwrap().len()
    };
    assert_eq!(kept("0"), 0);
    assert!(kept("1MiB") > 0, "a fault began");
}

/// From files there is nothing to wait for; a live difference is a fault at once, which `e2e::routes` sees.
#[test]
fn no_grace_is_accepted_and_settles_at_once() {
    let exporter = Exporter::start(&[&SOURCES[..], &["--routes.grace", "0s", "--leaks.grace", "0s"]].concat());
    exporter.until_ready();
    let mut check: Command = program();
    let began = std::time::Instant::now();
    let output = check.arg("check").args(SOURCES).args(["--settle", "0s"]).output().unwrap();
    assert!(output.status.code().is_some_and(|code| code < 2), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(began.elapsed() < std::time::Duration::from_secs(4), "the default is five seconds");
}
