//! IP pools and reservations (`api/pkg/apis/projectcalico/v3/{ippool,ipreservation}.go`).

use ipnet::IpNet;

use super::{Family, Name, TunnelKind};

/// `ipipMode`, `vxlanMode`: when packets between hosts are encapsulated. Empty means [`EncapMode::Never`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EncapMode {
    /// Not at all.
    #[default]
    Never,
    /// Between all hosts.
    Always,
    /// Only between hosts whose addresses are in different subnets.
    CrossSubnet,
}

impl EncapMode {
    /// As Calico writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            EncapMode::Never => "Never",
            EncapMode::Always => "Always",
            EncapMode::CrossSubnet => "CrossSubnet",
        }
    }
}

/// What decides how a pool's blocks are routed, and by whom (`felix/calc/l3_route_resolver.go`, `poolTypeForPool`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PoolClass {
    /// `vxlanMode` is not Never: always Felix's.
    Vxlan,
    /// `ipipMode` is not Never.
    Ipip,
    /// Neither.
    NoEncap,
    /// A pool for load balancers: no route at all.
    Unrouted,
}

impl PoolClass {
    /// The label `pool_class`.
    pub fn as_str(self) -> &'static str {
        match self {
            PoolClass::Vxlan => "vxlan",
            PoolClass::Ipip => "ipip",
            PoolClass::NoEncap | PoolClass::Unrouted => "none",
        }
    }
}

/// An IP pool with the defaults of `convertIpPoolFromStorage` filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpPool {
    /// The resource's name.
    pub name: Name,
    /// The pool, masked.
    pub cidr: IpNet,
    /// Prefix length of its blocks; 26 or 122 where unset. Shorter than the pool's own only where it is disabled: Calico
    /// does not check those.
    pub block_size: u8,
    /// IPIP mode.
    pub ipip: EncapMode,
    /// VXLAN mode.
    pub vxlan: EncapMode,
    /// No new allocations: `disabled`, being deleted, or its condition `Allocatable` is False; the allocator passes over
    /// all three (`libcalico-go/lib/clientv3/client.go`, `filterIPPool`).
    pub disabled: bool,
    /// `disableBGPExport`: BIRD does not announce its blocks.
    pub disable_bgp_export: bool,
    /// `nodeSelector`; `all()` where unset.
    pub node_selector: String,
    /// `allowedUses` has LoadBalancer.
    pub load_balancer: bool,
    /// `assignmentMode: Manual`: only by explicit request.
    pub manual: bool,
}

impl IpPool {
    /// The default block size of a family.
    pub fn default_block_size(family: Family) -> u8 {
        match family {
            Family::V4 => 26,
            Family::V6 => 122,
        }
    }

    /// How the pool's blocks are routed.
    pub fn class(&self) -> PoolClass {
        if self.load_balancer {
            PoolClass::Unrouted
        } else if self.vxlan != EncapMode::Never {
            PoolClass::Vxlan
        } else if self.ipip != EncapMode::Never {
            PoolClass::Ipip
        } else {
            PoolClass::NoEncap
        }
    }

    /// When its packets are encapsulated: the mode of its class.
    pub fn mode(&self) -> EncapMode {
        if self.vxlan != EncapMode::Never { self.vxlan } else { self.ipip }
    }

    /// The tunnel that its packets go through, if they do.
    pub fn tunnel(&self) -> Option<TunnelKind> {
        match self.class() {
            PoolClass::Ipip => Some(TunnelKind::Ipip),
            PoolClass::Vxlan => Some(TunnelKind::vxlan(self.family())),
            PoolClass::NoEncap | PoolClass::Unrouted => None,
        }
    }

    /// Whether hosts claim its blocks by themselves, for their pods and tunnels: not where it is disabled, for Services
    /// alone, or given out by request only (J31).
    pub fn is_claimed_by_hosts(&self) -> bool {
        !self.disabled && !self.load_balancer && !self.manual
    }

    /// The pool's family.
    pub fn family(&self) -> Family {
        Family::of_net(&self.cidr)
    }
}

/// An `IPReservation`: addresses that are not handed out any more. Malformed entries are skipped, as Calico does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpReservation {
    /// The resource's name.
    pub name: Name,
    /// Reserved prefixes, masked.
    pub cidrs: Vec<IpNet>,
}
