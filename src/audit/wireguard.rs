//! What WireGuard is to encrypt, and whether the kernel hands it over (J43). Felix routes every block, borrowed address
//! and tunnel address of a peer into its device, by a table that a policy rule leads to before the main table
//! (`felix/wireguard/wireguard.go`). What falls through to the main table leaves this host in plaintext, and what goes
//! into the device for a Node that is no peer is dropped there.
//!
//! A peer is a Node with an address and a public key that no other Node has (`shouldProgramWireguardPeer`). Handshakes
//! and allowed addresses take a capability to read and are not judged.

use std::collections::BTreeMap;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;

use super::expect::Context;
use super::fault::{Fault, NodeReason, RouteReason};
use super::finding::Finding;
use super::forward::{self, Outcome, Packet};
use super::judge::{Difference, Evidence, Verdict};
use super::node_addresses::listed;
use super::report::{Encapsulation, RouteClass};
use super::setting::{Programmer, Setting};
use super::tunnel_entries::is_sent_to_wireguard;
use super::words;
use crate::model::{Family, Name, Node, Route, RouteType, TABLE_MAIN, TunnelKind, host_net, host_route};
use crate::state::{Datastore, Kernel, State};

/// `RT_TABLE_DEFAULT`.
const TABLE_DEFAULT: u32 = 253;

/// A public key: 32 bytes, not all of them 0.
type Key = [u8; 32];

/// The key that a Node shows, where it is one (`wgtypes.ParseKey`).
fn key(node: &Node, family: Family) -> Option<Key> {
    let bytes = STANDARD.decode(node.wireguard_key(family)?).ok()?;
    Key::try_from(bytes).ok().filter(|key| *key != Key::default())
}

/// Whether a Node shows a key at all: its Felix has made the device.
pub(super) fn has_key(node: &Node, family: Family) -> bool {
    key(node, family).is_some()
}

/// Whether WireGuard is to carry what goes to a Node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Peer {
    /// It is not: the device would drop it.
    #[default]
    No,
    /// Either way is right: the datastore does not decide.
    Maybe,
    /// It is.
    Yes,
}

/// WireGuard of one family on this host.
#[derive(Debug, Clone, Default)]
struct Side {
    /// The Nodes that are peers, or may be.
    peers: BTreeMap<Name, Peer>,
    /// Nodes' own addresses are encrypted as well.
    encrypts_nodes: bool,
    /// There are peers or a device: something can be right or wrong.
    in_play: bool,
    /// A rule sends what is to be encrypted to the device's table. Without it one fault stands for all (`rule_missing`).
    has_rule: bool,
}

/// WireGuard on this host.
#[derive(Debug, Clone, Default)]
pub(super) struct Wireguard {
    sides: [Side; 2],
}

impl Wireguard {
    /// As the datastore and this host's devices and rules have it.
    pub(super) fn of(state: &State, me: &Name, setting: &Setting) -> Wireguard {
        Wireguard { sides: Family::ALL.map(|family| side(state, me, setting, family)) }
    }

    fn side(&self, family: Family) -> &Side {
        &self.sides[family as usize]
    }

    /// Whether anything of it can be right or wrong in the family.
    pub(super) fn is_in_play(&self, family: Family) -> bool {
        self.side(family).in_play
    }

    fn peer(&self, node: &Name, family: Family) -> Peer {
        self.side(family).peers.get(node).copied().unwrap_or_default()
    }

    /// Whether the way to a Node's own address may lead through the device.
    pub(super) fn encrypts_node(&self, node: &Name, family: Family) -> bool {
        self.side(family).encrypts_nodes && self.peer(node, family) != Peer::No
    }

    /// Peers' single addresses that have to go through the device, whatever blocks they lie in.
    pub(super) fn addresses<'a>(&'a self, datastore: &'a Datastore) -> impl Iterator<Item = IpNet> + 'a {
        Family::ALL.into_iter().flat_map(move |family| {
            let side = self.side(family);
            let nodes = side.peers.iter().filter(|(_, peer)| **peer == Peer::Yes);
            nodes.filter_map(|(name, _)| datastore.node(name)).flat_map(move |node| {
                let tunnels = node.tunnels.iter().filter(move |(kind, _)| kind.family() == family);
                let own = node.routing_address(family).filter(|_| side.encrypts_nodes);
                tunnels.map(|(_, address)| *address).chain(own).map(host_net)
            })
        })
    }
}

fn side(state: &State, me: &Name, setting: &Setting, family: Family) -> Side {
    let (datastore, kernel) = (&state.datastore, &state.kernel);
    let kind = TunnelKind::wireguard(family);
    let link = kernel.link(kind.device());
    let encrypts_nodes = encrypts_nodes(datastore, kernel, me, setting, family);
    let mut side = Side { encrypts_nodes, in_play: link.is_some(), ..Side::default() };
    let Some(mine) = datastore.node(me).filter(|node| node.routing_address(family).is_some()) else { return side };
    let Some(own) = key(mine, family) else { return side };
    let mut times: BTreeMap<Key, usize> = BTreeMap::new();
    let keys: Vec<(&Name, &Node, Key)> =
        datastore.nodes().iter().filter_map(|(name, node)| Some((name, &**node, key(node, family)?))).collect();
    keys.iter().for_each(|(.., key)| *times.entry(*key).or_default() += 1);
    let is_unique = |key: &Key| times.get(key) == Some(&1);
    let has_address = |node: &Node| encrypts_nodes || node.tunnels.contains_key(&kind);
    let enabled = setting.wireguard_of[family as usize] && setting.felix_routes;
    let certain = enabled && is_unique(&own) && has_address(mine);
    for (name, node, key) in keys.into_iter().filter(|(name, ..)| *name != me) {
        // One that is not unique is nobody's: Felix takes neither for a peer, but for this host's own, which it does not
        // compare with.
        if node.routing_address(family).is_some() && (is_unique(&key) || key == own) {
            let peer = if certain && has_address(node) { Peer::Yes } else { Peer::Maybe };
            side.peers.insert(name.clone(), peer);
        }
    }
    side.in_play |= !side.peers.is_empty();
    side.has_rule = state.tunnels.rules(family).is_some_and(|rules| is_sent_to_wireguard(kernel, rules, family));
    side
}

/// Whether Nodes' own addresses are encrypted as well: by `wireguardHostEncryptionEnabled`, which on EKS and AKS is in
/// calico-node's environment. Felix gives the device the Node's own address then (`EndpointWireguardUpdate`).
pub(super) fn encrypts_nodes(
    datastore: &Datastore,
    kernel: &Kernel,
    me: &Name,
    setting: &Setting,
    family: Family,
) -> bool {
    let own = datastore.node(me).and_then(|node| node.routing_address(family));
    let link = kernel.link(TunnelKind::wireguard(family).device());
    let carries = |own: IpAddr| link.is_some_and(|link| link.addresses.iter().any(|net| net.addr() == own));
    setting.wireguard_host_encryption || own.is_some_and(carries)
}

/// Nodes that show one public key: a host that was cloned. No other host takes either for a peer, and both lose what is
/// encrypted. One finding a Node.
pub(super) fn duplicate_keys(datastore: &Datastore) -> Vec<Finding> {
    let mut found: BTreeMap<&Name, Finding> = BTreeMap::new();
    for family in Family::ALL {
        let mut nodes: BTreeMap<Key, Vec<&Name>> = BTreeMap::new();
        for (name, node) in datastore.nodes() {
            if let Some(key) = key(node, family) {
                nodes.entry(key).or_default().push(name);
            }
        }
        let encrypts = |name: &&Name| Setting::of(datastore, name).wireguard_of[family as usize];
        let shared = nodes.values().filter(|names| names.len() > 1 && names.iter().any(encrypts));
        for names in shared {
            for name in names {
                let others: Vec<Name> = names.iter().filter(|it| *it != name).map(|it| (*it).clone()).collect();
                found.entry(name).or_insert_with(|| duplicate_key(name, &others, family));
            }
        }
    }
    found.into_values().collect()
}

fn duplicate_key(name: &Name, others: &[Name], family: Family) -> Finding {
    let device = TunnelKind::wireguard(family).device();
    let who = listed(others);
    Finding::new(Fault::Node(NodeReason::WireguardKeyDuplicate), name)
        .host(Some(name.clone()))
        .detail(format!(
            "Node {name} shows the WireGuard key that {who} shows as well: the other hosts take neither for a peer and \
             send to both in plaintext, and what these send encrypted is dropped."
        ))
        .expected("a key of its own", format!("the key of {who}"))
        .action(format!(
            "The hosts were cloned with {device} or its key: delete the device on one of them (ip link del {device}); \
             Felix makes it again with a new key and writes that into the Node."
        ))
}

/// How the kernel treats a packet, as far as WireGuard is concerned.
enum Taken<'a> {
    /// Into the device, by every way.
    Encrypted(&'a Route),
    /// Into the device by some of the ways alone.
    Partly(&'a Route),
    /// Past it, by the main table.
    Main(&'a Route),
    /// By no route.
    Nowhere,
    /// By somebody else's rule or table, or to this host itself.
    Elsewhere,
}

impl Context<'_> {
    /// Whether WireGuard is to carry what goes to a prefix: by the host that has it, and nobody's is for nobody.
    pub(in crate::audit) fn encryption(&self, net: &IpNet) -> Peer {
        let family = Family::of_net(net);
        if !self.wireguard.is_in_play(family) {
            return Peer::No;
        }
        let peer = |host: &Name| if host == self.me { Peer::No } else { self.wireguard.peer(host, family) };
        let mut peers = self.holders(net).into_iter().map(peer);
        let Some(first) = peers.next() else { return Peer::No };
        // With `routeSource: WorkloadIPs` Felix routes endpoints and Nodes, and no blocks.
        let of_node = || host_route(net).is_some_and(|address| self.datastore.nodes_at(address).next().is_some());
        match first {
            Peer::Yes if !self.setting.felix_routes_blocks && !of_node() => Peer::Maybe,
            _ if peers.all(|it| it == first) => first,
            _ => Peer::Maybe,
        }
    }

    /// The hosts where a prefix is: those on whose tunnel or interface the address is, else those that use it, else the
    /// owner of the block around it.
    fn holders(&self, net: &IpNet) -> Vec<&Name> {
        let owner = || {
            let block = self.block_around(net).and_then(|block| block.host());
            let by_key = || self.datastore.keys_around(net).find_map(|cidr| Some(self.datastore.key_of(&cidr)?.0));
            block.or_else(by_key).into_iter().collect::<Vec<_>>()
        };
        let Some(address) = host_route(net) else { return owner() };
        let named: Vec<&Name> = self.datastore.tunnels_at(address).chain(self.datastore.nodes_at(address)).collect();
        if !named.is_empty() {
            return named;
        }
        let endpoints = self.datastore.endpoints_at(address).map(|endpoint| &endpoint.node);
        let users: Vec<&Name> = self.users(address).chain(endpoints).collect();
        if users.is_empty() { owner() } else { users }
    }

    fn taken_by_wireguard(&self, net: &IpNet) -> Option<Taken<'_>> {
        let family = Family::of_net(net);
        // Without the rules, or with the main table alone, nobody can say what becomes of a packet.
        let rules = self.rules[family as usize].filter(|_| self.has_tables)?;
        let device = TunnelKind::wireguard(family).device();
        Some(match forward::decide(self.kernel, Some(rules), &Packet::of_host(*net)).outcome {
            Outcome::By(route) => {
                let mut hops = route.next_hops.iter().map(|hop| hop.device.as_deref() == Some(device));
                let (any, all) = (hops.clone().any(|into| into), hops.all(|into| into));
                match (route.kind, any) {
                    (RouteType::Unicast, true) if all => Taken::Encrypted(route),
                    (RouteType::Unicast, true) => Taken::Partly(route),
                    _ if matches!(route.table, TABLE_MAIN | TABLE_DEFAULT) => Taken::Main(route),
                    _ => Taken::Elsewhere,
                }
            }
            Outcome::Nowhere => Taken::Nowhere,
            Outcome::Here | Outcome::Refused => Taken::Elsewhere,
        })
    }

    /// The verdict on a destination with WireGuard before the main table. `verdict`: of the main table alone.
    pub(super) fn by_wireguard(&self, net: &IpNet, verdict: Verdict) -> Verdict {
        let family = Family::of_net(net);
        if !self.wireguard.is_in_play(family) {
            return verdict;
        }
        let counted = verdict.expected.or(verdict.actual).map(|(class, _)| class);
        let wanted = self.encryption(net);
        if counted.is_none() && wanted != Peer::Yes {
            return verdict;
        }
        let Some(taken) = self.taken_by_wireguard(net) else { return verdict };
        let class = counted.unwrap_or_else(|| self.class_of(net));
        match (wanted, taken) {
            (Peer::Yes | Peer::Maybe, Taken::Encrypted(_)) => self.encrypted(net, class, verdict),
            (Peer::Yes, taken) => self.unencrypted(net, class, &taken, verdict),
            (Peer::No, Taken::Encrypted(route) | Taken::Partly(route)) if verdict.expected.is_some() => {
                let difference = self.swallowed(net, class, route, &verdict);
                Verdict { difference: Some(Box::new(difference)), ..verdict }
            }
            _ => verdict,
        }
    }

    fn class_of(&self, net: &IpNet) -> RouteClass {
        match host_route(net) {
            // A Node's own address is its WireGuard device's under host encryption.
            Some(address) if self.datastore.nodes_at(address).next().is_some() => RouteClass::TunnelAddress,
            Some(address) => self.single_class(address, RouteClass::Borrowed),
            None => RouteClass::RemoteBlock,
        }
    }

    fn encrypted(&self, net: &IpNet, class: RouteClass, verdict: Verdict) -> Verdict {
        let family = Family::of_net(net);
        let count = Some((class, Encapsulation::Wireguard));
        let pool = self.datastore.pool_of(net).filter(|_| class != RouteClass::TunnelAddress);
        Verdict {
            actual: count,
            expected: count,
            difference: None,
            evidence: pool.map(|pool| Evidence {
                pool: pool.name.clone(),
                encapsulation: Encapsulation::Wireguard,
                same_subnet: false,
                fits: true,
            }),
            required: Some((Programmer::Felix, family)),
            needs_device: needed(family),
            ..verdict
        }
    }

    /// What is to be encrypted goes another way.
    fn unencrypted(&self, net: &IpNet, class: RouteClass, taken: &Taken<'_>, verdict: Verdict) -> Verdict {
        let family = Family::of_net(net);
        let needs_device = needed(family);
        let verdict = Verdict {
            expected: Some((class, Encapsulation::Wireguard)),
            difference: None,
            evidence: None,
            needs_device,
            ..verdict
        };
        // One fault of the device or of the rule stands for all that should have gone there (J19).
        if !self.is_any_up(needs_device) || !self.wireguard.side(family).has_rule {
            return verdict;
        }
        let (reason, what, actual) = match taken {
            Taken::Main(route) if route.kind == RouteType::Unicast => (
                RouteReason::WrongEncapsulation,
                "leaves this host in plaintext: the routes of WireGuard leave it out, and the main table's is taken",
                route.to_string(),
            ),
            Taken::Partly(route) => (
                RouteReason::WrongEncapsulation,
                "leaves this host in part in plaintext: not every way leads through WireGuard",
                route.to_string(),
            ),
            Taken::Main(route) => (
                RouteReason::WrongType,
                "is dropped: the routes of WireGuard leave it out, and the main table drops it",
                route.to_string(),
            ),
            Taken::Nowhere => (
                RouteReason::Missing,
                "has no route: neither those of WireGuard nor the main table lead there",
                "no route".to_owned(),
            ),
            Taken::Encrypted(_) | Taken::Elsewhere => return verdict,
        };
        let device = TunnelKind::wireguard(family).device();
        let holder = self.holders(net).first().map_or_else(|| self.me.clone(), |host| (*host).clone());
        let subject = words::destination(net);
        let difference = Difference {
            class,
            reason,
            detail: format!("{subject}, {} {holder}, {what}", words::of_class(class)),
            host: holder,
            programmer: Some(Programmer::Felix),
            expected: format!("{subject} dev {device}, wireguard"),
            actual,
            action: format!(
                "see `ip rule` and `ip route show table all dev {device}` on this host, and Felix's log: it adds a peer \
                 when it reads its Node and checks all of them within 99 s"
            ),
        };
        Verdict { difference: Some(Box::new(difference)), required: Some((Programmer::Felix, family)), ..verdict }
    }

    /// Traffic that ought to stay unencrypted goes into the device, which has no peer for it.
    fn swallowed(&self, net: &IpNet, class: RouteClass, route: &Route, verdict: &Verdict) -> Difference {
        let device = TunnelKind::wireguard(Family::of_net(net)).device();
        let holder = self.holders(net).first().map_or_else(|| self.me.clone(), |host| (*host).clone());
        let subject = words::destination(net);
        let whose = match class {
            RouteClass::LocalWorkload | RouteClass::LocalBlock | RouteClass::Foreign => {
                words::of_class(class).to_owned()
            }
            class => format!("{} {holder}", words::of_class(class)),
        };
        let why = match holder == *self.me {
            true => "this host's own addresses are no peer's".to_owned(),
            false => format!("{holder} is no peer of it: it lacks an address or a public key of its own"),
        };
        let wanted = verdict.expected.map_or("none", |(_, encapsulation)| encapsulation.as_str());
        let table = match route.table {
            TABLE_MAIN => String::new(),
            table => format!(" in table {table}"),
        };
        Difference {
            class,
            // What a block of this host drops is not wrapped.
            reason: match class {
                RouteClass::LocalBlock => RouteReason::WrongType,
                _ => RouteReason::WrongEncapsulation,
            },
            detail: format!("{subject}, {whose}, is blackholed by WireGuard: it is routed into {device}, and {why}"),
            host: holder,
            programmer: Some(Programmer::Felix),
            expected: format!("{subject} by the main table, encapsulation {wanted}"),
            actual: format!("{route}{table}"),
            action: format!(
                "see Felix's log on this host: where there is no key it adds a throw route to the table of {device}; \
                 then find which program installed this one"
            ),
        }
    }
}

/// The device as a verdict's need.
fn needed(family: Family) -> super::expect::Devices {
    match family {
        Family::V4 => const { &[TunnelKind::WireguardV4.device()] },
        Family::V6 => const { &[TunnelKind::WireguardV6.device()] },
    }
}
