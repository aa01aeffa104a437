//! What changed, when, and who asked for it: a journal in memory, bounded by bytes.
//!
//! Old entries leave first, except those that concern a fault that still stands: an engineer who is woken by it wants
//! to see what happened then. Many changes alike within a second become one entry that counts them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::{Duration, SystemTime};

use ipnet::IpNet;

use super::event::{Kind, Side};
use super::prefix::PrefixMap;
use crate::model::{Name, Protocol, net_of};

mod entry;
mod facts;
mod filter;
mod programs;
mod record;
#[cfg(test)]
mod tests;

pub use entry::{Area, Author, Burst, Entry, Fact, Operation, Process};
pub use filter::{Filter, Subject};
pub use programs::Program;
pub(super) use record::{Recorder, side_of};

/// Changes alike within one [`BURST_PAUSE`] that are written out; further ones are counted in one entry.
const BURST_AFTER: u32 = 16;
/// A burst ends where nothing like it happened for so long.
const BURST_PAUSE: Duration = Duration::from_secs(1);
/// Destinations that a burst remembers one by one: what a person asks about is likely among them, and 512 KiB hold
/// twenty such bursts.
const BURST_PLACES: usize = 1024;
/// Kinds of bursts that are kept apart at once.
const MOST_BURSTS: usize = 256;
/// Destinations whose deletion by a program other than Calico's is remembered.
const MOST_DELETERS: usize = 4096;

/// What makes changes alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Likeness {
    what: Cow<'static, str>,
    operation: Operation,
    author: Author,
    protocol: Option<Protocol>,
}

#[derive(Debug, Clone)]
struct Run {
    number: u32,
    last: SystemTime,
    /// The entry that counts the rest.
    folded_into: Option<u64>,
}

/// What concerns a standing fault.
#[derive(Debug, Clone, Default)]
struct Standing {
    subjects: HashSet<Box<str>>,
    places: PrefixMap<()>,
}

impl Standing {
    fn holds(&self, entry: &Entry) -> bool {
        if self.subjects.contains(&entry.subject) {
            return true;
        }
        // A default route concerns every address, and is not meant.
        entry.place.filter(|place| place.prefix_len() > 0).is_some_and(|place| {
            self.places.within(&place).next().is_some() || self.places.covering(&place).next().is_some()
        })
    }
}

/// The journal.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Bytes that it may take; 0 turns it off.
    limit: usize,
    bytes: usize,
    next: u64,
    appended: u64,
    now: Option<SystemTime>,
    /// Older than `recent`, and of a standing fault.
    kept: VecDeque<Entry>,
    kept_bytes: usize,
    recent: VecDeque<Entry>,
    standing: Standing,
    /// `standing` changed since `kept` was last gone through.
    stale: bool,
    runs: HashMap<Likeness, Run>,
    ports: programs::Ports,
    deleters: BTreeMap<IpNet, Author>,
    dropped: u64,
    /// Changes of objects by kind.
    counts: BTreeMap<Kind, u64>,
}

impl History {
    /// A journal of at most `limit` bytes; 0 keeps nothing.
    pub fn new(limit: usize) -> History {
        History { limit, ..History::default() }
    }

    /// Whether anything is kept.
    pub fn is_on(&self) -> bool {
        self.limit > 0
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Entries that had to leave.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// What time it is for the entries that follow.
    pub fn set_time(&mut self, now: SystemTime) {
        self.now = Some(now);
    }

    /// Says which subjects have a standing fault: their entries are kept.
    pub fn set_standing<'a>(&mut self, faults: impl Iterator<Item = (&'a str, Option<&'a Name>)>) {
        if !self.is_on() {
            return;
        }
        let mut standing = Standing::default();
        for (subject, host) in faults {
            standing.subjects.insert(subject.into());
            standing.subjects.extend(host.map(|host| host.as_ref().into()));
            if let Some(place) = net_of(subject).filter(|place| place.prefix_len() > 0) {
                standing.places.insert(place, ());
            }
        }
        self.standing = standing;
        self.stale = true;
    }

    /// Appends an entry; its number and time are given here. A change like many before it is counted instead.
    pub fn append(&mut self, mut entry: Entry) {
        if !self.is_on() {
            return;
        }
        entry.at = self.now.unwrap_or(SystemTime::UNIX_EPOCH);
        self.note_deleter(&entry);
        self.appended += 1;
        if entry.area != Area::Source && self.folds(&mut entry) {
            return;
        }
        self.next += 1;
        entry.id = self.next;
        self.bytes += entry.bytes();
        self.recent.push_back(entry);
        self.make_room();
    }

    /// Counts a change that is like many before it. Where it is the first to be counted, it becomes the entry that
    /// counts.
    fn folds(&mut self, entry: &mut Entry) -> bool {
        let now = entry.at;
        let likeness = Likeness {
            what: entry.what.clone(),
            operation: entry.operation,
            author: entry.author.clone(),
            protocol: entry.protocol,
        };
        if self.runs.len() >= MOST_BURSTS && !self.runs.contains_key(&likeness) {
            self.runs.retain(|_, run| within(run.last, now));
            if self.runs.len() >= MOST_BURSTS {
                self.runs.clear();
            }
        }
        let run = self.runs.entry(likeness).or_insert(Run { number: 0, last: now, folded_into: None });
        if !within(run.last, now) {
            *run = Run { number: 0, last: now, folded_into: None };
        }
        run.number += 1;
        run.last = now;
        if run.number <= BURST_AFTER {
            return false;
        }
        let first = self.recent.front().map(|it| it.id);
        if let (Some(id), Some(first)) = (run.folded_into, first)
            && let Some(at) = id.checked_sub(first).and_then(|at| usize::try_from(at).ok())
            && let Some(counting) = self.recent.get_mut(at).filter(|it| it.id == id)
            && let Some(burst) = &mut counting.burst
        {
            burst.count += 1;
            burst.until = Some(now);
            if let Some(place) = entry.place.filter(|_| burst.places.len() < BURST_PLACES) {
                let before = burst.places.capacity();
                burst.places.push(place);
                self.bytes += (burst.places.capacity() - before) * size_of::<IpNet>();
                self.make_room();
            }
            return true;
        }
        run.folded_into = Some(self.next + 1);
        let places = entry.place.into_iter().collect();
        entry.burst = Some(Box::new(Burst { count: 1, until: Some(now), places }));
        false
    }

    fn make_room(&mut self) {
        if self.bytes > self.limit && std::mem::take(&mut self.stale) {
            for entry in std::mem::take(&mut self.kept) {
                if self.standing.holds(&entry) {
                    self.kept.push_back(entry);
                } else {
                    self.kept_bytes -= entry.bytes();
                    self.forget(&entry);
                }
            }
        }
        while self.bytes > self.limit {
            // Kept entries have half of the room: what happens now has to be seen, too.
            if self.kept_bytes > self.limit / 2 || self.recent.is_empty() {
                let Some(entry) = self.kept.pop_front() else { break };
                self.kept_bytes -= entry.bytes();
                self.forget(&entry);
            } else if let Some(entry) = self.recent.pop_front() {
                if self.standing.holds(&entry) {
                    self.kept_bytes += entry.bytes();
                    self.kept.push_back(entry);
                } else {
                    self.forget(&entry);
                }
            }
        }
    }

    fn forget(&mut self, entry: &Entry) {
        self.bytes -= entry.bytes();
        self.dropped += 1;
    }

    /// How many entries were appended so far, those included that a burst counts.
    pub(super) fn appended(&self) -> u64 {
        self.appended
    }

    /// A side was listed in full; `before`: [`History::appended`] when that began.
    pub(super) fn listed(&mut self, side: Side, before: u64) {
        let differences = self.appended - before;
        let why = format!("{differences} difference{} found", if differences == 1 { "" } else { "s" });
        self.source(Operation::Listed, side.as_str(), Some(why));
    }

    /// Counts a change of an object.
    fn count(&mut self, kind: Kind) {
        *self.counts.entry(kind).or_default() += 1;
    }

    /// Changes of objects by kind since the first list.
    pub fn counts(&self) -> &BTreeMap<Kind, u64> {
        &self.counts
    }

    fn note_deleter(&mut self, entry: &Entry) {
        let Some(place) = entry.place.filter(|_| entry.what == record::ROUTE) else { return };
        match entry.operation {
            Operation::Deleted => {
                if self.deleters.len() >= MOST_DELETERS && !self.deleters.contains_key(&place) {
                    self.deleters.pop_first();
                }
                self.deleters.insert(place, entry.author.clone());
            }
            _ => {
                self.deleters.remove(&place);
            }
        }
    }

    /// Notes who changed a route; returns which program that is. History or not: it is counted.
    pub(super) fn program(&mut self, author: &Author, protocol: Protocol, written: bool) -> Program {
        if written {
            self.ports.wrote(author, protocol);
        }
        self.ports.program(author, protocol)
    }

    /// The process that deleted the route to a destination, where it is still gone and neither Calico's nor the kernel.
    pub fn stranger(&self, destination: &IpNet) -> Option<&Process> {
        let author = self.deleter(destination)?;
        let Author::Netlink(_, Some(process)) = author else { return None };
        (self.ports.program(author, Protocol::BIRD) == Program::Other).then_some(process)
    }

    /// Who deleted the route to a destination, where it is still gone.
    fn deleter(&self, destination: &IpNet) -> Option<&Author> {
        self.deleters.get(destination)
    }

    /// Entries that pass the filter, newest first.
    pub fn entries<'a>(&'a self, filter: &'a Filter) -> impl Iterator<Item = &'a Entry> + 'a {
        self.recent.iter().rev().chain(self.kept.iter().rev()).filter(|entry| filter.admits(entry))
    }
}

/// Whether a burst whose last change was then still goes on.
fn within(last: SystemTime, now: SystemTime) -> bool {
    now.duration_since(last).unwrap_or_default() <= BURST_PAUSE
}
