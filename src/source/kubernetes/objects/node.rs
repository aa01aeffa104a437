//! Calico's Node out of Kubernetes' (`libcalico-go/lib/backend/k8s/resources/node.go`, `K8sNodeToCalico`): annotations,
//! each of which counts only where it is valid, and the Node's own addresses.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::de::IgnoredAny;

use super::meta::Meta;
use super::{Decoded, Decoder, Says};
use crate::model::{
    AffinityState, AllocationBlock, BlockAffinity, BlockOwner, Family, Labels, Name, Node, NodeAddress,
    NodeAddressType, NodeBgp, TunnelKind, host_route,
};
use crate::source::calico::json::{Entries, List, Text, object};
use crate::source::calico::text::net;
use crate::source::calico::{AsNumber, parse, why};
use crate::source::kubernetes::Resource;
use crate::state::{Object, Unreadable};

object! {
    Item<'de>, rest IgnoredAny, {
        "metadata" => meta: Meta<'de>,
        "spec" => spec: Spec<'de>,
        "status" => status: Status<'de>,
    }
}

object! {
    Spec<'de>, rest IgnoredAny, {
        "podCIDR" => pod_cidr: Text<'de>,
        "podCIDRs" => pod_cidrs: List<Text<'de>>,
    }
}

object! {
    Status<'de>, rest IgnoredAny, {
        "addresses" => addresses: List<Address<'de>>,
    }
}

object! {
    Address<'de>, rest IgnoredAny, {
        "type" => kind: Text<'de>,
        "address" => address: Text<'de>,
    }
}

/// Reads a Node, and with [`Decoder::use_pod_cidr`] its blocks.
pub(super) fn read(decoder: &Decoder, item: &[u8]) -> Result<Decoded, Unreadable> {
    let Item { meta, spec, status } = parse(item)?;
    let place = meta.place(Resource::Nodes)?;
    let name = place.name.clone();
    let text = |annotation: &str| {
        meta.annotation(&format!("projectcalico.org/{annotation}")).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let mac = |annotation: &str| text(annotation).and_then(|text| text.parse().ok());
    let static_address = match decoder.use_pod_cidr {
        true => spec.pod_cidr.get().map(tunnel_in).transpose()?,
        false => None,
    };
    let tunnels = tunnels(&meta, static_address);
    let bgp = NodeBgp {
        as_number: meta.annotation("projectcalico.org/ASNumber").and_then(AsNumber::from_text),
        ipv4: address(&meta, "IPv4Address", Family::V4),
        ipv6: address(&meta, "IPv6Address", Family::V6),
        route_reflector_cluster_id: text("RouteReflectorClusterID").filter(|id| id.parse::<Ipv4Addr>().is_ok()),
    };
    // The IPIP address is one of `spec.bgp`'s fields.
    let has_bgp = bgp != NodeBgp::default() || tunnels.contains_key(&TunnelKind::Ipip);
    let mut addresses: Vec<NodeAddress> = [bgp.ipv4, bgp.ipv6]
        .into_iter()
        .flatten()
        .map(|address| NodeAddress { kind: NodeAddressType::Other, address })
        .collect();
    addresses.extend(own_addresses(&status)?);
    let node = Node {
        name: Some(name.clone()),
        labels: labels(&meta),
        bgp: has_bgp.then_some(bgp),
        addresses: addresses.into(),
        tunnels,
        vxlan_mac_v4: mac("VXLANTunnelMACAddr"),
        vxlan_mac_v6: mac("VXLANTunnelMACAddrV6"),
        wireguard_key_v4: text("WireguardPublicKey"),
        wireguard_key_v6: text("WireguardPublicKeyV6"),
    };
    let mut objects = vec![Object::Node(name.clone(), node)];
    if decoder.use_pod_cidr {
        objects.extend(blocks(&name, &spec)?);
    }
    Ok(meta.decoded(place, Says::Objects(objects)))
}

/// The annotation's address with its prefix length.
fn address(meta: &Meta<'_>, annotation: &str, family: Family) -> Option<IpNet> {
    let text = meta.annotation(&format!("projectcalico.org/{annotation}"))?;
    net(text).filter(|net| Family::of_net(net) == family)
}

/// Tunnel addresses by annotation; where IPAM is host-local, `fixed` stands for two of them.
fn tunnels(meta: &Meta<'_>, fixed: Option<Option<Ipv4Addr>>) -> BTreeMap<TunnelKind, IpAddr> {
    let annotated = |annotation, family| address(meta, annotation, family).and_then(|net| host_route(&net));
    let has_key = meta.annotation("projectcalico.org/WireguardPublicKey").is_some_and(|key| !key.is_empty());
    let (ipip, wireguard_v4, wireguard_v6) = match fixed {
        Some(fixed) => (fixed.map(IpAddr::V4), fixed.filter(|_| has_key).map(IpAddr::V4), None),
        None => (
            annotated("IPv4IPIPTunnelAddr", Family::V4),
            annotated("IPv4WireguardInterfaceAddr", Family::V4),
            annotated("IPv6WireguardInterfaceAddr", Family::V6),
        ),
    };
    [
        (TunnelKind::Ipip, ipip),
        (TunnelKind::VxlanV4, annotated("IPv4VXLANTunnelAddr", Family::V4)),
        (TunnelKind::VxlanV6, annotated("IPv6VXLANTunnelAddr", Family::V6)),
        (TunnelKind::WireguardV4, wireguard_v4),
        (TunnelKind::WireguardV6, wireguard_v6),
    ]
    .into_iter()
    .filter_map(|(kind, address)| Some((kind, address?)))
    .collect()
}

/// The address after a `podCIDR`'s own, where it is of IPv4 (`getStaticTunnelAddress`).
fn tunnel_in(pod_cidr: &str) -> Result<Option<Ipv4Addr>, Unreadable> {
    match cidr("spec.podCIDR", pod_cidr)?.addr() {
        IpAddr::V4(first) => Ok(u32::from(first).checked_add(1).map(Ipv4Addr::from)),
        IpAddr::V6(_) => Ok(None),
    }
}

fn cidr(field: &str, text: &str) -> Result<IpNet, Unreadable> {
    text.parse()
        .map_err(|_| Unreadable::Undecodable(why::at(field, &format!("{text:?}, expected a CIDR such as 10.0.0.0/24"))))
}

/// Addresses that kubelet and cloud write; names are none.
fn own_addresses(status: &Status<'_>) -> Result<Vec<NodeAddress>, Unreadable> {
    let mut addresses = Vec::new();
    for (index, entry) in status.addresses.0.iter().enumerate() {
        let kind = match entry.kind.get() {
            Some("InternalIP") => NodeAddressType::Internal,
            Some("ExternalIP") => NodeAddressType::External,
            _ => continue,
        };
        let text = entry.address.get().unwrap_or_default();
        let address = net(text).ok_or_else(|| {
            let message = format!("{text:?}, expected an address");
            Unreadable::Undecodable(why::at(&format!("status.addresses[{index}].address"), &message))
        })?;
        addresses.push(NodeAddress { kind, address });
    }
    Ok(addresses)
}

/// Labels that were given through Calico, and over them the Node's own.
fn labels(meta: &Meta<'_>) -> Labels {
    let given = meta.annotation("projectcalico.org/labels");
    let given = given.and_then(|text| parse::<Entries<'_, String>>(text.as_bytes()).ok()).unwrap_or_default();
    let given = given.0.iter().map(|(key, value)| (&**key, value.as_str()));
    given.chain(meta.labels()).collect()
}

/// Host-local IPAM: each `podCIDR` is a block of the Node's, of whose addresses nothing is known
/// (`libcalico-go/lib/backend/syncersv1/updateprocessors/felixnodeprocessor.go`).
fn blocks(name: &Name, spec: &Spec<'_>) -> Result<Vec<Object>, Unreadable> {
    let mut objects = Vec::new();
    let listed = spec.pod_cidrs.0.iter().filter_map(Text::get);
    let single = spec.pod_cidr.get().filter(|_| spec.pod_cidrs.0.is_empty());
    for text in listed.chain(single) {
        let cidr = cidr("spec.podCIDRs", text)?.trunc();
        let owner = BlockOwner::Host(name.clone());
        objects.push(Object::Affinity(BlockAffinity { owner: owner.clone(), cidr, state: AffinityState::Confirmed }));
        objects.push(Object::Block(AllocationBlock {
            owner: Some(owner),
            pod_cidr: true,
            ..AllocationBlock::new(cidr)
        }));
    }
    Ok(objects)
}
