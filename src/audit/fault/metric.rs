//! The series that count faults.

use super::reason::{
    AffinityReason, BlockReason, EntryReason, HandleReason, LeakReason, MismatchReason, NodeReason, OwnerReason,
    RouteReason, TunnelReason,
};
use crate::model::label_values;

label_values! {
    /// The series that counts a finding: the number of findings with a metric and labels *is* the value of that series.
    /// In the order in which findings are listed.
    pub enum Metric {
        /// Values that cannot be read.
        UndecodableKeys = "calico_exporter_undecodable_keys",
        /// Addresses on which a block contradicts itself.
        MismatchedAddresses = "calico_ipam_mismatched_addresses",
        /// Invalid blocks.
        InvalidBlocks = "calico_ipam_invalid_blocks",
        /// Blocks against the keys that claim them.
        AffinityFaults = "calico_ipam_affinity_faults",
        /// Handles against allocations.
        HandleFaults = "calico_ipam_handle_faults",
        /// Allocations against endpoints.
        LeakedAddresses = "calico_ipam_leaked_addresses",
        /// Tunnel devices and tunnel addresses.
        TunnelFaults = "calico_tunnel_faults",
        /// Neighbours and forwarding entries of tunnels.
        TunnelEntryFaults = "calico_tunnel_entry_faults",
        /// Nodes and their own addresses.
        NodeFaults = "calico_node_faults",
        /// This host's routes.
        RouteFaults = "calico_route_faults",
        /// Who programs the routes of a class of pools.
        OwnerFaults = "calico_cluster_routes_owner_faults",
    }
}

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

    /// The values of its label `reason`, in the order of the documentation; none where it has no such label.
    pub fn reasons(self) -> Vec<&'static str> {
        match self {
            Metric::UndecodableKeys => Vec::new(),
            Metric::MismatchedAddresses => MismatchReason::ALL.map(MismatchReason::as_str).to_vec(),
            Metric::InvalidBlocks => BlockReason::ALL.map(BlockReason::as_str).to_vec(),
            Metric::AffinityFaults => AffinityReason::ALL.map(AffinityReason::as_str).to_vec(),
            Metric::HandleFaults => HandleReason::ALL.map(HandleReason::as_str).to_vec(),
            Metric::LeakedAddresses => LeakReason::ALL.map(LeakReason::as_str).to_vec(),
            Metric::TunnelFaults => TunnelReason::ALL.map(TunnelReason::as_str).to_vec(),
            Metric::TunnelEntryFaults => EntryReason::ALL.map(EntryReason::as_str).to_vec(),
            Metric::NodeFaults => NodeReason::ALL.map(NodeReason::as_str).to_vec(),
            Metric::RouteFaults => RouteReason::ALL.map(RouteReason::as_str).to_vec(),
            Metric::OwnerFaults => OwnerReason::ALL.map(OwnerReason::as_str).to_vec(),
        }
    }

    /// What kind of thing is wrong, as a heading.
    pub fn title(self) -> &'static str {
        match self {
            Metric::UndecodableKeys => "Keys that cannot be read",
            Metric::MismatchedAddresses => "Addresses whose block contradicts itself",
            Metric::InvalidBlocks => "Invalid blocks",
            Metric::AffinityFaults => "Who owns a block",
            Metric::HandleFaults => "Handles",
            Metric::LeakedAddresses => "Leaked and conflicting addresses",
            Metric::TunnelFaults => "Tunnels",
            Metric::TunnelEntryFaults => "What is beneath the routes: tunnels' neighbours and forwarding entries",
            Metric::NodeFaults => "Nodes",
            Metric::RouteFaults => "Routes of this host",
            Metric::OwnerFaults => "Who programs routes",
        }
    }
}
