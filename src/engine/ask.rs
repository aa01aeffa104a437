//! What is asked of the datastore's source beside what it tells by itself, and how often: single endpoints, and other
//! hosts' blocks where they are not followed.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::audit::{Auditor, Urgency};
use crate::state::{Lookup, ObjectId, Side, State};

/// The first pause before something is asked again, doubled up to one of the two below.
const PAUSE: Duration = Duration::from_secs(2);
/// The longest pause while a difference turns on the answer.
const LONGEST: Duration = Duration::from_secs(64);
/// The longest while the answer explains what is there: it is only to be seen whether it still does.
const LONGEST_EXPLAINED: Duration = Duration::from_secs(600);
/// Blocks asked for at once, and so many more a second after that.
const BURST: f64 = 64.0;
const A_SECOND: f64 = 16.0;
/// Pause where there is no room for a question now.
const NO_ROOM: Duration = Duration::from_millis(250);

/// When something is asked next.
#[derive(Debug)]
struct Asked {
    next: Duration,
    pause: Duration,
    urgency: Urgency,
}

/// What is being asked.
#[derive(Debug)]
pub(super) struct Asking {
    asked: HashMap<ObjectId, Asked>,
    allowance: Allowance,
}

impl Default for Asking {
    fn default() -> Self {
        Asking { asked: HashMap::new(), allowance: Allowance { left: BURST, at: Duration::ZERO } }
    }
}

/// About so long: thousands of hosts see the same key at the same moment.
fn about(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64())
}

impl Asking {
    /// When something is to be asked next, if anything is.
    pub(super) fn next(&self) -> Option<Duration> {
        self.asked.values().map(|asked| asked.next).min()
    }

    /// Asks what is due, each again after a while: an endpoint is written after its address is allocated, and a block
    /// that nobody follows may change.
    pub(super) fn ask(&mut self, auditor: &Auditor, state: &mut State, lookups: &mpsc::Sender<Lookup>, now: Duration) {
        if state.datastore.knows_endpoints() || !state.in_sync(Side::Datastore) {
            return;
        }
        let endpoints = auditor.lookups().map(|id| (ObjectId::Endpoint(id.clone()), Urgency::Differing));
        let blocks = auditor.questions().into_iter().map(|(cidr, urgency)| (ObjectId::Block(cidr), urgency));
        let wanted: HashMap<ObjectId, Urgency> = endpoints.chain(blocks).collect();
        self.asked.retain(|id, _| wanted.contains_key(id));
        state.datastore.keep_reads(|cidr| wanted.contains_key(&ObjectId::Block(*cidr)));
        for (id, urgency) in wanted {
            let lookup = match &id {
                ObjectId::Endpoint(id) => Lookup::Endpoint(id.clone()),
                ObjectId::Block(cidr) => Lookup::Block { cidr: *cidr, held: state.datastore.read(cidr).is_some() },
                _ => continue,
            };
            let doubted =
                matches!(&id, ObjectId::Block(cidr) if state.datastore.read(cidr).is_some_and(|it| it.doubted));
            let asked = self.asked.entry(id).or_insert_with(|| Asked {
                // A route that is not there yet is there in a moment, nearly always: then nobody need ask.
                next: if matches!(lookup, Lookup::Block { .. }) { now + about(PAUSE) } else { now },
                pause: PAUSE,
                urgency,
            });
            asked.note(urgency, doubted, now);
            if asked.next > now {
                continue;
            }
            match self.allowance.grants(&lookup, now) && lookups.try_send(lookup).is_ok() {
                true => asked.went_out(now),
                false => asked.next = now + NO_ROOM,
            }
        }
    }
}

impl Asked {
    /// Asks sooner what has become more urgent.
    fn note(&mut self, urgency: Urgency, doubted: bool, now: Duration) {
        if urgency > self.urgency {
            self.pause = PAUSE;
        }
        if (urgency > self.urgency || doubted) && self.next > now + PAUSE {
            self.next = now + about(PAUSE);
        }
        self.urgency = urgency;
    }

    fn went_out(&mut self, now: Duration) {
        self.next = now + self.pause;
        let longest = if self.urgency == Urgency::Explained { LONGEST_EXPLAINED } else { LONGEST };
        self.pause = (self.pause * 2).min(longest);
    }
}

/// How many blocks may be asked for, as of a moment.
#[derive(Debug)]
struct Allowance {
    left: f64,
    at: Duration,
}

impl Allowance {
    fn grants(&mut self, lookup: &Lookup, now: Duration) -> bool {
        if matches!(lookup, Lookup::Endpoint(_)) {
            return true;
        }
        self.left = (self.left + now.saturating_sub(self.at).as_secs_f64() * A_SECOND).min(BURST);
        self.at = now;
        let granted = self.left >= 1.0;
        if granted {
            self.left -= 1.0;
        }
        granted
    }
}
