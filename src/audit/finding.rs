//! A finding: one thing that is wrong, named so that a person can go and look at it.

use std::borrow::Cow;
use std::time::SystemTime;

use ipnet::IpNet;

use crate::model::Name;

/// The series that counts a finding. A gauge is counted from the findings: the number of findings with a metric and
/// labels *is* the value of that series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Metric {
    /// `calico_exporter_undecodable_keys`.
    UndecodableKeys,
    /// `calico_ipam_mismatched_addresses`.
    MismatchedAddresses,
    /// `calico_ipam_invalid_blocks`.
    InvalidBlocks,
    /// `calico_ipam_affinity_faults`.
    AffinityFaults,
    /// `calico_ipam_handle_faults`.
    HandleFaults,
    /// `calico_ipam_leaked_addresses`.
    LeakedAddresses,
    /// `calico_tunnel_faults`.
    TunnelFaults,
    /// `calico_tunnel_entry_faults`.
    TunnelEntryFaults,
    /// `calico_node_faults`.
    NodeFaults,
    /// `calico_route_faults`.
    RouteFaults,
    /// `calico_cluster_routes_owner_faults`.
    OwnerFaults,
}

impl Metric {
    /// All of them, in the order in which findings are listed.
    pub const ALL: [Metric; 11] = [
        Metric::UndecodableKeys,
        Metric::MismatchedAddresses,
        Metric::InvalidBlocks,
        Metric::AffinityFaults,
        Metric::HandleFaults,
        Metric::LeakedAddresses,
        Metric::TunnelFaults,
        Metric::TunnelEntryFaults,
        Metric::NodeFaults,
        Metric::RouteFaults,
        Metric::OwnerFaults,
    ];

    /// The name of the series.
    pub fn name(self) -> &'static str {
        match self {
            Metric::UndecodableKeys => "calico_exporter_undecodable_keys",
            Metric::MismatchedAddresses => "calico_ipam_mismatched_addresses",
            Metric::InvalidBlocks => "calico_ipam_invalid_blocks",
            Metric::AffinityFaults => "calico_ipam_affinity_faults",
            Metric::HandleFaults => "calico_ipam_handle_faults",
            Metric::LeakedAddresses => "calico_ipam_leaked_addresses",
            Metric::TunnelFaults => "calico_tunnel_faults",
            Metric::TunnelEntryFaults => "calico_tunnel_entry_faults",
            Metric::NodeFaults => "calico_node_faults",
            Metric::RouteFaults => "calico_route_faults",
            Metric::OwnerFaults => "calico_cluster_routes_owner_faults",
        }
    }
}

/// Label names and values, in the order of the metric's contract.
pub type Labels = Vec<(&'static str, Cow<'static, str>)>;

/// One thing that is wrong. Sorted by metric, labels, subject and host, so that two runs on one picture are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Which series counts it.
    pub metric: Metric,
    /// That series' labels.
    pub labels: Labels,
    /// The address, CIDR, handle, host, device or key at fault, in canonical form (J28: an address is written bare).
    pub subject: String,
    /// The host concerned: whose block it is, or where a route leads.
    pub host: Option<Name>,
    /// Since when it stands, as far as this process saw.
    pub since: Option<SystemTime>,
    /// What is wrong, in a sentence.
    pub detail: String,
    /// What ought to be.
    pub expected: String,
    /// What is.
    pub actual: String,
    /// What to do about it.
    pub action: String,
}

impl Finding {
    /// A finding of a metric whose only label is `reason`.
    pub fn of_reason(metric: Metric, reason: &'static str, subject: impl ToString) -> Finding {
        Finding::new(metric, vec![("reason", Cow::Borrowed(reason))], subject)
    }

    /// What is wrong with a tunnel device of `host`.
    pub fn of_tunnel(device: &str, reason: &'static str, host: &Name) -> Finding {
        let labels = vec![("device", Cow::Owned(device.to_owned())), ("reason", Cow::Borrowed(reason))];
        Finding::new(Metric::TunnelFaults, labels, device).host(Some(host.clone()))
    }

    /// A finding without words yet.
    pub fn new(metric: Metric, labels: Labels, subject: impl ToString) -> Finding {
        // A rule that says what the catalogue does not know would make a series that no alert can name.
        debug_assert!(
            labels.iter().map(|(name, _)| *name).eq(metric.labels().iter().copied()),
            "{} has the labels {:?}, not {labels:?}",
            metric.name(),
            metric.labels(),
        );
        debug_assert!(
            labels.iter().all(|(name, value)| *name != "reason" || metric.reasons().contains(&value.as_ref())),
            "{} has the reasons {:?}, not {labels:?}",
            metric.name(),
            metric.reasons(),
        );
        Finding {
            metric,
            labels,
            subject: subject.to_string(),
            host: None,
            since: None,
            detail: String::new(),
            expected: String::new(),
            actual: String::new(),
            action: String::new(),
        }
    }

    /// Names the host concerned.
    #[must_use]
    pub fn host(mut self, host: Option<Name>) -> Finding {
        self.host = host;
        self
    }

    /// Says what is wrong.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Finding {
        self.detail = detail.into();
        self
    }

    /// Says what ought to be and what is.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>, actual: impl Into<String>) -> Finding {
        self.expected = expected.into();
        self.actual = actual.into();
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn action(mut self, action: impl Into<String>) -> Finding {
        self.action = action.into();
        self
    }

    /// What identifies it from one report to the next; its words and its time may change.
    pub fn identity(&self) -> (Metric, &Labels, &str, Option<&Name>) {
        (self.metric, &self.labels, &self.subject, self.host.as_ref())
    }

    /// The series that counts it, as PromQL selects it.
    pub fn series(&self) -> String {
        let labels: Vec<String> =
            self.labels.iter().map(|(name, value)| format!("{name}={:?}", value.as_ref())).collect();
        format!("{}{{{}}}", self.metric.name(), labels.join(","))
    }

    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| *label == name).map(|(_, value)| value.as_ref())
    }
}

/// A finding that may still be two moments seen side by side: blocks are watched, handles and endpoints swept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The finding.
    pub finding: Finding,
    /// Tells this allocation from the next one of the same address: on a busy cluster, addresses that were given out
    /// during one sweep are given out again during the next.
    pub identity: u64,
    /// The block that decides, where one does.
    pub block: Option<IpNet>,
}
