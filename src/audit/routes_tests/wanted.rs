//! What ought to be there: J21–J25.

use super::*;
use crate::model::{BgpPeer, NodeAddress, NodeAddressType, NodeBgp};

#[test]
fn j21_felix_routes_follow_blocks() {
    let missing = |change: fn(&mut Host)| {
        found(move |it| {
            it.without("10.2.0.64/26");
            change(it);
        })
    };
    let told = ["remote_block/missing 10.2.0.64/26 h2"];
    // Whatever the key says.
    assert_eq!(missing(|_| {}), told);
    assert_eq!(missing(|it| done(it.key("h2", "10.2.0.64/26", Some(AffinityState::Pending)))), told);
    assert_eq!(missing(|it| done(it.key("h2", "10.2.0.64/26", None))), told);
    // Not where the block is nobody's, virtual, gone, or its host has no address.
    assert_eq!(missing(|it| done(it.cluster.block(Block::new("10.2.0.64/26")))), [""; 0]);
    assert_eq!(missing(|it| done(it.cluster.block(Block::of("virtual:load-balancer", "10.2.0.64/26")))), [""; 0]);
    assert_eq!(missing(|it| done(it.delete(ObjectId::Block(net("10.2.0.64/26"))))), [""; 0]);
    assert_eq!(found(|it| done(it.cluster.block(Block::new("10.2.0.64/26")))), ["remote_block/stale 10.2.0.64/26 h1"]);
}

#[test]
fn j21_the_tunnels_form_needs_a_vtep_the_direct_one_an_address() {
    // Without VTEP the tunnel's route is stale, the direct one required.
    let bare = |it: &mut Host| done(it.node("h2", |node| node.tunnels.clear()));
    assert_eq!(found(bare), ["remote_block/stale 10.1.0.64/26 h1"]);
    assert_eq!(
        found(|it| {
            bare(it);
            it.without("10.1.0.64/26").without("10.2.0.64/26");
        }),
        ["remote_block/missing 10.2.0.64/26 h2"]
    );
    // `spec.addresses` counts only where `spec.bgp` has no address of either family; a VTEP needs `spec.bgp`'s.
    let internal = |it: &mut Host, bgp: Option<NodeBgp>| {
        it.node("h2", |node| {
            node.bgp = bgp;
            let address = net("172.18.0.2/32");
            node.addresses = [NodeAddress { kind: NodeAddressType::Internal, address }].into();
        });
        it.without("10.1.0.64/26").without("10.4.0.64/26");
    };
    clean(|it| internal(it, None));
    clean(|it| internal(it, Some(NodeBgp::default())));
    assert_eq!(
        found(|it| internal(it, Some(NodeBgp { ipv6: Some(net("fd00::2/64")), ..NodeBgp::default() }))),
        ["remote_block/stale 10.2.0.64/26 h1", "remote_block/stale 10.3.0.64/26 h1"]
    );
}

#[test]
fn j21_a_tunnel_address_is_routed_without_gateway() {
    // In a block of one address, and told by the Node whether it is allocated or not.
    for block in
        [Block::of("host:h2", "10.1.9.9/32").tunnel(0, "h2", TunnelKind::VxlanV4), Block::of("host:h2", "10.1.9.9/32")]
    {
        let moved = |line: &'static str| {
            let block = block.clone();
            found(move |it| {
                it.node("h2", |node| done(node.tunnels.insert(TunnelKind::VxlanV4, address("10.1.9.9"))));
                it.with("10.1.0.64/26 via 10.1.9.9 dev vxlan.calico");
                it.cluster.owned(block);
                if !line.is_empty() {
                    it.with(line);
                }
            })
        };
        assert_eq!(moved("10.1.9.9 dev vxlan.calico"), [""; 0]);
        assert_eq!(moved("10.1.9.9 via 10.1.9.9 dev vxlan.calico"), ["tunnel_address/wrong_next_hop 10.1.9.9 h2"]);
        assert_eq!(moved(""), ["tunnel_address/missing 10.1.9.9 h2"]);
    }
    // Borrowed it is borrowed (J13); any other address of one block has its gateway.
    let borrowed = |line: &'static str| {
        found(move |it| {
            it.cluster.block(
                Block::of("host:h1", "10.1.0.0/26").tunnel(0, "h1", TunnelKind::VxlanV4).pod(5, "h1", "a").tunnel(
                    9,
                    "h2",
                    TunnelKind::VxlanV4,
                ),
            );
            it.node("h2", |node| done(node.tunnels.insert(TunnelKind::VxlanV4, address("10.1.0.9"))));
            it.with("10.1.0.64/26 via 10.1.0.9 dev vxlan.calico").with("10.1.0.9 dev vxlan.calico");
            if line.is_empty() {
                it.without("10.1.0.9");
            } else {
                it.with(line);
            }
        })
    };
    assert_eq!(borrowed("10.1.0.9 dev vxlan.calico"), [""; 0]);
    assert_eq!(borrowed(""), ["tunnel_address/missing 10.1.0.9 h2"]);
    assert_eq!(borrowed("10.1.0.9 via 10.1.0.9 dev vxlan.calico"), ["tunnel_address/wrong_next_hop 10.1.0.9 h2"]);
}

#[test]
fn j22_bird_routes_follow_keys() {
    let (cidr, line) = ("10.4.0.64/26", "remote_block/missing 10.4.0.64/26 h2");
    let missing = |change: fn(&mut Host)| {
        found(move |it| {
            it.without("10.4.0.64/26");
            change(it);
        })
    };
    assert_eq!(missing(|it| done(it.key("h2", "10.4.0.64/26", Some(AffinityState::PendingDeletion)))), [line]);
    assert_eq!(missing(|it| done(it.key("h2", "10.4.0.64/26", Some(AffinityState::Pending)))), [""; 0]);
    assert_eq!(missing(|it| done(it.key("h2", "10.4.0.64/26", None))), [""; 0]);
    assert_eq!(missing(|it| done(it.delete(ObjectId::Block(net("10.4.0.64/26"))).without("10.4.0.70"))), [""; 0]);
    assert_eq!(missing(|it| done(it.delete(ObjectId::Pool("plain".into())).without("10.4.0.128/26"))), [""; 0]);
    // The block's owner plays no part, and a second key makes it chance.
    assert_eq!(
        missing(|it| done(it.cluster.block(Block::of("host:h3", "10.4.0.64/26").pod(6, "h1", "b")))),
        ["borrowed/stale 10.4.0.70 h1", line][1..]
    );
    assert_eq!(
        missing(|it| done(it.key("h3", "10.4.0.64/26", Some(AffinityState::Confirmed)).without("10.4.0.70"))),
        [""; 0]
    );
    // What is there: permitted with a key, stale without, and stale to a host that announces nothing.
    clean(|it| done(it.delete(ObjectId::Block(net(cidr))).without("10.4.0.70")));
    clean(|it| done(it.key("h2", cidr, Some(AffinityState::Pending))));
    assert_eq!(found(|it| done(it.key("h2", cidr, None))), ["remote_block/stale 10.4.0.64/26 h1"]);
    assert_eq!(
        found(|it| done(
            it.node("h2", |node| node.bgp.as_mut().unwrap().ipv4 = None)
                .without("10.1.0.64/26")
                .without("10.2.0.64/26")
                .without("10.3.0.64/26")
        )),
        ["remote_block/stale 10.4.0.64/26 h1"]
    );
}

#[test]
fn j22_a_key_that_outlived_its_pool_permits_its_route_whatever_the_classes_are() {
    for program in [ProgramClusterRoutes::EnabledNoEncapOnly, ProgramClusterRoutes::Disabled] {
        clean(|it| {
            it.delete(ObjectId::Pool("plain".into())).bgp(|bgp| bgp.program_cluster_routes = Some(program));
            it.without("10.4.0.128/26");
        });
    }
}

#[test]
fn j22_a_pod_in_a_block_of_one_address() {
    let pod = |change: fn(&mut Host)| {
        found(move |it| {
            it.cluster
                .owned(Block::of("host:h2", "10.4.9.9/32").pod(0, "h2", "c"))
                .put(endpoint("h2", "c", "10.4.9.9"));
            change(it);
        })
    };
    assert_eq!(pod(|_| {}), ["remote_block/missing 10.4.9.9 h2"]);
    assert_eq!(pod(|it| done(it.with("10.4.9.9 via 172.18.0.2 dev eth0 proto bird"))), [""; 0]);
    // Claimed and empty: nowhere a route.
    clean(|it| done(it.cluster.owned(Block::of("host:h2", "10.4.9.9/32"))));
}

#[test]
fn j22_a_borrowed_address_is_required_from_an_endpoint_on_the_borrower() {
    let lost = |change: fn(&mut Host)| {
        found(move |it| {
            it.without("10.4.0.70");
            change(it);
        })
    };
    assert_eq!(lost(|_| {}), ["borrowed/missing 10.4.0.70 h3"]);
    assert_eq!(lost(|it| done(it.delete(ObjectId::Endpoint(EndpointId::of_pod("h3", "default", "b"))))), [""; 0]);
    assert_eq!(lost(|it| it.backend = Backend::None), [""; 0]);
    // A reflector that lends the block never passes it on.
    let reflected = |lender: &'static str| {
        found(move |it| {
            it.without("10.4.0.70").bgp(|bgp| bgp.mesh = Some(false));
            it.node("h2", |node| node.bgp.as_mut().unwrap().route_reflector_cluster_id = Some("1.1.1.1".to_owned()));
            let peer = BgpPeer {
                node_selector: Some("all()".to_owned()),
                peer_ip: Some(crate::model::PeerAddress::Address(address("172.18.0.2"))),
                ..BgpPeer::default()
            };
            it.cluster.put(Object::BgpPeer("reflector".into(), peer));
            if lender == "nobody" {
                it.key("h2", "10.4.0.64/26", None).without("10.4.0.64/26");
            }
        })
    };
    assert_eq!(reflected("h2"), [""; 0]);
    assert_eq!(reflected("nobody"), ["borrowed/missing 10.4.0.70 h3"]);
}

#[test]
fn j23_j24_only_along_sessions_and_where_bird_is_meant_to_run() {
    let silent = |change: fn(&mut Host)| {
        found(move |it| {
            it.routes.retain(|it| it.protocol != Protocol::BIRD);
            change(it);
        })
    };
    let four = [
        "borrowed/missing 10.4.0.70 h3",
        "local_block/missing 10.4.0.0/26 h1",
        "remote_block/missing 10.4.0.128/26 h3",
        "remote_block/missing 10.4.0.64/26 h2",
    ];
    // A rebooted host whose BIRD never came up says so: the cluster's type, or the flag.
    assert_eq!(silent(|_| {}), four);
    let vxlan = |it: &mut Host| done(it.cluster.put(cluster_of("v3.33.0", "k8s")));
    assert_eq!(silent(vxlan), [""; 0]);
    assert_eq!(
        silent(|it| {
            it.cluster.put(cluster_of("v3.33.0", "k8s"));
            it.backend = Backend::Bird;
        }),
        four
    );
    assert_eq!(silent(|it| it.backend = Backend::Vxlan), [""; 0]);
    // One route of BIRD's in a pool tells that it runs.
    let one = |it: &mut Host| {
        vxlan(it);
        it.without("10.4.0.64/26");
    };
    assert_eq!(found(one), four[3..]);
    // Without sessions nobody carries the others' (J37), and its own blackhole is missing all the same.
    let unmeshed = silent(|it| done(it.bgp(|bgp| bgp.mesh = Some(false))));
    assert_eq!(unmeshed, [four[1], "none/no_session none -"]);
}

#[test]
fn j25_an_endpoint_whose_address_is_free_still_expects_its_route() {
    let freed = |change: fn(&mut Host)| {
        found(move |it| {
            it.cluster.block(Block::of("host:h1", "10.1.0.0/26").tunnel(0, "h1", TunnelKind::VxlanV4));
            change(it);
        })
    };
    assert_eq!(freed(|_| {}), [""; 0]);
    assert_eq!(freed(|it| done(it.without("10.1.0.5"))), ["local_workload/missing 10.1.0.5 h1"]);
    let gone = freed(|it| done(it.delete(ObjectId::Endpoint(EndpointId::of_pod("h1", "default", "a")))));
    assert_eq!(gone, ["local_workload/stale 10.1.0.5 h1"]);
    // Allocated here without endpoint: permitted.
    let silent = |it: &mut Host| done(it.delete(ObjectId::Endpoint(EndpointId::of_pod("h1", "default", "a"))));
    clean(silent);
    clean(|it| {
        silent(it);
        it.without("10.1.0.5");
    });
}

#[test]
fn j25_an_endpoint_is_looked_at_again_when_the_block_around_it_changes() {
    let mut host = healthy();
    host.without("10.1.0.5").cluster.unreadable(ObjectId::Block(net("10.1.0.0/26")));
    let (mut audit, mut state) = host.audit(None);
    let mut faults = |event: Event| {
        state.apply(event, Duration::ZERO);
        let changes = state.take_changes();
        audit.refresh(&state, &changes, at(0));
        audit.findings(at(0)).iter().map(told).collect::<Vec<_>>()
    };
    let told = "local_workload/missing 10.1.0.5 h1";
    // It can be read again, and the address is free in it.
    let block = Block::of("host:h1", "10.1.0.0/26").tunnel(0, "h1", TunnelKind::VxlanV4).build();
    assert_eq!(faults(Event::Put(Box::new(Object::Block(block)))), [told]);
    // It is gone, and with it the blackhole's reason.
    let gone = faults(Event::Delete(ObjectId::Block(net("10.1.0.0/26"))));
    assert_eq!(gone, ["local_block/stale 10.1.0.0/26 h1", told]);
}

#[test]
fn j21_a_host_without_an_address_of_the_family_has_no_routes_of_felixs() {
    let six = |change: fn(&mut Host)| {
        found(move |it| {
            it.cluster.put(Object::Pool(IpPool { vxlan: EncapMode::Always, ..pool("six", "fd00::/48", 122) }));
            it.node("h2", |node| {
                node.bgp.as_mut().unwrap().ipv6 = Some(net("fd77::2/64"));
                node.tunnels.insert(TunnelKind::VxlanV6, address("fd00::40"));
            });
            it.cluster.owned(Block::of("host:h2", "fd00::40/122").tunnel(0, "h2", TunnelKind::VxlanV6));
            it.cluster.owned(Block::of("host:h1", "fd00::/122"));
            change(it);
        })
    };
    assert_eq!(six(|_| {}), [""; 0]);
    let addressed = |it: &mut Host| {
        it.node("h1", |node| node.bgp.as_mut().unwrap().ipv6 = Some(net("fd77::1/64")));
        it.link("eth0").addresses.push(net("fd77::1/64"));
    };
    // The device that a required route needs, though this host's Node has no address for it.
    assert_eq!(six(addressed), ["local_block/missing fd00::/122 h1", "vxlan-v6.calico/missing vxlan-v6.calico h1"]);
}
