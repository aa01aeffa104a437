//! Dumps, and whose they are.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::SystemTime;

use tracing::info;

use crate::config::{ConfigError, DatastoreSource, KernelSource, Sources};
use crate::model::{Family, Name};
use crate::source::file;
use crate::state::{Event, Kind, Object};

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
    if let Some(KernelSource::Files(files)) = &sources.kernel {
        let kernel = files.events().map_err(|error| {
            ConfigError::Flags(format!(
                "--routes.file, --links.file, --neighbours.file, --fdb.file, --rules.file: {error}"
            ))
        })?;
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
/// A file cannot be read, or the files lack what is to be judged.
pub(super) fn datastore(sources: &Sources) -> Result<(Vec<Event>, Option<SystemTime>), ConfigError> {
    let DatastoreSource::Files(paths) = &sources.datastore else { return Ok((Vec::new(), None)) };
    let dump = file::datastores(paths, &sources.convention)
        .map_err(|error| ConfigError::Flags(format!("--datastore.file: {error}")))?;
    complete(sources, &dump.kinds, &dump.left_out)?;
    Ok((dump.events, dump.newest))
}

/// What files do not hold is not known to be absent: no rule runs without what it reads. `left_out`: kinds that a mixed
/// list would have, had they any object.
fn complete(sources: &Sources, kinds: &BTreeSet<Kind>, left_out: &BTreeSet<Kind>) -> Result<(), ConfigError> {
    let needed = [
        (Kind::Block, "IPAMBlocks (with host-local IPAM: --kubernetes.use-pod-cidr)", true),
        (Kind::Affinity, "BlockAffinities", true),
        (Kind::Pool, "IPPools", true),
        (Kind::Node, "Nodes", true),
        (Kind::Handle, "IPAMHandles (or --no-collector.leaks)", sources.collectors.leaks),
        (Kind::Endpoint, "Pods (or --no-collector.leaks)", sources.collectors.leaks),
        (Kind::Endpoint, "Pods", sources.collectors.routes),
    ];
    let missing = needed.iter().find(|(kind, _, needed)| *needed && !kinds.contains(kind) && !left_out.contains(kind));
    if let Some((_, what, _)) = missing {
        return Err(ConfigError::Flags(format!(
            "--datastore.file: these files have no list of {what}: `kubectl get` them as well, or nothing can be told"
        )));
    }
    let absent: Vec<&str> = Kind::ALL.into_iter().filter(|kind| !kinds.contains(kind)).map(Kind::as_str).collect();
    if !absent.is_empty() {
        info!(kinds = absent.join(" "), "the files hold no object of these kinds: judged as if there were none");
    }
    Ok(())
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
