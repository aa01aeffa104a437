//! What is known of a resource's objects: in which version each was read, and what it stood for then. A change names an
//! API object; what that said before may have been something else, or be readable no more.

use std::borrow::Cow;

use super::{Decoded, Place, Says};
use crate::model::Name;
use crate::state::{Event, Object, ObjectId};

/// The objects of one resource, as its lists and watches told them. A cluster has tens of thousands: they are kept in
/// one sorted row, which lists come in the order of (`etcd3/store.go`, `GetList`).
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    entries: Vec<Entry>,
}

/// When an object was read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading {
    /// Its `metadata.resourceVersion` then.
    pub version: u64,
    /// The number of the list that it was last seen in, or that came before what told it.
    pub round: u32,
}

#[derive(Debug, Clone)]
struct Entry {
    /// Its name, after its namespace if it has one.
    name: Box<str>,
    read: Reading,
    /// `None`: what the name alone tells.
    stood_for: Option<Box<[ObjectId]>>,
}

impl Ledger {
    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The version in which an object is known.
    pub fn version(&self, place: &Place) -> Option<u64> {
        self.find(&name(place)).ok().map(|at| self.entries[at].read.version)
    }

    /// The list that an object was last seen in.
    pub fn round(&self, place: &Place) -> Option<u32> {
        self.find(&name(place)).ok().map(|at| self.entries[at].read.round)
    }

    /// What it means that an object is listed, ADDED or MODIFIED. MODIFIED to `deleted` *is* the deletion (J2).
    pub fn put(&mut self, decoded: Decoded, read: Reading) -> Vec<Event> {
        let Decoded { place, says, .. } = decoded;
        let before = self.before(&place);
        let deletions = |ids: Vec<ObjectId>| ids.into_iter().map(Event::Delete).collect();
        let (events, stands_for): (Vec<Event>, _) = match says {
            // What it said is not known to be gone: only the first of several is what the name stands for.
            Says::Unreadable { id, key, why } => {
                let id = match (&id, before.first()) {
                    (ObjectId::Malformed(..), Some(known)) => known.clone(),
                    _ => id,
                };
                let told = Event::Unreadable { id: id.clone(), key, why };
                if before.contains(&id) {
                    (vec![told], before)
                } else {
                    (before.into_iter().map(Event::Delete).chain([told]).collect(), vec![id])
                }
            }
            Says::Objects(objects) => {
                let ids: Vec<ObjectId> = objects.iter().map(Object::id).collect();
                let gone = before.into_iter().filter(|id| !ids.contains(id)).map(Event::Delete);
                (gone.chain(objects.into_iter().map(|object| Event::Put(Box::new(object)))).collect(), ids)
            }
            Says::Deleted(id) => (deletions(and(before, [id])), Vec::new()),
            Says::Nothing => (deletions(before), Vec::new()),
        };
        self.keep(&place, read, stands_for);
        events
    }

    /// What it means that an object is DELETED, whatever it says last.
    pub fn delete(&mut self, decoded: Decoded) -> Vec<Event> {
        let says = match decoded.says {
            Says::Objects(objects) => objects.iter().map(Object::id).collect(),
            Says::Deleted(id) | Says::Unreadable { id, .. } => vec![id],
            Says::Nothing => Vec::new(),
        };
        let ids = and(self.before(&decoded.place), says);
        self.gone(&decoded.place);
        ids.into_iter().map(Event::Delete).collect()
    }

    /// What it means that nothing is at the place any more.
    pub fn gone(&mut self, place: &Place) -> Vec<Event> {
        let Ok(at) = self.find(&name(place)) else { return Vec::new() };
        let ids = self.before(place);
        self.entries.remove(at);
        ids.into_iter().map(Event::Delete).collect()
    }

    /// Notes that the list of this round has an object; returns whether it is known in that version.
    pub fn see(&mut self, name: &str, read: Reading) -> bool {
        let Ok(at) = self.find(name) else { return false };
        let known = &mut self.entries[at].read;
        known.round = read.round;
        known.version == read.version
    }

    /// The names that the list of this round, which has ended, did not have.
    pub fn unseen(&mut self, round: u32) -> Vec<Name> {
        self.entries.shrink_to_fit();
        self.entries.iter().filter(|entry| entry.read.round != round).map(|entry| (*entry.name).into()).collect()
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        // Nearly all that a list tells comes last.
        match self.entries.last() {
            Some(last) if *last.name < *name => Err(self.entries.len()),
            _ => self.entries.binary_search_by(|entry| (*entry.name).cmp(name)),
        }
    }

    /// What the place stood for; where nothing was read there, what its name tells.
    fn before(&self, place: &Place) -> Vec<ObjectId> {
        let known = self.find(&name(place)).ok().and_then(|at| self.entries[at].stood_for.as_deref());
        known.map_or_else(|| place.id().into_iter().collect(), <[ObjectId]>::to_vec)
    }

    fn keep(&mut self, place: &Place, read: Reading, ids: Vec<ObjectId>) {
        let told_by_name = matches!((&ids[..], place.id()), ([only], Some(id)) if *only == id);
        let stood_for = (!told_by_name).then(|| ids.into());
        let name = name(place);
        match self.find(&name) {
            Ok(at) => {
                let entry = &mut self.entries[at];
                (entry.read, entry.stood_for) = (read, stood_for);
            }
            Err(at) => self.entries.insert(at, Entry { name: name.into(), read, stood_for }),
        }
    }
}

fn name(place: &Place) -> Cow<'_, str> {
    match &place.namespace {
        None => Cow::Borrowed(&*place.name),
        Some(namespace) => Cow::Owned(format!("{namespace}/{}", place.name)),
    }
}

/// These and, once, those.
fn and(mut these: Vec<ObjectId>, those: impl IntoIterator<Item = ObjectId>) -> Vec<ObjectId> {
    for id in those {
        if !these.contains(&id) {
            these.push(id);
        }
    }
    these
}
