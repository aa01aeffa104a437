//! `explain` against the audit on the same random clusters: they never contradict each other.

use std::collections::BTreeSet;
use std::net::IpAddr;

use calico_exporter::audit::explain::{Explanation, Link, LinkKind, LinkState, Subject};
use calico_exporter::audit::{Auditor, Finding, Metric};
use calico_exporter::state::{Object, State};
use fastrand::Rng;

use super::world::{self, World};
use super::{NOW, auditor, cases, first_case, healthy, mutate};

struct Looked {
    state: State,
    auditor: Auditor,
    findings: Vec<Finding>,
}

fn look(world: &World) -> Looked {
    let mut state = world::state(world.events(), true);
    let mut auditor = auditor(world);
    auditor.look(&mut state, NOW);
    let findings = auditor.report(&state, NOW).findings;
    Looked { state, auditor, findings }
}

impl Looked {
    fn explain(&self, subject: &str) -> Explanation {
        let subject: Subject = subject.parse().unwrap();
        self.auditor.explain(&self.state, &self.findings, &subject)
    }
}

/// Everything of a cluster that somebody may ask about.
fn subjects(world: &World) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for object in world.objects.values().flatten() {
        match object {
            Object::Block(block) => {
                found.insert(block.cidr.to_string());
                let held = block.allocations().filter(|(_, attribute)| attribute.is_some());
                let addresses =
                    held.filter_map(|(ordinal, _)| calico_exporter::model::address_at(&block.cidr, ordinal.into()));
                found.extend(addresses.map(|address: IpAddr| address.to_string()));
            }
            Object::Node(name, _) => drop(found.insert(name.to_string())),
            Object::Endpoint(it) => drop(found.insert(format!("{}/{}", it.id.namespace, it.pod))),
            Object::Pool(pool) => drop(found.insert(pool.cidr.to_string())),
            _ => {}
        }
    }
    found
}

#[test]
fn in_a_healthy_cluster_no_link_of_any_chain_is_at_fault() {
    let mut ok = 0;
    for seed in first_case()..first_case() + cases() {
        let world = healthy(seed);
        let looked = look(&world);
        if !looked.findings.is_empty() {
            continue;
        }
        for subject in subjects(&world) {
            let explained = looked.explain(&subject);
            // No rule asks for a pod's device (J25), and nothing reaches a pod without one.
            let is_gone = |link: &Link| {
                link.kind == LinkKind::WorkloadDevice && world.link(&link.subject).is_none_or(|it| it.no_carrier)
            };
            let faulty: Vec<_> =
                explained.links.iter().filter(|it| it.state == LinkState::Fault && !is_gone(it)).collect();
            assert!(faulty.is_empty(), "seed {seed}, {subject} from {}: {faulty:#?}", world.me);
            assert_eq!(explained.verdict.state == LinkState::Fault, explained.links.iter().any(is_gone));
            ok += usize::from(explained.verdict.state == LinkState::Ok);
        }
    }
    assert!(ok > 0, "nothing at all is ok");
}

#[test]
fn what_is_found_is_explained_as_a_fault_by_the_same_words() {
    let mut seen = BTreeSet::new();
    for seed in first_case()..first_case() + cases() {
        let mut rng = Rng::with_seed(seed ^ 0xe4);
        let mut world = healthy(seed);
        let mut told = Vec::new();
        for _ in 0..6 {
            told.push(mutate::mutate(&mut world, &mut rng));
            let looked = look(&world);
            for finding in &looked.findings {
                let of_addresses = matches!(
                    finding.metric(),
                    Metric::RouteFaults
                        | Metric::MismatchedAddresses
                        | Metric::InvalidBlocks
                        | Metric::AffinityFaults
                        | Metric::LeakedAddresses
                        | Metric::NodeFaults
                );
                // A tunnel's address, not its device.
                let of_tunnel = finding.metric() == Metric::TunnelFaults && finding.subject.parse::<IpAddr>().is_ok();
                if !of_addresses && !of_tunnel {
                    continue;
                }
                let explained = looked.explain(&finding.subject);
                assert_eq!(
                    explained.verdict.state,
                    LinkState::Fault,
                    "seed {seed}, {told:#?}: {finding:#?} is explained as {explained:#?}"
                );
                // A chain that is cut (an unreadable block) has a fault all the same; a whole one names this.
                let named = explained.links.iter().any(|link| link.findings.contains(finding));
                assert!(named, "seed {seed}, {told:#?}: {finding:#?} is not in {explained:#?}");
                seen.insert((finding.metric(), finding.fault.reason().unwrap_or_default().to_owned()));
            }
            // And the other way: a path is at fault only by a finding that the audit has.
            for subject in subjects(&world) {
                for link in looked.explain(&subject).links {
                    for finding in &link.findings {
                        assert!(looked.findings.contains(finding), "seed {seed}, {told:#?}: {subject}: {finding:#?}");
                    }
                    let by_itself = link.state == LinkState::Fault && link.findings.is_empty();
                    let may = [
                        LinkKind::Host,
                        LinkKind::Underlay,
                        LinkKind::Block,
                        LinkKind::Device,
                        LinkKind::WorkloadDevice,
                    ];
                    assert!(!by_itself || may.contains(&link.kind), "seed {seed}, {told:#?}: {subject}: {link:#?}");
                }
            }
        }
    }
    assert!(seen.len() > 10, "{seen:?}");
}
