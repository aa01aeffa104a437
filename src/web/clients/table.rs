//! What is known of all clients, and the choice of who gives way. No clock and no task: `now` is given.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Patience, Peer};

/// A connection that has not asked yet is left alone for so long: its first request is on its way.
const NEWCOMER: Duration = Duration::from_millis(500);
/// Bytes of answers that may wait for their readers, those that several read counted once.
pub(super) const MOST_BYTES: u64 = 64 << 20;
/// Requests that may wait for a leave, whatever the limit is.
const MOST_WAITING: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Table {
    connections: BTreeMap<u64, Client>,
    leaves: BTreeMap<u64, Asker>,
    /// Those who wait for a leave, in the order in which they came.
    waiting: BTreeMap<u64, Asker>,
    next: u64,
}

/// A connection.
#[derive(Debug)]
struct Client {
    peer: Peer,
    /// A request of it was let in.
    admitted: bool,
    /// Whether it has asked anything.
    asked: bool,
    /// Since when nothing is being answered, where nothing is.
    idle_since: Instant,
    evicted: Arc<Notify>,
    answers: BTreeMap<u64, Answer>,
}

#[derive(Debug)]
struct Answer {
    began: Instant,
    /// When its reader last took some of it; `None` while it is being made.
    taken: Option<Instant>,
    /// Its bytes by name, and how many.
    body: (usize, u64),
    /// Rung to have it given up alone, where that is possible.
    stop: Option<Arc<Notify>>,
}

/// Who has a leave, or wants one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    pub(super) peer: Peer,
    pub(super) connection: u64,
    pub(super) answer: u64,
}

/// What becomes of somebody who waits for a leave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Leave(u64),
    Wait,
    /// Others had less than they, and needed their place in the queue.
    Refused,
}

/// How many each peer and each connection has.
#[derive(Debug, Default)]
struct Counts {
    peers: BTreeMap<Peer, usize>,
    connections: BTreeMap<u64, usize>,
}

impl Counts {
    fn of<'a>(askers: impl IntoIterator<Item = &'a Asker>) -> Counts {
        let mut counts = Counts::default();
        for asker in askers {
            *counts.peers.entry(asker.peer).or_default() += 1;
            *counts.connections.entry(asker.connection).or_default() += 1;
        }
        counts
    }

    fn peer(&self, peer: Peer) -> usize {
        self.peers.get(&peer).copied().unwrap_or_default()
    }

    fn connection(&self, connection: u64) -> usize {
        self.connections.get(&connection).copied().unwrap_or_default()
    }
}

/// What is due of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// It has lasted too long.
    Over,
    /// Nothing before then.
    At(Instant),
}

impl Client {
    fn is_stalled(&self, stalled: Duration, now: Instant) -> bool {
        self.answers.values().any(|answer| answer.is_stalled(stalled, now))
    }

    /// Gives one of its answers up.
    fn give_up(&self, answer: &Answer) {
        answer.stop.as_ref().unwrap_or(&self.evicted).notify_one();
    }
}

impl Answer {
    fn is_stalled(&self, stalled: Duration, now: Instant) -> bool {
        self.taken.is_some_and(|taken| now.duration_since(taken) >= stalled)
    }

    fn deadline(&self, patience: &Patience) -> Instant {
        let answer = self.began + patience.answer;
        self.taken.map_or(answer, |taken| answer.min(taken + patience.progress))
    }
}

impl Table {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn connect(&mut self, peer: Peer, evicted: Arc<Notify>, now: Instant) -> u64 {
        let number = self.number();
        let answers = BTreeMap::new();
        let client = Client { peer, admitted: false, asked: false, idle_since: now, evicted, answers };
        self.connections.insert(number, client);
        number
    }

    pub(super) fn disconnect(&mut self, connection: u64) {
        self.connections.remove(&connection);
    }

    pub(super) fn begin(&mut self, connection: u64, stop: Option<Arc<Notify>>, now: Instant) -> u64 {
        let number = self.number();
        if let Some(client) = self.connections.get_mut(&connection) {
            client.asked = true;
            client.answers.insert(number, Answer { began: now, taken: None, body: (0, 0), stop });
        }
        number
    }

    pub(super) fn end(&mut self, connection: u64, answer: u64, now: Instant) {
        if let Some(client) = self.connections.get_mut(&connection) {
            client.answers.remove(&answer);
            client.idle_since = now;
        }
    }

    pub(super) fn admit(&mut self, connection: u64) {
        if let Some(client) = self.connections.get_mut(&connection) {
            client.admitted = true;
        }
    }

    fn answer(&mut self, connection: u64, answer: u64) -> Option<&mut Answer> {
        self.connections.get_mut(&connection)?.answers.get_mut(&answer)
    }

    /// Has older answers given up until the new one's bytes fit.
    pub(super) fn sending(&mut self, connection: u64, answer: u64, body: (usize, u64), now: Instant) {
        if let Some(answer) = self.answer(connection, answer) {
            answer.taken = Some(now);
            answer.body = body;
        }
        let mut bodies: BTreeMap<(usize, u64), Vec<(&Client, &Answer)>> = BTreeMap::new();
        for client in self.connections.values() {
            for answer in client.answers.values().filter(|answer| answer.body.1 > 0) {
                bodies.entry(answer.body).or_default().push((client, answer));
            }
        }
        let mut total: u64 = bodies.keys().map(|(_, length)| length).sum();
        bodies.remove(&body);
        let mut bodies: Vec<_> = bodies.into_iter().collect();
        bodies.sort_by_key(|(_, readers)| readers.iter().map(|(_, answer)| answer.began).max());
        for ((_, length), readers) in bodies {
            if total <= MOST_BYTES {
                break;
            }
            readers.iter().for_each(|(client, answer)| client.give_up(answer));
            total -= length;
        }
    }

    pub(super) fn progressed(&mut self, connection: u64, answer: u64, now: Instant) {
        if let Some(Answer { taken: Some(taken), .. }) = self.answer(connection, answer) {
            *taken = now;
        }
    }

    /// The socket took something. With several answers at once it cannot be said of which of them.
    pub(super) fn wrote(&mut self, connection: u64, now: Instant) {
        let Some(client) = self.connections.get_mut(&connection) else { return };
        for answer in client.answers.values_mut().filter(|answer| answer.stop.is_none()) {
            answer.taken = answer.taken.map(|_| now);
        }
    }

    /// Gives up the answers of a connection that are late, and says when something may be late next.
    pub(super) fn due(&self, connection: u64, patience: &Patience, now: Instant) -> Due {
        let Some(client) = self.connections.get(&connection) else { return Due::Over };
        if client.answers.is_empty() {
            let deadline = client.idle_since + if client.asked { patience.idle } else { patience.first };
            return if deadline <= now { Due::Over } else { Due::At(deadline) };
        }
        let mut next = now + patience.answer;
        for answer in client.answers.values() {
            let deadline = answer.deadline(patience);
            match (&answer.stop, deadline <= now) {
                (None, true) => return Due::Over,
                // Asked to stop: it is gone in a moment.
                (Some(stop), true) => stop.notify_one(),
                (_, false) => next = next.min(deadline),
            }
        }
        Due::At(next)
    }

    /// The connection that gives way to one from `peer`: one with an answer that nobody takes, then those that were
    /// never let in, refused ones before silent ones, then one that is idle, of the peer that has the most, the longest
    /// first. Who is being served gives
    /// way only if its peer has more connections than `peer` will have.
    pub(super) fn victim(&self, peer: Peer, stalled: Duration, now: Instant) -> Option<Arc<Notify>> {
        let mut count: BTreeMap<Peer, usize> = BTreeMap::new();
        for client in self.connections.values() {
            *count.entry(client.peer).or_default() += 1;
        }
        let own = count.get(&peer).copied().unwrap_or_default();
        let candidate = |client: &&Client| {
            let is_idle = client.answers.is_empty();
            let is_new = !client.asked && now.duration_since(client.idle_since) < NEWCOMER;
            let is_served = client.admitted && !is_idle && !client.is_stalled(stalled, now);
            !is_new && (!is_served || count[&client.peer] > own + 1)
        };
        let rank = |client: &&Client| {
            let is_stalled = client.is_stalled(stalled, now);
            let began = client.answers.values().map(|answer| answer.began).min();
            let since = began.unwrap_or(client.idle_since);
            let kind = match (client.asked, began.is_some()) {
                // It was refused, or it was let in and is idle.
                (true, false) => 0,
                (false, _) => 1,
                (true, true) => 2,
            };
            (!is_stalled, client.admitted, kind, Reverse(count[&client.peer]), since)
        };
        self.connections.values().filter(candidate).min_by_key(rank).map(|client| client.evicted.clone())
    }

    /// A place in the queue for a leave; where it is full, that of a connection that has and wants more.
    pub(super) fn wait(&mut self, asker: Asker, limit: usize) -> Option<u64> {
        let most = limit.min(MOST_WAITING);
        let waiting = Counts::of(self.waiting.values());
        let all = Counts::of(self.waiting.values().chain(self.leaves.values()));
        let peer_full = waiting.peer(asker.peer) >= most.div_ceil(2);
        if peer_full || self.waiting.len() >= most {
            let own = all.connection(asker.connection) + 1;
            let more = self.waiting.iter().filter(|(_, other)| !peer_full || other.peer == asker.peer);
            let more = more.map(|(number, other)| (all.connection(other.connection), *number));
            let (_, number) = more.filter(|(count, _)| *count > own).max()?;
            self.waiting.remove(&number);
        }
        let number = self.number();
        self.waiting.insert(number, asker);
        Some(number)
    }

    pub(super) fn wait_no_more(&mut self, waiter: u64) {
        self.waiting.remove(&waiter);
    }

    /// A leave for the one of those who wait that has least; where there is none, an answer that nobody takes is given
    /// up for it.
    pub(super) fn turn(&mut self, waiter: u64, limit: usize, stalled: Duration, now: Instant) -> Turn {
        let Some(asker) = self.waiting.get(&waiter).copied() else { return Turn::Refused };
        let counts = Counts::of(self.leaves.values());
        let may = |asker: &Asker| counts.connection(asker.connection) < limit.div_ceil(4);
        let rank =
            |(number, asker): (&u64, &Asker)| (counts.peer(asker.peer), counts.connection(asker.connection), *number);
        let first = self.waiting.iter().filter(|(_, asker)| may(asker)).map(rank).min();
        if first.is_none_or(|(_, _, number)| number != waiter) {
            return Turn::Wait;
        }
        let peer_full = counts.peer(asker.peer) >= limit.div_ceil(2);
        if !peer_full && self.leaves.len() < limit {
            self.waiting.remove(&waiter);
            let number = self.number();
            self.leaves.insert(number, asker);
            return Turn::Leave(number);
        }
        // Only what frees a leave that this one may have.
        let helps = |held: &&Asker| !peer_full || held.peer == asker.peer;
        let stalled = self.leaves.values().filter(helps).filter_map(|held| {
            let client = self.connections.get(&held.connection)?;
            let answer = client.answers.get(&held.answer)?;
            answer.is_stalled(stalled, now).then_some((held, client, answer))
        });
        let rank = |(held, client, answer): &(&Asker, &Client, &Answer)| {
            let (peer, connection) = (counts.peer(held.peer), counts.connection(held.connection));
            (client.admitted, Reverse(peer), Reverse(connection), answer.taken)
        };
        if let Some((_, client, answer)) = stalled.min_by_key(rank) {
            client.give_up(answer);
        }
        Turn::Wait
    }

    pub(super) fn give_back(&mut self, leave: u64) {
        self.leaves.remove(&leave);
    }

    #[cfg(test)]
    pub(super) fn stop_of(&self, connection: u64, answer: u64) -> Arc<Notify> {
        let client = &self.connections[&connection];
        client.answers[&answer].stop.clone().unwrap_or_else(|| client.evicted.clone())
    }
}
