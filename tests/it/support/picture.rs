//! The kernel's picture as somebody folds it who only reads the events, and a follower that keeps one.

use std::collections::BTreeMap;
use std::time::Duration;

use calico_exporter::model::{Link, Route, RouteKey};
use calico_exporter::source::netlink::{self, Settings};
use calico_exporter::state::{Event, Side};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// How long the kernel's picture may take to come right. Mostly it takes a second; but a follower leaves four times as
/// long between two lists as one took, and where others have the processor, one takes seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Links and routes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Picture {
    pub(crate) links: BTreeMap<u32, Link>,
    pub(crate) routes: BTreeMap<RouteKey, Route>,
}

impl Picture {
    /// Folds a list of events.
    pub(crate) fn of(events: Vec<Event>) -> Picture {
        let mut picture = Picture::default();
        for event in events {
            picture.apply(event);
        }
        picture
    }

    fn apply(&mut self, event: Event) {
        match event {
            // Who changed what follows is no part of it.
            Event::Resync(Side::Kernel) | Event::Synced(Side::Kernel) | Event::Origin(_) => {}
            Event::Link(link) => drop(self.links.insert(link.index, link)),
            Event::LinkGone(index) => drop(self.links.remove(&index)),
            Event::Route(route) => drop(self.routes.insert(route.key(), route)),
            Event::RouteGone(key) => drop(self.routes.remove(&key)),
            other => panic!("not an event of the kernel's: {other:?}"),
        }
    }

    /// The route to this destination in this table.
    pub(crate) fn route(&self, table: u32, destination: &str) -> Option<&Route> {
        let destination = destination.parse().unwrap();
        self.routes.values().find(|route| route.table == table && route.destination == destination)
    }

    /// Whether the main table has a route to this destination.
    pub(crate) fn has(&self, destination: &str) -> bool {
        self.route(254, destination).is_some()
    }

    /// The device of this name.
    pub(crate) fn link(&self, name: &str) -> Option<&Link> {
        self.links.values().find(|link| &*link.name == name)
    }
}

/// Follows the kernel and folds what it tells.
pub(crate) struct Follower {
    events: mpsc::Receiver<Vec<Event>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    /// What is known.
    pub(crate) picture: Picture,
    /// How often everything was listed from the start, to the end.
    pub(crate) resyncs: usize,
    listing: bool,
    /// Why the picture was lost, each time.
    pub(crate) lost: Vec<String>,
    in_sync: bool,
    /// Lists from the start that began while the picture was said to be current.
    pub(crate) unsaid: usize,
}

impl Follower {
    /// Starts, and waits for the first picture.
    pub(crate) async fn start(settings: Settings) -> Follower {
        let (sender, events) = mpsc::channel(1);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(netlink::run_with(settings, sender, stopped));
        let (picture, lost) = Default::default();
        let mut follower =
            Follower { events, stop, task, picture, resyncs: 0, listing: false, lost, in_sync: false, unsaid: 0 };
        follower.until("the first picture", |follower| follower.resyncs > 0).await;
        follower
    }

    /// Folds events until this holds; fails after [`PATIENCE`].
    pub(crate) async fn until(&mut self, what: &str, holds: impl Fn(&Follower) -> bool) {
        let waited = timeout(PATIENCE, async {
            while !holds(self) {
                let batch = self.events.recv().await.expect("the follower goes on");
                self.take(batch);
            }
        });
        let met = waited.await;
        assert!(met.is_ok(), "not in time: {what}\n{:#?}", self.picture);
    }

    /// Folds events until the picture is the kernel's as it is asked now; fails after [`PATIENCE`].
    pub(crate) async fn until_true(&mut self, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let truth = Picture::of(netlink::snapshot().await.unwrap());
            if self.picture == truth {
                return;
            }
            if let Ok(batch) = timeout(Duration::from_millis(100), self.events.recv()).await {
                self.take(batch.expect("the follower goes on"));
            }
        }
        let truth = Picture::of(netlink::snapshot().await.unwrap());
        assert_eq!(self.picture, truth, "{what}");
    }

    /// Stops it and waits for its end.
    pub(crate) async fn stop(self) {
        self.stop.send(true).unwrap();
        timeout(Duration::from_secs(10), self.task).await.expect("it stops").unwrap();
    }

    fn take(&mut self, batch: Vec<Event>) {
        for event in batch {
            match event {
                Event::Resync(Side::Kernel) => {
                    self.listing = true;
                    self.unsaid += usize::from(self.in_sync);
                    self.picture = Picture::default();
                }
                // A look at what was in doubt is no list from the start.
                Event::Synced(Side::Kernel) => {
                    self.in_sync = true;
                    self.resyncs += usize::from(std::mem::take(&mut self.listing));
                }
                Event::Lost(Side::Kernel, why) => {
                    self.in_sync = false;
                    self.lost.push(why);
                }
                event => self.picture.apply(event),
            }
        }
    }
}
