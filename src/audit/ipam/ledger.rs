//! Sums over all CIDRs, kept by adding what a CIDR says now and taking off what it said before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use ipnet::IpNet;

use super::figures::Share;
use super::reserved::{Reserved, size};
use crate::audit::report::{HostFigures, PoolFigures};
use crate::model::{Family, IpPool, Name, pack};

/// What one CIDR adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) cidr: IpNet,
    /// The pool's name, or `no_ippool`.
    pub(super) pool: Name,
    /// Absent where no block is.
    pub(super) share: Option<Arc<Share>>,
    pub(super) hosts: Box<[HostShare]>,
}

/// What one CIDR adds to a host's figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostShare {
    pub(super) host: Name,
    pub(super) figures: Arc<HostFigures>,
    /// The block is the host's, as far as can be told (J31).
    pub(super) owns: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct PoolSums {
    share: Share,
    blocks: u64,
    /// The oldest cooldown of each block, with how many blocks say so.
    cooldowns: BTreeMap<SystemTime, u64>,
    owners: BTreeMap<Name, u64>,
}

/// What is asked of a pool beside its blocks; it changes with pools, nodes and reservations.
#[derive(Debug, Clone)]
pub(super) struct PoolFacts {
    pub(super) pool: IpPool,
    /// Reserved addresses of the whole pool.
    reserved: u128,
    /// Hosts that may claim blocks of it.
    selected: BTreeSet<Name>,
}

impl PoolFacts {
    pub(super) fn new(pool: &IpPool, reserved: &Reserved, selected: BTreeSet<Name>) -> PoolFacts {
        PoolFacts { pool: pool.clone(), reserved: reserved.inside(&pool.cidr), selected }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Ledger {
    pools: BTreeMap<Name, PoolSums>,
    hosts: BTreeMap<(Name, Name), HostFigures>,
    /// Affinity keys in any state.
    keys: BTreeMap<(Name, Family), u64>,
}

impl Ledger {
    pub(super) fn add(&mut self, entry: &Entry) {
        self.book(entry, u128::saturating_add, u64::saturating_add);
    }

    pub(super) fn remove(&mut self, entry: &Entry) {
        self.book(entry, u128::saturating_sub, u64::saturating_sub);
    }

    fn book(&mut self, entry: &Entry, wide: fn(u128, u128) -> u128, narrow: fn(u64, u64) -> u64) {
        if let Some(share) = &entry.share {
            let sums = self.pools.entry(entry.pool.clone()).or_default();
            sums.share.combine(share, wide, narrow);
            sums.blocks = narrow(sums.blocks, 1);
            if let Some(oldest) = share.cooldown_oldest {
                count(&mut sums.cooldowns, oldest, 1, narrow);
            }
            for owner in entry.hosts.iter().filter(|it| it.owns) {
                count(&mut sums.owners, owner.host.clone(), 1, narrow);
            }
            if sums.blocks == 0 {
                self.pools.remove(&entry.pool);
            }
        }
        for HostShare { host, figures, .. } in &entry.hosts {
            let row = (host.clone(), entry.pool.clone());
            let sums = self.hosts.entry(row.clone()).or_default();
            *sums = combine(sums, figures, narrow);
            if *sums == HostFigures::default() {
                self.hosts.remove(&row);
            }
            let keys = figures.confirmed + figures.pending + figures.pending_deletion;
            count(&mut self.keys, (host.clone(), Family::of_net(&entry.cidr)), keys, narrow);
        }
    }

    /// See [`pack`].
    pub(super) fn pack(&mut self) {
        pack(&mut self.hosts);
        pack(&mut self.keys);
    }

    /// How many affinity keys of one family a host has, in any state.
    pub(super) fn keys(&self, host: &(Name, Family)) -> u64 {
        self.keys.get(host).copied().unwrap_or_default()
    }

    pub(super) fn hosts(&self) -> &BTreeMap<(Name, Name), HostFigures> {
        &self.hosts
    }

    /// A known pool's figures: its blocks' sums, and what no block covers (J5).
    pub(super) fn pool(&self, facts: &PoolFacts) -> PoolFigures {
        let none = PoolSums::default();
        let sums = self.pools.get(&facts.pool.name).unwrap_or(&none);
        let uncovered = size(&facts.pool.cidr).saturating_sub(sums.share.area);
        let reserved = facts.reserved.saturating_sub(sums.share.reserved_area);
        let bits = facts.pool.block_size.checked_sub(facts.pool.cidr.prefix_len());
        PoolFigures {
            pool: Some(facts.pool.clone()),
            reserved: float(u128::from(sums.share.reserved).saturating_add(reserved)),
            unclaimed: float(uncovered.saturating_sub(reserved)),
            blocks_capacity: bits.map_or(0.0, |bits| 2f64.powi(i32::from(bits))),
            hosts_without_block: facts.selected.iter().filter(|host| !sums.owners.contains_key(*host)).count() as u64,
            ..sums.figures()
        }
    }

    /// The figures of the blocks that lie in no pool, where there are any.
    pub(super) fn orphans(&self, label: &Name) -> Option<PoolFigures> {
        self.pools.get(label).map(PoolSums::figures)
    }
}

impl PoolSums {
    fn figures(&self) -> PoolFigures {
        PoolFigures {
            pool: None,
            allocated: float(self.share.allocated.into()),
            cooldown: float(self.share.cooldown.into()),
            reserved: float(self.share.reserved.into()),
            free: float(self.share.free.into()),
            lost: float(self.share.lost),
            unclaimed: 0.0,
            blocks: self.blocks,
            blocks_capacity: 0.0,
            hosts_without_block: 0,
            addresses_without_node: self.share.without_node,
            cooldown_oldest: self.cooldowns.keys().next().copied(),
        }
    }
}

impl Share {
    fn combine(&mut self, other: &Share, wide: fn(u128, u128) -> u128, narrow: fn(u64, u64) -> u64) {
        self.area = wide(self.area, other.area);
        self.allocated = narrow(self.allocated, other.allocated);
        self.cooldown = narrow(self.cooldown, other.cooldown);
        self.free = narrow(self.free, other.free);
        self.reserved = narrow(self.reserved, other.reserved);
        self.lost = wide(self.lost, other.lost);
        self.reserved_area = wide(self.reserved_area, other.reserved_area);
        self.without_node = narrow(self.without_node, other.without_node);
    }
}

fn combine(sums: &HostFigures, other: &HostFigures, narrow: fn(u64, u64) -> u64) -> HostFigures {
    HostFigures {
        confirmed: narrow(sums.confirmed, other.confirmed),
        pending: narrow(sums.pending, other.pending),
        pending_deletion: narrow(sums.pending_deletion, other.pending_deletion),
        allocated: narrow(sums.allocated, other.allocated),
        cooldown: narrow(sums.cooldown, other.cooldown),
        free: narrow(sums.free, other.free),
        lost: narrow(sums.lost, other.lost),
        borrowed: narrow(sums.borrowed, other.borrowed),
        lent: narrow(sums.lent, other.lent),
        empty_blocks: narrow(sums.empty_blocks, other.empty_blocks),
    }
}

fn count<K: Ord + Clone>(counts: &mut BTreeMap<K, u64>, key: K, by: u64, narrow: fn(u64, u64) -> u64) {
    let sum = narrow(counts.get(&key).copied().unwrap_or_default(), by);
    if sum == 0 {
        counts.remove(&key);
    } else {
        counts.insert(key, sum);
    }
}

#[allow(clippy::cast_precision_loss, reason = "exact up to 2^53 and, beyond, as near as a float can be")]
fn float(count: u128) -> f64 {
    count as f64
}
