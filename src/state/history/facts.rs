//! What an object of Calico's says, property by property under its API's names, and what differs between two of them.

use std::borrow::Cow;
use std::net::IpAddr;

use super::entry::Fact;
use crate::model::{
    AllocationBlock, Attribute, BgpConfiguration, BgpPeer, ClusterInformation, EndpointId, Family, FelixConfiguration,
    IpPool, IpReservation, IpamConfig, Link, Node, NodeBgp, PeerAddress, WorkloadEndpoint, address_at,
};

/// Properties that are set, in a fixed order.
pub(super) type Facts = Vec<(Cow<'static, str>, String)>;

/// Addresses named where a block's allocations changed; more are counted by the fact `allocated` alone.
const MOST_ADDRESSES: usize = 8;

/// The differences between two lists of properties, either of which may be empty.
pub(super) fn difference(before: &Facts, after: &Facts) -> Box<[Fact]> {
    let find = |facts: &Facts, name: &str| facts.iter().find(|(it, _)| it == name).map(|(_, value)| value.clone());
    let mut all: Vec<Fact> = Vec::new();
    for (name, old) in before {
        let new = find(after, name);
        if new.as_ref() != Some(old) {
            all.push(Fact { name: name.clone(), before: Some(old.as_str().into()), after: new.map(Into::into) });
        }
    }
    for (name, new) in after {
        if find(before, name).is_none() {
            all.push(Fact { name: name.clone(), before: None, after: Some(new.as_str().into()) });
        }
    }
    all.into()
}

struct List(Facts);

impl List {
    fn new() -> List {
        List(Vec::new())
    }

    fn add(mut self, name: &'static str, value: impl ToString) -> List {
        self.0.push((Cow::Borrowed(name), value.to_string()));
        self
    }

    fn maybe(self, name: &'static str, value: Option<impl ToString>) -> List {
        match value {
            Some(value) => self.add(name, value),
            None => self,
        }
    }

    fn when(self, name: &'static str, set: bool) -> List {
        if set { self.add(name, true) } else { self }
    }
}

pub(super) fn pool(pool: &IpPool) -> Facts {
    List::new()
        .add("cidr", pool.cidr)
        .add("blockSize", pool.block_size)
        .add("ipipMode", pool.ipip.as_str())
        .add("vxlanMode", pool.vxlan.as_str())
        .when("disabled", pool.disabled)
        .when("disableBGPExport", pool.disable_bgp_export)
        .add("nodeSelector", &pool.node_selector)
        .when("allowedUses LoadBalancer", pool.load_balancer)
        .when("assignmentMode Manual", pool.manual)
        .0
}

pub(super) fn reservation(reservation: &IpReservation) -> Facts {
    let cidrs: Vec<String> = reservation.cidrs.iter().map(ToString::to_string).collect();
    List::new().add("reservedCIDRs", cidrs.join(" ")).0
}

pub(super) fn node(node: &Node) -> Facts {
    let bgp = node.bgp.as_ref();
    let of = |family| node.bgp_address(family);
    let mut list = List::new()
        .maybe("ipv4Address", of(Family::V4))
        .maybe("ipv6Address", of(Family::V6))
        .maybe("asNumber", bgp.and_then(|bgp: &NodeBgp| bgp.as_number))
        .maybe("routeReflectorClusterID", bgp.and_then(|bgp| bgp.route_reflector_cluster_id.as_ref()))
        .maybe("vxlanTunnelMACAddr", node.vxlan_mac_v4)
        .maybe("vxlanTunnelMACAddrV6", node.vxlan_mac_v6)
        .maybe("wireguardPublicKey", node.wireguard_key_v4.as_ref())
        .maybe("wireguardPublicKeyV6", node.wireguard_key_v6.as_ref());
    for (kind, address) in &node.tunnels {
        list = list.add(kind.attribute(), address);
    }
    if !node.addresses.is_empty() {
        let all: Vec<String> = node.addresses.iter().map(|it| it.address.addr().to_string()).collect();
        list = list.add("addresses", all.join(" "));
    }
    let mut facts = list.0;
    facts.extend(node.labels.iter().map(|(name, value)| (Cow::Owned(format!("label {name}")), value.to_owned())));
    facts
}

pub(super) fn felix(config: &FelixConfiguration) -> Facts {
    List::new()
        .maybe("nodeSelector", config.node_selector.as_ref())
        .maybe("programClusterRoutes", config.program_cluster_routes.map(|it| format!("{it:?}")))
        .maybe("deviceRouteProtocol", config.device_route_protocol)
        .maybe("interfacePrefix", config.interface_prefix.as_ref())
        .maybe("routeSyncDisabled", config.route_sync_disabled)
        .maybe("routeSource", config.route_source.as_ref())
        .maybe("wireguardEnabled", config.wireguard_enabled)
        .maybe("wireguardEnabledV6", config.wireguard_enabled_v6)
        .maybe("bpfEnabled", config.bpf_enabled)
        .maybe("floatingIPs", config.floating_ips.map(|it| if it { "Enabled" } else { "Disabled" }))
        .maybe("ipipEnabled", config.ipip_enabled)
        .maybe("vxlanEnabled", config.vxlan_enabled)
        .maybe("vxlanVNI", config.vxlan_vni)
        .maybe("vxlanPort", config.vxlan_port)
        .maybe("ipv6Support", config.ipv6_support)
        .0
}

pub(super) fn bgp(config: &BgpConfiguration) -> Facts {
    List::new()
        .maybe("nodeToNodeMeshEnabled", config.mesh)
        .maybe("asNumber", config.as_number)
        .maybe("programClusterRoutes", config.program_cluster_routes.map(|it| format!("{it:?}")))
        .0
}

pub(super) fn peer(peer: &BgpPeer) -> Facts {
    let address = peer.peer_ip.as_ref().map(|it| match it {
        PeerAddress::Address(address) => address.to_string(),
        PeerAddress::Unreadable(text) => text.clone(),
    });
    List::new()
        .maybe("node", peer.node.as_ref())
        .maybe("nodeSelector", peer.node_selector.as_ref())
        .maybe("peerIP", address)
        .maybe("peerSelector", peer.peer_selector.as_ref())
        .maybe("asNumber", peer.as_number)
        .maybe("filters", (!peer.filters.is_empty()).then(|| peer.filters.join(" ")))
        .maybe("nextHopMode", peer.next_hop_mode.map(|it| format!("{it:?}")))
        .when("reversePeering Manual", peer.reverse_manual)
        .maybe("localWorkloadSelector", peer.local_workload_selector.as_ref())
        .0
}

pub(super) fn cluster(cluster: &ClusterInformation) -> Facts {
    List::new()
        .add("clusterType", &cluster.cluster_type)
        .add("calicoVersion", &cluster.calico_version)
        .maybe("datastoreReady", cluster.datastore_ready)
        .0
}

pub(super) fn ipam_config(config: &IpamConfig) -> Facts {
    List::new()
        .add("strictAffinity", config.strict_affinity)
        .add("autoAllocateBlocks", config.auto_allocate_blocks)
        .add("maxBlocksPerHost", config.max_blocks_per_host)
        .add("ipCooldownSeconds", config.ip_cooldown_seconds)
        .0
}

pub(super) fn endpoint(endpoint: &WorkloadEndpoint) -> Facts {
    let listed = |addresses: &[IpAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    List::new()
        .add("node", &endpoint.node)
        .add("interfaceName", &endpoint.interface)
        .add("ipNetworks", listed(&endpoint.addresses))
        .maybe("ipNATs", (!endpoint.floating.is_empty()).then(|| listed(&endpoint.floating)))
        .0
}

pub(super) fn endpoint_name(id: &EndpointId) -> String {
    format!("{}/{}", id.namespace, id.name)
}

pub(super) fn block(block: &AllocationBlock) -> Facts {
    List::new().maybe("affinity", block.owner.as_ref()).add("allocated", block.allocated.len()).0
}

/// What differs between two values of one block: its owner, how much of it is allocated, and a few of the addresses.
pub(super) fn block_difference(before: &AllocationBlock, after: &AllocationBlock) -> Box<[Fact]> {
    let mut facts = difference(&block(before), &block(after)).into_vec();
    let holder = |block: &AllocationBlock, ordinal| block.allocation(ordinal).map(|it| it.map_or_else(held, holder));
    let touched = |ordinal: &u32| holder(before, *ordinal) != holder(after, *ordinal);
    let mut ordinals: Vec<u32> = before.allocated.iter().chain(after.allocated.iter()).filter(touched).collect();
    ordinals.sort_unstable();
    ordinals.dedup();
    for ordinal in ordinals.into_iter().take(MOST_ADDRESSES) {
        let Some(address) = address_at(&after.cidr, u64::from(ordinal)) else { continue };
        facts.push(Fact {
            name: Cow::Owned(address.to_string()),
            before: holder(before, ordinal).map(Into::into),
            after: holder(after, ordinal).map(Into::into),
        });
    }
    return facts.into();

    fn held() -> String {
        "allocated".to_owned()
    }

    fn holder(attribute: &Attribute) -> String {
        if attribute.released_at.is_some() {
            return "cooling down".to_owned();
        }
        let whose = match (&attribute.namespace, &attribute.pod, &attribute.kind_text) {
            (Some(namespace), Some(pod), _) => format!("{namespace}/{pod}"),
            (_, _, Some(kind)) => kind.to_string(),
            _ => held(),
        };
        match &attribute.node {
            Some(node) => format!("{whose} on {node}"),
            None => whose,
        }
    }
}

pub(super) fn link(link: &Link) -> Facts {
    let addresses: Vec<String> = link.addresses.iter().map(ToString::to_string).collect();
    let vxlan = link.vxlan.as_ref();
    List::new()
        .add("name", &link.name)
        .maybe("kind", link.kind.as_ref())
        .add("state", if link.is_up() { "up" } else { "down" })
        .add("mtu", link.mtu)
        .maybe("address", link.mac)
        .maybe("vni", vxlan.and_then(|it| it.vni))
        .maybe("dstport", vxlan.and_then(|it| it.port))
        .maybe("local", vxlan.and_then(|it| it.local))
        .maybe("inet", (!addresses.is_empty()).then(|| addresses.join(" ")))
        .0
}
