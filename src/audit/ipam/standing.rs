//! Findings and how long they have stood.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::affinity::{Age, Aged};
use crate::audit::fault::Fault;
use crate::audit::finding::Finding;
use crate::audit::now::Now;
use crate::model::Name;

/// A difference that is there now, and since when. Whether it is a finding yet is a matter of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    finding: Finding,
    since: Duration,
    /// The same moment for people; kept, so that a clock that is set does not change what was said.
    wall: SystemTime,
    /// It may be something in flight, and counts only once it has stood for the grace.
    waits: bool,
}

type Identity<'a> = (&'a Fault, &'a str, Option<&'a Name>);

impl Standing {
    fn identity(&self) -> Identity<'_> {
        self.finding.identity()
    }

    /// When it becomes a finding; `None` where it is one already.
    pub(super) fn due(&self, now: Now, grace: Duration) -> Option<Duration> {
        let due = self.since.saturating_add(grace);
        (self.waits && due > now.monotonic).then_some(due)
    }

    /// The finding. Of a dump nobody knows since when it stands.
    pub(super) fn finding(&self, live: bool) -> Finding {
        Finding { since: live.then_some(self.wall), ..self.finding.clone() }
    }
}

/// What stands now: a difference that stood before keeps its age, though its words may have changed.
pub(super) fn settle(before: &[Standing], found: Vec<Aged>, now: Now) -> Vec<Standing> {
    if found.is_empty() {
        return Vec::new();
    }
    let before: BTreeMap<Identity<'_>, &Standing> = before.iter().map(|it| (it.identity(), it)).collect();
    found
        .into_iter()
        .map(|(finding, age)| {
            let seen = before.get(&finding.identity()).map(|it| (it.since, it.wall));
            let (since, wall) = match age {
                Age::Since(since) => match seen {
                    Some(seen) if seen.0 == since => seen,
                    _ => (since, now.wall_at(since)),
                },
                Age::AtOnce | Age::FirstSeen => seen.unwrap_or((now.monotonic, now.wall)),
            };
            Standing { finding, since, wall, waits: age != Age::AtOnce }
        })
        .collect()
}
