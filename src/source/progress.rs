//! How long a list may take: as long as it makes progress.
//!
//! A fixed deadline is either too short for 15,000 blocks over a slow link, or so long that a server which answers one
//! page every 25 seconds is trusted for minutes with what it said before. So every byte buys time, and only the time
//! spent waiting for the server counts.

use std::time::Duration;

/// An allowance: some time for nothing, and more for each byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// What a list may take that has nothing in it.
    pub base: Duration,
    /// The slowest acceptable rate beyond that.
    pub bytes_per_second: u64,
}

impl Allowance {
    fn after(&self, bytes: u64) -> Duration {
        self.base + Duration::from_millis(bytes.saturating_mul(1000) / self.bytes_per_second.max(1))
    }
}

/// When a list is late, and when it is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Beyond this the source is out of sync, and the list goes on.
    pub late: Allowance,
    /// Beyond this the list is given up.
    pub hopeless: Allowance,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            late: Allowance { base: Duration::from_secs(60), bytes_per_second: 64 << 10 },
            hopeless: Allowance { base: Duration::from_secs(300), bytes_per_second: 16 << 10 },
        }
    }
}

/// What one list has delivered, and how long it was waited for.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    waited: Duration,
    bytes: u64,
}

impl Progress {
    /// Time spent waiting for the server.
    pub fn wait(&mut self, time: Duration) {
        self.waited += time;
    }

    /// Bytes that arrived.
    pub fn arrive(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    /// All the time spent waiting so far.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// How much longer the server may be waited for within `allowance`.
    pub fn left(&self, allowance: Allowance) -> Duration {
        allowance.after(self.bytes).saturating_sub(self.waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_buy_time() {
        let allowance = Allowance { base: Duration::from_secs(10), bytes_per_second: 1000 };
        let mut progress = Progress::default();
        assert_eq!(progress.left(allowance), Duration::from_secs(10));
        progress.wait(Duration::from_secs(9));
        assert_eq!(progress.left(allowance), Duration::from_secs(1));
        progress.arrive(5000);
        assert_eq!(progress.left(allowance), Duration::from_secs(6));
        progress.wait(Duration::from_secs(60));
        assert_eq!(progress.left(allowance), Duration::ZERO);
    }

    #[test]
    fn a_few_bytes_now_and_then_buy_nothing() {
        let Patience { late, hopeless } = Patience::default();
        let mut progress = Progress::default();
        let mut late_after = None;
        for pieces in 1.. {
            progress.wait(Duration::from_secs(9));
            progress.arrive(7);
            if progress.left(late).is_zero() {
                late_after.get_or_insert(pieces * 9);
            }
            if progress.left(hopeless).is_zero() {
                assert_eq!((late_after, pieces * 9), (Some(63), 306));
                return;
            }
        }
    }
}
