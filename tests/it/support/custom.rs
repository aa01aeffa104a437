//! etcd's keys and values as the objects that Calico keeps of the same behind the Kubernetes API: written from the
//! reference, by nobody who reads them.

use calico_exporter::model::{EndpointId, NodeAddress, NodeAddressType, NodeBgp, TunnelKind};
use calico_exporter::source::kubernetes::ApiGroup;
use calico_exporter::state::{Object, ObjectId};
use serde_json::{Map, Value, json};

use super::calico::KeyValue;

const IPAM: &str = "/calico/ipam/v2/";
const RESOURCES: &str = "/calico/resources/v3/projectcalico.org/";

/// What the API server keeps of a key; `None` of one that has no object. A value that is no JSON becomes one that is of
/// another type where Calico reads it: the API server stores nothing else.
pub(crate) fn item(group: ApiGroup, key: &str, value: &str) -> Option<Value> {
    let read = serde_json::from_str(value).ok();
    if let Some(place) = key.strip_prefix(IPAM) {
        return ipam(group, place, read);
    }
    let (plural, name) = key.strip_prefix(RESOURCES)?.split_once('/')?;
    match plural {
        "nodes" => Some(node(name, read)),
        "workloadendpoints" => pod(read?),
        "ippools" => Some(resource(group, "IPPool", name, read)),
        "ipreservations" => Some(resource(group, "IPReservation", name, read)),
        "felixconfigurations" => Some(resource(group, "FelixConfiguration", name, read)),
        "bgpconfigurations" => Some(resource(group, "BGPConfiguration", name, read)),
        "bgppeers" => Some(resource(group, "BGPPeer", name, read)),
        "clusterinformations" => Some(resource(group, "ClusterInformation", name, read)),
        _ => None,
    }
}

/// What `kubectl get … -A -o json` prints of several kinds.
pub(crate) fn list<'a>(group: ApiGroup, pairs: impl IntoIterator<Item = &'a KeyValue>) -> String {
    let items: Vec<Value> = pairs.into_iter().filter_map(|(key, value)| item(group, key, value)).collect();
    json!({"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}}).to_string()
}

fn custom(group: ApiGroup, kind: &str, name: &str, spec: Value) -> Value {
    let mut metadata = json!({
        "name": name, "uid": "6bc0e30e-4f9c-40c0-a8f1-33cbe3eb1aa1", "resourceVersion": "289", "generation": 1,
        "creationTimestamp": "2026-08-20T09:00:00Z", "managedFields": [{"manager": "calico", "fieldsV1": {"f:spec": {}}}],
    });
    if group == ApiGroup::Crd {
        metadata["annotations"] = json!({"projectcalico.org/metadata": "{}"});
    }
    json!({"apiVersion": group.api_version(), "kind": kind, "metadata": metadata, "spec": spec})
}

fn resource(group: ApiGroup, kind: &str, name: &str, value: Option<Value>) -> Value {
    let Some(value) = value else { return custom(group, kind, name, json!("broken")) };
    let mut item = custom(group, kind, name, value["spec"].clone());
    if let Some(created) = value["metadata"]["creationTimestamp"].as_str() {
        match group {
            ApiGroup::Crd => {
                let kept = json!({"creationTimestamp": created}).to_string();
                item["metadata"]["annotations"]["projectcalico.org/metadata"] = json!(kept);
            }
            ApiGroup::Native => item["metadata"]["creationTimestamp"] = json!(created),
        }
    }
    if !value["status"].is_null() {
        item["status"] = value["status"].clone();
    }
    item
}

/// `10.0.0.0-26` or `fd00::-122` as a CIDR.
fn cidr(segment: &str) -> String {
    segment.replacen('-', "/", 1)
}

fn dashed(cidr: &str) -> String {
    cidr.replace(['.', ':', '/'], "-")
}

fn ipam(group: ApiGroup, place: &str, value: Option<Value>) -> Option<Value> {
    let segments: Vec<&str> = place.split('/').collect();
    match segments[..] {
        ["assignment", _, "block", segment] if !segment.is_empty() => {
            let spec = value.map_or(json!({"cidr": cidr(segment), "allocations": "broken"}), block);
            Some(custom(group, "IPAMBlock", &dashed(&cidr(segment)), spec))
        }
        [kind @ ("host" | "virtual"), node, _, "block", segment] => {
            let value = value.unwrap_or(json!({"state": 7, "deleted": false}));
            let gone = value["deleted"] == true;
            let deleted = if group == ApiGroup::Crd { json!(gone.to_string()) } else { json!(gone) };
            let spec = json!({
                "cidr": cidr(segment), "node": node, "type": kind, "state": value["state"], "deleted": deleted,
            });
            Some(custom(group, "BlockAffinity", &format!("{node}-{}", dashed(&cidr(segment))), spec))
        }
        ["handle", id] => {
            let value = value.unwrap_or(json!({"block": "broken"}));
            let spec = json!({"handleID": id, "block": value["block"], "deleted": value["deleted"] == true});
            Some(custom(group, "IPAMHandle", &id.to_lowercase(), spec))
        }
        ["config"] => {
            let kind = if group == ApiGroup::Crd { "IPAMConfig" } else { "IPAMConfiguration" };
            let spec = value.map_or(json!("broken"), |value| {
                json!({
                    "strictAffinity": value["strict_affinity"] == true,
                    "autoAllocateBlocks": value["auto_allocate_blocks"] == true,
                    "maxBlocksPerHost": value["maxBlocksPerHost"].as_u64().unwrap_or_default(),
                    "ipCooldownSeconds": value["ipCooldownSeconds"].as_u64().unwrap_or_default(),
                })
            });
            Some(custom(group, kind, "default", spec))
        }
        _ => None,
    }
}

fn block(value: Value) -> Value {
    let Value::Object(mut spec) = value else { panic!("{value}") };
    if let Some(claimed) = spec.remove("affinity_claim_time") {
        spec.insert("affinityClaimTime".to_owned(), claimed);
    }
    if spec.get("affinity").is_some_and(Value::is_null) {
        spec.remove("affinity");
    }
    if spec.get("attributes").is_some_and(Value::is_null) {
        spec.insert("attributes".to_owned(), json!([]));
    }
    spec.insert("strictAffinity".to_owned(), json!(false));
    spec.into()
}

fn node(name: &str, value: Option<Value>) -> Value {
    let Some(value) = value else {
        return json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": name}, "spec": "broken"});
    };
    let (spec, status) = (&value["spec"], &value["status"]);
    let mut annotations = Map::new();
    for (annotation, text) in [
        ("IPv4Address", &spec["bgp"]["ipv4Address"]),
        ("IPv6Address", &spec["bgp"]["ipv6Address"]),
        ("IPv4IPIPTunnelAddr", &spec["bgp"]["ipv4IPIPTunnelAddr"]),
        ("RouteReflectorClusterID", &spec["bgp"]["routeReflectorClusterID"]),
        ("ASNumber", &spec["bgp"]["asNumber"]),
        ("IPv4VXLANTunnelAddr", &spec["ipv4VXLANTunnelAddr"]),
        ("IPv6VXLANTunnelAddr", &spec["ipv6VXLANTunnelAddr"]),
        ("VXLANTunnelMACAddr", &spec["vxlanTunnelMACAddr"]),
        ("VXLANTunnelMACAddrV6", &spec["vxlanTunnelMACAddrV6"]),
        ("IPv4WireguardInterfaceAddr", &spec["wireguard"]["interfaceIPv4Address"]),
        ("IPv6WireguardInterfaceAddr", &spec["wireguard"]["interfaceIPv6Address"]),
        ("WireguardPublicKey", &status["wireguardPublicKey"]),
        ("WireguardPublicKeyV6", &status["wireguardPublicKeyV6"]),
    ] {
        let text = text.as_str().map(str::to_owned).or(text.as_u64().map(|number| number.to_string()));
        annotations.extend(text.map(|text| (format!("projectcalico.org/{annotation}"), json!(text))));
    }
    // Half of the labels through Calico, one of them in both: the Node's wins.
    let labels = value["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    let (mut own, mut given) = (Map::new(), Map::new());
    for (index, (label, text)) in labels.into_iter().enumerate() {
        if index % 2 == 0 {
            own.insert(label, text)
        } else {
            given.insert(label, text)
        };
    }
    given.extend(own.keys().next().map(|label| (label.clone(), json!("other"))));
    annotations.insert("projectcalico.org/labels".to_owned(), json!(Value::Object(given).to_string()));
    let addresses: Vec<&Value> = spec["addresses"].as_array().into_iter().flatten().collect();
    let mut addresses: Vec<Value> =
        addresses.into_iter().filter(|it| it["type"] == "InternalIP" || it["type"] == "ExternalIP").cloned().collect();
    addresses.push(json!({"type": "Hostname", "address": name}));
    json!({
        "kind": "Node", "apiVersion": "v1",
        "metadata": {
            "name": name, "uid": "06f9c2d4-a00e-4208-bc1f-db63ef325ae0", "resourceVersion": "377",
            "creationTimestamp": value["metadata"]["creationTimestamp"], "labels": own, "annotations": annotations,
        },
        "spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"]},
        "status": {"addresses": addresses},
    })
}

fn pod(value: Value) -> Option<Value> {
    let spec = &value["spec"];
    let bare = |text: &str| text.split('/').next().unwrap_or_default().to_owned();
    let networks = spec["ipNetworks"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let addresses: Vec<Value> = networks.map(|text| json!({"ip": bare(text)})).collect();
    let floating: Vec<&Value> = spec["ipNATs"].as_array().into_iter().flatten().map(|nat| &nat["externalIP"]).collect();
    let mut annotations = Map::new();
    annotations.insert("cni.projectcalico.org/containerID".to_owned(), spec["containerID"].clone());
    if !floating.is_empty() {
        annotations.insert("cni.projectcalico.org/floatingIPs".to_owned(), json!(json!(floating).to_string()));
    }
    let namespace = value["metadata"]["namespace"].as_str().unwrap_or("default");
    let account = &value["metadata"]["labels"]["projectcalico.org/serviceaccount"];
    Some(json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "name": spec["pod"], "namespace": namespace, "uid": "1720aa6f-4f63-4151-a626-e10bda4785b2",
            "resourceVersion": "837", "creationTimestamp": value["metadata"]["creationTimestamp"],
            "annotations": annotations, "labels": value["metadata"]["labels"],
        },
        "spec": {"nodeName": spec["node"], "serviceAccountName": account, "containers": [{"name": "main", "image": "main"}]},
        "status": {"phase": "Running", "podIP": addresses.first().map(|it| it["ip"].clone()), "podIPs": addresses},
    }))
}

/// The host's side of a Pod's veth, as Calico names it.
pub(crate) fn device(namespace: &str, pod: &str) -> String {
    let text = format!("{namespace}.{pod}");
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("cali{}", &hex[..11])
}

/// An object of etcd's as far as the Kubernetes API can say the same: an endpoint's name and device follow from its Pod
/// and its node, a Node's `spec.addresses` begin with BGP's, and no `spec.bgp` is empty.
pub(crate) fn sayable(mut object: Object) -> Object {
    match &mut object {
        Object::Endpoint(endpoint) => {
            let namespace = endpoint.id.namespace.clone();
            endpoint.id = EndpointId::of_pod(&endpoint.node, &namespace, &endpoint.pod);
            endpoint.interface = device(&namespace, &endpoint.pod).into();
            let has = |v4| endpoint.addresses.iter().any(|it| it.is_ipv4() == v4);
            let (v4, v6) = (has(true), has(false));
            endpoint.floating.retain(|it| if it.is_ipv4() { v4 } else { v6 });
            endpoint.openstack = false;
            let added = [("projectcalico.org/namespace", &*namespace), ("projectcalico.org/orchestrator", "k8s")];
            endpoint.labels = endpoint.labels.iter().chain(added).collect();
        }
        Object::Node(_, node) => {
            if node.bgp == Some(NodeBgp::default()) && !node.tunnels.contains_key(&TunnelKind::Ipip) {
                node.bgp = None;
            }
            let bgp = node.bgp.iter().flat_map(|bgp| [bgp.ipv4, bgp.ipv6]).flatten();
            let bgp = bgp.map(|address| NodeAddress { kind: NodeAddressType::Other, address });
            let others = node.addresses.iter().filter(|it| it.kind != NodeAddressType::Other).cloned();
            node.addresses = bgp.chain(others).collect();
        }
        _ => {}
    }
    object
}

/// What an operator looks an object up by that cannot be read.
pub(crate) fn key(group: ApiGroup, id: &ObjectId) -> String {
    let config = if group == ApiGroup::Crd { "ipamconfigs" } else { "ipamconfigurations" };
    match id {
        ObjectId::Block(cidr) => format!("ipamblocks/{}", dashed(&cidr.to_string())),
        ObjectId::Affinity(owner, cidr) => {
            let owner = owner.to_string();
            let name = owner.split_once(':').map_or(&*owner, |(_, name)| name);
            format!("blockaffinities/{name}-{}", dashed(&cidr.to_string()))
        }
        ObjectId::Handle(id) => format!("ipamhandles/{}", id.to_lowercase()),
        ObjectId::IpamConfig => format!("{config}/default"),
        ObjectId::Pool(name) => format!("ippools/{name}"),
        ObjectId::Reservation(name) => format!("ipreservations/{name}"),
        ObjectId::Node(name) => format!("nodes/{name}"),
        ObjectId::Endpoint(id) => format!("pods/{}/{}", id.namespace, id.name),
        ObjectId::Felix(name) => format!("felixconfigurations/{name}"),
        ObjectId::BgpConfiguration(name) => format!("bgpconfigurations/{name}"),
        ObjectId::BgpPeer(name) => format!("bgppeers/{name}"),
        ObjectId::Cluster => "clusterinformations/default".to_owned(),
        ObjectId::Malformed(_, text) => text.to_string(),
    }
}
