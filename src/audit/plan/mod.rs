//! How much still fits: hosts and pods for each pool, what another N hosts would need, and which block size would have
//! suited the pods that are there. Pure arithmetic over the datastore's picture; nothing is simulated, and a test holds
//! the numbers against an allocator that is.
//!
//! The allocator as it is counted here (`libcalico-go/lib/ipam/ipam.go`, `autoAssign`): a host takes addresses from its
//! own blocks, then claims blocks in the pools that select it, in the pools' order by name, up to the limit of blocks
//! for a host and family; at the limit it is refused. Where no block is left to claim it borrows from anybody's, unless
//! affinity is strict. Reserved addresses are never given out, and a block that is reserved as a whole is never claimed.
//! Another host's empty block counts as claimed: Calico takes it over (since 3.32) only where nothing else is left.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::ipam::reserved::Reserved;
use super::{Note, node_addresses};
use crate::model::label_values;
use crate::model::{
    AllocationBlock, Attribute, AttributeKind, BlockOwner, Family, IpPool, Name, Node, Selector, TunnelKind, address_at,
};
use crate::state::{Datastore, Kind};

mod add;
mod room;
mod sizes;

#[cfg(test)]
mod allocator;
#[cfg(test)]
mod tests;

pub use add::{Addition, Fit, Newcomers, Shortage};
pub use sizes::SizePlan;

use room::Room;

/// What is asked.
#[derive(Debug, Clone, Default)]
pub struct PlanQuestion {
    /// Hosts that may join.
    pub newcomers: Option<Newcomers>,
    /// Compare block sizes.
    pub sizes: bool,
}

label_values! {
    /// Why a pool gives out no address on its own.
    pub enum Closed {
        /// `disabled`, being deleted, or not allocatable.
        Disabled = "disabled",
        /// `assignmentMode: Manual`: only on request.
        Manual = "manual",
        /// For Services alone.
        LoadBalancer = "load_balancer",
        /// Its blocks would be larger than the pool is.
        BlockTooLarge = "block_too_large",
        /// Its node selector cannot be read.
        Selector = "unreadable_selector",
    }
}

label_values! {
    /// What ends the growth of a pool's pods on the hosts that are there.
    pub enum Bound {
        /// Every address is used.
        Addresses = "addresses",
        /// No block is left to claim, and nobody borrows: affinity is strict, or all hosts have reached their limit.
        Blocks = "blocks",
        /// The hosts have as many blocks as they may have.
        BlockLimit = "block_limit",
        /// It gives nothing out.
        Closed = "closed",
        /// It selects no host.
        NoHost = "no_host",
    }
}

/// One pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolPlan {
    /// Its name.
    pub name: Name,
    /// The pool.
    pub cidr: IpNet,
    /// Prefix length of its blocks.
    pub block_size: u8,
    /// Why it gives nothing out, if it does not.
    pub closed: Option<Closed>,
    /// Hosts that it selects.
    pub hosts: u64,
    /// Those of them that own a block in it.
    pub hosts_with_block: u64,
    /// Addresses of pods and of virtual machines.
    pub pods: u64,
    /// Other allocated addresses: tunnels', Services', Windows', those whose owner cannot be told.
    pub others: u64,
    /// Addresses at rest: free before long, not counted as free.
    pub cooldown: u64,
    /// Blocks that exist, those that cannot be read among them.
    pub blocks_claimed: u64,
    /// Those with nothing allocated.
    pub blocks_empty: u64,
    /// Blocks that can still be claimed; those that are reserved as a whole, or overlapped, are none.
    pub blocks_left: u128,
    /// Those of them that are reserved in part.
    pub blocks_left_in_part: u64,
    /// Free and unreserved addresses in claimed blocks.
    pub free_in_blocks: u128,
    /// Those of them that no pod of the present hosts can ever get: lost to half-empty blocks.
    pub stranded: u128,
    /// How many more hosts can have a block of their own.
    pub more_hosts: u128,
    /// How many more pods the present hosts can run, if this pool is the only one that is used and pods come where there
    /// is room.
    pub more_pods: u128,
    /// What ends that.
    pub bound: Bound,
    /// Other block sizes, where they were asked for.
    pub sizes: Vec<SizePlan>,
}

/// The whole plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Blocks that a host may have of one family.
    pub max_blocks_per_host: u32,
    /// Nobody borrows.
    pub strict_affinity: bool,
    /// Hosts may claim blocks.
    pub auto_allocate_blocks: bool,
    /// By name.
    pub pools: Vec<PoolPlan>,
    /// The answer about newcomers, once a family that has pools for them.
    pub additions: Vec<Addition>,
    /// What cannot be read and would change the numbers, in words. With any of it the plan is a guess.
    pub unknown: Vec<String>,
    /// Pools that Nodes' own addresses lie in: a block over them would cut the Nodes off (J34).
    pub notes: Vec<Note>,
}

impl Plan {
    /// Plans on what the datastore says.
    pub fn of(datastore: &Datastore, question: &PlanQuestion) -> Plan {
        let picture = Picture::of(datastore);
        let pools = picture.pools.iter().map(|pool| pool.plan(&picture, question.sizes)).collect();
        let newcomers = question.newcomers.as_ref();
        Plan {
            max_blocks_per_host: picture.limit,
            strict_affinity: picture.strict,
            auto_allocate_blocks: picture.auto,
            pools,
            additions: newcomers.map(|newcomers| add::additions(&picture, newcomers)).unwrap_or_default(),
            unknown: unknown(datastore),
            notes: node_addresses::notes(datastore),
        }
    }

    /// Whether all newcomers fit; `None` where nobody asked.
    pub fn fits(&self) -> Option<Fit> {
        self.additions.iter().map(|addition| addition.fit).max()
    }
}

/// J1: what cannot be read is neither there nor gone.
fn unknown(datastore: &Datastore) -> Vec<String> {
    let whole = [
        (Kind::Pool, "a pool"),
        (Kind::IpamConfig, "the IPAM configuration, and with it the limit of blocks for a host"),
        (Kind::Reservation, "a reservation"),
        (Kind::Node, "a Node"),
    ];
    let mut unknown: Vec<String> = whole
        .iter()
        .filter(|(kind, _)| datastore.has_unreadable(*kind))
        .map(|(_, what)| format!("{what} cannot be read (see calico_exporter_undecodable_keys)"))
        .collect();
    let dark = datastore.dark_blocks().count();
    if dark > 0 {
        unknown.push(format!("{dark} blocks cannot be read: they are counted as full"));
    }
    unknown
}

/// A block's part in its pool.
#[derive(Debug, Clone)]
struct Used {
    owner: Option<BlockOwner>,
    /// Free and unreserved.
    free: u128,
}

/// A pool with everything in it.
#[derive(Debug)]
struct PoolPicture<'a> {
    pool: &'a IpPool,
    closed: Option<Closed>,
    selector: Option<Selector>,
    /// Hosts that it selects.
    selected: BTreeSet<&'a Name>,
    blocks: Vec<Used>,
    room: Room,
    pods: u64,
    others: u64,
    cooldown: u64,
    claimed: u64,
    empty: u64,
    /// Addresses in use by host.
    spread: BTreeMap<&'a Name, u64>,
}

/// What the allocator looks at.
#[derive(Debug)]
struct Picture<'a> {
    pools: Vec<PoolPicture<'a>>,
    /// Blocks that a host owns, by family.
    held: BTreeMap<(&'a Name, Family), u64>,
    limit: u32,
    strict: bool,
    auto: bool,
    wireguard: bool,
}

impl<'a> Picture<'a> {
    fn of(datastore: &'a Datastore) -> Picture<'a> {
        let reserved = Reserved::new(datastore.reservations().values());
        let config = datastore.ipam_config();
        let mut pools: Vec<PoolPicture<'a>> =
            datastore.pools().values().map(|pool| PoolPicture::empty(pool, datastore, &reserved)).collect();
        let place = |cidr: &IpNet| {
            let name = &datastore.pool_of(cidr)?.name;
            pools_place(datastore, name)
        };
        let mut held: BTreeMap<(&Name, Family), u64> = BTreeMap::new();
        for block in datastore.blocks() {
            if let Some(host) = block.host() {
                *held.entry((host, Family::of_net(&block.cidr))).or_default() += 1;
            }
            if let Some(place) = place(&block.cidr) {
                pools[place].take(block, &reserved);
            }
        }
        for cidr in datastore.dark_blocks() {
            if let Some(place) = place(cidr) {
                pools[place].claimed += 1;
            }
        }
        let wireguard = datastore.felix().get("default").and_then(|felix| felix.wireguard_enabled).unwrap_or(false);
        let (limit, strict, auto) = (config.max_blocks(), config.strict_affinity, config.auto_allocate_blocks);
        Picture { pools, held, limit, strict, auto, wireguard }
    }
}

/// Pools are listed by name.
fn pools_place(datastore: &Datastore, name: &Name) -> Option<usize> {
    datastore.pools().keys().position(|it| it == name)
}

impl<'a> PoolPicture<'a> {
    fn empty(pool: &'a IpPool, datastore: &'a Datastore, reserved: &Reserved) -> PoolPicture<'a> {
        let selector = Selector::parse(&pool.node_selector).ok();
        let closed = match pool {
            _ if pool.disabled => Some(Closed::Disabled),
            _ if pool.manual => Some(Closed::Manual),
            _ if pool.load_balancer => Some(Closed::LoadBalancer),
            _ if pool.block_size < pool.cidr.prefix_len() => Some(Closed::BlockTooLarge),
            _ if selector.is_none() => Some(Closed::Selector),
            _ => None,
        };
        let chosen = |node: &Node| selector.as_ref().is_some_and(|selector| selector.matches(&node.labels));
        let selected = datastore.nodes().iter().filter(|(_, node)| chosen(node)).map(|(name, _)| name).collect();
        let taken = datastore.blocks().map(|block| block.cidr).chain(datastore.dark_blocks().copied());
        let room = Room::of(pool, taken, reserved);
        PoolPicture {
            pool,
            closed,
            selector,
            selected,
            blocks: Vec::new(),
            room,
            pods: 0,
            others: 0,
            cooldown: 0,
            claimed: 0,
            empty: 0,
            spread: BTreeMap::new(),
        }
    }

    fn take(&mut self, block: &'a AllocationBlock, reserved: &Reserved) {
        self.claimed += 1;
        self.empty += u64::from(block.allocated.is_empty());
        let any_reserved = reserved.inside(&block.cidr) > 0;
        let kept = |ordinal: &u32| {
            any_reserved && address_at(&block.cidr, u64::from(*ordinal)).is_some_and(|it| reserved.contains(it))
        };
        let free = block.unallocated.iter().filter(|ordinal| !kept(ordinal)).count() as u128;
        self.blocks.push(Used { owner: block.owner.clone(), free });
        for (ordinal, attribute) in block.allocations() {
            // The allocator trusts `unallocated`: what it lists is free whoever uses it.
            if block.unallocated.contains(ordinal) {
                continue;
            }
            match attribute.map(|attribute| attribute.kind) {
                Some(AttributeKind::Cooldown) => self.cooldown += 1,
                Some(AttributeKind::Workload | AttributeKind::VirtualMachine) => self.pods += 1,
                _ => self.others += 1,
            }
            if let Some(host) = user(block, attribute) {
                *self.spread.entry(host).or_default() += 1;
            }
        }
    }

    /// Blocks that can be claimed at all.
    fn left(&self, picture: &Picture<'_>) -> u128 {
        if self.closed.is_none() && picture.auto { self.room.left() } else { 0 }
    }

    fn plan(&self, picture: &Picture<'_>, sizes: bool) -> PoolPlan {
        let owners: BTreeSet<&Name> = self.blocks.iter().filter_map(owner).collect();
        let free_in_blocks = self.blocks.iter().map(|block| block.free).sum();
        let left = self.left(picture);
        let (more_pods, from_blocks, bound) = self.more_pods(picture);
        PoolPlan {
            name: self.pool.name.clone(),
            cidr: self.pool.cidr,
            block_size: self.pool.block_size,
            closed: self.closed,
            hosts: self.selected.len() as u64,
            hosts_with_block: self.selected.iter().filter(|host| owners.contains(*host)).count() as u64,
            pods: self.pods,
            others: self.others,
            cooldown: self.cooldown,
            blocks_claimed: self.claimed,
            blocks_empty: self.empty,
            blocks_left: left,
            blocks_left_in_part: if left == 0 { 0 } else { self.room.in_part().len() as u64 },
            free_in_blocks,
            stranded: free_in_blocks - from_blocks,
            more_hosts: left,
            more_pods,
            bound,
            sizes: if sizes { sizes::compare(self, picture.limit) } else { Vec::new() },
        }
    }

    /// How many more pods the present hosts can run, how many of them in claimed blocks, and what ends it.
    fn more_pods(&self, picture: &Picture<'_>) -> (u128, u128, Bound) {
        if self.closed.is_some() {
            return (0, 0, Bound::Closed);
        }
        if self.selected.is_empty() {
            return (0, 0, Bound::NoHost);
        }
        let family = self.pool.family();
        let headroom = |host: &&Name| {
            let held = picture.held.get(&(*host, family)).copied().unwrap_or_default();
            u128::from(u64::from(picture.limit).saturating_sub(held))
        };
        let headroom: u128 = self.selected.iter().map(headroom).sum();
        let left = self.left(picture);
        // Somebody is below the limit when the last block is gone, and borrows whatever there is.
        if !picture.strict && headroom > left {
            let lent = |block: &&Used| !matches!(block.owner, Some(BlockOwner::Virtual(_)));
            let free: u128 = self.blocks.iter().filter(lent).map(|block| block.free).sum();
            return (free + self.room.usable(left), free, Bound::Addresses);
        }
        let own = |block: &&Used| owner(block).is_some_and(|host| self.selected.contains(host));
        let own: u128 = self.blocks.iter().filter(own).map(|block| block.free).sum();
        let bound = if headroom < left { Bound::BlockLimit } else { Bound::Blocks };
        (own + self.room.usable(left.min(headroom)), own, bound)
    }
}

fn owner(block: &Used) -> Option<&Name> {
    block.owner.as_ref().and_then(BlockOwner::host)
}

/// Whose host an allocation is on: its `node`, or the block's host where it has none.
fn user<'b>(block: &'b AllocationBlock, attribute: Option<&'b Attribute>) -> Option<&'b Name> {
    let attribute = attribute?;
    match attribute.kind {
        AttributeKind::Cooldown | AttributeKind::WindowsReserved | AttributeKind::LoadBalancer => None,
        _ => attribute.node.as_ref().or_else(|| block.host()),
    }
}

/// The tunnels whose address comes from pools of a class.
fn tunnels_of(family: Family) -> &'static [TunnelKind] {
    match family {
        Family::V4 => &[TunnelKind::Ipip, TunnelKind::VxlanV4, TunnelKind::WireguardV4],
        Family::V6 => &[TunnelKind::VxlanV6, TunnelKind::WireguardV6],
    }
}
