//! Causes of random clusters: no finding is lost or doubled, what is undone is gone, and what happens elsewhere never
//! joins (J45).

use std::collections::{BTreeMap, BTreeSet};

use calico_exporter::audit::Report;
use calico_exporter::model::{
    AffinityState, BlockAffinity, BlockOwner, Handle, Name, Protocol, Route, RouteType, TABLE_MAIN,
};
use calico_exporter::state::{Object, ObjectId};
use fastrand::Rng;

use super::oracle::Fault;
use super::world::World;
use super::{build, cases, fault, first_case, fresh, healthy, mutate};

/// The findings of each cause.
fn causes(report: &Report) -> BTreeMap<String, BTreeSet<Fault>> {
    let mut seen = BTreeSet::new();
    let mut found = BTreeMap::new();
    for cause in &report.causes {
        assert!(!cause.findings.is_empty(), "{cause:?}");
        for at in &cause.findings {
            assert!(*at < report.findings.len() && seen.insert(*at), "finding {at} of {cause:?}");
        }
        let members = cause.findings.iter().map(|at| fault(&report.findings[*at])).collect();
        assert!(found.insert(cause.id(), members).is_none(), "two causes are called {}", cause.id());
        assert!(!cause.detail.is_empty() && !cause.action.is_empty() && !cause.evidence.is_empty(), "{cause:?}");
    }
    found
}

/// Something that has many effects.
fn plant(world: &mut World, rng: &mut Rng) -> String {
    let others: Vec<Name> = world.nodes().map(|(name, _)| name.clone()).filter(|it| *it != world.me).collect();
    match rng.u32(0..6) {
        0 => {
            world.routes.retain(|_, route| route.protocol != Protocol::BIRD);
            "no route of BIRD's".to_owned()
        }
        1 => {
            world.routes.retain(|_, route| route.protocol == Protocol::BIRD || route.protocol == Protocol::KERNEL);
            "no route of Felix'".to_owned()
        }
        2 if !others.is_empty() => {
            let gone = build::pick(rng, &others).clone();
            world.objects.remove(&ObjectId::Node(gone.clone()));
            format!("Node {gone} deleted")
        }
        3 => {
            world.links.retain(|_, link| &*link.name != "tunl0" && &*link.name != "vxlan.calico");
            "no tunnel device".to_owned()
        }
        4 => {
            world.objects.retain(|id, _| !matches!(id, ObjectId::Block(_)));
            "no block".to_owned()
        }
        _ => {
            let pools: Vec<Name> = world.pools().map(|pool| pool.name.clone()).collect();
            let Some(pool) = pools.first() else { return "nothing".to_owned() };
            world.objects.remove(&ObjectId::Pool(pool.clone()));
            format!("pool {pool} deleted")
        }
    }
}

/// Something of which no present cause is the cause.
fn far(world: &mut World, rng: &mut Rng) -> &'static str {
    match rng.u32(0..3) {
        0 => {
            let owner = BlockOwner::Host("ghost".into());
            let cidr = "198.51.100.0/26".parse().unwrap();
            world.put(Object::Affinity(BlockAffinity { owner, cidr, state: AffinityState::Confirmed }));
            "a key of a host that nobody knows"
        }
        1 => {
            let id = "k8s-pod-network.far".into();
            world.put(Object::Handle(Handle { id, blocks: vec![("198.51.100.0/26".parse().unwrap(), 1)] }));
            "a handle"
        }
        _ => {
            world.put_route(Route {
                table: TABLE_MAIN,
                destination: "198.51.100.64/26".parse().unwrap(),
                metric: 0,
                tos: 0,
                kind: RouteType::Blackhole,
                protocol: Protocol::FELIX,
                link_scope: false,
                next_hops: [].into(),
            });
            "a route"
        }
    }
}

#[test]
fn causes_neither_lose_nor_double_a_finding_and_end_with_their_reason() {
    for seed in first_case()..first_case() + cases() {
        let mut rng = Rng::with_seed(seed ^ 0xca5e);
        let mut world = healthy(seed);
        let before = causes(&fresh(&world, world.events()));
        let mut told = Vec::new();
        for _ in 0..4 {
            told.push(if build::chance(&mut rng, 40) {
                plant(&mut world, &mut rng)
            } else {
                mutate::mutate(&mut world, &mut rng)
            });
            causes(&fresh(&world, world.events()));
        }
        let world = healthy(seed);
        assert_eq!(causes(&fresh(&world, world.events())), before, "seed {seed}: {told:?} undone");
    }
}

#[test]
fn what_happens_far_away_joins_no_cause() {
    let mut planted = 0;
    for seed in first_case()..first_case() + cases() {
        let mut rng = Rng::with_seed(seed ^ 0xfa5);
        let mut world = healthy(seed);
        let what = plant(&mut world, &mut rng);
        let before = causes(&fresh(&world, world.events()));
        planted += before.len();
        let elsewhere = far(&mut world, &mut rng);
        let mut after = causes(&fresh(&world, world.events()));
        // It may be a cause of its own.
        after.remove("node_gone/ghost");
        let lost = |id: &&String| id.starts_with("ipam_data_lost");
        let (before, after) = (before.iter().filter(|(id, _)| !lost(id)), after.iter().filter(|(id, _)| !lost(id)));
        assert!(before.clone().eq(after.clone()), "seed {seed}: {what}, then {elsewhere}");
    }
    assert!(planted > 0);
}
