//! The one task that owns the state: it folds events in, has the audits look, and publishes what they found. Readers
//! clone an `Arc`; no lock is on the way to a scrape.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::audit::sweep::Swept;
use crate::audit::{AuditOptions, Auditor, HostBlocks, Now};
use crate::metrics::{Published, SourceStatus};
use crate::model::Name;
use crate::state::{Event, Filter, Follow, History, Lookup, ObjectId, Operation, ReadBlock, Side, State, SyncState};

/// The least time between two looks: a burst of events is one look. The time that a look takes is added four times, so
/// that looking never takes more than a fifth of a processor.
const LEAST_PAUSE: Duration = Duration::from_millis(10);
/// The longest time between two looks: so old is a report of a cluster in which nothing happens.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long events are taken before anything else has its turn.
const MOST_TAKEN: Duration = Duration::from_millis(20);
mod ask;
mod complaints;
mod question;
mod transitions;

use ask::Asking;
use complaints::Complaints;

pub use question::{Inquiry, Question, Recent, Unanswered, inquiry};

/// What the engine is made of.
pub struct EngineOptions {
    /// This host's Calico node name.
    pub node: Name,
    /// What runs.
    pub audit: AuditOptions,
    /// Whether the datastore's lists name endpoints and handles.
    pub lists_endpoints: bool,
    /// Which blocks the datastore's events tell of.
    pub follow: Follow,
    /// The sources that send events.
    pub sources: Vec<SourceStatus>,
    /// Whether the datastore may be a part of one.
    pub partial: bool,
    /// The time of day of a dump, which stands still (J6).
    pub dumped_at: Option<SystemTime>,
    /// Bytes that the history may take; 0 keeps none.
    pub history_size: usize,
}

/// Where events come from and where reports go.
pub struct Wiring {
    /// Events of all sources.
    pub events: mpsc::Receiver<Vec<Event>>,
    /// Sweeps, where they are made.
    pub sweeps: mpsc::Receiver<Swept>,
    /// What to look up.
    pub lookups: mpsc::Sender<Lookup>,
    /// Questions that a report does not answer.
    pub questions: mpsc::Receiver<Question>,
    /// Reports.
    pub published: watch::Sender<Arc<Published>>,
    /// Becomes true at the end.
    pub stop: watch::Receiver<bool>,
}

/// The owner of the state.
pub struct Engine {
    state: State,
    auditor: Auditor,
    published: Published,
    start: Instant,
    dumped_at: Option<SystemTime>,
    asking: Asking,
    complaints: Complaints,
    /// Sides that are being read in full.
    listing: HashSet<Side>,
}

impl Engine {
    /// An engine that has seen nothing.
    pub fn new(options: EngineOptions) -> Engine {
        let mut state = State::new(options.lists_endpoints).following(options.follow);
        state.history = History::new(options.history_size);
        Engine {
            state,
            auditor: Auditor::new(options.audit).of_dump(options.partial),
            published: Published::starting(options.node, options.sources),
            start: Instant::now(),
            dumped_at: options.dumped_at,
            asking: Asking::default(),
            complaints: Complaints::default(),
            listing: HashSet::new(),
        }
    }

    /// What is published before anything was seen.
    pub fn published(&self) -> &Published {
        &self.published
    }

    fn now(&self) -> Now {
        Now { monotonic: self.start.elapsed(), wall: self.dumped_at.unwrap_or_else(SystemTime::now) }
    }

    /// Runs until `stop` becomes true or nobody sends events any more; then the last report stays published.
    pub async fn run(mut self, mut wiring: Wiring) {
        wiring.published.send_replace(Arc::new(self.published.clone()));
        let mut next_look = Duration::ZERO;
        let mut next_answer = Duration::ZERO;
        let mut news = false;
        loop {
            let now = self.start.elapsed();
            if news && now >= next_look || now >= next_look + LONGEST_PAUSE {
                let took = self.look(&wiring);
                next_look = self.start.elapsed() + LEAST_PAUSE.max(took * 4);
                news = false;
            }
            let wake = if news { next_look } else { self.wake(next_look) };
            let now = self.start.elapsed();
            // Answers take half of this thread's time at most: what they cost is paused before the next one.
            let answers = now >= next_answer;
            let wake = if answers { wake } else { wake.min(next_answer) };
            let pause = wake.saturating_sub(now);
            tokio::select! {
                biased;
                _ = wiring.stop.wait_for(|stop| *stop) => return,
                batch = wiring.events.recv() => match batch {
                    None => return,
                    Some(batch) => {
                        let began = Instant::now();
                        self.take(batch);
                        // What is queued already belongs to the same look, as far as it does not keep others waiting.
                        while began.elapsed() < MOST_TAKEN
                            && let Ok(batch) = wiring.events.try_recv()
                        {
                            self.take(batch);
                        }
                        news = true;
                        // Events go first, but not always: somebody waits for the answer.
                        if answers && let Ok(question) = wiring.questions.try_recv() {
                            next_answer = self.answer(question);
                        }
                    }
                },
                Some(swept) = wiring.sweeps.recv() => {
                    self.take_sweep(swept);
                    news = true;
                }
                Some(question) = wiring.questions.recv(), if answers => next_answer = self.answer(question),
                () = tokio::time::sleep(pause) => news |= self.start.elapsed() >= next_look,
            }
            // The sources share this thread.
            tokio::task::yield_now().await;
        }
    }

    /// When to look although nothing happened.
    fn wake(&self, next_look: Duration) -> Duration {
        let due = self.auditor.next_due(self.now());
        let soonest = [due, self.asking.next()].into_iter().flatten().min().unwrap_or(Duration::MAX);
        soonest.max(next_look).min(next_look + LONGEST_PAUSE)
    }

    fn take(&mut self, batch: Vec<Event>) {
        let now = self.now();
        self.state.begin_batch(now.wall);
        for event in batch {
            self.note(&event, now);
            self.state.apply(event, now.monotonic);
        }
    }

    /// Keeps the sources' status and says once what cannot be read.
    fn note(&mut self, event: &Event, now: Now) {
        match event {
            Event::Resync(side) => {
                self.listing.insert(*side);
            }
            Event::Synced(side) => {
                let listed = self.listing.remove(side);
                for source in self.published.sources.iter_mut().filter(|it| it.side == *side) {
                    // A look at what an event left open is no reading anew.
                    if listed && source.synced_once {
                        source.resyncs += 1;
                    }
                    if !source.in_sync {
                        info!(source = source.name, "in sync");
                        if source.synced_once {
                            self.state.history.source(Operation::Recovered, source.name, None);
                        }
                    }
                    source.in_sync = true;
                    source.synced_once = true;
                    source.why_lost = None;
                    source.lost_since = None;
                    source.last_sync = Some(now.wall);
                }
            }
            Event::Lost(side, why) => {
                for source in self.published.sources.iter_mut().filter(|it| it.side == *side) {
                    warn!(source = source.name, why, "not in sync; the last report stands");
                    if source.in_sync {
                        source.lost_since = Some(now.wall);
                        self.state.history.source(Operation::Lost, source.name, Some(why.clone()));
                    }
                    source.in_sync = false;
                    source.why_lost = Some(why.clone());
                }
            }
            Event::Denied(side, what) => {
                for source in self.published.sources.iter_mut().filter(|it| it.side == *side) {
                    source.denied.clone_from(what);
                }
            }
            Event::Unreadable { id, key, why } => {
                let asked = matches!(id, ObjectId::Block(cidr) if self.state.datastore.read(cidr).is_some_and(ReadBlock::is_dark));
                let known = asked || self.state.datastore.unreadable().get(id).is_some_and(|value| value.why == *why);
                if !known {
                    self.complaints.complain(key, why, now.monotonic);
                }
            }
            _ => {}
        }
    }

    fn take_sweep(&mut self, swept: Swept) {
        let now = self.now();
        for (id, value) in &swept.unreadable {
            if !self.auditor.swept_unreadable(id, &value.why) {
                self.complaints.complain(&value.key, &value.why, now.monotonic);
            }
        }
        self.auditor.take_sweep(&self.state, swept, now);
    }

    /// Has the audits look and publishes what they found. Returns how long that took.
    fn look(&mut self, wiring: &Wiring) -> Duration {
        let now = self.now();
        let began = Instant::now();
        if self.auditor.look(&mut self.state, now) {
            let report = self.auditor.report(&self.state, now);
            // Readers keep what they made of a report for as long as it is the same.
            if *self.published.report != report {
                for note in report.notes.iter().filter(|it| !self.published.report.notes.contains(it)) {
                    info!("{note}");
                }
                transitions::note(&self.published.report.findings, &report.findings, &mut self.state.history, now.wall);
                self.published.report = Arc::new(report);
            }
            self.published.report_time = Some(now.wall);
            self.published.audit_seconds = began.elapsed().as_secs_f64();
        }
        self.published.changes.clone_from(self.state.history.counts());
        self.note_cannot_tell();
        self.complaints.count(now.monotonic);
        wiring.published.send_replace(Arc::new(self.published.clone()));
        self.asking.ask(&self.auditor, &mut self.state, &wiring.lookups, now.monotonic);
        began.elapsed()
    }

    /// What keeps everything from being judged is said once.
    fn note_cannot_tell(&mut self) {
        let why = self.auditor.cannot_tell(&self.state);
        if let Some(why) = why.as_ref().filter(|why| self.published.cannot_tell.as_ref() != Some(*why)) {
            warn!("cannot tell: {why}");
        }
        self.published.cannot_tell = why;
    }

    /// Answers, and says when the next question may be.
    fn answer(&self, question: Question) -> Duration {
        let began = self.start.elapsed();
        // Whoever asked may have gone.
        if !question.is_moot() {
            self.answer_now(question);
        }
        let now = self.start.elapsed();
        now + (now - began)
    }

    /// Answers from what is known now.
    fn answer_now(&self, question: Question) {
        match question {
            Question::Blocks { host, from, reply } => {
                let _ = reply.send(HostBlocks::of(&self.state.datastore, &host, from));
            }
            Question::Routes { from, limit, reply } => {
                let _ = reply.send(self.auditor.routes(&self.state, self.now(), from, limit));
            }
            Question::History { filter, limit, reply } => {
                let _ = reply.send(self.recent(&filter, limit));
            }
            Question::Timelines { subjects, each, reply } => {
                let of = |subject: Box<str>| {
                    self.recent(&Filter { subject: Some(subject.into()), ..Filter::default() }, each).entries
                };
                let _ = reply.send(subjects.into_iter().map(of).collect());
            }
            Question::Explain { subject, reply } => {
                let read = *self.state.sync(Side::Datastore) != SyncState::Waiting;
                let findings = &self.published.report.findings;
                let _ = reply.send(read.then(|| self.auditor.explain(&self.state, findings, &subject)));
            }
        }
    }

    fn recent(&self, filter: &Filter, limit: usize) -> Recent {
        let history = &self.state.history;
        let mut entries = history.entries(filter);
        Recent {
            entries: entries.by_ref().take(limit).cloned().collect(),
            more: entries.next().is_some(),
            dropped: history.dropped(),
        }
    }
}
