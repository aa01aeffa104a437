//! The plan's numbers against an allocator that is really asked.

use std::collections::BTreeMap;

use fastrand::Rng;
use ipnet::IpNet;
use proptest::prelude::*;

use super::allocator::{self, Allocator, Choice, Pool, Refusal, addresses};
use super::*;
use crate::audit::testing::{self, Block, Cluster, net};
use crate::model::{EncapMode, IpPool, IpamConfig};
use crate::state::{Object, ObjectId};

const HOSTS: [(&str, char); 3] = [("h1", 'a'), ("h2", 'a'), ("h3", 'b')];
const POOLS: [(&str, &str, u8); 4] =
    [("a", "10.0.0.0/26", 28), ("b", "10.1.0.0/27", 30), ("c", "10.2.0.0/28", 29), ("v6", "fd00::/122", 125)];

/// A random cluster twice: for the plan and for the allocator.
fn world(seed: u64) -> (Cluster, Allocator) {
    let mut rng = Rng::with_seed(seed);
    let mut cluster = Cluster::new();
    let strict = rng.bool();
    let limit = rng.u32(1..5);
    let auto = rng.u8(0..8) > 0;
    let config = IpamConfig { max_blocks_per_host: limit, auto_allocate_blocks: auto, ..IpamConfig::default() };
    cluster.config(IpamConfig { strict_affinity: strict, ..config });
    for (name, zone) in HOSTS {
        let mut node = testing::node(name, &["192.168.0.1/24"]);
        node.labels = [("zone", zone.to_string())].into_iter().collect();
        cluster.put(Object::Node(name.into(), node));
    }
    let mut allocator = Allocator {
        pools: Vec::new(),
        reserved: Vec::new(),
        blocks: BTreeMap::new(),
        zones: HOSTS.iter().map(|(name, zone)| ((*name).to_owned(), *zone)).collect(),
        limit: limit as usize,
        strict,
        auto,
        choice: Choice::Roomiest,
    };
    if rng.bool() {
        let nets = ["10.0.0.0/28", "10.0.0.20/30", "10.1.0.8/31", "10.1.0.10/31", "10.2.0.0/32", "fd00::8/126"];
        let chosen: Vec<&str> = nets.into_iter().filter(|_| rng.bool()).collect();
        cluster.reservation("r", &chosen);
        allocator.reserved = chosen.iter().map(|text| net(text)).collect();
    }
    for (name, cidr, block_size) in POOLS {
        if rng.u8(0..4) > 0 {
            pool(&mut rng, &mut cluster, &mut allocator, (name, cidr, block_size));
        }
    }
    (cluster, allocator)
}

fn pool(rng: &mut Rng, cluster: &mut Cluster, allocator: &mut Allocator, (name, cidr, block_size): (&str, &str, u8)) {
    let cidr = net(cidr);
    let zone = (rng.u8(0..3) == 0).then_some('a');
    let ipip = cidr.addr().is_ipv4() && rng.u8(0..4) == 0;
    let (disabled, manual) = (rng.u8(0..8) == 0, rng.u8(0..8) == 0);
    cluster.put(Object::Pool(IpPool {
        vxlan: EncapMode::Never,
        ipip: if ipip { EncapMode::Always } else { EncapMode::Never },
        disabled,
        manual,
        node_selector: zone.map_or("all()".to_owned(), |zone| format!("zone == '{zone}'")),
        ..testing::pool(name, &cidr.to_string(), block_size)
    }));
    let pool = Pool { name: name.to_owned(), cidr, block_size, open: !disabled && !manual, zone, ipip };
    let positions: Vec<IpNet> = pool.cidr.subnets(block_size).unwrap().filter(|_| rng.u8(0..3) == 0).collect();
    allocator.pools.push(pool);
    for position in positions {
        let owner = rng.choice(["host:h1", "host:h2", "host:h3", "host:gone", ""]).unwrap();
        let mut block =
            if owner.is_empty() { Block::new(&position.to_string()) } else { Block::of(owner, &position.to_string()) };
        let size = block.allocations.len();
        let mut taken = vec![false; size];
        for (ordinal, taken) in taken.iter_mut().enumerate() {
            *taken = rng.bool();
            if *taken {
                block = match rng.u8(0..6) {
                    0 => block.cooldown(ordinal, 1),
                    1 => block.windows(ordinal),
                    _ => block.pod(ordinal, rng.choice(["h1", "h2"]).unwrap(), "p"),
                };
            }
        }
        cluster.block(block);
        let owner = owner.strip_prefix("host:").map(str::to_owned);
        allocator.blocks.insert(position, allocator::Block { owner, taken });
    }
}

fn plan(cluster: &Cluster, question: &PlanQuestion) -> Plan {
    Plan::of(cluster.datastore(), question)
}

/// Has a host join that is asked for: its tunnel's address first, then its pods.
fn join(allocator: &mut Allocator, name: &str, zone: char, v4: bool, pods: u64) -> Result<(), Refusal> {
    allocator.zones.insert(name.to_owned(), zone);
    let all = allocator.pools_of(name, v4);
    let tunnel: Vec<Pool> = all.iter().filter(|pool| pool.ipip).cloned().collect();
    if !tunnel.is_empty() {
        allocator.assign(name, &tunnel)?;
    }
    (0..pods).try_for_each(|_| allocator.assign(name, &all))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn as_many_hosts_and_pods_fit_as_the_allocator_takes(seed in any::<u64>()) {
        let (cluster, allocator) = world(seed);
        for found in plan(&cluster, &PlanQuestion::default()).pools {
            let pool = allocator.pools.iter().find(|pool| *pool.name == *found.name).unwrap();
            let v4 = pool.cidr.addr().is_ipv4();
            // Pods, wherever there is room for one.
            let mut trial = allocator.clone();
            let hosts: Vec<&str> = HOSTS
                .iter()
                .map(|(name, _)| *name)
                .filter(|name| trial.pools_of(name, v4).iter().any(|it| it.name == pool.name))
                .collect();
            let mut pods = 0u128;
            while hosts.iter().any(|host| trial.assign(host, std::slice::from_ref(pool)).is_ok()) {
                pods += 1;
            }
            prop_assert_eq!((&found.name, found.more_pods), (&found.name, pods));
            if pool.open {
                prop_assert_eq!(found.hosts, hosts.len() as u64);
            }
            // Hosts, each with a block of its own.
            let mut trial = allocator.clone();
            let mut joined = 0u128;
            while pool.open && trial.auto && trial.claim(&format!("new{joined}"), std::slice::from_ref(pool)).is_some() {
                joined += 1;
            }
            prop_assert_eq!((&found.name, found.more_hosts), (&found.name, joined));
            prop_assert!(found.stranded <= found.free_in_blocks);
        }
    }

    #[test]
    fn newcomers_fit_where_the_allocator_takes_them(seed in any::<u64>(), hosts in 0u64..6, pods in 0u64..24, near in any::<bool>()) {
        let (cluster, allocator) = world(seed);
        let zone = if near { 'a' } else { 'b' };
        let labels = [("zone", zone.to_string())].into_iter().collect();
        let question =
            PlanQuestion { newcomers: Some(Newcomers { hosts, pods_per_host: pods, labels }), sizes: false };
        for found in plan(&cluster, &question).additions {
            let v4 = found.family == Family::V4;
            let mut outcomes = Vec::new();
            for luck in 0..4 {
                let mut trial = allocator.clone();
                trial.choice = Choice::Random(Rng::with_seed(seed ^ luck));
                let mut placed = 0;
                let names = (0..hosts).map(|index| format!("new{index}"));
                let outcome = names.into_iter().try_for_each(|name| {
                    // Without any pool there is nothing to ask.
                    if found.shortage == Some(Shortage::NoPool) {
                        assert!(trial.pools_of(&name, v4).is_empty() || trial.zones.insert(name, zone).is_none());
                        return Err(Refusal::NoAddress);
                    }
                    join(&mut trial, &name, zone, v4, pods)?;
                    placed += 1;
                    Ok(())
                });
                outcomes.push((outcome, placed));
            }
            let partly = found.fit == Fit::Depends;
            for (outcome, placed) in &outcomes {
                match found.fit {
                    Fit::Yes => prop_assert_eq!((outcome, *placed), (&Ok(()), hosts)),
                    Fit::No => prop_assert!(outcome.is_err(), "{found:?}"),
                    Fit::Depends => {}
                }
            }
            // Without reservations nothing is left to chance, and what runs out has its name.
            if allocator.reserved.is_empty() {
                prop_assert!(!partly);
                let named = match found.shortage {
                    None => Ok(()),
                    Some(Shortage::BlockLimit) => Err(Refusal::Limit),
                    Some(Shortage::Blocks) => Err(Refusal::NoBlock),
                    Some(Shortage::Addresses | Shortage::NoPool) => Err(Refusal::NoAddress),
                };
                prop_assert_eq!(&outcomes[0], &(named, found.hosts_placed));
            }
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_block_size_needs_the_blocks_that_hosts_would_claim(seed in any::<u64>(), bits in 2u8..=4) {
        let mut rng = Rng::with_seed(seed);
        let used: Vec<usize> = HOSTS.iter().map(|_| rng.usize(0..40)).collect();
        let mut cluster = Cluster::new();
        cluster.pool("p", "10.0.0.0/22", 26);
        for ((name, _), used) in HOSTS.iter().zip(&used) {
            let mut block = Block::of(&format!("host:{name}"), &format!("10.0.{}.0/26", &name[1..]));
            for ordinal in 0..*used {
                block = block.pod(ordinal, name, "p");
            }
            cluster.node(name, &["192.168.0.1/24"]).owned(block);
        }
        let length = 32 - bits;
        let pool =
            Pool { name: "p".to_owned(), cidr: net("10.0.0.0/22"), block_size: length, open: true, zone: None, ipip: false };
        let mut anew = Allocator {
            pools: vec![pool.clone()],
            reserved: Vec::new(),
            blocks: BTreeMap::new(),
            zones: BTreeMap::new(),
            limit: usize::MAX,
            strict: true,
            auto: true,
            choice: Choice::Roomiest,
        };
        for ((name, _), used) in HOSTS.iter().zip(&used) {
            for _ in 0..*used {
                anew.assign(name, std::slice::from_ref(&pool)).unwrap();
            }
        }
        let plan = plan(&cluster, &PlanQuestion { newcomers: None, sizes: true });
        let size = plan.pools[0].sizes.iter().find(|it| it.prefix_len == length).unwrap();
        let free: usize = anew.blocks.values().flat_map(|block| &block.taken).filter(|taken| !**taken).count();
        prop_assert_eq!((size.blocks_needed, size.stranded), (anew.blocks.len() as u64, free as u64));
        prop_assert_eq!(size.routes_per_host, anew.blocks.len() as u64);
        prop_assert_eq!(size.blocks_capacity, pool.cidr.subnets(length).unwrap().count() as u128);
        let over = used.iter().filter(|used| used.div_ceil(addresses("10.0.0.0/26".parse().unwrap()).len() >> (6 - bits)) > 20);
        prop_assert_eq!(size.hosts_over_limit, over.count() as u64);
    }
}

#[test]
fn an_ipv6_pool_is_counted_and_not_walked() {
    let mut cluster = Cluster::new();
    cluster
        .pool("p", "fd00::/64", 122)
        .node("h1", &["fd01::1/64"])
        .reservation("r", &["fd00::/66", "fd00:0:0:0:8000::1/128"]);
    cluster.owned(Block::of("host:h1", "fd00::f000:0:0:0/122"));
    let question = PlanQuestion {
        newcomers: Some(Newcomers { hosts: 1000, pods_per_host: 110, ..Newcomers::default() }),
        sizes: true,
    };
    let plan = plan(&cluster, &question);
    let pool = &plan.pools[0];
    // A quarter is reserved, one block is there, one is reserved in part.
    assert_eq!(pool.blocks_left, (1 << 58) - (1 << 56) - 1);
    assert_eq!(pool.blocks_left_in_part, 1);
    assert_eq!(plan.fits(), Some(Fit::Yes));
    let lengths: Vec<u8> = pool.sizes.iter().map(|size| size.prefix_len).collect();
    assert_eq!(lengths, [118, 119, 120, 121, 122, 123, 124, 125, 126]);
}

#[test]
fn what_cannot_be_read_is_said() {
    let mut cluster = Cluster::new();
    cluster.pool("p", "10.0.0.0/24", 26).node("h1", &["192.168.0.1/24"]);
    assert!(plan(&cluster, &PlanQuestion::default()).unknown.is_empty());
    cluster.unreadable(ObjectId::Block(net("10.0.0.0/26"))).unreadable(ObjectId::Pool("q".into()));
    cluster.unreadable(ObjectId::IpamConfig);
    let plan = plan(&cluster, &PlanQuestion::default());
    assert_eq!(plan.unknown.len(), 3, "{:?}", plan.unknown);
    // A block that cannot be read takes its place.
    assert_eq!((plan.pools[0].blocks_claimed, plan.pools[0].blocks_left), (1, 3));
}
