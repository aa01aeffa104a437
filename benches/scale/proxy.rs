//! Some hundred exporters' watches at once, straight on etcd and through one `etcd grpc-proxy`: what etcd has to do.

use std::time::Duration;

use calico_exporter::source::etcd::settings::Settings;
use calico_exporter::source::etcd::{Config, run};
use calico_exporter::state::{Event, Follow, ObjectId, Side};
use etcd_client::Client;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::cluster::Shape;
use super::load::{Failure, into_etcd};
use super::process::Running;
use super::table::{Goal, Runs};
use super::{Bench, HANDLES};

/// Exporters that follow.
const FOLLOWERS: usize = 300;
/// Small, since each of them lists it.
const SHAPE: Shape = Shape { hosts: 50, blocks: 1, used: 32, faults: 0, endpoints: false };
/// Writes a second, and for how long.
const RATE: u32 = 50;
const SECONDS: u32 = 4;

/// What etcd did for all of them.
struct Load {
    /// Seconds of its processor.
    processor: f64,
    /// Megabytes that it sent.
    sent: f64,
}

pub fn measure(bench: &mut Bench) -> Result<(), Failure> {
    let etcd = Running::etcd(&bench.directory.join("proxied"))?;
    let keys = SHAPE.keys().filter(|(key, _)| !key.starts_with(HANDLES));
    bench.runtime.block_on(into_etcd(&etcd.url(), keys))?;
    for (mode, by_affinities) in [("blocks", false), ("affinities", true)] {
        let direct = bench.runtime.block_on(follow(&etcd, etcd.url(), by_affinities))?;
        let proxy = Running::proxy(&etcd)?;
        let proxied = bench.runtime.block_on(follow(&etcd, proxy.url(), by_affinities))?;
        let what = [("their start", 0), (if by_affinities { "claims" } else { "block writes" }, 1)];
        for (what, phase) in what {
            let much = if phase == 0 { String::new() } else { format!("{} ", RATE * SECONDS) };
            let work = format!("{FOLLOWERS} × --routes.watch {mode} through one grpc-proxy, {much}{what}: etcd");
            let one = |value: f64| Runs::from_iter([value]);
            let (ours, peer) = (&proxied[phase], &direct[phase]);
            let straight = one(peer.processor);
            let table = &mut bench.table;
            let name = "straight on etcd";
            table.row(
                &format!("{work}'s processor"),
                "s",
                &one(ours.processor),
                Some((name, &straight)),
                &Goal::None,
            )?;
            let straight = one(peer.sent);
            table.row(&format!("{work} sent"), "MB", &one(ours.sent), Some((name, &straight)), &Goal::None)?;
        }
    }
    Ok(())
}

/// Starts all of them and has a cluster change under them; the load of both.
async fn follow(etcd: &Running, url: String, by_affinities: bool) -> Result<[Load; 2], Failure> {
    let (stop, stopped) = watch::channel(false);
    let began = (etcd.processor()?, etcd.sent()?);
    let (ready, mut readies) = mpsc::channel(FOLLOWERS);
    let mut tasks = JoinSet::new();
    for index in 0..FOLLOWERS {
        let settings = Settings { endpoints: vec![url.clone()], credentials: None, tls: Default::default() };
        let mut config = Config::new(settings);
        if by_affinities {
            config.follow = Follow::Affinities(Shape::host(index as u32 % SHAPE.hosts).into());
        }
        let (events, received) = mpsc::channel(4);
        let (_, lookups) = mpsc::channel(1);
        tasks.spawn(run(config, events, lookups, stopped.clone()));
        tasks.spawn(listen(received, ready.clone()));
    }
    let all = async |readies: &mut mpsc::Receiver<()>| -> Result<(), Failure> {
        for _ in 0..FOLLOWERS {
            tokio::time::timeout(Duration::from_secs(60), readies.recv()).await?;
        }
        Ok(())
    };
    all(&mut readies).await?;
    let started = (etcd.processor()?, etcd.sent()?);
    changes(etcd, by_affinities).await?;
    all(&mut readies).await?;
    let ended = (etcd.processor()?, etcd.sent()?);
    stop.send_replace(true);
    tasks.shutdown().await;
    let load = |from: (f64, f64), to: (f64, f64)| Load { processor: to.0 - from.0, sent: (to.1 - from.1) / 1e6 };
    Ok([load(began, started), load(started, ended)])
}

const LAST: &str = "last";

/// Says when it is in sync, and when it has seen the last change.
async fn listen(mut received: mpsc::Receiver<Vec<Event>>, ready: mpsc::Sender<()>) {
    let last = ObjectId::Node(LAST.into());
    while let Some(batch) = received.recv().await {
        for event in batch {
            let said = match event {
                Event::Synced(Side::Datastore) => true,
                Event::Put(object) => object.id() == last,
                _ => false,
            };
            if said {
                let _ = ready.send(()).await;
            }
        }
    }
}

/// Blocks that are written, or keys: what each mode follows of other hosts.
async fn changes(etcd: &Running, by_affinities: bool) -> Result<(), Failure> {
    let mut client = Client::connect([etcd.url()], None).await?;
    let mut tick = tokio::time::interval(Duration::from_secs(1) / RATE);
    for number in 0..RATE * SECONDS {
        tick.tick().await;
        let block = number % SHAPE.block_count();
        let round = u64::from(number / SHAPE.block_count()) + 1;
        if by_affinities {
            let state = if round % 2 == 1 { "pendingDeletion" } else { "confirmed" };
            let key = format!("/calico/ipam/v2/host/{}/ipv4/block/{}-26", Shape::host(block), Shape::network(block));
            client.put(key, format!(r#"{{"state":"{state}","deleted":false}}"#), None).await?;
        } else {
            client.put(Shape::block_key(block), SHAPE.block(block, round), None).await?;
        }
    }
    let key = format!("/calico/resources/v3/projectcalico.org/nodes/{LAST}");
    client.delete(key.as_str(), None).await?;
    client
        .put(key, r#"{"kind":"Node","apiVersion":"projectcalico.org/v3","metadata":{"name":"last"},"spec":{}}"#, None)
        .await?;
    Ok(())
}
