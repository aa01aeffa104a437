//! Words for differences between routes: what a person reads at night. Routes are written as `ip route` prints them.

use std::time::{Duration, SystemTime};

use ipnet::IpNet;

use super::expect::{Context, Device, Expectation, Form, Gateway};
use super::fault::RouteReason;
use super::report::{Encapsulation, RouteClass};
use super::setting::{Programmer, Setting};
use crate::model::{AllocationBlock, Family, Protocol, Route, RouteType, host_route, ordinal_of, rfc3339};

/// A destination as a subject: a single address bare (J28).
pub(super) fn destination(net: &IpNet) -> String {
    host_route(net).map_or_else(|| net.to_string(), |address| address.to_string())
}

/// A moment, in seconds since 1970, as RFC 3339.
pub(super) fn moment(seconds: u64) -> String {
    let text = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).and_then(rfc3339);
    text.unwrap_or_else(|| format!("{seconds} s after 1970"))
}

/// What ought to be there.
pub(super) fn form(net: &IpNet, form: &Form) -> String {
    let net = destination(net);
    match form {
        Form::Blackhole => format!("blackhole {net}"),
        Form::Workload(devices) => match devices.first() {
            Some(device) => format!("{net} dev {device}"),
            None => format!("{net} on a workload's device"),
        },
        Form::Remote { encapsulation, device, gateway, .. } => {
            let gateway = match gateway {
                Gateway::Exactly(address) => format!(" via {address}"),
                Gateway::OnLink => String::new(),
                Gateway::Recursive => " via its host or a router".to_owned(),
            };
            let device = match device {
                Device::Tunnel(names) => names.first().map(|name| format!(" dev {name}")).unwrap_or_default(),
                Device::Exactly(name) | Device::Reaching(name) => format!(" dev {name}"),
                Device::Any => String::new(),
            };
            let wrap = match encapsulation {
                Encapsulation::None => ", unencapsulated".to_owned(),
                other => format!(", {}", other.as_str()),
            };
            format!("{net}{gateway}{device}{wrap}")
        }
        Form::Unknown => net,
    }
}

/// What a destination of the class is, as the beginning of a sentence about it.
pub(super) fn of_class(class: RouteClass) -> &'static str {
    match class {
        RouteClass::LocalWorkload => "a pod of this host",
        RouteClass::LocalBlock => "a block of this host",
        RouteClass::RemoteBlock => "a block of",
        RouteClass::Borrowed => "an address that is used by",
        RouteClass::TunnelAddress => "the tunnel address of",
        RouteClass::Foreign => "a foreign destination",
    }
}

pub(super) fn purpose(expectation: &Expectation) -> String {
    let host = expectation.host.as_deref().unwrap_or("another host");
    match expectation.class {
        RouteClass::LocalWorkload | RouteClass::LocalBlock | RouteClass::Foreign => {
            of_class(expectation.class).to_owned()
        }
        class => format!("{} {host}", of_class(class)),
    }
}

fn programmer(who: Programmer) -> &'static str {
    match who {
        Programmer::Felix => "Felix",
        Programmer::Bird => "BIRD",
    }
}

/// What a missing route means.
pub(super) fn missing(setting: &Setting, net: &IpNet, expectation: &Expectation) -> String {
    let (net_words, what) = (destination(net), purpose(expectation));
    match turned_off(setting, net, expectation) {
        Some(off) => format!("no route to {net_words}, {what}: {off}, so that Felix does not program it"),
        None => {
            let who = programmer(expectation.programmer);
            format!("no route to {net_words}, {what}, which {who} ought to have programmed")
        }
    }
}

/// What to do about a missing route.
pub(super) fn missing_action(setting: &Setting, net: &IpNet, expectation: &Expectation) -> String {
    match (turned_off(setting, net, expectation), expectation.programmer) {
        (Some(off), _) => turn_on(&off),
        (None, Programmer::Felix) => {
            "see that Felix runs and is healthy on this host (calico-node's log, readiness); it repairs within 99 s"
                .to_owned()
        }
        (None, Programmer::Bird) => {
            "see BIRD's sessions on this host and on that one (`birdcl show protocols`); after a start it may wait 240 s \
             for a peer that is down"
                .to_owned()
        }
    }
}

/// The setting that keeps Felix from programming a route.
fn turned_off(setting: &Setting, net: &IpNet, expectation: &Expectation) -> Option<String> {
    let vxlan = matches!(&expectation.form, Form::Remote { encapsulation: Encapsulation::Vxlan, .. });
    let by_felix = expectation.programmer == Programmer::Felix;
    by_felix.then(|| setting.turned_off(Family::of_net(net), vxlan)).flatten()
}

/// What to do about a setting that turns something off.
pub(super) fn turn_on(off: &str) -> String {
    format!("remove the setting if these pools are meant to be used, or the pools if it is meant: {off}")
}

/// What is wrong with a route that is there.
pub(super) fn differs(route: &Route, expectation: &Expectation, reason: RouteReason) -> String {
    let net = destination(&route.destination);
    let purpose = purpose(expectation);
    match reason {
        RouteReason::WrongType => match expectation.form {
            Form::Blackhole => format!("{net}, {purpose}, is forwarded where it ought to be dropped"),
            _ if route.protocol == Protocol::BIRD && route.kind == RouteType::Blackhole => format!(
                "{net}, {purpose}, is dropped here: this host still announces it as a block of its own, as its former \
                 owner does, and draws its traffic from the other hosts"
            ),
            _ if route.protocol == Protocol::BIRD => {
                format!("{net}, {purpose}, is dropped ({}): BIRD cannot resolve the next hop", route.kind.as_str())
            }
            _ => format!("{net}, {purpose}, is dropped ({}) where it ought to be forwarded", route.kind.as_str()),
        },
        RouteReason::Linkdown => format!("the route to {net}, {purpose}, leaves through a device that is down"),
        RouteReason::Multipath => format!("the route to {net}, {purpose}, has several ways where one is right"),
        RouteReason::WrongEncapsulation => {
            format!("the route to {net}, {purpose}, does not wrap packets as its pool says")
        }
        RouteReason::WrongNextHop if route.next_hops.is_empty() => format!(
            "the route to {net}, {purpose}, names a nexthop object, and not where that leads \
             (net.ipv4.nexthop_compat_mode=0)"
        ),
        RouteReason::WrongNextHop => format!("the route to {net}, {purpose}, leads elsewhere"),
        RouteReason::Missing | RouteReason::Stale | RouteReason::Foreign | RouteReason::Diverted => net,
    }
}

/// Why a route is expected by nobody.
pub(super) fn stale(context: &Context<'_>, route: &Route, block: Option<&AllocationBlock>) -> String {
    let net = destination(&route.destination);
    let address = host_route(&route.destination);
    match (block, address) {
        (Some(block), Some(address)) => {
            let ordinal = ordinal_of(&block.cidr, address).and_then(|it| u32::try_from(it).ok());
            let free = ordinal.is_some_and(|it| block.allocation(it).is_none());
            let on_workload = route
                .next_hops
                .iter()
                .any(|hop| hop.device.as_deref().is_some_and(|device| context.setting.is_workload_device(device)));
            match (free, on_workload) {
                (true, true) => format!("{net} has a local route, but IPAM calls it free: it will be handed out twice"),
                (true, false) => format!("{net} has a route of its own, but nobody has been given the address"),
                (false, _) => format!("{net} has a route of its own that nothing asks for"),
            }
        }
        (Some(block), None) if block.cidr == route.destination => match &block.owner {
            Some(owner) => format!("block {net} belongs to {owner}, to which no such route leads"),
            None => format!("block {net} belongs to nobody"),
        },
        (Some(block), None) => format!("{net} is a part of block {} that nothing asks for", block.cidr),
        (None, _) => match context.datastore.pool_of(&route.destination) {
            Some(pool) => format!("{net} lies in pool {}, but in no block", pool.name),
            None => format!("{net} lies in no pool and no block"),
        },
    }
}

/// What a foreign route does.
pub(super) fn foreign(route: &Route, block: &AllocationBlock) -> String {
    let owner = block.owner.as_ref().map(ToString::to_string).unwrap_or_default();
    format!(
        "{} is not Calico's and takes traffic away from block {} of {owner}",
        destination(&route.destination),
        block.cidr
    )
}

/// What to do about a route that is there.
pub(super) fn action(reason: RouteReason, route: &Route) -> String {
    let by_bird = route.protocol == Protocol::BIRD;
    let net = destination(&route.destination);
    let fixed = match reason {
        RouteReason::Stale if by_bird && route.kind == RouteType::Blackhole => {
            "see whether BIRD runs here and why it still originates the block (`birdcl show route protocol static1`); \
             restart calico-node on this host if confd has not written its configuration again"
        }
        RouteReason::Stale if by_bird => {
            return format!(
                "BIRD learnt it and writes it again after an ip route del: see who announces it \
                 (`birdcl show route for {net} all`) and withdraw it there; if BIRD does not run here any more, remove it \
                 with `ip route del {net}`"
            );
        }
        RouteReason::Missing | RouteReason::Stale => {
            return format!(
                "see whether Felix and BIRD run here; a leftover of a component that is gone is removed with \
                 `ip route del {net}`"
            );
        }
        RouteReason::WrongType if by_bird && route.kind == RouteType::Blackhole => {
            "see why BIRD here still originates the block (its affinity key, `birdcl show route protocol static1`), and \
             restart calico-node on this host if confd has not written its configuration again"
        }
        RouteReason::WrongType if by_bird => {
            return format!("see why BIRD cannot resolve the next hop (`birdcl show route for {net} all`)");
        }
        RouteReason::WrongType => return format!("see which program wrote it (`ip route show {net}`: its protocol)"),
        RouteReason::WrongNextHop => {
            "compare with the Node's address in the datastore, then find which program installed the route"
        }
        RouteReason::WrongEncapsulation => {
            "see whether calico-node was restarted after the pool's mode changed (Felix restarts itself)"
        }
        RouteReason::Multipath => "see which gateways are right and which program installed the others",
        RouteReason::Linkdown => "see ip link: the device is down or has no carrier",
        RouteReason::Diverted => "see ip rule and ip route get",
        RouteReason::Foreign => "find who installed it (its protocol says) and remove it, or reserve the range",
    };
    fixed.to_owned()
}
