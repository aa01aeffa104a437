//! What a route looks like: J14, J15, J18, J19, J20, J28.

use super::*;

#[test]
fn j14_the_main_table_and_the_lowest_metric_are_judged() {
    clean(|it| {
        // Other tables are nobody's business here.
        let mut other = route("10.1.0.64/26 via 10.9.9.9 dev eth0 proto 80").unwrap();
        other.table = 7;
        it.routes.push(other);
        it.beside("10.1.0.64/26 via 10.1.0.64 dev eth0 metric 9");
    });
    assert_eq!(
        found(|it| {
            it.without("10.1.0.64/26").with("10.1.0.64/26 via 10.1.0.64 dev vxlan.calico metric 9");
            it.beside("10.1.0.64/26 via 10.1.0.64 dev eth0 metric 8");
        }),
        ["remote_block/wrong_encapsulation 10.1.0.64/26 h2"]
    );
    // Up without carrier is down; what the operational state says plays no part.
    clean(|it| it.without("10.1.0.5").link("cali-a").no_carrier = true);
}

#[test]
fn j15_a_route_that_nobody_expects_has_the_class_of_its_form_and_this_host() {
    for (line, told) in [
        ("blackhole 10.1.7.0/26 proto 80", "local_block/stale 10.1.7.0/26 h1"),
        ("blackhole 10.1.7.1 proto 80", "local_block/stale 10.1.7.1 h1"),
        ("unreachable 10.1.7.0/26 proto bird", "remote_block/stale 10.1.7.0/26 h1"),
        ("10.1.7.0/30 dev cali-z", "local_workload/stale 10.1.7.0/30 h1"),
        ("10.1.7.1 via 172.18.0.2 dev eth0 proto bird", "borrowed/stale 10.1.7.1 h1"),
        ("10.1.7.0/26 via 172.18.0.2 dev eth0 proto bird", "remote_block/stale 10.1.7.0/26 h1"),
    ] {
        assert_eq!(found(|it| done(it.with(line))), [told], "{line}");
    }
}

/// A route of each kind, and what each change makes of it.
#[test]
fn j18_one_reason_a_route_the_first_that_applies() {
    for (line, told) in [
        ("blackhole 10.1.0.64/26 proto 80", "remote_block/wrong_type 10.1.0.64/26 h2"),
        ("unreachable 10.4.0.128/26 proto bird metric 1024", "remote_block/wrong_type 10.4.0.128/26 h3"),
        ("prohibit 10.1.0.5 proto 80", "local_workload/wrong_type 10.1.0.5 h1"),
        ("throw 10.4.0.70 proto bird", "borrowed/wrong_type 10.4.0.70 h3"),
        ("10.1.0.0/26 dev eth0 proto 80", "local_block/wrong_type 10.1.0.0/26 h1"),
        ("10.1.0.64/26 via 10.1.0.128 dev tunl0 linkdown", "remote_block/linkdown 10.1.0.64/26 h2"),
        (
            "10.1.0.64/26 nexthop via 10.1.0.64 dev vxlan.calico nexthop via 10.1.0.128 dev tunl0",
            "remote_block/multipath 10.1.0.64/26 h2",
        ),
        (
            "10.4.0.64/26 nexthop via 172.18.0.254 dev eth0 nexthop via 172.18.1.3 dev tunl0 proto bird",
            "remote_block/multipath 10.4.0.64/26 h2",
        ),
        ("10.1.0.5 nexthop dev cali-a nexthop dev cali-z", "local_workload/multipath 10.1.0.5 h1"),
        ("10.1.0.64/26 via 10.1.0.128 dev tunl0", "remote_block/wrong_encapsulation 10.1.0.64/26 h2"),
        ("10.4.0.64/26 via 172.18.0.2 dev tunl0 proto bird", "remote_block/wrong_encapsulation 10.4.0.64/26 h2"),
        ("10.2.0.64/26 via 10.1.0.64 dev vxlan.calico", "remote_block/wrong_encapsulation 10.2.0.64/26 h2"),
        ("10.1.0.5 dev vxlan.calico", "local_workload/wrong_encapsulation 10.1.0.5 h1"),
        ("10.1.0.64/26 via 10.1.0.64 dev vxlan-v6.calico", "remote_block/wrong_next_hop 10.1.0.64/26 h2"),
        ("10.2.0.64/26 via 172.18.0.2 dev eth1 proto 80", "remote_block/wrong_next_hop 10.2.0.64/26 h2"),
        ("10.2.0.64/26 via 172.18.0.2 dev cali-z proto 80", "remote_block/wrong_next_hop 10.2.0.64/26 h2"),
        ("10.4.0.64/26 via 172.18.0.2 dev cali-z proto bird", "remote_block/wrong_next_hop 10.4.0.64/26 h2"),
        ("10.1.0.64/26 via 10.1.0.128 dev vxlan.calico", "remote_block/wrong_next_hop 10.1.0.64/26 h2"),
        ("10.1.0.64/26 dev vxlan.calico", "remote_block/wrong_next_hop 10.1.0.64/26 h2"),
        ("10.3.0.64/26 via 172.18.1.3 dev tunl0", "remote_block/wrong_next_hop 10.3.0.64/26 h2"),
        ("10.1.0.5 dev cali-z", "local_workload/wrong_next_hop 10.1.0.5 h1"),
        ("10.1.0.5 via 172.18.0.2 dev cali-a", "local_workload/wrong_next_hop 10.1.0.5 h1"),
    ] {
        assert_eq!(found(|it| done(it.with(line))), [told], "{line}");
    }
    // A blackhole's kind does not matter where none is to go; BIRD's several gateways are right where none is wrong.
    clean(|it| done(it.with("unreachable 10.1.0.0/26 proto 80")));
    clean(|it| {
        done(it.with("10.4.0.64/26 nexthop via 172.18.0.254 dev eth0 nexthop via 172.18.0.2 dev eth0 proto bird"))
    });
}

#[test]
fn j18_while_this_hosts_address_is_on_no_interface_a_pods_device_is_wrong_all_the_same() {
    let nowhere = |line: &'static str| {
        found(move |it| {
            it.with(line).link("eth0").addresses.clear();
        })
    };
    let unaddressed = "address_missing h1 h1";
    assert_eq!(nowhere("10.2.0.64/26 via 172.18.0.2 dev eth1 proto 80"), [unaddressed]);
    assert_eq!(
        nowhere("10.2.0.64/26 via 172.18.0.2 dev cali-z proto 80"),
        [unaddressed, "remote_block/wrong_next_hop 10.2.0.64/26 h2"]
    );
}

#[test]
fn j19_one_fault_of_the_tunnel_stands_for_all_its_routes() {
    // Kept ones too, and those that are wrong beside.
    clean(|it| it.link("cali-a").no_carrier = true);
    for lines in [
        ["10.3.0.64/26 via 172.18.0.2 dev tunl0 linkdown", "10.3.0.128/26 via 172.18.1.3 dev tunl0 linkdown"],
        ["10.3.0.64/26 via 172.18.1.3 dev tunl0", "10.3.0.128/26 dev tunl0"],
    ] {
        let kept = |it: &mut Host| {
            lines.iter().for_each(|line| done(it.with(line)));
            it.link("tunl0").admin_up = false;
        };
        assert_eq!(found(kept), ["tunl0/down tunl0 h1"]);
    }
    let gone = |it: &mut Host| done(it.without("10.3.0.64/26").without("10.3.0.128/26").unlink("tunl0"));
    assert_eq!(found(gone), ["tunl0/missing tunl0 h1"]);
}

#[test]
fn j20_a_permitted_route_is_judged_where_its_host_is_known() {
    let pending = |line: &'static str| {
        found(move |it| {
            it.key("h2", "10.4.0.64/26", Some(AffinityState::Pending)).without("10.4.0.64/26");
            if !line.is_empty() {
                it.with(line);
            }
        })
    };
    assert_eq!(pending(""), [""; 0]);
    assert_eq!(pending("10.4.0.64/26 via 172.18.0.2 dev eth0 proto bird"), [""; 0]);
    assert_eq!(pending("blackhole 10.4.0.64/26 proto bird"), ["remote_block/wrong_type 10.4.0.64/26 h2"]);
    assert_eq!(
        pending("10.4.0.64/26 via 172.18.1.3 dev eth0 proto bird"),
        ["remote_block/wrong_next_hop 10.4.0.64/26 h2"]
    );
}
