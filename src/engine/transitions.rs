//! Faults that began and ended between two reports, each logged once and written into the history.

use std::time::SystemTime;

use tracing::{info, warn};

use crate::audit::Finding;
use crate::model::rfc3339;
use crate::state::History;

/// Transitions of one kind that are logged one by one; the rest of them is one line. A look at 5,000 hosts may bring as
/// many.
const MOST_LINES: usize = 20;

/// The findings of `these` that `those` does not have; both are sorted.
fn missing<'a>(these: &'a [Finding], those: &'a [Finding]) -> Vec<&'a Finding> {
    let mut those = those.iter().peekable();
    let mut missing = Vec::new();
    for finding in these {
        while those.next_if(|other| other.identity() < finding.identity()).is_some() {}
        if those.peek().is_none_or(|other| other.identity() != finding.identity()) {
            missing.push(finding);
        }
    }
    missing
}

/// Logs and records what changed from one report's findings to the next one's.
pub(super) fn note(old: &[Finding], new: &[Finding], history: &mut History, now: SystemTime) {
    history.set_time(now);
    let began = missing(new, old);
    for finding in began.iter().take(MOST_LINES) {
        let (host, since) = (finding.host.as_deref(), finding.since.and_then(rfc3339));
        warn!(series = finding.series(), subject = finding.subject, host, since, "fault began: {}", finding.detail);
    }
    if let Some(more) = began.len().checked_sub(MOST_LINES).filter(|more| *more > 0) {
        warn!(more, "further faults began; /api/v1/findings lists them");
    }
    let ended = missing(old, new);
    for finding in ended.iter().take(MOST_LINES) {
        let (host, since) = (finding.host.as_deref(), finding.since.and_then(rfc3339));
        let lasted = finding.since.and_then(|since| now.duration_since(since).ok()).map(|it| it.as_secs());
        info!(
            series = finding.series(),
            subject = finding.subject,
            host,
            since,
            lasted_seconds = lasted,
            "fault ended"
        );
    }
    if let Some(more) = ended.len().checked_sub(MOST_LINES).filter(|more| *more > 0) {
        info!(more, "further faults ended");
    }
    for (ended, findings) in [(true, ended), (false, began)] {
        for finding in findings {
            history.fault(ended, finding.series(), &finding.subject, finding.host.as_ref(), finding.since);
        }
    }
    history.set_standing(new.iter().map(|finding| (finding.subject.as_str(), finding.host.as_ref())));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::audit::{Fault, MismatchReason};
    use crate::state::{Area, Entry, Filter, Operation};

    fn finding(subject: &str) -> Finding {
        Finding::new(Fault::Mismatch(MismatchReason::Neither), subject).host(Some("h1".into()))
    }

    #[test]
    fn what_began_and_ended_is_recorded_once_whatever_the_words() {
        let mut history = History::new(1 << 20);
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let since = |finding: Finding, seconds| Finding { since: Some(at(seconds)), ..finding };
        let first = vec![since(finding("10.0.0.1"), 10), finding("10.0.0.3")];
        note(&[], &first, &mut history, at(100));
        let second = vec![since(finding("10.0.0.1").detail("other words"), 10), finding("10.0.0.2")];
        note(&first, &second, &mut history, at(200));
        note(&second, &second, &mut history, at(300));
        let filter = Filter::default();
        let mut entries: Vec<&Entry> = history.entries(&filter).collect();
        entries.reverse();
        let told: Vec<_> = entries.iter().map(|it| (it.at, it.operation, &*it.subject)).collect();
        assert_eq!(
            told,
            [
                (at(100), Operation::Began, "10.0.0.1"),
                (at(100), Operation::Began, "10.0.0.3"),
                (at(200), Operation::Ended, "10.0.0.3"),
                (at(200), Operation::Began, "10.0.0.2"),
            ]
        );
        assert!(entries.iter().all(|it| it.area == Area::Fault));
        assert_eq!(entries[0].stood(), Some(Duration::from_secs(90)));
    }

    #[test]
    fn very_many_are_counted() {
        let mut history = History::new(1 << 20);
        let mut all: Vec<Finding> = (0..=255).map(|last| finding(&format!("10.0.0.{last}"))).collect();
        all.sort();
        note(&[], &all, &mut history, SystemTime::UNIX_EPOCH);
        let filter = Filter::default();
        let counted: u64 = history.entries(&filter).map(|it| it.burst.as_ref().map_or(1, |burst| burst.count)).sum();
        assert_eq!(counted, 256);
        assert!(history.entries(&filter).count() < 20);
    }
}
