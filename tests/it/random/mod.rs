//! Random clusters, judged a second time by a reading of the judgement that shares no code with the audit.

mod affinities;
mod build;
mod causes;
mod devices;
mod dump;
mod effect;
mod explain;
mod kernel;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod mutate;
mod oracle;
mod others;
mod setting;
mod speak;
mod wanted;
mod words;
mod world;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use calico_exporter::audit::{
    self, AuditOptions, Auditor, ClassCounts, Encapsulation, Finding, IpamOptions, Metric, Now, Report, RouteClass,
    RouteOptions, TunnelModes, TunnelOptions,
};
use calico_exporter::model::{Name, PoolClass};
use calico_exporter::source::file;
use calico_exporter::source::kubernetes::ApiGroup;
use calico_exporter::state::{Event, Side};
use fastrand::Rng;

use build::Builder;
use oracle::{Fault, Oracle};
use world::World;

use crate::support::custom;

const NOW: Now = Now { monotonic: Duration::from_secs(1000), wall: SystemTime::UNIX_EPOCH };

fn cases() -> u64 {
    std::env::var("RANDOM_CASES").ok().and_then(|it| it.parse().ok()).unwrap_or(100)
}

fn first_case() -> u64 {
    std::env::var("RANDOM_FIRST").ok().and_then(|it| it.parse().ok()).unwrap_or(0)
}

/// As `check` has it.
fn auditor(world: &World) -> Auditor {
    Auditor::new(AuditOptions {
        ipam: Some(IpamOptions { live: false, affinity_grace: Duration::ZERO }),
        routes: Some(RouteOptions {
            node: world.me.clone(),
            backend: world.backend,
            grace: None,
            tunnels: TunnelOptions::default(),
        }),
        leaks: true,
        leak_grace: Duration::ZERO,
    })
}

fn fresh(world: &World, events: Vec<Event>) -> Report {
    look(world, events, true)
}

fn look(world: &World, events: Vec<Event>, lists_endpoints: bool) -> Report {
    let mut state = world::state(events, lists_endpoints);
    let mut auditor = auditor(world);
    auditor.look(&mut state, NOW);
    auditor.report(&state, NOW)
}

fn fault(finding: &Finding) -> Fault {
    let labels: Vec<&str> = finding.fault.labels().map(|(_, value)| value).collect();
    let host = finding.host.as_deref().unwrap_or("-").to_owned();
    (finding.metric().as_str(), labels.join("/"), finding.subject.clone(), host)
}

fn all(report: &Report) -> BTreeSet<Fault> {
    report.findings.iter().map(fault).collect()
}

/// What the second reading judges.
fn of_routes(report: &Report) -> BTreeSet<Fault> {
    let address = |it: &Finding| matches!(it.fault.reason(), Some("not_allocated" | "owned_by_pod" | "duplicate"));
    // The cluster's, and read a second time by `Oracle::duplicates`.
    let of_nodes = |it: &Finding| matches!(it.fault, audit::Fault::Node(reason) if reason.is_of_cluster());
    let judged = report.findings.iter().filter(|it| match it.metric() {
        Metric::TunnelFaults => !address(it),
        Metric::NodeFaults => !of_nodes(it),
        metric => matches!(metric, Metric::RouteFaults | Metric::OwnerFaults),
    });
    judged.map(fault).collect()
}

fn expected(world: &World) -> BTreeSet<Fault> {
    let oracle = Oracle::new(world);
    let mut faults = oracle.route_faults();
    faults.extend(oracle.host_faults());
    faults
}

fn healthy(seed: u64) -> World {
    let mut world = Builder::cluster(seed);
    kernel::settle(&mut world, &mut Rng::with_seed(seed));
    world
}

#[test]
fn a_healthy_host_of_a_random_cluster_has_no_fault() {
    for seed in first_case()..first_case() + cases() {
        let world = healthy(seed);
        let owners = Oracle::new(&world).host_faults();
        let report = fresh(&world, world.events());
        let found = all(&report);
        assert!(found == owners, "seed {seed}: {}", words::disagreement(&world, &found, &owners));
        if owners.iter().any(|it| it.0 != "calico_cluster_routes_owner_faults") {
            // There was no address left for one of this host's tunnels.
            continue;
        }
        assert!(Oracle::new(&world).route_faults().is_empty(), "seed {seed}");
        let (actual, expected, ..) = figures(&report);
        assert_eq!(actual, expected, "seed {seed}: {}", words::disagreement(&world, &found, &owners));
    }
}

#[test]
fn whatever_happens_to_a_host_is_judged_as_the_second_reading_judges_it() {
    for seed in first_case()..first_case() + cases() {
        let mut rng = Rng::with_seed(seed);
        let mut world = healthy(seed);
        let mut told = Vec::new();
        for _ in 0..8 {
            if build::chance(&mut rng, 30) {
                world = healthy(seed);
                told.clear();
            }
            told.push(mutate::mutate(&mut world, &mut rng));
            let report = fresh(&world, world.events());
            let (audit, second) = (of_routes(&report), expected(&world));
            let twice = report.findings.iter().filter(|it| it.fault.reason() == Some("address_duplicate"));
            let twice: BTreeSet<String> = twice.map(|it| it.subject.clone()).collect();
            let duplicates: BTreeSet<String> =
                Oracle::new(&world).duplicates().into_iter().map(|(name, _)| name).collect();
            assert_eq!(twice, duplicates, "seed {seed}, {told:#?}");
            assert!(audit == second, "seed {seed}, {told:#?}: {}", words::disagreement(&world, &audit, &second));
        }
    }
}

/// The same object can be told anew, a route in two steps: looks in between must not be remembered wrongly.
#[test]
fn a_look_after_each_event_ends_where_a_fresh_look_does() {
    for seed in first_case()..first_case() + cases() {
        let mut rng = Rng::with_seed(seed ^ 0x5eed);
        let mut world = healthy(seed);
        let listed = seed % 3 != 0;
        let mut state = world::state(world.events(), listed);
        let mut live = auditor(&world);
        live.look(&mut state, NOW);
        let mut told = Vec::new();
        for _ in 0..10 {
            let before = world.clone();
            told.push(mutate::mutate(&mut world, &mut rng));
            for event in before.until(&world) {
                state.apply(event, NOW.monotonic);
                live.look(&mut state, NOW);
            }
            // Where endpoints are listed, leaks are judged list by list.
            state.apply(Event::Synced(Side::Datastore), NOW.monotonic);
            live.look(&mut state, NOW);
            let live = live.report(&state, NOW);
            let fresh = look(&world, world.events(), listed);
            let same = live.findings == fresh.findings && live.ipam == fresh.ipam && figures(&live) == figures(&fresh);
            assert!(
                same,
                "seed {seed}, {told:#?}: live against fresh {:#?} {:#?} {}",
                figures(&live),
                figures(&fresh),
                words::disagreement(&world, &all(&live), &all(&fresh))
            );
        }
    }
}

type Modes = Vec<(Name, TunnelModes)>;
type Owners = Vec<(&'static str, PoolClass)>;
type Counted = Vec<((RouteClass, Encapsulation), u64)>;

fn counted(counts: &ClassCounts) -> Counted {
    counts.iter().filter(|it| *it.1 > 0).map(|(key, count)| (*key, *count)).collect()
}

/// What a report says beside its findings and what it remembers of time.
fn figures(report: &Report) -> (Counted, Counted, Modes, Owners) {
    let routes = report.routes.as_ref().unwrap();
    let modes = routes.tunnel_modes.iter().map(|(name, modes)| (name.clone(), *modes)).collect();
    (counted(&routes.actual), counted(&routes.expected), modes, routes.owners.clone())
}

/// Whether two reports say the same.
fn alike(one: &Report, other: &Report) -> bool {
    all(one) == all(other) && one.ipam == other.ipam && figures(one) == figures(other)
}

/// What a datastore says, and this kernel.
fn beside_kernel(mut events: Vec<Event>, world: &World) -> Vec<Event> {
    events.extend(world.events().into_iter().filter(|it| matches!(it, Event::Link(_) | Event::Route(_))));
    events.push(Event::Synced(Side::Kernel));
    events
}

/// Two endpoints of a world may be of one Pod; and what a Pod says of a node and a device is not to be chosen.
fn sayable(world: &World, group: ApiGroup) -> Vec<Event> {
    let mut events = world.events();
    for event in &mut events {
        match event {
            Event::Put(object) => **object = custom::sayable((**object).clone()),
            Event::Unreadable { id, key, .. } => *key = custom::key(group, id).into(),
            _ => {}
        }
    }
    events
}

#[test]
fn the_kubernetes_api_says_what_the_events_say() {
    for seed in first_case()..first_case() + cases() {
        let group = ApiGroup::ALL[seed as usize % 2];
        let mut rng = Rng::with_seed(seed ^ 0xa91);
        let mut world = healthy(seed);
        for _ in 0..4 {
            let list = custom::list(group, &dump::pairs(&world));
            let listed = file::datastore_from(Path::new("list"), list.as_bytes()).unwrap().events;
            let told = sayable(&world, group);
            let (listed, told) = (fresh(&world, beside_kernel(listed, &world)), fresh(&world, told));
            assert!(
                alike(&listed, &told),
                "seed {seed}: {group} against events {}",
                words::disagreement(&world, &all(&listed), &all(&told))
            );
            mutate::mutate(&mut world, &mut rng);
        }
    }
}

#[test]
fn a_dump_says_what_the_events_say() {
    for seed in first_case()..first_case() + cases() {
        let mut rng = Rng::with_seed(seed ^ 0xd0d0);
        let mut world = healthy(seed);
        for _ in 0..4 {
            let dumped = file::datastore_from(Path::new("dump"), dump::dump(&world).as_bytes()).unwrap().events;
            let (dumped, told) = (fresh(&world, beside_kernel(dumped, &world)), fresh(&world, world.events()));
            assert!(
                alike(&dumped, &told),
                "seed {seed}: dump against events {}",
                words::disagreement(&world, &all(&dumped), &all(&told))
            );
            mutate::mutate(&mut world, &mut rng);
        }
    }
}
