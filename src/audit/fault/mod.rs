//! The table of faults: what can be wrong, and everything that follows from which fault it is.
//!
//! A new fault is a new variant of a reason; the compiler then asks for its alert, and the alert's severity. Series,
//! their documentation and the runbook's sections are generated from, or tested against, the same lists.

use std::cmp::Ordering;

use super::report::RouteClass;
use crate::model::{Name, PoolClass};
use crate::state::{Kind, Table};

mod alert;
mod metric;
mod reason;

pub use alert::Alert;
pub use metric::{Metric, Part};
pub use reason::{
    AffinityReason, BlockReason, EntryReason, HandleReason, LeakReason, MismatchReason, NodeReason, OwnerReason,
    RouteReason, TunnelReason,
};

/// What is wrong: the series that counts it, with the values of that series' labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Fault {
    /// `calico_exporter_undecodable_keys`: a value that cannot be read.
    Undecodable(Kind),
    /// `calico_ipam_mismatched_addresses`.
    Mismatch(MismatchReason),
    /// `calico_ipam_invalid_blocks`.
    Block(BlockReason),
    /// `calico_ipam_affinity_faults`.
    Affinity(AffinityReason),
    /// `calico_ipam_handle_faults`.
    Handle(HandleReason),
    /// `calico_ipam_leaked_addresses`, with the pool of the address.
    Leak(Name, LeakReason),
    /// `calico_tunnel_faults`, with the device.
    Tunnel(Name, TunnelReason),
    /// `calico_tunnel_entry_faults`, with the device.
    Entry(Name, Table, EntryReason),
    /// `calico_node_faults`.
    Node(NodeReason),
    /// `calico_route_faults`.
    Route(RouteClass, RouteReason),
    /// `calico_cluster_routes_owner_faults`.
    Owner(PoolClass, OwnerReason),
}

impl Fault {
    /// The series that counts it.
    pub fn metric(&self) -> Metric {
        match self {
            Fault::Undecodable(_) => Metric::UndecodableKeys,
            Fault::Mismatch(_) => Metric::MismatchedAddresses,
            Fault::Block(_) => Metric::InvalidBlocks,
            Fault::Affinity(_) => Metric::AffinityFaults,
            Fault::Handle(_) => Metric::HandleFaults,
            Fault::Leak(..) => Metric::LeakedAddresses,
            Fault::Tunnel(..) => Metric::TunnelFaults,
            Fault::Entry(..) => Metric::TunnelEntryFaults,
            Fault::Node(_) => Metric::NodeFaults,
            Fault::Route(..) => Metric::RouteFaults,
            Fault::Owner(..) => Metric::OwnerFaults,
        }
    }

    /// The values of the series' labels, in the order of [`Metric::labels`]; empty beyond them.
    pub fn values(&self) -> [&str; 3] {
        match self {
            Fault::Undecodable(kind) => [kind.as_str(), "", ""],
            Fault::Mismatch(reason) => [reason.as_str(), "", ""],
            Fault::Block(reason) => [reason.as_str(), "", ""],
            Fault::Affinity(reason) => [reason.as_str(), "", ""],
            Fault::Handle(reason) => [reason.as_str(), "", ""],
            Fault::Leak(pool, reason) => [pool, reason.as_str(), ""],
            Fault::Tunnel(device, reason) => [device, reason.as_str(), ""],
            Fault::Entry(device, table, reason) => [device, table.as_str(), reason.as_str()],
            Fault::Node(reason) => [reason.as_str(), "", ""],
            Fault::Route(class, reason) => [class.as_str(), reason.as_str(), ""],
            Fault::Owner(class, reason) => [class.as_str(), reason.as_str(), ""],
        }
    }

    /// The names of the series' labels with their values.
    pub fn labels(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.metric().labels().iter().copied().zip(self.values())
    }

    /// The value of the label `reason`; `None` where the series has no such label.
    pub fn reason(&self) -> Option<&str> {
        self.labels().find(|(name, _)| *name == "reason").map(|(_, value)| value)
    }

    /// The tunnel device concerned.
    pub fn device(&self) -> Option<&Name> {
        match self {
            Fault::Tunnel(device, _) | Fault::Entry(device, ..) => Some(device),
            _ => None,
        }
    }
}

// Findings are listed by series and then by the words of its labels, which is the order that readers of JSON know.
impl Ord for Fault {
    fn cmp(&self, other: &Fault) -> Ordering {
        self.metric().cmp(&other.metric()).then_with(|| self.values().cmp(&other.values()))
    }
}

impl PartialOrd for Fault {
    fn partial_cmp(&self, other: &Fault) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests;
