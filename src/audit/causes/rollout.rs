//! A pool's mode was changed, and this host's routes are still those of the former one.

use std::collections::BTreeMap;

use super::board::{Board, Draft, Open};
use super::{CauseKind, Evidence, PATTERN, RouteFacts, count};
use crate::audit::fault::{Fault, RouteReason};
use crate::audit::report::Encapsulation;
use crate::audit::setting::device_encapsulation;
use crate::model::Name;
use crate::state::Kernel;

/// One cause a pool: at least [`PATTERN`] routes are wrapped otherwise than the pool says, and all of them alike. Routes
/// that somebody changed by hand are fewer, or differ from each other.
pub(super) fn former_mode(board: &mut Board<'_>, evidence: &Evidence<'_>) {
    let datastore = &evidence.state.datastore;
    let mut pools: BTreeMap<&Name, Vec<(Open<'_>, Encapsulation)>> = BTreeMap::new();
    for open in board.open().filter(|it| matches!(it.fault(), Fault::Route(_, RouteReason::WrongEncapsulation))) {
        let Some(net) = open.net() else { continue };
        let of_wireguard = |routes: &RouteFacts<'_>| routes.is_encrypted(&net) || routes.is_swallowed(&net);
        if evidence.routes.as_ref().is_some_and(of_wireguard) {
            continue;
        }
        let Some(pool) = datastore.pool_of(&net) else { continue };
        let Some(route) = evidence.state.kernel.route(&net) else { continue };
        let device = route.next_hops.iter().find_map(|hop| hop.device.as_deref());
        let actual = device.map_or(Encapsulation::None, |device| wraps(&evidence.state.kernel, device));
        pools.entry(&pool.name).or_default().push((open, actual));
    }
    for (name, routes) in pools {
        let former = routes[0].1;
        if routes.len() < PATTERN || routes.iter().any(|(_, actual)| *actual != former) {
            continue;
        }
        let Some(pool) = datastore.pools().get(name) else { continue };
        let members: Vec<Open<'_>> = routes.iter().map(|(open, _)| *open).collect();
        let was = match former {
            Encapsulation::None => "unencapsulated".to_owned(),
            other => format!("wrapped in {}", other.as_str()),
        };
        board.claim(
            &members,
            Draft {
                kind: CauseKind::ModeNotRolledOut,
                subject: name.to_string(),
                detail: format!("The mode of pool {name} was changed, and this host has not followed."),
                evidence: vec![
                    format!("{} still {was}", count(routes.len(), "route is", "routes are")),
                    format!("the pool says ipipMode {}, vxlanMode {}", pool.ipip.as_str(), pool.vxlan.as_str()),
                ],
                action: "Restart calico-node on this host. If the change was a mistake, set the pool's mode back."
                    .to_owned(),
            },
        );
    }
}

fn wraps(kernel: &Kernel, device: &str) -> Encapsulation {
    device_encapsulation(device, kernel.link(device))
}
