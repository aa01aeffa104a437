//! Blocks as a person looks at them: what each address is. Made when somebody asks, never for a report.

use std::net::IpAddr;

use ipnet::IpNet;

use super::block::holder;
use super::reserved::Reserved;
use crate::model::label_values;
use crate::model::{AffinityState, AllocationBlock, AttributeKind, BlockOwner, Name, address_at};
use crate::state::Datastore;

label_values! {
    /// What an address of a block is. The allocator trusts `unallocated`, and so does this (J3).
    pub enum AddressState {
        /// In `unallocated`: the next one who asks may get it.
        Free = "free",
        /// Given to somebody on the block's own host.
        Allocated = "allocated",
        /// Given to somebody on another host (J31).
        Borrowed = "borrowed",
        /// Released and still resting.
        Cooldown = "cooldown",
        /// In `unallocated`, and a reservation keeps it from being given out (J5).
        Reserved = "reserved",
        /// In both lists, or listed twice: it will be handed out twice (J3).
        Mismatched = "mismatched",
        /// In neither list: nobody will ever get it (J3).
        Lost = "lost",
    }
}

/// One address of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressView {
    /// The address.
    pub address: IpAddr,
    /// What it is.
    pub state: AddressState,
    /// Who holds it, in words; empty where nobody does.
    pub holder: String,
}

/// One CIDR that belongs to a host or is claimed for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockView {
    /// The CIDR.
    pub cidr: IpNet,
    /// The most specific pool around it.
    pub pool: Option<Name>,
    /// Keys that claim it: who, and how far.
    pub claims: Vec<(BlockOwner, AffinityState)>,
    /// What the block's value says, where there is one that can be read.
    pub content: BlockContent,
}

/// What is stored of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockContent {
    /// A key claims the CIDR and no block is there.
    Absent,
    /// A block is there and cannot be read.
    Unreadable,
    /// A block that can be read.
    Readable {
        /// Whose it is.
        owner: Option<BlockOwner>,
        /// How many addresses it has.
        size: u32,
        /// How many of each state there are in all of it, in the order of [`AddressState::ALL`].
        counts: [u32; AddressState::ALL.len()],
        /// Its first addresses: all of them, unless it is too large to be shown.
        addresses: Vec<AddressView>,
    },
}

/// A host's blocks, some of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostBlocks {
    /// The host has a Node, or one that cannot be read.
    pub has_node: bool,
    /// How many CIDRs belong to the host or are claimed for it.
    pub total: usize,
    /// The first one shown.
    pub from: usize,
    /// Those shown.
    pub blocks: Vec<BlockView>,
}

impl HostBlocks {
    /// Addresses of one block that are shown one by one.
    pub const MOST_OF_ONE: u32 = 256;
    /// Addresses that are shown at once, a last block aside: so large is an answer.
    pub const MOST_OF_ALL: usize = 512;
    /// CIDRs that are shown at once: of single addresses, or without a block.
    const MOST_BLOCKS: usize = 64;

    /// The blocks that a host owns or claims, from the one at `from` on, as many as fit; `None` for a host that the
    /// datastore does not know.
    pub fn of(datastore: &Datastore, host: &Name, from: usize) -> Option<HostBlocks> {
        let has_node = datastore.nodes().contains_key(host) || datastore.is_unreadable_node(host);
        let owned = datastore.blocks().filter(|block| block.host() == Some(host)).map(|block| block.cidr);
        let claimed = datastore.affinities().filter(|(_, owner, _)| owner.host() == Some(host)).map(|(cidr, ..)| *cidr);
        let cidrs: std::collections::BTreeSet<IpNet> = owned.chain(claimed).collect();
        if !has_node && cidrs.is_empty() {
            return None;
        }
        let reserved = Reserved::new(datastore.reservations().values());
        let mut shown = 0;
        let mut blocks = Vec::new();
        for cidr in cidrs.iter().skip(from).take(Self::MOST_BLOCKS) {
            if shown >= Self::MOST_OF_ALL {
                break;
            }
            let view = view(datastore, &reserved, *cidr);
            if let BlockContent::Readable { addresses, .. } = &view.content {
                shown += addresses.len();
            }
            blocks.push(view);
        }
        Some(HostBlocks { has_node, total: cidrs.len(), from, blocks })
    }
}

/// One CIDR, by itself.
pub(in crate::audit) fn view_of(datastore: &Datastore, cidr: IpNet) -> BlockView {
    view(datastore, &Reserved::new(datastore.reservations().values()), cidr)
}

fn view(datastore: &Datastore, reserved: &Reserved, cidr: IpNet) -> BlockView {
    let content = match datastore.block(&cidr) {
        Some(block) => content(block, reserved),
        None if datastore.is_dark_block(&cidr) => BlockContent::Unreadable,
        None => BlockContent::Absent,
    };
    BlockView {
        cidr,
        pool: datastore.pool_of(&cidr).map(|pool| pool.name.clone()),
        claims: datastore.affinities_of(&cidr).map(|(owner, entry)| (owner.clone(), entry.state)).collect(),
        content,
    }
}

fn content(block: &AllocationBlock, reserved: &Reserved) -> BlockContent {
    let any_reserved = reserved.inside(&block.cidr) > 0;
    let mut counts = [0; AddressState::ALL.len()];
    let mut addresses = Vec::new();
    for ordinal in 0..block.size() {
        let Some(address) = address_at(&block.cidr, u64::from(ordinal)) else { break };
        let state = state(block, ordinal, || any_reserved && reserved.contains(address));
        counts[state as usize] += 1;
        if ordinal < HostBlocks::MOST_OF_ONE {
            let allocation = block.allocation(ordinal);
            addresses.push(AddressView { address, state, holder: allocation.map(holder).unwrap_or_default() });
        }
    }
    BlockContent::Readable { owner: block.owner.clone(), size: block.size(), counts, addresses }
}

fn state(block: &AllocationBlock, ordinal: u32, is_reserved: impl Fn() -> bool) -> AddressState {
    let listed = block.unallocated.contains(ordinal);
    if block.duplicates.contains(&ordinal) {
        return AddressState::Mismatched;
    }
    match block.allocation(ordinal) {
        Some(_) if listed => AddressState::Mismatched,
        None if listed && is_reserved() => AddressState::Reserved,
        None if listed => AddressState::Free,
        None => AddressState::Lost,
        Some(Some(attribute)) if attribute.kind == AttributeKind::Cooldown => AddressState::Cooldown,
        Some(Some(attribute)) => {
            let lends = !matches!(block.owner, Some(BlockOwner::Virtual(_)));
            match attribute.node.as_ref().filter(|node| lends && !node.is_empty()) {
                Some(node) if block.host() != Some(node) => AddressState::Borrowed,
                _ => AddressState::Allocated,
            }
        }
        Some(None) => AddressState::Allocated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Block, Cluster};

    fn cluster() -> Cluster {
        let mut block = Block::of("host:h1", "10.0.0.0/28")
            .pod(0, "h1", "a")
            .pod(1, "h2", "b")
            .cooldown(2, 1_799_999_000)
            .pod(3, "h1", "c");
        // Ordinal 3 is in both lists, 4 in neither, 6 twice in one.
        block.unallocated.push(3);
        block.unallocated.retain(|ordinal| *ordinal != 4);
        block.unallocated.push(6);
        let mut cluster = Cluster::new();
        cluster
            .pool("p", "10.0.0.0/16", 28)
            .reservation("r", &["10.0.0.5/32", "10.0.0.0/32"])
            .node("h1", &["192.168.0.1/24"])
            .owned(block)
            .affinity("host:h1", "10.0.0.16/28", AffinityState::Pending)
            .owned(Block::of("host:h2", "10.0.0.32/28"));
        cluster
    }

    #[test]
    fn every_address_has_the_state_that_rules_and_figures_give_it() {
        let cluster = cluster();
        let host = HostBlocks::of(cluster.datastore(), &"h1".into(), 0).unwrap();
        assert!(host.has_node);
        assert_eq!((host.total, host.blocks.len()), (2, 2));
        let BlockContent::Readable { counts, addresses, size, .. } = &host.blocks[0].content else { panic!() };
        use AddressState as S;
        let states: Vec<AddressState> = addresses.iter().map(|it| it.state).collect();
        assert_eq!(
            states[..8],
            [S::Allocated, S::Borrowed, S::Cooldown, S::Mismatched, S::Lost, S::Reserved, S::Mismatched, S::Free]
        );
        assert!(states[8..].iter().all(|state| *state == S::Free));
        assert_eq!(counts, &[9, 1, 1, 1, 1, 2, 1]);
        assert_eq!(*size, 16);
        assert_eq!(addresses[1].holder, "pod default/b on h2");
        assert_eq!(addresses[7].holder, "");
        assert_eq!(host.blocks[0].pool.as_deref(), Some("p"));
        assert_eq!(host.blocks[1].content, BlockContent::Absent);
        assert_eq!(host.blocks[1].claims, [(BlockOwner::Host("h1".into()), AffinityState::Pending)]);
    }

    #[test]
    fn a_host_without_node_is_known_by_its_blocks_and_a_stranger_is_not() {
        let cluster = cluster();
        let host = HostBlocks::of(cluster.datastore(), &"h2".into(), 0).unwrap();
        assert!(!host.has_node);
        assert_eq!(host.total, 1);
        assert_eq!(HostBlocks::of(cluster.datastore(), &"h3".into(), 0), None);
    }

    #[test]
    fn an_answer_is_bounded_and_the_rest_can_be_asked_for() {
        let mut cluster = Cluster::new();
        for block in 0..40 {
            cluster.owned(Block::of("host:h1", &format!("10.0.{block}.0/26")));
        }
        cluster.owned(Block::of("host:h1", "10.1.0.0/20"));
        let of = |from| HostBlocks::of(cluster.datastore(), &"h1".into(), from).unwrap();
        let first = of(0);
        assert_eq!((first.total, first.blocks.len()), (41, HostBlocks::MOST_OF_ALL / 64));
        let last = of(40);
        let BlockContent::Readable { size, addresses, counts, .. } = &last.blocks[0].content else { panic!() };
        assert_eq!((*size, addresses.len(), counts[0]), (4096, HostBlocks::MOST_OF_ONE as usize, 4096));
        assert!(of(41).blocks.is_empty());
    }
}
