//! A list: every key of some ranges, in pages, all as of one revision.

use std::collections::VecDeque;
use std::time::{Duration, Instant};
use std::vec;

use etcd_client::{GetResponse, KeyValue};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::client::Connection;
use super::error::EtcdError;
use super::range::KeyRange;
use super::{decode, key};
use crate::model::Detail;
use crate::source::progress::{Patience, Progress};
use crate::state::{Event, Object};

/// Events handed over at once. Small, so that whoever shares the thread (a scrape) gets its turn between two of them,
/// and a bounded channel of such batches is bounded memory.
pub(super) const BATCH: usize = 64;

/// Blocks in a part of their range: a page or less, if affinities are right about where blocks lie.
const BLOCKS_IN_A_PART: usize = 100;
/// Pages on their way at once. More were measured to be no faster: etcd has other things to do as well.
const AT_ONCE: usize = 3;

/// Keys of a list, at most. Half a million pods in blocks, handles and endpoints are under a million; etcd's own limits
/// end not far beyond this. A server that claims more is not believed: its list would be memory without end.
const MOST_KEYS: i64 = 5_000_000;

/// Reads ranges page by page; [`Lister::next`] hands out what they hold. A few pages are on their way while another one
/// is decoded, and never more than that: a slow reader slows the list down, and memory stays that of so many pages.
///
/// The first page fixes the revision (unless one was given) and all others are read as of it, so that the whole is a
/// picture that existed. If that revision is compacted meanwhile, [`EtcdError::Compacted`] ends the list.
///
/// Blocks are read last and in parts of about a page each, wherever affinities of the same list tell where blocks lie.
/// (For each page etcd walks its index over the whole rest of the range that was asked for.)
pub struct Lister {
    connection: Connection,
    ranges: VecDeque<KeyRange>,
    /// Ranges of blocks, until all others have been read.
    blocks: Vec<KeyRange>,
    /// Keys of blocks, as affinities tell.
    marks: Vec<Vec<u8>>,
    revision: Option<i64>,
    detail: Detail,
    cluster: u64,
    page: vec::IntoIter<KeyValue>,
    asked: VecDeque<Asked>,
    /// Keys read so far.
    keys: i64,
    patience: Patience,
    progress: Progress,
}

/// A page that has been asked for.
struct Asked {
    range: KeyRange,
    start: Vec<u8>,
    /// How many keys the page before it left, where it is not the first of its range.
    left: Option<i64>,
    answer: JoinHandle<Result<GetResponse, EtcdError>>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.answer.abort();
    }
}

impl Lister {
    /// A list of `ranges`, as of `revision` or, if it is `None`, of the newest when the first page is read.
    /// Must be called on a tokio runtime: requests run as tasks of their own.
    pub fn new(connection: &Connection, ranges: Vec<KeyRange>, revision: Option<i64>) -> Lister {
        let (blocks, ranges): (Vec<_>, Vec<_>) = ranges.into_iter().partition(|range| range.holds_blocks());
        let mut lister = Lister {
            connection: connection.clone(),
            ranges: ranges.into(),
            blocks,
            marks: Vec::new(),
            revision,
            detail: Detail::Full,
            cluster: 0,
            page: Vec::new().into_iter(),
            asked: VecDeque::new(),
            keys: 0,
            patience: Patience::default(),
            progress: Progress::default(),
        };
        lister.ask_ahead();
        lister
    }

    /// The same list, with no more of a block than `detail` asks for.
    #[must_use]
    pub fn in_detail(mut self, detail: &Detail) -> Lister {
        self.detail = detail.clone();
        self
    }

    /// The same list, waited for so long and no longer.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Lister {
        self.patience = patience;
        self
    }

    /// How much longer the list may be waited for before it is late.
    pub(super) fn late_in(&self) -> Duration {
        self.progress.left(self.patience.late)
    }

    /// That the list is late.
    pub(super) fn late(&self) -> EtcdError {
        self.connection.peer.slow("listing", self.progress.waited())
    }

    /// The revision that the list is of; known once the first page has been read.
    pub fn revision(&self) -> Option<i64> {
        self.revision
    }

    /// The cluster that answered (0 before it has).
    pub(super) fn cluster(&self) -> u64 {
        self.cluster
    }

    /// The next batch, of 1 to 64 events, one for each key that is understood; `None` at the end. May be dropped and
    /// called again: nothing is lost.
    ///
    /// # Errors
    /// [`EtcdError::Compacted`]: list again. [`EtcdError::Absurd`] where the pages do not add up, [`EtcdError::Slow`] where
    /// they take too long. [`EtcdError::Denied`] and all that a connection may run into.
    pub async fn next(&mut self) -> Result<Option<Vec<Event>>, EtcdError> {
        loop {
            if self.page.len() > 0 {
                // Decoding does not wait for anything: this is where others on the thread get their turn, the
                // request for the next page among them.
                tokio::task::yield_now().await;
                let keys = self.page.by_ref().take(BATCH);
                let events: Vec<Event> =
                    keys.filter_map(|kv| decode::event_in(&self.detail, kv.key(), kv.value())).collect();
                self.mark(&events);
                if !events.is_empty() {
                    return Ok(Some(events));
                }
            } else if !self.turn_page().await? {
                return Ok(None);
            }
        }
    }

    /// The next keys as they stand there, of whatever kind; `None` at the end. Not to be mixed with [`Lister::next`].
    ///
    /// # Errors
    /// As [`Lister::next`].
    pub(super) async fn next_raw(&mut self) -> Result<Option<Vec<KeyValue>>, EtcdError> {
        while self.page.len() == 0 {
            if !self.turn_page().await? {
                return Ok(None);
            }
        }
        Ok(Some(self.page.by_ref().collect()))
    }

    /// Takes the page that was asked for first, and asks for more. `false` at the end.
    async fn turn_page(&mut self) -> Result<bool, EtcdError> {
        self.ask_ahead();
        let left = self.progress.left(self.patience.hopeless);
        let Some(asked) = self.asked.front_mut() else { return Ok(false) };
        let began = Instant::now();
        let answer = {
            let _waiting = Waiting { progress: &mut self.progress, began };
            timeout(left, &mut asked.answer).await
        };
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(join)) => Err(self.connection.peer.unreachable(&join.to_string())),
            Err(_) => return Err(self.late()),
        };
        let Some(mut asked) = self.asked.pop_front() else { return Ok(false) };
        let (start, mut range, left) = (std::mem::take(&mut asked.start), asked.range.clone(), asked.left);
        let mut page = match answer {
            // Somebody stored huge values: read fewer of them at a time.
            Err(EtcdError::TooLarge { .. }) if range.page > 1 => {
                range.page = (range.page / 4).max(1);
                self.ask(range, start, left);
                return Ok(true);
            }
            answer => answer?,
        };
        self.judge(&page, &range, &start, left)?;
        if let Some(header) = page.header() {
            self.revision.get_or_insert(header.revision());
            self.cluster = header.cluster_id();
        }
        let (more, count) = (page.more(), page.count());
        let keys = page.take_kvs();
        self.keys += keys.len() as i64;
        self.progress.arrive(keys.iter().map(|kv| kv.key().len() + kv.value().len()).sum());
        if let Some(last) = keys.last().filter(|_| more) {
            // The key after the last one, in the order of bytes.
            let mut start = last.key().to_vec();
            start.push(0);
            self.ask(range, start, Some(count - keys.len() as i64));
        }
        self.page = keys.into_iter();
        self.ask_ahead();
        Ok(true)
    }

    /// Whether a page is one that etcd could have answered, to whom asked for `range` from `start` on; the page before
    /// it said that so many keys were left.
    fn judge(&self, page: &GetResponse, range: &KeyRange, start: &[u8], left: Option<i64>) -> Result<(), EtcdError> {
        let peer = &self.connection.peer;
        let doing = format!("listing {}", String::from_utf8_lossy(&range.start));
        let absurd = |what: String| Err(peer.absurd(&doing, what));
        let mut revision = self.revision;
        if let Some(header) = page.header() {
            if self.cluster != 0 && header.cluster_id() != self.cluster {
                return Err(peer.history("another cluster answers".to_owned()));
            }
            if self.revision.is_some_and(|of| header.revision() < of) {
                return Err(peer.history(format!("revision {} after {:?}", header.revision(), self.revision)));
            }
            revision.get_or_insert(header.revision());
        }
        let Some(revision) = revision else { return absurd("it does not say of which revision".to_owned()) };
        let (keys, count) = (page.kvs(), page.count());
        let here = keys.len() as i64;
        if here > range.page {
            return absurd(format!("{here} keys, where {} were asked for", range.page));
        }
        let mut before: Option<&[u8]> = None;
        for kv in keys {
            let key = kv.key();
            if key < start || key >= range.end.as_slice() {
                return absurd("a key outside what was asked for".to_owned());
            }
            if before.is_some_and(|before| before >= key) {
                return absurd("keys that do not ascend".to_owned());
            }
            if kv.mod_revision() > revision {
                return absurd(format!("a value of revision {} in a list of {revision}", kv.mod_revision()));
            }
            before = Some(key);
        }
        match (page.more(), here) {
            (true, 0) => return absurd("more keys are said to follow none".to_owned()),
            (true, here) if count <= here => return absurd(format!("{here} keys of {count}, and yet more")),
            (false, here) if count != here => return absurd(format!("it ends after {here} keys of {count}")),
            _ => {}
        }
        // All pages are of one revision.
        if left.is_some_and(|left| left != count) {
            return absurd(format!("{count} keys are left, where {left:?} were"));
        }
        if self.keys.saturating_add(count) > MOST_KEYS {
            return absurd(format!("{count} keys: more than Calico ever has"));
        }
        Ok(())
    }

    /// Keeps a few pages on their way.
    fn ask_ahead(&mut self) {
        // Before the first answer there is no revision that others could be of.
        let most = if self.revision.is_some() { AT_ONCE } else { 1 };
        while self.asked.len() < most {
            let Some(range) = self.next_range() else { return };
            let start = range.start.clone();
            self.ask(range, start, None);
        }
    }

    fn next_range(&mut self) -> Option<KeyRange> {
        let all_read = self.ranges.is_empty() && self.asked.is_empty() && self.page.len() == 0;
        if all_read && !self.blocks.is_empty() {
            let marks = std::mem::take(&mut self.marks);
            let blocks = std::mem::take(&mut self.blocks);
            self.ranges = blocks.into_iter().flat_map(|range| range.split(&marks, BLOCKS_IN_A_PART)).collect();
        }
        self.ranges.pop_front()
    }

    /// Keeps in mind where blocks lie.
    fn mark(&mut self, events: &[Event]) {
        if self.blocks.is_empty() {
            return;
        }
        for event in events {
            if let Event::Put(object) = event
                && let Object::Affinity(affinity) = &**object
            {
                self.marks.push(key::block(&affinity.cidr).into_bytes());
            }
        }
    }

    fn ask(&mut self, range: KeyRange, start: Vec<u8>, left: Option<i64>) {
        let (connection, revision) = (self.connection.clone(), self.revision);
        let (asked, from) = (range.clone(), start.clone());
        let answer = tokio::spawn(async move { connection.page(&asked, &from, revision).await });
        self.asked.push_back(Asked { range, start, left, answer });
    }
}

/// Counts the time that is waited, also where the waiting is broken off.
struct Waiting<'a> {
    progress: &'a mut Progress,
    began: Instant,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.progress.wait(self.began.elapsed());
    }
}
