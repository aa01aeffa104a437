//! A cluster of any size, key by key as Calico v3.33 would have written it, and what is wrong with it on purpose.
//!
//! Nothing is drawn: the same [`Shape`] is the same cluster, byte for byte, and no key needs another to be made, so that
//! a million of them cost no memory.

use std::fmt::Write;
use std::net::Ipv4Addr;

/// Addresses in a block.
pub const BLOCK_SIZE: u32 = 64;
/// The pool that all blocks lie in.
pub const POOL: &str = "10.0.0.0/8";
/// How many kinds of faults there are to plant; one of each for [`Shape::faults`] = this many.
pub const FAULTS: u32 = 8;

const MOMENT: &str = "2026-11-24T02:34:00Z";

/// How large the cluster is.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Hosts.
    pub hosts: u32,
    /// Blocks of each.
    pub blocks: u32,
    /// Addresses in use of each block.
    pub used: u32,
    /// How many faults are planted, each in a block of its own.
    pub faults: u32,
    /// Whether to write workload endpoints.
    pub endpoints: bool,
}

/// A fault that was planted, as a finding of the exporter names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Planted {
    /// The metric that counts it.
    pub metric: &'static str,
    /// Its label `reason`.
    pub reason: &'static str,
    /// The address, CIDR or handle at fault.
    pub subject: String,
}

/// What may be wrong with a block and what belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Its first address is in both lists.
    Both,
    /// Its last address is in neither.
    Neither,
    /// One ordinal is listed twice.
    Duplicate,
    /// Its key is gone.
    NoKey,
    /// It is gone, its key is not. Only of a block without addresses in use.
    NoBlock,
    /// The first address has no endpoint.
    Leak,
    /// The first address has no handle.
    NoHandle,
    /// Another handle counts an address that nobody has.
    IdleHandle,
}

impl Shape {
    /// How many blocks there are.
    pub fn block_count(&self) -> u32 {
        self.hosts * self.blocks
    }

    /// How many addresses are in use.
    pub fn address_count(&self) -> u32 {
        self.block_count() * self.used
    }

    /// A host's name.
    pub fn host(host: u32) -> String {
        format!("node-{host:05}")
    }

    /// A host's own address.
    pub fn host_address(host: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(Ipv4Addr::new(172, 16, 0, 1)) + host)
    }

    /// The network address of a block, by its number; a host's follow each other.
    pub fn network(block: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + block * BLOCK_SIZE)
    }

    fn address(block: u32, ordinal: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(Self::network(block)) + ordinal)
    }

    /// A block's key.
    pub fn block_key(block: u32) -> String {
        format!("/calico/ipam/v2/assignment/ipv4/block/{}-26", Self::network(block))
    }

    /// Faults lie as far apart as they can, from the second block on.
    fn fault(&self, block: u32) -> Fault {
        if self.faults == 0 {
            return Fault::None;
        }
        let apart = (self.block_count() / self.faults).max(1);
        if block % apart != apart / 2 || block / apart >= self.faults {
            return Fault::None;
        }
        match (block / apart) % FAULTS {
            0 => Fault::Both,
            1 => Fault::Neither,
            2 => Fault::Duplicate,
            3 => Fault::NoKey,
            4 if self.endpoints => Fault::Leak,
            5 => Fault::NoHandle,
            6 => Fault::IdleHandle,
            _ => Fault::NoBlock,
        }
    }

    fn used(&self, block: u32) -> u32 {
        if self.fault(block) == Fault::NoBlock { 0 } else { self.used.min(BLOCK_SIZE) }
    }

    /// What is wrong, sorted. Meant for blocks of which at least one address is in use and two are free.
    pub fn planted(&self) -> Vec<Planted> {
        let mut planted: Vec<Planted> = (0..self.block_count())
            .filter_map(|block| {
                let cidr = || format!("{}/26", Self::network(block));
                let first = || Self::address(block, 0).to_string();
                let (metric, reason, subject) = match self.fault(block) {
                    Fault::None => return None,
                    Fault::Both => ("calico_ipam_mismatched_addresses", "allocated_and_unallocated", first()),
                    Fault::Neither => {
                        ("calico_ipam_mismatched_addresses", "neither", Self::address(block, 63).to_string())
                    }
                    Fault::Duplicate => {
                        ("calico_ipam_mismatched_addresses", "duplicate", Self::address(block, 63).to_string())
                    }
                    Fault::NoKey => ("calico_ipam_affinity_faults", "block_without_affinity", cidr()),
                    Fault::NoBlock => ("calico_ipam_affinity_faults", "without_block", cidr()),
                    Fault::Leak => ("calico_ipam_leaked_addresses", "allocated_not_in_use", first()),
                    Fault::NoHandle => ("calico_ipam_handle_faults", "missing_handle", handle(block, 0)),
                    Fault::IdleHandle => ("calico_ipam_handle_faults", "no_allocation", handle(block, 63)),
                };
                Some(Planted { metric, reason, subject })
            })
            .collect();
        planted.sort();
        planted
    }

    /// Every key with its value.
    pub fn keys(self) -> impl Iterator<Item = (String, String)> {
        let blocks = (0..self.block_count()).filter(move |block| self.fault(*block) != Fault::NoBlock);
        let affinities = (0..self.block_count()).filter(move |block| self.fault(*block) != Fault::NoKey);
        settings()
            .into_iter()
            .chain((0..self.hosts).map(node))
            .chain(blocks.map(move |block| (Self::block_key(block), self.block(block, 0))))
            .chain(affinities.map(move |block| {
                let host = Self::host(block / self.blocks);
                let key = format!("/calico/ipam/v2/host/{host}/ipv4/block/{}-26", Self::network(block));
                (key, r#"{"state":"confirmed","deleted":false}"#.to_owned())
            }))
            .chain((0..self.block_count()).flat_map(move |block| self.of_addresses(block)))
    }

    /// A block's value. `revision` makes one that says something else: the last address comes and goes.
    pub fn block(&self, block: u32, revision: u64) -> String {
        let (fault, host) = (self.fault(block), Self::host(block / self.blocks));
        let used = self.used(block) + u32::from(revision % 2 == 1);
        let mut text = format!(
            r#"{{"cidr":"{}/26","affinity":"host:{host}","affinity_claim_time":"{MOMENT}","allocations":["#,
            Self::network(block)
        );
        let list = |text: &mut String, parts: &mut dyn Iterator<Item = String>| {
            for (index, part) in parts.enumerate() {
                text.push_str(if index > 0 { "," } else { "" });
                text.push_str(&part);
            }
        };
        list(&mut text, &mut (0..BLOCK_SIZE).map(|it| if it < used { it.to_string() } else { "null".to_owned() }));
        text.push_str(r#"],"unallocated":["#);
        let free = (used..BLOCK_SIZE).filter(|ordinal| fault != Fault::Neither || *ordinal != 63);
        let extra = match fault {
            Fault::Both => Some(0),
            Fault::Duplicate => Some(63),
            _ => None,
        };
        list(&mut text, &mut free.chain(extra).map(|ordinal| ordinal.to_string()));
        text.push_str(r#"],"attributes":["#);
        let holder = |ordinal| {
            format!(
                r#"{{"handle_id":"{}","secondary":{{"namespace":"{}","node":"{host}","pod":"{}","timestamp":"2026-11-24 02:34:00.844903381 +0000 UTC"}}}}"#,
                handle(block, ordinal),
                namespace(block),
                pod(block, ordinal),
            )
        };
        list(&mut text, &mut (0..used).map(holder));
        let sequence = 1_795_487_640_768_847_841 + revision;
        let _ = write!(text, r#"],"sequenceNumber":{sequence},"sequenceNumberForAllocation":{{"#);
        list(&mut text, &mut (0..used).map(|it| format!(r#""{it}":{}"#, 1_795_487_640_768_847_000 + u64::from(it))));
        text.push_str(r#"},"deleted":false}"#);
        text
    }

    /// Handles and endpoints of a block's addresses.
    fn of_addresses(self, block: u32) -> impl Iterator<Item = (String, String)> {
        let fault = self.fault(block);
        let handles = (0..self.used(block)).filter(move |ordinal| fault != Fault::NoHandle || *ordinal != 0);
        let handles = handles.chain((fault == Fault::IdleHandle).then_some(63));
        let with = if self.endpoints { self.used(block) } else { 0 };
        let endpoints = (0..with).filter(move |ordinal| fault != Fault::Leak || *ordinal != 0);
        let host = Self::host(block / self.blocks);
        handles
            .map(move |ordinal| {
                let value = format!(r#"{{"block":{{"{}/26":1}},"deleted":false}}"#, Self::network(block));
                (format!("/calico/ipam/v2/handle/{}", handle(block, ordinal)), value)
            })
            .chain(endpoints.map(move |ordinal| endpoint(&host, block, ordinal)))
    }
}

fn container(block: u32, ordinal: u32) -> String {
    // Spread, as hashes are: neighbours in a block are no neighbours among the handles.
    let number = u64::from(block * BLOCK_SIZE + ordinal + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{number:016x}{:016x}{:032x}", number.rotate_left(21), u128::from(number) * 0xff51_afd7_ed55_8ccd)
}

fn handle(block: u32, ordinal: u32) -> String {
    format!("k8s-pod-network.{}", container(block, ordinal))
}

fn namespace(block: u32) -> String {
    format!("team-{:03}", block % 200)
}

fn pod(block: u32, ordinal: u32) -> String {
    format!("web-{:06x}-{ordinal:02}", block)
}

fn resource(kind: &str, plural: &str, name: &str, spec: &str) -> (String, String) {
    (
        format!("/calico/resources/v3/projectcalico.org/{plural}/{name}"),
        format!(
            r#"{{"kind":"{kind}","apiVersion":"projectcalico.org/v3","metadata":{{"name":"{name}","uid":"4be2ba1b-0d28-4b68-9c37-0a1b9c0d5a55","creationTimestamp":"{MOMENT}"}},"spec":{spec}}}"#
        ),
    )
}

fn settings() -> Vec<(String, String)> {
    let pool = format!(
        r#"{{"cidr":"{POOL}","vxlanMode":"Never","ipipMode":"Always","natOutgoing":true,"blockSize":26,"nodeSelector":"all()","allowedUses":["Workload","Tunnel"],"assignmentMode":"Automatic"}}"#
    );
    let cluster = r#"{"clusterGUID":"ea521a23368543c09d5160f11cafd6f3","clusterType":"k8s,bgp","calicoVersion":"v3.33.0","datastoreReady":true}"#;
    vec![
        resource("IPPool", "ippools", "default-ipv4-ippool", &pool),
        resource("ClusterInformation", "clusterinformations", "default", cluster),
    ]
}

fn node(host: u32) -> (String, String) {
    let (name, address) = (Shape::host(host), Shape::host_address(host));
    let spec = format!(
        r#"{{"bgp":{{"ipv4Address":"{address}/12"}},"orchRefs":[{{"nodeName":"{name}","orchestrator":"k8s"}}],"addresses":[{{"address":"{address}/12","type":"CalicoNodeIP"}}]}}"#
    );
    resource("Node", "nodes", &name, &spec)
}

fn endpoint(host: &str, block: u32, ordinal: u32) -> (String, String) {
    let (namespace, pod, container) = (namespace(block), pod(block, ordinal), container(block, ordinal));
    // A dash is doubled in an endpoint's name.
    let name = format!("{}-k8s-{}-eth0", host.replace('-', "--"), pod.replace('-', "--"));
    let value = format!(
        r#"{{"kind":"WorkloadEndpoint","apiVersion":"projectcalico.org/v3","metadata":{{"name":"{name}","namespace":"{namespace}","uid":"8336540b-89b3-4af3-8625-76fee0982847","creationTimestamp":"{MOMENT}","labels":{{"projectcalico.org/namespace":"{namespace}","projectcalico.org/orchestrator":"k8s"}}}},"spec":{{"orchestrator":"k8s","node":"{host}","containerID":"{container}","pod":"{pod}","endpoint":"eth0","ipNetworks":["{}/32"],"profiles":["kns.{namespace}"],"interfaceName":"cali{}","mac":"ee:ee:ee:ee:ee:ee"}}}}"#,
        Shape::address(block, ordinal),
        &container[..11],
    );
    (format!("/calico/resources/v3/projectcalico.org/workloadendpoints/{namespace}/{name}"), value)
}
