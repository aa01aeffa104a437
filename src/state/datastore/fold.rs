//! How events change the picture. A re-list repeats everything and must wake no rule; a value that cannot be read is never
//! taken for a deletion.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::read::Content;
use super::{AffinityEntry, Datastore, UnreadableValue};
use crate::model::{AllocationBlock, BlockOwner, EndpointId, Name};
use crate::state::event::{Kind, Object, ObjectId};
use crate::state::sorted::Sorted;

impl Datastore {
    pub(in crate::state) fn begin_list(&mut self) {
        // Where nothing is known nothing can be gone, and the first list is the largest.
        let something = self.ids().next().is_some();
        self.seen = something.then(HashSet::new);
    }

    /// Forgets what the list did not name: [`Datastore::unnamed`].
    pub(in crate::state) fn end_list(&mut self, gone: Vec<ObjectId>, now: Duration) {
        self.end_own_list();
        self.changes.listed = true;
        self.blocks.pack();
        self.affinities.pack();
        if self.seen.take().is_none() {
            return;
        }
        for id in gone {
            // A block that went with its key is nothing that anybody asked about.
            if matches!(&id, ObjectId::Block(cidr) if self.is_answer(cidr)) {
                continue;
            }
            self.delete(&id, now);
        }
        self.pods.prune();
        self.names.prune();
        self.labels.prune();
    }

    /// What the list in progress has not named: it is gone when the list ends.
    pub(in crate::state) fn unnamed(&self) -> Vec<ObjectId> {
        let Some(seen) = &self.seen else { return Vec::new() };
        let listed = |id: &ObjectId| self.lists_endpoints || !matches!(id.kind(), Kind::Endpoint | Kind::Handle);
        self.ids().filter(|id| listed(id) && !seen.contains(id)).collect()
    }

    fn ids(&self) -> impl Iterator<Item = ObjectId> + '_ {
        let blocks = self.blocks.iter().map(|(cidr, _)| ObjectId::Block(*cidr));
        let affinities = self.affinities().map(|(cidr, owner, _)| ObjectId::Affinity(owner.clone(), *cidr));
        blocks
            .chain(affinities)
            .chain(self.handles.keys().cloned().map(ObjectId::Handle))
            .chain(self.ipam_config.iter().map(|_| ObjectId::IpamConfig))
            .chain(self.pools.keys().cloned().map(ObjectId::Pool))
            .chain(self.reservations.keys().cloned().map(ObjectId::Reservation))
            .chain(self.nodes.keys().cloned().map(ObjectId::Node))
            .chain(self.endpoints.keys().cloned().map(ObjectId::Endpoint))
            .chain(self.felix.keys().cloned().map(ObjectId::Felix))
            .chain(self.bgp.keys().cloned().map(ObjectId::BgpConfiguration))
            .chain(self.peers.keys().cloned().map(ObjectId::BgpPeer))
            .chain(self.cluster.iter().map(|_| ObjectId::Cluster))
            .chain(self.unreadable.keys().cloned())
    }

    pub(in crate::state) fn put(&mut self, object: Object, now: Duration) {
        let object = match object {
            Object::Block(block) if self.is_answer(&block.cidr) => {
                return self.take_answer(block.cidr, Content::Block(Box::new(block)), now);
            }
            object => object,
        };
        let id = object.id();
        self.note(&id);
        if self.holds(&object) {
            return;
        }
        self.changes.object(&id);
        let had_key = matches!(&id, ObjectId::Affinity(_, cidr) if self.has_own_key(cidr));
        self.forget_unreadable(&id);
        match object {
            Object::Block(mut block) => {
                self.share(&mut block);
                self.awaited.remove(&block.cidr);
                self.blocks.insert(block.cidr, Box::new(block));
            }
            Object::Affinity(affinity) => {
                let mut owner = affinity.owner;
                if let BlockOwner::Host(name) = &mut owner {
                    *name = self.names.share(name.clone());
                }
                if self.affinities.get(&affinity.cidr).is_none() {
                    self.affinities.insert(affinity.cidr, Sorted::default());
                }
                if let Some(owners) = self.affinities.get_mut(&affinity.cidr) {
                    owners.insert(owner, AffinityEntry { state: affinity.state, since: now });
                }
                self.key_changed(&affinity.cidr, had_key);
            }
            Object::Handle(handle) => {
                self.handles.insert(handle.id.clone(), handle);
            }
            Object::IpamConfig(config) => self.ipam_config = Some(config),
            Object::Pool(pool) => {
                let (name, cidr) = (pool.name.clone(), pool.cidr);
                self.remove_pool(&name);
                self.pools.insert(name.clone(), pool);
                let mut names = self.pools_by_cidr.remove(&cidr).unwrap_or_default();
                names.insert(name);
                self.pools_by_cidr.insert(cidr, names);
            }
            Object::Reservation(reservation) => {
                self.reservations.insert(reservation.name.clone(), reservation);
            }
            Object::Node(name, mut node) => {
                self.drop_node(&name);
                let name = self.names.share(name);
                node.labels = node.labels.share(&mut self.labels);
                for address in node.own_addresses() {
                    self.nodes_by_address.entry(address).or_default().insert(name.clone(), ());
                }
                for address in node.tunnels.values() {
                    self.nodes_by_tunnel.entry(*address).or_default().insert(name.clone(), ());
                }
                self.nodes.insert(name, Box::new(node));
            }
            Object::Endpoint(mut endpoint) => {
                endpoint.labels = endpoint.labels.share(&mut self.labels);
                self.drop_endpoint(&endpoint.id);
                for address in &endpoint.addresses {
                    self.changes.address(*address);
                    self.endpoints_by_address.entry(*address).or_default().insert(endpoint.id.clone(), ());
                }
                for address in &endpoint.floating {
                    self.changes.address(*address);
                    self.floating.entry(*address).or_default().insert(endpoint.id.clone(), ());
                }
                self.endpoints_by_node.entry(endpoint.node.clone()).or_default().insert(endpoint.id.clone());
                self.endpoints.insert(endpoint.id.clone(), endpoint);
            }
            Object::Felix(name, config) => {
                self.felix.insert(name, config);
            }
            Object::BgpConfiguration(name, config) => {
                self.bgp.insert(name, config);
            }
            Object::BgpPeer(name, peer) => {
                self.peers.insert(name, peer);
            }
            Object::Cluster(cluster) => self.cluster = Some(cluster),
        }
    }

    fn remove_pool(&mut self, name: &Name) {
        let Some(pool) = self.pools.remove(name) else { return };
        let mut names = self.pools_by_cidr.remove(&pool.cidr).unwrap_or_default();
        names.remove(name);
        if !names.is_empty() {
            self.pools_by_cidr.insert(pool.cidr, names);
        }
    }

    /// An object is there, whatever it says.
    fn note(&mut self, id: &ObjectId) {
        self.seen_once |= matches!(id.kind(), Kind::Node | Kind::Pool | Kind::Block);
        if let Some(seen) = &mut self.seen {
            seen.insert(id.clone());
        }
    }

    /// Hosts' names, each once, and what blocks of one host say alike.
    pub(super) fn share(&mut self, block: &mut AllocationBlock) {
        if let Some(BlockOwner::Host(name)) = &mut block.owner {
            *name = self.names.share(name.clone());
        }
        // Nobody else has them yet: they are changed in place.
        for node in Arc::make_mut(&mut block.attributes).iter_mut().filter_map(|attribute| attribute.node.as_mut()) {
            *node = self.names.share(node.clone());
        }
        if block.attributes.iter().all(|attribute| attribute.abridged) {
            block.attributes = self.pods.share(block.attributes.clone());
        }
    }

    /// Whether the very same object is there already: a re-list repeats everything and must not wake a rule.
    pub(in crate::state) fn holds(&self, object: &Object) -> bool {
        match object {
            Object::Block(block) => self.block(&block.cidr) == Some(block),
            Object::Affinity(affinity) => self
                .affinities
                .get(&affinity.cidr)
                .and_then(|owners| owners.get(&affinity.owner))
                .is_some_and(|entry| entry.state == affinity.state),
            Object::Handle(handle) => self.handles.get(&handle.id) == Some(handle),
            Object::IpamConfig(config) => self.ipam_config.as_ref() == Some(config),
            Object::Pool(pool) => self.pools.get(&pool.name) == Some(pool),
            Object::Reservation(reservation) => self.reservations.get(&reservation.name) == Some(reservation),
            Object::Node(name, node) => self.nodes.get(name).is_some_and(|known| **known == *node),
            Object::Endpoint(endpoint) => self.endpoints.get(&endpoint.id) == Some(endpoint),
            Object::Felix(name, config) => self.felix.get(name) == Some(config),
            Object::BgpConfiguration(name, config) => self.bgp.get(name) == Some(config),
            Object::BgpPeer(name, peer) => self.peers.get(name) == Some(peer),
            Object::Cluster(cluster) => self.cluster.as_ref() == Some(cluster),
        }
    }

    pub(in crate::state) fn unreadable_value(&mut self, id: ObjectId, value: UnreadableValue, now: Duration) {
        if let ObjectId::Block(cidr) = id
            && self.is_answer(&cidr)
        {
            return self.take_answer(cidr, Content::Unreadable(value), now);
        }
        self.note(&id);
        if self.unreadable.get(&id) == Some(&value) {
            return;
        }
        self.changes.object(&id);
        if let Some(known) = self.unreadable.get_mut(&id) {
            *known = value;
            return;
        }
        if let ObjectId::Affinity(owner, cidr) = &id {
            // It claims the block all the while.
            let had_key = self.has_own_key(cidr);
            if self.dark_affinities.get(cidr).is_none() {
                self.dark_affinities.insert(*cidr, BTreeSet::new());
            }
            if let Some(owners) = self.dark_affinities.get_mut(cidr) {
                owners.insert(owner.clone());
            }
            self.key_changed(cidr, had_key);
        }
        // What it said before says nothing now.
        self.delete(&id, now);
        if let ObjectId::Block(cidr) = &id {
            self.dark_blocks.insert(*cidr, ());
        }
        self.unreadable.insert(id, value);
    }

    pub(super) fn forget_unreadable(&mut self, id: &ObjectId) {
        if self.unreadable.remove(id).is_none() {
            return;
        }
        match id {
            ObjectId::Block(cidr) => {
                self.dark_blocks.remove(cidr);
            }
            ObjectId::Affinity(owner, cidr) => {
                let empty = self.dark_affinities.get_mut(cidr).is_some_and(|owners| {
                    owners.remove(owner);
                    owners.is_empty()
                });
                if empty {
                    self.dark_affinities.remove(cidr);
                }
            }
            _ => {}
        }
    }

    pub(in crate::state) fn delete(&mut self, id: &ObjectId, now: Duration) {
        if let ObjectId::Block(cidr) = id
            && self.is_answer(cidr)
        {
            return self.take_answer(*cidr, Content::Absent, now);
        }
        let had_key = matches!(id, ObjectId::Affinity(_, cidr) if self.has_own_key(cidr));
        self.changes.object(id);
        self.forget_unreadable(id);
        match id {
            ObjectId::Block(cidr) => {
                self.awaited.remove(cidr);
                self.blocks.remove(cidr);
            }
            ObjectId::Affinity(owner, cidr) => {
                let empty = self.affinities.get_mut(cidr).is_some_and(|owners| {
                    owners.remove(owner);
                    owners.is_empty()
                });
                if empty {
                    self.affinities.remove(cidr);
                }
                self.key_changed(cidr, had_key);
            }
            ObjectId::Handle(name) => {
                self.handles.remove(name);
            }
            ObjectId::IpamConfig => self.ipam_config = None,
            ObjectId::Pool(name) => {
                self.remove_pool(name);
            }
            ObjectId::Reservation(name) => {
                self.reservations.remove(name);
            }
            ObjectId::Node(name) => {
                self.drop_node(name);
                // Where Nodes come and go all day, no list ends to do so.
                self.names.prune();
                self.labels.prune();
            }
            ObjectId::Endpoint(endpoint) => self.drop_endpoint(endpoint),
            ObjectId::Felix(name) => {
                self.felix.remove(name);
            }
            ObjectId::BgpConfiguration(name) => {
                self.bgp.remove(name);
            }
            ObjectId::BgpPeer(name) => {
                self.peers.remove(name);
            }
            ObjectId::Cluster => self.cluster = None,
            ObjectId::Malformed(..) => {}
        }
    }

    fn drop_node(&mut self, name: &Name) {
        let Some(node) = self.nodes.remove(name) else { return };
        for address in node.own_addresses() {
            forget(&mut self.nodes_by_address, address, name);
        }
        for address in node.tunnels.values() {
            forget(&mut self.nodes_by_tunnel, *address, name);
        }
    }

    fn drop_endpoint(&mut self, id: &EndpointId) {
        let Some(endpoint) = self.endpoints.remove(id) else { return };
        if let Some(ids) = self.endpoints_by_node.get_mut(&endpoint.node) {
            ids.remove(id);
            if ids.is_empty() {
                self.endpoints_by_node.remove(&endpoint.node);
            }
        }
        for address in endpoint.floating {
            self.changes.address(address);
            forget(&mut self.floating, address, id);
        }
        for address in endpoint.addresses {
            self.changes.address(address);
            forget(&mut self.endpoints_by_address, address, id);
        }
    }
}

/// Takes a member out of an index by address, and the entry with its last member.
fn forget<T: Ord>(index: &mut HashMap<IpAddr, Sorted<T>>, address: IpAddr, member: &T) {
    if let Some(members) = index.get_mut(&address) {
        members.remove(member);
        if members.is_empty() {
            index.remove(&address);
        }
    }
}
