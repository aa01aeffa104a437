//! Which BGP sessions the datastore describes between Nodes, and whether one host's announcements reach another along
//! them (J22, J23).
//!
//! What `confd` makes of the datastore (`confd/pkg/backends/calico/client.go`, `updatePeersV1`; `bgp_processor.go`):
//!
//! - **Mesh**: every two Nodes that both have an address of the family and neither of which is a route reflector. AS
//!   numbers do not matter to what is *required*: where the two ends disagree about them the session does not come up
//!   and the routes are truly missing, which is to be said.
//! - **BGPPeers**: from the nodes selected to a `peerIP` or the nodes of a `peerSelector`, and back again by itself,
//!   unless `reversePeering` is `Manual`. A `peerIP` makes a session of its own family only.
//! - **Passing on**: what a Node learns within its AS it passes on only as a route reflector, and then to or from a
//!   *client*: a peer that has no cluster id or another one.
//!
//! A way is *required* where each step of it is. Over routers outside, filters, AS borders, or what cannot be read,
//! nobody can tell from here, and the way is *permitted*.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::net::IpAddr;

use crate::model::{Family, Name, Selector, WorkloadEndpoint};
use crate::state::Datastore;

mod build;
mod groups;

use groups::Groups;

/// How one host's announcements reach another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Nothing in the datastore joins the two. Somebody else may: routes are permitted all the same (J22).
    None,
    /// They are joined, but only in ways that the datastore does not prove: over routers outside, filters, AS borders,
    /// reflectors that do not pass this on, or something that cannot be read.
    Permitted,
    /// The datastore describes sessions that carry it.
    Required,
}

/// `nodeToNodeMeshEnabled` of the BGPConfiguration `default`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mesh {
    On,
    Off,
    /// The configuration cannot be read.
    Unknown,
}

/// What a Node is to BGP.
#[derive(Debug, Clone)]
struct Member {
    name: Name,
    /// Its own AS number or the global one; `None` where it is the global one and that cannot be read.
    as_number: Option<u32>,
    /// `routeReflectorClusterID`.
    cluster: Option<Name>,
    ipv4: Option<IpAddr>,
    ipv6: Option<IpAddr>,
}

impl Member {
    fn address(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.ipv4,
            Family::V6 => self.ipv6,
        }
    }
}

/// What a BGPPeer says of the sessions that it describes between Nodes.
#[derive(Debug, Clone, Copy)]
struct Peering {
    /// A `peerIP` is of one family; a selector is of both.
    family: Option<Family>,
    /// `reversePeering: Manual`: it configures the selected nodes' side alone.
    manual: bool,
    /// It has filters, which may let nothing through.
    filtered: bool,
}

/// The sessions that the datastore describes between Nodes. Made once for each change of a Node, BGPConfiguration or
/// BGPPeer; nothing is kept for a pair of Nodes, so a mesh of thousands costs no more than its Nodes.
#[derive(Debug, Clone)]
pub struct Sessions {
    /// Sorted by name.
    members: Vec<Member>,
    index: HashMap<Name, usize>,
    mesh: Mesh,
    peerings: Vec<Peering>,
    /// For each Node the peerings that select it as the node, ascending.
    as_node: Vec<Vec<usize>>,
    /// For each Node the peerings that it is the peer of, ascending.
    as_peer: Vec<Vec<usize>>,
    reflectors: Vec<usize>,
    /// For each family who is joined to whom in any way, the world outside included.
    joined: [Groups; 2],
    /// Something cannot be read that may describe any session.
    unknown: bool,
    unreadable_nodes: BTreeSet<Name>,
    only_mesh: bool,
    workload_peers: WorkloadPeers,
}

/// Which workloads are BGP peers of their node; `None`: of a selector that cannot be read, any may be.
type Workloads = Option<Selector>;

/// On which nodes workloads are BGP peers, and which of them.
#[derive(Debug, Clone, Default)]
struct WorkloadPeers {
    /// Those of BGPPeers for all nodes, or of which it cannot be told.
    everywhere: Vec<Workloads>,
    nodes: HashMap<Name, Vec<Workloads>>,
}

/// States of a search for a way after which it is given up as not provable: reached only where very many reflectors
/// form a tangle of few cluster ids.
const SEARCH_LIMIT: usize = 1000;

/// How labels begin that a workload may have without being known to: by its namespace and its service account
/// (`libcalico-go/lib/backend/k8s/conversion`), whose own name a bundle leaves out.
const INHERITED: [&str; 3] = ["pcns.", "pcsa.", "projectcalico.org/serviceaccount"];

impl Sessions {
    /// Reads the Nodes, the BGPConfiguration `default` and the BGPPeers.
    pub fn new(datastore: &Datastore) -> Sessions {
        build::sessions(datastore)
    }

    /// How the announcements of `from` reach `to`: its blocks, and single addresses in no one's block.
    pub fn reach(&self, from: &str, to: &str, family: Family) -> Reach {
        self.reach_borrowed(from, to, family, &|_| false)
    }

    /// How a `/32` (`/128`) that `from` borrows reaches `to`. `confirmed` says whether a host has a confirmed affinity
    /// for the block around it: such a reflector passes on nothing beneath its own block, not even what it reflects
    /// (J22).
    pub fn reach_borrowed(&self, from: &str, to: &str, family: Family, confirmed: &dyn Fn(&str) -> bool) -> Reach {
        let (Some(&from), Some(&to)) = (self.index.get(from), self.index.get(to)) else {
            let unreadable = [from, to].iter().any(|name| self.unreadable_nodes.contains(*name));
            return if unreadable { Reach::Permitted } else { Reach::None };
        };
        if from == to {
            return Reach::None;
        }
        let direct = self.session(from, to, family);
        if direct == Reach::Required || self.reflected(from, to, family, confirmed) {
            return Reach::Required;
        }
        let [v4, v6] = &self.joined;
        let joined = match family {
            Family::V4 => v4,
            Family::V6 => v6,
        };
        let both = [from, to].iter().all(|index| self.address(*index, family).is_some());
        if both && (self.unknown || joined.same(from, to)) { Reach::Permitted } else { direct }
    }

    /// Whether the datastore describes no session at all from a Node in a family, for certain (J37): no mesh joins it, and
    /// no BGPPeer selects it on either side. A router outside is a session, and so is a workload that is a peer.
    pub fn has_none(&self, node: &str, family: Family) -> bool {
        let Some(&index) = self.index.get(node) else { return false };
        let [v4, v6] = &self.joined;
        let joined = match family {
            Family::V4 => v4,
            Family::V6 => v6,
        };
        !self.unknown
            && self.mesh != Mesh::Unknown
            && self.address(index, family).is_some()
            && !self.local_peer_workloads(node)
            && joined.is_alone(index)
    }

    /// Whether the mesh is all there is between Nodes (J22): it is on, all Nodes have one AS number, none is a route
    /// reflector and no BGPPeer joins two of them. Only then can a gateway that is another Node's be called wrong; so
    /// it is not said while anything of this cannot be read.
    pub fn only_mesh(&self) -> bool {
        self.only_mesh
    }

    /// Whether a BGPPeer makes workloads on this host BGP peers (`localWorkloadSelector`): BIRD then has routes on
    /// their devices that nobody else expects (J16).
    pub fn local_peer_workloads(&self, me: &str) -> bool {
        self.workloads_of(me).next().is_some()
    }

    /// Whether a BGPPeer may make this workload of the node a BGP peer. A selector may ask for labels that a workload
    /// inherits from its namespace or its service account, and those are not known.
    pub fn may_be_local_peer(&self, me: &str, workload: &WorkloadEndpoint) -> bool {
        self.workloads_of(me).any(|selector| {
            let Some(selector) = selector else { return true };
            let inherited = |label: &str| {
                workload.labels.get(label).is_none() && INHERITED.iter().any(|begin| label.starts_with(begin))
            };
            selector.asks_for(&inherited) || selector.matches(&workload.labels)
        })
    }

    fn workloads_of(&self, me: &str) -> impl Iterator<Item = &Workloads> {
        let own = self.workload_peers.nodes.get(me).into_iter().flatten();
        self.workload_peers.everywhere.iter().chain(own)
    }

    fn address(&self, node: usize, family: Family) -> Option<IpAddr> {
        self.members.get(node).and_then(|member| member.address(family))
    }

    fn cluster(&self, node: usize) -> Option<&Name> {
        self.members.get(node).and_then(|member| member.cluster.as_ref())
    }

    /// The session between two Nodes in a family; of several the best. The mesh's comes first: a BGPPeer beside it is
    /// a second session to the same address, which BIRD never opens, so that its filters never act (J23).
    fn session(&self, one: usize, other: usize, family: Family) -> Reach {
        let (Some(here), Some(there)) = (self.address(one, family), self.address(other, family)) else {
            return Reach::None;
        };
        // confd leaves out what has the node's own address: the node itself, or an impostor.
        if one == other || here == there {
            return Reach::None;
        }
        let meshed = match self.mesh {
            Mesh::Off => Reach::None,
            _ if self.cluster(one).is_some() || self.cluster(other).is_some() => Reach::None,
            Mesh::On => return Reach::Required,
            Mesh::Unknown => Reach::Permitted,
        };
        meshed.max(self.configured(one, other, family).min(self.configured(other, one, family)))
    }

    /// What BGPPeers configure on `node` towards `peer`: their own direction, and the reverse of those that are not
    /// `Manual`. Of several BGPPeers confd keeps one, which it does not say; the best stands for them.
    fn configured(&self, node: usize, peer: usize, family: Family) -> Reach {
        let forward = self.peerings_between(node, peer);
        let reverse = self.peerings_between(peer, node).filter(|peering| !peering.manual);
        forward
            .chain(reverse)
            .filter(|peering| peering.family.is_none_or(|only| only == family))
            .map(|peering| if peering.filtered { Reach::Permitted } else { Reach::Required })
            .max()
            .unwrap_or(Reach::None)
    }

    fn peerings_between(&self, node: usize, peer: usize) -> impl Iterator<Item = &Peering> {
        let node = self.as_node.get(node).map(Vec::as_slice).unwrap_or_default();
        let peer = self.as_peer.get(peer).map(Vec::as_slice).unwrap_or_default();
        let (few, many) = if node.len() <= peer.len() { (node, peer) } else { (peer, node) };
        let both = few.iter().filter(move |peering| many.binary_search(peering).is_ok());
        both.filter_map(|peering| self.peerings.get(*peering))
    }

    /// Whether a route passes over this session as one of many steps: the session is required and within one AS.
    /// Beyond an AS border other rules hold than a reflector's, and nothing is required.
    fn carries(&self, one: usize, other: usize, family: Family) -> bool {
        let as_number = |node: usize| self.members.get(node).map(|member| member.as_number);
        as_number(one) == as_number(other) && self.session(one, other, family) == Reach::Required
    }

    /// Whether the reflector passes on to `to` what it has from `from`: one of the two must be its client, which is
    /// who has no cluster id or another.
    fn passes(&self, from: usize, reflector: usize, to: usize) -> bool {
        let own = self.cluster(reflector);
        self.cluster(from) != own || self.cluster(to) != own
    }

    /// Whether a required way leads over reflectors of the cluster: none of them lends, and no two of them have one
    /// cluster id, as reflectors of one cluster id do not hand on what the other reflected (J23). The ends are not
    /// counted: a reflector's own blocks are passed on by its twin (recorded: `bgp-reflectors`), and it takes from its
    /// twin what that reflects.
    fn reflected(&self, from: usize, to: usize, family: Family, lends: &dyn Fn(&str) -> bool) -> bool {
        let usable: Vec<usize> = (self.reflectors.iter().copied())
            .filter(|reflector| *reflector != from && *reflector != to)
            .filter(|reflector| self.members.get(*reflector).is_some_and(|member| !lends(&member.name)))
            .collect();
        let carrying = |node: usize| -> Vec<usize> {
            usable.iter().copied().filter(|reflector| self.carries(node, *reflector, family)).collect()
        };
        let first = carrying(from);
        if first.is_empty() {
            return false;
        }
        let last: HashSet<usize> = carrying(to).into_iter().collect();
        if first.iter().any(|reflector| last.contains(reflector) && self.passes(from, *reflector, to)) {
            return true;
        }
        if last.is_empty() || usable.len() < 2 {
            return false;
        }
        self.in_a_row(from, to, &first, &last, &carrying)
    }

    /// The same over several reflectors, breadth first. A state is where the route is, who it came from, and which
    /// cluster ids it carries in its list.
    fn in_a_row(
        &self,
        from: usize,
        to: usize,
        first: &[usize],
        last: &HashSet<usize>,
        carrying: &dyn Fn(usize) -> Vec<usize>,
    ) -> bool {
        let mut neighbours: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut seen: HashSet<(usize, BTreeSet<&Name>)> = HashSet::new();
        let mut queue: VecDeque<(usize, usize, BTreeSet<&Name>)> =
            first.iter().map(|reflector| (from, *reflector, BTreeSet::new())).collect();
        while let Some((before, at, mut list)) = queue.pop_front() {
            let Some(cluster) = self.cluster(at) else { continue };
            if seen.len() >= SEARCH_LIMIT {
                return false;
            }
            if !list.insert(cluster) || !seen.insert((at, list.clone())) {
                continue;
            }
            if last.contains(&at) && self.passes(before, at, to) {
                return true;
            }
            // Another cluster id makes the next one a client, which everything is passed on to.
            for reflector in neighbours.entry(at).or_insert_with(|| carrying(at)).iter().copied() {
                if self.cluster(reflector).is_some_and(|cluster| !list.contains(cluster)) {
                    queue.push_back((at, reflector, list.clone()));
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests;
