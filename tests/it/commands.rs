//! Commands that the runbook and the findings' actions tell people to type: each has to be one that its program knows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::support::{files_below, repository};

/// What each program takes first, by its manual: calicoctl's reference (`docs.tigera.io`, 3.31), BIRD 1.6's user's guide
/// (`birdc`), `kubectl help`, `etcdctl help`, `ip help` and `bridge help`.
const PROGRAMS: [(&str, &[&str]); 7] = [
    (
        "birdcl",
        &[
            "show protocols",
            "show route",
            "show status",
            "restart",
            "-s /var/run/calico/bird.ctl",
            "-s /var/run/calico/bird6.ctl",
        ],
    ),
    (
        "calicoctl",
        &[
            "apply -f",
            "datastore migrate lock",
            "datastore migrate unlock",
            "delete node",
            "get bgpconfiguration",
            "get bgppeers",
            "get felixconfiguration",
            "get ippool",
            "get node",
            "get nodes",
            "ipam check",
            "ipam configure",
            "ipam release",
            "ipam show",
            "node status",
            "patch node",
        ],
    ),
    ("kubectl", &["-n calico-system", "-n kube-system", "auth can-i", "delete node", "describe pod", "exec", "get"]),
    ("etcdctl", &["--endpoints", "del", "get", "role get", "user get"]),
    ("ip", &["-d link", "-d route", "addr", "link", "monitor route", "neigh", "route", "rule"]),
    ("bridge", &["fdb del", "fdb replace", "fdb show"]),
    ("calico-exporter", &["check", "explain", "plan", "bundle"]),
];

/// The commands between backticks, on one line or two.
fn commands(text: &str) -> Vec<String> {
    // In a source file a string goes on behind a backslash.
    let text = text.replace("\\\n", " ");
    let spans = text.split('`').enumerate().filter(|(at, _)| at % 2 == 1).map(|(_, span)| span);
    let spans = spans.map(|span| span.split_whitespace().collect::<Vec<_>>().join(" "));
    let is_command = |span: &String| {
        // No program of BIRD's but birdcl is anywhere to be found.
        span.starts_with("bird") && span.contains(' ')
            || PROGRAMS.iter().any(|(name, _)| span.starts_with(&format!("{name} ")))
    };
    spans.filter(is_command).collect()
}

fn is_known(command: &str) -> bool {
    let (program, arguments) = command.split_once(' ').unwrap();
    let known = PROGRAMS.iter().filter(|(name, _)| *name == program).flat_map(|(_, known)| *known);
    known.into_iter().any(|begin| arguments == *begin || arguments.starts_with(&format!("{begin} ")))
}

fn unknown(path: &Path, seen: &mut BTreeMap<String, usize>) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    // Comments are for developers, and may hold one backtick alone.
    let code: String = match path.extension().is_some_and(|it| it == "rs") {
        true => {
            text.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|line| [line, "\n"]).collect()
        }
        false => text.replace("```", ""),
    };
    let found = commands(&code);
    for command in &found {
        *seen.entry(command.split(' ').next().unwrap().to_owned()).or_default() += 1;
    }
    found.into_iter().filter(|it| !is_known(it)).map(|it| format!("{}: {it}", path.display())).collect()
}

#[test]
fn every_command_that_people_are_told_to_type_is_one() {
    let mut seen = BTreeMap::new();
    let mut files = vec![repository("docs/runbook.md")];
    // What writes the commands out for a cluster has tests of its own.
    let is_rule = |path: &PathBuf| !path.ends_with("tests.rs") && !path.ends_with("place.rs");
    files.extend(files_below("src/audit", ".rs").into_iter().filter(is_rule));
    let unknown: Vec<String> = files.iter().flat_map(|path| unknown(path, &mut seen)).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
    for program in ["birdcl", "calicoctl", "ip", "kubectl"] {
        assert!(seen.get(program).is_some_and(|count| *count > 2), "{program} is hardly ever named: {seen:?}");
    }
    assert!(!is_known("birdcl6 show protocols") && !is_known("calicoctl node delete h1") && !is_known("ip show route"));
}
