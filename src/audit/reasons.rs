//! The closed label values of the faults: one list for the rules, the catalogue of metrics and its documentation.

use super::finding::Metric;
use super::report::RouteClass;

/// A part of the audit: it reports once everything that it reads has been in sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// Reading itself: it judges nothing but whether a value can be read.
    Sources,
    /// The cluster's IPAM.
    Ipam,
    /// This host's routes.
    Routes,
    /// The sweep over handles and endpoints.
    Leaks,
}

/// What may be wrong with a tunnel as this host's devices show it (J13).
pub const TUNNEL_DEVICE_REASONS: [&str; 5] =
    ["missing", "down", "address_missing", "address_differs", "address_unexpected"];

/// What may be wrong with a Node's tunnel address in the cluster's IPAM (J13).
pub const TUNNEL_ADDRESS_REASONS: [&str; 3] = ["not_allocated", "owned_by_pod", "duplicate"];

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
                TUNNEL_DEVICE_REASONS[0],
                TUNNEL_DEVICE_REASONS[1],
                TUNNEL_DEVICE_REASONS[2],
                TUNNEL_DEVICE_REASONS[3],
                TUNNEL_DEVICE_REASONS[4],
                TUNNEL_ADDRESS_REASONS[0],
                TUNNEL_ADDRESS_REASONS[1],
                TUNNEL_ADDRESS_REASONS[2],
            ],
            // J30
            Metric::NodeFaults => &["address_missing", "prefix_differs"],
            Metric::RouteFaults => &ROUTE_REASONS,
            // J27
            Metric::OwnerFaults => &["both", "neither"],
        }
    }

    /// The part of the audit that judges it. A tunnel is judged twice (J13): its devices with the routes, which is the
    /// answer here, and [`TUNNEL_ADDRESS_REASONS`] with the IPAM.
    pub fn part(self) -> Part {
        match self {
            Metric::UndecodableKeys => Part::Sources,
            Metric::MismatchedAddresses | Metric::InvalidBlocks | Metric::AffinityFaults => Part::Ipam,
            Metric::HandleFaults | Metric::LeakedAddresses => Part::Leaks,
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
    fn a_metric_has_reasons_exactly_where_it_has_the_label() {
        for metric in Metric::ALL {
            assert_eq!(metric.labels().contains(&"reason"), !metric.reasons().is_empty(), "{}", metric.name());
        }
    }
}
