//! Nodes that are not there: this host's (J35), and those of hosts that left data behind.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::board::{Board, Draft, Open};
use super::{CauseKind, Evidence, count};
use crate::audit::fault::{AffinityReason, EntryReason, Fault, LeakReason, Metric, NodeReason, RouteReason};
use crate::audit::leaks;
use crate::model::{Name, host_route, ordinal_of};
use crate::state::Datastore;

/// What IPAM finds because a host has no Node.
fn is_of_absent(open: &Open<'_>, host: &str) -> bool {
    let reasons =
        open.is_of(Metric::AffinityFaults) || matches!(open.fault(), Fault::Leak(_, LeakReason::OnUnknownHost));
    reasons && open.host() == Some(host)
}

/// This host has no Node (J35): nothing else of it is judged, and IPAM's findings about it follow.
pub(super) fn missing(board: &mut Board<'_>, evidence: &Evidence<'_>) {
    let Some(me) = evidence.node else { return };
    let Some(fault) = board.open().find(|it| matches!(it.fault(), Fault::Node(NodeReason::NodeMissing))) else {
        return;
    };
    let members = board.open_where(|it| it.at == fault.at || is_of_absent(it, me));
    let beside = members.len() - 1;
    let mut shown = vec![fault.finding.actual.clone()];
    if beside > 0 {
        shown.push(format!("{} of {me}'s blocks and addresses follow from it", count(beside, "finding", "findings")));
    }
    board.claim(
        &members,
        Draft {
            kind: CauseKind::NodeMissing,
            subject: me.to_string(),
            detail: format!("This host, {me}, has no Node in the datastore. Nothing else of it is judged."),
            evidence: shown,
            action: fault.finding.action.clone(),
        },
    );
}

/// A host without Node whose blocks, keys, allocations or routes are still there.
pub(super) fn gone(board: &mut Board<'_>, evidence: &Evidence<'_>) {
    let datastore = &evidence.state.datastore;
    let named = |it: &Open<'_>| {
        matches!(it.fault(), Fault::Affinity(AffinityReason::UnknownHost))
            || matches!(it.fault(), Fault::Leak(_, LeakReason::OnUnknownHost))
    };
    let hosts: BTreeSet<&str> = board.open().filter(named).filter_map(|it| it.host()).collect();
    if hosts.is_empty() {
        return;
    }
    let mut members: BTreeMap<&str, Vec<Open<'_>>> = hosts.iter().map(|host| (*host, Vec::new())).collect();
    for open in board.open() {
        let host = match open.fault() {
            Fault::Affinity(_) => open.host().filter(|host| is_of_absent(&open, host)).map(str::to_owned),
            Fault::Leak(..) if named(&open) => open.host().map(str::to_owned),
            Fault::Route(_, RouteReason::Stale) | Fault::Entry(_, _, EntryReason::Stale) => {
                holder(datastore, open.net()).map(|name| name.to_string())
            }
            _ => None,
        };
        if let Some(members) = host.and_then(|host| members.get_mut(host.as_str())) {
            members.push(open);
        }
    }
    for (host, members) in members {
        let routes = members.iter().filter(|it| it.is_of(Metric::RouteFaults)).count();
        let leaked: Vec<_> = members.iter().filter(|it| it.is_of(Metric::LeakedAddresses)).collect();
        let used = leaked.iter().filter(|it| leaks::is_used(it.finding)).count();
        let blocks: BTreeSet<_> =
            members.iter().filter(|it| it.is_of(Metric::AffinityFaults)).map(|it| &it.finding.subject).collect();
        let mut shown = Vec::new();
        if !blocks.is_empty() {
            shown.push(format!("{} still claimed by it", count(blocks.len(), "block is", "blocks are")));
        }
        if !leaked.is_empty() {
            let addresses = count(leaked.len(), "address is", "addresses are");
            shown.push(format!("{addresses} still allocated to it, {used} of them in use"));
        }
        if routes > 0 {
            shown.push(format!(
                "{} its addresses from here",
                count(routes, "route still leads to", "routes still lead to")
            ));
        }
        let (detail, action) = match (used, routes) {
            (0, 0) => (
                format!("{host} has no Node, and what it had in IPAM is still there."),
                format!(
                    "If {host} is gone for good, restart calico-kube-controllers, which releases its blocks and \
                     addresses. If it lives, restart its calico-node, which writes the Node again."
                ),
            ),
            (0, _) => (
                format!("{host} has no Node, and routes to its blocks still stand: it may live."),
                format!(
                    "See whether {host} lives before you release anything. If it does, restart its calico-node, which \
                     writes the Node again."
                ),
            ),
            (used, _) => (
                format!(
                    "{host} has no Node and lives: {} in use. Do not release them.",
                    count(used, "of its addresses is", "of its addresses are")
                ),
                format!("Restart calico-node on {host}: it writes its Node again. Release nothing before."),
            ),
        };
        let draft = Draft { kind: CauseKind::NodeGone, subject: host.to_owned(), detail, evidence: shown, action };
        board.claim(&members, draft);
    }
}

/// The host that has what a route or an entry leads to: the one that an address is allocated to, else the claimant or
/// the owner of the block around it.
pub(super) fn holder(datastore: &Datastore, net: Option<IpNet>) -> Option<Name> {
    let net = net?;
    let block = datastore.block_around(&net);
    if let (Some(block), Some(address)) = (block, host_route(&net)) {
        let ordinal = ordinal_of(&block.cidr, address).and_then(|it| u32::try_from(it).ok())?;
        if let Some(Some(attribute)) = block.allocation(ordinal)
            && let Some(node) = &attribute.node
        {
            return Some(node.clone());
        }
    }
    let claimed = datastore.keys_around(&net).find_map(|cidr| datastore.key_of(&cidr).map(|(name, _)| name.clone()));
    claimed.or_else(|| block.and_then(|block| block.host().cloned()))
}
