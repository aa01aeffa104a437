//! Sockets, connections and their end.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::listen::{BindError, ListenAddress};
use super::service::WebState;
use super::stall::Stall;

/// How patient the server is. Nobody sets this but tests.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// For a request's head to be complete, and for the next one on a connection that is kept. Longer than Prometheus'
    /// default interval, so that its connection lasts from scrape to scrape.
    pub header_timeout: Duration,
    /// For a client to take more of an answer.
    pub write_timeout: Duration,
    /// For answers to be finished once the server is to stop.
    pub drain_timeout: Duration,
    /// Connections at once; more wait in the kernel's queue. Idle ones must not use up the file descriptors that
    /// following the sources needs.
    pub max_connections: usize,
}

impl Default for ServerConfig {
    fn default() -> ServerConfig {
        ServerConfig {
            header_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
            // Less than the five seconds in which the program ends.
            drain_timeout: Duration::from_secs(4),
            max_connections: 256,
        }
    }
}

/// The server, before it has addresses.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Takes all addresses, or says which one cannot be had. Nothing is answered yet.
    pub fn bind(addresses: &[ListenAddress], config: ServerConfig) -> Result<Bound, BindError> {
        let listeners = addresses.iter().map(ListenAddress::bind).collect::<Result<_, _>>()?;
        Ok(Bound { listeners, config })
    }
}

/// A server that has its addresses.
#[derive(Debug)]
pub struct Bound {
    listeners: Vec<TcpListener>,
    config: ServerConfig,
}

impl Bound {
    /// The addresses, with the ports that the kernel chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Serves until `shutdown`, then finishes what is being served. An error means that serving could not begin.
    pub async fn serve(self, state: Arc<WebState>, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let (stop, stopped) = watch::channel(false);
        let free = Arc::new(Semaphore::new(self.config.max_connections.min(Semaphore::MAX_PERMITS)));
        let mut loops = JoinSet::new();
        for listener in self.listeners {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            loops.spawn(accept(listener, state.clone(), self.config.clone(), free.clone(), stopped.clone()));
        }
        shutdown.await;
        // They listen for it, or are gone already.
        let _ = stop.send(true);
        while loops.join_next().await.is_some() {}
        Ok(())
    }
}

/// Takes connections until the end, and returns when they are all done or were given up.
async fn accept(
    listener: tokio::net::TcpListener,
    state: Arc<WebState>,
    config: ServerConfig,
    free: Arc<Semaphore>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let permit = free.clone().acquire_owned().await;
            (listener.accept().await, permit)
        };
        tokio::select! {
            (accepted, permit) = next => match accepted {
                Ok((stream, peer)) => {
                    let serving = connection(stream, peer, state.clone(), config.clone(), stopped.clone());
                    connections.spawn(async move {
                        serving.await;
                        drop(permit);
                    });
                }
                // Out of file descriptors, or a client that left too early: neither ends the listener.
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = told(&mut stopped) => break,
        }
    }
    // Closed first: a client that comes now is refused, not left waiting.
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(config.drain_timeout, all).await.is_err() {
        warn!(connections = connections.len(), "giving up connections that did not finish in time");
    }
}

/// Until the server is to stop; a sender that is gone means the same.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    state: Arc<WebState>,
    config: ServerConfig,
    mut stopped: watch::Receiver<bool>,
) {
    // An answer's last piece must not wait for an acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    let service = service_fn(move |request| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(state.answer(request).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        // Of a head, and of what is waiting to be sent: a stranger's connection costs no more than this.
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(Stall::new(stream, config.write_timeout)), service);
    tokio::pin!(serving);
    let result = tokio::select! {
        result = &mut serving => result,
        () = told(&mut stopped) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = result {
        debug!(%peer, %error, "connection ended");
    }
}
