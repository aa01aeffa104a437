//! How much something matters: `alerts/calico.rules.yml` says the same of the alert that its series fires.

use std::fmt;

use super::finding::{Finding, Metric};
use super::node_addresses;
use super::report::Report;

/// What it asks of whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Pods cannot talk, or will soon not start.
    Critical,
    /// Somebody looks at it today.
    Warning,
    /// Worth knowing.
    Info,
}

impl Severity {
    /// All of them, what matters most first.
    pub const ALL: [Severity; 3] = [Severity::Critical, Severity::Warning, Severity::Info];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
            Severity::Info => "info",
        }
    }
}

impl Finding {
    /// The alert that its series fires, and the section of the runbook that is about it.
    pub fn alert(&self) -> &'static str {
        let reason = self.label("reason").unwrap_or_default();
        match (self.metric, reason) {
            (Metric::UndecodableKeys, _) => "CalicoExporterUndecodableKeys",
            (Metric::MismatchedAddresses, "neither") => "CalicoAddressesLost",
            (Metric::MismatchedAddresses, _) => "CalicoAddressesHandedOutTwice",
            (Metric::InvalidBlocks, "overlap") => "CalicoBlocksOverlap",
            (Metric::InvalidBlocks, "outside_any_pool") => "CalicoBlocksOutsidePools",
            (Metric::InvalidBlocks, _) => "CalicoBlocksInvalid",
            (Metric::AffinityFaults, "over_block_limit") => "CalicoHostOverBlockLimit",
            (Metric::AffinityFaults, "unknown_host") => "CalicoAffinityOfUnknownHost",
            (Metric::AffinityFaults, "stuck_pending" | "stuck_pending_deletion") => "CalicoAffinityStuck",
            (Metric::AffinityFaults, _) => "CalicoAffinityContradictory",
            (Metric::HandleFaults, "no_allocation") => "CalicoHandlesLeaked",
            (Metric::HandleFaults, _) => "CalicoHandleFaults",
            (Metric::LeakedAddresses, "on_unknown_host" | "allocated_not_in_use") => "CalicoAddressesLeaked",
            (Metric::LeakedAddresses, "on_another_node") => "CalicoAddressesOnAnotherNode",
            (Metric::LeakedAddresses, _) => "CalicoAddressConflict",
            (Metric::TunnelFaults, "missing" | "down") => "CalicoTunnelDeviceDown",
            (Metric::TunnelFaults, "owned_by_pod" | "duplicate" | "duplicate_mac") => "CalicoTunnelAddressConflict",
            (Metric::TunnelFaults, "not_allocated") => "CalicoTunnelAddressNotAllocated",
            (Metric::TunnelFaults, "mtu_too_high") => "CalicoTunnelMtuTooHigh",
            (Metric::TunnelFaults, "rule_missing") => "CalicoTrafficUnencrypted",
            (Metric::TunnelFaults, reason) if reason.starts_with("wrong_") => "CalicoTunnelDeviceWrong",
            (Metric::TunnelFaults, _) => "CalicoTunnelAddressWrong",
            (Metric::TunnelEntryFaults, "missing" | "wrong") => "CalicoTunnelEntriesMissing",
            (Metric::TunnelEntryFaults, _) => "CalicoTunnelEntriesStale",
            (Metric::NodeFaults, "node_missing") => "CalicoNodeMissing",
            (Metric::NodeFaults, reason) if node_addresses::REASONS.contains(&reason) => "CalicoNodeAddressConflict",
            (Metric::NodeFaults, _) => "CalicoNodeAddressFaults",
            (Metric::RouteFaults, "missing") => "CalicoRoutesMissing",
            (Metric::RouteFaults, "stale") => "CalicoRoutesStale",
            (Metric::RouteFaults, _) => "CalicoRoutesMisdirected",
            (Metric::OwnerFaults, "no_session") => "CalicoRoutesCarriedByNobody",
            (Metric::OwnerFaults, "both") => "CalicoRoutesOwnedByBoth",
            (Metric::OwnerFaults, _) => "CalicoRoutesOwnedByNobody",
        }
    }

    /// How much it matters: as its alert does.
    pub fn severity(&self) -> Severity {
        match self.alert() {
            "CalicoAddressesHandedOutTwice"
            | "CalicoBlocksOverlap"
            | "CalicoAddressConflict"
            | "CalicoTunnelDeviceDown"
            | "CalicoTunnelAddressConflict"
            | "CalicoTunnelDeviceWrong"
            | "CalicoTunnelEntriesMissing"
            | "CalicoTrafficUnencrypted"
            | "CalicoNodeMissing"
            | "CalicoNodeAddressConflict"
            | "CalicoRoutesCarriedByNobody"
            | "CalicoRoutesOwnedByNobody" => Severity::Critical,
            "CalicoBlocksOutsidePools" | "CalicoHostOverBlockLimit" | "CalicoHandlesLeaked" => Severity::Info,
            _ => Severity::Warning,
        }
    }
}

/// How many there are of each severity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts([usize; 3]);

impl Counts {
    /// A cause counts once, whatever it explains; a finding that no cause explains counts once as well.
    pub fn of(report: &Report) -> Counts {
        let mut counts = Counts::default();
        for cause in &report.causes {
            counts.add(cause.severity);
        }
        for finding in report.unexplained() {
            counts.add(finding.severity());
        }
        counts
    }

    /// How many there are of one.
    pub fn count(self, severity: Severity) -> usize {
        self.0[severity as usize]
    }

    fn add(&mut self, severity: Severity) {
        self.0[severity as usize] += 1;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [critical, warnings, info] = self.0;
        let plural = if warnings == 1 { "" } else { "s" };
        write!(out, "{critical} critical · {warnings} warning{plural} · {info} info")
    }
}
