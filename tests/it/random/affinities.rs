//! The same clusters where only affinity keys and this host's blocks are followed: what is seen then is what is seen of
//! all blocks, but for what `docs/scale.md` lists as unseen.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use calico_exporter::audit::{
    AuditOptions, Auditor, Encapsulation, Report, RouteClass, RouteOptions, TunnelMode, TunnelOptions,
};
use calico_exporter::model::{AffinityState, BlockOwner, host_route};
use calico_exporter::source::archive::Archive;
use calico_exporter::state::{Event, Follow, Lookup, ObjectId, State};
use fastrand::Rng;
use ipnet::IpNet;

use super::oracle::Fault;
use super::world::World;
use super::{NOW, cases, fault, figures, first_case, healthy, mutate, of_routes, words};

pub(super) fn auditor(world: &World) -> Auditor {
    Auditor::new(AuditOptions {
        ipam: None,
        routes: Some(RouteOptions {
            node: world.me.clone(),
            backend: world.backend,
            grace: None,
            tunnels: TunnelOptions::default(),
        }),
        leaks: false,
        leak_grace: std::time::Duration::ZERO,
    })
}

pub(super) fn affinities(world: &World) -> Follow {
    Follow::Affinities(world.me.clone())
}

fn archive(world: &World) -> Archive {
    Archive::split(world.events(), &affinities(world)).1
}

/// Looks: either something is wanted that was not asked yet, or this is what is seen.
pub(super) fn ask(
    auditor: &mut Auditor,
    state: &mut State,
    asked: &mut BTreeSet<ObjectId>,
) -> ControlFlow<Report, Vec<Lookup>> {
    auditor.look(state, NOW);
    let wanted: Vec<Lookup> = auditor.wanted(state).into_iter().filter(|it| asked.insert(it.id())).collect();
    if !wanted.is_empty() {
        return ControlFlow::Continue(wanted);
    }
    let asked = auditor.questions();
    state.datastore.keep_reads(|cidr| asked.contains_key(cidr));
    ControlFlow::Break(auditor.report(state, NOW))
}

/// Looks, and asks whatever is wanted once, until nothing more is.
pub(super) fn settle(auditor: &mut Auditor, state: &mut State, archive: &Archive) -> Report {
    let mut asked = BTreeSet::new();
    loop {
        match ask(auditor, state, &mut asked) {
            // As a source does: what is held and was not written since is not sent again.
            ControlFlow::Continue(wanted) => {
                wanted.iter().for_each(|lookup| state.apply(archive.answer(lookup), NOW.monotonic));
            }
            ControlFlow::Break(report) => return report,
        }
    }
}

/// A fresh look as an exporter has it that follows `follow`.
fn look(world: &World, follow: Follow) -> Report {
    let told = match &follow {
        Follow::Affinities(_) => Archive::split(world.events(), &follow).0,
        Follow::Blocks => world.events().into_iter().filter(|event| !is_swept(event)).collect(),
    };
    let mut state = State::new(false).following(follow);
    for event in told {
        state.apply(event, NOW.monotonic);
    }
    settle(&mut auditor(world), &mut state, &archive(world))
}

pub(super) fn id_of(event: &Event) -> Option<ObjectId> {
    match event {
        Event::Put(object) => Some(object.id()),
        Event::Unreadable { id, .. } | Event::Delete(id) => Some(id.clone()),
        _ => None,
    }
}

/// Endpoints and handles are never followed.
fn is_swept(event: &Event) -> bool {
    matches!(id_of(event), Some(ObjectId::Endpoint(_) | ObjectId::Handle(_)))
}

fn has_own_key(world: &World, cidr: &IpNet) -> bool {
    world.objects.contains_key(&ObjectId::Affinity(BlockOwner::Host(world.me.clone()), *cidr))
}

/// Whether the keys of a CIDR say what its block says: one is confirmed, and the block is that host's.
fn keys_tell(world: &World, cidr: &IpNet) -> bool {
    let confirmed: Vec<_> = world.keys(cidr).into_iter().filter(|key| key.state == AffinityState::Confirmed).collect();
    let owner = world.block(cidr).and_then(|block| block.owner.clone());
    !world.is_dark(cidr) && confirmed.len() == 1 && owner.as_ref() == Some(&confirmed[0].owner)
}

/// What the mode is documented not to see: what follows from another host's block alone.
fn is_unseen(world: &World, fault: &Fault) -> bool {
    let (metric, labels, subject, _) = fault;
    if *metric != "calico_route_faults" {
        return false;
    }
    let net: IpNet = subject.parse().unwrap_or_else(|_| IpNet::from(subject.parse::<std::net::IpAddr>().unwrap()));
    if let Some(block) = world.block_around(&net)
        && block.cidr != net
        && host_route(&net).is_some()
    {
        // What is excused by its form alone is not asked about.
        let route = world.route(&net).into_iter().flat_map(|route| &*route.next_hops);
        let excused = route.into_iter().any(|hop| {
            hop.device.as_deref() == Some("bpfin.cali")
                || hop.gateway.is_none() && hop.device.as_deref().is_some_and(|it| it.starts_with("vxlan"))
        });
        let unplaced = world.pool_of(&net).is_none();
        return !has_own_key(world, &block.cidr) && (labels.ends_with("/missing") || excused || unplaced);
    }
    // A route of a block of one address, which BIRD owes to its pod.
    let of_pod = host_route(&net).is_some() && labels.ends_with("/missing");
    !has_own_key(world, &net) && (of_pod || !keys_tell(world, &net))
}

#[test]
fn a_healthy_host_has_no_fault_by_affinities_either() {
    for seed in first_case()..first_case() + cases() / 2 {
        let world = healthy(seed);
        let by_blocks = look(&world, Follow::Blocks);
        let report = look(&world, affinities(&world));
        assert!(report.routes.as_ref().unwrap().partial && !by_blocks.routes.as_ref().unwrap().partial);
        let (found, known) = (of_routes(&report), of_routes(&by_blocks));
        assert!(found == known, "seed {seed}: {}", words::disagreement(&world, &found, &known));
        let (actual, expected, mut modes, owners) = figures(&report);
        let (all_actual, all_expected, all_modes, all_owners) = figures(&by_blocks);
        // A link route to a peer's tunnel address is excused unseen, be the address borrowed or not.
        let counted = |key: &(RouteClass, Encapsulation)| *key != (RouteClass::Borrowed, Encapsulation::Vxlan);
        let unseen = !all_actual.iter().all(|(key, _)| counted(key));
        // Of a block of one address only the key is asked, whoever uses the address.
        let merged = world.pools().any(|pool| pool.block_size == pool.cidr.max_prefix_len());
        let counts = |of: Vec<((RouteClass, Encapsulation), u64)>| {
            let mut counts = BTreeMap::<_, u64>::new();
            for ((class, encapsulation), count) in of.into_iter().filter(|(key, _)| counted(key)) {
                let class = if merged && class == RouteClass::Borrowed { RouteClass::RemoteBlock } else { class };
                *counts.entry((class, encapsulation)).or_default() += count;
            }
            counts
        };
        assert_eq!(counts(actual), counts(all_actual), "seed {seed}");
        let told = |(class, _): &(RouteClass, _)| *class != RouteClass::Borrowed;
        let all_expected: BTreeMap<_, _> = all_expected.into_iter().filter(|(key, _)| told(key)).collect();
        if merged {
            continue;
        }
        // Nor does such a route tell its pool's mode, be there no other.
        for ((_, modes), (_, all)) in modes.iter_mut().zip(&all_modes) {
            if unseen && modes.observed == TunnelMode::Unknown {
                modes.observed = all.observed;
            }
        }
        assert_eq!((modes, owners), (all_modes, all_owners), "seed {seed}");
        assert_eq!(expected.into_iter().collect::<BTreeMap<_, _>>(), all_expected, "seed {seed}");
    }
}

#[test]
fn whatever_happens_is_seen_by_affinities_as_by_blocks_but_for_what_is_documented() {
    let (mut seen, mut unseen) = (0, 0);
    for seed in first_case()..first_case() + cases() / 2 {
        let mut rng = Rng::with_seed(seed);
        let mut world = healthy(seed);
        let mut told = Vec::new();
        for _ in 0..8 {
            told.push(mutate::mutate(&mut world, &mut rng));
            let by_blocks = of_routes(&look(&world, Follow::Blocks));
            let found = of_routes(&look(&world, affinities(&world)));
            let differs = || format!("seed {seed}, {told:#?}: {}", words::disagreement(&world, &found, &by_blocks));
            assert!(found.is_subset(&by_blocks), "a false alarm: {}", differs());
            for fault in by_blocks.difference(&found) {
                assert!(is_unseen(&world, fault), "{fault:?} {}", differs());
                unseen += 1;
            }
            seen += found.len();
        }
    }
    assert!(seen > 4 * unseen, "{seen} seen, {unseen} unseen");
}

/// As a source tells a change: no word of others' blocks, and this host's after their keys.
fn told(world: &World, event: Event, state: &State) -> Vec<Event> {
    if is_swept(&event) {
        return Vec::new();
    }
    match id_of(&event) {
        Some(ObjectId::Block(cidr)) if !state.datastore.has_key_of(&world.me, &cidr) => Vec::new(),
        Some(ObjectId::Affinity(BlockOwner::Host(host), cidr)) if host == world.me => {
            let had = state.datastore.has_key_of(&world.me, &cidr);
            let gone = matches!(event, Event::Delete(_));
            let block = world.objects.get(&ObjectId::Block(cidr));
            let block = match block {
                _ if had || gone => None,
                Some(_) => {
                    let of_block = |it: &Event| id_of(it) == Some(ObjectId::Block(cidr));
                    world.events().into_iter().find(of_block)
                }
                None => Some(Event::Delete(ObjectId::Block(cidr))),
            };
            [Some(event), block].into_iter().flatten().collect()
        }
        _ => vec![event],
    }
}

#[test]
fn a_look_after_each_event_ends_where_a_fresh_look_by_affinities_does() {
    for seed in first_case()..first_case() + cases() / 2 {
        let mut rng = Rng::with_seed(seed ^ 0x5eed);
        let mut world = healthy(seed);
        let mut state = State::new(false).following(affinities(&world));
        for event in Archive::split(world.events(), &affinities(&world)).0 {
            state.apply(event, NOW.monotonic);
        }
        let mut live = auditor(&world);
        settle(&mut live, &mut state, &archive(&world));
        let mut mutations = Vec::new();
        for _ in 0..10 {
            let before = world.clone();
            mutations.push(mutate::mutate(&mut world, &mut rng));
            for event in before.until(&world) {
                for event in told(&world, event, &state) {
                    state.apply(event, NOW.monotonic);
                    live.look(&mut state, NOW);
                }
            }
            let live = settle(&mut live, &mut state, &archive(&world));
            let fresh = look(&world, affinities(&world));
            // An endpoint that was looked up once stays known, and its device with it: a fresh look knows fewer of them.
            let faults = |report: &Report| {
                let faults = report.findings.iter().map(fault);
                faults.filter(|it| !it.1.starts_with("local_workload/")).collect::<BTreeSet<_>>()
            };
            let others = |report: &Report| {
                let (mut actual, mut expected, modes, owners) = figures(report);
                actual.retain(|((class, _), _)| *class != RouteClass::LocalWorkload);
                expected.retain(|((class, _), _)| *class != RouteClass::LocalWorkload);
                (actual, expected, modes, owners)
            };
            assert!(
                faults(&live) == faults(&fresh) && others(&live) == others(&fresh),
                "seed {seed}, {mutations:#?}: live against fresh {:#?} {:#?} {}",
                figures(&live),
                figures(&fresh),
                words::disagreement(&world, &faults(&live), &faults(&fresh))
            );
        }
    }
}
