//! A running source and the picture that its events add up to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use calico_exporter::model::EndpointId;
use calico_exporter::source::backoff::Backoff;
use calico_exporter::source::etcd::settings::Settings;
use calico_exporter::source::etcd::{Config, Probe, Timeouts, run};
#[cfg(feature = "kubernetes")]
use calico_exporter::source::kubernetes;
use calico_exporter::state::{Event, Lookup, ObjectId, Side};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::etcd::DEADLINE;

/// The sum of events: what exists, and how current that is.
#[derive(Default)]
pub(crate) struct Picture {
    pub(crate) objects: BTreeMap<ObjectId, String>,
    named: Option<BTreeSet<ObjectId>>,
    pub(crate) in_sync: bool,
    /// Lists begun, and completed.
    pub(crate) resyncs: usize,
    pub(crate) syncs: usize,
    pub(crate) lost: Vec<String>,
    /// What may not be read.
    pub(crate) denied: Vec<String>,
    /// What was asked and is as it was.
    pub(crate) same: Vec<ObjectId>,
    /// Deletions said one by one.
    pub(crate) deletions: usize,
}

impl Picture {
    pub(crate) fn of(events: Vec<Event>) -> Picture {
        let mut picture = Picture::default();
        events.into_iter().for_each(|event| picture.apply(event));
        picture
    }

    pub(crate) fn apply(&mut self, event: Event) {
        let content = format!("{event:?}");
        match event {
            Event::Resync(Side::Datastore) => {
                self.named = Some(BTreeSet::new());
                self.resyncs += 1;
            }
            Event::Synced(Side::Datastore) => {
                if let Some(named) = self.named.take() {
                    self.objects.retain(|id, _| named.contains(id));
                }
                self.in_sync = true;
                self.syncs += 1;
            }
            Event::Lost(Side::Datastore, why) => {
                self.in_sync = false;
                self.lost.push(why);
            }
            Event::Put(object) => self.exists(object.id(), content),
            Event::Unreadable { id, .. } => self.exists(id, content),
            Event::Delete(id) => {
                self.objects.remove(&id);
                self.deletions += 1;
            }
            Event::Denied(Side::Datastore, what) => self.denied = what.iter().map(ToString::to_string).collect(),
            Event::Same(id) => self.same.push(id),
            // Who changed what follows is no part of it.
            Event::Origin(_) => {}
            other => panic!("not the datastore's: {other:?}"),
        }
    }

    fn exists(&mut self, id: ObjectId, content: String) {
        if let Some(named) = &mut self.named {
            named.insert(id.clone());
        }
        self.objects.insert(id, content);
    }

    /// Whether something exists whose content has `text` in it.
    pub(crate) fn has(&self, text: &str) -> bool {
        self.objects.values().any(|content| content.contains(text))
    }

    /// Whether a block exists that says it gave an address to `pod`.
    pub(crate) fn has_pod(&self, pod: &str) -> bool {
        self.has(&format!("pod: Some({pod:?})"))
    }
}

/// A configuration as impatient as a test.
pub(crate) fn config(settings: Settings) -> Config {
    let mut config = Config::new(settings);
    config.backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    config.timeouts = Timeouts { connect: Duration::from_secs(5), request: Duration::from_secs(20) };
    config.probe = Probe { after: Duration::from_secs(2), timeout: Duration::from_secs(2) };
    config
}

/// A source at work.
pub(crate) struct Source {
    events: mpsc::Receiver<Vec<Event>>,
    lookups: mpsc::Sender<Lookup>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    pub(crate) picture: Picture,
    /// Events received.
    pub(crate) told: usize,
}

impl Source {
    pub(crate) fn start(config: Config) -> Source {
        Source::wire(|sender, asked, stopped| tokio::spawn(run(config, sender, asked, stopped)))
    }

    /// The other datastore's.
    #[cfg(feature = "kubernetes")]
    pub(crate) fn start_kubernetes(config: kubernetes::Config) -> Source {
        Source::wire(|sender, asked, stopped| tokio::spawn(kubernetes::run(config, sender, asked, stopped)))
    }

    fn wire(
        spawn: impl FnOnce(mpsc::Sender<Vec<Event>>, mpsc::Receiver<Lookup>, watch::Receiver<bool>) -> JoinHandle<()>,
    ) -> Source {
        let (sender, events) = mpsc::channel(4);
        let (lookups, asked) = mpsc::channel(16);
        let (stop, stopped) = watch::channel(false);
        let task = spawn(sender, asked, stopped);
        Source { events, lookups, stop, task, picture: Picture::default(), told: 0 }
    }

    /// Receives until the picture is as wanted.
    pub(crate) async fn until(&mut self, wanted: &str, is_so: impl Fn(&Picture) -> bool) {
        let receive = async {
            while !is_so(&self.picture) {
                let batch = self.events.recv().await.expect("the source runs");
                assert!(!batch.is_empty() && batch.len() <= 64, "a batch of {}", batch.len());
                self.told += batch.iter().filter(|event| !matches!(event, Event::Origin(_))).count();
                batch.into_iter().for_each(|event| self.picture.apply(event));
            }
        };
        if tokio::time::timeout(DEADLINE, receive).await.is_err() {
            let Picture { in_sync, syncs, lost, objects, .. } = &self.picture;
            panic!("never: {wanted}; in_sync {in_sync}, {syncs} syncs, {} objects, lost {lost:?}", objects.len());
        }
    }

    /// Receives what has come, or comes soon.
    pub(crate) async fn receive(&mut self) -> Vec<Event> {
        let Ok(batch) = tokio::time::timeout(Duration::from_millis(50), self.events.recv()).await else {
            return vec![];
        };
        let batch = batch.expect("the source runs");
        batch.iter().cloned().for_each(|event| self.picture.apply(event));
        batch
    }

    /// Receives until the picture is current.
    pub(crate) async fn until_in_sync(&mut self) {
        self.until("in sync", |picture| picture.in_sync).await;
    }

    pub(crate) async fn look_up(&self, id: EndpointId) {
        self.ask(Lookup::Endpoint(id)).await;
    }

    pub(crate) async fn ask(&self, lookup: Lookup) {
        self.lookups.send(lookup).await.unwrap();
    }

    /// Asks it to stop, and sees that it does.
    pub(crate) async fn stop(self) {
        self.stop.send(true).unwrap();
        tokio::time::timeout(DEADLINE, self.task).await.expect("it stops").unwrap();
    }
}
