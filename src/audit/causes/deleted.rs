//! A program that is not Calico's deletes Calico's routes.

use std::collections::BTreeMap;

use super::board::{Board, Draft, Open};
use super::{CauseKind, Evidence, PATTERN, count};
use crate::audit::fault::{Fault, RouteReason};

/// One cause a program that was seen to delete [`PATTERN`] routes or more that are still missing. Before BIRD or Felix is
/// called silent: who deleted a route is known for certain.
pub(super) fn by_stranger(board: &mut Board<'_>, evidence: &Evidence<'_>) {
    let mut programs: BTreeMap<String, Vec<Open<'_>>> = BTreeMap::new();
    for open in board.open().filter(|it| matches!(it.fault(), Fault::Route(_, RouteReason::Missing))) {
        let stranger = open.net().and_then(|net| evidence.state.history.stranger(&net));
        if let Some(process) = stranger {
            programs.entry(process.name.to_string()).or_default().push(open);
        }
    }
    for (program, members) in programs {
        let Some(first) = members.first().filter(|_| members.len() >= PATTERN) else { continue };
        board.claim(
            &members,
            Draft {
                kind: CauseKind::RoutesDeleted,
                subject: program.clone(),
                detail: format!("{program} deletes Calico's routes on this host."),
                evidence: vec![format!(
                    "{} deleted and not there again",
                    count(members.len(), "route was", "routes were")
                )],
                action: first.finding.action.clone(),
            },
        );
    }
}
