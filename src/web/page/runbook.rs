//! Where the runbook tells what to do about a finding: its parts are named after alerts.

use crate::audit::{Finding, Metric};

/// The runbook.
pub(super) const RUNBOOK: &str = "https://github.com/calico-exporter/calico-exporter/blob/main/docs/runbook.md";

/// The alert whose part of the runbook is about the finding.
pub(super) fn alert(finding: &Finding) -> &'static str {
    let reason = finding.label("reason").unwrap_or_default();
    match (finding.metric, reason) {
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
        (Metric::NodeFaults, _) => "CalicoNodeAddressFaults",
        (Metric::RouteFaults, "missing") => "CalicoRoutesMissing",
        (Metric::RouteFaults, "stale") => "CalicoRoutesStale",
        (Metric::RouteFaults, _) => "CalicoRoutesMisdirected",
        (Metric::OwnerFaults, "both") => "CalicoRoutesOwnedByBoth",
        (Metric::OwnerFaults, _) => "CalicoRoutesOwnedByNobody",
    }
}

/// The part of the runbook that is about the finding, as a link.
pub fn runbook_url(finding: &Finding) -> String {
    format!("{RUNBOOK}#{}", alert(finding).to_ascii_lowercase())
}

/// What kind of thing is wrong, as people call it.
pub(super) fn kind(metric: Metric) -> &'static str {
    match metric {
        Metric::UndecodableKeys => "Keys that cannot be read",
        Metric::MismatchedAddresses => "Addresses whose block contradicts itself",
        Metric::InvalidBlocks => "Invalid blocks",
        Metric::AffinityFaults => "Who owns a block",
        Metric::HandleFaults => "Handles",
        Metric::LeakedAddresses => "Leaked and conflicting addresses",
        Metric::TunnelFaults => "Tunnels",
        Metric::TunnelEntryFaults => "What is beneath the routes: tunnels' neighbours and forwarding entries",
        Metric::NodeFaults => "This host's Node",
        Metric::RouteFaults => "Routes of this host",
        Metric::OwnerFaults => "Who programs routes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_has_a_part_of_the_runbook() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbook.md");
        let text = std::fs::read_to_string(path).unwrap();
        for metric in Metric::ALL {
            let reasons = if metric.reasons().is_empty() { &[""] } else { metric.reasons() };
            for reason in reasons {
                let labels =
                    metric.labels().iter().map(|name| (*name, if *name == "reason" { *reason } else { "" }.into()));
                let alert = alert(&Finding::new(metric, labels.collect(), "x"));
                assert!(text.contains(&format!("\n### {alert}\n")), "{} {reason}: {alert}", metric.name());
            }
        }
    }
}
