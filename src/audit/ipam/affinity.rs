//! Who a block says it belongs to, against the keys that claim it (J7; I9, I10, I16).
//!
//! A claim takes three writes: key pending, block, key confirmed; a release takes three more. Between them the two
//! sides contradict each other and nothing is wrong, so a living cluster's contradictions must stand for a while
//! ([`Age::FirstSeen`]) before they are findings; in a dump, at once (J6).

use std::time::Duration;

use ipnet::IpNet;

use crate::audit::fault::{AffinityReason, Fault};
use crate::audit::finding::Finding;
use crate::model::{AffinityState, AllocationBlock, BlockOwner, Family, Name};
use crate::state::{AffinityEntry, Datastore};

/// From when on a fault's age counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// A single value says it: nothing can be in flight.
    AtOnce,
    /// Objects disagree: from when this was first seen.
    FirstSeen,
    /// A key stands in one state: since then.
    Since(Duration),
}

/// A finding that may be too young.
pub(super) type Aged = (Finding, Age);

/// A block as the affinity rules see it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Seen<'a> {
    Absent,
    /// It exists and cannot be read: nothing follows from its CIDR (J1).
    Unreadable,
    Readable(&'a AllocationBlock),
}

/// Everything that is known about the claims to one CIDR.
pub(super) struct Claims<'a> {
    pub(super) cidr: IpNet,
    pub(super) block: Seen<'a>,
    /// Readable keys.
    pub(super) keys: Vec<(&'a BlockOwner, AffinityEntry)>,
    /// A key of this CIDR cannot be read: what it would say may explain any contradiction (J1).
    pub(super) unreadable_key: bool,
}

impl<'a> Claims<'a> {
    pub(super) fn of(datastore: &'a Datastore, cidr: IpNet) -> Claims<'a> {
        let block = match datastore.block(&cidr) {
            Some(block) => Seen::Readable(block),
            None if datastore.is_dark_block(&cidr) => Seen::Unreadable,
            None => Seen::Absent,
        };
        Claims {
            cidr,
            block,
            keys: datastore.affinities_of(&cidr).map(|(owner, entry)| (owner, *entry)).collect(),
            unreadable_key: datastore.is_dark_affinity(&cidr),
        }
    }

    fn finding(&self, reason: AffinityReason, owner: Option<&BlockOwner>) -> Finding {
        Finding::new(Fault::Affinity(reason), self.cidr).host(owner.and_then(BlockOwner::host).cloned())
    }

    /// The readable block, where nothing that cannot be read stands between it and its keys.
    fn block(&self) -> Option<&'a AllocationBlock> {
        match self.block {
            Seen::Readable(block) if !self.unreadable_key => Some(block),
            _ => None,
        }
    }

    fn settled(&self) -> impl Iterator<Item = &(&'a BlockOwner, AffinityEntry)> {
        self.keys.iter().filter(|(_, entry)| entry.state != AffinityState::Pending)
    }
}

/// All faults of one CIDR, each reason judged for itself (J7). `knows` tells whether a host has a Node, or may have one
/// that cannot be read.
pub(super) fn faults(claims: &Claims<'_>, knows: &dyn Fn(&Name) -> bool) -> Vec<Aged> {
    let young = |finding| (finding, Age::FirstSeen);
    let mut faults: Vec<Aged> = Vec::new();
    faults.extend(without_block(claims).map(young));
    faults.extend(block_without_affinity(claims).map(young));
    faults.extend(block_not_affine(claims).map(young));
    faults.extend(two_hosts(claims).map(young));
    faults.extend(unknown_host(claims, knows).map(young));
    faults.extend(empty_without_affinity(claims).map(young));
    faults.extend(stuck(claims));
    faults
}

/// J7 `without_block` (I9): a key, and no block, whatever the key's state. A pending key without block is how every
/// claim begins, which is over long before the grace is. One that is left behind is told of here and, *beside* this, as
/// `stuck_pending` or `stuck_pending_deletion`: each reason is judged for itself.
fn without_block(claims: &Claims<'_>) -> impl Iterator<Item = Finding> {
    let absent = matches!(claims.block, Seen::Absent) && !claims.unreadable_key;
    claims.keys.iter().filter(move |_| absent).map(|(owner, entry)| {
        claims
            .finding(AffinityReason::WithoutBlock, Some(owner))
            .detail(format!("{owner} claims {}, and there is no such block.", claims.cidr))
            .expected(
                format!("block {} affine to {owner}, or no key", claims.cidr),
                format!("{}, no block", key(entry)),
            )
            .action(format!(
                "Look at {owner}'s affinity key for {}. If no claim or release is under way, delete the key.",
                claims.cidr
            ))
    })
}

/// J7 `block_without_affinity` (I9): a block names an owner that has no key for it, in whatever state. No crash leaves
/// this behind.
fn block_without_affinity<'a>(claims: &Claims<'a>) -> Option<Finding> {
    let owner = claims.block()?.owner.as_ref()?;
    let claimed = claims.keys.iter().any(|(claimant, _)| *claimant == owner);
    (!claimed).then(|| {
        claims
            .finding(AffinityReason::BlockWithoutAffinity, Some(owner))
            .detail(format!("{} belongs to {owner}, which has no affinity key for it.", claims.cidr))
            .expected(format!("an affinity key of {owner}"), "no such key")
            .action(
                "No crash leaves this behind: look for whoever deleted the key. BIRD does not announce the block; \
                 write the key again, or release the block's affinity.",
            )
    })
}

/// J7 `block_not_affine` (I9): a confirmed key to a block that is nobody's or another's. Once a key.
fn block_not_affine<'a>(claims: &Claims<'a>) -> impl Iterator<Item = Finding> {
    let keys = claims.keys.iter().filter(|(_, entry)| entry.state == AffinityState::Confirmed);
    let block = claims.block();
    keys.filter_map(move |(owner, _)| {
        let actual = &block?.owner;
        (actual.as_ref() != Some(*owner)).then(|| {
            let actual = actual.as_ref().map_or("nobody".to_owned(), BlockOwner::to_string);
            claims
                .finding(AffinityReason::BlockNotAffine, Some(owner))
                .detail(format!("{owner} has a confirmed key for {}, which belongs to {actual}.", claims.cidr))
                .expected(format!("affinity {owner}"), format!("affinity {actual}"))
                .action(format!(
                    "Calico drops the key when {owner} next tries the block. If it stays, delete the key of {owner}."
                ))
        })
    })
}

/// J7 `two_hosts` (I10): two keys or more that are not pending. Once a CIDR.
fn two_hosts(claims: &Claims<'_>) -> Option<Finding> {
    let owners: Vec<String> = claims.settled().map(|(owner, _)| owner.to_string()).collect();
    (owners.len() > 1).then(|| {
        let owner = match claims.block {
            Seen::Readable(block) => block.owner.as_ref(),
            Seen::Absent | Seen::Unreadable => None,
        };
        claims
            .finding(AffinityReason::TwoHosts, owner)
            .detail(format!("{} is claimed by {}: each announces it.", claims.cidr, owners.join(" and ")))
            .expected("one key that is not pending", owners.join(", "))
            .action("Compare with the block's own affinity, and delete the other keys.")
    })
}

/// J7 `unknown_host`: a key of a host that has no Node. Once a key, whatever its state.
fn unknown_host(claims: &Claims<'_>, knows: &dyn Fn(&Name) -> bool) -> impl Iterator<Item = Finding> {
    claims.keys.iter().filter_map(move |(owner, entry)| {
        let host = owner.host()?;
        (!knows(host)).then(|| {
            claims
                .finding(AffinityReason::UnknownHost, Some(owner))
                .detail(format!("{host} claims {} and there is no Node of that name.", claims.cidr))
                .expected(format!("Node {host}"), format!("no such Node, {}", key(entry)))
                .action(format!("If {host} is gone for good, release it: `calicoctl delete node {host}`, or its keys."))
        })
    })
}

/// J7 `empty_without_affinity`: nobody's block in which no ordinal is allocated. A block is deleted with its last
/// address, so nothing will release this one. Cooldown and Windows' reservation are not empty.
fn empty_without_affinity(claims: &Claims<'_>) -> Option<Finding> {
    let block = claims.block()?;
    (block.owner.is_none() && block.allocated.is_empty()).then(|| {
        claims
            .finding(AffinityReason::EmptyWithoutAffinity, None)
            .detail(format!("{} belongs to nobody and is empty: nothing releases it.", claims.cidr))
            .expected("no block", "an empty block without affinity")
            .action(format!("Delete block {}: no host claims it and nobody uses it.", claims.cidr))
    })
}

/// J7 `stuck_pending`, `stuck_pending_deletion` (I9): a claim or a release that somebody began and nobody finished, with
/// a block or without one.
fn stuck(claims: &Claims<'_>) -> impl Iterator<Item = Aged> {
    claims.keys.iter().filter_map(|(owner, entry)| {
        let (reason, what, expected) = match entry.state {
            AffinityState::Confirmed => return None,
            AffinityState::Pending => (AffinityReason::StuckPending, "claim", "confirmed"),
            AffinityState::PendingDeletion => (AffinityReason::StuckPendingDeletion, "release", "no key"),
        };
        let finding = claims
            .finding(reason, Some(owner))
            .detail(format!("A {what} of {} by {owner} was begun and not finished.", claims.cidr))
            .expected(expected, key(entry))
            .action(format!(
                "Calico finishes it when {owner} next asks for an address. If {owner} is gone or idle, look at its \
                 affinity key for {}.",
                claims.cidr
            ));
        Some((finding, Age::Since(entry.since)))
    })
}

/// J7 `over_block_limit` (I16): more keys of one family, in whatever state, than a host may have. Subject: the host.
pub(super) fn over_block_limit(host: &Name, family: Family, keys: u64, limit: u32) -> Option<Finding> {
    let family = match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    };
    (keys > u64::from(limit)).then(|| {
        Finding::new(Fault::Affinity(AffinityReason::OverBlockLimit), host)
            .host(Some(host.clone()))
            .detail(format!("{host} has {keys} {family} blocks; the limit is {limit}. It can claim no more."))
            .expected(format!("at most {limit} {family} blocks"), format!("{keys}"))
            .action(
                "Raise `maxBlocksPerHost` (`calicoctl ipam configure`), or move pods until blocks become empty and are \
                 released.",
            )
    })
}

fn key(entry: &AffinityEntry) -> String {
    format!("key {}", entry.state.as_str())
}
