//! Random clusters: consistent ones have nothing wrong, one mutation is exactly its own findings, and an audit that
//! followed event by event knows what a fresh one finds.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use ipnet::IpNet;
use proptest::prelude::*;

use super::*;
use crate::audit::testing::{address, attribute, net, node, pool};
use crate::model::AffinityState::{self, Confirmed, Pending, PendingDeletion};
use crate::model::{
    AttributeKind, BlockAffinity, BlockOwner, IpPool, IpReservation, IpamConfig, Name, SequenceDefect, TunnelKind,
    address_at,
};
use crate::state::{Event, Object, ObjectId};

const HOSTS: [&str; 4] = ["h1", "h2", "rack-3.example", "h4"];

/// A consistent cluster, as objects that can still be changed.
struct World {
    rng: Rng,
    pools: Vec<IpPool>,
    blocks: BTreeMap<IpNet, Block>,
    keys: BTreeMap<(BlockOwner, IpNet), AffinityState>,
    /// CIDRs of blocks that nobody has claimed.
    unclaimed: Vec<IpNet>,
}

fn host(name: &str) -> BlockOwner {
    BlockOwner::Host(name.into())
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Rng::with_seed(seed);
        let pools = vec![
            pool("small", "10.1.0.0/26", 28),
            pool("wide", "10.2.0.0/20", 26),
            pool("six", "fd00:1::/64", 122),
            IpPool { load_balancer: true, ..pool("services", "10.3.0.0/24", 29) },
        ];
        let mut unclaimed: Vec<IpNet> = pools[..3]
            .iter()
            .flat_map(|pool| pool.cidr.subnets(pool.block_size).unwrap().take(8).collect::<Vec<_>>())
            .collect();
        rng.shuffle(&mut unclaimed);
        let mut world = World { rng, pools, blocks: BTreeMap::new(), keys: BTreeMap::new(), unclaimed };
        for _ in 0..world.rng.usize(3..10) {
            let owner = world.rng.choice(HOSTS).unwrap();
            world.claim(Some(host(owner)));
        }
        if world.rng.bool() {
            world.claim(None);
        }
        let services = net("10.3.0.8/29");
        let virtual_owner = BlockOwner::Virtual("load-balancer".into());
        world.keys.insert((virtual_owner.clone(), services), Confirmed);
        let block = Block { owner: Some(virtual_owner), ..Block::new("10.3.0.8/29") };
        world.blocks.insert(services, block.load_balancer(2, "s"));
        world
    }

    fn claim(&mut self, owner: Option<BlockOwner>) {
        let cidr = self.unclaimed.pop().unwrap();
        let mut block = Block { owner: owner.clone(), ..Block::new(&cidr.to_string()) };
        let size = block.allocations.len();
        let busy = self.rng.usize(0..=size) * self.rng.usize(0..=1);
        // Nobody's block lives as long as an address of it.
        let busy = if owner.is_none() { busy.max(1) } else { busy };
        let mut ordinals: Vec<usize> = (0..size).collect();
        self.rng.shuffle(&mut ordinals);
        for ordinal in ordinals.into_iter().take(busy) {
            let node = self.rng.choice(HOSTS).unwrap();
            block = match self.rng.u8(0..8) {
                0 => block.cooldown(ordinal, self.rng.u64(1..1_000_000)),
                1 => block.tunnel(ordinal, node, TunnelKind::VxlanV4),
                2 => block.windows(ordinal),
                3 => block.attribute(ordinal, attribute(AttributeKind::VirtualMachine, Some("net.vmi.ns.vm"))),
                _ => block.pod(ordinal, node, &format!("p{ordinal}")),
            };
        }
        self.rng.shuffle(&mut block.unallocated);
        self.blocks.insert(cidr, block);
        if let Some(owner) = owner {
            self.keys.insert((owner, cidr), Confirmed);
        }
    }

    fn events(&mut self) -> Vec<Event> {
        let put = |object| Event::Put(Box::new(object));
        let mut events: Vec<Event> = self.pools.iter().cloned().map(|pool| put(Object::Pool(pool))).collect();
        events.extend(HOSTS.map(|name| put(Object::Node(name.into(), node(name, &["192.168.0.1/24"])))));
        events.extend(self.blocks.values().map(|block| put(Object::Block(block.clone().build()))));
        events.extend(self.keys.iter().map(|((owner, cidr), state)| {
            put(Object::Affinity(BlockAffinity { owner: owner.clone(), cidr: *cidr, state: *state }))
        }));
        let cidrs = vec![net("10.1.0.0/29"), net("10.1.0.4/30"), net("10.2.1.0/24"), net("fd00:1::/66")];
        events.push(put(Object::Reservation(IpReservation { name: "r".into(), cidrs })));
        self.rng.shuffle(&mut events);
        events
    }

    /// A block whose two lists are as long as they can be, and its key.
    fn any_block(&mut self, wanted: impl Fn(&Block) -> bool) -> Option<Block> {
        let fitting: Vec<&Block> = self.blocks.values().filter(|block| wanted(block)).collect();
        self.rng.choice(fitting).cloned()
    }

    /// One thing that goes wrong, and what is then wrong; nothing where the cluster has nothing fit for it.
    fn mutate(&mut self, kind: u8) -> Option<(Vec<Event>, Vec<String>)> {
        let owned = |block: &Block| matches!(block.owner, Some(BlockOwner::Host(_)));
        let some_free = |block: &Block| !block.unallocated.is_empty();
        let some_given = |block: &Block| block.allocations.iter().any(Option::is_some);
        let put = |object| Event::Put(Box::new(object));
        let put_block = |block: Block| vec![put(Object::Block(block.build()))];
        let put_key = |owner: &BlockOwner, cidr: IpNet, state| {
            vec![put(Object::Affinity(BlockAffinity { owner: owner.clone(), cidr, state }))]
        };
        let affinity = |reason: &str, cidr: IpNet| format!("affinity_faults {reason} {cidr}");
        let invalid = |reason: &str, cidr: IpNet| format!("invalid_blocks {reason} {cidr}");
        let mismatch = |reason: &str, block: &Block, ordinal: i64| {
            format!("mismatched_addresses {reason} {}", address_at(&block.cidr, ordinal as u64).unwrap())
        };
        let free_host = host(self.rng.choice(HOSTS).unwrap());
        Some(match kind {
            0 => {
                let mut block = self.any_block(some_given)?;
                let ordinal = block.allocations.iter().position(Option::is_some)? as i64;
                block.unallocated.push(ordinal);
                (put_block(block.clone()), vec![mismatch("allocated_and_unallocated", &block, ordinal)])
            }
            1 => {
                let mut block = self.any_block(some_free)?;
                let ordinal = block.unallocated.pop()?;
                (put_block(block.clone()), vec![mismatch("neither", &block, ordinal)])
            }
            2 => {
                let mut block = self.any_block(some_free)?;
                let ordinal = block.unallocated[0];
                block.unallocated.push(ordinal);
                (put_block(block.clone()), vec![mismatch("duplicate", &block, ordinal)])
            }
            3 => {
                let mut block = self.any_block(|_| true)?;
                block.unallocated.push(block.allocations.len() as i64);
                (put_block(block.clone()), vec![invalid("unallocated_out_of_range", block.cidr)])
            }
            4 => {
                let mut block = self.any_block(|_| true)?;
                block.allocations.push(None);
                (put_block(block.clone()), vec![invalid("wrong_length", block.cidr)])
            }
            5 => {
                let mut block = self.any_block(some_free)?;
                let ordinal = block.unallocated.pop()?;
                block.allocations[ordinal as usize] = Some(block.attributes.len() as i64);
                (put_block(block.clone()), vec![invalid("bad_attribute_index", block.cidr)])
            }
            6 => {
                let mut block = self.any_block(|_| true)?;
                block.attributes.push(attribute(AttributeKind::Workload, None));
                (put_block(block.clone()), vec![invalid("unreferenced_attribute", block.cidr)])
            }
            7 => {
                let mut block = self.any_block(|_| true)?;
                block.sequence_defects.push(SequenceDefect::OrdinalOutside("x".to_owned()));
                (put_block(block.clone()), vec![invalid("sequence_number", block.cidr)])
            }
            8 => {
                let block = self.any_block(owned)?;
                let id = ObjectId::Affinity(block.owner?, block.cidr);
                (vec![Event::Delete(id)], vec![affinity("block_without_affinity", block.cidr)])
            }
            9 => {
                let cidr = self.unclaimed.pop()?;
                (put_key(&free_host, cidr, Confirmed), vec![affinity("without_block", cidr)])
            }
            10 => {
                let block = self.any_block(|block| owned(block) && block.owner.as_ref() != Some(&free_host))?;
                let faults = ["block_not_affine", "two_hosts"].map(|reason| affinity(reason, block.cidr));
                (put_key(&free_host, block.cidr, Confirmed), faults.into())
            }
            11 => {
                let name = free_host.host()?.clone();
                let theirs = self.keys.keys().filter(|(owner, _)| *owner == free_host);
                let faults = theirs.map(|(_, cidr)| affinity("unknown_host", *cidr)).collect();
                (vec![Event::Delete(ObjectId::Node(name))], faults)
            }
            12 => {
                let gone = self.rng.choice(self.pools.clone())?;
                let orphans = self.blocks.keys().filter(|cidr| gone.cidr.contains(*cidr));
                let faults = orphans.map(|cidr| invalid("outside_any_pool", *cidr)).collect();
                (vec![Event::Delete(ObjectId::Pool(gone.name))], faults)
            }
            13 => {
                let block = Block::new(&self.unclaimed.pop()?.to_string());
                (put_block(block.clone()), vec![affinity("empty_without_affinity", block.cidr)])
            }
            14 => {
                let cidr = self.unclaimed.pop()?;
                (
                    put_key(&free_host, cidr, Pending),
                    vec![affinity("stuck_pending", cidr), affinity("without_block", cidr)],
                )
            }
            15 => {
                let block = self.any_block(owned)?;
                (
                    put_key(&block.owner?, block.cidr, PendingDeletion),
                    vec![affinity("stuck_pending_deletion", block.cidr)],
                )
            }
            16 => {
                let block = self.any_block(|block| owned(block) && some_given(block))?;
                let cidr = block.cidr;
                (put_block(Block { owner: None, ..block }), vec![affinity("block_not_affine", cidr)])
            }
            17 => {
                let mut grown = self.rng.choice(self.pools.clone())?;
                grown.block_size += 1;
                let sized = self.blocks.keys().filter(|cidr| grown.cidr.contains(*cidr));
                let faults = sized.map(|cidr| invalid("wrong_block_size", *cidr)).collect();
                (vec![put(Object::Pool(grown))], faults)
            }
            18 => {
                let block = self.any_block(|_| true)?;
                self.dark(ObjectId::Block(block.cidr), "block")
            }
            19 => {
                let block = self.any_block(owned)?;
                self.dark(ObjectId::Affinity(block.owner?, block.cidr), "affinity")
            }
            20 => self.dark(ObjectId::Node(free_host.host()?.clone()), "node"),
            21 => self.dark(ObjectId::Pool("wide".into()), "ippool"),
            _ => self.dark(ObjectId::Reservation("r".into()), "ipreservation"),
        })
    }

    fn dark(&self, id: ObjectId, kind: &str) -> (Vec<Event>, Vec<String>) {
        let event = unreadable_value(id);
        (vec![event], vec![format!("undecodable_keys {kind} key")])
    }
}

fn unreadable_value(id: ObjectId) -> Event {
    Event::Unreadable { id, key: "key".into(), why: crate::state::Unreadable::Undecodable("x".to_owned()) }
}

/// Each pool cut up address by address, by the most specific block around each: slow and without any sums.
fn naive(cluster: &Cluster, pool: &IpPool) -> [f64; 6] {
    let datastore = cluster.datastore();
    let blocks: Vec<IpNet> =
        datastore.blocks().map(|block| block.cidr).chain(datastore.dark_blocks().copied()).collect();
    let mut counts = [0.0; 6];
    for address in pool.cidr.subnets(pool.cidr.max_prefix_len()).unwrap().map(|net| net.addr()) {
        let reserved = datastore.reservations().values().any(|it| it.cidrs.iter().any(|net| net.contains(&address)));
        let around = blocks.iter().filter(|net| net.contains(&address)).max_by_key(|net| net.prefix_len());
        let around = around.filter(|net| datastore.pool_of(net) == Some(pool));
        let state = match around.map(|net| datastore.block(net)) {
            None if reserved => 2,
            None => 5,
            Some(None) => 4,
            Some(Some(block)) => {
                let ordinal = crate::model::ordinal_of(&block.cidr, address).unwrap() as u32;
                let kind = block.allocation(ordinal).map(|attribute| attribute.map(|it| it.kind));
                match kind {
                    _ if block.unallocated.contains(ordinal) => 3 - usize::from(reserved),
                    Some(Some(AttributeKind::Cooldown)) => 1,
                    Some(_) => 0,
                    None => 4,
                }
            }
        };
        counts[state] += 1.0;
    }
    counts
}

fn same_as_fresh(audit: &IpamAudit, cluster: &Cluster) -> Result<(), TestCaseError> {
    let fresh = whole(cluster);
    prop_assert_eq!(audit.findings(), fresh.findings());
    prop_assert_eq!(audit.report(), fresh.report());
    for (name, figures) in audit.report().pools {
        let Some(pool) = figures.pool else { continue };
        let parts =
            [figures.allocated, figures.cooldown, figures.reserved, figures.free, figures.lost, figures.unclaimed];
        prop_assert_eq!(parts.iter().sum::<f64>(), crate::model::address_count(&pool.cidr), "{}", name);
        if pool.cidr.prefix_len() >= 24 && pool.cidr.max_prefix_len() == 32 {
            prop_assert_eq!(parts, naive(cluster, &pool), "{}", name);
        }
    }
    Ok(())
}

/// One event of a cluster in which anything may happen, among few addresses so that things meet.
fn chaos(rng: &mut Rng) -> Event {
    let put = |object| Event::Put(Box::new(object));
    let cidr = IpNet::new(address(&format!("10.0.0.{}", rng.u8(..))), rng.u8(26..31)).unwrap().trunc();
    let owner = rng.choice([host("h1"), host("h2"), BlockOwner::Virtual("load-balancer".into())]).unwrap();
    let names: [Name; 2] = ["a".into(), "b".into()];
    let name = rng.choice(names).unwrap();
    match rng.u8(0..20) {
        0..6 => {
            let mut block = Block::new(&cidr.to_string());
            block.owner = rng.bool().then_some(owner);
            for ordinal in 0..block.allocations.len() {
                block = match rng.u8(0..8) {
                    0 => block.cooldown(ordinal, rng.u64(1..1000)),
                    1 => block.pod(ordinal, rng.choice(["h1", "h2", "h3"]).unwrap(), "p"),
                    _ => block,
                };
            }
            for _ in 0..rng.u8(0..3) {
                block.unallocated.push(rng.i64(-1..8));
                block.unallocated.swap_remove(0);
            }
            put(Object::Block(block.build()))
        }
        6..11 => {
            let state = rng.choice([Confirmed, Pending, PendingDeletion]).unwrap();
            put(Object::Affinity(BlockAffinity { owner, cidr, state }))
        }
        11 => Event::Delete(ObjectId::Block(cidr)),
        12 => Event::Delete(ObjectId::Affinity(owner, cidr)),
        13 => unreadable_value(ObjectId::Block(cidr)),
        14 => unreadable_value(ObjectId::Affinity(owner, cidr)),
        15 => put(Object::Node("h1".into(), node("h1", &[]))),
        16 => Event::Delete(ObjectId::Node("h1".into())),
        17 => {
            let cidrs = vec![cidr, net("10.0.0.16/28")];
            put(Object::Reservation(IpReservation { name, cidrs }))
        }
        18 => put(Object::Pool(pool(&name, rng.choice(["10.0.0.0/24", "10.0.0.0/25"]).unwrap(), 28))),
        _ => rng.choice([unreadable_value(ObjectId::Pool(name.clone())), Event::Delete(ObjectId::Pool(name))]).unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_consistent_cluster_has_nothing_wrong_and_one_mutation_is_exactly_itself(seed: u64, kind in 0u8..23) {
        let mut world = World::new(seed);
        let (mut cluster, mut audit) = (Cluster::new(), audit(false));
        for event in world.events() {
            cluster.event(event);
        }
        refresh(&mut audit, &mut cluster);
        prop_assert_eq!(wrong(&cluster), Vec::<String>::new());
        if let Some((events, mut expected)) = world.mutate(kind) {
            for event in events {
                cluster.event(event);
            }
            refresh(&mut audit, &mut cluster);
            expected.sort();
            let mut found = wrong(&cluster);
            found.sort();
            prop_assert_eq!(found, expected, "mutation {}", kind);
        }
        same_as_fresh(&audit, &cluster)?;
    }

    #[test]
    fn event_by_event_is_as_good_as_a_fresh_look(seed: u64, length in 1usize..40) {
        let mut rng = Rng::with_seed(seed);
        let (mut cluster, mut audit) = (Cluster::new(), audit(false));
        cluster.config(IpamConfig { max_blocks_per_host: 3, ..IpamConfig::default() });
        for _ in 0..length {
            // Several events may come between two looks.
            for _ in 0..rng.u8(1..4) {
                cluster.event(chaos(&mut rng));
            }
            refresh(&mut audit, &mut cluster);
            same_as_fresh(&audit, &cluster)?;
        }
        let known: BTreeSet<IpNet> = cluster.datastore().cidrs();
        prop_assert!(audit.verdicts.keys().all(|cidr| known.contains(cidr) || cluster.datastore().is_dark_block(cidr)));
    }
}
