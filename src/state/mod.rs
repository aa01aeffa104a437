//! The pictures, the datastore's and the kernel's, folded from [`Event`]s. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use history::Recorder;
use ipnet::IpNet;

use crate::model::Protocol;

mod changes;
mod datastore;
mod event;
mod follow;
mod history;
mod kernel;
mod prefix;
mod sorted;
mod tunnels;

pub use changes::Changes;
pub use datastore::{AffinityEntry, Datastore, ReadBlock, UnreadableValue};
pub use event::{Event, Kind, Object, ObjectId, Side, Unreadable};
pub use follow::{Follow, Lookup};
pub use history::{Area, Author, Burst, Entry, Fact, Filter, History, Operation, Process, Program, Subject};
pub use kernel::Kernel;
pub use prefix::PrefixMap;
pub use tunnels::{Table, Tunnels};

/// How current a side's picture is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SyncState {
    /// Nothing complete has been seen yet.
    #[default]
    Waiting,
    /// The picture is current.
    InSync,
    /// It was complete once and is not followed any more; why.
    Lost(String),
}

/// The pictures and how current they are.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Calico's objects.
    pub datastore: Datastore,
    /// Devices and routes.
    pub kernel: Kernel,
    /// Neighbours, forwarding entries and policy rules.
    pub tunnels: Tunnels,
    /// What changed in the pictures since they were first complete.
    pub history: History,
    /// Who asked for the changes that follow in this batch.
    author: Author,
    /// Sides that are being listed, with how many entries the list has brought.
    listing: BTreeMap<Side, u64>,
    datastore_sync: SyncState,
    kernel_sync: SyncState,
    tunnels_sync: SyncState,
}

impl State {
    /// An empty picture. `lists_endpoints`: whether the datastore's lists name endpoints and handles (a dump does, a
    /// host's exporter looks up the few it needs).
    pub fn new(lists_endpoints: bool) -> State {
        let mut state = State::default();
        state.datastore.lists_endpoints = lists_endpoints;
        state
    }

    /// The same picture of a source that tells of no more than this.
    #[must_use]
    pub fn following(mut self, follow: Follow) -> State {
        self.datastore.follow = follow;
        self
    }

    /// How current a side is.
    pub fn sync(&self, side: Side) -> &SyncState {
        match side {
            Side::Datastore => &self.datastore_sync,
            Side::Kernel => &self.kernel_sync,
            Side::Tunnels => &self.tunnels_sync,
        }
    }

    /// Whether a side's picture is current.
    pub fn in_sync(&self, side: Side) -> bool {
        *self.sync(side) == SyncState::InSync
    }

    /// Begins a batch of events of one source, received at `wall`.
    pub fn begin_batch(&mut self, wall: SystemTime) {
        self.history.set_time(wall);
        self.author = Author::Unknown;
    }

    /// Folds one event in. `now` is monotonic: the time since some fixed start.
    pub fn apply(&mut self, event: Event, now: Duration) {
        self.record(&event);
        match event {
            Event::Resync(Side::Datastore) => self.datastore.begin_list(),
            Event::Resync(Side::Kernel) => self.kernel.begin_dump(),
            Event::Resync(Side::Tunnels) => self.tunnels.begin_dump(),
            Event::Synced(Side::Datastore) => {
                let gone = self.datastore.unnamed();
                self.record_list(Side::Datastore, |recorder| gone.iter().for_each(|id| recorder.deleted(id)));
                self.datastore.end_list(gone, now);
                self.datastore_sync = SyncState::InSync;
            }
            Event::Synced(Side::Kernel) => {
                let gone = self.kernel.unnamed();
                self.record_list(Side::Kernel, |recorder| recorder.kernel_gone(&gone));
                self.kernel.end_dump(&gone);
                self.kernel_sync = SyncState::InSync;
            }
            Event::Synced(Side::Tunnels) => {
                // A list of entries is short, and repeats those of the kernel's own making.
                self.record_list(Side::Tunnels, |_| {});
                self.tunnels.end_dump();
                self.tunnels_sync = SyncState::InSync;
            }
            Event::Lost(side, why) => {
                let sync = match side {
                    Side::Datastore => &mut self.datastore_sync,
                    Side::Kernel => &mut self.kernel_sync,
                    Side::Tunnels => &mut self.tunnels_sync,
                };
                if *sync != SyncState::Waiting {
                    *sync = SyncState::Lost(why);
                }
            }
            // Of the source, not of the picture: nothing is gone because it may not be read.
            Event::Denied(..) => {}
            Event::Put(object) => self.datastore.put(*object, now),
            Event::Unreadable { id, key, why } => {
                self.datastore.unreadable_value(id, UnreadableValue { key, why }, now);
            }
            Event::Delete(id) => self.datastore.delete(&id, now),
            Event::Same(id) => self.datastore.take_same(&id, now),
            Event::Link(link) => self.kernel.put_link(link),
            Event::LinkGone(index) => self.kernel.remove_link(index),
            Event::Route(route) => {
                let (destination, protocol) = (route.destination, route.protocol);
                self.kernel.put_route(route);
                self.note_program(destination, protocol, true);
            }
            Event::RouteGone(key) => {
                let protocol = self.kernel.route_of(&key).map(|route| route.protocol);
                self.kernel.remove_route(&key);
                if let Some(protocol) = protocol {
                    self.note_program(key.destination, protocol, false);
                }
            }
            Event::Neighbour(neighbour) => self.tunnels.put_neighbour(neighbour),
            Event::NeighbourGone(device, address) => self.tunnels.remove_neighbour(device, address),
            Event::Fdb(entry) => self.tunnels.put_fdb(entry),
            Event::FdbGone(device, mac) => self.tunnels.remove_fdb(device, mac),
            Event::Rules(family, rules) => self.tunnels.put_rules(family, rules),
            Event::Listed(table) => self.tunnels.listed(table),
            Event::Origin(author) => self.author = author,
        }
    }

    /// Notes which program changed the route to a destination, for whoever counts changes. A first list is no change.
    fn note_program(&mut self, destination: IpNet, protocol: Protocol, written: bool) {
        if self.kernel_sync != SyncState::Waiting && self.kernel.changes.destinations.contains(&destination) {
            let program = self.history.program(&self.author, protocol, written);
            self.kernel.changes.programs.insert(destination, program);
        }
    }

    /// Writes into the history what the event is about to change. A first list is no change.
    fn record(&mut self, event: &Event) {
        if !self.history.is_on() {
            return;
        }
        match event {
            Event::Resync(side) if *self.sync(*side) != SyncState::Waiting => {
                self.listing.insert(*side, self.history.appended());
            }
            event => {
                let known = |side: Side| *self.sync(side) != SyncState::Waiting;
                if let Some(side) = history::side_of(event).filter(|side| known(*side)) {
                    self.recorder(side).event(event);
                }
            }
        }
    }

    /// Records the end of a list that is not the first of its side, and what is gone for not being named in it.
    fn record_list(&mut self, side: Side, gone: impl FnOnce(&mut Recorder<'_>)) {
        let Some(before) = self.listing.get(&side).copied() else { return };
        gone(&mut self.recorder(side));
        self.listing.remove(&side);
        self.history.listed(side, before);
    }

    fn recorder(&mut self, side: Side) -> Recorder<'_> {
        const LIST: &Author = &Author::List;
        // The kernel's sources name who asked for what they hear; what they do not name they found in a list.
        let found = self.author == Author::Unknown && side != Side::Datastore;
        let listing = found || self.listing.contains_key(&side);
        Recorder {
            history: &mut self.history,
            datastore: &self.datastore,
            kernel: &self.kernel,
            tunnels: &self.tunnels,
            author: if listing { LIST } else { &self.author },
        }
    }

    /// What changed since this was last called.
    pub fn take_changes(&mut self) -> Changes {
        let mut changes = std::mem::take(&mut self.datastore.changes);
        let mut kernel = std::mem::take(&mut self.kernel.changes);
        changes.destinations.append(&mut kernel.destinations);
        changes.other_tables.append(&mut kernel.other_tables);
        changes.devices.append(&mut kernel.devices);
        changes.programs.append(&mut kernel.programs);
        changes.merge(std::mem::take(&mut self.tunnels.changes));
        changes
    }
}
