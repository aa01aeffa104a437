//! The routes that this host ought to have: for one destination, everything that the datastore says of it
//! (reference 4.5; J20–J25).

use std::net::IpAddr;

use ipnet::IpNet;

use super::bgp::{Reach, Sessions};
use super::report::{Encapsulation, RouteClass};
use super::setting::{Programmer, Setting};
use crate::model::{
    AffinityState, AllocationBlock, Attribute, AttributeKind, BlockOwner, EncapMode, EndpointId, Family, IpPool, Name,
    Node, PoolClass, TunnelKind, WorkloadEndpoint, address_at, host_net, host_route, ordinal_of,
};
use crate::state::{Datastore, Kernel, Kind};

/// Whether a route has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// Its absence is a fault.
    Required,
    /// It may be there or not; while it is, it is judged and counts as expected (J20).
    Permitted,
}

/// Which gateway is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gateway {
    /// This one and nothing else.
    Exactly(IpAddr),
    /// None: the destination is on the device's link.
    OnLink,
    /// BIRD resolves next hops recursively: wrong only if it is a Node's that is not the route's, and only where the
    /// mesh is all there is between Nodes (J22).
    Recursive,
}

/// Which device is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Device {
    /// One of these.
    OneOf(Vec<Name>),
    /// The one named, or one whose own subnet contains the gateway: where a recursive next hop ends.
    Reaching(Name),
    /// Not known here: this host's address is on no device that is known. Still no pod's.
    Any,
}

/// What the route looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// `blackhole`.
    Blackhole,
    /// To a workload device: one of these; any where the endpoint is not known.
    Workload(Vec<Name>),
    /// To another host.
    Remote {
        /// How packets are wrapped.
        encapsulation: Encapsulation,
        /// Through which device.
        device: Device,
        /// Through which gateway.
        gateway: Gateway,
        /// Whether the host is in this host's subnet: what tells CrossSubnet from the other modes.
        same_subnet: bool,
    },
    /// Nobody can say: never judged.
    Unknown,
}

/// A route that ought to be there, or may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expectation {
    /// What it is for.
    pub class: RouteClass,
    /// Whether it has to be there.
    pub need: Need,
    /// Who programs it.
    pub programmer: Programmer,
    /// The host it leads to.
    pub host: Option<Name>,
    /// What it looks like.
    pub form: Form,
    /// It excuses only a route of BIRD's (J16): one of another protocol is not expected by it.
    pub bird_only: bool,
}

/// What an expectation is computed from.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    /// Calico's objects.
    pub datastore: &'a Datastore,
    /// Devices and routes.
    pub kernel: &'a Kernel,
    /// This host's name.
    pub me: &'a Name,
    /// What is configured for it.
    pub setting: &'a Setting,
    /// BGP sessions that the datastore describes.
    pub sessions: &'a Sessions,
    /// BIRD is meant to run here (J24).
    pub bird_meant: bool,
}

impl<'a> Context<'a> {
    fn node(&self) -> Option<&'a Node> {
        self.datastore.nodes().get(self.me)
    }

    /// The interface that carries this host's address: where unencapsulated routes leave.
    fn parent(&self, family: Family) -> Option<Name> {
        let address = self.node()?.routing_address(family)?;
        self.kernel.interface_of(address).map(|(link, _)| link.name.clone())
    }

    /// `L3RouteResolver.nodeInOurSubnet`: this host's prefix contains the peer's address.
    fn same_subnet(&self, peer: IpAddr) -> bool {
        let family = Family::of(peer);
        self.node().and_then(|node| node.bgp_address(family)).is_some_and(|subnet| subnet.contains(&peer))
    }

    /// A pool that cannot be read may contain the prefix.
    fn pool_uncertain(&self, net: &IpNet) -> bool {
        self.datastore.pool_of(net).is_none() && self.datastore.has_unreadable(Kind::Pool)
    }

    /// Everything that is expected of a destination, what is required first.
    pub(super) fn expectations(&self, destination: &IpNet) -> Vec<Expectation> {
        let mut found = Vec::new();
        if let Some(address) = host_route(destination) {
            self.local_workload(address, &mut found);
            self.single_address(address, &mut found);
        }
        self.block(destination, &mut found);
        found.sort_by_key(|expectation| expectation.need);
        found
    }

    /// Destinations inside `net` that something may be expected of, beside what the kernel has.
    pub(super) fn candidates(&self, net: &IpNet) -> Vec<IpNet> {
        let mut found: Vec<IpNet> = self.datastore.cidrs_within(net).collect();
        // A single address may lie in a block that is wider than `net`.
        for block in self.datastore.blocks_within(net).chain(self.datastore.block_around(net)) {
            self.singles(block, &mut found);
        }
        // What an endpoint expects stands on its own, but not in a block that cannot be read or of a machine that moves
        // here (J1, J25): it has to be looked at when the block changes or goes.
        found.extend(self.own_endpoints());
        found.retain(|destination| net.contains(destination));
        found
    }

    fn own_endpoints(&self) -> impl Iterator<Item = IpNet> {
        let endpoints = self.datastore.endpoints().values().filter(|endpoint| endpoint.node == *self.me);
        endpoints.flat_map(|endpoint| &endpoint.addresses).copied().map(host_net)
    }

    /// The same for everything there is.
    pub(super) fn all_candidates(&self) -> Vec<IpNet> {
        let mut found: Vec<IpNet> = self.datastore.cidrs().into_iter().collect();
        for block in self.datastore.blocks() {
            self.singles(block, &mut found);
        }
        found.extend(self.own_endpoints());
        found
    }

    /// Addresses of a block that have a route of their own: this host's, and those that others borrow.
    fn singles(&self, block: &AllocationBlock, found: &mut Vec<IpNet>) {
        for (ordinal, attribute) in block.allocations() {
            let Some(user) = attribute.and_then(|attribute| user(block, attribute)) else { continue };
            if user == self.me || block.host() != Some(user) {
                found.extend(address_at(&block.cidr, u64::from(ordinal)).map(host_net));
            }
        }
    }

    /// Addresses of this host's endpoints behind a device.
    pub(super) fn addresses_behind(&self, device: &Name) -> Vec<IpNet> {
        let endpoints = self.datastore.endpoints().values();
        let behind = endpoints.filter(|endpoint| endpoint.node == *self.me && endpoint.interface == *device);
        behind.flat_map(|endpoint| endpoint.addresses.iter().chain(&endpoint.floating)).copied().map(host_net).collect()
    }

    /// Local workloads (J25).
    fn local_workload(&self, address: IpAddr, found: &mut Vec<Expectation>) {
        let block = self.datastore.block_around(&host_net(address));
        let holder = block.and_then(|block| holder(block, address));
        // The host's own addresses, its tunnels' among them, are nobody's workload (J16).
        let allocated_here = !self.is_own(address)
            && block.zip(holder).is_some_and(|(block, attribute)| user(block, attribute) == Some(self.me));
        let mut devices = Vec::new();
        let mut ready = false;
        for endpoint in self.datastore.endpoints_at(address).filter(|endpoint| endpoint.node == *self.me) {
            // A looked-up endpoint may have outlived its address.
            if !self.datastore.knows_endpoints() && !allocated_here {
                continue;
            }
            ready |= self.is_ready(endpoint) && !holder.is_some_and(|it| self.is_migration_target(it));
            devices.push(endpoint.interface.clone());
        }
        let known = !devices.is_empty();
        let floating = !known && self.datastore.floats_at(address).any(|endpoint| endpoint.node == *self.me);
        if !known && !allocated_here && !floating {
            return;
        }
        let required = known && ready && self.setting.felix_routes_blocks;
        found.push(Expectation {
            class: RouteClass::LocalWorkload,
            need: if required { Need::Required } else { Need::Permitted },
            programmer: Programmer::Felix,
            host: Some(self.me.clone()),
            // Without carrier a workload's route is nothing to judge (J19).
            form: if known && !ready { Form::Unknown } else { Form::Workload(devices) },
            bird_only: false,
        });
    }

    fn is_ready(&self, endpoint: &WorkloadEndpoint) -> bool {
        !self.kernel.knows_links() || self.kernel.link(&endpoint.interface).is_some_and(|link| link.is_up())
    }

    /// The host that a machine moves to has no route before it has announced itself (`live_migration.go`).
    fn is_migration_target(&self, attribute: &Attribute) -> bool {
        attribute.peer_node.as_ref() == Some(self.me) && attribute.node.as_ref() != Some(self.me)
    }

    /// A single address that another host uses: borrowed (J21, J22), or a pod that BIRD exports by itself (J16).
    fn single_address(&self, address: IpAddr, found: &mut Vec<Expectation>) {
        let net = host_net(address);
        let pool = self.datastore.pool_of(&net);
        if let Some(block) = self.datastore.block_around(&net)
            && let Some(attribute) = holder(block, address)
            && let Some(user) = user(block, attribute)
            && user != self.me
        {
            if self.pool_uncertain(&net) {
                found.push(self.unknown(&net));
                return;
            }
            if block.host() != Some(user) && !matches!(block.owner, Some(BlockOwner::Virtual(_))) {
                self.borrowed(address, block, user, pool, found);
            } else if host_route(&block.cidr).is_some() {
                self.pod_of_single_block(address, block, user, pool, found);
            }
            self.exported_pod(address, user, pool, found);
        }
        for endpoint in self.datastore.endpoints_at(address).filter(|endpoint| endpoint.node != *self.me) {
            self.exported_pod(address, &endpoint.node, pool, found);
        }
    }

    fn borrowed(
        &self,
        address: IpAddr,
        block: &AllocationBlock,
        user: &Name,
        pool: Option<&IpPool>,
        found: &mut Vec<Expectation>,
    ) {
        let Some(pool) = pool else { return };
        if self.felix_programs(pool) {
            let form = self.felix_form(pool, user, Some(address));
            found.extend(form.map(|form| Expectation {
                class: RouteClass::Borrowed,
                need: self.felix_need(&form, Family::of(address)),
                programmer: Programmer::Felix,
                host: Some(user.clone()),
                form,
                bird_only: false,
            }));
        }
        // The owner of a confirmed block announces nothing beneath it.
        if self.bird_may_program(pool.class()) && !self.confirms(user, &block.cidr) {
            self.pod_by_bird(address, block, user, pool, RouteClass::Borrowed, found);
        }
    }

    /// The pod in a block of one address: BIRD originates no such block, but announces the pod.
    fn pod_of_single_block(
        &self,
        address: IpAddr,
        block: &AllocationBlock,
        user: &Name,
        pool: Option<&IpPool>,
        found: &mut Vec<Expectation>,
    ) {
        if let Some(pool) = pool.filter(|pool| self.bird_may_program(pool.class())) {
            self.pod_by_bird(address, block, user, pool, RouteClass::RemoteBlock, found);
        }
    }

    /// A `/32` that BIRD on `user` has to announce where an endpoint there has the address (J22).
    fn pod_by_bird(
        &self,
        address: IpAddr,
        block: &AllocationBlock,
        user: &Name,
        pool: &IpPool,
        class: RouteClass,
        found: &mut Vec<Expectation>,
    ) {
        let family = Family::of(address);
        let Some(form) = self.bird_form(Some(pool), user, family) else { return };
        let used = self.datastore.endpoints_at(address).any(|endpoint| endpoint.node == *user);
        let lends = |host: &str| self.confirms(host, &block.cidr);
        let required = used
            && form != Form::Unknown
            && self.bird_requires(pool, user, self.sessions.reach_borrowed(user, self.me, family, &lends));
        found.push(Expectation {
            class,
            need: if required { Need::Required } else { Need::Permitted },
            programmer: Programmer::Bird,
            host: Some(user.clone()),
            form,
            bird_only: false,
        });
    }

    fn confirms(&self, host: &str, cidr: &IpNet) -> bool {
        self.datastore.affinities_of(cidr).any(|(owner, entry)| {
            entry.state == AffinityState::Confirmed && owner.host().is_some_and(|it| it.as_ref() == host)
        })
    }

    /// A `/32` that BIRD on `host` may announce: the kernel's filter keeps it to its own classes, and where one is
    /// there all the same it is no leftover of a block. Judged as its class says (J16, J20).
    fn exported_pod(&self, address: IpAddr, host: &Name, pool: Option<&IpPool>, found: &mut Vec<Expectation>) {
        let family = Family::of(address);
        let form = match pool {
            // Where both program the class, BIRD's route has BIRD's form.
            Some(pool) if self.felix_programs(pool) && !self.bird_may_program(pool.class()) => {
                self.felix_form(pool, host, None)
            }
            pool => self.bird_form(pool, host, family),
        };
        found.push(Expectation {
            class: RouteClass::Borrowed,
            need: Need::Permitted,
            programmer: Programmer::Bird,
            host: Some(host.clone()),
            form: form.unwrap_or(Form::Unknown),
            bird_only: true,
        });
    }

    fn felix_programs(&self, pool: &IpPool) -> bool {
        self.setting.ownership.programs(Programmer::Felix, pool.class())
            && !self.setting.ownership_unknown_for(pool.class())
    }

    /// The route of a whole block (J21, J22).
    fn block(&self, cidr: &IpNet, found: &mut Vec<Expectation>) {
        let block = self.datastore.block(cidr);
        let pool = self.datastore.pool_of(cidr);
        if block.is_none() && !self.datastore.has_affinity(cidr) {
            return;
        }
        if self.pool_uncertain(cidr) {
            found.push(self.unknown(cidr));
            return;
        }
        if let (Some(block), Some(pool)) = (block, pool)
            && self.felix_programs(pool)
        {
            self.felix_block(block, pool, found);
        }
        // A block whose key outlived its pool is exported whatever the classes are: no pool's filter holds it (J22).
        if pool.is_none_or(|pool| self.bird_may_program(pool.class())) {
            self.bird_block(cidr, block.is_some(), pool, found);
        }
        // Nobody is configured to program the class: what is there is somebody's business, not a leftover of Calico's.
        if let (Some(block), Some(pool)) = (block, pool)
            && matches!(pool.class(), PoolClass::Ipip | PoolClass::NoEncap)
            && !self.setting.ownership.programs(Programmer::Felix, pool.class())
            && !self.setting.ownership.programs(Programmer::Bird, pool.class())
            && block.owner.is_some()
        {
            found.push(self.unknown(cidr));
        }
    }

    fn felix_block(&self, block: &AllocationBlock, pool: &IpPool, found: &mut Vec<Expectation>) {
        let Some(host) = block.host() else { return };
        let family = Family::of_net(&block.cidr);
        if host == self.me {
            // A single address needs no blackhole: nothing of it is left over.
            if host_route(&block.cidr).is_some() {
                return;
            }
            found.push(Expectation {
                class: RouteClass::LocalBlock,
                need: self.felix_need(&Form::Blackhole, family),
                programmer: Programmer::Felix,
                host: Some(host.clone()),
                form: Form::Blackhole,
                bird_only: false,
            });
            return;
        }
        let tunnel_address = host_route(&block.cidr).filter(|address| {
            self.datastore.nodes().get(host).is_some_and(|node| node.tunnels.values().any(|it| it == address))
        });
        let Some(form) = self.felix_form(pool, host, tunnel_address) else { return };
        let class = if tunnel_address.is_some() { RouteClass::TunnelAddress } else { RouteClass::RemoteBlock };
        found.push(Expectation {
            class,
            need: self.felix_need(&form, family),
            programmer: Programmer::Felix,
            host: Some(host.clone()),
            form,
            bird_only: false,
        });
    }

    fn felix_need(&self, form: &Form, family: Family) -> Need {
        let required = self.setting.felix_routes_blocks && self.is_addressed(family) && *form != Form::Unknown;
        if required { Need::Required } else { Need::Permitted }
    }

    /// Whether this host has an address of the family. Without one Felix finds neither its tunnel nor the device to
    /// route through, as on a host without IPv6 of a cluster that has both.
    fn is_addressed(&self, family: Family) -> bool {
        self.node().is_some_and(|node| node.routing_address(family).is_some())
    }

    /// How Felix routes to `host`, or `None` where it does not: no Node, no address, no VTEP for a tunnel (J21).
    /// `single`: the one address that the route is for. That it is the peer's tunnel address its Node says, and not its
    /// allocation.
    fn felix_form(&self, pool: &IpPool, host: &Name, single: Option<IpAddr>) -> Option<Form> {
        if self.datastore.is_unreadable_node(host) || self.datastore.is_unreadable_node(self.me) {
            return Some(Form::Unknown);
        }
        let family = pool.family();
        let node = self.datastore.nodes().get(host)?;
        let peer = node.routing_address(family)?;
        let same_subnet = self.same_subnet(peer);
        let direct = match pool.mode() {
            EncapMode::Never => true,
            EncapMode::CrossSubnet => same_subnet,
            EncapMode::Always => false,
        };
        if direct {
            let device = self.parent(family).map_or(Device::Any, |parent| Device::OneOf(vec![parent]));
            let gateway = Gateway::Exactly(peer);
            return Some(Form::Remote { encapsulation: Encapsulation::None, device, gateway, same_subnet });
        }
        match pool.class() {
            PoolClass::Vxlan => {
                let vtep = node.vtep(family)?;
                let gateway = if single == Some(vtep) { Gateway::OnLink } else { Gateway::Exactly(vtep) };
                let device = self.vxlan_devices(family);
                Some(Form::Remote { encapsulation: Encapsulation::Vxlan, device, gateway, same_subnet })
            }
            // There is no IPIP for IPv6.
            PoolClass::Ipip if family == Family::V4 => Some(Form::Remote {
                encapsulation: Encapsulation::Ipip,
                device: Device::OneOf(vec![TunnelKind::Ipip.device().into()]),
                gateway: Gateway::Exactly(peer),
                same_subnet,
            }),
            _ => None,
        }
    }

    fn vxlan_devices(&self, family: Family) -> Device {
        match family {
            Family::V4 => Device::OneOf(vec![TunnelKind::VxlanV4.device().into()]),
            Family::V6 if self.setting.bpf => {
                Device::OneOf(vec![TunnelKind::VxlanV4.device().into(), TunnelKind::VxlanV6.device().into()])
            }
            Family::V6 => Device::OneOf(vec![TunnelKind::VxlanV6.device().into()]),
        }
    }

    fn bird_may_program(&self, class: PoolClass) -> bool {
        self.setting.ownership.programs(Programmer::Bird, class) || self.setting.ownership_unknown_for(class)
    }

    fn bird_block(&self, cidr: &IpNet, exists: bool, pool: Option<&IpPool>, found: &mut Vec<Expectation>) {
        let single = host_route(cidr).is_some();
        if self.datastore.is_dark_affinity(cidr) {
            found.push(self.unknown(cidr));
            return;
        }
        let claims = |pending: bool| {
            let wanted = move |state: AffinityState| (state == AffinityState::Pending) == pending;
            self.datastore
                .affinities_of(cidr)
                .filter(move |(_, entry)| wanted(entry.state))
                .filter_map(|(owner, _)| owner.host())
        };
        let settled: Vec<&Name> = claims(false).collect();
        let Some((host, settled)) = (match settled.as_slice() {
            [only] => Some((*only, true)),
            // confd ignores a pending key, and BIRD keeps what it had: either way (J22).
            [] => claims(true).next().map(|host| (host, false)),
            // Two hosts announce the block; which one wins is chance.
            _ => {
                found.push(self.unknown(cidr));
                return;
            }
        }) else {
            return;
        };
        let whole = settled && exists && !single;
        let certain = !self.setting.ownership_unknown;
        if host == self.me {
            let required = whole && certain && pool.is_some() && self.bird_meant;
            found.push(Expectation {
                class: RouteClass::LocalBlock,
                need: if required { Need::Required } else { Need::Permitted },
                programmer: Programmer::Bird,
                host: Some(host.clone()),
                form: Form::Blackhole,
                bird_only: false,
            });
            return;
        }
        let Some(form) = self.bird_form(pool, host, Family::of_net(cidr)) else { return };
        let reach = self.sessions.reach(host, self.me, Family::of_net(cidr));
        let required = whole && pool.is_some_and(|pool| self.bird_requires(pool, host, reach));
        found.push(Expectation {
            class: RouteClass::RemoteBlock,
            need: if required { Need::Required } else { Need::Permitted },
            programmer: Programmer::Bird,
            host: Some(host.clone()),
            form,
            bird_only: false,
        });
    }

    /// Whether BIRD's route to a host has to be here, given the way that its announcement takes (J22).
    fn bird_requires(&self, pool: &IpPool, host: &Name, reach: Reach) -> bool {
        self.bird_meant
            && reach == Reach::Required
            && !pool.disable_bgp_export
            && !self.setting.ownership_unknown
            && !self.datastore.nodes().get(host).is_some_and(|peer| self.setting.wireguard_takes(peer))
    }

    /// How BIRD routes to `host`, or `None` where that host announces nothing: no Node, no address of the family.
    fn bird_form(&self, pool: Option<&IpPool>, host: &Name, family: Family) -> Option<Form> {
        if self.datastore.is_unreadable_node(host) || self.datastore.is_unreadable_node(self.me) {
            return Some(Form::Unknown);
        }
        let peer = self.datastore.nodes().get(host)?.bgp_address(family)?.addr();
        let same_subnet = self.same_subnet(peer);
        // In no pool BIRD's kernel filter accepts the route as it is.
        let tunnel = match pool.map_or(EncapMode::Never, IpPool::mode) {
            EncapMode::Never => false,
            EncapMode::CrossSubnet => !same_subnet,
            EncapMode::Always => true,
        };
        if tunnel && family == Family::V4 {
            return Some(Form::Remote {
                encapsulation: Encapsulation::Ipip,
                device: Device::OneOf(vec![TunnelKind::Ipip.device().into()]),
                gateway: Gateway::Exactly(peer),
                same_subnet,
            });
        }
        Some(Form::Remote {
            encapsulation: Encapsulation::None,
            device: self.parent(family).map_or(Device::Any, Device::Reaching),
            gateway: Gateway::Recursive,
            same_subnet,
        })
    }

    /// A route that may be there and that nobody can judge.
    fn unknown(&self, cidr: &IpNet) -> Expectation {
        let class = if self.kernel.route(cidr).is_some_and(|route| route.kind == crate::model::RouteType::Blackhole) {
            RouteClass::LocalBlock
        } else {
            RouteClass::RemoteBlock
        };
        Expectation {
            class,
            need: Need::Permitted,
            programmer: Programmer::Bird,
            host: None,
            form: Form::Unknown,
            bird_only: false,
        }
    }

    /// The endpoint to look up before an allocation without a route is called one: where endpoints are not listed.
    pub(super) fn lookup(&self, destination: &IpNet) -> Option<EndpointId> {
        if self.datastore.knows_endpoints() {
            return None;
        }
        let address = host_route(destination)?;
        let block = self.datastore.block_around(destination)?;
        let attribute = holder(block, address)?;
        let node = user(block, attribute)?;
        if matches!(attribute.kind, AttributeKind::Tunnel) {
            return None;
        }
        Some(EndpointId::of_pod(node, attribute.namespace.as_deref()?, attribute.pod.as_deref()?))
    }
}

/// The attribute of an allocated address, where it has one that can be read. An address in cooldown is not allocated
/// any more.
fn holder(block: &AllocationBlock, address: IpAddr) -> Option<&Attribute> {
    let ordinal = u32::try_from(ordinal_of(&block.cidr, address)?).ok()?;
    block.allocation(ordinal)?.filter(|attribute| attribute.kind != AttributeKind::Cooldown)
}

/// The host that uses an allocation: its `node`, or the block's host where it has none.
fn user<'b>(block: &'b AllocationBlock, attribute: &'b Attribute) -> Option<&'b Name> {
    match attribute.kind {
        AttributeKind::Cooldown | AttributeKind::WindowsReserved | AttributeKind::LoadBalancer => None,
        _ => attribute.node.as_ref().or_else(|| block.host()),
    }
}
