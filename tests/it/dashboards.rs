//! The dashboards: dashboard-linter's rules, kept here, and that every query can be parsed and reads what there is.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use crate::alerts::{recorded, rules, run};
use crate::support::{files_below, promql};

pub(crate) fn all() -> Vec<(String, Value)> {
    let read = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap());
        (name, value.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    };
    files_below("dashboards", ".json").into_iter().map(read).collect()
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Panels that show something.
fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    list(dashboard, "panels").filter(|panel| panel["type"] != "row")
}

/// Every query of a panel or an annotation, and where it stands.
pub(crate) fn expressions() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (name, dashboard) in all() {
        for annotation in list(&dashboard["annotations"], "list") {
            let place = format!("{name}: annotation {}", text(annotation, "/name"));
            found.push((place, text(annotation, "/expr").to_owned()));
        }
        for panel in panels(&dashboard) {
            for target in list(panel, "targets") {
                found.push((format!("{name}: {}", text(panel, "/title")), text(target, "/expr").to_owned()));
            }
        }
    }
    found
}

#[test]
fn each_can_be_imported_by_hand_and_is_nobodys_to_edit() {
    let mut titles = BTreeSet::new();
    for (name, dashboard) in all() {
        assert_eq!(text(&dashboard, "/uid"), name);
        assert!(titles.insert(text(&dashboard, "/title").to_owned()), "{name}");
        assert_eq!(dashboard["editable"], false, "{name}");
        assert_eq!(dashboard["id"], Value::Null, "{name}");
        assert!(dashboard["schemaVersion"].as_u64() >= Some(38), "{name}: Grafana 10 and later");
        assert!(list(&dashboard, "tags").any(|tag| tag == "calico-exporter"), "{name}");
        assert!(!text(&dashboard, "/description").is_empty(), "{name}");
    }
}

#[test]
fn variables_choose_the_source_and_the_targets() {
    for (name, dashboard) in all() {
        let variables: Vec<&Value> = list(&dashboard["templating"], "list").collect();
        let named = |wanted: &str| *variables.iter().find(|it| it["name"] == wanted).unwrap();
        let source = named("datasource");
        assert_eq!((text(source, "/type"), text(source, "/query")), ("datasource", "prometheus"), "{name}");
        assert_eq!(text(source, "/label"), "Data source", "{name}");
        for (variable, label, all) in
            [("cluster", "Cluster", ".*"), ("job", "Job", ".+"), ("instance", "Instance", ".+")]
        {
            let variable = named(variable);
            assert_eq!(text(variable, "/type"), "query", "{name}");
            assert_eq!(text(variable, "/label"), label, "{name}");
            // Without a label `cluster`, all clusters are those without.
            assert_eq!(text(variable, "/allValue"), all, "{name} {label}");
            assert!(variable["multi"] == true && variable["includeAll"] == true, "{name} {label}");
            assert_eq!(text(variable, "/datasource/uid"), "${datasource}", "{name} {label}");
            assert_eq!(variable["refresh"], 2, "{name} {label}: read anew when the time range changes");
        }
    }
}

#[test]
fn graphs_show_when_something_was_changed() {
    for (name, dashboard) in all() {
        let annotations: Vec<&Value> = list(&dashboard["annotations"], "list").collect();
        for series in ["calico_exporter_datastore_changes_total", "calico_exporter_source_resyncs_total"] {
            assert!(annotations.iter().any(|it| text(it, "/expr").contains(series)), "{name} lacks {series}");
        }
        for annotation in annotations {
            assert_eq!(text(annotation, "/datasource/uid"), "${datasource}", "{name}");
            assert_eq!(annotation["enable"], true, "{name}");
        }
    }
}

#[test]
fn panels_say_what_they_show_and_in_what_unit() {
    for (name, dashboard) in all() {
        let mut ids = BTreeSet::new();
        for panel in list(&dashboard, "panels") {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}: an id stands twice");
            assert!(!text(panel, "/title").is_empty(), "{name}");
        }
        for panel in panels(&dashboard) {
            let name = format!("{name}: {}", text(panel, "/title"));
            assert!(text(panel, "/description").ends_with('.'), "{name} has no description");
            assert!(!text(panel, "/fieldConfig/defaults/unit").is_empty(), "{name} has no unit");
            assert_eq!(text(panel, "/datasource/uid"), "${datasource}", "{name}");
            let targets: Vec<&Value> = list(panel, "targets").collect();
            assert!(!targets.is_empty(), "{name} asks nothing");
            for (target, letter) in targets.into_iter().zip('A'..) {
                assert_eq!(text(target, "/datasource/uid"), "${datasource}", "{name}");
                assert_eq!(text(target, "/refId"), letter.to_string(), "{name}");
            }
        }
    }
}

#[test]
fn panels_do_not_lie_on_each_other() {
    for (name, dashboard) in all() {
        let mut taken = BTreeSet::new();
        for panel in list(&dashboard, "panels") {
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
            assert!(w > 0 && h > 0 && x + w <= 24, "{name}: {}", panel["title"]);
            for field in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(field), "{name}: {} lies on another", panel["title"]);
            }
        }
    }
}

#[test]
fn queries_choose_by_the_variables_and_read_what_there_is() {
    let recorded = recorded(&rules());
    for (name, expression) in expressions() {
        promql::check(&name, &expression, &recorded);
        let selectors = promql::selectors(&expression);
        assert!(!selectors.is_empty(), "{name}: {expression}");
        for selector in selectors {
            let chosen = |label: &str, value: &str| {
                selector.matchers.iter().any(|(of, operator, it)| of == label && operator == "=~" && it == value)
            };
            assert!(chosen("cluster", "$cluster"), "{name}: {expression}");
            // What is recorded of a cluster has no targets. What any exporter says of a host, any may say.
            let any = chosen("instance", ".+") && chosen("host", "$host");
            let targets = chosen("job", "$job") && (chosen("instance", "$instance") || any);
            assert!(recorded.contains_key(&selector.name) || targets, "{name}: {expression}");
        }
        for function in ["rate(", "increase("] {
            for (_, behind) in expression.match_indices(function).map(|(at, it)| (at, &expression[at + it.len()..])) {
                let range = behind.split_once('[').and_then(|(_, it)| it.split_once(']')).map(|(it, _)| it);
                assert_eq!(range, Some("$__rate_interval"), "{name}: {expression}");
            }
        }
    }
}

#[test]
fn promtool_parses_every_query() {
    let mut text = String::from("groups:\n  - name: panels\n    rules:\n");
    for (number, (_, expression)) in expressions().iter().enumerate() {
        let expression = ["$cluster", "$job", "$instance", "$host"]
            .iter()
            .fold(expression.replace("$__rate_interval", "5m"), |text, variable| text.replace(variable, ".+"));
        let expression = serde_json::to_string(&expression).unwrap();
        text.push_str(&format!("      - {{record: 'panel:number_{number}', expr: {expression}}}\n"));
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("panels.yml");
    std::fs::write(&file, text).unwrap();
    run("promtool", &["check", "rules"], &[file]);
}
