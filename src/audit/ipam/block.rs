//! What a block's value says against itself, its pool and its neighbours (J2–J4; I1–I7, I11, I12).
//!
//! A mismatch is counted for each address, a defect once for each block and reason, and one thing is never both (J3).

use ipnet::IpNet;

use crate::audit::fault::{BlockReason, Fault, MismatchReason};
use crate::audit::finding::Finding;
use crate::model::{AllocationBlock, Attribute, IpPool, SequenceDefect, address_at};

/// What a block is judged against.
pub(super) struct Surroundings<'a> {
    /// Another readable block that shares addresses with it.
    pub(super) overlaps: Option<IpNet>,
    /// The most specific pool that contains it.
    pub(super) pool: Option<&'a IpPool>,
    /// Every pool can be read: only then can a block lie in none (J1).
    pub(super) pools_known: bool,
}

/// Addresses that the two lists disagree on (J3).
pub(super) fn mismatches(block: &AllocationBlock) -> impl Iterator<Item = Finding> + '_ {
    allocated_and_unallocated(block).chain(neither(block)).chain(duplicate(block))
}

fn mismatch(block: &AllocationBlock, ordinal: u32, reason: MismatchReason) -> Option<Finding> {
    let address = address_at(&block.cidr, u64::from(ordinal))?;
    Some(Finding::new(Fault::Mismatch(reason), address).host(block.host().cloned()))
}

/// I5: the allocator hands out what `unallocated` lists without a look at `allocations`.
fn allocated_and_unallocated(block: &AllocationBlock) -> impl Iterator<Item = Finding> + '_ {
    block.allocations().filter(|(ordinal, _)| block.unallocated.contains(*ordinal)).filter_map(
        |(ordinal, attribute)| {
            let holder = holder(attribute);
            Some(
            mismatch(block, ordinal, MismatchReason::AllocatedAndUnallocated)?
                .detail(format!(
                    "Ordinal {ordinal} of {} belongs to {holder}, and the allocator will hand it out again.",
                    block.cidr
                ))
                .expected(format!("allocated to {holder}, and not in `unallocated`"), "in both lists")
                .action(format!(
                    "Run `calicoctl ipam check`. Take ordinal {ordinal} out of `unallocated` of block {}, or release \
                     the address if nobody uses it.",
                    block.cidr
                )),
        )
        },
    )
}

/// I6: an ordinal in neither list is never handed out again and nothing repairs it. Past the end of an `allocations`
/// that is too short there is nothing to compare: that is `wrong_length`, and not this too (J3).
fn neither(block: &AllocationBlock) -> impl Iterator<Item = Finding> + '_ {
    let written = u32::try_from(block.allocations_len).unwrap_or(u32::MAX).min(block.size());
    (0..written)
        .filter(|ordinal| !block.allocated.contains(*ordinal) && !block.unallocated.contains(*ordinal))
        .filter_map(|ordinal| {
            Some(
                mismatch(block, ordinal, MismatchReason::Neither)?
                    .detail(format!("Ordinal {ordinal} of {} is in neither list: lost to the allocator.", block.cidr))
                    .expected("in `allocations` or in `unallocated`", "in neither list")
                    .action(format!(
                        "Run `calicoctl ipam check`. Nothing repairs this by itself: append {ordinal} to `unallocated` \
                         of block {}.",
                        block.cidr
                    )),
            )
        })
}

/// I4: an ordinal listed twice is handed out twice.
fn duplicate(block: &AllocationBlock) -> impl Iterator<Item = Finding> + '_ {
    block.duplicates.iter().filter_map(|ordinal| {
        Some(
            mismatch(block, *ordinal, MismatchReason::Duplicate)?
                .detail(format!(
                    "`unallocated` of {} lists ordinal {ordinal} more than once: it will be handed out twice.",
                    block.cidr
                ))
                .expected("once in `unallocated`", "more than once")
                .action(format!(
                    "Run `calicoctl ipam check`. Leave one {ordinal} in `unallocated` of block {}.",
                    block.cidr
                )),
        )
    })
}

/// What makes the block invalid, each reason once (J3). `cidr_differs_from_key` is told of blocks that cannot be read.
pub(super) fn defects<'a>(
    block: &'a AllocationBlock,
    around: &'a Surroundings<'_>,
) -> impl Iterator<Item = Finding> + 'a {
    [
        bad_attribute_index(block),
        unreferenced_attribute(block),
        unallocated_out_of_range(block),
        wrong_length(block),
        sequence_number(block),
        overlap(block, around),
        wrong_block_size(block, around),
        outside_any_pool(block, around),
    ]
    .into_iter()
    .flatten()
}

fn defect(block: &AllocationBlock, reason: BlockReason) -> Finding {
    Finding::new(Fault::Block(reason), block.cidr).host(block.host().cloned())
}

/// I2: Calico's components crash on such an index.
fn bad_attribute_index(block: &AllocationBlock) -> Option<Finding> {
    let (ordinal, index) = block.bad_indices.first()?;
    let known = block.attributes_len;
    Some(
        defect(block, BlockReason::BadAttributeIndex)
            .detail(format!(
                "Ordinal {ordinal} points to attribute {index}, and there are {known}{}. Components that load the \
                 block may crash.",
                more(block.bad_indices.len())
            ))
            .expected(format!("an index below {known}"), format!("{index} at ordinal {ordinal}"))
            .action("Find out who uses the address, then correct the entry in `allocations`."),
    )
}

/// I3: harmless by itself; a trace of a lost update. The next write prunes it.
fn unreferenced_attribute(block: &AllocationBlock) -> Option<Finding> {
    let index = block.unreferenced.first()?;
    Some(
        defect(block, BlockReason::UnreferencedAttribute)
            .detail(format!("No ordinal points to attribute {index}{}.", more(block.unreferenced.len())))
            .expected("every attribute in use", format!("attribute {index} is used by no ordinal"))
            .action("Calico prunes it when it next writes the block. Watch whether it comes back."),
    )
}

/// I4: members of `unallocated` beyond the block's end, or negative.
fn unallocated_out_of_range(block: &AllocationBlock) -> Option<Finding> {
    let ordinal = block.out_of_range.first()?;
    Some(
        defect(block, BlockReason::UnallocatedOutOfRange)
            .detail(format!("`unallocated` lists {ordinal}{}.", more(block.out_of_range.len())))
            .expected(format!("ordinals 0 to {}", block.size().saturating_sub(1)), format!("{ordinal}"))
            .action("Run `calicoctl ipam check`, and take the number out of `unallocated`."),
    )
}

/// I1: `allocations` has one entry for each address.
fn wrong_length(block: &AllocationBlock) -> Option<Finding> {
    let size = super::reserved::size(&block.cidr);
    (block.allocations_len as u128 != size).then(|| {
        defect(block, BlockReason::WrongLength)
            .detail(format!("`allocations` has {} entries for {size} addresses.", block.allocations_len))
            .expected(format!("{size} entries"), format!("{} entries", block.allocations_len))
            .action("Calico's tools may crash on it. Restore the block, or drain it and delete it.")
    })
}

/// I7, J4: the ordinal lies inside the block and its number below `sequenceNumber`. Numbers of free ordinals are fine.
fn sequence_number(block: &AllocationBlock) -> Option<Finding> {
    let defects = &block.sequence_defects;
    let actual = match defects.first()? {
        SequenceDefect::OrdinalOutside(key) => format!("a number for {key:?}, which is no ordinal of the block"),
        SequenceDefect::NotBelow { ordinal, number } => {
            format!("ordinal {ordinal} has {number}, not below `sequenceNumber`")
        }
    };
    Some(
        defect(block, BlockReason::SequenceNumber)
            .detail(format!("`sequenceNumberForAllocation` is not possible: {actual}{}.", more(defects.len())))
            .expected("ordinals of the block, numbers below `sequenceNumber`", actual)
            .action("Releases that carry this number may miss. Correct the entry or take it out."),
    )
}

/// I11: two blocks share addresses, so two hosts may hand out the same one. One finding for each of them.
fn overlap(block: &AllocationBlock, around: &Surroundings<'_>) -> Option<Finding> {
    let other = around.overlaps?;
    Some(
        defect(block, BlockReason::Overlap)
            .detail(format!("{} and {other} share addresses: one may be handed out from both.", block.cidr))
            .expected("no other block over these addresses", format!("block {other}"))
            .action("Run `calicoctl ipam show --show-blocks`. Drain one of the two and delete it."),
    )
}

/// I11: a block is as long as its pool says.
fn wrong_block_size(block: &AllocationBlock, around: &Surroundings<'_>) -> Option<Finding> {
    let pool = around.pool.filter(|pool| pool.block_size != block.cidr.prefix_len())?;
    Some(
        defect(block, BlockReason::WrongBlockSize)
            .detail(format!("{} lies in pool {}, whose blocks are /{}.", block.cidr, pool.name, pool.block_size))
            .expected(format!("/{}", pool.block_size), format!("/{}", block.cidr.prefix_len()))
            .action("The pool was made anew with another block size. Drain the block, then delete it."),
    )
}

/// I12: the block's pool is gone and its addresses live on, whoever the block belongs to. While a pool cannot be read
/// it may be that one (J1).
fn outside_any_pool(block: &AllocationBlock, around: &Surroundings<'_>) -> Option<Finding> {
    (around.pool.is_none() && around.pools_known).then(|| {
        defect(block, BlockReason::OutsideAnyPool)
            .detail(format!(
                "No pool contains {}; {} of its addresses are given out.",
                block.cidr,
                block.allocated.len()
            ))
            .expected("a pool that contains the block", "no such pool")
            .action("Create the pool again, or move the pods: the block goes with its last address.")
    })
}

fn more(count: usize) -> String {
    match count {
        0 | 1 => String::new(),
        _ => format!(" (and {} more like it)", count - 1),
    }
}

/// Who holds an allocation, for a person.
pub(in crate::audit) fn holder(attribute: Option<&Attribute>) -> String {
    let Some(attribute) = attribute else { return "somebody unnamed (bad attribute index)".to_owned() };
    let what = match (&attribute.namespace, &attribute.pod, &attribute.kind_text, &attribute.handle) {
        (Some(namespace), Some(pod), ..) => format!("pod {namespace}/{pod}"),
        (_, Some(pod), ..) => format!("pod {pod}"),
        (_, _, Some(kind), _) => kind.to_string(),
        (.., Some(handle)) => format!("handle {handle}"),
        _ if attribute.abridged => "a pod".to_owned(),
        _ if attribute.released_at.is_some() => "nobody, resting after its release".to_owned(),
        _ => "somebody unnamed".to_owned(),
    };
    match &attribute.node {
        Some(node) => format!("{what} on {node}"),
        None => what,
    }
}
