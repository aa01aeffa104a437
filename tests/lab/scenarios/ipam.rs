//! What stands in IPAM: values edited by hand, claims and releases that broke off, and what nobody takes back.

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{block, edit};
use crate::ipam::{Pool, affinity_key, block_key, handle_key, ordinal};
use crate::lab::Lab;
use crate::run::Scenario;

/// Where nobody has a block.
const NOBODYS: &str = "10.65.15.0/28";
/// A handle of a pod that is long gone.
const LEFT_OVER: &str = "k8s-pod-network.0000dead";
const CLONE: &str = "/calico/resources/v3/projectcalico.org/workloadendpoints/default/h1-k8s-clone-eth0";
/// An address that was allocated for a pod which never came.
const NEVER_USED: &str = "k8s-pod-network.0000feed";

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "blocks and claims broken by hand",
            short: false,
            expected: &[
                ("CalicoAddressesHandedOutTwice", &[("reason", "allocated_and_unallocated"), ("severity", "critical")]),
                ("CalicoAddressesLost", &[("reason", "neither")]),
                ("CalicoBlocksOverlap", &[("reason", "overlap"), ("severity", "critical")]),
                ("CalicoBlocksInvalid", &[("reason", "wrong_block_size")]),
                ("CalicoExporterUndecodableKeys", &[("kind", "block")]),
                ("CalicoAffinityStuck", &[("reason", "stuck_pending")]),
                ("CalicoAffinityContradictory", &[("reason", "block_without_affinity")]),
            ],
            tolerated: &[],
            fault: |lab| {
                break_lists(lab);
                break_claims(lab);
                let unreadable = block_key(block(lab, "h2", "ipip"));
                lab.store.put(&unreadable, "{\"cidr\":");
            },
            repair: |lab| {
                mend_claims(lab);
                rewrite(lab, &[("h1", "plain"), ("h2", "plain"), ("h2", "ipip")]);
            },
        },
        Scenario {
            name: "addresses, handles and blocks that nobody takes back",
            short: false,
            expected: &[
                ("CalicoAddressConflict", &[("reason", "handle_differs"), ("severity", "critical")]),
                ("CalicoAddressesOnAnotherNode", &[("reason", "on_another_node")]),
                ("CalicoAddressesLeaked", &[("reason", "allocated_not_in_use")]),
                ("CalicoHandleFaults", &[("reason", "missing_handle")]),
                ("CalicoHandlesLeaked", &[("reason", "no_allocation"), ("severity", "info")]),
                ("CalicoTunnelAddressConflict", &[("device", "tunl0"), ("reason", "owned_by_pod")]),
                ("CalicoBlocksOutsidePools", &[("reason", "outside_any_pool"), ("severity", "info")]),
            ],
            // Live endpoints are not listed: on its own host the moved pod is taken for one of the host that IPAM names.
            tolerated: &["CalicoRoutesMisdirected"],
            fault: |lab| {
                mix_up_pods(lab);
                leak(lab);
                let pool = Pool {
                    name: "gone",
                    cidr: "10.68.0.0/26".parse().unwrap(),
                    block: 28,
                    ipip: "Always",
                    vxlan: "Never",
                };
                lab.ipam.add_pool(&mut lab.store, pool);
                lab.ipam.claim(&mut lab.store, "gone", "h2");
                lab.ipam.remove_pool(&mut lab.store, "gone");
            },
            repair: |lab| {
                lab.clear_pool("gone");
                end_leaks(lab);
                sort_out_pods(lab);
            },
        },
    ]
}

/// In one block an allocated address is called free, in another a free one is forgotten.
fn break_lists(lab: &mut Lab) {
    let key = block_key(block(lab, "h1", "plain"));
    edit(lab, &key, |value| {
        let used = value["allocations"].as_array().unwrap().iter().position(|one| !one.is_null()).unwrap();
        value["unallocated"].as_array_mut().unwrap().push(json!(used));
    });
    let key = block_key(block(lab, "h2", "plain"));
    edit(lab, &key, |value| drop(value["unallocated"].as_array_mut().unwrap().pop()));
}

/// Half of a block, which is one of another size in the midst of it.
fn half(lab: &Lab) -> IpNet {
    block(lab, "h3", "plain").subnets(29).unwrap().last().unwrap()
}

/// A claim that broke off, a claim that was lost, and a block inside of another.
fn break_claims(lab: &mut Lab) {
    lab.store.put(&affinity_key("h1", NOBODYS.parse().unwrap()), "{\"state\":\"pending\"}");
    let lost = affinity_key("h2", block(lab, "h2", "vxlan"));
    lab.store.delete(&lost);
    let half = half(lab);
    let value = json!({
        "cidr": half, "affinity": "host:h3", "allocations": vec![Value::Null; 8],
        "unallocated": (0..8).collect::<Vec<_>>(), "attributes": null, "sequenceNumber": 7, "deleted": false,
    });
    lab.store.put(&affinity_key("h3", half), "{\"state\":\"confirmed\"}");
    lab.store.put(&block_key(half), &value.to_string());
}

fn mend_claims(lab: &mut Lab) {
    lab.store.delete(&affinity_key("h1", NOBODYS.parse().unwrap()));
    let lost = affinity_key("h2", block(lab, "h2", "vxlan"));
    lab.store.put(&lost, "{\"state\":\"confirmed\"}");
    let half = half(lab);
    lab.store.delete(&affinity_key("h3", half));
    lab.store.delete(&block_key(half));
}

fn rewrite(lab: &mut Lab, blocks: &[(&str, &str)]) {
    for (host, pool) in blocks {
        let cidr = block(lab, host, pool);
        lab.ipam.rewrite(&mut lab.store, cidr);
    }
}

/// The two unwrapped pods of h1: their indices.
fn unwrapped_pods(lab: &Lab) -> [usize; 2] {
    let cidr = block(lab, "h1", "plain");
    let own = lab.pods.iter().enumerate().filter(|(_, pod)| pod.host == "h1" && cidr.contains(&pod.addresses[0]));
    let [first, second, ..] = own.map(|(index, _)| index).collect::<Vec<_>>()[..] else { panic!("two pods on h1") };
    [first, second]
}

/// A pod whose container is another than the one that got its address, a pod that IPAM knows on another host, and a pod
/// that uses the address of a tunnel.
fn mix_up_pods(lab: &mut Lab) {
    let [replaced, moved] = unwrapped_pods(lab);
    let key = lab.pods[replaced].key.clone();
    edit(lab, &key, |value| value["spec"]["containerID"] = json!("beef"));
    let (cidr, address) = (block(lab, "h1", "plain"), lab.pods[moved].addresses[0]);
    edit(lab, &block_key(cidr), |value| {
        let index = usize::try_from(value["allocations"][ordinal(cidr, address)].as_u64().unwrap()).unwrap();
        value["attributes"][index]["secondary"]["node"] = json!("h2");
    });
    let endpoint = json!({
        "kind": "WorkloadEndpoint", "metadata": {"name": "h1-k8s-clone-eth0", "namespace": "default"},
        "spec": {"orchestrator": "k8s", "node": "h1", "containerID": "c10e", "pod": "clone", "endpoint": "eth0",
                 "ipNetworks": [format!("{}/32", lab.tunnels["h3"][0])], "interfaceName": "cali-clone"},
    });
    lab.store.put(CLONE, &endpoint.to_string());
}

fn sort_out_pods(lab: &mut Lab) {
    lab.store.delete(CLONE);
    rewrite(lab, &[("h1", "plain")]);
    let [replaced, _] = unwrapped_pods(lab);
    let (key, handle) = (lab.pods[replaced].key.clone(), lab.pods[replaced].handle.clone());
    let (_, container) = handle.split_once('.').unwrap();
    edit(lab, &key, |value| value["spec"]["containerID"] = json!(container));
}

/// The handle of a pod of h2 that has one address, and its block.
fn handle_of_a_pod(lab: &Lab) -> (String, IpNet) {
    let cidr = block(lab, "h2", "vxlan");
    let pod = lab.pods.iter().find(|pod| cidr.contains(&pod.addresses[0])).unwrap();
    (handle_key(&pod.handle), cidr)
}

/// An address that nobody uses, a handle that is left over, and one that is missing.
fn leak(lab: &mut Lab) {
    lab.ipam.assign(&mut lab.store, "vxlan", "h3", NEVER_USED, json!({"namespace": "default", "pod": "never"}));
    let cidr = block(lab, "h1", "ipip");
    lab.store.put(&handle_key(LEFT_OVER), &json!({"block": {cidr.to_string(): 1}, "deleted": false}).to_string());
    let (missing, _) = handle_of_a_pod(lab);
    lab.store.delete(&missing);
}

fn end_leaks(lab: &mut Lab) {
    lab.ipam.release_handle(&mut lab.store, NEVER_USED);
    lab.store.delete(&handle_key(LEFT_OVER));
    let (missing, cidr) = handle_of_a_pod(lab);
    lab.store.put(&missing, &json!({"block": {cidr.to_string(): 1}, "deleted": false}).to_string());
}
