//! The alerts: their form, their tests by promtool, their runbook, and the series that they read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use calico_exporter::audit::{
    ADDRESSES_EXHAUSTED, ADDRESSES_LOW, Alert, BLOCKS_LOW, CauseKind, HostFigures, IpamReport, PoolFigures, limits,
};
use calico_exporter::metrics::catalogue::ALL;
use calico_exporter::model::IpPool;
use serde_yaml_ng::Value;

use crate::dashboards;
use crate::sample::figures;
use crate::support::{files_below, of_prometheus_3, promql, repository, tool};

const RUNBOOK: &str = "https://github.com/calico-exporter/calico-exporter/blob/main/docs/runbook.md#";

/// A rule of a file of rules.
#[derive(Debug)]
pub(crate) struct Rule {
    alert: Option<String>,
    record: Option<String>,
    expression: String,
    value: Value,
}

pub(crate) fn yaml(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap();
    serde_yaml_ng::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn rule_files() -> Vec<PathBuf> {
    files_below("alerts", ".rules.yml")
}

fn text(value: &Value, path: &[&str]) -> Option<String> {
    let found = path.iter().try_fold(value, |value, key| value.get(key))?;
    found.as_str().map(str::to_owned)
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_sequence).into_iter().flatten()
}

pub(crate) fn rules() -> Vec<Rule> {
    let files: Vec<Value> = rule_files().iter().map(|file| yaml(file)).collect();
    let rules = files.iter().flat_map(|file| list(file, "groups")).flat_map(|group| list(group, "rules"));
    rules
        .map(|rule| Rule {
            alert: text(rule, &["alert"]),
            record: text(rule, &["record"]),
            expression: text(rule, &["expr"]).unwrap(),
            value: rule.clone(),
        })
        .collect()
}

/// What is recorded, by name.
pub(crate) fn recorded(rules: &[Rule]) -> BTreeMap<String, String> {
    rules.iter().filter_map(|rule| Some((rule.record.clone()?, rule.expression.clone()))).collect()
}

fn alerts(rules: &[Rule]) -> BTreeMap<&str, &Rule> {
    rules.iter().filter_map(|rule| Some((rule.alert.as_deref()?, rule))).collect()
}

/// Runs a tool on files; it must be content. Without the tool nothing is shown, and CI fails.
pub(crate) fn run(name: &str, arguments: &[&str], files: &[PathBuf]) {
    let Some(program) = tool(name) else { return };
    run_program(&program, arguments, files);
}

fn run_program(program: &Path, arguments: &[&str], files: &[PathBuf]) {
    let name = program.display();
    let output = Command::new(program).args(arguments).args(files).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{name} {arguments:?}:\n{}", String::from_utf8_lossy(&said));
}

#[test]
fn promtool_checks_and_tests_the_rules() {
    run("promtool", &["check", "rules"], &rule_files());
    run("promtool", &["test", "rules"], &files_below("alerts/tests", ".test.yml"));
}

/// Since Prometheus 3 a range leaves out a sample at its very beginning.
#[test]
fn promtool_of_prometheus_3_checks_and_tests_the_rules() {
    let Some(program) = of_prometheus_3("promtool") else { return };
    run_program(&program, &["check", "rules"], &rule_files());
    run_program(&program, &["test", "rules"], &files_below("alerts/tests", ".test.yml"));
}

#[test]
fn amtool_checks_the_example() {
    run("amtool", &["check-config"], &[repository("alerts/alertmanager.example.yml")]);
}

#[test]
fn alerts_have_the_form_that_people_expect() {
    let rules = rules();
    let alerts = alerts(&rules);
    assert_eq!(alerts.len(), rules.iter().filter(|rule| rule.alert.is_some()).count(), "a name stands twice");
    for (name, rule) in alerts {
        assert!(name.starts_with("Calico") && name.chars().all(|it| it.is_ascii_alphanumeric()), "{name}");
        let severity = text(&rule.value, &["labels", "severity"]).unwrap_or_default();
        assert!(["critical", "warning", "info"].contains(&severity.as_str()), "{name}: {severity}");
        let annotation = |key| text(&rule.value, &["annotations", key]).unwrap_or_default();
        let (summary, description) = (annotation("summary"), annotation("description"));
        assert!(summary.ends_with('.') && !summary.contains("{{"), "{name}: {summary}");
        assert!(description.contains("$value") || description.contains("$labels"), "{name}: {description}");
        assert_eq!(annotation("runbook_url"), format!("{RUNBOOK}{}", name.to_lowercase()));
        assert!(rule.value.get("for").is_some(), "{name} does not wait at all");
    }
}

#[test]
fn the_runbook_has_a_section_for_each_alert_and_no_other() {
    let rules = rules();
    let runbook = std::fs::read_to_string(repository("docs/runbook.md")).unwrap();
    // What a heading is called in a link: lower case, spaces as hyphens; a name is one word.
    let sections: Vec<&str> = runbook.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let alerts: Vec<&str> = rules.iter().filter_map(|rule| rule.alert.as_deref()).collect();
    assert_eq!(sections, alerts, "in the order of the rules");
    for section in runbook.split("\n### ").skip(1) {
        let name = section.lines().next().unwrap_or_default();
        let severity = text(&alerts_of(&rules, name).value, &["labels", "severity"]).unwrap();
        assert!(section.contains(&format!("\n{severity}: ")), "{name} is {severity}, and its section does not say so");
        for part in ["**See**", "**Cause**", "**Repair**", "**Ignore**"] {
            assert!(section.contains(part), "{name}: no {part}");
        }
    }
}

/// One table: what a rule's finding, a page's row and a line of `check` say is what the alert says.
#[test]
fn findings_and_causes_have_the_severity_of_their_alert() {
    let rules = rules();
    let severity = |alert: &str| text(&alerts_of(&rules, alert).value, &["labels", "severity"]).unwrap();
    for alert in Alert::ALL {
        assert_eq!(alert.severity().as_str(), severity(alert.as_str()), "{}", alert.as_str());
    }
    for kind in CauseKind::ALL {
        assert!(!severity(kind.alert()).is_empty(), "{}", kind.as_str());
    }
}

/// `check` and the page call a pool nearly full where an alert does.
#[test]
fn the_bounds_of_pools_are_those_of_the_alerts() {
    let rules = rules();
    for (alert, bound) in [
        ("CalicoPoolAddressesExhausted", ADDRESSES_EXHAUSTED),
        ("CalicoPoolAddressesLow", ADDRESSES_LOW),
        ("CalicoPoolBlocksLow", BLOCKS_LOW),
    ] {
        let expression = &alerts_of(&rules, alert).expression;
        assert!(expression.ends_with(&format!(":ratio < {bound}")), "{alert}: {expression}");
    }
    let severity = |alert: &str| text(&alerts_of(&rules, alert).value, &["labels", "severity"]).unwrap();
    let full = IpPool { disabled: false, ..crate::sample::pool("p", "10.0.0.0/24") };
    let figures = PoolFigures { free: 0.0, unclaimed: 0.0, blocks: 4, blocks_capacity: 4.0, ..figures(Some(full)) };
    let host = HostFigures { confirmed: 4, empty_blocks: 1, ..HostFigures::default() };
    let ipam = IpamReport {
        pools: [("p".into(), figures)].into(),
        hosts: [(("h1".into(), "p".into()), host)].into(),
        max_blocks_per_host: 4,
        strict_affinity: true,
    };
    let found = limits(&ipam);
    assert_eq!(found.len(), 5, "{found:?}");
    for limit in found {
        assert_eq!(limit.severity.as_str(), severity(limit.alert), "{}", limit.alert);
    }
}

fn alerts_of<'a>(rules: &'a [Rule], name: &str) -> &'a Rule {
    rules.iter().find(|rule| rule.alert.as_deref() == Some(name)).unwrap()
}

/// Names of alerts in a test's samples `ALERTS{alertname="…"}`.
fn fired(test: &Value) -> BTreeSet<String> {
    let samples = list(test, "promql_expr_test").flat_map(|test| list(test, "exp_samples"));
    let labels = samples.filter_map(|sample| text(sample, &["labels"]));
    labels.filter_map(|it| Some(it.split_once("alertname=\"")?.1.split_once('"')?.0.to_owned())).collect()
}

#[test]
fn each_alert_is_seen_to_fire_and_to_be_silent() {
    let rules = rules();
    let files: Vec<Value> = files_below("alerts/tests", ".test.yml").iter().map(|file| yaml(file)).collect();
    let tests: Vec<&Value> = files.iter().flat_map(|file| list(file, "tests")).collect();
    let fired: BTreeSet<String> = tests.iter().flat_map(|test| fired(test)).collect();
    let silent: BTreeSet<String> = tests
        .iter()
        .flat_map(|test| list(test, "alert_rule_test"))
        .filter(|test| list(test, "exp_alerts").next().is_none())
        .filter_map(|test| text(test, &["alertname"]))
        .collect();
    let alerts: BTreeSet<String> = rules.iter().filter_map(|rule| rule.alert.clone()).collect();
    assert_eq!(fired, alerts, "those that are seen to fire");
    assert_eq!(silent, alerts, "those that are seen to be silent");
}

/// An alert that nobody has seen arrive is none. How to see to it: `tests/lab/scenarios/mod.rs`.
#[test]
fn each_alert_is_expected_by_a_scenario_of_the_lab() {
    let mut expected = BTreeSet::new();
    for file in files_below("tests/lab/scenarios", ".rs") {
        let text = std::fs::read_to_string(file).unwrap();
        // What a scenario expects is a name and a list of labels; what it tolerates is a name alone.
        let names = text.split("\"Calico").skip(1).filter_map(|rest| rest.split_once("\","));
        let names = names.filter(|(_, labels)| labels.trim_start().starts_with("&["));
        expected.extend(names.map(|(name, _)| format!("Calico{name}")));
    }
    let rules = rules();
    // An objective is in seconds of a real cluster. The lab makes time shorter, and BIRD no faster.
    expected.extend(["CalicoConvergenceBudgetBurnsFast", "CalicoConvergenceBudgetBurnsSlowly"].map(str::to_owned));
    // A reading of the datastore is an hour old after an hour; the tests of lists that lie show that it is left so.
    expected.insert("CalicoExporterSourceStale".to_owned());
    let alerts: BTreeSet<String> = rules.iter().filter_map(|rule| rule.alert.clone()).collect();
    let unseen: Vec<_> = alerts.difference(&expected).collect();
    assert!(unseen.is_empty(), "no scenario of the lab expects {unseen:?}");
    let unknown: Vec<_> = expected.difference(&alerts).collect();
    assert!(unknown.is_empty(), "the lab expects alerts that there are not: {unknown:?}");
}

#[test]
fn inhibition_names_alerts_and_labels_that_there_are() {
    let rules = rules();
    let known = alerts(&rules);
    let example = yaml(&repository("alerts/alertmanager.example.yml"));
    for rule in list(&example, "inhibit_rules") {
        for side in ["source_matchers", "target_matchers"] {
            for matcher in list(rule, side).filter_map(Value::as_str).filter(|it| it.starts_with("alertname")) {
                let pattern = matcher.split('"').nth(1).unwrap();
                // KubeNodeNotReady and its like are kubernetes-mixin's.
                for name in spelled_out(pattern).into_iter().filter(|name| name.starts_with("Calico")) {
                    let found = match name.strip_suffix(".*") {
                        Some(start) => known.keys().any(|it| it.starts_with(start)),
                        None => known.contains_key(name.as_str()),
                    };
                    assert!(found, "{name} of {matcher}");
                }
            }
        }
    }
}

/// `A|B(C|D)` as A, BC, BD.
fn spelled_out(pattern: &str) -> Vec<String> {
    let mut names = vec![];
    let mut rest = pattern;
    while !rest.is_empty() {
        let end = rest.find(['|', '(']).unwrap_or(rest.len());
        let start = &rest[..end];
        if rest[end..].starts_with('(') {
            let close = rest.find(')').unwrap();
            names.extend(rest[end + 1..close].split('|').map(|it| format!("{start}{it}")));
            rest = &rest[close + 1..];
        } else {
            names.push(start.to_owned());
            rest = &rest[end..];
        }
        rest = rest.strip_prefix('|').unwrap_or(rest);
    }
    names
}

#[test]
fn rules_read_what_is_exported_by_labels_and_values_that_it_has() {
    let rules = rules();
    let recorded = recorded(&rules);
    for rule in &rules {
        let name = rule.alert.as_ref().or(rule.record.as_ref()).unwrap();
        promql::check(name, &rule.expression, &recorded);
        if let Some(description) = text(&rule.value, &["annotations", "description"]) {
            promql::check(name, &description, &recorded);
        }
    }
    for file in files_below("alerts/tests", ".test.yml") {
        for test in list(&yaml(&file), "tests") {
            for series in list(test, "input_series").filter_map(|it| text(it, &["series"])) {
                promql::check(&file.to_string_lossy(), &series, &recorded);
            }
        }
    }
}

#[test]
fn what_is_exported_is_looked_at_and_what_is_recorded_is_used() {
    let rules = rules();
    let recorded = recorded(&rules);
    let panels = dashboards::expressions();
    let alerts = rules.iter().filter(|rule| rule.alert.is_some()).map(|rule| rule.expression.as_str());
    let read = promql::read_by(alerts.chain(panels.iter().map(|(_, expression)| expression.as_str())), &recorded);
    for series in ALL {
        assert!(read.contains(series.name), "no alert and no dashboard reads {}", series.name);
    }
    for name in recorded.keys() {
        assert!(read.contains(name), "{name} is recorded for nobody");
    }
}

#[test]
fn texts_name_only_series_that_there_are() {
    // The crate, and a key of Calico's own ConfigMap.
    let others = ["calico_exporter", "calico_backend"];
    let recorded = recorded(&rules());
    let mut files = files_below("docs", ".md");
    files.extend(files_below("deploy", ""));
    files.push(repository("README.md"));
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (word, _) in promql::words(&text) {
            let named = word.starts_with("calico_") || word.contains(":calico_");
            if named && !word.contains("::") && !word.ends_with('_') && !others.contains(&word) {
                let known = promql::exported(word).is_some() || recorded.contains_key(word);
                assert!(known, "{}: there is no {word}", file.display());
            }
        }
    }
}
