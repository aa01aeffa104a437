//! What is there and expected by nobody: J16, J17, and what cannot be read (J1).

use super::*;
use crate::audit::fault::Metric;

#[test]
fn j16_stale_is_what_is_calicos_and_expected_by_nobody() {
    for line in [
        // In a pool.
        "10.1.7.0/26 via 172.18.0.2 dev eth0 proto bird",
        "10.1.7.0/26 via 172.18.0.2 dev eth0 proto 80",
        "10.1.7.0/26 via 10.1.0.64 dev vxlan.calico",
        "10.1.7.0/26 dev cali-z",
        // Felix's own protocol anywhere in main.
        "10.99.0.0/26 via 172.18.0.2 dev eth0 proto 80",
        // Through a device of Calico's.
        "10.99.0.0/26 via 172.18.0.2 dev tunl0 proto bird",
        "10.99.0.0/26 dev vxlan.calico",
        "10.99.0.0/26 dev cali-z",
    ] {
        let told = found(|it| done(it.with(line)));
        assert!(told.len() == 1 && told[0].contains("/stale 10."), "{line}: {told:?}");
    }
    for line in [
        // Neither in a pool nor a block.
        "10.99.0.0/26 via 172.18.0.2 dev eth0 proto bird",
        "10.99.0.0/26 via 172.18.0.2 dev eth0",
        "10.99.0.0/26 dev cali-z proto static",
        // Never these.
        "10.99.0.0/26 dev vxlan.calico proto kernel",
        "169.254.1.1 dev cali-z",
        "10.99.0.1 dev bpfin.cali",
        "10.1.0.200 via 172.18.0.2 dev bpfin.cali proto 80",
        "172.18.0.1 dev eth0 proto 80",
        "10.1.0.0 dev vxlan.calico",
    ] {
        clean(|it| done(it.with(line)));
    }
    // In a known block that is in no pool.
    let orphan = |line: &'static str| {
        found(move |it| {
            it.cluster.owned(Block::of("host:h2", "10.50.0.0/26"));
            it.with(line);
        })
    };
    assert_eq!(orphan("10.50.0.9 via 172.18.1.3 dev eth0 proto bird"), ["borrowed/stale 10.50.0.9 h1"]);
    // The configured protocol is as much Felix's.
    let other = |felix: u8| {
        found(move |it| {
            it.felix(|config| config.device_route_protocol = Some(felix));
            it.with("10.1.7.0/26 via 172.18.0.2 dev eth0 proto 99");
        })
    };
    assert_eq!(other(99), ["remote_block/stale 10.1.7.0/26 h1"]);
    assert_eq!(other(98), [""; 0]);
}

#[test]
fn j16_a_single_address_of_another_host_is_permitted_to_bird() {
    let pod = |line: &'static str| {
        found(move |it| {
            let block = Block::of("host:h2", "10.4.0.64/26").pod(6, "h3", "b").pod(9, "h2", "c").cooldown(10, 1);
            it.cluster.block(block);
            it.cluster.put(endpoint("h2", "d", "10.4.0.75"));
            it.with(line);
        })
    };
    // Allocated there, or an endpoint has it.
    assert_eq!(pod("10.4.0.73 via 172.18.0.2 dev eth0 proto bird"), [""; 0]);
    assert_eq!(pod("10.4.0.75 via 172.18.0.2 dev eth0 proto bird"), [""; 0]);
    // A permitted route is judged (J20). Other forms are permitted by their effect alone (J32).
    assert_eq!(pod("10.4.0.73 via 172.18.1.3 dev eth0 proto bird"), ["borrowed/wrong_next_hop 10.4.0.73 h2"]);
    assert_eq!(pod("10.4.0.73 via 172.18.0.254 dev eth0 proto 80"), ["borrowed/stale 10.4.0.73 h1"]);
    assert_eq!(pod("10.4.0.74 via 172.18.0.254 dev eth0 proto bird"), ["borrowed/stale 10.4.0.74 h1"]);
    assert_eq!(pod("10.4.0.76 via 172.18.0.254 dev eth0 proto bird"), ["borrowed/stale 10.4.0.76 h1"]);
}

#[test]
fn j16_an_aggregate_is_shorter_than_the_pools_blocks() {
    clean(|it| done(it.with("10.4.0.0/25 via 172.18.0.254 dev eth0 proto bird")));
    clean(|it| done(it.with("10.4.0.0/16 via 172.18.0.254 dev eth0 proto bird")));
    assert_eq!(
        found(|it| done(it.with("10.4.0.192/27 via 172.18.0.254 dev eth0 proto bird"))),
        ["remote_block/stale 10.4.0.192/27 h1"]
    );
    // It excuses BIRD's blocks, not Felix's, and only where it leads somewhere.
    let covered = |carrier: &'static str, block: &'static str| found(move |it| done(it.without(block).with(carrier)));
    assert_eq!(covered("10.4.0.0/16 via 172.18.0.254 dev eth0 proto bird", "10.4.0.64/26"), [""; 0]);
    assert_eq!(
        covered("10.1.0.0/16 via 172.18.0.254 dev eth0 proto bird", "10.1.0.64/26"),
        ["remote_block/missing 10.1.0.64/26 h2"]
    );
    assert_eq!(covered("unreachable 10.4.0.0/16 proto bird", "10.4.0.64/26"), ["remote_block/missing 10.4.0.64/26 h2"]);
}

#[test]
fn j25_where_endpoints_are_not_known_what_may_be_a_floating_address_counts_as_expected() {
    let counted = |line: &str, looked_up: bool| {
        let mut host = healthy();
        host.cluster.state = State::new(false);
        host.routes = route(line).into_iter().collect();
        if looked_up {
            let Object::Endpoint(mut pod) = endpoint("h1", "a", "10.1.0.5") else { unreachable!() };
            pod.floating.push(address("192.0.2.4"));
            host.cluster.put(Object::Endpoint(pod));
        }
        let (audit, state) = host.audit(None);
        let report = audit.report(&state, at(0));
        assert!(audit.findings(at(0)).iter().all(|it| it.metric() != Metric::RouteFaults), "{line}");
        assert_eq!(report.actual, report.expected, "{line}");
        report.actual.get(&(RouteClass::LocalWorkload, Encapsulation::None)).copied().unwrap_or(0)
    };
    for looked_up in [false, true] {
        assert_eq!(counted("192.0.2.4 dev cali-a", looked_up), 1);
        assert_eq!(counted("192.0.2.4 dev cali-z proto 80", looked_up), 1);
    }
    // Felix gives a pod single addresses, and BIRD none.
    assert_eq!(counted("192.0.2.4 dev cali-a proto bird", false), 0);
    assert_eq!(counted("192.0.2.4 dev eth1", false), 0);
}

#[test]
fn j25_a_floating_address_in_a_pool_is_permitted_where_felix_programs_them_listed_or_not() {
    for lists in [true, false] {
        let found = |floating: Option<bool>, line: &str| {
            let mut host = healthy_where(lists);
            host.felix(|config| config.floating_ips = floating);
            host.with(line).faults()
        };
        // In no block, and free in one.
        for address in ["10.1.7.7", "10.1.0.9", "10.4.0.99"] {
            let line = format!("{address} dev cali-a metric 1024");
            let stale = format!("local_workload/stale {address} h1");
            assert_eq!(found(Some(true), &line), [""; 0], "{line}");
            assert_eq!(found(Some(false), &line), [stale.as_str()], "{line}");
            assert_eq!(found(None, &line), [stale], "{line}");
        }
        // Given to somebody else, or on no pod's device.
        assert_eq!(found(Some(true), "10.4.0.70 dev cali-a"), ["borrowed/wrong_next_hop 10.4.0.70 h3"]);
        assert_eq!(found(Some(true), "10.1.7.7 dev eth1 proto 80"), ["borrowed/stale 10.1.7.7 h1"]);
    }
}

#[test]
fn j17_foreign_is_a_fault_where_it_takes_traffic_from_an_owned_block() {
    for (line, told) in [
        ("10.1.0.130 via 172.18.0.9 dev eth0 proto static", "borrowed/foreign 10.1.0.130 h1"),
        ("10.1.0.144/28 dev eth1 proto kernel", "remote_block/foreign 10.1.0.144/28 h1"),
        ("blackhole 10.1.0.144/28 proto static", "local_block/foreign 10.1.0.144/28 h1"),
        ("10.1.0.130 dev cali-z proto static", "local_workload/foreign 10.1.0.130 h1"),
    ] {
        assert_eq!(found(|it| done(it.with(line))), [told], "{line}");
    }
    let virtuals = |owner: Option<&'static str>| {
        found(move |it| {
            it.cluster.block(owner.map_or_else(|| Block::new("10.1.7.0/26"), |owner| Block::of(owner, "10.1.7.0/26")));
            it.with("10.1.7.9 via 172.18.0.9 dev eth0 proto static");
        })
    };
    assert_eq!(virtuals(Some("virtual:load-balancer")), ["borrowed/foreign 10.1.7.9 h1"]);
    assert_eq!(virtuals(None), [""; 0]);
    for line in [
        "10.1.7.9 via 172.18.0.9 dev eth0 proto static",
        "10.1.0.0/20 via 172.18.0.9 dev eth0 proto static",
        "10.99.0.1 via 172.18.0.9 dev eth0 proto static",
        // The host's own.
        "10.1.0.0 dev vxlan.calico proto kernel",
        // For an expected destination the protocol is an attribute.
        "10.1.0.64/26 via 10.1.0.64 dev vxlan.calico proto static",
    ] {
        clean(|it| done(it.with(line)));
    }
    // Counted as what it is: by form where it is a fault, as foreign elsewhere.
    let classes = |line: &str| {
        let mut host = healthy();
        host.with(line);
        let (audit, state) = host.audit(None);
        let counted =
            |class| audit.report(&state, at(0)).actual.get(&(class, Encapsulation::None)).copied().unwrap_or(0);
        (counted(RouteClass::Foreign), counted(RouteClass::Borrowed))
    };
    assert_eq!(classes("10.1.7.9 via 172.18.0.9 dev eth0 proto static"), (1, 1));
    assert_eq!(classes("10.1.0.130 via 172.18.0.9 dev eth0 proto static"), (0, 2));
}

#[test]
fn j15_what_cannot_be_judged_counts_by_its_form() {
    let local = |line: &str| {
        let mut host = healthy();
        host.cluster.unreadable(ObjectId::Pool("single".into()));
        host.cluster.owned(Block::of("host:h2", "10.60.0.1/32"));
        let (audit, state) = host.with(line).audit(None);
        audit.report(&state, at(0)).actual[&(RouteClass::LocalWorkload, Encapsulation::None)]
    };
    assert_eq!(local("10.60.0.1 dev cali-z proto 80"), 2);
    assert_eq!(local("10.60.0.1 via 172.18.0.2 dev eth0 proto 80"), 1);
}

#[test]
fn j1_nothing_follows_from_what_cannot_be_read() {
    let block = || ObjectId::Block(net("10.1.0.0/26"));
    // Neither what is missing nor what is left, neither the block's own nor a single address's.
    clean(|it| {
        it.cluster.unreadable(block());
        it.without("10.1.0.0/26")
            .without("10.1.0.5")
            .with("10.1.0.9 dev cali-z")
            .with("10.1.0.10 dev eth0 proto static");
    });
    clean(|it| {
        it.cluster.unreadable(ObjectId::Block(net("10.4.0.64/26")));
        it.without("10.4.0.64/26").without("10.4.0.70");
    });
    // BIRD's routes follow keys.
    clean(|it| {
        it.cluster.unreadable(ObjectId::Affinity(BlockOwner::Host("h2".into()), net("10.4.0.64/26")));
        it.without("10.4.0.64/26");
    });
    clean(|it| done(it.cluster.unreadable(ObjectId::Affinity(BlockOwner::Host("h2".into()), net("10.4.0.64/26")))));
    // A pool: its blocks' routes may be there or not.
    for there in [true, false] {
        clean(|it| {
            it.cluster.unreadable(ObjectId::Pool("cross".into()));
            if !there {
                it.without("10.2.0.0/26").without("10.2.0.64/26").without("10.2.0.128/26");
            }
        });
    }
    // A Node: what leads to it is not judged.
    clean(|it| {
        it.cluster.unreadable(ObjectId::Node("h3".into()));
        it.without("10.1.0.128/26").with("10.3.0.128/26 via 172.18.0.77 dev tunl0 proto 80");
    });
}
