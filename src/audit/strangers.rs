//! A route that is missing because a program deleted it that is not Calico's: the finding names the program, and the
//! setting that keeps it away from Calico's routes.

use super::fault::{Fault, RouteReason};
use super::finding::Finding;
use crate::model::net_of;
use crate::state::{History, Process};

/// Adds who deleted the route, where that is known and it was neither Felix nor BIRD.
pub(super) fn name(finding: &mut Finding, history: &History) {
    if !matches!(finding.fault, Fault::Route(_, RouteReason::Missing)) {
        return;
    }
    let Some(process) = net_of(&finding.subject).and_then(|it| history.stranger(&it)) else { return };
    finding.detail += &format!("; {} deleted it (process {})", process.name, process.pid);
    finding.action = remedy(process);
}

/// What keeps a program from deleting routes that it does not own.
fn remedy(process: &Process) -> String {
    match &*process.name {
        // `comm` holds 15 bytes.
        "systemd-network" | "systemd-networkd" => {
            "set ManageForeignRoutes=no in a file in /etc/systemd/networkd.conf.d and restart systemd-networkd; then \
             restart calico-node, or wait until it repairs its routes"
                .to_owned()
        }
        "NetworkManager" => {
            "set unmanaged-devices=interface-name:cali*;interface-name:tunl*;interface-name:vxlan.calico;\
             interface-name:vxlan-v6.calico;interface-name:wireguard.cali;interface-name:wg-v6.cali under [keyfile] in \
             a file in /etc/NetworkManager/conf.d and reload NetworkManager"
                .to_owned()
        }
        "dhclient" | "dhcpcd" => {
            format!(
                "see the exit hooks of {} (/etc/dhcp/dhclient-exit-hooks.d): one of them flushes routes",
                process.name
            )
        }
        name => format!("find out why {name} deletes routes that it did not write, and keep it from doing so"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::audit::RouteClass;
    use crate::model::{NextHop, Protocol, Route, RouteType, TABLE_MAIN};
    use crate::state::{Author, Event, Side, State};

    fn missing(destination: &str) -> Finding {
        let fault = Fault::Route(RouteClass::RemoteBlock, RouteReason::Missing);
        Finding::new(fault, destination).detail("no route").action("see BIRD")
    }

    fn deleted_by(name: &str) -> Finding {
        let mut state = State::new(false);
        state.history = History::new(1 << 16);
        let hop = NextHop { gateway: None, device: Some("eth0".into()), down: false, onlink: false };
        let route = Route {
            table: TABLE_MAIN,
            destination: "10.0.1.0/26".parse().unwrap(),
            metric: 0,
            tos: 0,
            kind: RouteType::Unicast,
            protocol: Protocol::BIRD,
            link_scope: false,
            next_hops: [hop].into(),
        };
        let author = Author::Netlink(812, Some(Process { pid: 812, name: name.into(), gone: false }));
        let gone = Event::RouteGone(route.key());
        let first = [Event::Resync(Side::Kernel), Event::Route(route), Event::Synced(Side::Kernel)];
        for event in first.into_iter().chain([Event::Origin(author), gone]) {
            state.apply(event, Duration::ZERO);
        }
        let mut finding = missing("10.0.1.0/26");
        super::name(&mut finding, &state.history);
        finding
    }

    #[test]
    fn a_stranger_is_named_with_its_setting_and_calicos_own_are_not() {
        let finding = deleted_by("systemd-network");
        assert_eq!(finding.detail, "no route; systemd-network deleted it (process 812)");
        assert!(finding.action.contains("ManageForeignRoutes=no"), "{}", finding.action);
        assert!(deleted_by("NetworkManager").action.contains("unmanaged-devices=interface-name:cali*;"));
        assert!(deleted_by("evil").action.contains("why evil deletes"));
        for own in ["bird", "bird6", "calico-node"] {
            assert_eq!(deleted_by(own), missing("10.0.1.0/26"), "{own}");
        }
    }
}
