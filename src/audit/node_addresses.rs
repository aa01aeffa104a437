//! Nodes' routing addresses against each other, against the tunnels and against IPAM's blocks (J34). A Node whose address
//! is another's, a tunnel's or a pod's cannot be reached as its routes say, on any host: one finding stands for what
//! follows from it.
//!
//! - `address_duplicate`: another Node routes by the same address, each is named.
//! - `address_of_tunnel`: an IPIP or VXLAN tunnel has it, its own or another Node's. A WireGuard device may carry the
//!   Node's own address, as on EKS and AKS.
//! - `address_in_block`: an IPAM block holds it. Of a block that cannot be read nothing follows (J1).
//!
//! A Node has one of them at most, the first that holds in any family.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::fault::{Fault, NodeReason};
use super::{Finding, Note};
use crate::model::{BlockOwner, Family, Name, Node, TunnelKind, host_net};
use crate::state::Datastore;

/// Why an address is no Node's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Question {
    /// These have it as well.
    Duplicate(Vec<Name>),
    /// It is this tunnel's of this Node.
    Tunnel(TunnelKind, Name),
    /// It lies in this block.
    Block(IpNet),
}

/// Nodes' routing addresses, by address and by tunnel address: what each is compared with.
struct Addresses<'a> {
    datastore: &'a Datastore,
    routing: BTreeMap<IpAddr, Vec<&'a Name>>,
    tunnels: BTreeMap<IpAddr, (TunnelKind, &'a Name)>,
}

impl<'a> Addresses<'a> {
    fn of(datastore: &'a Datastore) -> Addresses<'a> {
        let mut routing: BTreeMap<IpAddr, Vec<&Name>> = BTreeMap::new();
        let mut tunnels = BTreeMap::new();
        for (name, node) in datastore.nodes() {
            for address in routing_addresses(node) {
                routing.entry(address).or_default().push(name);
            }
            for (kind, address) in &node.tunnels {
                if !matches!(kind, TunnelKind::WireguardV4 | TunnelKind::WireguardV6) {
                    tunnels.entry(*address).or_insert((*kind, name));
                }
            }
        }
        Addresses { datastore, routing, tunnels }
    }

    /// What is wrong with a Node's address, first things first.
    fn question(&self, name: &Name, address: IpAddr) -> Option<Question> {
        let others = self.routing.get(&address).map(Vec::as_slice).unwrap_or_default();
        if others.len() > 1 {
            return Some(Question::Duplicate(
                others.iter().filter(|it| **it != name).map(|it| (*it).clone()).collect(),
            ));
        }
        if let Some((kind, of)) = self.tunnels.get(&address) {
            return Some(Question::Tunnel(*kind, (*of).clone()));
        }
        block_of(self.datastore, address).map(Question::Block)
    }

    fn questions(&self) -> impl Iterator<Item = (&'a Name, IpAddr, Question)> + '_ {
        self.datastore.nodes().iter().flat_map(move |(name, node)| {
            routing_addresses(node).filter_map(move |address| Some((name, address, self.question(name, address)?)))
        })
    }
}

fn routing_addresses(node: &Node) -> impl Iterator<Item = IpAddr> + '_ {
    Family::ALL.into_iter().filter_map(|family| node.routing_address(family))
}

/// The block that holds an address: readable or, where blocks are not followed, one that a key claims.
fn block_of(datastore: &Datastore, address: IpAddr) -> Option<IpNet> {
    let net = host_net(address);
    if datastore.is_dark(&net) {
        return None;
    }
    let block = datastore.block_around(&net).map(|block| block.cidr);
    block.or_else(|| datastore.keys_around(&net).next().filter(|_| !datastore.follows_blocks()))
}

/// All Nodes' routing addresses.
pub(super) fn all(datastore: &Datastore) -> BTreeSet<IpAddr> {
    datastore.nodes().values().flat_map(|node| routing_addresses(node)).collect()
}

/// The Nodes whose address is questioned, with the families in which it is.
pub(super) fn questioned(datastore: &Datastore) -> BTreeMap<Name, BTreeSet<Family>> {
    let mut found: BTreeMap<Name, BTreeSet<Family>> = BTreeMap::new();
    for (name, address, _) in Addresses::of(datastore).questions() {
        found.entry(name.clone()).or_default().insert(Family::of(address));
    }
    found
}

/// A finding for each Node whose address is questioned, sorted.
pub fn judge(datastore: &Datastore) -> Vec<Finding> {
    let addresses = Addresses::of(datastore);
    let mut first: BTreeMap<&Name, (IpAddr, Question)> = BTreeMap::new();
    for (name, address, question) in addresses.questions() {
        let known = first.entry(name).or_insert_with(|| (address, question.clone()));
        if rank(&question) < rank(&known.1) {
            *known = (address, question);
        }
    }
    first.into_iter().map(|(name, (address, question))| finding(datastore, name, address, &question)).collect()
}

fn rank(question: &Question) -> u8 {
    match question {
        Question::Duplicate(_) => 0,
        Question::Tunnel(..) => 1,
        Question::Block(_) => 2,
    }
}

/// Enabled pools that hold Nodes' addresses of which none lies in a block yet: a line, no fault.
pub(super) fn notes(datastore: &Datastore) -> Vec<Note> {
    let mut inside: BTreeMap<&Name, Vec<Name>> = BTreeMap::new();
    for (name, node) in datastore.nodes() {
        for address in routing_addresses(node) {
            let net = host_net(address);
            let pool = datastore.pools().values().find(|pool| !pool.disabled && pool.cidr.contains(&net));
            if let Some(pool) = pool.filter(|_| !datastore.is_dark(&net) && block_of(datastore, address).is_none()) {
                inside.entry(&pool.name).or_default().push(name.clone());
            }
        }
    }
    let pools = inside.into_iter().filter_map(|(name, nodes)| Some((datastore.pools().get(name)?, nodes)));
    pools.map(|(pool, nodes)| Note::NodesInPool { pool: pool.name.clone(), cidr: pool.cidr, nodes }).collect()
}

/// `a, b and 3 more`.
pub(super) fn listed(names: &[Name]) -> String {
    const NAMED: usize = 5;
    let shown: Vec<&str> = names.iter().take(NAMED).map(|name| &**name).collect();
    match names.len().saturating_sub(NAMED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn finding(datastore: &Datastore, name: &Name, address: IpAddr, question: &Question) -> Finding {
    let fault = |reason| Finding::new(Fault::Node(reason), name).host(Some(name.clone()));
    let detected = "see IP_AUTODETECTION_METHOD (IP6_AUTODETECTION_METHOD) of calico-node";
    match question {
        Question::Duplicate(others) => {
            let who = listed(others);
            fault(NodeReason::AddressDuplicate)
                .detail(format!(
                    "Node {name} has the address {address}, and so has {who}: what is sent to one of them arrives at \
                     another, or nowhere."
                ))
                .expected("an address of its own", format!("{address}, which {who} has as well"))
                .action(format!(
                    "Correct spec.bgp of the Node that does not own {address}; if the address is of a bridge that every \
                     host has, {detected}."
                ))
        }
        Question::Tunnel(kind, of) => {
            let whose = if of == name { "its own".to_owned() } else { format!("the one of {of}") };
            fault(NodeReason::AddressOfTunnel)
                .detail(format!(
                    "Node {name} has the address {address}, which is a tunnel's: {}, {whose}. Packets to the Node are \
                     sent into the tunnel that they are to carry.",
                    kind.device()
                ))
                .expected("an address of the network between the hosts", format!("{address} of {}", kind.device()))
                .action(format!("Autodetection took the tunnel's device: {detected}, and restart it on {name}."))
        }
        Question::Block(cidr) => {
            let owner = datastore.block(cidr).and_then(|block| block.owner.as_ref()).map(BlockOwner::to_string);
            let owner = owner.map_or_else(String::new, |owner| format!(" of {owner}"));
            fault(NodeReason::AddressInBlock)
                .detail(format!(
                    "Node {name} has the address {address}, which lies in block {cidr}{owner}: a host that routes this \
                     block cuts the Node off, by a tunnel in a loop."
                ))
                .expected("an address outside all blocks", format!("{address} in block {cidr}"))
                .action(
                    "Keep pools off the network of the Nodes: disable the pool, give it another CIDR or an \
                     IPReservation for that network, and move the pods of the block.",
                )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Block, Cluster, pool};
    use crate::model::{AffinityState, IpPool, NodeBgp};
    use crate::state::{Follow, Object, ObjectId, State};

    fn with_tunnel(cluster: &mut Cluster, name: &str, addresses: &[&str], tunnels: &[(TunnelKind, &str)]) {
        let tunnels = tunnels.iter().map(|(kind, address)| (*kind, address.parse().unwrap())).collect();
        let node = Node { tunnels, ..crate::audit::testing::node(name, addresses) };
        cluster.put(Object::Node(name.into(), node));
    }

    fn found(build: impl FnOnce(&mut Cluster)) -> Vec<String> {
        let mut cluster = Cluster::new();
        cluster.pool("pods", "10.0.0.0/16", 26).pool("pods-v6", "fd00::/48", 122);
        cluster.node("h1", &["192.168.0.1/24", "2001:db8::1/64"]).node("h2", &["192.168.0.2/24", "2001:db8::2/64"]);
        cluster.owned(Block::of("host:h2", "10.0.0.0/26")).owned(Block::of("host:h2", "fd00::/122"));
        build(&mut cluster);
        let found = judge(cluster.datastore());
        // Whoever is found is questioned, and the reverse.
        let names: Vec<String> = questioned(cluster.datastore()).keys().map(ToString::to_string).collect();
        assert_eq!(names, found.iter().map(|it| it.subject.clone()).collect::<Vec<_>>());
        found.iter().map(|it| format!("{} {}", it.fault.reason().unwrap(), it.subject)).collect()
    }

    #[test]
    fn addresses_of_their_own_are_sound() {
        assert_eq!(found(|_| {}), [""; 0]);
        // In a pool and in no block; in a disabled pool.
        assert_eq!(
            found(|it| {
                it.node("h3", &["10.0.9.1/24", "fd00::1:1/64"]);
            }),
            [""; 0]
        );
        // WireGuard's device may have the Node's own.
        let wireguard = [(TunnelKind::WireguardV4, "192.168.0.3"), (TunnelKind::WireguardV6, "2001:db8::3")];
        assert_eq!(found(|it| with_tunnel(it, "h3", &["192.168.0.3/24", "2001:db8::3/64"], &wireguard)), [""; 0]);
    }

    #[test]
    fn a_duplicate_is_a_finding_of_each_node() {
        for address in ["192.168.0.1/24", "192.168.0.1/16", "2001:db8::1/64"] {
            let twice = found(|it| {
                it.node("h3", &[address]);
            });
            assert_eq!(twice, ["address_duplicate h1", "address_duplicate h3"], "{address}");
        }
        // By `spec.addresses` too, where `spec.bgp` has none.
        let internal = |it: &mut Cluster| {
            let address = crate::model::NodeAddress {
                kind: crate::model::NodeAddressType::Internal,
                address: "192.168.0.2/32".parse().unwrap(),
            };
            let node = Node { addresses: [address].into(), bgp: Some(NodeBgp::default()), ..Node::default() };
            it.put(Object::Node("h3".into(), node));
        };
        assert_eq!(found(internal), ["address_duplicate h2", "address_duplicate h3"]);
    }

    #[test]
    fn an_address_of_a_tunnel() {
        for (kind, address) in
            [(TunnelKind::Ipip, "10.0.0.1"), (TunnelKind::VxlanV4, "10.0.0.1"), (TunnelKind::VxlanV6, "fd00::1")]
        {
            let length = if address.contains(':') { 128 } else { 32 };
            let own = format!("{address}/{length}");
            let of_tunnel = ["address_of_tunnel h3"];
            assert_eq!(found(|it| with_tunnel(it, "h3", &[&own], &[(kind, address)])), of_tunnel);
            // Another Node's.
            assert_eq!(
                found(|it| {
                    with_tunnel(it, "h4", &["192.168.0.4/24"], &[(kind, address)]);
                    it.node("h3", &[&own]);
                }),
                of_tunnel
            );
        }
    }

    #[test]
    fn an_address_in_a_block() {
        for address in ["10.0.0.7/24", "fd00::7/64"] {
            let inside = |it: &mut Cluster| {
                it.node("h3", &[address]);
            };
            assert_eq!(found(inside), ["address_in_block h3"]);
        }
        // Nothing follows from a block that cannot be read.
        assert_eq!(
            found(|it| {
                it.node("h3", &["10.0.0.7/24"]).unreadable(ObjectId::Block("10.0.0.0/26".parse().unwrap()));
            }),
            [""; 0]
        );
        // A disabled pool keeps its blocks.
        assert_eq!(
            found(|it| {
                it.put(Object::Pool(IpPool { disabled: true, ..pool("pods", "10.0.0.0/16", 26) }));
                it.node("h3", &["10.0.0.7/24"]);
            }),
            ["address_in_block h3"]
        );
    }

    #[test]
    fn the_first_that_holds_in_any_family() {
        let all = |it: &mut Cluster| {
            with_tunnel(it, "h3", &["10.0.0.7/32", "fd00::9/128"], &[(TunnelKind::VxlanV4, "10.0.0.7")]);
            it.node("h4", &["10.0.0.7/32"]);
        };
        assert_eq!(found(all), ["address_duplicate h3", "address_duplicate h4"]);
        let tunnel = |it: &mut Cluster| {
            with_tunnel(it, "h3", &["10.0.0.9/32", "fd00::9/128"], &[(TunnelKind::VxlanV6, "fd00::9")]);
        };
        assert_eq!(found(tunnel), ["address_of_tunnel h3"]);
    }

    #[test]
    fn a_key_stands_for_its_block_where_keys_alone_are_followed() {
        let mut cluster = Cluster { state: State::new(false).following(Follow::Affinities("h1".into())), seconds: 0 };
        cluster.node("h1", &["192.168.0.1/24"]).node("h2", &["10.0.0.7/24"]);
        cluster.affinity("host:h2", "10.0.0.0/26", AffinityState::Confirmed);
        let names: Vec<Name> = questioned(cluster.datastore()).into_keys().collect();
        assert_eq!(names, ["h2".into()]);
    }

    #[test]
    fn an_address_in_an_enabled_pool_is_a_note() {
        let mut cluster = Cluster::new();
        cluster
            .pool("pods", "10.0.0.0/16", 26)
            .put(Object::Pool(IpPool { disabled: true, ..pool("outside", "192.168.0.0/24", 26) }));
        cluster.node("h1", &["192.168.0.1/24"]).node("h2", &["10.0.1.2/24"]).node("h3", &["10.0.1.3/24"]);
        let notes = notes(cluster.datastore());
        let words: Vec<String> = notes.iter().map(ToString::to_string).collect();
        assert_eq!(words.len(), 1, "{words:?}");
        assert!(words[0].contains("pods (10.0.0.0/16)") && words[0].contains("h2, h3"), "{words:?}");
        cluster.block(Block::of("host:h2", "10.0.1.0/26"));
        assert_eq!(super::notes(cluster.datastore()), []);
    }
}
