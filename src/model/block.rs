//! Allocation blocks (`libcalico-go/lib/backend/model/block.go`), decoded into what rules ask of them: which ordinals
//! are free, which are allocated and to whom, and what is wrong with the arrays that say so.

use std::sync::Arc;
use std::time::SystemTime;

use ipnet::IpNet;

use super::{BlockOwner, Few, HandleDigest, Name};

/// A set of ordinals as a bitmap; it grows with the largest member. Calico's blocks have 64 addresses unless somebody
/// decided otherwise: those fit without a heap.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OrdinalSet {
    first: u64,
    more: Few<u64>,
}

impl OrdinalSet {
    /// Adds an ordinal; false where it was a member already.
    pub fn insert(&mut self, ordinal: u32) -> bool {
        let bit = 1u64 << (ordinal % 64);
        let word = match (ordinal as usize / 64).checked_sub(1) {
            None => &mut self.first,
            Some(word) => {
                let more = self.more.to_mut();
                if more.len() <= word {
                    more.resize(word + 1, 0);
                }
                &mut more[word]
            }
        };
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    /// Whether the ordinal is a member.
    pub fn contains(&self, ordinal: u32) -> bool {
        self.word(ordinal as usize / 64).is_some_and(|word| word & (1u64 << (ordinal % 64)) != 0)
    }

    /// How many members it has.
    pub fn len(&self) -> u32 {
        self.words().map(u64::count_ones).sum()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.words().all(|word| word == 0)
    }

    /// The members in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words().enumerate().flat_map(|(index, word)| {
            let following = |rest: &u64| Some(rest & (rest - 1)).filter(|rest| *rest != 0);
            let rest = std::iter::successors(Some(word).filter(|word| *word != 0), following);
            rest.map(move |rest| index as u32 * 64 + rest.trailing_zeros())
        })
    }

    /// How many members are below the ordinal.
    pub fn rank(&self, ordinal: u32) -> u32 {
        let (whole, below) = (ordinal as usize / 64, (1u64 << (ordinal % 64)) - 1);
        let full: u32 = self.words().take(whole).map(u64::count_ones).sum();
        full + self.word(whole).map_or(0, |word| (word & below).count_ones())
    }

    fn word(&self, index: usize) -> Option<u64> {
        match index.checked_sub(1) {
            None => Some(self.first),
            Some(index) => self.more.get(index).copied(),
        }
    }

    fn words(&self) -> impl Iterator<Item = u64> + '_ {
        std::iter::once(self.first).chain(self.more.iter().copied())
    }
}

impl FromIterator<u32> for OrdinalSet {
    fn from_iter<I: IntoIterator<Item = u32>>(ordinals: I) -> Self {
        let mut set = OrdinalSet::default();
        set.extend(ordinals);
        set
    }
}

impl Extend<u32> for OrdinalSet {
    fn extend<I: IntoIterator<Item = u32>>(&mut self, ordinals: I) {
        for ordinal in ordinals {
            self.insert(ordinal);
        }
    }
}

/// What kind of thing holds an allocation, as its attribute and its handle say (`libcalico-go/lib/ipam/ipam.go`, `WindowsReservedHandle` and the callers' handle ids).
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
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
    /// It has a handle and a pod's name, and both were left out here, with all that is not needed to judge
    /// ([`Detail::Rules`](super::Detail::Rules)).
    pub abridged: bool,
}

impl Attribute {
    /// One that says no more than its kind.
    pub fn new(kind: AttributeKind) -> Attribute {
        Attribute {
            kind,
            handle: None,
            node: None,
            namespace: None,
            pod: None,
            kind_text: None,
            peer_node: None,
            released_at: None,
            allocated_at: None,
            abridged: false,
        }
    }

    /// A pod of which no more is known than its node.
    pub(crate) fn abridged(node: Option<Name>) -> Attribute {
        Attribute { node, abridged: true, ..Attribute::new(AttributeKind::Workload) }
    }

    /// Neither handle nor attributes: what very old Calico wrote for its tunnel addresses (J13).
    pub fn is_bare(&self) -> bool {
        self.kind != AttributeKind::Cooldown
            && self.handle.is_none()
            && self.node.is_none()
            && self.namespace.is_none()
            && self.pod.is_none()
            && self.kind_text.is_none()
            && !self.abridged
    }

    /// Whether it names a pod.
    pub fn has_pod(&self) -> bool {
        self.pod.is_some() || self.abridged
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
    /// It is a Node's `podCIDR`: host-local IPAM gives its addresses out, and nothing is known of them (J39).
    pub pod_cidr: bool,
    /// `affinity_claim_time`.
    pub claimed_at: Option<SystemTime>,
    /// Length of `allocations` as written; it ought to be the block's size.
    pub allocations_len: usize,
    /// Ordinals inside the block that `allocations` gives to somebody, cooling ones included.
    pub allocated: OrdinalSet,
    /// Ordinals inside the block that `unallocated` lists.
    pub unallocated: OrdinalSet,
    /// Who holds each member of `allocated`.
    pub holders: Holders,
    /// `attributes`; where they were abridged, those that are alike once.
    pub attributes: Arc<[Attribute]>,
    /// How many `attributes` there are as written.
    pub attributes_len: usize,
    /// For each allocated ordinal the digest of its handle, where those are kept ([`Detail::Digests`](super::Detail)).
    pub digests: Box<[HandleDigest]>,
    /// Members of `unallocated` that are no ordinal of the block, as written (I4).
    pub out_of_range: Few<i64>,
    /// Ordinals that `unallocated` lists more than once (I4).
    pub duplicates: Few<u32>,
    /// Indices of attributes that no allocation uses (I3).
    pub unreferenced: Few<u32>,
    /// Indices in `allocations` that point to no attribute: ordinal and index (I2).
    pub bad_indices: Few<(u32, i64)>,
    /// What is wrong with the sequence numbers (I7).
    pub sequence_defects: Few<SequenceDefect>,
}

impl AllocationBlock {
    /// Blocks larger than this are not legal in Calico (`blockSize` 20–32, 116–128) and are treated as ending here.
    pub const MAX_SIZE: u32 = 1 << 16;

    /// The shortest and the longest prefix that Calico lets a block have, IPv4 and IPv6.
    pub const LENGTHS: [(u8, u8); 2] = [(20, 32), (116, 128)];

    /// A block of which nothing is written but its CIDR.
    pub fn new(cidr: IpNet) -> AllocationBlock {
        AllocationBlock {
            cidr,
            owner: None,
            pod_cidr: false,
            claimed_at: None,
            allocations_len: 0,
            allocated: OrdinalSet::default(),
            unallocated: OrdinalSet::default(),
            holders: Holders::default(),
            attributes: Arc::default(),
            attributes_len: 0,
            digests: Box::default(),
            out_of_range: Few::default(),
            duplicates: Few::default(),
            unreferenced: Few::default(),
            bad_indices: Few::default(),
            sequence_defects: Few::default(),
        }
    }

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
        let holder = |rank| self.attributes.get(self.holders.get(rank) as usize);
        self.allocated.iter().enumerate().map(move |(rank, ordinal)| (ordinal, holder(rank)))
    }

    /// Whether the ordinal is allocated, and by which attribute (`None` inside where the index points nowhere).
    pub fn allocation(&self, ordinal: u32) -> Option<Option<&Attribute>> {
        Some(self.attributes.get(self.index_of(ordinal)? as usize))
    }

    /// The index of the attribute of an allocated ordinal; it may point nowhere.
    pub fn index_of(&self, ordinal: u32) -> Option<u32> {
        self.allocated.contains(ordinal).then(|| self.holders.get(self.allocated.rank(ordinal) as usize))
    }

    /// Ordinals in cooldown: allocated, and released already.
    pub fn cooling(&self) -> impl Iterator<Item = u32> + '_ {
        self.allocations()
            .filter(|(_, attribute)| attribute.is_some_and(|it| it.kind == AttributeKind::Cooldown))
            .map(|(ordinal, _)| ordinal)
    }
}

/// For each allocated ordinal, in order, the index of its attribute, or one that points nowhere (I2). Zeros at the end are
/// left out: where all attributes are alike, that is everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holders(pub(super) Box<[u32]>);

impl Holders {
    /// The index that points nowhere: no list is that long.
    pub(super) const NOWHERE: u32 = u32::MAX;

    /// The index of the allocated ordinal of this rank.
    pub(super) fn get(&self, rank: usize) -> u32 {
        self.0.get(rank).copied().unwrap_or_default()
    }
}

impl FromIterator<Option<u32>> for Holders {
    fn from_iter<I: IntoIterator<Item = Option<u32>>>(indices: I) -> Self {
        let mut indices: Vec<u32> = indices.into_iter().map(|index| index.unwrap_or(Self::NOWHERE)).collect();
        let end = indices.iter().rposition(|index| *index != 0).map_or(0, |last| last + 1);
        indices.truncate(end);
        Holders(indices.into())
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
        assert_eq!([0, 1, 63, 64, 65, 1000].map(|ordinal| set.rank(ordinal)), [0, 1, 1, 2, 3, 3]);
    }

    #[test]
    fn a_block_is_as_large_as_its_prefix_says_up_to_a_bound() {
        assert_eq!(block_size(&"10.0.0.0/26".parse().unwrap()), 64);
        assert_eq!(block_size(&"10.0.0.0/32".parse().unwrap()), 1);
        assert_eq!(block_size(&"0.0.0.0/0".parse().unwrap()), AllocationBlock::MAX_SIZE);
        assert_eq!(block_size(&"fd00::/64".parse().unwrap()), AllocationBlock::MAX_SIZE);
    }
}
