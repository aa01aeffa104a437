//! Time and events: what is young is pending, an event costs the one entry that it touches, and whatever comes in
//! whatever order, looking at what changed finds what looking at everything finds.

use std::net::IpAddr;

use proptest::prelude::*;

use super::super::testing::{Cluster, address, at, node, pool};
use super::super::{AuditOptions, Auditor, Backend, Report, RouteOptions, TunnelOptions};
use super::*;
use crate::audit::fault::Metric;
use crate::model::{
    EntryState, FdbEntry, Link, Mac, Neighbour, NextHop, Protocol, Route, RouteType, TABLE_MAIN, TunnelKind,
};
use crate::state::{Event, Object, ObjectId, Side};

const DEVICE: u32 = 5;
const PEERS: u8 = 3;

fn name(peer: u8) -> Name {
    format!("h{peer}").into()
}

fn tunnel_address(peer: u8) -> IpAddr {
    IpAddr::from([10, 1, peer, 0])
}

fn own_address(peer: u8) -> IpAddr {
    IpAddr::from([172, 18, 0, peer])
}

fn neighbour(peer: u8) -> Neighbour {
    let mac = Some(Mac::derived(&name(peer), Family::V4));
    Neighbour { device: DEVICE, address: tunnel_address(peer), mac, state: EntryState::PERMANENT }
}

fn entry(peer: u8) -> FdbEntry {
    let mac = Mac::derived(&name(peer), Family::V4);
    FdbEntry { device: DEVICE, mac, destination: Some(own_address(peer)), state: EntryState::PERMANENT }
}

fn put_node(peer: u8) -> Event {
    let mut it = node(&name(peer), &[&format!("172.18.0.{peer}/24")]);
    it.tunnels.insert(TunnelKind::VxlanV4, tunnel_address(peer));
    Event::Put(Box::new(Object::Node(name(peer), it)))
}

fn device(up: bool) -> Event {
    Event::Link(Link {
        index: DEVICE,
        name: "vxlan.calico".into(),
        admin_up: up,
        mtu: 1450,
        mac: Some(Mac::derived("h0", Family::V4)),
        addresses: vec!["10.1.0.0/32".parse().unwrap()],
        ..Link::default()
    })
}

/// h0, its tunnel, and the other ends.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.put(Object::Pool(pool("vxlan", "10.1.0.0/16", 26)));
    for peer in 0..=PEERS {
        cluster.event(put_node(peer));
    }
    cluster.synced();
    let addresses = vec!["172.18.0.0/24".parse().unwrap()];
    let eth0 = Link { index: 2, name: "eth0".into(), admin_up: true, mtu: 1500, addresses, ..Link::default() };
    cluster.event(Event::Link(eth0)).event(device(true));
    let hop = NextHop { gateway: None, device: Some("eth0".into()), down: false, onlink: false };
    let on_link = Route {
        table: TABLE_MAIN,
        destination: "172.18.0.0/24".parse().unwrap(),
        metric: 0,
        tos: 0,
        kind: RouteType::Unicast,
        protocol: Protocol::KERNEL,
        link_scope: true,
        next_hops: [hop].into(),
    };
    cluster.event(Event::Route(on_link)).event(Event::Synced(Side::Kernel));
    for peer in 1..=PEERS {
        cluster.event(Event::Neighbour(neighbour(peer))).event(Event::Fdb(entry(peer)));
    }
    for table in Table::ALL {
        cluster.event(Event::Listed(table));
    }
    cluster.event(Event::Synced(Side::Tunnels));
    cluster
}

fn auditor(grace: Option<u64>) -> Auditor {
    Auditor::new(AuditOptions {
        ipam: None,
        routes: Some(RouteOptions {
            node: "h0".into(),
            backend: Backend::Vxlan,
            grace: grace.map(Duration::from_secs),
            tunnels: TunnelOptions { entries: true, ..TunnelOptions::default() },
        }),
        leaks: false,
        leak_grace: Duration::ZERO,
    })
}

fn look(auditor: &mut Auditor, cluster: &mut Cluster) -> Report {
    let now = cluster.now();
    auditor.look(&mut cluster.state, now);
    auditor.report(&cluster.state, now)
}

fn counts(report: &Report, table: Table) -> EntryCounts {
    report.tunnels.as_ref().unwrap().entries[&("vxlan.calico".into(), table)]
}

fn entry_faults(report: &Report) -> Vec<String> {
    let of = report.findings.iter().filter(|it| it.metric() == Metric::TunnelEntryFaults);
    of.map(|it| format!("{} {}", it.fault.reason().unwrap_or_default(), it.subject)).collect()
}

#[test]
fn a_difference_is_pending_until_its_grace_is_over_and_its_end_is_observed() {
    let (mut cluster, mut auditor) = (cluster(), auditor(Some(120)));
    let full = EntryCounts { actual: 3, expected: 3, ..EntryCounts::default() };
    assert_eq!(counts(&look(&mut auditor, &mut cluster), Table::Fdb), full);
    cluster.seconds = 10;
    cluster.event(Event::FdbGone(DEVICE, entry(2).mac));
    let report = look(&mut auditor, &mut cluster);
    assert_eq!(counts(&report, Table::Fdb), EntryCounts { actual: 2, pending: 1, ..full });
    assert_eq!(auditor.judged().tunnels, 1);
    assert_eq!(entry_faults(&report), [""; 0]);
    assert_eq!(auditor.next_due(cluster.now()), Some(Duration::from_secs(130)));
    // Nothing happens, but time.
    cluster.seconds = 130;
    let report = look(&mut auditor, &mut cluster);
    assert_eq!(auditor.judged().tunnels, 0);
    assert_eq!(counts(&report, Table::Fdb), EntryCounts { actual: 2, pending: 0, ..full });
    let finding = report.findings.iter().find(|it| it.metric() == Metric::TunnelEntryFaults).unwrap();
    assert_eq!((&*finding.subject, finding.since), (&*entry(2).mac.to_string(), Some(at(10).wall)));
    cluster.seconds = 140;
    cluster.event(Event::Fdb(entry(2)));
    let report = look(&mut auditor, &mut cluster);
    assert_eq!((counts(&report, Table::Fdb), entry_faults(&report)), (full, vec![]));
    let convergence = &report.tunnels.unwrap().convergence;
    assert_eq!((convergence[&Table::Fdb].count(), convergence[&Table::Fdb].sum), (1, 130.0));
    assert_eq!(convergence[&Table::Neighbours].count(), 0);
}

#[test]
fn a_device_that_is_made_anew_under_another_index_keeps_the_time() {
    let (mut cluster, mut auditor) = (cluster(), auditor(Some(120)));
    cluster.event(Event::NeighbourGone(DEVICE, tunnel_address(1)));
    look(&mut auditor, &mut cluster);
    cluster.seconds = 100;
    let Event::Link(link) = device(true) else { return };
    cluster.event(Event::LinkGone(DEVICE)).event(Event::Link(Link { index: 9, ..link }));
    for peer in 2..=PEERS {
        cluster.event(Event::Neighbour(Neighbour { device: 9, ..neighbour(peer) }));
        cluster.event(Event::Fdb(FdbEntry { device: 9, ..entry(peer) }));
    }
    let report = look(&mut auditor, &mut cluster);
    assert_eq!((counts(&report, Table::Neighbours).pending, counts(&report, Table::Fdb).pending), (1, 1));
    cluster.seconds = 120;
    let report = look(&mut auditor, &mut cluster);
    assert_eq!(entry_faults(&report), [format!("missing {}", tunnel_address(1))]);
}

#[test]
fn while_the_picture_is_lost_the_last_report_stands_and_the_routes_go_on() {
    let (mut cluster, mut auditor) = (cluster(), auditor(None));
    cluster.event(Event::NeighbourGone(DEVICE, tunnel_address(1)));
    let before = look(&mut auditor, &mut cluster);
    assert_eq!(entry_faults(&before).len(), 1);
    cluster.event(Event::Lost(Side::Tunnels, "no socket".to_owned()));
    cluster.event(Event::Neighbour(neighbour(1)));
    let report = look(&mut auditor, &mut cluster);
    assert_eq!(
        (entry_faults(&report), counts(&report, Table::Neighbours)),
        (entry_faults(&before), counts(&before, Table::Neighbours))
    );
    cluster.event(device(false));
    assert!(look(&mut auditor, &mut cluster).findings.iter().any(|it| it.fault.reason() == Some("down")));
    cluster.event(device(true)).event(Event::Synced(Side::Tunnels));
    assert_eq!(look(&mut auditor, &mut cluster).findings, []);
}

#[test]
fn an_entry_is_used_by_the_routes_by_its_address_or_to_it() {
    let mut cluster = cluster();
    let kernel = |cluster: &Cluster, peer| cluster.state.kernel.is_used(&"vxlan.calico".into(), tunnel_address(peer));
    let route = |destination: &str, gateway: Option<IpAddr>| crate::model::Route {
        table: crate::model::TABLE_MAIN,
        destination: destination.parse().unwrap(),
        metric: 0,
        tos: 0,
        kind: crate::model::RouteType::Unicast,
        protocol: crate::model::Protocol::FELIX,
        link_scope: gateway.is_none(),
        next_hops: [crate::model::NextHop {
            gateway,
            device: Some("vxlan.calico".into()),
            down: false,
            onlink: gateway.is_some(),
        }]
        .into(),
    };
    assert!(!kernel(&cluster, 1));
    let by = route("10.1.1.64/26", Some(tunnel_address(1)));
    cluster.event(Event::Route(by.clone())).event(Event::Route(route("10.1.2.0/32", None)));
    assert!(kernel(&cluster, 1) && kernel(&cluster, 2) && !kernel(&cluster, 3));
    // Through another device it needs no entry of this one.
    assert!(!cluster.state.kernel.is_used(&"eth0".into(), tunnel_address(1)));
    // Replaced by one that leads elsewhere, of another table, gone.
    cluster.event(Event::Route(route("10.1.1.64/26", Some(tunnel_address(3)))));
    assert!(!kernel(&cluster, 1) && kernel(&cluster, 3));
    cluster.event(Event::Route(crate::model::Route { table: 1, ..by }));
    assert!(!kernel(&cluster, 1));
    cluster.event(Event::RouteGone(route("10.1.1.64/26", None).key()));
    assert!(!kernel(&cluster, 3));
    assert_eq!(address("10.1.2.0"), tunnel_address(2));
}

/// Anything that can happen to entries, Nodes and the device.
fn any_event() -> impl Strategy<Value = Event> {
    let peer = 1..=PEERS + 2;
    let state = prop_oneof![Just(0x80u16), Just(0xc0), Just(0x04), Just(0x40), Just(0x20)].prop_map(EntryState);
    prop_oneof![
        (peer.clone(), peer.clone(), any::<bool>(), state.clone()).prop_map(|(peer, other, known, state)| {
            let mac = known.then(|| Mac::derived(&name(other), Family::V4));
            Event::Neighbour(Neighbour { mac, state, ..neighbour(peer) })
        }),
        (peer.clone(), peer.clone(), state).prop_map(|(peer, other, state)| {
            Event::Fdb(FdbEntry { destination: Some(own_address(other)), state, ..entry(peer) })
        }),
        peer.clone().prop_map(|peer| Event::NeighbourGone(DEVICE, tunnel_address(peer))),
        peer.clone().prop_map(|peer| Event::FdbGone(DEVICE, entry(peer).mac)),
        peer.clone().prop_map(put_node),
        peer.prop_map(|peer| Event::Delete(ObjectId::Node(name(peer)))),
        any::<bool>().prop_map(device),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn looking_at_what_changed_finds_what_looking_at_everything_finds(
        events in proptest::collection::vec((any_event(), any::<bool>()), 0..40)
    ) {
        let (mut cluster, mut incremental) = (cluster(), auditor(None));
        look(&mut incremental, &mut cluster);
        for (event, looks) in events {
            cluster.event(event);
            if looks {
                look(&mut incremental, &mut cluster);
            }
        }
        let told = look(&mut incremental, &mut cluster);
        let mut fresh = cluster.clone();
        let whole = look(&mut auditor(None), &mut fresh);
        prop_assert_eq!(&told.findings, &whole.findings);
        let (told, whole) = (told.tunnels.unwrap(), whole.tunnels.unwrap());
        prop_assert_eq!(&told.entries, &whole.entries);
        // A partition: what is expected and right is there, what is there and right is expected.
        for ((_, table), counts) in &told.entries {
            prop_assert!(counts.actual <= 5 && counts.expected <= 5, "{:?} {:?}", table, counts);
        }
    }
}
