//! The judgement of routes a second time, written from its text alone and without any index: for every destination
//! everything is walked again.

use std::collections::BTreeSet;
use std::net::IpAddr;

use calico_exporter::audit::Backend;
use calico_exporter::model::{
    Family, Link, Name, NextHop, Protocol, Route, RouteType, address_at, host_net, host_route,
};
use calico_exporter::state::{Object, ObjectId};
use ipnet::IpNet;

use super::setting::Setting;
use super::wanted::{Form, Gateway, Wanted};
use super::world::{Topology, World};

/// Metric, labels, subject, host.
pub(super) type Fault = (&'static str, String, String, String);

pub(super) struct Oracle<'a> {
    pub(super) world: &'a World,
    pub(super) setting: Setting,
    pub(super) bird_meant: bool,
}

impl<'a> Oracle<'a> {
    pub(super) fn new(world: &'a World) -> Oracle<'a> {
        // J24
        let inside = |route: &&Route| {
            world.pool_of(&route.destination).is_some() || world.block_around(&route.destination).is_some()
        };
        let bird = |route: &&Route| route.table == 254 && route.protocol == Protocol::BIRD;
        let bird_meant = match world.backend {
            Backend::Bird => true,
            Backend::Vxlan | Backend::None => false,
            Backend::Auto => world.routes.values().filter(bird).any(|route| inside(&route)) || says_bgp(world),
        };
        Oracle { world, setting: Setting::of(world), bird_meant }
    }

    pub(super) fn destinations(&self) -> BTreeSet<IpNet> {
        let world = self.world;
        let mut all: BTreeSet<IpNet> =
            world.routes.values().filter(|it| it.table == 254).map(|it| it.destination).collect();
        for id in world.objects.keys() {
            if let ObjectId::Block(cidr) | ObjectId::Affinity(_, cidr) = id {
                all.insert(*cidr);
            }
        }
        for block in world.blocks() {
            all.extend(block.allocated.iter().filter_map(|it| address_at(&block.cidr, it.into())).map(host_net));
        }
        all.extend(world.endpoints().flat_map(|it| it.addresses.iter().chain(&it.floating)).copied().map(host_net));
        all
    }

    fn only_mesh(&self) -> bool {
        let dark = |id: &ObjectId| matches!(id, ObjectId::Node(_));
        self.world.topology == Topology::Mesh && !self.world.objects.iter().any(|(id, it)| dark(id) && it.is_none())
    }

    /// What is wrong with a route, by J18's order.
    pub(super) fn compare(&self, route: &Route, wanted: &Wanted) -> Option<&'static str> {
        let unicast = route.kind == RouteType::Unicast;
        let hops = &*route.next_hops;
        let wraps = |hop: &NextHop| wrapping(hop.device.as_deref().unwrap_or_default());
        match &wanted.form {
            Form::Anything => None,
            Form::Blackhole => unicast.then_some("wrong_type"),
            _ if !unicast => Some("wrong_type"),
            Form::Workload(devices) => {
                let right = |name: &str| match devices.is_empty() {
                    true => self.setting.is_workload(name),
                    false => devices.iter().any(|it| &**it == name),
                };
                match hops {
                    [hop] if wraps(hop) != "none" => Some("wrong_encapsulation"),
                    [hop] if hop.gateway.is_some() || !right(hop.device.as_deref()?) => Some("wrong_next_hop"),
                    [_] => None,
                    _ => Some("multipath"),
                }
            }
            Form::Remote { wrap, device, gateway } => {
                let astray = |hop: &NextHop| {
                    let others: Vec<_> = (self.world.nodes())
                        .filter(|(_, node)| node.own_addresses().any(|it| Some(it) == hop.gateway))
                        .collect();
                    self.only_mesh()
                        && !others.is_empty()
                        && !others.iter().any(|(it, _)| Some(*it) == wanted.host.as_ref())
                };
                let wrong = |hop: &NextHop| match gateway {
                    Gateway::Exactly(right) => hop.gateway != Some(*right),
                    Gateway::Absent => hop.gateway.is_some(),
                    Gateway::Resolved => astray(hop),
                };
                if hops.iter().all(|hop| hop.down) {
                    return Some("linkdown");
                }
                if hops.len() > 1 && (*gateway != Gateway::Resolved || hops.iter().any(astray)) {
                    return Some("multipath");
                }
                if hops.iter().any(|hop| wraps(hop) != *wrap) {
                    return Some("wrong_encapsulation");
                }
                hops.iter().any(|hop| wrong(hop) || !self.is_way(hop, device, gateway)).then_some("wrong_next_hop")
            }
        }
    }

    pub(super) fn is_way(&self, hop: &NextHop, device: &str, gateway: &Gateway) -> bool {
        let Some(name) = hop.device.as_deref() else { return true };
        let mine = self.world.node(&self.world.me);
        let at = |link: &&Link| {
            let here = |family| mine.and_then(|node| node.routing_address(family));
            let on_link = |at: IpAddr| link.addresses.iter().any(|net| net.addr() == at);
            hop.gateway.map(Family::of).into_iter().chain(Family::ALL).next().and_then(here).is_some_and(on_link)
        };
        let parent = self.world.links.values().find(at).map(|link| &*link.name);
        let direct = device == "eth0";
        if name == if direct { parent.unwrap_or(device) } else { device } {
            return true;
        }
        if direct && parent.is_none() {
            return !self.setting.is_workload(name) && name != "lo";
        }
        // A next hop that BIRD resolved may leave through any device that reaches it.
        let reaches = || match (self.world.link(name), hop.gateway) {
            (_, None | Some(IpAddr::V6(_))) if hop.gateway.is_none_or(is_link_local) => true,
            (Some(link), Some(at)) => link.addresses.iter().any(|net| net.contains(&at)),
            _ => false,
        };
        *gateway == Gateway::Resolved && !self.setting.is_workload(name) && name != "lo" && reaches()
    }

    /// J14–J20
    pub(super) fn route_faults(&self) -> BTreeSet<Fault> {
        let mut faults = BTreeSet::new();
        if !self.has_node() {
            return faults;
        }
        let duplicates = self.duplicates();
        let unreachable = self.ways();
        for net in self.destinations() {
            if self.world.is_dark(&net) {
                continue;
            }
            let route = self.world.route(&net);
            let bird = route.is_some_and(|route| route.protocol == Protocol::BIRD);
            let wanted: Vec<_> = self.wanted(&net).into_iter().filter(|it| bird || !it.only_bird).collect();
            let first = wanted.iter().find(|it| it.required).or(wanted.first());
            let fault = match (route, first) {
                (None, Some(it)) if it.required => {
                    self.missing(&net, it).map(|reason| (it.class, reason, it.host.clone()))
                }
                (None, _) => None,
                (Some(route), Some(first)) if wanted.iter().all(|it| self.compare(route, it).is_some()) => {
                    let stands_for = !self.device_is_up(first) && goes_through(route, first);
                    let reason = self.compare(route, first).filter(|_| !stands_for);
                    reason.map(|reason| (first.class, reason, first.host.clone()))
                }
                (Some(_), Some(_)) => None,
                (Some(route), None) => self.unwanted(route).map(|(class, reason)| (class, reason, None)),
            };
            // What follows from a Node's address is not told beside it (J34).
            let family = Family::of_net(&net);
            // Nor what leads over a Node that no way leads to (J44).
            let follows = |host: &Name| {
                duplicates.contains(&(host.to_string(), family))
                    || unreachable.iter().any(|(node, of, _)| **node == **host && *of == family)
            };
            let fault =
                fault.filter(|(_, _, host)| !host.as_ref().is_some_and(|it| *it != self.world.me && follows(it)));
            if let Some((class, reason, host)) = fault {
                let subject = host_route(&net).map_or(net.to_string(), |it| it.to_string());
                let host = host.as_ref().unwrap_or(&self.world.me).to_string();
                faults.insert(("calico_route_faults", format!("{class}/{reason}"), subject, host));
            }
        }
        faults
    }

    pub(super) fn device_is_up(&self, wanted: &Wanted) -> bool {
        match &wanted.form {
            Form::Remote { wrap: "ipip" | "vxlan", device, .. } => {
                self.world.link(device).is_some_and(|link| link.admin_up && !link.no_carrier)
            }
            _ => true,
        }
    }

    fn missing(&self, net: &IpNet, wanted: &Wanted) -> Option<&'static str> {
        (!self.is_covered(net, wanted) && self.device_is_up(wanted)).then_some("missing")
    }

    /// An aggregate of BIRD's carries the block (J16).
    pub(super) fn is_covered(&self, net: &IpNet, wanted: &Wanted) -> bool {
        let size = self.world.pool_of(net).map_or(0, |pool| pool.block_size);
        wanted.bird
            && wanted.class == "remote_block"
            && self.world.routes.values().any(|route| {
                route.table == 254
                    && route.protocol == Protocol::BIRD
                    && route.kind == RouteType::Unicast
                    && route.destination.contains(net)
                    && route.destination != *net
                    && route.destination.prefix_len() < size
            })
    }

    pub(super) fn is_own(&self, at: IpAddr) -> bool {
        let me = self.world.node(&self.world.me);
        self.world.links.values().any(|link| link.addresses.iter().any(|net| net.addr() == at))
            || me.is_some_and(|it| it.own_addresses().chain(it.tunnels.values().copied()).any(|own| own == at))
    }

    /// J15–J17
    fn unwanted(&self, route: &Route) -> Option<(&'static str, &'static str)> {
        let world = self.world;
        let net = &route.destination;
        let devices: Vec<&str> = route.next_hops.iter().filter_map(|hop| hop.device.as_deref()).collect();
        let own = host_route(net).is_some_and(|at| self.is_own(at));
        if own || is_link_local(net.addr()) || devices.contains(&"bpfin.cali") {
            return None;
        }
        let workload = devices.iter().any(|it| self.setting.is_workload(it));
        let calicos = workload || devices.iter().any(|it| matches!(*it, "tunl0" | "vxlan.calico" | "vxlan-v6.calico"));
        let class = match route.kind {
            RouteType::Blackhole => "local_block",
            _ if workload => "local_workload",
            _ if host_route(net).is_some() => "borrowed",
            _ => "remote_block",
        };
        let pool = world.pool_of(net);
        let block = world.block_around(net);
        let known = pool.is_some() || block.is_some();
        let bird = route.protocol == Protocol::BIRD;
        let felix = route.protocol == Protocol::FELIX
            || (self.setting.protocol != Protocol::BOOT && route.protocol == self.setting.protocol);
        if bird || felix || (calicos && route.protocol == Protocol::BOOT) {
            let wide = bird
                && match pool {
                    Some(pool) => net.prefix_len() < pool.block_size,
                    None => world.pools().any(|pool| net.contains(&pool.cidr)),
                };
            let suspect = known || calicos || route.protocol == Protocol::FELIX;
            let uncertain = !known && world.pool_is_dark();
            let fault = suspect && !uncertain && !wide && !self.changes_nothing(route);
            return fault.then_some((class, "stale"));
        }
        let owned = block.is_some_and(|block| block.owner.is_some());
        (pool.is_some() && owned).then_some((class, "foreign"))
    }
}

/// A fault of the tunnel stands for what goes through it (J19).
fn goes_through(route: &Route, wanted: &Wanted) -> bool {
    let Form::Remote { device, .. } = &wanted.form else { return false };
    !route.next_hops.is_empty() && route.next_hops.iter().all(|hop| hop.device.as_deref() == Some(device))
}

fn says_bgp(world: &World) -> bool {
    matches!(world.objects.get(&ObjectId::Cluster), Some(Some(Object::Cluster(it))) if it.cluster_type.contains("bgp"))
}

pub(super) fn wrapping(device: &str) -> &'static str {
    match device {
        "tunl0" => "ipip",
        "vxlan.calico" | "vxlan-v6.calico" => "vxlan",
        _ => "none",
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(it) => it.is_link_local(),
        IpAddr::V6(it) => it.is_unicast_link_local(),
    }
}
