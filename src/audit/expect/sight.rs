//! What is known of a block. Where all of them are followed, everything; where only affinity keys are, a confirmed key
//! stands for its block, and what the block itself says counts only once keys alone do not explain a route.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Context, Expectation, Need};
use crate::audit::setting::Programmer;
use crate::model::{AffinityState, AllocationBlock, Family, IpPool, Name, host_net, host_route};
use crate::state::ReadBlock;

/// What is known of a block.
pub(super) enum Sight<'a> {
    /// What it says, or that there is none.
    Block(Option<&'a AllocationBlock>),
    /// Which keys claim it, and no more.
    Keys,
}

impl<'a> Context<'a> {
    pub(super) fn sight(&self, cidr: &IpNet) -> Sight<'a> {
        if self.datastore.follows(cidr) {
            return Sight::Block(self.datastore.block(cidr));
        }
        match self.datastore.read(cidr).filter(|_| self.reads) {
            Some(read) => Sight::Block(read.block()),
            None => Sight::Keys,
        }
    }

    /// The most specific block around the prefix that is known.
    pub(in crate::audit) fn block_around(&self, net: &IpNet) -> Option<&'a AllocationBlock> {
        self.blocks_around(net).max_by_key(|block| block.cidr.prefix_len())
    }

    /// All blocks around the prefix that are known.
    pub(super) fn blocks_around(&self, net: &IpNet) -> impl Iterator<Item = &'a AllocationBlock> + use<'a> {
        self.datastore.blocks_around(net).chain(self.reads_around(net).filter_map(|(_, read)| read.block()))
    }

    /// Whether the prefix lies in a block whose value cannot be read, as far as is known (J1).
    pub(in crate::audit) fn is_dark(&self, net: &IpNet) -> bool {
        self.datastore.is_dark(net) || self.reads_around(net).any(|(_, read)| read.is_dark())
    }

    fn reads_around(&self, net: &IpNet) -> impl Iterator<Item = (&'a IpNet, &'a ReadBlock)> + use<'a> {
        let (datastore, reads) = (self.datastore, self.reads);
        datastore.reads_around(net).filter(move |(cidr, _)| reads && !datastore.follows(cidr))
    }

    /// Whether a block says of an address what is so now. Of one that is not followed it does while a route is there,
    /// which is why it was read; that a route is not there says nothing, since the pod may have gone with it. (A block of
    /// one address is asked about for its own route's sake.)
    pub(super) fn is_current(&self, block: &AllocationBlock, address: IpAddr) -> bool {
        let single = host_route(&block.cidr).is_some();
        single || self.datastore.follows(&block.cidr) || self.kernel.route(&host_net(address)).is_some()
    }

    /// The blocks that decide about a destination and that nobody follows: those that a key claims around it, and the
    /// one of its pool's block size. Where that is not there and no key claims any, the address may lie in one of another
    /// size, whose key was released.
    pub(in crate::audit) fn questions(&self, destination: &IpNet) -> Vec<IpNet> {
        let mut blocks: Vec<IpNet> = self.datastore.keys_around(destination).collect();
        let pool = self.datastore.pool_of(destination);
        let of_length = |length| IpNet::new(destination.addr(), length).ok().map(|net| net.trunc());
        let of_size = pool.and_then(|pool| of_length(pool.block_size)).filter(|net| net.contains(destination));
        if let (Some(pool), Some(of_size)) = (pool, of_size)
            && blocks.is_empty()
            && host_route(destination).is_some()
            && self.datastore.read(&of_size).is_some_and(ReadBlock::is_absent)
        {
            let (shortest, longest) = AllocationBlock::LENGTHS[Family::of_net(destination) as usize];
            let lengths = (shortest.max(pool.cidr.prefix_len())..=longest).filter(|it| *it != pool.block_size);
            blocks.extend(lengths.filter_map(of_length));
        }
        blocks.extend(of_size);
        if host_route(destination).is_none() {
            blocks.push(*destination);
        }
        blocks.retain(|cidr| !self.datastore.follows(cidr));
        blocks.sort_unstable();
        blocks.dedup();
        blocks
    }

    /// The route of a whole block of which only the keys are known: the one confirmed key stands for a block of its
    /// host; the others make a route to theirs permitted, since a key that is pending or being released may have a
    /// block or not (J21, J22).
    pub(super) fn block_by_keys(&self, cidr: &IpNet, pool: Option<&IpPool>, found: &mut Vec<Expectation>) {
        if self.datastore.is_dark_affinity(cidr) {
            found.push(self.unknown(cidr));
            return;
        }
        let hosts = |confirmed: bool| -> Vec<&Name> {
            let keys = self.datastore.affinities_of(cidr);
            keys.filter(|(_, entry)| (entry.state == AffinityState::Confirmed) == confirmed)
                .filter_map(|(owner, _)| owner.host())
                .collect()
        };
        let confirmed = hosts(true);
        if let Some(pool) = pool.filter(|pool| self.felix_programs(pool)) {
            match confirmed.as_slice() {
                [only] => self.felix_block(cidr, only, pool, found),
                [] => {
                    for host in hosts(false) {
                        let at = found.len();
                        self.felix_block(cidr, host, pool, found);
                        found[at..].iter_mut().for_each(|it| it.need = Need::Permitted);
                    }
                }
                // The block has one owner, and which of them cannot be told from here.
                _ => found.push(self.unknown(cidr)),
            }
        }
        if pool.is_none_or(|pool| self.bird_may_program(pool.class())) {
            self.bird_block(cidr, !confirmed.is_empty(), pool, found);
        }
        if let Some(pool) = pool
            && self.is_nobodys(pool)
        {
            found.push(self.unknown(cidr));
        }
    }

    /// Nobody is configured to program the pool's class: what is there is somebody's business, not a leftover of
    /// Calico's.
    pub(super) fn is_nobodys(&self, pool: &IpPool) -> bool {
        use crate::model::PoolClass;
        matches!(pool.class(), PoolClass::Ipip | PoolClass::NoEncap)
            && !self.setting.ownership.programs(Programmer::Felix, pool.class())
            && !self.setting.ownership.programs(Programmer::Bird, pool.class())
    }
}
