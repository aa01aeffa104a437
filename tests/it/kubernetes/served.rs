//! The program itself, against a real API server.

use serde_json::{Value, json};

use super::{block, blocks, fill, recorded};
use crate::support::exporter::{Exporter, program};
use crate::support::kube::{ApiServer, V1, V3, shipped_rules};

/// The recorded Pods, each as far as it can be made anew: one that is being deleted cannot.
async fn add_pods(server: &ApiServer, group: &str) {
    let pods = recorded(group, "pods");
    for pod in pods["items"].as_array().unwrap() {
        let meta = &pod["metadata"];
        let namespace = meta["namespace"].as_str().unwrap();
        if namespace != "default" {
            server.ensure_namespace(namespace).await;
        }
        let mut pod = pod.clone();
        let was_going = pod["metadata"].as_object_mut().unwrap().remove("deletionTimestamp").is_some();
        pod["metadata"].as_object_mut().unwrap().remove("deletionGracePeriodSeconds");
        // One that has lost its address already does not count, which without its deletion nobody could tell.
        let address = &pod["metadata"]["annotations"]["cni.projectcalico.org/podIP"];
        if was_going && address == "" {
            continue;
        }
        server.create(&format!("/api/v1/namespaces/{namespace}/pods"), &pod).await;
    }
}

pub(super) fn exporter(server: &ApiServer, arguments: &[&str]) -> Exporter {
    let mut command = program();
    command.env("KUBECONFIG", server.kubeconfig()).env("NODENAME", "rack1-node-1");
    Exporter::spawn(command, arguments)
}

const IN_SYNC: &str = "calico_exporter_source_in_sync";
const KUBERNETES: [(&str, &str); 1] = [("source", "kubernetes")];

#[tokio::test]
async fn the_ipam_collector_follows_sweeps_and_finds_nothing_wrong() {
    let Some(server) = ApiServer::start(V1).await else { return };
    fill(&server, V1).await;
    add_pods(&server, V1).await;
    let exporter =
        exporter(&server, &["--no-collector.routes", "--leaks.interval", "1s", "--datastore.type", "kubernetes"]);
    let scrape = exporter.until("in sync", |it| it.value(IN_SYNC, &KUBERNETES) == Some(1.0));
    assert_eq!(scrape.value("calico_exporter_source_denied_resources", &KUBERNETES), Some(0.0));
    let swept = || exporter.log().matches("swept for leaks").count();
    while swept() < 2 {
        assert!(!exporter.log().contains("broke off"), "{}", exporter.log());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(exporter.findings(), Vec::<Value>::new());
    let hosts = |it: &crate::exposition::Exposition| {
        it.samples.iter().filter(|((name, _), _)| name == "calico_host_blocks").map(|(_, value)| value).sum::<f64>()
    };
    let before = hosts(&exporter.scrape());
    let affinity = json!({
        "apiVersion": V1, "kind": "BlockAffinity", "metadata": {"name": "anything"},
        "spec": {"cidr": "10.210.77.0/30", "node": "rack1-node-1", "state": "confirmed", "type": "host", "deleted": "false"},
    });
    server.send("POST", &format!("/apis/{V1}/blockaffinities"), &affinity).await;
    server.send("POST", &blocks(V1), &block(V1, "10.210.77.0/30", "rack1-node-1")).await;
    exporter.until("the claim", |it| hosts(it) == before + 1.0);
    server.patch(&format!("/apis/{V1}/blockaffinities/anything"), &json!({"spec": {"deleted": "true"}})).await;
    exporter.until("the release", |it| hosts(it) == before);
}

#[tokio::test]
async fn the_routes_collector_needs_no_more_than_its_role() {
    let Some(server) = ApiServer::start(V3).await else { return };
    fill(&server, V3).await;
    add_pods(&server, V3).await;
    server.permit(&shipped_rules("calico-exporter", &[])).await;
    let exporter = exporter(&server, &["--no-collector.ipam"]);
    exporter.until("in sync", |it| it.value(IN_SYNC, &KUBERNETES) == Some(1.0));
    // Addresses of other hosts' blocks may be routes of their own: whose they are is asked Pod by Pod (J25).
    let asked = |wanted: &str| {
        server
            .audited()
            .iter()
            .any(|(verb, resource, code)| (verb.as_str(), resource.as_str(), *code) == ("get", wanted, 200))
    };
    exporter.until("a Pod is looked up", |_| asked("pods"));
    let audited = server.audited();
    let refused = audited.iter().find(|(_, _, code)| *code != 200 && *code != 404);
    assert_eq!(refused, None);
    assert!(
        audited.iter().all(|(verb, resource, _)| resource != "ipamhandles" && (resource != "pods" || verb == "get"))
    );
}

#[tokio::test]
async fn by_affinities_other_hosts_blocks_are_read_by_name_where_a_route_turns_on_them() {
    let Some(server) = ApiServer::start(V1).await else { return };
    fill(&server, V1).await;
    server.permit(&shipped_rules("calico-exporter", &[])).await;
    let flags = ["--no-collector.ipam", "--routes.watch", "affinities"];
    let exporter = exporter(&server, &flags);
    exporter.until("in sync", |it| it.value(IN_SYNC, &KUBERNETES) == Some(1.0));
    // The key of another host asks for a route that this kernel does not have.
    let theirs = "/ipamblocks/10-212-13-128-26";
    exporter.until("its block is read", |_| server.asked().iter().any(|uri| uri.ends_with(theirs)));
    let all = |uri: &String| uri.contains("/ipamblocks?") && !uri.contains("metadata.name");
    assert!(!server.asked().iter().any(all), "{:?}", server.asked());
    let fine = |(verb, resource, code): &(String, String, u64)| {
        matches!(code, 200 | 404) && (resource != "pods" || verb == "get")
    };
    assert!(server.audited().iter().all(fine), "{:?}", server.audited());
    let mut check = program();
    check.env("KUBECONFIG", server.kubeconfig()).env("NODENAME", "rack1-node-1");
    let output = check.arg("check").args(flags).args(["--settle", "10ms", "--output", "json"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains(r#""subject":"10.212.13.128/26","host":"rack1-node-2""#),
        "{said} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(!server.asked().iter().any(all), "{:?}", server.asked());
}

#[tokio::test]
async fn check_says_the_same_at_once_and_names_what_it_may_not_read() {
    let Some(server) = ApiServer::start(V1).await else { return };
    fill(&server, V1).await;
    add_pods(&server, V1).await;
    let check = || {
        let mut command = program();
        command.env("KUBECONFIG", server.kubeconfig()).env("NODENAME", "rack1-node-1");
        command.args(["check", "--no-collector.routes", "--settle", "10ms"]).output().unwrap()
    };
    let clean = check();
    let said = String::from_utf8_lossy(&clean.stdout).into_owned();
    // One of its pools is full.
    let first = "the cluster's IPAM: no fault, and something is nearly used up";
    assert_eq!((clean.status.code(), said.lines().next()), (Some(0), Some(first)));
    server.permit(&server.rules(&["pods"])).await;
    let denied = check();
    let said = String::from_utf8_lossy(&denied.stderr).into_owned();
    assert_eq!(denied.status.code(), Some(2), "{said}");
    assert!(said.contains("refuses list on pods") && said.trim().lines().count() == 1, "{said}");
}
