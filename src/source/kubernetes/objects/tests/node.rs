//! Nodes.

use super::*;
use crate::model::{BlockOwner, Node, TunnelKind};

fn item(annotations: &str, spec: &str, status: &str) -> String {
    let annotations: Vec<String> = annotations
        .split_whitespace()
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(name, text)| format!(r#""projectcalico.org/{name}":"{text}""#))
        .collect();
    format!(
        r#"{{"metadata":{{"name":"n.1","labels":{{"rack":"1","both":"node"}},"annotations":{{{}}}}},"spec":{{{spec}}},"status":{{{status}}}}}"#,
        annotations.join(",")
    )
}

fn node(annotations: &str, status: &str) -> Node {
    match one(Resource::Nodes, &item(annotations, r#""podCIDR":"10.244.0.0/24","podCIDRs":["10.244.0.0/24"]"#, status))
    {
        Object::Node(name, node) if &*name == "n.1" => node,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_node_is_read_from_its_annotations_to_the_last_one() {
    let found = node(
        "IPv4Address=172.18.0.4/16 IPv6Address=fd00:18::4/64 IPv4IPIPTunnelAddr=10.244.83.70 IPv4VXLANTunnelAddr=10.244.83.64 IPv6VXLANTunnelAddr=fd00::1 IPv4WireguardInterfaceAddr=10.244.83.71 IPv6WireguardInterfaceAddr=fd00::2 WireguardPublicKey=k4 WireguardPublicKeyV6=k6 ASNumber=1.10 RouteReflectorClusterID=224.0.0.1 labels={\\\"both\\\":\\\"calico\\\",\\\"given\\\":\\\"x\\\"}",
        r#""addresses":[{"type":"InternalIP","address":"172.18.0.4"},{"type":"Hostname","address":"n.1"},{"type":"ExternalIP","address":"9.9.9.9"}]"#,
    );
    let bgp = found.bgp.unwrap();
    assert_eq!(bgp.ipv4.map(|it| it.to_string()).as_deref(), Some("172.18.0.4/16"));
    assert_eq!(bgp.ipv6.map(|it| it.to_string()).as_deref(), Some("fd00:18::4/64"));
    assert_eq!((bgp.as_number, bgp.route_reflector_cluster_id.as_deref()), (Some(65546), Some("224.0.0.1")));
    let tunnels: Vec<String> = found.tunnels.iter().map(|(kind, at)| format!("{} {at}", kind.device())).collect();
    assert_eq!(
        tunnels,
        [
            "tunl0 10.244.83.70",
            "vxlan.calico 10.244.83.64",
            "vxlan-v6.calico fd00::1",
            "wireguard.cali 10.244.83.71",
            "wg-v6.cali fd00::2"
        ]
    );
    let addresses: Vec<String> = found.addresses.iter().map(|it| format!("{:?} {}", it.kind, it.address)).collect();
    assert_eq!(
        addresses,
        ["Other 172.18.0.4/16", "Other fd00:18::4/64", "Internal 172.18.0.4/32", "External 9.9.9.9/32"]
    );
    assert_eq!((found.wireguard_key_v4.as_deref(), found.wireguard_key_v6.as_deref()), (Some("k4"), Some("k6")));
    let labels: Vec<String> = found.labels.iter().map(|(label, text)| format!("{label}={text}")).collect();
    assert_eq!(labels, ["both=node", "given=x", "rack=1"]);
}

#[test]
fn an_annotation_that_is_not_valid_is_none() {
    let valid = "IPv4Address=10.0.0.1/24 IPv6Address=fd00::1/64 ASNumber=64512 IPv4VXLANTunnelAddr=10.1.0.1";
    for (bad, same) in [
        ("IPv4Address=10.0.0.300/24", "IPv4Address=10.0.0.1/24"),
        ("IPv4Address=fd00::1/64", "IPv4Address=10.0.0.1/24"),
        ("IPv4Address=", "IPv4Address=10.0.0.1/24"),
        ("IPv6Address=10.0.0.1/24", "IPv6Address=fd00::1/64"),
        ("ASNumber=many", "ASNumber=64512"),
        ("IPv4VXLANTunnelAddr=10.1.0.1/24", "IPv4VXLANTunnelAddr=10.1.0.1"),
        ("IPv4VXLANTunnelAddr=fd00::1", "IPv4VXLANTunnelAddr=10.1.0.1"),
    ] {
        let without = valid.split(' ').filter(|it| *it != same).collect::<Vec<_>>().join(" ");
        assert_eq!(node(&valid.replace(same, bad), ""), node(&without, ""), "{bad}");
        assert_ne!(node(&without, ""), node(valid, ""), "{same}");
    }
    assert_eq!(node("labels={", ""), node("", ""));
    assert_eq!(node("RouteReflectorClusterID=one", ""), node("", ""));
}

#[test]
fn spec_bgp_is_there_where_one_of_its_fields_is() {
    assert_eq!(node("IPv4VXLANTunnelAddr=10.1.0.1 WireguardPublicKey=k", "").bgp, None);
    for annotation in
        ["IPv4Address=10.0.0.1/24", "ASNumber=1", "IPv4IPIPTunnelAddr=10.1.0.1", "RouteReflectorClusterID=1.1.1.1"]
    {
        assert!(node(annotation, "").bgp.is_some(), "{annotation}");
    }
}

#[test]
fn an_own_address_that_is_none_makes_the_node_unreadable() {
    let status = r#""addresses":[{"type":"InternalDNS","address":"x"},{"type":"InternalIP","address":"x"}]"#;
    let (id, key, why) = bad(Resource::Nodes, &item("", "", status));
    assert_eq!((id, &*key), (ObjectId::Node("n.1".into()), "nodes/n.1"));
    assert_eq!(why, r#"status.addresses[1].address: "x", expected an address"#);
}

fn host_local(annotations: &str, spec: &str) -> Says {
    let decoder = Decoder { use_pod_cidr: true, ..Decoder::new(ApiGroup::Crd) };
    decoder.decode(Resource::Nodes, item(annotations, spec, "").as_bytes()).says
}

#[test]
fn where_it_is_told_the_pod_cidrs_are_the_nodes_blocks() {
    let spec = r#""podCIDR":"10.244.3.0/24","podCIDRs":["10.244.3.0/24","fd00:244:3::/64"]"#;
    let Says::Objects(objects) = host_local("IPv4IPIPTunnelAddr=10.9.9.9 IPv4VXLANTunnelAddr=10.244.3.0", spec) else {
        panic!()
    };
    let ids: Vec<ObjectId> = objects.iter().map(Object::id).collect();
    let (v4, v6) = ("10.244.3.0/24".parse().unwrap(), "fd00:244:3::/64".parse().unwrap());
    let owner = BlockOwner::Host("n.1".into());
    assert_eq!(
        ids,
        [
            ObjectId::Node("n.1".into()),
            ObjectId::Affinity(owner.clone(), v4),
            ObjectId::Block(v4),
            ObjectId::Affinity(owner.clone(), v6),
            ObjectId::Block(v6)
        ]
    );
    let (Object::Node(_, node), Object::Block(block)) = (&objects[0], &objects[2]) else { panic!() };
    assert_eq!((&block.owner, block.allocated.len()), (&Some(owner), 0));
    // The tunnel's address is the one after the block's own; nobody allocates it.
    assert_eq!(node.tunnels[&TunnelKind::Ipip].to_string(), "10.244.3.1");
    assert_eq!(node.tunnels[&TunnelKind::VxlanV4].to_string(), "10.244.3.0");
    assert!(node.bgp.is_some() && !node.tunnels.contains_key(&TunnelKind::WireguardV4));
    let Says::Objects(objects) = host_local("WireguardPublicKey=k", spec) else { panic!() };
    let Object::Node(_, node) = &objects[0] else { panic!() };
    assert_eq!(node.tunnels[&TunnelKind::WireguardV4].to_string(), "10.244.3.1");
    // Not told: not guessed.
    assert!(matches!(one(Resource::Nodes, &item("", spec, "")), Object::Node(..)));
    let Says::Objects(none) = host_local("", "") else { panic!() };
    assert_eq!(none.len(), 1);
    let Says::Unreadable { why: Unreadable::Undecodable(why), .. } = host_local("", r#""podCIDRs":["x"]"#) else {
        panic!()
    };
    assert_eq!(why, r#"spec.podCIDRs: "x", expected a CIDR such as 10.0.0.0/24"#);
}
