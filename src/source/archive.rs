//! A whole datastore that was read once, told as a source tells it that follows no more than `--routes.watch` says:
//! what is not followed is kept back, and answers what is asked.

use std::collections::HashMap;

use ipnet::IpNet;

use crate::model::BlockOwner;
use crate::state::{Event, Follow, Kind, Lookup, ObjectId};

/// What was kept back.
#[derive(Debug, Default)]
pub struct Archive {
    kept: HashMap<ObjectId, Event>,
}

impl Archive {
    /// Splits a whole picture: what is told, in an order in which a block follows the keys that claim it, and the rest.
    /// With [`Follow::Blocks`] everything is told.
    pub fn split(events: Vec<Event>, follow: &Follow) -> (Vec<Event>, Archive) {
        let Follow::Affinities(me) = follow else { return (events, Archive::default()) };
        let mine = |id: &ObjectId| match id {
            ObjectId::Affinity(BlockOwner::Host(host), cidr) if host == me => Some(*cidr),
            _ => None,
        };
        let own: Vec<IpNet> = events.iter().filter_map(|event| mine(&id_of(event)?)).collect();
        let mut archive = Archive::default();
        let (mut told, mut blocks, mut end) = (Vec::new(), Vec::new(), Vec::new());
        for event in events {
            match id_of(&event) {
                Some(ObjectId::Block(cidr)) if own.contains(&cidr) => blocks.push(event),
                Some(id) if matches!(id.kind(), Kind::Block | Kind::Endpoint | Kind::Handle) => {
                    archive.kept.insert(id, event);
                }
                None if matches!(event, Event::Synced(_)) => end.push(event),
                _ => told.push(event),
            }
        }
        told.append(&mut blocks);
        told.append(&mut end);
        (told, archive)
    }

    /// What a source would answer.
    pub fn answer(&self, lookup: &Lookup) -> Event {
        let id = lookup.id();
        self.kept.get(&id).cloned().unwrap_or(Event::Delete(id))
    }
}

/// The object of the datastore that an event is about.
pub(super) fn id_of(event: &Event) -> Option<ObjectId> {
    match event {
        Event::Put(object) => Some(object.id()),
        Event::Unreadable { id, .. } | Event::Delete(id) => Some(id.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AffinityState, AllocationBlock, BlockAffinity};
    use crate::state::Object;

    #[test]
    fn others_blocks_are_kept_back_and_answer() {
        let [mine, others] = ["10.0.0.0/26", "10.0.0.64/26"].map(|cidr| AllocationBlock::new(cidr.parse().unwrap()));
        let key = |host: &str, cidr: &str| {
            Event::Put(Box::new(Object::Affinity(BlockAffinity {
                owner: BlockOwner::Host(host.into()),
                cidr: cidr.parse().unwrap(),
                state: AffinityState::Confirmed,
            })))
        };
        let put = |block: &AllocationBlock| Event::Put(Box::new(Object::Block(block.clone())));
        let events = vec![put(&mine), put(&others), key("h1", "10.0.0.0/26"), key("h2", "10.0.0.64/26")];
        let (told, archive) = Archive::split(events, &Follow::Affinities("h1".into()));
        assert_eq!(told, [key("h1", "10.0.0.0/26"), key("h2", "10.0.0.64/26"), put(&mine)]);
        let ask = |cidr: &str| archive.answer(&Lookup::Block { cidr: cidr.parse().unwrap(), held: false });
        assert_eq!(ask("10.0.0.64/26"), put(&others));
        assert_eq!(ask("10.0.1.0/26"), Event::Delete(ObjectId::Block("10.0.1.0/26".parse().unwrap())));
    }
}
