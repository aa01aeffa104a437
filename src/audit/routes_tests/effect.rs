//! Effect before form: a route that leads to the right place is no fault, whoever wrote it (J32). One cause gives one
//! finding (J13, J19).

use super::*;
use crate::audit::testing::pool as vxlan_pool;

/// `class/reason` of a route put on the healthy host; empty where it is permitted.
#[track_caller]
fn told(line: &str) -> Vec<String> {
    found(|it| done(it.with(line)))
}

#[test]
fn j32_a_route_that_leads_where_its_destination_is_changes_nothing() {
    for line in [
        // Felix 3.30 and 3.31: over the NIC to a near peer's tunnel, over `tunl0`, on the tunnel's link.
        "10.2.0.100 via 172.18.0.2 dev eth0 proto 80",
        "10.3.0.64 via 172.18.0.2 dev tunl0 proto 80",
        "10.1.0.64 dev vxlan.calico",
        "10.1.0.64 via 10.1.0.64 dev vxlan.calico",
        // A pod, a free address and a part of a block, to the block's owner.
        "10.1.0.70 via 10.1.0.64 dev vxlan.calico proto 80",
        "10.4.0.72 via 172.18.0.2 dev eth0 proto bird",
        "10.4.0.72 via 172.18.0.2 dev eth0 proto 80",
        "10.2.0.80/28 via 172.18.0.2 dev eth0 proto 80",
        // Several ways to the one host.
        "10.3.0.72 nexthop via 172.18.0.2 dev tunl0 nexthop via 10.3.0.64 dev tunl0 proto 80",
    ] {
        assert_eq!(told(line), [""; 0], "{line}");
    }
}

#[test]
fn j32_what_leads_elsewhere_or_nowhere_is_stale() {
    for (line, class) in [
        // To another host, to none, by a router that may lead anywhere, into a device that its pool does not use.
        ("10.1.0.70 via 10.1.0.128 dev vxlan.calico proto 80", "borrowed"),
        ("10.2.0.80/28 via 172.18.1.3 dev eth0 proto 80", "remote_block"),
        ("10.2.0.80/28 via 172.18.0.77 dev eth0 proto 80", "remote_block"),
        ("10.4.0.72 via 172.18.0.254 dev eth0 proto bird", "borrowed"),
        ("10.1.0.70 via 172.18.0.2 dev eth0 proto 80", "borrowed"),
        ("10.3.0.72 via 172.18.0.2 dev eth0 proto 80", "borrowed"),
        ("10.3.0.72 nexthop via 172.18.0.2 dev tunl0 nexthop via 172.18.1.3 dev tunl0 proto 80", "borrowed"),
        ("10.1.0.64 dev tunl0", "borrowed"),
        ("10.1.0.70 dev vxlan.calico", "borrowed"),
        ("unreachable 10.1.0.70 proto 80", "borrowed"),
        ("blackhole 10.1.0.70 proto 80", "local_block"),
        ("10.1.0.70 via 172.18.0.2 dev cali-z proto 80", "local_workload"),
        // In no block there is no host.
        ("10.1.7.9 via 10.1.0.64 dev vxlan.calico proto 80", "borrowed"),
    ] {
        let subject = line.trim_start_matches("unreachable ").trim_start_matches("blackhole ");
        let subject = subject.split(' ').next().unwrap();
        assert_eq!(told(line), [format!("{class}/stale {subject} h1")], "{line}");
    }
}

#[test]
fn j32_a_free_address_is_not_taken_from_the_owner_of_its_block() {
    let by_endpoint = |line: &'static str| {
        found(move |it| {
            it.cluster.put(endpoint("h3", "late", "10.3.0.80"));
            it.with(line);
        })
    };
    assert_eq!(by_endpoint("10.3.0.80 via 172.18.1.3 dev tunl0 proto 80"), ["borrowed/stale 10.3.0.80 h1"]);
    // A tunnel's address that IPAM does not know.
    let by_tunnel = |line: &'static str| {
        found(move |it| {
            it.node("h3", |node| done(node.tunnels.insert(TunnelKind::Ipip, address("10.3.0.80"))));
            it.with(line);
        })
    };
    assert_eq!(by_tunnel("10.3.0.80 via 172.18.1.3 dev tunl0 proto 80"), ["borrowed/stale 10.3.0.80 h1"]);
    assert_eq!(by_tunnel("10.3.0.80 dev tunl0"), [""; 0]);
}

#[test]
fn j32_the_holder_is_asked_before_the_owner_of_the_block() {
    let lent = |line: &'static str| {
        found(move |it| {
            it.cluster.block(Block::of("host:h2", "10.3.0.64/26").tunnel(0, "h2", TunnelKind::Ipip).pod(9, "h3", "c"));
            it.without("10.3.0.128/26").with("10.3.0.128/26 via 172.18.1.3 dev tunl0 proto 80");
            it.with("10.3.0.73 via 172.18.1.3 dev tunl0 proto 80").with(line);
        })
    };
    assert_eq!(lent("10.3.0.73 via 172.18.1.3 dev tunl0 proto 80"), [""; 0]);
    assert_eq!(lent("10.3.0.73 via 172.18.0.2 dev tunl0 proto 80"), ["borrowed/wrong_next_hop 10.3.0.73 h3"]);
}

#[test]
fn j32_a_service_is_on_every_node_to_bird() {
    let service = |line: &'static str| {
        found(move |it| {
            let services =
                IpPool { load_balancer: true, vxlan: EncapMode::Never, ..vxlan_pool("lb", "10.7.0.0/24", 26) };
            it.cluster.put(Object::Pool(services));
            it.cluster.owned(Block::of("virtual:load-balancer", "10.7.0.0/26").load_balancer(3, "web"));
            it.with(line);
        })
    };
    assert_eq!(service("10.7.0.3 via 172.18.0.2 dev eth0 proto bird"), [""; 0]);
    for line in [
        "10.7.0.3 via 172.18.0.77 dev eth0 proto bird",
        "10.7.0.3 via 172.18.0.2 dev eth0 proto 80",
        "10.7.0.3 dev cali-z",
    ] {
        assert_eq!(service(line).len(), 1, "{line}");
    }
}

#[test]
fn j16_a_bird_route_whose_key_is_gone_is_stale_wherever_it_leads() {
    let gone = found(|it| done(it.key("h2", "10.4.0.64/26", None)));
    assert_eq!(gone, ["remote_block/stale 10.4.0.64/26 h1"]);
}

#[test]
fn j22_two_keys_make_either_way_right() {
    let two = |line: &'static str| {
        found(move |it| {
            it.key("h3", "10.4.0.64/26", Some(AffinityState::PendingDeletion)).with(line);
        })
    };
    assert_eq!(two("10.4.0.64/26 via 172.18.0.2 dev eth0 proto bird"), [""; 0]);
    assert_eq!(two("10.4.0.64/26 via 172.18.1.3 dev eth0 proto bird"), [""; 0]);
    assert_eq!(two("10.4.0.64/26 dev cali-z proto bird"), ["remote_block/wrong_next_hop 10.4.0.64/26 h2"]);
    let mine = |line: &'static str| {
        found(move |it| {
            it.key("h1", "10.4.0.64/26", Some(AffinityState::Confirmed)).with(line);
        })
    };
    assert_eq!(mine("blackhole 10.4.0.64/26 proto bird"), [""; 0]);
    assert_eq!(mine("10.4.0.64/26 via 172.18.0.2 dev eth0 proto bird"), [""; 0]);
}

#[test]
fn j22_a_block_of_one_address_has_no_blackhole_in_any_class() {
    for cidr in ["10.1.9.9/32", "10.4.9.9/32"] {
        let block = |line: &'static str| {
            found(move |it| {
                it.cluster.owned(Block::of("host:h1", cidr).pod(0, "h1", "one")).put(endpoint("h1", "one", &cidr[..8]));
                it.links.push(link(8, "cali-one", &[]));
                it.with(line);
            })
        };
        let at = &cidr[..8];
        let right: &'static str = format!("{at} dev cali-one metric 1024").leak();
        let dropped: &'static str = format!("blackhole {at} proto bird").leak();
        assert_eq!(block(right), [""; 0]);
        assert_eq!(block(dropped), [format!("local_workload/wrong_type {at} h1")]);
        let empty = found(|it| done(it.cluster.owned(Block::of("host:h1", cidr)).state.clone()));
        assert_eq!(empty, [""; 0]);
        let left = found(|it| {
            it.cluster.owned(Block::of("host:h1", cidr));
            it.with(dropped);
        });
        assert_eq!(left, [format!("local_block/stale {at} h1")]);
    }
}

#[test]
fn j20_where_nobody_programs_a_class_borrowed_addresses_are_as_permitted_as_blocks() {
    let nobodys = |line: &'static str| {
        found(move |it| {
            it.bgp(|bgp| bgp.program_cluster_routes = Some(ProgramClusterRoutes::Disabled));
            it.with(line);
        })
    };
    for line in ["10.4.0.64/26 via 172.18.0.77 dev eth0 proto 80", "10.4.0.70 via 172.18.0.77 dev eth0 proto 80"] {
        assert_eq!(nobodys(line), [""; 0], "{line}");
    }
}

#[test]
fn an_address_is_allocated_if_any_block_around_it_says_so() {
    let overlapping = |line: &'static str| {
        found(move |it| {
            // A smaller block of the same host, which knows nothing of the address that is lent.
            it.cluster.owned(Block::of("host:h2", "10.3.0.64/28"));
            it.with("10.3.0.64/28 via 172.18.0.2 dev tunl0 proto 80");
            it.cluster.block(Block::of("host:h2", "10.3.0.64/26").tunnel(0, "h2", TunnelKind::Ipip).pod(6, "h3", "c"));
            if !line.is_empty() {
                it.with(line);
            }
        })
    };
    assert_eq!(overlapping("10.3.0.70 via 172.18.1.3 dev tunl0 proto 80"), [""; 0]);
    assert_eq!(overlapping(""), ["borrowed/missing 10.3.0.70 h3"]);
}

#[test]
fn j19_a_tunnel_that_is_down_stands_for_what_goes_through_it() {
    let down = |line: &'static str| {
        found(move |it| {
            it.link("tunl0").admin_up = false;
            it.without("10.3.0.128/26").with(line);
        })
    };
    let tunnel = "tunl0/down tunl0 h1";
    assert_eq!(down("10.3.0.64/26 via 172.18.0.2 dev tunl0 linkdown proto 80"), [tunnel]);
    assert_eq!(
        down("10.3.0.64/26 via 172.18.0.2 dev eth0 proto 80"),
        ["remote_block/wrong_encapsulation 10.3.0.64/26 h2", tunnel]
    );
    assert_eq!(down("blackhole 10.3.0.64/26 proto 80"), ["remote_block/wrong_type 10.3.0.64/26 h2", tunnel]);
}

#[test]
fn j13_a_tunnel_address_that_is_also_this_hosts_is_no_way_to_a_peer() {
    let shared = |line: &'static str| {
        found(move |it| {
            it.node("h2", |node| done(node.tunnels.insert(TunnelKind::VxlanV4, address("10.1.0.0"))));
            it.without("10.1.0.64/26");
            if !line.is_empty() {
                it.with(line);
            }
        })
    };
    assert_eq!(shared(""), [""; 0]);
    assert_eq!(shared("10.1.0.64/26 via 10.1.0.0 dev vxlan.calico"), [""; 0]);
}

#[test]
fn j13_a_tunnel_needs_an_address_of_its_family_to_send_from() {
    let v6 = |has_address: bool| {
        found(move |it| {
            let pool = vxlan_pool("v6", "fd00:1::/112", 122);
            it.cluster.put(Object::Pool(pool));
            it.node("h1", |node| {
                node.tunnels.insert(TunnelKind::VxlanV6, address("fd00:1::1"));
                if has_address {
                    node.bgp.as_mut().unwrap().ipv6 = Some(net("fd18::1/64"));
                }
            });
            it.link("eth0").addresses.push(net("fd18::1/64"));
        })
    };
    assert_eq!(v6(false), [""; 0]);
    assert_eq!(v6(true), ["vxlan-v6.calico/missing vxlan-v6.calico h1"]);
}
