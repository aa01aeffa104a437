//! The closed label values of the faults: one list for the rules, the catalogue of metrics and its documentation.

use super::finding::Metric;
use super::report::RouteClass;
use crate::model::TunnelKind;

/// A part of the audit: it reports once everything that it reads has been in sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// Reading itself: it judges nothing but whether a value can be read.
    Sources,
    /// The cluster's IPAM.
    Ipam,
    /// This host's routes.
    Routes,
    /// What is beneath them.
    Tunnels,
    /// The sweep over handles and endpoints.
    Leaks,
}

/// What may be wrong with a tunnel as this host's devices show it (J13), whatever kind it is of.
const DEVICE_REASONS: [&str; 6] =
    ["missing", "down", "address_missing", "address_differs", "address_unexpected", "mtu_too_high"];

/// The same with a VXLAN device, which has more to be wrong.
const VXLAN_DEVICE_REASONS: [&str; 11] = [
    DEVICE_REASONS[0],
    DEVICE_REASONS[1],
    DEVICE_REASONS[2],
    DEVICE_REASONS[3],
    DEVICE_REASONS[4],
    DEVICE_REASONS[5],
    "wrong_vni",
    "wrong_port",
    "wrong_local_address",
    "wrong_parent",
    "wrong_mac",
];

/// What may be wrong with the policy rules that send traffic into a WireGuard device.
pub const RULE_REASONS: [&str; 1] = ["rule_missing"];

/// What may be wrong with Nodes' tunnel addresses in the cluster's IPAM (J13).
const ADDRESS_REASONS: [&str; 3] = ["not_allocated", "owned_by_pod", "duplicate"];

/// The same with those of VXLAN, whose ends have MACs beside.
const VXLAN_ADDRESS_REASONS: [&str; 4] = [ADDRESS_REASONS[0], ADDRESS_REASONS[1], ADDRESS_REASONS[2], "duplicate_mac"];

/// What may be wrong with an entry of the tables beneath a VXLAN device.
const ENTRY_REASONS: [&str; 4] = ["missing", "wrong", "stale", "not_permanent"];

/// Why a route is a fault; the label `reason` of `calico_route_faults`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteReason {
    /// Required and not there.
    Missing,
    /// Calico's and expected by nobody (J16).
    Stale,
    /// It drops where it ought to forward, or the reverse.
    WrongType,
    /// Its gateway or device is another than it ought to be.
    WrongNextHop,
    /// Wrapped where it ought not to be, or otherwise, or not.
    WrongEncapsulation,
    /// Several ways where one is right.
    Multipath,
    /// Its device is down or has no carrier (J19).
    Linkdown,
    /// Not Calico's, and it takes traffic away from an owned block (J17).
    Foreign,
}

impl RouteReason {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            RouteReason::Missing => "missing",
            RouteReason::Stale => "stale",
            RouteReason::WrongType => "wrong_type",
            RouteReason::WrongNextHop => "wrong_next_hop",
            RouteReason::WrongEncapsulation => "wrong_encapsulation",
            RouteReason::Multipath => "multipath",
            RouteReason::Linkdown => "linkdown",
            RouteReason::Foreign => "foreign",
        }
    }
}

impl TunnelKind {
    /// What may be wrong with its device on this host (J13).
    pub fn device_reasons(self) -> &'static [&'static str] {
        match self {
            TunnelKind::VxlanV4 | TunnelKind::VxlanV6 => &VXLAN_DEVICE_REASONS,
            TunnelKind::Ipip | TunnelKind::WireguardV4 | TunnelKind::WireguardV6 => &DEVICE_REASONS,
        }
    }

    /// What may be wrong with its addresses anywhere in the cluster (J13).
    pub fn address_reasons(self) -> &'static [&'static str] {
        match self {
            TunnelKind::VxlanV4 | TunnelKind::VxlanV6 => &VXLAN_ADDRESS_REASONS,
            TunnelKind::Ipip | TunnelKind::WireguardV4 | TunnelKind::WireguardV6 => &ADDRESS_REASONS,
        }
    }
}

/// What may be wrong with a route (J16–J19).
const ROUTE_REASONS: [&str; 8] =
    ["missing", "stale", "wrong_type", "wrong_next_hop", "wrong_encapsulation", "multipath", "linkdown", "foreign"];

impl Metric {
    /// The names of its labels, in the order of a finding's.
    pub fn labels(self) -> &'static [&'static str] {
        match self {
            Metric::UndecodableKeys => &["kind"],
            Metric::MismatchedAddresses
            | Metric::InvalidBlocks
            | Metric::AffinityFaults
            | Metric::HandleFaults
            | Metric::NodeFaults => &["reason"],
            Metric::LeakedAddresses => &["ippool", "reason"],
            Metric::TunnelFaults => &["device", "reason"],
            Metric::TunnelEntryFaults => &["device", "table", "reason"],
            Metric::RouteFaults => &["class", "reason"],
            Metric::OwnerFaults => &["pool_class", "reason"],
        }
    }

    /// The values of its label `reason`, in the order of the contract; none where it has no such label.
    pub fn reasons(self) -> &'static [&'static str] {
        match self {
            Metric::UndecodableKeys => &[],
            // J3
            Metric::MismatchedAddresses => &["allocated_and_unallocated", "neither", "duplicate"],
            Metric::InvalidBlocks => &[
                "bad_attribute_index",
                "unreferenced_attribute",
                "unallocated_out_of_range",
                "wrong_length",
                "overlap",
                "wrong_block_size",
                "outside_any_pool",
                "cidr_differs_from_key",
                "sequence_number",
            ],
            // J7
            Metric::AffinityFaults => &[
                "without_block",
                "block_without_affinity",
                "block_not_affine",
                "two_hosts",
                "unknown_host",
                "stuck_pending",
                "stuck_pending_deletion",
                "empty_without_affinity",
                "over_block_limit",
            ],
            // J9
            Metric::HandleFaults => &["no_allocation", "missing_handle", "under_count"],
            // J10
            Metric::LeakedAddresses => &[
                "on_unknown_host",
                "allocated_not_in_use",
                "on_another_node",
                "handle_differs",
                "two_endpoints",
                "in_use_not_allocated",
            ],
            Metric::TunnelFaults => &[
                "missing",
                "down",
                "address_missing",
                "address_differs",
                "address_unexpected",
                "mtu_too_high",
                "wrong_vni",
                "wrong_port",
                "wrong_local_address",
                "wrong_parent",
                "wrong_mac",
                RULE_REASONS[0],
                "not_allocated",
                "owned_by_pod",
                "duplicate",
                "duplicate_mac",
            ],
            Metric::TunnelEntryFaults => &ENTRY_REASONS,
            // J30
            Metric::NodeFaults => &[
                "address_missing",
                "prefix_differs",
                "node_missing",
                "address_duplicate",
                "address_of_tunnel",
                "address_in_block",
            ],
            Metric::RouteFaults => &ROUTE_REASONS,
            // J27
            Metric::OwnerFaults => &["both", "neither", "no_session"],
        }
    }

    /// The part of the audit that judges it. A tunnel is judged more than once (J13): its devices with the routes, which
    /// is the answer here, [`TunnelKind::address_reasons`] with the IPAM, and [`RULE_REASONS`] with what is beneath.
    pub fn part(self) -> Part {
        match self {
            Metric::UndecodableKeys => Part::Sources,
            Metric::MismatchedAddresses | Metric::InvalidBlocks | Metric::AffinityFaults => Part::Ipam,
            Metric::HandleFaults | Metric::LeakedAddresses => Part::Leaks,
            Metric::TunnelEntryFaults => Part::Tunnels,
            Metric::TunnelFaults | Metric::NodeFaults | Metric::RouteFaults | Metric::OwnerFaults => Part::Routes,
        }
    }
}

impl RouteClass {
    /// What can be wrong with a route of this class. A blackhole has no next hop, a workload's route is nothing while
    /// its link is down (J19), a tunnel address is never the class of a route by its form (J15), and a foreign route
    /// is a fault of the class of its form (J17).
    pub fn reasons(self) -> &'static [&'static str] {
        match self {
            RouteClass::LocalWorkload => {
                &["missing", "stale", "wrong_type", "wrong_next_hop", "wrong_encapsulation", "multipath", "foreign"]
            }
            RouteClass::LocalBlock => &["missing", "stale", "wrong_type", "foreign"],
            RouteClass::RemoteBlock | RouteClass::Borrowed => &ROUTE_REASONS,
            RouteClass::TunnelAddress => {
                &["missing", "wrong_type", "wrong_next_hop", "wrong_encapsulation", "multipath", "linkdown"]
            }
            RouteClass::Foreign => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn classes_have_reasons_of_the_metric_only() {
        for class in RouteClass::ALL {
            for reason in class.reasons() {
                assert!(Metric::RouteFaults.reasons().contains(reason), "{reason} of {}", class.as_str());
            }
        }
    }

    #[test]
    fn tunnels_have_reasons_of_the_metric_only_and_it_has_no_other() {
        let of = |kind: TunnelKind| [kind.device_reasons(), kind.address_reasons(), &RULE_REASONS].concat();
        let all: BTreeSet<_> = TunnelKind::ALL.into_iter().flat_map(of).collect();
        assert_eq!(all, Metric::TunnelFaults.reasons().iter().copied().collect());
    }

    #[test]
    fn a_metric_has_reasons_exactly_where_it_has_the_label() {
        for metric in Metric::ALL {
            assert_eq!(metric.labels().contains(&"reason"), !metric.reasons().is_empty(), "{}", metric.name());
        }
    }
}
