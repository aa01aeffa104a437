//! How much of a block is kept in memory. Of half a million allocations nearly all are alike but for names, and names
//! are nearly all of their size.

use std::hash::{DefaultHasher, Hash, Hasher};

use ipnet::IpNet;
use memchr::memchr;

use super::Name;
use super::block::{AllocationBlock, Attribute, AttributeKind, OrdinalSet};

/// How much of a block's attributes is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Detail {
    /// All that is written.
    #[default]
    Full,
    /// What rules ask while the datastore is followed on this host: of another host's pods in that host's own blocks,
    /// only that they are pods.
    Rules(Name),
    /// What a sweep for leaks asks of all pods in their own hosts' blocks: that they are pods, and their handles'
    /// digests. What looks wrong by them is to be read again in full.
    Digests,
}

impl Detail {
    /// Whether the pods of `host` in its own block are left without names.
    pub(crate) fn abridges(&self, block: IpNet, host: &Name) -> bool {
        match self {
            Detail::Full => false,
            // A block of one address is a route of its own, whose pod may be looked up.
            Detail::Rules(me) => host != me && block.prefix_len() < block.max_prefix_len(),
            Detail::Digests => true,
        }
    }
}

/// A handle's id in twelve bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandleDigest {
    /// Of the whole id, in two halves: a structure of words only has no gap.
    id: [u32; 2],
    /// 0 where the handle names no container.
    container: u32,
}

impl HandleDigest {
    fn of(handle: &str) -> HandleDigest {
        let number = Self::number_of(handle);
        let container = container_in(handle).map_or(0, Self::container_of);
        HandleDigest { id: [(number >> 32) as u32, number as u32], container }
    }

    /// The number that stands for an id. With a million ids, that two of them share one is a chance of one in forty
    /// million.
    pub fn number_of(handle: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        handle.hash(&mut hasher);
        hasher.finish()
    }

    /// The same for a container alone: never looked up, only compared with another's.
    fn container_of(container: &str) -> u32 {
        Self::number_of(container) as u32
    }

    /// The id's number.
    pub fn number(self) -> u64 {
        u64::from(self.id[0]) << 32 | u64::from(self.id[1])
    }

    /// Whether the handle names another container than this one, as far as a digest tells.
    pub fn names_another(self, container: &str) -> bool {
        self.container != 0 && is_container_id(container) && self.container != Self::container_of(container)
    }
}

/// The id of a container, as every runtime makes them: 64 hexadecimal digits.
fn is_container_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The container that a handle names. Old CNI plugins wrote `namespace.pod`, or names of sandboxes, which name none (J10).
fn container_in(handle: &str) -> Option<&str> {
    handle.rsplit('.').next().filter(|last| last.len() < handle.len() && is_container_id(last))
}

/// Whether a handle names another container than this one: only where both are ids (J10).
pub(crate) fn names_another_container(handle: &str, container: &str) -> bool {
    is_container_id(container) && container_in(handle).is_some_and(|named| named != container)
}

/// `<network>.<containerID>`, and neither a machine's nor of any other form.
pub(crate) fn is_plain_handle(handle: &str) -> bool {
    // Asked of every pod of every block that is read.
    let Some(dot) = memchr(b'.', handle.as_bytes()) else { return false };
    let rest = handle.as_bytes().get(dot + 1..).unwrap_or_default();
    dot > 0 && !rest.is_empty() && !(memchr(b'.', rest).is_some() && handle.contains(".vmi."))
}

impl AllocationBlock {
    /// Leaves out what `detail` does not ask for: attributes of pods on the block's own host become one.
    pub fn reduce(&mut self, detail: &Detail) {
        let Some(host) = self.host().cloned() else { return };
        match detail {
            Detail::Full => return,
            Detail::Rules(_) if !detail.abridges(self.cidr, &host) => return,
            Detail::Rules(_) => {}
            Detail::Digests => self.digests = self.digests_of_all(),
        }
        // What is in both lists has a finding that names its holder.
        let twice = self.allocated.iter().filter(|ordinal| self.unallocated.contains(*ordinal));
        let named: OrdinalSet = twice.filter_map(|ordinal| self.index_of(ordinal)).collect();
        let is_plain = |index: u32, it: &Attribute| {
            let is_pod_of_host = it.kind == AttributeKind::Workload
                && it.pod.is_some()
                && it.peer_node.is_none()
                && it.node.as_ref() == Some(&host)
                && it.handle.as_deref().is_some_and(is_plain_handle);
            it.abridged || is_pod_of_host && !named.contains(index)
        };
        let mut kept: Vec<Attribute> = Vec::new();
        let mut plain = None;
        let mut moved = Vec::with_capacity(self.attributes.len());
        for (index, attribute) in (0u32..).zip(&*self.attributes) {
            let next = kept.len() as u32;
            moved.push(if !is_plain(index, attribute) {
                kept.push(attribute.clone());
                next
            } else if let Some(plain) = plain {
                plain
            } else {
                kept.push(Attribute::abridged(attribute.node.clone()));
                plain = Some(next);
                next
            });
        }
        let holders = (0..self.allocated.len() as usize).map(|rank| self.holders.get(rank) as usize);
        self.holders = holders.map(|index| moved.get(index).copied()).collect();
        self.attributes = kept.into();
    }

    fn digests_of_all(&self) -> Box<[HandleDigest]> {
        let handle = |(_, attribute): (u32, Option<&Attribute>)| {
            HandleDigest::of(attribute.and_then(|it| it.handle.as_deref()).unwrap_or_default())
        };
        self.allocations().map(handle).collect()
    }

    /// The digest of the handle of an allocated ordinal, where they were kept instead of the handles.
    pub fn digest(&self, ordinal: u32) -> Option<HandleDigest> {
        self.digests.get(self.allocated.rank(ordinal) as usize).copied()
    }

    /// Whether digests were kept.
    pub fn is_digested(&self) -> bool {
        !self.digests.is_empty()
    }

    /// The number of the handle that an allocation of this block names.
    pub fn handle_number(&self, ordinal: u32, attribute: &Attribute) -> Option<u64> {
        match &attribute.handle {
            Some(handle) => Some(HandleDigest::number_of(handle)),
            None if attribute.abridged => self.digest(ordinal).map(HandleDigest::number),
            None => None,
        }
    }
}
