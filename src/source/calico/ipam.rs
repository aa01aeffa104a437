//! What affinities and handles say in both datastores
//! (`libcalico-go/lib/backend/model/{block_affinity,ipam_handle}.go`).

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::json::{Entries, FromText};
use super::text::Masked;
use super::why;
use crate::model::AffinityState;
use crate::state::Unreadable;

impl FromText for AffinityState {
    const EXPECTED: &'static str = "confirmed, pending or pendingDeletion";

    fn from_text(text: &str) -> Option<Self> {
        [AffinityState::Confirmed, AffinityState::Pending, AffinityState::PendingDeletion]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// A handle's addresses by block, of a repeated one the last.
pub(in crate::source) fn handle_blocks(counts: Entries<'_, i64>) -> Result<Vec<(IpNet, i64)>, Unreadable> {
    let mut blocks = BTreeMap::new();
    for (cidr, count) in counts.0 {
        let Some(Masked(net)) = Masked::from_text(&cidr) else {
            return Err(Unreadable::Undecodable(why::at(
                "block",
                &format!("key {cidr:?}, expected {}", Masked::EXPECTED),
            )));
        };
        blocks.insert(net, count);
    }
    Ok(blocks.into_iter().collect())
}
