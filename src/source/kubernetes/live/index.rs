//! What is known of a resource: each object's name and version, and what it stood for.

use std::collections::HashMap;

use super::objects::{Decoded, Ledger, Place};
use crate::model::Name;
use crate::state::Event;

/// Objects by name. Only what is in the cluster's scope has one: Pods are never followed.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: HashMap<Name, Entry>,
    ledger: Ledger,
}

#[derive(Debug)]
struct Entry {
    version: u64,
    /// In which list it was last seen.
    round: u32,
}

impl Index {
    /// Whether nothing is there.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The version in which an object is known.
    pub(super) fn version(&self, name: &str) -> Option<u64> {
        self.entries.get(name).map(|entry| entry.version)
    }

    /// Takes in what an object says now.
    pub(super) fn put(&mut self, decoded: Decoded, version: u64, round: u32) -> Vec<Event> {
        self.entries.insert(decoded.place.name.clone(), Entry { version, round });
        self.ledger.put(decoded)
    }

    /// Takes in that an object is gone, and what it said last.
    pub(super) fn delete(&mut self, decoded: Decoded) -> Vec<Event> {
        self.entries.remove(&decoded.place.name);
        self.ledger.delete(decoded)
    }

    /// Takes in that nothing is at a place.
    pub(super) fn gone(&mut self, place: &Place) -> Vec<Event> {
        match self.entries.remove(&place.name) {
            Some(_) => self.ledger.gone(place),
            None => Vec::new(),
        }
    }

    /// The names that the list of this round did not have.
    pub(super) fn unseen(&self, round: u32) -> Vec<Name> {
        self.entries.iter().filter(|(_, entry)| entry.round != round).map(|(name, _)| name.clone()).collect()
    }

    /// Notes that the list of this round has a name; returns whether it is known in that version.
    pub(super) fn see(&mut self, name: &str, version: u64, round: u32) -> bool {
        match self.entries.get_mut(name) {
            Some(entry) => {
                entry.round = round;
                entry.version == version
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::kubernetes::objects::Decoder;
    use crate::source::kubernetes::{ApiGroup, Resource};

    fn pool(name: &str, version: u64) -> Decoded {
        let item = format!(
            r#"{{"metadata":{{"name":"{name}","resourceVersion":"{version}"}},"spec":{{"cidr":"10.0.0.0/16"}}}}"#
        );
        Decoder::new(ApiGroup::Crd).decode(Resource::Pools, item.as_bytes())
    }

    #[test]
    fn what_a_list_does_not_name_is_told() {
        let mut index = Index::default();
        index.put(pool("a", 1), 1, 1);
        index.put(pool("b", 2), 2, 1);
        assert!(index.see("a", 1, 2));
        assert!(!index.see("c", 1, 2), "another is not known");
        assert_eq!(index.unseen(2), ["b".into()]);
        let place = Place { resource: Resource::Pools, namespace: None, name: "b".into() };
        assert!(matches!(&index.gone(&place)[..], [Event::Delete(_)]));
        assert!(index.gone(&place).is_empty(), "once");
        assert_eq!(index.version("b"), None);
        assert!(!index.see("a", 3, 3), "in another version");
    }
}
