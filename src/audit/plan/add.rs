//! Whether so many hosts with so many pods each would fit, and what would run out first.

use super::{Picture, PoolPicture, tunnels_of};
use crate::model::label_values;
use crate::model::{BlockOwner, Family, Labels, Name, PoolClass, TunnelKind};

/// Hosts that may join, all alike.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Newcomers {
    /// How many.
    pub hosts: u64,
    /// Pods on each.
    pub pods_per_host: u64,
    /// Their labels, which pools choose by.
    pub labels: Labels,
}

impl Newcomers {
    /// More hosts than anybody has; the answer takes a step for each.
    pub const MOST_HOSTS: u64 = 1_000_000;
}

label_values! {
    /// Whether they fit, from good to bad.
    pub enum Fit {
        /// They do, whichever blocks they get.
        Yes = "yes",
        /// They do if they get the right blocks: some are reserved in part, and which host gets which is chance.
        Depends = "depends",
        /// They do not.
        No = "no",
    }
}

label_values! {
    /// What runs out first.
    pub enum Shortage {
        /// No pool of the family selects such a host.
        NoPool = "no_pool",
        /// No block is left, and affinity is strict.
        Blocks = "blocks",
        /// A host would need more blocks than it may have.
        BlockLimit = "block_limit",
        /// Every address is used.
        Addresses = "addresses",
    }
}

/// The answer for one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addition {
    /// The family.
    pub family: Family,
    /// Pools that such a host would use, by name.
    pub pools: Vec<Name>,
    /// Tunnels for which each host needs an address beside its pods.
    pub tunnels: Vec<TunnelKind>,
    /// Whether all fit.
    pub fit: Fit,
    /// How many hosts fit with all their pods, each filled before the next one joins; partly reserved blocks are counted
    /// as the emptiest that they are.
    pub hosts_placed: u64,
    /// What runs out first.
    pub shortage: Option<Shortage>,
    /// Blocks that those hosts claim.
    pub blocks_claimed: u128,
    /// Addresses that they borrow.
    pub borrowed: u128,
    /// Blocks that are then left in these pools.
    pub blocks_left: u128,
}

/// What one host asks for: pools, by place, and addresses out of them.
type Request = (Vec<usize>, u128);

/// A pool while hosts join.
#[derive(Debug, Clone)]
struct Stock {
    name: Name,
    class: PoolClass,
    size: u128,
    left: u128,
    /// Free addresses in blocks, anybody's.
    free: u128,
    in_part: u128,
    /// All that can be had.
    usable: u128,
}

impl Stock {
    fn of(pool: &PoolPicture<'_>, picture: &Picture<'_>) -> Stock {
        let lent = |block: &&super::Used| !matches!(block.owner, Some(BlockOwner::Virtual(_)));
        let free = pool.blocks.iter().filter(lent).map(|block| block.free).sum();
        let left = if picture.auto { pool.room.whole() } else { 0 };
        let in_part = if picture.auto { pool.room.in_part().len() as u128 } else { 0 };
        let claimable = if picture.auto { pool.room.usable(u128::MAX) } else { 0 };
        let usable = claimable.saturating_add(if picture.strict { 0 } else { free });
        Stock {
            name: pool.pool.name.clone(),
            class: pool.pool.class(),
            size: pool.room.size(),
            left,
            free,
            in_part,
            usable,
        }
    }
}

/// The answers, once a family that has any pool for pods.
pub(super) fn additions(picture: &Picture<'_>, newcomers: &Newcomers) -> Vec<Addition> {
    let with_pool = |family: &Family| picture.pools.iter().any(|it| it.closed.is_none() && it.pool.family() == *family);
    Family::ALL.into_iter().filter(with_pool).map(|family| addition(picture, newcomers, family)).collect()
}

fn addition(picture: &Picture<'_>, newcomers: &Newcomers, family: Family) -> Addition {
    let usable = picture.pools.iter().filter(|pool| {
        let selects = || pool.selector.as_ref().is_some_and(|selector| selector.matches(&newcomers.labels));
        pool.closed.is_none() && pool.pool.family() == family && selects()
    });
    let stocks: Vec<Stock> = usable.map(|pool| Stock::of(pool, picture)).collect();
    let tunnels: Vec<TunnelKind> =
        tunnels_of(family).iter().copied().filter(|it| needed(*it, picture, &stocks)).collect();
    let requests = requests(&tunnels, newcomers, &stocks);
    let pools = stocks.iter().map(|stock| stock.name.clone()).collect();
    let empty = Addition {
        family,
        pools,
        tunnels,
        fit: Fit::Yes,
        hosts_placed: 0,
        shortage: None,
        blocks_claimed: 0,
        borrowed: 0,
        blocks_left: stocks.iter().map(|stock| stock.left + stock.in_part).sum(),
    };
    if stocks.is_empty() {
        let fit = if newcomers.hosts == 0 { Fit::Yes } else { Fit::No };
        return Addition { fit, shortage: (fit == Fit::No).then_some(Shortage::NoPool), ..empty };
    }
    let mut counted = count(picture, newcomers.hosts, &requests, stocks.clone(), empty);
    if stocks.iter().any(|stock| stock.in_part > 0) && counted.fit == Fit::No {
        counted.fit = bounds(picture, newcomers.hosts, &requests, &stocks);
    } else if stocks.iter().any(|stock| stock.in_part > 0) && !certain(picture, newcomers.hosts, &requests, &stocks) {
        counted.fit = Fit::Depends;
    }
    if counted.fit == Fit::Yes {
        (counted.shortage, counted.hosts_placed) = (None, newcomers.hosts);
    }
    counted
}

/// Whether such a host has the tunnel: its class has a pool, or WireGuard is on.
fn needed(tunnel: TunnelKind, picture: &Picture<'_>, stocks: &[Stock]) -> bool {
    match crate::audit::setting::tunnel_class(tunnel) {
        Some(class) => stocks.iter().any(|stock| stock.class == class),
        None => tunnel == TunnelKind::WireguardV4 && picture.wireguard && !stocks.is_empty(),
    }
}

/// A tunnel's address comes from pools of its class, a pod's from any.
fn requests(tunnels: &[TunnelKind], newcomers: &Newcomers, stocks: &[Stock]) -> Vec<Request> {
    let of_class = |class: PoolClass| (0..stocks.len()).filter(|place| stocks[*place].class == class).collect();
    let tunnels = tunnels.iter().map(|tunnel| match crate::audit::setting::tunnel_class(*tunnel) {
        Some(class) => (of_class(class), 1),
        None => ((0..stocks.len()).collect(), 1),
    });
    tunnels.chain([((0..stocks.len()).collect(), u128::from(newcomers.pods_per_host))]).collect()
}

/// Has one host after the other join, by arithmetic; blocks that are reserved in part are left alone.
fn count(
    picture: &Picture<'_>,
    hosts: u64,
    requests: &[Request],
    mut stocks: Vec<Stock>,
    mut counted: Addition,
) -> Addition {
    for _ in 0..hosts.min(Newcomers::MOST_HOSTS) {
        match join(picture, requests, &mut stocks) {
            Ok((claimed, borrowed)) => {
                counted.hosts_placed += 1;
                counted.blocks_claimed += claimed;
                counted.borrowed += borrowed;
                counted.blocks_left = counted.blocks_left.saturating_sub(claimed);
            }
            Err(shortage) => {
                (counted.shortage, counted.fit) = (Some(shortage), Fit::No);
                break;
            }
        }
    }
    counted
}

/// One host: its blocks claimed and its addresses borrowed, or what ran out.
fn join(picture: &Picture<'_>, requests: &[Request], stocks: &mut [Stock]) -> Result<(u128, u128), Shortage> {
    let limit = u128::from(picture.limit);
    let mut own = vec![0u128; stocks.len()];
    let (mut held, mut borrowed) = (0u128, 0u128);
    for (places, wanted) in requests {
        let mut need = *wanted;
        for place in places {
            let given = own[*place].min(need);
            own[*place] -= given;
            stocks[*place].free -= given;
            need -= given;
        }
        while need > 0
            && let Some(place) = places.iter().copied().find(|place| stocks[*place].left > 0)
        {
            if held >= limit {
                return Err(Shortage::BlockLimit);
            }
            let stock = &mut stocks[place];
            let blocks = need.div_ceil(stock.size).min(stock.left).min(limit - held);
            let got = (blocks * stock.size).min(need);
            let rest = blocks * stock.size - got;
            stock.left -= blocks;
            stock.free += rest;
            own[place] += rest;
            held += blocks;
            need -= got;
        }
        if need > 0 && held >= limit {
            return Err(Shortage::BlockLimit);
        }
        if need > 0 && picture.strict {
            return Err(Shortage::Blocks);
        }
        for place in places {
            let given = stocks[*place].free.min(need);
            stocks[*place].free -= given;
            borrowed += given;
            need -= given;
        }
        if need > 0 {
            return Err(Shortage::Addresses);
        }
    }
    Ok((held, borrowed))
}

/// With blocks that are reserved in part, whether hosts fit whichever of them they draw: none of them counts. A request
/// draws at most as many whole blocks as it would of the smallest; where its pools have that many for all who may draw
/// from them, one is left whenever it wants one. One whose pools have no block at all borrows.
fn certain(picture: &Picture<'_>, hosts: u64, requests: &[Request], stocks: &[Stock]) -> bool {
    let hosts = u128::from(hosts);
    let sum = |places: &[usize], what: fn(&Stock) -> u128| {
        places.iter().map(|place| what(&stocks[*place])).fold(0, u128::saturating_add)
    };
    let borrows = |(places, wanted): &Request| *wanted > 0 && sum(places, |it| it.left.saturating_add(it.in_part)) == 0;
    let most = |request: &Request| {
        let sizes = request.0.iter().filter(|place| stocks[**place].left > 0).map(|place| stocks[*place].size);
        if borrows(request) { 0 } else { request.1.div_ceil(sizes.min().unwrap_or(1).max(1)) }
    };
    let any_borrows = requests.iter().any(borrows);
    let in_part: u128 = stocks.iter().map(|stock| stock.in_part).sum();
    let blocks = requests.iter().map(most).sum::<u128>() + in_part + u128::from(any_borrows);
    let served = requests.iter().all(|request| {
        let sharing = requests.iter().filter(|other| other.0.iter().any(|place| request.0.contains(place)));
        if borrows(request) {
            let wanted: u128 = sharing.filter(|it| borrows(it)).map(|(_, wanted)| *wanted).sum();
            return !picture.strict && hosts.saturating_mul(wanted) <= sum(&request.0, |it| it.free);
        }
        hosts.saturating_mul(sharing.map(most).sum()) <= sum(&request.0, |it| it.left)
    });
    let alike = requests.iter().all(|(places, _)| places.len() == stocks.len());
    let wanted: u128 = requests.iter().map(|(_, wanted)| *wanted).sum();
    let all: Vec<usize> = (0..stocks.len()).collect();
    let lent = !picture.strict && alike && hosts.saturating_mul(wanted) <= sum(&all, |it| it.usable);
    blocks <= u128::from(picture.limit) && (served || lent)
}

/// With blocks that are reserved in part, what the best luck could not mend.
fn bounds(picture: &Picture<'_>, hosts: u64, requests: &[Request], stocks: &[Stock]) -> Fit {
    if certain(picture, hosts, requests, stocks) {
        return Fit::Yes;
    }
    let hosts = u128::from(hosts);
    let wanted: u128 = requests.iter().map(|(_, wanted)| *wanted).sum();
    let largest = stocks.iter().map(|stock| stock.size).max().unwrap_or(1).max(1);
    let least = wanted.div_ceil(largest);
    let left: u128 = stocks.iter().map(|stock| stock.left + stock.in_part).sum();
    let addresses: u128 = stocks.iter().map(|stock| stock.usable).fold(0, u128::saturating_add);
    let too_few_addresses = hosts.saturating_mul(wanted) > addresses;
    let too_few_blocks = picture.strict && hosts.saturating_mul(least) > left;
    let over_limit = picture.strict && hosts > 0 && least > u128::from(picture.limit);
    if too_few_addresses || too_few_blocks || over_limit { Fit::No } else { Fit::Depends }
}
