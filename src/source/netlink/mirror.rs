//! Links and routes as far as the kernel told it: what an event changes in it, and when an event is not to be trusted.
//!
//! Events alone do not suffice. The kernel drops IPv4 routes without a word when a device goes down or away or an
//! address is removed (`fib_frontend.c`, `fib_disable_ip`), flags next hops as linkdown without one, and tells of one
//! next hop where an IPv6 multipath route loses it (`route.c`, `ip6_route_del`). All of this is a [`Doubt`]: the
//! events so far stand, and a fresh dump is due.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use rtnetlink::MulticastGroup;

use super::NetlinkError;
use super::decode::{AddressMessage, Change, Hop, LinkMessage, RouteMessage};
use super::monitor::{Doubt, Picture};
use crate::model::{Family, Link, Name, NextHop, Route, RouteKey, Shared};
use crate::state::{Event, Side};

mod dump;
#[cfg(test)]
mod tests;

/// Links with their addresses, and routes.
#[derive(Debug, Default, Clone)]
pub(super) struct Mirror {
    links: BTreeMap<u32, KnownLink>,
    /// By key without device. The kernel may hold several routes there: IPv6 one for each device (`fe80::/64`), and
    /// both families what `ip route append` adds. The first with a key is the one that it uses, and stands for it.
    slots: BTreeMap<Slot, Vec<Route>>,
    /// Ways out, each once: many routes lead the same way.
    ways: Shared<[NextHop]>,
    /// Devices that routes lead to and no link has told of.
    unknown: BTreeSet<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct KnownLink {
    link: Link,
    /// What tells addresses apart: two may differ in the peer alone.
    addresses: BTreeSet<(IpNet, IpAddr)>,
}

impl KnownLink {
    /// Puts the addresses into the link; true where it is another one then.
    fn refresh(&mut self) -> bool {
        let mut addresses: Vec<_> = self.addresses.iter().map(|(local, _)| *local).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let changed = self.link.addresses != addresses;
        self.link.addresses = addresses;
        changed
    }
}

impl Picture for Mirror {
    type Change = Change;
    const SIDE: Side = Side::Kernel;
    const NAME: &'static str = "links and routes";
    const GROUPS: &'static [MulticastGroup] = &[
        MulticastGroup::Link,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv6Ifaddr,
        MulticastGroup::Ipv6Route,
    ];

    fn dump(limit: Duration) -> impl Future<Output = Result<Mirror, NetlinkError>> + Send {
        dump::dump(limit)
    }

    fn apply(&mut self, change: Change, replaces: bool, events: &mut Vec<Event>) -> Result<(), Doubt> {
        match change {
            Change::Link(message) => self.link(message, events),
            Change::LinkGone(index) => {
                if self.links.remove(&index).is_some() {
                    events.push(Event::LinkGone(index));
                }
                Err(Doubt("a device is gone"))
            }
            Change::Address(message) => {
                let Some(known) = self.links.get_mut(&message.index) else {
                    return Err(Doubt("an address of an unknown device"));
                };
                known.addresses.insert(identity(&message));
                if known.refresh() {
                    events.push(Event::Link(known.link.clone()));
                }
                Ok(())
            }
            Change::AddressGone(message) => {
                if let Some(known) = self.links.get_mut(&message.index) {
                    known.addresses.remove(&identity(&message));
                    if known.refresh() {
                        events.push(Event::Link(known.link.clone()));
                    }
                }
                Err(Doubt("an address is gone"))
            }
            Change::Route(message) => self.route(message, replaces, events),
            Change::RouteGone(message) => self.route_gone(message, events),
        }
    }

    /// A dump of IPv6 routes that meets a change goes on by counting (`ip6_fib.c`, `fib6_dump_table`): after a deletion
    /// it leaves out a route that nobody touched.
    fn tears(change: &Change) -> Option<Doubt> {
        let torn = matches!(change, Change::RouteGone(route) if Family::of_net(&route.destination) == Family::V6);
        torn.then_some(Doubt("an IPv6 route went while they were listed"))
    }

    fn len(&self) -> (usize, usize) {
        (self.links.len(), self.routes().count())
    }

    /// Links before routes.
    fn events(&self) -> impl Iterator<Item = Event> + Send {
        let links = self.links.values().map(|known| Event::Link(known.link.clone()));
        links.chain(self.routes().map(|route| Event::Route(route.clone())))
    }

    fn difference(&self, fresh: &Mirror) -> Vec<Event> {
        let mut events = Vec::new();
        let gone = self.links.keys().filter(|index| !fresh.links.contains_key(index));
        events.extend(gone.map(|index| Event::LinkGone(*index)));
        for (index, known) in &fresh.links {
            if self.links.get(index).map(|old| &old.link) != Some(&known.link) {
                events.push(Event::Link(known.link.clone()));
            }
        }
        for route in self.routes() {
            let key = route.key();
            if fresh.get(&key).is_none() {
                events.push(Event::RouteGone(key));
            }
        }
        for route in fresh.routes() {
            if self.get(&route.key()) != Some(route) {
                events.push(Event::Route(route.clone()));
            }
        }
        events
    }
}

impl Mirror {
    /// Takes in an entry of a dump.
    fn learn(&mut self, change: Change) -> Result<(), Doubt> {
        match change {
            Change::Route(message) => {
                let route = self.named(message);
                keep(self.slots.entry(slot(&route)).or_default(), route);
                Ok(())
            }
            other => self.apply(other, false, &mut Vec::new()),
        }
    }

    /// Forgets the routes of a family.
    fn forget_routes(&mut self, family: Family) {
        self.slots.retain(|(destination, ..), _| Family::of_net(destination) != family);
    }

    fn link(&mut self, message: LinkMessage, events: &mut Vec<Event>) -> Result<(), Doubt> {
        let index = message.index;
        let Some(known) = self.links.get_mut(&index) else {
            let (Some(name), Some(mtu)) = (message.name, message.mtu) else {
                return Err(Doubt("a message about an unknown device"));
            };
            let link = Link {
                index,
                name,
                kind: message.kind,
                admin_up: message.admin_up,
                no_carrier: message.no_carrier,
                mtu,
                mac: message.mac,
                vxlan: message.vxlan,
                addresses: Vec::new(),
            };
            events.push(Event::Link(link.clone()));
            self.links.insert(index, KnownLink { link, addresses: BTreeSet::new() });
            return match self.unknown.contains(&index) {
                true => Err(Doubt("a device is known now that routes lead to")),
                false => Ok(()),
            };
        };
        let before = known.link.clone();
        let link = &mut known.link;
        (link.admin_up, link.no_carrier) = (message.admin_up, message.no_carrier);
        link.name = message.name.unwrap_or_else(|| before.name.clone());
        link.mtu = message.mtu.unwrap_or(before.mtu);
        link.kind = message.kind.or_else(|| before.kind.clone());
        link.mac = message.mac.or(before.mac);
        link.vxlan = message.vxlan.or_else(|| before.vxlan.clone());
        if *link != before {
            events.push(Event::Link(link.clone()));
        }
        if link.name != before.name {
            Err(Doubt("a device has another name"))
        } else if (link.admin_up, link.no_carrier) != (before.admin_up, before.no_carrier) {
            Err(Doubt("a device went up or down"))
        } else {
            // A carrier that was lost and is back before the kernel told of it: routes that came meanwhile were
            // flagged as linkdown, and are not any more (`net/core/link_watch.c`, `fib_semantics.c`, `fib_sync_up`).
            Err(Doubt("a device was told of again"))
        }
    }

    fn route(&mut self, message: RouteMessage, replaces: bool, events: &mut Vec<Event>) -> Result<(), Doubt> {
        let unknown = self.unknown.len();
        let route = self.named(message);
        let doubt = match self.unknown.len() == unknown {
            true => Ok(()),
            false => Err(Doubt("a route to an unknown device")),
        };
        let key = route.key();
        let routes = self.slots.entry(slot(&route)).or_default();
        let alike: Vec<_> = (0..routes.len()).filter(|place| routes[*place].key() == key).collect();
        match (alike.as_slice(), routes.as_mut_slice()) {
            // What differs in no more than the state of its links is the same route, whatever the header says.
            ([place], known) if same(&known[*place], &route) => {
                if known[*place] != route {
                    known[*place] = route.clone();
                    events.push(Event::Route(route));
                }
            }
            (_, [only]) if replaces => {
                let old = only.key();
                *only = route.clone();
                if old != key {
                    events.push(Event::RouteGone(old));
                }
                events.push(Event::Route(route));
            }
            // The first, or an IPv6 destination's on a further device. An IPv6 multipath route says that it replaces
            // even where nothing was there.
            (_, []) => {
                keep(routes, route.clone());
                events.push(Event::Route(route));
            }
            ([], _) if !replaces => {
                keep(routes, route.clone());
                events.push(Event::Route(route));
            }
            // A further next hop, or a route that the first one hides: the kernel's order decides.
            _ => return Err(Doubt("a route beside one with the same key")),
        }
        doubt
    }

    fn route_gone(&mut self, message: RouteMessage, events: &mut Vec<Event>) -> Result<(), Doubt> {
        let route = self.named(message);
        let (slot, key) = (slot(&route), route.key());
        let Some(routes) = self.slots.get_mut(&slot) else { return Err(Doubt("an unknown route is gone")) };
        let same_key = routes.iter().filter(|other| other.key() == key).count();
        match routes.iter().position(|known| same(known, &route)) {
            Some(place) if same_key == 1 => {
                routes.remove(place);
                if routes.is_empty() {
                    self.slots.remove(&slot);
                }
                events.push(Event::RouteGone(key));
                Ok(())
            }
            Some(_) => Err(Doubt("one of several routes with the same key is gone")),
            None => Err(Doubt("a route is gone that was known otherwise")),
        }
    }

    /// Whether routes lead to devices that no link has told of.
    fn has_unknown_devices(&self) -> bool {
        self.unknown.iter().any(|index| !self.links.contains_key(index))
    }

    fn get(&self, key: &RouteKey) -> Option<&Route> {
        self.slots.get(&(key.destination, key.table, key.metric, key.tos))?.iter().find(|route| route.key() == *key)
    }

    /// The routes that stand for their keys.
    fn routes(&self) -> impl Iterator<Item = &Route> + '_ {
        self.slots.values().flat_map(|routes| {
            routes.iter().enumerate().filter_map(|(place, route)| match place {
                0 => Some(route),
                _ => routes[..place].iter().all(|other| other.key() != route.key()).then_some(route),
            })
        })
    }

    /// The route with its devices' names; one that is not known is called `if<index>`, as iproute2 does.
    fn named(&mut self, message: RouteMessage) -> Route {
        let named = |hop: Hop| {
            let device = hop.device.map(|index| self.device(index));
            NextHop { gateway: hop.gateway, device, down: hop.down, onlink: hop.onlink }
        };
        let ways: Vec<NextHop> = message.hops.into_iter().map(named).collect();
        let next_hops = self.ways.share(ways);
        Route {
            table: message.table,
            destination: message.destination,
            metric: message.metric,
            tos: message.tos,
            kind: message.kind,
            protocol: message.protocol,
            link_scope: message.link_scope,
            next_hops,
        }
    }

    fn device(&mut self, index: u32) -> Name {
        match self.links.get(&index) {
            Some(known) => known.link.name.clone(),
            None => {
                self.unknown.insert(index);
                format!("if{index}").into()
            }
        }
    }
}

fn identity(message: &AddressMessage) -> (IpNet, IpAddr) {
    (message.local, message.peer)
}

/// A key without device, whose destination comes first.
type Slot = (IpNet, u32, u32, u8);

fn slot(route: &Route) -> Slot {
    (route.destination, route.table, route.metric, route.tos)
}

/// Adds a route to those of its key. Nearly always it is the only one, and there are many keys: no room is left over.
fn keep(routes: &mut Vec<Route>, route: Route) {
    routes.reserve_exact(1);
    routes.push(route);
}

/// Whether two routes are the same apart from the state of their links. IPv6 turns its next hops round.
fn same(one: &Route, other: &Route) -> bool {
    let ways = |route: &Route| {
        let mut ways: Vec<_> = route.next_hops.iter().map(|hop| (hop.gateway, hop.device.clone())).collect();
        if Family::of_net(&route.destination) == Family::V6 {
            ways.sort();
        }
        ways
    };
    one.kind == other.kind
        && one.protocol == other.protocol
        && one.link_scope == other.link_scope
        && ways(one) == ways(other)
}
