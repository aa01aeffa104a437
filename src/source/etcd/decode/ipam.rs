//! What IPAM keeps beside blocks: affinities, handles, its configuration
//! (`libcalico-go/lib/backend/model/{block_affinity,ipam_handle,ipam_config}.go`).

use ipnet::IpNet;
use serde::de::IgnoredAny;

use crate::model::{AffinityState, BlockAffinity, BlockOwner, Handle, IpamConfig, Name};
use crate::source::calico::json::{Entries, Maybe, Nullable, object};
use crate::source::calico::{Read, handle_blocks, parse};
use crate::state::Object;

object! {
    Affinity, rest IgnoredAny, {
        "state" => state: Maybe<AffinityState>,
        "deleted" => deleted: bool,
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
    let blocks = handle_blocks(counts.blocks)?;
    Ok(Some(Object::Handle(Handle { id, blocks })))
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

#[cfg(test)]
mod tests {
    use super::super::tests::object;
    use super::*;

    #[test]
    fn an_affinity_without_state_is_confirmed() {
        for (value, state) in [
            ("", AffinityState::Confirmed),
            ("{}", AffinityState::Confirmed),
            ("null", AffinityState::Confirmed),
            (r#"{"state":""}"#, AffinityState::Confirmed),
            (r#"{"state":null,"deleted":null}"#, AffinityState::Confirmed),
            (r#"{"state":"confirmed","deleted":false}"#, AffinityState::Confirmed),
            (r#"{"state":"pending","more":{}}"#, AffinityState::Pending),
            (r#"{"state":"pendingDeletion"}"#, AffinityState::PendingDeletion),
        ] {
            let cidr = "10.0.0.0/26".parse().unwrap();
            let (host, lb) = (BlockOwner::Host("h1".into()), BlockOwner::Virtual("load-balancer".into()));
            for (place, owner) in [("host/h1", host), ("virtual/load-balancer", lb)] {
                let found = object(&format!("/calico/ipam/v2/{place}/ipv4/block/10.0.0.0-26"), value);
                assert_eq!(found, Object::Affinity(BlockAffinity { owner, cidr, state }), "{value}");
            }
        }
    }

    #[test]
    fn a_handle_counts_addresses_by_block() {
        let handle = |value: &str| match object("/calico/ipam/v2/handle/a.b\rjunk", value) {
            Object::Handle(handle) => (handle.id.to_string(), handle.blocks),
            other => panic!("{other:?}"),
        };
        let (id, blocks) = handle(r#"{"block":{"fd00::/122":2,"10.0.0.1/30":1,"10.0.0.0/30":-3},"deleted":false}"#);
        assert_eq!(id, "a.b");
        assert_eq!(blocks, [("10.0.0.0/30".parse().unwrap(), -3), ("fd00::/122".parse().unwrap(), 2)]);
        assert_eq!(handle("{}").1, []);
        assert_eq!(handle(r#"{"block":null}"#).1, []);
        assert_eq!(handle(r#"{"block":{"10.0.0.9":null}}"#).1, [("10.0.0.9/32".parse().unwrap(), 0)]);
    }

    #[test]
    fn what_a_stored_configuration_does_not_say_is_false_or_zero() {
        let config = |value: &str| match object("/calico/ipam/v2/config", value) {
            Object::IpamConfig(config) => config,
            other => panic!("{other:?}"),
        };
        let all =
            r#"{"strict_affinity":true,"auto_allocate_blocks":true,"maxBlocksPerHost":4,"ipCooldownSeconds":300}"#;
        assert_eq!(
            config(all),
            IpamConfig {
                strict_affinity: true,
                auto_allocate_blocks: true,
                max_blocks_per_host: 4,
                ip_cooldown_seconds: 300
            }
        );
        let none = IpamConfig { auto_allocate_blocks: false, ..IpamConfig::default() };
        assert_eq!(config(r#"{"kubeVirtVMAddressPersistence":"Enabled"}"#), none);
    }
}
