//! What iproute2 prints, read from the recorded hosts and from entries written as iproute2 6.1 prints them.

use std::path::{Path, PathBuf};

use super::*;
use crate::model::{NextHop, Protocol, RouteType, TABLE_MAIN};

fn read_routes(text: &str) -> Result<Vec<Route>, FileError> {
    routes(Path::new("h1.routes.json"), text.as_bytes())
}

fn read_links(text: &str) -> Result<Vec<Link>, FileError> {
    links(Path::new("h1.links.json"), text.as_bytes())
}

fn one(text: &str) -> Route {
    read_routes(&format!("[{text}]")).unwrap().pop().unwrap()
}

fn error(result: Result<Vec<Route>, FileError>) -> String {
    result.unwrap_err().to_string()
}

fn hop(gateway: &str, device: &str, down: bool, onlink: bool) -> NextHop {
    let gateway = (!gateway.is_empty()).then(|| gateway.parse().unwrap());
    NextHop { gateway, device: Some(device.into()), down, onlink }
}

/// Every file under `folder` whose name ends so.
fn recorded(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            recorded(&path, ending, found);
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
}

#[test]
fn every_recorded_host_is_read_whole() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut files = Vec::new();
    recorded(&fixtures, ".routes.json", &mut files);
    assert!(files.len() >= 20, "{files:?}");
    for file in files {
        let links_file = PathBuf::from(file.to_string_lossy().replace(".routes.json", ".links.json"));
        let entries = |file: &Path| {
            let text = std::fs::read(file).unwrap();
            serde_json::from_slice::<Vec<serde_json::Value>>(&text).unwrap().len()
        };
        let events = snapshot(&file, Some(&links_file)).unwrap();
        assert_eq!(events.len(), entries(&file) + entries(&links_file) + 2, "{}", file.display());
        let mut links = Vec::new();
        for event in &events {
            match event {
                Event::Link(link) => links.push(link.name.clone()),
                Event::Route(route) => {
                    assert_eq!(route.next_hops.is_empty(), !route.kind.has_next_hops(), "{route:?}");
                    for hop in &*route.next_hops {
                        let device = hop.device.as_ref().unwrap();
                        assert!(links.contains(device), "{}: {route:?}", file.display());
                    }
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_recorded_host_has_what_its_text_shows() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/three-hosts");
    let file = fixtures.join("h1.routes.json");
    let routes = routes(&file, open(&file).unwrap()).unwrap();
    let find = |net: &str| routes.iter().find(|route| route.destination == net.parse().unwrap()).unwrap();
    let tunnel = find("10.202.1.64/26");
    assert_eq!((tunnel.kind, tunnel.protocol, tunnel.metric), (RouteType::Unicast, Protocol::FELIX, 0));
    assert_eq!(*tunnel.next_hops, [hop("10.77.1.2", "tunl0", false, true)]);
    let local = find("10.204.0.128/26");
    assert_eq!((local.kind, local.protocol), (RouteType::Blackhole, Protocol::BIRD));
    assert!(local.next_hops.is_empty());
    let pod = find("10.200.0.129/32");
    assert_eq!((pod.metric, pod.link_scope), (1024, true));
    assert_eq!(*pod.next_hops, [hop("", "cali00000000001", false, false)]);
}

#[test]
fn names_and_numbers_are_the_same_route() {
    let named = one(
        r#"{"type":"unreachable","dst":"default","table":"main","protocol":"bird","scope":"link","metric":7,"flags":[]}"#,
    );
    let numbered =
        one(r#"{"type":"7","dst":"default","table":"254","protocol":"12","scope":"253","metric":7,"flags":[]}"#);
    assert_eq!(named, numbered);
    let bare = one(r#"{"type":7,"dst":"default","table":254,"protocol":12,"scope":253,"metric":7,"flags":[]}"#);
    assert_eq!(named, bare);
    assert_eq!(one(r#"{"dst":"10.0.0.1","tos":"EF","flags":[]}"#).tos, 0xb8);
    assert_eq!(one(r#"{"dst":"10.0.0.1","tos":"0x10","flags":[]}"#).tos, 0x10);
    assert_eq!(one(r#"{"dst":"10.0.0.1","table":"100000","flags":[]}"#).table, 100_000);
}

#[test]
fn every_protocol_name_has_its_number() {
    for (name, number) in [
        ("unspec", 0),
        ("redirect", 1),
        ("kernel", 2),
        ("boot", 3),
        ("static", 4),
        ("ra", 9),
        ("mrt", 10),
        ("zebra", 11),
        ("bird", 12),
        ("xorp", 14),
        ("ntk", 15),
        ("dhcp", 16),
        ("mrouted", 17),
        ("keepalived", 18),
        ("babel", 42),
        ("80", 80),
        ("openr", 99),
        ("bgp", 186),
        ("isis", 187),
        ("ospf", 188),
        ("rip", 189),
        ("eigrp", 192),
    ] {
        let route = one(&format!(r#"{{"dst":"10.0.0.0/26","protocol":"{name}"}}"#));
        assert_eq!(route.protocol, Protocol(number), "{name}");
    }
}

#[test]
fn what_is_left_out_without_details_is_the_default() {
    let route = one(r#"{"dst":"10.66.1.0/26","gateway":"172.18.0.5","dev":"eth0","flags":[]}"#);
    assert_eq!((route.kind, route.table, route.protocol), (RouteType::Unicast, TABLE_MAIN, Protocol::BOOT));
    assert!(!route.link_scope);
}

#[test]
fn each_next_hop_of_a_multipath_route_is_kept_with_its_flags() {
    let route =
        one(r#"{"type":"unicast","dst":"10.70.0.0/24","table":"main","protocol":"boot","scope":"global","flags":[],
            "nexthops":[{"gateway":"172.18.0.5","dev":"eth0","weight":2,"flags":["linkdown"]},
                        {"via":{"family":"inet6","host":"fd00::6"},"dev":"eth1","weight":1,"flags":["onlink"]}]}"#);
    assert_eq!(*route.next_hops, [hop("172.18.0.5", "eth0", true, false), hop("fd00::6", "eth1", false, true)]);
}

#[test]
fn the_family_of_a_default_route_is_found_out() {
    let family = |text: &str| one(text).destination.to_string();
    assert_eq!(family(r#"{"dst":"default","gateway":"10.0.0.1","dev":"eth0"}"#), "0.0.0.0/0");
    assert_eq!(family(r#"{"dst":"default","dev":"eth0"}"#), "0.0.0.0/0");
    assert_eq!(family(r#"{"dst":"default","via":{"family":"inet6","host":"fe80::1"},"dev":"eth0"}"#), "0.0.0.0/0");
    assert_eq!(family(r#"{"dst":"default","gateway":"fe80::1","dev":"eth0"}"#), "::/0");
    assert_eq!(family(r#"{"dst":"default","nexthops":[{"gateway":"fe80::1","dev":"eth0"}]}"#), "::/0");
    assert_eq!(family(r#"{"type":"unreachable","dst":"default","dev":"lo","pref":"medium"}"#), "::/0");
}

#[test]
fn a_route_that_leads_nowhere_has_no_next_hop() {
    for kind in ["blackhole", "unreachable", "prohibit", "throw"] {
        let route = one(&format!(r#"{{"type":"{kind}","dst":"fd00::/122","dev":"lo","flags":[],"pref":"medium"}}"#));
        assert!(route.next_hops.is_empty(), "{kind}");
        assert_eq!(route.kind.as_str(), kind);
        assert_eq!(route.key().device, None);
    }
}

#[test]
fn host_bits_of_a_destination_are_masked() {
    assert_eq!(one(r#"{"dst":"10.0.0.9/26"}"#).destination.to_string(), "10.0.0.0/26");
    assert_eq!(one(r#"{"dst":"fd00::9"}"#).destination.to_string(), "fd00::9/128");
}

#[test]
fn routes_of_another_kind_are_left_out() {
    let text =
        r#"[{"dst":"fd05::/64","from":"fd00::/64","dev":"eth0"},{"dst":"100","dev":"eth0"},{},{"dst":"1.1.1.1"}]"#;
    assert_eq!(read_routes(text).unwrap().len(), 1);
    assert!(read_routes("[]").unwrap().is_empty());
    assert!(read_routes("[{}]").unwrap().is_empty());
    assert_eq!(read_routes(r#"[{"dst":"1.1.1.1"}] [{"dst":"::1"}]"#).unwrap().len(), 2);
}

#[test]
fn an_error_names_file_entry_and_field() {
    for (text, expected) in [
        (r#"[{},{"dev":"eth0"}]"#, "entry 2: field `dst`: is missing"),
        (r#"[{"dst":"ten"}]"#, "entry 1: field `dst`: `ten` is neither a prefix nor an address"),
        (r#"[{"dst":7}]"#, "entry 1: field `dst`: ought to be a text and is 7"),
        (r#"[{"dst":"1.1.1.1","metric":"x"}]"#, "entry 1: field `metric`: ought to be a number in range and is \"x\""),
        (r#"[{"dst":"1.1.1.1","metric":4294967296}]"#, "field `metric`: ought to be a number in range"),
        (r#"[{"dst":"1.1.1.1","metric":-1}]"#, "field `metric`: ought to be a number in range"),
        (r#"[{"dst":"1.1.1.1","protocol":"calico"}]"#, "field `protocol`: `calico` is neither a number nor"),
        (r#"[{"dst":"1.1.1.1","protocol":"256"}]"#, "field `protocol`: `256` is"),
        (r#"[{"dst":"1.1.1.1","table":"mine"}]"#, "`ip -N` prints numbers"),
        (r#"[{"dst":"1.1.1.1","gateway":"gw"}]"#, "field `gateway`: `gw` is not an address"),
        (r#"[{"dst":"1.1.1.1","flags":"onlink"}]"#, "field `flags`: ought to be a list"),
        (r#"[{"dst":"1.1.1.1","nexthops":[{"gateway":"gw"}]}]"#, "field `nexthops[0].gateway`: `gw`"),
        (r#"[{"dst":"1.1.1.1","via":{"host":"::1"}}]"#, "field `via.family`: is missing"),
        (r#"[{"dst":"1.1.1.1","via":{"family":"inet6"}}]"#, "field `via.host`: is missing"),
    ] {
        let message = error(read_routes(text));
        assert!(message.starts_with("h1.routes.json: "), "{message}");
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_file_that_is_something_else_says_so() {
    assert!(
        error(read_routes("")).contains("is empty, and ought to hold the output of `ip -j -d route show table all`")
    );
    assert!(error(read_routes(" \n")).contains("is empty"));
    assert!(error(read_routes("default via 10.0.0.1 dev eth0")).contains("line 1"));
    assert!(error(read_routes(r#"{"dst":"1.1.1.1"}"#)).contains("h1.routes.json: is not the output of"));
    assert!(error(read_routes(r#"[{"dst":"1.1.1.1"}"#)).contains("line 1"));
    let missing = snapshot(Path::new("no/such.json"), None).unwrap_err().to_string();
    assert!(missing.starts_with("no/such.json: "), "{missing}");
}

#[test]
fn a_link_has_its_state_and_sorted_addresses() {
    let text = r#"[{"ifindex":3,"link_index":4,"ifname":"eth0","flags":["NO-CARRIER","BROADCAST","UP","M-DOWN"],"mtu":1500,
        "linkinfo":{"info_kind":"veth"},"addr_info":[
            {"family":"inet6","local":"fd00::4","prefixlen":64},
            {"family":"inet","local":"172.18.0.4","address":"172.18.0.5","prefixlen":32},{}]}]"#;
    let link = read_links(text).unwrap().pop().unwrap();
    assert_eq!((link.index, &*link.name, link.kind.as_deref(), link.mtu), (3, "eth0", Some("veth"), 1500));
    assert!(link.admin_up && link.no_carrier && !link.is_up());
    assert_eq!(link.addresses, ["172.18.0.4/32".parse().unwrap(), "fd00::4/64".parse().unwrap()]);
}

#[test]
fn an_odd_link_is_an_error() {
    for (text, expected) in [
        (r#"[{"ifname":"eth0"}]"#, "h1.links.json: entry 1: field `ifindex`: is missing"),
        (
            r#"[{"ifindex":1,"ifname":"eth0","flags":[],"mtu":1}]"#,
            "field `addr_info`: is missing; `ip -j -d addr show`",
        ),
        (r#"[{"ifindex":1,"ifname":"eth0","mtu":1,"addr_info":[]}]"#, "field `flags`: is missing"),
        (
            r#"[{"ifindex":1,"ifname":"eth0","flags":[],"mtu":1,"addr_info":[{"local":"10.0.0.1","prefixlen":33}]}]"#,
            "field `addr_info[0].prefixlen`: 33 is too long for 10.0.0.1",
        ),
    ] {
        let message = read_links(text).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

fn entries<T>(text: &str, read: impl Fn(&Entry<'_>) -> Result<T, FileError>) -> Result<Vec<T>, FileError> {
    let mut found = Vec::new();
    for_each_entry(Path::new("h1.json"), "ip", text.as_bytes(), |entry| {
        found.push(read(entry)?);
        Ok(())
    })?;
    Ok(found)
}

fn only_vxlan(device: &str) -> Option<u32> {
    (device == "vxlan.calico").then_some(5)
}

#[test]
fn neighbours_of_the_tunnels_alone_are_read() {
    let text = r#"[
        {"dst":"10.1.0.64","dev":"vxlan.calico","lladdr":"66:fc:0d:2e:98:f8","used":1,"state":["PERMANENT"]},
        {"dst":"10.1.0.65","dev":"vxlan.calico","state":["FAILED"]},
        {"dst":"10.1.0.66","dev":"vxlan.calico","proxy":null,"state":[]},
        {"dst":"172.18.0.2","dev":"eth0","lladdr":"what nobody reads","state":["NONSENSE"]}
    ]"#;
    let found = entries(text, |entry| neighbours::neighbour(entry, only_vxlan)).unwrap();
    let found: Vec<_> = found.into_iter().flatten().collect();
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].device, found[0].mac.unwrap().to_string()), (5, "66:fc:0d:2e:98:f8".to_owned()));
    assert!(found[0].state.is_permanent());
    assert_eq!((found[1].mac, found[1].state.words()), (None, "FAILED".to_owned()));
    for (text, expected) in [
        (r#"[{"dst":"10.1.0.64","state":[]}]"#, "h1.json: entry 1: field `dev`: is missing"),
        (r#"[{"dev":"vxlan.calico","state":[]}]"#, "field `dst`: is missing"),
        (r#"[{"dst":"10.1.0.64","dev":"vxlan.calico","lladdr":"66:fc","state":[]}]"#, "field `lladdr`: `66:fc` is not"),
        (r#"[{"dst":"10.1.0.64","dev":"vxlan.calico","state":["Permanent"]}]"#, "field `state`: `Permanent` is not"),
    ] {
        let message = entries(text, |entry| neighbours::neighbour(entry, only_vxlan)).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn forwarding_entries_have_words_for_the_states_of_their_own() {
    let entry = |state: &str, flags: &str| {
        format!(
            r#"[{{"mac":"66:fc:0d:2e:98:f8","ifname":"vxlan.calico","dst":"172.18.0.2","flags":[{flags}],"state":"{state}"}}]"#
        )
    };
    let read = |text: &str| {
        let found = entries(text, |entry| neighbours::fdb_entry(entry, only_vxlan));
        found.map(|found| found.into_iter().next().flatten())
    };
    for (word, state) in [("permanent", 0x80), ("static", 0x40), ("stale", 4), ("", 2), ("state=0x10", 0x10)] {
        let found = read(&entry(word, r#""self""#)).unwrap().unwrap();
        assert_eq!((found.state.0, found.destination), (state, "172.18.0.2".parse().ok()), "{word}");
    }
    assert_eq!(read(&entry("permanent", r#""master""#)).unwrap(), None, "its bridge's");
    let message = read(&entry("PERMANENT", r#""self""#)).unwrap_err().to_string();
    assert!(message.contains("field `state`: `PERMANENT` is not"), "{message}");
}

/// As `ip -j rule show` of iproute2 6.1 prints them, and with `-N`.
#[test]
fn every_form_of_rule() {
    let text = r#"[{"priority":0,"src":"all","table":"local"},
        {"priority":99,"not":null,"src":"all","fwmark":"0x100000","fwmask":"0x100000","table":"1"},
        {"priority":100,"src":"10.0.0.0","srclen":8,"dst":"10.1.0.1","tos":"0x10","iif":"eth0","iif_detached":null,"table":"200"},
        {"priority":101,"src":"all","fwmark":"0x5","oif":"eth0","action":"blackhole"},
        {"priority":101,"src":"all","action":"6"},
        {"priority":102,"src":"all","uid_start":1,"uid_end":5,"goto":32766},
        {"priority":103,"src":"all","table":"main","suppress_prefixlen":0},
        {"priority":104,"src":"all","nop":null}]"#;
    let found = entries(text, |entry| rules::rule(entry, Family::V4)).unwrap();
    let actions: Vec<_> = found.iter().map(|rule| rule.action).collect();
    use crate::model::RuleAction as A;
    let drops = A::Blackhole;
    assert_eq!(
        actions,
        [A::Table(255), A::Table(1), A::Table(200), drops, drops, A::Goto(32766), A::Table(254), A::Nop]
    );
    assert!(found[1].inverted && !found[0].inverted);
    assert_eq!((found[1].mark, found[3].mark), (Some((0x10_0000, 0x10_0000)), Some((5, u32::MAX))));
    assert_eq!((found[2].from, found[2].to), ("10.0.0.0/8".parse().ok(), "10.1.0.1/32".parse().ok()));
    assert_eq!((found[2].input.as_deref(), found[3].output.as_deref()), (Some("eth0"), Some("eth0")));
    assert_eq!(found.iter().map(|rule| rule.selective).filter(|it| *it).count(), 2, "a service, a user");
    assert_eq!(found[6].suppress_length, Some(0));
    for (text, expected) in [
        (r#"[{"src":"all","table":"main"}]"#, "field `priority`: is missing"),
        (r#"[{"priority":1,"src":"all"}]"#, "field `table`: is missing"),
        (r#"[{"priority":1,"src":"fd00::1","table":"main"}]"#, "`ip -j rule show` first, `ip -6 -j rule show` second"),
        (r#"[{"priority":1,"src":"all","fwmark":"x","table":"main"}]"#, "field `fwmark`: `x` is not a mark"),
    ] {
        let message = entries(text, |entry| rules::rule(entry, Family::V4)).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn two_lists_of_rules_are_of_two_families_in_one_file_or_in_two() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let list = r#"[{"priority":0,"src":"all","table":"local"}]"#;
    let (one, both) = (file("one", list), file("both", &format!("{list}\n{list}")));
    let families = |files: &[PathBuf]| {
        let found = super::rules(files).map(|found| found.into_iter().map(|(family, it)| (family, it.len())).collect());
        found.map_err(|error| error.to_string())
    };
    let two = vec![(Family::V4, 1), (Family::V6, 1)];
    assert_eq!(families(std::slice::from_ref(&one)), Ok(vec![(Family::V4, 1)]));
    assert_eq!(families(&[one.clone(), one.clone()]), Ok(two.clone()));
    assert_eq!(families(std::slice::from_ref(&both)), Ok(two));
    assert_eq!(families(&[file("none", "[]"), one.clone()]), Ok(vec![(Family::V4, 0), (Family::V6, 1)]));
    let third: Result<Vec<_>, String> = families(&[both, one]);
    assert!(third.unwrap_err().contains("a third list of rules"));
}

/// A VRF's rule has neither table nor action (`ip/iprule.c`, `print_rule`).
#[test]
fn what_a_rule_asks_for_beyond_what_is_read_makes_it_a_rule_for_some_packets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules");
    let list = r#"[{"priority":100,"src":"all","table":"56","suppress_ifgroup":"3","protocol":"static"},
        {"priority":101,"src":"all","table":"56","dscp":"8"},{"priority":1000,"src":"all","l3mdev":null},
        {"priority":1001,"src":"all","iif":"e9","iif_detached":null,"table":"56","protocol":"kernel"}]"#;
    std::fs::write(&path, list).unwrap();
    let found = super::rules(&[path]).unwrap();
    let rules: Vec<(bool, crate::model::RuleAction)> = found[0].1.iter().map(|it| (it.selective, it.action)).collect();
    let of = crate::model::RuleAction::Table;
    assert_eq!(rules, [(true, of(56)), (true, of(56)), (true, of(0)), (false, of(56))]);
}
