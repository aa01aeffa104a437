//! Routes that nobody expects: stale (J16), foreign (J17), or nothing to worry about.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Difference, Verdict, is_link_local};
use crate::audit::expect::Context;
use crate::audit::fault::RouteReason;
use crate::audit::report::RouteClass;
use crate::audit::words;
use crate::model::{Node, Protocol, Route, RouteType, host_route};
use crate::state::Kind;

impl Context<'_> {
    /// Something is there that nobody expects: stale (J16), foreign (J17), or nothing to worry about.
    pub(super) fn unexpected(&self, route: &Route) -> Verdict {
        let destination = &route.destination;
        if self.is_never_judged(route) {
            return Verdict::default();
        }
        let on_workload = self.is_on_workload(route);
        let through_calico = self.is_through_calico(route);
        let pool = self.datastore.pool_of(destination);
        let block = self.block_around(destination);
        // Until its block was read a key stands for it.
        let claimed = !self.reads && self.datastore.is_in_block(destination);
        let known = pool.is_some() || block.is_some() || claimed;
        let class = self.class_by_form(route);
        let encapsulation = self.route_encapsulation(route);
        let bird = route.protocol == Protocol::BIRD;
        let difference = |reason, detail: String| {
            Some(Box::new(Difference {
                class,
                reason,
                host: self.me.clone(),
                programmer: None,
                detail,
                expected: "no route".to_owned(),
                actual: route.to_string(),
                action: words::action(reason, route),
            }))
        };
        let counted = |class| Verdict { actual: Some((class, encapsulation)), ..Verdict::default() };
        if self.is_calicos(route) {
            let suspect = known || route.protocol == Protocol::FELIX || through_calico;
            // A pool that cannot be read may be the one that the route belongs to (J1).
            let uncertain = !known && self.datastore.has_unreadable(Kind::Pool);
            // What counts as expected while it is there (J20).
            let permitted = |class| Verdict { expected: Some((class, encapsulation)), ..counted(class) };
            if !suspect || uncertain || self.is_excused(route, on_workload) {
                return Verdict::default();
            }
            if let Some(class) = self.redundant(route) {
                return permitted(class);
            }
            if self.is_of_others(route, known) {
                return if on_workload && !bird { permitted(class) } else { Verdict::default() };
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

    /// Link-local, an address of this host's own, or eBPF's: nobody asks whose such a route is (J16, J17).
    pub(in crate::audit) fn is_never_judged(&self, route: &Route) -> bool {
        let destination = &route.destination;
        is_link_local(destination.addr())
            || host_route(destination).is_some_and(|address| self.is_own(address))
            || devices_of(route).any(|device| device == "bpfin.cali")
    }

    /// Whether Felix or BIRD wrote the route, as far as its form shows (J16).
    pub(in crate::audit) fn is_calicos(&self, route: &Route) -> bool {
        let device_route = route.protocol == Protocol::BOOT && self.is_through_calico(route);
        self.setting.is_felix_protocol(route.protocol) || route.protocol == Protocol::BIRD || device_route
    }

    fn is_through_calico(&self, route: &Route) -> bool {
        devices_of(route).any(|device| self.setting.is_calico_device(device))
    }

    /// Whether those say whose the destination is who are not heard here: endpoints that nobody lists, where IPAM is not
    /// Calico's or not alone (J38), of a podCIDR (J39) or of an address that lies in no pool and no block, since it may be floating
    /// (J25) or in a block outside all pools.
    fn is_of_others(&self, route: &Route, known: bool) -> bool {
        let destination = &route.destination;
        let without_ipam = self.datastore.pool_of(destination).is_some() && !self.datastore.has_ipam();
        let on_workload = self.is_on_workload(route);
        if host_route(destination).is_none() {
            return without_ipam && !on_workload;
        }
        let of_pod_cidr = self.block_around(destination).is_some_and(|block| block.pod_cidr);
        let outside = !known && (on_workload || !self.datastore.follows_blocks());
        // Before its block was read, it may be one of Calico's after all.
        let of_neutron = self.setting.openstack && (self.reads || self.questions(destination).is_empty());
        !self.datastore.knows_endpoints() && (without_ipam || of_neutron || of_pod_cidr || outside)
    }

    /// Calico's routes that are expected by nobody and are no fault (J16).
    fn is_excused(&self, route: &Route, on_workload: bool) -> bool {
        route.protocol == Protocol::BIRD
            && (self.is_aggregate(&route.destination) || on_workload && self.is_of_local_peer(route))
    }

    /// Whether a local BGP peer may have announced the route: a workload here that a BGPPeer selects. One whose endpoint
    /// is not known may be selected.
    fn is_of_local_peer(&self, route: &Route) -> bool {
        if !self.sessions.local_peer_workloads(self.me) {
            return false;
        }
        route.next_hops.iter().filter_map(|hop| hop.device.as_ref()).all(|device| {
            let mut workloads = self.datastore.endpoints_on(self.me).filter(|it| it.interface == *device).peekable();
            workloads.peek().is_none() || workloads.any(|it| self.sessions.may_be_local_peer(self.me, it))
        })
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

fn devices_of(route: &Route) -> impl Iterator<Item = &str> {
    route.next_hops.iter().filter_map(|hop| hop.device.as_deref())
}
