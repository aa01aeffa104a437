//! Many followers, one picture: it is current while each of them is.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::{Mutex, mpsc, watch};

use super::Resource;
use super::claims::{Claims, block_of};
use super::error::KubernetesError;
use crate::model::Name;
use crate::state::{Event, Follow, Side};

/// Different reasons reported in one outage; more are not worth a line each.
const MOST_REASONS: usize = 32;

/// Whose words these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Member {
    /// All objects of a resource.
    All(Resource),
    /// One block of this host, where others' are not followed, by the number of its claim.
    Own(IpNet, u64),
}

/// Says when the picture is current and when not. Clones speak for the same picture.
#[derive(Clone)]
pub(super) struct Sync {
    events: mpsc::Sender<Vec<Event>>,
    state: Arc<Mutex<State>>,
    /// Whose blocks alone are followed, if it is one host's.
    me: Option<Name>,
    claims: watch::Sender<Claims>,
}

#[derive(Default)]
struct State {
    /// All resources that the picture is made of.
    parts: BTreeSet<Member>,
    /// Which of them were compared with the server's since the picture was last said to be whole.
    compared: BTreeSet<Member>,
    /// Who is not current.
    waiting: BTreeSet<Member>,
    synced: bool,
    /// Why the picture was said not to be current, since it last was.
    reasons: HashSet<String>,
    /// What may not be read, by who ran into it.
    denied: BTreeMap<Member, String>,
}

impl Sync {
    pub(super) fn new(events: mpsc::Sender<Vec<Event>>, follow: &Follow) -> Sync {
        let me = match follow {
            Follow::Blocks => None,
            Follow::Affinities(me) => Some(me.clone()),
        };
        Sync { events, state: Arc::default(), me, claims: watch::Sender::default() }
    }

    /// The blocks of this host as they come and go, where others' are not followed.
    pub(super) fn claims(&self) -> watch::Receiver<Claims> {
        self.claims.subscribe()
    }

    /// Begins a picture that is made of these.
    pub(super) async fn begin(&self, parts: impl IntoIterator<Item = Resource>) {
        let mut state = self.state.lock().await;
        state.waiting = parts.into_iter().map(Member::All).collect();
        state.parts = state.waiting.clone();
        state.compared.clear();
        state.synced = false;
        let State { waiting, denied, .. } = &mut *state;
        denied.retain(|member, _| waiting.contains(member));
        self.claims.send_modify(Claims::clear);
        self.send(vec![Event::Resync(Side::Datastore)]).await;
    }

    /// A follower is current. What it sent before is before this.
    pub(super) async fn found(&self, member: Member) {
        let mut state = self.state.lock().await;
        state.waiting.remove(&member);
        self.settle(&mut state, member).await;
    }

    /// A follower has compared all that it knows with what the server has. Once all have, the picture is whole anew.
    pub(super) async fn compared(&self, member: Member) {
        self.found(member).await;
        let mut state = self.state.lock().await;
        state.compared.insert(member);
        if state.synced && state.parts.is_subset(&state.compared) {
            self.send(vec![Event::Synced(Side::Datastore)]).await;
            state.compared.clear();
        }
    }

    /// Nobody speaks for a block any more.
    pub(super) async fn let_go(&self, cidr: IpNet, claim: u64) {
        self.found(Member::Own(cidr, claim)).await;
    }

    /// Says that the picture is current, once it is. What is noted is noted after it was said: who says it may be
    /// dropped meanwhile, and then the next one does.
    async fn settle(&self, state: &mut State, member: Member) {
        if state.denied.remove(&member).is_some() {
            self.say_denied(state).await;
        }
        if state.waiting.is_empty() && !state.synced {
            self.send(vec![Event::Synced(Side::Datastore)]).await;
            state.synced = true;
            state.reasons.clear();
        }
    }

    /// A follower is not current, or nobody is.
    pub(super) async fn lost(&self, member: Option<Member>, error: &KubernetesError) {
        let mut state = self.state.lock().await;
        if matches!(member, Some(Member::Own(cidr, claim)) if !self.claims.borrow().holds(cidr, claim)) {
            return;
        }
        state.waiting.extend(member);
        state.synced = false;
        // Nothing at all may be read: until keys are.
        let member = member.unwrap_or(Member::All(Resource::Affinities));
        if let Some(what) = error.denied()
            && state.denied.insert(member, what.to_owned()).as_deref() != Some(what)
        {
            self.say_denied(&state).await;
        }
        let reason = error.to_string();
        if state.reasons.len() < MOST_REASONS && state.reasons.insert(reason.clone()) {
            tracing::warn!("{reason}");
            self.send(vec![Event::Lost(Side::Datastore, reason)]).await;
        }
    }

    async fn say_denied(&self, state: &State) {
        let what: BTreeSet<&str> = state.denied.values().map(String::as_str).collect();
        self.send(vec![Event::Denied(Side::Datastore, what.into_iter().map(Into::into).collect())]).await;
    }

    /// Hands events on: a block of this host's after the key that claims it, and none once that is gone.
    pub(super) async fn deliver(&self, member: Member, batch: Vec<Event>) {
        match (member, &self.me) {
            (Member::All(Resource::Affinities), Some(me)) => {
                let mut state = self.state.lock().await;
                let before = self.claims.borrow().clone();
                let mut claims = before.clone();
                claims.note(me, &batch);
                self.send(batch).await;
                if claims != before {
                    state.waiting.retain(|it| !matches!(it, Member::Own(cidr, claim) if !claims.holds(*cidr, *claim)));
                    // The first picture is not whole without them.
                    if !state.synced {
                        let new = claims.iter().filter(|(cidr, claim)| !before.holds(*cidr, *claim));
                        state.waiting.extend(new.map(|(cidr, claim)| Member::Own(cidr, claim)));
                    }
                    self.claims.send_replace(claims);
                }
            }
            (Member::Own(cidr, claim), _) => {
                let _state = self.state.lock().await;
                if self.claims.borrow().holds(cidr, claim) {
                    self.send(batch).await;
                }
            }
            _ => self.send(batch).await,
        }
    }

    /// Hands on what was asked for. What this host has a key to by now is followed: its follower tells it.
    pub(super) async fn answer(&self, mut answers: Vec<Event>) {
        let _state = self.state.lock().await;
        answers.retain(|event| block_of(event).is_none_or(|cidr| !self.claims.borrow().has(cidr)));
        if !answers.is_empty() {
            self.send(answers).await;
        }
    }

    async fn send(&self, batch: Vec<Event>) {
        if self.events.send(batch).await.is_err() {
            // Nobody receives any more: whoever runs us sees that, too, and ends.
            std::future::pending().await
        }
    }
}
