//! One cause, said once: what happens to a cluster of 500 hosts, as `check` on one of them says it.

use serde_json::{Value, json};

use crate::support::dumped::{
    Carrier, Dumped, POOL_KEY, address, affinity_key, block_base, block_key, host, node_address, node_key,
};

const HOSTS: usize = 500;

/// The causes as `id findings`, and how many findings there are beside them.
fn causes(cluster: &Dumped) -> (Vec<String>, usize) {
    let (code, answer) = cluster.check_json();
    let findings = answer["findings"].as_array().unwrap();
    assert_eq!(code, i32::from(!findings.is_empty()));
    let causes = answer["causes"].as_array().unwrap();
    for cause in causes {
        let members = findings.iter().filter(|it| it["cause"] == cause["id"]).count();
        assert_eq!(cause["findings"], members, "{cause}");
        for field in ["detail", "action"] {
            assert!(!cause[field].as_str().unwrap().is_empty(), "{cause}");
        }
    }
    let beside = findings.iter().filter(|it| it["cause"] == Value::Null).count();
    if beside > 0 {
        eprintln!("{:#}", findings.iter().find(|it| it["cause"] == Value::Null).unwrap());
    }
    (causes.iter().map(|it| format!("{} {}", it["id"].as_str().unwrap(), it["findings"])).collect(), beside)
}

fn is_remote(route: &Value) -> bool {
    route["dst"].as_str().unwrap().contains('/') && route["type"] == "unicast"
}

#[test]
fn five_hundred_healthy_hosts_have_no_cause() {
    for carrier in [Carrier::Vxlan, Carrier::Bird] {
        assert_eq!(causes(&Dumped::healthy(carrier, HOSTS)), (vec![], 0), "{carrier:?}");
    }
}

#[test]
fn bird_that_is_dead_here_is_one_cause() {
    let mut cluster = Dumped::healthy(Carrier::Bird, HOSTS);
    cluster.routes.retain(|route| route["protocol"] != "bird");
    assert_eq!(causes(&cluster), (vec![format!("programmer_silent/bird IPv4 {HOSTS}")], 0));
}

#[test]
fn felix_that_is_dead_here_is_one_cause() {
    let mut cluster = Dumped::healthy(Carrier::Vxlan, HOSTS);
    // What a reboot leaves: its device came back from a network service, nothing else did.
    cluster.routes.clear();
    assert_eq!(causes(&cluster), (vec![format!("programmer_silent/felix IPv4 {}", HOSTS + 3)], 0));
}

#[test]
fn each_deleted_node_is_one_cause_that_says_whether_the_host_lives() {
    let mut cluster = Dumped::healthy(Carrier::Bird, HOSTS);
    for index in 100..120 {
        cluster.keys.remove(&node_key(index));
    }
    let (found, beside) = causes(&cluster);
    let expected: Vec<String> = (100..120).map(|index| format!("node_gone/host-{index:03} 6")).collect();
    assert_eq!((found, beside), (expected, 0));
}

#[test]
fn a_pool_whose_cidr_was_edited_is_one_cause() {
    let mut cluster = Dumped::healthy(Carrier::Bird, HOSTS);
    cluster.value(POOL_KEY)["spec"]["cidr"] = json!("10.99.0.0/16");
    let (found, beside) = causes(&cluster);
    assert_eq!((found.len(), beside), (1, 0), "{found:?}");
    assert!(found[0].starts_with("pool_changed/10.100.0.0/17 "), "{found:?}");
}

#[test]
fn a_pool_whose_block_size_was_edited_is_one_cause() {
    let mut cluster = Dumped::healthy(Carrier::Vxlan, HOSTS);
    cluster.value(POOL_KEY)["spec"]["blockSize"] = json!(28);
    assert_eq!(causes(&cluster), (vec![format!("pool_changed/pods {HOSTS}")], 0));
}

#[test]
fn a_mode_that_half_of_the_routes_have_not_followed_is_one_cause() {
    let mut cluster = Dumped::healthy(Carrier::Bird, HOSTS);
    cluster.value(POOL_KEY)["spec"]["ipipMode"] = json!("Never");
    for route in cluster.routes.iter_mut().filter(|it| is_remote(it)).step_by(2) {
        route["dev"] = json!("eth0");
    }
    assert_eq!(causes(&cluster), (vec!["mode_not_rolled_out/pods 249".to_owned()], 0));
}

#[test]
fn reflectors_that_are_dead_are_one_cause() {
    let mut cluster = Dumped::healthy(Carrier::Bird, HOSTS);
    let resources = "/calico/resources/v3/projectcalico.org";
    cluster.keys.insert(
        format!("{resources}/bgpconfigurations/default"),
        json!({"metadata": {"name": "default"}, "spec": {"nodeToNodeMeshEnabled": false, "asNumber": 64512}}),
    );
    for index in [498, 499] {
        cluster.value(&node_key(index))["metadata"]["labels"] = json!({"reflector": "true"});
        cluster.value(&node_key(index))["spec"]["bgp"]["routeReflectorClusterID"] = json!("244.0.0.1");
    }
    cluster.keys.insert(
        format!("{resources}/bgppeers/to-reflectors"),
        json!({"metadata": {"name": "to-reflectors"}, "spec": {"nodeSelector": "all()", "peerSelector": "reflector == 'true'"}}),
    );
    assert_eq!(causes(&cluster), (vec![], 0), "healthy over reflectors");
    cluster.routes.retain(|route| !is_remote(route));
    assert_eq!(causes(&cluster), (vec![format!("programmer_silent/bird IPv4 {}", HOSTS - 1)], 0));
}

#[test]
fn a_host_that_no_right_route_leads_to_is_one_cause() {
    let mut cluster = Dumped::healthy(Carrier::Bird, 10);
    cluster.route(7)["gateway"] = json!(node_address(8));
    assert_eq!(causes(&cluster), (vec!["host_unreachable/host-007 1".to_owned()], 0));
    // It has a second block, to which the route is right.
    let second = Dumped::healthy(Carrier::Bird, 12);
    for key in [block_key(11), affinity_key(11)] {
        let moved = key.replace(&host(11), &host(7));
        let value = second.keys[&key].to_string().replace(&host(11), &host(7));
        cluster.keys.insert(moved, serde_json::from_str(&value).unwrap());
    }
    let mut route = second.routes.last().unwrap().clone();
    route["gateway"] = json!(node_address(7));
    cluster.routes.push(route);
    assert_eq!(causes(&cluster).0, [""; 0]);
}

#[test]
fn a_programmer_is_silent_from_nineteen_of_twenty_routes_on() {
    for (left, silent) in [(0, true), (3, true), (4, false)] {
        let mut cluster = Dumped::healthy(Carrier::Bird, 60);
        let total = cluster.routes.iter().filter(|it| it["protocol"] == "bird").count();
        assert_eq!(total, 60);
        let mut seen = 0;
        cluster.routes.retain(|route| {
            seen += usize::from(route["protocol"] == "bird");
            route["protocol"] != "bird" || seen <= left
        });
        let (found, _) = causes(&cluster);
        assert_eq!(
            found.len() == 1 && found[0].starts_with("programmer_silent/bird"),
            silent,
            "{left} left: {found:?}"
        );
    }
    // Two routes are no pattern.
    let mut cluster = Dumped::healthy(Carrier::Bird, 2);
    cluster.routes.retain(|route| route["protocol"] != "bird");
    assert_eq!(causes(&cluster), (vec!["host_unreachable/host-001 1".to_owned()], 1));
}

#[test]
fn a_former_mode_takes_three_routes_that_agree() {
    let wrapped = |routes: &[(usize, &str)]| {
        let mut cluster = Dumped::healthy(Carrier::Vxlan, 10);
        cluster.link(9, "tunl0", "", 0);
        for (index, device) in routes {
            cluster.route(*index)["dev"] = json!(device);
        }
        causes(&cluster).0
    };
    assert_eq!(wrapped(&[(1, "tunl0"), (2, "tunl0"), (3, "tunl0")]), ["mode_not_rolled_out/pods 3"]);
    let hosts = ["host_unreachable/host-001 1", "host_unreachable/host-002 1", "host_unreachable/host-003 1"];
    assert_eq!(wrapped(&[(1, "tunl0"), (2, "tunl0")]), hosts[..2]);
    assert_eq!(wrapped(&[(1, "tunl0"), (2, "tunl0"), (3, "eth0")]), hosts);
}

#[test]
fn a_tunnel_device_that_is_missing_stands_for_its_routes() {
    let mut cluster = Dumped::healthy(Carrier::Vxlan, 10);
    cluster.links.retain(|link| link["ifname"] != "vxlan.calico");
    cluster.routes.retain(|route| route["dev"] != "vxlan.calico");
    assert_eq!(causes(&cluster), (vec!["tunnel_device/vxlan.calico 1".to_owned()], 0));
}

#[test]
fn keys_without_any_block_are_lost_data() {
    let mut cluster = Dumped::healthy(Carrier::Vxlan, 5);
    cluster.keys.retain(|key, _| !key.contains("/assignment/"));
    let (found, beside) = causes(&cluster);
    assert_eq!(beside, 0, "{found:?}");
    assert!(found.len() == 1 && found[0].starts_with("ipam_data_lost/ipam "), "{found:?}");
}

#[test]
fn three_handles_without_allocation_are_one_cause_and_two_are_none() {
    for (handles, expected) in [(2, (vec![], 2)), (3, (vec!["handles_left_over/handles 3".to_owned()], 0))] {
        let mut cluster = Dumped::healthy(Carrier::Vxlan, 5);
        for number in 0..handles {
            let value = json!({"block": {format!("{}/26", block_base(1)): 1}, "deleted": false});
            cluster.keys.insert(format!("/calico/ipam/v2/handle/left-{number}"), value);
        }
        assert_eq!(causes(&cluster), expected);
    }
}

/// What a person reads.
fn told(cluster: &Dumped, flags: &[&str]) -> String {
    let output = cluster.check(flags);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    if let Some(file) = std::env::var_os("SHOW") {
        use std::io::Write as _;
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
        writeln!(file, "{text}================").unwrap();
    }
    text
}

#[test]
fn a_cause_of_five_hundred_hosts_takes_forty_lines_of_eighty_columns() {
    let mut bird = Dumped::healthy(Carrier::Bird, HOSTS);
    bird.routes.retain(|route| route["protocol"] != "bird");
    let mut felix = Dumped::healthy(Carrier::Vxlan, HOSTS);
    felix.routes.clear();
    let mut nodes = Dumped::healthy(Carrier::Bird, HOSTS);
    for index in 100..120 {
        nodes.keys.remove(&node_key(index));
    }
    let mut pool = Dumped::healthy(Carrier::Bird, HOSTS);
    pool.value(POOL_KEY)["spec"]["cidr"] = json!("10.99.0.0/16");
    let mut mode = Dumped::healthy(Carrier::Bird, HOSTS);
    mode.value(POOL_KEY)["spec"]["ipipMode"] = json!("Never");
    for (name, cluster, counts) in [
        ("bird", bird, "1 critical · 0 warnings · 0 info"),
        ("felix", felix, "1 critical · 0 warnings · 0 info"),
        ("nodes", nodes, "0 critical · 20 warnings · 0 info"),
        ("pool", pool, "0 critical · 1 warning · 0 info"),
        ("mode", mode, "0 critical · 1 warning · 0 info"),
    ] {
        let text = told(&cluster, &[]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() <= 40, "{name}: {} lines\n{text}", lines.len());
        assert!(lines[0] == counts && lines.last() == Some(&counts), "{name}: {text}");
        // A word that is longer stays whole: a link, a series.
        let wide =
            |line: &&&str| line.chars().count() > 80 && !line.contains("reason=") && !line.contains("runbook.md");
        assert_eq!(lines.iter().find(wide), None, "{name}");
        assert!(text.contains("not seen: ") && text.contains("runbook.md#"), "{name}: {text}");
        assert!(!text.contains('\u{1b}'), "{name}: no colour where it is no terminal");
    }
}

#[test]
fn a_series_shows_five_rows_and_all_of_them_where_that_is_asked_for() {
    let mut cluster = Dumped::healthy(Carrier::Vxlan, 30);
    for index in 1..=7 {
        // In one block of each host an address is lost.
        cluster.value(&block_key(index))["unallocated"].as_array_mut().unwrap().retain(|it| *it != json!(40));
    }
    let text = told(&cluster, &[]);
    let rows = |text: &str| text.lines().filter(|line| line.trim_start().starts_with("10.100.")).count();
    assert_eq!(rows(&text), 5, "{text}");
    assert!(text.contains("… and 2 more (--all)"), "{text}");
    assert_eq!(text.matches("\n      do  ").count(), 1, "once a group: {text}");
    let whole = told(&cluster, &["--all"]);
    assert_eq!((rows(&whole), whole.contains("more (--all)")), (7, false), "{whole}");
    let order: Vec<usize> = (1..=7).map(|index| whole.find(&address(index, 40)).unwrap()).collect();
    assert!(order.is_sorted(), "as people count: {whole}");
    assert!(told(&cluster, &["--color", "always"]).contains("\u{1b}[1;33mwarning\u{1b}[0m"));
}

#[test]
fn the_worst_comes_first_and_what_is_nearly_used_up_is_said_without_a_fault() {
    let mut cluster = Dumped::healthy(Carrier::Vxlan, 5);
    for number in 0..12 {
        let value = json!({"block": {format!("{}/26", block_base(1)): 1}, "deleted": false});
        cluster.keys.insert(format!("/calico/ipam/v2/handle/left-{number}"), value);
    }
    cluster.links.retain(|link| link["ifname"] != "vxlan.calico");
    let text = told(&cluster, &[]);
    let (tunnel, handles) = (text.find("vxlan.calico").unwrap(), text.find("handles outlived").unwrap());
    assert!(tunnel < handles && text.ends_with("1 critical · 0 warnings · 1 info\n"), "{text}");

    // A pool of eight blocks for eight hosts.
    let mut cluster = Dumped::healthy(Carrier::Vxlan, 8);
    cluster.value(POOL_KEY)["spec"]["cidr"] = json!("10.100.0.0/23");
    let output = cluster.check(&[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "a bound is no fault: {text}");
    assert!(text.contains("100 % of the blocks of pool pods are claimed"), "{text}");
    assert!(!text.contains("nothing is wrong"), "{text}");
}
