//! What IPAM keeps beside blocks: affinities, handles, its configuration
//! (`libcalico-go/lib/backend/model/{block_affinity,ipam_handle,ipam_config}.go`).

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::de::IgnoredAny;

use super::json::{Entries, FromText, Maybe, Nullable, object};
use super::text::Masked;
use super::{Read, parse, why};
use crate::model::{AffinityState, BlockAffinity, BlockOwner, Handle, IpamConfig, Name};
use crate::state::{Object, Unreadable};

object! {
    Affinity, rest IgnoredAny, {
        "state" => state: Maybe<AffinityState>,
        "deleted" => deleted: bool,
    }
}

impl FromText for AffinityState {
    const EXPECTED: &'static str = "confirmed, pending or pendingDeletion";

    fn from_text(text: &str) -> Option<Self> {
        [AffinityState::Confirmed, AffinityState::Pending, AffinityState::PendingDeletion]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// Reads an affinity. No value at all is a confirmed one: that is what very old Calico wrote.
pub(super) fn affinity(owner: BlockOwner, cidr: IpNet, value: &[u8]) -> Read {
    let affinity = match value {
        [] => Affinity::default(),
        value => parse::<Nullable<Affinity>>(value)?.0,
    };
    let state = affinity.state.0.unwrap_or(AffinityState::Confirmed);
    Ok((!affinity.deleted).then_some(Object::Affinity(BlockAffinity { owner, cidr, state })))
}

object! {
    Counts<'de>, rest IgnoredAny, {
        "block" => blocks: Entries<'de, i64>,
        "deleted" => deleted: bool,
    }
}

/// Reads the handle `id`, whose id is in its key alone.
pub(super) fn handle(id: Name, value: &[u8]) -> Read {
    let counts: Counts<'_> = parse(value)?;
    if counts.deleted {
        return Ok(None);
    }
    let mut blocks = BTreeMap::new();
    for (cidr, count) in counts.blocks.0 {
        let Some(Masked(net)) = Masked::from_text(&cidr) else {
            return Err(Unreadable::Undecodable(why::at(
                "block",
                &format!("key {cidr:?}, expected {}", Masked::EXPECTED),
            )));
        };
        blocks.insert(net, count);
    }
    Ok(Some(Object::Handle(Handle { id, blocks: blocks.into_iter().collect() })))
}

object! {
    Config, rest IgnoredAny, {
        "strict_affinity" => strict_affinity: bool,
        "auto_allocate_blocks" => auto_allocate_blocks: bool,
        "maxBlocksPerHost" => max_blocks_per_host: u32,
        "ipCooldownSeconds" => ip_cooldown_seconds: u32,
    }
}

/// Reads the IPAM configuration. What a stored object does not say is false or 0, not the default.
pub(super) fn config(value: &[u8]) -> Read {
    let config: Config = parse(value)?;
    Ok(Some(Object::IpamConfig(IpamConfig {
        strict_affinity: config.strict_affinity,
        auto_allocate_blocks: config.auto_allocate_blocks,
        max_blocks_per_host: config.max_blocks_per_host,
        ip_cooldown_seconds: config.ip_cooldown_seconds,
    })))
}
