//! `serve`: the composition root. It binds, spawns, wires, and stops.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::following::Following;
use super::{read, sweep};
use crate::audit::{AuditOptions, IpamOptions, RouteOptions, TunnelOptions};
use crate::cli::ServeArgs;
use crate::config::{ConfigError, DatastoreSource, KernelSource, Sources};
use crate::engine::{Engine, EngineOptions, Wiring, inquiry};
use crate::metrics::{Certificates, SourceStatus, Vitals};
use crate::model::Detail;
use crate::source::archive::Archive;
use crate::source::etcd;
#[cfg(feature = "kubernetes")]
use crate::source::kubernetes;
use crate::source::netlink;
use crate::source::supervise::supervise;
use crate::state::{Event, Follow, Lookup, Side};
use crate::web::{Access, ListenAddress, Server, ServerConfig, WebConfig, WebState};

/// How long key and block may contradict each other: a claim is three writes, done within milliseconds.
pub(super) const AFFINITY_GRACE: Duration = Duration::from_secs(60);
/// Batches of events on their way: sources wait when the engine falls behind.
const QUEUE: usize = 64;

/// Serves until a signal says stop.
///
/// # Errors
///
/// A flag or an address cannot be used; nothing was started.
pub async fn serve(args: &ServeArgs, sources: Sources) -> Result<ExitCode, ConfigError> {
    let addresses: Vec<ListenAddress> = args
        .listen
        .iter()
        .map(|text| text.parse().map_err(|error| ConfigError::Flags(format!("--web.listen-address: {error}"))))
        .collect::<Result<_, _>>()?;
    WebConfig::check_path(&args.telemetry_path).map_err(|what| ConfigError::Flag {
        flag: "--web.telemetry-path",
        value: args.telemetry_path.clone(),
        what: what.to_owned(),
    })?;
    let failed = |what: &str, error: &dyn std::fmt::Display| ConfigError::Flags(format!("{what}: {error}"));
    let access = args.web_config_file.as_deref().map(Access::load).transpose();
    let access = access.map_err(|error| failed("--web.config.file", &error))?.map(Arc::new);
    let scheme = if access.as_ref().is_some_and(|access| access.is_tls()) { "https" } else { "http" };
    let places = ServerConfig::of_this_process();
    if places.max_connections < ServerConfig::default().max_connections {
        info!(connections = places.max_connections, "fewer connections than usual: RLIMIT_NOFILE is low");
    }
    let bound = Server::bind(&addresses, places)
        .map_err(|error| ConfigError::Flags(format!("--web.listen-address: {error}")))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| failed("SIGTERM", &error))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| failed("SIGINT", &error))?;

    let dump = read::dump(&sources)?;
    let follow = sources.follow(&dump.node);
    let (events, received) = mpsc::channel(QUEUE);
    let (lookups, lookup_requests) = mpsc::channel(QUEUE);
    let (found, sweeps) = mpsc::channel(1);
    let (stop, stopped) = watch::channel(false);
    let engine = Engine::new(EngineOptions {
        node: dump.node.clone(),
        audit: audit_options(args, &sources, &dump.node),
        lists_endpoints: matches!(sources.datastore, DatastoreSource::Files(_)) && follow == Follow::Blocks,
        follow: follow.clone(),
        sources: statuses(&sources),
        partial: sources.may_be_partial(),
        dumped_at: dump.newest.filter(|_| sources.is_dump()),
        history_size: args.history_size,
    });
    let (published, readers) = watch::channel(Arc::new(engine.published().clone()));
    let (inquiry, questions) = inquiry();
    let config = WebConfig { telemetry_path: args.telemetry_path.clone(), max_requests: args.max_requests };
    let vitals = Vitals::with(certificates(&sources.datastore, access.as_ref()));
    let mut state = WebState::new(config, readers, Arc::new(vitals)).asking(inquiry);
    if let Some(access) = access {
        state = state.guarded(access);
    }
    let state = Arc::new(state);

    let following = Following::start().map_err(|error| failed("a thread for the engine", &error))?;
    let mut tasks = JoinSet::new();
    tasks.spawn_on(
        engine.run(Wiring { events: received, sweeps, lookups, questions, published, stop: stopped.clone() }),
        following.handle(),
    );
    let mut lookup_requests = Some(lookup_requests);
    if !dump.events.is_empty() {
        let asked = lookup_requests.take_if(|_| matches!(sources.datastore, DatastoreSource::Files(_)));
        tasks.spawn_on(tell(dump.events, follow.clone(), asked, events.clone(), stopped.clone()), following.handle());
    }
    match (&sources.datastore, lookup_requests) {
        (DatastoreSource::Etcd(settings), Some(lookup_requests)) => {
            let mut config = etcd::Config::new(settings.as_ref().clone());
            config.resync = args.datastore_resync;
            config.detail = Detail::Rules(dump.node.clone());
            config.follow = follow;
            let (told, ended) = (events.clone(), stopped.clone());
            let start = move |asked| etcd::run(config.clone(), told.clone(), asked, ended.clone());
            let asked = Some(lookup_requests);
            tasks.spawn_on(
                supervise(Side::Datastore, "etcd", events.clone(), asked, stopped.clone(), start),
                following.handle(),
            );
            if sources.collectors.leaks {
                let store = sweep::Store::Etcd(settings.clone());
                tasks.spawn_on(sweep::run(store, args.leaks_interval, found, stopped.clone()), following.handle());
            }
        }
        #[cfg(feature = "kubernetes")]
        (DatastoreSource::Kubernetes(settings), Some(lookup_requests)) => {
            let mut config = settings.as_ref().clone();
            config.pace.check = args.datastore_resync;
            config.detail = Detail::Rules(dump.node.clone());
            if follow != Follow::Blocks {
                config.pace = config.pace.of_thousands();
            }
            config.follow = follow;
            let (told, ended) = (events.clone(), stopped.clone());
            let start = move |asked| kubernetes::run(config.clone(), told.clone(), asked, ended.clone());
            let asked = Some(lookup_requests);
            tasks.spawn_on(
                supervise(Side::Datastore, "kubernetes", events.clone(), asked, stopped.clone(), start),
                following.handle(),
            );
            if sources.collectors.leaks {
                let store = sweep::Store::Kubernetes(settings.clone());
                tasks.spawn_on(sweep::run(store, args.leaks_interval, found, stopped.clone()), following.handle());
            }
        }
        _ => {}
    }
    if matches!(sources.kernel, Some(KernelSource::Netlink)) {
        let (told, ended) = (events.clone(), stopped.clone());
        let start = move |_| netlink::run(told.clone(), ended.clone());
        tasks.spawn_on(
            supervise(Side::Kernel, "netlink", events.clone(), None, stopped.clone(), start),
            following.handle(),
        );
        if sources.collectors.tunnels {
            let (told, ended) = (events.clone(), stopped.clone());
            let start = move |_| netlink::run_tunnels(told.clone(), ended.clone());
            tasks.spawn_on(
                supervise(Side::Tunnels, "netlink_tunnels", events.clone(), None, stopped.clone(), start),
                following.handle(),
            );
        }
    }
    drop(events);

    let listening: Vec<String> = bound.addresses().iter().map(|address| format!("{scheme}://{address}")).collect();
    info!(version = env!("CARGO_PKG_VERSION"), node = %dump.node, address = listening.join(" "), "serving");
    let mut ended = stopped;
    let shutdown = async move {
        let _ = ended.wait_for(|stop| *stop).await;
    };
    let web = tokio::spawn(bound.serve(state, shutdown));
    tokio::select! {
        _ = terminate.recv() => info!("SIGTERM: stopping"),
        _ = interrupt.recv() => info!("SIGINT: stopping"),
        // A task that ends by itself has failed: better no exporter, which is seen, than half of one.
        Some(ended) = tasks.join_next() => {
            error!(reason = ?ended.err().map(|error| error.to_string()), "a task ended by itself: stopping");
            return Ok(ExitCode::FAILURE);
        }
    }
    stop.send_replace(true);
    match web.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(%error, "serving ended badly"),
        Err(error) => warn!(%error, "serving ended badly"),
    }
    // A task that is at work is not waited for: nothing is written anywhere.
    let _ = timeout(Duration::from_millis(500), tasks.shutdown()).await;
    Ok(ExitCode::SUCCESS)
}

/// What is shown to those who ask, and to etcd.
fn certificates(datastore: &DatastoreSource, access: Option<&Arc<Access>>) -> Certificates {
    let mut certificates = Certificates::default();
    if let Some(access) = access.cloned() {
        certificates.add("web", move || access.certificate());
    }
    if let DatastoreSource::Etcd(settings) = datastore
        && let Some(identity) = settings.tls.identity.clone()
    {
        certificates.add("etcd", move || identity.cert.read().ok());
    }
    certificates
}

/// Tells what was dumped, and answers from the rest of it.
async fn tell(
    dumped: Vec<Event>,
    follow: Follow,
    lookups: Option<mpsc::Receiver<Lookup>>,
    events: mpsc::Sender<Vec<Event>>,
    mut stop: watch::Receiver<bool>,
) {
    let (told, archive) = Archive::split(dumped, &follow);
    let _ = events.send(told).await;
    let answered = async {
        let Some(mut lookups) = lookups else { return };
        while let Some(lookup) = lookups.recv().await {
            let _ = events.send(vec![archive.answer(&lookup)]).await;
        }
    };
    // The sender stays, or the engine would think that everything is over.
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => {}
        () = async { answered.await; std::future::pending().await } => {}
    }
}

fn audit_options(args: &ServeArgs, sources: &Sources, node: &crate::model::Name) -> AuditOptions {
    let live = !sources.is_dump();
    AuditOptions {
        ipam: sources.collectors.ipam.then_some(IpamOptions { live, affinity_grace: AFFINITY_GRACE }),
        routes: sources.collectors.routes.then(|| RouteOptions {
            node: node.clone(),
            backend: sources.backend,
            grace: live.then_some(args.routes_grace),
            tunnels: TunnelOptions { entries: sources.collectors.tunnels, felix: sources.felix },
        }),
        leaks: sources.collectors.leaks,
        leak_grace: args.leaks_grace,
    }
}

fn statuses(sources: &Sources) -> Vec<SourceStatus> {
    let datastore = match sources.datastore {
        DatastoreSource::Etcd(_) => "etcd",
        #[cfg(feature = "kubernetes")]
        DatastoreSource::Kubernetes(_) => "kubernetes",
        DatastoreSource::Files(_) => "file",
    };
    let mut statuses = vec![SourceStatus::waiting(datastore, Side::Datastore)];
    // One series speaks for all dumps.
    let (kernel, tunnels) = match sources.kernel {
        Some(KernelSource::Netlink) => ("netlink", "netlink_tunnels"),
        Some(KernelSource::Files(_)) => ("file", "file"),
        None => return statuses,
    };
    statuses.push(SourceStatus::waiting(kernel, Side::Kernel));
    if sources.collectors.tunnels {
        statuses.push(SourceStatus::waiting(tunnels, Side::Tunnels));
    }
    statuses
}
