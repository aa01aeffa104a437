//! A simple allocator to hold the plan against: it walks addresses one by one, knows nothing of the plan's arithmetic,
//! and does what the reference says of Calico's (2.2).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use fastrand::Rng;
use ipnet::IpNet;

/// Why an address was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Limit,
    NoBlock,
    NoAddress,
}

#[derive(Debug, Clone)]
pub(super) struct Pool {
    pub(super) name: String,
    pub(super) cidr: IpNet,
    pub(super) block_size: u8,
    /// Neither disabled nor manual.
    pub(super) open: bool,
    /// Hosts of this zone alone.
    pub(super) zone: Option<char>,
    pub(super) ipip: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) owner: Option<String>,
    /// By ordinal: not to be given out.
    pub(super) taken: Vec<bool>,
}

/// How a host chooses among positions.
#[derive(Debug, Clone)]
pub(super) enum Choice {
    /// The ones with the most usable addresses first.
    Roomiest,
    /// By chance.
    Random(Rng),
}

#[derive(Debug, Clone)]
pub(super) struct Allocator {
    pub(super) pools: Vec<Pool>,
    pub(super) reserved: Vec<IpNet>,
    pub(super) blocks: BTreeMap<IpNet, Block>,
    pub(super) zones: BTreeMap<String, char>,
    pub(super) limit: usize,
    pub(super) strict: bool,
    pub(super) auto: bool,
    pub(super) choice: Choice,
}

pub(super) fn addresses(cidr: IpNet) -> Vec<IpAddr> {
    match cidr {
        IpNet::V4(net) => {
            let first = u32::from(net.network());
            (first..=u32::from(net.broadcast())).map(|it| IpAddr::V4(it.into())).collect()
        }
        IpNet::V6(net) => {
            let first = u128::from(net.network());
            (first..=u128::from(net.broadcast())).map(|it| IpAddr::V6(it.into())).collect()
        }
    }
}

impl Allocator {
    fn is_reserved(&self, address: IpAddr) -> bool {
        self.reserved.iter().any(|net| net.contains(&address))
    }

    fn usable(&self, cidr: IpNet) -> usize {
        addresses(cidr).into_iter().filter(|address| !self.is_reserved(*address)).count()
    }

    pub(super) fn pools_of(&self, host: &str, v4: bool) -> Vec<Pool> {
        let zone = self.zones.get(host);
        let fits = |pool: &&Pool| {
            pool.open && pool.cidr.addr().is_ipv4() == v4 && pool.zone.is_none_or(|it| Some(&it) == zone)
        };
        self.pools.iter().filter(fits).cloned().collect()
    }

    fn held(&self, host: &str, v4: bool) -> usize {
        let own =
            |(cidr, block): &(&IpNet, &Block)| cidr.addr().is_ipv4() == v4 && block.owner.as_deref() == Some(host);
        self.blocks.iter().filter(own).count()
    }

    /// Takes a free address out of a block.
    fn take(&mut self, cidr: IpNet) -> bool {
        let free: BTreeSet<usize> = addresses(cidr)
            .into_iter()
            .enumerate()
            .filter(|(_, address)| !self.is_reserved(*address))
            .map(|(ordinal, _)| ordinal)
            .collect();
        let block = self.blocks.get_mut(&cidr).unwrap();
        let found = free.into_iter().find(|ordinal| !block.taken[*ordinal]);
        found.inspect(|ordinal| block.taken[*ordinal] = true).is_some()
    }

    /// A position without a block that is not reserved as a whole.
    fn position(&mut self, pools: &[Pool]) -> Option<IpNet> {
        for pool in pools {
            let overlapped = |cidr: &IpNet| self.blocks.keys().any(|it| it.contains(cidr) || cidr.contains(it));
            let positions = pool.cidr.subnets(pool.block_size).unwrap();
            let mut open: Vec<(IpNet, usize)> = positions
                .filter(|cidr| !overlapped(cidr))
                .map(|cidr| (cidr, self.usable(cidr)))
                .filter(|(_, usable)| *usable > 0)
                .collect();
            match &mut self.choice {
                Choice::Roomiest => open.sort_by_key(|(cidr, usable)| (std::cmp::Reverse(*usable), *cidr)),
                Choice::Random(rng) => rng.shuffle(&mut open),
            }
            if let Some((cidr, _)) = open.first() {
                return Some(*cidr);
            }
        }
        None
    }

    pub(super) fn claim(&mut self, host: &str, pools: &[Pool]) -> Option<IpNet> {
        let cidr = self.position(pools)?;
        let block = Block { owner: Some(host.to_owned()), taken: vec![false; addresses(cidr).len()] };
        self.blocks.insert(cidr, block);
        Some(cidr)
    }

    /// One address for a host, out of these pools.
    pub(super) fn assign(&mut self, host: &str, pools: &[Pool]) -> Result<(), Refusal> {
        let v4 = pools.first().is_none_or(|pool| pool.cidr.addr().is_ipv4());
        let inside = |cidr: &IpNet| pools.iter().any(|pool| pool.cidr.contains(cidr));
        let theirs = |it: &Self| -> Vec<IpNet> {
            let own = it.blocks.iter().filter(|(cidr, block)| inside(cidr) && block.owner.as_deref() == Some(host));
            own.map(|(cidr, _)| *cidr).collect()
        };
        if theirs(self).into_iter().any(|cidr| self.take(cidr)) {
            return Ok(());
        }
        if self.held(host, v4) >= self.limit {
            return Err(Refusal::Limit);
        }
        if self.auto
            && let Some(cidr) = self.claim(host, pools)
        {
            assert!(self.take(cidr), "a position has a usable address");
            return Ok(());
        }
        if self.strict {
            return Err(Refusal::NoBlock);
        }
        let all: Vec<IpNet> = self.blocks.keys().copied().filter(|cidr| inside(cidr)).collect();
        if all.into_iter().any(|cidr| self.take(cidr)) { Ok(()) } else { Err(Refusal::NoAddress) }
    }
}
