//! What is in flight in a living cluster is no finding before it has stood for a while.

use super::*;
use crate::audit::testing::{at, net};
use crate::model::AffinityState::{Confirmed, Pending, PendingDeletion};
use crate::model::BlockOwner;
use crate::state::ObjectId;

fn reasons(audit: &IpamAudit) -> Vec<String> {
    keys(&audit.findings()).into_iter().map(|(_, reason, _)| reason).collect()
}

/// A living cluster, looked at once a second ago.
fn living() -> (Cluster, IpamAudit) {
    let (mut cluster, mut audit) = (healthy(), audit(true));
    refresh(&mut audit, &mut cluster);
    cluster.seconds += 1;
    (cluster, audit)
}

/// Lets time pass without an event.
fn wait(audit: &mut IpamAudit, cluster: &mut Cluster, seconds: u64) {
    cluster.seconds += seconds;
    refresh(audit, cluster);
}

#[test]
fn a_contradiction_must_stand_for_the_grace_and_then_says_since_when() {
    type Change<'a> = &'a dyn Fn(&mut Cluster);
    let changes: [(&str, Change<'_>); 7] = [
        ("without_block", &|cluster| _ = cluster.affinity("host:h1", "10.0.0.64/28", Confirmed)),
        ("block_without_affinity", &|cluster| _ = cluster.block(Block::of("host:h1", "10.0.0.64/28"))),
        ("block_not_affine", &|cluster| _ = cluster.affinity("host:h1", "10.0.0.32/28", Confirmed)),
        ("unknown_host", &|cluster| _ = cluster.owned(Block::of("host:h9", "10.0.0.64/28"))),
        ("empty_without_affinity", &|cluster| _ = cluster.block(Block::new("10.0.0.64/28"))),
        ("stuck_pending", &|cluster| _ = cluster.affinity("host:h1", "10.0.0.16/28", Pending)),
        ("stuck_pending_deletion", &|cluster| _ = cluster.affinity("host:h2", "10.0.0.16/28", PendingDeletion)),
    ];
    for (reason, change) in changes {
        let (mut cluster, mut audit) = living();
        assert_eq!(audit.next_due(), None, "{reason}");
        change(&mut cluster);
        refresh(&mut audit, &mut cluster);
        assert_eq!(reasons(&audit), Vec::<String>::new(), "{reason}");
        assert_eq!(audit.next_due(), Some(Duration::from_secs(91)), "{reason}");
        wait(&mut audit, &mut cluster, 89);
        assert_eq!(reasons(&audit), Vec::<String>::new(), "{reason}");
        wait(&mut audit, &mut cluster, 1);
        assert_eq!(reasons(&audit), [reason]);
        assert_eq!(audit.findings()[0].since, Some(at(1).wall), "{reason}");
        assert_eq!(audit.next_due(), None, "{reason}");
    }
}

#[test]
fn a_limit_exceeded_waits_too() {
    let (mut cluster, mut audit) = living();
    for index in 0..20 {
        cluster.owned(Block::of("host:h1", &format!("10.1.{index}.0/28")).pod(0, "h1", &format!("p{index}")));
    }
    refresh(&mut audit, &mut cluster);
    assert!(!reasons(&audit).contains(&"over_block_limit".to_owned()));
    wait(&mut audit, &mut cluster, 90);
    assert!(reasons(&audit).contains(&"over_block_limit".to_owned()));
    // Within the limit again as soon as one key is gone.
    cluster.delete(ObjectId::Affinity(BlockOwner::Host("h1".into()), net("10.1.0.0/28")));
    refresh(&mut audit, &mut cluster);
    assert!(!reasons(&audit).contains(&"over_block_limit".to_owned()));
}

#[test]
fn a_claim_and_a_release_pass_without_a_word() {
    let (mut cluster, mut audit) = living();
    let cidr = "10.0.0.64/28";
    let steps: [&dyn Fn(&mut Cluster); 7] = [
        &|cluster| _ = cluster.affinity("host:h1", cidr, Pending),
        &|cluster| _ = cluster.block(Block::of("host:h1", cidr)),
        &|cluster| _ = cluster.affinity("host:h1", cidr, Confirmed),
        &|cluster| _ = cluster.block(Block::of("host:h1", cidr).pod(0, "h1", "x")),
        &|cluster| _ = cluster.affinity("host:h1", cidr, PendingDeletion),
        &|cluster| _ = cluster.delete(ObjectId::Block(net(cidr))),
        &|cluster| _ = cluster.delete(ObjectId::Affinity(BlockOwner::Host("h1".into()), net(cidr))),
    ];
    for step in steps {
        step(&mut cluster);
        wait(&mut audit, &mut cluster, 30);
        assert_eq!(reasons(&audit), Vec::<String>::new());
    }
    assert_eq!(audit.next_due(), None);
}

#[test]
fn a_difference_that_goes_and_comes_back_is_young_again() {
    let (mut cluster, mut audit) = living();
    let id = || ObjectId::Affinity(BlockOwner::Host("h1".into()), net("10.0.0.64/28"));
    for _ in 0..3 {
        cluster.affinity("host:h1", "10.0.0.64/28", Confirmed);
        wait(&mut audit, &mut cluster, 60);
        assert_eq!(reasons(&audit), Vec::<String>::new());
        cluster.delete(id());
        wait(&mut audit, &mut cluster, 1);
    }
    // What stays keeps its age, whatever else changes around it.
    cluster.affinity("host:h1", "10.0.0.64/28", Confirmed);
    refresh(&mut audit, &mut cluster);
    for name in ["h3", "h4", "h5", "h6"] {
        wait(&mut audit, &mut cluster, 25);
        cluster.node(name, &[]);
        cluster.affinity("host:h2", "10.0.0.64/28", Pending);
        refresh(&mut audit, &mut cluster);
    }
    assert_eq!(reasons(&audit), ["without_block"]);
}

#[test]
fn what_a_single_value_says_is_told_at_once() {
    let (mut cluster, mut audit) = living();
    let mut block = first();
    block.unallocated.push(0);
    block.unallocated.push(99);
    cluster.block(block).unreadable(ObjectId::Pool("q".into()));
    refresh(&mut audit, &mut cluster);
    assert_eq!(reasons(&audit), ["ippool", "allocated_and_unallocated", "unallocated_out_of_range"]);
    wait(&mut audit, &mut cluster, 1000);
    assert!(audit.findings().iter().all(|finding| finding.since == Some(at(1).wall)));
    cluster.block(first()).pool("q", "10.1.0.0/16", 28);
    refresh(&mut audit, &mut cluster);
    assert_eq!(reasons(&audit), Vec::<String>::new());
}

#[test]
fn an_exporter_that_starts_late_waits_too() {
    let mut cluster = healthy();
    cluster.affinity("host:h1", "10.0.0.64/28", Confirmed).affinity("host:h2", "10.0.0.80/28", Pending);
    cluster.seconds = 500;
    let mut audit = audit(true);
    refresh(&mut audit, &mut cluster);
    // The pending key was seen 500 s ago, the missing block only now.
    assert_eq!(reasons(&audit), ["stuck_pending"]);
    assert_eq!(audit.findings()[0].since, Some(at(0).wall));
    assert_eq!(audit.next_due(), Some(Duration::from_secs(590)));
}
