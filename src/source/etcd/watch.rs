//! A watch: what happens to some ranges after a revision, and whether we would hear of it.

use std::collections::HashMap;
use std::time::Duration;

use etcd_client::{KeyValue, ResponseHeader, WatchRequestSender, WatchResponse, WatchResponseStream};
use tokio::time::timeout;

use super::client::{Connection, watch_options};
use super::decode;
use super::error::EtcdError;
use super::range::KeyRange;
use crate::model::Detail;
use crate::source::archive::id_of;
use crate::state::{Author, Event, ObjectId};

/// When a silent watch is doubted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Silence after which the server is asked for a sign of life.
    pub after: Duration,
    /// How long it has to give one.
    pub timeout: Duration,
}

impl Default for Probe {
    fn default() -> Self {
        Probe { after: Duration::from_secs(30), timeout: Duration::from_secs(10) }
    }
}

/// Watches of several ranges over one stream. etcd keeps the order of what happens to a key, and every key is in one
/// range.
///
/// While nobody calls [`Watch::next`] nothing is read from the stream: HTTP/2's window fills, and etcd holds events
/// back (or, if it compacts them meanwhile, cancels the watch, which is [`EtcdError::Compacted`]).
pub(super) struct Watch {
    connection: Connection,
    requests: WatchRequestSender,
    responses: WatchResponseStream,
    probe: Probe,
    detail: Detail,
    /// The revision of the list that this watch continues: no answer can be older.
    since: i64,
    cluster: u64,
    /// Ranges whose watch etcd has confirmed, and the last one's number.
    created: usize,
    last_created: i64,
    /// The watch that is being ended.
    ending: Option<i64>,
    /// The newest revision of which an event was seen.
    seen: i64,
    /// [`Watch::seen`] when progress was last asked for. The answer cannot be older. (Revisions in other headers
    /// may: etcd interleaves answers of several watches, and of a watch that lags, in no order.)
    seen_when_asked: i64,
    /// Whether this server has ever answered a request for progress. etcd does; its `grpc-proxy` (seen with 3.4)
    /// ignores them, and then silence proves nothing.
    answers_progress: bool,
    /// The newest revision that each watch has told of, by its number.
    told: HashMap<i64, i64>,
    /// A list that is read beside this watch.
    beside: Option<Beside>,
}

/// What a list must not undo that is read while the watch goes on.
#[derive(Default)]
struct Beside {
    /// The revision of the list, once it is known: no event up to it is news.
    revision: i64,
    /// The revision of the last event about each object.
    told: HashMap<ObjectId, i64>,
}

impl Watch {
    /// Watches `ranges` for what came after `since`, the revision of a list from `cluster`. Returns once etcd has
    /// confirmed every one of them, with the events that came meanwhile.
    pub(super) async fn open(
        connection: &Connection,
        ranges: &[KeyRange],
        since: i64,
        cluster: u64,
        probe: Probe,
        detail: &Detail,
    ) -> Result<(Watch, Vec<Event>), EtcdError> {
        let (requests, responses) = connection.watch(ranges, since + 1).await?.split();
        let mut watch = Watch {
            connection: connection.clone(),
            requests,
            responses,
            probe,
            detail: detail.clone(),
            since,
            cluster,
            created: 0,
            last_created: 0,
            ending: None,
            seen: since,
            seen_when_asked: since,
            answers_progress: false,
            told: HashMap::new(),
            beside: None,
        };
        let mut events = Vec::new();
        let limit = connection.request_timeout();
        let confirmed = async {
            while watch.created < ranges.len() {
                let response = watch.receive().await?;
                watch.absorb(&response, &mut events)?;
            }
            Ok(())
        };
        match timeout(limit, confirmed).await {
            Ok(result) => result?,
            Err(_) => return Err(connection.peer.timed_out("opening watches", limit)),
        }
        // The first answer tells whether later ones can be counted on.
        watch.ask_progress().await?;
        Ok((watch, events))
    }

    /// Watches one range more, from `revision` on. Returns the number of its watch, and the events that came meanwhile.
    /// (One at a time: etcd's `grpc-proxy` confirms watches in no order.)
    pub(super) async fn add(&mut self, range: &KeyRange, revision: i64) -> Result<(i64, Vec<Event>), EtcdError> {
        let mut events = Vec::new();
        let created = self.created;
        let limit = self.connection.request_timeout();
        let confirmed = async {
            let asked = self.requests.watch(range.start.clone(), Some(watch_options(range, revision))).await;
            asked.map_err(|error| self.connection.peer.explain(&error, "watching"))?;
            while self.created == created {
                let response = self.receive().await?;
                self.absorb(&response, &mut events)?;
            }
            Ok(self.last_created)
        };
        match timeout(limit, confirmed).await {
            Ok(number) => Ok((number?, events)),
            Err(_) => Err(self.connection.peer.timed_out("opening a watch", limit)),
        }
    }

    /// Ends the watch of this number. Returns the events that came until it was: no more of it come after that.
    pub(super) async fn end(&mut self, number: i64) -> Result<Vec<Event>, EtcdError> {
        let mut events = Vec::new();
        self.ending = Some(number);
        let limit = self.connection.request_timeout();
        let confirmed = async {
            let asked = self.requests.cancel(number).await;
            asked.map_err(|error| self.connection.peer.explain(&error, "watching"))?;
            while self.ending.is_some() {
                let response = self.receive().await?;
                self.absorb(&response, &mut events)?;
            }
            Ok(events)
        };
        match timeout(limit, confirmed).await {
            Ok(events) => events,
            Err(_) => Err(self.connection.peer.timed_out("ending a watch", limit)),
        }
    }

    /// What happens next, in order; never empty.
    ///
    /// # Errors
    /// The watch is over: [`EtcdError::Compacted`] if it must begin from a fresh list, [`EtcdError::TimedOut`] if the
    /// server is silent and does not answer either, [`EtcdError::History`] if it is not the server it was.
    pub(super) async fn next(&mut self) -> Result<Vec<Event>, EtcdError> {
        let mut events = Vec::new();
        while events.is_empty() {
            // Only the time spent waiting counts as silence, not that in which our reader kept us from listening.
            let response = match timeout(self.probe.after, self.receive()).await {
                Ok(response) => Some(response?),
                Err(_) => self.sign_of_life().await?,
            };
            if let Some(response) = response {
                self.absorb(&response, &mut events)?;
            }
        }
        Ok(events)
    }

    /// A list begins that is read while this watch goes on.
    pub(super) fn begin_list(&mut self) {
        self.beside = Some(Beside::default());
    }

    /// Leaves out of a batch of that list, which is of `revision`, what the watch has told of since.
    pub(super) fn newer_only(&mut self, batch: &mut Vec<Event>, revision: i64) {
        let Some(beside) = &mut self.beside else { return };
        beside.revision = revision;
        batch.retain(|event| id_of(event).is_none_or(|id| beside.told.get(&id).is_none_or(|told| *told <= revision)));
    }

    /// Asks a silent server for a sign of life, and returns what it sends.
    async fn sign_of_life(&mut self) -> Result<Option<WatchResponse>, EtcdError> {
        let limit = self.probe.timeout;
        let asked = async {
            self.ask_progress().await?;
            self.receive().await
        };
        match timeout(limit, asked).await {
            Ok(response) => response.map(Some),
            Err(_) if self.answers_progress => Err(self.connection.peer.timed_out("watching", limit)),
            // What stands between us and etcd lets no progress through. Then the best sign is that etcd answers at
            // all, and that what it answers is not older than what it said before: such a proxy keeps our watch even
            // while the etcd behind it is replaced.
            Err(_) => {
                let header = self.connection.ping(limit).await?;
                self.judge(header.as_ref(), self.seen_when_asked)?;
                Ok(None)
            }
        }
    }

    async fn ask_progress(&mut self) -> Result<(), EtcdError> {
        self.seen_when_asked = self.seen;
        let result = self.requests.request_progress().await;
        result.map_err(|error| self.connection.peer.explain(&error, "watching"))
    }

    async fn receive(&mut self) -> Result<WatchResponse, EtcdError> {
        match self.responses.message().await {
            Ok(Some(response)) => Ok(response),
            Ok(None) => Err(self.connection.peer.unreachable("it closed the watch")),
            Err(error) => Err(self.connection.peer.explain(&error, "watching")),
        }
    }

    /// Whether an answer that cannot be older than revision `oldest` comes from the etcd that was listed. (Proxies
    /// leave out what they do not know.)
    fn judge(&self, header: Option<&ResponseHeader>, oldest: i64) -> Result<(), EtcdError> {
        let Some(header) = header else { return Ok(()) };
        let peer = &self.connection.peer;
        if header.cluster_id() != self.cluster && header.cluster_id() != 0 {
            return Err(peer.history("another cluster answers".to_owned()));
        }
        if header.revision() < oldest && header.revision() != 0 {
            return Err(peer.history(format!("revision {} after {oldest}", header.revision())));
        }
        Ok(())
    }

    /// Judges a response and appends its events.
    fn absorb(&mut self, response: &WatchResponse, events: &mut Vec<Event>) -> Result<(), EtcdError> {
        let peer = &self.connection.peer;
        if response.canceled() && self.ending == Some(response.watch_id()) {
            self.ending = None;
            return Ok(());
        }
        if response.canceled() {
            return Err(if response.compact_revision() > 0 {
                peer.compacted("watching")
            } else {
                peer.explain_words(response.cancel_reason(), None, false, "watching /calico/")
            });
        }
        let is_progress = response.events().is_empty() && !response.created();
        self.judge(response.header(), if is_progress { self.seen_when_asked } else { self.since })?;
        if response.created() {
            self.created += 1;
            self.last_created = response.watch_id();
        }
        self.answers_progress |= is_progress;
        for event in response.events() {
            let Some(kv) = event.kv() else {
                return Err(self.connection.peer.absurd("watching", "an event without a key"));
            };
            self.order(kv, response)?;
            self.seen = self.seen.max(kv.mod_revision());
            // Not by the event's type: of one that the library does not know it panics. A deletion resets the version,
            // and everything else raises it (`api/mvccpb/kv.proto`).
            let event = match kv.version() {
                0 => decode::deletion(kv.key()),
                _ => decode::event_in(&self.detail, kv.key(), kv.value()),
            };
            let Some(event) = event else { continue };
            if let Some(beside) = &mut self.beside {
                if kv.mod_revision() <= beside.revision {
                    continue;
                }
                if let Some(id) = id_of(&event) {
                    beside.told.insert(id, kv.mod_revision());
                }
            }
            events.push(Event::Origin(Author::Revision(kv.mod_revision().to_string().into())));
            events.push(event);
        }
        Ok(())
    }

    /// Whether an event can be the next of its watch: etcd tells of each revision once, in order, and of none to come.
    fn order(&mut self, kv: &KeyValue, response: &WatchResponse) -> Result<(), EtcdError> {
        let peer = &self.connection.peer;
        let (revision, told) = (kv.mod_revision(), self.told.entry(response.watch_id()).or_insert(0));
        let absurd = |what: String| Err(peer.absurd("watching", what));
        if revision <= self.since {
            return absurd(format!("an event of revision {revision} after a list of {}", self.since));
        }
        if revision < *told {
            return absurd(format!("an event of revision {revision} after one of {told}"));
        }
        if response.header().is_some_and(|header| header.revision() != 0 && header.revision() < revision) {
            return absurd(format!("an event of revision {revision}, which is yet to come"));
        }
        *told = revision;
        Ok(())
    }
}
