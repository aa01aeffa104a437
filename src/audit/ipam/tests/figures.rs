//! The figures of pools and hosts.

use super::*;
use crate::audit::report::{HostFigures, PoolFigures};
use crate::audit::testing::{at, net, pool};
use crate::model::AffinityState::{Confirmed, Pending, PendingDeletion};
use crate::model::{IpPool, TunnelKind};
use crate::state::{Object, ObjectId};

fn of_pool(cluster: &Cluster, name: &str) -> PoolFigures {
    whole(cluster).report().pools[name].clone()
}

fn of_host(cluster: &Cluster, host: &str, pool: &str) -> HostFigures {
    whole(cluster).report().hosts.get(&(host.into(), pool.into())).cloned().unwrap_or_default()
}

/// allocated, cooldown, reserved, free, lost, unclaimed.
fn partition(figures: &PoolFigures) -> [f64; 6] {
    [figures.allocated, figures.cooldown, figures.reserved, figures.free, figures.lost, figures.unclaimed]
}

#[test]
fn a_pool_is_cut_up_by_what_its_blocks_say() {
    let figures = of_pool(&healthy(), "p");
    assert_eq!(partition(&figures), [4.0, 1.0, 0.0, 43.0, 0.0, 208.0]);
    assert_eq!((figures.blocks, figures.blocks_capacity), (3, 16.0));
    assert_eq!(figures.cooldown_oldest, Some(std::time::UNIX_EPOCH + Duration::from_secs(1_799_999_000)));
    assert!(figures.cooldown_oldest < Some(at(0).wall));
}

#[test]
fn hosts_have_what_their_blocks_and_keys_say() {
    let mut cluster = healthy();
    cluster
        .affinity("host:h1", "10.0.0.64/28", Pending)
        .affinity("host:h1", "10.0.0.80/28", PendingDeletion)
        .owned(Block::of("host:h1", "10.0.0.96/28"))
        .owned(Block::of("virtual:load-balancer", "10.0.0.112/28").load_balancer(0, "s"));
    let h1 = HostFigures {
        confirmed: 2,
        pending: 1,
        pending_deletion: 1,
        allocated: 2,
        free: 30,
        lent: 1,
        empty_blocks: 1,
        ..HostFigures::default()
    };
    assert_eq!(of_host(&cluster, "h1", "p"), h1);
    // One address borrowed from h1, one from nobody.
    let h2 = HostFigures { confirmed: 1, allocated: 1, cooldown: 1, free: 14, borrowed: 2, ..HostFigures::default() };
    assert_eq!(of_host(&cluster, "h2", "p"), h2);
    assert_eq!(whole(&cluster).report().hosts.len(), 2);
}

#[test]
fn a_host_with_nothing_but_a_borrowed_address_or_a_key_has_a_row() {
    let mut cluster = healthy();
    cluster.block(Block::new("10.0.0.32/28").tunnel(0, "h7", TunnelKind::VxlanV4));
    cluster.affinity("host:h8", "10.77.0.0/28", Confirmed);
    assert_eq!(of_host(&cluster, "h7", "p"), HostFigures { borrowed: 1, ..HostFigures::default() });
    assert_eq!(of_host(&cluster, "h8", NO_IPPOOL), HostFigures { confirmed: 1, ..HostFigures::default() });
    assert!(!whole(&cluster).report().pools.contains_key(NO_IPPOOL));
}

#[test]
fn utilisation_follows_unallocated() {
    let mut cluster = healthy();
    let mut block = first();
    block.unallocated.push(0);
    block.unallocated.retain(|ordinal| *ordinal != 7);
    cluster.block(block);
    let h1 = of_host(&cluster, "h1", "p");
    assert_eq!((h1.allocated, h1.free, h1.lost, h1.lent), (1, 14, 1, 1));
    assert_eq!(partition(&of_pool(&cluster, "p")), [3.0, 1.0, 0.0, 43.0, 1.0, 208.0]);
}

#[test]
fn reserved_counts_what_would_otherwise_be_free_or_unclaimed_and_once() {
    let mut cluster = healthy();
    // Of h1's block 0 and 1 are allocated; h2's ordinal 4 rests; beyond the blocks 16 are unclaimed.
    cluster.reservation("r", &["10.0.0.0/30", "10.0.0.20/32", "10.0.0.64/28"]);
    cluster.reservation("s", &["10.0.0.64/29", "10.0.0.2/32", "10.9.0.0/16"]);
    let figures = of_pool(&cluster, "p");
    assert_eq!(partition(&figures), [4.0, 1.0, 18.0, 41.0, 0.0, 192.0]);
    assert_eq!(figures.blocks_capacity, 16.0);
    assert_eq!(of_host(&cluster, "h1", "p").free, 14);
}

#[test]
fn an_ipv6_pool_is_as_large_as_it_is() {
    let mut cluster = healthy();
    cluster
        .pool("six", "fd00::/64", 122)
        .reservation("r", &["fd00::/80", "fd00::/122"])
        .owned(Block::of("host:h1", "fd00::/122").pod(1, "h1", "six"));
    let figures = of_pool(&cluster, "six");
    assert_eq!(partition(&figures)[..2], [1.0, 0.0]);
    // All of the block is reserved, and one address of it in use.
    assert_eq!((figures.reserved, figures.free), (2f64.powi(48) - 1.0, 0.0));
    assert_eq!(figures.unclaimed, 2f64.powi(64) - 2f64.powi(48));
    assert_eq!(partition(&figures).iter().sum::<f64>(), 2f64.powi(64));
    assert_eq!(figures.blocks_capacity, 2f64.powi(58));
}

#[test]
fn blocks_in_no_pool_are_a_row_of_their_own() {
    let mut cluster = healthy();
    assert!(!whole(&cluster).report().pools.contains_key(NO_IPPOOL));
    cluster
        .owned(Block::of("host:h1", "10.9.0.0/28").pod(0, "h1", "e"))
        .unreadable(ObjectId::Block(net("10.9.1.0/28")));
    let figures = of_pool(&cluster, NO_IPPOOL);
    assert_eq!(partition(&figures), [1.0, 0.0, 0.0, 15.0, 16.0, 0.0]);
    assert_eq!((figures.blocks, figures.pool), (2, None));
    assert_eq!(of_host(&cluster, "h1", NO_IPPOOL).allocated, 1);
}

#[test]
fn what_cannot_be_read_is_lost() {
    let mut cluster = healthy();
    cluster.unreadable(ObjectId::Block(net("10.0.0.0/28")));
    let figures = of_pool(&cluster, "p");
    assert_eq!(partition(&figures), [2.0, 1.0, 0.0, 29.0, 16.0, 208.0]);
    assert_eq!(figures.blocks, 3);
    assert_eq!(of_host(&cluster, "h1", "p"), HostFigures { confirmed: 1, ..HostFigures::default() });
}

#[test]
fn hosts_that_a_pool_selects_and_that_own_no_block_in_it() {
    let mut cluster = healthy();
    cluster.node("h3", &["192.168.0.3/24"]).affinity("host:h3", "10.0.0.64/28", Confirmed);
    assert_eq!(of_pool(&cluster, "p").hosts_without_block, 1);
    // The block that cannot be read may be the one of the host that claims it.
    cluster.unreadable(ObjectId::Block(net("10.0.0.64/28")));
    assert_eq!(of_pool(&cluster, "p").hosts_without_block, 0);
    cluster.pool("q", "10.1.0.0/16", 28);
    assert_eq!(of_pool(&cluster, "q").hosts_without_block, 3);
    let unknown = IpPool { node_selector: "zone == ".to_owned(), ..pool("q", "10.1.0.0/16", 28) };
    cluster.put(Object::Pool(unknown));
    assert_eq!(of_pool(&cluster, "q").hosts_without_block, 0);
}

#[test]
fn addresses_without_node() {
    use crate::audit::testing::attribute;
    use crate::model::AttributeKind::Workload;
    let mut cluster = healthy();
    let block = Block::of("host:h1", "10.0.0.64/28");
    let block = block.windows(0).cooldown(1, 5).load_balancer(2, "s").attribute(3, attribute(Workload, None));
    cluster.owned(block.clone());
    let figures = of_pool(&cluster, "p");
    assert_eq!(figures.addresses_without_node, 1);
    assert_eq!(figures.cooldown_oldest, Some(std::time::UNIX_EPOCH + Duration::from_secs(5)));
    // None of these is borrowed.
    assert_eq!(of_host(&cluster, "h1", "p").lent, 1);
    cluster.owned(Block { owner: Some(crate::model::BlockOwner::Virtual("load-balancer".into())), ..block });
    assert_eq!(of_pool(&cluster, "p").addresses_without_node, 0);
}

#[test]
fn an_address_under_two_blocks_is_judged_by_the_more_specific() {
    let mut cluster = healthy();
    // Ordinal 1 of h1's /28 and ordinal 1 of the /30 are one address, allocated in both.
    cluster.owned(Block::of("host:h2", "10.0.0.0/30").pod(1, "h2", "e").pod(2, "h2", "f"));
    cluster.unreadable(ObjectId::Block(net("10.0.0.8/29")));
    let figures = of_pool(&cluster, "p");
    assert_eq!(partition(&figures), [4.0, 1.0, 0.0, 35.0, 8.0, 208.0]);
    assert_eq!(figures.blocks, 5);
}

#[test]
fn a_block_goes_to_the_most_specific_pool() {
    let mut cluster = healthy();
    cluster.pool("inner", "10.0.0.0/27", 28);
    assert_eq!(partition(&of_pool(&cluster, "inner")), [3.0, 1.0, 0.0, 28.0, 0.0, 0.0]);
    assert_eq!(partition(&of_pool(&cluster, "p")), [1.0, 0.0, 0.0, 15.0, 0.0, 240.0]);
}

#[test]
fn the_block_of_the_reference_text() {
    let mut cluster = Cluster::new();
    let mut block = Block::of("host:node-1", "192.168.238.192/26");
    let bare = crate::audit::testing::attribute(crate::model::AttributeKind::Workload, Some("k8s-pod-network.x"));
    block = block.attribute(8, bare.clone()).attribute(9, bare);
    cluster.pool("p", "192.168.0.0/16", 26).node("node-1", &["10.0.0.1/24"]).owned(block.clone());
    let figures = of_host(&cluster, "node-1", "p");
    assert_eq!((figures.allocated, figures.free), (2, 62));
    assert_eq!((figures.size() - figures.free) as f64 / figures.size() as f64, 0.03125);
    assert_eq!(wrong(&cluster), Vec::<String>::new());
    block.unallocated.push(8);
    cluster.block(block);
    assert_eq!(wrong(&cluster), ["mismatched_addresses allocated_and_unallocated 192.168.238.200"]);
    let figures = of_host(&cluster, "node-1", "p");
    assert_eq!((figures.allocated, figures.free), (1, 63));
}

#[test]
fn the_settings_in_force() {
    let report = whole(&healthy()).report();
    assert_eq!((report.max_blocks_per_host, report.strict_affinity), (20, false));
}
