//! WireGuard's policy rules.

use calico_exporter::model::{Family, Link, NextHop, PolicyRule, Protocol, RouteType, RuleAction, TunnelKind};
use calico_exporter::state::Event;

use super::{Host, beneath, done};

/// This host's address on its WireGuard device.
const OWN: &str = "10.201.99.1";

/// vx1 as Felix with WireGuard has it: its rule, its table, and a peer with a key.
fn encrypts(it: &mut Host) {
    it.felix(|felix| felix.wireguard_enabled = Some(true));
    for (name, address) in [("vx1", OWN), ("vx2", "10.201.99.2")] {
        it.node(name, |node| {
            node.wireguard_key_v4 = Some(format!("key of {name}"));
            node.tunnels.insert(TunnelKind::WireguardV4, address.parse().unwrap());
        });
    }
    let index = it.state.kernel.links().map(|link| link.index).max().unwrap() + 1;
    it.event(Event::Link(Link {
        index,
        name: "wireguard.cali".into(),
        kind: Some("wireguard".into()),
        admin_up: true,
        mtu: 1440,
        addresses: vec![format!("{OWN}/32").parse().unwrap()],
        ..Link::default()
    }));
    let mut route = it.state.kernel.main_routes().find(|it| it.kind == RouteType::Unicast).unwrap().clone();
    (route.table, route.protocol) = (1, Protocol::FELIX);
    route.destination = "10.201.25.128/26".parse().unwrap();
    route.next_hops = [NextHop { device: Some("wireguard.cali".into()), ..route.next_hops[0].clone() }].into();
    it.event(Event::Route(route));
}

fn rule(priority: u32, table: u32) -> PolicyRule {
    PolicyRule {
        inverted: table == 1,
        mark: (table == 1).then_some((0x10_0000, 0x10_0000)),
        ..PolicyRule::for_all(Family::V4, priority, RuleAction::Table(table))
    }
}

#[test]
fn without_its_rule_wireguard_encrypts_nothing() {
    let missing = ["wireguard.cali/rule_missing wireguard.cali → vx1"];
    // The recording's IPAM knows none of these addresses, which is not what is asked here.
    let of_rules = |change: &dyn Fn(&mut Host)| {
        let mut found = beneath(|it| {
            encrypts(it);
            change(it);
        });
        found.retain(|it| !it.contains("/not_allocated "));
        found
    };
    let with = |rules: Vec<PolicyRule>| of_rules(&|it| done(it.event(Event::Rules(Family::V4, rules.clone()))));
    let usual = [rule(0, 255), rule(32766, 254), rule(32767, 253)];
    let and = |more: PolicyRule| {
        let mut rules = vec![more];
        rules.extend(usual.clone());
        rules.sort_by_key(|rule| rule.priority);
        rules
    };
    assert_eq!(with(usual.to_vec()), missing);
    assert_eq!(with(and(rule(99, 1))), [""; 0]);
    // Of another priority, or without the mark: what is sent there is encrypted.
    assert_eq!(with(and(rule(7, 1))), [""; 0]);
    assert_eq!(with(and(PolicyRule { inverted: false, mark: None, ..rule(99, 1) })), [""; 0]);
    // Asked after main, for some packets only, or leading to a table that does not encrypt.
    assert_eq!(with(and(rule(40000, 1))), missing);
    assert_eq!(with(and(PolicyRule { from: Some("10.9.0.0/16".parse().unwrap()), ..rule(99, 1) })), missing);
    assert_eq!(with(and(PolicyRule { selective: true, ..rule(99, 1) })), missing);
    assert_eq!(with(and(PolicyRule { inverted: false, ..rule(99, 1) })), missing);
    assert_eq!(with(and(PolicyRule { inverted: false, mark: None, ..rule(99, 7) })), missing);
    // An older rule before it that sends all to main.
    let mut shadowed = and(rule(99, 1));
    shadowed.insert(1, rule(5, 254));
    assert_eq!(with(shadowed), missing);
    // Nobody to talk to, no key shown, not told to.
    for change in [
        (|it: &mut Host| done(it.node("vx2", |node| node.wireguard_key_v4 = None))) as fn(&mut Host),
        |it| done(it.node("vx1", |node| node.wireguard_key_v4 = None)),
        |it| done(it.felix(|felix| felix.wireguard_enabled = None)),
    ] {
        assert_eq!(of_rules(&change), [""; 0]);
    }
}
