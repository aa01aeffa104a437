//! The routes that a host ought to have or may have, from the text of the judgement alone (J20–J25).

use std::net::IpAddr;

use calico_exporter::model::{
    AffinityState, AllocationBlock, Attribute, AttributeKind, BlockOwner, EncapMode, Family, IpPool, Name, PoolClass,
    TunnelKind, host_net, host_route,
};
use ipnet::IpNet;

use super::oracle::Oracle;
use super::world::Topology;

/// How a gateway may be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Gateway {
    Exactly(IpAddr),
    Absent,
    /// Anything that is no other Node's while the mesh is all there is.
    Resolved,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Form {
    Anything,
    Blackhole,
    Workload(Vec<Name>),
    Remote { wrap: &'static str, device: &'static str, gateway: Gateway },
}

/// A route that has to be there, or may be.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) class: &'static str,
    pub(super) required: bool,
    pub(super) host: Option<Name>,
    pub(super) bird: bool,
    /// It permits a route of BIRD's only (J16).
    pub(super) only_bird: bool,
    pub(super) form: Form,
}

impl Oracle<'_> {
    pub(super) fn wanted(&self, net: &IpNet) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        if let Some(address) = host_route(net) {
            self.workload(address, &mut wanted);
            self.single(address, &mut wanted);
        }
        self.block(net, &mut wanted);
        wanted
    }

    /// J25
    fn workload(&self, address: IpAddr, wanted: &mut Vec<Wanted>) {
        let world = self.world;
        let me = &world.me;
        let here = !self.is_own(address) && world.holds(address).any(|(block, it)| user(block, it) == Some(me));
        let target =
            world.holds(address).any(|(_, it)| it.node.as_ref() != Some(me) && it.peer_node.as_ref() == Some(me));
        let mine: Vec<_> = world.endpoints_at(address).filter(|it| it.node == *me).collect();
        let up = mine.iter().any(|it| world.link(&it.interface).is_some_and(|link| link.admin_up && !link.no_carrier));
        let form = match (mine.is_empty(), up && !target) {
            (true, _) if here || self.floats(address) => Form::Workload(Vec::new()),
            (true, _) => return,
            (false, true) => Form::Workload(mine.iter().map(|it| it.interface.clone()).collect()),
            (false, false) => Form::Anything,
        };
        wanted.push(Wanted {
            class: "local_workload",
            required: !mine.is_empty() && up && !target && self.setting.felix_routes,
            host: Some(me.clone()),
            bird: false,
            only_bird: false,
            form,
        });
    }

    /// A floating address of a pod here: outside pools as an endpoint says; in one, where Felix programs them, as a route
    /// on a pod's device says.
    fn floats(&self, address: IpAddr) -> bool {
        let world = self.world;
        if world.pool_of(&host_net(address)).is_none() {
            return world.endpoints().any(|it| it.node == world.me && it.floating.contains(&address));
        }
        let on_pod = world.route(&host_net(address)).is_some_and(|route| {
            route.next_hops.iter().any(|hop| hop.device.as_deref().is_some_and(|it| self.setting.is_workload(it)))
        });
        self.setting.floating && on_pod && world.is_free(address)
    }

    fn single(&self, address: IpAddr, wanted: &mut Vec<Wanted>) {
        let world = self.world;
        let net = host_net(address);
        let pool = world.pool_of(&net);
        let of_tunnel = !world.tunnels_at(address).is_empty();
        let class = |else_it_is| if of_tunnel { "tunnel_address" } else { else_it_is };
        let exported = |host: &Name| Wanted {
            class: class("borrowed"),
            required: false,
            host: Some(host.clone()),
            bird: true,
            only_bird: true,
            form: match pool {
                Some(pool) if self.by_felix(pool) && !self.by_bird(pool.class()) => self.felix_form(pool, host, None),
                pool => self.bird_form(pool, host, Family::of(address)),
            }
            .unwrap_or(Form::Anything),
        };
        for (block, it) in world.holds(address) {
            let Some(host) = user(block, it).filter(|host| **host != world.me) else { continue };
            if pool.is_none() && world.pool_is_dark() {
                wanted.push(anything());
                return;
            }
            let borrowed = block.host() != Some(host) && !matches!(block.owner, Some(BlockOwner::Virtual(_)));
            if borrowed
                && let Some(pool) = pool.filter(|pool| self.by_felix(pool))
                && let Some(form) = self.felix_form(pool, host, Some(address))
            {
                let required =
                    self.by_felix_here(Family::of(address)) && form != Form::Anything && !self.is_shared(&form, &net);
                let host = Some(host.clone());
                wanted.push(Wanted { class: class("borrowed"), required, host, bird: false, only_bird: false, form });
            }
            let own = world
                .keys(&block.cidr)
                .iter()
                .any(|it| it.state == AffinityState::Confirmed && it.owner.host() == Some(host));
            let alone = host_route(&block.cidr).is_some() && !borrowed;
            if ((borrowed && !own) || alone)
                && let Some(pool) = pool.filter(|pool| self.by_bird(pool.class()))
                && let Some(form) = self.bird_form(Some(pool), host, Family::of(address))
            {
                let used = world.endpoints_at(address).any(|it| it.node == *host);
                let lender = Some(&block.cidr);
                let required =
                    used && form != Form::Anything && self.announced(pool, host, Family::of(address), lender);
                let class = class(if alone { "remote_block" } else { "borrowed" });
                let host = Some(host.clone());
                wanted.push(Wanted { class, required, host, bird: true, only_bird: false, form });
            }
            if borrowed && pool.is_some_and(|pool| self.is_nobodys(pool)) {
                wanted.push(anything());
            }
            wanted.push(exported(host));
        }
        for endpoint in world.endpoints_at(address).filter(|it| it.node != world.me) {
            wanted.push(exported(&endpoint.node));
        }
    }

    /// Nobody is configured to program the pool's class.
    pub(super) fn is_nobodys(&self, pool: &IpPool) -> bool {
        matches!(pool.class(), PoolClass::Ipip | PoolClass::NoEncap)
            && !self.by_felix(pool)
            && !self.by_bird(pool.class())
    }

    /// The way leads over a tunnel address that is this host's own as well (J13).
    fn is_shared(&self, form: &Form, net: &IpNet) -> bool {
        let over = match form {
            Form::Remote { gateway: Gateway::Exactly(at), .. } => Some(*at),
            Form::Remote { gateway: Gateway::Absent, .. } => host_route(net),
            _ => None,
        };
        over.is_some_and(|at| self.world.tunnels_at(at).contains(&&self.world.me))
    }

    fn block(&self, cidr: &IpNet, wanted: &mut Vec<Wanted>) {
        let world = self.world;
        let block = world.block(cidr);
        let keys = world.keys(cidr);
        if block.is_none() && keys.is_empty() && !world.has_dark_key(cidr) {
            return;
        }
        let pool = world.pool_of(cidr);
        if pool.is_none() && world.pool_is_dark() {
            wanted.push(anything());
            return;
        }
        let family = Family::of_net(cidr);
        let one = host_route(cidr);
        if let (Some(block), Some(pool)) = (block, pool)
            && let Some(host) = block.host()
            && self.by_felix(pool)
        {
            let mine = *host == world.me;
            let tunnel = one.filter(|it| !world.tunnels_at(*it).is_empty());
            let form = match (mine, one) {
                (true, Some(_)) => None,
                (true, None) => Some(Form::Blackhole),
                (false, _) => self.felix_form(pool, host, one),
            };
            if let Some(form) = form {
                wanted.push(Wanted {
                    class: match (mine, tunnel) {
                        (true, _) => "local_block",
                        (false, Some(_)) => "tunnel_address",
                        (false, None) => "remote_block",
                    },
                    required: self.by_felix_here(family) && form != Form::Anything && !self.is_shared(&form, cidr),
                    host: Some(host.clone()),
                    bird: false,
                    only_bird: false,
                    form,
                });
            }
        }
        if pool.is_none_or(|pool| self.by_bird(pool.class())) {
            self.block_by_bird(cidr, block, pool, wanted);
        }
        // Nobody's class: what is there is not judged.
        if let (Some(block), Some(pool)) = (block, pool)
            && block.owner.is_some()
            && self.is_nobodys(pool)
        {
            wanted.push(anything());
        }
    }

    /// J22
    fn block_by_bird(
        &self,
        cidr: &IpNet,
        block: Option<&AllocationBlock>,
        pool: Option<&IpPool>,
        wanted: &mut Vec<Wanted>,
    ) {
        let world = self.world;
        let keys: Vec<_> = world.keys(cidr).into_iter().filter(|key| key.owner.host().is_some()).collect();
        let settled: Vec<_> = keys.iter().filter(|key| key.state != AffinityState::Pending).collect();
        if world.has_dark_key(cidr) {
            wanted.push(anything());
            return;
        }
        let (claims, whole) = match settled.as_slice() {
            [] => (keys.iter().take(1).collect(), false),
            [only] => (vec![*only], block.is_some() && host_route(cidr).is_none() && pool.is_some()),
            // Either way is right.
            _ => (settled, false),
        };
        for key in claims {
            let host = key.owner.host().unwrap();
            let family = Family::of_net(cidr);
            let (class, form, required) = if *host == world.me {
                let blackhole = host_route(cidr).is_none().then_some(Form::Blackhole);
                ("local_block", blackhole, whole && self.bird_meant && !self.setting.unknown)
            } else {
                let reached = pool.is_some_and(|pool| self.announced(pool, host, family, None));
                let of_tunnel = host_route(cidr).is_some_and(|it| !world.tunnels_at(it).is_empty());
                let class = if of_tunnel { "tunnel_address" } else { "remote_block" };
                (class, self.bird_form(pool, host, family), whole && reached)
            };
            let Some(form) = form else { continue };
            let required = required && form != Form::Anything;
            wanted.push(Wanted { class, required, host: Some(host.clone()), bird: true, only_bird: false, form });
        }
    }

    pub(super) fn by_felix(&self, pool: &IpPool) -> bool {
        match pool.class() {
            PoolClass::Vxlan => true,
            PoolClass::Ipip => self.setting.felix_ipip && !self.setting.unknown,
            PoolClass::NoEncap => self.setting.felix_plain && !self.setting.unknown,
            PoolClass::Unrouted => false,
        }
    }

    /// Felix routes by blocks, and can: this host has an address of the family itself.
    fn by_felix_here(&self, family: Family) -> bool {
        let me = self.world.node(&self.world.me);
        self.setting.felix_routes && me.is_some_and(|node| node.routing_address(family).is_some())
    }

    pub(super) fn by_bird(&self, class: PoolClass) -> bool {
        match class {
            PoolClass::Ipip => self.setting.bird_ipip || self.setting.unknown,
            PoolClass::NoEncap => self.setting.bird_plain || self.setting.unknown,
            _ => false,
        }
    }

    fn near(&self, peer: IpAddr) -> bool {
        let mine = self.world.node(&self.world.me).and_then(|node| node.bgp_address(Family::of(peer)));
        mine.is_some_and(|net| net.contains(&peer))
    }

    pub(super) fn felix_form(&self, pool: &IpPool, host: &Name, only: Option<IpAddr>) -> Option<Form> {
        if self.world.node_is_dark(host) || self.world.node_is_dark(&self.world.me) {
            return Some(Form::Anything);
        }
        let family = pool.family();
        let node = self.world.node(host)?;
        let peer = node.routing_address(family)?;
        let direct = pool.mode() == EncapMode::Never || (pool.mode() == EncapMode::CrossSubnet && self.near(peer));
        if direct {
            let gateway = Gateway::Exactly(peer);
            return Some(Form::Remote { wrap: "none", device: "eth0", gateway });
        }
        if pool.class() == PoolClass::Ipip {
            let gateway = Gateway::Exactly(peer);
            return (family == Family::V4).then_some(Form::Remote { wrap: "ipip", device: "tunl0", gateway });
        }
        let kind = if family == Family::V4 { TunnelKind::VxlanV4 } else { TunnelKind::VxlanV6 };
        let vtep = node.bgp_address(family).and(node.tunnels.get(&kind).copied())?;
        let gateway = if only == Some(vtep) { Gateway::Absent } else { Gateway::Exactly(vtep) };
        Some(Form::Remote { wrap: "vxlan", device: kind.device(), gateway })
    }

    pub(super) fn bird_form(&self, pool: Option<&IpPool>, host: &Name, family: Family) -> Option<Form> {
        if self.world.node_is_dark(host) || self.world.node_is_dark(&self.world.me) {
            return Some(Form::Anything);
        }
        let peer = self.world.node(host)?.bgp_address(family)?.addr();
        let wrapped = match pool.map(IpPool::mode) {
            Some(EncapMode::Always) => true,
            Some(EncapMode::CrossSubnet) => !self.near(peer),
            _ => false,
        };
        Some(if wrapped && family == Family::V4 {
            Form::Remote { wrap: "ipip", device: "tunl0", gateway: Gateway::Exactly(peer) }
        } else {
            Form::Remote { wrap: "none", device: "eth0", gateway: Gateway::Resolved }
        })
    }

    /// J22, J23: BIRD here has to have what `host` announces.
    fn announced(&self, pool: &IpPool, host: &Name, family: Family, lent: Option<&IpNet>) -> bool {
        let world = self.world;
        if !self.bird_meant || pool.disable_bgp_export || self.setting.unknown {
            return false;
        }
        let ends = [host, &world.me];
        let all = ends.iter().all(|it| world.node(it).is_some_and(|node| node.bgp_address(family).is_some()));
        let reflects = |name: &Name| world.node(name).is_some_and(|node| node.labels.get("reflector").is_some());
        let lends = |name: &Name| {
            let keys = lent.map(|cidr| world.keys(cidr)).unwrap_or_default();
            keys.iter().any(|it| it.state == AffinityState::Confirmed && it.owner.host() == Some(name))
        };
        all && match world.topology {
            Topology::Mesh | Topology::MeshOfTwoAs => true,
            Topology::Outside | Topology::Nothing => false,
            Topology::Reflectors => {
                ends.iter().any(|it| reflects(it))
                    || world
                        .nodes()
                        .any(|(name, node)| reflects(name) && node.bgp_address(family).is_some() && !lends(name))
            }
        }
    }
}

fn anything() -> Wanted {
    Wanted { class: "remote_block", required: false, host: None, bird: true, only_bird: false, form: Form::Anything }
}

pub(super) fn user<'b>(block: &'b AllocationBlock, it: &'b Attribute) -> Option<&'b Name> {
    match it.kind {
        AttributeKind::WindowsReserved | AttributeKind::LoadBalancer => None,
        _ => it.node.as_ref().or(block.host()),
    }
}
