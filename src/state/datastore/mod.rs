//! The datastore's picture: Calico's objects by identity, and the few indices that rules look things up by.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::changes::Changes;
use super::event::{Kind, ObjectId, Unreadable};
use super::follow::Follow;
use super::prefix::PrefixMap;
use super::sorted::Sorted;
use crate::model::{
    AffinityState, AllocationBlock, Attribute, BgpConfiguration, BgpPeer, BlockOwner, ClusterInformation, EndpointId,
    FelixConfiguration, Handle, IpPool, IpReservation, IpamConfig, Label, Name, Node, Shared, WorkloadEndpoint,
};

mod fold;
mod read;

pub use read::ReadBlock;

/// A value that says nothing, and where it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableValue {
    /// Where it is stored, as an operator would look it up.
    pub key: Name,
    /// Why it says nothing.
    pub why: Unreadable,
}

/// One affinity key's state, and since when it has been in it (monotonic).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AffinityEntry {
    /// How far the claim is.
    pub state: AffinityState,
    /// When this state was first seen here.
    pub since: Duration,
}

/// Calico's objects. Keys that cannot be read stay known by identity: never a deletion, never content.
#[derive(Debug, Clone, Default)]
pub struct Datastore {
    /// Boxed: a tree that is filled in order is half empty.
    blocks: PrefixMap<Box<AllocationBlock>>,
    affinities: PrefixMap<Sorted<BlockOwner, AffinityEntry>>,
    handles: BTreeMap<Name, Handle>,
    ipam_config: Option<IpamConfig>,
    pools: BTreeMap<Name, IpPool>,
    /// Names of pools by CIDR: nothing keeps two from having the same one.
    pools_by_cidr: PrefixMap<BTreeSet<Name>>,
    reservations: BTreeMap<Name, IpReservation>,
    nodes: BTreeMap<Name, Box<Node>>,
    endpoints: BTreeMap<EndpointId, WorkloadEndpoint>,
    felix: BTreeMap<Name, FelixConfiguration>,
    bgp: BTreeMap<Name, BgpConfiguration>,
    peers: BTreeMap<Name, BgpPeer>,
    cluster: Option<ClusterInformation>,
    unreadable: BTreeMap<ObjectId, UnreadableValue>,
    /// Blocks whose value cannot be read, and affinity keys likewise: nothing follows from these CIDRs (J1).
    dark_blocks: PrefixMap<()>,
    dark_affinities: PrefixMap<BTreeSet<BlockOwner>>,
    endpoints_by_address: HashMap<IpAddr, Sorted<EndpointId>>,
    floating: HashMap<IpAddr, Sorted<EndpointId>>,
    endpoints_by_node: HashMap<Name, BTreeSet<EndpointId>>,
    /// Routing and other own addresses of nodes.
    nodes_by_address: HashMap<IpAddr, Sorted<Name>>,
    /// Tunnel addresses of nodes.
    nodes_by_tunnel: HashMap<IpAddr, Sorted<Name>>,
    /// Hosts' names, each once: every block and every key repeats one.
    names: Shared<str>,
    /// Labels of Nodes, each once.
    labels: Shared<Label>,
    /// What blocks keep of pods that are told apart by nothing but their host.
    pods: Shared<[Attribute]>,
    /// A Node, a pool or a block was there once, readable or not.
    seen_once: bool,
    /// What the list in progress has named so far.
    seen: Option<HashSet<ObjectId>>,
    /// Endpoints and handles come in the list, rather than by look-ups or not at all.
    pub(in crate::state) lists_endpoints: bool,
    /// Which blocks events tell of.
    pub(in crate::state) follow: Follow,
    /// Others' blocks that were read, where they are not followed.
    reads: PrefixMap<ReadBlock>,
    /// This host's blocks of which nothing was said yet, where others' are not followed.
    awaited: BTreeSet<IpNet>,
    pub(in crate::state) changes: Changes,
}

impl Datastore {
    /// The readable block of exactly this CIDR.
    pub fn block(&self, cidr: &IpNet) -> Option<&AllocationBlock> {
        self.blocks.get(cidr).map(Box::as_ref)
    }

    /// All readable blocks, sorted by CIDR.
    pub fn blocks(&self) -> impl Iterator<Item = &AllocationBlock> + '_ {
        self.blocks.iter().map(|(_, block)| &**block)
    }

    /// The most specific readable block that contains the prefix.
    pub fn block_around(&self, net: &IpNet) -> Option<&AllocationBlock> {
        self.blocks_around(net).next()
    }

    /// All readable blocks that contain the prefix, the most specific first. Healthy blocks do not overlap.
    pub fn blocks_around(&self, net: &IpNet) -> impl Iterator<Item = &AllocationBlock> + use<'_> {
        self.blocks.covering(net).map(|(_, block)| &**block)
    }

    /// Readable blocks that contain the CIDR or lie inside it, itself left out.
    pub fn blocks_overlapping(&self, cidr: &IpNet) -> impl Iterator<Item = &AllocationBlock> + '_ {
        let own = *cidr;
        self.blocks
            .covering(cidr)
            .chain(self.blocks.within(cidr))
            .filter(move |(other, _)| **other != own)
            .map(|(_, block)| &**block)
    }

    /// Whether the prefix lies in a block whose value cannot be read: nothing follows from it (J1).
    pub fn is_dark(&self, net: &IpNet) -> bool {
        self.dark_blocks.covering(net).next().is_some()
    }

    /// Whether the block of exactly this CIDR exists and cannot be read.
    pub fn is_dark_block(&self, cidr: &IpNet) -> bool {
        self.dark_blocks.get(cidr).is_some()
    }

    /// CIDRs of blocks whose value cannot be read, sorted.
    pub fn dark_blocks(&self) -> impl Iterator<Item = &IpNet> + '_ {
        self.dark_blocks.iter().map(|(cidr, ())| cidr)
    }

    /// The same, those that contain the prefix, the most specific first.
    pub fn dark_blocks_around(&self, net: &IpNet) -> impl Iterator<Item = &IpNet> + use<'_> {
        self.dark_blocks.covering(net).map(|(cidr, ())| cidr)
    }

    /// The same, those inside the prefix.
    pub fn dark_blocks_within(&self, net: &IpNet) -> impl Iterator<Item = &IpNet> + use<'_> {
        self.dark_blocks.within(net).map(|(cidr, ())| cidr)
    }

    /// The same, those that contain the CIDR or lie inside it, itself left out.
    pub fn dark_blocks_overlapping(&self, cidr: &IpNet) -> impl Iterator<Item = &IpNet> + '_ {
        let own = *cidr;
        let overlapping = self.dark_blocks.covering(cidr).chain(self.dark_blocks.within(cidr));
        overlapping.map(|(other, ())| other).filter(move |other| **other != own)
    }

    /// Whether a key that claims this CIDR cannot be read.
    pub fn is_dark_affinity(&self, cidr: &IpNet) -> bool {
        self.dark_affinities.get(cidr).is_some()
    }

    /// Readable affinity keys of a CIDR by owner.
    pub fn affinities_of(&self, cidr: &IpNet) -> impl Iterator<Item = (&BlockOwner, &AffinityEntry)> + '_ {
        self.affinities.get(cidr).into_iter().flat_map(Sorted::iter)
    }

    /// All readable affinity keys, sorted by CIDR and owner.
    pub fn affinities(&self) -> impl Iterator<Item = (&IpNet, &BlockOwner, &AffinityEntry)> + '_ {
        self.affinities.iter().flat_map(|(cidr, owners)| owners.iter().map(move |(owner, entry)| (cidr, owner, entry)))
    }

    /// Every CIDR that a readable block or a readable key names, sorted.
    pub fn cidrs(&self) -> BTreeSet<IpNet> {
        self.blocks.iter().map(|(cidr, _)| *cidr).chain(self.affinities.iter().map(|(cidr, _)| *cidr)).collect()
    }

    /// Whether a key claims this CIDR, readable or not.
    pub fn has_affinity(&self, cidr: &IpNet) -> bool {
        self.affinities.get(cidr).is_some() || self.is_dark_affinity(cidr)
    }

    /// The one non-pending key of a host to this CIDR; `None` where there is none, or more than one.
    pub fn key_of(&self, cidr: &IpNet) -> Option<(&Name, &AffinityEntry)> {
        let mut settled = self
            .affinities_of(cidr)
            .filter(|(_, entry)| entry.state != AffinityState::Pending)
            .filter_map(|(owner, entry)| Some((owner.host()?, entry)));
        settled.next().filter(|_| settled.next().is_none())
    }

    /// CIDRs inside the prefix that a readable block or any key names; sorted, a CIDR with both comes twice.
    pub fn cidrs_within(&self, net: &IpNet) -> impl Iterator<Item = IpNet> + '_ {
        let blocks = self.blocks.within(net).map(|(cidr, _)| *cidr);
        let keys = self.affinities.within(net).map(|(cidr, _)| *cidr);
        blocks.chain(keys).chain(self.dark_affinities.within(net).map(|(cidr, _)| *cidr))
    }

    /// Readable blocks inside the prefix, sorted.
    pub fn blocks_within(&self, net: &IpNet) -> impl Iterator<Item = &AllocationBlock> + '_ {
        self.blocks.within(net).map(|(_, block)| &**block)
    }

    /// Handles by id.
    pub fn handles(&self) -> &BTreeMap<Name, Handle> {
        &self.handles
    }

    /// The IPAM configuration as it is stored, where it is.
    pub(in crate::state) fn stored_ipam_config(&self) -> Option<&IpamConfig> {
        self.ipam_config.as_ref()
    }

    /// The IPAM configuration in force.
    pub fn ipam_config(&self) -> IpamConfig {
        self.ipam_config.clone().unwrap_or_default()
    }

    /// Whether an IPAM configuration is there.
    pub fn has_ipam_config(&self) -> bool {
        self.ipam_config.is_some()
    }

    /// Whether a Node, a pool or a block was ever there, readable or not: a datastore that is empty now may be another
    /// than the one that Calico uses, one that has become empty is not.
    pub fn was_seen(&self) -> bool {
        self.seen_once
    }

    /// Pools by name.
    pub fn pools(&self) -> &BTreeMap<Name, IpPool> {
        &self.pools
    }

    /// The most specific pool that contains the prefix (`L3RouteResolver.flush`).
    pub fn pool_of(&self, net: &IpNet) -> Option<&IpPool> {
        let (_, names) = self.pools_by_cidr.covering(net).next()?;
        self.pools.get(names.last()?)
    }

    /// Reservations by name.
    pub fn reservations(&self) -> &BTreeMap<Name, IpReservation> {
        &self.reservations
    }

    /// Nodes by name.
    pub fn nodes(&self) -> &BTreeMap<Name, Box<Node>> {
        &self.nodes
    }

    /// The node of this name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name).map(Box::as_ref)
    }

    /// Names of the nodes that have this address as their own (tunnel addresses aside).
    pub fn nodes_at(&self, address: IpAddr) -> impl Iterator<Item = &Name> + '_ {
        self.nodes_by_address.get(&address).into_iter().flat_map(Sorted::iter).map(|(name, ())| name)
    }

    /// Names of the nodes that have this address on one of their tunnels. More than one is a fault (J13).
    pub fn tunnels_at(&self, address: IpAddr) -> impl Iterator<Item = &Name> + '_ {
        self.nodes_by_tunnel.get(&address).into_iter().flat_map(Sorted::iter).map(|(name, ())| name)
    }

    /// Endpoints by id: all of them, or those that were looked up.
    pub fn endpoints(&self) -> &BTreeMap<EndpointId, WorkloadEndpoint> {
        &self.endpoints
    }

    /// Those on a node, by id.
    pub fn endpoints_on(&self, node: &Name) -> impl Iterator<Item = &WorkloadEndpoint> + '_ {
        self.endpoints_by_node.get(node).into_iter().flatten().filter_map(|id| self.endpoints.get(id))
    }

    /// Endpoints that have the address in `ipNetworks`.
    pub fn endpoints_at(&self, address: IpAddr) -> impl Iterator<Item = &WorkloadEndpoint> + '_ {
        self.endpoints_in(&self.endpoints_by_address, address)
    }

    /// Endpoints that have the address as a floating one.
    pub fn floats_at(&self, address: IpAddr) -> impl Iterator<Item = &WorkloadEndpoint> + '_ {
        self.endpoints_in(&self.floating, address)
    }

    fn endpoints_in<'a>(
        &'a self,
        index: &'a HashMap<IpAddr, Sorted<EndpointId>>,
        address: IpAddr,
    ) -> impl Iterator<Item = &'a WorkloadEndpoint> {
        let ids = index.get(&address).into_iter().flat_map(Sorted::iter);
        ids.filter_map(|(id, ())| self.endpoints.get(id))
    }

    /// Whether all endpoints (and handles) are known, rather than those that were looked up.
    pub fn knows_endpoints(&self) -> bool {
        self.lists_endpoints
    }

    /// Felix configurations by name.
    pub fn felix(&self) -> &BTreeMap<Name, FelixConfiguration> {
        &self.felix
    }

    /// BGP configurations by name.
    pub fn bgp(&self) -> &BTreeMap<Name, BgpConfiguration> {
        &self.bgp
    }

    /// BGP peers by name.
    pub fn peers(&self) -> &BTreeMap<Name, BgpPeer> {
        &self.peers
    }

    /// `ClusterInformation`.
    pub fn cluster(&self) -> Option<&ClusterInformation> {
        self.cluster.as_ref()
    }

    /// Everything that cannot be read, by identity.
    pub fn unreadable(&self) -> &BTreeMap<ObjectId, UnreadableValue> {
        &self.unreadable
    }

    /// Whether something of the kind cannot be read.
    pub fn has_unreadable(&self, kind: Kind) -> bool {
        self.unreadable.keys().any(|id| id.kind() == kind)
    }

    /// Whether Calico's IPAM is in use, as far as anything of it is known: a block, a key, a handle, its configuration
    /// (J38).
    pub fn has_ipam(&self) -> bool {
        let of_ipam =
            |id: &ObjectId| matches!(id.kind(), Kind::Block | Kind::Affinity | Kind::Handle | Kind::IpamConfig);
        self.ipam_config.is_some()
            || !self.handles.is_empty()
            || self.blocks.iter().next().is_some()
            || self.affinities.iter().next().is_some()
            || self.unreadable.keys().any(of_ipam)
    }

    /// Whether a node of this name exists and cannot be read.
    pub fn is_unreadable_node(&self, name: &Name) -> bool {
        !self.unreadable.is_empty() && self.unreadable.contains_key(&ObjectId::Node(name.clone()))
    }
}
