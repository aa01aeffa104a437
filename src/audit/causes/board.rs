//! Which finding belongs to which cause. Every finding is claimed at most once: what is claimed is no longer open.

use ipnet::IpNet;

use super::{Cause, CauseKind};
use crate::audit::fault::{Fault, Metric};
use crate::audit::finding::Finding;
use crate::audit::natural::natural;
use crate::model::net_of;

/// A finding that no cause has claimed yet.
#[derive(Clone, Copy)]
pub(super) struct Open<'a> {
    pub(super) at: usize,
    pub(super) finding: &'a Finding,
}

impl<'a> Open<'a> {
    pub(super) fn fault(&self) -> &'a Fault {
        &self.finding.fault
    }

    pub(super) fn is_of(&self, metric: Metric) -> bool {
        self.finding.metric() == metric
    }

    pub(super) fn host(&self) -> Option<&'a str> {
        self.finding.host.as_deref()
    }

    /// Its subject as a prefix: a route's destination, a block's CIDR, an address.
    pub(super) fn net(&self) -> Option<IpNet> {
        net_of(&self.finding.subject)
    }
}

/// What a rule says of a cause.
pub(super) struct Draft {
    pub(super) kind: CauseKind,
    pub(super) subject: String,
    pub(super) detail: String,
    pub(super) evidence: Vec<String>,
    pub(super) action: String,
}

/// The findings, and what has been made of them so far.
pub(super) struct Board<'a> {
    findings: &'a [Finding],
    claimed: Vec<bool>,
    causes: Vec<Cause>,
}

impl<'a> Board<'a> {
    pub(super) fn of(findings: &'a [Finding]) -> Board<'a> {
        Board { findings, claimed: vec![false; findings.len()], causes: Vec::new() }
    }

    /// Findings that nobody has claimed.
    pub(super) fn open(&self) -> impl Iterator<Item = Open<'a>> + '_ {
        let open = self.findings.iter().enumerate().filter(|(at, _)| !self.claimed[*at]);
        open.map(|(at, finding)| Open { at, finding })
    }

    /// Open findings of which this holds.
    pub(super) fn open_where(&self, holds: impl Fn(&Open<'a>) -> bool) -> Vec<Open<'a>> {
        self.open().filter(holds).collect()
    }

    /// Makes a cause of findings that are open. Nothing is a cause of nothing.
    pub(super) fn claim(&mut self, members: &[Open<'a>], draft: Draft) {
        let mut findings: Vec<usize> = members.iter().map(|it| it.at).filter(|at| !self.claimed[*at]).collect();
        findings.sort_unstable();
        findings.dedup();
        if findings.is_empty() {
            return;
        }
        for at in &findings {
            self.claimed[*at] = true;
        }
        let since = findings.iter().filter_map(|at| self.findings[*at].since).min();
        let Draft { kind, subject, detail, evidence, action } = draft;
        let severities = findings.iter().map(|at| self.findings[*at].severity());
        let severity = severities.fold(kind.severity(), |a, b| a.min(b));
        self.causes.push(Cause { kind, severity, subject, since, findings, detail, evidence, action });
    }

    pub(super) fn into_causes(mut self) -> Vec<Cause> {
        // The order of kinds is the order in which rules ran; numbers inside names count as numbers.
        self.causes.sort_by(|a, b| a.kind.cmp(&b.kind).then_with(|| natural(&a.subject, &b.subject)));
        self.causes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::HandleReason;

    #[test]
    fn what_is_claimed_is_not_open_and_nothing_is_no_cause() {
        let findings = [
            Finding::new(Fault::Handle(HandleReason::NoAllocation), "a"),
            Finding::new(Fault::Handle(HandleReason::NoAllocation), "b"),
        ];
        let draft = |subject: &str| Draft {
            kind: CauseKind::HandlesLeftOver,
            subject: subject.to_owned(),
            detail: String::new(),
            evidence: Vec::new(),
            action: String::new(),
        };
        let mut board = Board::of(&findings);
        let all: Vec<_> = board.open().collect();
        board.claim(&all[..1], draft("one"));
        assert_eq!(board.open().map(|it| it.at).collect::<Vec<_>>(), [1]);
        // Claimed already: only the second is left for it.
        board.claim(&all, draft("two"));
        board.claim(&all, draft("three"));
        let causes = board.into_causes();
        assert_eq!(causes.iter().map(|it| it.findings.clone()).collect::<Vec<_>>(), [vec![0], vec![1]]);
    }
}
