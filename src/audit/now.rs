//! The moment that an audit judges at. Rules have no clock: whoever calls them says what time it is.

use std::time::{Duration, SystemTime};

/// One moment, twice: ages are measured on the monotonic side, people are told the wall's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Time since some fixed start, the one that [`crate::state::State::apply`] is given.
    pub monotonic: Duration,
    /// The time of day; from files, the newest timestamp in the dump (J6).
    pub wall: SystemTime,
}

impl Now {
    /// The time of day at an earlier (or later) monotonic moment.
    pub fn wall_at(&self, moment: Duration) -> SystemTime {
        let earlier = self.wall.checked_sub(self.monotonic.saturating_sub(moment)).unwrap_or(self.wall);
        earlier.checked_add(moment.saturating_sub(self.monotonic)).unwrap_or(earlier)
    }
}
