//! Which block size would have suited the pods that are there: the present spread over hosts, as if every host had
//! claimed its blocks anew.

use super::PoolPicture;

/// Host bits of the sizes that are compared: `/22` to `/30`, and the same in IPv6, `/118` to `/126`.
const HOST_BITS: std::ops::RangeInclusive<u8> = 2..=10;

/// One block size for one pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SizePlan {
    /// The blocks' prefix length.
    pub prefix_len: u8,
    /// Blocks that the present hosts would need.
    pub blocks_needed: u64,
    /// Blocks that the pool has room for.
    pub blocks_capacity: u128,
    /// Addresses in those blocks that nobody would use.
    pub stranded: u64,
    /// Routes to blocks that every host would have: one to each block of another host, a blackhole for each of its own.
    pub routes_per_host: u64,
    /// Hosts that would need more blocks than they may have.
    pub hosts_over_limit: u64,
}

impl SizePlan {
    /// Whether the present pods would fit without borrowing.
    pub fn fits(&self) -> bool {
        u128::from(self.blocks_needed) <= self.blocks_capacity && self.hosts_over_limit == 0
    }
}

/// All sizes that the pool has room for, the largest blocks first.
pub(super) fn compare(pool: &PoolPicture<'_>, limit: u32) -> Vec<SizePlan> {
    let bits = pool.pool.cidr.max_prefix_len();
    let lengths = HOST_BITS.rev().map(|host_bits| bits - host_bits);
    lengths.filter(|length| *length >= pool.pool.cidr.prefix_len()).map(|length| of_size(pool, length, limit)).collect()
}

fn of_size(pool: &PoolPicture<'_>, prefix_len: u8, limit: u32) -> SizePlan {
    let size = 1u64 << (pool.pool.cidr.max_prefix_len() - prefix_len);
    let needed = |used: &u64| used.div_ceil(size);
    let blocks_needed: u64 = pool.spread.values().map(needed).sum();
    let used: u64 = pool.spread.values().sum();
    let shift = u32::from(prefix_len - pool.pool.cidr.prefix_len());
    SizePlan {
        prefix_len,
        blocks_needed,
        blocks_capacity: 1u128.checked_shl(shift).unwrap_or(u128::MAX),
        stranded: blocks_needed * size - used,
        routes_per_host: blocks_needed,
        hosts_over_limit: pool.spread.values().map(needed).filter(|blocks| *blocks > u64::from(limit)).count() as u64,
    }
}
