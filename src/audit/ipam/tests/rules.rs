//! Each rule fires exactly once with the right key, and the nearest legitimate state does not.

use super::*;
use crate::audit::testing::{address, attribute, net, pool};
use crate::model::AffinityState::{Confirmed, Pending, PendingDeletion};
use crate::model::{AttributeKind, BlockOwner, IpamConfig, SequenceDefect};
use crate::state::{Event, Kind, Object, ObjectId, Unreadable};

fn affinity(owner: &str, cidr: &str) -> ObjectId {
    ObjectId::Affinity(BlockOwner::parse(owner).unwrap(), net(cidr))
}

/// Runs the healthy cluster through `change` and tells what is wrong then.
fn after(change: impl FnOnce(&mut Cluster)) -> Vec<String> {
    let mut cluster = healthy();
    change(&mut cluster);
    wrong(&cluster)
}

/// The same with the first block changed.
fn with_first(change: impl FnOnce(&mut Block)) -> Vec<String> {
    after(|cluster| {
        let mut block = first();
        change(&mut block);
        cluster.block(block);
    })
}

#[track_caller]
fn none(found: Vec<String>) {
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_healthy_cluster_has_nothing_wrong() {
    none(wrong(&healthy()));
}

#[test]
fn addresses_on_which_the_lists_disagree() {
    assert_eq!(
        with_first(|block| block.unallocated.push(0)),
        ["mismatched_addresses allocated_and_unallocated 10.0.0.0"]
    );
    assert_eq!(with_first(|block| block.unallocated.retain(|o| *o != 7)), ["mismatched_addresses neither 10.0.0.7"]);
    assert_eq!(with_first(|block| block.unallocated.push(7)), ["mismatched_addresses duplicate 10.0.0.7"]);
    // Each reason for itself.
    assert_eq!(
        with_first(|block| block.unallocated.extend([1, 1])),
        ["mismatched_addresses allocated_and_unallocated 10.0.0.1", "mismatched_addresses duplicate 10.0.0.1"]
    );
    // In another order, as a queue has it after releases.
    none(with_first(|block| block.unallocated.reverse()));
}

#[test]
fn a_mismatch_is_its_hosts() {
    let mut cluster = healthy();
    let mut block = first();
    block.unallocated.push(1);
    cluster.block(block);
    let findings = whole(&cluster).findings();
    assert_eq!(findings[0].host.as_deref(), Some("h1"));
    assert_eq!(findings[0].since, None);
    for text in [&findings[0].detail, &findings[0].expected, &findings[0].actual, &findings[0].action] {
        assert!(!text.is_empty());
    }
}

#[test]
fn entries_past_a_short_list_are_its_length_and_nothing_else() {
    let wrong = "invalid_blocks wrong_length 10.0.0.0/28";
    assert_eq!(with_first(|block| block.allocations.truncate(4)), [wrong]);
    assert_eq!(with_first(|block| block.allocations.push(None)), [wrong]);
    let both = |block: &mut Block| {
        block.allocations.truncate(4);
        block.unallocated.retain(|ordinal| *ordinal != 2 && *ordinal < 8);
    };
    // Ordinal 2 is inside what was written, 8 to 15 are not.
    assert_eq!(with_first(both), ["mismatched_addresses neither 10.0.0.2", wrong]);
}

#[test]
fn attributes_and_indices() {
    let unreferenced = "invalid_blocks unreferenced_attribute 10.0.0.0/28";
    let bad = "invalid_blocks bad_attribute_index 10.0.0.0/28";
    let spare = attribute(AttributeKind::Workload, Some("spare"));
    assert_eq!(with_first(|block| block.attributes.push(spare.clone())), [unreferenced]);
    assert_eq!(with_first(|block| block.attributes.extend([spare.clone(), spare.clone()])), [unreferenced]);
    // Two ordinals share an attribute: a pod with two addresses.
    none(with_first(|block| {
        block.allocations[2] = Some(0);
        block.unallocated.retain(|ordinal| *ordinal != 2);
    }));
    let point = |index: i64| {
        with_first(|block| {
            block.allocations[2] = Some(index);
            block.unallocated.retain(|ordinal| *ordinal != 2);
        })
    };
    assert_eq!(point(2), [bad]);
    assert_eq!(point(-1), [bad]);
    none(point(1));
}

#[test]
fn what_unallocated_and_sequence_numbers_may_hold() {
    let outside = "invalid_blocks unallocated_out_of_range 10.0.0.0/28";
    assert_eq!(with_first(|block| block.unallocated.push(16)), [outside]);
    assert_eq!(with_first(|block| block.unallocated.extend([-1, -1])), [outside]);
    let defect = |defect: SequenceDefect| with_first(|block| block.sequence_defects.push(defect));
    let number = ["invalid_blocks sequence_number 10.0.0.0/28"];
    assert_eq!(defect(SequenceDefect::OrdinalOutside("16".into())), number);
    assert_eq!(defect(SequenceDefect::NotBelow { ordinal: 0, number: 9 }), number);
}

#[test]
fn a_block_against_pools_and_other_blocks() {
    let overlap = |cidr: &str| format!("invalid_blocks overlap {cidr}");
    let size = "invalid_blocks wrong_block_size 10.0.0.8/29".to_owned();
    let inner = || Block::new("10.0.0.8/29").pod(7, "h1", "e");
    assert_eq!(
        after(|cluster| _ = cluster.block(inner())),
        [overlap("10.0.0.0/28"), overlap("10.0.0.8/29"), size.clone()]
    );
    // The block next to it.
    none(after(|cluster| _ = cluster.block(Block::new("10.0.0.48/28").pod(0, "h1", "e"))));
    let lone = || Block::new("10.0.0.56/29").pod(7, "h1", "e");
    assert_eq!(after(|cluster| _ = cluster.block(lone())), ["invalid_blocks wrong_block_size 10.0.0.56/29"]);

    let orphan = || Block::of("virtual:load-balancer", "10.9.0.0/28").load_balancer(0, "s");
    let outside = ["invalid_blocks outside_any_pool 10.9.0.0/28"];
    assert_eq!(after(|cluster| _ = cluster.owned(orphan())), outside);
    assert_eq!(after(|cluster| _ = cluster.block(Block::new("10.9.0.0/28").pod(0, "h1", "e"))), outside);
    none(after(|cluster| _ = cluster.owned(orphan()).pool("q", "10.9.0.0/16", 28)));
    // A disabled pool is a pool.
    let disabled = || crate::model::IpPool { disabled: true, ..pool("q", "10.9.0.0/16", 28) };
    none(after(|cluster| _ = cluster.owned(orphan()).put(Object::Pool(disabled()))));
    // It may lie in the pool that cannot be read.
    let unreadable = after(|cluster| _ = cluster.owned(orphan()).unreadable(ObjectId::Pool("q".into())));
    assert_eq!(unreadable, ["undecodable_keys ippool Pool(\"q\")"]);
}

#[test]
fn a_key_without_block() {
    let cidr = "10.0.0.64/28";
    let key = |state| after(|cluster| _ = cluster.affinity("host:h1", cidr, state));
    assert_eq!(key(Confirmed), ["affinity_faults without_block 10.0.0.64/28"]);
    assert_eq!(
        key(Pending),
        ["affinity_faults stuck_pending 10.0.0.64/28", "affinity_faults without_block 10.0.0.64/28"]
    );
    assert_eq!(
        key(PendingDeletion),
        ["affinity_faults stuck_pending_deletion 10.0.0.64/28", "affinity_faults without_block 10.0.0.64/28"]
    );
    none(after(|cluster| _ = cluster.owned(Block::of("host:h1", cidr))));
}

#[test]
fn a_block_without_key() {
    let fault = ["affinity_faults block_without_affinity 10.0.0.0/28"];
    assert_eq!(after(|cluster| _ = cluster.delete(affinity("host:h1", "10.0.0.0/28"))), fault);
    // The key of another owner is none of its own; that owner's is one too many.
    let other = after(|cluster| {
        cluster.delete(affinity("host:h1", "10.0.0.0/28")).affinity("host:h2", "10.0.0.0/28", Confirmed);
    });
    assert_eq!(other, ["affinity_faults block_not_affine 10.0.0.0/28", fault[0]]);
    let virtual_block = |cluster: &mut Cluster| {
        cluster.owned(Block::of("virtual:load-balancer", "10.0.0.64/28").load_balancer(0, "s"));
    };
    none(after(virtual_block));
    let lost = after(|cluster| {
        virtual_block(cluster);
        cluster.delete(affinity("virtual:load-balancer", "10.0.0.64/28"));
    });
    assert_eq!(lost, ["affinity_faults block_without_affinity 10.0.0.64/28"]);
    // A claim that has come as far as the block: the key is there.
    assert_eq!(
        after(|cluster| _ = cluster.affinity("host:h1", "10.0.0.0/28", Pending)),
        ["affinity_faults stuck_pending 10.0.0.0/28"]
    );
}

#[test]
fn confirmed_keys_that_contradict_the_block() {
    let not_affine = "affinity_faults block_not_affine 10.0.0.32/28";
    // The block is nobody's.
    assert_eq!(after(|cluster| _ = cluster.affinity("host:h1", "10.0.0.32/28", Confirmed)), [not_affine]);
    // Being released, it is nobody's already: only the release is unfinished.
    assert_eq!(
        after(|cluster| _ = cluster.affinity("host:h1", "10.0.0.32/28", PendingDeletion)),
        ["affinity_faults stuck_pending_deletion 10.0.0.32/28"]
    );
    // A second confirmed key is not affine and makes two hosts.
    let second = "10.0.0.0/28";
    assert_eq!(
        after(|cluster| _ = cluster.affinity("host:h2", second, Confirmed)),
        ["affinity_faults block_not_affine 10.0.0.0/28", "affinity_faults two_hosts 10.0.0.0/28"]
    );
    assert_eq!(
        after(|cluster| _ = cluster.affinity("host:h2", second, PendingDeletion)),
        ["affinity_faults stuck_pending_deletion 10.0.0.0/28", "affinity_faults two_hosts 10.0.0.0/28"]
    );
    // A pending key loses the race and makes no two hosts.
    assert_eq!(
        after(|cluster| _ = cluster.affinity("host:h2", second, Pending)),
        ["affinity_faults stuck_pending 10.0.0.0/28"]
    );
}

#[test]
fn keys_of_hosts_without_node() {
    let unknown = "affinity_faults unknown_host 10.0.0.16/28";
    assert_eq!(after(|cluster| _ = cluster.delete(ObjectId::Node("h2".into()))), [unknown]);
    // Once a key.
    let twice = after(|cluster| {
        _ = cluster.owned(Block::of("host:h9", "10.0.0.64/28")).owned(Block::of("host:h9", "10.0.0.80/28"))
    });
    assert_eq!(twice, ["affinity_faults unknown_host 10.0.0.64/28", "affinity_faults unknown_host 10.0.0.80/28"]);
    // A Node that cannot be read is a Node.
    assert_eq!(
        after(|cluster| _ = cluster.unreadable(ObjectId::Node("h2".into()))),
        ["undecodable_keys node Node(\"h2\")"]
    );
}

#[test]
fn empty_blocks_of_nobody() {
    let fault = ["affinity_faults empty_without_affinity 10.0.0.64/28"];
    let nobody = || Block::new("10.0.0.64/28");
    assert_eq!(after(|cluster| _ = cluster.block(nobody())), fault);
    none(after(|cluster| _ = cluster.block(nobody().cooldown(0, 1))));
    none(after(|cluster| _ = cluster.block(nobody().windows(15))));
    // Somebody's empty block is a gauge (J8).
    none(after(|cluster| _ = cluster.owned(Block::of("host:h1", "10.0.0.64/28"))));
}

#[test]
fn more_blocks_than_allowed() {
    let limit = |limit| IpamConfig { strict_affinity: true, max_blocks_per_host: limit, ..IpamConfig::default() };
    let owned = |cluster: &mut Cluster, count: usize, prefix: &str| {
        for index in 0..count {
            cluster.owned(Block::of("host:h1", &format!("10.1.{index}.0/28")));
        }
        cluster.pool("q", prefix, 28);
    };
    // Twenty where nothing is set, and h1 has one already.
    none(after(|cluster| owned(cluster, 19, "10.1.0.0/16")));
    let fault = ["affinity_faults over_block_limit h1"];
    assert_eq!(after(|cluster| owned(cluster, 20, "10.1.0.0/16")), fault);
    none(after(|cluster| _ = cluster.config(limit(1))));
    let second = |cluster: &mut Cluster| {
        cluster.config(limit(1)).owned(Block::of("host:h1", "10.0.0.64/28"));
    };
    assert_eq!(after(second), fault);
    // Families count apart.
    none(after(|cluster| {
        cluster.config(limit(1)).pool("six", "fd00::/112", 122).owned(Block::of("host:h1", "fd00::/122"));
    }));
    // A limit that cannot be read is no limit to judge by.
    let unreadable = after(|cluster| {
        second(cluster);
        cluster.unreadable(ObjectId::IpamConfig);
    });
    assert_eq!(unreadable, ["undecodable_keys ipamconfig IpamConfig"]);
}

#[test]
fn nothing_follows_from_a_block_that_cannot_be_read() {
    let dark = "undecodable_keys block Block(10.0.0.0/28)";
    let block = || ObjectId::Block(net("10.0.0.0/28"));
    assert_eq!(after(|cluster| _ = cluster.unreadable(block())), [dark]);
    // Neither its key nor its absence, nor what overlaps it.
    assert_eq!(after(|cluster| _ = cluster.unreadable(block()).delete(affinity("host:h1", "10.0.0.0/28"))), [dark]);
    let inner = after(|cluster| {
        cluster.unreadable(block()).owned(Block::of("host:h1", "10.0.0.8/29").pod(0, "h1", "e"));
    });
    assert_eq!(inner, [dark, "invalid_blocks wrong_block_size 10.0.0.8/29"]);
    // What the keys say by themselves stays.
    let keys = after(|cluster| {
        cluster.unreadable(block()).affinity("host:h9", "10.0.0.0/28", PendingDeletion);
    });
    assert_eq!(
        keys,
        [
            dark,
            "affinity_faults stuck_pending_deletion 10.0.0.0/28",
            "affinity_faults two_hosts 10.0.0.0/28",
            "affinity_faults unknown_host 10.0.0.0/28"
        ]
    );
}

#[test]
fn a_block_that_names_another_cidr_is_one_finding() {
    let differs = after(|cluster| {
        let id = ObjectId::Block(net("10.0.0.0/28"));
        let why = Unreadable::CidrDiffers(net("10.0.0.64/28"));
        cluster.event(Event::Unreadable { id, key: "k".into(), why });
    });
    assert_eq!(differs, ["invalid_blocks cidr_differs_from_key 10.0.0.0/28"]);
}

#[test]
fn a_key_that_cannot_be_read_explains_any_contradiction() {
    let id = || affinity("host:h1", "10.0.0.0/28");
    let dark = after(|cluster| _ = cluster.unreadable(id()));
    assert_eq!(dark, ["undecodable_keys affinity Affinity(Host(\"h1\"), 10.0.0.0/28)"]);
    let mut cluster = healthy();
    cluster.unreadable(id());
    assert_eq!(whole(&cluster).findings()[0].host.as_deref(), Some("h1"));
    let alone = after(|cluster| _ = cluster.unreadable(affinity("host:h1", "10.0.0.64/28")));
    assert_eq!(alone.len(), 1, "{alone:?}");
    // It may be of an owner that was to delete the others' claims.
    let two = after(|cluster| {
        cluster.unreadable(affinity("host:h1", "10.0.0.64/28")).affinity("host:h2", "10.0.0.64/28", Confirmed);
    });
    assert_eq!(two.len(), 1, "{two:?}");
    let malformed = after(|cluster| _ = cluster.unreadable(ObjectId::Malformed(Kind::Handle, "x".into())));
    assert_eq!(malformed, ["undecodable_keys handle Malformed(Handle, \"x\")"]);
}

#[test]
fn subjects_are_bare_addresses_and_ipv6_is_judged_alike() {
    let found = after(|cluster| {
        let mut block = Block::of("host:h1", "fd00::40/122").pod(1, "h1", "six");
        block.unallocated.push(1);
        cluster.pool("six", "fd00::/112", 122).owned(block);
    });
    assert_eq!(found, ["mismatched_addresses allocated_and_unallocated fd00::41"]);
    assert_eq!(address("fd00::41").to_string(), "fd00::41");
}
