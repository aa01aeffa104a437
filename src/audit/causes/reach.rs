//! Another host that no right route leads to.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::board::{Board, Draft, Open};
use super::{CauseKind, Evidence, count};
use crate::audit::fault::{Fault, Metric, NodeReason, RouteReason};
use crate::model::AffinityState;

/// Whether a finding says that traffic to the host does not arrive.
fn cuts_off(open: &Open<'_>) -> bool {
    match open.fault() {
        // What is stale or foreign leads somewhere that nobody asked for; the host it names is this one. What is diverted
        // is a rule's of this host, to whichever host it leads.
        Fault::Route(_, reason) => !matches!(reason, RouteReason::Stale | RouteReason::Foreign | RouteReason::Diverted),
        Fault::Entry(_, _, reason) => reason.loses_traffic(),
        // It stands for every route over the Node (J44).
        Fault::Node(reason) => matches!(reason, NodeReason::NoWay | NodeReason::WayThroughTunnel),
        _ => false,
    }
}

/// One cause a host: all the routes that lead to it are at fault, or the tunnel's entries for it are.
pub(super) fn unreachable(board: &mut Board<'_>, evidence: &Evidence<'_>) {
    let (Some(me), Some(routes)) = (evidence.node, &evidence.routes) else { return };
    let mut hosts: BTreeMap<&str, Vec<Open<'_>>> = BTreeMap::new();
    // What is to be encrypted and is not arrives.
    let arrives = |open: &Open<'_>| {
        matches!(open.fault(), Fault::Route(_, RouteReason::WrongEncapsulation))
            && open.net().is_some_and(|net| routes.is_encrypted(&net))
    };
    for open in board.open().filter(|open| cuts_off(open) && !arrives(open)) {
        if let Some(host) = open.host().filter(|host| *host != &**me) {
            hosts.entry(host).or_default().push(open);
        }
    }
    if hosts.is_empty() {
        return;
    }
    let datastore = &evidence.state.datastore;
    let mut right: BTreeSet<&str> = BTreeSet::new();
    let mut note = |host: Option<&str>, cidr: &IpNet| {
        if let Some((host, _)) = host.and_then(|host| hosts.get_key_value(host))
            && routes.is_right(cidr)
        {
            right.insert(host);
        }
    };
    for (cidr, owner, entry) in datastore.affinities() {
        if entry.state != AffinityState::Pending {
            note(owner.host().map(|it| &**it), cidr);
        }
    }
    for block in datastore.blocks() {
        note(block.host().map(|it| &**it), &block.cidr);
    }
    for (host, members) in hosts {
        let entries = members.iter().filter(|it| it.is_of(Metric::TunnelEntryFaults)).count();
        let ways: Vec<&Open<'_>> = members.iter().filter(|it| it.is_of(Metric::NodeFaults)).collect();
        let faults = members.len() - entries - ways.len();
        if entries == 0 && ways.is_empty() && right.contains(host) {
            continue;
        }
        let mut shown: Vec<String> =
            ways.iter().map(|it| format!("the way to its own address: {}", it.finding.actual)).collect();
        if faults > 0 {
            let reasons: BTreeSet<&str> = members
                .iter()
                .filter(|it| it.is_of(Metric::RouteFaults))
                .filter_map(|it| it.fault().reason())
                .collect();
            let reasons: Vec<&str> = reasons.into_iter().collect();
            shown.push(format!(
                "{} at fault: {}",
                count(faults, "route to it is", "routes to it are"),
                reasons.join(", ")
            ));
        }
        if entries > 0 {
            shown.push(format!(
                "{} missing or wrong",
                count(entries, "tunnel entry for it is", "tunnel entries for it are")
            ));
        }
        let action = members[0].finding.action.clone();
        board.claim(
            &members,
            Draft {
                kind: CauseKind::HostUnreachable,
                subject: host.to_owned(),
                detail: format!("{host} cannot be reached from {me}: nothing that leads to it is right."),
                evidence: shown,
                action,
            },
        );
    }
}
