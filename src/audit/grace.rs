//! Grace: nothing is a fault before it has stood for a while, counted for each thing by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use super::now::Now;

/// Since when each of some things stands.
#[derive(Debug, Clone)]
pub struct Standing<K> {
    since: BTreeMap<K, Now>,
}

impl<K> Default for Standing<K> {
    fn default() -> Self {
        Standing { since: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Standing<K> {
    /// Notes that the thing stands; the first note counts.
    pub fn stands(&mut self, key: K, now: Now) {
        self.since.entry(key).or_insert(now);
    }

    /// Notes that it stands no more; returns how long it did, if it did.
    pub fn falls(&mut self, key: &K, now: Now) -> Option<Duration> {
        let since = self.since.remove(key)?;
        Some(now.monotonic.saturating_sub(since.monotonic))
    }

    /// Forgets all but these.
    pub fn retain(&mut self, mut keep: impl FnMut(&K) -> bool) {
        self.since.retain(|key, _| keep(key));
    }

    /// Since when the thing stands.
    pub fn since(&self, key: &K) -> Option<Now> {
        self.since.get(key).copied()
    }

    /// Whether it has stood for as long as `grace`.
    pub fn is_due(&self, key: &K, grace: Duration, now: Now) -> bool {
        self.since(key).is_some_and(|since| now.monotonic >= since.monotonic.saturating_add(grace))
    }

    /// All things that stand, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &Now)> + '_ {
        self.since.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn at(seconds: u64) -> Now {
        Now { monotonic: Duration::from_secs(seconds), wall: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) }
    }

    #[test]
    fn grace_counts_from_the_first_note_and_anew_after_a_fall() {
        let mut standing = Standing::default();
        standing.stands("a", at(10));
        standing.stands("a", at(100));
        let grace = Duration::from_secs(120);
        assert!(!standing.is_due(&"a", grace, at(129)));
        assert!(standing.is_due(&"a", grace, at(130)));
        assert!(!standing.is_due(&"b", grace, at(130)));
        assert_eq!(standing.falls(&"a", at(131)), Some(Duration::from_secs(121)));
        assert_eq!(standing.falls(&"a", at(132)), None);
        standing.stands("a", at(140));
        assert!(!standing.is_due(&"a", grace, at(200)));
        assert!(standing.is_due(&"a", Duration::ZERO, at(140)));
    }
}
