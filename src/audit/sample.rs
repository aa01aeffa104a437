//! A small cluster to judge in tests: consistent as long as nobody breaks it on purpose.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::Finding;
use crate::model::{
    AllocationBlock, Attribute, AttributeKind, BlockOwner, Detail, EncapMode, EndpointId, Family, Handle, IpPool,
    Labels, Name, Node, TunnelKind, WorkloadEndpoint, ordinal_of,
};
use crate::state::{Datastore, Event, Object, ObjectId, Side, State, Unreadable};

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// What a rule finds after a change, each finding in the words of `line`. None may leave anything unsaid.
pub(crate) fn found(
    mut cluster: Cluster,
    change: impl FnOnce(&mut Cluster),
    judge: impl FnOnce(&Datastore) -> Vec<Finding>,
    line: impl Fn(&Finding) -> String,
) -> Vec<String> {
    change(&mut cluster);
    let findings = judge(&cluster.datastore());
    for it in &findings {
        assert!([&it.detail, &it.expected, &it.actual, &it.action].iter().all(|text| !text.is_empty()), "{it:?}");
    }
    findings.iter().map(line).collect()
}

/// Nothing known but the kind.
pub(crate) fn attribute(kind: AttributeKind, handle: Option<&str>) -> Attribute {
    Attribute { handle: handle.map(Name::from), ..Attribute::new(kind) }
}

/// The id of the container that has this name, in the form that runtimes give them.
pub(crate) fn container(name: &str) -> String {
    let digits: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{digits:0>64}")
}

/// The handle of a pod's allocation.
pub(crate) fn handle(name: &str) -> String {
    format!("k8s-pod-network.{}", container(name))
}

/// A pod's allocation.
pub(crate) fn pod(node: &str, name: &str) -> Attribute {
    Attribute {
        node: Some(node.into()),
        namespace: Some("default".into()),
        pod: Some(name.into()),
        ..attribute(AttributeKind::Workload, Some(&handle(name)))
    }
}

/// A machine's allocation; with a peer while it migrates.
pub(crate) fn machine(node: &str, name: &str, peer: Option<&str>) -> Attribute {
    Attribute {
        handle: Some(format!("k8s-pod-network.vmi.default.{name}").into()),
        kind: AttributeKind::VirtualMachine,
        peer_node: peer.map(Name::from),
        ..pod(node, name)
    }
}

/// A tunnel's allocation.
pub(crate) fn tunnel(node: &str, kind: TunnelKind) -> Attribute {
    let handle = format!("{}-{node}", kind.attribute());
    Attribute {
        node: Some(node.into()),
        kind_text: Some(kind.attribute().into()),
        ..attribute(AttributeKind::Tunnel, Some(&handle))
    }
}

/// A Service's allocation.
pub(crate) fn load_balancer() -> Attribute {
    Attribute {
        namespace: Some("default".into()),
        kind_text: Some("LoadBalancer".into()),
        ..attribute(AttributeKind::LoadBalancer, Some("lb-x7"))
    }
}

/// The endpoint of a pod, as the CNI plugin writes it.
pub(crate) fn endpoint(node: &str, name: &str, addresses: &[&str]) -> WorkloadEndpoint {
    WorkloadEndpoint {
        id: EndpointId::of_pod(node, "default", name),
        node: node.into(),
        pod: name.into(),
        container_id: container(name).into(),
        interface: format!("cali{name}").into(),
        addresses: addresses.iter().map(|address| ip(address)).collect(),
        floating: Vec::new(),
        openstack: false,
        labels: Labels::default(),
    }
}

/// A block under construction: who owns it, and who holds which ordinal; `None` is a bad index.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) owner: Option<BlockOwner>,
    pub(crate) held: BTreeMap<u32, Option<Attribute>>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Cluster {
    pub(crate) pools: BTreeMap<Name, IpPool>,
    pub(crate) nodes: BTreeMap<Name, Node>,
    pub(crate) blocks: BTreeMap<IpNet, Block>,
    pub(crate) endpoints: BTreeMap<EndpointId, WorkloadEndpoint>,
    pub(crate) handles: BTreeMap<Name, BTreeMap<IpNet, i64>>,
    pub(crate) unreadable: Vec<ObjectId>,
}

impl Cluster {
    /// Hosts h1 and h2 with a block of both families each, in pools with VXLAN; nothing is allocated.
    pub(crate) fn two_hosts() -> Cluster {
        let mut cluster = Cluster::default();
        cluster.pool("v4", "10.0.0.0/16");
        cluster.pool("v6", "fd00::/112");
        for host in ["h1", "h2"] {
            cluster.nodes.insert(host.into(), Node::default());
        }
        for (block, owner) in [
            ("10.0.0.0/26", "host:h1"),
            ("10.0.0.64/26", "host:h2"),
            ("fd00::/122", "host:h1"),
            ("fd00::40/122", "host:h2"),
        ] {
            cluster.block(block, owner);
        }
        cluster
    }

    pub(crate) fn pool(&mut self, name: &str, cidr: &str) -> &mut IpPool {
        let cidr = net(cidr);
        let pool = IpPool {
            name: name.into(),
            cidr,
            block_size: IpPool::default_block_size(Family::of_net(&cidr)),
            ipip: EncapMode::Never,
            vxlan: EncapMode::Always,
            disabled: false,
            disable_bgp_export: false,
            node_selector: "all()".to_owned(),
            load_balancer: false,
            manual: false,
        };
        self.pools.entry(name.into()).insert_entry(pool).into_mut()
    }

    pub(crate) fn block(&mut self, cidr: &str, owner: &str) {
        self.blocks.insert(net(cidr), Block { owner: BlockOwner::parse(owner), held: BTreeMap::new() });
    }

    /// Allocates an address in the smallest block around it, and counts it in its handle.
    pub(crate) fn allocate(&mut self, address: &str, attribute: Attribute) {
        let address = ip(address);
        let (cidr, block) = self
            .blocks
            .iter_mut()
            .filter(|(cidr, _)| cidr.contains(&address))
            .max_by_key(|(cidr, _)| cidr.prefix_len())
            .unwrap();
        if let Some(handle) = &attribute.handle
            && attribute.kind != AttributeKind::WindowsReserved
        {
            *self.handles.entry(handle.clone()).or_default().entry(*cidr).or_default() += 1;
        }
        block.held.insert(ordinal_of(cidr, address).unwrap() as u32, Some(attribute));
    }

    /// Who holds an address, to change it.
    pub(crate) fn held(&mut self, address: &str) -> &mut Option<Attribute> {
        let address = ip(address);
        let found = self.blocks.iter_mut().filter(|(cidr, _)| cidr.contains(&address));
        let (cidr, block) = found.max_by_key(|(cidr, _)| cidr.prefix_len()).unwrap();
        block.held.get_mut(&(ordinal_of(cidr, address).unwrap() as u32)).unwrap()
    }

    pub(crate) fn attribute(&mut self, address: &str) -> &mut Attribute {
        self.held(address).as_mut().unwrap()
    }

    /// A pod with its allocation and its endpoint.
    pub(crate) fn run(&mut self, node: &str, name: &str, address: &str) {
        self.allocate(address, pod(node, name));
        self.attach(endpoint(node, name, &[address]));
    }

    pub(crate) fn attach(&mut self, endpoint: WorkloadEndpoint) {
        self.unreadable.retain(|id| *id != ObjectId::Endpoint(endpoint.id.clone()));
        self.endpoints.insert(endpoint.id.clone(), endpoint);
    }

    pub(crate) fn endpoint(&mut self, node: &str, name: &str) -> &mut WorkloadEndpoint {
        self.endpoints.get_mut(&EndpointId::of_pod(node, "default", name)).unwrap()
    }

    pub(crate) fn tunnel(&mut self, node: &str, kind: TunnelKind, address: &str) {
        self.nodes.get_mut(node).unwrap().tunnels.insert(kind, ip(address));
    }

    /// A tunnel address with its allocation.
    pub(crate) fn give_tunnel(&mut self, node: &str, kind: TunnelKind, address: &str) {
        self.tunnel(node, kind, address);
        self.allocate(address, tunnel(node, kind));
    }

    pub(crate) fn datastore(&self) -> Datastore {
        self.state(true, &Detail::Full).datastore
    }

    /// Handles and endpoints left out, as the live exporter has it.
    pub(crate) fn watched(&self) -> Datastore {
        self.watched_in(&Detail::Full).datastore
    }

    /// The same, with no more of each block than `detail` asks for.
    pub(crate) fn watched_in(&self, detail: &Detail) -> State {
        self.state(false, detail)
    }

    /// A block in full.
    pub(crate) fn full_block(&self, cidr: &IpNet) -> Event {
        Event::Put(Box::new(Object::Block(build(*cidr, &self.blocks[cidr]))))
    }

    pub(crate) fn objects(&self) -> Vec<Handle> {
        let list = |blocks: &BTreeMap<IpNet, i64>| blocks.iter().map(|(cidr, count)| (*cidr, *count)).collect();
        self.handles.iter().map(|(id, blocks)| Handle { id: id.clone(), blocks: list(blocks) }).collect()
    }

    fn state(&self, whole: bool, detail: &Detail) -> State {
        let mut state = State::new(whole);
        let mut objects = Vec::new();
        objects.extend(self.pools.values().cloned().map(Object::Pool));
        objects.extend(self.nodes.iter().map(|(name, node)| Object::Node(name.clone(), node.clone())));
        objects.extend(self.blocks.iter().map(|(cidr, block)| {
            let mut block = build(*cidr, block);
            block.reduce(detail);
            Object::Block(block)
        }));
        if whole {
            objects.extend(self.endpoints.values().cloned().map(Object::Endpoint));
            objects.extend(self.objects().into_iter().map(Object::Handle));
        }
        let swept = |id: &ObjectId| matches!(id, ObjectId::Endpoint(_) | ObjectId::Handle(_));
        let unreadable = self.unreadable.iter().filter(|id| whole || !swept(id)).map(|id| Event::Unreadable {
            id: id.clone(),
            key: "/key".into(),
            why: Unreadable::Undecodable("not JSON".to_owned()),
        });
        state.apply(Event::Resync(Side::Datastore), Duration::ZERO);
        for event in objects.into_iter().map(|object| Event::Put(Box::new(object))).chain(unreadable) {
            state.apply(event, Duration::ZERO);
        }
        state.apply(Event::Synced(Side::Datastore), Duration::ZERO);
        state
    }
}

fn build(cidr: IpNet, block: &Block) -> AllocationBlock {
    let bad = |(_, attribute): &(&u32, &Option<Attribute>)| attribute.is_none();
    let attributes: Vec<Attribute> = block.held.values().flatten().cloned().collect();
    let mut next = 0;
    let mut following = |_: &Attribute| {
        next += 1;
        next - 1
    };
    let holders = block.held.values().map(|attribute| attribute.as_ref().map(&mut following)).collect();
    let mut built = AllocationBlock {
        owner: block.owner.clone(),
        allocated: block.held.keys().copied().collect(),
        holders,
        attributes_len: attributes.len(),
        attributes: attributes.into(),
        bad_indices: block.held.iter().filter(bad).map(|(ordinal, _)| (*ordinal, 99)).collect(),
        ..AllocationBlock::new(cidr)
    };
    built.allocations_len = built.size() as usize;
    built.unallocated = (0..built.size()).filter(|ordinal| !built.allocated.contains(*ordinal)).collect();
    built
}
