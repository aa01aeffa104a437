//! Single objects, read when somebody asks: workload endpoints, of which there are too many to follow, and other hosts'
//! blocks where only affinity keys are followed.

use std::collections::HashMap;

use ipnet::IpNet;
use tokio::sync::{mpsc, watch};

use super::client::{Connection, Found};
use super::error::EtcdError;
use super::{decode, key};
use crate::model::Detail;
use crate::state::{Event, Lookup, ObjectId};

/// Keys read by one request; etcd allows 128.
pub(super) const AT_ONCE: usize = 64;
/// Blocks whose revision is remembered; what is beyond is read in full.
const MOST_KNOWN: usize = 4096;

/// When the blocks that were read were last written (their `mod_revision`): one that was not written since is not sent
/// again.
#[derive(Debug, Default)]
pub(super) struct Revisions(HashMap<IpNet, i64>);

impl Revisions {
    fn of(&self, lookup: &Lookup) -> Option<i64> {
        match lookup {
            Lookup::Block { cidr, held: true } => self.0.get(cidr).copied(),
            Lookup::Block { held: false, .. } | Lookup::Endpoint(_) => None,
        }
    }

    fn note(&mut self, lookup: &Lookup, found: &Found) {
        let Lookup::Block { cidr, .. } = lookup else { return };
        match found {
            Found::Value(kv) => {
                if self.0.len() >= MOST_KNOWN {
                    self.0.clear();
                }
                self.0.insert(*cidr, kv.mod_revision());
            }
            Found::Same => {}
            Found::Nothing => drop(self.0.remove(cidr)),
        }
    }
}

/// Reads what is asked for, at most 128 objects, as it is now.
pub(super) async fn answer(
    connection: &Connection,
    lookups: &[Lookup],
    detail: &Detail,
    revisions: &mut Revisions,
) -> Result<Vec<Event>, EtcdError> {
    let keys: Vec<(String, Option<i64>)> = lookups.iter().map(|it| (key_of(it), revisions.of(it))).collect();
    let (found, _) = connection.read(&keys).await?;
    let mut events = Vec::with_capacity(found.len());
    for (lookup, found) in lookups.iter().zip(found) {
        revisions.note(lookup, &found);
        events.extend(event(lookup.id(), found, detail));
    }
    Ok(events)
}

fn key_of(lookup: &Lookup) -> String {
    match lookup {
        Lookup::Endpoint(id) => key::endpoint(id),
        Lookup::Block { cidr, .. } => key::block(cidr),
    }
}

/// What was found, as an event.
pub(super) fn event(id: ObjectId, found: Found, detail: &Detail) -> Option<Event> {
    match found {
        Found::Value(kv) => decode::event_in(detail, kv.key(), kv.value()),
        Found::Same => Some(Event::Same(id)),
        Found::Nothing => Some(Event::Delete(id)),
    }
}

/// Answers `lookups` over whatever connection there is, until nobody receives `events` any more. Without a connection, or
/// if reading fails, they are dropped: an answer that comes late is worth less than a new question.
pub(super) async fn serve(
    mut connections: watch::Receiver<Option<Connection>>,
    mut lookups: mpsc::Receiver<Lookup>,
    events: mpsc::Sender<Vec<Event>>,
    detail: Detail,
) {
    let mut asked = Vec::with_capacity(AT_ONCE);
    let mut revisions = Revisions::default();
    let mut failing = false;
    loop {
        asked.clear();
        if lookups.recv_many(&mut asked, AT_ONCE).await == 0 {
            // Nobody will ask any more.
            return std::future::pending().await;
        }
        // What answers a new connection may be another etcd: its revisions say nothing of the old one's.
        if connections.has_changed().unwrap_or(false) {
            revisions = Revisions::default();
        }
        let Some(connection) = connections.borrow_and_update().clone() else { continue };
        match answer(&connection, &asked, &detail, &mut revisions).await {
            Ok(found) => {
                failing = false;
                if events.send(found).await.is_err() {
                    return;
                }
            }
            // A broken connection shows at the watch, too, and is reported there; a permission only here.
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(%error, "cannot look up single workload endpoints or blocks");
            }
            Err(_) => {}
        }
    }
}
