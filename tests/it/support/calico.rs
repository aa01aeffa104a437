//! What Calico writes, as key and value: a small language for the datastores of tests.

use serde_json::{Map, Value, json};

/// A key and its value.
pub(crate) type KeyValue = (String, String);

fn resource(kind: &str, plural: &str, name: &str, spec: Value) -> KeyValue {
    let value = json!({
        "kind": kind,
        "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": name, "creationTimestamp": "2026-08-20T09:00:00Z"},
        "spec": spec,
    });
    (format!("/calico/resources/v3/projectcalico.org/{plural}/{name}"), value.to_string())
}

/// A pool with `ipipMode` and `vxlanMode`.
pub(crate) fn pool(name: &str, cidr: &str, block_size: u8, ipip: &str, vxlan: &str) -> KeyValue {
    let spec = json!({
        "cidr": cidr, "blockSize": block_size, "ipipMode": ipip, "vxlanMode": vxlan,
        "natOutgoing": true, "nodeSelector": "all()", "allowedUses": ["Workload", "Tunnel"],
    });
    resource("IPPool", "ippools", name, spec)
}

/// A node with addresses as `spec.bgp` and `spec` have them.
pub(crate) fn node(name: &str, bgp: Value, vxlan_v4: Option<&str>, vxlan_v6: Option<&str>) -> KeyValue {
    let mut spec = Map::from_iter([("bgp".to_owned(), bgp)]);
    for (field, address) in [("ipv4VXLANTunnelAddr", vxlan_v4), ("ipv6VXLANTunnelAddr", vxlan_v6)] {
        spec.extend(address.map(|address| (field.to_owned(), json!(address))));
    }
    resource("Node", "nodes", name, Value::Object(spec))
}

/// The cluster, of this version and type.
pub(crate) fn cluster(version: &str, cluster_type: &str) -> KeyValue {
    let spec = json!({"clusterType": cluster_type, "calicoVersion": version, "datastoreReady": true});
    resource("ClusterInformation", "clusterinformations", "default", spec)
}

/// A confirmed affinity of a host.
pub(crate) fn affinity(host: &str, cidr: &str) -> KeyValue {
    (format!("/calico/ipam/v2/host/{host}/{}", place(cidr)), r#"{"state":"confirmed","deleted":false}"#.to_owned())
}

/// The key of a block.
pub(crate) fn block_key(cidr: &str) -> String {
    format!("/calico/ipam/v2/assignment/{}", place(cidr))
}

fn place(cidr: &str) -> String {
    let version = if cidr.contains(':') { "ipv6" } else { "ipv4" };
    format!("{version}/block/{}", cidr.replace('/', "-"))
}

/// An allocation: which ordinal, and the attribute that says whose it is.
pub(crate) type Allocation = (usize, Value);

/// An address of a pod in namespace `shop`, on this node.
pub(crate) fn pod(ordinal: usize, node: &str, pod: &str) -> Allocation {
    let owner = json!({
        "namespace": "shop", "node": node, "pod": pod, "timestamp": "2026-08-20 09:15:02.123456789 +0000 UTC",
    });
    (ordinal, json!({"handle_id": format!("k8s-pod-network.{node}-{pod}"), "secondary": owner}))
}

/// A node's tunnel address: `prefix` is its handle's, `kind` its type.
pub(crate) fn tunnel(ordinal: usize, node: &str, prefix: &str, kind: &str) -> Allocation {
    (ordinal, json!({"handle_id": format!("{prefix}-{node}"), "secondary": {"node": node, "type": kind}}))
}

/// A block of a host as the allocator keeps it.
pub(crate) fn block(cidr: &str, host: &str, allocations: &[Allocation]) -> KeyValue {
    let length: u32 = cidr.split('/').nth(1).unwrap().parse().unwrap();
    let size = 1_usize << (if cidr.contains(':') { 128 } else { 32 } - length);
    let mut list = vec![Value::Null; size];
    for (index, (ordinal, _)) in allocations.iter().enumerate() {
        list[*ordinal] = json!(index);
    }
    let free: Vec<usize> = (0..size).filter(|ordinal| list[*ordinal].is_null()).collect();
    let attributes: Vec<&Value> = allocations.iter().map(|(_, attribute)| attribute).collect();
    let value = json!({
        "cidr": cidr, "affinity": format!("host:{host}"), "allocations": list, "unallocated": free,
        "attributes": attributes, "sequenceNumber": 1_787_390_000_123_456_798_u64,
        "sequenceNumberForAllocation": {}, "deleted": false,
    });
    (block_key(cidr), value.to_string())
}

/// A block with its owner's key.
pub(crate) fn owned(cidr: &str, host: &str, allocations: &[Allocation]) -> [KeyValue; 2] {
    [block(cidr, host, allocations), affinity(host, cidr)]
}

/// The endpoint of a pod in namespace `shop`.
pub(crate) fn endpoint(node: &str, pod: &str, address: &str, interface: &str) -> KeyValue {
    let double = |part: &str| part.replace('-', "--");
    let name = format!("{}-k8s-{}-eth0", double(node), double(pod));
    let value = json!({
        "kind": "WorkloadEndpoint", "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": name, "namespace": "shop", "creationTimestamp": "2026-08-20T09:15:03Z"},
        "spec": {
            "orchestrator": "k8s", "node": node, "containerID": format!("{node}-{pod}"), "pod": pod,
            "endpoint": "eth0", "ipNetworks": [address], "interfaceName": interface,
        },
    });
    (format!("/calico/resources/v3/projectcalico.org/workloadendpoints/shop/{name}"), value.to_string())
}
