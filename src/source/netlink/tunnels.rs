//! What is beneath the routes, as far as the kernel told it: neighbours and forwarding entries of Calico's VXLAN devices,
//! and policy rules.
//!
//! The group of neighbours carries every change of every pod's ARP entry: this has a socket of its own, and what is about
//! another device is passed over before anything is made of it. A device that is made anew has another `ifindex`: a fresh
//! list is due then.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use rtnetlink::MulticastGroup;

use super::NetlinkError;
use super::monitor::{Doubt, Picture};
use crate::model::{Family, FdbEntry, Mac, Name, Neighbour, PolicyRule, TunnelKind};
use crate::state::{Event, Side, Table};

mod decode;
mod dump;
#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests;

use decode::{Change, device_of};

/// Neighbours, forwarding entries and rules.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Tunnels {
    /// The devices that there are, by index.
    devices: BTreeMap<u32, Name>,
    neighbours: BTreeMap<(u32, IpAddr), Neighbour>,
    fdb: BTreeMap<(u32, Mac), FdbEntry>,
    /// In the order in which they are asked.
    rules: BTreeMap<Family, Vec<PolicyRule>>,
}

/// Whether the device is one of those that are looked at.
fn is_tunnel(name: &str) -> bool {
    matches!(TunnelKind::of_device(name), Some(TunnelKind::VxlanV4 | TunnelKind::VxlanV6))
}

impl Tunnels {
    fn link(&mut self, index: u32, name: Option<Name>, events: &mut Vec<Event>) -> Result<(), Doubt> {
        // A message about one aspect has no name.
        let Some(name) = name else { return Ok(()) };
        match (is_tunnel(&name), self.devices.get(&index)) {
            (true, Some(known)) if *known == name => Ok(()),
            (true, _) => {
                self.devices.insert(index, name);
                Err(Doubt("a tunnel device is new"))
            }
            (false, Some(_)) => {
                self.forget(index, events);
                Ok(())
            }
            (false, None) => Ok(()),
        }
    }

    /// The kernel tells of each entry of a device that goes; whether it did or not, they are gone with it.
    fn forget(&mut self, index: u32, events: &mut Vec<Event>) {
        if self.devices.remove(&index).is_none() {
            return;
        }
        self.neighbours.retain(|(device, address), _| {
            if *device == index {
                events.push(Event::NeighbourGone(index, *address));
            }
            *device != index
        });
        self.fdb.retain(|(device, mac), _| {
            if *device == index {
                events.push(Event::FdbGone(index, *mac));
            }
            *device != index
        });
    }

    fn fdb_gone(&mut self, entry: FdbEntry, events: &mut Vec<Event>) -> Result<(), Doubt> {
        let key = (entry.device, entry.mac);
        // Of several destinations, which only this MAC can have, one is kept here.
        if entry.mac == Mac::ZERO {
            return Err(Doubt("a destination for all that is not known is gone"));
        }
        match self.fdb.get(&key) {
            // It leads elsewhere by now.
            Some(known) if known.destination != entry.destination => Ok(()),
            Some(_) => {
                self.fdb.remove(&key);
                events.push(Event::FdbGone(entry.device, entry.mac));
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Picture for Tunnels {
    type Change = Change;
    const SIDE: Side = Side::Tunnels;
    const NAME: &'static str = "neighbours and forwarding entries";
    const GROUPS: &'static [MulticastGroup] =
        &[MulticastGroup::Link, MulticastGroup::Neigh, MulticastGroup::Ipv4Rule, MulticastGroup::Ipv6Rule];

    fn dump(limit: Duration) -> impl Future<Output = Result<Tunnels, NetlinkError>> + Send {
        dump::dump(limit)
    }

    fn interests(&self, kind: u16, payload: &[u8]) -> bool {
        device_of(kind, payload).is_none_or(|device| self.devices.contains_key(&device))
    }

    fn apply(&mut self, change: Change, _replaces: bool, events: &mut Vec<Event>) -> Result<(), Doubt> {
        match change {
            Change::Link(index, name) => self.link(index, name, events),
            Change::LinkGone(index) => {
                self.forget(index, events);
                Ok(())
            }
            Change::Rule(_) => Err(Doubt("a policy rule came or went")),
            Change::Neighbour(entry) if self.devices.contains_key(&entry.device) => {
                if self.neighbours.insert((entry.device, entry.address), entry) != Some(entry) {
                    events.push(Event::Neighbour(entry));
                }
                Ok(())
            }
            Change::NeighbourGone(entry) => {
                if self.neighbours.remove(&(entry.device, entry.address)).is_some() {
                    events.push(Event::NeighbourGone(entry.device, entry.address));
                }
                Ok(())
            }
            Change::Fdb(entry) if self.devices.contains_key(&entry.device) => {
                if self.fdb.insert((entry.device, entry.mac), entry) != Some(entry) {
                    events.push(Event::Fdb(entry));
                }
                Ok(())
            }
            Change::FdbGone(entry) => self.fdb_gone(entry, events),
            // Of another device.
            Change::Neighbour(_) | Change::Fdb(_) => Ok(()),
        }
    }

    fn events(&self) -> impl Iterator<Item = Event> + Send {
        let neighbours = self.neighbours.values().copied().map(Event::Neighbour);
        let fdb = self.fdb.values().copied().map(Event::Fdb);
        let rules = self.rules.iter().map(|(family, rules)| Event::Rules(*family, rules.clone()));
        neighbours.chain(fdb).chain(rules).chain(Table::ALL.map(Event::Listed))
    }

    fn difference(&self, fresh: &Tunnels) -> Vec<Event> {
        let mut events = Vec::new();
        let gone = self.neighbours.keys().filter(|key| !fresh.neighbours.contains_key(key));
        events.extend(gone.map(|(device, address)| Event::NeighbourGone(*device, *address)));
        let gone = self.fdb.keys().filter(|key| !fresh.fdb.contains_key(key));
        events.extend(gone.map(|(device, mac)| Event::FdbGone(*device, *mac)));
        let changed = fresh.neighbours.iter().filter(|(key, entry)| self.neighbours.get(key) != Some(entry));
        events.extend(changed.map(|(_, entry)| Event::Neighbour(*entry)));
        let changed = fresh.fdb.iter().filter(|(key, entry)| self.fdb.get(key) != Some(entry));
        events.extend(changed.map(|(_, entry)| Event::Fdb(*entry)));
        let changed = fresh.rules.iter().filter(|(family, rules)| self.rules.get(family) != Some(rules));
        events.extend(changed.map(|(family, rules)| Event::Rules(*family, rules.clone())));
        events
    }

    fn len(&self) -> (usize, usize) {
        (self.neighbours.len(), self.fdb.len())
    }
}
