//! The kernel's picture: this host's devices and routes.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::changes::Changes;
use super::prefix::PrefixMap;
use crate::model::{Link, Name, Protocol, Route, RouteKey, TABLE_MAIN, host_net};

/// Devices and routes.
#[derive(Debug, Clone, Default)]
pub struct Kernel {
    links: BTreeMap<u32, Link>,
    by_name: BTreeMap<Name, u32>,
    /// By destination, each sorted by key: nearly all have one, for which a tree would keep room for eleven.
    routes: PrefixMap<Vec<Route>>,
    uses: Uses,
    /// By address, the devices that have it.
    addresses: HashMap<IpAddr, BTreeSet<u32>>,
    /// How many entries of that index were written: a test holds it down.
    #[cfg(test)]
    indexed: usize,
    seen_links: Option<HashSet<u32>>,
    seen_routes: Option<HashSet<RouteKey>>,
    /// Devices are known; with a file of routes alone they are not.
    pub(super) knows_links: bool,
    pub(super) changes: Changes,
}

impl Kernel {
    /// The device of this name.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.get(self.by_name.get(name)?)
    }

    /// The device of this index.
    pub fn link_at(&self, index: u32) -> Option<&Link> {
        self.links.get(&index)
    }

    /// All devices by index.
    pub fn links(&self) -> impl Iterator<Item = &Link> + '_ {
        self.links.values()
    }

    /// Whether there may be a VRF: a table that is for the packets of some devices.
    pub fn may_have_vrf(&self) -> bool {
        !self.knows_links || self.links().any(|link| link.kind.as_deref() == Some("vrf"))
    }

    /// Whether devices are known at all: a dump of routes alone says nothing of them.
    pub fn knows_links(&self) -> bool {
        self.knows_links
    }

    /// Whether an interface of this host has the address.
    pub fn has_address(&self, address: IpAddr) -> bool {
        self.addresses.contains_key(&address)
    }

    /// The device that has the address, with its prefix length there.
    pub fn interface_of(&self, address: IpAddr) -> Option<(&Link, u8)> {
        let link = self.links.get(self.addresses.get(&address)?.first()?)?;
        let net = link.addresses.iter().find(|net| net.addr() == address)?;
        Some((link, net.prefix_len()))
    }

    /// The main table's route of lowest metric to the destination, the one that is judged (J14).
    pub fn route(&self, destination: &IpNet) -> Option<&Route> {
        self.main(self.routes.get(destination)?).min_by_key(|route| (route.metric, route.tos))
    }

    fn main<'a>(&self, routes: &'a [Route]) -> impl Iterator<Item = &'a Route> + 'a {
        routes.iter().filter(|route| route.table == TABLE_MAIN)
    }

    /// The judged route of every destination in the main table, sorted.
    pub fn main_routes(&self) -> impl Iterator<Item = &Route> + '_ {
        self.routes.iter().filter_map(|(_, routes)| self.main(routes).min_by_key(|route| (route.metric, route.tos)))
    }

    /// Judged main-table routes whose destination lies inside the prefix, sorted.
    pub fn main_routes_within(&self, net: &IpNet) -> impl Iterator<Item = &Route> + '_ {
        let lowest = |routes| self.main(routes).min_by_key(|route| (route.metric, route.tos));
        self.routes.within(net).filter_map(move |(_, routes)| lowest(routes))
    }

    /// Main-table routes, of any metric, whose destination is wider than the prefix and contains it.
    pub fn main_routes_around(&self, net: &IpNet) -> impl Iterator<Item = &Route> + '_ {
        let net = *net;
        self.routes.covering(&net).filter(move |(it, _)| **it != net).flat_map(|(_, routes)| self.main(routes))
    }

    /// The route of a table that the kernel takes to all of a prefix: the longest that contains it, of lowest metric.
    pub fn lookup(&self, table: u32, net: &IpNet) -> Option<&Route> {
        self.routes.covering(net).find_map(|(_, routes)| {
            // A route of another type of service is for packets that ask for it.
            let of_table = routes.iter().filter(|route| route.table == table && route.tos == 0);
            of_table.min_by_key(|route| (route.metric, route.tos))
        })
    }

    /// Routes of other tables than main whose destination contains the prefix or lies inside it.
    pub fn other_routes_around(&self, net: &IpNet) -> impl Iterator<Item = &Route> + '_ {
        let net = *net;
        let inside = self.routes.within(&net).filter(move |(it, _)| **it != net);
        self.routes.covering(&net).chain(inside).flat_map(|(_, it)| it).filter(|it| it.table != TABLE_MAIN)
    }

    /// Whether a route of the main table leads through the device to the address: by it, or to it alone.
    pub fn is_used(&self, device: &Name, address: IpAddr) -> bool {
        let leads_there = |route: &Route| {
            route.kind.has_next_hops() && route.next_hops.iter().any(|hop| hop.device.as_ref() == Some(device))
        };
        self.uses.gateways.contains_key(&(device.clone(), address))
            || self.route(&host_net(address)).is_some_and(leads_there)
    }

    /// Whether a route of the main table leads through the device, the kernel's own aside.
    pub fn routes_through(&self, device: &str) -> bool {
        self.uses.devices.contains_key(device)
    }

    /// Whether the main table has a route of this protocol, of any metric, to exactly this destination.
    pub fn has_route_of(&self, destination: &IpNet, protocol: Protocol) -> bool {
        self.routes.get(destination).is_some_and(|routes| self.main(routes).any(|route| route.protocol == protocol))
    }

    /// The route with this key.
    pub(super) fn route_of(&self, key: &RouteKey) -> Option<&Route> {
        let routes = self.routes.get(&key.destination)?;
        routes.binary_search_by(|it| it.key().cmp(key)).ok().map(|at| &routes[at])
    }

    /// All routes of every table, sorted by destination.
    pub fn routes(&self) -> impl Iterator<Item = &Route> + '_ {
        self.routes.iter().flat_map(|(_, routes)| routes)
    }

    pub(super) fn begin_dump(&mut self) {
        self.seen_links = Some(HashSet::new());
        // Where nothing is known nothing can be gone, and the first dump is the largest.
        self.seen_routes = (!self.routes.is_empty()).then(HashSet::new);
    }

    /// What the dump in progress has not named: it is gone when the dump ends.
    pub(super) fn unnamed(&self) -> Unnamed {
        let links = self
            .seen_links
            .as_ref()
            .map_or_else(Vec::new, |seen| self.links.keys().copied().filter(|index| !seen.contains(index)).collect());
        let routes = self
            .seen_routes
            .as_ref()
            .map_or_else(Vec::new, |seen| self.routes().map(Route::key).filter(|key| !seen.contains(key)).collect());
        Unnamed { links, routes }
    }

    /// Forgets what the dump did not name: [`Kernel::unnamed`].
    pub(super) fn end_dump(&mut self, gone: &Unnamed) {
        self.routes.pack();
        (self.seen_links, self.seen_routes) = (None, None);
        gone.links.iter().for_each(|index| self.remove_link(*index));
        gone.routes.iter().for_each(|key| self.remove_route(key));
    }

    pub(super) fn put_link(&mut self, link: Link) {
        self.knows_links = true;
        if let Some(seen) = &mut self.seen_links {
            seen.insert(link.index);
        }
        if self.links.get(&link.index) == Some(&link) {
            return;
        }
        self.changes.devices.insert(link.name.clone());
        let old = self.links.insert(link.index, link.clone());
        self.index_addresses(link.index, old.as_ref(), Some(&link));
        if let Some(old) = old
            && old.name != link.name
            && self.by_name.get(&old.name) == Some(&link.index)
        {
            self.by_name.remove(&old.name);
            self.changes.devices.insert(old.name);
        }
        self.by_name.insert(link.name, link.index);
    }

    pub(super) fn remove_link(&mut self, index: u32) {
        let Some(link) = self.links.remove(&index) else { return };
        if self.by_name.get(&link.name) == Some(&index) {
            self.by_name.remove(&link.name);
        }
        self.index_addresses(index, Some(&link), None);
        self.changes.devices.insert(link.name);
    }

    /// A device's addresses, before and now: an event costs what that device has.
    fn index_addresses(&mut self, index: u32, old: Option<&Link>, new: Option<&Link>) {
        #[cfg(test)]
        {
            self.indexed += [old, new].into_iter().flatten().map(|link| link.addresses.len()).sum::<usize>();
        }
        for net in old.into_iter().flat_map(|link| &link.addresses) {
            if let Entry::Occupied(mut devices) = self.addresses.entry(net.addr()) {
                devices.get_mut().remove(&index);
                if devices.get().is_empty() {
                    devices.remove();
                }
            }
        }
        for net in new.into_iter().flat_map(|link| &link.addresses) {
            self.addresses.entry(net.addr()).or_default().insert(index);
        }
    }

    pub(super) fn put_route(&mut self, route: Route) {
        let key = route.key();
        if let Some(seen) = &mut self.seen_routes {
            seen.insert(key.clone());
        }
        let routes = self.routes.or_default(route.destination);
        match routes.binary_search_by(|it| it.key().cmp(&key)) {
            Ok(at) if routes[at] == route => return,
            Ok(at) => {
                self.uses.count(&route, true);
                let old = std::mem::replace(&mut routes[at], route);
                self.uses.count(&old, false);
            }
            Err(at) => {
                self.uses.count(&route, true);
                routes.reserve_exact(1);
                routes.insert(at, route);
            }
        }
        self.note_route(&key);
    }

    fn note_route(&mut self, key: &RouteKey) {
        self.changes.destinations.insert(key.destination);
        if key.table != TABLE_MAIN {
            self.changes.other_tables.insert((key.table, key.destination));
        }
    }

    pub(super) fn remove_route(&mut self, key: &RouteKey) {
        let Some(routes) = self.routes.get_mut(&key.destination) else { return };
        let Ok(at) = routes.binary_search_by(|it| it.key().cmp(key)) else { return };
        let old = routes.remove(at);
        self.uses.count(&old, false);
        if routes.is_empty() {
            self.routes.remove(&key.destination);
        }
        self.note_route(key);
    }
}

/// Devices by index and routes by key that a dump did not name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Unnamed {
    pub(super) links: Vec<u32>,
    pub(super) routes: Vec<RouteKey>,
}

/// What the main table's next hops lead to.
#[derive(Debug, Clone, Default)]
struct Uses {
    /// How many lead to each gateway through each device.
    gateways: HashMap<(Name, IpAddr), usize>,
    /// How many lead through each device, the kernel's own routes aside.
    devices: HashMap<Name, usize>,
}

impl Uses {
    /// Counts a route in or out.
    fn count(&mut self, route: &Route, add: bool) {
        if route.table != TABLE_MAIN {
            return;
        }
        for hop in &*route.next_hops {
            let Some(device) = &hop.device else { continue };
            if let Some(gateway) = hop.gateway {
                count(&mut self.gateways, (device.clone(), gateway), add);
            }
            if route.protocol != Protocol::KERNEL {
                count(&mut self.devices, device.clone(), add);
            }
        }
    }
}

fn count<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: K, add: bool) {
    match counts.entry(key) {
        Entry::Occupied(mut entry) if add => *entry.get_mut() += 1,
        Entry::Occupied(entry) if *entry.get() <= 1 => drop(entry.remove()),
        Entry::Occupied(mut entry) => *entry.get_mut() -= 1,
        Entry::Vacant(entry) if add => drop(entry.insert(1)),
        Entry::Vacant(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, addresses: &[&str]) -> Link {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        Link { index, name: format!("cali{index}").into(), addresses, ..Link::default() }
    }

    #[test]
    fn an_address_is_of_every_device_that_has_it_until_the_last_goes() {
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let mut kernel = Kernel::default();
        kernel.put_link(link(2, &["192.0.2.1/24", "2001:db8::1/64"]));
        kernel.put_link(link(1, &["192.0.2.1/32"]));
        assert_eq!(kernel.interface_of(address).map(|(link, length)| (link.index, length)), Some((1, 32)));
        kernel.put_link(link(1, &["192.0.2.9/32"]));
        assert_eq!(kernel.interface_of(address).map(|(link, length)| (link.index, length)), Some((2, 24)));
        assert!(kernel.has_address("192.0.2.9".parse().unwrap()) && kernel.has_address("2001:db8::1".parse().unwrap()));
        kernel.remove_link(1);
        kernel.put_link(link(2, &["2001:db8::1/64"]));
        assert!(!kernel.has_address(address) && !kernel.has_address("192.0.2.9".parse().unwrap()));
        kernel.remove_link(2);
        assert!(kernel.addresses.is_empty());
    }

    /// Every device goes down and comes up again.
    #[test]
    fn devices_that_flap_cost_what_they_are_and_not_what_all_are() {
        let work = |count: u32| {
            let mut kernel = Kernel::default();
            for up in [true, false, true] {
                for index in 0..count {
                    let address = format!("10.{}.{}.1/32", index / 256, index % 256);
                    kernel.put_link(Link { admin_up: up, ..link(index, &[&address]) });
                }
            }
            kernel.indexed
        };
        let (once, twice) = (work(2000), work(4000));
        assert!(once > 0 && twice * 10 <= once * 22, "{once} and {twice}");
    }
}
