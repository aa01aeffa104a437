//! Clusters whose addresses are somebody else's to give out: host-local IPAM, Canal, and IPAM that left nothing to read
//! (J38, J39).

use std::time::Duration;

use calico_exporter::audit::{
    AuditOptions, Auditor, Backend, IpamOptions, Metric, Report, RouteOptions, TunnelOptions,
};
use calico_exporter::model::{AllocationBlock, NextHop, Protocol, Route, RouteType, host_net};
use calico_exporter::state::{Event, Object, ObjectId};
use fastrand::Rng;
use ipnet::IpNet;

use super::build::{chance, pick};
use super::kernel::{hop, route, settle};
use super::oracle::Oracle;
use super::world::{self, World};
use super::{NOW, all, cases, first_case, healthy, of_routes, words};

/// What `check`, or `serve` without endpoints, finds.
fn look(world: &World, ipam: bool, lists_endpoints: bool) -> Report {
    let is_endpoint = |it: &Event| matches!(it, Event::Put(object) if matches!(**object, Object::Endpoint(_)));
    let events: Vec<Event> = world.events().into_iter().filter(|it| lists_endpoints || !is_endpoint(it)).collect();
    let mut state = world::state(events, lists_endpoints);
    let mut auditor = Auditor::new(AuditOptions {
        ipam: ipam.then_some(IpamOptions { live: false, affinity_grace: Duration::ZERO }),
        routes: Some(RouteOptions {
            node: world.me.clone(),
            backend: world.backend,
            grace: None,
            tunnels: TunnelOptions::default(),
        }),
        leaks: ipam,
        leak_grace: Duration::ZERO,
    });
    auditor.look(&mut state, NOW);
    auditor.report(&state, NOW)
}

/// The same cluster with host-local IPAM: each block is a podCIDR, of whose addresses nothing is known.
fn host_local(seed: u64) -> World {
    let mut world = healthy(seed);
    // Nobody has a podCIDR of one address.
    let is_single = |cidr: &IpNet| cidr.prefix_len() == cidr.max_prefix_len();
    let single: Vec<IpNet> = world.blocks().map(|block| block.cidr).filter(is_single).collect();
    world.objects.retain(|id, object| match (id, object) {
        (ObjectId::Handle(_), _) => false,
        (ObjectId::Block(cidr) | ObjectId::Affinity(_, cidr), _) => !is_single(cidr),
        // A pod's address comes out of a podCIDR.
        (ObjectId::Endpoint(_), Some(Object::Endpoint(pod))) => {
            !pod.addresses.iter().any(|it| single.contains(&host_net(*it)))
        }
        _ => true,
    });
    for object in world.objects.values_mut().flatten() {
        match object {
            Object::Block(block) => {
                let owner = block.owner.clone();
                *block = AllocationBlock { owner, pod_cidr: true, ..AllocationBlock::new(block.cidr) };
            }
            // Without listed endpoints a pod's route is known by its device. The builder changes the prefix and keeps
            // the devices' names, which Felix would no longer take for its own.
            Object::Felix(_, felix) => felix.interface_prefix = None,
            _ => {}
        }
    }
    world
}

#[test]
fn a_host_with_host_local_ipam_has_no_fault() {
    for seed in first_case()..first_case() + cases() {
        let mut world = host_local(seed);
        world.routes.clear();
        settle(&mut world, &mut Rng::with_seed(seed));
        let owners = Oracle::new(&world).host_faults();
        for lists_endpoints in [true, false] {
            let mut found = of_routes(&look(&world, false, lists_endpoints));
            // Who programs which class has nothing to do with whose IPAM it is.
            found.retain(|it| it.0 != "calico_cluster_routes_owner_faults");
            // Nor have this host's own pods, whose devices a world may name as Felix does not.
            assert!(found.is_subset(&owners), "seed {seed}: {}", words::disagreement(&world, &found, &owners));
        }
    }
}

/// Flannel routes between hosts, its own way.
fn flannel(world: &World, rng: &mut Rng) -> Vec<Route> {
    let blocks = world.blocks().filter(|block| block.host().is_some());
    blocks
        .filter_map(|block| {
            let kind = *pick(rng, &[RouteType::Unicast, RouteType::Unicast, RouteType::Blackhole]);
            let hops: Vec<NextHop> = match kind {
                RouteType::Unicast => {
                    let device = *pick(rng, &["flannel.1", "eth0", "eth1"]);
                    vec![hop(device, Some(block.cidr.addr()))]
                }
                _ => vec![],
            };
            let protocol = *pick(rng, &[Protocol::BOOT, Protocol::STATIC, Protocol::KERNEL]);
            chance(rng, 80).then(|| route(block.cidr, kind, protocol, hops))
        })
        .collect()
}

#[test]
fn beside_flannel_the_routes_between_hosts_are_not_judged() {
    for seed in first_case()..first_case() + cases() {
        let mut rng = Rng::with_seed(seed ^ 0xf1a);
        let mut world = host_local(seed);
        let blocks: Vec<_> = world.blocks().map(|block| block.cidr).collect();
        let is_pods = |net: &IpNet| net.max_prefix_len() == net.prefix_len();
        world.routes.retain(|_, it| !blocks.contains(&it.destination) || is_pods(&it.destination));
        match world.objects.get_mut(&ObjectId::Cluster) {
            Some(Some(Object::Cluster(cluster))) if seed % 2 == 0 => cluster.cluster_type += ",canal",
            _ => world.backend = Backend::None,
        }
        for made in flannel(&world, &mut rng) {
            world.routes.retain(|_, it| it.destination != made.destination);
            world.put_route(made);
        }
        for lists_endpoints in [true, false] {
            let report = look(&world, false, lists_endpoints);
            let of_blocks = report.findings.iter().filter(|it| {
                it.metric() == Metric::RouteFaults
                    && it.subject.parse().is_ok_and(|cidr: IpNet| blocks.contains(&cidr) && !is_pods(&cidr))
            });
            assert_eq!(of_blocks.collect::<Vec<_>>(), [] as [&_; 0], "seed {seed}: {:#?}", all(&report));
        }
    }
}

#[test]
fn where_ipam_left_nothing_to_read_nobodys_address_is_a_leak_and_no_route_in_a_pool_is_stale() {
    for seed in first_case()..first_case() + cases() {
        let mut world = healthy(seed);
        let owners = Oracle::new(&world).host_faults();
        let of_ipam = |id: &ObjectId| {
            matches!(id, ObjectId::Block(_) | ObjectId::Affinity(..) | ObjectId::Handle(_) | ObjectId::IpamConfig)
        };
        world.objects.retain(|id, _| !of_ipam(id));
        for lists_endpoints in [true, false] {
            let report = look(&world, true, lists_endpoints);
            let (leaks, routes): (Vec<_>, Vec<_>) = report
                .findings
                .iter()
                .filter(|it| it.metric() != Metric::OwnerFaults && !owners.contains(&super::fault(it)))
                .partition(|it| it.metric() != Metric::RouteFaults);
            assert!(leaks.is_empty(), "seed {seed}: {leaks:#?}");
            let stale = |it: &&&calico_exporter::audit::Finding| it.fault.reason() == Some("stale");
            // A pod that listed endpoints do not have has no route to keep.
            let stale: Vec<_> = routes.iter().filter(stale).filter(|_| !lists_endpoints).collect();
            assert!(stale.is_empty(), "seed {seed}: {stale:#?}");
        }
    }
}
