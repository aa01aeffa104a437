//! One whole picture: what was dumped, and what is read now; and whoever can say more.

use super::patience::patiently;
use super::read::Dump;
use crate::config::{ConfigError, DatastoreSource, KernelSource, Sources};
use crate::source::archive::Archive;
#[cfg(feature = "kubernetes")]
use crate::source::kubernetes;
use crate::source::{etcd, netlink};
use crate::state::{Event, Follow, Lookup};

/// Where questions are answered that a picture leaves open.
pub(super) enum Answers {
    /// From the rest of a dump, if it has more.
    Archive(Archive),
    /// By etcd.
    Etcd(Box<etcd::Reader>),
    /// By the Kubernetes API.
    #[cfg(feature = "kubernetes")]
    Kubernetes(Box<kubernetes::Reader>),
}

impl Answers {
    /// An answer to each.
    ///
    /// # Errors
    ///
    /// The datastore does not answer.
    pub(super) async fn answer(&mut self, lookups: &[Lookup]) -> Result<Vec<Event>, ConfigError> {
        match self {
            Answers::Archive(archive) => Ok(lookups.iter().map(|lookup| archive.answer(lookup)).collect()),
            Answers::Etcd(reader) => {
                reader.answer(lookups).await.map_err(|error| ConfigError::Flags(error.to_string()))
            }
            #[cfg(feature = "kubernetes")]
            Answers::Kubernetes(reader) => {
                reader.answer(lookups).await.map_err(|error| ConfigError::Flags(error.to_string()))
            }
        }
    }
}

/// Everything that was dumped, and that is not and is read now.
///
/// # Errors
///
/// A source cannot be read.
pub(super) async fn whole(sources: &Sources, dumped: &[Event]) -> Result<Vec<Event>, ConfigError> {
    let mut events = dumped.to_vec();
    match &sources.datastore {
        DatastoreSource::Etcd(settings) => {
            let objects = patiently("reading etcd", etcd::snapshot(settings, etcd::Timeouts::default()));
            events.extend(objects.await.map_err(|error| ConfigError::Flags(error.to_string()))?);
        }
        #[cfg(feature = "kubernetes")]
        DatastoreSource::Kubernetes(config) => {
            events.extend(from_api(config).await?.0);
        }
        DatastoreSource::Files(_) => {}
    }
    events.extend(kernel(sources).await?);
    Ok(events)
}

/// What the Kubernetes API says, and whoever can ask it for more.
#[cfg(feature = "kubernetes")]
async fn from_api(config: &kubernetes::Config) -> Result<(Vec<Event>, kubernetes::Reader), ConfigError> {
    let read = async {
        let reader = kubernetes::Reader::open(config).await?;
        Ok((reader.snapshot().await?, reader))
    };
    let read: Result<_, kubernetes::KubernetesError> = patiently("reading the Kubernetes API", read).await;
    read.map_err(|error| ConfigError::Flags(error.to_string()))
}

async fn kernel(sources: &Sources) -> Result<Vec<Event>, ConfigError> {
    if !matches!(sources.kernel, Some(KernelSource::Netlink)) {
        return Ok(Vec::new());
    }
    let failed = |error| ConfigError::Flags(format!("this host's kernel: {error}"));
    let mut events = netlink::snapshot().await.map_err(failed)?;
    if sources.collectors.tunnels {
        events.extend(netlink::tunnels_snapshot().await.map_err(failed)?);
    }
    Ok(events)
}

/// The same as far as it is followed (`--routes.watch`), and whoever can answer for the rest.
///
/// # Errors
///
/// A source cannot be read.
pub(super) async fn picture(sources: &Sources, dump: &Dump) -> Result<(Vec<Event>, Answers), ConfigError> {
    let follow = sources.follow(&dump.node);
    let Follow::Affinities(me) = &follow else {
        return Ok((whole(sources, &dump.events).await?, Answers::Archive(Archive::default())));
    };
    let (mut events, archive) = Archive::split(dump.events.clone(), &follow);
    let mut answers = Answers::Archive(archive);
    match &sources.datastore {
        DatastoreSource::Etcd(settings) => {
            let read = patiently("reading etcd", etcd::affinities(settings, etcd::Timeouts::default(), me)).await;
            let (told, reader) = read.map_err(|error| ConfigError::Flags(error.to_string()))?;
            events.extend(told);
            answers = Answers::Etcd(Box::new(reader));
        }
        #[cfg(feature = "kubernetes")]
        DatastoreSource::Kubernetes(config) => {
            let config = kubernetes::Config { follow: follow.clone(), ..config.as_ref().clone() };
            let (told, reader) = from_api(&config).await?;
            events.extend(told);
            answers = Answers::Kubernetes(Box::new(reader));
        }
        DatastoreSource::Files(_) => {}
    }
    events.extend(kernel(sources).await?);
    Ok((events, answers))
}
