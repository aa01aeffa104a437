//! How often anybody may ask.

use std::sync::Mutex;
use std::time::Instant;

use super::document::Rate;

/// A bucket of leaves to ask, full at first.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: Rate,
    /// How many leaves there were, and when.
    state: Mutex<(f64, Instant)>,
}

impl Bucket {
    pub(super) fn new(rate: Rate, now: Instant) -> Bucket {
        Bucket { rate, state: Mutex::new((f64::from(rate.burst), now)) }
    }

    /// Seconds from one leave to the next, at least one.
    pub(super) fn interval(&self) -> u64 {
        self.rate.interval.as_secs().max(1)
    }

    /// Takes a leave, if there is one.
    pub(super) fn take(&self, now: Instant) -> bool {
        // Whoever panicked here left two numbers behind.
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let since = now.saturating_duration_since(state.1).as_secs_f64();
        let leaves = (state.0 + since / self.rate.interval.as_secs_f64()).min(f64::from(self.rate.burst));
        let taken = leaves >= 1.0;
        *state = (if taken { leaves - 1.0 } else { leaves }, now.max(state.1));
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_and_then_one_each_interval() {
        let start = Instant::now();
        let bucket = Bucket::new(Rate { interval: Duration::from_secs(2), burst: 3 }, start);
        let takes = |after: u64| bucket.take(start + Duration::from_millis(after));
        assert_eq!([0, 0, 0, 0, 1000].map(takes), [true, true, true, false, false]);
        assert_eq!([2100, 2200, 4100].map(takes), [true, false, true]);
        // An hour saves up no more than a burst.
        assert_eq!([3_600_000; 4].map(takes), [true, true, true, false]);
    }

    #[test]
    fn without_a_burst_there_is_nothing_to_take() {
        let start = Instant::now();
        let bucket = Bucket::new(Rate { interval: Duration::from_secs(1), burst: 0 }, start);
        assert!(!bucket.take(start) && !bucket.take(start + Duration::from_secs(60)));
    }
}
