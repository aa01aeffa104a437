use std::time::Duration;

use super::*;
use crate::model::{NextHop, Protocol};
use crate::state::{Event, Side, State};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn route(table: u32, destination: &str, kind: RouteType, device: &str) -> Route {
    let hop = NextHop { gateway: None, device: Some(device.into()), down: false, onlink: false };
    let next_hops = if kind.has_next_hops() { [hop].into() } else { [].into() };
    Route {
        table,
        destination: net(destination),
        metric: 0,
        tos: 0,
        kind,
        protocol: Protocol::STATIC,
        link_scope: false,
        next_hops,
    }
}

/// Main leads to `tunl0`, table 52 to `tailscale0`.
fn state() -> State {
    let mut state = State::new(false);
    let routes = [
        route(TABLE_MAIN, "10.1.0.0/26", RouteType::Unicast, "tunl0"),
        route(TABLE_MAIN, "0.0.0.0/0", RouteType::Unicast, "eth0"),
        route(52, "10.0.0.0/8", RouteType::Unicast, "tailscale0"),
        route(53, "10.1.0.0/16", RouteType::Throw, ""),
        route(53, "0.0.0.0/0", RouteType::Unicast, "vpn0"),
        route(54, "10.1.0.0/24", RouteType::Blackhole, ""),
        route(TABLE_LOCAL, "192.0.2.1/32", RouteType::Local, "eth0"),
    ];
    for event in
        [Event::Resync(Side::Kernel)].into_iter().chain(routes.map(Event::Route)).chain([Event::Synced(Side::Kernel)])
    {
        state.apply(event, Duration::ZERO);
    }
    state
}

fn rule(priority: u32, action: RuleAction) -> PolicyRule {
    PolicyRule { priority, action, ..default_rules(Family::V4)[0].clone() }
}

fn to(table: u32, priority: u32) -> PolicyRule {
    rule(priority, RuleAction::Table(table))
}

/// Where a pod's and the host's packet to 10.1.0.7 leave, with these rules between local and main.
fn ways(extra: Vec<PolicyRule>) -> [String; 2] {
    let state = state();
    let mut rules = default_rules(Family::V4);
    rules.extend(extra);
    rules.sort_by_key(|it| it.priority);
    let destination = net("10.1.0.7/32");
    let pod = Packet::of_pod(destination, "10.1.9.4".parse().unwrap(), "cali1".into());
    [pod, Packet::of_host(destination)].map(|packet| match decide(&state.kernel, Some(&rules), &packet).outcome {
        Outcome::By(route) if route.kind == RouteType::Unicast => {
            route.next_hops[0].device.as_deref().unwrap().to_owned()
        }
        Outcome::By(route) => route.kind.as_str().to_owned(),
        other => format!("{other:?}"),
    })
}

#[test]
fn rules_of_others_and_what_they_do_to_a_packet() {
    type Change = fn(PolicyRule) -> PolicyRule;
    let from = |prefix: &str| PolicyRule { from: Some(net(prefix)), ..to(52, 100) };
    let with = |rule: PolicyRule, change: Change| change(rule);
    let main = ["tunl0", "tunl0"];
    for (what, rules, expected) in [
        ("no rule of anybody's", vec![], main),
        ("a VPN client's table", vec![to(52, 5270)], ["tailscale0", "tailscale0"]),
        ("after main", vec![to(52, 40000)], main),
        ("a table without a route", vec![to(99, 100)], main),
        ("a source rule for pods", vec![from("10.1.0.0/16")], ["tailscale0", "tunl0"]),
        ("a source rule for others", vec![from("192.0.2.0/24")], main),
        ("a mark", vec![with(to(52, 100), |it| PolicyRule { mark: Some((1, 1)), ..it })], main),
        ("no mark", vec![with(to(52, 100), |it| PolicyRule { mark: Some((0, 1)), ..it })], ["tailscale0"; 2]),
        (
            "not marked, as WireGuard's",
            vec![with(to(52, 100), |it| PolicyRule { mark: Some((1, 1)), inverted: true, ..it })],
            ["tailscale0"; 2],
        ),
        (
            "the host's own",
            vec![with(to(52, 100), |it| PolicyRule { input: Some("lo".into()), ..it })],
            ["tunl0", "tailscale0"],
        ),
        (
            "a pod's device",
            vec![with(to(52, 100), |it| PolicyRule { input: Some("cali1".into()), ..it })],
            ["tailscale0", "tunl0"],
        ),
        ("a bound socket's", vec![with(to(52, 100), |it| PolicyRule { output: Some("eth0".into()), ..it })], main),
        ("ports, users", vec![with(to(52, 100), |it| PolicyRule { selective: true, ..it })], main),
        ("throw goes on", vec![to(53, 100)], main),
        ("a blackhole", vec![to(54, 100)], ["blackhole", "blackhole"]),
        ("a rule that refuses", vec![rule(100, RuleAction::Prohibit)], ["Refused", "Refused"]),
        ("a jump over it", vec![rule(50, RuleAction::Goto(32766)), to(52, 100)], main),
        ("a jump to nowhere", vec![rule(50, RuleAction::Goto(300)), to(52, 100)], ["tailscale0"; 2]),
        ("nop", vec![rule(50, RuleAction::Nop)], main),
        ("suppressed", vec![with(to(52, 100), |it| PolicyRule { suppress_length: Some(8), ..it })], main),
        (
            "longer than suppressed",
            vec![with(to(52, 100), |it| PolicyRule { suppress_length: Some(7), ..it })],
            ["tailscale0", "tailscale0"],
        ),
        (
            "a blackhole is not suppressed",
            vec![with(to(54, 100), |it| PolicyRule { suppress_length: Some(32), ..it })],
            ["blackhole", "blackhole"],
        ),
    ] {
        assert_eq!(ways(rules), expected, "{what}");
    }
}

#[test]
fn what_is_not_understood_may_apply_and_decides_nothing() {
    let state = state();
    let mut rules = default_rules(Family::V4);
    rules.insert(1, PolicyRule { selective: true, ..to(52, 100) });
    // A table that has nothing for the packet does not matter.
    rules.insert(2, PolicyRule { selective: true, ..to(99, 101) });
    let decision = decide(&state.kernel, Some(&rules), &Packet::of_host(net("10.1.0.7/32")));
    assert!(matches!(decision.outcome, Outcome::By(route) if route.table == TABLE_MAIN));
    assert_eq!(decision.may_apply.iter().map(|it| &it.rule).collect::<Vec<_>>(), [&rules[1]]);
    assert_eq!(decision.rule.map(|it| it.priority), Some(32766));
}

#[test]
fn an_address_of_this_host_and_one_that_nothing_leads_to() {
    let state = state();
    let outcome = |to: &str| decide(&state.kernel, None, &Packet::of_host(net(to))).outcome;
    assert_eq!(outcome("192.0.2.1/32"), Outcome::Here);
    assert_eq!(outcome("fd00::1/128"), Outcome::Nowhere);
}
