//! The routes that this host ought to have: for one destination, everything that the datastore says of it
//! (J20–J25).

use std::cell::Cell;
use std::net::IpAddr;

use ipnet::IpNet;

use super::bgp::Sessions;
use super::report::{Encapsulation, RouteClass};
use super::setting::{Programmer, Setting};
use super::wireguard::Wireguard;
use crate::model::{
    AllocationBlock, Attribute, AttributeKind, EndpointId, Family, Name, Node, PolicyRule, Route, RouteType,
    host_route, ordinal_of,
};
use crate::state::{Datastore, Kernel, Kind};

mod bird;
mod candidates;
mod felix;
mod sight;
mod single;

use sight::Sight;

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

/// Names of tunnel devices, of which any will do.
pub(super) type Devices = &'static [&'static str];

/// Which device is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Device {
    /// A tunnel's; of several any.
    Tunnel(Devices),
    /// This one.
    Exactly(Name),
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
    /// Its Node.
    pub node: Option<&'a Node>,
    /// What is configured for it.
    pub setting: &'a Setting,
    /// The interfaces that carry this host's addresses, IPv4 and IPv6: where unencapsulated routes leave.
    pub parents: &'a [Option<Name>; 2],
    /// BGP sessions that the datastore describes.
    pub sessions: &'a Sessions,
    /// BIRD is meant to run here (J24).
    pub bird_meant: bool,
    /// Another program than Felix and BIRD routes between hosts whose blocks are podCIDRs, as flannel does in Canal
    /// (J39).
    pub routed_by_others: bool,
    /// Blocks that are not followed count as they were when they were read.
    pub reads: bool,
    /// What WireGuard is to encrypt.
    pub wireguard: &'a Wireguard,
    /// The policy rules in force, IPv4 and IPv6, where they are known.
    pub rules: [Option<&'a [PolicyRule]>; 2],
    /// Other tables than main are known: a dump may hold main alone.
    pub has_tables: bool,
    /// How many endpoints were gone through to find out what is touched: what a look costs is counted.
    pub examined: &'a Cell<usize>,
}

impl<'a> Context<'a> {
    /// The interface that carries this host's address of the family.
    pub(in crate::audit) fn parent(&self, family: Family) -> Option<Name> {
        self.parents[family as usize].clone()
    }

    /// `L3RouteResolver.nodeInOurSubnet`: this host's prefix contains the peer's address.
    fn same_subnet(&self, peer: IpAddr) -> bool {
        let family = Family::of(peer);
        self.node.and_then(|node| node.bgp_address(family)).is_some_and(|subnet| subnet.contains(&peer))
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

    /// The route of a whole block (J21, J22).
    fn block(&self, cidr: &IpNet, found: &mut Vec<Expectation>) {
        let sight = self.sight(cidr);
        let pool = self.datastore.pool_of(cidr);
        let block = match sight {
            Sight::Block(block) => block,
            Sight::Keys => None,
        };
        if block.is_none() && !self.datastore.has_affinity(cidr) {
            return;
        }
        if self.pool_uncertain(cidr) {
            found.push(self.unknown(cidr));
            return;
        }
        if let Sight::Keys = sight {
            self.block_by_keys(cidr, pool, found);
            return;
        }
        if block.is_some_and(|block| block.pod_cidr) && self.routed_by_others {
            found.push(self.unknown(cidr));
            return;
        }
        if let (Some(host), Some(pool)) = (block.and_then(AllocationBlock::host), pool)
            && self.felix_programs(pool)
        {
            self.felix_block(cidr, host, pool, found);
        }
        // A block whose key outlived its pool is exported whatever the classes are: no pool's filter holds it (J22).
        if pool.is_none_or(|pool| self.bird_may_program(pool.class())) {
            self.bird_block(cidr, block.is_some(), pool, found);
        }
        if let (Some(block), Some(pool)) = (block, pool)
            && self.is_nobodys(pool)
            && block.owner.is_some()
        {
            found.push(self.unknown(cidr));
        }
    }

    /// Whether a route leads to a pod's device.
    pub(super) fn is_on_workload(&self, route: &Route) -> bool {
        let mut devices = route.next_hops.iter().filter_map(|hop| hop.device.as_deref());
        devices.any(|device| self.setting.is_workload_device(device))
    }

    /// A route that may be there and that nobody can judge: of the class of its form (J15).
    fn unknown(&self, cidr: &IpNet) -> Expectation {
        let class = self.kernel.route(cidr).map_or(RouteClass::RemoteBlock, |route| self.class_by_form(route));
        Expectation {
            class,
            need: Need::Permitted,
            programmer: Programmer::Bird,
            host: None,
            form: Form::Unknown,
            bird_only: false,
        }
    }

    /// The class of a route that nobody expects (J15).
    pub(super) fn class_by_form(&self, route: &Route) -> RouteClass {
        match route.kind {
            RouteType::Blackhole => RouteClass::LocalBlock,
            _ if self.is_on_workload(route) => RouteClass::LocalWorkload,
            _ if host_route(&route.destination).is_some() => RouteClass::Borrowed,
            _ => RouteClass::RemoteBlock,
        }
    }

    /// The class of a route to a single address of another host.
    pub(super) fn single_class(&self, address: IpAddr, else_it_is: RouteClass) -> RouteClass {
        match self.datastore.tunnels_at(address).next() {
            Some(_) => RouteClass::TunnelAddress,
            None => else_it_is,
        }
    }

    /// The endpoint to look up before an allocation without a route is called one: where endpoints are not listed.
    pub(super) fn lookup(&self, destination: &IpNet) -> Option<EndpointId> {
        if self.datastore.knows_endpoints() {
            return None;
        }
        let address = host_route(destination)?;
        // Only what is followed says that an address is in use now.
        self.datastore.blocks_around(destination).find_map(|block| {
            let attribute = holder(block, address).filter(|it| !matches!(it.kind, AttributeKind::Tunnel))?;
            let node = user(block, attribute)?;
            Some(EndpointId::of_pod(node, attribute.namespace.as_deref()?, attribute.pod.as_deref()?))
        })
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
