//! Single steps, apart from etcd and the kernel: what decoding, folding, auditing and encoding cost. `make bench-micro`
//! prints their times, and beside them instructions, which do not depend on what else the machine is doing.
//!
//! The cluster is the generator's, seen from its first host: 5,000 hosts with three half-full blocks each. Every step is
//! a function that is never inlined, so that callgrind can tell it from what prepares it.

use std::hint::black_box;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use calico_exporter::audit::{
    AuditOptions, Auditor, Backend, IpamOptions, Now, RouteOptions, TunnelAudit, TunnelOptions,
};
use calico_exporter::metrics::{Format, Published, Scraper, Vitals};
use calico_exporter::model::{Detail, Link, Name, NextHop, Protocol, Route, RouteType, TABLE_MAIN};
use calico_exporter::source::etcd::decode;
use calico_exporter::state::{Changes, Event, Side, State};
use divan::Bencher;

#[path = "scale/cluster.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the other benchmarks")]
mod cluster;
#[path = "scale/peers.rs"]
#[allow(unreachable_pub, dead_code, reason = "shared with the other benchmarks")]
mod peers;

use cluster::Shape;

const SHAPE: Shape = Shape { hosts: 5000, blocks: 3, used: 32, faults: 0, endpoints: true };
const NOW: Now = Now { monotonic: Duration::ZERO, wall: SystemTime::UNIX_EPOCH };

/// Beside times, what is allocated.
#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

/// Everything that an exporter follows.
static CLUSTER: LazyLock<State> = LazyLock::new(|| {
    let mut state = State::new(false);
    let detail = Detail::Rules(me());
    let numerous = |key: &str| key.contains("/handle/") || key.contains("/workloadendpoints/");
    for (key, value) in SHAPE.keys().filter(|(key, _)| !numerous(key)) {
        state.apply(event(&detail, &key, &value), NOW.monotonic);
    }
    state.apply(Event::Synced(Side::Datastore), NOW.monotonic);
    state
});

fn main() {
    divan::main();
}

fn me() -> Name {
    Shape::host(0).into()
}

fn event(detail: &Detail, key: &str, value: &str) -> Event {
    // Every key of the generator's is one that the exporter reads.
    decode::event_in(detail, key.as_bytes(), value.as_bytes()).unwrap_or(Event::Synced(Side::Datastore))
}

fn block(block: u32, revision: u64) -> (String, String) {
    (Shape::block_key(block), SHAPE.block(block, revision))
}

#[inline(never)]
fn decode_block(detail: &Detail, (key, value): &(String, String)) -> Event {
    event(detail, key, value)
}

#[divan::bench]
fn decode_block_of_another_host(bencher: Bencher<'_, '_>) {
    let (detail, block) = (Detail::Rules(me()), block(4, 0));
    bencher.bench_local(|| decode_block(&detail, black_box(&block)));
}

#[divan::bench]
fn decode_block_in_full(bencher: Bencher<'_, '_>) {
    let block = block(4, 0);
    bencher.bench_local(|| decode_block(&Detail::Full, black_box(&block)));
}

#[inline(never)]
fn decode_small((key, value): &(String, String)) -> Event {
    event(&Detail::Full, key, value)
}

/// One of the kind of which there are most: the first whose key contains this.
fn one(part: &str) -> (String, String) {
    let few = Shape { hosts: 1, ..SHAPE };
    few.keys().find(|(key, _)| key.contains(part)).unwrap_or_default()
}

#[divan::bench]
fn decode_endpoint(bencher: Bencher<'_, '_>) {
    let endpoint = one("/workloadendpoints/");
    bencher.bench_local(|| decode_small(black_box(&endpoint)));
}

#[divan::bench]
fn decode_handle(bencher: Bencher<'_, '_>) {
    let handle = one("/handle/");
    bencher.bench_local(|| decode_small(black_box(&handle)));
}

#[inline(never)]
fn fold(state: &mut State, event: Event) {
    state.apply(event, NOW.monotonic);
}

#[divan::bench]
fn fold_block(bencher: Bencher<'_, '_>) {
    let mut state = CLUSTER.clone();
    let detail = Detail::Rules(me());
    let mut revision = 0;
    let next = || {
        revision += 1;
        let (key, value) = block(4, revision);
        event(&detail, &key, &value)
    };
    bencher.with_inputs(next).bench_local_values(|event| fold(&mut state, event));
}

fn auditor(ipam: bool) -> Auditor {
    let grace = Duration::from_secs(120);
    Auditor::new(AuditOptions {
        ipam: ipam.then_some(IpamOptions { live: true, affinity_grace: grace }),
        routes: (!ipam).then(|| RouteOptions {
            node: me(),
            backend: Backend::Auto,
            grace: Some(grace),
            tunnels: TunnelOptions::default(),
        }),
        leaks: false,
        leak_grace: grace,
    })
}

#[inline(never)]
fn look(auditor: &mut Auditor, state: &mut State) {
    auditor.look(state, NOW);
}

#[divan::bench(max_time = 2)]
fn audit_all_blocks(bencher: Bencher<'_, '_>) {
    bencher.with_inputs(|| (auditor(true), CLUSTER.clone())).bench_local_refs(|(auditor, state)| look(auditor, state));
}

#[divan::bench]
fn audit_one_block(bencher: Bencher<'_, '_>) {
    let (mut auditor, mut state) = (auditor(true), CLUSTER.clone());
    auditor.look(&mut state, NOW);
    let mut revision = 0;
    bencher.bench_local(|| {
        revision += 1;
        let (key, value) = block(4, revision);
        fold(&mut state, event(&Detail::Rules(me()), &key, &value));
        look(&mut auditor, &mut state);
    });
}

/// The kernel of the first host: a route to every block, as BIRD would have programmed it.
fn kernel() -> Vec<Event> {
    let device = |index, name: &str| {
        Event::Link(Link {
            index,
            name: name.into(),
            admin_up: true,
            mtu: 1500,
            addresses: if index == 2 {
                format!("{}/12", Shape::host_address(0)).parse().into_iter().collect()
            } else {
                Vec::new()
            },
            ..Link::default()
        })
    };
    let tunnel: Name = "tunl0".into();
    let route = |block: u32| {
        let host = block / SHAPE.blocks;
        let hop = NextHop {
            gateway: Some(Shape::host_address(host).into()),
            device: Some(tunnel.clone()),
            down: false,
            onlink: true,
        };
        let own = host == 0;
        let destination = format!("{}/26", Shape::network(block)).parse().ok()?;
        Some(Event::Route(Route {
            table: TABLE_MAIN,
            destination,
            metric: 0,
            tos: 0,
            kind: if own { RouteType::Blackhole } else { RouteType::Unicast },
            protocol: Protocol::BIRD,
            link_scope: false,
            next_hops: if own { None } else { Some(hop) }.into_iter().collect(),
        }))
    };
    let routes = (0..SHAPE.block_count()).filter_map(route);
    [Event::Resync(Side::Kernel), device(2, "eth0"), device(3, "tunl0")]
        .into_iter()
        .chain(routes)
        .chain([Event::Synced(Side::Kernel)])
        .collect()
}

#[inline(never)]
fn fold_all(state: &mut State, events: Vec<Event>) {
    for event in events {
        state.apply(event, NOW.monotonic);
    }
}

#[divan::bench(max_time = 2)]
fn fold_all_routes(bencher: Bencher<'_, '_>) {
    let events = kernel();
    bencher.with_inputs(|| (CLUSTER.clone(), events.clone())).bench_local_values(|(mut state, events)| {
        fold_all(&mut state, events);
        state
    });
}

fn with_kernel() -> State {
    let mut state = CLUSTER.clone();
    fold_all(&mut state, kernel());
    state
}

#[divan::bench(max_time = 2)]
fn audit_all_routes(bencher: Bencher<'_, '_>) {
    let state = with_kernel();
    bencher.with_inputs(|| (auditor(false), state.clone())).bench_local_refs(|(auditor, state)| look(auditor, state));
}

#[divan::bench]
fn audit_one_route(bencher: Bencher<'_, '_>) {
    let (mut auditor, mut state) = (auditor(false), with_kernel());
    auditor.look(&mut state, NOW);
    let route = kernel().into_iter().find_map(|event| match event {
        Event::Route(route) if route.kind == RouteType::Unicast => Some(route),
        _ => None,
    });
    let Some(route) = route else { return };
    let mut there = true;
    bencher.bench_local(|| {
        there = !there;
        let event = if there { Event::Route(route.clone()) } else { Event::RouteGone(route.key()) };
        fold(&mut state, event);
        look(&mut auditor, &mut state);
    });
}

/// A host with 5,000 other ends of its tunnel.
#[divan::bench(max_time = 2)]
fn audit_all_tunnel_entries(bencher: Bencher<'_, '_>) {
    let mut state = State::new(true);
    fold_all(&mut state, peers::datastore(SHAPE.hosts).chain(peers::kernel(SHAPE.hosts)).collect());
    let options = peers::options();
    bencher.with_inputs(|| TunnelAudit::new(options.clone())).bench_local_refs(|audit| look_beneath(audit, &state));
}

#[inline(never)]
fn look_beneath(audit: &mut TunnelAudit, state: &State) {
    audit.refresh(state, &Changes::default(), NOW);
}

/// What a scrape of all hosts' series is made of.
fn published() -> Arc<Published> {
    let (mut auditor, mut state) = (auditor(true), CLUSTER.clone());
    auditor.look(&mut state, NOW);
    let mut published = Published::starting(me(), Vec::new());
    published.report = Arc::new(auditor.report(&state, NOW));
    Arc::new(published)
}

#[inline(never)]
fn encode(scraper: &Scraper, published: &Arc<Published>, gzip: bool) -> usize {
    let body = scraper.body(published, Format::Text, gzip);
    body.map_or(0, |pieces| pieces.iter().map(|piece| piece.len()).sum())
}

fn encoding(bencher: Bencher<'_, '_>, gzip: bool) {
    let published = published();
    bencher
        .with_inputs(|| Scraper::new(Arc::new(Vitals::default())))
        .bench_local_refs(|scraper| encode(scraper, &published, gzip));
}

#[divan::bench(max_time = 2)]
fn encode_plain(bencher: Bencher<'_, '_>) {
    encoding(bencher, false);
}

#[divan::bench(max_time = 2)]
fn encode_gzip(bencher: Bencher<'_, '_>) {
    encoding(bencher, true);
}
