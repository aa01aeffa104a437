//! Where a pool has room for blocks. Positions are counted, not walked: an IPv6 pool has more of them than fit.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::audit::ipam::reserved::{Range, Reserved, number, range, union};
use crate::model::IpPool;

/// The positions of a pool at which no block is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Room {
    /// Addresses of one block.
    size: u128,
    /// Positions without a block and without a reservation.
    whole: u128,
    /// Usable addresses of positions that are reserved in part, the most usable first.
    in_part: Vec<u128>,
}

impl Room {
    /// Counts, given the blocks of the whole datastore.
    pub(super) fn of(pool: &IpPool, blocks: impl Iterator<Item = IpNet>, reserved: &Reserved) -> Room {
        let Some(bits) = pool.block_size.checked_sub(pool.cidr.prefix_len()) else {
            return Room { size: 0, whole: 0, in_part: Vec::new() };
        };
        let positions = 1u128.checked_shl(u32::from(bits)).unwrap_or(u128::MAX);
        let host_bits = u32::from(pool.cidr.max_prefix_len() - pool.block_size);
        let first = number(pool.cidr.network());
        let index = |number: u128| (number - first).checked_shr(host_bits).unwrap_or_default();
        let size = 1u128.checked_shl(host_bits).unwrap_or(u128::MAX);
        let clip = |(begin, end): Range| {
            let (low, high) = range(&pool.cidr);
            (begin <= high && end >= low).then(|| (begin.max(low), end.min(high)))
        };
        let mut taken: Vec<Range> = blocks
            .filter(|cidr| cidr.contains(&pool.cidr) || pool.cidr.contains(cidr))
            .filter_map(|cidr| clip(range(&cidr)))
            .map(|(begin, end)| (index(begin), index(end)))
            .collect();
        let mut edges: BTreeMap<u128, u128> = BTreeMap::new();
        for (begin, end) in reserved.ranges(pool.family()).iter().copied().filter_map(clip) {
            let (low, high) = (index(begin), index(end));
            // Those in the middle are reserved as a whole; the two at the ends may be.
            if low + 1 < high {
                taken.push((low + 1, high - 1));
            }
            let bounds = |position: u128| {
                let start = first + position * size;
                (start, start + (size - 1))
            };
            for position in [low, high].into_iter().take(if low == high { 1 } else { 2 }) {
                let (start, stop) = bounds(position);
                *edges.entry(position).or_default() += end.min(stop) - begin.max(start) + 1;
            }
        }
        taken.extend(edges.iter().filter(|(_, kept)| **kept >= size).map(|(position, _)| (*position, *position)));
        let taken = union(taken);
        let is_taken = |position: u128| {
            let after = taken.partition_point(|(begin, _)| *begin <= position);
            after > 0 && taken[after - 1].1 >= position
        };
        let occupied: u128 = taken.iter().map(|(begin, end)| end - begin + 1).sum();
        let open = edges.iter().filter(|(position, kept)| **kept < size && !is_taken(**position));
        let mut in_part: Vec<u128> = open.map(|(_, kept)| size - kept).collect();
        in_part.sort_unstable_by_key(|usable| std::cmp::Reverse(*usable));
        Room { size, whole: positions - occupied - in_part.len() as u128, in_part }
    }

    /// Addresses of one block.
    pub(super) fn size(&self) -> u128 {
        self.size
    }

    /// Positions that can be claimed.
    pub(super) fn left(&self) -> u128 {
        self.whole + self.in_part.len() as u128
    }

    /// Positions that can be claimed and are not reserved.
    pub(super) fn whole(&self) -> u128 {
        self.whole
    }

    /// Usable addresses of those that are reserved in part, the most usable first.
    pub(super) fn in_part(&self) -> &[u128] {
        &self.in_part
    }

    /// Usable addresses of so many positions, at most: those with the most first.
    pub(super) fn usable(&self, positions: u128) -> u128 {
        let whole = positions.min(self.whole);
        let rest = usize::try_from(positions - whole).unwrap_or(usize::MAX).min(self.in_part.len());
        whole.saturating_mul(self.size).saturating_add(self.in_part[..rest].iter().sum())
    }
}
