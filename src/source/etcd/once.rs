//! Reading etcd once: for `check`, and for a sweep of what is too numerous to follow.

use etcd_client::KeyValue;

use super::client::{Connection, Timeouts};
use super::error::EtcdError;
use super::list::Lister;
use super::lookup::{self, Revisions};
use super::own::OwnBlocks;
use super::range::{KeyRange, Swept};
use super::settings::Settings;
use crate::model::{Detail, Name};
use crate::state::{Event, Lookup, Side};

/// How often [`snapshot`] begins again when etcd compacts the revision that it reads.
const ATTEMPTS: usize = 3;

/// A connection to the first endpoint, from a random one on, that answers. A server that answers and refuses (wrong
/// password, no permission) is not passed over: the others would say the same.
///
/// # Errors
/// What the last endpoint tried had to say.
pub async fn connect(settings: &Settings, timeouts: Timeouts) -> Result<Connection, EtcdError> {
    let endpoints = &settings.endpoints;
    let mut error = EtcdError::Settings("no endpoint given".to_owned());
    let first = fastrand::usize(..endpoints.len().max(1));
    for endpoint in endpoints.iter().cycle().skip(first).take(endpoints.len()) {
        match Connection::open(settings, endpoint, timeouts).await {
            Ok(connection) => return Ok(connection),
            Err(refused @ (EtcdError::Credentials { .. } | EtcdError::Denied { .. })) => return Err(refused),
            Err(other) => error = other,
        }
    }
    Err(error)
}

/// Everything that the exporter knows how to read, handles and workload endpoints included, as of one revision:
/// [`Event::Resync`], the objects in no particular order, [`Event::Synced`].
///
/// # Errors
/// Any [`EtcdError`]; [`EtcdError::Compacted`] only if it happened three times in a row.
pub async fn snapshot(settings: &Settings, timeouts: Timeouts) -> Result<Vec<Event>, EtcdError> {
    let connection = connect(settings, timeouts).await?;
    let mut attempt = 1;
    loop {
        let mut ranges = KeyRange::watched();
        ranges.extend(Swept::ALL.map(KeyRange::swept));
        let mut events = vec![Event::Resync(Side::Datastore)];
        match collect(Lister::new(&connection, ranges, None), |batch| events.extend(batch)).await {
            Ok(_) => {
                events.push(Event::Synced(Side::Datastore));
                return Ok(events);
            }
            Err(EtcdError::Compacted { .. }) if attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

/// All keys that the exporter knows how to read, with their values as they stand there, as of one revision.
///
/// # Errors
/// Any [`EtcdError`].
pub async fn raw(settings: &Settings, timeouts: Timeouts) -> Result<Vec<(Vec<u8>, Vec<u8>)>, EtcdError> {
    let connection = connect(settings, timeouts).await?;
    let mut ranges = KeyRange::watched();
    ranges.extend(Swept::ALL.map(KeyRange::swept));
    let mut list = Lister::new(&connection, ranges, None);
    let mut pairs = Vec::new();
    while let Some(keys) = list.next_raw().await? {
        pairs.extend(keys.into_iter().map(KeyValue::into_key_value));
    }
    Ok(pairs)
}

/// A connection over which single objects are asked for, beside what was listed.
pub struct Reader {
    connection: Connection,
    revisions: Revisions,
}

impl Reader {
    /// What is asked, as it is now.
    ///
    /// # Errors
    /// Any [`EtcdError`].
    pub async fn answer(&mut self, lookups: &[Lookup]) -> Result<Vec<Event>, EtcdError> {
        let mut events = Vec::new();
        for lookups in lookups.chunks(lookup::AT_ONCE) {
            events.extend(lookup::answer(&self.connection, lookups, &Detail::Full, &mut self.revisions).await?);
        }
        Ok(events)
    }
}

/// What an exporter on host `me` lists that follows affinity keys, as of one revision, and the means to ask for more:
/// [`Event::Resync`], the objects, this host's blocks, [`Event::Synced`].
///
/// # Errors
/// Any [`EtcdError`]; [`EtcdError::Compacted`] only if it happened three times in a row.
pub async fn affinities(settings: &Settings, timeouts: Timeouts, me: &Name) -> Result<(Vec<Event>, Reader), EtcdError> {
    let connection = connect(settings, timeouts).await?;
    let mut attempt = 1;
    loop {
        match affinities_once(&connection, me).await {
            Ok(events) => return Ok((events, Reader { connection, revisions: Revisions::default() })),
            Err(EtcdError::Compacted { .. }) if attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

async fn affinities_once(connection: &Connection, me: &Name) -> Result<Vec<Event>, EtcdError> {
    let mut events = vec![Event::Resync(Side::Datastore)];
    let mut own = OwnBlocks::new(me, &Detail::Full);
    let keys = Lister::new(connection, KeyRange::watched_by_affinities(), None);
    let revision = collect(keys, |batch| events.extend(batch)).await?;
    own.note(&events);
    collect(Lister::new(connection, own.ranges(), Some(revision)), |batch| events.extend(batch)).await?;
    events.push(Event::Synced(Side::Datastore));
    Ok(events)
}

/// Reads all objects of some numerous kinds in pages, as of `revision` or, if it is `None`, of the newest, and hands
/// them to `each` in batches of at most 64. Memory is that of two pages, whatever the cluster's size. Returns the
/// revision.
///
/// # Errors
/// [`EtcdError::Compacted`] if the revision is gone: what was handed out then is a part, to be thrown away.
pub async fn sweep(
    connection: &Connection,
    kinds: &[Swept],
    revision: Option<i64>,
    each: impl FnMut(Vec<Event>),
) -> Result<i64, EtcdError> {
    let ranges = kinds.iter().map(|kind| KeyRange::swept(*kind)).collect();
    collect(Lister::new(connection, ranges, revision), each).await
}

async fn collect(mut list: Lister, mut each: impl FnMut(Vec<Event>)) -> Result<i64, EtcdError> {
    while let Some(batch) = list.next().await? {
        each(batch);
    }
    Ok(list.revision().unwrap_or_default())
}
