//! From Nodes, BGPConfiguration and BGPPeers to [`Sessions`].

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::groups::Groups;
use super::{Member, Mesh, Peering, Sessions, WorkloadPeers};
use crate::model::{BgpPeer, Family, Name, Node, PeerAddress, Selector};
use crate::state::{Datastore, Kind, ObjectId};

/// The name of the cluster-wide BGPConfiguration. Those named `node.NAME` say nothing about mesh and AS number.
const GLOBAL: &str = "default";

/// The AS number where the cluster's configuration has none.
const DEFAULT_AS: u32 = 64512;

/// Indices of Nodes, ascending.
type Nodes = Arc<[usize]>;

pub(super) fn sessions(datastore: &Datastore) -> Sessions {
    let mut builder = Builder::new(datastore);
    for peer in datastore.peers().values() {
        builder.add(peer);
    }
    builder.finish()
}

struct Builder<'a> {
    datastore: &'a Datastore,
    sessions: Sessions,
    global_as: Option<u32>,
    all: Nodes,
    /// What selectors select, each text once; `None` for one that cannot be read.
    selected: HashMap<String, Option<Nodes>>,
    /// A BGPPeer joins two Nodes, or may.
    joins: bool,
}

impl<'a> Builder<'a> {
    fn new(datastore: &'a Datastore) -> Builder<'a> {
        let dark_configuration = datastore.unreadable().keys().any(|id| match id {
            ObjectId::BgpConfiguration(name) => &**name == GLOBAL,
            other => other.kind() == Kind::BgpConfiguration,
        });
        let configuration = datastore.bgp().get(GLOBAL);
        let mesh = match configuration.and_then(|configuration| configuration.mesh) {
            _ if dark_configuration => Mesh::Unknown,
            Some(false) => Mesh::Off,
            Some(true) | None => Mesh::On,
        };
        let set = configuration.and_then(|configuration| configuration.as_number);
        let global_as = (!dark_configuration).then(|| set.unwrap_or(DEFAULT_AS));

        let members: Vec<Member> = datastore.nodes().iter().map(|(name, node)| member(name, node, global_as)).collect();
        let index = members.iter().enumerate().map(|(index, member)| (member.name.clone(), index)).collect();
        let reflectors = (0..members.len()).filter(|at| members.get(*at).is_some_and(|it| it.cluster.is_some()));
        let unreadable_nodes = datastore.unreadable().keys().filter_map(|id| match id {
            ObjectId::Node(name) => Some(name.clone()),
            _ => None,
        });
        let count = members.len();
        let sessions = Sessions {
            index,
            mesh,
            peerings: Vec::new(),
            as_node: vec![Vec::new(); count],
            as_peer: vec![Vec::new(); count],
            reflectors: reflectors.collect(),
            // One more than there are Nodes: the world outside.
            joined: [Groups::new(count + 1), Groups::new(count + 1)],
            unknown: datastore.has_unreadable(Kind::BgpPeer) || datastore.has_unreadable(Kind::Node),
            unreadable_nodes: unreadable_nodes.collect(),
            only_mesh: false,
            workload_peers: WorkloadPeers {
                everywhere: datastore.has_unreadable(Kind::BgpPeer).then_some(None).into_iter().collect(),
                ..WorkloadPeers::default()
            },
            members,
        };
        let all = (0..count).collect();
        Builder { datastore, sessions, global_as, all, selected: HashMap::new(), joins: false }
    }

    /// Reads one BGPPeer.
    fn add(&mut self, peer: &BgpPeer) {
        let nodes = self.nodes_of(peer);
        if given(peer.local_workload_selector.as_ref()).is_some() {
            self.add_workload_peer(peer, nodes);
            return;
        }
        let Some(nodes) = nodes else {
            self.sessions.unknown = true;
            return;
        };
        // As in confd the selector counts where both are given; where neither is, the peer is nobody.
        if let Some(selector) = given(peer.peer_selector.as_ref()) {
            let Some(selected) = self.select(selector) else {
                self.sessions.unknown = true;
                return;
            };
            // Calico refuses `asNumber` beside a selector; where it is, it holds (J23).
            let meant = |node: &usize| peer.as_number.is_none_or(|as_number| self.has_as(*node, as_number));
            let peers: Nodes = selected.iter().copied().filter(meant).collect();
            self.join(peer, &nodes, &peers, None);
            if peers.len() < selected.len() {
                self.join_outside(&nodes, None);
                self.join_outside(&selected, None);
            }
        } else {
            match peer.peer_ip {
                Some(PeerAddress::Address(address)) => self.add_address(peer, &nodes, address),
                Some(PeerAddress::Unreadable(_)) => self.sessions.unknown = true,
                None => {}
            }
        }
    }

    /// A `peerIP`: a Node's, if a Node has the address and the BGPPeer does not name another AS number for it; else a
    /// router's outside. Without `asNumber` the global one is meant (confd, `nodesWithIPPortAndAS`).
    fn add_address(&mut self, peer: &BgpPeer, nodes: &Nodes, address: IpAddr) {
        let family = Family::of(address);
        let owners: Nodes = (self.datastore.nodes_at(address))
            .filter_map(|name| self.sessions.index.get(name).copied())
            .filter(|node| self.sessions.address(*node, family) == Some(address))
            .collect();
        let peers: Nodes = match peer.as_number.or(self.global_as) {
            Some(meant) => owners.iter().copied().filter(|node| self.has_as(*node, meant)).collect(),
            None => Nodes::default(),
        };
        self.join(peer, nodes, &peers, Some(family));
        if owners.is_empty() || peers.len() < owners.len() {
            self.join_outside(nodes, Some(family));
            self.join_outside(&owners, Some(family));
        }
    }

    fn has_as(&self, node: usize, as_number: u32) -> bool {
        self.sessions.members.get(node).is_some_and(|member| member.as_number == Some(as_number))
    }

    fn add_workload_peer(&mut self, peer: &BgpPeer, nodes: Option<Nodes>) {
        let workloads = peer.local_workload_selector.as_deref().and_then(|text| Selector::parse(text).ok());
        let to = &mut self.sessions.workload_peers;
        if given(peer.node_selector.as_ref()).is_none() {
            // By name, whether or not there is a Node of that name.
            match named(peer) {
                Some(name) => to.nodes.entry(name.clone()).or_default().push(workloads),
                None => to.everywhere.push(workloads),
            }
        } else if let Some(nodes) = nodes {
            let members = nodes.iter().filter_map(|node| self.sessions.members.get(*node));
            for member in members {
                to.nodes.entry(member.name.clone()).or_default().push(workloads.clone());
            }
        } else {
            to.everywhere.push(workloads);
        }
    }

    /// The nodes that a BGPPeer is for: of its selector, else the one it names, else all. `None` if the selector
    /// cannot be read.
    fn nodes_of(&mut self, peer: &BgpPeer) -> Option<Nodes> {
        if let Some(selector) = given(peer.node_selector.as_ref()) {
            return self.select(selector);
        }
        match named(peer) {
            Some(name) => Some(self.sessions.index.get(name).copied().into_iter().collect()),
            None => Some(self.all.clone()),
        }
    }

    fn select(&mut self, text: &str) -> Option<Nodes> {
        if let Some(known) = self.selected.get(text) {
            return known.clone();
        }
        let nodes = Selector::parse(text).ok().map(|selector| -> Nodes {
            let matching =
                self.datastore.nodes().values().enumerate().filter(|(_, node)| selector.matches(&node.labels));
            matching.map(|(index, _)| index).collect()
        });
        self.selected.insert(text.to_owned(), nodes.clone());
        nodes
    }

    /// Sessions between these nodes and these peers, each Node with all others.
    fn join(&mut self, peer: &BgpPeer, nodes: &Nodes, peers: &Nodes, family: Option<Family>) {
        let (Some(first_node), Some(first_peer)) = (nodes.first(), peers.first()) else { return };
        if nodes.len() == 1 && nodes == peers {
            // A Node has no session with itself.
            return;
        }
        self.joins = true;
        let peering = self.sessions.peerings.len();
        self.sessions.peerings.push(Peering {
            family,
            manual: peer.reverse_manual,
            filtered: !peer.filters.is_empty(),
        });
        for (lists, members) in [(&mut self.sessions.as_node, nodes), (&mut self.sessions.as_peer, peers)] {
            for node in members.iter() {
                if let Some(list) = lists.get_mut(*node) {
                    list.push(peering);
                }
            }
        }
        for family in families(family) {
            self.link(family, nodes, *first_peer);
            self.link(family, peers, *first_node);
        }
    }

    /// Sessions between these nodes and somebody who is no Node.
    fn join_outside(&mut self, nodes: &Nodes, family: Option<Family>) {
        let outside = self.sessions.members.len();
        for family in families(family) {
            self.link(family, nodes, outside);
        }
    }

    fn link(&mut self, family: Family, nodes: &Nodes, to: usize) {
        let [v4, v6] = &mut self.sessions.joined;
        let groups = match family {
            Family::V4 => v4,
            Family::V6 => v6,
        };
        nodes.iter().for_each(|node| groups.join(*node, to));
    }

    fn finish(mut self) -> Sessions {
        if self.sessions.mesh != Mesh::Off {
            for family in Family::ALL {
                let meshed = |member: &Member| member.cluster.is_none() && member.address(family).is_some();
                let nodes: Nodes = (self.all.iter().copied())
                    .filter(|node| self.sessions.members.get(*node).is_some_and(meshed))
                    .collect();
                if let Some(first) = nodes.first().copied() {
                    self.link(family, &nodes, first);
                }
            }
        }
        let mut sessions = self.sessions;
        let one_as = sessions.members.windows(2).all(|pair| match pair {
            [one, other] => one.as_number == other.as_number,
            _ => true,
        });
        sessions.only_mesh =
            sessions.mesh == Mesh::On && one_as && sessions.reflectors.is_empty() && !self.joins && !sessions.unknown;
        sessions
    }
}

fn member(name: &Name, node: &Node, global_as: Option<u32>) -> Member {
    let bgp = node.bgp.as_ref();
    let cluster = bgp.and_then(|bgp| given(bgp.route_reflector_cluster_id.as_ref()));
    Member {
        name: name.clone(),
        as_number: bgp.and_then(|bgp| bgp.as_number).or(global_as),
        cluster: cluster.map(Name::from),
        ipv4: node.bgp_address(Family::V4).map(|net| net.addr()),
        ipv6: node.bgp_address(Family::V6).map(|net| net.addr()),
    }
}

fn named(peer: &BgpPeer) -> Option<&Name> {
    peer.node.as_ref().filter(|name| !name.is_empty())
}

/// A text that is there: the empty one counts as none.
fn given(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

fn families(only: Option<Family>) -> impl Iterator<Item = Family> {
    Family::ALL.into_iter().filter(move |family| only.is_none_or(|only| only == *family))
}
