//! Blocks that nobody follows, as they were when they were read: what is known of other hosts' blocks where only
//! affinity keys are followed ([`Follow::Affinities`]).

use std::time::Duration;

use ipnet::IpNet;

use super::{Datastore, UnreadableValue};
use crate::model::{AllocationBlock, BlockOwner, Name};
use crate::state::event::ObjectId;
use crate::state::follow::Follow;

/// A block as it was read.
#[derive(Debug, Clone)]
pub struct ReadBlock {
    content: Content,
    /// When the answer came (monotonic): it was so then or a moment before.
    pub at: Duration,
    /// Something happened since that may have changed it.
    pub doubted: bool,
}

/// What was there.
#[derive(Debug, Clone)]
pub(in crate::state) enum Content {
    Block(Box<AllocationBlock>),
    Absent,
    Unreadable(UnreadableValue),
}

impl ReadBlock {
    /// The block, if there was one that could be read.
    pub fn block(&self) -> Option<&AllocationBlock> {
        match &self.content {
            Content::Block(block) => Some(block),
            Content::Absent | Content::Unreadable(_) => None,
        }
    }

    /// There was none.
    pub fn is_absent(&self) -> bool {
        matches!(self.content, Content::Absent)
    }

    /// A block was there, and its value could not be read.
    pub fn is_dark(&self) -> bool {
        self.unreadable().is_some()
    }

    /// What of it could not be read.
    pub fn unreadable(&self) -> Option<&UnreadableValue> {
        match &self.content {
            Content::Unreadable(value) => Some(value),
            Content::Block(_) | Content::Absent => None,
        }
    }
}

impl Datastore {
    /// Whether events tell of all blocks.
    pub fn follows_blocks(&self) -> bool {
        self.follow == Follow::Blocks
    }

    /// Whether what is known of this block is what is: whether it exists, and its content.
    pub fn follows(&self, cidr: &IpNet) -> bool {
        self.follows_blocks() || self.has_own_key(cidr) && !self.awaited.contains(cidr)
    }

    /// A block that is not followed, as it was when it was read, if it was.
    pub fn read(&self, cidr: &IpNet) -> Option<&ReadBlock> {
        self.reads.get(cidr)
    }

    /// Blocks that were read and contain the prefix, the most specific first.
    pub fn reads_around(&self, net: &IpNet) -> impl Iterator<Item = (&IpNet, &ReadBlock)> + use<'_> {
        self.reads.covering(net)
    }

    /// Blocks that were read, without being followed, and that say nothing.
    pub fn unreadable_reads(&self) -> impl Iterator<Item = (&IpNet, &UnreadableValue)> + '_ {
        self.reads.iter().filter_map(|(cidr, read)| Some((cidr, read.unreadable()?)))
    }

    /// Forgets the blocks that nobody asks about any more.
    pub fn keep_reads(&mut self, wanted: impl Fn(&IpNet) -> bool) {
        let gone: Vec<IpNet> = self.reads.iter().map(|(cidr, _)| *cidr).filter(|cidr| !wanted(cidr)).collect();
        for cidr in gone {
            self.reads.remove(&cidr);
        }
    }

    /// CIDRs around the prefix that a key claims, readable or not, the most specific first of each.
    pub fn keys_around(&self, net: &IpNet) -> impl Iterator<Item = IpNet> + '_ {
        let keys = self.affinities.covering(net).map(|(cidr, _)| *cidr);
        keys.chain(self.dark_affinities.covering(net).map(|(cidr, _)| *cidr))
    }

    /// Whether the prefix lies in a block: in a readable one or, where they are not followed, in one that a key claims.
    pub fn is_in_block(&self, net: &IpNet) -> bool {
        self.block_around(net).is_some() || !self.follows_blocks() && self.keys_around(net).next().is_some()
    }

    /// Whether this host has a key to the block, readable or not.
    pub(in crate::state) fn has_own_key(&self, cidr: &IpNet) -> bool {
        matches!(&self.follow, Follow::Affinities(me) if self.has_key_of(me, cidr))
    }

    /// Whether a host has a key to the block, readable or not.
    pub fn has_key_of(&self, host: &Name, cidr: &IpNet) -> bool {
        let mine = |owner: &BlockOwner| owner.host() == Some(host);
        self.affinities_of(cidr).any(|(owner, _)| mine(owner))
            || self.dark_affinities.get(cidr).is_some_and(|owners| owners.iter().any(mine))
    }

    /// Whether an event about this block is an answer, rather than a change of something followed.
    pub(in crate::state) fn is_answer(&self, cidr: &IpNet) -> bool {
        !self.follows_blocks() && !self.has_own_key(cidr)
    }

    pub(in crate::state) fn take_answer(&mut self, cidr: IpNet, mut content: Content, now: Duration) {
        if let Content::Block(block) = &mut content {
            self.share(block);
        }
        self.reads.insert(cidr, ReadBlock { content, at: now, doubted: false });
        self.changes.object(&ObjectId::Block(cidr));
    }

    /// A block is as it was when it was last read. What is not known any more will be asked for again.
    pub(in crate::state) fn take_same(&mut self, id: &ObjectId, now: Duration) {
        if let ObjectId::Block(cidr) = id
            && let Some(read) = self.reads.get_mut(cidr)
        {
            read.at = now;
            read.doubted = false;
            self.changes.object(id);
        }
    }

    /// A key to the block changed, and the block may have changed with it. `had`: this host had a key before.
    pub(in crate::state) fn key_changed(&mut self, cidr: &IpNet, had: bool) {
        if self.follows_blocks() {
            return;
        }
        match (had, self.has_own_key(cidr)) {
            // The source reads the block now, and follows it from there.
            (false, true) => {
                self.reads.remove(cidr);
                self.awaited.insert(*cidr);
            }
            (true, false) => {
                self.awaited.remove(cidr);
                self.blocks.remove(cidr);
                self.forget_unreadable(&ObjectId::Block(*cidr));
            }
            _ => {
                if let Some(read) = self.reads.get_mut(cidr) {
                    read.doubted = true;
                }
            }
        }
    }

    /// A list is complete: it named every block of this host. Of others' blocks it said nothing.
    pub(in crate::state) fn end_own_list(&mut self) {
        for cidr in std::mem::take(&mut self.awaited) {
            self.changes.object(&ObjectId::Block(cidr));
        }
        let read: Vec<IpNet> = self.reads.iter().map(|(cidr, _)| *cidr).collect();
        for cidr in read {
            if let Some(read) = self.reads.get_mut(&cidr) {
                read.doubted = true;
            }
        }
    }
}
