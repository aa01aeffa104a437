//! Following affinity keys and the blocks of one host: others' blocks are left alone, and each block of this host has a
//! watch of its own, that comes and goes with its key.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::client::Connection;
use super::error::EtcdError;
use super::range::KeyRange;
use super::watch::Watch;
use super::{key, lookup};
use crate::model::{BlockOwner, Detail, Name};
use crate::state::{Event, Object, ObjectId};

/// The blocks of a host, and the watches on them.
#[derive(Debug)]
pub(super) struct OwnBlocks {
    me: Name,
    detail: Detail,
    /// Blocks that this host has a key to.
    claimed: BTreeSet<IpNet>,
    /// Blocks whose key was gone since they were read, be it there again.
    lapsed: BTreeSet<IpNet>,
    /// Numbers of the watches that are open.
    watched: BTreeMap<IpNet, i64>,
}

impl OwnBlocks {
    pub(super) fn new(me: &Name, detail: &Detail) -> OwnBlocks {
        OwnBlocks {
            me: me.clone(),
            detail: detail.clone(),
            claimed: BTreeSet::new(),
            lapsed: BTreeSet::new(),
            watched: BTreeMap::new(),
        }
    }

    /// Where this host's blocks are kept.
    pub(super) fn ranges(&self) -> Vec<KeyRange> {
        self.claimed.iter().map(KeyRange::block).collect()
    }

    /// Notes keys of this host that come and go.
    pub(super) fn note(&mut self, events: &[Event]) {
        for event in events {
            let (id, there) = match event {
                Event::Put(object) => match &**object {
                    Object::Affinity(_) => (object.id(), true),
                    _ => continue,
                },
                Event::Unreadable { id, .. } => (id.clone(), true),
                Event::Delete(id) => (id.clone(), false),
                _ => continue,
            };
            match id {
                ObjectId::Affinity(BlockOwner::Host(host), cidr) if host == self.me => match there {
                    true => drop(self.claimed.insert(cidr)),
                    false => {
                        self.claimed.remove(&cidr);
                        self.lapsed.insert(cidr);
                    }
                },
                _ => {}
            }
        }
    }

    /// Opens a watch on each block that was listed, as of `revision`. Returns what came meanwhile.
    pub(super) async fn open(&mut self, watch: &mut Watch, revision: i64) -> Result<Vec<Event>, EtcdError> {
        let mut events = Vec::new();
        for cidr in self.claimed.clone() {
            let (number, came) = watch.add(&KeyRange::block(&cidr), revision + 1).await?;
            self.watched.insert(cidr, number);
            events.extend(came);
        }
        Ok(events)
    }

    /// Takes in what a watch says: notes keys, reads and follows the blocks they stand for, and lets go of those whose
    /// key is gone. Returns the events to hand on: a block's come after its key's, and none of a block let go.
    pub(super) async fn take(
        &mut self,
        connection: &Connection,
        watch: &mut Watch,
        mut events: Vec<Event>,
    ) -> Result<Vec<Event>, EtcdError> {
        let mut taken = Vec::new();
        loop {
            self.note(&events);
            events.retain(|event| block_of(event).is_none_or(|cidr| self.claimed.contains(&cidr)));
            taken.append(&mut events);
            if let Some((cidr, number)) = self.lapsed_watch() {
                self.watched.remove(&cidr);
                self.lapsed.remove(&cidr);
                events = watch.end(number).await?;
                continue;
            }
            self.lapsed.clear();
            let Some(cidr) = self.claimed.iter().find(|cidr| !self.watched.contains_key(*cidr)).copied() else {
                return Ok(taken);
            };
            let (found, revision) = connection.read(&[(key::block(&cidr), None)]).await?;
            let found = found.into_iter().filter_map(|it| lookup::event(ObjectId::Block(cidr), it, &self.detail));
            taken.extend(found);
            let (number, came) = watch.add(&KeyRange::block(&cidr), revision + 1).await?;
            self.watched.insert(cidr, number);
            events = came;
        }
    }
}

impl OwnBlocks {
    fn lapsed_watch(&self) -> Option<(IpNet, i64)> {
        self.lapsed.iter().find_map(|cidr| Some((*cidr, *self.watched.get(cidr)?)))
    }
}

/// The block that an event is about, if it is about one.
fn block_of(event: &Event) -> Option<IpNet> {
    let id = match event {
        Event::Put(object) => match &**object {
            Object::Block(block) => return Some(block.cidr),
            _ => return None,
        },
        Event::Unreadable { id, .. } | Event::Delete(id) => id,
        _ => return None,
    };
    match id {
        ObjectId::Block(cidr) => Some(*cidr),
        _ => None,
    }
}
