//! When nothing can be said of a cluster or a host, as opposed to nothing being wrong with it: `check`, `explain` and
//! `plan` exit 2, and `serve` is not ready.

use std::fmt;

use crate::model::Name;
use crate::state::{Datastore, Kind, ObjectId};

/// How many names are offered for one that is unknown.
const OFFERED: usize = 5;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotTell {
    /// No Node, pool or block was ever there (J40).
    Empty,
    /// A dump has IPAM's objects and none of these kinds, without which they mean nothing (J40).
    Part(Vec<Kind>),
    /// Nothing in the datastore and no workload device of this host knows its name (J35).
    UnknownHost {
        /// This host's name, as it was given or found.
        host: Name,
        /// The names of Nodes closest to it.
        closest: Vec<Name>,
    },
}

impl CannotTell {
    /// Whether the datastore as a whole can be judged. `dumped`: it was read from files, which may hold a part of it.
    pub fn of_datastore(datastore: &Datastore, dumped: bool) -> Option<CannotTell> {
        let absent = |kind: &Kind| !has(datastore, *kind);
        let missing: Vec<Kind> = [Kind::Node, Kind::Pool].into_iter().filter(absent).collect();
        if dumped && !missing.is_empty() && datastore.has_ipam() {
            return Some(CannotTell::Part(missing));
        }
        (!datastore.was_seen()).then_some(CannotTell::Empty)
    }

    /// The host that nobody knows, with the closest names of Nodes.
    pub(super) fn unknown_host(datastore: &Datastore, host: &Name) -> CannotTell {
        CannotTell::UnknownHost { host: host.clone(), closest: closest_names(host, datastore.nodes().keys()) }
    }
}

impl fmt::Display for CannotTell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CannotTell::Empty => f.write_str(
                "this datastore has nothing of Calico: no Node, no IPPool, no block. Point --etcd.endpoints \
                 (ETCD_ENDPOINTS), --kubernetes.kubeconfig (KUBECONFIG) or --datastore.file at the one that Calico uses",
            ),
            CannotTell::Part(missing) => {
                let names: Vec<&str> = missing.iter().map(|kind| plural(*kind)).collect();
                write!(
                    f,
                    "the dump has objects of IPAM and no {}, without which they mean nothing: dump everything \
                     (`etcdctl get --prefix /calico -w json`, or `kubectl get` as docs/support-bundle.md has it)",
                    names.join(" and no ")
                )
            }
            CannotTell::UnknownHost { host, closest } => {
                write!(
                    f,
                    "nothing in the datastore and no workload device here belongs to a host {host}: set --node.name \
                     (NODENAME) to the name that Calico has for this host"
                )?;
                match closest.as_slice() {
                    [] => f.write_str("; there is no Node at all"),
                    names => write!(f, "; the closest of the Nodes: {}", names.join(", ")),
                }
            }
        }
    }
}

/// Whether an object of the kind is there, readable or not.
fn has(datastore: &Datastore, kind: Kind) -> bool {
    let readable = match kind {
        Kind::Pool => !datastore.pools().is_empty(),
        Kind::Node => !datastore.nodes().is_empty(),
        _ => false,
    };
    readable || datastore.has_unreadable(kind)
}

fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::Node => "Nodes",
        Kind::Pool => "IPPools",
        other => other.as_str(),
    }
}

/// Whether anything in the datastore belongs to a host of this name, its Node aside: blocks, keys, endpoints, handles.
pub(super) fn knows_host(datastore: &Datastore, host: &Name) -> bool {
    let is_host = |name: Option<&Name>| name == Some(host);
    let of_tunnel = |handle: &Name| handle.strip_suffix(&**host).is_some_and(|rest| rest.ends_with("-tunnel-addr-"));
    datastore.affinities().any(|(_, owner, _)| is_host(owner.host()))
        || datastore.endpoints_on(host).next().is_some()
        || datastore.blocks().any(|block| {
            is_host(block.host()) || block.attributes.iter().any(|attribute| is_host(attribute.node.as_ref()))
        })
        || datastore.handles().keys().any(of_tunnel)
        || datastore.unreadable().keys().any(|id| match id {
            ObjectId::Affinity(owner, _) => is_host(owner.host()),
            ObjectId::Handle(handle) => of_tunnel(handle),
            _ => false,
        })
}

/// The names that are most like `host`, the likest first.
pub(super) fn closest_names<'a>(host: &str, names: impl Iterator<Item = &'a Name>) -> Vec<Name> {
    let host = host.to_ascii_lowercase();
    let mut names: Vec<(f64, &Name)> =
        names.map(|name| (strsim::jaro_winkler(&host, &name.to_ascii_lowercase()), name)).collect();
    names.sort_by(|(a, one), (b, other)| b.total_cmp(a).then_with(|| one.cmp(other)));
    names.into_iter().take(OFFERED).map(|(_, name)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Block, Cluster};
    use crate::model::{AffinityState, Handle, IpamConfig};
    use crate::state::Object;

    fn of(build: impl FnOnce(&mut Cluster), dumped: bool) -> Option<CannotTell> {
        let mut cluster = Cluster::new();
        build(&mut cluster);
        cluster.synced();
        CannotTell::of_datastore(cluster.datastore(), dumped)
    }

    fn handle(id: &str) -> Object {
        Object::Handle(Handle { id: id.into(), blocks: Vec::new() })
    }

    #[test]
    fn what_a_datastore_has_to_hold_before_it_is_judged() {
        let part = |kinds: &[Kind]| Some(CannotTell::Part(kinds.to_vec()));
        type Build = fn(&mut Cluster);
        let none: Build = |_| {};
        let node: Build = |it| {
            it.node("h1", &["192.168.0.1/24"]);
        };
        let pool: Build = |it| {
            it.pool("p", "10.0.0.0/16", 26);
        };
        let block: Build = |it| {
            it.block(Block::of("host:h1", "10.0.0.0/26"));
        };
        let key: Build = |it| {
            it.affinity("host:h1", "10.0.0.0/26", AffinityState::Confirmed);
        };
        let counted: Build = |it| {
            it.put(handle("h"));
        };
        let config: Build = |it| {
            it.config(IpamConfig::default());
        };
        let dark: Build = |it| {
            it.unreadable(ObjectId::Node("h1".into()));
        };
        let dark_pool: Build = |it| {
            it.unreadable(ObjectId::Pool("p".into()));
        };
        // What is there, then what a dump and what a live datastore come to.
        let table: &[(&[Build], Option<CannotTell>, Option<CannotTell>)] = &[
            (&[none], Some(CannotTell::Empty), Some(CannotTell::Empty)),
            (&[node], None, None),
            (&[pool], None, None),
            (&[node, pool, block, key, counted], None, None),
            (&[block, key, counted], part(&[Kind::Node, Kind::Pool]), None),
            (&[node, block], part(&[Kind::Pool]), None),
            (&[pool, block], part(&[Kind::Node]), None),
            (&[pool, key], part(&[Kind::Node]), None),
            (&[node, counted], part(&[Kind::Pool]), None),
            (&[counted], part(&[Kind::Node, Kind::Pool]), Some(CannotTell::Empty)),
            (&[config], part(&[Kind::Node, Kind::Pool]), Some(CannotTell::Empty)),
            // What cannot be read is there.
            (&[dark], None, None),
            (&[dark, dark_pool, block], None, None),
        ];
        for (row, (builds, from_files, live)) in table.iter().enumerate() {
            for (dumped, wanted) in [(true, from_files), (false, live)] {
                let build = |it: &mut Cluster| builds.iter().for_each(|build| build(it));
                assert_eq!(of(build, dumped), *wanted, "row {row}, dumped {dumped}");
            }
        }
    }

    #[test]
    fn a_datastore_that_was_full_and_becomes_empty_is_believed() {
        let emptied = |it: &mut Cluster| {
            it.node("h1", &["192.168.0.1/24"]).delete(ObjectId::Node("h1".into()));
        };
        assert_eq!(of(emptied, false), None);
    }

    #[test]
    fn a_host_is_known_by_anything_of_its_own() {
        type Build = fn(&mut Cluster);
        let table: [(bool, Build); 8] = [
            (false, |_| {}),
            (false, |it| {
                it.owned(Block::of("host:h2", "10.0.0.0/26").pod(1, "h2", "a"));
            }),
            (true, |it| {
                it.block(Block::of("host:h1", "10.0.0.0/26"));
            }),
            (true, |it| {
                it.block(Block::of("host:h2", "10.0.0.0/26").pod(1, "h1", "a"));
            }),
            (true, |it| {
                it.affinity("host:h1", "10.0.0.0/26", AffinityState::PendingDeletion);
            }),
            (true, |it| {
                it.endpoint("h1", "a", &["10.0.0.1"]);
            }),
            (true, |it| {
                it.put(handle("ipip-tunnel-addr-h1"));
            }),
            (false, |it| {
                it.put(handle("ipip-tunnel-addr-other-h1"));
            }),
        ];
        for (row, (wanted, build)) in table.into_iter().enumerate() {
            let mut cluster = Cluster::new();
            cluster.node("h2", &["192.168.0.2/24"]);
            build(&mut cluster);
            assert_eq!(knows_host(cluster.datastore(), &"h1".into()), wanted, "row {row}");
        }
    }

    #[test]
    fn the_closest_names_come_first() {
        let names: Vec<Name> = ["master-1", "worker-10", "Worker-1", "worker-2"].map(Name::from).to_vec();
        let closest = closest_names("worker-1.example", names.iter());
        assert_eq!(
            closest.iter().map(|it| &**it).collect::<Vec<_>>(),
            ["Worker-1", "worker-10", "worker-2", "master-1"]
        );
    }
}
