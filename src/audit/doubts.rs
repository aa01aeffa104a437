//! Which blocks of other hosts have to be read, where only affinity keys are followed: those that a route turns on, and
//! not more of them than a host may ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipnet::IpNet;

use super::judge::{Doubt, Verdict};

/// So many routes that a key asks for and that are missing or wrong are no matter of single keys without a block: their
/// keys are believed, and no more blocks than that are read for them. A host that has lost all its routes must not read
/// the whole IPAM to say so.
pub(super) const MOST_BY_KEY: usize = 128;
/// Other hosts' blocks that are read for routes that nothing followed explains: borrowed addresses, mostly. Beyond that
/// such routes are not judged.
pub(super) const MOST_UNEXPLAINED: usize = 1024;

/// How much a block that ought to be read matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// It was read, and explains what is there: only to be looked at now and then.
    Explained,
    /// It was read, and a difference stands by what it said.
    Differing,
    /// A route cannot be judged before it has been read.
    Unanswered,
}

/// Destinations that keys alone do not explain.
#[derive(Debug, Clone, Default)]
pub(super) struct Doubts {
    /// Nothing that is followed expects their routes.
    unexplained: BTreeSet<IpNet>,
    /// A key does, and the route differs.
    by_key: BTreeSet<IpNet>,
    /// When those routes changed.
    changed: BTreeMap<IpNet, Duration>,
}

impl Doubts {
    /// When the destination's route last changed, if it matters.
    pub(super) fn changed(&self, destination: &IpNet) -> Option<Duration> {
        self.changed.get(destination).copied()
    }

    /// Notes that a route changed or came.
    pub(super) fn note_change(&mut self, destination: IpNet, now: Duration) {
        self.changed.insert(destination, now);
    }

    /// Takes in a verdict.
    pub(super) fn note(&mut self, destination: &IpNet, verdict: &Verdict) {
        self.unexplained.remove(destination);
        self.by_key.remove(destination);
        match verdict.doubt.as_deref() {
            None => drop(self.changed.remove(destination)),
            Some(Doubt { by_key: true, .. }) => {
                self.changed.remove(destination);
                self.by_key.insert(*destination);
            }
            Some(_) => drop(self.unexplained.insert(*destination)),
        }
    }

    /// So many keys' routes differ that keys are believed.
    pub(super) fn believes_keys(&self) -> bool {
        self.by_key.len() > MOST_BY_KEY
    }

    /// The blocks to read, with how much each matters.
    pub(super) fn questions<'a>(&self, verdict: impl Fn(&IpNet) -> Option<&'a Verdict>) -> BTreeMap<IpNet, Urgency> {
        let mut blocks = BTreeMap::new();
        let mut ask = |destination: &IpNet, limit: usize| {
            let Some(verdict) = verdict(destination) else { return };
            let Some(doubt) = verdict.doubt.as_deref() else { return };
            let urgency = match (doubt.told, &verdict.difference) {
                (false, _) => Urgency::Unanswered,
                (true, Some(_)) => Urgency::Differing,
                (true, None) => Urgency::Explained,
            };
            for cidr in &doubt.blocks {
                let room = blocks.len() < limit;
                match blocks.get_mut(cidr) {
                    Some(known) => *known = urgency.max(*known),
                    None if room => drop(blocks.insert(*cidr, urgency)),
                    None => {}
                }
            }
        };
        self.by_key.iter().take(MOST_BY_KEY).for_each(|destination| ask(destination, usize::MAX));
        self.unexplained.iter().for_each(|destination| ask(destination, MOST_BY_KEY + MOST_UNEXPLAINED));
        blocks
    }
}
