//! Dumps of a datastore, for judging a cluster without reaching it. What a file is, its content says: etcd's keys and
//! values, a list as the Kubernetes API server answers it, or what `kubectl get … -o json` prints.

use std::collections::BTreeSet;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use thiserror::Error;

use super::kubernetes::Convention;
use crate::state::{Event, Kind, Object, Side};

mod bundle;
mod content;
mod etcd;
#[cfg(test)]
mod tests;

use bundle::Bundle;
use content::{Content, What};

/// What a datastore's dump says.
#[derive(Debug, Clone, PartialEq)]
pub struct Dump {
    /// [`Event::Resync`], an event for every object that the exporter reads, [`Event::Synced`].
    pub events: Vec<Event>,
    /// The newest moment that the dump tells of: claims, allocations, releases and creations. Judging a dump, it stands
    /// for *now* (J6). `None` where the dump tells of none.
    pub newest: Option<SystemTime>,
    /// The kinds of which the dump has an object or a list: of another kind it says nothing, not that there is none.
    /// etcd's keys are everything.
    pub kinds: BTreeSet<Kind>,
    /// Kinds that a mixed list leaves out because there is none (J40).
    pub left_out: BTreeSet<Kind>,
}

/// Why a dump cannot be read.
#[derive(Debug, Error)]
pub enum FileError {
    /// The file cannot be opened.
    #[error("{}: {error}; expected the output of {EXPECTED}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The file is not what it ought to be.
    #[error("{}: {what}; expected the output of {EXPECTED}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
    /// Some of the files are of etcd and some of the Kubernetes API: two datastores.
    #[error("{} is of etcd and {} of the Kubernetes API: give the files of one datastore", etcd.display(), kubernetes.display())]
    Two {
        /// A dump of etcd.
        etcd: PathBuf,
        /// A list of API objects.
        kubernetes: PathBuf,
    },
    /// Both groups have blocks, and it is not said which is in use.
    #[error(
        "crd.projectcalico.org/v1 and projectcalico.org/v3 both have blocks, and {0}: say which is in use (--kubernetes.api-group)"
    )]
    Groups(&'static str),
}

const EXPECTED: &str = "`etcdctl get --prefix /calico -w json` or `kubectl get … -A -o json`";

/// Reads one file.
///
/// # Errors
///
/// The file cannot be read, or is no dump. A value that cannot be decoded is no error but an event.
pub fn datastore(path: &Path) -> Result<Dump, FileError> {
    datastores(std::slice::from_ref(&path.to_owned()), &Convention::default())
}

/// Reads several files as one dump: a list each, or one that holds everything.
///
/// # Errors
///
/// As [`datastore`]; or the files do not go together.
pub fn datastores(paths: &[PathBuf], convention: &Convention) -> Result<Dump, FileError> {
    let mut reading = Reading::new(convention);
    for path in paths {
        let file = super::bundle::open(path).map_err(|error| FileError::Open { path: path.clone(), error })?;
        reading.read(path, file)?;
    }
    reading.finish()
}

/// Reads the same from anywhere; `name` is what errors call it. The JSON is read object by object and never held as a
/// whole.
///
/// # Errors
///
/// As [`datastore`].
pub fn datastore_from(name: &Path, reader: impl Read) -> Result<Dump, FileError> {
    let mut reading = Reading::new(&Convention::default());
    reading.read(name, reader)?;
    reading.finish()
}

/// Files that are being read.
struct Reading {
    etcd: etcd::Sink,
    bundle: Bundle,
    /// The first file of each datastore.
    of_etcd: Option<PathBuf>,
    of_kubernetes: Option<PathBuf>,
}

impl Reading {
    fn new(convention: &Convention) -> Reading {
        Reading { etcd: etcd::Sink::default(), bundle: Bundle::new(convention), of_etcd: None, of_kubernetes: None }
    }

    fn read(&mut self, path: &Path, reader: impl Read) -> Result<(), FileError> {
        let fail = |what: String| FileError::Content { path: path.to_owned(), what };
        let mut json = serde_json::Deserializer::from_reader(BufReader::with_capacity(1 << 16, reader));
        let content = Content { etcd: &mut self.etcd, bundle: &mut self.bundle };
        let found = content.read(&mut json).and_then(|found| json.end().map(|()| found));
        let found = found.map_err(|error| fail(error.to_string()))?;
        match found.finish(&mut self.bundle).map_err(fail)? {
            What::Etcd => drop(self.of_etcd.get_or_insert(path.to_owned())),
            What::Kubernetes => drop(self.of_kubernetes.get_or_insert(path.to_owned())),
        }
        match (&self.of_etcd, &self.of_kubernetes) {
            (Some(etcd), Some(kubernetes)) => {
                Err(FileError::Two { etcd: etcd.clone(), kubernetes: kubernetes.clone() })
            }
            _ => Ok(()),
        }
    }

    fn finish(self) -> Result<Dump, FileError> {
        let mut dump = match self.of_kubernetes {
            Some(_) => self.bundle.finish()?,
            None => Dump {
                events: self.etcd.events,
                newest: self.etcd.newest,
                kinds: Kind::ALL.into(),
                left_out: BTreeSet::new(),
            },
        };
        dump.events.insert(0, Event::Resync(Side::Datastore));
        dump.events.push(Event::Synced(Side::Datastore));
        Ok(dump)
    }
}

/// The newest moment that an object tells of beside its creation.
fn newest(object: &Object) -> Option<SystemTime> {
    let Object::Block(block) = object else { return None };
    block.attributes.iter().flat_map(|it| [it.released_at, it.allocated_at]).fold(block.claimed_at, Option::max)
}
