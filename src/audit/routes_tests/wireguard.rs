//! WireGuard before the main table (J43).

use super::*;
use crate::audit::tunnel_entries::TunnelAudit;
use crate::state::Changes;

/// Three hosts' keys.
const KEYS: [&str; 3] = [
    "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
    "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",
    "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=",
];

/// Felix's: everything but what is encrypted already.
fn felix_rule(table: u32) -> PolicyRule {
    PolicyRule { inverted: true, mark: Some((0x10_0000, 0x10_0000)), ..to_table(99, table) }
}

/// What goes to h2, h3 and this host itself.
const TABLE: &str = "
    10.1.0.64/26 dev wireguard.cali table 1
    10.2.0.64/26 dev wireguard.cali table 1
    10.3.0.64/26 dev wireguard.cali table 1
    10.4.0.64/26 dev wireguard.cali table 1
    10.4.0.65 dev wireguard.cali table 1
    10.1.0.128/26 dev wireguard.cali table 1
    10.2.0.128/26 dev wireguard.cali table 1
    10.3.0.128/26 dev wireguard.cali table 1
    10.4.0.128/26 dev wireguard.cali table 1
    10.4.0.70 dev wireguard.cali table 1
    throw 10.1.0.0/26 table 1
    throw 10.2.0.0/26 table 1
    throw 10.3.0.0/26 table 1
    throw 10.4.0.0/26 table 1";

/// The healthy host, with WireGuard to both others.
fn encrypting() -> Host {
    let mut host = without_rules();
    host.rules(vec![felix_rule(1)]);
    host
}

/// The same, of which the rules were not read.
fn without_rules() -> Host {
    let mut host = healthy();
    host.felix(|felix| felix.wireguard_enabled = Some(true));
    for (index, (name, _)) in HOSTS.into_iter().enumerate() {
        host.node(name, |node| {
            node.wireguard_key_v4 = Some(KEYS[index].to_owned());
            node.tunnels.insert(TunnelKind::WireguardV4, address(&format!("10.4.0.{}", index * 64 + 1)));
        });
    }
    host.links.push(Link { mtu: 1400, ..link(9, "wireguard.cali", &["10.4.0.1/32"]) });
    host.routes.extend(TABLE.lines().filter_map(route));
    // BIRD leaves what WireGuard takes out (3.33).
    host.without("10.4.0.64/26").without("10.4.0.70").without("10.4.0.128/26");
    host
}

#[track_caller]
fn found(change: impl FnOnce(&mut Host)) -> Vec<String> {
    let mut host = encrypting();
    change(&mut host);
    host.faults()
}

#[track_caller]
fn clean(change: impl FnOnce(&mut Host)) {
    assert_eq!(found(change), [""; 0]);
}

/// What another finding stands for counts as expected and is not there.
#[track_caller]
fn silent(change: impl FnOnce(&mut Host)) {
    let mut host = encrypting();
    change(&mut host);
    assert_eq!(host.audit(None).0.findings(at(0)), []);
}

fn plain(subject: &str, class: &str, host: &str) -> String {
    format!("{class}/wrong_encapsulation {subject} {host}")
}

#[test]
fn j43_healthy_and_counted_as_wireguards() {
    clean(|_| {});
    let (audit, state) = encrypting().audit(None);
    let report = audit.report(&state, at(0));
    let count = |class| report.actual.get(&(class, Encapsulation::Wireguard)).copied().unwrap_or_default();
    // Eight blocks of two hosts; one borrowed address; three tunnel addresses of each.
    assert_eq!(
        (count(RouteClass::RemoteBlock), count(RouteClass::Borrowed), count(RouteClass::TunnelAddress)),
        (8, 1, 6)
    );
    assert_eq!(report.actual.keys().filter(|(_, it)| *it == Encapsulation::Ipip).count(), 0);
    for pool in ["vxlan", "cross", "ipip", "plain"] {
        assert_eq!(report.tunnel_modes[pool].observed, TunnelMode::Wireguard, "{pool}");
    }
}

#[test]
fn j43_the_main_tables_route_is_no_more_than_a_fallback() {
    clean(|it| done(it.without("10.1.0.64/26").without("10.3.0.128/26")));
    clean(|it| done(it.with("10.3.0.64/26 via 172.18.1.3 dev eth0 proto 80")));
    clean(|it| done(it.with("10.4.0.64/26 via 172.18.0.2 dev eth0 proto bird")));
}

#[test]
fn j43_a_peer_that_the_table_lacks_is_reached_in_plaintext() {
    let missing = found(|it| {
        for line in ["10.1.0.128/26", "10.2.0.128/26", "10.3.0.128/26", "10.4.0.128/26", "10.4.0.70"] {
            it.without(&format!("{line} table 1"));
        }
    });
    assert_eq!(
        missing,
        [
            // From h2's block, which goes to h2 now.
            plain("10.1.0.128", "tunnel_address", "h3"),
            plain("10.3.0.128", "tunnel_address", "h3"),
            plain("10.4.0.129", "tunnel_address", "h3"),
            plain("10.1.0.128/26", "remote_block", "h3"),
            plain("10.2.0.128/26", "remote_block", "h3"),
            plain("10.3.0.128/26", "remote_block", "h3"),
            plain("10.4.0.128/26", "remote_block", "h3"),
        ]
        .into_iter()
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect::<Vec<_>>()
    );
    let (audit, _) = {
        let mut host = encrypting();
        host.without("10.2.0.64/26 table 1");
        host.audit(None)
    };
    let [finding] = &audit.findings(at(0))[..] else { panic!() };
    assert!(finding.detail.contains("in plaintext"), "{}", finding.detail);
    assert_eq!(finding.expected, "10.2.0.64/26 dev wireguard.cali, wireguard");
    assert_eq!(finding.actual, "10.2.0.64/26 via 172.18.0.2 dev eth0 proto 80");
    // One block, by the default route, by a throw, and by nothing.
    let block = "10.4.0.64/26 table 1";
    assert_eq!(
        found(|it| done(it.without(block).without("10.4.0.65 table 1")))[0],
        plain("10.4.0.64/26", "remote_block", "h2")
    );
    assert_eq!(
        found(|it| done(it.with("throw 10.3.0.64/26 table 1"))),
        [plain("10.3.0.64/26", "remote_block", "h2"), plain("10.3.0.64", "tunnel_address", "h2")]
    );
    assert_eq!(
        found(|it| done(it.without("10.2.0.64/26 table 1").with("blackhole 10.2.0.64/26"))),
        ["remote_block/wrong_type 10.2.0.64/26 h2"]
    );
}

#[test]
fn j43_one_fault_of_the_device_or_the_rule_stands_for_all() {
    // As the kernel leaves it when the device goes.
    let device = |it: &mut Host| it.routes.retain(|route| route.table == TABLE_MAIN || route.next_hops.is_empty());
    assert_eq!(
        found(|it| {
            it.unlink("wireguard.cali");
            device(it);
        }),
        ["wireguard.cali/missing wireguard.cali h1"]
    );
    assert_eq!(
        found(|it| {
            it.link("wireguard.cali").admin_up = false;
            device(it);
        }),
        ["wireguard.cali/down wireguard.cali h1"]
    );
    // The audit of tunnels reports the rule.
    silent(|it| done(it.rules(vec![])));
    let mut host = encrypting();
    host.rules(vec![]);
    let (audit, state) = host.audit(None);
    let mut beneath = TunnelAudit::new(audit.options.clone());
    beneath.refresh(&state, &Changes { everything: true, ..Changes::default() }, at(0));
    assert_eq!(
        beneath.findings(&state, at(0)).iter().map(told).collect::<Vec<_>>(),
        ["wireguard.cali/rule_missing wireguard.cali h1"]
    );
}

#[test]
fn j43_the_table_is_the_one_that_the_rule_leads_to() {
    clean(|it| {
        it.routes.iter_mut().filter(|route| route.table == 1).for_each(|route| route.table = 77);
        it.rules(vec![felix_rule(77)]);
    });
    // A rule before it that leads elsewhere is another's fault.
    let elsewhere = found(|it| {
        it.with("10.0.0.0/8 dev vpn0 table 52").rules(vec![felix_rule(1), to_table(52, 52)]);
    });
    assert!(!elsewhere.is_empty() && elsewhere.iter().all(|it| it.contains("/diverted ")), "{elsewhere:?}");
}

#[test]
fn j43_hosts_without_a_key_are_reached_by_the_main_table() {
    let without_key = |it: &mut Host, key: Option<&str>| {
        it.node("h3", |node| node.wireguard_key_v4 = key.map(str::to_owned));
        for line in ["10.1.0.128/26", "10.2.0.128/26", "10.3.0.128/26", "10.4.0.128/26", "10.4.0.70"] {
            it.with(&format!("throw {line} table 1"));
        }
        it.with("10.4.0.128/26 via 172.18.0.254 dev eth0 proto bird")
            .with("10.4.0.70 via 172.18.0.254 dev eth0 proto bird");
    };
    // No key, one of 31 bytes, none at all, and the zeros that Felix writes where the kernel has no WireGuard.
    for key in [
        None,
        Some("AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=="),
        Some("?"),
        Some("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    ] {
        clean(|it| without_key(it, key));
        // Judged as ever.
        assert_eq!(
            found(|it| {
                without_key(it, key);
                it.without("10.3.0.128/26");
            }),
            ["remote_block/missing 10.3.0.128/26 h3"]
        );
        let swallowed = found(|it| {
            without_key(it, key);
            it.with("10.3.0.128/26 dev wireguard.cali table 1");
        });
        assert_eq!(swallowed, [plain("10.3.0.128/26", "remote_block", "h3")]);
    }
    let mut host = encrypting();
    without_key(&mut host, None);
    let (audit, state) = host.audit(None);
    let modes = audit.report(&state, at(0)).tunnel_modes;
    // Half with keys: the routes beneath show the mode.
    assert_eq!((modes["ipip"].observed, modes["vxlan"].observed), (TunnelMode::IpipAlways, TunnelMode::VxlanAlways));
}

#[test]
fn j43_what_is_no_peers_and_goes_into_the_device_is_blackholed() {
    let local = found(|it| {
        it.without("10.1.0.0/26 table 1").with("10.1.0.0/16 dev wireguard.cali table 1");
    });
    assert_eq!(local, ["local_block/wrong_type 10.1.0.0/26 h1", "local_workload/wrong_encapsulation 10.1.0.5 h1"]);
    let (audit, _) = {
        let mut host = encrypting();
        host.with("10.1.0.5 dev wireguard.cali table 1");
        host.audit(None)
    };
    let [finding] = &audit.findings(at(0))[..] else { panic!() };
    assert!(finding.detail.contains("blackholed by WireGuard"), "{}", finding.detail);
}

#[test]
fn j43_a_key_that_two_show_is_nobodys() {
    let shared = |it: &mut Host| {
        it.node("h3", |node| node.wireguard_key_v4 = Some(KEYS[1].to_owned()));
        for route in it.routes.iter_mut().filter(|route| route.table == 1) {
            route.kind = RouteType::Throw;
            route.next_hops = Default::default();
        }
        for (line, via) in
            [("10.4.0.64/26", "172.18.0.2"), ("10.4.0.128/26", "172.18.0.254"), ("10.4.0.70", "172.18.0.254")]
        {
            it.with(&format!("{line} via {via} dev eth0 proto bird"));
        }
    };
    clean(shared);
    let mut host = encrypting();
    shared(&mut host);
    let twice = |host: &Host| {
        let found = crate::audit::wireguard::duplicate_keys(host.cluster.datastore());
        found.iter().map(told).collect::<Vec<_>>()
    };
    assert_eq!(twice(&host), ["wireguard_key_duplicate h2 h2", "wireguard_key_duplicate h3 h3"]);
    assert_eq!(twice(&encrypting()), [""; 0]);
    // Nobody encrypts: a key left over.
    host.felix(|felix| felix.wireguard_enabled = None);
    assert_eq!(twice(&host), [""; 0]);
    // This host's own: whether others take it for a peer, their routes do not say here.
    clean(|it| done(it.node("h3", |node| node.wireguard_key_v4 = Some(KEYS[0].to_owned()))));
}

#[test]
fn j13_a_device_and_a_node_without_address() {
    let nodes = |it: &mut Host| done(it.node("h1", |node| done(node.tunnels.remove(&TunnelKind::WireguardV4))));
    let bare = ["wireguard.cali/address_missing wireguard.cali h1"];
    // Felix routes all the same.
    assert_eq!(
        found(|it| {
            nodes(it);
            it.link("wireguard.cali").addresses.clear();
        }),
        bare
    );
    assert_eq!(found(nodes), ["wireguard.cali/address_unexpected wireguard.cali h1"]);
    // Enabled in calico-node's environment alone, as it was seen with IPv6: the key says so.
    assert_eq!(
        found(|it| {
            nodes(it);
            it.link("wireguard.cali").addresses.clear();
            it.felix(|felix| felix.wireguard_enabled = None);
        }),
        bare
    );
    let v6 = |it: &mut Host, address: Option<&str>| {
        it.node("h1", |node| {
            node.wireguard_key_v6 = Some(KEYS[0].to_owned());
            node.bgp = crate::audit::testing::node("h1", &["172.18.0.1/24", "2001:db8::1/64"]).bgp;
            node.tunnels.extend(address.map(|it| (TunnelKind::WireguardV6, super::address(it))));
        });
        it.link("eth0").addresses.push(net("2001:db8::1/64"));
        it.with("2001:db8::/64 dev eth0 proto kernel");
        it.links.push(Link { mtu: 1400, ..link(10, "wg-v6.cali", &["fe80::1/64"]) });
    };
    assert_eq!(found(|it| v6(it, None)), ["wg-v6.cali/address_missing wg-v6.cali h1"]);
    clean(|it| {
        v6(it, Some("fd00::1"));
        it.link("wg-v6.cali").addresses.push(net("fd00::1/128"));
    });
    // A peer whose own host has the fault is no fault here, whichever way is taken.
    let peer = |it: &mut Host| done(it.node("h2", |node| done(node.tunnels.remove(&TunnelKind::WireguardV4))));
    clean(peer);
    clean(|it| {
        peer(it);
        it.with("throw 10.2.0.64/26 table 1");
    });
}

#[test]
fn j43_host_encryption_takes_the_nodes_addresses() {
    // By the setting; and on EKS and AKS by calico-node's environment: the device has the Node's own address.
    let by_setting = |it: &mut Host| {
        it.felix(|felix| {
            felix.wireguard_enabled = Some(true);
            felix.wireguard_host_encryption = Some(true);
        });
    };
    let by_environment = |it: &mut Host| {
        for (host, _) in HOSTS {
            it.node(host, |node| done(node.tunnels.remove(&TunnelKind::WireguardV4)));
        }
        it.link("wireguard.cali").addresses = vec![net("172.18.0.1/32")];
        it.without("10.4.0.65 table 1");
    };
    let nodes = |it: &mut Host| {
        it.with("172.18.0.2 dev wireguard.cali table 1").with("172.18.1.3 dev wireguard.cali table 1");
    };
    for mode in [by_setting as fn(&mut Host), by_environment] {
        clean(|it| {
            mode(it);
            nodes(it);
        });
        let one = found(|it| {
            mode(it);
            nodes(it);
            it.without("172.18.1.3 table 1");
        });
        assert_eq!(one, [plain("172.18.1.3", "tunnel_address", "h3")]);
    }
    // Without it, such a way is the tunnel's own.
    assert_eq!(found(|it| nodes(it)), ["way_through_tunnel h2 h2", "way_through_tunnel h3 h3"]);
}

#[test]
fn j43_what_was_not_read_is_not_judged() {
    // No rules, and nothing but the main table.
    let mut host = without_rules();
    assert_eq!(host.without("10.2.0.64/26 table 1").faults(), [""; 0]);
    clean(|it| it.routes.retain(|route| route.table == TABLE_MAIN));
}

#[test]
fn j43_an_event_touches_what_it_changes() {
    let (mut audit, mut state) = encrypting().audit(Some(Duration::from_secs(120)));
    let mut refresh = |audit: &mut RouteAudit, event: Event, seconds| {
        state.apply(event, Duration::from_secs(seconds));
        let changes = state.take_changes();
        audit.refresh(&state, &changes, at(seconds));
        audit.findings(at(seconds + 120)).iter().map(told).collect::<Vec<_>>()
    };
    let gone = route("10.2.0.64/26 dev wireguard.cali table 1").unwrap();
    assert_eq!(refresh(&mut audit, Event::RouteGone(gone.key()), 1), [plain("10.2.0.64/26", "remote_block", "h2")]);
    assert_eq!(audit.judged, 1);
    // A wider one takes its place: for all that lies in it.
    let wider = route("10.2.0.0/16 dev wireguard.cali table 1").unwrap();
    assert_eq!(refresh(&mut audit, Event::Route(wider), 2), [""; 0]);
    assert!((3..=4).contains(&audit.judged), "{}", audit.judged);
    let rules = vec![to_table(0, 255), to_table(32766, TABLE_MAIN)];
    refresh(&mut audit, Event::Rules(Family::V4, rules), 3);
    assert!(audit.judged > 15, "{}", audit.judged);
}
