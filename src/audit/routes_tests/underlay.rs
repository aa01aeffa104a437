//! The way to the other Nodes (J44).

use super::*;

/// Another Node, with a tunnel address or without.
fn stranger(host: &mut Host, subnet: &str, tunnel: Option<&str>) {
    let mut it = node("h9", &[subnet]);
    it.tunnels.extend(tunnel.map(|tunnel| (TunnelKind::VxlanV4, address(tunnel))));
    host.cluster.put(Object::Node("h9".into(), it));
}

#[test]
fn j44_no_way_stands_for_the_routes_over_the_node() {
    // h3 is behind the router, h2 on the link.
    let alone = ["no_way h3 h3"];
    assert_eq!(found(|it| done(it.without("0.0.0.0/0"))), alone);
    // Its routes are wrong as well, and gone: one cause.
    assert_eq!(
        found(|it| {
            it.without("0.0.0.0/0").without("10.3.0.128/26").with("10.1.0.128/26 via 10.1.0.64 dev vxlan.calico");
        }),
        alone
    );
    assert_eq!(found(|it| done(it.without("0.0.0.0/0").without("172.18.0.0/24"))), ["no_way h2 h2", "no_way h3 h3"]);
    for line in ["blackhole 172.18.1.0/24", "unreachable 172.18.1.3/32", "prohibit 172.18.1.0/24 proto static"] {
        assert_eq!(found(|it| done(it.with(line))), alone, "{line}");
    }
    assert_eq!(
        found(|it| done(
            it.rules(vec![PolicyRule { to: Some(net("172.18.1.0/24")), ..rule(9, RuleAction::Prohibit) }])
        )),
        alone
    );
}

#[test]
fn j44_a_way_is_any_route_that_leads_out() {
    // A more specific one, another gateway, another program's tunnel.
    for line in ["172.18.1.3 via 172.18.0.9 dev eth1", "172.18.1.0/24 dev wg0", "172.18.1.0/24 via 172.18.0.2 dev eth0"]
    {
        clean(|it| done(it.without("0.0.0.0/0").with(line)));
    }
    // By another table.
    clean(|it| {
        it.without("0.0.0.0/0").with("172.18.1.0/24 dev vpn0 table 52");
        it.rules(vec![to_table(52, 52)]);
    });
    // A rule that throws back to main, and one for another source.
    clean(|it| {
        it.with("throw 172.18.1.0/24 table 52").with("blackhole 0.0.0.0/0 table 53");
        let from = Some(net("10.9.0.0/16"));
        it.rules(vec![to_table(52, 52), PolicyRule { from, ..to_table(53, 53) }]);
    });
    // Where rules are not known, another table may be the one.
    clean(|it| done(it.without("0.0.0.0/0").with("172.18.1.0/24 dev vpn0 table 52")));
}

#[test]
fn j44_a_way_through_a_tunnel_or_to_a_pod() {
    let through = ["way_through_tunnel h3 h3"];
    for device in ["tunl0", "vxlan.calico", "wireguard.cali", "cali-a"] {
        let line = format!("172.18.1.0/24 dev {device} proto static");
        assert_eq!(found(|it| done(it.with(&line))), through, "{device}");
    }
    // One of several ways is enough to lose packets.
    assert_eq!(
        found(|it| done(
            it.with("172.18.1.0/24 nexthop via 172.18.0.254 dev eth0 nexthop via 172.18.0.2 dev tunl0 proto static")
        )),
        through
    );
}

#[test]
fn j44_what_another_finding_or_nobody_says() {
    // The block that holds the Node's address is the cause (J34).
    let mut host = healthy();
    host.node("h3", |it| it.bgp = node("h3", &["10.1.0.80/24"]).bgp);
    assert!(host.audit(None).0.findings(at(0)).is_empty());
    // Nothing is routed to it.
    clean(|it| {
        stranger(it, "192.168.77.9/24", None);
        it.with("blackhole 192.168.77.0/24");
    });
    // The address is this host's too, or the Node has none.
    clean(|it| {
        it.link("eth1").addresses.push(net("192.168.77.9/24"));
        stranger(it, "192.168.77.9/24", Some("10.1.9.9"));
        it.with("local 192.168.77.9 dev eth1 table 255");
    });
    // This host has no address of the family.
    clean(|it| {
        it.node("h2", |it| it.bgp = node("h2", &["172.18.0.2/24", "2001:db8::2/64"]).bgp);
    });
    // This host's own address is gone: that says it all.
    assert_eq!(
        found(|it| {
            it.link("eth0").addresses.clear();
            it.without("0.0.0.0/0");
        }),
        ["address_missing h1 h1"]
    );
}

#[test]
fn j44_both_families_each_for_itself() {
    let dual = |it: &mut Host| {
        it.node("h1", |it| it.bgp = node("h1", &["172.18.0.1/24", "2001:db8::1/64"]).bgp);
        it.node("h3", |it| it.bgp = node("h3", &["172.18.1.3/24", "2001:db8:1::3/64"]).bgp);
        it.link("eth0").addresses.push(net("2001:db8::1/64"));
        it.with("2001:db8::/64 dev eth0 proto kernel");
    };
    assert_eq!(found(|it| dual(it)), ["no_way h3 h3"]);
    assert_eq!(
        found(|it| {
            dual(it);
            it.without("0.0.0.0/0");
        }),
        ["no_way h3 h3", "no_way h3 h3"]
    );
    clean(|it| {
        dual(it);
        it.with("2001:db8:1::/64 via 2001:db8::254 dev eth0");
    });
}

#[test]
fn j44_an_event_asks_about_the_nodes_that_it_touches() {
    let (mut audit, mut state) = healthy().audit(Some(Duration::from_secs(120)));
    let route = super::route("blackhole 172.18.1.0/24").unwrap();
    let key = route.key();
    state.apply(Event::Route(route), Duration::from_secs(1));
    let mut refresh = |audit: &mut RouteAudit, event: Option<Event>, seconds| {
        if let Some(event) = event {
            state.apply(event, Duration::from_secs(seconds));
        }
        let changes = state.take_changes();
        audit.refresh(&state, &changes, at(seconds));
        let mut found: Vec<String> = audit.findings(at(seconds)).iter().map(told).collect();
        found.sort();
        found
    };
    assert_eq!(refresh(&mut audit, None, 1), [""; 0]);
    assert_eq!(audit.next_due(at(1)), Some(Duration::from_secs(121)));
    // Stood for, however long it stands.
    let lost = super::route("10.3.0.128/26 via 172.18.1.3 dev tunl0 proto 80").unwrap().key();
    assert_eq!(refresh(&mut audit, Some(Event::RouteGone(lost)), 2), [""; 0]);
    assert_eq!(refresh(&mut audit, None, 121), ["no_way h3 h3"]);
    assert_eq!(refresh(&mut audit, None, 500), ["no_way h3 h3"]);
    // The findings that it stood for are reported once it is gone.
    assert_eq!(refresh(&mut audit, Some(Event::RouteGone(key)), 501), ["remote_block/missing 10.3.0.128/26 h3"]);
}
