//! A tunnel device that is missing or down stands for all that needs it (J19).

use ipnet::IpNet;

use super::board::{Board, Draft};
use super::{CauseKind, Evidence, count};
use crate::audit::fault::{Fault, Metric, RouteReason, TunnelReason};

/// One cause a device: its other faults, the entries of its tables and the routes through it follow.
pub(super) fn device(board: &mut Board<'_>, evidence: &Evidence<'_>) {
    let faults =
        board.open_where(|it| matches!(it.fault(), Fault::Tunnel(_, TunnelReason::Missing | TunnelReason::Down)));
    for fault in faults {
        let device = fault.finding.subject.as_str();
        let through = |net: IpNet| {
            let route = evidence.state.kernel.route(&net);
            route.is_some_and(|it| it.next_hops.iter().any(|hop| hop.device.as_deref() == Some(device)))
        };
        let members = board.open_where(|it| match it.finding.metric() {
            Metric::TunnelFaults => it.finding.subject == device,
            Metric::TunnelEntryFaults => it.fault().device().map(|it| &**it) == Some(device),
            // A blackhole, or a route through another device, is a fault of its own.
            Metric::RouteFaults => {
                matches!(it.fault(), Fault::Route(_, RouteReason::Linkdown)) && it.net().is_some_and(through)
            }
            _ => false,
        });
        let mut shown = vec![format!("expected {}, found: {}", fault.finding.expected, fault.finding.actual)];
        let needed = evidence.routes.as_ref().map_or(0, |routes| routes.needing(device));
        if needed > 0 {
            shown.push(format!("{} it", count(needed, "route needs", "routes need")));
        }
        board.claim(
            &members,
            Draft {
                kind: CauseKind::TunnelDevice,
                subject: device.to_owned(),
                detail: fault.finding.detail.clone(),
                evidence: shown,
                action: fault.finding.action.clone(),
            },
        );
    }
}
