//! The routes that a host ought to have or may have, from the text of the judgement alone (J20–J25).

use std::net::IpAddr;

use calico_exporter::model::{
    AffinityState, AllocationBlock, Attribute, AttributeKind, BlockOwner, EncapMode, Family, IpPool, Name, PoolClass,
    TunnelKind, host_net, host_route, ordinal_of,
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
        let allocation = world.block_around(&host_net(address)).and_then(|block| Some((block, held(block, address)?)));
        let here = !self.is_own(address) && allocation.is_some_and(|(block, it)| user(block, it) == Some(me));
        let target =
            allocation.is_some_and(|(_, it)| it.node.as_ref() != Some(me) && it.peer_node.as_ref() == Some(me));
        let mine: Vec<_> = world.endpoints_at(address).filter(|it| it.node == *me).collect();
        let up = mine.iter().any(|it| world.link(&it.interface).is_some_and(|link| link.admin_up && !link.no_carrier));
        let floats = world.endpoints().any(|it| it.node == *me && it.floating.contains(&address));
        let form = match (mine.is_empty(), up && !target) {
            (true, _) if here || floats => Form::Workload(Vec::new()),
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

    fn single(&self, address: IpAddr, wanted: &mut Vec<Wanted>) {
        let world = self.world;
        let net = host_net(address);
        let pool = world.pool_of(&net);
        let exported = |host: &Name| Wanted {
            class: "borrowed",
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
        let allocation = world.block_around(&net).and_then(|block| Some((block, held(block, address)?)));
        if let Some((block, it)) = allocation
            && let Some(host) = user(block, it).filter(|host| **host != world.me)
        {
            if pool.is_none() && world.pool_is_dark() {
                wanted.push(anything());
                return;
            }
            let borrowed = block.host() != Some(host) && !matches!(block.owner, Some(BlockOwner::Virtual(_)));
            if borrowed
                && let Some(pool) = pool.filter(|pool| self.by_felix(pool))
                && let Some(form) = self.felix_form(pool, host, Some(address))
            {
                let required = self.by_felix_here(Family::of(address)) && form != Form::Anything;
                let host = Some(host.clone());
                wanted.push(Wanted { class: "borrowed", required, host, bird: false, only_bird: false, form });
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
                let class = if alone { "remote_block" } else { "borrowed" };
                let host = Some(host.clone());
                wanted.push(Wanted { class, required, host, bird: true, only_bird: false, form });
            }
            wanted.push(exported(host));
        }
        for endpoint in world.endpoints_at(address).filter(|it| it.node != world.me) {
            wanted.push(exported(&endpoint.node));
        }
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
            let tunnel = one.filter(|it| world.node(host).is_some_and(|node| node.tunnels.values().any(|at| at == it)));
            let form = match (mine, one) {
                (true, Some(_)) => None,
                (true, None) => Some(Form::Blackhole),
                (false, _) => self.felix_form(pool, host, tunnel),
            };
            if let Some(form) = form {
                wanted.push(Wanted {
                    class: match (mine, tunnel) {
                        (true, _) => "local_block",
                        (false, Some(_)) => "tunnel_address",
                        (false, None) => "remote_block",
                    },
                    required: self.by_felix_here(family) && form != Form::Anything,
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
            && matches!(pool.class(), PoolClass::Ipip | PoolClass::NoEncap)
            && !self.by_felix(pool)
            && !self.by_bird(pool.class())
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
        if world.has_dark_key(cidr) || settled.len() > 1 {
            wanted.push(anything());
            return;
        }
        let Some(key) = settled.first().copied().or(keys.first()) else { return };
        let host = key.owner.host().unwrap();
        let family = Family::of_net(cidr);
        let whole = !settled.is_empty() && block.is_some() && host_route(cidr).is_none() && pool.is_some();
        let (class, form, required) = if *host == world.me {
            ("local_block", Some(Form::Blackhole), whole && self.bird_meant && !self.setting.unknown)
        } else {
            let reached = pool.is_some_and(|pool| self.announced(pool, host, family, None));
            ("remote_block", self.bird_form(pool, host, family), whole && reached)
        };
        let Some(form) = form else { return };
        let required = required && form != Form::Anything;
        wanted.push(Wanted { class, required, host: Some(host.clone()), bird: true, only_bird: false, form });
    }

    fn by_felix(&self, pool: &IpPool) -> bool {
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

    fn by_bird(&self, class: PoolClass) -> bool {
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

    fn felix_form(&self, pool: &IpPool, host: &Name, only: Option<IpAddr>) -> Option<Form> {
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

    fn bird_form(&self, pool: Option<&IpPool>, host: &Name, family: Family) -> Option<Form> {
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

/// The attribute of an address that is allocated, and not cooling.
fn held(block: &AllocationBlock, address: IpAddr) -> Option<&Attribute> {
    let ordinal = u32::try_from(ordinal_of(&block.cidr, address)?).ok()?;
    block.allocation(ordinal)?.filter(|it| it.kind != AttributeKind::Cooldown)
}

fn user<'b>(block: &'b AllocationBlock, it: &'b Attribute) -> Option<&'b Name> {
    match it.kind {
        AttributeKind::WindowsReserved | AttributeKind::LoadBalancer => None,
        _ => it.node.as_ref().or(block.host()),
    }
}
