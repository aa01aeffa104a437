//! Clusters as the generator makes them: what was planted is found, and what an event costs does not depend on how large
//! the cluster is. Work is counted, not timed.

use std::time::{Duration, SystemTime};

use calico_exporter::audit::{AuditOptions, Auditor, Backend, IpamOptions, Now, RouteOptions, TunnelOptions};
use calico_exporter::model::{Detail, EntryState, FdbEntry, Link};
use calico_exporter::source::etcd::decode;
use calico_exporter::state::{Event, Object, ObjectId, Side, State, Table};
#[path = "../../benches/scale/cluster.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the benchmarks")]
mod cluster;
#[path = "../../benches/scale/peers.rs"]
#[allow(unreachable_pub, reason = "shared with the benchmarks")]
mod peers;

use cluster::Shape;

const NOW: Now = Now { monotonic: Duration::ZERO, wall: SystemTime::UNIX_EPOCH };

fn shape(hosts: u32, faults: u32) -> Shape {
    Shape { hosts, blocks: 3, used: 8, faults, endpoints: true }
}

fn event(key: &str, value: &str, detail: &Detail) -> Event {
    let mut event = decode::event(key.as_bytes(), value.as_bytes()).unwrap();
    if let Event::Put(object) = &mut event
        && let Object::Block(block) = &mut **object
    {
        block.reduce(detail);
    }
    event
}

fn state(shape: Shape, dump: bool, detail: &Detail) -> State {
    let mut state = State::new(dump);
    state.apply(Event::Resync(Side::Datastore), Duration::ZERO);
    let numerous = |key: &str| key.contains("/handle/") || key.contains("/workloadendpoints/");
    for (key, value) in shape.keys().filter(|(key, _)| dump || !numerous(key)) {
        state.apply(event(&key, &value, detail), Duration::ZERO);
    }
    state.apply(Event::Synced(Side::Datastore), Duration::ZERO);
    state.apply(Event::Synced(Side::Kernel), Duration::ZERO);
    state
}

fn auditor(live: bool) -> Auditor {
    let me = Shape::host(0).into();
    Auditor::new(AuditOptions {
        ipam: Some(IpamOptions { live, affinity_grace: Duration::from_secs(60) }),
        routes: live.then(|| RouteOptions {
            node: me,
            backend: Backend::Auto,
            grace: Some(Duration::from_secs(120)),
            tunnels: TunnelOptions::default(),
        }),
        leaks: true,
        leak_grace: Duration::from_secs(900),
    })
}

#[test]
fn what_was_planted_is_found_and_nothing_else() {
    let shape = shape(40, 16);
    let mut state = state(shape, true, &Detail::Full);
    let mut auditor = auditor(false);
    assert!(auditor.look(&mut state, NOW));
    let found = auditor.report(&state, NOW).findings;
    let mut found: Vec<_> =
        found.iter().map(|it| (it.metric().as_str(), it.fault.reason().unwrap(), it.subject.as_str())).collect();
    found.sort_unstable();
    let planted = shape.planted();
    let planted: Vec<_> = planted.iter().map(|it| (it.metric, it.reason, it.subject.as_str())).collect();
    assert_eq!(found, planted);
    assert_eq!(planted.len(), 16);
}

#[test]
fn an_event_costs_the_same_in_a_cluster_ten_times_as_large() {
    let detail = Detail::Rules(Shape::host(0).into());
    let work = |hosts: u32| {
        let shape = shape(hosts, 0);
        let mut state = state(shape, false, &detail);
        let mut auditor = auditor(true);
        auditor.look(&mut state, NOW);
        let all = auditor.judged();
        assert!(all.ipam >= 3 * hosts as usize && all.routes >= 3 * hosts as usize, "{all:?}");
        // One block of another host, one of this host, and nothing.
        let mut counts = Vec::new();
        for block in [Some(4), Some(0), None] {
            if let Some(block) = block {
                let (key, value) = (Shape::block_key(block), shape.block(block, 1));
                state.apply(event(&key, &value, &detail), Duration::ZERO);
            }
            auditor.look(&mut state, NOW);
            counts.push(auditor.judged());
        }
        counts
    };
    let (small, large) = (work(20), work(200));
    assert_eq!(small, large);
    assert_eq!((large[0].ipam, large[1].ipam, large[2].ipam, large[2].routes), (1, 1, 0, 0));
    assert!(large[0].routes <= 2 && large[1].routes <= 12, "{large:?}");
}

/// Where endpoints are listed, as in a dump, there are very many of them.
#[test]
fn an_event_goes_through_this_hosts_endpoints_alone() {
    let work = |hosts: u32| {
        let shape = shape(hosts, 0);
        let mut state = state(shape, true, &Detail::Full);
        let mut auditor = auditor(true);
        auditor.look(&mut state, NOW);
        assert!(auditor.judged().endpoints >= shape.address_count() as usize);
        let device = |n: u32| Link { index: n, name: format!("cali{n}").into(), admin_up: true, ..Link::default() };
        let gone = ObjectId::Handle("k8s-pod-network.none".into());
        let another = |block: u32| event(&Shape::block_key(block), &shape.block(block, 1), &Detail::Full);
        let events = [Event::Link(device(7)), Event::LinkGone(7), another(4), another(0), Event::Delete(gone)];
        let mut counts = Vec::new();
        for event in events {
            state.apply(event, Duration::ZERO);
            auditor.look(&mut state, NOW);
            counts.push(auditor.judged().endpoints);
        }
        counts
    };
    let (small, large) = (work(20), work(200));
    assert_eq!(small, large);
    // A host has 24; each of these asks for them once or not at all.
    assert!(large[0] == 24 && large.iter().all(|count| *count <= 24), "{large:?}");
}

#[test]
fn a_fresh_list_that_says_nothing_new_costs_no_judgement() {
    let detail = Detail::Rules(Shape::host(0).into());
    let shape = shape(20, 0);
    let mut state = state(shape, false, &detail);
    let mut auditor = auditor(true);
    auditor.look(&mut state, NOW);
    state.apply(Event::Resync(Side::Datastore), Duration::ZERO);
    for (key, value) in shape.keys().filter(|(key, _)| !key.contains("/handle/") && !key.contains("/workload")) {
        state.apply(event(&key, &value, &detail), Duration::ZERO);
    }
    state.apply(Event::Synced(Side::Datastore), Duration::ZERO);
    auditor.look(&mut state, NOW);
    let judged = auditor.judged();
    assert_eq!((judged.ipam, judged.routes), (0, 0));
}

#[test]
fn what_is_kept_of_a_block_does_not_grow_with_its_pods() {
    let kept = |used: u32| {
        let shape = Shape { used, ..shape(20, 0) };
        let state = state(shape, false, &Detail::Rules(Shape::host(0).into()));
        state
            .datastore
            .blocks()
            .map(|block| (block.allocated.len() as usize, block.attributes.len()))
            .collect::<Vec<_>>()
    };
    // This host's pods are known by name, each of its own; those of any other host's block as one.
    for used in [8, 64] {
        let blocks = kept(used);
        assert_eq!(blocks.len(), 60);
        assert!(blocks[..3].iter().all(|sizes| *sizes == (used as usize, used as usize)), "{blocks:?}");
        assert!(blocks[3..].iter().all(|sizes| *sizes == (used as usize, 1)), "{blocks:?}");
    }
}

/// A host with so many other ends of its tunnel, each with its neighbour and its forwarding entry.
fn tunnels(count: u32) -> (State, Auditor) {
    let mut state = State::new(true);
    peers::datastore(count).chain(peers::kernel(count)).for_each(|event| state.apply(event, Duration::ZERO));
    let (routes, leak_grace) = (Some(peers::options()), Duration::ZERO);
    (state, Auditor::new(AuditOptions { ipam: None, routes, leaks: false, leak_grace }))
}

#[test]
fn an_event_of_a_tunnel_touches_one_entry_however_many_hosts_there_are() {
    for peers in [50, 5000] {
        let (mut state, mut auditor) = tunnels(peers);
        auditor.look(&mut state, NOW);
        assert_eq!(auditor.judged().tunnels, 2 * peers as usize);
        assert_eq!(auditor.report(&state, NOW).findings, []);
        let (address, mac) = (peers::address(7), peers::mac(7));
        for (event, faults) in [
            (Event::NeighbourGone(3, address), 1),
            (Event::FdbGone(3, mac), 2),
            (Event::Fdb(FdbEntry { device: 3, mac, destination: None, state: EntryState::NOARP }), 2),
        ] {
            state.apply(event, Duration::ZERO);
            auditor.look(&mut state, NOW);
            let judged = auditor.judged();
            assert_eq!((judged.tunnels, judged.routes), (1, 0), "{peers}");
            assert_eq!(auditor.report(&state, NOW).findings.len(), faults);
        }
        // Another device's, and a list that says nothing new.
        state.apply(Event::NeighbourGone(4, address), Duration::ZERO);
        state.apply(Event::Listed(Table::Fdb), Duration::ZERO);
        auditor.look(&mut state, NOW);
        assert_eq!(auditor.judged().tunnels, 0);
    }
}

/// Pools that nest, share a CIDR, move and go: the most specific is the one, and of two the later by name, as a scan
/// over all of them says.
#[test]
fn the_pool_of_a_prefix_is_the_one_that_a_scan_finds() {
    let mut random = fastrand::Rng::with_seed(25);
    let mut state = State::new(true);
    for step in 0..2000 {
        let name = format!("pool-{}", random.u32(..40));
        let key = format!("/calico/resources/v3/projectcalico.org/ippools/{name}");
        if random.u8(..4) == 0 {
            state.apply(Event::Delete(ObjectId::Pool(name.as_str().into())), Duration::ZERO);
        } else {
            let (length, third) = (random.u8(16..=24), random.u8(..4) * 64);
            let cidr: ipnet::IpNet = format!("10.{}.{third}.0/{length}", random.u8(..2)).parse().unwrap();
            let spec = serde_json::json!({"cidr": cidr.trunc(), "blockSize": 26, "ipipMode": "Never"});
            let pool = serde_json::json!({"kind": "IPPool", "metadata": {"name": name}, "spec": spec});
            state.apply(event(&key, &pool.to_string(), &Detail::Full), Duration::ZERO);
        }
        let net: ipnet::IpNet = format!("10.{}.{}.0/26", random.u8(..2), random.u8(..)).parse().unwrap();
        let datastore = &state.datastore;
        let around = datastore.pools().values().filter(|pool| pool.cidr.contains(&net));
        let scanned = around.max_by_key(|pool| pool.cidr.prefix_len());
        assert_eq!(datastore.pool_of(&net), scanned, "step {step}: {net}");
    }
}

/// Thousands of hosts claim one CIDR: whoever asks about it is told of a few of them, and how many more there are.
#[test]
fn an_explanation_has_a_bound_whatever_was_written() {
    let size = |keys: u32| {
        let mut state = state(shape(2, 0), true, &Detail::Full);
        for key in 0..keys {
            let key = format!("/calico/ipam/v2/host/claims-{key}/ipv4/block/10.77.0.0-26");
            state.apply(event(&key, r#"{"state":"confirmed","deleted":false}"#, &Detail::Full), Duration::ZERO);
        }
        let mut auditor = auditor(false);
        auditor.look(&mut state, NOW);
        let findings = auditor.report(&state, NOW).findings;
        assert!(findings.len() >= keys as usize, "{}", findings.len());
        let explained = auditor.explain(&state, &findings, &"10.77.0.0/26".parse().unwrap());
        let named: usize = explained.links.iter().map(|link| link.findings.len()).sum();
        let more: usize = explained.links.iter().map(|link| link.more_findings).sum();
        let length: usize = explained.links.iter().map(|link| link.actual.len() + link.detail.len()).sum();
        assert!(named + more >= keys as usize, "{named} and {more}");
        assert!(explained.links.iter().any(|link| link.actual.contains("more")));
        (named, length)
    };
    let ((small, short), (large, long)) = (size(1000), size(2000));
    assert_eq!(small, large);
    assert!(long <= short + 64, "{short} and {long} characters");
}
