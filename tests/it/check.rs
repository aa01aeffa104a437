//! `check` on a hundred hosts: ten planted faults of different kinds are named, and nothing else.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use serde_json::{Value, json};

const HOSTS: usize = 100;
const BLOCK: usize = 64;
const PODS: usize = 3;

/// A VXLAN cluster as etcd's keys, and the kernel of host 0 as iproute2's JSON.
struct Cluster {
    keys: BTreeMap<String, Value>,
    routes: Vec<Value>,
    links: Vec<Value>,
}

fn host(index: usize) -> String {
    format!("host-{index:03}")
}

fn node_address(index: usize) -> String {
    format!("10.1.{}.{}", index / 200, index % 200 + 1)
}

fn block_base(index: usize) -> String {
    format!("10.100.{}.{}", index / 4, index % 4 * BLOCK)
}

fn address(index: usize, ordinal: usize) -> String {
    format!("10.100.{}.{}", index / 4, index % 4 * BLOCK + ordinal)
}

fn block_key(index: usize) -> String {
    format!("/calico/ipam/v2/assignment/ipv4/block/{}-26", block_base(index))
}

fn affinity_key(index: usize) -> String {
    format!("/calico/ipam/v2/host/{}/ipv4/block/{}-26", host(index), block_base(index))
}

fn node_key(index: usize) -> String {
    format!("/calico/resources/v3/projectcalico.org/nodes/{}", host(index))
}

fn handle(index: usize, pod: usize) -> String {
    format!("k8s-pod-network.{index:04}{pod:04}")
}

fn handle_key(index: usize, pod: usize) -> String {
    format!("/calico/ipam/v2/handle/{}", handle(index, pod))
}

fn endpoint_key(index: usize, pod: usize) -> String {
    format!(
        "/calico/resources/v3/projectcalico.org/workloadendpoints/default/{}-k8s-pod--{index}--{pod}-eth0",
        host(index).replace('-', "--")
    )
}

impl Cluster {
    fn new() -> Cluster {
        let mut keys = BTreeMap::new();
        keys.insert(
            "/calico/resources/v3/projectcalico.org/ippools/pods".to_owned(),
            json!({"metadata": {"name": "pods"}, "spec": {"cidr": "10.100.0.0/16", "blockSize": 26, "vxlanMode": "Always"}}),
        );
        keys.insert(
            "/calico/resources/v3/projectcalico.org/clusterinformations/default".to_owned(),
            json!({"metadata": {"name": "default"}, "spec": {"clusterType": "k8s", "calicoVersion": "v3.33.0"}}),
        );
        let mut cluster = Cluster { keys, routes: Vec::new(), links: Vec::new() };
        cluster.link(2, "eth0", &node_address(0), 16);
        cluster.link(3, "vxlan.calico", &address(0, 0), 32);
        for index in 0..HOSTS {
            cluster.host(index);
        }
        cluster
    }

    fn link(&mut self, index: usize, name: &str, address: &str, prefix: usize) {
        let mut addresses = Vec::new();
        if !address.is_empty() {
            addresses.push(json!({"family": "inet", "local": address, "prefixlen": prefix, "scope": "global"}));
        }
        self.links.push(json!({
            "ifindex": index, "ifname": name, "flags": ["UP", "LOWER_UP"], "mtu": (if name == "vxlan.calico" { 1450 } else { 1500 }), "operstate": "UNKNOWN",
            "addr_info": addresses,
        }));
    }

    fn host(&mut self, index: usize) {
        let name = host(index);
        self.keys.insert(
            node_key(index),
            json!({"metadata": {"name": name}, "spec": {
                "bgp": {"ipv4Address": format!("{}/16", node_address(index))},
                "ipv4VXLANTunnelAddr": address(index, 0),
            }}),
        );
        self.keys.insert(affinity_key(index), json!({"state": "confirmed", "deleted": false}));
        let tunnel = format!("vxlan-tunnel-addr-{name}");
        let mut attributes =
            vec![json!({"handle_id": tunnel, "secondary": {"node": name, "type": "vxlanTunnelAddress"}})];
        self.keys.insert(
            format!("/calico/ipam/v2/handle/{tunnel}"),
            json!({"block": {format!("{}/26", block_base(index)): 1}, "deleted": false}),
        );
        // The tunnel's address first, then the pods'.
        let allocations: Vec<Option<usize>> =
            (0..BLOCK).map(|ordinal| Some(ordinal).filter(|it| *it <= PODS)).collect();
        let mut sequence = serde_json::Map::from_iter([("0".to_owned(), json!(1_795_487_641_000_000_000u64))]);
        for pod in 1..=PODS {
            sequence.insert(pod.to_string(), json!(1_795_487_641_000_000_000u64 + pod as u64));
            attributes.push(json!({"handle_id": handle(index, pod), "secondary":
                {"node": name, "namespace": "default", "pod": format!("pod-{index}-{pod}")}}));
            self.keys.insert(
                handle_key(index, pod),
                json!({"block": {format!("{}/26", block_base(index)): 1}, "deleted": false}),
            );
            let interface = format!("cali{index:04}{pod:04}");
            self.keys.insert(
                endpoint_key(index, pod),
                json!({"metadata": {"namespace": "default"}, "spec": {
                    "node": name, "pod": format!("pod-{index}-{pod}"), "containerID": format!("{index:04}{pod:04}"),
                    "interfaceName": interface, "ipNetworks": [format!("{}/32", address(index, pod))],
                }}),
            );
            if index == 0 {
                self.link(10 + pod, &interface, "", 0);
                self.routes.push(json!({"type": "unicast", "dst": address(0, pod), "dev": interface, "table": "main",
                    "protocol": "boot", "scope": "link", "metric": 1024, "flags": []}));
            }
        }
        let unallocated: Vec<usize> = (PODS + 1..BLOCK).collect();
        self.keys.insert(
            block_key(index),
            json!({"cidr": format!("{}/26", block_base(index)), "affinity": format!("host:{name}"),
                "allocations": allocations, "unallocated": unallocated, "attributes": attributes,
                "sequenceNumber": 1_795_487_641_000_000_100u64, "sequenceNumberForAllocation": sequence,
                "deleted": false}),
        );
        let cidr = format!("{}/26", block_base(index));
        self.routes.push(if index == 0 {
            json!({"type": "blackhole", "dst": cidr, "table": "main", "protocol": "80", "scope": "global", "flags": []})
        } else {
            json!({"type": "unicast", "dst": cidr, "gateway": address(index, 0), "dev": "vxlan.calico",
                "table": "main", "protocol": "boot", "scope": "global", "flags": ["onlink"]})
        });
    }

    fn value(&mut self, key: &str) -> &mut Value {
        self.keys.get_mut(key).unwrap_or_else(|| panic!("no key {key}"))
    }

    fn route(&mut self, index: usize) -> &mut Value {
        let cidr = format!("{}/26", block_base(index));
        self.routes.iter_mut().find(|route| route["dst"] == cidr.as_str()).unwrap()
    }

    /// Runs the real `check`; the exit code and the findings as `metric{labels} subject`.
    fn check(&self, folder: &Path) -> (i32, Vec<String>) {
        let engine = base64::engine::general_purpose::STANDARD;
        let kvs: Vec<Value> = self
            .keys
            .iter()
            .map(|(key, value)| {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                json!({"key": engine.encode(key), "value": engine.encode(text)})
            })
            .collect();
        let file = |name: &str, content: Value| {
            let path = folder.join(name);
            std::fs::write(&path, content.to_string()).unwrap();
            path
        };
        let output = Command::new(env!("CARGO_BIN_EXE_calico-exporter"))
            .args(["check", "--output", "json", "--node.name", &host(0)])
            .arg("--datastore.file")
            .arg(file("etcd.json", json!({"header": {"revision": 1}, "kvs": kvs})))
            .arg("--routes.file")
            .arg(file("routes.json", json!(self.routes)))
            .arg("--links.file")
            .arg(file("links.json", json!(self.links)))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let answer: Value = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
        let findings = answer["findings"].as_array().unwrap().iter().map(|it| {
            let labels: Vec<String> = it["labels"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(name, value)| format!("{name}={}", value.as_str().unwrap()))
                .collect();
            let (metric, subject) = (it["metric"].as_str().unwrap(), it["subject"].as_str().unwrap());
            format!("{metric}{{{}}} {subject}", labels.join(","))
        });
        (output.status.code().unwrap(), findings.collect())
    }
}

#[test]
fn ten_faults_planted_among_a_hundred_hosts_are_named_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new();
    assert_eq!(cluster.check(folder.path()), (0, vec![]), "the cluster is healthy before anything is planted");

    // 1: an address that will be handed out twice.
    cluster.value(&block_key(11))["unallocated"].as_array_mut().unwrap().push(json!(2));
    // 2: an address that is lost.
    cluster.value(&block_key(12))["unallocated"].as_array_mut().unwrap().retain(|it| *it != json!(40));
    // 3: a block that nobody has a key to.
    cluster.keys.remove(&affinity_key(13));
    // 4: a value that nobody can read.
    *cluster.value(&affinity_key(14)) = json!("{\"state\":");
    // 5: a leaked address: its endpoint is gone.
    cluster.keys.remove(&endpoint_key(15, 1));
    // 6: a handle that is gone.
    cluster.keys.remove(&handle_key(16, 2));
    // 7: a tunnel address that is another's in the datastore.
    let attributes = cluster.value(&block_key(17))["attributes"].as_array_mut().unwrap();
    attributes[0]["secondary"] = json!({"node": host(17), "type": "ipipTunnelAddress"});
    // 8: a route that is missing, 9: one that leads elsewhere, 10: one that is stale.
    let missing = format!("{}/26", block_base(18));
    cluster.routes.retain(|route| route["dst"] != missing.as_str());
    cluster.route(19)["gateway"] = json!(address(20, 0));
    let stale = "10.100.200.0/26";
    let mut left = cluster.route(21).clone();
    left["dst"] = json!(stale);
    cluster.routes.push(left);

    let (code, found) = cluster.check(folder.path());
    let mut expected = vec![
        format!("calico_ipam_mismatched_addresses{{reason=allocated_and_unallocated}} {}", address(11, 2)),
        format!("calico_ipam_mismatched_addresses{{reason=neither}} {}", address(12, 40)),
        format!("calico_ipam_affinity_faults{{reason=block_without_affinity}} {}/26", block_base(13)),
        format!("calico_exporter_undecodable_keys{{kind=affinity}} {}", affinity_key(14)),
        format!("calico_ipam_leaked_addresses{{ippool=pods,reason=allocated_not_in_use}} {}", address(15, 1)),
        format!("calico_ipam_handle_faults{{reason=missing_handle}} {}", handle(16, 2)),
        format!("calico_tunnel_faults{{device=vxlan.calico,reason=not_allocated}} {}", address(17, 0)),
        format!("calico_route_faults{{class=remote_block,reason=missing}} {missing}"),
        format!("calico_route_faults{{class=remote_block,reason=wrong_next_hop}} {}/26", block_base(19)),
        format!("calico_route_faults{{class=remote_block,reason=stale}} {stale}"),
    ];
    expected.sort();
    let mut found = found;
    found.sort();
    assert_eq!(found, expected);
    assert_eq!(code, 1);
}
