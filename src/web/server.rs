//! Sockets, connections and their end.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use super::access::Access;
use super::body::Pieces;
use super::clients::{self, Clients, Patience, Peer};
use super::listen::{BindError, ListenAddress};
use super::service::WebState;
use super::stall::Stall;
use super::streams::Streams;
use crate::metrics::Process;

/// How patient the server is. Nobody sets this but tests.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// For the first request's head to be complete, TLS' handshake before it.
    pub first_timeout: Duration,
    /// For the next one's on a connection that is kept. Longer than Prometheus' default interval, so that its
    /// connection lasts from scrape to scrape.
    pub header_timeout: Duration,
    /// For a client to take more of an answer.
    pub write_timeout: Duration,
    /// For a client to take a whole answer. Nobody scrapes as slowly as that.
    pub answer_timeout: Duration,
    /// An answer that a client took nothing of for so long gives way to others who wait.
    pub stalled: Duration,
    /// For answers to be finished once the server is to stop.
    pub drain_timeout: Duration,
    /// Connections at once: they must not use up the file descriptors that following the sources needs. One that
    /// stalls or is idle gives way to a new one; where none is, the new one waits.
    pub max_connections: usize,
}

impl ServerConfig {
    /// The defaults with no more connections than this process has file descriptors for: following the sources, files
    /// and listeners need some as well.
    pub fn of_this_process() -> ServerConfig {
        let config = ServerConfig::default();
        let descriptors =
            Process::read().max_fds.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        ServerConfig { max_connections: config.max_connections.min(for_connections(descriptors)), ..config }
    }

    fn patience(&self) -> Patience {
        Patience {
            first: self.first_timeout.min(self.header_timeout),
            idle: self.header_timeout,
            progress: self.write_timeout,
            answer: self.answer_timeout,
            stalled: self.stalled,
        }
    }
}

impl Default for ServerConfig {
    fn default() -> ServerConfig {
        ServerConfig {
            first_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
            answer_timeout: Duration::from_secs(120),
            stalled: Duration::from_millis(500),
            // Less than the five seconds in which the program ends.
            drain_timeout: Duration::from_secs(4),
            max_connections: 256,
        }
    }
}

/// How many of these file descriptors connections may take.
fn for_connections(descriptors: usize) -> usize {
    const OTHERS: usize = 64;
    (descriptors - OTHERS.min(descriptors / 2)).max(1)
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
        let clients = Clients::new(self.config.max_connections, self.config.patience());
        let mut loops = JoinSet::new();
        for listener in self.listeners {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            loops.spawn(accept(listener, state.clone(), self.config.clone(), clients.clone(), stopped.clone()));
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
    clients: Arc<Clients>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    // Who has come and waits for a place.
    let mut arrived: Option<(TcpStream, SocketAddr)> = None;
    let mut complained = None;
    // While nothing can be accepted.
    let mut again: Option<Instant> = None;
    loop {
        tokio::select! {
            accepted = listener.accept(), if arrived.is_none() && again.is_none() => match accepted {
                Ok(connection) => arrived = Some(connection),
                // A client that left too early.
                Err(error) if is_of_client(&error) => debug!(%error, "a connection ended before it was accepted"),
                // Out of file descriptors, or of memory: that does not end the listener.
                Err(error) => {
                    if complained.is_none_or(|last: Instant| last.elapsed() >= COMPLAINT) {
                        warn!(%error, "cannot accept connections; it is tried again");
                        complained = Some(Instant::now());
                    }
                    clients.make_room(origin(&None));
                    again = Some(Instant::now() + PAUSE);
                }
            },
            () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => again = None,
            place = clients.place(origin(&arrived)), if arrived.is_some() => {
                if let Some((stream, peer)) = arrived.take() {
                    let (state, config, stopped) = (state.clone(), config.clone(), stopped.clone());
                    connections.spawn(Connection { peer, state, config, stopped }.serve(stream, Arc::new(place)));
                }
            }
            // What it had is free now.
            Some(_) = connections.join_next() => again = None,
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

/// Where somebody who waits comes from.
fn origin(arrived: &Option<(TcpStream, SocketAddr)>) -> Peer {
    arrived.as_ref().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |(_, address)| address.ip()).into()
}

/// How long nothing is accepted where that is impossible, and nobody leaves meanwhile.
const PAUSE: Duration = Duration::from_millis(10);

/// Whether accepting failed because of the one who came (accept(2)).
fn is_of_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, PermissionDenied};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | PermissionDenied)
}

/// How often it is said that connections cannot be accepted.
const COMPLAINT: Duration = Duration::from_secs(60);

/// Until the server is to stop; a sender that is gone means the same.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// What hyper keeps of a head, and of what is waiting to be sent: a stranger's connection costs no more than this.
const BUFFER: usize = 64 * 1024;
/// Requests at once on one connection of HTTP/2.
const STREAMS: u32 = 32;
/// A client of HTTP/2 that is gone without a word is found out.
const PING: Duration = Duration::from_secs(20);

/// A connection that was accepted.
struct Connection {
    peer: SocketAddr,
    state: Arc<WebState>,
    config: ServerConfig,
    stopped: watch::Receiver<bool>,
}

impl Connection {
    /// Serves it until it ends, takes too long, or has to make room.
    async fn serve(mut self, stream: TcpStream, client: Arc<clients::Connection>) {
        // An answer's last piece must not wait for an acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(peer = %self.peer, %error, "cannot set TCP_NODELAY");
        }
        let peer = self.peer;
        let ended = tokio::select! {
            ended = self.speak(stream, &client) => ended,
            () = client.over() => Err("took too long, or had to make room".to_owned()),
        };
        if let Err(error) = ended {
            debug!(%peer, %error, "connection ended");
        }
    }

    async fn speak(&mut self, stream: TcpStream, client: &Arc<clients::Connection>) -> Result<(), String> {
        let access = self.state.access().filter(|access| access.is_tls()).cloned();
        let Some(access) = access else {
            return self.http1(Stall::new(stream, self.config.write_timeout).of(client.clone()), client).await;
        };
        let mut stopped = self.stopped.clone();
        let shaken = tokio::select! {
            shaken = shake_hands(stream, &access, self.config.write_timeout, client) => shaken?,
            () = told(&mut stopped) => return Ok(()),
        };
        if shaken.get_ref().1.alpn_protocol() == Some(b"h2") {
            return self.http2(shaken, client).await;
        }
        self.http1(shaken, client).await
    }

    async fn http1(&mut self, stream: impl Stream, client: &Arc<clients::Connection>) -> Result<(), String> {
        let service = service_fn(|request| answer(self.state.clone(), client.clone(), request));
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.config.header_timeout)
            // Whoever has asked and says so (`nc` at the end of its input) is answered all the same, but for a guess at a
            // password: it leaves the queue with its client.
            .half_close(self.state.access().is_none_or(|access| !access.has_users()))
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(serving);
        let ended = tokio::select! {
            ended = &mut serving => ended,
            () = told(&mut self.stopped) => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        ended.map_err(|error| error.to_string())
    }

    async fn http2(&mut self, stream: impl Stream, client: &Arc<clients::Connection>) -> Result<(), String> {
        let (state, client) = (self.state.clone(), client.clone());
        let service = service_fn(move |request| answer(state.clone(), client.clone(), request));
        let serving = http2::Builder::new(Streams)
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .max_concurrent_streams(STREAMS)
            .max_send_buf_size(BUFFER)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(serving);
        let ended = tokio::select! {
            ended = &mut serving => ended,
            () = told(&mut self.stopped) => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        ended.map_err(|error| error.to_string())
    }
}

/// What HTTP is spoken over.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

async fn answer(
    state: Arc<WebState>,
    client: Arc<clients::Connection>,
    request: Request<Incoming>,
) -> Result<Response<Pieces>, Infallible> {
    let ongoing = client.begin(Streams::stop());
    // Over HTTP/1 hyper leaves the body out by itself.
    let without_body = request.method() == Method::HEAD && request.version() == Version::HTTP_2;
    let answer = state.answer(request, &ongoing).await;
    Ok(answer.map(|body| if without_body { Pieces::default() } else { body.during(ongoing) }))
}

/// The first byte of a handshake (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;

async fn shake_hands(
    mut stream: TcpStream,
    access: &Arc<Access>,
    patience: Duration,
    client: &Arc<clients::Connection>,
) -> Result<TlsStream<Stall<TcpStream>>, String> {
    let mut first = [0];
    let read = stream.peek(&mut first).await.map_err(|error| error.to_string())?;
    if read == 0 {
        return Err("closed without a word".to_owned());
    }
    if first[0] != HANDSHAKE {
        const ANSWER: &[u8] = b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\
            this server speaks HTTPS\n";
        // Whoever sent this is told, as far as that is possible.
        let _ = stream.write_all(ANSWER).await;
        return Err("spoke without TLS".to_owned());
    }
    let config = access.handshake().await.ok_or("--web.config.file cannot be used")?;
    TlsAcceptor::from(config)
        .accept(Stall::new(stream, patience).of(client.clone()))
        .await
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_file_descriptors_for_the_rest() {
        for (descriptors, expected) in [(0, 1), (1, 1), (24, 12), (128, 64), (320, 256), (1024, 960)] {
            assert_eq!(for_connections(descriptors), expected, "{descriptors}");
        }
        assert!((1..=256).contains(&ServerConfig::of_this_process().max_connections));
    }
}
