//! Values that cannot be read, in the log: the first few by name, the others counted once a minute. A hundred thousand
//! of them would be a hundred thousand lines at every start.

use std::time::Duration;

use tracing::warn;

use crate::state::Unreadable;

/// Lines that name a key, until a minute has passed without one that was only counted.
const NAMED: u32 = 20;
/// How often the others are counted.
const PERIOD: Duration = Duration::from_secs(60);

/// What was said, and what was not.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    named: u32,
    /// How many were not named since they were last counted.
    held: u64,
    /// When they are counted next.
    due: Option<Duration>,
}

/// What becomes of one.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Named,
    Counted,
}

impl Complaints {
    /// A value that cannot be read.
    pub(super) fn complain(&mut self, key: &str, why: &Unreadable, now: Duration) {
        if self.take(now) == Fate::Counted {
            return;
        }
        match why {
            Unreadable::Undecodable(why) => warn!(%key, why, "this value cannot be read"),
            Unreadable::CidrDiffers(cidr) => warn!(%key, value = %cidr, "key and value name different blocks"),
        }
    }

    /// Counts those that were not named, when it is time.
    pub(super) fn count(&mut self, now: Duration) {
        if let Some(count) = self.counted(now) {
            warn!(count, "more values cannot be read; `calico-exporter check` names them all");
        }
    }

    fn take(&mut self, now: Duration) -> Fate {
        self.due.get_or_insert(now + PERIOD);
        if self.named < NAMED {
            self.named += 1;
            return Fate::Named;
        }
        self.held += 1;
        Fate::Counted
    }

    fn counted(&mut self, now: Duration) -> Option<u64> {
        if self.due.is_none_or(|due| now < due) {
            return None;
        }
        let held = std::mem::take(&mut self.held);
        if held == 0 {
            *self = Complaints::default();
            return None;
        }
        self.due = Some(now + PERIOD);
        Some(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_twenty_are_named_and_the_others_counted_once_a_minute() {
        let mut complaints = Complaints::default();
        let second = Duration::from_secs;
        let fates = |complaints: &mut Complaints, now, count: usize| {
            (0..count).filter(|_| complaints.take(now) == Fate::Named).count()
        };
        assert_eq!(fates(&mut complaints, second(0), 100_000), 20);
        assert_eq!(complaints.counted(second(59)), None);
        assert_eq!(complaints.counted(second(60)), Some(99_980));
        assert_eq!(complaints.counted(second(61)), None);
        assert_eq!(fates(&mut complaints, second(70), 3), 0, "no line for each of them later either");
        assert_eq!(complaints.counted(second(120)), Some(3));
        // A minute without any: the next ones are named again.
        assert_eq!(complaints.counted(second(180)), None);
        assert_eq!(fates(&mut complaints, second(500), 5), 5);
    }
}
