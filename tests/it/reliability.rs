//! The table of faults names tests that there are.

use std::collections::BTreeSet;

use crate::support::{files_below, repository};

/// `module::function` of every test of this binary.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let root = repository("tests/it");
    for file in files_below("tests/it", ".rs") {
        let place = file.strip_prefix(&root).unwrap().with_extension("");
        let module: Vec<_> = place.iter().map(|part| part.to_string_lossy()).filter(|part| part != "mod").collect();
        let text = std::fs::read_to_string(&file).unwrap();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if matches!(line.trim(), "#[test]" | "#[tokio::test]") {
                let function = lines.next().unwrap().trim().trim_start_matches("async ").trim_start_matches("fn ");
                found.insert(format!("{}::{}", module.join("::"), function.split('(').next().unwrap()));
            }
        }
    }
    found
}

#[test]
fn every_fault_of_the_table_names_a_test_that_there_is() {
    let text = std::fs::read_to_string(repository("docs/reliability.md")).unwrap();
    let (faults, fuzzed) = text.split_once("\n## What reads it\n").unwrap();
    let targets = std::fs::read_to_string(repository("tests/fuzz/targets.rs")).unwrap();
    for name in targets.split(" name: \"").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(fuzzed.contains(&format!("| `{name}` |")), "no figures of {name}");
    }
    let tests = tests();
    let mut rows = 0;
    for row in faults.lines().filter(|line| line.starts_with('|')).filter(|line| !line.starts_with("| ---")) {
        let shown = row.trim_matches('|').rsplit('|').next().unwrap().trim();
        if matches!(shown, "test" | "the same") {
            continue;
        }
        rows += 1;
        for name in shown.split(", ") {
            let name = name.trim_matches('`');
            assert!(tests.contains(name), "no test {name}");
        }
    }
    assert!(rows > 25, "{rows}");
}
