//! One destination judged: what ought to be there against what is (J14–J20).

use std::net::IpAddr;

use ipnet::IpNet;

use super::expect::{Context, Device, Devices, Expectation, Form, Gateway, Need};
use super::report::{Encapsulation, RouteClass};
use super::setting::{Programmer, device_encapsulation};
use super::words;
use crate::audit::fault::RouteReason;
use crate::model::{EndpointId, Family, Name, NextHop, Protocol, Route, RouteType, TABLE_MAIN, host_net};

mod effect;
mod sight;
mod unexpected;

pub(super) use sight::Doubt;

/// A difference between what ought to be and what is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Difference {
    /// The route's class.
    pub class: RouteClass,
    /// What is wrong.
    pub reason: RouteReason,
    /// The host that it leads to; this host for a route that nobody expects.
    pub host: Name,
    /// Who ought to program it; `None` where nobody ought to.
    pub programmer: Option<Programmer>,
    /// What is wrong, in a sentence.
    pub detail: String,
    /// What ought to be.
    pub expected: String,
    /// What is.
    pub actual: String,
    /// What to do about it.
    pub action: String,
}

/// What one remote route says of its pool's tunnel mode (J26).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Evidence {
    /// The pool.
    pub pool: Name,
    /// How the route wraps packets.
    pub encapsulation: Encapsulation,
    /// Whether it leads to a host of this host's subnet.
    pub same_subnet: bool,
    /// Whether that is as configured.
    pub fits: bool,
}

/// What is known of one destination.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Verdict {
    /// How the kernel's route is counted, if it is.
    pub actual: Option<(RouteClass, Encapsulation)>,
    /// How what ought to be there is counted.
    pub expected: Option<(RouteClass, Encapsulation)>,
    /// What is wrong.
    pub difference: Option<Box<Difference>>,
    /// What it says of its pool's mode.
    pub evidence: Option<Evidence>,
    /// Who ought to program it, where its absence is a fault and nothing stands in the way.
    pub required: Option<(Programmer, Family)>,
    /// The tunnel devices that a required route needs; any of them will do.
    pub needs_device: Devices,
    /// The endpoint that decides whether a route has to be there.
    pub lookup: Option<Box<EndpointId>>,
    /// What others' blocks have to say of it, where they are not followed.
    pub doubt: Option<Box<Doubt>>,
}

impl Verdict {
    /// Whether any number of destinations may have the very same: nothing in it is about one of them alone.
    pub(super) fn is_common(&self) -> bool {
        self.difference.is_none() && self.lookup.is_none() && self.doubt.is_none()
    }

    /// The same destination on a host of which nothing is judged: what is there counts as expected.
    pub(super) fn unjudged(self) -> Verdict {
        Verdict { actual: self.actual, expected: self.actual, ..Verdict::default() }
    }
}

/// Whether an address is link-local: nobody's own.
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

impl Context<'_> {
    /// Judges one destination by what is known.
    fn judge_known(&self, destination: &IpNet) -> Verdict {
        // Nothing follows from a block that cannot be read (J1).
        if self.is_dark(destination) {
            return Verdict::default();
        }
        let route = self.kernel.route(destination);
        let expectations = self.expectations_of(destination, route);
        let by_main = match (route, expectations.is_empty()) {
            (None, true) => Verdict { lookup: self.lookup(destination).map(Box::new), ..Verdict::default() },
            (None, false) => self.absent(destination, &expectations[0]),
            (Some(route), true) => self.unexpected(route),
            (Some(route), false) => self.present(route, &expectations),
        };
        self.by_wireguard(destination, by_main)
    }

    /// What is expected of a destination whose route is this.
    fn expectations_of(&self, destination: &IpNet, route: Option<&Route>) -> Vec<Expectation> {
        let by_bird = route.is_some_and(|route| route.protocol == Protocol::BIRD);
        let mut expectations = self.expectations(destination);
        expectations.retain(|expectation| by_bird || !expectation.bird_only);
        expectations
    }

    /// A destination's route, and what is expected of it.
    pub(super) fn expected_here(&self, destination: &IpNet) -> Option<(&Route, Vec<Expectation>)> {
        let route = self.kernel.route(destination)?;
        Some((route, self.expectations_of(destination, Some(route))))
    }

    /// Nothing is there. `first` is the most demanding expectation.
    fn absent(&self, destination: &IpNet, first: &Expectation) -> Verdict {
        let lookup = self.lookup(destination).map(Box::new);
        if first.need == Need::Permitted {
            return Verdict { lookup, ..Verdict::default() };
        }
        // BIRD's remote blocks may be carried by an aggregate; a borrowed address would go to the lender (J16).
        if first.programmer == Programmer::Bird
            && first.class == RouteClass::RemoteBlock
            && self.is_aggregated(destination)
        {
            return Verdict::default();
        }
        let needs_device = needed_devices(&first.form);
        let expected = Some((first.class, form_encapsulation(&first.form)));
        let mut verdict = Verdict { expected, lookup, needs_device, ..Verdict::default() };
        // One fault of the tunnel stands for all its routes (J19).
        if !self.is_any_up(needs_device) {
            return verdict;
        }
        verdict.required = Some((first.programmer, Family::of_net(destination)));
        verdict.difference = Some(Box::new(Difference {
            class: first.class,
            reason: RouteReason::Missing,
            host: first.host.clone().unwrap_or_else(|| self.me.clone()),
            programmer: Some(first.programmer),
            detail: words::missing(self.setting, destination, first),
            expected: words::form(destination, &first.form),
            actual: "no route".to_owned(),
            action: words::missing_action(self.setting, destination, first),
        }));
        verdict
    }

    /// Something is there, and something is expected: right if any expectation is met.
    fn present(&self, route: &Route, expectations: &[Expectation]) -> Verdict {
        let met = expectations.iter().find(|expectation| self.compare(route, expectation).is_none());
        let chosen = met.unwrap_or(&expectations[0]);
        let actual = self.route_encapsulation(route);
        let wanted = match chosen.form {
            Form::Unknown => actual,
            ref form => form_encapsulation(form),
        };
        let is_required = chosen.need == Need::Required;
        let needs_device = if is_required { needed_devices(&chosen.form) } else { &[] };
        let reason = match met {
            Some(_) => None,
            None if self.is_stood_for(route, &chosen.form) => None,
            None => self.compare(route, chosen),
        };
        let evidence = self.evidence(route, chosen, expectations);
        Verdict {
            actual: Some((chosen.class, actual)),
            expected: Some((chosen.class, wanted)),
            difference: reason.map(|reason| {
                Box::new(Difference {
                    class: chosen.class,
                    reason,
                    host: chosen.host.clone().unwrap_or_else(|| self.me.clone()),
                    programmer: Some(chosen.programmer),
                    detail: words::differs(route, chosen, reason),
                    expected: words::form(&route.destination, &chosen.form),
                    actual: route.to_string(),
                    action: words::action(reason, route),
                })
            }),
            evidence,
            required: is_required.then(|| (chosen.programmer, Family::of_net(&route.destination))),
            needs_device,
            lookup: None,
            doubt: None,
        }
    }

    /// What a route that leads to its host says of its pool's mode (J26): nothing where two claim the destination.
    fn evidence(&self, route: &Route, chosen: &Expectation, expectations: &[Expectation]) -> Option<Evidence> {
        let Form::Remote { encapsulation, same_subnet, gateway, .. } = &chosen.form else { return None };
        let (pool, host) = (self.datastore.pool_of(&route.destination)?, chosen.host.as_ref()?);
        let one_claims = expectations.iter().filter_map(|it| it.host.as_ref()).all(|it| it == host);
        let node = self.datastore.node(host)?;
        let leads_there = |hop: &NextHop| {
            effect::is_by(hop, node)
                || effect::is_on_tunnel_link(hop, node, &route.destination)
                || *gateway == Gateway::Recursive && hop.gateway.is_some() && !self.is_astray(hop.gateway, Some(host))
        };
        let arrives = route.kind == RouteType::Unicast && route.next_hops.iter().all(leads_there);
        let actual = self.route_encapsulation(route);
        (one_claims && arrives && !self.is_on_workload(route)).then(|| Evidence {
            pool: pool.name.clone(),
            encapsulation: actual,
            same_subnet: *same_subnet,
            fits: actual == *encapsulation,
        })
    }

    /// Whether the fault of the tunnel that a route needs, and goes through, stands for it (J19).
    fn is_stood_for(&self, route: &Route, form: &Form) -> bool {
        let needed = needed_devices(form);
        let goes_there = |hop: &NextHop| hop.device.as_deref().is_some_and(|device| needed.contains(&device));
        !self.is_any_up(needed) && !route.next_hops.is_empty() && route.next_hops.iter().all(goes_there)
    }

    /// What is wrong with a route, the first reason of J18's order.
    pub(super) fn compare(&self, route: &Route, expectation: &Expectation) -> Option<RouteReason> {
        let unicast = route.kind == RouteType::Unicast;
        match &expectation.form {
            Form::Unknown => None,
            Form::Blackhole => unicast.then_some(RouteReason::WrongType),
            _ if !unicast => Some(RouteReason::WrongType),
            Form::Workload(devices) => self.compare_workload(route, devices),
            Form::Remote { encapsulation, device, gateway, .. } => {
                self.compare_remote(route, expectation.host.as_ref(), *encapsulation, device, *gateway)
            }
        }
    }

    fn compare_workload(&self, route: &Route, devices: &[Name]) -> Option<RouteReason> {
        let [hop] = &*route.next_hops else {
            // A route without any names a nexthop object, whose ways are not known.
            let several = route.next_hops.len() > 1;
            return Some(if several { RouteReason::Multipath } else { RouteReason::WrongNextHop });
        };
        let device = hop.device.as_ref()?;
        if self.encapsulation_of(device) != Encapsulation::None {
            return Some(RouteReason::WrongEncapsulation);
        }
        let right = match devices {
            [] => self.setting.is_workload_device(device),
            devices => devices.contains(device),
        };
        (!right || hop.gateway.is_some()).then_some(RouteReason::WrongNextHop)
    }

    fn compare_remote(
        &self,
        route: &Route,
        host: Option<&Name>,
        encapsulation: Encapsulation,
        device: &Device,
        gateway: Gateway,
    ) -> Option<RouteReason> {
        let hops = &*route.next_hops;
        // It names a nexthop object, whose ways are not known.
        if hops.is_empty() {
            return Some(RouteReason::WrongNextHop);
        }
        if hops.iter().all(|hop| hop.down) {
            return Some(RouteReason::Linkdown);
        }
        let several = hops.len() > 1;
        if several && (gateway != Gateway::Recursive || hops.iter().any(|hop| self.is_astray(hop.gateway, host))) {
            return Some(RouteReason::Multipath);
        }
        let through = |hop: &NextHop| hop.device.as_ref().map(|device| self.encapsulation_of(device));
        if hops.iter().filter_map(through).any(|actual| actual != encapsulation) {
            return Some(RouteReason::WrongEncapsulation);
        }
        let wrong_hop = |hop: &NextHop| {
            let wrong_gateway = match gateway {
                Gateway::Exactly(right) => hop.gateway != Some(right),
                Gateway::OnLink => hop.gateway.is_some(),
                Gateway::Recursive => self.is_astray(hop.gateway, host),
            };
            wrong_gateway || !self.is_right_device(hop, device)
        };
        hops.iter().any(wrong_hop).then_some(RouteReason::WrongNextHop)
    }

    /// Whether a recursive next hop is one that leads elsewhere for certain (J22).
    fn is_astray(&self, gateway: Option<IpAddr>, host: Option<&Name>) -> bool {
        let Some(gateway) = gateway.filter(|gateway| !is_link_local(*gateway)) else { return false };
        if !self.sessions.only_mesh() {
            return false;
        }
        let mut nodes = self.datastore.nodes_at(gateway).peekable();
        nodes.peek().is_some() && nodes.all(|node| Some(node) != host) && !self.is_on_the_way(gateway, host)
    }

    /// Whether this host reaches the Node through the gateway: BIRD resolves a recursive next hop by the kernel's own
    /// route to it, and the router in between may have a Node of its own.
    fn is_on_the_way(&self, gateway: IpAddr, host: Option<&Name>) -> bool {
        let node = host.and_then(|host| self.datastore.node(host));
        let address = node.and_then(|node| node.routing_address(Family::of(gateway)));
        let route = address.and_then(|address| self.kernel.lookup(TABLE_MAIN, &host_net(address)));
        route.is_some_and(|route| route.next_hops.iter().any(|hop| hop.gateway == Some(gateway)))
    }

    fn is_right_device(&self, hop: &NextHop, device: &Device) -> bool {
        let Some(name) = &hop.device else { return true };
        match device {
            // No way to another host leads through a pod's device.
            Device::Any => !self.setting.is_workload_device(name) && name.as_ref() != "lo",
            Device::Tunnel(names) => names.contains(&&**name),
            Device::Exactly(right) => name == right,
            Device::Reaching(parent) => {
                if parent == name {
                    return true;
                }
                if self.setting.is_workload_device(name) || name.as_ref() == "lo" {
                    return false;
                }
                let Some(link) = self.kernel.link(name) else { return true };
                match hop.gateway {
                    Some(gateway) if !is_link_local(gateway) => link.addresses.iter().any(|net| net.contains(&gateway)),
                    _ => true,
                }
            }
        }
    }

    fn encapsulation_of(&self, device: &str) -> Encapsulation {
        device_encapsulation(device, self.kernel.link(device))
    }

    fn route_encapsulation(&self, route: &Route) -> Encapsulation {
        let mut wraps = route.next_hops.iter().filter_map(|hop| hop.device.as_deref());
        wraps.next().map_or(Encapsulation::None, |device| self.encapsulation_of(device))
    }

    /// Whether one of the devices is up; with none named, or without knowledge of devices, nothing stands in the way.
    pub(super) fn is_any_up(&self, devices: Devices) -> bool {
        devices.is_empty()
            || !self.kernel.knows_links()
            || devices.iter().any(|device| self.kernel.link(device).is_some_and(|link| link.is_up()))
    }
}

fn form_encapsulation(form: &Form) -> Encapsulation {
    match form {
        Form::Remote { encapsulation, .. } => *encapsulation,
        Form::Blackhole | Form::Workload(_) | Form::Unknown => Encapsulation::None,
    }
}

/// The tunnel devices that a route needs.
pub(super) fn needed_devices(form: &Form) -> Devices {
    match form {
        Form::Remote {
            encapsulation: Encapsulation::Ipip | Encapsulation::Vxlan,
            device: Device::Tunnel(names),
            ..
        } => names,
        _ => &[],
    }
}
