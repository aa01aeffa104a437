//! The datastore's own: blocks that are gone, pools that changed under their blocks, handles that nobody uses.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::board::{Board, Draft, Open};
use super::{CauseKind, Evidence, PATTERN, count};
use crate::audit::fault::{
    AffinityReason, BlockReason, Fault, HandleReason, LeakReason, Metric, RouteReason, TunnelReason,
};
use crate::audit::ipam::NO_IPPOOL;
use crate::model::{Family, Name};
use crate::state::Datastore;

/// Keys stand and no block does: IPAM's data was lost, or only a part of it was restored.
pub(super) fn lost(board: &mut Board<'_>, evidence: &Evidence<'_>) {
    let datastore = &evidence.state.datastore;
    let any_block = datastore.blocks().next().is_some() || datastore.dark_blocks().next().is_some();
    let keys = datastore.affinities().take(PATTERN).count();
    if !datastore.follows_blocks() || any_block || keys < PATTERN {
        return;
    }
    let keys = datastore.affinities().count();
    let members = board.open_where(|it| {
        matches!(it.fault(), Fault::Affinity(AffinityReason::WithoutBlock))
            || matches!(it.fault(), Fault::Handle(HandleReason::NoAllocation))
            || matches!(it.fault(), Fault::Leak(_, LeakReason::InUseNotAllocated))
            || matches!(it.fault(), Fault::Tunnel(_, TunnelReason::NotAllocated))
            || matches!(it.fault(), Fault::Route(_, RouteReason::Stale))
                && it.net().is_some_and(|net| datastore.pool_of(&net).is_some())
    });
    let used = members.iter().filter(|it| it.is_of(Metric::LeakedAddresses)).count();
    let mut shown = vec![format!("{} and no block", count(keys, "affinity key", "affinity keys"))];
    if used > 0 {
        shown.push(format!("{} without allocation", count(used, "address is used", "addresses are used")));
    }
    board.claim(
        &members,
        Draft {
            kind: CauseKind::IpamDataLost,
            subject: "ipam".to_owned(),
            detail:
                "IPAM's blocks are gone: affinity keys stand and no block does. Addresses in use will be handed out \
                     again."
                    .to_owned(),
            evidence: shown,
            action: "Stop new pods (calicoctl datastore migrate lock), then restore the blocks from a backup of the \
                     datastore. Do not delete the keys."
                .to_owned(),
        },
    );
}

/// Blocks whose pool is gone, and blocks of a former size.
pub(super) fn pools(board: &mut Board<'_>, evidence: &Evidence<'_>) {
    let datastore = &evidence.state.datastore;
    let mut sizes: BTreeMap<&Name, Vec<(Open<'_>, IpNet)>> = BTreeMap::new();
    let mut orphans: BTreeMap<IpNet, Vec<(Open<'_>, IpNet)>> = BTreeMap::new();
    for open in board.open().filter(|it| it.is_of(Metric::InvalidBlocks)) {
        let Some(net) = open.net() else { continue };
        match (open.fault(), datastore.pool_of(&net)) {
            (Fault::Block(BlockReason::WrongBlockSize), Some(pool)) => {
                sizes.entry(&pool.name).or_default().push((open, net))
            }
            (Fault::Block(BlockReason::OutsideAnyPool), None) => {
                orphans.entry(gap_around(datastore, net)).or_default().push((open, net))
            }
            _ => {}
        }
    }
    for (pool, blocks) in sizes {
        resized(board, datastore, pool, &blocks);
    }
    for (gap, blocks) in orphans {
        orphaned(board, datastore, gap, &blocks);
    }
}

fn resized<'a>(board: &mut Board<'a>, datastore: &Datastore, pool: &Name, blocks: &[(Open<'a>, IpNet)]) {
    let touches = |net: &IpNet| blocks.iter().any(|(_, block)| block.contains(net) || net.contains(block));
    let mut members: Vec<Open<'_>> = blocks.iter().map(|(open, _)| *open).collect();
    // New blocks of the new size lie over the old ones.
    members.extend(board.open().filter(|it| {
        matches!(it.fault(), Fault::Block(BlockReason::Overlap)) && it.net().is_some_and(|net| touches(&net))
    }));
    let size = datastore.pools().get(pool).map_or(0, |it| it.block_size);
    let sizes: BTreeSet<String> = blocks.iter().map(|(_, net)| format!("/{}", net.prefix_len())).collect();
    let sizes: Vec<String> = sizes.into_iter().collect();
    board.claim(
        &members,
        Draft {
            kind: CauseKind::PoolChanged,
            subject: pool.to_string(),
            detail: format!(
                "Pool {pool} was made again with another block size: /{size} instead of {}.",
                sizes.join(", ")
            ),
            evidence: vec![format!("{} a former size", count(blocks.len(), "block has", "blocks have"))],
            action: format!(
                "Set blockSize of pool {pool} back to {}, or disable it and move its pods to a new pool, host by host.",
                sizes.first().map_or("what it was", String::as_str)
            ),
        },
    );
}

fn orphaned<'a>(board: &mut Board<'a>, datastore: &Datastore, gap: IpNet, blocks: &[(Open<'a>, IpNet)]) {
    let cidrs: BTreeSet<IpNet> = blocks.iter().map(|(_, net)| *net).collect();
    let inside = |net: &IpNet| std::iter::successors(Some(*net), IpNet::supernet).any(|it| cidrs.contains(&it));
    let mut members: Vec<Open<'_>> = blocks.iter().map(|(open, _)| *open).collect();
    members.extend(board.open().filter(|it| {
        let follows = match it.finding.metric() {
            Metric::RouteFaults => true,
            Metric::LeakedAddresses => matches!(it.fault(), Fault::Leak(pool, _) if &**pool == NO_IPPOOL),
            _ => false,
        };
        follows && it.net().is_some_and(|net| inside(&net))
    }));
    let routes = members.iter().filter(|it| it.is_of(Metric::RouteFaults)).count();
    let mut shown = vec![format!("{} in no pool", count(cidrs.len(), "block lies", "blocks lie"))];
    if routes > 0 {
        shown.push(format!("{} to them", count(routes, "route fault follows", "route faults follow")));
    }
    let around = narrowed(gap, &cidrs);
    let pools: Vec<String> = datastore.pools().values().map(|pool| format!("{} {}", pool.name, pool.cidr)).collect();
    if !pools.is_empty() {
        let few: Vec<&str> = pools.iter().take(3).map(String::as_str).collect();
        let more = if pools.len() > few.len() { ", …" } else { "" };
        shown.push(format!("pools now: {}{more}", few.join(", ")));
    }
    board.claim(
        &members,
        Draft {
            kind: CauseKind::PoolChanged,
            subject: around.to_string(),
            detail: format!("The pool around {around} is gone or its CIDR was changed while its blocks are in use."),
            evidence: shown,
            action: format!(
                "Create the pool again (the CIDR that held {around}, disabled), or restart the pods that have its \
                 addresses."
            ),
        },
    );
}

/// The shortest prefix that contains all of them.
fn narrowed(gap: IpNet, cidrs: &BTreeSet<IpNet>) -> IpNet {
    let (Some(first), Some(last)) = (cidrs.first(), cidrs.last()) else { return gap };
    let mut around = *first;
    while !around.contains(last) {
        match around.supernet() {
            Some(wider) => around = wider,
            None => break,
        }
    }
    around
}

/// The widest prefix around a block in which one pool can have lain: pools do not overlap. No wider than pools are made.
fn gap_around(datastore: &Datastore, block: IpNet) -> IpNet {
    // 10.0.0.0/8 is the widest private network; of IPv6 nobody gives a cluster more than a /32.
    let widest = match Family::of_net(&block) {
        Family::V4 => 8,
        Family::V6 => 32,
    };
    let overlaps =
        |net: &IpNet| datastore.pools().values().any(|pool| net.contains(&pool.cidr) || pool.cidr.contains(net));
    let mut gap = block;
    while gap.prefix_len() > widest
        && let Some(wider) = gap.supernet()
        && !overlaps(&wider)
    {
        gap = wider;
    }
    gap
}

/// Handles without allocation come from releases that broke off: harmless, and many at a time.
pub(super) fn handles(board: &mut Board<'_>) {
    let members = board.open_where(|it| matches!(it.fault(), Fault::Handle(HandleReason::NoAllocation)));
    if members.len() < PATTERN {
        return;
    }
    board.claim(
        &members,
        Draft {
            kind: CauseKind::HandlesLeftOver,
            subject: "handles".to_owned(),
            detail: format!(
                "{} outlived {} allocations. No address is lost by it.",
                count(members.len(), "IPAM handle", "IPAM handles"),
                if members.len() == 1 { "its" } else { "their" }
            ),
            evidence: vec!["they name blocks in which nothing is allocated under them".to_owned()],
            action: "Leave them, or restart calico-kube-controllers if they grow in number.".to_owned(),
        },
    );
}
