use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use fastrand::Rng;
use proptest::prelude::*;

use super::{Persistence, Sweep, Swept};
use crate::audit::sample::{self, Cluster, attribute, endpoint, ip, load_balancer, machine, net, pod};
use crate::audit::{Finding, handles, leaks, tunnel_addresses};
use crate::model::{AttributeKind, Detail, EndpointId, TunnelKind, address_at};
use crate::state::{Datastore, ObjectId};

const TUNNELS: [(TunnelKind, &str); 5] = [
    (TunnelKind::Ipip, "10."),
    (TunnelKind::VxlanV4, "10."),
    (TunnelKind::WireguardV4, "10."),
    (TunnelKind::VxlanV6, "fd"),
    (TunnelKind::WireguardV6, "fd"),
];

/// A cluster as it may well be: pods of one family and of both, borrowed addresses, blocks of nobody, tunnels, Windows,
/// cooldown, old allocations, machines that stand, run and move, Services, pods of another IPAM, floating addresses.
fn random(rng: &mut Rng) -> Cluster {
    let mut cluster = Cluster::default();
    cluster.pool("v4", "10.0.0.0/16");
    cluster.pool("v6", "fd00::/112");
    cluster.pool("off", "10.1.0.0/16").disabled = true;
    cluster.pool("services", "10.2.0.0/24").load_balancer = true;
    let hosts: Vec<String> = (1..=rng.usize(2..5)).map(|number| format!("h{number}")).collect();
    for host in &hosts {
        cluster.nodes.insert(host.as_str().into(), Default::default());
    }
    let mut free: Vec<String> = Vec::new();
    for (pool, len) in [("10.0.0.0", 28), ("10.1.0.0", 28), ("fd00::", 124)] {
        for number in 0..rng.u64(2..5) {
            let first = address_at(&net(&format!("{pool}/{}", len - 8)), number * 16).unwrap();
            let owner = match rng.u8(0..4) {
                0 => String::new(),
                _ => format!("host:{}", rng.choice(&hosts).unwrap()),
            };
            cluster.block(&format!("{first}/{len}"), &owner);
            free.extend((0..16).map(|it| address_at(&net(&format!("{first}/{len}")), it).unwrap().to_string()));
        }
    }
    cluster.block("10.2.0.0/28", "virtual:load-balancer");
    cluster.allocate("10.2.0.3", load_balancer());
    rng.shuffle(&mut free);
    let mut take = |family: &str| {
        let at = free.iter().position(|it| it.starts_with(family));
        at.map(|at| free.swap_remove(at))
    };
    for host in &hosts {
        for (kind, family) in TUNNELS {
            if rng.bool()
                && let Some(address) = take(family)
            {
                cluster.give_tunnel(host, kind, &address);
            }
        }
    }
    for number in 0..rng.usize(3..20) {
        let (host, other) = (rng.choice(&hosts).unwrap(), rng.choice(&hosts).unwrap());
        let name = format!("pod-{number}");
        let Some(address) = take(["10.", "fd"][rng.usize(0..2)]) else { break };
        match rng.u8(0..10) {
            0 => cluster
                .allocate(&address, attribute(AttributeKind::WindowsReserved, Some("windows-reserved-ipam-handle"))),
            1 => cluster.allocate(&address, attribute(AttributeKind::Cooldown, None)),
            2 => cluster.allocate(&address, attribute(AttributeKind::Workload, None)),
            3 => {
                cluster.allocate(&address, machine(host, &name, Some(other)));
                for host in [host, other].into_iter().take(rng.usize(0..3)) {
                    cluster.attach(endpoint(host, &format!("{name}-{host}"), &[&address]));
                }
            }
            4 => cluster.attach(endpoint(host, &name, &[&format!("192.0.2.{number}")])),
            5 => {
                cluster.run(host, &name, &address);
                if let Some(second) = take("10.") {
                    cluster.allocate(&second, pod(host, &name));
                    let addresses = &mut cluster.endpoint(host, &name).addresses;
                    addresses.push(ip(&second));
                    cluster.endpoint(host, &name).floating.push(ip("10.0.255.1"));
                }
            }
            _ => cluster.run(host, &name, &address),
        }
    }
    // Two that every mutation finds.
    for number in [0, 1] {
        if let Some(address) = take("10.0") {
            cluster.run(&hosts[0], &format!("always-{number}"), &address);
        }
    }
    cluster.give_tunnel("h1", TunnelKind::Ipip, &take("10.0").unwrap_or_else(|| "10.2.0.9".to_owned()));
    cluster
}

/// What is wrong in a datastore that lists everything.
fn judge(datastore: &Datastore) -> Vec<Finding> {
    let mut found = [leaks::judge(datastore), handles::judge(datastore), tunnel_addresses::judge(datastore)].concat();
    found.sort();
    found
}

fn lines(findings: &[Finding]) -> BTreeSet<String> {
    findings.iter().map(|it| format!("{} {}", it.fault.reason().unwrap(), it.subject)).collect()
}

/// Breaks one thing; says what follows.
fn break_one(cluster: &mut Cluster, rng: &mut Rng) -> BTreeSet<String> {
    let names: Vec<EndpointId> = cluster.endpoints.keys().filter(|id| id.name.contains("always")).cloned().collect();
    let victim = rng.choice(&names).unwrap().clone();
    let (address, handle) = {
        let it = &cluster.endpoints[&victim];
        (it.addresses[0].to_string(), format!("k8s-pod-network.{}", it.container_id))
    };
    let one = |reason: &str, subject: &str| BTreeSet::from([format!("{reason} {subject}")]);
    let free = "10.0.200.7";
    let tunnels: Vec<String> = cluster.nodes["h1"].tunnels.values().map(ToString::to_string).collect();
    match rng.u8(0..18) {
        0 => {
            cluster.endpoints.remove(&victim);
            one("allocated_not_in_use", &address)
        }
        1 => {
            cluster.endpoints.get_mut(&victim).unwrap().node = "h2".into();
            one("on_another_node", &address)
        }
        2 => {
            cluster.endpoints.get_mut(&victim).unwrap().container_id = sample::container("another").into();
            one("handle_differs", &address)
        }
        3 => {
            cluster.attach(endpoint("h2", "twin", &[&address]));
            one("two_endpoints", &address)
        }
        4 => {
            cluster.attach(endpoint("h2", "stray", &[free]));
            one("in_use_not_allocated", free)
        }
        5 => {
            *cluster.attribute(&address) = attribute(AttributeKind::Cooldown, None);
            let mut found = one("in_use_not_allocated", &address);
            found.extend(one("no_allocation", &handle));
            found
        }
        6 => {
            cluster.nodes.remove("h1");
            let mut found = BTreeSet::new();
            for (cidr, block) in &cluster.blocks {
                for (ordinal, held) in &block.held {
                    let Some(held) = held else { continue };
                    let pods = held.kind == AttributeKind::Workload && held.handle.is_some();
                    if (pods || held.kind == AttributeKind::Tunnel) && held.node.as_deref() == Some("h1") {
                        found.insert(format!("on_unknown_host {}", address_at(cidr, u64::from(*ordinal)).unwrap()));
                    }
                }
            }
            found
        }
        7 => {
            cluster.handles.remove(handle.as_str());
            one("missing_handle", &handle)
        }
        8 => {
            cluster.handles.insert("old.handle".into(), [(net("10.0.0.0/28"), 1)].into());
            one("no_allocation", "old.handle")
        }
        9 => {
            let counts = cluster.handles.get_mut(handle.as_str()).unwrap();
            counts.values_mut().for_each(|count| *count -= 1);
            one("under_count", &handle)
        }
        10 => {
            // The address it had stays allocated to it, which is no fault of the living.
            cluster.tunnel("h1", TunnelKind::Ipip, free);
            one("not_allocated", free)
        }
        11 => {
            cluster.tunnel("h1", TunnelKind::Ipip, &address);
            one("owned_by_pod", &address)
        }
        12 => {
            cluster.attach(endpoint("h2", "thief", &[&tunnels[0]]));
            one("owned_by_pod", &tunnels[0])
        }
        13 => {
            cluster.tunnel("h2", TunnelKind::Ipip, &tunnels[0]);
            one("duplicate", &tunnels[0])
        }
        // What is as it may be.
        14 => {
            *cluster.held(&address) = None;
            BTreeSet::new()
        }
        15 => {
            let counts = cluster.handles.get_mut(handle.as_str()).unwrap();
            counts.values_mut().for_each(|count| *count += 3);
            BTreeSet::new()
        }
        16 => {
            cluster.endpoints.remove(&victim);
            cluster.unreadable.push(ObjectId::Endpoint(victim));
            BTreeSet::new()
        }
        _ => {
            let cidr = *cluster.blocks.keys().rfind(|cidr| cidr.contains(&ip(&address))).unwrap();
            cluster.blocks.remove(&cidr);
            cluster.unreadable.push(ObjectId::Block(cidr));
            BTreeSet::new()
        }
    }
}

/// Does something to the cluster; what follows from many such things together nobody foretells.
fn disturb(cluster: &mut Cluster, rng: &mut Rng) {
    let ids: Vec<EndpointId> = cluster.endpoints.keys().cloned().collect();
    let addresses: Vec<_> = cluster.endpoints.values().flat_map(|it| it.addresses.clone()).collect();
    let (Some(id), Some(address)) = (rng.choice(&ids), rng.choice(&addresses)) else { return };
    let address = address.to_string();
    let host = format!("h{}", rng.u8(1..5));
    let mut held: Vec<_> = cluster.blocks.values_mut().flat_map(|block| block.held.values_mut()).collect();
    let held = rng.choice(&mut held).unwrap();
    match rng.u8(0..13) {
        0 => {
            cluster.endpoints.remove(id);
        }
        1 => cluster.endpoints.get_mut(id).unwrap().node = host.into(),
        2 => cluster.endpoints.get_mut(id).unwrap().container_id = sample::container(&host).into(),
        3..6 => cluster.attach(endpoint(&host, &format!("twin-{}", rng.u8(..)), &[&address])),
        6 => {
            cluster.nodes.remove(host.as_str());
        }
        7 => {
            cluster.handles.pop_first();
        }
        8 => cluster.handles.values_mut().take(2).flat_map(|it| it.values_mut()).for_each(|count| *count -= 1),
        9 => {
            cluster.handles.insert("old.handle".into(), [(net("10.0.0.0/28"), 1)].into());
        }
        10 => {
            **held =
                [None, Some(attribute(AttributeKind::Cooldown, None)), Some(pod(&host, "x"))][rng.usize(0..3)].clone()
        }
        11 => {
            if let Some(node) = cluster.nodes.get_mut(host.as_str()) {
                node.tunnels.insert(TunnelKind::Ipip, ip(&address));
            }
        }
        _ => {
            cluster.unreadable.push(ObjectId::Endpoint(id.clone()));
            cluster.endpoints.remove(id);
        }
    }
}

/// One sweep over the cluster, its pages in random order, its blocks in this detail, and suspects in full in the end.
fn sweep(cluster: &Cluster, detail: &Detail, rng: &mut Rng) -> Swept {
    let mut state = cluster.watched_in(detail);
    let watched = &state.datastore;
    let mut sweep = Sweep::begin(watched);
    let mut objects: Vec<_> = cluster.endpoints.values().map(Ok).collect();
    let handles = cluster.objects();
    objects.extend(handles.iter().map(Err));
    rng.shuffle(&mut objects);
    cluster.unreadable.iter().for_each(|id| sweep.unreadable(id));
    for object in objects {
        match object {
            Ok(endpoint) => sweep.endpoint(watched, endpoint),
            Err(handle) => sweep.handle(watched, handle),
        }
    }
    for cidr in sweep.suspects(&state.datastore) {
        state.apply(cluster.full_block(&cidr), Duration::ZERO);
    }
    sweep.finish(&state.datastore)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_consistent_cluster_is_clean_and_one_fault_gives_its_finding(seed in any::<u64>()) {
        let mut rng = Rng::with_seed(seed);
        let mut cluster = random(&mut rng);
        prop_assert_eq!(judge(&cluster.datastore()), []);
        let expected = break_one(&mut cluster, &mut rng);
        let found = judge(&cluster.datastore());
        prop_assert_eq!(lines(&found), expected.clone(), "{:?}", found);
        prop_assert_eq!(found.len(), expected.len());
    }

    #[test]
    fn a_sweep_in_any_order_finds_what_one_look_finds(seed in any::<u64>(), faults in 0usize..20) {
        let mut rng = Rng::with_seed(seed);
        let mut cluster = random(&mut rng);
        for _ in 0..faults {
            disturb(&mut cluster, &mut rng);
        }
        let whole = cluster.datastore();
        let swept = sweep(&cluster, &Detail::Full, &mut rng);
        prop_assert_eq!(&sweep(&cluster, &Detail::Digests, &mut rng), &swept);
        let mut found: Vec<Finding> = swept.candidates.into_iter().map(|it| it.finding).collect();
        let watched = cluster.watched();
        found.extend(tunnel_addresses::judge_with(&watched, |address| swept.tunnel_users.get(&address)));
        found.sort();
        prop_assert_eq!(found, judge(&whole));
        // What is followed on a host leaves out names, and no finding.
        let followed = cluster.watched_in(&Detail::Rules("h1".into())).datastore;
        let names = |datastore: &Datastore| -> Vec<_> {
            let found = tunnel_addresses::judge_with(datastore, |address| swept.tunnel_users.get(&address));
            found.into_iter().map(|it| (it.fault, it.subject, it.host)).collect()
        };
        prop_assert_eq!(names(&followed), names(&watched));
    }
}

/// Sweeps the cluster, and lets through what an earlier sweep saw.
struct Sweeper {
    earlier: Persistence,
    minutes: u64,
}

impl Sweeper {
    fn new() -> Sweeper {
        Sweeper { earlier: Persistence::default(), minutes: 0 }
    }

    fn after(&mut self, minutes: u64, cluster: &Cluster) -> Vec<Finding> {
        let of = |minutes: u64| Duration::from_secs(60 * minutes);
        self.minutes += minutes;
        let candidates = sweep(cluster, &Detail::Digests, &mut Rng::with_seed(1)).candidates;
        let clock = SystemTime::UNIX_EPOCH + of(1000 + self.minutes);
        self.earlier.settle(candidates, of(self.minutes), clock, of(15))
    }
}

fn leaky() -> Cluster {
    let mut cluster = Cluster::two_hosts();
    cluster.run("h1", "web", "10.0.0.1");
    cluster.allocate("10.0.0.2", pod("h1", "gone"));
    cluster.handles.insert("old.handle".into(), [].into());
    cluster
}

#[test]
fn what_stands_for_the_grace_in_every_sweep_is_a_finding() {
    let (cluster, mut sweeper) = (leaky(), Sweeper::new());
    assert_eq!(sweeper.after(0, &cluster), []);
    assert_eq!(sweeper.after(14, &cluster), []);
    let found = sweeper.after(1, &cluster);
    assert_eq!(lines(&found), ["allocated_not_in_use 10.0.0.2", "no_allocation old.handle"].map(String::from).into());
    // It stands since it was first seen, as long as it is seen.
    for found in [found, sweeper.after(50, &cluster)] {
        assert!(found.iter().all(|it| it.since == Some(SystemTime::UNIX_EPOCH + Duration::from_secs(60_000))));
    }
    assert_eq!(sweeper.after(15, &Cluster::two_hosts()), []);
    assert!(sweeper.earlier.is_empty());
    assert_eq!(sweeper.after(15, &cluster), []);
    assert_eq!(sweeper.earlier.len(), 2);
}

#[test]
fn an_address_given_out_during_two_sweeps_is_not_the_same_leak() {
    let mut sweeper = Sweeper::new();
    // Both times a pod was starting: its address was allocated and its endpoint not yet written.
    for name in ["first", "second", "third"] {
        let mut cluster = Cluster::two_hosts();
        cluster.allocate("10.0.0.2", pod("h1", name));
        assert_eq!(sweeper.after(15, &cluster), []);
    }
    // And both times one was stopping: released, and its endpoint already read.
    for name in ["first", "second", "third"] {
        let mut cluster = Cluster::two_hosts();
        cluster.attach(endpoint("h1", name, &["10.0.0.2"]));
        assert_eq!(sweeper.after(15, &cluster), []);
    }
}

#[test]
fn what_changes_while_a_sweep_is_under_way_is_judged_as_it_is_in_the_end() {
    let mut cluster = Cluster::two_hosts();
    let before = cluster.watched();
    cluster.run("h1", "web", "10.0.0.1");
    let during = cluster.watched();
    let mut sweep = Sweep::begin(&before);
    // Endpoint and handle are read before their block's change arrives, or after the block is free again.
    for endpoint in cluster.endpoints.values() {
        sweep.endpoint(&before, endpoint);
    }
    for handle in cluster.objects() {
        sweep.handle(&before, &handle);
    }
    assert_eq!(sweep.clone().finish(&during).candidates, []);
    let swept = sweep.finish(&before);
    let found: Vec<Finding> = swept.candidates.into_iter().map(|it| it.finding).collect();
    assert_eq!(
        lines(&found),
        ["in_use_not_allocated 10.0.0.1".to_owned(), format!("no_allocation {}", sample::handle("web"))].into()
    );
}
