//! What events do to a picture, and which of them are doubted.

use super::*;
use crate::model::{Mac, Protocol, RouteType, VxlanDevice};
use crate::source::netlink::decode::Hop;

fn link(index: u32, name: &str) -> LinkMessage {
    let name = Some(name.into());
    LinkMessage {
        index,
        admin_up: true,
        no_carrier: false,
        name,
        kind: Some("veth".into()),
        mtu: Some(1500),
        mac: None,
        vxlan: None,
    }
}

fn address(index: u32, local: &str, peer: &str) -> AddressMessage {
    AddressMessage { index, local: local.parse().unwrap(), peer: peer.parse().unwrap() }
}

fn hop(gateway: &str, device: u32) -> Hop {
    let gateway = (!gateway.is_empty()).then(|| gateway.parse().unwrap());
    Hop { gateway, device: Some(device), down: false, onlink: false }
}

fn route(net: &str, hops: &[Hop]) -> RouteMessage {
    RouteMessage {
        table: 254,
        destination: net.parse().unwrap(),
        metric: 0,
        tos: 0,
        kind: RouteType::Unicast,
        protocol: Protocol::FELIX,
        link_scope: false,
        hops: hops.to_vec(),
    }
}

/// eth0 is 2, eth1 is 3.
fn mirror() -> Mirror {
    let mut mirror = Mirror::default();
    mirror.learn(Change::Link(link(2, "eth0"))).unwrap();
    mirror.learn(Change::Link(link(3, "eth1"))).unwrap();
    mirror
}

/// What an event says, and whether it is doubted.
fn apply(mirror: &mut Mirror, change: Change, replaces: bool) -> (Vec<Event>, bool) {
    let mut events = Vec::new();
    let result = mirror.apply(change, replaces, &mut events);
    (events, result.is_err())
}

fn routes(mirror: &Mirror, net: &str) -> Vec<Route> {
    let routes = mirror.routes().filter(|route| route.destination == net.parse().unwrap());
    routes.cloned().collect()
}

#[test]
fn a_route_comes_is_replaced_and_goes() {
    let mut mirror = mirror();
    let (events, doubted) = apply(&mut mirror, Change::Route(route("10.0.0.0/26", &[hop("10.1.0.1", 2)])), false);
    assert!(matches!(events.as_slice(), [Event::Route(_)]) && !doubted);
    let (events, doubted) = apply(&mut mirror, Change::Route(route("10.0.0.0/26", &[hop("10.1.0.2", 3)])), true);
    let [Event::Route(replaced)] = events.as_slice() else { panic!("{events:?}") };
    assert!(!doubted);
    assert_eq!(replaced.next_hops[0].device.as_deref(), Some("eth1"));
    let gone = Change::RouteGone(route("10.0.0.0/26", &[hop("10.1.0.2", 3)]));
    let (events, doubted) = apply(&mut mirror, gone, false);
    assert_eq!((events, doubted), (vec![Event::RouteGone(replaced.key())], false));
    assert_eq!(mirror.len(), (2, 0));
}

#[test]
fn what_is_known_already_is_not_told_again() {
    let mut mirror = mirror();
    let known = route("10.0.0.0/26", &[hop("10.1.0.1", 2)]);
    apply(&mut mirror, Change::Route(known.clone()), false);
    assert_eq!(apply(&mut mirror, Change::Route(known.clone()), false), (vec![], false));
    // Nor a link; but the kernel had a reason to tell of it, which routes may show.
    assert_eq!(apply(&mut mirror, Change::Link(link(2, "eth0")), false), (vec![], true));
    // Only the state of the link differs: the same route.
    let mut down = known;
    down.hops[0].down = true;
    let (events, doubted) = apply(&mut mirror, Change::Route(down), false);
    assert!(matches!(events.as_slice(), [Event::Route(route)] if route.next_hops[0].down) && !doubted);
}

#[test]
fn an_older_deletion_of_what_is_there_again_is_doubted_and_changes_nothing() {
    let mut mirror = mirror();
    apply(&mut mirror, Change::Route(route("10.0.0.0/26", &[hop("10.1.0.2", 2)])), false);
    let older = Change::RouteGone(route("10.0.0.0/26", &[hop("10.1.0.1", 2)]));
    assert_eq!(apply(&mut mirror, older, false), (vec![], true));
    let unknown = Change::RouteGone(route("10.9.0.0/26", &[hop("10.1.0.1", 2)]));
    assert_eq!(apply(&mut mirror, unknown, false), (vec![], true));
    assert_eq!(mirror.len().1, 1);
}

#[test]
fn a_next_hop_that_goes_from_an_ipv6_route_is_not_the_route() {
    let mut mirror = mirror();
    let both = route("fd01::/64", &[hop("fd00::5", 2), hop("fd00::6", 2)]);
    apply(&mut mirror, Change::Route(both), true);
    let one = route("fd01::/64", &[hop("fd00::5", 2)]);
    assert_eq!(apply(&mut mirror, Change::RouteGone(one.clone()), false), (vec![], true));
    assert_eq!(apply(&mut mirror, Change::Route(one), false), (vec![], true), "a further next hop");
    // The whole of it, its next hops turned round as IPv6 does.
    let both = route("fd01::/64", &[hop("fd00::6", 2), hop("fd00::5", 2)]);
    let (events, doubted) = apply(&mut mirror, Change::RouteGone(both), false);
    assert!(matches!(events.as_slice(), [Event::RouteGone(_)]) && !doubted);
}

#[test]
fn an_ipv6_destination_on_two_devices_is_two_routes() {
    let mut mirror = mirror();
    apply(&mut mirror, Change::Route(route("fe80::/64", &[hop("", 2)])), false);
    let (events, doubted) = apply(&mut mirror, Change::Route(route("fe80::/64", &[hop("", 3)])), false);
    assert!(matches!(events.as_slice(), [Event::Route(_)]) && !doubted);
    assert_eq!(routes(&mirror, "fe80::/64").len(), 2);
    let (events, _) = apply(&mut mirror, Change::RouteGone(route("fe80::/64", &[hop("", 2)])), false);
    assert!(matches!(events.as_slice(), [Event::RouteGone(key)] if key.device.as_deref() == Some("eth0")));
    // Replaced by one on another device, which has another key.
    let (events, doubted) = apply(&mut mirror, Change::Route(route("fe80::/64", &[hop("", 2)])), true);
    assert!(matches!(events.as_slice(), [Event::RouteGone(_), Event::Route(_)]) && !doubted);
    assert_eq!(routes(&mirror, "fe80::/64").len(), 1);
}

#[test]
fn of_routes_with_the_same_key_the_first_counts_and_changes_are_doubted() {
    let mut mirror = mirror();
    mirror.learn(Change::Route(route("10.0.0.0/26", &[hop("10.1.0.1", 2)]))).unwrap();
    mirror.learn(Change::Route(route("10.0.0.0/26", &[hop("10.1.0.2", 2)]))).unwrap();
    let first = routes(&mirror, "10.0.0.0/26");
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].next_hops[0].gateway, Some("10.1.0.1".parse().unwrap()));
    for change in [
        Change::RouteGone(route("10.0.0.0/26", &[hop("10.1.0.1", 2)])),
        Change::Route(route("10.0.0.0/26", &[hop("10.1.0.3", 2)])),
    ] {
        for replaces in [false, true] {
            assert_eq!(apply(&mut mirror, change.clone(), replaces), (vec![], true));
        }
    }
}

#[test]
fn a_link_is_told_when_it_changes_and_routes_are_doubted() {
    let mut mirror = mirror();
    let changed = |change: fn(&mut LinkMessage)| {
        let mut message = link(2, "eth0");
        change(&mut message);
        Change::Link(message)
    };
    for change in [
        changed(|link| link.mtu = Some(1400)),
        changed(|link| (link.mtu, link.kind) = (None, None)),
        changed(|link| link.no_carrier = true),
        changed(|link| link.admin_up = false),
        changed(|link| link.name = Some("wan".into())),
        changed(|link| link.mac = Some(Mac([2, 0, 0, 0, 0, 1]))),
        changed(|link| link.vxlan = Some(VxlanDevice { vni: Some(4096), ..VxlanDevice::default() })),
    ] {
        mirror.links.get_mut(&2).unwrap().link = Link {
            index: 2,
            name: "eth0".into(),
            kind: Some("veth".into()),
            admin_up: true,
            mtu: 1500,
            ..Link::default()
        };
        // A message without them says nothing about the MTU and the kind.
        let silent = matches!(&change, Change::Link(link) if link.mtu.is_none());
        let (events, doubted) = apply(&mut mirror, change.clone(), false);
        assert_eq!((events.len(), doubted), (usize::from(!silent), true), "{change:?}");
    }
    let (events, doubted) = apply(&mut mirror, Change::LinkGone(2), false);
    assert_eq!((events, doubted), (vec![Event::LinkGone(2)], true));
    let wireless = LinkMessage { name: None, mtu: None, kind: None, ..link(9, "wlan0") };
    assert_eq!(apply(&mut mirror, Change::Link(wireless), false), (vec![], true));
}

#[test]
fn addresses_are_kept_apart_by_peer_and_told_sorted() {
    let mut mirror = mirror();
    let mut addresses = Vec::new();
    for (local, peer) in [
        ("fd00::4/64", "fd00::4"),
        ("10.0.0.2/32", "10.0.0.9"),
        ("10.0.0.2/32", "10.0.0.8"),
        ("10.0.0.1/24", "10.0.0.1"),
    ] {
        for event in apply(&mut mirror, Change::Address(address(2, local, peer)), false).0 {
            let Event::Link(link) = event else { panic!("{event:?}") };
            addresses = link.addresses;
        }
    }
    let expected = ["10.0.0.1/24", "10.0.0.2/32", "fd00::4/64"].map(|net| net.parse().unwrap());
    assert_eq!(addresses, expected);
    let gone = Change::AddressGone(address(2, "10.0.0.2/32", "10.0.0.9"));
    assert_eq!(apply(&mut mirror, gone, false), (vec![], true), "the other peer's is left");
    assert_eq!(apply(&mut mirror, Change::Address(address(9, "10.0.0.1/24", "10.0.0.1")), false), (vec![], true));
}

#[test]
fn a_device_that_is_not_known_has_a_name_for_now() {
    let mut mirror = mirror();
    let (events, doubted) = apply(&mut mirror, Change::Route(route("10.0.0.0/26", &[hop("10.1.0.1", 7)])), false);
    assert!(matches!(events.as_slice(), [Event::Route(route)] if route.next_hops[0].device.as_deref() == Some("if7")));
    assert!(doubted && mirror.has_unknown_devices());
    let (events, doubted) = apply(&mut mirror, Change::Link(link(7, "eth7")), false);
    assert!(matches!(events.as_slice(), [Event::Link(_)]) && doubted && !mirror.has_unknown_devices());
}

#[test]
fn a_difference_turns_one_picture_into_the_other() {
    let mut old = mirror();
    old.learn(Change::Route(route("10.0.0.0/26", &[hop("10.1.0.1", 2)]))).unwrap();
    old.learn(Change::Route(route("10.0.1.0/26", &[hop("10.1.0.1", 2)]))).unwrap();
    old.learn(Change::Route(route("10.0.2.0/26", &[hop("10.1.0.1", 2)]))).unwrap();
    let mut fresh = Mirror::default();
    fresh.learn(Change::Link(link(2, "eth0"))).unwrap();
    fresh.learn(Change::Link(link(4, "eth4"))).unwrap();
    fresh.learn(Change::Route(route("10.0.0.0/26", &[hop("10.1.0.1", 2)]))).unwrap();
    fresh.learn(Change::Route(route("10.0.1.0/26", &[hop("10.1.0.2", 4)]))).unwrap();
    let events = old.difference(&fresh);
    assert!(
        matches!(
            events.as_slice(),
            [Event::LinkGone(3), Event::Link(link), Event::RouteGone(gone), Event::Route(changed)]
                if link.index == 4
                    && gone.destination == "10.0.2.0/26".parse().unwrap()
                    && changed.next_hops[0].device.as_deref() == Some("eth4")
        ),
        "{events:?}"
    );
    assert!(fresh.difference(&fresh.clone()).is_empty());
}
