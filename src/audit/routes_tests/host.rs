//! This host's tunnels and Node, the modes that are seen and who owns what: J13, J26, J27, J30.

use super::*;

#[test]
fn j13_a_tunnel_device_carries_its_nodes_address_and_no_other() {
    let device = |change: fn(&mut Link)| found(move |it| change(it.link("tunl0")));
    assert_eq!(device(|link| link.addresses.clear()), ["tunl0/address_missing tunl0 h1"]);
    assert_eq!(device(|link| link.addresses = vec![net("10.3.0.9/32")]), ["tunl0/address_differs tunl0 h1"]);
    assert_eq!(device(|link| link.addresses.push(net("10.3.0.9/32"))), ["tunl0/address_unexpected tunl0 h1"]);
    assert_eq!(device(|link| link.addresses.push(net("fe80::1/64"))), [""; 0]);
    assert_eq!(device(|link| link.no_carrier = true), ["tunl0/down tunl0 h1"]);
    // eBPF may leave it without one.
    clean(|it| {
        it.felix(|felix| felix.bpf_enabled = Some(true));
        it.link("vxlan.calico").addresses.clear();
    });
}

#[test]
fn j13_only_devices_whose_class_has_a_pool_or_that_a_required_route_needs() {
    let idle = |it: &mut Host| {
        it.delete(ObjectId::Pool("ipip".into()));
        for cidr in ["10.3.0.0/26", "10.3.0.64/26", "10.3.0.128/26"] {
            it.without(cidr).delete(ObjectId::Block(net(cidr)));
            HOSTS.iter().for_each(|(host, _)| done(it.key(host, cidr, None)));
        }
    };
    clean(|it| {
        idle(it);
        it.unlink("tunl0");
    });
    assert_eq!(
        found(|it| done(it.unlink("tunl0").without("10.3.0.64/26").without("10.3.0.128/26"))),
        ["tunl0/missing tunl0 h1"]
    );
    // Needed without an address of this Node's.
    assert_eq!(
        found(|it| {
            it.node("h1", |node| node.tunnels.clear());
            it.unlink("vxlan.calico").without("10.1.0.64/26").without("10.1.0.128/26").without("10.2.0.128/26");
        }),
        ["vxlan.calico/missing vxlan.calico h1"]
    );
}

#[test]
fn j26_the_mode_that_the_routes_show() {
    let observed = |pool: &str, change: fn(&mut Host)| {
        let mut host = healthy();
        change(&mut host);
        let (audit, state) = host.audit(None);
        audit.report(&state, at(0)).tunnel_modes[pool].observed
    };
    assert_eq!(observed("cross", |_| {}), TunnelMode::VxlanCrossSubnet);
    assert_eq!(observed("ipip", |_| {}), TunnelMode::IpipAlways);
    // It fits as far as it goes.
    assert_eq!(observed("cross", |it| done(it.without("10.2.0.128/26"))), TunnelMode::VxlanCrossSubnet);
    assert_eq!(observed("cross", |it| done(it.without("10.2.0.128/26").without("10.2.0.64/26"))), TunnelMode::Unknown);
    assert_eq!(
        observed("cross", |it| done(it.with("10.2.0.64/26 via 10.1.0.64 dev vxlan.calico"))),
        TunnelMode::VxlanAlways
    );
    assert_eq!(
        observed("ipip", |it| done(it.with("10.3.0.64/26 via 172.18.0.2 dev eth0"))),
        TunnelMode::IpipCrossSubnet
    );
    assert_eq!(observed("ipip", |it| done(it.with("10.3.0.128/26 via 172.18.1.3 dev eth0"))), TunnelMode::Mixed);
    // What leads to another host than its own says nothing of the mode.
    assert_eq!(observed("ipip", |it| done(it.with("10.3.0.128/26 via 172.18.0.2 dev eth0"))), TunnelMode::IpipAlways);
    // Nor does one that two hosts claim; a far route that is wrapped beside near ones that are not does.
    assert_eq!(
        observed("plain", |it| {
            it.key("h3", "10.4.0.64/26", Some(AffinityState::Confirmed)).without("10.4.0.128/26").without("10.4.0.70");
        }),
        TunnelMode::Unknown
    );
}

#[test]
fn j27_both_or_neither_program_a_class() {
    use ProgramClusterRoutes as P;
    let owners = |felix: Option<P>, bird: Option<P>| {
        found(move |it| {
            it.felix(|config| config.program_cluster_routes = felix);
            it.bgp(|config| config.program_cluster_routes = bird);
        })
    };
    assert_eq!(owners(None, None), [""; 0]);
    // Felix's form then, which has no router for gateway.
    assert_eq!(
        owners(Some(P::Enabled), Some(P::Disabled)),
        ["borrowed/wrong_next_hop 10.4.0.70 h3", "remote_block/wrong_next_hop 10.4.0.128/26 h3"]
    );
    assert_eq!(owners(Some(P::EnabledIpipOnly), Some(P::Enabled)), ["ipip/both ipip -"]);
    assert_eq!(owners(Some(P::Disabled), Some(P::EnabledNoEncapOnly)), ["ipip/neither ipip -"]);
    // Not by default.
    assert_eq!(owners(Some(P::Disabled), None), [""; 0]);
    assert_eq!(owners(None, Some(P::Disabled)), [""; 0]);
}

#[test]
fn j27_where_both_program_a_class_a_route_of_either_form_is_right() {
    for line in [
        "10.4.0.64/26 via 172.18.0.2 dev eth0 proto 80",
        "10.4.0.64/26 via 192.168.9.7 dev eth1 proto bird",
        "10.4.0.73 via 192.168.9.7 dev eth1 proto bird",
    ] {
        let told = found(|it| {
            it.cluster.block(Block::of("host:h2", "10.4.0.64/26").pod(6, "h3", "b").pod(9, "h2", "c"));
            it.felix(|config| config.program_cluster_routes = Some(ProgramClusterRoutes::Enabled));
            it.with(line);
        });
        assert_eq!(told, ["none/both none -"], "{line}");
    }
}

#[test]
fn j30_this_hosts_node_against_its_interfaces() {
    assert_eq!(found(|it| it.link("eth0").addresses = vec![net("172.18.0.7/24")]), ["address_missing h1 h1"]);
    let prefix = |it: &mut Host| it.link("eth0").addresses = vec![net("172.18.0.1/25")];
    assert_eq!(found(prefix), ["prefix_differs h1 h1"]);
    // It only matters where a pool asks for subnets.
    clean(|it| {
        prefix(it);
        it.pool("cross", |pool| pool.vxlan = EncapMode::Always);
        it.with("10.2.0.64/26 via 10.1.0.64 dev vxlan.calico");
    });
}
