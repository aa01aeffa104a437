//! Events as entries: what each of them changes in the state that it is about to be folded into.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::SystemTime;

use ipnet::IpNet;

use super::History;
use super::entry::{Area, Author, Entry, Fact, Operation};
use super::facts::{self, Facts};
use super::filter::subject_of;
use crate::model::{BlockOwner, Family, Link, Name, Protocol, Route, TunnelKind, host_net, net_of};
use crate::state::event::{Event, Object, ObjectId, Side};
use crate::state::kernel::Unnamed;
use crate::state::{Datastore, Kernel, Tunnels};

/// The `what` of a route's entries.
pub(super) const ROUTE: &str = "route";
/// The `what` of a policy rule's entries.
pub(super) const RULE: &str = "rule";

/// What an event is compared with.
pub(in crate::state) struct Recorder<'a> {
    /// Where its entries go.
    pub(in crate::state) history: &'a mut History,
    /// What the datastore said before it.
    pub(in crate::state) datastore: &'a Datastore,
    /// What the kernel had before it.
    pub(in crate::state) kernel: &'a Kernel,
    /// What was beneath before it.
    pub(in crate::state) tunnels: &'a Tunnels,
    /// Who asked for it.
    pub(in crate::state) author: &'a Author,
}

/// An entry without number and time.
fn entry(area: Area, operation: Operation, what: impl Into<Cow<'static, str>>, subject: impl Into<Box<str>>) -> Entry {
    Entry {
        id: 0,
        at: SystemTime::UNIX_EPOCH,
        area,
        operation,
        what: what.into(),
        subject: subject.into(),
        place: None,
        host: None,
        facts: Box::default(),
        author: Author::Unknown,
        protocol: None,
        since: None,
        burst: None,
    }
}

fn operation_of(before: bool, after: bool) -> Operation {
    match (before, after) {
        (false, _) => Operation::Added,
        (true, true) => Operation::Changed,
        (true, false) => Operation::Deleted,
    }
}

impl History {
    /// A fault began or ended. `what`: its series with labels.
    pub fn fault(&mut self, ended: bool, what: String, subject: &str, host: Option<&Name>, since: Option<SystemTime>) {
        let operation = if ended { Operation::Ended } else { Operation::Began };
        self.append(Entry {
            place: net_of(subject),
            host: host.cloned(),
            since,
            ..entry(Area::Fault, operation, what, subject)
        });
    }

    /// A source was lost, recovered or listed; `why` in words, where there is something to say.
    pub fn source(&mut self, operation: Operation, name: &str, why: Option<String>) {
        let fact = |why: String| Fact { name: Cow::Borrowed(""), before: None, after: Some(why.into()) };
        self.append(Entry {
            facts: why.into_iter().map(fact).collect(),
            ..entry(Area::Source, operation, "source", name)
        });
    }
}

impl Recorder<'_> {
    /// Records what the event changes, if it changes anything of Calico's.
    pub(in crate::state) fn event(&mut self, event: &Event) {
        let kernel = self.kernel;
        match event {
            Event::Put(object) => self.put(object),
            Event::Unreadable { id, why, .. } => {
                if self.datastore.unreadable().get(id).is_none_or(|known| known.why != *why) {
                    self.unreadable(id);
                }
            }
            Event::Delete(id) => self.deleted(id),
            Event::Link(link) => self.link(kernel.link_at(link.index), Some(link)),
            Event::LinkGone(index) => self.link(kernel.link_at(*index), None),
            Event::Route(route) => self.route(kernel.route_of(&route.key()), Some(route)),
            Event::RouteGone(key) => self.route(kernel.route_of(key), None),
            Event::Neighbour(new) => {
                let old = self.tunnels.neighbour(new.device, new.address);
                // A neighbour's state changes by itself all the time; who it is does not.
                if old.map(|it| it.mac) != Some(new.mac) {
                    let before = old.map(|it| text_of_mac(it.mac));
                    self.beneath("neighbour", new.device, new.address, before, Some(text_of_mac(new.mac)));
                }
            }
            Event::NeighbourGone(device, address) => {
                if let Some(old) = self.tunnels.neighbour(*device, *address) {
                    let before = Some(text_of_mac(old.mac));
                    self.beneath("neighbour", *device, *address, before, None);
                }
            }
            Event::Fdb(new) => {
                let old = self.tunnels.fdb_entry(new.device, new.mac);
                let dst = |it: Option<IpAddr>| it.map_or_else(|| "no destination".to_owned(), |it| format!("dst {it}"));
                if old.map(|it| it.destination) != Some(new.destination) {
                    let before = old.map(|it| dst(it.destination));
                    self.beneath("fdb entry", new.device, new.mac, before, Some(dst(new.destination)));
                }
            }
            Event::FdbGone(device, mac) => {
                if let Some(old) = self.tunnels.fdb_entry(*device, *mac) {
                    let before = old.destination.map(|it| format!("dst {it}"));
                    self.beneath("fdb entry", *device, *mac, before, None);
                }
            }
            Event::Rules(family, rules) => {
                let old: Vec<String> =
                    self.tunnels.rules(*family).unwrap_or_default().iter().map(ToString::to_string).collect();
                let new: Vec<String> = rules.iter().map(ToString::to_string).collect();
                for (list, other, operation) in [(&old, &new, Operation::Deleted), (&new, &old, Operation::Added)] {
                    for rule in list.iter().filter(|rule| !other.contains(rule)) {
                        let (before, after) = match operation {
                            Operation::Deleted => (Some(rule.as_str().into()), None),
                            _ => (None, Some(rule.as_str().into())),
                        };
                        let subject = match family {
                            Family::V4 => "IPv4",
                            Family::V6 => "IPv6",
                        };
                        let facts = Box::from([Fact { name: Cow::Borrowed(""), before, after }]);
                        self.append(Entry { facts, ..entry(Area::Kernel, operation, RULE, subject) });
                    }
                }
            }
            Event::Resync(_)
            | Event::Synced(_)
            | Event::Lost(..)
            | Event::Denied(..)
            | Event::Same(_)
            | Event::Origin(_)
            | Event::Listed(_) => {}
        }
    }

    fn append(&mut self, entry: Entry) {
        let author = match &entry.author {
            Author::Unknown => self.author.clone(),
            known => known.clone(),
        };
        self.history.append(Entry { author, ..entry });
    }

    fn put(&mut self, object: &Object) {
        // A list repeats everything: what is the same costs a comparison.
        if self.datastore.holds(object) {
            return;
        }
        let id = object.id();
        if let Object::Block(block) = object {
            if self.datastore.is_answer(&block.cidr) {
                return;
            }
            if let Some(known) = self.datastore.block(&block.cidr) {
                return self.changed(&id, Operation::Changed, facts::block_difference(known, block));
            }
        }
        let before = self.facts_of(&id);
        let after = match object {
            Object::Block(block) => facts::block(block),
            Object::Affinity(affinity) => vec![(Cow::Borrowed(""), affinity.state.as_str().to_owned())],
            // An endpoint that was looked up is an answer, and handles come and go with every pod.
            Object::Endpoint(endpoint) if self.datastore.knows_endpoints() => facts::endpoint(endpoint),
            Object::Endpoint(_) | Object::Handle(_) => return,
            Object::IpamConfig(config) => facts::ipam_config(config),
            Object::Pool(pool) => facts::pool(pool),
            Object::Reservation(reservation) => facts::reservation(reservation),
            Object::Node(_, node) => facts::node(node),
            Object::Felix(_, config) => facts::felix(config),
            Object::BgpConfiguration(_, config) => facts::bgp(config),
            Object::BgpPeer(_, peer) => facts::peer(peer),
            Object::Cluster(cluster) => facts::cluster(cluster),
        };
        let differing = facts::difference(&before.clone().unwrap_or_default(), &after);
        if before.is_some() && differing.is_empty() {
            return;
        }
        self.changed(&id, operation_of(before.is_some(), true), differing);
    }

    /// An object that is about to be deleted.
    pub(in crate::state) fn deleted(&mut self, id: &ObjectId) {
        if matches!(id, ObjectId::Block(cidr) if self.datastore.is_answer(cidr)) {
            return;
        }
        if let Some(before) = self.facts_of(id) {
            self.changed(id, Operation::Deleted, facts::difference(&before, &Facts::new()));
        }
    }

    fn unreadable(&mut self, id: &ObjectId) {
        let fact =
            Fact { name: Cow::Borrowed(""), before: None, after: Some("its value cannot be decoded any more".into()) };
        if !matches!(id, ObjectId::Handle(_) | ObjectId::Endpoint(_)) {
            self.changed(id, Operation::Changed, Box::from([fact]));
        }
    }

    /// What the datastore says of an object now; `None` where there is no such object, or none that is recorded.
    fn facts_of(&self, id: &ObjectId) -> Option<Facts> {
        let datastore = self.datastore;
        Some(match id {
            ObjectId::Block(cidr) => facts::block(datastore.block(cidr)?),
            ObjectId::Affinity(owner, cidr) => {
                let (_, entry) = datastore.affinities_of(cidr).find(|(it, _)| *it == owner)?;
                vec![(Cow::Borrowed(""), entry.state.as_str().to_owned())]
            }
            ObjectId::IpamConfig => facts::ipam_config(datastore.stored_ipam_config()?),
            ObjectId::Pool(name) => facts::pool(datastore.pools().get(name)?),
            ObjectId::Reservation(name) => facts::reservation(datastore.reservations().get(name)?),
            ObjectId::Node(name) => facts::node(datastore.node(name)?),
            ObjectId::Endpoint(id) if datastore.knows_endpoints() => facts::endpoint(datastore.endpoints().get(id)?),
            ObjectId::Felix(name) => facts::felix(datastore.felix().get(name)?),
            ObjectId::BgpConfiguration(name) => facts::bgp(datastore.bgp().get(name)?),
            ObjectId::BgpPeer(name) => facts::peer(datastore.peers().get(name)?),
            ObjectId::Cluster => facts::cluster(datastore.cluster()?),
            ObjectId::Endpoint(_) | ObjectId::Handle(_) | ObjectId::Malformed(..) => return None,
        })
    }

    fn changed(&mut self, id: &ObjectId, operation: Operation, facts: Box<[Fact]>) {
        let (subject, place, host): (Box<str>, Option<IpNet>, Option<Name>) = match id {
            ObjectId::Block(cidr) => {
                let owner = self.datastore.block(cidr).and_then(|block| block.host().cloned());
                (cidr.to_string().into(), Some(*cidr), owner)
            }
            ObjectId::Affinity(owner, cidr) => (cidr.to_string().into(), Some(*cidr), owner.host().cloned()),
            ObjectId::Pool(name) => (name.as_ref().into(), self.datastore.pools().get(name).map(|it| it.cidr), None),
            ObjectId::Node(name) => (name.as_ref().into(), None, Some(name.clone())),
            ObjectId::Endpoint(id) => {
                let known = self.datastore.endpoints().get(id);
                let place = known.and_then(|it| it.addresses.first()).map(|address| host_net(*address));
                (facts::endpoint_name(id).into(), place, known.map(|it| it.node.clone()))
            }
            ObjectId::Reservation(name)
            | ObjectId::Felix(name)
            | ObjectId::BgpConfiguration(name)
            | ObjectId::BgpPeer(name)
            | ObjectId::Handle(name)
            | ObjectId::Malformed(_, name) => (name.as_ref().into(), None, None),
            ObjectId::IpamConfig | ObjectId::Cluster => ("default".into(), None, None),
        };
        let what: Cow<'static, str> = match id {
            ObjectId::Affinity(BlockOwner::Host(host), _) => format!("affinity by {host} of").into(),
            ObjectId::Affinity(..) => "virtual affinity of".into(),
            id => id.kind().as_str().into(),
        };
        self.history.count(id.kind());
        self.append(Entry { place, host, facts, ..entry(Area::Datastore, operation, what, subject) });
    }

    /// Devices and routes that a dump did not name.
    pub(in crate::state) fn kernel_gone(&mut self, gone: &Unnamed) {
        let kernel = self.kernel;
        gone.routes.iter().for_each(|key| self.route(kernel.route_of(key), None));
        gone.links.iter().for_each(|index| self.link(kernel.link_at(*index), None));
    }

    /// A route before and after; either may be absent.
    fn route(&mut self, before: Option<&Route>, after: Option<&Route>) {
        let Some(route) = after.or(before) else { return };
        if before == after || ![before, after].into_iter().flatten().any(|it| self.concerns_calico(it)) {
            return;
        }
        let text = |route: Option<&Route>| route.map(|it| it.to_string().into());
        let facts = Box::from([Fact { name: Cow::Borrowed(""), before: text(before), after: text(after) }]);
        let operation = operation_of(before.is_some(), after.is_some());
        let owner = self.datastore.block_around(&route.destination).and_then(|block| block.host().cloned());
        self.append(Entry {
            place: Some(route.destination),
            host: owner,
            facts,
            protocol: Some(route.protocol),
            ..entry(Area::Kernel, operation, ROUTE, subject_of(&route.destination))
        });
    }

    /// Whether a route is Calico's, or may take a packet of Calico's: by who wrote it, where it leads, or its
    /// destination. A router's million of other routes is not recorded.
    fn concerns_calico(&self, route: &Route) -> bool {
        let net = &route.destination;
        let of_calico = matches!(route.protocol, Protocol::BIRD | Protocol::FELIX);
        let on_calico = || route.next_hops.iter().filter_map(|hop| hop.device.as_deref()).any(is_calico_device);
        let to_node =
            || net.prefix_len() == net.max_prefix_len() && self.datastore.nodes_at(net.addr()).next().is_some();
        of_calico
            || net.prefix_len() == 0
            || on_calico()
            || self.datastore.pools().values().any(|pool| pool.cidr.contains(net) || net.contains(&pool.cidr))
            || self.datastore.is_in_block(net)
            || to_node()
    }

    /// A device before and after.
    fn link(&mut self, before: Option<&Link>, after: Option<&Link>) {
        let Some(link) = after.or(before) else { return };
        let of = |link: Option<&Link>| link.map(facts::link).unwrap_or_default();
        let differing = facts::difference(&of(before), &of(after));
        if differing.is_empty() {
            return;
        }
        let operation = operation_of(before.is_some(), after.is_some());
        let subject = link.name.as_ref();
        self.append(Entry { facts: differing, ..entry(Area::Kernel, operation, "link", subject) });
    }

    fn beneath(
        &mut self,
        what: &'static str,
        device: u32,
        subject: impl ToString,
        before: Option<String>,
        after: Option<String>,
    ) {
        let device = self.kernel.link_at(device).map_or_else(|| format!("if{device}"), |link| link.name.to_string());
        let subject = subject.to_string();
        let operation = operation_of(before.is_some(), after.is_some());
        let on = |text: String| format!("{text} dev {device}").into();
        let facts = Box::from([Fact { name: Cow::Borrowed("leads to"), before: before.map(on), after: after.map(on) }]);
        let place = net_of(&subject);
        self.append(Entry { place, facts, ..entry(Area::Kernel, operation, what, subject) });
    }
}

fn is_calico_device(name: &str) -> bool {
    name.starts_with("cali") || TunnelKind::of_device(name).is_some()
}

fn text_of_mac(mac: Option<crate::model::Mac>) -> String {
    mac.map_or_else(|| "no MAC".to_owned(), |mac| mac.to_string())
}

/// Which side an event belongs to; `None` where it is about no object.
pub(in crate::state) fn side_of(event: &Event) -> Option<Side> {
    match event {
        Event::Put(_) | Event::Unreadable { .. } | Event::Delete(_) => Some(Side::Datastore),
        Event::Link(_) | Event::LinkGone(_) | Event::Route(_) | Event::RouteGone(_) => Some(Side::Kernel),
        Event::Neighbour(_) | Event::NeighbourGone(..) | Event::Fdb(_) | Event::FdbGone(..) | Event::Rules(..) => {
            Some(Side::Tunnels)
        }
        Event::Resync(_)
        | Event::Synced(_)
        | Event::Lost(..)
        | Event::Denied(..)
        | Event::Same(_)
        | Event::Origin(_)
        | Event::Listed(_) => None,
    }
}
