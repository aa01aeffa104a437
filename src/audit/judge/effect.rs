//! Routes by where they lead, whoever asked for them (J32).

use std::net::IpAddr;

use ipnet::IpNet;

use crate::audit::expect::{Context, Device, Form};
use crate::audit::report::RouteClass;
use crate::audit::setting::{Programmer, device_encapsulation};
use crate::model::{
    AttributeKind, BlockOwner, Family, IpPool, Name, NextHop, Node, PoolClass, Protocol, Route, RouteType, TunnelKind,
    host_route,
};

impl Context<'_> {
    /// The class of a route that nobody asks for and that changes nothing, since it leads its destination to the host
    /// where that is; `None` of a route that leads elsewhere or nowhere.
    pub(super) fn redundant(&self, route: &Route) -> Option<RouteClass> {
        if route.kind != RouteType::Unicast || route.next_hops.is_empty() || self.is_withdrawn(route) {
            return None;
        }
        let arrives = self
            .homes(route)
            .into_iter()
            .any(|host| host != self.me && self.leads_to(route, host) && !self.steals(route, host));
        let class = self.class_by_form(route);
        match host_route(&route.destination) {
            Some(address) if arrives => Some(self.single_class(address, class)),
            Some(address) => {
                (route.protocol == Protocol::BIRD && self.is_of_service(address) && self.leads_to_any_node(route))
                    .then_some(class)
            }
            None => arrives.then_some(class),
        }
    }

    /// BIRD's route to a block whose key is gone: BIRD withdraws it at once, so that what is still there is left over,
    /// wherever it leads (J16).
    fn is_withdrawn(&self, route: &Route) -> bool {
        let net = &route.destination;
        route.protocol == Protocol::BIRD
            && host_route(net).is_none()
            && self.block_around(net).is_some_and(|block| block.cidr == *net)
            && !self.datastore.has_affinity(net)
    }

    /// The hosts where a destination is: those on whose tunnel the address is, else those that use it, else the owner
    /// of the block around it. More than one is a fault of its own, and each of them is right.
    fn homes(&self, route: &Route) -> Vec<&Name> {
        let net = &route.destination;
        let owner = self.block_around(net).and_then(|block| block.host());
        let Some(address) = host_route(net) else { return owner.into_iter().collect() };
        let tunnels: Vec<&Name> = self.datastore.tunnels_at(address).collect();
        if !self.reads && !self.questions(net).is_empty() {
            // Before the block was read, only what it cannot change: its owner's own tunnel, unless BIRD leads there,
            // whose routes to single addresses have a form of their own.
            let owner = self.datastore.keys_around(net).find_map(|cidr| Some(self.datastore.key_of(&cidr)?.0));
            let certain = |host: &&Name| owner == Some(*host) && route.protocol != Protocol::BIRD;
            return tunnels.into_iter().filter(certain).collect();
        }
        let users = || {
            let endpoints = self.datastore.endpoints_at(address).map(|endpoint| &endpoint.node);
            self.users(address).chain(endpoints).collect::<Vec<_>>()
        };
        [tunnels, users()].into_iter().find(|hosts| !hosts.is_empty()).unwrap_or_else(|| owner.into_iter().collect())
    }

    /// A free address that is kept from the owner of its block: its next pod would not be reached. A route on the link of
    /// a tunnel is never one (J16).
    fn steals(&self, route: &Route, host: &Name) -> bool {
        let Some(address) = host_route(&route.destination) else { return false };
        let on_link = route.next_hops.iter().all(|hop| hop.gateway.is_none());
        let owner = self.block_around(&route.destination).and_then(|block| block.host());
        !on_link && owner.is_some_and(|owner| owner != host) && self.is_free(address)
    }

    /// Whether every way leads to the host: by an address of its own or of its tunnels, over a device that the routes
    /// to it may use, or on the link of the tunnel to its address there. Of a Node that cannot be read nothing is known.
    pub(in crate::audit) fn leads_to(&self, route: &Route, host: &Name) -> bool {
        if self.datastore.is_unreadable_node(host) || self.datastore.is_unreadable_node(self.me) {
            return true;
        }
        let Some(node) = self.datastore.node(host) else { return false };
        let devices = self.devices_to(&route.destination, host);
        route.next_hops.iter().all(|hop| {
            is_on_tunnel_link(hop, node, &route.destination)
                || is_by(hop, node) && devices.iter().any(|device| self.is_right_device(hop, device))
        })
    }

    /// The devices of the routes to a host for a destination's pool, whoever programs it.
    fn devices_to(&self, net: &IpNet, host: &Name) -> Vec<Device> {
        let pool = self.datastore.pool_of(net);
        let class = pool.map_or(PoolClass::NoEncap, IpPool::class);
        let by = |who| self.setting.ownership.programs(who, class) || self.setting.ownership_unknown_for(class);
        let nobodys = ![Programmer::Felix, Programmer::Bird].into_iter().any(by);
        let felix =
            pool.filter(|_| by(Programmer::Felix) || nobodys).and_then(|pool| self.felix_form(pool, host, None));
        let bird = (pool.is_none() || by(Programmer::Bird) || nobodys)
            .then(|| self.bird_form(pool, host, Family::of_net(net)))
            .flatten();
        [felix, bird]
            .into_iter()
            .flatten()
            .filter_map(|form| match form {
                Form::Remote { device, .. } => Some(device),
                _ => None,
            })
            .collect()
    }

    /// Whether the address is a Service's: every Node takes its traffic, and BIRD hands such addresses on.
    fn is_of_service(&self, address: IpAddr) -> bool {
        let net = address.into();
        let of_pool = self.datastore.pool_of(&net).is_some_and(|pool| pool.class() == PoolClass::Unrouted);
        let of_block = self.block_around(&net).is_some_and(|block| matches!(block.owner, Some(BlockOwner::Virtual(_))));
        of_pool || of_block || self.allocations(address).any(|(_, it)| it.kind == AttributeKind::LoadBalancer)
    }

    fn leads_to_any_node(&self, route: &Route) -> bool {
        let to_node = |gateway: IpAddr| self.datastore.nodes_at(gateway).any(|name| name != self.me);
        let direct = |hop: &NextHop| self.is_right_device(hop, &Device::Any);
        route.next_hops.iter().all(|hop| hop.gateway.is_some_and(to_node) && direct(hop))
    }
}

/// Whether the gateway is the Node's: the address that it is routed by, or one of its tunnels'.
pub(super) fn is_by(hop: &NextHop, node: &Node) -> bool {
    hop.gateway.is_some_and(|gateway| {
        node.routing_address(Family::of(gateway)) == Some(gateway) || node.tunnels.values().any(|it| *it == gateway)
    })
}

/// Whether the destination is the Node's address on this very tunnel.
pub(super) fn is_on_tunnel_link(hop: &NextHop, node: &Node, net: &IpNet) -> bool {
    let wraps = |device: &str| device_encapsulation(device, None);
    let on_it = |(kind, address): (&TunnelKind, &IpAddr)| {
        Some(*address) == host_route(net) && hop.device.as_deref().is_some_and(|it| wraps(it) == wraps(kind.device()))
    };
    hop.gateway.is_none() && node.tunnels.iter().any(on_it)
}
