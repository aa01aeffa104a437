//! Which of Calico's objects each API object stood for when it was last read. A change names an API object; what it said
//! before may have been something else, or be readable no more.

use std::collections::HashMap;

use super::{Decoded, Place, Says};
use crate::state::{Event, Object, ObjectId};

/// What API objects stood for: the memory of one list and its watch. Where a name alone tells, nothing is kept.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    known: HashMap<Place, Vec<ObjectId>>,
}

impl Ledger {
    /// Forgets everything: a list begins.
    pub fn clear(&mut self) {
        self.known.clear();
    }

    /// What it means that an object is listed, ADDED or MODIFIED. MODIFIED to `deleted` *is* the deletion (J2).
    pub fn put(&mut self, decoded: Decoded) -> Vec<Event> {
        let before = self.before(&decoded.place);
        let place = decoded.place;
        match decoded.says {
            // What it said is not known to be gone: only the first of several is what the name stands for.
            Says::Unreadable { id, key, why } => {
                let id = match (&id, before.first()) {
                    (ObjectId::Malformed(..), Some(known)) => known.clone(),
                    _ => id,
                };
                let mut events = Vec::new();
                if !before.contains(&id) {
                    events.extend(before.iter().cloned().map(Event::Delete));
                    self.keep(place, vec![id.clone()]);
                }
                events.push(Event::Unreadable { id, key, why });
                events
            }
            Says::Objects(objects) => {
                let ids: Vec<ObjectId> = objects.iter().map(Object::id).collect();
                let gone = before.into_iter().filter(|id| !ids.contains(id)).map(Event::Delete);
                let events = gone.chain(objects.into_iter().map(|object| Event::Put(Box::new(object)))).collect();
                self.keep(place, ids);
                events
            }
            Says::Deleted(id) => self.remove(&place, Some(id)),
            Says::Nothing => self.remove(&place, None),
        }
    }

    /// What it means that an object is DELETED, whatever it says last.
    pub fn delete(&mut self, decoded: Decoded) -> Vec<Event> {
        let says = match decoded.says {
            Says::Objects(objects) => objects.iter().map(Object::id).collect(),
            Says::Deleted(id) | Says::Unreadable { id, .. } => vec![id],
            Says::Nothing => Vec::new(),
        };
        let mut events = self.remove(&decoded.place, None);
        events.extend(says.into_iter().map(Event::Delete).filter(|it| !events.contains(it)).collect::<Vec<_>>());
        events
    }

    /// What it means that nothing is at the place any more.
    pub fn gone(&mut self, place: &Place) -> Vec<Event> {
        self.remove(place, None)
    }

    fn before(&self, place: &Place) -> Vec<ObjectId> {
        self.known.get(place).cloned().unwrap_or_else(|| place.id().into_iter().collect())
    }

    fn keep(&mut self, place: Place, ids: Vec<ObjectId>) {
        match (&ids[..], place.id()) {
            ([only], Some(id)) if *only == id => self.known.remove(&place),
            _ => self.known.insert(place, ids),
        };
    }

    fn remove(&mut self, place: &Place, also: Option<ObjectId>) -> Vec<Event> {
        let mut ids = self.before(place);
        self.known.remove(place);
        ids.extend(also.filter(|id| !ids.contains(id)));
        ids.into_iter().map(Event::Delete).collect()
    }
}
