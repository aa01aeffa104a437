//! Allocation blocks (`libcalico-go/lib/backend/model/block.go`, `AllocationBlock`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;
use serde::de::IgnoredAny;

use super::attribute::{Entry, Shared};
use super::json::{Entries, List, Maybe, Text, object};
use super::text::Masked;
use super::{Read, timestamp, why};
use crate::model::{AllocationBlock, Attribute, BlockOwner, Detail, Few, Name, OrdinalSet, SequenceDefect};
use crate::state::{Object, Unreadable};

object! {
    /// A block as Calico writes it; the custom resource has the same below `spec`, but for the name of the claim's time.
    pub(in crate::source) Block<'de>, rest IgnoredAny, {
        "cidr" => cidr: Maybe<Masked>,
        "affinity" => affinity: Text<'de>,
        "affinity_claim_time" | "affinityClaimTime" => claimed_at: Text<'de>,
        "allocations" => allocations: List<Option<i64>>,
        "unallocated" => unallocated: List<i64>,
        "attributes" => attributes: List<Entry<'de>>,
        "sequenceNumber" => sequence_number: u64,
        "sequenceNumberForAllocation" => numbers: Entries<'de, Option<u64>>,
        "deleted" => deleted: bool,
    }
}

impl Block<'_> {
    /// Reads a block whose key names `key`.
    pub(in crate::source) fn read(&self, key: IpNet, detail: &Detail) -> Read {
        if self.deleted {
            return Ok(None);
        }
        match self.cidr() {
            None => Err(Unreadable::Undecodable(why::at("cidr", "missing"))),
            Some(cidr) if cidr != key => Err(Unreadable::CidrDiffers(cidr)),
            Some(cidr) => Ok(Some(Object::Block(build(cidr, self, detail)))),
        }
    }

    /// Its CIDR, masked.
    pub(in crate::source) fn cidr(&self) -> Option<IpNet> {
        self.cidr.0.as_ref().map(|cidr| cidr.0)
    }
}

/// What a value says, whatever its key.
#[cfg(test)]
pub(super) fn built(value: &Block<'_>, detail: &Detail) -> Option<AllocationBlock> {
    value.cidr.0.as_ref().map(|Masked(cidr)| build(*cidr, value, detail))
}

fn build(cidr: IpNet, value: &Block<'_>, detail: &Detail) -> AllocationBlock {
    let mut names = Shared::default();
    let owner = value.affinity.get().and_then(BlockOwner::parse);
    if let Some(host) = owner.as_ref().and_then(BlockOwner::host) {
        names.keep(host);
    }
    let attributes = attributes(cidr, value, owner.as_ref().and_then(BlockOwner::host), detail, &mut names);
    let mut block = AllocationBlock {
        owner,
        claimed_at: value.claimed_at.get().and_then(timestamp::rfc3339),
        allocations_len: value.allocations.0.len(),
        attributes_len: attributes.len(),
        attributes,
        ..AllocationBlock::new(cidr)
    };
    allocations(&mut block, &value.allocations.0);
    unallocated(&mut block, &value.unallocated.0);
    block.sequence_defects = sequence_defects(block.size(), value);
    block.reduce(detail);
    block
}

/// Of the pods that `detail` leaves without names, the names are not even read: they are nearly all there is to read.
fn attributes(
    cidr: IpNet,
    value: &Block<'_>,
    host: Option<&Name>,
    detail: &Detail,
    names: &mut Shared,
) -> Arc<[Attribute]> {
    let entries = (0i64..).zip(&value.attributes.0);
    let Some(host) = host.filter(|host| matches!(detail, Detail::Rules(_)) && detail.abridges(cidr, host)) else {
        return entries.map(|(_, entry)| entry.read(names)).collect();
    };
    // Who holds what is in both lists is named.
    let both = |ordinal: &i64| *value.allocations.0.get(usize::try_from(*ordinal).ok()?)?;
    let named: BTreeSet<i64> = value.unallocated.0.iter().filter_map(both).collect();
    entries
        .map(|(index, entry)| {
            let plain = !named.contains(&index) && entry.is_pod_of(host);
            if plain { Attribute::abridged(Some(host.clone())) } else { entry.read(names) }
        })
        .collect()
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
            holders.push(target);
            if target.is_none() {
                bad.push((ordinal, index));
            }
        }
    }
    block.unreferenced =
        (0u32..).zip(&*block.attributes).map(|(index, _)| index).filter(|index| !referenced.contains(*index)).collect();
    block.holders = holders.into_iter().collect();
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
fn sequence_defects(size: u32, value: &Block<'_>) -> Few<SequenceDefect> {
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::super::parse;
    use super::super::tests::object;
    use super::*;
    use crate::model::AttributeKind;

    fn block(cidr: &str, value: &str) -> AllocationBlock {
        let read: Block<'_> = parse(value.as_bytes()).unwrap();
        match object(read.read(cidr.parse().unwrap(), &Detail::Full)) {
            Object::Block(block) => block,
            other => panic!("{other:?}"),
        }
    }

    /// A /30 of our own with these fields beside its CIDR.
    fn small(fields: &str) -> AllocationBlock {
        block("10.0.0.0/30", &format!(r#"{{"cidr":"10.0.0.0/30",{fields}}}"#))
    }

    fn name(text: &str) -> Option<Name> {
        Some(text.into())
    }

    #[test]
    fn a_block_in_use_is_read_to_the_last_field() {
        let nulls = |count: usize| vec!["null"; count].join(",");
        let free: Vec<String> =
            (0..64).filter(|it| ![0, 1, 4, 5, 6, 9].contains(it)).chain([4]).map(|it: u32| it.to_string()).collect();
        let value = format!(
            r#"{{"cidr":"10.244.83.64/26","affinity":"host:node-a","affinity_claim_time":"2026-08-20T09:14:59Z",
            "allocations":[0,1,null,null,null,3,2,null,null,4,{}],"unallocated":[{}],"attributes":[
            {{"handle_id":"vxlan-tunnel-addr-node-a","secondary":{{"node":"node-a","type":"vxlanTunnelAddress"}}}},
            {{"handle_id":"k8s-pod-network.6d1f","secondary":{{"namespace":"default","node":"node-a","pod":"web-0",
              "timestamp":"2026-08-20 09:15:02.123456789 +0000 UTC"}}}},
            {{"handle_id":"k8s-pod-network.77aa","secondary":{{"namespace":"default","node":"node-b","pod":"web-1"}}}},
            {{"releasedAt":"2026-08-22T10:11:12Z"}},
            {{"handle_id":"k8s-pod-network.vmi.vms.db","secondary":{{"namespace":"vms","node":"node-a","vmi-name":"db"}},
              "alternateOwnerAttrs":{{"namespace":"vms","node":"node-b"}}}}],
            "sequenceNumber":1787390000123456798,
            "sequenceNumberForAllocation":{{"0":1787390000123456789,"9":1787390000123456797}},"deleted":false}}"#,
            nulls(54),
            free.join(",")
        );
        let block = block("10.244.83.64/26", &value);
        assert_eq!(block.host(), name("node-a").as_ref());
        assert_eq!(block.claimed_at, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_787_217_299)));
        assert_eq!(block.allocations_len, 64);
        assert_eq!(block.allocated.iter().collect::<Vec<_>>(), [0, 1, 5, 6, 9]);
        assert_eq!(block.unallocated.len(), 59);
        assert_eq!(block.holders, [Some(0), Some(1), Some(3), Some(2), Some(4)].into_iter().collect());
        let kinds: Vec<_> = block.attributes.iter().map(|it| it.kind).collect();
        use AttributeKind::*;
        assert_eq!(kinds, [Tunnel, Workload, Workload, Cooldown, VirtualMachine]);
        assert_eq!(block.cooling().collect::<Vec<_>>(), [5]);
        let web = &block.attributes[1];
        assert_eq!((web.namespace.clone(), web.pod.clone()), (name("default"), name("web-0")));
        assert_eq!(web.allocated_at, Some(SystemTime::UNIX_EPOCH + Duration::new(1_787_217_302, 123_456_789)));
        assert_eq!(block.attributes[4].peer_node, name("node-b"));
        assert!(block.unreferenced.is_empty() && block.bad_indices.is_empty() && block.sequence_defects.is_empty());
        // One name for the owner and for its pods.
        assert!(std::sync::Arc::ptr_eq(block.host().unwrap(), web.node.as_ref().unwrap()));
    }

    #[test]
    fn blocks_of_every_age_and_use() {
        let fresh = small(
            r#""affinity":"host:c","allocations":[null,null,null,null],"unallocated":[0,1,2,3],"attributes":null,"sequenceNumber":1787392800000000001,"sequenceNumberForAllocation":{}"#,
        );
        assert!(fresh.allocated.is_empty() && fresh.unallocated.len() == 4 && fresh.attributes.is_empty());
        let orphan = small(
            r#""affinity":null,"allocations":[0,null,null,null],"unallocated":[2,3,1],"attributes":[{"handle_id":"a.b"}],"sequenceNumber":7,"sequenceNumberForAllocation":{"0":2}"#,
        );
        assert_eq!((orphan.owner.clone(), orphan.allocated.len()), (None, 1));
        let service = small(
            r#""affinity":"virtual:load-balancer","allocations":[0],"attributes":[{"handle_id":"x","secondary":{"type":"loadbalancer"}}],"sequenceNumber":1"#,
        );
        assert_eq!(service.owner, Some(BlockOwner::Virtual("load-balancer".into())));
        assert_eq!(service.attributes[0].kind, AttributeKind::LoadBalancer);
        let old = small(
            r#""affinity":"host:old","hostAffinity":"old","allocations":[0,null,null,null],"unallocated":[1,2,3],"attributes":[{"handle_id":null,"secondary":null}]"#,
        );
        assert!(old.attributes[0].is_bare() && old.sequence_defects.is_empty());
        let single = block("fd00::1/128", r#"{"cidr":"fd00::1","allocations":[null],"unallocated":[0]}"#);
        assert_eq!((single.size(), single.unallocated.len()), (1, 1));
        assert_eq!(small(r#""affinity":"","affinity_claim_time":"long ago""#).claimed_at, None);
        let host_bits = block("10.0.0.0/30", r#"{"cidr":"10.0.0.3/30"}"#);
        assert_eq!((host_bits.cidr.to_string(), host_bits.allocations_len), ("10.0.0.0/30".to_owned(), 0));
    }

    #[test]
    fn what_is_wrong_with_allocations_is_kept() {
        let block = small(r#""allocations":[5,-1,null,0,2,-3,9223372036854775807],"attributes":[{},{},{},null]"#);
        assert_eq!(block.allocations_len, 7);
        assert_eq!(block.allocated.iter().collect::<Vec<_>>(), [0, 1, 3]);
        assert_eq!(block.holders, [None, None, Some(0)].into_iter().collect());
        assert_eq!(&*block.bad_indices, [(0, 5), (1, -1)]);
        assert_eq!(&*block.unreferenced, [1, 3], "an entry beyond the block's end uses the third");
        let short = small(r#""allocations":[0],"attributes":[{}]"#);
        assert_eq!((short.allocations_len, short.allocated.len()), (1, 1));
    }

    #[test]
    fn what_is_wrong_with_unallocated_is_kept() {
        let block = small(r#""unallocated":[3,1,3,4,-1,3,4,1,9223372036854775807]"#);
        assert_eq!(block.unallocated.iter().collect::<Vec<_>>(), [1, 3]);
        assert_eq!(&*block.duplicates, [1, 3]);
        assert_eq!(&*block.out_of_range, [4, -1, 4, i64::MAX]);
    }

    #[test]
    fn sequence_numbers_are_below_the_blocks_and_belong_to_ordinals() {
        let defects = |fields: &str| small(fields).sequence_defects.to_vec();
        // One apart, and equal as floats.
        let fine =
            r#""sequenceNumber":1787390000123456790,"sequenceNumberForAllocation":{"0":1787390000123456789,"3":null}"#;
        assert_eq!(defects(fine), []);
        assert_eq!(defects(r#""sequenceNumberForAllocation":null"#), []);
        assert_eq!(
            defects(
                r#""sequenceNumber":9,"sequenceNumberForAllocation":{"4":1,"x\n":2,"05":3,"":4,"1":9,"0":10,"-1":1}"#
            ),
            [
                SequenceDefect::OrdinalOutside("4".into()),
                SequenceDefect::OrdinalOutside("x\\n".into()),
                SequenceDefect::OrdinalOutside("05".into()),
                SequenceDefect::OrdinalOutside("".into()),
                SequenceDefect::OrdinalOutside("-1".into()),
                SequenceDefect::NotBelow { ordinal: 0, number: 10 },
                SequenceDefect::NotBelow { ordinal: 1, number: 9 },
            ]
        );
        assert_eq!(
            defects(r#""sequenceNumberForAllocation":{"0":18446744073709551615}"#),
            [SequenceDefect::NotBelow { ordinal: 0, number: u64::MAX }]
        );
        assert_eq!(defects(r#""sequenceNumber":9,"sequenceNumberForAllocation":{"0":10,"0":8}"#), []);
    }
}
