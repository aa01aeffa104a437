//! Links and routes from iproute2's JSON: what `ip -j -d route show table all` and `ip -j -d addr show` print, with
//! names or with numbers (`-N`). A dump taken on one machine can so be looked at on another.
//!
//! What iproute2 leaves out without `-d` is filled in with what it left out: type `unicast`, table `main`, protocol
//! `boot`, scope `global` (`ip/iproute.c`, `print_route`). Anything else that is missing or odd is an error that names
//! the file, the entry and the field: half a dump would look like a host that lost its routes.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::model::{Link, Route};
use crate::state::{Event, Side};

mod entry;
mod links;
mod names;
mod routes;
#[cfg(test)]
mod tests;

use entry::Entry;

/// What makes the routes file.
const ROUTES_COMMAND: &str = "ip -j -d route show table all";
/// What makes the links file.
const LINKS_COMMAND: &str = "ip -j -d addr show";

/// Why a file of iproute2's JSON cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be opened or read.
    #[error("{}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The operating system's word.
        source: std::io::Error,
    },
    /// It has no JSON in it at all.
    #[error("{}: is empty, and ought to hold the output of `{command}`", file.display())]
    Empty {
        /// The file.
        file: PathBuf,
        /// What ought to have made it.
        command: &'static str,
    },
    /// It is not JSON; the cause says in which line and column.
    #[error("{}: is not the output of `{command}`: {source}", file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// What ought to have made it.
        command: &'static str,
        /// What the parser met.
        source: serde_json::Error,
    },
    /// An entry is not as iproute2 writes it.
    #[error("{}: entry {entry}: field `{field}`: {problem}", file.display())]
    Field {
        /// The file.
        file: PathBuf,
        /// The entry's place in the list, the first is 1.
        entry: usize,
        /// The path of the field in it.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// Reads routes, both families, in the file's order. `file` is only for messages.
///
/// Routes that the model has no place for are left out: those for one source prefix (`from`, which multicast routes
/// have as well) and MPLS labels.
///
/// # Errors
/// [`FileError`], where the text is not what `ip -j route` prints.
pub fn routes(file: &Path, reader: impl Read) -> Result<Vec<Route>, FileError> {
    let mut found = Vec::new();
    for_each_entry(file, ROUTES_COMMAND, reader, |entry| {
        found.extend(routes::route(entry)?);
        Ok(())
    })?;
    Ok(found)
}

/// Reads links with their addresses, in the file's order. `file` is only for messages.
///
/// # Errors
/// [`FileError`], where the text is not what `ip -j addr` prints.
pub fn links(file: &Path, reader: impl Read) -> Result<Vec<Link>, FileError> {
    let mut found = Vec::new();
    for_each_entry(file, LINKS_COMMAND, reader, |entry| {
        found.push(links::link(entry)?);
        Ok(())
    })?;
    Ok(found)
}

/// Both files as one list of events, from [`Event::Resync`] to [`Event::Synced`], links before routes. Where several
/// routes have the same key (`ip route append`), the kernel uses the first, and only that one is told of.
///
/// # Errors
/// [`FileError`], where a file cannot be read or is not what iproute2 prints.
pub fn snapshot(routes_file: &Path, links_file: Option<&Path>) -> Result<Vec<Event>, FileError> {
    let mut events = vec![Event::Resync(Side::Kernel)];
    if let Some(file) = links_file {
        events.extend(links(file, open(file)?)?.into_iter().map(Event::Link));
    }
    let mut keys = HashSet::new();
    let routes = routes(routes_file, open(routes_file)?)?;
    events.extend(routes.into_iter().filter(|route| keys.insert(route.key())).map(Event::Route));
    events.push(Event::Synced(Side::Kernel));
    Ok(events)
}

fn open(file: &Path) -> Result<File, FileError> {
    File::open(file).map_err(|source| FileError::Read { file: file.to_owned(), source })
}

/// Calls `take` for each entry that is not empty. Several lists one after the other are read as one: `ip -4` and
/// `ip -6` into the same file make that.
fn for_each_entry(
    file: &Path,
    command: &'static str,
    mut reader: impl Read,
    mut take: impl FnMut(&Entry<'_>) -> Result<(), FileError>,
) -> Result<(), FileError> {
    let mut text = Vec::new();
    reader.read_to_end(&mut text).map_err(|source| FileError::Read { file: file.to_owned(), source })?;
    let mut lists = 0;
    let mut number = 0;
    for list in serde_json::Deserializer::from_slice(&text).into_iter::<Vec<serde_json::Map<_, _>>>() {
        lists += 1;
        for fields in list.map_err(|source| FileError::Json { file: file.to_owned(), command, source })? {
            number += 1;
            // iproute2 opens an object before it knows whether a filter drops the entry.
            if !fields.is_empty() {
                take(&Entry::new(file, number, &fields))?;
            }
        }
    }
    if lists == 0 {
        return Err(FileError::Empty { file: file.to_owned(), command });
    }
    Ok(())
}
