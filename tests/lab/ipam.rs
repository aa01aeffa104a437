//! The allocator's stand-in: it writes what Calico's IPAM writes, key by key and in its order, so that whoever looks
//! sees claims and releases that are half done. Addresses are handed out from `unallocated`, first in first out.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::store::Store;

/// IPAM's configuration, of which Calico writes none before it is changed.
pub(crate) const CONFIG: &str = "/calico/ipam/v2/config";

/// A pool of the lab.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    pub(crate) name: &'static str,
    pub(crate) cidr: IpNet,
    pub(crate) block: u8,
    pub(crate) ipip: &'static str,
    pub(crate) vxlan: &'static str,
}

/// The pools: one of every class, and one of IPv6. Blocks are small, so that hosts claim many.
pub(crate) fn pools() -> Vec<Pool> {
    let pool = |name, cidr: &str, block, ipip, vxlan| Pool { name, cidr: cidr.parse().unwrap(), block, ipip, vxlan };
    vec![
        pool("ipip", "10.65.0.0/20", 28, "Always", "Never"),
        pool("plain", "10.66.0.0/20", 28, "Never", "Never"),
        pool("vxlan", "10.67.0.0/20", 28, "Never", "Always"),
        pool("plain6", "fd66::/112", 122, "Never", "Never"),
    ]
}

struct Block {
    pool: &'static str,
    affinity: Option<String>,
    allocations: Vec<Option<Allocation>>,
    unallocated: VecDeque<usize>,
    sequence: u64,
}

#[derive(Clone)]
struct Allocation {
    handle: String,
    attributes: Value,
    sequence: u64,
}

/// All blocks, as the store has them.
pub(crate) struct Ipam {
    pub(crate) pools: Vec<Pool>,
    blocks: BTreeMap<IpNet, Block>,
}

impl Ipam {
    pub(crate) fn new(store: &mut Store) -> Ipam {
        let ipam = Ipam { pools: pools(), blocks: BTreeMap::new() };
        for pool in &ipam.pools {
            write_pool(store, pool);
        }
        ipam
    }

    /// A pool more, as an administrator adds one.
    pub(crate) fn add_pool(&mut self, store: &mut Store, pool: Pool) {
        write_pool(store, &pool);
        self.pools.push(pool);
    }

    /// A pool less. Its blocks stay, as they do where one is deleted while in use.
    pub(crate) fn remove_pool(&mut self, store: &mut Store, name: &str) {
        self.pools.retain(|pool| pool.name != name);
        store.delete(&format!("/calico/resources/v3/projectcalico.org/ippools/{name}"));
    }

    /// Sets how a pool's packets are wrapped, which is all that an administrator does.
    pub(crate) fn set_ipip(&mut self, store: &mut Store, name: &str, mode: &'static str) {
        let pool = self.pools.iter_mut().find(|pool| pool.name == name).unwrap();
        pool.ipip = mode;
        write_pool(store, pool);
    }

    /// An address from a pool for a host: from its blocks, or from one that it claims.
    pub(crate) fn assign(&mut self, store: &mut Store, pool: &str, host: &str, handle: &str, extra: Value) -> IpAddr {
        let affine = |block: &Block| block.pool == pool && block.affinity.as_deref() == Some(host);
        let open = self.blocks.iter().find(|(_, block)| affine(block) && !block.unallocated.is_empty());
        let cidr = match open.map(|(cidr, _)| *cidr) {
            Some(cidr) => cidr,
            None => self.claim(store, pool, host),
        };
        self.assign_from(store, cidr, host, handle, extra)
    }

    /// This address, if it is free.
    pub(crate) fn assign_this(
        &mut self,
        store: &mut Store,
        address: IpAddr,
        host: &str,
        handle: &str,
        extra: Value,
    ) -> IpAddr {
        let (&cidr, block) = self.blocks.iter_mut().find(|(cidr, _)| cidr.contains(&address)).unwrap();
        let ordinal = ordinal(cidr, address);
        block.unallocated.retain(|free| *free != ordinal);
        block.unallocated.push_front(ordinal);
        self.assign_from(store, cidr, host, handle, extra)
    }

    /// An address out of this block, whoever has it: of another host's block it is a borrowed one.
    pub(crate) fn assign_from(
        &mut self,
        store: &mut Store,
        cidr: IpNet,
        host: &str,
        handle: &str,
        extra: Value,
    ) -> IpAddr {
        let mut attributes = extra;
        attributes["node"] = json!(host);
        // The handle first: what is allocated is always found by it.
        write_handle(store, handle, cidr, 1);
        let block = self.blocks.get_mut(&cidr).unwrap();
        let ordinal = block.unallocated.pop_front().expect("a free address");
        block.sequence += 1;
        let sequence = block.sequence - 1;
        block.allocations[ordinal] = Some(Allocation { handle: handle.to_owned(), attributes, sequence });
        write_block(store, cidr, block);
        address(cidr, ordinal)
    }

    /// Claims the first free block of the pool: key pending, block, key confirmed.
    pub(crate) fn claim(&mut self, store: &mut Store, pool: &str, host: &str) -> IpNet {
        let (name, cidr, length) = {
            let pool = self.pools.iter().find(|candidate| candidate.name == pool).unwrap();
            (pool.name, pool.cidr, pool.block)
        };
        let claimed = |cidr: &IpNet| self.blocks.contains_key(cidr);
        let free = cidr.subnets(length).unwrap().find(|cidr| !claimed(cidr)).expect("a free block");
        let affinity = affinity_key(host, free);
        store.put(&affinity, &affinity_value("pending"));
        let size = 1 << (free.max_prefix_len() - free.prefix_len());
        let block = Block {
            pool: name,
            affinity: Some(host.to_owned()),
            allocations: vec![None; size],
            unallocated: (0..size).collect(),
            sequence: 1_787_390_000_000_000_001 + u64::try_from(self.blocks.len()).unwrap(),
        };
        write_block(store, free, &block);
        self.blocks.insert(free, block);
        store.put(&affinity, &affinity_value("confirmed"));
        free
    }

    /// Takes an address back. A block without owner goes with its last address.
    pub(crate) fn release(&mut self, store: &mut Store, address: IpAddr) {
        let (&cidr, block) = self.blocks.iter_mut().find(|(cidr, _)| cidr.contains(&address)).unwrap();
        let ordinal = ordinal(cidr, address);
        let allocation = block.allocations[ordinal].take().expect("an allocated address");
        block.unallocated.push_back(ordinal);
        block.sequence += 1;
        if block.affinity.is_none() && block.is_empty() {
            self.blocks.remove(&cidr);
            store.delete(&block_key(cidr));
        } else {
            write_block(store, cidr, block);
        }
        write_handle(store, &allocation.handle, cidr, -1);
    }

    /// Takes back whatever is allocated under a handle.
    pub(crate) fn release_handle(&mut self, store: &mut Store, handle: &str) {
        let of_handle = |one: &Option<Allocation>| one.as_ref().is_some_and(|one| one.handle == handle);
        let mut addresses = Vec::new();
        for (cidr, block) in &self.blocks {
            let ordinals = block.allocations.iter().enumerate().filter(|(_, one)| of_handle(one));
            addresses.extend(ordinals.map(|(ordinal, _)| address(*cidr, ordinal)));
        }
        addresses.into_iter().for_each(|address| self.release(store, address));
    }

    /// Gives a host's block back: key pendingDeletion, block deleted or without owner, key deleted.
    pub(crate) fn release_block(&mut self, store: &mut Store, host: &str, cidr: IpNet) {
        let affinity = affinity_key(host, cidr);
        store.put(&affinity, &affinity_value("pendingDeletion"));
        let block = self.blocks.get_mut(&cidr).unwrap();
        if block.is_empty() {
            self.blocks.remove(&cidr);
            store.delete(&block_key(cidr));
        } else {
            block.affinity = None;
            block.sequence += 1;
            write_block(store, cidr, block);
        }
        store.delete(&affinity);
    }

    /// A host's blocks, and whether each is empty.
    pub(crate) fn blocks_of(&self, host: &str) -> Vec<(IpNet, bool)> {
        let own = self.blocks.iter().filter(|(_, block)| block.affinity.as_deref() == Some(host));
        own.map(|(cidr, block)| (*cidr, block.is_empty())).collect()
    }

    /// A host's blocks in one pool.
    pub(crate) fn blocks_in(&self, host: &str, pool: &str) -> Vec<IpNet> {
        let own = self.blocks_of(host).into_iter().map(|(cidr, _)| cidr);
        own.filter(|cidr| self.blocks[cidr].pool == pool).collect()
    }

    /// All blocks of a pool, each with its host.
    pub(crate) fn blocks_of_pool(&self, pool: &str) -> Vec<(IpNet, String)> {
        let own = self.blocks.iter().filter(|(_, block)| block.pool == pool);
        own.filter_map(|(cidr, block)| Some((*cidr, block.affinity.clone()?))).collect()
    }

    /// The pool that a block was claimed from.
    pub(crate) fn pool_of(&self, cidr: IpNet) -> &'static str {
        self.blocks[&cidr].pool
    }

    /// Addresses of a block that are free.
    pub(crate) fn free_in(&self, cidr: IpNet) -> usize {
        self.blocks[&cidr].unallocated.len()
    }

    /// Writes a block anew, over whatever somebody wrote into its key.
    pub(crate) fn rewrite(&mut self, store: &mut Store, cidr: IpNet) {
        let block = self.blocks.get_mut(&cidr).unwrap();
        block.sequence += 1;
        write_block(store, cidr, block);
    }
}

impl Block {
    fn is_empty(&self) -> bool {
        self.allocations.iter().all(Option::is_none)
    }
}

pub(crate) fn address(cidr: IpNet, ordinal: usize) -> IpAddr {
    match cidr.network() {
        IpAddr::V4(first) => IpAddr::from((u32::from(first) + u32::try_from(ordinal).unwrap()).to_be_bytes()),
        IpAddr::V6(first) => IpAddr::from((u128::from(first) + ordinal as u128).to_be_bytes()),
    }
}

pub(crate) fn ordinal(cidr: IpNet, address: IpAddr) -> usize {
    match (cidr.network(), address) {
        (IpAddr::V4(first), IpAddr::V4(this)) => (u32::from(this) - u32::from(first)) as usize,
        (IpAddr::V6(first), IpAddr::V6(this)) => usize::try_from(u128::from(this) - u128::from(first)).unwrap(),
        _ => panic!("two families"),
    }
}

fn segment(cidr: IpNet) -> String {
    cidr.to_string().replace('/', "-")
}

fn family(cidr: IpNet) -> &'static str {
    if cidr.addr().is_ipv4() { "ipv4" } else { "ipv6" }
}

pub(crate) fn block_key(cidr: IpNet) -> String {
    format!("/calico/ipam/v2/assignment/{}/block/{}", family(cidr), segment(cidr))
}

pub(crate) fn affinity_key(host: &str, cidr: IpNet) -> String {
    format!("/calico/ipam/v2/host/{host}/{}/block/{}", family(cidr), segment(cidr))
}

fn affinity_value(state: &str) -> String {
    json!({"state": state, "deleted": false}).to_string()
}

fn write_pool(store: &mut Store, pool: &Pool) {
    let Pool { name, cidr, block, ipip, vxlan } = pool;
    let value = json!({
        "kind": "IPPool", "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": name, "creationTimestamp": "2026-08-01T00:00:00Z"},
        "spec": {"cidr": cidr, "blockSize": block, "ipipMode": ipip, "vxlanMode": vxlan, "natOutgoing": true,
                 "nodeSelector": "all()", "allowedUses": ["Workload", "Tunnel"], "assignmentMode": "Automatic"},
    });
    store.put(&format!("/calico/resources/v3/projectcalico.org/ippools/{name}"), &value.to_string());
}

fn write_block(store: &mut Store, cidr: IpNet, block: &Block) {
    let mut attributes = Vec::new();
    let mut sequences = serde_json::Map::new();
    let mut allocations = Vec::new();
    for (ordinal, allocation) in block.allocations.iter().enumerate() {
        allocations.push(allocation.as_ref().map(|allocation| {
            sequences.insert(ordinal.to_string(), json!(allocation.sequence));
            attributes.push(json!({"handle_id": allocation.handle, "secondary": allocation.attributes}));
            attributes.len() - 1
        }));
    }
    let affinity = block.affinity.as_ref().map(|host| format!("host:{host}"));
    let value = json!({
        "cidr": cidr, "affinity": affinity, "allocations": allocations, "unallocated": block.unallocated,
        "attributes": if attributes.is_empty() { Value::Null } else { json!(attributes) },
        "sequenceNumber": block.sequence, "sequenceNumberForAllocation": sequences, "deleted": false,
    });
    store.put(&block_key(cidr), &value.to_string());
}

pub(crate) fn handle_key(handle: &str) -> String {
    format!("/calico/ipam/v2/handle/{handle}")
}

/// Counts an address of the block into the handle, or out of it; one without addresses is deleted.
fn write_handle(store: &mut Store, handle: &str, cidr: IpNet, change: i64) {
    let key = handle_key(handle);
    let mut value = match store.get(&key) {
        Some(text) => serde_json::from_str(&text).unwrap(),
        None => json!({"block": {}, "deleted": false}),
    };
    let blocks = value["block"].as_object_mut().unwrap();
    let count = blocks.get(&cidr.to_string()).and_then(Value::as_i64).unwrap_or(0) + change;
    if count == 0 {
        blocks.remove(&cidr.to_string());
    } else {
        blocks.insert(cidr.to_string(), json!(count));
    }
    if blocks.is_empty() {
        store.delete(&key);
    } else {
        store.put(&key, &value.to_string());
    }
}
