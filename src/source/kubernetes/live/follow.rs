//! One resource, listed and watched for as long as the exporter runs.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::client::{Client, Form};
use super::config::Pace;
use super::error::{Asked, KubernetesError};
use super::list::{Page, Pages, meta, version};
use super::lookup;
use super::objects::{Decoded, Decoder, Ledger, Place, Reading};
use super::part::Part;
use super::sync::{Member, Sync};
use super::watch::{Told, Watch};
use crate::model::Name;
use crate::source::backoff::{Backoff, around};
use crate::state::{Author, Event, ObjectId};

/// Events handed over at once: see the etcd source's.
const BATCH: usize = 64;
/// How often a list begins again at once when the server forgets the version that it reads.
const ATTEMPTS: usize = 3;
/// A watch that ends sooner than this was no success.
const SUCCESS: Duration = Duration::from_secs(5);

/// Follows one resource, or one block.
pub(super) struct Follower {
    client: Client,
    member: Member,
    part: Part,
    path: String,
    /// What narrows it to the one block.
    query: Vec<(&'static str, String)>,
    /// How much of each object is asked for.
    form: Form,
    words: String,
    decoder: Decoder,
    pace: Pace,
    sync: Sync,
    ledger: Ledger,
    /// Counts lists.
    round: u32,
    /// Up to which version everything is known; `None` where only a list helps.
    version: Option<u64>,
    /// Whether a watch can be trusted to tell what comes next, or has to be checked first.
    doubted: bool,
    backoff: Backoff,
    /// Since when it is current, if it is.
    current: Option<Instant>,
}

impl Follower {
    pub(super) fn new(
        client: &Client,
        member: Member,
        part: Part,
        form: Form,
        decoder: Decoder,
        pace: Pace,
        sync: &Sync,
    ) -> Follower {
        let query = match member {
            Member::All(_) => Vec::new(),
            Member::Own(cidr, _) => {
                vec![("fieldSelector", format!("metadata.name={}", Place::of_block(&cidr).name))]
            }
        };
        Follower {
            client: client.clone(),
            member,
            part,
            path: part.path(),
            query,
            form,
            words: part.words(),
            decoder,
            backoff: pace.backoff.clone(),
            pace,
            sync: sync.clone(),
            ledger: Ledger::default(),
            round: 0,
            version: None,
            doubted: false,
            current: None,
        }
    }

    /// Follows until the resource is not there any more.
    pub(super) async fn run(mut self) -> KubernetesError {
        loop {
            let Err(error) = self.session().await;
            let lasted = self.current.take().is_some_and(|since| since.elapsed() >= SUCCESS);
            if lasted {
                self.backoff.reset();
            }
            match &error {
                // Elsewhere, or nowhere: whoever started us looks for it.
                KubernetesError::NotFound { .. } | KubernetesError::Group { .. } => return error,
                KubernetesError::Expired { .. } | KubernetesError::History { .. } => self.version = None,
                KubernetesError::Silent { .. } => self.doubted = true,
                // What cannot be understood is not gone on from.
                KubernetesError::Failed { .. } | KubernetesError::Absurd { .. } => self.version = None,
                _ => {}
            }
            self.sync.lost(Some(self.member), &error).await;
            // When an API server starts again, every watcher of the cluster is told to list anew in the same second.
            let spread = match &error {
                KubernetesError::Expired { .. } if lasted => self.pace.jitter.mul_f64(fastrand::f64()),
                _ => self.backoff.next_delay(),
            };
            let asked_for = error.retry_after().map(|least| least.min(self.pace.longest_wait)).unwrap_or_default();
            sleep(asked_for + spread).await;
        }
    }

    /// Follows until something is wrong.
    async fn session(&mut self) -> Result<Infallible, KubernetesError> {
        let mut listed = false;
        match self.version {
            None => {
                self.list().await?;
                listed = true;
            }
            Some(_) if self.doubted => self.check().await?,
            Some(_) => self.prove().await?,
        }
        self.doubted = false;
        let mut due = Instant::now() + around(self.pace.check);
        loop {
            let began = Instant::now();
            let mut watch = self.open().await?;
            // A version that is forgotten is said so at once, but with a watch that looks well.
            let first = if listed { None } else { self.next_within(&mut watch, self.pace.settle).await? };
            match first {
                Some(Some(told)) => self.take(vec![told]).await?,
                Some(None) => return Err(watch.asked().unreachable("it closed the watch at once")),
                None => {}
            }
            listed = false;
            self.current.get_or_insert_with(Instant::now);
            self.sync.found(self.member).await;
            self.watch(&mut watch, &mut due).await?;
            if began.elapsed() < SUCCESS.min(self.pace.lasting) {
                return Err(watch.asked().unreachable("it keeps closing the watch"));
            }
            // The server has ended it, as asked, and another may answer now.
            self.prove().await?;
        }
    }

    async fn open(&self) -> Result<Watch, KubernetesError> {
        let lasting = self.pace.lasting.mul_f64(1.0 + fastrand::f64());
        let version = self.version.unwrap_or_default();
        Watch::open(&self.client, &self.path, &self.query, self.form, &self.words, version, lasting).await
    }

    /// What the watch says within a time: nothing, its end, or something.
    async fn next_within(&self, watch: &mut Watch, limit: Duration) -> Result<Option<Option<Told>>, KubernetesError> {
        match timeout(limit, watch.next()).await {
            Ok(told) => told.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Takes in what happens until the server ends the watch.
    async fn watch(&mut self, watch: &mut Watch, due: &mut Instant) -> Result<(), KubernetesError> {
        let mut heard = Instant::now();
        let mut permission = heard + around(self.pace.permission);
        loop {
            let silence = self.pace.silence.saturating_sub(heard.elapsed());
            let wait = silence.min(permission.min(*due).saturating_duration_since(Instant::now()));
            match self.next_within(watch, wait).await? {
                Some(None) => return Ok(()),
                Some(Some(told)) => {
                    let mut batch = vec![told];
                    // What has come already belongs together.
                    while batch.len() < BATCH {
                        match self.next_within(watch, Duration::ZERO).await {
                            Ok(Some(Some(told))) => batch.push(told),
                            Ok(None) => break,
                            Ok(Some(None)) => return self.take(batch).await,
                            Err(error) => {
                                self.take(batch).await?;
                                return Err(error);
                            }
                        }
                    }
                    self.take(batch).await?;
                    // Only the time spent waiting counts as silence.
                    heard = Instant::now();
                }
                None if heard.elapsed() >= self.pace.silence => return Err(watch.asked().silent(self.pace.silence)),
                None if Instant::now() < *due => {
                    self.prove().await?;
                    self.sync.found(self.member).await;
                    permission = Instant::now() + around(self.pace.permission);
                }
                None => {
                    self.check().await?;
                    self.sync.compared(self.member).await;
                    *due = Instant::now() + around(self.pace.check);
                }
            }
        }
    }

    async fn take(&mut self, batch: Vec<Told>) -> Result<(), KubernetesError> {
        let asked = self.client.asked("watch", &self.words);
        let mut events = Vec::with_capacity(batch.len());
        for told in batch {
            let (bytes, gone) = match told {
                Told::Bookmark(version) => {
                    self.version = self.version.max(Some(version));
                    continue;
                }
                Told::Put(bytes) => (bytes, false),
                Told::Gone(bytes) => (bytes, true),
            };
            let decoded = self.decode(&bytes);
            let version = version(&decoded.version, &asked)?;
            self.version = self.version.max(Some(version));
            let known = self.ledger.version(&decoded.place);
            let changes = if gone {
                self.ledger.delete(decoded)
            } else if known.is_none_or(|known| known < version) {
                let decoded = self.complete(decoded).await?;
                self.ledger.put(decoded, self.reading(version))
            } else {
                continue;
            };
            if !changes.is_empty() {
                events.push(Event::Origin(Author::Revision(version.to_string().into())));
                events.extend(changes);
            }
        }
        self.deliver(events).await;
        Ok(())
    }

    /// Lists everything.
    async fn list(&mut self) -> Result<(), KubernetesError> {
        let mut attempt = 1;
        loop {
            match self.list_once().await {
                Err(KubernetesError::Expired { .. }) if attempt < ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    async fn list_once(&mut self) -> Result<(), KubernetesError> {
        self.round += 1;
        // Where nothing is known yet nothing is to be gone back from: what is missing from a memory the watch tells.
        let mut pages = match self.member {
            Member::All(_) if self.pace.remembered && self.ledger.is_empty() => {
                Pages::remembered(&self.client, self.form, self.part)
            }
            _ => Pages::new(&self.client, &self.query, self.form, self.part),
        };
        while let Some(page) = self.page(&mut pages).await? {
            let mut events = Vec::with_capacity(page.len());
            for item in page {
                let decoded = self.decode(&item);
                let version = version(&decoded.version, pages.asked())?;
                self.once(&decoded.place, pages.asked())?;
                let decoded = self.complete(decoded).await?;
                events.extend(self.ledger.put(decoded, self.reading(version)));
            }
            self.deliver(events).await;
            tokio::task::yield_now().await;
        }
        let gone = self.ledger.unseen(self.round).into_iter().map(|name| self.place(name)).collect::<Vec<_>>();
        let mut gone: Vec<Event> = gone.iter().flat_map(|place| self.ledger.gone(place)).collect();
        if let Member::Own(cidr, _) = self.member
            && self.ledger.is_empty()
        {
            // That a claimed block is not there is news as well.
            gone = vec![Event::Delete(ObjectId::Block(cidr))];
        }
        self.deliver(gone).await;
        self.version = Some(pages.version());
        Ok(())
    }

    /// Sees that we may read, and that the server knows the version from which we go on: of one that it does not have
    /// yet, a watch is silent.
    async fn prove(&self) -> Result<(), KubernetesError> {
        let mut pages = Pages::one(&self.client, &self.query, Form::Metadata, self.part);
        while self.page(&mut pages).await?.is_some() {}
        self.judge(pages.version(), pages.asked().history(self.version.unwrap_or_default(), pages.version()))
    }

    /// The next objects of a list. While that is late, what is known is old.
    async fn page(&self, pages: &mut Pages) -> Result<Option<Page>, KubernetesError> {
        let page = pages.next().await?;
        if let Some(late) = pages.late() {
            self.sync.lost(Some(self.member), &late).await;
        }
        Ok(page)
    }

    /// No list has an object twice.
    fn once(&self, place: &Place, asked: &Asked) -> Result<(), KubernetesError> {
        match self.ledger.round(place) == Some(self.round) {
            true => Err(asked.absurd(format!("{:?} is twice in one list", place.name))),
            false => Ok(()),
        }
    }

    fn judge(&self, found: u64, error: KubernetesError) -> Result<(), KubernetesError> {
        if self.version.is_some_and(|known| found < known) { Err(error) } else { Ok(()) }
    }

    /// Compares what is known with what is there, by name and version, and reads only what differs.
    async fn check(&mut self) -> Result<(), KubernetesError> {
        self.round += 1;
        let mut pages = Pages::new(&self.client, &self.query, Form::Metadata, self.part);
        let mut differ: Vec<Name> = Vec::new();
        while let Some(page) = self.page(&mut pages).await? {
            for item in &page {
                let (name, version) = meta(item, pages.asked())?;
                self.once(&self.place(name.as_ref().into()), pages.asked())?;
                if !self.ledger.see(&name, self.reading(version)) {
                    differ.push(name.as_ref().into());
                }
            }
            tokio::task::yield_now().await;
        }
        self.judge(pages.version(), pages.asked().history(self.version.unwrap_or_default(), pages.version()))?;
        differ.extend(self.ledger.unseen(self.round));
        for name in differ {
            let events = self.refresh(name).await?;
            self.deliver(events).await;
        }
        Ok(())
    }

    /// Reads one object anew. The watch may tell of the same change later: that is known then.
    async fn refresh(&mut self, name: Name) -> Result<Vec<Event>, KubernetesError> {
        let asked = self.client.asked("get", &self.words);
        match self.client.read(&format!("{}/{name}", self.path), self.form, &asked).await {
            Ok(body) => {
                let decoded = self.decode(&body);
                let version = version(&decoded.version, &asked)?;
                let decoded = self.complete(decoded).await?;
                Ok(self.ledger.put(decoded, self.reading(version)))
            }
            Err(KubernetesError::NotFound { .. }) => Ok(self.ledger.gone(&self.place(name))),
            Err(error) => Err(error),
        }
    }

    fn decode(&self, item: &[u8]) -> Decoded {
        self.decoder.decode(self.part.resource, item)
    }

    async fn complete(&self, decoded: Decoded) -> Result<Decoded, KubernetesError> {
        lookup::complete(&self.client, self.part, self.form, &self.decoder, decoded).await
    }

    fn reading(&self, version: u64) -> Reading {
        Reading { version, round: self.round }
    }

    fn place(&self, name: Name) -> Place {
        Place { resource: self.part.resource, namespace: None, name }
    }

    async fn deliver(&self, mut events: Vec<Event>) {
        while !events.is_empty() {
            let rest = events.split_off(events.len().min(BATCH));
            self.sync.deliver(self.member, std::mem::replace(&mut events, rest)).await;
        }
    }
}
