//! Nodes (`libcalico-go/lib/apis/internalapi/node.go`). An address that cannot be read makes the whole node unreadable:
//! Felix's validator drops such a node as well.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, Unexpected, Visitor};

use super::json::{Entries, List, Maybe, object};
use super::{Read, parse};
use crate::model::{Name, Node, NodeAddress, NodeAddressType, NodeBgp, TunnelKind};
use crate::state::Object;

object! {
    Resource<'de>, rest IgnoredAny, {
        "metadata" => metadata: Metadata<'de>,
        "spec" => spec: Spec,
        "status" => status: Status,
    }
}

object! {
    Metadata<'de>, rest IgnoredAny, {
        "labels" => labels: Entries<'de, String>,
    }
}

object! {
    Spec, rest IgnoredAny, {
        "bgp" => bgp: Option<Bgp>,
        "addresses" => addresses: List<Address>,
        "ipv4VXLANTunnelAddr" => vxlan_v4: Maybe<Ipv4Addr>,
        "ipv6VXLANTunnelAddr" => vxlan_v6: Maybe<Ipv6Addr>,
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

/// An AS number: an integer, or text, in digits or as two 16 bit halves (`api/pkg/lib/numorstring/asnumber.go`).
#[derive(Default)]
pub(super) struct AsNumber(pub(super) Option<u32>);

impl<'de> Deserialize<'de> for AsNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = AsNumber;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an AS number such as 64512 or \"1.10\"")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                let number =
                    u32::try_from(number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))?;
                Ok(AsNumber(Some(number)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                let half = |half: &str| half.parse::<u16>().ok().map(u32::from);
                let number = match text.split_once('.') {
                    Some((high, low)) => half(high).zip(half(low)).map(|(high, low)| high << 16 | low),
                    None => text.parse().ok(),
                };
                number
                    .map(|number| AsNumber(Some(number)))
                    .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Number)
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
        labels: metadata.labels.0.into_iter().map(|(key, value)| (key.into_owned(), value)).collect(),
        bgp: spec.bgp.map(|bgp| NodeBgp {
            as_number: bgp.as_number.0,
            ipv4: bgp.ipv4.0.map(IpNet::V4),
            ipv6: bgp.ipv6.0.map(IpNet::V6),
            route_reflector_cluster_id: bgp.cluster_id.0,
        }),
        addresses: spec.addresses.0.into_iter().filter_map(address).collect(),
        tunnels,
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
