//! The way from this host to the other Nodes' own addresses (J44): every route to their pods stands on it. A Node that
//! no way leads to, or whose address is routed into the tunnel that has to reach it, is one finding a family, and stands
//! for all routes over that Node.
//!
//! Asked is what the kernel does with an unmarked packet of this host's own. A default route is a way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::fault::{Fault, NodeReason};
use super::finding::Finding;
use super::forward::{self, Outcome, Packet};
use super::grace::Standing;
use super::now::Now;
use super::setting::Setting;
use super::wireguard::Wireguard;
use crate::model::{Family, Name, Route, RouteType, TABLE_MAIN, TunnelKind, host_net};
use crate::state::{Changes, Datastore, Kernel, State};

/// A Node's address of one family.
pub(super) type Target = (Name, Family);

/// Why packets to a Node's address do not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No route leads there, or one that drops.
    NoWay,
    /// The way leads into a tunnel of Calico's or to a pod's device.
    ThroughTunnel,
}

impl Trouble {
    fn reason(self) -> NodeReason {
        match self {
            Trouble::NoWay => NodeReason::NoWay,
            Trouble::ThroughTunnel => NodeReason::WayThroughTunnel,
        }
    }
}

/// What the kernel does with a packet for a Node's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) address: IpAddr,
    /// What is wrong with it; `None` where it may arrive.
    pub(super) trouble: Option<Trouble>,
    /// The route or rule that decides, as iproute2 prints it.
    pub(super) taken: String,
}

/// What ways are judged by.
pub(super) struct Asked<'a> {
    pub(super) state: &'a State,
    pub(super) setting: &'a Setting,
    pub(super) wireguard: &'a Wireguard,
    pub(super) me: &'a Name,
    /// The kernel is followed: what it does not have it does not have. A file may hold a part of its routes.
    pub(super) live: bool,
}

impl Asked<'_> {
    /// The way to the Node's address of the family; `None` where it has none, and where it is nobody's to judge: a
    /// family in which this host has no address, or of which no main table was read.
    pub(super) fn way(&self, name: &Name, family: Family) -> Option<Way> {
        let address = self.state.datastore.node(name)?.routing_address(family)?;
        (name != self.me && self.sends(family)).then(|| self.way_to(name, address)).flatten()
    }

    /// Whether this host has an address to send from. Where no interface carries it, that fault stands for what follows.
    fn sends(&self, family: Family) -> bool {
        let kernel = &self.state.kernel;
        let own = self.state.datastore.node(self.me).and_then(|node| node.routing_address(family));
        own.is_some_and(|own| !kernel.knows_links() || kernel.has_address(own))
    }

    fn way_to(&self, name: &Name, address: IpAddr) -> Option<Way> {
        let family = Family::of(address);
        let kernel = &self.state.kernel;
        let rules = self.state.tunnels.rules(family);
        let to = host_net(address);
        let decision = forward::decide(kernel, rules, &Packet::of_host(to));
        let (trouble, taken) = match decision.outcome {
            Outcome::Here => (None, "an address of this host".to_owned()),
            Outcome::Nowhere => (Some(Trouble::NoWay), "no route".to_owned()),
            Outcome::Refused => {
                (Some(Trouble::NoWay), decision.rule.map_or("a rule".to_owned(), |rule| format!("rule {rule}")))
            }
            Outcome::By(route) => (self.trouble_of(name, family, route), route_words(route)),
        };
        let guessed = trouble.is_some()
            && (!self.live && !has_main(kernel, family) || rules.is_none() && has_way_elsewhere(kernel, address));
        (!guessed).then_some(Way { address, trouble, taken })
    }

    fn trouble_of(&self, name: &Name, family: Family, route: &Route) -> Option<Trouble> {
        match route.kind {
            RouteType::Blackhole | RouteType::Unreachable | RouteType::Prohibit => Some(Trouble::NoWay),
            RouteType::Unicast => {
                let loops = |device: &str| match TunnelKind::of_device(device) {
                    Some(TunnelKind::WireguardV4 | TunnelKind::WireguardV6) => {
                        !self.wireguard.encrypts_node(name, family)
                    }
                    Some(TunnelKind::Ipip | TunnelKind::VxlanV4 | TunnelKind::VxlanV6) => true,
                    None => self.setting.is_workload_device(device),
                };
                let mut devices = route.next_hops.iter().filter_map(|hop| hop.device.as_deref());
                devices.any(loops).then_some(Trouble::ThroughTunnel)
            }
            RouteType::Throw | RouteType::Local | RouteType::Other(_) => None,
        }
    }
}

/// Whether the main table has a route of the family: a dump may hold one family or other tables alone.
fn has_main(kernel: &Kernel, family: Family) -> bool {
    kernel.main_routes().any(|route| Family::of_net(&route.destination) == family)
}

/// Whether a table that rules may lead to has a way. Without the rules nobody can say.
fn has_way_elsewhere(kernel: &Kernel, address: IpAddr) -> bool {
    let own = 253..=255;
    kernel.routes().any(|route| {
        !own.contains(&route.table) && route.kind == RouteType::Unicast && route.destination.contains(&address)
    })
}

fn route_words(route: &Route) -> String {
    match route.table {
        TABLE_MAIN => route.to_string(),
        table => format!("{route} in table {table}"),
    }
}

/// The ways from this host, kept judged: an event costs the Nodes whose addresses it touches.
#[derive(Debug, Clone, Default)]
pub(super) struct Underlay {
    nodes: BTreeMap<IpAddr, Vec<Name>>,
    faults: BTreeMap<Target, Finding>,
    /// Nodes that routes lead to; known while there is a fault.
    in_use: BTreeSet<Name>,
    standing: Standing<Target>,
}

impl Underlay {
    /// Looks again at what changed. `everything`: a Node, a setting, a device or a rule did. `questioned`: Nodes of whose
    /// address another finding says what is wrong with it (J34).
    pub(super) fn refresh(
        &mut self,
        asked: &Asked<'_>,
        changes: &Changes,
        everything: bool,
        questioned: impl Fn(&Name, Family) -> bool,
        now: Now,
    ) {
        let datastore = &asked.state.datastore;
        let before = self.faults.len();
        let dirty: BTreeSet<Target> = if everything {
            self.nodes = by_address(datastore, asked.me);
            self.faults.clear();
            self.nodes.iter().flat_map(|(address, names)| targets(*address, names)).collect()
        } else {
            let touched = changes.destinations.iter().flat_map(|net| {
                self.nodes.range(net.network()..=net.broadcast()).flat_map(|(address, names)| targets(*address, names))
            });
            touched.collect()
        };
        for target in dirty {
            let (name, family) = &target;
            let way = asked.way(name, *family).filter(|_| !questioned(name, *family));
            let trouble = way.as_ref().and_then(|way| way.trouble);
            match (way, trouble) {
                (Some(way), Some(trouble)) => {
                    let finding = finding(name, &way, trouble);
                    drop(self.faults.insert(target, finding));
                }
                _ => drop(self.faults.remove(&target)),
            }
        }
        if !self.faults.is_empty() && (everything || self.faults.len() > before || !changes.cidrs.is_empty()) {
            self.in_use = in_use(datastore);
        }
        self.standing.retain(|target| self.faults.contains_key(target) && self.in_use.contains(&target.0));
        for target in self.faults.keys().filter(|(name, _)| self.in_use.contains(name)) {
            self.standing.stands(target.clone(), now);
        }
    }

    /// Forgets everything: nothing of this host is judged.
    pub(super) fn clear(&mut self) {
        *self = Underlay::default();
    }

    /// Whether its fault stands for the routes over a Node.
    pub(super) fn stands_for(&self, host: &Name, family: Family) -> bool {
        !self.faults.is_empty() && self.standing.since(&(host.clone(), family)).is_some()
    }

    /// What stands against the way to a Node's address, however young.
    pub(super) fn fault(&self, name: &Name, family: Family) -> Option<&Finding> {
        let target = (name.clone(), family);
        self.faults.get(&target).filter(|_| self.standing.since(&target).is_some())
    }

    /// What stands, however young, with the moment since when.
    pub(super) fn faults(&self) -> impl Iterator<Item = (&Finding, Now)> + '_ {
        self.standing.iter().filter_map(|(target, since)| Some((self.faults.get(target)?, *since)))
    }

    /// What has stood for as long as `grace`.
    pub(super) fn due(&self, grace: Duration, now: Now) -> impl Iterator<Item = (&Finding, Now)> + '_ {
        self.faults().filter(move |(_, since)| now.monotonic >= since.monotonic.saturating_add(grace))
    }
}

fn targets(address: IpAddr, names: &[Name]) -> impl Iterator<Item = Target> + '_ {
    names.iter().map(move |name| (name.clone(), Family::of(address)))
}

fn by_address(datastore: &Datastore, me: &Name) -> BTreeMap<IpAddr, Vec<Name>> {
    let mut nodes: BTreeMap<IpAddr, Vec<Name>> = BTreeMap::new();
    for (name, node) in datastore.nodes().iter().filter(|(name, _)| *name != me) {
        for address in Family::ALL.into_iter().filter_map(|family| node.routing_address(family)) {
            nodes.entry(address).or_default().push(name.clone());
        }
    }
    nodes
}

/// Nodes that something of Calico's is routed to: the owners of blocks and keys, and those with a tunnel address.
fn in_use(datastore: &Datastore) -> BTreeSet<Name> {
    let blocks = datastore.blocks().filter_map(|block| block.host());
    let keys = datastore.affinities().filter_map(|(_, owner, _)| owner.host());
    let tunnels = datastore.nodes().iter().filter(|(_, node)| !node.tunnels.is_empty()).map(|(name, _)| name);
    blocks.chain(keys).chain(tunnels).cloned().collect()
}

fn finding(name: &Name, way: &Way, trouble: Trouble) -> Finding {
    let Way { address, taken, .. } = way;
    let fault = Finding::new(Fault::Node(trouble.reason()), name).host(Some(name.clone()));
    match trouble {
        Trouble::NoWay => fault
            .detail(format!(
                "nothing that this host sends to {address}, the address of Node {name}, leaves it: whatever is routed \
                 over that Node is lost"
            ))
            .expected(format!("a route to {address}; the default route will do"), taken.clone())
            .action(format!(
                "see `ip route get {address}` and `ip rule` on this host; bring back the route of its network or the \
                 default route"
            )),
        Trouble::ThroughTunnel => fault
            .detail(format!(
                "the way to {address}, the address of Node {name}, leads into a device that needs that very way: what \
                 is routed over that Node loops on this host and is lost"
            ))
            .expected(format!("a route to {address} outside Calico's tunnels and pods' devices"), taken.clone())
            .action(format!(
                "see `ip route get {address}` on this host, then find which program installed that route; keep pools \
                 and blocks off the network of the Nodes"
            )),
    }
}
