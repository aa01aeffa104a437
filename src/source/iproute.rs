//! Links and routes, neighbours, forwarding entries and policy rules from iproute2's JSON, with names or with numbers
//! (`-N`). A dump taken on one machine can so be looked at on another.
//!
//! What iproute2 leaves out without `-d` is filled in with what it left out: type `unicast`, table `main`, protocol
//! `boot`, scope `global` (`ip/iproute.c`, `print_route`). Anything else that is missing or odd is an error that names
//! the file, the entry and the field: half a dump would look like a host that lost its routes.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::model::{Family, Link, PolicyRule, Route, TunnelKind};
use crate::state::{Event, Side, Table};

mod entry;
mod links;
mod names;
mod neighbours;
mod print;
mod routes;
mod rules;
#[cfg(test)]
mod tests;

use entry::Entry;
pub use print::Printed;

/// What makes the routes file.
const ROUTES_COMMAND: &str = "ip -j -d route show table all";
/// What makes the links file.
const LINKS_COMMAND: &str = "ip -j -d addr show";

/// What makes the file of neighbours.
const NEIGHBOURS_COMMAND: &str = "ip -j -d -s neigh show nud all";
/// What makes the file of forwarding entries.
const FDB_COMMAND: &str = "bridge -j -d fdb show";
/// What makes a file of policy rules.
const RULES_COMMAND: &str = "ip -j rule show";

/// Files of a host's kernel. Each but the routes may be absent, and what it would say is not known then.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Files {
    /// `ip -j -d route show table all`.
    pub routes: PathBuf,
    /// `ip -j -d addr show`.
    pub links: Option<PathBuf>,
    /// `ip -j -d -s neigh show nud all`; names devices as `links` does.
    pub neighbours: Option<PathBuf>,
    /// `bridge -j -d fdb show`; likewise.
    pub fdb: Option<PathBuf>,
    /// `ip -j rule show` and `ip -6 -j rule show`, in this order, in a file each or in one.
    pub rules: Vec<PathBuf>,
}

impl Files {
    /// Whether anything is said of the side [`Side::Tunnels`].
    pub fn has_tunnels(&self) -> bool {
        self.neighbours.is_some() || self.fdb.is_some() || !self.rules.is_empty()
    }

    /// All files as one list of events: for each side from [`Event::Resync`] to [`Event::Synced`], links before what names
    /// them. Where several routes have the same key (`ip route append`), the kernel uses the first, and only that one is told
    /// of. Of neighbours and forwarding entries only the VXLAN tunnels' are told of.
    ///
    /// # Errors
    /// [`FileError`], where a file cannot be read or is not what iproute2 prints.
    pub fn events(&self) -> Result<Vec<Event>, FileError> {
        events(self)
    }
}

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
    /// There are more lists of rules than families.
    #[error("{}: a third list of rules; `{RULES_COMMAND}` makes the first and `ip -6 -j rule show` the second", file.display())]
    Rules {
        /// The file.
        file: PathBuf,
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
    Ok(links::resolved(found))
}

/// Reads policy rules, first IPv4's, then IPv6's.
///
/// # Errors
/// [`FileError`], where a file cannot be read or is not what `ip -j rule` prints.
pub fn rules(files: &[PathBuf]) -> Result<Vec<(Family, Vec<PolicyRule>)>, FileError> {
    let mut found: Vec<(Family, Vec<PolicyRule>)> = Vec::new();
    for file in files {
        let before = found.len();
        let lists = for_each_in_lists(file, RULES_COMMAND, open(file)?, |list, entry| {
            let index = before + list;
            let family = *Family::ALL.get(index).ok_or_else(|| FileError::Rules { file: file.clone() })?;
            while found.len() <= index {
                found.push((Family::ALL[found.len()], Vec::new()));
            }
            found[index].1.push(rules::rule(entry, family)?);
            Ok(())
        })?;
        if before + lists > Family::ALL.len() {
            return Err(FileError::Rules { file: file.clone() });
        }
        while found.len() < before + lists {
            found.push((Family::ALL[found.len()], Vec::new()));
        }
    }
    Ok(found)
}

/// Routes and links alone, as [`Files::events`].
///
/// # Errors
/// [`FileError`], where a file cannot be read or is not what iproute2 prints.
pub fn snapshot(routes_file: &Path, links_file: Option<&Path>) -> Result<Vec<Event>, FileError> {
    let (routes, links) = (routes_file.to_owned(), links_file.map(Path::to_owned));
    Files { routes, links, ..Files::default() }.events()
}

fn events(files: &Files) -> Result<Vec<Event>, FileError> {
    let mut events = vec![Event::Resync(Side::Kernel)];
    let links = match &files.links {
        Some(file) => links(file, open(file)?)?,
        None => Vec::new(),
    };
    let is_tunnel = |name: &str| Family::ALL.iter().any(|family| TunnelKind::vxlan(*family).device() == name);
    let tunnels: HashMap<_, _> =
        links.iter().filter(|it| is_tunnel(&it.name)).map(|it| (it.name.clone(), it.index)).collect();
    events.extend(links.into_iter().map(Event::Link));
    let mut keys = HashSet::new();
    let routes = routes(&files.routes, open(&files.routes)?)?;
    events.extend(routes.into_iter().filter(|route| keys.insert(route.key())).map(Event::Route));
    events.push(Event::Synced(Side::Kernel));
    if !files.has_tunnels() {
        return Ok(events);
    }
    events.push(Event::Resync(Side::Tunnels));
    let index = |name: &str| tunnels.get(name).copied();
    if let Some(file) = &files.neighbours {
        for_each_entry(file, NEIGHBOURS_COMMAND, open(file)?, |entry| {
            events.extend(neighbours::neighbour(entry, index)?.map(Event::Neighbour));
            Ok(())
        })?;
        events.push(Event::Listed(Table::Neighbours));
    }
    if let Some(file) = &files.fdb {
        for_each_entry(file, FDB_COMMAND, open(file)?, |entry| {
            events.extend(neighbours::fdb_entry(entry, index)?.map(Event::Fdb));
            Ok(())
        })?;
        events.push(Event::Listed(Table::Fdb));
    }
    events.extend(rules(&files.rules)?.into_iter().map(|(family, rules)| Event::Rules(family, rules)));
    events.push(Event::Synced(Side::Tunnels));
    Ok(events)
}

fn open(file: &Path) -> Result<Box<dyn Read>, FileError> {
    super::bundle::open(file).map_err(|source| FileError::Read { file: file.to_owned(), source })
}

/// Calls `take` for each entry that is not empty. Several lists one after the other are read as one: `ip -4` and
/// `ip -6` into the same file make that.
fn for_each_entry(
    file: &Path,
    command: &'static str,
    reader: impl Read,
    mut take: impl FnMut(&Entry<'_>) -> Result<(), FileError>,
) -> Result<(), FileError> {
    for_each_in_lists(file, command, reader, |_, entry| take(entry)).map(drop)
}

/// The same with the index of the list that the entry is in. Returns how many lists there are.
fn for_each_in_lists(
    file: &Path,
    command: &'static str,
    mut reader: impl Read,
    mut take: impl FnMut(usize, &Entry<'_>) -> Result<(), FileError>,
) -> Result<usize, FileError> {
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
                take(lists - 1, &Entry::new(file, number, &fields))?;
            }
        }
    }
    if lists == 0 {
        return Err(FileError::Empty { file: file.to_owned(), command });
    }
    Ok(lists)
}
