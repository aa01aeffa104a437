//! A host with many other ends of its VXLAN tunnel, by number; the host itself is number 0.

use std::net::{IpAddr, Ipv4Addr};

use calico_exporter::audit::{Backend, RouteOptions, TunnelOptions};
use calico_exporter::model::{
    EncapMode, EntryState, Family, FdbEntry, IpPool, Link, Mac, Name, Neighbour, Node, NodeBgp, TunnelKind,
};
use calico_exporter::state::{Event, Object, Side, Table};
use ipnet::IpNet;

/// The tunnel's device.
pub const DEVICE: &str = "vxlan.calico";
/// How much of a host's own address is its subnet.
pub const SUBNET: u8 = 15;

/// A Node's name.
pub fn name(n: u32) -> Name {
    format!("host-{n}").into()
}

/// A Node's own address.
pub fn host(n: u32) -> IpAddr {
    nth(Ipv4Addr::new(198, 18, 0, 1), n)
}

/// Its tunnel address.
pub fn address(n: u32) -> IpAddr {
    nth(Ipv4Addr::new(100, 64, 0, 1), n)
}

/// The MAC of its end.
pub fn mac(n: u32) -> Mac {
    Mac::derived(&name(n), Family::V4)
}

fn nth(first: Ipv4Addr, n: u32) -> IpAddr {
    Ipv4Addr::from(u32::from(first) + n).into()
}

/// What the datastore says of this host and its peers.
pub fn datastore(peers: u32) -> impl Iterator<Item = Event> {
    let pool = IpPool {
        name: "vxlan".into(),
        cidr: IpNet::new(address(0), 10).unwrap_or_else(|_| IpNet::from(address(0))).trunc(),
        block_size: 26,
        ipip: EncapMode::Never,
        vxlan: EncapMode::Always,
        disabled: false,
        disable_bgp_export: false,
        node_selector: "all()".to_owned(),
        load_balancer: false,
        manual: false,
    };
    let node = |n| {
        let bgp = NodeBgp { ipv4: IpNet::new(host(n), SUBNET).ok(), ..NodeBgp::default() };
        let tunnels = [(TunnelKind::VxlanV4, address(n))].into();
        Object::Node(name(n), Node { name: Some(name(n)), bgp: Some(bgp), tunnels, ..Node::default() })
    };
    std::iter::once(Object::Pool(pool)).chain((0..=peers).map(node)).map(|object| Event::Put(Box::new(object)))
}

/// What the kernel says of this host: two devices, and each peer's neighbour and forwarding entry.
pub fn kernel(peers: u32) -> impl Iterator<Item = Event> {
    let link = |index, name: &str, address| {
        Event::Link(Link {
            index,
            name: name.into(),
            admin_up: true,
            mtu: 1500 - 50 * (index - 2),
            addresses: vec![address],
            ..Link::default()
        })
    };
    let subnet = IpNet::new(host(0), SUBNET).unwrap_or_else(|_| IpNet::from(host(0)));
    let links = [link(2, "eth0", subnet), link(3, DEVICE, IpNet::from(address(0)))];
    let entries = (1..=peers).flat_map(|n| {
        let (address, mac, state) = (address(n), mac(n), EntryState::PERMANENT);
        let neighbour = Neighbour { device: 3, address, mac: Some(mac), state };
        [Event::Neighbour(neighbour), Event::Fdb(FdbEntry { device: 3, mac, destination: Some(host(n)), state })]
    });
    let ends = [Side::Datastore, Side::Kernel, Side::Tunnels].map(Event::Synced);
    links.into_iter().chain(entries).chain(Table::ALL.map(Event::Listed)).chain(ends)
}

/// How this host is judged.
pub fn options() -> RouteOptions {
    RouteOptions {
        node: name(0),
        backend: Backend::Vxlan,
        grace: None,
        tunnels: TunnelOptions { entries: true, ..TunnelOptions::default() },
    }
}
