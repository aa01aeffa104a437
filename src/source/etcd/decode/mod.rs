//! A key and its value as an [`Event`]. Whatever the bytes are, this neither panics nor fails: a value that Calico could
//! not have written is [`Event::Unreadable`], which is never a deletion (J1).

use std::time::SystemTime;

use serde::de::IgnoredAny;

use super::key;
use crate::model::Detail;
use crate::source::calico::json::object;
use crate::source::calico::{Block, Read, cluster, felix_bgp, parse, pool, timestamp, why};
use crate::state::{Event, ObjectId, Unreadable};

mod endpoint;
mod ipam;
mod node;

#[cfg(test)]
mod tests;

/// What it means that `key` holds `value`: [`Event::Put`], [`Event::Unreadable`], or [`Event::Delete`] where the value
/// says `deleted` (J2). `None` where the key is none that the exporter reads.
pub fn event(key: &[u8], value: &[u8]) -> Option<Event> {
    event_in(&Detail::Full, key, value)
}

/// The same, with no more of a block than `detail` asks for.
pub fn event_in(detail: &Detail, key: &[u8], value: &[u8]) -> Option<Event> {
    let id = key::identify(key)?;
    Some(match read(&id, value, detail) {
        Ok(Some(object)) => Event::Put(Box::new(object)),
        Ok(None) => Event::Delete(id),
        Err(why) => {
            let key = why::printable(&String::from_utf8_lossy(key), 512).into();
            Event::Unreadable { id, key, why }
        }
    })
}

/// What it means that `key` is gone. `None` where the key is none that the exporter reads.
pub fn deletion(key: &[u8]) -> Option<Event> {
    key::identify(key).map(Event::Delete)
}

fn read(id: &ObjectId, value: &[u8], detail: &Detail) -> Read {
    match id.clone() {
        ObjectId::Affinity(owner, cidr) => ipam::affinity(owner, cidr, value),
        ObjectId::Malformed(kind, place) => {
            let name = place.rsplit('/').next().unwrap_or_default();
            let message = format!("{name:?} is not what the key of a {kind} ends in");
            Err(Unreadable::Undecodable(why::at("key", &message)))
        }
        _ if value.is_empty() => Err(Unreadable::Undecodable("the value is empty".to_owned())),
        ObjectId::Block(cidr) => Block::parse(value)?.read(cidr, detail),
        ObjectId::Handle(id) => ipam::handle(id, value),
        ObjectId::IpamConfig => ipam::config(value),
        ObjectId::Pool(name) => pool::pool(name, value),
        ObjectId::Reservation(name) => pool::reservation(name, value),
        ObjectId::Node(name) => node::read(name, value),
        ObjectId::Endpoint(id) => endpoint::read(id, value),
        ObjectId::Felix(name) => felix_bgp::felix(name, value),
        ObjectId::BgpConfiguration(name) => felix_bgp::bgp_configuration(name, value),
        ObjectId::BgpPeer(name) => felix_bgp::bgp_peer(name, value),
        ObjectId::Cluster => cluster(value),
    }
}

object! {
    Created, rest IgnoredAny, {
        "metadata" => metadata: Metadata,
    }
}

object! {
    Metadata, rest IgnoredAny, {
        "creationTimestamp" => at: String,
    }
}

/// When a v3 resource was created, `None` for any other key and where the value does not say.
pub(crate) fn created(key: &[u8], value: &[u8]) -> Option<SystemTime> {
    if !key.starts_with(key::RESOURCES.as_bytes()) {
        return None;
    }
    let created: Created = parse(value).ok()?;
    timestamp::rfc3339(&created.metadata.at)
}
