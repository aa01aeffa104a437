//! Destinations whose own route is right and whose packets go another way all the same: another rule or table decides,
//! or a more specific route of another program (J41, J42).
//!
//! Decided, where J17, J41 and J42 leave room:
//!
//! - A more specific route of another program in main that lies in an owned block of a pool is `foreign` (J17) and said
//!   once so. In a block outside all pools, or of which the key alone says whose it is, it makes the block `diverted`.
//! - What lies inside a destination in another table is that destination's: one finding stands for all of its parts.
//! - A route that leads to BIRD's next hops is equal in effect if its ways are those of the route in main, or if it leads
//!   to the host by an address of its Node: a router that BIRD did not choose may lead anywhere.
//! - This host's own addresses, in the table `local`, divert nothing. A route whose ways are all down may be passed over
//!   (`ignore_routes_with_linkdown`), and diverts nothing for certain.
//! - WireGuard's devices are where Felix wants the packet to go: whether rightly is not asked here.

use ipnet::IpNet;

use super::expect::{Context, Expectation, Form, Gateway};
use super::fault::RouteReason;
use super::forward::{self, Outcome};
use super::judge::{Difference, Verdict};
use crate::model::{Family, PolicyRule, Protocol, Route, RouteType, TABLE_MAIN, TunnelKind, host_route};

mod walk;
mod words;

pub(super) use walk::Sender;
pub(super) use walk::Walks;
use walk::{Walk, is_own_address};

/// What takes the packets.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Taken<'a> {
    /// Which part of the destination.
    part: IpNet,
    /// The rule that decides; `None` where none leads anywhere.
    rule: Option<PolicyRule>,
    /// The route; `None` where the rule drops or refuses the packet.
    route: Option<&'a Route>,
}

/// A destination whose own route is right.
struct Right<'a> {
    destination: IpNet,
    /// Main's, where it is there.
    route: Option<&'a Route>,
    /// All that is expected, of which one is met.
    expectations: Vec<Expectation>,
    met: usize,
}

impl Context<'_> {
    /// What diverts a destination of which its own route is right, as `verdict` says.
    pub(super) fn diverted(&self, walks: &Walks, destination: &IpNet, verdict: &Verdict) -> Option<Difference> {
        let is_right = verdict.difference.is_none() && verdict.expected.is_some() && verdict.actual.is_some();
        let walk = walks.of(Family::of_net(destination));
        let by_rules = walk.filter(|walk| walk.touches(self.kernel, destination));
        if !is_right || (by_rules.is_none() && !self.is_open_to_others(destination)) {
            return None;
        }
        let (route, expectations) = self.expected_here(destination)?;
        let met = expectations.iter().position(|it| self.compare(route, it).is_none())?;
        let right = Right { destination: *destination, route: Some(route), expectations, met };
        let by_rules = by_rules.and_then(|walk| self.diverted_by_rules(walk, &right));
        let (senders, taken) = by_rules.or_else(|| Some((Vec::new(), self.diverted_in_main(&right)?)))?;
        let chosen = &right.expectations[right.met];
        Some(Difference {
            class: chosen.class,
            reason: RouteReason::Diverted,
            host: chosen.host.clone().unwrap_or_else(|| self.me.clone()),
            programmer: Some(chosen.programmer),
            detail: words::detail(&right, &senders, &taken),
            expected: super::words::form(destination, &chosen.form),
            actual: words::actual(&taken),
            action: words::action(self, walks, &right, senders.first(), &taken),
        })
    }

    /// The senders whose packets rules send elsewhere, and where those of the first go.
    fn diverted_by_rules<'a>(&'a self, walk: &'a Walk, right: &Right<'_>) -> Option<(Vec<&'a Sender>, Taken<'a>)> {
        let parts = walk.parts(self.kernel, &right.destination);
        let mut found: Option<(Vec<&Sender>, Taken<'a>)> = None;
        // The host comes first among the senders, and a pod is the better example.
        for sender in walk.senders.iter().rev() {
            let Some(taken) = parts.iter().find_map(|part| self.taken_elsewhere(walk, sender, *part, right)) else {
                continue;
            };
            match &mut found {
                Some((senders, _)) => senders.push(sender),
                None => found = Some((vec![sender], taken)),
            }
        }
        found
    }

    /// What takes a sender's packets to a part of the destination, if it is not as good as its own route.
    fn taken_elsewhere<'a>(
        &'a self,
        walk: &Walk,
        sender: &Sender,
        part: IpNet,
        right: &Right<'_>,
    ) -> Option<Taken<'a>> {
        // A part that has a route of its own in main is judged by that.
        if self.kernel.lookup(TABLE_MAIN, &part).is_some_and(|route| route.destination != right.destination) {
            return None;
        }
        let decision = forward::decide(self.kernel, Some(&walk.rules), &sender.packet(part));
        let route = match decision.outcome {
            Outcome::Here => return None,
            Outcome::By(route) if self.leads_as_well(route, right) => return None,
            Outcome::By(route) => Some(route),
            Outcome::Refused | Outcome::Nowhere if self.is_to_be_dropped(right) => return None,
            Outcome::Refused | Outcome::Nowhere => None,
        };
        Some(Taken { part, rule: decision.rule, route })
    }

    /// Whether nothing but this makes a route of another program inside the destination a finding: J17 says it of pools
    /// and of blocks that say whose they are.
    pub(super) fn is_open_to_others(&self, destination: &IpNet) -> bool {
        host_route(destination).is_none()
            && (self.datastore.pool_of(destination).is_none()
                || self.block_around(destination).is_none_or(|block| block.owner.is_none()))
    }

    /// A more specific route of another program in main.
    fn diverted_in_main(&self, right: &Right<'_>) -> Option<Taken<'_>> {
        if !self.is_open_to_others(&right.destination) {
            return None;
        }
        let inside = self.kernel.main_routes_within(&right.destination);
        let mut others = inside.filter(|route| route.destination != right.destination && self.is_others(route));
        let route = others.find(|route| !self.leads_as_well(route, right) && !self.is_found(route))?;
        Some(Taken { part: route.destination, rule: None, route: Some(route) })
    }

    /// Whether a route of main is another program's, and asked for by nobody.
    fn is_others(&self, route: &Route) -> bool {
        let net = &route.destination;
        !self.is_calicos(route)
            && !self.is_never_judged(route)
            && self.expectations(net).iter().all(|it| it.bird_only && route.protocol != Protocol::BIRD)
    }

    /// Whether the route is a finding of its own, or may be one once its block was read.
    fn is_found(&self, route: &Route) -> bool {
        let verdict = self.judge(&route.destination, None);
        verdict.difference.is_some() || verdict.doubt.is_some()
    }

    /// Whether packets are meant to be dropped.
    fn is_to_be_dropped(&self, right: &Right<'_>) -> bool {
        right.expectations[right.met].form == Form::Blackhole
    }

    /// Whether a route that the kernel takes is as good as what is wanted of a destination (J41).
    pub(super) fn leads_as_wanted(&self, route: &Route, destination: IpNet, wanted: &Expectation) -> bool {
        let own = self.kernel.route(&destination).filter(|own| self.compare(own, wanted).is_none());
        self.leads_as_well(route, &Right { destination, route: own, expectations: vec![wanted.clone()], met: 0 })
    }

    /// Whether a route is equal in effect to the one that is right (J18, J41), or may not be taken at all.
    fn leads_as_well(&self, route: &Route, right: &Right<'_>) -> bool {
        let is_wireguards = |device: &str| {
            matches!(TunnelKind::of_device(device), Some(TunnelKind::WireguardV4 | TunnelKind::WireguardV6))
        };
        let hops = &*route.next_hops;
        let by_wireguard = || hops.iter().all(|hop| hop.device.as_deref().is_some_and(is_wireguards));
        if is_own_address(route)
            || !hops.is_empty() && (hops.iter().all(|hop| hop.down) || by_wireguard())
            || right.route.is_some_and(|own| has_same_ways(route, own))
        {
            return true;
        }
        // It stands for the destination, whatever else it is for.
        let route = &Route { destination: right.destination, ..route.clone() };
        right.expectations.iter().any(|it| match &it.form {
            Form::Unknown => true,
            Form::Blackhole => {
                matches!(route.kind, RouteType::Blackhole | RouteType::Unreachable | RouteType::Prohibit)
            }
            Form::Workload(devices) if devices.is_empty() => false,
            Form::Remote { gateway: Gateway::Recursive, .. } => {
                route.kind == RouteType::Unicast
                    && !hops.is_empty()
                    && it.host.as_ref().is_some_and(|host| self.leads_to(route, host))
            }
            Form::Workload(_) | Form::Remote { .. } => self.compare(route, it).is_none(),
        })
    }
}

/// Same type, same ways.
pub(super) fn has_same_ways(one: &Route, other: &Route) -> bool {
    let ways = |route: &Route| {
        let mut ways: Vec<_> = route.next_hops.iter().map(|hop| (hop.gateway, hop.device.clone())).collect();
        ways.sort();
        ways.dedup();
        ways
    };
    one.kind == other.kind && (!one.kind.has_next_hops() || ways(one) == ways(other))
}
