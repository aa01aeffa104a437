//! Dumps, and whose they are.

use std::net::IpAddr;
use std::time::SystemTime;

use crate::config::{ConfigError, DatastoreSource, KernelSource, Sources};
use crate::model::{Family, Name};
use crate::source::{file, iproute};
use crate::state::{Event, Object};

/// What the dumps say, if any are read, and the host that is judged.
pub(super) struct Dump {
    /// Both dumps' events.
    pub events: Vec<Event>,
    /// The newest timestamp in the datastore's dump: its *now* (J6).
    pub newest: Option<SystemTime>,
    /// This host's Calico node name.
    pub node: Name,
}

/// Reads the dumps that are named.
///
/// # Errors
///
/// A file cannot be read, or it cannot be told whose routes it holds.
pub(super) fn dump(sources: &Sources) -> Result<Dump, ConfigError> {
    let (mut events, newest) = datastore(sources)?;
    if let Some(KernelSource::Files { routes, links }) = &sources.kernel {
        let kernel = iproute::snapshot(routes, links.as_deref())
            .map_err(|error| ConfigError::Flags(format!("--routes.file, --links.file: {error}")))?;
        events.extend(kernel);
    }
    let node = match &sources.node {
        Some(node) => node.clone(),
        None => told_from_addresses(&events).ok_or_else(|| {
            ConfigError::Flags(
                "--node.name: name the host whose routes these are; the dumps' addresses do not tell it".to_owned(),
            )
        })?,
    };
    Ok(Dump { events, newest, node })
}

/// The datastore's dump alone, with the newest timestamp in it; nothing where etcd is read.
///
/// # Errors
///
/// The file cannot be read.
pub(super) fn datastore(sources: &Sources) -> Result<(Vec<Event>, Option<SystemTime>), ConfigError> {
    let DatastoreSource::File(path) = &sources.datastore else { return Ok((Vec::new(), None)) };
    let dump = file::datastore(path).map_err(|error| ConfigError::Flags(format!("--datastore.file: {error}")))?;
    Ok((dump.events, dump.newest))
}

/// The one Node whose address is on one of the dumped devices.
fn told_from_addresses(events: &[Event]) -> Option<Name> {
    let on_device: Vec<IpAddr> = events
        .iter()
        .filter_map(|event| match event {
            Event::Link(link) => Some(link.addresses.iter().map(|net| net.addr())),
            _ => None,
        })
        .flatten()
        .collect();
    let mut found: Vec<Name> = events
        .iter()
        .filter_map(|event| match event {
            Event::Put(object) => match object.as_ref() {
                Object::Node(name, node) => Some((name, node)),
                _ => None,
            },
            _ => None,
        })
        .filter(|(_, node)| {
            Family::ALL.iter().filter_map(|family| node.routing_address(*family)).any(|it| on_device.contains(&it))
        })
        .map(|(name, _)| name.clone())
        .collect();
    let only = found.pop()?;
    found.is_empty().then_some(only)
}
