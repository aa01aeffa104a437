//! Judging half a million handles and endpoints that nobody watches: they are read in pages on an interval, gathered in
//! little memory, and judged against the blocks and nodes that are watched. The rules are those of [`super::leaks`] and
//! [`super::handles`], by the same code.
//!
//! A sweep takes a while, and Calico never writes a block, its handle and its endpoint in one transaction: what one
//! sweep sees may be two moments side by side. [`Persistence`] therefore lets through only what a later sweep saw again,
//! of the very same allocation.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;

use super::handles::Objects;
use super::leaks::Uses;
use super::{Candidate, Finding, leaks};
use crate::audit::fault::Fault;
use crate::model::{AllocationBlock, EndpointId, Handle, WorkloadEndpoint};
use crate::state::{Datastore, Event, Object, ObjectId, UnreadableValue};

/// One sweep in progress. Each endpoint and each handle is to be fed once, in any order.
#[derive(Debug, Clone)]
pub struct Sweep {
    uses: Uses,
    objects: Objects,
    tunnels: HashSet<IpAddr>,
    tunnel_users: BTreeMap<IpAddr, EndpointId>,
    unreadable: BTreeMap<ObjectId, UnreadableValue>,
    has_handles: bool,
}

/// What a sweep found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swept {
    /// Leaks, conflicts and handle faults, sorted.
    pub candidates: Vec<Candidate>,
    /// Endpoints that use a Node's tunnel address, the first by id: what [`super::tunnel_addresses::judge_with`] asks.
    pub tunnel_users: BTreeMap<IpAddr, EndpointId>,
    /// Endpoints and handles that exist and cannot be read (J1).
    pub unreadable: BTreeMap<ObjectId, UnreadableValue>,
    /// A handle exists: Calico's IPAM is in use, whatever became of its blocks (J38).
    pub has_handles: bool,
}

impl Sweep {
    /// Begins a sweep over a datastore whose nodes are known.
    pub fn begin(datastore: &Datastore) -> Sweep {
        let mut sweep = Sweep {
            uses: Uses::default(),
            objects: Objects::default(),
            tunnels: datastore.nodes().values().flat_map(|node| node.tunnels.values()).copied().collect(),
            tunnel_users: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            has_handles: false,
        };
        for id in datastore.unreadable().keys() {
            sweep.unreadable(id);
        }
        sweep
    }

    /// Takes in an endpoint.
    pub fn endpoint(&mut self, datastore: &Datastore, endpoint: &WorkloadEndpoint) {
        self.uses.add(datastore, endpoint);
        for address in endpoint.addresses.iter().filter(|address| self.tunnels.contains(*address)) {
            let first = self.tunnel_users.entry(*address).or_insert_with(|| endpoint.id.clone());
            if endpoint.id < *first {
                *first = endpoint.id.clone();
            }
        }
    }

    /// Takes in a handle.
    pub fn handle(&mut self, datastore: &Datastore, handle: &Handle) {
        self.has_handles = true;
        self.objects.add(datastore, handle);
    }

    /// Takes in what a list of endpoints and handles says.
    pub fn event(&mut self, datastore: &Datastore, event: &Event) {
        match event {
            Event::Put(object) => match object.as_ref() {
                Object::Endpoint(endpoint) => self.endpoint(datastore, endpoint),
                Object::Handle(handle) => self.handle(datastore, handle),
                _ => {}
            },
            Event::Unreadable { id, key, why } => {
                self.unreadable(id);
                self.unreadable.insert(id.clone(), UnreadableValue { key: key.clone(), why: why.clone() });
            }
            _ => {}
        }
    }

    /// Takes in the identity of an endpoint or a handle that exists and cannot be read; others are ignored.
    pub fn unreadable(&mut self, id: &ObjectId) {
        match id {
            ObjectId::Endpoint(id) => self.uses.add_unreadable(id.clone()),
            ObjectId::Handle(id) => {
                self.has_handles = true;
                self.objects.add_unreadable(id);
            }
            _ => {}
        }
    }

    /// Judges what was gathered. Only after every endpoint and every handle was fed: what is missing looks like a leak.
    /// The blocks must be known in full, or those that [`Sweep::suspects`] named.
    pub fn finish(mut self, datastore: &Datastore) -> Swept {
        let candidates = self.candidates(datastore);
        let Sweep { tunnel_users, unreadable, has_handles, .. } = self;
        Swept { candidates, tunnel_users, unreadable, has_handles }
    }

    /// Of blocks that are known by digests, those that have to be read in full before [`Sweep::finish`]. As a digest has
    /// it, everything is wrong in them that is wrong, and perhaps a little more.
    pub fn suspects(&mut self, datastore: &Datastore) -> BTreeSet<IpNet> {
        let digested = |cidr: &IpNet| datastore.block(cidr).is_some_and(AllocationBlock::is_digested);
        self.candidates(datastore).into_iter().filter_map(|it| it.block).filter(digested).collect()
    }

    fn candidates(&mut self, datastore: &Datastore) -> Vec<Candidate> {
        let mut candidates = self.objects.finish(datastore);
        candidates.extend(leaks::finish(&mut self.uses, datastore));
        candidates
    }
}

/// What earlier sweeps saw.
#[derive(Debug, Clone, Default)]
pub struct Persistence {
    first_seen: BTreeMap<Key, Duration>,
}

/// The fault, its subject, and which allocation it was.
type Key = (Fault, String, u64);

impl Persistence {
    /// The findings among `candidates` that an earlier sweep saw at least `grace` ago, and every sweep since. What was
    /// not seen this time is forgotten. `now` is monotonic and `clock` is the same moment by the wall, for
    /// [`Finding::since`].
    pub fn settle(
        &mut self,
        candidates: Vec<Candidate>,
        now: Duration,
        clock: SystemTime,
        grace: Duration,
    ) -> Vec<Finding> {
        let mut seen = BTreeMap::new();
        let mut settled = Vec::new();
        for Candidate { mut finding, identity, .. } in candidates {
            let key = (finding.fault.clone(), finding.subject.clone(), identity);
            let earlier = self.first_seen.remove(&key);
            let first = earlier.unwrap_or(now);
            seen.insert(key, first);
            let stood = now.saturating_sub(first);
            if earlier.is_some() && stood >= grace {
                finding.since = clock.checked_sub(stood);
                settled.push(finding);
            }
        }
        self.first_seen = seen;
        settled
    }

    /// How many differences wait for a later sweep, or stand.
    pub fn len(&self) -> usize {
        self.first_seen.len()
    }

    /// Whether the last sweep saw nothing.
    pub fn is_empty(&self) -> bool {
        self.first_seen.is_empty()
    }
}

#[cfg(test)]
mod tests;
