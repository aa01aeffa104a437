//! What leads where it ought to, a second time (J32).

use std::net::IpAddr;

use calico_exporter::model::{
    AttributeKind, BlockOwner, Family, Name, NextHop, PoolClass, Protocol, Route, RouteType, TunnelKind, host_route,
};

use super::oracle::{Oracle, wrapping};
use super::wanted::{Form, user};

impl Oracle<'_> {
    /// A route that nobody asks for leads to the host where its destination is.
    pub(super) fn changes_nothing(&self, route: &Route) -> bool {
        let world = self.world;
        let net = route.destination;
        let bird = route.protocol == Protocol::BIRD;
        if route.kind != RouteType::Unicast || route.next_hops.is_empty() {
            return false;
        }
        let around = world.block_around(&net);
        let Some(at) = host_route(&net) else {
            // BIRD's block is asked for by its key alone.
            let withdrawn = bird
                && around.is_some_and(|block| block.cidr == net)
                && world.keys(&net).is_empty()
                && !world.has_dark_key(&net);
            let owner = around.and_then(|block| block.host());
            return !withdrawn && owner.is_some_and(|host| *host != world.me && self.leads_to(route, host));
        };
        let tunnels = world.tunnels_at(at);
        let mut users: Vec<&Name> = world.holds(at).filter_map(|(block, it)| user(block, it)).collect();
        users.extend(world.endpoints_at(at).map(|it| &it.node));
        let owner = around.and_then(|block| block.host());
        let homes = match (tunnels.is_empty(), users.is_empty()) {
            (false, _) => tunnels,
            (true, false) => users,
            (true, true) => owner.into_iter().collect(),
        };
        let on_link = route.next_hops.iter().all(|hop| hop.gateway.is_none());
        let stolen = |host: &Name| !on_link && owner.is_some_and(|owner| owner != host) && world.is_free(at);
        if homes.iter().any(|host| **host != world.me && self.leads_to(route, host) && !stolen(host)) {
            return true;
        }
        let service = world.pool_of(&net).is_some_and(|pool| pool.class() == PoolClass::Unrouted)
            || around.is_some_and(|block| matches!(block.owner, Some(BlockOwner::Virtual(_))))
            || world.holds(at).any(|(_, it)| it.kind == AttributeKind::LoadBalancer);
        bird && service && route.next_hops.iter().all(|hop| self.is_any_nodes(hop))
    }

    fn is_any_nodes(&self, hop: &NextHop) -> bool {
        let device = hop.device.as_deref().unwrap_or_default();
        let others = self.world.nodes().filter(|(name, _)| **name != self.world.me);
        let mut addresses = others.flat_map(|(_, node)| node.own_addresses());
        !self.setting.is_workload(device) && device != "lo" && addresses.any(|it| Some(it) == hop.gateway)
    }

    fn leads_to(&self, route: &Route, host: &Name) -> bool {
        let world = self.world;
        if world.node_is_dark(host) || world.node_is_dark(&world.me) {
            return true;
        }
        let Some(node) = world.node(host) else { return false };
        let pool = world.pool_of(&route.destination);
        let family = Family::of_net(&route.destination);
        let any = pool.is_some_and(|pool| self.is_nobodys(pool));
        let unknown = |class| self.setting.unknown && matches!(class, PoolClass::Ipip | PoolClass::NoEncap);
        let felix = pool.filter(|pool| any || self.by_felix(pool) || unknown(pool.class()));
        let felix = felix.and_then(|pool| self.felix_form(pool, host, None));
        let bird = pool.is_none_or(|pool| any || self.by_bird(pool.class()) || pool.class() == PoolClass::Unrouted);
        let bird = bird.then(|| self.bird_form(pool, host, family)).flatten();
        let forms: Vec<Form> = felix.into_iter().chain(bird).collect();
        route.next_hops.iter().all(|hop| {
            let device = hop.device.as_deref().unwrap_or_default();
            let on_it = |(kind, at): (&TunnelKind, &IpAddr)| {
                Some(*at) == host_route(&route.destination) && wrapping(kind.device()) == wrapping(device)
            };
            if hop.gateway.is_none() {
                return wrapping(device) != "none" && node.tunnels.iter().any(on_it);
            }
            let by_it =
                node.routing_address(family) == hop.gateway || node.tunnels.values().any(|at| Some(*at) == hop.gateway);
            let way = |form: &Form| match form {
                Form::Remote { device, gateway, .. } => self.is_way(hop, device, gateway),
                _ => false,
            };
            by_it && forms.iter().any(way)
        })
    }
}
