//! Manifests and the chart: what an API server would be given, held to small schemas of its objects.
//!
//! Those that run helm or kustomize are `make helm-test`'s.

mod schema;
mod values;

use std::process::Command;

use calico_exporter::cli::Cli;
use clap::Parser;
use serde::Deserialize;
use serde_yaml_ng::Value;

use crate::alerts::yaml;
use crate::support::{files_below, repository};

const CHART: &str = "deploy/helm/calico-exporter";

fn documents(text: &str) -> Vec<Value> {
    let all = serde_yaml_ng::Deserializer::from_str(text).map(|document| Value::deserialize(document).unwrap());
    all.filter(|document| !document.is_null()).collect()
}

/// Sees that an object is one of the kinds that are known, and has their fields.
fn assert_valid(object: &Value, schemas: &Value) {
    let kind = format!("{} {}", object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
    let name = format!("{kind} {}", object["metadata"]["name"].as_str().unwrap());
    let metadata = if kind.contains("/v1 Cluster") { "ofTheCluster" } else { "metadata" };
    let mut faults = schema::faults(&schemas["definitions"][metadata], &object["metadata"], &name);
    if kind == "v1 ConfigMap" {
        faults.extend(schema::faults(&schemas["definitions"]["labels"], &object["data"], &name));
    } else {
        let of_kind = &schemas["kinds"][kind.as_str()];
        assert!(of_kind.is_mapping(), "deploy/schemas.yaml knows no {kind}");
        let mut content = object.clone();
        let fields = content.as_mapping_mut().unwrap();
        fields.retain(|field, _| !["apiVersion", "kind", "metadata"].iter().any(|it| field == it));
        faults.extend(schema::faults(of_kind, object.get("spec").unwrap_or(&content), &name));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Sees that labels, ports and names of objects that belong together agree.
fn assert_agree(objects: &[Value]) {
    let of = |kind: &str| objects.iter().filter(|object| object["kind"] == kind).collect::<Vec<_>>();
    let is_within = |labels: &Value, of: &Value| {
        labels.as_mapping().unwrap().iter().all(|(name, value)| of.get(name) == Some(value))
    };
    let workloads = [of("DaemonSet"), of("Deployment")].concat();
    assert!(!workloads.is_empty());
    for service in of("Service") {
        for workload in &workloads {
            let template = &workload["spec"]["template"];
            assert!(is_within(&service["spec"]["selector"], &template["metadata"]["labels"]));
            let ports = template["spec"]["containers"][0]["ports"].as_sequence().unwrap();
            assert!(ports.iter().any(|port| port["name"] == service["spec"]["ports"][0]["targetPort"]));
        }
        for monitor in of("ServiceMonitor") {
            assert!(is_within(&monitor["spec"]["selector"]["matchLabels"], &service["metadata"]["labels"]));
        }
    }
    for workload in &workloads {
        let spec = &workload["spec"];
        let labels = &spec["template"]["metadata"]["labels"];
        assert!(is_within(&spec["selector"]["matchLabels"], labels), "it would not own its pods");
        for other in workloads.iter().filter(|other| other["metadata"]["name"] != workload["metadata"]["name"]) {
            assert!(!is_within(&other["spec"]["selector"]["matchLabels"], labels), "two would own a pod");
        }
        for monitor in of("PodMonitor") {
            assert!(is_within(&monitor["spec"]["selector"]["matchLabels"], labels));
        }
        let pod = &spec["template"]["spec"];
        let names = |list: &Value| -> Vec<Value> {
            list.as_sequence().into_iter().flatten().map(|item| item["name"].clone()).collect()
        };
        assert_eq!(names(&pod["containers"][0]["volumeMounts"]), names(&pod["volumes"]));
        // A token of the API server's, and a role behind it, only where that is the datastore, and then nothing of etcd.
        let account = &pod["serviceAccountName"];
        assert_eq!(pod["automountServiceAccountToken"], account.is_string());
        let environment = names(&pod["containers"][0]["env"]);
        assert_eq!(environment.contains(&"DATASTORE_TYPE".into()), account.is_string());
        if account.is_string() {
            assert!(!serde_yaml_ng::to_string(pod).unwrap().to_lowercase().contains("etcd"), "{pod:?}");
            let bindings = of("ClusterRoleBinding");
            // Neither is made where somebody else does.
            if let Some(bound) = bindings.iter().find(|it| it["subjects"][0]["name"] == *account) {
                assert_eq!(bound["subjects"][0]["namespace"], workload["metadata"]["namespace"]);
                let roles = of("ClusterRole");
                assert!(roles.iter().any(|it| it["metadata"]["name"] == bound["roleRef"]["name"]), "{account:?}");
                assert!(of("ServiceAccount").iter().any(|it| it["metadata"]["name"] == *account), "{account:?}");
            } else {
                assert_eq!(bindings, Vec::<&Value>::new(), "{account:?} is bound to nothing");
            }
        }
        let flags = pod["containers"][0]["args"].as_sequence().unwrap().iter().map(|flag| flag.as_str().unwrap());
        let cli = Cli::try_parse_from(std::iter::once("calico-exporter").chain(flags)).unwrap();
        let port = pod["containers"][0]["ports"][0]["containerPort"].as_u64().unwrap();
        assert_eq!(cli.serve.listen, [format!(":{port}")]);
        // Where TLS or a password may be needed, a probe says how, or asks for a connection alone.
        let probe = &pod["containers"][0]["livenessProbe"];
        let plain = probe["httpGet"].is_mapping() && probe["httpGet"]["scheme"].is_null();
        assert_eq!(cli.serve.web_config_file.is_none(), plain);
    }
}

fn schemas() -> Value {
    yaml(&repository("deploy/schemas.yaml"))
}

#[test]
fn manifests_are_what_an_api_server_takes() {
    let schemas = schemas();
    let mut objects = Vec::new();
    for file in [files_below("deploy/kubernetes", ".yaml"), files_below("deploy/monitoring", ".yaml")].concat() {
        if !file.ends_with("kustomization.yaml") {
            objects.extend(documents(&std::fs::read_to_string(file).unwrap()));
        }
    }
    assert!(objects.len() >= 6, "{}", objects.len());
    objects.iter().for_each(|object| assert_valid(object, &schemas));
    assert_agree(&objects);
}

#[test]
fn slips_of_the_pen_are_seen() {
    let schemas = schemas();
    let daemon = yaml(&repository("deploy/kubernetes/daemonset.yaml"));
    let faults = |change: &dyn Fn(&mut Value)| {
        let mut changed = daemon.clone();
        change(&mut changed["spec"]["template"]["spec"]);
        schema::faults(&schemas["kinds"]["apps/v1 DaemonSet"], &changed["spec"], "").join("\n")
    };
    assert_eq!(faults(&|_| {}), "");
    assert!(faults(&|pod| pod["hostNetworks"] = true.into()).contains("hostNetworks"));
    assert!(faults(&|pod| pod["hostNetwork"] = "true".into()).contains("hostNetwork"));
    assert!(faults(&|pod| pod["containers"][0]["image"] = 1.into()).contains("image"));
    assert!(faults(&|pod| drop(pod.as_mapping_mut().unwrap().remove("securityContext"))).contains("securityContext"));
}

#[test]
fn the_chart_is_of_this_version_and_its_files_are_the_repositorys() {
    let chart = yaml(&repository(&format!("{CHART}/Chart.yaml")));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    for file in ["alerts/calico.rules.yml", "alerts/recording.rules.yml", "dashboards/calico-host.json"] {
        let name = file.split('/').next_back().unwrap();
        let linked = std::fs::canonicalize(repository(&format!("{CHART}/files/{name}"))).unwrap();
        assert_eq!(linked, std::fs::canonicalize(repository(file)).unwrap());
    }
    let count = |folder: &str, ending: &str| files_below(folder, ending).len();
    assert_eq!(count(&format!("{CHART}/files"), ".json"), count("dashboards", ".json"));
    assert_eq!(count(&format!("{CHART}/files"), ".rules.yml"), count("alerts", ".rules.yml"));
}

fn helm(words: &[&str]) -> std::process::Output {
    let program = std::env::var_os("HELM").unwrap_or_else(|| "helm".into());
    Command::new(program).args(words).current_dir(repository("")).output().unwrap()
}

#[test]
#[ignore = "make helm-test: it needs helm"]
fn the_chart_renders_to_what_an_api_server_takes() {
    let lint = helm(&["lint", "--strict", "--kube-version", "1.30.0", CHART]);
    assert!(lint.status.success(), "{}", String::from_utf8_lossy(&lint.stdout));
    let schemas = schemas();
    let default = ["DaemonSet", "Deployment", "Service"];
    let with_a_role = ["ClusterRole", "ClusterRoleBinding", "DaemonSet", "Service", "ServiceAccount"];
    let roles = ["ClusterRole", "ClusterRoleBinding"];
    let with_roles: Vec<&str> = [&roles[..1], &roles, &roles[1..], &default, &["ServiceAccount"; 2]].concat();
    for (values, kinds) in [
        (&["datastore=etcd"][..], &default[..]),
        (&["datastore=etcd", "hosts.enabled=false"], &["Deployment", "Service"]),
        (
            &["datastore=etcd", "ipam.enabled=false", "etcd.certificatesSecret=", "etcd.endpoints=http://a:2379"],
            &["DaemonSet", "Service"],
        ),
        (
            &[
                "datastore=etcd",
                "serviceMonitor.enabled=true",
                "prometheusRule.enabled=true",
                "dashboards.enabled=true",
            ],
            &["ConfigMap", "DaemonSet", "Deployment", "PrometheusRule", "Service", "ServiceMonitor"],
        ),
        (
            &[
                "datastore=etcd",
                "podMonitor.enabled=true",
                "podMonitor.scheme=https",
                "podMonitor.labels.release=prometheus",
                "web.configSecret=web",
                "etcd.userSecret=user",
                "etcd.configMap=",
                "etcd.endpoints=https://a:2379",
                "image.tag=1",
                "hosts.args={--routes.grace=180s}",
                "hosts.port=9000",
                "imagePullSecrets[0].name=pull",
            ],
            &["DaemonSet", "Deployment", "PodMonitor", "Service"],
        ),
        (&["kubernetes.apiGroup=projectcalico.org/v3", "web.configSecret=web"], &with_roles),
        (&["datastore=kubernetes", "ipam.enabled=false"], &with_a_role),
        (&["datastore=kubernetes", "kubernetes.usePodCIDR=true"], &with_a_role),
    ] {
        let mut words = vec!["template", "monitored", CHART, "--namespace", "kube-system", "--kube-version", "1.30.0"];
        values.iter().for_each(|value| words.extend(["--set", value]));
        let rendered = helm(&words);
        assert!(rendered.status.success(), "{values:?}: {}", String::from_utf8_lossy(&rendered.stderr));
        let mut objects = documents(&String::from_utf8(rendered.stdout).unwrap());
        assert!(objects.iter().all(|object| object["metadata"]["name"].as_str().unwrap().contains("calico-exporter")));
        // What `helm test` runs.
        objects.retain(|object| object["kind"] != "Pod");
        let mut found: Vec<&str> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, kinds, "{values:?}");
        objects.iter().for_each(|object| assert_valid(object, &schemas));
        assert_agree(&objects);
        for role in objects.iter().filter(|object| object["kind"] == "ClusterRole") {
            let name = role["metadata"]["name"].as_str().unwrap().replace("monitored-", "");
            assert_eq!(role["rules"], shipped_role(&name), "the same permissions by both ways");
        }
        if let Some(rules) = objects.iter().find(|object| object["kind"] == "PrometheusRule") {
            let shipped = yaml(&repository("deploy/monitoring/prometheusrule.yaml"));
            assert_eq!(rules["spec"], shipped["spec"], "the same alerts by both ways");
        }
    }
    for (values, why) in [
        ("serviceMonitor.enabled=true,podMonitor.enabled=true", "enable one of them"),
        ("datastore=kubernete", "datastore"),
        ("hosts.port=abc", "hosts/port"),
        ("hosts.port=19180", "hosts.port and ipam.port are the same"),
        ("host.port=9000", "'host' not allowed"),
        ("serviceMonitor.relabelings[0].targetLabel=a", "action"),
        ("prometheusRule.enabled=true,prometheusRule.disabled={CalicoNoSuch}", "there is no alert \"CalicoNoSuch\""),
    ] {
        let refused = helm(&["template", "x", CHART, "--kube-version", "1.30.0", "--set", values]);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && said.contains(why), "{values}: {said}");
    }
}

/// The values that `ci/` has, for every change of the chart.
#[test]
#[ignore = "make helm-test: it needs helm"]
fn the_chart_renders_with_each_of_its_values_files() {
    let schemas = schemas();
    for file in files_below(&format!("{CHART}/ci"), "-values.yaml") {
        let file = file.to_str().unwrap();
        let lint = helm(&["lint", "--strict", "--kube-version", "1.30.0", CHART, "--values", file]);
        assert!(lint.status.success(), "{file}: {}", String::from_utf8_lossy(&lint.stdout));
        // A name that leaves no room for another.
        for release in ["x", "a-release-of-a-name-that-is-as-long-as-helm-allows-it"] {
            let words = ["template", release, CHART, "-n", "kube-system", "--kube-version", "1.30.0", "--values", file];
            let rendered = helm(&words);
            assert!(rendered.status.success(), "{file}: {}", String::from_utf8_lossy(&rendered.stderr));
            let objects = documents(&String::from_utf8(rendered.stdout).unwrap());
            objects.iter().for_each(|object| assert_valid(object, &schemas));
            assert_agree(&objects);
            // The job is the same under any release's name.
            for monitor in objects.iter().filter(|it| it["kind"].as_str().unwrap().ends_with("Monitor")) {
                let label = monitor["spec"]["jobLabel"].as_str().unwrap();
                let named = objects.iter().find(|it| it["kind"] == "Service").unwrap();
                assert_eq!(named["metadata"]["labels"][label], "calico-exporter", "{file}");
            }
            if file.ends_with("everything-values.yaml") {
                assert_changed_alerts(&objects);
            }
        }
    }
}

/// What `ci/everything-values.yaml` asks of the alerts.
fn assert_changed_alerts(objects: &[Value]) {
    let rules = objects.iter().find(|object| object["kind"] == "PrometheusRule").unwrap();
    let groups = rules["spec"]["groups"].as_sequence().unwrap();
    let rules: Vec<&Value> = groups.iter().flat_map(|group| group["rules"].as_sequence().unwrap()).collect();
    let alert = |name: &str| rules.iter().find(|rule| rule["alert"] == name).copied();
    assert!(alert("CalicoHandlesLeaked").is_none());
    assert_eq!(alert("CalicoRoutesStale").unwrap()["labels"]["severity"], "info");
    assert_eq!(alert("CalicoHostIsolated").unwrap()["for"], "10m");
    let low = alert("CalicoPoolAddressesLow").unwrap();
    assert_eq!(low["expr"], "cluster:calico_ippool_addresses_available:ratio < 0.2");
    assert_eq!(low["labels"]["team"], "network");
}

/// What a role of `deploy/kubernetes-datastore` permits.
fn shipped_role(name: &str) -> Value {
    let text = std::fs::read_to_string(repository("deploy/kubernetes-datastore/rbac.yaml")).unwrap();
    let is_it = |object: &Value| object["kind"] == "ClusterRole" && object["metadata"]["name"] == name;
    documents(&text).into_iter().find(is_it).unwrap()["rules"].clone()
}

#[test]
#[ignore = "make helm-test: it needs kubectl"]
fn kustomize_makes_the_manifests_of_them() {
    for (folder, least) in [("deploy/kubernetes", 3), ("deploy/kubernetes-datastore", 9), ("deploy/monitored", 12)] {
        let made = Command::new("kubectl").args(["kustomize", folder]).current_dir(repository("")).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let (objects, schemas) = (documents(&String::from_utf8(made.stdout).unwrap()), schemas());
        assert!(objects.len() >= least, "{folder}: {}", objects.len());
        objects.iter().for_each(|object| assert_valid(object, &schemas));
        assert_agree(&objects);
    }
}
