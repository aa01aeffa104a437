//! Single edits of the neighbours and forwarding entries, and of what the datastore says of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use calico_exporter::audit::{EntryCounts, tunnels};
use calico_exporter::model::{EntryState, FdbEntry, Mac, Neighbour, Route, TunnelKind};
use calico_exporter::state::{Event, ObjectId, Table, Unreadable};

use super::{Host, VX2_MAC, VX2_TUNNEL, beneath, clean, done, found, mac, vx1};

#[test]
fn each_entry_taken_out_is_missing() {
    let host = vx1();
    let mut tried = 0;
    for tunnel in tunnels(&host.state, &"vx1".into()) {
        for peer in tunnel.peers() {
            let gone = found(|it| done(it.event(Event::NeighbourGone(tunnel.index, peer.address))));
            assert_eq!(gone, [format!("{}/neighbour/missing {} → {}", tunnel.device, peer.address, peer.node)]);
            let gone = found(|it| done(it.event(Event::FdbGone(tunnel.index, peer.mac))));
            assert_eq!(gone, [format!("{}/fdb/missing {} → {}", tunnel.device, peer.mac, peer.node)]);
            tried += 2;
        }
    }
    assert_eq!(tried, 14);
}

#[test]
fn an_entry_that_leads_elsewhere_is_wrong() {
    assert_eq!(
        found(|it| done(it.neighbour(VX2_TUNNEL, |entry| entry.mac = Some(mac("66:34:7d:00:8c:dc"))))),
        ["vxlan.calico/neighbour/wrong 10.200.25.128 → vx2"]
    );
    assert_eq!(
        found(|it| {
            it.fdb("vxlan-v6.calico", "02:11:22:33:66:02", |entry| {
                entry.destination = Some("fd88:2::14".parse().unwrap());
            });
        }),
        ["vxlan-v6.calico/fdb/wrong 02:11:22:33:66:02 → vx2"]
    );
    // Whatever its state.
    let elsewhere = |it: &mut Neighbour| (it.mac, it.state) = (Some(mac("66:34:7d:00:8c:dc")), EntryState::REACHABLE);
    assert_eq!(
        found(|it| done(it.neighbour(VX2_TUNNEL, elsewhere))),
        ["vxlan.calico/neighbour/wrong 10.200.25.128 → vx2"]
    );
}

#[test]
fn an_entry_that_may_go_is_not_permanent_and_one_that_nobody_answered_is_missing() {
    for state in ["REACHABLE", "STALE", "DELAY", "PROBE", "NOARP"] {
        let state = EntryState::from_name(state).unwrap();
        assert_eq!(
            found(|it| done(it.neighbour(VX2_TUNNEL, |entry| entry.state = state))),
            ["vxlan.calico/neighbour/not_permanent 10.200.25.128 → vx2"]
        );
    }
    assert_eq!(
        found(|it| done(it.fdb("vxlan.calico", VX2_MAC, |entry| entry.state = EntryState::NOARP))),
        ["vxlan.calico/fdb/not_permanent 02:11:22:33:44:02 → vx2"]
    );
    for state in ["FAILED", "INCOMPLETE"] {
        let state = EntryState::from_name(state).unwrap();
        assert_eq!(
            found(|it| done(it.neighbour(VX2_TUNNEL, |entry| (entry.mac, entry.state) = (None, state)))),
            ["vxlan.calico/neighbour/missing 10.200.25.128 → vx2"]
        );
    }
}

#[test]
fn an_entry_that_no_node_asks_for_is_stale() {
    let left = |it: &mut Host| {
        let device = it.index("vxlan.calico");
        let address = "10.200.99.0".parse().unwrap();
        let mac = Some(mac("66:00:00:00:00:09"));
        it.event(Event::Neighbour(Neighbour { device, address, mac, state: EntryState::PERMANENT }));
    };
    assert_eq!(found(left), ["vxlan.calico/neighbour/stale 10.200.99.0 → vx1"]);
    let behind = |mac, state| {
        move |it: &mut Host| {
            let destination = Some("10.88.1.99".parse().unwrap());
            let device = it.index("vxlan.calico");
            it.event(Event::Fdb(FdbEntry { device, mac, destination, state }));
        }
    };
    assert_eq!(
        found(behind(mac("66:00:00:00:00:09"), EntryState::PERMANENT)),
        ["vxlan.calico/fdb/stale 66:00:00:00:00:09 → vx1"]
    );
    // flannel's, or made by hand: `bridge fdb add` adds NOARP.
    assert_eq!(found(behind(Mac::ZERO, EntryState(0xc0))), ["vxlan.calico/fdb/stale 00:00:00:00:00:00 → vx1"]);
    // Of this host's own end there is none.
    assert_eq!(
        found(behind(mac("66:fc:0d:2e:98:f8"), EntryState::PERMANENT)),
        ["vxlan.calico/fdb/stale 66:fc:0d:2e:98:f8 → vx1"]
    );
    // Somebody asks for it who cannot be read.
    let unreadable = Event::Unreadable {
        id: ObjectId::Node("vx9".into()),
        key: "/calico/resources/v3/projectcalico.org/nodes/vx9".into(),
        why: Unreadable::Undecodable("no JSON".to_owned()),
    };
    assert_eq!(
        beneath(|it| {
            left(it);
            it.event(unreadable);
        }),
        [""; 0]
    );
}

#[test]
fn what_is_there_legitimately_is_no_finding() {
    // By hand, with another bit beside.
    clean(|it| done(it.fdb("vxlan.calico", VX2_MAC, |entry| entry.state = EntryState(0xc0))));
    clean(|it| done(it.neighbour(VX2_TUNNEL, |entry| entry.state = EntryState(0xc0))));
    // Others' entries, and the kernel's own.
    for state in ["REACHABLE", "STALE", "DELAY", "PROBE", "NOARP"] {
        let state = EntryState::from_name(state).unwrap();
        clean(|it| {
            let device = it.index("vxlan.calico");
            let of = |address: &str, mac| Neighbour { device, address: address.parse().unwrap(), mac, state };
            it.event(Event::Neighbour(of("10.200.99.1", Some(mac("66:00:00:00:00:09")))));
            it.event(Event::Neighbour(of("ff02::fb", Some(mac("33:33:00:00:00:fb")))));
            it.event(Event::Neighbour(of("224.0.0.22", None)));
            let destination = Some("10.88.1.99".parse().unwrap());
            it.event(Event::Fdb(FdbEntry { device, mac: mac("66:00:00:00:00:09"), destination, state }));
        });
    }
    for state in ["FAILED", "INCOMPLETE"] {
        let state = EntryState::from_name(state).unwrap();
        clean(|it| {
            let device = it.index("vxlan-v6.calico");
            let address = "fd00:200::1".parse().unwrap();
            it.event(Event::Neighbour(Neighbour { device, address, mac: None, state }));
        });
    }
    // Permanent entries of every other device.
    clean(|it| {
        let device = it.index("eth0");
        let (address, state) = ("10.88.1.77".parse().unwrap(), EntryState::PERMANENT);
        it.event(Event::Neighbour(Neighbour { device, address, mac: Some(mac("66:00:00:00:00:09")), state }));
        it.event(Event::Fdb(FdbEntry { device, mac: mac("33:33:00:00:00:09"), destination: None, state }));
    });
    // A Node without one of the fields has no end, and a lower MTU may be meant.
    clean(|it| done(it.link("vxlan.calico", |link| link.mtu = 1300)));
    // What the kernel does not tell is not judged.
    clean(|it| done(it.link("vxlan.calico", |link| link.vxlan = None)));
    clean(|it| {
        it.link("vxlan.calico", |link| {
            let vxlan = link.vxlan.as_mut().unwrap();
            (vxlan.local, vxlan.parent) = (None, None);
        });
    });
}

#[test]
fn what_the_datastore_says_otherwise_the_kernel_has_wrong() {
    let fdb = |mac: &str, reason: &str, host: &str| format!("vxlan.calico/fdb/{reason} {mac} → {host}");
    let neighbour =
        |address: &str, reason: &str, host: &str| format!("vxlan.calico/neighbour/{reason} {address} → {host}");
    // Its address: a route to a CrossSubnet block is wrong as well.
    let moved = found(|it| {
        it.node("vx2", |node| node.bgp.as_mut().unwrap().ipv4 = Some("10.88.1.22/24".parse().unwrap()));
    });
    assert_eq!(moved[0], fdb(VX2_MAC, "wrong", "vx2"));
    assert!(moved[1..].iter().all(|it| it.starts_with("remote_block/wrong_next_hop")), "{moved:#?}");
    // Its MAC, in another form.
    assert_eq!(
        found(|it| done(it.node("vx2", |node| node.vxlan_mac_v4 = Some(mac("0211.2233.4409"))))),
        [
            fdb("02:11:22:33:44:09", "missing", "vx2"),
            fdb(VX2_MAC, "stale", "vx1"),
            neighbour(VX2_TUNNEL, "wrong", "vx2"),
        ]
    );
    // None: the derived one.
    let derived = found(|it| done(it.node("vx2", |node| node.vxlan_mac_v4 = None)));
    assert_eq!(derived[0], fdb("66:4d:1b:c6:ea:56", "missing", "vx2"));
    assert_eq!(derived.len(), 3);
    // Its tunnel address.
    let tunnel = beneath(|it| {
        it.node("vx2", |node| {
            node.tunnels.insert(TunnelKind::VxlanV4, "10.200.25.190".parse().unwrap());
        });
    });
    assert_eq!(
        tunnel,
        [
            "vxlan.calico/not_allocated 10.200.25.190 → vx2".to_owned(),
            neighbour("10.200.25.190", "missing", "vx2"),
            neighbour(VX2_TUNNEL, "stale", "vx1"),
        ]
    );
    // The whole Node.
    let gone = beneath(|it| done(it.event(Event::Delete(ObjectId::Node("vx4".into())))));
    let device = |it: &str| it.split('/').next().unwrap().to_owned();
    assert_eq!(gone.len(), 4, "{gone:#?}");
    assert!(gone.iter().all(|it| it.contains("/stale ")), "{gone:#?}");
    assert_eq!(gone.iter().filter(|it| device(it) == "vxlan.calico").count(), 2);
    // This host's own: other hosts will soon send to another MAC.
    assert_eq!(
        found(|it| done(it.node("vx1", |node| node.vxlan_mac_v6 = Some(mac("02:00:00:00:00:01"))))),
        ["vxlan-v6.calico/wrong_mac vxlan-v6.calico → vx1"]
    );
}

#[test]
fn two_nodes_with_one_mac_are_one_fault_and_either_destination_is_right() {
    for kept in ["10.88.1.12", "10.88.2.14"] {
        let both = found(|it| {
            let vx2 = mac(VX2_MAC);
            it.node("vx4", |node| node.vxlan_mac_v4 = Some(vx2));
            it.neighbour("10.200.144.0", |entry| entry.mac = Some(vx2));
            it.fdb("vxlan.calico", VX2_MAC, |entry| entry.destination = Some(kept.parse().unwrap()));
            let device = it.index("vxlan.calico");
            it.event(Event::FdbGone(device, mac("66:34:7d:00:8c:dc")));
        });
        assert_eq!(both, ["vxlan.calico/duplicate_mac 02:11:22:33:44:02 → vx2"], "{kept}");
    }
}

#[test]
fn a_family_without_tunnel_expects_nothing() {
    let off = |it: &mut Host| {
        it.felix(|felix| felix.ipv6_support = Some(false));
        let device = it.index("vxlan-v6.calico");
        it.event(Event::FdbGone(device, mac("02:11:22:33:66:02")));
    };
    assert_eq!(beneath(off), [""; 0]);
    let mut host = vx1();
    off(&mut host);
    assert!(host.counts().keys().all(|(device, _)| device == "vxlan.calico"));
}

#[test]
fn a_flow_based_device_has_neighbours_of_both_families_and_no_forwarding_entry() {
    // As Felix 3.33 makes it (not recorded): one device, which says nothing of VNI, address and parent.
    let flow_based = |it: &mut Host| {
        it.felix(|felix| felix.bpf_enabled = Some(true));
        let (v4, v6) = (it.index("vxlan.calico"), it.index("vxlan-v6.calico"));
        it.link("vxlan.calico", |link| {
            let vxlan = link.vxlan.as_mut().unwrap();
            (vxlan.flow_based, vxlan.vni, vxlan.local, vxlan.parent) = (true, Some(0), None, None);
            link.mtu = 1500;
            link.addresses.push("fd00:200:0:fb28:a543:8c55:6ca6:3840/128".parse().unwrap());
        });
        let (fdb, moved): (Vec<_>, Vec<_>) =
            (it.state.tunnels.fdb_of(v4).copied().collect(), it.state.tunnels.neighbours_of(v6).copied().collect());
        for entry in fdb {
            it.event(Event::FdbGone(v4, entry.mac));
        }
        for entry in moved {
            it.event(Event::Neighbour(Neighbour { device: v4, ..entry }));
        }
        it.event(Event::LinkGone(v6));
        let routes: Vec<Route> = it.state.kernel.routes().cloned().collect();
        for mut route in routes {
            let key = route.key();
            let mut through = false;
            for hop in Arc::make_mut(&mut route.next_hops) {
                if hop.device.as_deref() == Some("vxlan-v6.calico") {
                    hop.device = Some("vxlan.calico".into());
                    through = true;
                }
            }
            if through {
                it.event(Event::RouteGone(key)).event(Event::Route(route));
            }
        }
    };
    clean(flow_based);
    let mut host = vx1();
    flow_based(&mut host);
    let full = EntryCounts { actual: 7, expected: 7, pending: 0, faults_in_use: 0 };
    assert_eq!(host.counts(), BTreeMap::from([(("vxlan.calico".to_owned(), Table::Neighbours), full)]));
    assert_eq!(
        found(|it| {
            flow_based(it);
            let device = it.index("vxlan.calico");
            it.event(Event::NeighbourGone(device, "fd00:200:0:1992:7a81:b816:e9ad:24c0".parse().unwrap()));
        }),
        ["vxlan.calico/neighbour/missing fd00:200:0:1992:7a81:b816:e9ad:24c0 → vx2"]
    );
}

#[test]
fn an_entry_that_a_route_needs_is_counted_apart() {
    let mut host = vx1();
    host.without_neighbour(VX2_TUNNEL).without_neighbour("10.200.32.128");
    let report = host.report();
    let details: Vec<_> = report.findings.iter().map(|it| (it.subject.as_str(), it.detail.clone())).collect();
    let [(used, is_used), (idle, is_idle)] = &details[..] else { panic!("{details:#?}") };
    assert_eq!((*used, *idle), (VX2_TUNNEL, "10.200.32.128"));
    assert!(is_used.ends_with("; a route needs it now") && is_used.contains("vx2"), "{is_used}");
    let routed = host.state.kernel.is_used(&"vxlan.calico".into(), "10.200.32.128".parse().unwrap());
    assert_eq!(is_idle.ends_with("; a route needs it now"), routed, "{is_idle}");
    let counts = report.tunnels.unwrap().entries[&("vxlan.calico".into(), Table::Neighbours)];
    assert_eq!((counts.actual, counts.expected, counts.faults_in_use), (2, 4, 1 + u64::from(routed)));
}
