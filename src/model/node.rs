//! Calico's Node resource (`libcalico-go/lib/apis/internalapi/node.go`): a host's addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Family, Labels, Mac, Name};

/// `spec.bgp`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeBgp {
    /// The node's own AS number; the cluster's where unset.
    pub as_number: Option<u32>,
    /// Address and prefix length; the host bits are kept.
    pub ipv4: Option<IpNet>,
    /// The same for IPv6.
    pub ipv6: Option<IpNet>,
    /// The node reflects routes for this cluster id.
    pub route_reflector_cluster_id: Option<String>,
}

/// The type of an entry of `spec.addresses`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeAddressType {
    /// `InternalIP`.
    Internal,
    /// `ExternalIP`.
    External,
    /// `CalicoNodeIP` and anything else; not used for routing.
    Other,
}

/// An entry of `spec.addresses`; a bare address has a full prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAddress {
    /// Its type.
    pub kind: NodeAddressType,
    /// Address and prefix length.
    pub address: IpNet,
}

/// Which tunnel an address belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TunnelKind {
    /// `spec.bgp.ipv4IPIPTunnelAddr`, on `tunl0`.
    Ipip,
    /// `spec.ipv4VXLANTunnelAddr`, on `vxlan.calico`.
    VxlanV4,
    /// `spec.ipv6VXLANTunnelAddr`, on `vxlan-v6.calico`.
    VxlanV6,
    /// `spec.wireguard.interfaceIPv4Address`, on `wireguard.cali`.
    WireguardV4,
    /// `spec.wireguard.interfaceIPv6Address`, on `wg-v6.cali`.
    WireguardV6,
}

impl TunnelKind {
    /// Whether packets are wrapped in VXLAN.
    pub fn is_vxlan(self) -> bool {
        matches!(self, TunnelKind::VxlanV4 | TunnelKind::VxlanV6)
    }

    /// All of them.
    pub const ALL: [TunnelKind; 5] =
        [TunnelKind::Ipip, TunnelKind::VxlanV4, TunnelKind::VxlanV6, TunnelKind::WireguardV4, TunnelKind::WireguardV6];

    /// The tunnel whose device is called so.
    pub fn of_device(name: &str) -> Option<TunnelKind> {
        TunnelKind::ALL.into_iter().find(|kind| kind.device() == name)
    }

    /// The family of the packets that it carries, and of what it wraps them in.
    pub fn family(self) -> Family {
        match self {
            TunnelKind::Ipip | TunnelKind::VxlanV4 | TunnelKind::WireguardV4 => Family::V4,
            TunnelKind::VxlanV6 | TunnelKind::WireguardV6 => Family::V6,
        }
    }

    /// WireGuard's of the family.
    pub const fn wireguard(family: Family) -> TunnelKind {
        match family {
            Family::V4 => TunnelKind::WireguardV4,
            Family::V6 => TunnelKind::WireguardV6,
        }
    }

    /// Bytes that it adds to a packet (`felix/dataplane/linux/int_dataplane.go`, `ConfigureDefaultMTUs`).
    pub fn overhead(self) -> u32 {
        match self {
            TunnelKind::Ipip => 20,
            TunnelKind::VxlanV4 => 50,
            TunnelKind::VxlanV6 => 70,
            TunnelKind::WireguardV4 => 60,
            TunnelKind::WireguardV6 => 80,
        }
    }

    /// The VXLAN tunnel of a family.
    pub fn vxlan(family: Family) -> TunnelKind {
        match family {
            Family::V4 => TunnelKind::VxlanV4,
            Family::V6 => TunnelKind::VxlanV6,
        }
    }

    /// The device that carries the address, by its default name.
    pub const fn device(self) -> &'static str {
        match self {
            TunnelKind::Ipip => "tunl0",
            TunnelKind::VxlanV4 => "vxlan.calico",
            TunnelKind::VxlanV6 => "vxlan-v6.calico",
            TunnelKind::WireguardV4 => "wireguard.cali",
            TunnelKind::WireguardV6 => "wg-v6.cali",
        }
    }

    /// The `type` attribute of the address's allocation (`node/pkg/allocateip/allocateip.go`).
    pub fn attribute(self) -> &'static str {
        match self {
            TunnelKind::Ipip => "ipipTunnelAddress",
            TunnelKind::VxlanV4 => "vxlanTunnelAddress",
            TunnelKind::VxlanV6 => "vxlanV6TunnelAddress",
            TunnelKind::WireguardV4 => "wireguardTunnelAddress",
            TunnelKind::WireguardV6 => "wireguardV6TunnelAddress",
        }
    }
}

/// A Calico node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// The Calico node's name, as stored.
    pub name: Option<Name>,
    /// `metadata.labels`.
    pub labels: Labels,
    /// `spec.bgp`; absent on nodes without BGP.
    pub bgp: Option<NodeBgp>,
    /// `spec.addresses`.
    pub addresses: Box<[NodeAddress]>,
    /// The tunnel addresses it was given.
    pub tunnels: BTreeMap<TunnelKind, IpAddr>,
    /// `spec.vxlanTunnelMACAddr`; usually absent, see [`Node::vxlan_mac`].
    pub vxlan_mac_v4: Option<Mac>,
    /// `spec.vxlanTunnelMACAddrV6`.
    pub vxlan_mac_v6: Option<Mac>,
    /// `status.wireguardPublicKey`.
    pub wireguard_key_v4: Option<String>,
    /// `status.wireguardPublicKeyV6`.
    pub wireguard_key_v6: Option<String>,
}

impl Node {
    /// `spec.bgp`'s address of the family.
    pub fn bgp_address(&self, family: Family) -> Option<IpNet> {
        let bgp = self.bgp.as_ref()?;
        match family {
            Family::V4 => bgp.ipv4,
            Family::V6 => bgp.ipv6,
        }
    }

    /// The address that routes to this node's blocks lead to: `spec.bgp`'s; `spec.addresses` (internal before
    /// external) only where `spec.bgp` has no address of either family (J21; `L3RouteResolver.OnResourceUpdate`).
    pub fn routing_address(&self, family: Family) -> Option<IpAddr> {
        if let Some(bgp) = &self.bgp
            && (bgp.ipv4.is_some() || bgp.ipv6.is_some())
        {
            return self.bgp_address(family).map(|net| net.addr());
        }
        [NodeAddressType::Internal, NodeAddressType::External].into_iter().find_map(|wanted| {
            self.addresses
                .iter()
                .find(|entry| entry.kind == wanted && Family::of_net(&entry.address) == family)
                .map(|entry| entry.address.addr())
        })
    }

    /// The VXLAN tunnel end point's address: only where `spec.bgp` has an address of that family as well
    /// (`felix/calc/vxlan_resolver.go`, `hasVTEPInfo`).
    pub fn vtep(&self, family: Family) -> Option<IpAddr> {
        self.bgp_address(family)?;
        self.tunnels.get(&TunnelKind::vxlan(family)).copied()
    }

    /// The MAC of its tunnel end point: as the Node says for this family, else derived from `name`, the name of the node
    /// as stored.
    pub fn vxlan_mac(&self, name: &str, family: Family) -> Mac {
        let set = match family {
            Family::V4 => self.vxlan_mac_v4,
            Family::V6 => self.vxlan_mac_v6,
        };
        set.unwrap_or_else(|| Mac::derived(name, family))
    }

    /// The public key that it shows for WireGuard of the family, as it stands there.
    pub fn wireguard_key(&self, family: Family) -> Option<&str> {
        match family {
            Family::V4 => self.wireguard_key_v4.as_deref(),
            Family::V6 => self.wireguard_key_v6.as_deref(),
        }
    }

    /// `InternalIP`s of `spec.addresses`.
    pub fn internal_addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let internal = self.addresses.iter().filter(|entry| entry.kind == NodeAddressType::Internal);
        internal.map(|entry| entry.address.addr())
    }

    /// Every address of the node that a route could lead to.
    pub fn own_addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let bgp = self.bgp.iter().flat_map(|bgp| [bgp.ipv4, bgp.ipv6]).flatten().map(|net| net.addr());
        bgp.chain(self.addresses.iter().map(|entry| entry.address.addr()))
    }
}
