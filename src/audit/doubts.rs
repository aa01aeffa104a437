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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::fault::RouteReason;
    use crate::audit::judge::Difference;
    use crate::audit::report::RouteClass;
    use crate::audit::testing::net;

    fn verdict(blocks: &[IpNet], told: bool, by_key: bool, differs: bool) -> Verdict {
        let difference = Difference {
            class: RouteClass::Borrowed,
            reason: RouteReason::Stale,
            host: "h1".into(),
            programmer: None,
            detail: String::new(),
            expected: String::new(),
            actual: String::new(),
            action: String::new(),
        };
        Verdict {
            difference: differs.then(|| Box::new(difference)),
            doubt: Some(Box::new(Doubt { blocks: blocks.to_vec(), told, by_key })),
            ..Verdict::default()
        }
    }

    fn block(number: u32) -> IpNet {
        net(&format!("10.{}.{}.0/26", number / 256, number % 256))
    }

    /// Destinations with their verdicts, taken in.
    fn noted(verdicts: &BTreeMap<IpNet, Verdict>) -> Doubts {
        let mut doubts = Doubts::default();
        verdicts.iter().for_each(|(destination, verdict)| doubts.note(destination, verdict));
        doubts
    }

    fn questions(verdicts: &BTreeMap<IpNet, Verdict>) -> BTreeMap<IpNet, Urgency> {
        noted(verdicts).questions(|destination| verdicts.get(destination))
    }

    #[test]
    fn a_block_matters_as_much_as_the_most_doubtful_of_its_destinations() {
        let (one, two) = ([block(1)], [block(1), block(2)]);
        let mut verdicts = BTreeMap::from([(net("10.0.1.1/32"), verdict(&one, true, false, false))]);
        assert_eq!(questions(&verdicts), [(block(1), Urgency::Explained)].into());
        verdicts.insert(net("10.0.1.2/32"), verdict(&one, true, false, true));
        assert_eq!(questions(&verdicts), [(block(1), Urgency::Differing)].into());
        verdicts.insert(net("10.0.2.0/26"), verdict(&two, false, true, true));
        let unanswered = Urgency::Unanswered;
        assert_eq!(questions(&verdicts), [(block(1), unanswered), (block(2), unanswered)].into());
    }

    #[test]
    fn a_destination_without_doubt_asks_for_nothing_and_when_it_changed_is_forgotten() {
        let destination = net("10.0.1.1/32");
        let doubtful = verdict(&[block(1)], false, false, true);
        let mut doubts = Doubts::default();
        doubts.note_change(destination, Duration::from_secs(7));
        doubts.note(&destination, &doubtful);
        assert_eq!(doubts.changed(&destination), Some(Duration::from_secs(7)));
        assert_eq!(doubts.questions(|_| Some(&doubtful)).len(), 1);
        doubts.note(&destination, &Verdict::default());
        assert_eq!(doubts.changed(&destination), None);
        assert!(doubts.questions(|_| Some(&doubtful)).is_empty());
    }

    #[test]
    fn of_very_many_doubts_some_are_asked_about_and_keys_are_believed() {
        let of = |count: usize, by_key| -> BTreeMap<IpNet, Verdict> {
            let each = (0..count as u32).map(block);
            each.map(|cidr| (cidr, verdict(&[cidr], false, by_key, true))).collect()
        };
        for (count, asked, believed) in [(MOST_BY_KEY, MOST_BY_KEY, false), (MOST_BY_KEY + 1, MOST_BY_KEY, true)] {
            let verdicts = of(count, true);
            assert_eq!(questions(&verdicts).len(), asked);
            assert_eq!(noted(&verdicts).believes_keys(), believed);
        }
        let verdicts = of(2000, false);
        assert_eq!(questions(&verdicts).len(), MOST_BY_KEY + MOST_UNEXPLAINED);
        assert!(!noted(&verdicts).believes_keys());
    }
}
