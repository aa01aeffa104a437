//! What is shipped to run it: made from the alerts and dashboards where it repeats them, and held to what the program
//! needs and no more.

use calico_exporter::cli::Cli;
use calico_exporter::config::Sources;
use clap::Parser;
use serde::Deserialize;
use serde_yaml_ng::Value;

use crate::alerts::{rule_files, run, yaml};
use crate::support::{files_below, repository, same_as_file};

const MADE: &str = "# Made by `BLESS=1 cargo test --test it deploy` from";

fn read(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap()
}

fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |value, key| match key.parse::<usize>() {
        Ok(index) => &value[index],
        Err(_) => &value[key],
    })
}

#[test]
fn the_prometheusrule_is_the_alerts() {
    let mut text = format!(
        "{MADE} alerts/.\napiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: calico-exporter\n  \
         namespace: kube-system\n  labels:\n    app.kubernetes.io/name: calico-exporter\nspec:\n  groups:\n"
    );
    let mut groups = Vec::new();
    for file in rule_files() {
        let rules = std::fs::read_to_string(&file).unwrap();
        let (_, body) = rules.split_once("\ngroups:\n").unwrap();
        for line in body.lines() {
            text.push_str(&if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") });
        }
        groups.extend(yaml(&file)["groups"].as_sequence().unwrap().clone());
    }
    same_as_file("deploy/monitoring/prometheusrule.yaml", &text);
    let made: Value = serde_yaml_ng::from_str(&text).unwrap();
    assert_eq!(made["spec"]["groups"].as_sequence(), Some(&groups));
}

#[test]
fn the_configmap_is_the_dashboards() {
    let mut text = format!(
        "{MADE} dashboards/.\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: calico-exporter-dashboards\n  namespace: kube-system\n  \
         labels:\n    app.kubernetes.io/name: calico-exporter\n    # What Grafana's sidecar looks for.\n    grafana_dashboard: \"1\"\ndata:\n"
    );
    let files = files_below("dashboards", ".json");
    for file in &files {
        text.push_str(&format!("  {}: |\n", file.file_name().unwrap().to_string_lossy()));
        for line in std::fs::read_to_string(file).unwrap().lines() {
            text.push_str(&format!("    {line}\n"));
        }
    }
    same_as_file("deploy/monitoring/dashboards.yaml", &text);
    let made: Value = serde_yaml_ng::from_str(&text).unwrap();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(made["data"][name.as_str()].as_str(), Some(std::fs::read_to_string(&file).unwrap().as_str()));
    }
}

#[test]
fn manifests_are_whole_and_listed() {
    for folder in ["deploy/kubernetes", "deploy/monitoring"] {
        let listed = yaml(&repository(&format!("{folder}/kustomization.yaml")));
        let listed: Vec<&str> = listed["resources"].as_sequence().unwrap().iter().filter_map(Value::as_str).collect();
        for file in files_below(folder, ".yaml") {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            assert!(listed.contains(&name.as_str()) || name == "kustomization.yaml", "{name} is not listed");
            for document in serde_yaml_ng::Deserializer::from_str(&std::fs::read_to_string(&file).unwrap()) {
                let document = Value::deserialize(document).unwrap();
                let (version, kind) = (document["apiVersion"].as_str().unwrap(), document["kind"].as_str().unwrap());
                // `kubectl apply -k` fails as a whole where one kind is not known.
                let built_in = !version.starts_with("monitoring.coreos.com");
                assert!(folder == "deploy/monitoring" || built_in, "{name}: {kind} needs the operator's CRDs");
            }
        }
    }
}

/// A pod's template, and the flags of its container as the program reads them.
fn workload(file: &str) -> (Value, Cli) {
    let document = yaml(&repository(file));
    let pod = at(&document, "spec.template.spec").clone();
    assert_eq!(at(&document, "spec.selector.matchLabels"), at(&document, "spec.template.metadata.labels"), "{file}");
    let flags = at(&pod, "containers.0.args").as_sequence().unwrap().clone();
    let flags = flags.iter().map(|flag| flag.as_str().unwrap().to_owned());
    (pod, Cli::try_parse_from(std::iter::once("calico-exporter".to_owned()).chain(flags)).unwrap())
}

#[test]
fn pods_may_do_nothing_but_look() {
    for file in ["deploy/kubernetes/daemonset.yaml", "deploy/kubernetes/deployment.yaml"] {
        let (pod, cli) = workload(file);
        assert_eq!(at(&pod, "securityContext.runAsNonRoot").as_bool(), Some(true), "{file}");
        assert_eq!(at(&pod, "securityContext.runAsUser"), 65534, "{file}");
        assert_eq!(at(&pod, "automountServiceAccountToken").as_bool(), Some(false), "{file}");
        let container = at(&pod, "containers.0.securityContext");
        assert_eq!(at(container, "allowPrivilegeEscalation").as_bool(), Some(false), "{file}");
        assert_eq!(at(container, "readOnlyRootFilesystem").as_bool(), Some(true), "{file}");
        assert_eq!(at(container, "capabilities.drop.0"), "ALL", "{file}");
        assert!(at(container, "capabilities.add").is_null(), "{file}");
        assert_eq!(at(&pod, "hostNetwork").as_bool(), Some(true), "{file}");
        let port = at(&pod, "containers.0.ports.0.containerPort").as_u64().unwrap();
        assert_eq!(cli.serve.listen, [format!(":{port}")], "{file}");
    }
    let (daemon, deployment) =
        (workload("deploy/kubernetes/daemonset.yaml").1, workload("deploy/kubernetes/deployment.yaml").1);
    assert!(daemon.serve.source.no_collector_ipam && !daemon.serve.source.no_collector_routes);
    assert!(deployment.serve.source.no_collector_routes && !deployment.serve.source.no_collector_ipam);
    assert_ne!(daemon.serve.listen, deployment.serve.listen, "they share a host's network");
}

#[test]
fn the_environment_of_pods_is_understood() {
    for file in ["deploy/kubernetes/daemonset.yaml", "deploy/kubernetes/deployment.yaml"] {
        let (pod, cli) = workload(file);
        let variables = at(&pod, "containers.0.env").as_sequence().unwrap().clone();
        let asked = std::cell::RefCell::new(Vec::new());
        let sources = Sources::new(&cli.serve.source, &|name| {
            asked.borrow_mut().push(name.to_owned());
            match name {
                "ETCD_ENDPOINTS" => Some("https://etcd.example:2379".to_owned()),
                "NODENAME" => Some("h1".to_owned()),
                // Certificates are not here.
                _ => None,
            }
        });
        assert!(sources.is_ok(), "{file}: {:?}", sources.err());
        for variable in &variables {
            let name = variable["name"].as_str().unwrap();
            // That one is a flag's.
            let known = asked.borrow().iter().any(|it| it == name) || name == "CALICO_NETWORKING_BACKEND";
            assert!(known, "{file}: nobody reads {name}");
        }
    }
}

#[test]
fn the_kubernetes_api_is_only_read() {
    let text = read("deploy/kubernetes-datastore/rbac.yaml");
    let documents = serde_yaml_ng::Deserializer::from_str(&text).map(|it| Value::deserialize(it).unwrap());
    let roles: Vec<Value> = documents.filter(|it| it["kind"] == "ClusterRole").collect();
    assert_eq!(roles.len(), 2, "one for each collector");
    for rule in roles.iter().flat_map(|role| role["rules"].as_sequence().unwrap()) {
        let words = |key: &str| -> Vec<&str> {
            rule[key].as_sequence().unwrap().iter().map(|it| it.as_str().unwrap()).collect()
        };
        assert!(words("verbs").iter().all(|verb| ["get", "list", "watch"].contains(verb)), "{rule:?}");
        let harmless = |resource: &&str| !["secrets", "configmaps", "*"].contains(resource);
        assert!(words("resources").iter().all(harmless), "{rule:?}");
        assert!(!words("apiGroups").contains(&"*"), "{rule:?}");
    }
}

/// The manifests for etcd, with patches over them.
#[test]
fn where_the_datastore_is_the_kubernetes_api_pods_know_nothing_of_etcd() {
    let Ok(built) =
        std::process::Command::new("kubectl").arg("kustomize").arg(repository("deploy/kubernetes-datastore")).output()
    else {
        eprintln!("\n!!! SKIPPED: kubectl is missing, this test shows nothing !!!\n");
        return;
    };
    let text = String::from_utf8(built.stdout).unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let documents = serde_yaml_ng::Deserializer::from_str(&text).map(|it| Value::deserialize(it).unwrap());
    let workloads: Vec<Value> =
        documents.filter(|it| it["kind"] == "DaemonSet" || it["kind"] == "Deployment").collect();
    assert_eq!(workloads.len(), 2);
    for workload in workloads {
        let pod = at(&workload, "spec.template.spec");
        assert_eq!(pod["serviceAccountName"], workload["metadata"]["name"]);
        assert_eq!(pod["automountServiceAccountToken"].as_bool(), Some(true));
        let text = serde_yaml_ng::to_string(pod).unwrap().to_lowercase();
        assert!(!text.contains("etcd") && text.contains("datastore_type"), "{text}");
    }
}

#[test]
fn units_may_do_nothing_but_look() {
    for file in ["deploy/systemd/calico-exporter.service", "deploy/systemd/calico-exporter-ipam.service"] {
        let unit = read(file);
        let setting = |name: &str| {
            let start = format!("{name}=");
            unit.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("{file}: no {name}"))
        };
        assert_eq!(setting("RestrictAddressFamilies"), "AF_NETLINK AF_INET AF_INET6 AF_UNIX", "{file}");
        for (name, value) in [
            ("DynamicUser", "yes"),
            ("CapabilityBoundingSet", ""),
            ("NoNewPrivileges", "yes"),
            ("ProtectSystem", "strict"),
            ("PrivateDevices", "yes"),
        ] {
            assert_eq!(setting(name), value, "{file}: {name}");
        }
        // The routes are those of the host's network.
        assert!(!unit.lines().any(|line| line.starts_with("PrivateNetwork")), "{file}");
        let flags = setting("ExecStart").split_whitespace().filter(|it| *it != "$ARGS");
        assert!(Cli::try_parse_from(flags).is_ok(), "{file}");
    }
}

#[test]
fn the_image_is_built_with_what_the_build_needs_and_runs_as_nobody() {
    let dockerfile = read("deploy/Dockerfile");
    for wanted in ["protobuf-compiler libprotobuf-dev", "--locked", "\nUSER 65534:65534\n"] {
        assert!(dockerfile.contains(wanted), "{wanted}");
    }
    let ignored = read(".dockerignore");
    for copied in ["Cargo.toml", "Cargo.lock", "LICENSE", "src"] {
        assert!(ignored.contains(&format!("!{copied}\n")), "{copied} is not sent to the build");
    }
    // Where a target's file is, Cargo guesses only from files that are there: tests and benches are not sent.
    let manifest = read("Cargo.toml");
    for target in manifest.split("\n[[").skip(1).filter_map(|rest| rest.split("\n[").next()) {
        assert!(target.contains("\npath = "), "{target}");
    }
}

#[test]
fn prometheus_takes_the_example_and_finds_the_rules() {
    run("promtool", &["check", "config"], &[repository("deploy/prometheus.example.yml")]);
}
