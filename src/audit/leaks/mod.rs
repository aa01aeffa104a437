//! Leaks and conflicts: addresses that nobody uses and nobody else can have, and addresses that two may use (J10–J12;
//! invariants I17–I19; what `calicoctl ipam check` calls not in use, not allocated, multiple owners).
//!
//! An address has one finding at most, the first of the six in J10. Where J10–J12 leave room, this was decided:
//!
//! - The allocation's node is its `node` attribute and nothing else. An allocation without one is on no unknown host
//!   and on no other node; the block's owner is not asked, since it may have lent the address.
//! - `on_unknown_host`, `allocated_not_in_use`, `on_another_node` and `handle_differs` are judged of what J11 leaves,
//!   the first also of tunnel addresses, whether they have a handle or not. `two_endpoints` is about endpoints: it is
//!   judged of every address, allocated or not, in a pool or not, a machine's aside.
//! - A handle of a machine's form (`<network>.vmi.…`) is a machine's even where its attributes are gone, which they are
//!   while it is stopped.
//! - A handle differs from its endpoint only where both are ids of containers: an old one (`namespace.pod`, the name of
//!   a sandbox) is compared with nothing (J10).
//! - Whether a used address needs an allocation is decided by the most specific pool around it. Floating addresses are
//!   no use of an allocation.
//! - What a bad attribute index hides is allocated, and nothing is said of it: it might be a machine's. It is counted
//!   as `bad_attribute_index`.
//! - An allocation whose pod has an endpoint that cannot be read is in use, where and by what is not known (J1).
//! - Of blocks that overlap, the most specific readable one that gives the address to somebody decides about it; in a
//!   dark CIDR nothing does.

use std::net::IpAddr;

use super::ipam::NO_IPPOOL;
use super::{Candidate, Finding};
use crate::audit::fault::{Fault, LeakReason};
use crate::model::{Name, host_net};
use crate::state::{Datastore, ObjectId};

mod holder;
mod uses;
mod words;

#[cfg(test)]
mod tests;

use holder::is_at_home;
pub(crate) use holder::{Holder, Place};
pub(crate) use uses::Uses;
use uses::{Users, needs_allocation};
pub(crate) use words::{is_used, owner};

/// The leaks and conflicts of a datastore that lists its endpoints (J10–J12), sorted; they are judged at once (J6).
/// Where endpoints are not listed there is nothing to judge by: see [`super::sweep::Sweep`].
pub fn judge(datastore: &Datastore) -> Vec<Finding> {
    if !datastore.knows_endpoints() {
        return Vec::new();
    }
    let mut uses = Uses::default();
    for id in datastore.unreadable().keys() {
        if let ObjectId::Endpoint(id) = id {
            uses.add_unreadable(id.clone());
        }
    }
    for endpoint in datastore.endpoints().values() {
        uses.add(datastore, endpoint);
    }
    finish(&mut uses, datastore).into_iter().map(|candidate| candidate.finding).collect()
}

/// Judges every address by what was gathered.
pub(super) fn finish(uses: &mut Uses, datastore: &Datastore) -> Vec<Candidate> {
    uses.settle();
    let uses = &*uses;
    let mut found = Vec::new();
    for block in datastore.blocks() {
        if datastore.is_dark(&block.cidr) {
            continue;
        }
        let shared = datastore.blocks_overlapping(&block.cidr).next().is_some();
        for (ordinal, attribute) in block.allocations() {
            let holder = Holder::of(block, attribute);
            // What else holds an address has no finding without endpoints, and those are noted.
            if !matches!(holder, Holder::Judged(_) | Holder::Tunnel(_)) {
                continue;
            }
            let Some(address) = crate::model::address_at(&block.cidr, u64::from(ordinal)) else { continue };
            if uses.is_noted(address) {
                continue;
            }
            let place = match shared {
                true => Place::of(datastore, address),
                false => Place { block: Some(block), ordinal: Some(ordinal), holder },
            };
            if place.block.is_some_and(|decider| decider.cidr == block.cidr) {
                found.extend(judge_address(datastore, uses, address, place));
            }
        }
    }
    for address in uses.noted() {
        found.extend(judge_address(datastore, uses, address, Place::of(datastore, address)));
    }
    found.sort_unstable_by(|a, b| a.finding.cmp(&b.finding));
    found
}

/// The one finding of an address, if it has any.
fn judge_address(datastore: &Datastore, uses: &Uses, address: IpAddr, place: Place<'_>) -> Option<Candidate> {
    if datastore.is_dark(&host_net(address)) {
        return None;
    }
    let users = uses.of(address, place.block.map(|block| &block.cidr), place.ordinal);
    let reason = reason(datastore, uses, address, place, users)?;
    let pool = datastore.pool_of(&host_net(address)).map_or_else(|| NO_IPPOOL.into(), |pool| pool.name.clone());
    let finding = Finding::new(Fault::Leak(pool, reason), address).host(host(reason, place, users));
    Some(words::candidate(finding, reason, address, place, users))
}

fn reason(
    datastore: &Datastore,
    uses: &Uses,
    address: IpAddr,
    place: Place<'_>,
    users: Users<'_>,
) -> Option<LeakReason> {
    let unknown = |node: &Name| !datastore.nodes().contains_key(node) && !datastore.is_unreadable_node(node);
    // Neutron gives its machines' addresses out, and may give one to two of them (J38).
    let conflict = (users.total() > 1 && users.any_of_calico()).then_some(LeakReason::TwoEndpoints);
    match place.holder {
        Holder::Hidden | Holder::Machine(_) => None,
        Holder::Exempt(_) => conflict,
        Holder::Tunnel(attribute) => match &attribute.node {
            Some(node) if unknown(node) => Some(LeakReason::OnUnknownHost),
            _ => conflict,
        },
        Holder::Nobody | Holder::Cooling => {
            let taken = users.any_of_calico() && needs_allocation(datastore, address);
            conflict.or(taken.then_some(LeakReason::InUseNotAllocated))
        }
        Holder::Judged(attribute) => {
            if attribute.node.as_ref().is_some_and(unknown) {
                return Some(LeakReason::OnUnknownHost);
            }
            if !uses.is_hidden(attribute) {
                if users.total() == 0 {
                    return Some(LeakReason::AllocatedNotInUse);
                }
                let at_home = users.fitting > 0
                    || users.counted > 0
                    || users.others.iter().any(|user| is_at_home(attribute, &user.node));
                if attribute.node.is_some() && !at_home {
                    return Some(LeakReason::OnAnotherNode);
                }
                if let (1, [only]) = (users.total(), users.others)
                    && place.names_another_container(&only.container)
                {
                    return Some(LeakReason::HandleDiffers);
                }
            }
            conflict
        }
    }
}

/// Where the address is used on another node than its allocation's, the first of its endpoints' by name; else the
/// allocation's node, if it has one.
fn host(reason: LeakReason, place: Place<'_>, users: Users<'_>) -> Option<Name> {
    let allocated = place.holder.attribute().and_then(|attribute| attribute.node.as_ref());
    let used = || users.others.iter().map(|user| &user.node).chain(users.counted_on).min();
    match reason {
        LeakReason::OnAnotherNode => used().or(allocated),
        _ => allocated.or_else(used),
    }
    .cloned()
}
