//! The other ends of this host's VXLAN tunnels: what each needs in the tables of this host's device
//! (`felix/calc/vxlan_resolver.go`, `felix/vxlanfdb/vxlan_fdb.go`).

use std::net::IpAddr;

use crate::audit::setting::{FelixOverrides, Setting};
use crate::audit::tunnel_devices::{has_own_end, is_flow_based};
use crate::model::{Family, Mac, Name, Node, TunnelKind};
use crate::state::{Datastore, Kernel, State};

/// Another Node's end of a tunnel: the neighbour `address` has `mac`, and a frame for `mac` goes to `host`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The Node.
    pub node: Name,
    /// Its tunnel address, the gateway of the routes to its pods.
    pub address: IpAddr,
    /// The MAC of its tunnel device.
    pub mac: Mac,
    /// Its own address, to which the wrapped packet goes.
    pub host: IpAddr,
}

/// A VXLAN tunnel of this host that is up and whose entries can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// The family of its packets.
    pub family: Family,
    /// Its device.
    pub device: Name,
    /// The device's `ifindex`.
    pub index: u32,
    /// Whether it needs forwarding entries: eBPF's device needs none.
    pub has_fdb: bool,
    /// This host's own tunnel addresses.
    own: Vec<IpAddr>,
    /// Sorted by the Node's name.
    peers: Vec<Peer>,
    /// Places in that list, sorted by address and by MAC.
    by_address: Vec<(IpAddr, usize)>,
    by_mac: Vec<(Mac, usize)>,
}

impl Tunnel {
    /// The Node's end; `None` where it has none, and for this host itself.
    pub fn peer(&self, node: &str) -> Option<&Peer> {
        let place = self.peers.binary_search_by(|peer| (*peer.node).cmp(node)).ok()?;
        self.peers.get(place)
    }

    /// Whether this host has the tunnel address itself.
    pub(super) fn is_own(&self, address: IpAddr) -> bool {
        self.own.contains(&address)
    }

    /// All other ends, by the Node's name.
    pub fn peers(&self) -> impl Iterator<Item = &Peer> + '_ {
        self.peers.iter()
    }

    /// Those with this tunnel address: more than one is a fault of the datastore, and either is right then.
    pub fn at(&self, address: IpAddr) -> impl Iterator<Item = &Peer> + '_ {
        self.with(&self.by_address, address)
    }

    /// Those with this MAC: likewise.
    pub fn with_mac(&self, mac: Mac) -> impl Iterator<Item = &Peer> + '_ {
        self.with(&self.by_mac, mac)
    }

    fn with<'a, K: Ord + Copy + 'a>(&'a self, by: &'a [(K, usize)], key: K) -> impl Iterator<Item = &'a Peer> {
        let first = by.partition_point(|(it, _)| *it < key);
        by[first..].iter().take_while(move |(it, _)| *it == key).filter_map(|(_, place)| self.peers.get(*place))
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.by_address.iter().map(|(address, _)| *address)
    }

    pub(super) fn macs(&self) -> impl Iterator<Item = Mac> + '_ {
        self.by_mac.iter().map(|(mac, _)| *mac)
    }
}

/// This host's VXLAN tunnels with their other ends, at most one of each family. Missing are those that Felix does not
/// have here, those whose device is missing or down, and those of which this host's own end is not complete.
pub fn tunnels(state: &State, me: &Name) -> Vec<Tunnel> {
    let setting = Setting::of(&state.datastore, me).overridden(&FelixOverrides::default());
    Family::ALL.iter().filter_map(|family| tunnel(&state.datastore, &state.kernel, me, &setting, *family)).collect()
}

/// The name of the device of the family's tunnel.
pub(super) fn device(kernel: &Kernel, setting: &Setting, family: Family) -> &'static str {
    let own = TunnelKind::vxlan(family).device();
    // eBPF has one for both families, from 3.31 on.
    match kernel.link(own) {
        None if setting.bpf => TunnelKind::VxlanV4.device(),
        _ => own,
    }
}

pub(super) fn tunnel(
    datastore: &Datastore,
    kernel: &Kernel,
    me: &Name,
    setting: &Setting,
    family: Family,
) -> Option<Tunnel> {
    if !setting.has_vxlan(family) || !has_own_end(datastore, me, family) {
        return None;
    }
    let link = kernel.link(device(kernel, setting, family)).filter(|link| link.is_up())?;
    // Every Node with such an end: pools, blocks, subnets and readiness play no part.
    let peer = |name: &Name, node: &Node| {
        let (address, host) = (node.vtep(family)?, node.bgp_address(family)?.addr());
        Some(Peer { node: name.clone(), address, mac: node.vxlan_mac(name, family), host })
    };
    let others = datastore.nodes().iter().filter(|(name, _)| *name != me);
    let peers: Vec<Peer> = others.filter_map(|(name, node)| peer(name, node)).collect();
    Some(Tunnel {
        family,
        device: link.name.clone(),
        index: link.index,
        has_fdb: !is_flow_based(link, setting),
        own: datastore.node(me).into_iter().flat_map(|node| node.tunnels.values().copied()).collect(),
        by_address: sorted(&peers, |peer| peer.address),
        by_mac: sorted(&peers, |peer| peer.mac),
        peers,
    })
}

fn sorted<K: Ord>(peers: &[Peer], key: impl Fn(&Peer) -> K) -> Vec<(K, usize)> {
    let mut places: Vec<(K, usize)> = peers.iter().enumerate().map(|(place, peer)| (key(peer), place)).collect();
    places.sort_unstable();
    places
}
