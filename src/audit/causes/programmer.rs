//! BIRD or Felix programs nothing on this host.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;

use super::board::{Board, Draft, Open};
use super::{CauseKind, Evidence, PATTERN, count};
use crate::audit::expect::Devices;
use crate::audit::fault::{EntryReason, Fault, RouteReason};
use crate::audit::judge::Verdict;
use crate::audit::place::Place;
use crate::audit::report::{Encapsulation, RouteClass};
use crate::audit::setting::Programmer;
use crate::model::{Family, TunnelKind};

/// How many percent of a programmer's routes may be there although it is silent: what a former run left behind, and
/// routes that another program happens to have written (J45).
const LEFT_BEHIND: usize = 5;

/// Whose route is required, and of which family.
pub(in crate::audit) type Required = (Programmer, Family);

/// What is known of this host's routes.
pub(in crate::audit) struct RouteFacts<'a> {
    /// One verdict a destination.
    pub verdicts: &'a BTreeMap<IpNet, Arc<Verdict>>,
    /// How many routes are required, by programmer, family and class.
    pub required: &'a BTreeMap<(Required, RouteClass), u64>,
    /// How many required routes need one of these devices.
    pub devices: &'a BTreeMap<Devices, u64>,
    /// Whether a route of BIRD's lies in a pool or block here, IPv4 and IPv6.
    pub bird_writes: [bool; 2],
}

impl RouteFacts<'_> {
    /// Who ought to program the route to a destination that differs.
    pub(super) fn programmer(&self, net: &IpNet) -> Option<Programmer> {
        self.verdicts.get(net)?.difference.as_ref()?.programmer
    }

    /// Whether a required route is there and right.
    pub(super) fn is_right(&self, net: &IpNet) -> bool {
        self.verdicts.get(net).is_some_and(|it| it.required.is_some() && it.difference.is_none())
    }

    /// Whether a destination is WireGuard's to carry: what is wrong with it says nothing of its pool's mode.
    pub(super) fn is_encrypted(&self, net: &IpNet) -> bool {
        let expected = self.verdicts.get(net).and_then(|it| it.expected);
        expected.is_some_and(|(_, encapsulation)| encapsulation == Encapsulation::Wireguard)
    }

    /// Whether it is routed into WireGuard's device and is no peer's.
    pub(super) fn is_swallowed(&self, net: &IpNet) -> bool {
        let devices = Family::ALL.map(|family| TunnelKind::wireguard(family).device());
        let difference = self.verdicts.get(net).and_then(|it| it.difference.as_deref());
        difference.is_some_and(|it| devices.iter().any(|device| it.actual.contains(device)))
    }

    /// How many required routes need the device.
    pub(super) fn needing(&self, device: &str) -> usize {
        let needing: u64 =
            self.devices.iter().filter(|(names, _)| names.contains(&device)).map(|(_, count)| *count).sum();
        usize::try_from(needing).unwrap_or(usize::MAX)
    }

    fn required(&self, of: Required, far: bool) -> usize {
        let counted = self.required.iter().filter(|((whose, class), _)| *whose == of && (!far || is_far(*class)));
        usize::try_from(counted.map(|(_, count)| *count).sum::<u64>()).unwrap_or(usize::MAX)
    }
}

/// Whether a class of routes leads to other hosts.
fn is_far(class: RouteClass) -> bool {
    match class {
        RouteClass::RemoteBlock | RouteClass::Borrowed | RouteClass::TunnelAddress => true,
        RouteClass::LocalWorkload | RouteClass::LocalBlock | RouteClass::Foreign => false,
    }
}

/// All but [`LEFT_BEHIND`] percent, and enough of them to be a pattern.
fn is_nearly_all(missing: usize, required: usize) -> bool {
    required >= PATTERN && missing >= PATTERN && missing * 100 >= required * (100 - LEFT_BEHIND)
}

/// One cause a programmer and family: nearly all of its routes, or of those to other hosts, are missing. Where those to
/// other hosts alone are, the program runs and has no word of the others: it is as silent towards them.
pub(super) fn silent(board: &mut Board<'_>, evidence: &Evidence<'_>) {
    let Some(routes) = &evidence.routes else { return };
    for programmer in [Programmer::Bird, Programmer::Felix] {
        for family in Family::ALL {
            let of = (programmer, family);
            let missing = board.open_where(|it| {
                matches!(it.fault(), Fault::Route(_, RouteReason::Missing))
                    && it.net().is_some_and(|net| {
                        Family::of_net(&net) == family && routes.programmer(&net) == Some(programmer)
                    })
            });
            let far = |it: &&Open<'_>| {
                !matches!(it.fault(), Fault::Route(RouteClass::LocalWorkload | RouteClass::LocalBlock, _))
            };
            let (all, all_far) = (routes.required(of, false), routes.required(of, true));
            let missing_far = missing.iter().filter(far).count();
            if !is_nearly_all(missing.len(), all) && !is_nearly_all(missing_far, all_far) {
                continue;
            }
            let mut members = missing.clone();
            if programmer == Programmer::Felix {
                // Neighbours and forwarding entries are Felix's as well.
                let device = TunnelKind::ALL.into_iter().filter(|kind| kind.family() == family).map(TunnelKind::device);
                let devices: Vec<&str> = device.collect();
                members.extend(board.open().filter(|it| {
                    matches!(it.fault(), Fault::Entry(_, _, EntryReason::Missing))
                        && it.fault().device().is_some_and(|device| devices.contains(&&**device))
                }));
            }
            let mut shown = vec![format!(
                "{} of {} that {} ought to have programmed here are missing",
                missing.len(),
                count(all, "route", "routes"),
                name(programmer),
            )];
            let others = all - missing.len();
            if others > 0 {
                shown.push(format!("{} there", count(others, "is", "are")));
            }
            shown.extend(waiting(programmer, family, routes));
            board.claim(&members, draft(evidence, of, missing_far == missing.len(), shown));
        }
    }
}

fn name(programmer: Programmer) -> &'static str {
    match programmer {
        Programmer::Felix => "Felix",
        Programmer::Bird => "BIRD",
    }
}

/// BIRD that has just started waits for every configured peer and writes nothing until then.
fn waiting(programmer: Programmer, family: Family, routes: &RouteFacts<'_>) -> Option<String> {
    (programmer == Programmer::Bird && !routes.bird_writes[family as usize]).then(|| {
        "BIRD has no route of its own here at all: it is dead, or it waits after a start, up to 240 s while a peer is \
         down"
            .to_owned()
    })
}

fn draft(evidence: &Evidence<'_>, (programmer, family): Required, far_only: bool, shown: Vec<String>) -> Draft {
    let version = match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    };
    let who = name(programmer);
    let whither = if far_only { " to other hosts" } else { "" };
    let action = match programmer {
        Programmer::Bird => {
            let action = "See BIRD's sessions on this host: `birdcl show protocols`";
            Place::of(&evidence.state.datastore).typed(action, family, evidence.node).into_owned()
        }
        Programmer::Felix => {
            "See Felix's log and readiness on this host (calico-node); it repairs within 99 s.".to_owned()
        }
    };
    Draft {
        kind: CauseKind::ProgrammerSilent,
        subject: format!("{} {version}", who.to_lowercase()),
        detail: format!("{who} has programmed no {version} route{whither} on this host."),
        evidence: shown,
        action,
    }
}
