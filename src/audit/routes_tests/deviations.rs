//! Deviations that are no faults, or another fault than they seem: one test a kind.

use std::collections::BTreeMap;

use super::*;
use crate::model::{AttributeKind, BgpPeer, NodeBgp};

const BIRDS: [&str; 3] = ["10.4.0.64/26", "10.4.0.70", "10.4.0.128/26"];

fn without_birds(it: &mut Host) -> &mut Host {
    BIRDS.into_iter().for_each(|route| done(it.without(route)));
    it
}

#[test]
fn remote_block_route_missing_bird_owned() {
    let missing = [
        "borrowed/missing 10.4.0.70 h3",
        "remote_block/missing 10.4.0.128/26 h3",
        "remote_block/missing 10.4.0.64/26 h2",
    ];
    assert_eq!(found(|it| done(without_birds(it))), missing);
    // Pool `disableBGPExport`.
    clean(|it| done(without_birds(it).pool("plain", |pool| pool.disable_bgp_export = true)));
    // Mesh off and no BGPPeer: nobody carries them, which is one fault (J37).
    let nobody = found(|it| done(without_birds(it).bgp(|bgp| bgp.mesh = Some(false))));
    assert_eq!(nobody, ["none/no_session none -"]);
    // Mesh off, a BGPPeer with filters.
    clean(|it| {
        without_birds(it).bgp(|bgp| bgp.mesh = Some(false));
        let (node, peer) = (Some("all()".to_owned()), Some("all()".to_owned()));
        let peer = BgpPeer {
            node_selector: node,
            peer_selector: peer,
            filters: vec!["none".to_owned()],
            ..BgpPeer::default()
        };
        it.cluster.put(Object::BgpPeer("all".into(), peer));
    });
    // A covering aggregate or default carries the blocks; the borrowed address would go to the lender (J16).
    for carrier in ["10.4.0.0/16 via 172.18.0.254 dev eth0 proto bird", "default via 172.18.0.254 dev eth0 proto bird"]
    {
        assert_eq!(found(|it| done(without_birds(it).with(carrier))), ["borrowed/missing 10.4.0.70 h3"], "{carrier}");
    }
    // No BIRD here, routes by cloud or fabric.
    for backend in [Backend::Vxlan, Backend::None] {
        clean(|it| without_birds(it).backend = backend);
    }
    // The peer is WireGuard's.
    clean(|it| {
        without_birds(it).felix(|felix| felix.wireguard_enabled = Some(true));
        for host in ["h2", "h3"] {
            it.node(host, |node| node.wireguard_key_v4 = Some("key".to_owned()));
        }
    });
    // Affinity pending.
    clean(|it| done(it.without("10.4.0.64/26").key("h2", "10.4.0.64/26", Some(AffinityState::Pending))));
    // Neither side claims the class.
    assert_eq!(
        found(|it| {
            without_birds(it).without("10.4.0.0/26");
            it.felix(|felix| felix.program_cluster_routes = Some(ProgramClusterRoutes::EnabledIpipOnly));
            it.bgp(|bgp| bgp.program_cluster_routes = Some(ProgramClusterRoutes::Disabled));
        }),
        ["none/neither none -"]
    );
}

#[test]
fn remote_route_missing_felix_owned() {
    let gone = |it: &mut Host| done(it.without("10.1.0.128/26").without("10.2.0.128/26").without("10.3.0.128/26"));
    let missing = ["10.1.0.128/26", "10.2.0.128/26", "10.3.0.128/26"].map(|it| format!("remote_block/missing {it} h3"));
    assert_eq!(found(gone), missing);
    // Node object gone; BIRD's routes to it are stale then.
    assert_eq!(
        found(|it| {
            gone(it);
            it.delete(ObjectId::Node("h3".into()));
        }),
        ["remote_block/stale 10.4.0.128/26 h1"]
    );
    // Without VTEP: only what goes through the tunnel.
    assert_eq!(
        found(|it| {
            gone(it);
            it.node("h3", |node| done(node.tunnels.remove(&TunnelKind::VxlanV4)));
        }),
        ["remote_block/missing 10.3.0.128/26 h3"]
    );
    // The tunnel's device is down: one fault stands for all its routes.
    assert_eq!(
        found(|it| {
            it.without("10.1.0.64/26").without("10.1.0.128/26").link("vxlan.calico").admin_up = false;
        }),
        ["vxlan.calico/down vxlan.calico h1"]
    );
}

#[test]
fn via_is_not_the_nodes_address() {
    // Recursive next hop through a router, two of them, or the one of another interface.
    for way in [
        "via 172.18.0.254 dev eth0",
        "nexthop via 172.18.0.254 dev eth0 nexthop via 172.18.0.253 dev eth0",
        "via 192.168.9.7 dev eth1",
    ] {
        clean(|it| done(it.with(&format!("10.4.0.64/26 {way} proto bird"))));
    }
    // Another Node's address is wrong while the mesh is all there is, and only then.
    let astray = |it: &mut Host| done(it.with("10.4.0.128/26 via 172.18.0.2 dev eth0 proto bird"));
    assert_eq!(found(astray), ["remote_block/wrong_next_hop 10.4.0.128/26 h3"]);
    clean(|it| {
        astray(it);
        it.node("h2", |node| node.bgp.as_mut().unwrap().route_reflector_cluster_id = Some("1.1.1.1".to_owned()));
        it.without("10.4.0.64/26").without("10.4.0.70");
        it.with("10.4.0.70 via 172.18.0.2 dev eth0 proto bird");
    });
    clean(|it| {
        astray(it);
        it.node("h3", |node| node.bgp.as_mut().unwrap().as_number = Some(65_001));
    });
    // A router in between may have a Node of its own: BIRD resolves its next hop by the kernel's own way there.
    let router = |it: &mut Host| {
        let mut node = (*it.cluster.datastore().nodes()["h2"]).clone();
        node.bgp = Some(NodeBgp { ipv4: Some("172.18.0.254/24".parse().unwrap()), ..NodeBgp::default() });
        (node.addresses, node.tunnels) = (Box::default(), BTreeMap::new());
        it.cluster.put(Object::Node("router".into(), node));
    };
    clean(|it| {
        router(it);
        done(it.with("172.18.1.0/24 via 172.18.0.254 dev eth0 proto static"))
    });
    assert_eq!(
        found(|it| {
            router(it);
            done(it.with("172.18.1.0/24 via 172.18.0.253 dev eth0 proto static"))
        }),
        ["borrowed/wrong_next_hop 10.4.0.70 h3", "remote_block/wrong_next_hop 10.4.0.128/26 h3"]
    );
    // Felix's form has the peer's address and nothing else (J21).
    let felix = |it: &mut Host| done(it.with("10.2.0.64/26 via 172.18.0.254 dev eth0 proto 80"));
    assert_eq!(found(felix), ["remote_block/wrong_next_hop 10.2.0.64/26 h2"]);
}

#[test]
fn proto_differs_from_the_configured_owner() {
    clean(|it| {
        it.with("10.3.0.64/26 via 172.18.0.2 dev tunl0 proto bird").with("blackhole 10.3.0.0/26 proto bird");
        it.with("10.4.0.64/26 via 172.18.0.2 dev eth0 proto 80")
            .with("10.1.0.64/26 via 10.1.0.64 dev vxlan.calico proto static");
        it.with("10.1.0.5 dev cali-a proto 99");
    });
}

#[test]
fn metric_differs() {
    clean(|it| {
        it.with("10.4.0.64/26 via 172.18.0.2 dev eth0 proto bird metric 2147483547");
        it.with("10.1.0.5 dev cali-a metric 512").with("blackhole 10.1.0.0/26 proto 80 metric 7");
    });
}

#[test]
fn two_routes_to_one_destination() {
    clean(|it| {
        done(
            it.beside("10.1.0.5 dev cali-a")
                .beside("10.4.0.64/26 via 172.18.0.254 dev eth0 proto bird metric 2147483547"),
        )
    });
    // The lower metric is the one that is judged (J14).
    assert_eq!(found(|it| done(it.beside("10.1.0.5 dev cali-z"))), ["local_workload/wrong_next_hop 10.1.0.5 h1"]);
    clean(|it| done(it.beside("10.1.0.5 dev cali-z metric 4096")));
}

#[test]
fn local_endpoint_without_route() {
    let gone = |it: &mut Host| done(it.without("10.1.0.5"));
    assert_eq!(found(gone), ["local_workload/missing 10.1.0.5 h1"]);
    clean(|it| {
        gone(it);
        it.felix(|felix| felix.route_sync_disabled = Some(true));
    });
    // Its veth is gone, or has no carrier.
    clean(|it| done(it.without("10.1.0.5").unlink("cali-a")));
    clean(|it| it.without("10.1.0.5").link("cali-a").no_carrier = true);
    clean(|it| {
        it.with("10.1.0.5 dev cali-a linkdown").link("cali-a").no_carrier = true;
    });
    // The target of a live migration.
    let machine = |active: &str, peer: &str| {
        let machine =
            super::super::testing::attribute(AttributeKind::VirtualMachine, Some("k8s-pod-network.vmi.vms.db"));
        let (active, peer) = (Some(active.into()), Some(peer.into()));
        Block::of("host:h1", "10.1.0.0/26")
            .tunnel(0, "h1", TunnelKind::VxlanV4)
            .attribute(5, Attribute { node: active, peer_node: peer, ..machine })
    };
    let moving = |active: &'static str, peer: &'static str| {
        found(move |it| {
            it.cluster.block(machine(active, peer));
            // While h2 has it, its /32 leads there.
            it.with("10.1.0.5 via 10.1.0.64 dev vxlan.calico proto bird");
            if active == "h1" {
                it.without("10.1.0.5");
            }
        })
    };
    assert_eq!(moving("h2", "h1"), [""; 0]);
    assert_eq!(moving("h1", "h2"), ["local_workload/missing 10.1.0.5 h1"]);
    // Two endpoints have the address: either device is right.
    for device in ["cali-a", "cali-z"] {
        clean(|it| {
            it.cluster.put(endpoint("h1", "z", "10.1.0.5"));
            it.with(&format!("10.1.0.5 dev {device}"));
        });
    }
}

#[test]
fn workload_route_without_endpoint() {
    let stray = |it: &mut Host| done(it.with("10.1.0.9 dev cali-z"));
    assert_eq!(found(stray), ["local_workload/stale 10.1.0.9 h1"]);
    let block = || Block::of("host:h1", "10.1.0.0/26").tunnel(0, "h1", TunnelKind::VxlanV4).pod(5, "h1", "a");
    // CNI adds the route before it writes the endpoint: IPAM gave it to this host.
    clean(|it| {
        stray(it);
        it.cluster.block(block().pod(9, "h1", "new"));
    });
    assert_eq!(
        found(|it| {
            stray(it);
            it.cluster.block(block().cooldown(9, 1_800_000_000));
        }),
        ["local_workload/stale 10.1.0.9 h1"]
    );
    // A floating address.
    clean(|it| {
        it.with("192.0.2.9 dev cali-a");
        let Object::Endpoint(mut floats) = endpoint("h1", "a", "10.1.0.5") else { panic!() };
        floats.floating.push(address("192.0.2.9"));
        it.cluster.put(Object::Endpoint(floats));
    });
    // A local BGP peer's routes.
    let learnt = |it: &mut Host| done(it.with("10.1.0.48/30 dev cali-a proto bird"));
    assert_eq!(found(learnt), ["local_workload/stale 10.1.0.48/30 h1"]);
    let selected_by = |selector: &'static str| {
        found(move |it| {
            it.with("10.1.0.48/30 dev cali-a proto bird");
            let Object::Endpoint(mut router) = endpoint("h1", "a", "10.1.0.5") else { panic!() };
            router.labels = [("app", "router")].into_iter().collect();
            it.cluster.put(Object::Endpoint(router));
            let peer = BgpPeer { local_workload_selector: Some(selector.to_owned()), ..BgpPeer::default() };
            it.cluster.put(Object::BgpPeer("workloads".into(), peer));
        })
    };
    for selector in ["all()", "app == 'router'", "!has(zone)"] {
        assert_eq!(selected_by(selector), [""; 0], "{selector}");
    }
    for selector in ["app == 'web'", "has(zone)", "app == 'router' && zone == 'a'"] {
        assert_eq!(selected_by(selector), ["local_workload/stale 10.1.0.48/30 h1"], "{selector}");
    }
    // What it inherits is not known, nor what cannot be read.
    for selector in ["pcns.tier == 'edge'", "projectcalico.org/serviceaccount == 'router'", "has("] {
        assert_eq!(selected_by(selector), [""; 0], "{selector}");
    }
}

#[test]
fn blackhole_missing() {
    assert_eq!(found(|it| done(it.without("10.2.0.0/26"))), ["local_block/missing 10.2.0.0/26 h1"]);
    assert_eq!(found(|it| done(it.without("10.4.0.0/26"))), ["local_block/missing 10.4.0.0/26 h1"]);
    // A block of one address has none.
    for pool in ["10.1.9.9/32", "10.4.9.9/32"] {
        clean(|it| done(it.cluster.owned(Block::of("host:h1", pool))));
    }
    // Affinity pending: BIRD has none, Felix has.
    let pending =
        |cidr: &'static str| found(move |it| done(it.without(cidr).key("h1", cidr, Some(AffinityState::Pending))));
    assert_eq!(pending("10.4.0.0/26"), [""; 0]);
    assert_eq!(pending("10.2.0.0/26"), ["local_block/missing 10.2.0.0/26 h1"]);
}

#[test]
fn extra_link_route_to_a_vtep() {
    clean(|it| done(it.with("10.1.0.64 dev vxlan.calico").with("10.1.0.128 dev vxlan.calico")));
    // To no Node's VTEP, or on another device it is stale.
    for line in ["10.1.0.66 dev vxlan.calico", "10.1.0.64 dev tunl0"] {
        let stale = format!("borrowed/stale {} h1", line.split(' ').next().unwrap());
        assert_eq!(found(|it| done(it.with(line))), [stale], "{line}");
    }
}

#[test]
fn routes_inside_a_pool_that_are_not_calicos() {
    for protocol in ["static", "kernel", "boot", "188"] {
        clean(|it| done(it.with(&format!("10.1.7.0/26 via 172.18.0.9 dev eth0 proto {protocol}"))));
        let taken = found(|it| done(it.with(&format!("10.1.0.130 via 172.18.0.9 dev eth0 proto {protocol}"))));
        assert_eq!(taken, ["borrowed/foreign 10.1.0.130 h1"], "{protocol}");
    }
}

#[test]
fn next_hops_that_are_down() {
    let linkdown = |line: &str| found(|it| done(it.with(line)));
    assert_eq!(
        linkdown("10.4.0.64/26 via 172.18.0.2 dev eth0 linkdown proto bird"),
        ["remote_block/linkdown 10.4.0.64/26 h2"]
    );
    assert_eq!(
        linkdown("10.2.0.64/26 via 172.18.0.2 dev eth0 linkdown proto 80"),
        ["remote_block/linkdown 10.2.0.64/26 h2"]
    );
}

/// `nexthop_compat_mode=0`: the kernel names the object alone, and its ways are not known.
#[test]
fn a_route_by_a_nexthop_object_whose_ways_are_not_known_is_not_right() {
    for (line, class, host) in [
        ("10.1.0.64/26", "remote_block", "h2"),
        ("10.4.0.64/26 proto bird metric 1024", "remote_block", "h2"),
        ("10.1.0.5 metric 1024", "local_workload", "h1"),
    ] {
        let subject = line.split(' ').next().unwrap();
        assert_eq!(found(|it| done(it.with(line))), [format!("{class}/wrong_next_hop {subject} {host}")], "{line}");
    }
}
