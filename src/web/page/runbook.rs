//! Where the runbook tells what to do about a finding: its parts are named after alerts.

use crate::audit::Finding;

/// The runbook.
pub(super) const RUNBOOK: &str = "https://github.com/calico-exporter/calico-exporter/blob/main/docs/runbook.md";

/// The part of the runbook that is about the finding, as a link.
pub fn runbook_url(finding: &Finding) -> String {
    runbook_of(finding.alert().as_str())
}

/// The part of the runbook that is about an alert, as a link.
pub fn runbook_of(alert: &str) -> String {
    format!("{RUNBOOK}#{}", alert.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use crate::audit::Alert;

    #[test]
    fn every_alert_has_a_part_of_the_runbook() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbook.md");
        let text = std::fs::read_to_string(path).unwrap();
        for alert in Alert::ALL.map(Alert::as_str) {
            assert!(text.contains(&format!("\n### {alert}\n")), "{alert}");
        }
    }
}
