//! What a connection is doing, and which one has to go where too many are held.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

/// How long a connection may take over what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For its first request, TLS' handshake before it.
    pub(super) first: Duration,
    /// For each further one.
    pub(super) idle: Duration,
    /// For one answer to be taken.
    pub(super) answer: Duration,
}

/// What one connection is doing.
#[derive(Debug)]
pub(super) struct Activity {
    state: Mutex<State>,
    /// Rung when it has to make room.
    evicted: Notify,
}

#[derive(Debug)]
struct State {
    /// When each answer that is not done was begun.
    answers: BTreeMap<u64, Instant>,
    begun: u64,
    /// Since when nothing is being answered, where nothing is.
    idle_since: Instant,
}

impl Activity {
    fn new() -> Activity {
        let state = State { answers: BTreeMap::new(), begun: 0, idle_since: Instant::now() };
        Activity { state: Mutex::new(state), evicted: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer has been begun; it is done when what is returned is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Ongoing {
        let mut state = self.state();
        let number = state.begun;
        state.begun += 1;
        state.answers.insert(number, Instant::now());
        Ongoing { activity: self.clone(), number }
    }

    /// Returns when the connection has lasted longer than it may, or has to make room.
    pub(super) async fn over(&self, patience: Patience) {
        tokio::select! {
            () = self.evicted.notified() => {}
            () = self.late(patience) => {}
        }
    }

    async fn late(&self, patience: Patience) {
        loop {
            let deadline = self.deadline(patience);
            if deadline <= Instant::now() {
                return;
            }
            sleep_until(deadline).await;
        }
    }

    /// By when something has to have happened, as things are.
    fn deadline(&self, patience: Patience) -> Instant {
        let state = self.state();
        match state.answers.first_key_value() {
            Some((_, began)) => *began + patience.answer,
            None if state.begun == 0 => state.idle_since + patience.first,
            None => state.idle_since + patience.idle,
        }
    }

    fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        state.answers.is_empty().then_some(state.idle_since)
    }
}

/// An answer that is not done.
#[derive(Debug)]
pub(super) struct Ongoing {
    activity: Arc<Activity>,
    number: u64,
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        state.answers.remove(&self.number);
        state.idle_since = Instant::now();
    }
}

/// Places for connections. Where all are taken, the one that has been idle longest gives way: whoever opens many and
/// asks nothing keeps nobody out.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    taken: Mutex<Vec<Weak<Activity>>>,
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) activity: Arc<Activity>,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    /// How often it is looked whether somebody could give way.
    const GLANCE: Duration = Duration::from_millis(50);

    pub(super) fn new(count: usize) -> Places {
        Places { free: Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS))), taken: Mutex::default() }
    }

    /// A place, once there is one.
    pub(super) async fn take(&self) -> Place {
        let permit = loop {
            if self.free.available_permits() == 0 {
                self.make_room();
            }
            // Looked at again: a connection that is being answered now may be idle soon.
            match timeout(Self::GLANCE, self.free.clone().acquire_owned()).await {
                Ok(Ok(permit)) => break permit,
                // Nobody closes the semaphore.
                Ok(Err(_)) => std::future::pending().await,
                Err(_) => {}
            }
        };
        let activity = Arc::new(Activity::new());
        let mut taken = self.taken();
        taken.retain(|place| place.strong_count() > 0);
        taken.push(Arc::downgrade(&activity));
        drop(taken);
        Place { activity, _permit: permit }
    }

    fn taken(&self) -> MutexGuard<'_, Vec<Weak<Activity>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the one go that has been idle longest.
    pub(super) fn make_room(&self) {
        let taken = self.taken();
        let idle = taken.iter().filter_map(Weak::upgrade).filter_map(|it| Some((it.idle_since()?, it)));
        if let Some((_, longest)) = idle.min_by_key(|(since, _)| *since) {
            longest.evicted.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience(first: u64, idle: u64, answer: u64) -> Patience {
        let [first, idle, answer] = [first, idle, answer].map(Duration::from_millis);
        Patience { first, idle, answer }
    }

    const LONG: u64 = 3_600_000;

    async fn is_over(activity: &Activity, patience: Patience) -> bool {
        tokio::time::timeout(Duration::from_millis(100), activity.over(patience)).await.is_ok()
    }

    #[tokio::test]
    async fn each_thing_has_its_time() {
        let activity = Arc::new(Activity::new());
        assert!(!is_over(&activity, patience(LONG, 0, 0)).await, "nothing was asked yet");
        assert!(is_over(&activity, patience(20, LONG, LONG)).await);
        let (one, other) = (activity.begin(), activity.begin());
        drop(one);
        assert!(!is_over(&activity, patience(0, 0, LONG)).await, "it is being answered");
        assert!(is_over(&activity, patience(LONG, LONG, 20)).await);
        drop(other);
        assert!(!is_over(&activity, patience(0, LONG, 0)).await, "idle");
        assert!(is_over(&activity, patience(LONG, 20, LONG)).await);
    }

    #[tokio::test]
    async fn the_longest_idle_gives_way_and_nobody_who_is_answered() {
        let places = Places::new(3);
        let busy = places.take().await;
        let ongoing = busy.activity.begin();
        let (old, young) = (places.take().await, places.take().await);
        tokio::time::sleep(Duration::from_millis(2)).await;
        drop(young.activity.begin());
        let waiting = tokio::time::timeout(Duration::from_millis(50), places.take()).await;
        assert!(waiting.is_err(), "nobody has gone yet");
        let never = patience(LONG, LONG, LONG);
        assert!(!is_over(&busy.activity, never).await && !is_over(&young.activity, never).await);
        assert!(is_over(&old.activity, never).await);
        drop(old);
        let fourth = tokio::time::timeout(Duration::from_secs(5), places.take()).await.expect("a place");
        drop((ongoing, fourth));
    }
}
