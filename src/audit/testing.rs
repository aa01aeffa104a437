//! Small clusters for tests of rules: datastores made by the events that a source would send.

#![allow(dead_code, reason = "general on purpose: each rule's tests use a part of it")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;

use super::{Finding, Now};
use crate::model::{
    AffinityState, AllocationBlock, Attribute, AttributeKind, BlockAffinity, BlockOwner, EncapMode, EndpointId, Family,
    IpPool, IpReservation, IpamConfig, Labels, Name, Node, NodeBgp, OrdinalSet, SequenceDefect, TunnelKind,
    WorkloadEndpoint,
};
use crate::state::{Changes, Datastore, Event, Object, ObjectId, Side, State, Unreadable};

/// Reads a prefix.
pub(crate) fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// Reads an address.
pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A moment so many seconds after the start.
pub(crate) fn at(seconds: u64) -> Now {
    let monotonic = Duration::from_secs(seconds);
    Now { monotonic, wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + monotonic }
}

/// What rules' findings come down to: metric, first label and subject, sorted as they come.
pub(crate) fn keys(findings: &[Finding]) -> Vec<(&'static str, String, String)> {
    let label = |finding: &Finding| finding.fault.values()[0].to_owned();
    findings.iter().map(|finding| (finding.metric().as_str(), label(finding), finding.subject.clone())).collect()
}

/// A cluster under construction, and a clock that stands still until it is moved.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    pub(crate) state: State,
    pub(crate) seconds: u64,
}

impl Cluster {
    /// An empty datastore whose lists name endpoints and handles.
    pub(crate) fn new() -> Cluster {
        Cluster { state: State::new(true), seconds: 0 }
    }

    pub(crate) fn datastore(&self) -> &Datastore {
        &self.state.datastore
    }

    pub(crate) fn now(&self) -> Now {
        at(self.seconds)
    }

    pub(crate) fn changes(&mut self) -> Changes {
        self.state.take_changes()
    }

    pub(crate) fn event(&mut self, event: Event) -> &mut Cluster {
        self.state.apply(event, Duration::from_secs(self.seconds));
        self
    }

    pub(crate) fn put(&mut self, object: Object) -> &mut Cluster {
        self.event(Event::Put(Box::new(object)))
    }

    pub(crate) fn delete(&mut self, id: ObjectId) -> &mut Cluster {
        self.event(Event::Delete(id))
    }

    pub(crate) fn unreadable(&mut self, id: ObjectId) -> &mut Cluster {
        let key = Name::from(format!("{id:?}"));
        self.event(Event::Unreadable { id, key, why: Unreadable::Undecodable("expected value at column 1".to_owned()) })
    }

    /// Marks the datastore as complete.
    pub(crate) fn synced(&mut self) -> &mut Cluster {
        self.event(Event::Synced(Side::Datastore))
    }

    pub(crate) fn pool(&mut self, name: &str, cidr: &str, block_size: u8) -> &mut Cluster {
        self.put(Object::Pool(pool(name, cidr, block_size)))
    }

    pub(crate) fn reservation(&mut self, name: &str, cidrs: &[&str]) -> &mut Cluster {
        let cidrs = cidrs.iter().map(|text| net(text)).collect();
        self.put(Object::Reservation(IpReservation { name: name.into(), cidrs }))
    }

    /// A node with BGP addresses (with prefix length) and nothing else.
    pub(crate) fn node(&mut self, name: &str, addresses: &[&str]) -> &mut Cluster {
        self.put(Object::Node(name.into(), node(name, addresses)))
    }

    pub(crate) fn config(&mut self, config: IpamConfig) -> &mut Cluster {
        self.put(Object::IpamConfig(config))
    }

    pub(crate) fn block(&mut self, block: Block) -> &mut Cluster {
        self.put(Object::Block(block.build()))
    }

    /// An affinity key; the owner as blocks write it (`host:h1`).
    pub(crate) fn affinity(&mut self, owner: &str, cidr: &str, state: AffinityState) -> &mut Cluster {
        let owner = BlockOwner::parse(owner).unwrap();
        self.put(Object::Affinity(BlockAffinity { owner, cidr: net(cidr), state }))
    }

    /// A block with the confirmed key of its owner.
    pub(crate) fn owned(&mut self, block: Block) -> &mut Cluster {
        let block = block.build();
        if let Some(owner) = &block.owner {
            self.affinity(&owner.to_string(), &block.cidr.to_string(), AffinityState::Confirmed);
        }
        self.put(Object::Block(block))
    }

    /// The endpoint of the pod that [`Block::pod`] names.
    pub(crate) fn endpoint(&mut self, node: &str, pod: &str, addresses: &[&str]) -> &mut Cluster {
        self.put(Object::Endpoint(WorkloadEndpoint {
            id: EndpointId::of_pod(node, "default", pod),
            node: node.into(),
            pod: pod.into(),
            container_id: container(pod).into(),
            interface: format!("cali{pod}").into(),
            addresses: addresses.iter().map(|text| address(text)).collect(),
            floating: Vec::new(),
            openstack: false,
            labels: Labels::default(),
        }))
    }
}

/// A VXLAN pool that selects every node.
pub(crate) fn pool(name: &str, cidr: &str, block_size: u8) -> IpPool {
    IpPool {
        name: name.into(),
        cidr: net(cidr),
        block_size,
        ipip: EncapMode::Never,
        vxlan: EncapMode::Always,
        disabled: false,
        disable_bgp_export: false,
        node_selector: "all()".to_owned(),
        load_balancer: false,
        manual: false,
    }
}

/// A node with BGP addresses.
pub(crate) fn node(name: &str, addresses: &[&str]) -> Node {
    let of = |family| addresses.iter().map(|text| net(text)).find(|address| Family::of_net(address) == family);
    let bgp = NodeBgp { ipv4: of(Family::V4), ipv6: of(Family::V6), ..NodeBgp::default() };
    Node { name: Some(name.into()), bgp: Some(bgp), ..Node::default() }
}

fn container(pod: &str) -> String {
    format!("c-{pod}")
}

/// An allocation block under construction, kept as its JSON is: what the two lists say is worked out at the end.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) cidr: IpNet,
    pub(crate) owner: Option<BlockOwner>,
    pub(crate) allocations: Vec<Option<i64>>,
    pub(crate) unallocated: Vec<i64>,
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) sequence_defects: Vec<SequenceDefect>,
}

impl Block {
    /// An empty block of nobody.
    pub(crate) fn new(cidr: &str) -> Block {
        let cidr = net(cidr);
        let size = 1i64 << (cidr.max_prefix_len() - cidr.prefix_len());
        Block {
            cidr,
            owner: None,
            allocations: vec![None; size as usize],
            unallocated: (0..size).collect(),
            attributes: Vec::new(),
            sequence_defects: Vec::new(),
        }
    }

    /// An empty block of an owner (`host:h1`).
    pub(crate) fn of(owner: &str, cidr: &str) -> Block {
        Block { owner: BlockOwner::parse(owner), ..Block::new(cidr) }
    }

    /// Gives the ordinal to a new attribute, as the allocator does.
    pub(crate) fn attribute(mut self, ordinal: usize, attribute: Attribute) -> Block {
        self.allocations[ordinal] = Some(self.attributes.len() as i64);
        self.attributes.push(attribute);
        self.unallocated.retain(|free| *free != ordinal as i64);
        self
    }

    /// Gives the ordinal to a pod of the namespace `default`.
    pub(crate) fn pod(self, ordinal: usize, node: &str, pod: &str) -> Block {
        let handle = format!("k8s-pod-network.{}", container(pod));
        self.attribute(
            ordinal,
            Attribute {
                node: Some(node.into()),
                namespace: Some("default".into()),
                pod: Some(pod.into()),
                ..attribute(AttributeKind::Workload, Some(&handle))
            },
        )
    }

    /// Gives the ordinal to a node's tunnel.
    pub(crate) fn tunnel(self, ordinal: usize, node: &str, kind: TunnelKind) -> Block {
        let prefix = match kind {
            TunnelKind::Ipip => "ipip",
            TunnelKind::VxlanV4 => "vxlan",
            TunnelKind::VxlanV6 => "vxlan-v6",
            TunnelKind::WireguardV4 => "wireguard",
            TunnelKind::WireguardV6 => "wireguard-v6",
        };
        let attributes = attribute(AttributeKind::Tunnel, Some(&format!("{prefix}-tunnel-addr-{node}")));
        let kind_text = Some(kind.attribute().into());
        self.attribute(ordinal, Attribute { node: Some(node.into()), kind_text, ..attributes })
    }

    /// Lets the ordinal rest since so many seconds after 1970.
    pub(crate) fn cooldown(self, ordinal: usize, released: u64) -> Block {
        let released_at = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(released));
        self.attribute(ordinal, Attribute { released_at, ..attribute(AttributeKind::Cooldown, None) })
    }

    /// Reserves the ordinal as Windows hosts do.
    pub(crate) fn windows(self, ordinal: usize) -> Block {
        self.attribute(ordinal, attribute(AttributeKind::WindowsReserved, Some("windows-reserved-ipam-handle")))
    }

    /// Gives the ordinal to a Service.
    pub(crate) fn load_balancer(self, ordinal: usize, service: &str) -> Block {
        self.attribute(ordinal, attribute(AttributeKind::LoadBalancer, Some(&format!("lb-{service}"))))
    }

    /// The model, as a source decodes it.
    pub(crate) fn build(self) -> AllocationBlock {
        let size = 1i64 << (self.cidr.max_prefix_len() - self.cidr.prefix_len());
        let inside = |ordinal: i64| (0..size).contains(&ordinal);
        let known = |index: i64| usize::try_from(index).is_ok_and(|index| index < self.attributes.len());
        let given: Vec<(u32, i64)> =
            (0u32..).zip(&self.allocations).filter_map(|(o, index)| Some((o, (*index)?))).collect();
        let mut times: BTreeMap<i64, usize> = BTreeMap::new();
        for ordinal in &self.unallocated {
            *times.entry(*ordinal).or_default() += 1;
        }
        let listed = |ordinal: &u32| inside(i64::from(*ordinal));
        AllocationBlock {
            owner: self.owner.clone(),
            allocations_len: self.allocations.len(),
            allocated: given.iter().map(|(ordinal, _)| *ordinal).filter(listed).collect(),
            unallocated: self.unallocated.iter().filter(|o| inside(**o)).map(|o| *o as u32).collect::<OrdinalSet>(),
            holders: given
                .iter()
                .filter(|(ordinal, _)| listed(ordinal))
                .map(|(_, index)| known(*index).then_some(*index as u32))
                .collect(),
            out_of_range: self.unallocated.iter().copied().filter(|ordinal| !inside(*ordinal)).collect(),
            duplicates: times.iter().filter(|(o, n)| **n > 1 && inside(**o)).map(|(o, _)| *o as u32).collect(),
            unreferenced: (0..self.attributes.len() as i64)
                .filter(|index| !given.iter().any(|(_, used)| used == index))
                .map(|index| index as u32)
                .collect(),
            bad_indices: given.iter().filter(|(o, index)| listed(o) && !known(*index)).copied().collect(),
            sequence_defects: self.sequence_defects.clone().into(),
            attributes_len: self.attributes.len(),
            attributes: self.attributes.into(),
            ..AllocationBlock::new(self.cidr)
        }
    }
}

/// An attribute that says no more than kind and handle.
pub(crate) fn attribute(kind: AttributeKind, handle: Option<&str>) -> Attribute {
    Attribute { handle: handle.map(Name::from), ..Attribute::new(kind) }
}
