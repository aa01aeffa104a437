//! Routes that nobody expects: stale (J16), foreign (J17), or nothing to worry about.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Difference, Verdict, is_link_local};
use crate::audit::expect::Context;
use crate::audit::reasons::RouteReason;
use crate::audit::report::RouteClass;
use crate::audit::words;
use crate::model::{Family, Node, Protocol, Route, RouteType, host_route};
use crate::state::Kind;

impl Context<'_> {
    /// Something is there that nobody expects: stale (J16), foreign (J17), or nothing to worry about.
    pub(super) fn unexpected(&self, route: &Route) -> Verdict {
        let destination = &route.destination;
        let devices = || route.next_hops.iter().filter_map(|hop| hop.device.as_deref());
        if is_link_local(destination.addr())
            || host_route(destination).is_some_and(|address| self.is_own(address))
            || devices().any(|device| device == "bpfin.cali")
        {
            return Verdict::default();
        }
        let on_workload = self.is_on_workload(route);
        let through_calico = devices().any(|device| self.setting.is_calico_device(device));
        let pool = self.datastore.pool_of(destination);
        let block = self.block_around(destination);
        // Until its block was read a key stands for it.
        let claimed = !self.reads && self.datastore.is_in_block(destination);
        let known = pool.is_some() || block.is_some() || claimed;
        let class = match route.kind {
            RouteType::Blackhole => RouteClass::LocalBlock,
            _ if on_workload => RouteClass::LocalWorkload,
            _ if host_route(destination).is_some() => RouteClass::Borrowed,
            _ => RouteClass::RemoteBlock,
        };
        let encapsulation = self.route_encapsulation(route);
        let felix = self.setting.is_felix_protocol(route.protocol);
        let bird = route.protocol == Protocol::BIRD;
        let device_route = route.protocol == Protocol::BOOT && through_calico;
        let difference = |reason, detail: String| {
            Some(Box::new(Difference {
                class,
                reason,
                host: self.me.clone(),
                programmer: None,
                detail,
                expected: "no route".to_owned(),
                actual: words::route(route),
            }))
        };
        let counted = |class| Verdict { actual: Some((class, encapsulation)), ..Verdict::default() };
        if felix || bird || device_route {
            let suspect = known || route.protocol == Protocol::FELIX || through_calico;
            // A pool that cannot be read may be the one that the route belongs to (J1).
            let uncertain = !known && self.datastore.has_unreadable(Kind::Pool);
            // Where endpoints are not listed, IPAM says nothing of an address outside all pools.
            let single = host_route(destination).is_some();
            // Nor is it known which block holds an address outside all of them, where only keys are followed.
            let unjudged = !known && (on_workload || single && !self.datastore.follows_blocks());
            let unjudged = unjudged && !self.datastore.knows_endpoints();
            // On a pod's device it may be a floating one, which is permitted (J25) and so counts as expected (J20), whether
            // or not its endpoint was looked up for another reason.
            if unjudged && single && !bird && class == RouteClass::LocalWorkload {
                return Verdict { expected: Some((class, encapsulation)), ..counted(class) };
            }
            if !suspect || uncertain || unjudged || self.is_excused(route, on_workload) {
                return Verdict::default();
            }
            let detail = words::stale(self, route, block);
            return Verdict { difference: difference(RouteReason::Stale, detail), ..counted(class) };
        }
        if pool.is_none() {
            return Verdict::default();
        }
        match block.filter(|block| block.owner.is_some()) {
            Some(block) => {
                let detail = words::foreign(route, block);
                Verdict { difference: difference(RouteReason::Foreign, detail), ..counted(class) }
            }
            None => counted(RouteClass::Foreign),
        }
    }

    /// Calico's routes that are expected by nobody and are no fault (J16).
    fn is_excused(&self, route: &Route, on_workload: bool) -> bool {
        let destination = &route.destination;
        let bird = route.protocol == Protocol::BIRD;
        if bird && (self.is_aggregate(destination) || (on_workload && self.sessions.local_peer_workloads(self.me))) {
            return true;
        }
        let Some(address) = host_route(destination) else { return false };
        let family = Family::of(address);
        let on_vxlan = route.next_hops.iter().all(|hop| {
            hop.gateway.is_none() && matches!(hop.device.as_deref(), Some("vxlan.calico" | "vxlan-v6.calico"))
        });
        // Up to 3.31 Felix leaves a link route to a peer's tunnel address behind, depending on the order of events.
        on_vxlan
            && !route.next_hops.is_empty()
            && self.datastore.nodes().iter().any(|(name, node)| name != self.me && node.vtep(family) == Some(address))
    }

    /// Whether a destination is shorter than the blocks of the pool around it, or holds whole pools: an aggregate.
    fn is_aggregate(&self, destination: &IpNet) -> bool {
        match self.datastore.pool_of(destination) {
            Some(pool) => destination.prefix_len() < pool.block_size,
            None => self.datastore.pools().values().any(|pool| destination.contains(&pool.cidr)),
        }
    }

    /// Whether an aggregate of BIRD's carries the traffic of a block that has no route of its own.
    pub(in crate::audit) fn is_aggregated(&self, block: &IpNet) -> bool {
        let Some(pool) = self.datastore.pool_of(block) else { return false };
        self.kernel.main_routes_around(block).any(|route| {
            route.protocol == Protocol::BIRD
                && route.kind == RouteType::Unicast
                && route.destination.prefix_len() < pool.block_size
        })
    }

    pub(in crate::audit) fn is_own(&self, address: IpAddr) -> bool {
        let own = |node: &Node| {
            node.own_addresses().any(|it| it == address) || node.tunnels.values().any(|it| *it == address)
        };
        self.kernel.has_address(address) || self.node.is_some_and(own)
    }
}
