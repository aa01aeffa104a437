//! How long to wait before trying again: exponential, capped, with full jitter.
//!
//! Thousands of exporters lose the same etcd in the same second. Full jitter (a delay drawn from zero up to a growing
//! ceiling) spreads their return best for the time that it costs.

use std::time::Duration;

/// Delays between attempts. [`Backoff::next_delay`] after each failure, [`Backoff::reset`] after a success.
#[derive(Debug, Clone)]
pub struct Backoff {
    floor: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// The first delay is at most `floor`, every later one at most twice its predecessor's ceiling and never over `cap`.
    pub fn new(floor: Duration, cap: Duration) -> Backoff {
        Backoff { floor: floor.min(cap), cap, failures: 0 }
    }

    /// The longest that the next delay can be.
    pub fn ceiling(&self) -> Duration {
        let doubled = 2_u32.checked_pow(self.failures).and_then(|factor| self.floor.checked_mul(factor));
        doubled.map_or(self.cap, |ceiling| ceiling.min(self.cap))
    }

    /// The delay after one more failure.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.ceiling().mul_f64(fastrand::f64());
        self.failures = self.failures.saturating_add(1);
        delay
    }

    /// A delay of at most the floor that does not count as a failure: for another server that may well be there.
    pub fn spread(&self) -> Duration {
        self.floor.mul_f64(fastrand::f64())
    }

    /// Begins again from the floor.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The cap given to [`Backoff::new`].
    pub fn cap(&self) -> Duration {
        self.cap
    }
}

/// `duration`, give or take ten per cent: keeps what happens periodically on many hosts from happening at once.
pub fn around(duration: Duration) -> Duration {
    duration.mul_f64(0.9 + 0.2 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_delay_is_over_its_ceiling_and_no_ceiling_over_the_cap(
            floor in 0_u64..100_000, cap in 1_u64..100_000, failures in 0_usize..200, seed: u64,
        ) {
            fastrand::seed(seed);
            let (floor, cap) = (Duration::from_millis(floor), Duration::from_millis(cap));
            let mut backoff = Backoff::new(floor, cap);
            let mut before = Duration::ZERO;
            for _ in 0..failures {
                let ceiling = backoff.ceiling();
                prop_assert!(ceiling >= before, "a ceiling never falls");
                prop_assert!(ceiling <= cap);
                prop_assert!(before.is_zero() || ceiling <= before * 2);
                prop_assert!(backoff.next_delay() <= ceiling);
                prop_assert!(backoff.spread() <= floor);
                before = ceiling;
            }
            backoff.reset();
            prop_assert_eq!(backoff.ceiling(), floor.min(cap));
        }

        #[test]
        fn around_stays_within_a_tenth(millis in 0_u64..10_000_000, seed: u64) {
            fastrand::seed(seed);
            let duration = Duration::from_millis(millis);
            let jittered = around(duration);
            prop_assert!(jittered >= duration.mul_f64(0.899) && jittered <= duration.mul_f64(1.101));
        }
    }

    #[test]
    fn it_reaches_the_cap() {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        let ceilings: Vec<u128> = std::iter::repeat_with(|| {
            let ceiling = backoff.ceiling().as_millis();
            backoff.next_delay();
            ceiling
        })
        .take(8)
        .collect();
        assert_eq!(ceilings, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
    }
}
