//! What is beneath the routes: neighbours and forwarding entries of the tunnel devices, and the policy rules. It is a side
//! of its own: what is lost here says nothing of the routes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::changes::Changes;
use crate::model::label_values;
use crate::model::{Family, FdbEntry, Mac, Neighbour, PolicyRule};

label_values! {
    /// A table of the kernel's.
    pub enum Table {
        /// Who has which address: ARP and NDP.
        Neighbours = "neighbour",
        /// Where a frame for whom is sent: a VXLAN device's forwarding database.
        Fdb = "fdb",
    }
}

/// What the list in progress has named so far.
type Seen = (BTreeSet<(u32, IpAddr)>, BTreeSet<(u32, Mac)>);

/// Neighbours and forwarding entries of the tunnel devices, by `ifindex`, and policy rules.
#[derive(Debug, Clone, Default)]
pub struct Tunnels {
    neighbours: BTreeMap<(u32, IpAddr), Neighbour>,
    fdb: BTreeMap<(u32, Mac), FdbEntry>,
    rules: BTreeMap<Family, Vec<PolicyRule>>,
    known: BTreeSet<Table>,
    seen: Option<Seen>,
    pub(super) changes: Changes,
}

impl Tunnels {
    /// Whether the table was ever listed: a dump of one says nothing of the other.
    pub fn knows(&self, table: Table) -> bool {
        self.known.contains(&table)
    }

    /// Who has the address on the device.
    pub fn neighbour(&self, device: u32, address: IpAddr) -> Option<&Neighbour> {
        self.neighbours.get(&(device, address))
    }

    /// The device's neighbours, sorted by address.
    pub fn neighbours_of(&self, device: u32) -> impl Iterator<Item = &Neighbour> + '_ {
        let first = (device, IpAddr::from([0, 0, 0, 0]));
        self.neighbours.range(first..).take_while(move |((of, _), _)| *of == device).map(|(_, it)| it)
    }

    /// Where the device sends a frame for the MAC.
    pub fn fdb_entry(&self, device: u32, mac: Mac) -> Option<&FdbEntry> {
        self.fdb.get(&(device, mac))
    }

    /// The device's forwarding entries, sorted by MAC.
    pub fn fdb_of(&self, device: u32) -> impl Iterator<Item = &FdbEntry> + '_ {
        self.fdb.range((device, Mac::ZERO)..).take_while(move |((of, _), _)| *of == device).map(|(_, it)| it)
    }

    /// The family's policy rules in the order in which they are asked; `None` where they are not known.
    pub fn rules(&self, family: Family) -> Option<&[PolicyRule]> {
        self.rules.get(&family).map(Vec::as_slice)
    }

    pub(super) fn begin_dump(&mut self) {
        self.seen = Some(Default::default());
    }

    pub(super) fn end_dump(&mut self) {
        let Some((neighbours, fdb)) = self.seen.take() else { return };
        let gone: Vec<_> = self.neighbours.keys().filter(|key| !neighbours.contains(key)).copied().collect();
        for (device, address) in gone {
            self.remove_neighbour(device, address);
        }
        let gone: Vec<_> = self.fdb.keys().filter(|key| !fdb.contains(key)).copied().collect();
        for (device, mac) in gone {
            self.remove_fdb(device, mac);
        }
    }

    pub(super) fn listed(&mut self, table: Table) {
        self.changes.tables |= self.known.insert(table);
    }

    pub(super) fn put_neighbour(&mut self, neighbour: Neighbour) {
        let key = (neighbour.device, neighbour.address);
        if let Some((seen, _)) = &mut self.seen {
            seen.insert(key);
        }
        if self.neighbours.insert(key, neighbour) != Some(neighbour) {
            self.changes.neighbours.insert(key);
        }
    }

    pub(super) fn remove_neighbour(&mut self, device: u32, address: IpAddr) {
        if self.neighbours.remove(&(device, address)).is_some() {
            self.changes.neighbours.insert((device, address));
        }
    }

    pub(super) fn put_fdb(&mut self, entry: FdbEntry) {
        let key = (entry.device, entry.mac);
        if let Some((_, seen)) = &mut self.seen {
            seen.insert(key);
        }
        if self.fdb.insert(key, entry) != Some(entry) {
            self.changes.fdb.insert(key);
        }
    }

    pub(super) fn remove_fdb(&mut self, device: u32, mac: Mac) {
        if self.fdb.remove(&(device, mac)).is_some() {
            self.changes.fdb.insert((device, mac));
        }
    }

    pub(super) fn put_rules(&mut self, family: Family, rules: Vec<PolicyRule>) {
        if self.rules.get(&family) != Some(&rules) {
            self.changes.rules = true;
            self.rules.insert(family, rules);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EntryState;

    fn neighbour(device: u32, last: u8) -> Neighbour {
        let mac = Some(Mac([2, 0, 0, 0, 0, last]));
        Neighbour { device, address: IpAddr::from([10, 0, 0, last]), mac, state: EntryState::PERMANENT }
    }

    fn entry(device: u32, last: u8) -> FdbEntry {
        let destination = Some(IpAddr::from([172, 18, 0, last]));
        FdbEntry { device, mac: Mac([2, 0, 0, 0, 0, last]), destination, state: EntryState::PERMANENT }
    }

    #[test]
    fn entries_are_of_their_device_and_a_list_that_leaves_one_out_takes_it_away() {
        let mut tunnels = Tunnels::default();
        for (device, last) in [(5, 1), (5, 2), (6, 1), (4, 9)] {
            tunnels.put_neighbour(neighbour(device, last));
            tunnels.put_fdb(entry(device, last));
        }
        assert_eq!(tunnels.neighbours_of(5).count(), 2);
        assert_eq!(tunnels.fdb_of(5).count(), 2);
        assert_eq!(tunnels.neighbour(6, IpAddr::from([10, 0, 0, 2])), None);
        assert_eq!(tunnels.fdb_entry(6, Mac([2, 0, 0, 0, 0, 1])), Some(&entry(6, 1)));

        tunnels.changes = Changes::default();
        tunnels.begin_dump();
        for (device, last) in [(5, 1), (6, 1), (4, 9)] {
            tunnels.put_neighbour(neighbour(device, last));
            tunnels.put_fdb(entry(device, last));
        }
        tunnels.end_dump();
        assert_eq!(tunnels.changes.neighbours, BTreeSet::from([(5, IpAddr::from([10, 0, 0, 2]))]));
        assert_eq!(tunnels.changes.fdb, BTreeSet::from([(5, Mac([2, 0, 0, 0, 0, 2]))]));
        assert_eq!((tunnels.neighbours_of(5).count(), tunnels.fdb_of(5).count()), (1, 1));
    }

    #[test]
    fn a_table_is_known_once_it_was_listed_and_rules_by_family() {
        let mut tunnels = Tunnels::default();
        assert!(!tunnels.knows(Table::Fdb) && tunnels.rules(Family::V4).is_none());
        tunnels.listed(Table::Fdb);
        tunnels.put_rules(Family::V4, Vec::new());
        assert!(tunnels.knows(Table::Fdb) && !tunnels.knows(Table::Neighbours));
        assert_eq!((tunnels.rules(Family::V4), tunnels.rules(Family::V6)), (Some(&[][..]), None));
        assert!(tunnels.changes.tables && tunnels.changes.rules);
    }
}
