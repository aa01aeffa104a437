//! A cluster as `etcdctl get --prefix /calico -w json` prints it, with the values that Calico writes.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use calico_exporter::model::{
    AllocationBlock, Attribute, AttributeKind, BgpConfiguration, BgpPeer, EncapMode, FelixConfiguration, IpPool, Node,
    NodeAddressType, PeerAddress, ProgramClusterRoutes as Program, TunnelKind,
};
use calico_exporter::state::{Object, ObjectId};
use serde_json::{Map, Value, json};

use super::world::{World, key_of};
use crate::support::calico::KeyValue;

/// etcd's keys and values.
pub(super) fn pairs(world: &World) -> Vec<KeyValue> {
    (world.objects.iter())
        .map(|(id, object)| (key_of(id), object.as_ref().map_or("{\"broken".to_owned(), |it| value(it).to_string())))
        .collect()
}

pub(super) fn dump(world: &World) -> String {
    let mut pairs = pairs(world);
    pairs.push(("/calico/ipam/v2/assignment/ipv4/block".to_owned(), String::new()));
    pairs.push(("/calico/resources/v3/projectcalico.org/profiles/kns.default".to_owned(), "{}".to_owned()));
    pairs.sort();
    let kvs: Vec<Value> = pairs
        .into_iter()
        .map(|(key, value)| {
            let (key, value) = (BASE64_STANDARD.encode(key), BASE64_STANDARD.encode(value));
            json!({"key": key, "create_revision": 5, "mod_revision": 7, "version": 1, "value": value})
        })
        .collect();
    json!({"header": {"cluster_id": 1, "member_id": 2, "revision": 9, "raft_term": 2}, "count": kvs.len(), "kvs": kvs})
        .to_string()
}

fn resource(kind: &str, id: &ObjectId, spec: Value) -> Value {
    let name = key_of(id).rsplit('/').next().unwrap().to_owned();
    json!({"kind": kind, "apiVersion": "projectcalico.org/v3", "metadata": {"name": name}, "spec": spec})
}

fn value(object: &Object) -> Value {
    let id = object.id();
    match object {
        Object::Block(block) => self::block(block),
        Object::Affinity(key) => json!({"state": key.state.as_str(), "deleted": false}),
        Object::Handle(handle) => {
            let blocks: Map<String, Value> =
                handle.blocks.iter().map(|(cidr, count)| (cidr.to_string(), json!(count))).collect();
            json!({"block": blocks, "deleted": false})
        }
        Object::Pool(pool) => resource("IPPool", &id, self::pool(pool)),
        Object::Node(_, node) => self::node(&id, node),
        Object::Endpoint(it) => {
            let networks: Vec<String> =
                it.addresses.iter().map(|at| format!("{at}/{}", if at.is_ipv4() { 32 } else { 128 })).collect();
            let nats: Vec<Value> =
                it.floating.iter().map(|at| json!({"internalIP": "10.0.0.1", "externalIP": at.to_string()})).collect();
            let spec = json!({"orchestrator": if it.openstack { "openstack" } else { "k8s" }, "node": &*it.node, "pod": &*it.pod, "containerID": &*it.container_id, "endpoint": "eth0", "interfaceName": &*it.interface, "ipNetworks": networks, "ipNATs": nats});
            resource("WorkloadEndpoint", &id, spec)
        }
        Object::Felix(_, felix) => resource("FelixConfiguration", &id, self::felix(felix)),
        Object::BgpConfiguration(_, it) => resource("BGPConfiguration", &id, bgp(it)),
        Object::BgpPeer(_, it) => resource("BGPPeer", &id, peer(it)),
        Object::Cluster(it) => {
            let spec = json!({"clusterType": it.cluster_type, "calicoVersion": it.calico_version, "datastoreReady": it.datastore_ready});
            resource("ClusterInformation", &id, spec)
        }
        Object::IpamConfig(_) | Object::Reservation(_) => unreachable!("these clusters have none"),
    }
}

fn block(block: &AllocationBlock) -> Value {
    let index = |at: u32| block.index_of(at);
    let allocations: Vec<Option<u32>> = (0..block.size()).map(index).collect();
    let unallocated: Vec<u32> = block.unallocated.iter().collect();
    let attributes: Vec<Value> = block.attributes.iter().map(attribute).collect();
    json!({
        "cidr": block.cidr.to_string(),
        "affinity": block.owner.as_ref().map(ToString::to_string),
        "allocations": allocations,
        "unallocated": unallocated,
        "attributes": if attributes.is_empty() { Value::Null } else { json!(attributes) },
        "sequenceNumber": 1_787_390_000_123_456_798u64,
        "sequenceNumberForAllocation": {},
        "deleted": false,
    })
}

fn attribute(it: &Attribute) -> Value {
    if it.kind == AttributeKind::Cooldown {
        return json!({"releasedAt": "2023-11-14T22:13:20Z"});
    }
    let mut secondary = Map::new();
    let fields = [("node", &it.node), ("namespace", &it.namespace), ("pod", &it.pod), ("type", &it.kind_text)];
    for (field, text) in fields {
        if let Some(text) = text {
            secondary.insert(field.to_owned(), json!(&**text));
        }
    }
    let mut entry = Map::new();
    if it.kind == AttributeKind::VirtualMachine {
        secondary.insert("vmi-name".to_owned(), json!("machine"));
    }
    entry.insert("handle_id".to_owned(), json!(it.handle.as_deref()));
    entry.insert("secondary".to_owned(), if secondary.is_empty() { Value::Null } else { secondary.into() });
    if let Some(peer) = &it.peer_node {
        entry.insert("alternateOwnerAttrs".to_owned(), json!({"node": &**peer}));
    }
    entry.into()
}

fn pool(it: &IpPool) -> Value {
    let mode = |mode: EncapMode| json!(mode.as_str());
    let uses = if it.load_balancer { json!(["LoadBalancer"]) } else { json!(["Workload", "Tunnel"]) };
    json!({
        "cidr": it.cidr.to_string(), "blockSize": it.block_size, "ipipMode": mode(it.ipip), "vxlanMode": mode(it.vxlan),
        "disabled": it.disabled, "disableBGPExport": it.disable_bgp_export, "nodeSelector": it.node_selector,
        "allowedUses": uses, "assignmentMode": "Automatic",
    })
}

fn node(id: &ObjectId, node: &Node) -> Value {
    let text = |it: Option<&dyn ToString>| it.map(|it| it.to_string());
    let tunnel = |kind| text(node.tunnels.get(&kind).map(|it| it as &dyn ToString));
    let bgp = node.bgp.as_ref().map(|it| {
        json!({
            "asNumber": it.as_number,
            "ipv4Address": it.ipv4.map(|it| it.to_string()),
            "ipv6Address": it.ipv6.map(|it| it.to_string()),
            "ipv4IPIPTunnelAddr": tunnel(TunnelKind::Ipip),
            "routeReflectorClusterID": it.route_reflector_cluster_id,
        })
    });
    let kind = |kind| match kind {
        NodeAddressType::Internal => "InternalIP",
        NodeAddressType::External => "ExternalIP",
        NodeAddressType::Other => "CalicoNodeIP",
    };
    let addresses: Vec<Value> = node
        .addresses
        .iter()
        .map(|it| json!({"address": it.address.addr().to_string(), "type": kind(it.kind)}))
        .collect();
    let spec = json!({
        "bgp": bgp, "addresses": addresses,
        "ipv4VXLANTunnelAddr": tunnel(TunnelKind::VxlanV4), "ipv6VXLANTunnelAddr": tunnel(TunnelKind::VxlanV6),
    });
    let mut resource = resource("Node", id, spec);
    resource["metadata"]["labels"] = node.labels.iter().collect();
    resource
}

fn program(it: Option<Program>) -> Value {
    json!(it.map(|it| match it {
        Program::Disabled => "Disabled",
        Program::EnabledIpipOnly => "EnabledIPIPOnly",
        Program::EnabledNoEncapOnly => "EnabledNoEncapOnly",
        Program::Enabled => "Enabled",
    }))
}

fn felix(it: &FelixConfiguration) -> Value {
    json!({
        "nodeSelector": it.node_selector, "programClusterRoutes": program(it.program_cluster_routes),
        "deviceRouteProtocol": it.device_route_protocol, "interfacePrefix": it.interface_prefix,
        "routeSyncDisabled": it.route_sync_disabled,
        "floatingIPs": it.floating_ips.map(|it| if it { "Enabled" } else { "Disabled" }),
    })
}

fn bgp(it: &BgpConfiguration) -> Value {
    json!({"nodeToNodeMeshEnabled": it.mesh, "asNumber": it.as_number, "programClusterRoutes": program(it.program_cluster_routes)})
}

fn peer(it: &BgpPeer) -> Value {
    let address = it.peer_ip.as_ref().map(|it| match it {
        PeerAddress::Address(address) => address.to_string(),
        PeerAddress::Unreadable(text) => text.clone(),
    });
    json!({"nodeSelector": it.node_selector, "peerSelector": it.peer_selector, "peerIP": address, "asNumber": it.as_number})
}
