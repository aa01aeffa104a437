//! A cluster of any size as dumps, healthy until something is planted.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Output};

use base64::Engine as _;
use serde_json::{Value, json};

pub(crate) const POOL_KEY: &str = "/calico/resources/v3/projectcalico.org/ippools/pods";

const BLOCK: usize = 64;
const PODS: usize = 3;

/// Who carries pods' packets between hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// Felix, over VXLAN.
    Vxlan,
    /// BIRD, over IPIP.
    Bird,
}

/// A cluster as etcd's keys, and the kernel of host 0 as iproute2's JSON.
#[derive(Clone)]
pub(crate) struct Dumped {
    pub(crate) keys: BTreeMap<String, Value>,
    pub(crate) routes: Vec<Value>,
    pub(crate) links: Vec<Value>,
    pub(crate) carrier: Carrier,
}

pub(crate) fn host(index: usize) -> String {
    format!("host-{index:03}")
}

pub(crate) fn node_address(index: usize) -> String {
    format!("10.1.{}.{}", index / 200, index % 200 + 1)
}

pub(crate) fn block_base(index: usize) -> String {
    format!("10.100.{}.{}", index / 4, index % 4 * BLOCK)
}

pub(crate) fn address(index: usize, ordinal: usize) -> String {
    format!("10.100.{}.{}", index / 4, index % 4 * BLOCK + ordinal)
}

pub(crate) fn block_key(index: usize) -> String {
    format!("/calico/ipam/v2/assignment/ipv4/block/{}-26", block_base(index))
}

pub(crate) fn affinity_key(index: usize) -> String {
    format!("/calico/ipam/v2/host/{}/ipv4/block/{}-26", host(index), block_base(index))
}

pub(crate) fn node_key(index: usize) -> String {
    format!("/calico/resources/v3/projectcalico.org/nodes/{}", host(index))
}

pub(crate) fn handle(index: usize, pod: usize) -> String {
    format!("k8s-pod-network.{index:04}{pod:04}")
}

pub(crate) fn handle_key(index: usize, pod: usize) -> String {
    format!("/calico/ipam/v2/handle/{}", handle(index, pod))
}

pub(crate) fn endpoint_key(index: usize, pod: usize) -> String {
    format!(
        "/calico/resources/v3/projectcalico.org/workloadendpoints/default/{}-k8s-pod--{index}--{pod}-eth0",
        host(index).replace('-', "--")
    )
}

impl Carrier {
    /// Its tunnel device.
    pub(crate) fn device(self) -> &'static str {
        match self {
            Carrier::Vxlan => "vxlan.calico",
            Carrier::Bird => "tunl0",
        }
    }
}

impl Dumped {
    /// So many healthy hosts, seen from host 0.
    pub(crate) fn healthy(carrier: Carrier, hosts: usize) -> Dumped {
        let (mode, kind, version) = match carrier {
            Carrier::Vxlan => ("vxlanMode", "k8s", "v3.33.0"),
            Carrier::Bird => ("ipipMode", "k8s,bgp", "v3.30.0"),
        };
        let keys = [
            (
                POOL_KEY,
                json!({"metadata": {"name": "pods"}, "spec": {"cidr": "10.100.0.0/16", "blockSize": 26, mode: "Always"}}),
            ),
            (
                "/calico/resources/v3/projectcalico.org/clusterinformations/default",
                json!({"metadata": {"name": "default"}, "spec": {"clusterType": kind, "calicoVersion": version}}),
            ),
        ];
        let keys = keys.map(|(key, value)| (key.to_owned(), value)).into();
        let default = json!({"type": "unicast", "dst": "default", "dev": "eth0", "protocol": "static", "table": "main",
            "scope": "link", "flags": []});
        let mut cluster = Dumped { keys, routes: vec![default], links: Vec::new(), carrier };
        cluster.link(2, "eth0", &node_address(0), 16);
        cluster.link(3, carrier.device(), &address(0, 0), 32);
        for index in 0..hosts {
            cluster.host(index);
        }
        cluster
    }

    pub(crate) fn link(&mut self, index: usize, name: &str, address: &str, prefix: usize) {
        let mut addresses = Vec::new();
        if !address.is_empty() {
            addresses.push(json!({"family": "inet", "local": address, "prefixlen": prefix, "scope": "global"}));
        }
        self.links.push(json!({
            "ifindex": index, "ifname": name, "flags": ["UP", "LOWER_UP"], "mtu": (if name.starts_with("vxlan") || name == "tunl0" { 1450 } else { 1500 }), "operstate": "UNKNOWN",
            "addr_info": addresses,
        }));
    }

    fn host(&mut self, index: usize) {
        let name = host(index);
        self.keys.insert(
            node_key(index),
            json!({"metadata": {"name": name}, "spec": {
                "bgp": {"ipv4Address": format!("{}/16", node_address(index))},
            }}),
        );
        let carrier = self.carrier;
        let node = self.value(&node_key(index));
        match carrier {
            Carrier::Vxlan => node["spec"]["ipv4VXLANTunnelAddr"] = json!(address(index, 0)),
            Carrier::Bird => node["spec"]["bgp"]["ipv4IPIPTunnelAddr"] = json!(address(index, 0)),
        }
        self.keys.insert(affinity_key(index), json!({"state": "confirmed", "deleted": false}));
        let (tunnel, tunnel_type) = match carrier {
            Carrier::Vxlan => (format!("vxlan-tunnel-addr-{name}"), "vxlanTunnelAddress"),
            Carrier::Bird => (format!("ipip-tunnel-addr-{name}"), "ipipTunnelAddress"),
        };
        let mut attributes = vec![json!({"handle_id": tunnel, "secondary": {"node": name, "type": tunnel_type}})];
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
        let (protocol, own) = match carrier {
            Carrier::Vxlan => ("boot", "80"),
            Carrier::Bird => ("bird", "bird"),
        };
        let gateway = match carrier {
            Carrier::Vxlan => address(index, 0),
            Carrier::Bird => node_address(index),
        };
        self.routes.push(if index == 0 {
            json!({"type": "blackhole", "dst": cidr, "table": "main", "protocol": own, "scope": "global", "flags": []})
        } else {
            json!({"type": "unicast", "dst": cidr, "gateway": gateway, "dev": carrier.device(),
                "table": "main", "protocol": protocol, "scope": "global", "flags": ["onlink"]})
        });
    }

    pub(crate) fn value(&mut self, key: &str) -> &mut Value {
        self.keys.get_mut(key).unwrap_or_else(|| panic!("no key {key}"))
    }

    pub(crate) fn route(&mut self, index: usize) -> &mut Value {
        let cidr = format!("{}/26", block_base(index));
        self.routes.iter_mut().find(|route| route["dst"] == cidr.as_str()).unwrap()
    }

    /// Writes the dumps into a folder; the flags that read them.
    pub(crate) fn write(&self, folder: &Path) -> Vec<OsString> {
        let engine = base64::engine::general_purpose::STANDARD;
        let kvs: Vec<Value> = self
            .keys
            .iter()
            .map(|(key, value)| {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                json!({"key": engine.encode(key), "value": engine.encode(text)})
            })
            .collect();
        let files = [
            ("--datastore.file", "etcd.json", json!({"header": {"revision": 1}, "kvs": kvs})),
            ("--routes.file", "routes.json", json!(self.routes)),
            ("--links.file", "links.json", json!(self.links)),
        ];
        let mut flags: Vec<OsString> = vec!["--node.name".into(), host(0).into()];
        for (flag, name, content) in files {
            let path = folder.join(name);
            std::fs::write(&path, content.to_string()).unwrap();
            flags.extend([flag.into(), path.into()]);
        }
        flags
    }

    /// What the real `check` says, with these flags beside.
    pub(crate) fn check(&self, flags: &[&str]) -> Output {
        let folder = tempfile::tempdir().unwrap();
        Command::new(env!("CARGO_BIN_EXE_calico-exporter"))
            .arg("check")
            .args(flags)
            .args(self.write(folder.path()))
            .output()
            .unwrap()
    }

    /// The exit code and the document.
    pub(crate) fn check_json(&self) -> (i32, Value) {
        let output = self.check(&["--output", "json"]);
        let text = String::from_utf8(output.stdout).unwrap();
        let answer = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code().unwrap(), answer)
    }
}
