//! J41, J42: the destination's own route is right, and another rule, table or program's route takes the packets; beside
//! it what people have on healthy hosts.

use ipnet::IpNet;

use super::*;
use crate::audit::explain::{self, Known, LinkKind, LinkState};
use crate::audit::fault::{Fault, RouteReason};
use crate::audit::judge::Difference;
use crate::model::{Family, PolicyRule, RuleAction};

/// A rule as `ip rule` prints it.
fn rule(line: &str) -> PolicyRule {
    let (priority, rest) = line.split_once(':').unwrap();
    let mut rule = PolicyRule::for_all(Family::V4, priority.parse().unwrap(), RuleAction::Nop);
    let prefix = |text: &str| text.parse().unwrap_or_else(|_| IpNet::from(address(text)));
    let mut words = rest.split_whitespace();
    while let Some(word) = words.next() {
        let mut next = || words.next().unwrap();
        match word {
            "not" => rule.inverted = true,
            "from" => rule.from = Some(next()).filter(|it| *it != "all").map(prefix),
            "to" => rule.to = Some(prefix(next())),
            "fwmark" => {
                let (mark, mask) = next().split_once('/').unwrap();
                let number = |text: &str| u32::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
                rule.mark = Some((number(mark), number(mask)));
            }
            "iif" => rule.input = Some(next().into()),
            "oif" => rule.output = Some(next().into()),
            "lookup" => {
                rule.action = RuleAction::Table(match next() {
                    "main" => TABLE_MAIN,
                    "local" => 255,
                    "default" => 253,
                    number => number.parse().unwrap(),
                });
            }
            "suppress_prefixlength" => rule.suppress_length = Some(next().parse().unwrap()),
            "goto" => rule.action = RuleAction::Goto(next().parse().unwrap()),
            "prohibit" => rule.action = RuleAction::Prohibit,
            "blackhole" => rule.action = RuleAction::Blackhole,
            // `ipproto`, `sport`, `uidrange`, `l3mdev`: what nobody knows of a packet.
            _ => rule.selective = true,
        }
    }
    rule
}

impl Host {
    /// Puts rules between `local` and `main`, and routes beside what is there.
    fn diverted_by(&mut self, rules: &[&str], routes: &[&str]) -> &mut Host {
        let own = ["0: from all lookup local", "32766: from all lookup main", "32767: from all lookup default"];
        let mut all: Vec<PolicyRule> = own.iter().chain(rules).map(|line| rule(line)).collect();
        all.sort_by_key(|it| it.priority);
        self.cluster.event(Event::Rules(Family::V4, all));
        routes.iter().for_each(|line| done(self.beside(line)));
        self
    }
}

#[test]
fn j41_what_others_have_on_healthy_hosts_diverts_nothing() {
    for (what, rules, routes) in [
        ("the kernel's own rules", &[][..], &["10.0.0.0/8 dev tailscale0 table 52"][..]),
        (
            "WireGuard's rule, its peers and its throw routes",
            &["99: not from all fwmark 0x100000/0x100000 lookup 1"],
            &[
                "10.1.0.64/26 dev wireguard.cali table 1",
                "throw 10.2.0.64/26 table 1",
                "throw 10.1.0.0/26 table 1",
                "throw 172.18.0.2 table 1",
            ],
        ),
        (
            "aws: a table for each of other addresses",
            &[
                "512: from all to 10.99.0.5 lookup main",
                "1536: from 10.99.0.5 lookup 2",
                "1024: from all fwmark 0x80/0x80 lookup 2",
            ],
            &["default via 172.18.0.253 dev eth1 table 2", "172.18.0.253 dev eth1 table 2"],
        ),
        (
            "a source that no pod has",
            &["100: from 172.18.0.1 lookup 100"],
            &["default via 192.168.9.254 dev eth1 table 100"],
        ),
        (
            "another's source in this host's network",
            &["100: from 10.1.0.64/26 lookup 100", "101: from 10.2.0.66 lookup 100"],
            &["default via 192.168.9.254 dev eth1 table 100"],
        ),
        (
            "a VRF",
            &["1000: from all lookup 0 l3mdev"],
            &["10.0.0.0/8 dev eth1 table 10", "unreachable default table 10"],
        ),
        (
            "a VPN beside main's prefixes",
            &[
                "32764: from all lookup main suppress_prefixlength 0",
                "32765: not from all fwmark 0xca6c/0xffffffff lookup 51820",
            ],
            &["default dev wg0 table 51820"],
        ),
        ("a table with other routes", &["5270: from all lookup 52"], &["100.64.0.0/10 dev tailscale0 table 52"]),
        ("a table that goes on", &["5270: from all lookup 52"], &["throw 10.0.0.0/8 table 52"]),
        ("a table without routes", &["5270: from all lookup 52"], &[]),
        ("a table that is asked after main", &["32800: from all lookup 52"], &["10.0.0.0/8 dev tailscale0 table 52"]),
        (
            "Cilium's marks",
            &[
                "9: from all fwmark 0x200/0xf00 lookup 2004",
                "10: from all fwmark 0xa00/0xf00 lookup 2005",
                "100: from all lookup local",
            ],
            &["default dev lo table 2004", "default via 10.0.0.1 dev cilium_host table 2005"],
        ),
        ("istio's mark", &["32765: from all fwmark 0x539/0xffffffff lookup 133"], &["default dev lo table 133"]),
        (
            "systemd-networkd's for a second uplink",
            &["32765: from 192.168.9.0/24 lookup 7", "32764: from all to 192.168.9.0/24 lookup 7"],
            &["default via 192.168.9.254 dev eth1 table 7", "192.168.9.0/24 dev eth1 table 7"],
        ),
        ("ports, users, protocols", &["100: from all ipproto tcp lookup 52"], &["10.0.0.0/8 dev tailscale0 table 52"]),
        ("a device of somebody else", &["100: from all iif eth1 lookup 52"], &["10.0.0.0/8 dev tailscale0 table 52"]),
        ("a socket's device", &["100: from all oif tailscale0 lookup 52"], &["10.0.0.0/8 dev tailscale0 table 52"]),
        (
            "a jump to main",
            &["50: from all goto 32766", "100: from all lookup 52"],
            &["10.0.0.0/8 dev tailscale0 table 52"],
        ),
        (
            "the same ways in another table",
            &["100: from all to 10.3.0.0/16 lookup 100", "101: from all to 10.4.0.0/16 lookup 100"],
            &[
                "10.3.0.0/24 via 172.18.0.2 dev tunl0 table 100",
                "10.3.0.128/26 via 172.18.1.3 dev tunl0 table 100",
                "blackhole 10.3.0.0/26 table 100",
                "10.4.0.64/26 via 172.18.0.2 dev eth0 table 100",
                "10.4.0.70 via 172.18.0.254 dev eth0 table 100",
                "10.4.0.128/26 via 172.18.0.254 dev eth0 table 100",
            ],
        ),
        ("ways that are down", &["5270: from all lookup 52"], &["10.0.0.0/8 dev tailscale0 linkdown table 52"]),
        (
            "what is dropped, dropped",
            &["5270: from all to 10.1.0.0/27 lookup 52"],
            &["unreachable 10.1.0.16/28 table 52"],
        ),
    ] {
        let found = found(|it| done(it.diverted_by(rules, routes)));
        assert_eq!(found, [""; 0], "{what}");
    }
}

/// The destinations that are diverted, without class and host; nothing else may be found.
#[track_caller]
fn diverted(change: impl FnOnce(&mut Host)) -> Vec<String> {
    let mut host = healthy();
    change(&mut host);
    let (audit, _) = host.audit(None);
    // A rule that takes the way to a Node as well stands for the routes over it (J44): asked is what is found of each.
    let differences = audit.verdicts.iter().filter_map(|(net, it)| Some((net, it.difference.as_deref()?)));
    let subject = |(net, difference): (&IpNet, &Difference)| {
        assert_eq!(difference.reason, RouteReason::Diverted, "{difference:?}");
        words::destination(net)
    };
    let mut subjects: Vec<String> = differences.map(subject).collect();
    subjects.sort();
    subjects
}

#[test]
fn j41_what_takes_packets_elsewhere_is_found_for_each_destination() {
    let all = [
        "10.1.0.0/26",
        "10.1.0.128/26",
        "10.1.0.5",
        "10.1.0.64/26",
        "10.2.0.0/26",
        "10.2.0.128/26",
        "10.2.0.64/26",
        "10.3.0.0/26",
        "10.3.0.128/26",
        "10.3.0.64/26",
        "10.4.0.0/26",
        "10.4.0.128/26",
        "10.4.0.64/26",
        "10.4.0.70",
    ];
    let tailscale = &["10.0.0.0/8 dev tailscale0 table 52"][..];
    for (what, rules, routes, expected) in [
        ("tailscale", &["5270: from all lookup 52"][..], tailscale, &all[..]),
        (
            "strongSwan",
            &["220: from all lookup 220"],
            &["10.2.0.0/24 via 172.18.0.254 dev eth0 table 220"],
            &["10.2.0.0/26", "10.2.0.128/26", "10.2.0.64/26"],
        ),
        (
            "a provider's rule for a source that pods have",
            &["100: from 10.1.0.0/26 lookup 100"],
            &["10.4.0.0/16 via 192.168.9.254 dev eth1 table 100"],
            &["10.4.0.0/26", "10.4.0.128/26", "10.4.0.64/26", "10.4.0.70"],
        ),
        (
            "of one pod",
            &["100: from 10.1.0.5 lookup 100"],
            &["10.3.0.64/26 via 192.168.9.254 dev eth1 table 100"],
            &["10.3.0.64/26"],
        ),
        (
            "of a pod's device",
            &["100: from all iif cali-a lookup 100"],
            &["10.3.0.64/26 dev eth1 table 100"],
            &["10.3.0.64/26"],
        ),
        (
            "the host's own",
            &["100: from all iif lo lookup 100"],
            &["10.3.0.64/26 dev eth1 table 100"],
            &["10.3.0.64/26"],
        ),
        ("a part of a block", &["220: from all lookup 220"], &["10.2.0.80/28 dev eth1 table 220"], &["10.2.0.64/26"]),
        (
            "a rule for a part of a block",
            &["220: from all to 10.2.0.80/28 lookup 220"],
            &["default dev eth1 table 220"],
            &["10.2.0.64/26"],
        ),
        ("a pod's own route", &["220: from all lookup 220"], &["10.4.0.70 dev eth1 table 220"], &["10.4.0.70"]),
        ("a rule that refuses", &["220: from all to 10.2.0.64/26 prohibit"], &[], &["10.2.0.64/26"]),
        ("a blackhole", &["220: from all lookup 220"], &["blackhole 10.2.0.64/26 table 220"], &["10.2.0.64/26"]),
        (
            "not marked",
            &["99: not from all fwmark 0x100000/0x100000 lookup 1"],
            &["10.2.0.64/26 dev wg0 table 1"],
            &["10.2.0.64/26"],
        ),
        (
            "BIRD's next hop by another router",
            &["220: from all lookup 220"],
            &["10.4.0.128/26 via 172.18.0.253 dev eth0 table 220"],
            &["10.4.0.128/26"],
        ),
        (
            "the right host in the wrong tunnel",
            &["220: from all lookup 220"],
            &["10.3.0.64/26 via 172.18.0.2 dev eth0 table 220"],
            &["10.3.0.64/26"],
        ),
        (
            "several ways",
            &["220: from all lookup 220"],
            &["10.3.0.64/26 nexthop via 172.18.0.2 dev tunl0 nexthop via 172.18.1.3 dev tunl0 table 220"],
            &["10.3.0.64/26"],
        ),
    ] {
        assert_eq!(diverted(|it| done(it.diverted_by(rules, routes))), expected, "{what}");
    }
    // Without any rule that leads to main.
    let nowhere = diverted(|it| {
        it.cluster.event(Event::Rules(Family::V4, vec![rule("0: from all lookup local")]));
    });
    assert_eq!(
        nowhere,
        [
            "10.1.0.128/26",
            "10.1.0.5",
            "10.1.0.64/26",
            "10.2.0.128/26",
            "10.2.0.64/26",
            "10.3.0.128/26",
            "10.3.0.64/26",
            "10.4.0.128/26",
            "10.4.0.64/26",
            "10.4.0.70"
        ]
    );
}

#[test]
fn j41_the_words_of_a_diverted_destination() {
    let mut host = healthy();
    host.diverted_by(
        &["5270: from all lookup 52", "200: from 10.1.0.0/26 lookup 100"],
        &["10.2.0.0/16 dev tailscale0 table 52", "10.4.0.64/26 via 192.168.9.254 dev eth1 proto static table 100"],
    );
    let (audit, _) = host.audit(None);
    let findings = audit.findings(at(0));
    let of = |subject: &str| findings.iter().find(|it| it.subject == subject).unwrap().clone();
    let finding = of("10.2.0.64/26");
    assert_eq!(finding.expected, "10.2.0.64/26 via 172.18.0.2 dev eth0, unencapsulated");
    assert_eq!(finding.actual, "rule 5270: lookup 52: 10.2.0.0/16 dev tailscale0");
    assert_eq!(
        finding.detail,
        "what this host and its pods send to 10.2.0.64/26, a block of h2, takes 10.2.0.0/16 of table 52 by policy rule 5270, though its own route is right"
    );
    assert_eq!(
        finding.action,
        "see `ip rule` and `ip route get 10.2.0.64 from 10.1.0.5 iif cali-a`: keep 10.2.0.0/16 out of what the program behind that rule routes, or send it to the main table before: `ip rule add to 10.2.0.0/16 lookup main priority 5269`"
    );
    assert_eq!(finding.host.as_deref(), Some("h2"));
    let finding = of("10.4.0.64/26");
    assert_eq!(
        finding.actual,
        "rule 200: from 10.1.0.0/26 lookup 100: 10.4.0.64/26 via 192.168.9.254 dev eth1 proto static"
    );
    assert!(
        finding.detail.starts_with("what pods of this host send to 10.4.0.64/26, a block of h2, takes"),
        "{}",
        finding.detail
    );
    assert!(finding.action.contains("ip route get 10.4.0.64 from 10.1.0.5 iif cali-a`"), "{}", finding.action);
}

#[test]
fn j17_a_more_specific_route_of_another_program_is_said_once() {
    let line = "10.4.0.72 via 192.168.9.254 dev eth1 proto static";
    // In an owned block it is foreign, whatever the rules are.
    let foreign = ["borrowed/foreign 10.4.0.72 h1"];
    assert_eq!(found(|it| done(it.with(line))), foreign);
    assert_eq!(found(|it| done(it.diverted_by(&["100: from all lookup 7"], &[line]))), foreign);
    // Where the key alone says whose the block is, it makes the block diverted; equal in effect, it changes nothing.
    let ownerless = |line: &'static str| {
        found(move |it| {
            let block = Block::of("host:h2", "10.4.0.64/26").pod(6, "h3", "b");
            it.cluster.block(Block { owner: None, ..block });
            it.with(line);
        })
    };
    assert_eq!(ownerless(line), ["remote_block/diverted 10.4.0.64/26 h2"]);
    assert_eq!(ownerless("10.4.0.72 via 172.18.0.2 dev eth0 proto static"), [""; 0]);
    // Outside all pools likewise.
    let outside = found(|it| {
        it.delete(ObjectId::Pool("plain".into())).with(line);
    });
    assert!(outside.contains(&"remote_block/diverted 10.4.0.64/26 h2".to_owned()), "{outside:#?}");
}

#[test]
fn what_is_wrong_by_itself_is_not_diverted_beside() {
    let tailscale = (&["5270: from all lookup 52"][..], &["10.2.0.64/26 dev tailscale0 table 52"][..]);
    let wrong = found(|it| {
        it.with("10.2.0.64/26 via 172.18.0.77 dev eth0 proto 80").diverted_by(tailscale.0, tailscale.1);
    });
    assert_eq!(wrong, ["remote_block/wrong_next_hop 10.2.0.64/26 h2"]);
    let missing = found(|it| {
        it.without("10.2.0.64/26").diverted_by(tailscale.0, tailscale.1);
    });
    assert_eq!(missing, ["remote_block/missing 10.2.0.64/26 h2"]);
}

#[test]
fn a_change_of_rules_judges_all_again_and_one_of_another_table_what_lies_in_it() {
    let mut host = healthy();
    host.diverted_by(&["5270: from all lookup 52", "100: from all iif eth1 lookup 100"], &[]);
    let (mut audit, mut state) = host.audit(None);
    let all = audit.judged;
    let mut next = |event: Event| {
        state.apply(event, Duration::ZERO);
        let changes = state.take_changes();
        audit.refresh(&state, &changes, at(1));
        let found: Vec<String> = audit.findings(at(1)).iter().map(|it| it.subject.clone()).collect();
        (audit.judged, found)
    };
    let route = |line: &str| super::route(line).unwrap();
    let (judged, found) = next(Event::Route(route("10.2.0.0/24 dev tailscale0 table 52")));
    assert_eq!((judged, found.len()), (4, 3), "the three blocks inside and the route's own destination: {found:?}");
    let (judged, found) = next(Event::RouteGone(route("10.2.0.0/24 dev tailscale0 table 52").key()));
    assert_eq!((judged, found.len()), (4, 0), "{found:?}");
    let (judged, found) = next(Event::Route(route("10.2.0.80/28 dev tailscale0 table 52")));
    assert_eq!(found, ["10.2.0.64/26"]);
    assert!(judged <= 3, "the block around it: {judged}");
    // Of a table that nothing asks for the packets that count.
    let (judged, _) = next(Event::Route(route("10.3.0.0/24 dev eth1 table 100")));
    assert_eq!(judged, 1);
    let rules = vec![rule("0: from all lookup local"), rule("32766: from all lookup main")];
    let (judged, found) = next(Event::Rules(Family::V4, rules));
    assert!(judged >= all, "{judged}");
    assert_eq!(found, [""; 0]);
}

/// The path's link of the answer about a subject.
fn path_to(host: &Host, subject: &str) -> explain::Link {
    let (audit, state) = host.audit(None);
    let findings = audit.findings(at(0));
    let known = Known { state: &state, findings: &findings, routes: Some(&audit), beneath: None };
    let explained = explain::explain(&known, &subject.parse().unwrap());
    explained.links.into_iter().find(|link| link.kind == LinkKind::Path).unwrap()
}

#[test]
fn j41_explain_calls_a_diverted_destination_a_fault_whatever_the_length_of_the_prefix() {
    for (what, rules, routes, pods_alone) in [
        ("a wider route", &["5270: from all lookup 52"][..], &["10.2.0.0/16 dev tailscale0 table 52"][..], false),
        ("the same prefix", &["5270: from all lookup 52"], &["10.2.0.64/26 dev tailscale0 table 52"], false),
        ("a more specific one", &["5270: from all lookup 52"], &["10.2.0.70 dev tailscale0 table 52"], false),
        ("one that drops", &["5270: from all lookup 52"], &["unreachable 10.2.0.0/16 table 52"], false),
        ("a rule that refuses", &["5270: from all to 10.2.0.0/16 prohibit"], &[], false),
        ("pods alone", &["5270: from 10.0.0.0/8 lookup 52"], &["default dev tailscale0 table 52"], true),
    ] {
        let mut host = healthy();
        host.diverted_by(rules, routes);
        for subject in ["10.2.0.70", "10.2.0.64/26"] {
            let link = path_to(&host, subject);
            assert_eq!(link.state, LinkState::Fault, "{what}, {subject}: {link:#?}");
            assert_eq!(link.findings.len(), 1, "{what}, {subject}: {link:#?}");
            assert!(matches!(link.findings[0].fault, Fault::Route(_, RouteReason::Diverted)), "{what}, {subject}");
            assert!(!link.detail.contains("may be there or not"), "{what}: {}", link.detail);
            assert_eq!(
                link.actual.contains("for this host itself 10.2.0.64/26 via"),
                pods_alone,
                "{what}: {}",
                link.actual
            );
        }
    }
}

#[test]
fn j41_explain_finds_a_wider_route_of_the_same_effect_right_and_says_what_may_apply() {
    let mut host = healthy();
    // Of a key without block the route may be there or not.
    host.delete(ObjectId::Block(net("10.4.0.64/26"))).without("10.4.0.64/26");
    let link = path_to(&host, "10.4.0.64/26");
    assert_eq!(link.state, LinkState::CannotTell, "{link:#?}");
    host.with("10.4.0.0/16 via 172.18.0.2 dev eth0 proto static");
    let link = path_to(&host, "10.4.0.64/26");
    assert_eq!(link.state, LinkState::Ok, "{link:#?}");

    let mut host = healthy();
    let marked = "100: from all fwmark 0x1/0x1 lookup 52";
    let vrf = "1000: from all lookup 0 l3mdev";
    // Asked for by no packet to the same place, of the same effect, or in no table: not worth a word.
    let others = [
        "101: from all fwmark 0x2/0x2 to 10.9.0.0/16 lookup 52",
        "102: from all fwmark 0x4/0x4 lookup main",
        "103: from all fwmark 0x8/0x8 lookup 99",
    ];
    host.diverted_by(&[&[marked, vrf][..], &others].concat(), &["10.0.0.0/8 dev tailscale0 table 52"]);
    let link = path_to(&host, "10.2.0.70");
    assert_eq!(link.state, LinkState::Ok, "{link:#?}");
    assert_eq!(
        link.actual,
        "10.2.0.64/26 via 172.18.0.2 dev eth0 proto 80; rule 100: from all fwmark 0x1/0x1 lookup 52 may apply: 10.0.0.0/8 dev tailscale0 in table 52"
    );
    host.links.push(Link { kind: Some("vrf".into()), ..super::link(40, "vrf-blue", &[]) });
    let link = path_to(&host, "10.2.0.70");
    assert!(link.actual.ends_with("; rule 1000: from all lookup [l3mdev-table] may apply"), "{}", link.actual);
    assert_eq!(link.state, LinkState::Ok);
}

#[test]
fn explain_says_where_it_is_not_known_whether_a_route_that_is_down_is_taken() {
    let mut host = healthy();
    host.diverted_by(&["5270: from all lookup 52"], &["10.2.0.0/16 dev tailscale0 linkdown table 52"]);
    let link = path_to(&host, "10.2.0.64/26");
    assert!(link.actual.contains("ignore_routes_with_linkdown"), "{}", link.actual);
}
