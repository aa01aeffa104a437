//! The devices and routes that Felix and BIRD would have made of a cluster (reference 4.2–4.4).

use std::net::IpAddr;

use calico_exporter::audit::Backend;
use calico_exporter::model::{
    Family, Link, Name, NextHop, Protocol, Route, RouteType, TABLE_MAIN, TunnelKind, address_at, host_net,
};
use fastrand::Rng;
use ipnet::IpNet;

use super::build::{chance, pick};
use super::oracle::Oracle;
use super::wanted::{Form, Gateway, Wanted};
use super::world::World;

fn link(index: u32, name: &str, kind: Option<&str>, addresses: Vec<IpNet>) -> Link {
    Link {
        index,
        name: name.into(),
        kind: kind.map(Into::into),
        admin_up: true,
        // What a tunnel adds to a packet fits.
        mtu: if kind.is_some() { 1400 } else { 1500 },
        addresses,
        ..Link::default()
    }
}

pub(super) fn hop(device: &str, gateway: Option<IpAddr>) -> NextHop {
    NextHop { gateway, device: Some(device.into()), down: false, onlink: gateway.is_some() }
}

pub(super) fn route(destination: IpNet, kind: RouteType, protocol: Protocol, next_hops: Vec<NextHop>) -> Route {
    let link_scope = kind == RouteType::Unicast && next_hops.iter().all(|it| it.gateway.is_none());
    let metric = if destination.max_prefix_len() == 128 { 1024 } else { 0 };
    Route { table: TABLE_MAIN, destination, metric, tos: 0, kind, protocol, link_scope, next_hops: next_hops.into() }
}

/// Gives the world its links and routes.
pub(super) fn settle(world: &mut World, rng: &mut Rng) {
    devices(world, rng);
    let says_bgp = Oracle::new(world).bird_meant;
    let bird_runs = match world.backend {
        Backend::Bird => true,
        Backend::Auto => says_bgp || chance(rng, 50),
        Backend::Vxlan | Backend::None => false,
    };
    // What ought to be there once BIRD has written its routes, or were it not there at all.
    let mut told = world.clone();
    told.backend = if bird_runs { Backend::Bird } else { Backend::None };
    let oracle = Oracle::new(&told);
    let mut routes = Vec::new();
    for net in oracle.destinations() {
        let wanted = oracle.wanted(&net);
        let here = |it: &&Wanted| it.required && oracle.device_is_up(it) && (bird_runs || !it.bird);
        let permitted =
            |it: &&Wanted| !matches!(it.form, Form::Anything) && (bird_runs || !it.bird) && oracle.device_is_up(it);
        let chosen = match wanted.iter().find(here) {
            Some(it) => Some(it),
            None if chance(rng, 40) => wanted.iter().find(permitted),
            None => None,
        };
        if let Some(it) = chosen {
            routes.push(realise(&oracle, net, it, rng));
        }
    }
    routes.extend(redundant(&oracle, bird_runs, rng));
    let before: Vec<Route> = world.routes.values().filter(|it| it.table == TABLE_MAIN).cloned().collect();
    for route in routes {
        // A destination that is the host's own is the kernel's.
        if !before.iter().any(|it| it.destination == route.destination) {
            world.put_route(route);
        }
    }
    float(world, rng);
}

/// Routes that nobody asks for and that lead where their destination is: to other hosts' tunnels and pods, as some
/// versions of Felix and peers' BIRD leave them (J32).
fn redundant(oracle: &Oracle<'_>, bird_runs: bool, rng: &mut Rng) -> Vec<Route> {
    let world = oracle.world;
    let mut found = Vec::new();
    let blocks = world.blocks().filter_map(|block| Some((block.host()?, block)));
    let pods = blocks.filter_map(|(host, block)| {
        let (ordinal, _) = block.allocations().next()?;
        Some((host, address_at(&block.cidr, ordinal.into())?))
    });
    let tunnels = world.nodes().flat_map(|(name, node)| node.tunnels.values().map(move |it| (name, *it)));
    for (host, address) in tunnels.chain(pods).filter(|(host, _)| **host != world.me) {
        let (Some(node), net) = (world.node(host), host_net(address)) else { continue };
        let family = Family::of(address);
        let tunnel = node.tunnels.values().copied().find(|it| Family::of(*it) == family);
        let own = node.routing_address(family);
        let gateway = *pick(rng, &[own, own, tunnel, None]);
        let device = *pick(rng, &["eth0", "tunl0", "vxlan.calico", "vxlan-v6.calico"]);
        let protocol = if bird_runs && chance(rng, 50) { Protocol::BIRD } else { Protocol::FELIX };
        let made = route(net, RouteType::Unicast, protocol, vec![hop(device, gateway)]);
        let asked = oracle.wanted(&net).iter().any(|it| protocol == Protocol::BIRD || !it.only_bird);
        let is_there = world.link(device).is_some();
        if chance(rng, 40) && !asked && is_there && !oracle.is_own(address) && oracle.changes_nothing(&made) {
            found.push(made);
        }
    }
    found
}

/// Routes to floating addresses of pools, where Felix programs them.
fn float(world: &mut World, rng: &mut Rng) {
    let setting = super::setting::Setting::of(world);
    let mine = world.endpoints().filter(|it| it.node == world.me);
    let floating: Vec<(IpAddr, Name)> =
        mine.flat_map(|it| it.floating.iter().map(|at| (*at, it.interface.clone()))).collect();
    for (address, device) in floating {
        let net = host_net(address);
        let inside = world.pool_of(&net).is_some();
        let is_free = world.is_free(address) && world.endpoints_at(address).next().is_none();
        let may_be = setting.floating && setting.is_workload(&device) && is_free;
        let has_room = world.link(&device).is_some() && world.route(&net).is_none();
        if inside && may_be && has_room && chance(rng, 70) {
            world.put_route(route(net, RouteType::Unicast, setting.protocol, vec![hop(&device, None)]));
        }
    }
}

fn devices(world: &mut World, rng: &mut Rng) {
    let node = world.node(&world.me.clone()).unwrap().clone();
    let mut links = vec![
        link(1, "lo", None, vec!["127.0.0.1/8".parse().unwrap()]),
        link(2, "eth0", None, Family::ALL.iter().filter_map(|it| node.bgp_address(*it)).collect()),
        link(3, "eth1", None, vec!["192.168.9.1/24".parse().unwrap(), "fd99::1/64".parse().unwrap()]),
    ];
    links[1].addresses.push("fe80::1/64".parse().unwrap());
    for (index, (kind, address)) in node.tunnels.iter().enumerate() {
        let type_ = if *kind == TunnelKind::Ipip { "ipip" } else { "vxlan" };
        let mut addresses = vec![host_net(*address)];
        if *kind == TunnelKind::VxlanV6 {
            addresses.push("fe80::2/64".parse().unwrap());
        }
        links.push(link(10 + index as u32, kind.device(), Some(type_), addresses));
    }
    for (index, name) in [(20, "calistray"), (21, "tapstray"), (22, "bpfin.cali")] {
        links.push(link(index, name, Some("veth"), vec![]));
    }
    let mine = world.endpoints().filter(|it| it.node == world.me);
    for (index, endpoint) in mine.enumerate() {
        let mut veth = link(30 + index as u32, &endpoint.interface, Some("veth"), vec![]);
        veth.no_carrier = chance(rng, 8);
        if chance(rng, 95) {
            links.push(veth);
        }
    }
    world.links = links.into_iter().map(|it| (it.index, it)).collect();
    let eth0 = world.link("eth0").unwrap().clone();
    for net in &eth0.addresses {
        let mut own = route(host_net(net.addr()), RouteType::Local, Protocol::KERNEL, vec![hop("eth0", None)]);
        own.table = 255;
        world.put_route(own);
        world.put_route(route(net.trunc(), RouteType::Unicast, Protocol::KERNEL, vec![hop("eth0", None)]));
    }
    let default = vec![hop("eth0", Some("10.77.1.254".parse().unwrap()))];
    world.put_route(route("0.0.0.0/0".parse().unwrap(), RouteType::Unicast, Protocol::STATIC, default));
    let default = vec![hop("eth0", Some("fe80::fe".parse().unwrap()))];
    world.put_route(route("::/0".parse().unwrap(), RouteType::Unicast, Protocol::STATIC, default));
}

fn realise(oracle: &Oracle<'_>, net: IpNet, wanted: &Wanted, rng: &mut Rng) -> Route {
    let set = &oracle.setting;
    let felix = if set.protocol == Protocol::BOOT { Protocol::FELIX } else { set.protocol };
    let v6 = net.max_prefix_len() == 128;
    let stray = if set.is_workload("calistray") { "calistray" } else { "tapstray" };
    let (kind, device_route, hops) = match &wanted.form {
        Form::Anything => unreachable!("nobody knows what it looks like"),
        Form::Blackhole => (RouteType::Blackhole, false, if v6 { vec![hop("lo", None)] } else { vec![] }),
        Form::Workload(names) => {
            let device = names.iter().find(|it| oracle.world.link(it).is_some_and(|link| !link.no_carrier));
            (RouteType::Unicast, true, vec![hop(device.map_or(stray, |it| it), None)])
        }
        Form::Remote { device, gateway, wrap } => {
            let via = match gateway {
                Gateway::Exactly(at) => vec![hop(device, Some(*at))],
                Gateway::Absent => vec![hop(device, None)],
                Gateway::Resolved => resolved(oracle, &net, wanted, rng),
            };
            (RouteType::Unicast, *wrap == "vxlan", via)
        }
    };
    let protocol = match (wanted.bird, device_route) {
        (true, _) => Protocol::BIRD,
        (false, true) => set.protocol,
        (false, false) => felix,
    };
    let mut made = route(net, kind, protocol, hops);
    if v6 || (set.minor >= 32 && kind == RouteType::Unicast && (wanted.bird || device_route)) {
        made.metric = 1024;
    }
    made
}

/// Where a recursive next hop may end: the owner, a router, a link-local address, or several of them.
fn resolved(oracle: &Oracle<'_>, net: &IpNet, wanted: &Wanted, rng: &mut Rng) -> Vec<NextHop> {
    let family = Family::of_net(net);
    let node = wanted.host.as_ref().and_then(|it| oracle.world.node(it));
    let owner = node.and_then(|it| it.routing_address(family)).unwrap();
    let ways: [&[IpAddr]; 5] = match family {
        Family::V4 => [
            &[owner],
            &[owner],
            &["10.77.1.254".parse().unwrap()],
            &["192.168.9.254".parse().unwrap()],
            &["10.77.1.254".parse().unwrap(), "10.77.1.253".parse().unwrap()],
        ],
        Family::V6 => [
            &[owner],
            &[owner],
            &["fd77:1::fe".parse().unwrap()],
            &["fe80::fe".parse().unwrap()],
            &["fd77:1::fe".parse().unwrap(), "fe80::fe".parse().unwrap()],
        ],
    };
    let device = |it: &IpAddr| if it.to_string().starts_with("192.") { "eth1" } else { "eth0" };
    pick(rng, &ways).iter().map(|it| hop(device(it), Some(*it))).collect()
}
