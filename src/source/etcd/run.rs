//! The loop of a running exporter: connect, list, watch, and start again whenever there is reason to doubt.

use std::collections::HashSet;
use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::client::{Connection, Timeouts};
use super::error::EtcdError;
use super::list::{BATCH, Lister};
use super::lookup;
use super::own::OwnBlocks;
use super::range::KeyRange;
use super::settings::Settings;
use super::watch::{Probe, Watch};
use crate::model::Detail;
use crate::source::backoff::{Backoff, around};
use crate::source::progress::Patience;
use crate::state::{Event, Follow, Lookup, Side};

/// A watch that ends sooner than this was no success: what follows it counts as a failure.
const SUCCESS: Duration = Duration::from_secs(5);
/// How often a list begins again at once when etcd compacts the revision that it reads.
const ATTEMPTS: usize = 3;
/// Different reasons reported in one outage; more are not worth a line each.
const MOST_REASONS: usize = 32;

/// What [`run`] reads, and how patiently.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where etcd is and how to be let in.
    pub settings: Settings,
    /// Which blocks are listed and watched.
    pub follow: Follow,
    /// How much of each block is kept.
    pub detail: Detail,
    /// Time between two full lists, against drift; each is drawn from ±10 % around it.
    pub resync: Duration,
    /// When a silent watch is doubted.
    pub probe: Probe,
    /// Of connecting and of single requests.
    pub timeouts: Timeouts,
    /// How long a list may take for what it delivers.
    pub patience: Patience,
    /// Between attempts.
    pub backoff: Backoff,
}

impl Config {
    /// The defaults for `settings`: all blocks, a list every 10 minutes, half a second to 30 seconds
    /// between attempts.
    pub fn new(settings: Settings) -> Config {
        Config {
            settings,
            follow: Follow::Blocks,
            detail: Detail::Full,
            resync: Duration::from_secs(600),
            probe: Probe::default(),
            timeouts: Timeouts::default(),
            patience: Patience::default(),
            backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(30)),
        }
    }
}

/// Follows the datastore until `stop` becomes true or is dropped, or nobody receives `events` any more.
///
/// `events`, in batches of at most 64 objects, say:
/// - [`Event::Resync`], the objects, [`Event::Synced`]: a full list, as of one revision. What was known before and is
///   not named is gone. A list that broke off is followed by another `Resync`, without `Synced`.
/// - single objects after that, in the order in which etcd changed each of them;
/// - [`Event::Lost`] when the picture cannot be trusted to be current, and again for each new reason that it stays so.
///   A periodic list is not a loss, unless it is late: then the source is out of sync until it is whole.
///
/// With [`Follow::Affinities`] no other host's block is read or watched, and what is said of this host's blocks comes
/// after the keys that claim them.
///
/// `lookups` are answered among the events, each as [`Lookup`] says. They are dropped without an answer while etcd is away; give the channel a bound and use `try_send`.
///
/// A full channel of events stops the reading: nothing piles up here.
pub async fn run(
    config: Config,
    events: mpsc::Sender<Vec<Event>>,
    lookups: mpsc::Receiver<Lookup>,
    mut stop: watch::Receiver<bool>,
) {
    let (connected, connections) = watch::channel(None);
    let detail = config.detail.clone();
    let mut follower = Follower {
        backoff: config.backoff.clone(),
        events: events.clone(),
        connected,
        synced: None,
        reasons: HashSet::new(),
        denied: false,
        config,
    };
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => {}
        () = events.closed() => {}
        _ = follower.follow() => {}
        () = lookup::serve(connections, lookups, events.clone(), detail) => {}
    }
}

struct Follower {
    config: Config,
    backoff: Backoff,
    events: mpsc::Sender<Vec<Event>>,
    connected: watch::Sender<Option<Connection>>,
    /// Since when the picture is current, if it is.
    synced: Option<Instant>,
    /// Why it was said not to be, since it last was.
    reasons: HashSet<String>,
    /// Whether it was said that something may not be read.
    denied: bool,
}

impl Follower {
    async fn follow(&mut self) -> Infallible {
        // Every exporter begins with another member, so that all of them together are spread over the cluster.
        let mut index = fastrand::usize(..self.config.settings.endpoints.len().max(1));
        let mut failed = 0;
        loop {
            let endpoint = self.config.settings.endpoints.get(index).cloned();
            let error = match endpoint {
                Some(endpoint) => match self.session(&endpoint).await {
                    Err(error) => error,
                },
                None => EtcdError::Settings("no endpoint given".to_owned()),
            };
            self.connected.send_replace(None);
            if self.lost(&error).await {
                failed = 0;
            }
            failed += 1;
            index = (index + 1) % self.config.settings.endpoints.len().max(1);
            // Delays grow only when every endpoint has had its turn.
            let delay = if failed >= self.config.settings.endpoints.len() {
                failed = 0;
                self.backoff.next_delay()
            } else {
                self.backoff.spread()
            };
            sleep(delay).await;
        }
    }

    /// Follows over one connection, until it fails.
    async fn session(&mut self, endpoint: &str) -> Result<Infallible, EtcdError> {
        let connection = Connection::open(&self.config.settings, endpoint, self.config.timeouts).await?;
        self.connected.send_replace(Some(connection.clone()));
        let mut before = None;
        loop {
            match self.list_and_watch(&connection, before.take()).await {
                // Time for a fresh list; nothing is lost, since the watch goes on beside it.
                Ok(watch) => before = watch,
                // A fresh list at once is the cure, if it helped last time.
                Err(error @ EtcdError::Compacted { .. }) => {
                    if !self.lost(&error).await {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// A list and a watch from where it ends, until the next list is due. The watch of `before` goes on until the list is
    /// whole. Returns the watch where it can do so as well: one of a host's own blocks ends first, since which blocks it
    /// is of changes with the list.
    async fn list_and_watch(
        &mut self,
        connection: &Connection,
        mut before: Option<Watch>,
    ) -> Result<Option<Watch>, EtcdError> {
        let (revision, cluster, mut own) = self.list(connection, &mut before).await?;
        // What came over it since the list is told once more by the new one, in order.
        drop(before);
        let Config { follow, probe, detail, .. } = &self.config;
        let ranges = KeyRange::followed(follow);
        let (mut watch, mut events) = Watch::open(connection, &ranges, revision, cluster, *probe, detail).await?;
        if let Some(own) = &mut own {
            events.extend(own.open(&mut watch, revision).await?);
            events = own.take(connection, &mut watch, events).await?;
        }
        self.deliver_in_batches(events).await;
        self.deliver(vec![Event::Synced(Side::Datastore)]).await;
        self.found(connection, revision).await;

        let due = Instant::now() + around(self.config.resync);
        while let Ok(events) = timeout_at(due, watch.next()).await {
            let events = match &mut own {
                Some(own) => own.take(connection, &mut watch, events?).await?,
                None => events?,
            };
            self.deliver_in_batches(events).await;
        }
        Ok(own.is_none().then_some(watch))
    }

    /// Lists everything that is followed. Returns the revision and whose it is, and this host's blocks where others'
    /// are not followed.
    async fn list(
        &mut self,
        connection: &Connection,
        before: &mut Option<Watch>,
    ) -> Result<(i64, u64, Option<OwnBlocks>), EtcdError> {
        let mut attempt = 1;
        if let Some(watch) = before {
            watch.begin_list();
        }
        loop {
            self.deliver(vec![Event::Resync(Side::Datastore)]).await;
            let mut own = match &self.config.follow {
                Follow::Blocks => None,
                Follow::Affinities(me) => Some(OwnBlocks::new(me, &self.config.detail)),
            };
            let error = match self.list_once(connection, &mut own, before).await {
                Ok((revision, cluster)) => return Ok((revision, cluster, own)),
                Err(error) => error,
            };
            match error {
                // No reason to alarm anybody: Calico itself has etcd compacted every ten minutes.
                EtcdError::Compacted { .. } if attempt < ATTEMPTS => attempt += 1,
                error => return Err(error),
            }
        }
    }

    async fn list_once(
        &mut self,
        connection: &Connection,
        own: &mut Option<OwnBlocks>,
        before: &mut Option<Watch>,
    ) -> Result<(i64, u64), EtcdError> {
        let Config { follow, detail, patience, .. } = self.config.clone();
        let lister =
            |ranges, revision| Lister::new(connection, ranges, revision).in_detail(&detail).with_patience(patience);
        let mut list = lister(KeyRange::followed(&follow), None);
        while let Some(mut batch) = self.next_of(&mut list, before).await? {
            if let Some(own) = own {
                own.note(&batch);
            }
            if let Some(watch) = before {
                watch.newer_only(&mut batch, list.revision().unwrap_or_default());
            }
            self.deliver_in_batches(batch).await;
        }
        if let Some(own) = own {
            let mut blocks = lister(own.ranges(), list.revision());
            while let Some(batch) = self.next_of(&mut blocks, before).await? {
                self.deliver(batch).await;
            }
        }
        Ok((list.revision().unwrap_or_default(), list.cluster()))
    }

    /// The next batch of a list. Meanwhile the watch of before is listened to; and while the list is late, the source is
    /// out of sync.
    async fn next_of(
        &mut self,
        list: &mut Lister,
        before: &mut Option<Watch>,
    ) -> Result<Option<Vec<Event>>, EtcdError> {
        let mut late = false;
        loop {
            let heard = async {
                match before {
                    Some(watch) => watch.next().await,
                    None => std::future::pending().await,
                }
            };
            let late_in = list.late_in();
            tokio::select! {
                batch = list.next() => return batch,
                events = heard => self.deliver_in_batches(events?).await,
                () = sleep(late_in), if !late => {
                    late = true;
                    self.lost(&list.late()).await;
                }
            }
        }
    }

    /// Notes that the picture is current.
    async fn found(&mut self, connection: &Connection, revision: i64) {
        if std::mem::take(&mut self.denied) {
            self.deliver(vec![Event::Denied(Side::Datastore, Vec::new())]).await;
        }
        if self.synced.is_none() {
            tracing::info!(endpoint = connection.endpoint(), revision, "etcd is in sync");
            self.synced = Some(Instant::now());
        }
        self.reasons.clear();
    }

    /// Says that the picture is not current, and why. Returns whether it had been, for long enough to count.
    async fn lost(&mut self, error: &EtcdError) -> bool {
        let lasted = self.synced.take().is_some_and(|since| since.elapsed() >= SUCCESS);
        if lasted {
            self.backoff.reset();
        }
        let denied = match error {
            EtcdError::Denied { what, .. } => Some(what.as_str()),
            EtcdError::Credentials { .. } => Some("everything"),
            _ => None,
        };
        if let Some(what) = denied.filter(|_| !std::mem::replace(&mut self.denied, true)) {
            self.deliver(vec![Event::Denied(Side::Datastore, vec![what.into()])]).await;
        }
        let reason = error.to_string();
        if self.reasons.len() < MOST_REASONS && self.reasons.insert(reason.clone()) {
            tracing::warn!("{reason}");
            self.deliver(vec![Event::Lost(Side::Datastore, reason)]).await;
        }
        lasted
    }

    /// Sends a batch, waiting for room. If nobody receives any more it never returns: [`run`] sees that, too, and ends.
    async fn deliver(&self, batch: Vec<Event>) {
        if self.events.send(batch).await.is_err() {
            std::future::pending().await
        }
    }

    async fn deliver_in_batches(&self, mut events: Vec<Event>) {
        while events.len() > BATCH {
            let rest = events.split_off(BATCH);
            self.deliver(std::mem::replace(&mut events, rest)).await;
        }
        if !events.is_empty() {
            self.deliver(events).await;
        }
    }
}
