//! Allocation blocks (`libcalico-go/lib/backend/model/block.go`, `AllocationBlock`).

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::de::IgnoredAny;

use super::json::{Entries, List, Maybe, Nullable, Text, object};
use super::text::Masked;
use super::{Read, parse, why};
use crate::model::{
    AllocationBlock, Attribute, AttributeKind, BlockOwner, Handle, Name, OrdinalSet, SequenceDefect, TunnelKind,
};
use crate::source::etcd::timestamp;
use crate::state::{Object, Unreadable};

object! {
    Block<'de>, rest IgnoredAny, {
        "cidr" => cidr: Maybe<Masked>,
        "affinity" => affinity: Text<'de>,
        "affinity_claim_time" => claimed_at: Text<'de>,
        "allocations" => allocations: List<Option<i64>>,
        "unallocated" => unallocated: List<i64>,
        "attributes" => attributes: List<Entry<'de>>,
        "sequenceNumber" => sequence_number: u64,
        "sequenceNumberForAllocation" => numbers: Entries<'de, Option<u64>>,
        "deleted" => deleted: bool,
    }
}

object! {
    Entry<'de>, rest IgnoredAny, {
        "handle_id" => handle: Text<'de>,
        "secondary" => owner: Owner<'de>,
        "alternateOwnerAttrs" => other_owner: Owner<'de>,
        "releasedAt" => released_at: Text<'de>,
    }
}

object! {
    // In Go a map of strings: any other value makes the block unreadable for Calico.
    Owner<'de>, rest Nullable<Text<'de>>, {
        "node" => node: Text<'de>,
        "namespace" => namespace: Text<'de>,
        "pod" => pod: Text<'de>,
        "type" => kind: Text<'de>,
        "timestamp" => allocated_at: Text<'de>,
        "vmi-name" => machine: Text<'de>,
    }
}

/// Reads a block whose key names `key`.
pub(super) fn read(key: IpNet, value: &[u8]) -> Read {
    let block: Block<'_> = parse(value)?;
    if block.deleted {
        return Ok(None);
    }
    match block.cidr.0 {
        None => Err(Unreadable::Undecodable(why::at("cidr", "missing"))),
        Some(Masked(cidr)) if cidr != key => Err(Unreadable::CidrDiffers(cidr)),
        Some(Masked(cidr)) => Ok(Some(Object::Block(build(cidr, &block)))),
    }
}

fn build(cidr: IpNet, value: &Block<'_>) -> AllocationBlock {
    let mut names = Shared::default();
    let owner = value.affinity.get().and_then(BlockOwner::parse);
    if let Some(host) = owner.as_ref().and_then(BlockOwner::host) {
        names.0.push(host.clone());
    }
    let attributes: Box<[Attribute]> = value.attributes.0.iter().map(|entry| attribute(entry, &mut names)).collect();
    let mut block = AllocationBlock {
        cidr,
        owner,
        claimed_at: value.claimed_at.get().and_then(timestamp::rfc3339),
        allocations_len: value.allocations.0.len(),
        allocated: OrdinalSet::default(),
        unallocated: OrdinalSet::default(),
        holders: Box::default(),
        attributes,
        out_of_range: Box::default(),
        duplicates: Box::default(),
        unreferenced: Box::default(),
        bad_indices: Box::default(),
        sequence_defects: Box::default(),
    };
    allocations(&mut block, &value.allocations.0);
    unallocated(&mut block, &value.unallocated.0);
    block.sequence_defects = sequence_defects(block.size(), value);
    block
}

fn allocations(block: &mut AllocationBlock, entries: &[Option<i64>]) {
    let mut referenced = OrdinalSet::default();
    let mut holders = Vec::new();
    let mut bad = Vec::new();
    // No list is longer than `MAX_SIZE`, so ordinals fit.
    for (ordinal, index) in (0u32..).zip(entries).filter_map(|(ordinal, index)| Some((ordinal, (*index)?))) {
        let target = u32::try_from(index).ok().filter(|index| (*index as usize) < block.attributes.len());
        if let Some(target) = target {
            referenced.insert(target);
        }
        if ordinal < block.size() {
            block.allocated.insert(ordinal);
            holders.push((ordinal, target));
            if target.is_none() {
                bad.push((ordinal, index));
            }
        }
    }
    block.unreferenced =
        (0u32..).zip(&*block.attributes).map(|(index, _)| index).filter(|index| !referenced.contains(*index)).collect();
    block.holders = holders.into();
    block.bad_indices = bad.into();
}

fn unallocated(block: &mut AllocationBlock, ordinals: &[i64]) {
    let mut twice = OrdinalSet::default();
    let mut outside = Vec::new();
    for listed in ordinals {
        match u32::try_from(*listed).ok().filter(|ordinal| *ordinal < block.size()) {
            None => outside.push(*listed),
            Some(ordinal) => {
                if !block.unallocated.insert(ordinal) {
                    twice.insert(ordinal);
                }
            }
        }
    }
    block.out_of_range = outside.into();
    block.duplicates = twice.iter().collect();
}

/// Sorted: keys that are no ordinals first, as written, then ordinals.
fn sequence_defects(size: u32, value: &Block<'_>) -> Box<[SequenceDefect]> {
    let mut defects = Vec::new();
    let mut high = BTreeMap::new();
    for (key, number) in &value.numbers.0 {
        let Some(ordinal) = ordinal(key).filter(|ordinal| *ordinal < size) else {
            defects.push(SequenceDefect::OrdinalOutside(why::printable(key, 40)));
            continue;
        };
        match number {
            Some(number) if *number >= value.sequence_number => {
                high.insert(ordinal, *number);
            }
            // The last of a repeated key counts.
            _ => {
                high.remove(&ordinal);
            }
        }
    }
    defects.extend(high.into_iter().map(|(ordinal, number)| SequenceDefect::NotBelow { ordinal, number }));
    defects.into()
}

/// Calico looks numbers up by the ordinal in decimal digits: `05` is not 5.
fn ordinal(key: &str) -> Option<u32> {
    let canonical = key == "0" || (!key.starts_with('0') && key.bytes().all(|byte| byte.is_ascii_digit()));
    canonical.then(|| key.parse().ok()).flatten()
}

fn attribute(entry: &Entry<'_>, names: &mut Shared) -> Attribute {
    let handle = entry.handle.get().map(Handle::sanitize).filter(|handle| !handle.is_empty());
    let owner = &entry.owner;
    Attribute {
        kind: kind(entry, handle),
        handle: handle.map(Name::from),
        node: names.share(&owner.node),
        namespace: names.share(&owner.namespace),
        pod: owner.pod.get().map(Name::from),
        kind_text: names.share(&owner.kind),
        peer_node: names.share(&entry.other_owner.node),
        released_at: entry.released_at.get().and_then(timestamp::rfc3339),
        allocated_at: owner.allocated_at.get().and_then(timestamp::go),
    }
}

/// `ipam_block.go` for cooldown and Windows, `node/pkg/allocateip/allocateip.go` for tunnels,
/// `loadbalancer_controller.go` for load balancers, `vmipam/ipam_kubevirt.go` for machines.
fn kind(entry: &Entry<'_>, handle: Option<&str>) -> AttributeKind {
    const TUNNELS: [TunnelKind; 5] =
        [TunnelKind::Ipip, TunnelKind::VxlanV4, TunnelKind::VxlanV6, TunnelKind::WireguardV4, TunnelKind::WireguardV6];
    const TUNNEL_HANDLES: [&str; 5] = [
        "ipip-tunnel-addr-",
        "vxlan-tunnel-addr-",
        "vxlan-v6-tunnel-addr-",
        "wireguard-tunnel-addr-",
        "wireguard-v6-tunnel-addr-",
    ];
    let text = entry.owner.kind.get().unwrap_or_default();
    let Some(handle) = handle else {
        return match entry.released_at.0 {
            Some(_) => AttributeKind::Cooldown,
            None => kind_by_text(text, entry, &TUNNELS),
        };
    };
    if handle.eq_ignore_ascii_case("windows-reserved-ipam-handle") {
        return AttributeKind::WindowsReserved;
    }
    match kind_by_text(text, entry, &TUNNELS) {
        AttributeKind::VirtualMachine => AttributeKind::VirtualMachine,
        _ if handle.starts_with("lb-") => AttributeKind::LoadBalancer,
        AttributeKind::Workload if TUNNEL_HANDLES.iter().any(|prefix| handle.starts_with(prefix)) => {
            AttributeKind::Tunnel
        }
        kind => kind,
    }
}

fn kind_by_text(text: &str, entry: &Entry<'_>, tunnels: &[TunnelKind]) -> AttributeKind {
    if entry.owner.machine.0.is_some() {
        AttributeKind::VirtualMachine
    } else if text.eq_ignore_ascii_case("LoadBalancer") {
        AttributeKind::LoadBalancer
    } else if tunnels.iter().any(|tunnel| tunnel.attribute() == text) {
        AttributeKind::Tunnel
    } else {
        AttributeKind::Workload
    }
}

/// Names that a block repeats with every allocation, kept once.
#[derive(Default)]
struct Shared(Vec<Name>);

impl Shared {
    fn share(&mut self, text: &Text<'_>) -> Option<Name> {
        let text = text.get()?;
        if let Some(known) = self.0.iter().find(|name| &***name == text) {
            return Some(known.clone());
        }
        let name = Name::from(text);
        // A block is used by few hosts and namespaces; the bound keeps the search short where it is not.
        if self.0.len() < 16 {
            self.0.push(name.clone());
        }
        Some(name)
    }
}
