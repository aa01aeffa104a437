//! How much something matters: `alerts/calico.rules.yml` says the same of the alert that its series fires.

use std::fmt;

use super::report::Report;
use crate::model::label_values;

label_values! {
    /// What it asks of whom; what matters most first.
    pub enum Severity {
        /// Pods cannot talk, or will soon not start.
        Critical = "critical",
        /// Somebody looks at it today.
        Warning = "warning",
        /// Worth knowing.
        Info = "info",
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
