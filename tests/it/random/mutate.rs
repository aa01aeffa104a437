//! One thing that happens to a cluster or to a host's kernel.

use std::net::IpAddr;
use std::sync::Arc;

use calico_exporter::model::{
    AffinityState, AllocationBlock, Attribute, AttributeKind, BlockAffinity, BlockOwner, EncapMode, Family, Name, Node,
    Protocol, Route, RouteKey, RouteType, TABLE_MAIN, TunnelKind, address_at, host_net,
};
use calico_exporter::state::{Object, ObjectId};
use fastrand::Rng;
use ipnet::IpNet;

use super::build::{allocation_block, attribute, chance, endpoint, pick};
use super::kernel::{hop, route};
use super::world::World;

const DEVICES: [&str; 8] =
    ["eth0", "eth1", "tunl0", "vxlan.calico", "vxlan-v6.calico", "calistray", "tapstray", "bpfin.cali"];
const PROTOCOLS: [u8; 7] = [80, 12, 12, 3, 4, 2, 99];

/// Changes the world, and says how.
pub(super) fn mutate(world: &mut World, rng: &mut Rng) -> String {
    match rng.u32(0..22) {
        20 | 21 => add_redundant(world, rng),
        0..=6 => change_route(world, rng),
        7..=10 => add_route(world, rng),
        11 | 12 => change_link(world, rng),
        _ => change_object(world, rng),
    }
}

fn family(net: &IpNet) -> Family {
    Family::of_net(net)
}

fn some_gateway(world: &World, rng: &mut Rng, of: Family) -> IpAddr {
    let mut all: Vec<IpAddr> =
        world.nodes().flat_map(|(_, node)| node.own_addresses().chain(node.tunnels.values().copied())).collect();
    all.extend(["10.77.1.254", "192.168.9.7", "fd77:1::fe", "fe80::77"].map(|it| it.parse::<IpAddr>().unwrap()));
    all.retain(|it| Family::of(*it) == of);
    *pick(rng, &all)
}

/// A device that is there.
fn some_device(world: &World, rng: &mut Rng) -> Name {
    let there: Vec<&Name> = world.links.values().map(|it| &it.name).filter(|it| DEVICES.contains(&&***it)).collect();
    if there.is_empty() { "lo".into() } else { (*pick(rng, &there)).clone() }
}

fn change_route(world: &mut World, rng: &mut Rng) -> String {
    let of_calico = |it: &&Route| {
        it.table == TABLE_MAIN && (world.pool_of(&it.destination).is_some() || chance(&mut rng.clone(), 10))
    };
    let keys: Vec<RouteKey> = world.routes.values().filter(of_calico).map(Route::key).collect();
    if keys.is_empty() {
        return "nothing".to_owned();
    }
    let key = pick(rng, &keys).clone();
    let mut changed = world.routes.remove(&key).unwrap();
    let what = rng.u32(0..10);
    let mut on_hops = |rng: &mut Rng, kind: RouteType| {
        changed.kind = kind;
        if changed.next_hops.is_empty() {
            let gateway = Some(some_gateway(world, rng, family(&key.destination)));
            changed.next_hops = [hop("eth0", gateway)].into();
        }
    };
    match what {
        0..=2 => return format!("route {} removed", key.destination),
        3 => {
            on_hops(rng, RouteType::Unicast);
            let gateway = chance(rng, 85).then(|| some_gateway(world, rng, family(&key.destination)));
            Arc::make_mut(&mut changed.next_hops)[0].gateway = gateway;
        }
        4 => {
            on_hops(rng, RouteType::Unicast);
            Arc::make_mut(&mut changed.next_hops)[0].device = Some(some_device(world, rng));
        }
        5 => {
            let kinds = [
                RouteType::Blackhole,
                RouteType::Unreachable,
                RouteType::Prohibit,
                RouteType::Throw,
                RouteType::Unicast,
            ];
            let kind = *pick(rng, &kinds);
            if kind == RouteType::Unicast {
                on_hops(rng, kind);
            } else {
                changed.kind = kind;
                let lo = (family(&key.destination) == Family::V6).then(|| hop("lo", None));
                changed.next_hops = lo.into_iter().collect();
            }
        }
        6 => Arc::make_mut(&mut changed.next_hops).iter_mut().for_each(|it| it.down = true),
        7 => {
            on_hops(rng, RouteType::Unicast);
            let gateway = Some(some_gateway(world, rng, family(&key.destination)));
            let device = if chance(rng, 50) { "eth0".into() } else { some_device(world, rng) };
            let mut second = changed.next_hops[0].clone();
            (second.gateway, second.device) = (gateway, Some(device));
            changed.next_hops = changed.next_hops.iter().cloned().chain([second]).collect();
        }
        8 => changed.metric += 7,
        _ => changed.protocol = Protocol(*pick(rng, &PROTOCOLS)),
    }
    let told = format!("route {} changed ({what})", key.destination);
    world.put_route(changed);
    told
}

fn some_destination(world: &World, rng: &mut Rng) -> IpNet {
    let blocks: Vec<IpNet> = world.blocks().map(|it| it.cidr).collect();
    let pools: Vec<IpNet> = world.pools().map(|it| it.cidr).collect();
    let vteps: Vec<IpAddr> = world.nodes().flat_map(|(_, it)| it.tunnels.values().copied()).collect();
    let own: Vec<IpAddr> = world.nodes().flat_map(|(_, it)| it.own_addresses()).collect();
    let used: Vec<IpAddr> = world.endpoints().flat_map(|it| it.addresses.iter().chain(&it.floating)).copied().collect();
    let inside = |rng: &mut Rng, net: &IpNet| {
        let bits = u32::from(net.max_prefix_len() - net.prefix_len()).min(10);
        address_at(net, rng.u64(0..1 << bits)).unwrap()
    };
    match rng.u32(0..12) {
        0 if !blocks.is_empty() => *pick(rng, &blocks),
        1 | 2 if !blocks.is_empty() => {
            let block = *pick(rng, &blocks);
            host_net(inside(rng, &block))
        }
        3 if !blocks.is_empty() => {
            let block = *pick(rng, &blocks);
            IpNet::new(block.addr(), (block.prefix_len() + 2).min(block.max_prefix_len())).unwrap().trunc()
        }
        4 | 5 if !pools.is_empty() => {
            let pool = *pick(rng, &pools);
            let length = (pool.prefix_len() + rng.u8(0..=8)).min(pool.max_prefix_len());
            IpNet::new(inside(rng, &pool), length).unwrap().trunc()
        }
        6 if !vteps.is_empty() => host_net(*pick(rng, &vteps)),
        7 if !own.is_empty() => host_net(*pick(rng, &own)),
        8 | 9 if !used.is_empty() => host_net(*pick(rng, &used)),
        10 => pick(rng, &["0.0.0.0/0", "10.0.0.0/8", "10.200.0.0/16", "::/0", "fd00:200::/32"]).parse().unwrap(),
        _ => pick(rng, &["172.31.0.0/28", "172.31.1.7/32", "169.254.1.1/32", "fe80::9/128", "fd05::/124"])
            .parse()
            .unwrap(),
    }
}

fn add_route(world: &mut World, rng: &mut Rng) -> String {
    let net = some_destination(world, rng);
    let kinds =
        [RouteType::Unicast, RouteType::Unicast, RouteType::Unicast, RouteType::Blackhole, RouteType::Unreachable];
    let kind = *pick(rng, &kinds);
    let gateway = chance(rng, 60).then(|| some_gateway(world, rng, family(&net)));
    let device = &some_device(world, rng);
    let hops = match kind {
        RouteType::Unicast => vec![hop(device, gateway)],
        _ if family(&net) == Family::V6 => vec![hop("lo", None)],
        _ => vec![],
    };
    let mut made = route(net, kind, Protocol(*pick(rng, &PROTOCOLS)), hops);
    made.metric = *pick(rng, &[0, 1024, 2_147_483_547]);
    let told = format!("route added {made:?}");
    world.put_route(made);
    told
}

/// A route to something of another host by one of that host's addresses: it changes nothing, or nearly so.
fn add_redundant(world: &mut World, rng: &mut Rng) -> String {
    let owned = world.blocks().filter_map(|it| Some((it.cidr, it.host()?.clone())));
    let blocks: Vec<(IpNet, Name)> = owned.filter(|(_, host)| *host != world.me).collect();
    if blocks.is_empty() {
        return "nothing".to_owned();
    }
    let (cidr, owner) = pick(rng, &blocks).clone();
    let names: Vec<Name> = world.nodes().map(|(name, _)| name.clone()).collect();
    let host = if chance(rng, 75) || names.is_empty() { owner } else { pick(rng, &names).clone() };
    let size = 1u64 << (cidr.max_prefix_len() - cidr.prefix_len());
    let node = world.node(&host).cloned().unwrap_or_default();
    let tunnels: Vec<IpAddr> = node.tunnels.values().copied().filter(|it| Family::of(*it) == family(&cidr)).collect();
    let address = match rng.u32(0..4) {
        0 if !tunnels.is_empty() => *pick(rng, &tunnels),
        _ => address_at(&cidr, rng.u64(0..size)).unwrap(),
    };
    let longest = cidr.max_prefix_len();
    let length = if chance(rng, 80) { longest } else { (cidr.prefix_len() + 1).min(longest) };
    let net = IpNet::new(address, length).unwrap().trunc();
    let mut gateways = tunnels;
    gateways.extend(node.routing_address(family(&cidr)));
    let gateway = if gateways.is_empty() || chance(rng, 15) { None } else { Some(*pick(rng, &gateways)) };
    let device = if chance(rng, 40) { "eth0".into() } else { some_device(world, rng) };
    let mut hops = vec![hop(&device, gateway)];
    if chance(rng, 10) {
        hops.push(hop("eth0", Some(some_gateway(world, rng, family(&cidr)))));
    }
    let made = route(net, RouteType::Unicast, Protocol(*pick(rng, &[80, 12])), hops);
    let told = format!("route added {made:?}");
    world.put_route(made);
    told
}

fn change_link(world: &mut World, rng: &mut Rng) -> String {
    let indices: Vec<u32> = world.links.keys().copied().filter(|it| *it > 1).collect();
    let index = *pick(rng, &indices);
    let link = world.links.get_mut(&index).unwrap();
    let told = format!("link {} changed", link.name);
    match rng.u32(0..6) {
        0 => link.admin_up = !link.admin_up,
        1 => link.no_carrier = !link.no_carrier,
        2 => {
            // Its routes go with it.
            let gone = world.links.remove(&index).unwrap().name;
            world.routes.retain(|_, it| it.next_hops.iter().all(|hop| hop.device.as_ref() != Some(&gone)));
        }
        3 => link.addresses.clear(),
        4 => link.addresses.push("10.99.9.9/32".parse().unwrap()),
        _ => {
            let other = |it: &IpNet| IpNet::new(it.addr(), it.prefix_len() - 4).unwrap();
            link.addresses = link.addresses.iter().map(other).collect();
        }
    }
    told
}

fn change_object(world: &mut World, rng: &mut Rng) -> String {
    let ids: Vec<ObjectId> = world.objects.keys().cloned().collect();
    let routed =
        |it: &&ObjectId| !matches!(it, ObjectId::Handle(_) | ObjectId::BgpPeer(_) | ObjectId::BgpConfiguration(_));
    let ids: Vec<&ObjectId> = ids.iter().filter(routed).collect();
    let id = (*pick(rng, &ids)).clone();
    let hosts: Vec<Name> = ["n1", "n2", "n3", "n4", "gone"].map(Name::from).to_vec();
    let host = pick(rng, &hosts).clone();
    let told = format!("{id:?} changed");
    if chance(rng, 12) {
        world.objects.remove(&id);
        return format!("{id:?} deleted");
    }
    if chance(rng, 12)
        && !matches!(id, ObjectId::Cluster | ObjectId::Endpoint(_))
        && id != ObjectId::Felix("scoped".into())
    {
        world.objects.insert(id.clone(), None);
        return format!("{id:?} unreadable");
    }
    match world.objects.get(&id).cloned().flatten() {
        Some(Object::Block(block)) => change_block(world, rng, block, host),
        Some(Object::Affinity(key)) => {
            let states = [AffinityState::Confirmed, AffinityState::Pending, AffinityState::PendingDeletion];
            let owner = if chance(rng, 40) { BlockOwner::Host(host) } else { key.owner };
            world.put(Object::Affinity(BlockAffinity { owner, cidr: key.cidr, state: *pick(rng, &states) }));
        }
        Some(Object::Node(name, mut node)) => {
            change_node(&mut node, rng);
            world.put(Object::Node(name, node));
        }
        Some(Object::Pool(mut pool)) => {
            let modes = [EncapMode::Never, EncapMode::Always, EncapMode::CrossSubnet];
            match rng.u32(0..5) {
                4 => pool.block_size = (pool.block_size + rng.u8(0..=2)).min(pool.cidr.max_prefix_len()) - 1,
                0 => pool.vxlan = *pick(rng, &modes),
                1 if pool.family() == Family::V4 => pool.ipip = *pick(rng, &modes),
                2 => pool.disable_bgp_export = !pool.disable_bgp_export,
                _ => pool.disabled = !pool.disabled,
            }
            world.put(Object::Pool(pool));
        }
        Some(Object::Endpoint(mut it)) => {
            match rng.u32(0..4) {
                0 => it.node = host,
                1 => it.interface = "tapstray".into(),
                2 => it.addresses = vec!["10.200.0.77".parse().unwrap()],
                _ => it.floating.push(pick(rng, &["192.0.2.200", "10.200.0.250"]).parse().unwrap()),
            }
            world.put(Object::Endpoint(it));
        }
        Some(Object::Cluster(mut it)) => {
            it.cluster_type = pick(rng, &["k8s,bgp", "k8s"]).to_string();
            it.calico_version = format!("v3.{}.0", rng.u32(29..=33));
            world.put(Object::Cluster(it));
        }
        Some(Object::Felix(name, mut it)) => {
            it.floating_ips = *pick(rng, &[None, Some(true)]);
            it.route_sync_disabled = *pick(rng, &[None, Some(true), Some(false)]);
            it.device_route_protocol = *pick(rng, &[None, Some(99)]);
            world.put(Object::Felix(name, it));
        }
        _ => {
            // Something new: an endpoint anywhere.
            let net = some_destination(world, rng);
            if net.prefix_len() == net.max_prefix_len() && net.addr().to_string().contains("200") {
                world.put(Object::Endpoint(endpoint(&host, "late", net.addr(), vec![])));
            }
        }
    }
    told
}

fn change_block(world: &mut World, rng: &mut Rng, block: AllocationBlock, host: Name) {
    let of = |(at, it): (u32, Option<&Attribute>)| Some((at, it?.clone()));
    let mut held = block.allocations().filter_map(of).collect::<std::collections::BTreeMap<_, _>>();
    let mut owner = block.owner.clone();
    match rng.u32(0..5) {
        0 => owner = None,
        1 => owner = Some(BlockOwner::Host(host)),
        2 => {
            let at: Vec<u32> = held.keys().copied().collect();
            if !at.is_empty() {
                held.remove(pick(rng, &at));
            }
        }
        3 => {
            let at: Vec<u32> = held.keys().copied().collect();
            if !at.is_empty()
                && let Some(it) = held.get_mut(pick(rng, &at))
            {
                it.node = chance(rng, 80).then_some(host);
            }
        }
        _ => {
            let at = rng.u32(0..block.size());
            let kinds =
                [AttributeKind::Workload, AttributeKind::Tunnel, AttributeKind::LoadBalancer, AttributeKind::Cooldown];
            let kind = *pick(rng, &kinds);
            let node = (kind != AttributeKind::Cooldown).then_some(&host);
            let mut new = attribute(kind, None, node);
            let rested = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
            new.released_at = (kind == AttributeKind::Cooldown).then_some(rested);
            new.kind_text = match kind {
                AttributeKind::Tunnel => Some(TunnelKind::VxlanV4.attribute().into()),
                AttributeKind::LoadBalancer => Some("loadbalancer".into()),
                _ => None,
            };
            held.insert(at, new);
            let address = address_at(&block.cidr, at.into()).unwrap();
            if kind == AttributeKind::Workload && chance(rng, 60) {
                world.put(Object::Endpoint(endpoint(&host, &format!("new-{at}"), address, vec![])));
            }
        }
    }
    world.put(Object::Block(allocation_block(block.cidr, owner, &held)));
}

fn change_node(node: &mut Node, rng: &mut Rng) {
    match rng.u32(0..5) {
        0 => node.tunnels.clear(),
        1 => {
            if let Some(bgp) = &mut node.bgp {
                bgp.ipv6 = None;
            }
        }
        2 => {
            if let Some(net) = node.bgp.as_mut().and_then(|it| it.ipv4.as_mut()) {
                *net = IpNet::new(net.addr(), 8).unwrap();
            }
        }
        3 => {
            node.tunnels.insert(TunnelKind::VxlanV4, "10.200.0.19".parse().unwrap());
        }
        _ => {
            if let Some(net) = node.bgp.as_mut().and_then(|it| it.ipv4.as_mut()) {
                *net = "10.77.1.77/24".parse().unwrap();
            }
        }
    }
}
