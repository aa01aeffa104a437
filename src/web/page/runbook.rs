//! Where the runbook tells what to do about a finding: its parts are named after alerts.

use crate::audit::{Finding, Metric};

/// The runbook.
pub(super) const RUNBOOK: &str = "https://github.com/calico-exporter/calico-exporter/blob/main/docs/runbook.md";

/// The part of the runbook that is about the finding, as a link.
pub fn runbook_url(finding: &Finding) -> String {
    runbook_of(finding.alert())
}

/// The part of the runbook that is about an alert, as a link.
pub fn runbook_of(alert: &str) -> String {
    format!("{RUNBOOK}#{}", alert.to_ascii_lowercase())
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
        Metric::NodeFaults => "Nodes",
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
                let alert = Finding::new(metric, labels.collect(), "x").alert();
                assert!(text.contains(&format!("\n### {alert}\n")), "{} {reason}: {alert}", metric.name());
            }
        }
    }
}
