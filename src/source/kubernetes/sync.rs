//! Many followers, one picture: it is current while each of them is.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};

use super::Resource;
use super::error::KubernetesError;
use crate::state::{Event, Side};

/// Different reasons reported in one outage; more are not worth a line each.
const MOST_REASONS: usize = 32;

/// Says when the picture is current and when not. Clones speak for the same picture.
#[derive(Clone)]
pub(super) struct Sync {
    events: mpsc::Sender<Vec<Event>>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Who is not current.
    waiting: BTreeSet<Resource>,
    synced: bool,
    /// Why the picture was said not to be current, since it last was.
    reasons: HashSet<String>,
    /// What may not be read, by who ran into it.
    denied: BTreeMap<Resource, String>,
}

impl Sync {
    pub(super) fn new(events: mpsc::Sender<Vec<Event>>) -> Sync {
        Sync { events, state: Arc::default() }
    }

    /// Begins a picture that is made of these.
    pub(super) async fn begin(&self, parts: impl IntoIterator<Item = Resource>) {
        let mut state = self.state.lock().await;
        state.waiting = parts.into_iter().collect();
        state.synced = false;
        let State { waiting, denied, .. } = &mut *state;
        denied.retain(|part, _| waiting.contains(part));
        self.deliver(vec![Event::Resync(Side::Datastore)]).await;
    }

    /// A follower is current. What it sent before is before this.
    pub(super) async fn found(&self, part: Resource) {
        let mut state = self.state.lock().await;
        state.waiting.remove(&part);
        if state.denied.remove(&part).is_some() {
            self.say_denied(&state).await;
        }
        if state.waiting.is_empty() && !state.synced {
            state.synced = true;
            state.reasons.clear();
            self.deliver(vec![Event::Synced(Side::Datastore)]).await;
        }
    }

    /// A follower is not current, or nobody is.
    pub(super) async fn lost(&self, part: Option<Resource>, error: &KubernetesError) {
        let mut state = self.state.lock().await;
        state.waiting.extend(part);
        state.synced = false;
        // Nothing at all may be read: until blocks are.
        let part = part.unwrap_or(Resource::Blocks);
        if let Some(what) = error.denied()
            && state.denied.insert(part, what.to_owned()).as_deref() != Some(what)
        {
            self.say_denied(&state).await;
        }
        let reason = error.to_string();
        if state.reasons.len() < MOST_REASONS && state.reasons.insert(reason.clone()) {
            tracing::warn!("{reason}");
            self.deliver(vec![Event::Lost(Side::Datastore, reason)]).await;
        }
    }

    async fn say_denied(&self, state: &State) {
        let what: BTreeSet<&str> = state.denied.values().map(String::as_str).collect();
        self.deliver(vec![Event::Denied(Side::Datastore, what.into_iter().map(Into::into).collect())]).await;
    }

    pub(super) async fn deliver(&self, batch: Vec<Event>) {
        if self.events.send(batch).await.is_err() {
            // Nobody receives any more: whoever runs us sees that, too, and ends.
            std::future::pending().await
        }
    }
}
