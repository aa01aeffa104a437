//! Allocation blocks (`libcalico-go/lib/backend/model/block.go`), decoded into what rules ask of them: which ordinals
//! are free, which are allocated and to whom, and what is wrong with the arrays that say so.

use std::time::SystemTime;

use ipnet::IpNet;

use super::{BlockOwner, Name};

/// A set of ordinals as a bitmap; it grows with the largest member.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OrdinalSet {
    words: Vec<u64>,
}

impl OrdinalSet {
    /// Adds an ordinal; false where it was a member already.
    pub fn insert(&mut self, ordinal: u32) -> bool {
        let (word, bit) = (ordinal as usize / 64, 1u64 << (ordinal % 64));
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        new
    }

    /// Whether the ordinal is a member.
    pub fn contains(&self, ordinal: u32) -> bool {
        self.words.get(ordinal as usize / 64).is_some_and(|word| word & (1u64 << (ordinal % 64)) != 0)
    }

    /// How many members it has.
    pub fn len(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The members in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().enumerate().flat_map(|(index, word)| {
            (0..64u32).filter(move |bit| word & (1u64 << bit) != 0).map(move |bit| index as u32 * 64 + bit)
        })
    }
}

impl FromIterator<u32> for OrdinalSet {
    fn from_iter<I: IntoIterator<Item = u32>>(ordinals: I) -> Self {
        let mut set = OrdinalSet::default();
        for ordinal in ordinals {
            set.insert(ordinal);
        }
        set
    }
}

/// What kind of thing holds an allocation, as its attribute tells (reference 1.2: handle id forms).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttributeKind {
    /// A pod, or anything that says no more.
    Workload,
    /// A host's tunnel address: `type` ends in `TunnelAddress`, or the handle has a tunnel's form.
    Tunnel,
    /// `windows-reserved-ipam-handle` in any case.
    WindowsReserved,
    /// `type` LoadBalancer in any case, or a handle `lb-…`.
    LoadBalancer,
    /// A KubeVirt machine: it has `vmi-name`.
    VirtualMachine,
    /// Released, still resting: only `releasedAt` is left.
    Cooldown,
}

/// An entry of `attributes`: to whom addresses are allocated. Several ordinals may share one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// What holds the address.
    pub kind: AttributeKind,
    /// `handle_id`, cut at `\r`; absent in very old and in cooling allocations.
    pub handle: Option<Name>,
    /// `secondary.node`.
    pub node: Option<Name>,
    /// `secondary.namespace`.
    pub namespace: Option<Name>,
    /// `secondary.pod`.
    pub pod: Option<Name>,
    /// `secondary.type`, as written.
    pub kind_text: Option<Name>,
    /// `alternateOwnerAttrs.node`: where a migrating machine comes from or goes to.
    pub peer_node: Option<Name>,
    /// `releasedAt`.
    pub released_at: Option<SystemTime>,
    /// `secondary.timestamp`: when it was allocated.
    pub allocated_at: Option<SystemTime>,
}

impl Attribute {
    /// Neither handle nor attributes: what very old Calico wrote for its tunnel addresses (J13).
    pub fn is_bare(&self) -> bool {
        self.kind != AttributeKind::Cooldown
            && self.handle.is_none()
            && self.node.is_none()
            && self.namespace.is_none()
            && self.pod.is_none()
            && self.kind_text.is_none()
    }
}

/// What is wrong with `sequenceNumberForAllocation` (J4, I7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SequenceDefect {
    /// A key that is no ordinal of the block.
    OrdinalOutside(String),
    /// A number that is not below the block's `sequenceNumber`.
    NotBelow {
        /// The ordinal.
        ordinal: u32,
        /// Its number.
        number: u64,
    },
}

/// A block of addresses as its value describes it. Never the JSON: two bitmaps, an index by ordinal and the attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllocationBlock {
    /// The block, masked; key and value agree on it (else it is not readable: J2).
    pub cidr: IpNet,
    /// `affinity`; `None` where nobody owns it.
    pub owner: Option<BlockOwner>,
    /// `affinity_claim_time`.
    pub claimed_at: Option<SystemTime>,
    /// Length of `allocations` as written; it ought to be the block's size.
    pub allocations_len: usize,
    /// Ordinals inside the block that `allocations` gives to somebody, cooling ones included.
    pub allocated: OrdinalSet,
    /// Ordinals inside the block that `unallocated` lists.
    pub unallocated: OrdinalSet,
    /// For each allocated ordinal, sorted, the index of its attribute; `None` where the index points nowhere (I2).
    pub holders: Box<[(u32, Option<u32>)]>,
    /// `attributes`.
    pub attributes: Box<[Attribute]>,
    /// Members of `unallocated` that are no ordinal of the block, as written (I4).
    pub out_of_range: Box<[i64]>,
    /// Ordinals that `unallocated` lists more than once (I4).
    pub duplicates: Box<[u32]>,
    /// Indices of attributes that no allocation uses (I3).
    pub unreferenced: Box<[u32]>,
    /// Indices in `allocations` that point to no attribute: ordinal and index (I2).
    pub bad_indices: Box<[(u32, i64)]>,
    /// What is wrong with the sequence numbers (I7).
    pub sequence_defects: Box<[SequenceDefect]>,
}

impl AllocationBlock {
    /// Blocks larger than this are not legal in Calico (`blockSize` 20–32, 116–128) and are treated as ending here.
    pub const MAX_SIZE: u32 = 1 << 16;

    /// How many addresses the block has, at most [`AllocationBlock::MAX_SIZE`].
    pub fn size(&self) -> u32 {
        block_size(&self.cidr)
    }

    /// The host that owns it.
    pub fn host(&self) -> Option<&Name> {
        self.owner.as_ref().and_then(BlockOwner::host)
    }

    /// Allocated ordinals with their attributes, in order; a bad index gives `None`.
    pub fn allocations(&self) -> impl Iterator<Item = (u32, Option<&Attribute>)> + '_ {
        self.holders
            .iter()
            .map(|(ordinal, index)| (*ordinal, index.and_then(|index| self.attributes.get(index as usize))))
    }

    /// Whether the ordinal is allocated, and by which attribute (`None` inside where the index points nowhere).
    pub fn allocation(&self, ordinal: u32) -> Option<Option<&Attribute>> {
        let at = self.holders.binary_search_by_key(&ordinal, |(ordinal, _)| *ordinal).ok()?;
        Some(self.holders[at].1.and_then(|index| self.attributes.get(index as usize)))
    }

    /// Ordinals in cooldown: allocated, and released already.
    pub fn cooling(&self) -> impl Iterator<Item = u32> + '_ {
        self.allocations()
            .filter(|(_, attribute)| attribute.is_some_and(|it| it.kind == AttributeKind::Cooldown))
            .map(|(ordinal, _)| ordinal)
    }
}

/// The size of a block, capped at [`AllocationBlock::MAX_SIZE`].
pub(crate) fn block_size(cidr: &IpNet) -> u32 {
    let bits = u32::from(cidr.max_prefix_len() - cidr.prefix_len());
    1u32.checked_shl(bits).map_or(AllocationBlock::MAX_SIZE, |size| size.min(AllocationBlock::MAX_SIZE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_ordinals_keeps_members_once_and_in_order() {
        let mut set: OrdinalSet = [63, 0, 64, 63].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63, 64]);
        assert_eq!(set.len(), 3);
        assert!(!set.insert(64));
        assert!(set.contains(64) && !set.contains(65) && !set.contains(1000));
    }

    #[test]
    fn a_block_is_as_large_as_its_prefix_says_up_to_a_bound() {
        assert_eq!(block_size(&"10.0.0.0/26".parse().unwrap()), 64);
        assert_eq!(block_size(&"10.0.0.0/32".parse().unwrap()), 1);
        assert_eq!(block_size(&"0.0.0.0/0".parse().unwrap()), AllocationBlock::MAX_SIZE);
        assert_eq!(block_size(&"fd00::/64".parse().unwrap()), AllocationBlock::MAX_SIZE);
    }
}
