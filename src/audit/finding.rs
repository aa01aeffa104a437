//! A finding: one thing that is wrong, named so that a person can go and look at it.

use std::time::SystemTime;

use ipnet::IpNet;

use super::fault::{Alert, Fault, Metric, TunnelReason};
use super::severity::Severity;
use crate::model::Name;

/// One thing that is wrong. Sorted by metric, labels, subject and host, so that two runs on one picture are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// What is wrong: which series counts it, with which labels.
    pub fault: Fault,
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
    /// A finding without words yet.
    pub fn new(fault: Fault, subject: impl ToString) -> Finding {
        Finding {
            fault,
            subject: subject.to_string(),
            host: None,
            since: None,
            detail: String::new(),
            expected: String::new(),
            actual: String::new(),
            action: String::new(),
        }
    }

    /// What is wrong with a tunnel device of `host`.
    pub fn of_tunnel(device: &str, reason: TunnelReason, host: &Name) -> Finding {
        Finding::new(Fault::Tunnel(device.into(), reason), device).host(Some(host.clone()))
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

    /// The series that counts it.
    pub fn metric(&self) -> Metric {
        self.fault.metric()
    }

    /// The alert that its series fires.
    pub fn alert(&self) -> Alert {
        self.fault.alert()
    }

    /// How much it matters.
    pub fn severity(&self) -> Severity {
        self.fault.severity()
    }

    /// What identifies it from one report to the next; its words and its time may change.
    pub fn identity(&self) -> (&Fault, &str, Option<&Name>) {
        (&self.fault, &self.subject, self.host.as_ref())
    }

    /// The series that counts it, as PromQL selects it.
    pub fn series(&self) -> String {
        let labels: Vec<String> = self.fault.labels().map(|(name, value)| format!("{name}={value:?}")).collect();
        format!("{}{{{}}}", self.metric().as_str(), labels.join(","))
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
