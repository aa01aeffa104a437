//! Nodes (`libcalico-go/lib/apis/internalapi/node.go`). An address, or a MAC, that cannot be read makes the whole node unreadable:
//! Felix's validator drops such a node as well.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::de::IgnoredAny;

use crate::model::{Mac, Name, Node, NodeAddress, NodeAddressType, NodeBgp, TunnelKind};
use crate::source::calico::json::{Entries, List, Maybe, object};
use crate::source::calico::{AsNumber, Read, parse};
use crate::state::Object;

object! {
    Resource<'de>, rest IgnoredAny, {
        "metadata" => metadata: Metadata<'de>,
        "spec" => spec: Spec,
        "status" => status: Status,
    }
}

object! {
    pub(super) Metadata<'de>, rest IgnoredAny, {
        "labels" => labels: Entries<'de, String>,
    }
}

object! {
    Spec, rest IgnoredAny, {
        "bgp" => bgp: Option<Bgp>,
        "addresses" => addresses: List<Address>,
        "ipv4VXLANTunnelAddr" => vxlan_v4: Maybe<Ipv4Addr>,
        "ipv6VXLANTunnelAddr" => vxlan_v6: Maybe<Ipv6Addr>,
        "vxlanTunnelMACAddr" => mac_v4: Maybe<Mac>,
        "vxlanTunnelMACAddrV6" => mac_v6: Maybe<Mac>,
        "wireguard" => wireguard: Wireguard,
    }
}

object! {
    Bgp, rest IgnoredAny, {
        "asNumber" => as_number: AsNumber,
        "ipv4Address" => ipv4: Maybe<Ipv4Net>,
        "ipv6Address" => ipv6: Maybe<Ipv6Net>,
        "ipv4IPIPTunnelAddr" => ipip: Maybe<Ipv4Addr>,
        "routeReflectorClusterID" => cluster_id: Maybe<String>,
    }
}

object! {
    Wireguard, rest IgnoredAny, {
        "interfaceIPv4Address" => v4: Maybe<Ipv4Addr>,
        "interfaceIPv6Address" => v6: Maybe<Ipv6Addr>,
    }
}

object! {
    Address, rest IgnoredAny, {
        "address" => address: Maybe<IpNet>,
        "type" => kind: String,
    }
}

object! {
    Status, rest IgnoredAny, {
        "wireguardPublicKey" => key_v4: Maybe<String>,
        "wireguardPublicKeyV6" => key_v6: Maybe<String>,
    }
}

/// Reads the node `name`.
pub(super) fn read(name: Name, value: &[u8]) -> Read {
    let Resource { metadata, spec, status } = parse(value)?;
    let v4 = |address: Option<Ipv4Addr>| address.map(IpAddr::V4);
    let v6 = |address: Option<Ipv6Addr>| address.map(IpAddr::V6);
    let tunnels: BTreeMap<TunnelKind, IpAddr> = [
        (TunnelKind::Ipip, v4(spec.bgp.as_ref().and_then(|bgp| bgp.ipip.0))),
        (TunnelKind::VxlanV4, v4(spec.vxlan_v4.0)),
        (TunnelKind::VxlanV6, v6(spec.vxlan_v6.0)),
        (TunnelKind::WireguardV4, v4(spec.wireguard.v4.0)),
        (TunnelKind::WireguardV6, v6(spec.wireguard.v6.0)),
    ]
    .into_iter()
    .filter_map(|(kind, address)| Some((kind, address?)))
    .collect();
    let node = Node {
        name: Some(name.clone()),
        labels: metadata.labels.0.iter().map(|(key, value)| (&**key, value.as_str())).collect(),
        bgp: spec.bgp.map(|bgp| NodeBgp {
            as_number: bgp.as_number.0,
            ipv4: bgp.ipv4.0.map(IpNet::V4),
            ipv6: bgp.ipv6.0.map(IpNet::V6),
            route_reflector_cluster_id: bgp.cluster_id.0,
        }),
        addresses: spec.addresses.0.into_iter().filter_map(address).collect(),
        tunnels,
        vxlan_mac_v4: spec.mac_v4.0,
        vxlan_mac_v6: spec.mac_v6.0,
        wireguard_key_v4: status.key_v4.0,
        wireguard_key_v6: status.key_v6.0,
    };
    Ok(Some(Object::Node(name, node)))
}

fn address(entry: Address) -> Option<NodeAddress> {
    let kind = match &*entry.kind {
        "InternalIP" => NodeAddressType::Internal,
        "ExternalIP" => NodeAddressType::External,
        _ => NodeAddressType::Other,
    };
    Some(NodeAddress { kind, address: entry.address.0? })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{object, undecodable};
    use super::*;
    use crate::model::Family;

    const KEY: &str = "/calico/resources/v3/projectcalico.org/nodes/node-a";

    fn node(value: &str) -> Node {
        match object(KEY, value) {
            Object::Node(name, node) if &*name == "node-a" => node,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_node_is_read_to_the_last_field() {
        let node = node(
            r#"{"kind":"Node","metadata":{"name":"node-a","labels":{"rack":"1","empty":""}},"spec":{"bgp":{"asNumber":64512,"ipv4Address":"172.18.0.4/16","ipv6Address":"fd00:18::4/64","ipv4IPIPTunnelAddr":"10.244.83.70","routeReflectorClusterID":"224.0.0.1"},"ipv4VXLANTunnelAddr":"10.244.83.64","ipv6VXLANTunnelAddr":"fd00::1","vxlanTunnelMACAddr":"66:11:22:33:44:55","wireguard":{"interfaceIPv4Address":"10.244.83.71","interfaceIPv6Address":"fd00::2"},"addresses":[{"address":"172.18.0.4/16","type":"CalicoNodeIP"},{"address":"172.18.0.4","type":"InternalIP"},{"address":"9.9.9.9","type":"ExternalIP"},{"address":""}]},"status":{"wireguardPublicKey":"k4","wireguardPublicKeyV6":"k6","podCIDRs":["10.244.0.0/24"]}}"#,
        );
        assert_eq!(node.bgp_address(Family::V4).map(|net| net.to_string()), Some("172.18.0.4/16".to_owned()));
        assert_eq!(node.bgp_address(Family::V6).map(|net| net.to_string()), Some("fd00:18::4/64".to_owned()));
        let bgp = node.bgp.unwrap();
        assert_eq!((bgp.as_number, bgp.route_reflector_cluster_id.as_deref()), (Some(64512), Some("224.0.0.1")));
        assert_eq!(node.labels.get("rack"), Some("1"));
        assert_eq!(node.vxlan_mac_v4, Some(Mac([0x66, 0x11, 0x22, 0x33, 0x44, 0x55])));
        assert_eq!(node.vxlan_mac_v6, None);
        let tunnels: Vec<_> = node.tunnels.iter().map(|(kind, address)| (kind.device(), address.to_string())).collect();
        assert_eq!(
            tunnels,
            [
                ("tunl0", "10.244.83.70"),
                ("vxlan.calico", "10.244.83.64"),
                ("vxlan-v6.calico", "fd00::1"),
                ("wireguard.cali", "10.244.83.71"),
                ("wg-v6.cali", "fd00::2")
            ]
            .map(|(device, address)| (device, address.to_owned()))
        );
        let addresses: Vec<_> = node.addresses.iter().map(|it| (it.kind, it.address.to_string())).collect();
        assert_eq!(
            addresses,
            [
                (NodeAddressType::Other, "172.18.0.4/16".to_owned()),
                (NodeAddressType::Internal, "172.18.0.4/32".to_owned()),
                (NodeAddressType::External, "9.9.9.9/32".to_owned())
            ]
        );
        assert_eq!((node.wireguard_key_v4.as_deref(), node.wireguard_key_v6.as_deref()), (Some("k4"), Some("k6")));
    }

    #[test]
    fn a_node_with_an_empty_bgp_has_one() {
        assert_eq!(node(r#"{"spec":{"bgp":{}}}"#).bgp, Some(NodeBgp::default()));
        assert_eq!(node(r#"{"spec":{"bgp":null}}"#).bgp, None);
        assert_eq!(node("{}"), Node { name: Some("node-a".into()), ..Node::default() });
        let empty = r#"{"metadata":{"labels":null},"spec":{"bgp":{"ipv4Address":"","asNumber":null},"ipv4VXLANTunnelAddr":"","wireguard":null},"status":{"wireguardPublicKey":""}}"#;
        assert_eq!(node(empty), node(r#"{"spec":{"bgp":{}}}"#));
        let bare = node(r#"{"spec":{"bgp":{"ipv4Address":"10.0.0.1"}}}"#).bgp_address(Family::V4).unwrap();
        assert_eq!(bare.to_string(), "10.0.0.1/32");
    }

    #[test]
    fn as_numbers_have_three_forms() {
        for (written, number) in
            [("64512", 64512), (r#""64512""#, 64512), (r#""1.10""#, 65546), ("4294967295", u32::MAX)]
        {
            let bgp = node(&format!(r#"{{"spec":{{"bgp":{{"asNumber":{written}}}}}}}"#)).bgp.unwrap();
            assert_eq!(bgp.as_number, Some(number), "{written}");
        }
        for written in ["-1", "4294967296", "1.10", r#""""#, r#""1.65536""#, r#""1.2.3""#, r#""x""#, "true", "[]", "{}"]
        {
            let why = undecodable(KEY, format!(r#"{{"spec":{{"bgp":{{"asNumber":{written}}}}}}}"#));
            assert!(why.starts_with("spec.bgp.asNumber") && why.contains("an AS number"), "{why}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_read_drops_the_node() {
        for (spec, field) in [
            (r#""bgp":{"ipv4Address":"10.0.0.300/24"}"#, "spec.bgp.ipv4Address"),
            (r#""bgp":{"ipv4Address":"fd00::1/64"}"#, "spec.bgp.ipv4Address"),
            (r#""bgp":{"ipv6Address":"10.0.0.1/24"}"#, "spec.bgp.ipv6Address"),
            (r#""bgp":{"ipv4IPIPTunnelAddr":"10.0.0.1/32"}"#, "spec.bgp.ipv4IPIPTunnelAddr"),
            (r#""ipv4VXLANTunnelAddr":"x""#, "spec.ipv4VXLANTunnelAddr"),
            (r#""ipv6VXLANTunnelAddr":"10.0.0.1""#, "spec.ipv6VXLANTunnelAddr"),
            (r#""vxlanTunnelMACAddr":"66:11:22:33:44""#, "spec.vxlanTunnelMACAddr"),
            (r#""vxlanTunnelMACAddrV6":"x""#, "spec.vxlanTunnelMACAddrV6"),
            (r#""wireguard":{"interfaceIPv4Address":"?"}"#, "spec.wireguard.interfaceIPv4Address"),
            (r#""wireguard":{"interfaceIPv6Address":"?"}"#, "spec.wireguard.interfaceIPv6Address"),
            (r#""addresses":[{"address":"10.0.0.1"},{"address":"host"}]"#, "spec.addresses[1].address"),
        ] {
            let why = undecodable(KEY, format!(r#"{{"spec":{{{spec}}}}}"#));
            assert!(why.starts_with(&format!("{field}: invalid value: string")), "{why}");
        }
    }
}
