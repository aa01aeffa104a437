//! What a real Prometheus makes of a scrape, of the second and of the third major version.

use std::collections::BTreeSet;
use std::path::Path;

use serde_yaml_ng::Value;

use crate::alerts::{rule_files, yaml};
use crate::support::exporter::Exporter;
use crate::support::prometheus::Prometheus;
use crate::support::{of_prometheus_3, repository, tool};

/// Labels that somebody's targets may well have, and series of the exporter have, too.
const HOSTILE: [&str; 7] = ["host", "ippool", "node", "cluster", "device", "class", "reason"];

/// The shipped example, with a target that carries all of them.
fn example(exporter: &Exporter, honored: bool) -> String {
    let mut config = yaml(&repository("deploy/prometheus.example.yml"));
    config["global"]["scrape_interval"] = "1s".into();
    config["global"]["evaluation_interval"] = "1s".into();
    config["rule_files"] = rule_files().iter().map(|file| Value::from(file.to_str().unwrap())).collect();
    config.as_mapping_mut().unwrap().remove("alerting");
    let job = &mut config["scrape_configs"][0];
    assert_eq!(job["honor_labels"].as_bool(), Some(true));
    job["honor_labels"] = honored.into();
    let group = &mut job["static_configs"][0];
    group["targets"] = vec![Value::from(exporter.address().to_string())].into();
    for label in HOSTILE {
        group["labels"][label] = format!("rack7-{label}").into();
    }
    serde_yaml_ng::to_string(&config).unwrap()
}

fn recording(kind: &str) -> String {
    repository(&format!("tests/fixtures/three-hosts/{kind}")).to_str().unwrap().to_owned()
}

/// A host with a missing route to another, as `make run` serves it.
fn exporter() -> Exporter {
    let routes = repository("examples/h1.routes.json");
    let exporter = Exporter::start(&[
        "--datastore.file",
        &recording("etcd.json"),
        "--routes.file",
        routes.to_str().unwrap(),
        "--links.file",
        &recording("h1.links.json"),
        "--node.name",
        "h1",
    ]);
    exporter.until_ready();
    exporter
}

fn hosts(prometheus: &Prometheus, of: &str) -> BTreeSet<String> {
    let answer = prometheus.until(&format!("count by (host) ({of})"), |answer| !answer.is_empty());
    answer.iter().map(|it| it["metric"]["host"].as_str().unwrap_or_default().to_owned()).collect()
}

fn see(program: &Path) {
    let exporter = exporter();
    let prometheus = Prometheus::start(program, &example(&exporter, true));
    let own: BTreeSet<String> = ["h1", "h2", "h3"].map(str::to_owned).into();
    assert_eq!(hosts(&prometheus, "calico_host_blocks"), own);
    assert_eq!(hosts(&prometheus, "cluster:calico_host_blocks:sum"), own);
    // The alert names the host that cannot be reached.
    let alert = r#"ALERTS{alertname="CalicoRoutesMissing", class="remote_block"}"#;
    assert_eq!(hosts(&prometheus, alert), ["h2".to_owned()].into());
    // Every series of the exporter has the labels that the exporter gave it.
    let scrape = exporter.scrape();
    for ((name, labels), _) in scrape.samples.iter().filter(|((name, _), _)| name.starts_with("calico_")) {
        let matchers: Vec<String> = labels.iter().map(|(label, value)| format!("{label}={value:?}")).collect();
        let series = prometheus.query(&format!("{name}{{{}}}", matchers.join(","))).unwrap();
        assert!(!series.is_empty(), "{name} {labels:?}");
    }
    assert!(prometheus.query(r#"{exported_host!=""}"#).unwrap().is_empty());
    // Which is no matter of course.
    let careless = Prometheus::start(program, &example(&exporter, false));
    assert_eq!(hosts(&careless, "calico_host_blocks"), ["rack7-host".to_owned()].into());
}

#[test]
fn labels_of_targets_do_not_take_the_place_of_the_exporters() {
    let Some(prometheus) = tool("prometheus") else { return };
    see(&prometheus);
}

#[test]
fn labels_of_targets_do_not_take_the_place_of_the_exporters_in_prometheus_3() {
    let Some(prometheus) = of_prometheus_3("prometheus") else { return };
    see(&prometheus);
}
