//! The recordings of real Calico: every host of every one of them is healthy, and each mutation is one fault.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use calico_exporter::audit::{Backend, Finding, Now, RouteAudit, RouteClass, RouteOptions, TunnelOptions};
use calico_exporter::model::{FelixConfiguration, Name, NextHop, ProgramClusterRoutes, Route, RouteType, TABLE_MAIN};
use calico_exporter::source::{file, iproute};
use calico_exporter::state::{Event, Object, State};

use crate::support::files_below;

/// The recordings with kernels: folder, hosts.
pub(crate) const RECORDED: &[(&str, &[&str])] = &[
    ("three-hosts", &["h1", "h2", "h3"]),
    ("three-hosts-v3.29", &["h1", "h2", "h3"]),
    ("vxlan-neighbours", &["vx1", "vx2", "vx3.rack1.example", "vx4"]),
    ("bgp-reflectors", &["n1", "n2", "n4", "n5"]),
    ("bgp-tor/blocks", &["n1", "n2", "n5"]),
    ("bgp-tor/aggregate", &["n1", "n2", "n5"]),
    ("bgp-tor/default", &["n1", "n2", "n5"]),
];

const NOW: Now = Now { monotonic: Duration::from_secs(1000), wall: SystemTime::UNIX_EPOCH };

pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The folders of all recorded datastores of etcd. Built clusters are none.
pub(crate) fn recorded_datastores() -> Vec<PathBuf> {
    let built = [folder("cases"), folder("flavours")];
    let dumps = files_below("tests/fixtures", "/etcd.json");
    let folders = dumps.iter().map(|dump| dump.parent().unwrap().to_owned());
    let found: Vec<PathBuf> = folders.filter(|it| !built.iter().any(|built| it.starts_with(built))).collect();
    assert!(found.len() >= 10, "recordings are missing: {found:?}");
    found
}

fn datastore(name: &str) -> Vec<Event> {
    file::datastore(&folder(name).join("etcd.json")).unwrap().events
}

pub(crate) fn kernel(name: &str, host: &str) -> Vec<Event> {
    let path = |what: &str| folder(name).join(format!("{host}.{what}.json"));
    iproute::snapshot(&path("routes"), Some(&path("links"))).unwrap()
}

fn state(events: impl IntoIterator<Item = Event>) -> State {
    let mut state = State::new(true);
    for event in events {
        state.apply(event, NOW.monotonic);
    }
    state
}

fn audit(host: &str, state: &mut State) -> RouteAudit {
    let node: Name = host.into();
    let mut audit =
        RouteAudit::new(RouteOptions { node, backend: Backend::Auto, grace: None, tunnels: TunnelOptions::default() });
    let changes = state.take_changes();
    audit.refresh(state, &changes, NOW);
    audit
}

pub(crate) fn findings(host: &str, datastore: &[Event], kernel: &[Event]) -> Vec<Finding> {
    let mut state = state(datastore.iter().chain(kernel).cloned());
    audit(host, &mut state).findings(NOW)
}

/// `class/reason subject → host`, to compare and to read.
pub(crate) fn lines(findings: &[Finding]) -> Vec<String> {
    findings
        .iter()
        .map(|it| {
            let labels: Vec<&str> = it.fault.labels().map(|(_, value)| value).collect();
            format!("{} {} → {}", labels.join("/"), it.subject, it.host.as_deref().unwrap_or("-"))
        })
        .collect()
}

#[test]
fn every_recorded_host_is_healthy_and_has_what_it_ought_to_have() {
    for (name, hosts) in RECORDED {
        let datastore = datastore(name);
        for host in *hosts {
            let mut state = state(datastore.iter().cloned().chain(kernel(name, host)));
            let audit = audit(host, &mut state);
            let found = audit.findings(NOW);
            assert!(found.is_empty(), "{name}, {host}: {:#?}", lines(&found));
            let report = audit.report(&state, NOW);
            assert_eq!(report.actual, report.expected, "{name}, {host}");
            assert!(report.actual.values().sum::<u64>() > 0, "{name}, {host}: nothing was judged");
            assert!(report.pending.values().all(|count| *count == 0), "{name}, {host}");
        }
    }
}

/// The remote routes of a host's main table that lie in a pool.
fn remote_routes(state: &State) -> Vec<Route> {
    let remote = |route: &&Route| {
        route.kind == RouteType::Unicast
            && state.datastore.pool_of(&route.destination).is_some()
            && !route.next_hops.iter().any(|hop| hop.device.as_deref().is_some_and(|it| it.starts_with("cali")))
    };
    state.kernel.main_routes().filter(remote).cloned().collect()
}

fn with_route(kernel: &[Event], from: &Route, to: Option<Route>) -> Vec<Event> {
    let mut events: Vec<Event> = kernel.iter().filter(|it| **it != Event::Route(from.clone())).cloned().collect();
    assert_eq!(events.len(), kernel.len() - 1);
    let at = events.len() - 1;
    if let Some(to) = to {
        events.insert(at, Event::Route(to));
    }
    events
}

#[test]
fn each_route_taken_out_is_one_missing_route() {
    let (datastore, kernel) = (datastore("three-hosts"), kernel("three-hosts", "h1"));
    let whole = state(datastore.iter().chain(&kernel).cloned());
    let mut tried = 0;
    for event in &kernel {
        let Event::Route(route) = event else { continue };
        if route.table != TABLE_MAIN || whole.datastore.pool_of(&route.destination).is_none() {
            continue;
        }
        let found = findings("h1", &datastore, &with_route(&kernel, route, None));
        assert_eq!(found.len(), 1, "{}: {:#?}", route.destination, lines(&found));
        assert_eq!(found[0].fault.reason(), Some("missing"), "{}", route.destination);
        tried += 1;
    }
    assert_eq!(tried, 34, "every route of a pool in h1.routes.txt");
}

#[test]
fn each_remote_route_redirected_moved_or_turned_unreachable_is_one_fault() {
    let (datastore, kernel) = (datastore("three-hosts"), kernel("three-hosts", "h1"));
    let whole = state(datastore.iter().chain(&kernel).cloned());
    let routes = remote_routes(&whole);
    assert_eq!(routes.len(), 13);
    for route in &routes {
        let one = |to: Route| {
            let found = findings("h1", &datastore, &with_route(&kernel, route, Some(to)));
            assert_eq!(found.len(), 1, "{}: {:#?}", route.destination, lines(&found));
            found[0].fault.reason().unwrap().to_owned()
        };
        let hop = &route.next_hops[0];
        let redirected = |gateway: &str| {
            let gateway = Some(gateway.parse().unwrap());
            Route { next_hops: [NextHop { gateway, ..hop.clone() }].into(), ..route.clone() }
        };
        // Another Node's address: h2's where the route leads to h3, and the reverse.
        let leads_to_h2 =
            hop.gateway == Some("10.77.1.2".parse().unwrap()) || hop.gateway == Some("10.200.1.64".parse().unwrap());
        let other = if leads_to_h2 { "10.77.2.3" } else { "10.77.1.2" };
        assert_eq!(one(redirected(other)), "wrong_next_hop", "{}", route.destination);

        for device in ["eth0", "tunl0", "vxlan.calico"] {
            if hop.device.as_deref() == Some(device) {
                continue;
            }
            let moved = NextHop { device: Some(device.into()), ..hop.clone() };
            let moved = Route { next_hops: [moved].into(), ..route.clone() };
            assert_eq!(one(moved), "wrong_encapsulation", "{} to {device}", route.destination);
        }
        if hop.device.as_deref() == Some("eth0") {
            let moved = NextHop { device: Some("cali00000000001".into()), ..hop.clone() };
            let moved = Route { next_hops: [moved].into(), ..route.clone() };
            assert_eq!(one(moved), "wrong_next_hop", "{} to a workload", route.destination);
        }
        let dropped = Route { kind: RouteType::Unreachable, next_hops: Default::default(), ..route.clone() };
        assert_eq!(one(dropped), "wrong_type", "{}", route.destination);
        let down = NextHop { down: true, ..hop.clone() };
        let down = Route { next_hops: [down].into(), ..route.clone() };
        assert_eq!(one(down), "linkdown", "{}", route.destination);
    }
}

#[test]
fn a_block_taken_out_with_its_key_leaves_its_route_stale() {
    let (datastore, kernel) = (datastore("three-hosts"), kernel("three-hosts", "h1"));
    let mut blocks = 0;
    for event in &datastore {
        let Event::Put(object) = event else { continue };
        let Object::Block(block) = object.as_ref() else { continue };
        let gone = |event: &&Event| match event {
            Event::Put(object) => match object.as_ref() {
                Object::Block(other) => other.cidr != block.cidr,
                Object::Affinity(key) => key.cidr != block.cidr,
                _ => true,
            },
            _ => true,
        };
        let without: Vec<Event> = datastore.iter().filter(gone).cloned().collect();
        let found = findings("h1", &without, &kernel);
        // Pods' routes stay expected or lead to their pods (J32): an endpoint without allocation is a leak, not a
        // route's fault.
        let [stale] = &found[..] else { panic!("{}: {:#?}", block.cidr, lines(&found)) };
        assert_eq!((stale.fault.reason(), stale.subject.as_str()), (Some("stale"), &*block.cidr.to_string()));
        blocks += 1;
    }
    assert_eq!(blocks, 17);
}

#[test]
fn the_two_borrowed_addresses_are_counted_as_such() {
    let mut state = state(datastore("three-hosts").into_iter().chain(kernel("three-hosts", "h1")));
    let report = audit("h1", &mut state).report(&state, NOW);
    let of = |class| report.actual.iter().filter(|((it, _), _)| *it == class).map(|(_, count)| count).sum::<u64>();
    assert_eq!(of(RouteClass::Borrowed), 2);
    assert_eq!(of(RouteClass::RemoteBlock), 11);
    assert_eq!(of(RouteClass::LocalBlock), 6);
    assert_eq!(of(RouteClass::LocalWorkload), 15);
}

#[test]
fn a_host_without_an_address_of_a_family_needs_none_of_felix_routes_of_it() {
    let (mut datastore, kernel) = (datastore("bgp-reflectors"), kernel("bgp-reflectors", "n1"));
    for event in &mut datastore {
        if let Event::Put(object) = event
            && let Object::Node(name, node) = &mut **object
            && &**name == "n1"
        {
            node.bgp.as_mut().unwrap().ipv6 = None;
            let addresses = std::mem::take(&mut node.addresses).into_iter();
            node.addresses = addresses.filter(|address| !address.address.addr().is_ipv6()).collect();
        }
    }
    let at = datastore.len() - 1;
    let all = FelixConfiguration {
        program_cluster_routes: Some(ProgramClusterRoutes::Enabled),
        ..FelixConfiguration::default()
    };
    datastore.insert(at, Event::Put(Box::new(Object::Felix("default".into(), all))));
    let bare: Vec<Event> = kernel
        .into_iter()
        .filter(|event| !matches!(event, Event::Route(route) if route.destination.addr().is_ipv6()))
        .collect();
    let found = lines(&findings("n1", &datastore, &bare));
    let missing: Vec<_> = found.iter().filter(|it| it.starts_with("remote_block/missing")).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
