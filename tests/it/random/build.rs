//! A consistent cluster: what IPAM, `allocateip`, CNI and an operator would have written.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use calico_exporter::audit::Backend;
use calico_exporter::model::{
    AffinityState, AllocationBlock, Attribute, AttributeKind, BlockAffinity, BlockOwner, EncapMode, EndpointId, Family,
    Handle, IpPool, Labels, Name, Node, NodeAddress, NodeAddressType, NodeBgp, PoolClass, TunnelKind, WorkloadEndpoint,
    address_at,
};
use calico_exporter::state::{Object, ObjectId};
use fastrand::Rng;
use ipnet::IpNet;

use super::world::{Topology, World};
use crate::support::custom::device;

pub(super) fn chance(rng: &mut Rng, percent: u32) -> bool {
    rng.u32(0..100) < percent
}

pub(super) fn pick<'a, T>(rng: &mut Rng, from: &'a [T]) -> &'a T {
    &from[rng.usize(0..from.len())]
}

/// A block while it is filled.
struct Draft {
    owner: Option<BlockOwner>,
    held: BTreeMap<u32, Attribute>,
}

/// A cluster while it is built.
pub(super) struct Builder {
    pub(super) rng: Rng,
    families: Vec<Family>,
    hosts: Vec<Name>,
    pub(super) nodes: BTreeMap<Name, Node>,
    pools: Vec<IpPool>,
    blocks: BTreeMap<IpNet, Draft>,
    next_block: BTreeMap<Name, u32>,
    endpoints: Vec<WorkloadEndpoint>,
    pods: u32,
}

pub(super) fn attribute(kind: AttributeKind, handle: Option<String>, node: Option<&Name>) -> Attribute {
    Attribute { handle: handle.map(Name::from), node: node.cloned(), ..Attribute::new(kind) }
}

pub(super) fn allocation_block(
    cidr: IpNet,
    owner: Option<BlockOwner>,
    held: &BTreeMap<u32, Attribute>,
) -> AllocationBlock {
    let size = 1u32 << (cidr.max_prefix_len() - cidr.prefix_len());
    AllocationBlock {
        owner,
        allocations_len: size as usize,
        allocated: held.keys().copied().collect(),
        unallocated: (0..size).filter(|it| !held.contains_key(it)).collect(),
        holders: (0..held.len()).map(|index| Some(index as u32)).collect(),
        attributes: held.values().cloned().collect(),
        attributes_len: held.len(),
        ..AllocationBlock::new(cidr)
    }
}

impl Builder {
    pub(super) fn cluster(seed: u64) -> World {
        let mut rng = Rng::with_seed(seed);
        let families = match rng.u32(0..6) {
            0 => vec![Family::V6],
            1 | 2 => vec![Family::V4, Family::V6],
            _ => vec![Family::V4],
        };
        let hosts: Vec<Name> = (1..=rng.u32(3..=5)).map(|it| format!("n{it}").into()).collect();
        let mut builder = Builder {
            rng,
            families,
            hosts,
            nodes: BTreeMap::new(),
            pools: Vec::new(),
            blocks: BTreeMap::new(),
            next_block: BTreeMap::new(),
            endpoints: Vec::new(),
            pods: 0,
        };
        builder.make_pools();
        builder.make_nodes();
        builder.make_blocks();
        builder.make_tunnels();
        builder.make_pods();
        builder.make_machines();
        builder.finish()
    }

    fn make_pools(&mut self) {
        use EncapMode::{Always, CrossSubnet, Never};
        for family in self.families.clone() {
            for index in 0..self.rng.u8(1..=4) {
                let modes: &[(EncapMode, EncapMode)] = match family {
                    Family::V4 => {
                        &[(Never, Never), (Always, Never), (CrossSubnet, Never), (Never, Always), (Never, CrossSubnet)]
                    }
                    Family::V6 => &[(Never, Never), (Never, Always), (Never, CrossSubnet)],
                };
                let (ipip, vxlan) = *pick(&mut self.rng, modes);
                let single = chance(&mut self.rng, 15);
                let (cidr, block_size) = match family {
                    Family::V4 => (format!("10.200.{index}.0/24"), if single { 32 } else { 28 }),
                    Family::V6 => (format!("fd00:200:{index}::/112"), if single { 128 } else { 124 }),
                };
                let pool = IpPool {
                    name: format!("p{family:?}{index}").to_lowercase().into(),
                    cidr: cidr.parse().unwrap(),
                    block_size,
                    ipip,
                    vxlan,
                    disabled: chance(&mut self.rng, 10),
                    disable_bgp_export: chance(&mut self.rng, 15),
                    node_selector: "all()".to_owned(),
                    load_balancer: false,
                    manual: false,
                };
                if chance(&mut self.rng, 15) && family == Family::V4 {
                    // The half of it is a pool of its own, with another mode.
                    let (ipip, vxlan) = *pick(&mut self.rng, modes);
                    let cidr = format!("10.200.{index}.128/25").parse().unwrap();
                    let name = format!("inner{index}").into();
                    self.pools.push(IpPool { name, cidr, ipip, vxlan, ..pool.clone() });
                }
                self.pools.push(pool);
            }
        }
        if chance(&mut self.rng, 20) && self.families.contains(&Family::V4) {
            let cidr = "203.0.113.0/24".parse().unwrap();
            let base = IpPool { name: "services".into(), cidr, block_size: 30, ..self.pools[0].clone() };
            self.pools.push(IpPool { load_balancer: true, ipip: Never, vxlan: Never, ..base });
        }
    }

    fn make_nodes(&mut self) {
        let racks = self.rng.u8(1..=2);
        for (index, host) in self.hosts.clone().into_iter().enumerate() {
            let rack = index as u8 % racks + 1;
            let odd = index > 0 && chance(&mut self.rng, 25);
            let shape = self.rng.u32(0..4);
            let ipv4 =
                self.families.contains(&Family::V4).then(|| format!("10.77.{rack}.{}/24", index + 1).parse().unwrap());
            let ipv6 =
                self.families.contains(&Family::V6).then(|| format!("fd77:{rack}::{}/64", index + 1).parse().unwrap());
            let mut node = Node {
                name: Some(host.clone()),
                bgp: Some(NodeBgp { ipv4, ipv6, ..NodeBgp::default() }),
                ..Node::default()
            };
            match shape {
                0 if odd => node.bgp = None,
                1 if odd => {
                    node.bgp = None;
                    let address = ipv4.or(ipv6).unwrap();
                    let internal =
                        NodeAddress { kind: NodeAddressType::Internal, address: IpNet::from(address.addr()) };
                    node.addresses = std::mem::take(&mut node.addresses).into_iter().chain([internal]).collect();
                }
                2 if (odd || (index == 0 && chance(&mut self.rng, 50))) && self.families.len() == 2 => {
                    node.bgp.as_mut().unwrap().ipv6 = None
                }
                _ => {}
            }
            self.nodes.insert(host, node);
        }
    }

    /// Claims the next block of a pool.
    fn claim(&mut self, pool: &IpPool, owner: Option<BlockOwner>) -> Option<IpNet> {
        let next = self.next_block.entry(pool.name.clone()).or_default();
        let shift = pool.cidr.max_prefix_len() - pool.block_size;
        let first = address_at(&pool.cidr, u64::from(*next) << shift)?;
        *next += 1;
        let cidr = IpNet::new(first, pool.block_size).unwrap();
        let inner =
            self.pools.iter().any(|it| it.name != pool.name && pool.cidr.contains(&it.cidr) && it.cidr.contains(&cidr));
        if inner || *next > 12 {
            return None;
        }
        self.blocks.insert(cidr, Draft { owner, held: BTreeMap::new() });
        Some(cidr)
    }

    fn make_blocks(&mut self) {
        for pool in self.pools.clone() {
            if pool.load_balancer {
                let lb = Some(BlockOwner::Virtual("load-balancer".into()));
                let cidr = self.claim(&pool, lb).unwrap();
                let mut service = attribute(AttributeKind::LoadBalancer, Some("lb-abc".to_owned()), None);
                service.kind_text = Some("LoadBalancer".into());
                service.namespace = Some("default".into());
                self.blocks.get_mut(&cidr).unwrap().held.insert(0, service);
                continue;
            }
            for host in self.hosts.clone() {
                for _ in 0..self.rng.u32(0..=2) {
                    self.claim(&pool, Some(BlockOwner::Host(host.clone())));
                }
            }
            if chance(&mut self.rng, 20)
                && let Some(cidr) = self.claim(&pool, None)
            {
                let host = pick(&mut self.rng, &self.hosts).clone();
                self.run(cidr, &host);
            }
        }
    }

    fn free(&mut self, cidr: IpNet) -> Option<u32> {
        let size = 1u32 << (cidr.max_prefix_len() - cidr.prefix_len());
        let held = &self.blocks[&cidr].held;
        let free: Vec<u32> = (0..size).filter(|it| !held.contains_key(it)).collect();
        (!free.is_empty()).then(|| *pick(&mut self.rng, &free))
    }

    /// Starts a pod with an address of the block.
    fn run(&mut self, cidr: IpNet, host: &Name) {
        let Some(ordinal) = self.free(cidr) else { return };
        self.pods += 1;
        let pod = format!("pod-{}", self.pods);
        let handle = Some(format!("k8s-pod-network.c{pod}"));
        let mut held = attribute(AttributeKind::Workload, handle, Some(host));
        held.namespace = Some("default".into());
        held.pod = Some(pod.as_str().into());
        self.blocks.get_mut(&cidr).unwrap().held.insert(ordinal, held);
        self.attach(host, &pod, address_at(&cidr, ordinal.into()).unwrap());
    }

    fn attach(&mut self, host: &Name, pod: &str, address: IpAddr) {
        let outside = format!("192.0.2.{}", self.pods).parse().unwrap();
        let inside = format!("10.200.0.{}", 200 + self.pods % 30).parse().unwrap();
        let floating = match self.rng.u32(0..20) {
            0 => vec![outside],
            1 if self.families.contains(&Family::V4) => vec![inside],
            _ => vec![],
        };
        self.endpoints.push(endpoint(host, pod, address, floating));
    }

    fn make_tunnels(&mut self) {
        let kinds = [TunnelKind::Ipip, TunnelKind::VxlanV4, TunnelKind::VxlanV6];
        for host in self.hosts.clone() {
            for kind in kinds {
                let (class, family) = match kind {
                    TunnelKind::Ipip => (PoolClass::Ipip, Family::V4),
                    TunnelKind::VxlanV4 => (PoolClass::Vxlan, Family::V4),
                    _ => (PoolClass::Vxlan, Family::V6),
                };
                let pools: Vec<IpPool> =
                    self.pools.iter().filter(|it| it.class() == class && it.family() == family).cloned().collect();
                let here = *host == *"n1" && self.nodes[&host].bgp_address(family).is_none();
                if pools.is_empty() || here || (*host != *"n1" && chance(&mut self.rng, 10)) {
                    continue;
                }
                let pool = pick(&mut self.rng, &pools).clone();
                if kind == TunnelKind::VxlanV4 && *host != *"n1" && chance(&mut self.rng, 15) {
                    self.make_windows(&host, &pool);
                    continue;
                }
                let borrow = chance(&mut self.rng, 20);
                let owner = BlockOwner::Host(host.clone());
                let there: Vec<IpNet> = (self.blocks.iter())
                    .filter(|(cidr, it)| pool.cidr.contains(*cidr) && (borrow || it.owner.as_ref() == Some(&owner)))
                    .map(|(cidr, _)| *cidr)
                    .collect();
                let block = there.into_iter().find(|cidr| self.free(*cidr).is_some());
                let Some(cidr) = block.or_else(|| self.claim(&pool, Some(owner))) else { continue };
                let Some(ordinal) = self.free(cidr) else { continue };
                let prefix = match kind {
                    TunnelKind::Ipip => "ipip",
                    TunnelKind::VxlanV4 => "vxlan",
                    _ => "vxlan-v6",
                };
                let mut held =
                    attribute(AttributeKind::Tunnel, Some(format!("{prefix}-tunnel-addr-{host}")), Some(&host));
                held.kind_text = Some(kind.attribute().into());
                self.blocks.get_mut(&cidr).unwrap().held.insert(ordinal, held);
                let address = address_at(&cidr, ordinal.into()).unwrap();
                self.nodes.get_mut(&host).unwrap().tunnels.insert(kind, address);
                if self.nodes[&host].bgp.is_none() && kind == TunnelKind::Ipip {
                    // It is stored in `spec.bgp`.
                    self.nodes.get_mut(&host).unwrap().bgp = Some(NodeBgp::default());
                }
            }
        }
    }

    /// A Windows host keeps the first three addresses of its block back and the last; its tunnel has the second.
    fn make_windows(&mut self, host: &Name, pool: &IpPool) {
        let Some(cidr) = self.claim(pool, Some(BlockOwner::Host(host.clone()))) else { return };
        let size = 1u32 << (cidr.max_prefix_len() - cidr.prefix_len());
        if size < 8 {
            return;
        }
        for ordinal in [0, 1, 2, size - 1] {
            let held = attribute(AttributeKind::WindowsReserved, Some("windows-reserved-ipam-handle".to_owned()), None);
            self.blocks.get_mut(&cidr).unwrap().held.insert(ordinal, held);
        }
        self.nodes.get_mut(host).unwrap().tunnels.insert(TunnelKind::VxlanV4, address_at(&cidr, 1).unwrap());
    }

    /// Machines whose addresses Neutron gave out, in a pool and in no block.
    fn make_machines(&mut self) {
        for pool in self.pools.clone().into_iter().filter(|pool| !pool.load_balancer && pool.block_size == 28) {
            if !chance(&mut self.rng, 10) {
                continue;
            }
            for number in 240..242 {
                let host = pick(&mut self.rng, &self.hosts).clone();
                let Some(address) = address_at(&pool.cidr, number).filter(|it| pool.cidr.contains(it)) else {
                    continue;
                };
                if self.blocks.keys().any(|cidr| cidr.contains(&address)) {
                    continue;
                }
                self.pods += 1;
                let mut machine = endpoint(&host, &format!("vm-{}", self.pods), address, vec![]);
                machine.openstack = true;
                self.endpoints.push(machine);
            }
        }
    }

    fn make_pods(&mut self) {
        for cidr in self.blocks.keys().copied().collect::<Vec<_>>() {
            let Some(BlockOwner::Host(owner)) = self.blocks[&cidr].owner.clone() else { continue };
            for _ in 0..self.rng.u32(0..=2) {
                let other = pick(&mut self.rng, &self.hosts).clone();
                let host = if chance(&mut self.rng, 25) { other } else { owner.clone() };
                self.run(cidr, &host);
            }
            let Some(ordinal) = self.free(cidr).filter(|_| chance(&mut self.rng, 10)) else { continue };
            let mut held = attribute(AttributeKind::Cooldown, None, None);
            held.released_at = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
            if chance(&mut self.rng, 50) {
                self.pods += 1;
                let peer = pick(&mut self.rng, &self.hosts).clone();
                let handle = Some(format!("k8s-pod-network.vmi.vms.m{}", self.pods));
                held = attribute(AttributeKind::VirtualMachine, handle, Some(&owner));
                held.namespace = Some("vms".into());
                let address = address_at(&cidr, ordinal.into()).unwrap();
                self.attach(&owner.clone(), &format!("launcher-{}", self.pods), address);
                if peer != owner && chance(&mut self.rng, 60) {
                    held.peer_node = Some(peer.clone());
                    self.attach(&peer, &format!("target-{}", self.pods), address);
                }
            } else if chance(&mut self.rng, 40) {
                held = attribute(AttributeKind::WindowsReserved, Some("windows-reserved-ipam-handle".to_owned()), None);
            }
            self.blocks.get_mut(&cidr).unwrap().held.insert(ordinal, held);
        }
    }

    fn finish(mut self) -> World {
        let topologies = [
            Topology::Mesh,
            Topology::Mesh,
            Topology::MeshOfTwoAs,
            Topology::Reflectors,
            Topology::Outside,
            Topology::Nothing,
        ];
        let topology = *pick(&mut self.rng, &topologies);
        let backend =
            *pick(&mut self.rng, &[Backend::Auto, Backend::Auto, Backend::Bird, Backend::None, Backend::Vxlan]);
        let mut world = World {
            me: "n1".into(),
            backend,
            topology,
            objects: BTreeMap::new(),
            links: BTreeMap::new(),
            routes: BTreeMap::new(),
        };
        self.speak(topology, &mut world);
        if self.endpoints.iter().any(|it| it.openstack)
            && let Some(Some(Object::Cluster(cluster))) = world.objects.get_mut(&ObjectId::Cluster)
        {
            cluster.cluster_type += ",openstack";
        }
        let mut handles: BTreeMap<Name, BTreeMap<IpNet, i64>> = BTreeMap::new();
        for (cidr, draft) in &self.blocks {
            for held in draft.held.values() {
                if let Some(handle) = held.handle.clone().filter(|_| held.kind != AttributeKind::WindowsReserved) {
                    *handles.entry(handle).or_default().entry(*cidr).or_default() += 1;
                }
            }
            if let Some(owner) = draft.owner.clone() {
                let state = AffinityState::Confirmed;
                world.put(Object::Affinity(BlockAffinity { owner, cidr: *cidr, state }));
            }
            world.put(Object::Block(allocation_block(*cidr, draft.owner.clone(), &draft.held)));
        }
        for (id, blocks) in handles {
            world.put(Object::Handle(Handle { id, blocks: blocks.into_iter().collect() }));
        }
        self.nodes.iter().for_each(|(name, node)| world.put(Object::Node(name.clone(), node.clone())));
        self.pools.iter().for_each(|pool| world.put(Object::Pool(pool.clone())));
        self.endpoints.iter().for_each(|it| world.put(Object::Endpoint(it.clone())));
        world
    }
}

pub(super) fn endpoint(host: &Name, pod: &str, address: IpAddr, floating: Vec<IpAddr>) -> WorkloadEndpoint {
    WorkloadEndpoint {
        id: EndpointId::of_pod(host, "default", pod),
        node: host.clone(),
        pod: pod.into(),
        container_id: format!("c{pod}").into(),
        interface: device("default", pod).into(),
        addresses: vec![address],
        floating,
        openstack: false,
        labels: Labels::default(),
    }
}
