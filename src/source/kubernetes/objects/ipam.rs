//! Blocks, affinities, handles and the IPAM configuration as custom resources
//! (`libcalico-go/lib/backend/k8s/resources/ipam_*.go`).

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, Unexpected, Visitor};
use serde_json::value::RawValue;

use super::meta::{Meta, custom};
use super::{Decoded, Decoder, Says, block_name, says};
use crate::model::{AffinityState, BlockAffinity, BlockOwner, Handle, IpamConfig};
use crate::source::calico::json::{Entries, Maybe, Text, object};
use crate::source::calico::text::Masked;
use crate::source::calico::{Block, handle_blocks, parse, why};
use crate::source::kubernetes::Resource;
use crate::state::{Object, ObjectId, Unreadable};

fn missing(field: &str) -> Unreadable {
    Unreadable::Undecodable(why::at(field, "missing"))
}

object! {
    BlockItem<'de>, rest IgnoredAny, {
        "metadata" => meta: Meta<'de>,
        "spec" => spec: Block<'de>,
    }
}

object! {
    RawBlockItem<'de>, rest IgnoredAny, {
        "metadata" => meta: Meta<'de>,
        "spec" => spec: Option<&'de RawValue>,
    }
}

/// Reads a block. Its CIDR is what `spec.cidr` says; a name that is another block's makes it none (J2).
pub(super) fn block(decoder: &Decoder, item: &[u8]) -> Result<Decoded, Unreadable> {
    let RawBlockItem { meta, spec } = parse(item)?;
    let place = custom(decoder, Resource::Blocks, &meta)?;
    let spec = match spec.map(|spec| Block::parse(spec.get().as_bytes())) {
        None => Block::default(),
        Some(Ok(spec)) => spec,
        // Read as a whole, the error names the field from the top.
        Some(Err(why)) => return Err(parse::<BlockItem<'_>>(item).err().unwrap_or(why)),
    };
    let cidr = spec.cidr().ok_or_else(|| missing("spec.cidr"))?;
    if block_name::cidr(&place.name).is_none() {
        let message = format!("{cidr}, whose object is called {}", block_name::of(&cidr));
        return Err(Unreadable::Undecodable(why::at("spec.cidr", &message)));
    }
    let key = place.id().and_then(|id| if let ObjectId::Block(key) = id { Some(key) } else { None }).unwrap_or(cidr);
    let says = says(ObjectId::Block(key), spec.read(key, &decoder.detail))?;
    Ok(meta.decoded(place, says))
}

object! {
    AffinityItem<'de>, rest IgnoredAny, {
        "metadata" => meta: Meta<'de>,
        "spec" => spec: AffinitySpec<'de>,
    }
}

object! {
    AffinitySpec<'de>, rest IgnoredAny, {
        "state" => state: Maybe<AffinityState>,
        "type" => kind: Text<'de>,
        "node" => node: Text<'de>,
        "cidr" => cidr: Maybe<Masked>,
        "deleted" => deleted: Flag,
    }
}

/// Who an affinity of this type and node is of; a missing type is a host's.
pub(super) fn owner(kind: Option<&str>, node: &str) -> Option<BlockOwner> {
    match kind {
        None | Some("host") => Some(BlockOwner::Host(node.into())),
        Some("virtual") => Some(BlockOwner::Virtual(node.into())),
        Some(_) => None,
    }
}

/// Reads an affinity. Labels only narrow a query, and the name is cut and hashed where it is long: `spec` decides.
pub(super) fn affinity(decoder: &Decoder, item: &[u8]) -> Result<Decoded, Unreadable> {
    let AffinityItem { meta, spec } = parse(item)?;
    let place = custom(decoder, Resource::Affinities, &meta)?;
    let node = spec.node.get().ok_or_else(|| missing("spec.node"))?;
    let Masked(cidr) = spec.cidr.0.ok_or_else(|| missing("spec.cidr"))?;
    let owner = owner(spec.kind.get(), node).ok_or_else(|| {
        let message = format!("{:?}, expected host or virtual", spec.kind.get().unwrap_or_default());
        Unreadable::Undecodable(why::at("spec.type", &message))
    })?;
    let says = if spec.deleted.0 {
        Says::Deleted(ObjectId::Affinity(owner, cidr))
    } else {
        let state = spec.state.0.unwrap_or(AffinityState::Confirmed);
        Says::Objects(vec![Object::Affinity(BlockAffinity { owner, cidr, state })])
    };
    Ok(meta.decoded(place, says))
}

/// `deleted` of an affinity: text in `crd.projectcalico.org/v1`, read by Go's `strconv.ParseBool`, empty being false; a
/// boolean in `projectcalico.org/v3`.
#[derive(Default)]
struct Flag(bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Flag;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true or false")
            }

            fn visit_bool<E: Error>(self, flag: bool) -> Result<Flag, E> {
                Ok(Flag(flag))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Flag, E> {
                match text {
                    "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Flag(true)),
                    "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Flag(false)),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Either)
    }
}

object! {
    HandleItem<'de>, rest IgnoredAny, {
        "metadata" => meta: Meta<'de>,
        "spec" => spec: HandleSpec<'de>,
    }
}

object! {
    HandleSpec<'de>, rest IgnoredAny, {
        "handleID" => id: Text<'de>,
        "block" => blocks: Entries<'de, i64>,
        "deleted" => deleted: bool,
    }
}

/// Reads a handle, whose object's name is its id in lower case.
pub(super) fn handle(decoder: &Decoder, item: &[u8]) -> Result<Decoded, Unreadable> {
    let HandleItem { meta, spec } = parse(item)?;
    let place = custom(decoder, Resource::Handles, &meta)?;
    let id = spec.id.get().map(Handle::sanitize).filter(|id| !id.is_empty());
    let id = crate::model::Name::from(id.ok_or_else(|| missing("spec.handleID"))?);
    let says = if spec.deleted {
        Says::Deleted(ObjectId::Handle(id))
    } else {
        Says::Objects(vec![Object::Handle(Handle { id, blocks: handle_blocks(spec.blocks)? })])
    };
    Ok(meta.decoded(place, says))
}

object! {
    ConfigItem<'de>, rest IgnoredAny, {
        "metadata" => meta: Meta<'de>,
        "spec" => spec: ConfigSpec,
    }
}

object! {
    ConfigSpec, rest IgnoredAny, {
        "strictAffinity" => strict_affinity: bool,
        "autoAllocateBlocks" => auto_allocate_blocks: bool,
        "maxBlocksPerHost" => max_blocks_per_host: u32,
        "ipCooldownSeconds" => ip_cooldown_seconds: u32,
    }
}

/// Reads the IPAM configuration, which is called `default`. What a stored object does not say is false or 0.
pub(super) fn config(decoder: &Decoder, item: &[u8]) -> Result<Decoded, Unreadable> {
    let ConfigItem { meta, spec } = parse(item)?;
    let place = custom(decoder, Resource::IpamConfigs, &meta)?;
    let says = match place.id() {
        None => Says::Nothing,
        Some(_) => Says::Objects(vec![Object::IpamConfig(IpamConfig {
            strict_affinity: spec.strict_affinity,
            auto_allocate_blocks: spec.auto_allocate_blocks,
            max_blocks_per_host: spec.max_blocks_per_host,
            ip_cooldown_seconds: spec.ip_cooldown_seconds,
        })]),
    };
    Ok(meta.decoded(place, says))
}
