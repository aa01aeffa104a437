//! What one block, or the keys to one CIDR, add to the figures of pools and hosts (J5, J8, J31).
//!
//! The allocator trusts `unallocated` (`ipam_block.go`, `autoAssign`), and so do the figures: what it lists is free, whatever
//! `allocations` says; the rest is allocated, cooling or, where `allocations` has nothing either, lost.

use std::collections::BTreeMap;
use std::time::SystemTime;

use ipnet::IpNet;

use super::affinity::{Claims, Seen};
use super::reserved::{Reserved, number, size};
use crate::audit::report::HostFigures;
use crate::model::{
    AffinityState, AllocationBlock, Attribute, AttributeKind, BlockOwner, Name, OrdinalSet, address_at,
};

/// What a block adds to its pool, and the sum of that over blocks. What is counted one by one fits in 64 bits (no block
/// is larger than [`AllocationBlock::MAX_SIZE`]), what is a width may not. `area` = allocated + cooldown + free + reserved + lost.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Share {
    /// Addresses that this block decides on: all of them, save those of more specific blocks inside it.
    pub(super) area: u128,
    pub(super) allocated: u64,
    pub(super) cooldown: u64,
    /// In `unallocated` and not reserved.
    pub(super) free: u64,
    /// In `unallocated` and reserved (J5).
    pub(super) reserved: u64,
    pub(super) lost: u128,
    /// Reserved addresses of the area, whatever else they are.
    pub(super) reserved_area: u128,
    pub(super) without_node: u64,
    pub(super) cooldown_oldest: Option<SystemTime>,
}

/// The share of the block at `cidr`; `None` is a block that cannot be read: nobody gets its addresses, so they are lost.
/// `inner`: the widest other blocks inside it, disjoint; they decide on their own addresses, so that an address under
/// two blocks is counted once.
pub(super) fn share(cidr: &IpNet, block: Option<&AllocationBlock>, inner: &[IpNet], reserved: &Reserved) -> Share {
    let outside = |whole: u128, part: &dyn Fn(&IpNet) -> u128| whole.saturating_sub(inner.iter().map(part).sum());
    let mut share = Share {
        area: outside(size(cidr), &size),
        reserved_area: outside(reserved.inside(cidr), &|net| reserved.inside(net)),
        ..Share::default()
    };
    if let Some(block) = block {
        let cooling: OrdinalSet = block.cooling().collect();
        let decides = |ordinal: u32| {
            inner.is_empty()
                || address_at(cidr, u64::from(ordinal)).is_some_and(|it| !inner.iter().any(|net| net.contains(&it)))
        };
        let any_reserved = share.reserved_area > 0;
        let is_reserved = |ordinal: u32| {
            any_reserved && address_at(cidr, u64::from(ordinal)).is_some_and(|address| reserved.contains(address))
        };
        let (mut allocated, mut cooldown, mut free, mut kept) = (0, 0, 0, 0);
        for ordinal in (0..block.size()).filter(|ordinal| decides(*ordinal)) {
            match () {
                () if block.unallocated.contains(ordinal) && is_reserved(ordinal) => kept += 1,
                () if block.unallocated.contains(ordinal) => free += 1,
                () if cooling.contains(ordinal) => cooldown += 1,
                () if block.allocated.contains(ordinal) => allocated += 1,
                () => {}
            }
        }
        share = Share { allocated, cooldown, free, reserved: kept, ..share };
        share.without_node = without_node(block);
        share.cooldown_oldest = cooldown_oldest(block);
    }
    let found = share.allocated + share.cooldown + share.free + share.reserved;
    share.lost = share.area.saturating_sub(u128::from(found));
    share
}

/// J31: allocations without `node`; Windows', load balancers' (J11) and cooldown aside. A bad attribute index hides
/// whether there is one, and has a finding of its own.
fn without_node(block: &AllocationBlock) -> u64 {
    if matches!(block.owner, Some(BlockOwner::Virtual(_))) {
        return 0;
    }
    let exempt = [AttributeKind::WindowsReserved, AttributeKind::LoadBalancer, AttributeKind::Cooldown];
    let nameless = |(_, attribute): &(u32, Option<&Attribute>)| {
        attribute.is_some_and(|it| node(it).is_none() && !exempt.contains(&it.kind))
    };
    block.allocations().filter(nameless).count() as u64
}

/// J31: when the address that has rested longest was released.
fn cooldown_oldest(block: &AllocationBlock) -> Option<SystemTime> {
    block
        .allocations()
        .filter_map(|(_, attribute)| attribute.filter(|it| it.kind == AttributeKind::Cooldown)?.released_at)
        .min()
}

/// In Go an empty attribute is an absent one.
fn node(attribute: &Attribute) -> Option<&Name> {
    attribute.node.as_ref().filter(|name| !name.is_empty())
}

/// A block's addresses as its host has them: `free` includes reserved ones (J5).
fn partition(block: &AllocationBlock) -> HostFigures {
    let given: OrdinalSet = block.allocated.iter().filter(|ordinal| !block.unallocated.contains(*ordinal)).collect();
    let cooldown = block.cooling().filter(|ordinal| given.contains(*ordinal)).count() as u64;
    let (free, given) = (u64::from(block.unallocated.len()), u64::from(given.len()));
    HostFigures {
        allocated: given.saturating_sub(cooldown),
        cooldown,
        free,
        lost: u64::from(block.size()).saturating_sub(given + free),
        ..HostFigures::default()
    }
}

/// Which host uses each borrowed address: the allocation's `node` is not the block's host. As
/// `calicoctl ipam show --show-borrowed` says it, from `allocations`: a pod uses its address though `unallocated`
/// lists it too. Nobody borrows from a virtual block, and neither an address that rests nor one without `node` is
/// borrowed.
fn borrowers(block: &AllocationBlock) -> impl Iterator<Item = &Name> {
    let lends = !matches!(block.owner, Some(BlockOwner::Virtual(_)));
    block
        .allocations()
        .filter(move |_| lends)
        .filter_map(|(_, attribute)| node(attribute.filter(|it| it.kind != AttributeKind::Cooldown)?))
        .filter(|name| block.host() != Some(*name))
}

/// What the claims to one CIDR add to the hosts that they name.
pub(super) fn hosts(claims: &Claims<'_>) -> BTreeMap<Name, HostFigures> {
    let mut hosts: BTreeMap<Name, HostFigures> = BTreeMap::new();
    for (owner, entry) in &claims.keys {
        let Some(host) = owner.host() else { continue };
        let figures = hosts.entry(host.clone()).or_default();
        match entry.state {
            AffinityState::Confirmed => figures.confirmed += 1,
            AffinityState::Pending => figures.pending += 1,
            AffinityState::PendingDeletion => figures.pending_deletion += 1,
        }
    }
    let Seen::Readable(block) = claims.block else { return hosts };
    let mut lent = 0;
    for name in borrowers(block) {
        hosts.entry(name.clone()).or_default().borrowed += 1;
        lent += 1;
    }
    if let Some(host) = block.host() {
        let figures = hosts.entry(host.clone()).or_default();
        let own = partition(block);
        figures.allocated += own.allocated;
        figures.cooldown += own.cooldown;
        figures.free += own.free;
        figures.lost += own.lost;
        figures.lent += lent;
        // J8: claimed, and no ordinal allocated. Cooldown and Windows' reservation are not empty.
        figures.empty_blocks += u64::from(block.allocated.is_empty());
    }
    hosts
}

/// J31: hosts that own a block here. Of a block that cannot be read, whoever claims it: it may be theirs (J1).
pub(super) fn owners(claims: &Claims<'_>) -> Vec<Name> {
    match claims.block {
        Seen::Readable(block) => block.host().cloned().into_iter().collect(),
        Seen::Unreadable => claims.keys.iter().filter_map(|(owner, _)| owner.host().cloned()).collect(),
        Seen::Absent => Vec::new(),
    }
}

/// The widest of the CIDRs strictly inside `cidr`: disjoint and sorted.
pub(super) fn widest(cidr: &IpNet, mut inside: Vec<IpNet>) -> Vec<IpNet> {
    inside.retain(|net| net != cidr && cidr.contains(net));
    inside.sort_unstable_by_key(|net| (number(net.network()), net.prefix_len()));
    inside.dedup_by(|later, kept| kept.contains(&*later));
    inside
}
