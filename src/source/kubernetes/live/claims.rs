//! The blocks of one host, where others' are left alone: those that it has a key to.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::model::{BlockOwner, Name};
use crate::state::{Event, Object, ObjectId};

/// Blocks that this host has a key to. A key that goes and comes again is another claim: the block is read anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Claims {
    claimed: BTreeMap<IpNet, u64>,
    /// Claims so far.
    count: u64,
}

impl Claims {
    /// Forgets all: keys are listed anew.
    pub(super) fn clear(&mut self) {
        self.claimed.clear();
    }

    /// Takes in what is said of keys.
    pub(super) fn note(&mut self, me: &Name, events: &[Event]) {
        for event in events {
            let (id, there) = match event {
                Event::Put(object) => (object.id(), true),
                Event::Unreadable { id, .. } => (id.clone(), true),
                Event::Delete(id) => (id.clone(), false),
                _ => continue,
            };
            let ObjectId::Affinity(BlockOwner::Host(host), cidr) = id else { continue };
            if host != *me {
                continue;
            }
            if !there {
                self.claimed.remove(&cidr);
            } else if !self.claimed.contains_key(&cidr) {
                self.count += 1;
                self.claimed.insert(cidr, self.count);
            }
        }
    }

    /// Whether the block is claimed, and by this very claim.
    pub(super) fn holds(&self, cidr: IpNet, claim: u64) -> bool {
        self.claimed.get(&cidr) == Some(&claim)
    }

    /// Whether the block is claimed.
    pub(super) fn has(&self, cidr: IpNet) -> bool {
        self.claimed.contains_key(&cidr)
    }

    /// All, each with its number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (IpNet, u64)> + '_ {
        self.claimed.iter().map(|(cidr, claim)| (*cidr, *claim))
    }
}

/// The block that an event is about, if it is about one.
pub(super) fn block_of(event: &Event) -> Option<IpNet> {
    match event {
        Event::Put(object) => match &**object {
            Object::Block(block) => Some(block.cidr),
            _ => None,
        },
        Event::Unreadable { id: ObjectId::Block(cidr), .. } | Event::Delete(ObjectId::Block(cidr)) => Some(*cidr),
        _ => None,
    }
}
