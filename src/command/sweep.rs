//! The sweep for leaks: every block, handle and endpoint, as of one revision, judged beside the picture that is followed.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use crate::audit::sweep::{Sweep, Swept};
use crate::model::{AllocationBlock, Detail, EndpointId};
use crate::source::backoff::around;
use crate::source::etcd::settings::Settings;
use crate::source::etcd::{self, EtcdError, KeyRange, Lister, key};
use crate::state::{Event, Object, State};

#[cfg(feature = "kubernetes")]
mod kubernetes;

/// So many blocks are read one by one; of more, all.
const FEW: usize = 500;

/// What is swept.
pub(super) enum Store {
    /// etcd.
    Etcd(Box<Settings>),
    /// The Kubernetes API.
    #[cfg(feature = "kubernetes")]
    Kubernetes(Box<crate::source::kubernetes::Config>),
}

impl Store {
    async fn sweep(&self) -> Result<Swept, String> {
        match self {
            Store::Etcd(settings) => once(settings).await.map_err(|error| error.to_string()),
            #[cfg(feature = "kubernetes")]
            Store::Kubernetes(config) => kubernetes::once(config).await.map_err(|error| error.to_string()),
        }
    }
}

/// Sweeps once the first list is likely to be through, then on the interval, and hands over what was found.
pub(super) async fn run(store: Store, interval: Duration, found: mpsc::Sender<Swept>, mut stop: watch::Receiver<bool>) {
    let mut pause = around(Duration::from_secs(5)).min(interval);
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(pause) => {}
        }
        let began = Instant::now();
        pause = match store.sweep().await {
            Ok(swept) => {
                info!(seconds = began.elapsed().as_secs_f64(), candidates = swept.candidates.len(), "swept for leaks");
                // Nobody receives any more: the exporter stops.
                let _ = found.send(swept).await;
                around(interval)
            }
            Err(error) => {
                warn!(%error, "the sweep for leaks broke off; it is begun again");
                around(interval.min(Duration::from_secs(60)))
            }
        };
    }
}

/// One sweep. Half a million allocations are gathered by their handles' digests, and only the blocks that look wrong are
/// read again in full: what is sound is nearly all of them, and its names are needed by nobody.
///
/// # Errors
/// etcd cannot be read, or has compacted the revision meanwhile.
async fn once(settings: &Settings) -> Result<Swept, EtcdError> {
    let connection = etcd::connect(settings, etcd::Timeouts::default()).await?;
    // Its own picture, of the very revision that handles and endpoints are of.
    let mut state = State::new(false);
    let mut marks = Marks::default();
    let revision = read(Lister::new(&connection, KeyRange::swept_against(), None), |mut event| {
        if let Event::Put(object) = &mut event {
            match &mut **object {
                Object::Block(block) => {
                    marks.note(block);
                    block.reduce(&Detail::Digests);
                }
                Object::Affinity(_) => return,
                _ => {}
            }
        }
        state.apply(event, Duration::ZERO);
    })
    .await?;
    let mut sweep = Sweep::begin(&state.datastore);
    let list = Lister::new(&connection, marks.parts(), revision);
    read(list, |event| sweep.event(&state.datastore, &event)).await?;
    let (mut state, sweep, suspects) = aside(move || {
        let suspects = sweep.suspects(&state.datastore);
        (state, sweep, suspects)
    })
    .await;
    if suspects.len() <= FEW {
        let ranges = suspects.iter().map(KeyRange::block).collect();
        read(Lister::new(&connection, ranges, revision), |event| state.apply(event, Duration::ZERO)).await?;
    }
    // Many of them, or one whose key is not as Calico writes it.
    if suspects.iter().any(|cidr| state.datastore.block(cidr).is_some_and(AllocationBlock::is_digested)) {
        let list = Lister::new(&connection, vec![KeyRange::blocks()], revision);
        read(list, |event| match &event {
            Event::Put(object) if matches!(&**object, Object::Block(block) if suspects.contains(&block.cidr)) => {
                state.apply(event, Duration::ZERO);
            }
            _ => {}
        })
        .await?;
    }
    Ok(aside(move || sweep.finish(&state.datastore)).await)
}

/// Where handles and endpoints lie: the keys of one pod of each block. For each page etcd walks its index over the whole
/// rest of the range that was asked for, so that half a million keys are read in parts of about a thousand.
#[derive(Default)]
struct Marks {
    handles: Vec<Vec<u8>>,
    endpoints: Vec<Vec<u8>>,
    /// Pods of all blocks.
    pods: usize,
}

/// Handles or endpoints in a part.
const PART: usize = 1000;

impl Marks {
    fn note(&mut self, block: &AllocationBlock) {
        let first = block.attributes.iter().find_map(|it| {
            let endpoint = EndpointId::of_pod(it.node.as_ref()?, it.namespace.as_ref()?, it.pod.as_ref()?);
            Some((it.handle.as_ref()?, endpoint))
        });
        if let Some((handle, endpoint)) = first {
            self.handles.push(key::handle(handle).into_bytes());
            self.endpoints.push(key::endpoint(&endpoint).into_bytes());
            self.pods += block.attributes.iter().filter(|it| it.pod.is_some()).count();
        }
    }

    fn parts(self) -> Vec<KeyRange> {
        let each = PART * self.handles.len() / self.pods.max(1);
        let handles = KeyRange::swept(etcd::Swept::Handles).split(&self.handles, each);
        let endpoints = KeyRange::swept(etcd::Swept::Endpoints).split(&self.endpoints, each);
        handles.into_iter().chain(endpoints).collect()
    }
}

/// Reads a list to its end; returns its revision.
async fn read(mut list: Lister, mut each: impl FnMut(Event)) -> Result<Option<i64>, EtcdError> {
    while let Some(batch) = list.next().await? {
        batch.into_iter().for_each(&mut each);
    }
    Ok(list.revision())
}

/// Judging takes a while at this size, in which scrapes are to be answered.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Cancelled: so is whoever waits here.
            Err(_) => std::future::pending().await,
        },
    }
}
