//! One connection to the API server, over which everything is asked at once: HTTP/2 where the server speaks it. Where it
//! does not (a proxy in the clear, such as `kubectl proxy`), each request has an HTTP/1.1 connection of its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use hyper::http::Uri;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

use super::error::{Asked, KubernetesError, innermost};
use super::proxy::{Kind, Proxy};
use super::settings::{Settings, Tls};
use super::tls;
use crate::source::etcd::settings::Identity;

/// A connection on which nothing is heard is asked so often whether it still lives, and given up after so long: behind a
/// load balancer, a server that is gone says nothing.
const PING: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// To connect, TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// Flow control windows: what a slow reader of one stream may leave unread, and all streams together.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

type Sender = http2::SendRequest<Empty<Bytes>>;

pub(super) struct Connector {
    server: Uri,
    tls: Tls,
    proxy: Option<Proxy>,
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    sender: Option<Sender>,
    /// Whose certificate it was made with.
    identity: Option<Identity>,
    /// Connections made so far.
    made: u64,
}

/// Bytes to the server and back, over a proxy or not.
trait Pipe: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Pipe for T {}

/// A stream to the server, in the clear or not.
enum Stream {
    Plain(Box<dyn Pipe>),
    Tls(Box<TlsStream<Box<dyn Pipe>>>),
}

impl Connector {
    pub(super) fn new(settings: &Settings) -> Connector {
        let (server, tls, proxy) = (settings.server.clone(), settings.tls.clone(), settings.proxy.clone());
        Connector { server, tls, proxy, shared: Mutex::default() }
    }

    /// How many connections there have been.
    pub(super) async fn made(&self) -> u64 {
        self.shared.lock().await.made
    }

    /// Sends a request and waits for the head of the answer.
    ///
    /// A server may have said that it takes no new requests on a connection whose watches go on: the next one is then made
    /// over another, and the old one ends with its watches.
    pub(super) async fn send(
        &self,
        request: Request<Empty<Bytes>>,
        identity: Option<Identity>,
        asked: &Asked,
    ) -> Result<Response<Incoming>, KubernetesError> {
        let mut shared = self.shared.lock().await;
        if shared.identity != identity {
            shared.sender = None;
        }
        if let Some(sender) = shared.sender.clone().filter(|sender| !sender.is_closed()) {
            let made = shared.made;
            drop(shared);
            // Nothing but GET is ever sent: asking twice does no harm.
            if let Ok(response) = over(sender, request.clone(), asked).await {
                return Ok(response);
            }
            shared = self.shared.lock().await;
            if shared.made == made {
                shared.sender = None;
            }
        }
        let sender = match shared.sender.clone().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => {
                let stream = match timeout(CONNECT, self.open(identity.as_ref(), asked)).await {
                    Ok(stream) => stream?,
                    Err(_) => return Err(asked.timed_out(CONNECT)),
                };
                shared.made += 1;
                shared.identity = identity;
                match stream {
                    Stream::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                        let sender = share(stream, asked).await?;
                        shared.sender = Some(sender.clone());
                        sender
                    }
                    stream => {
                        drop(shared);
                        // Without TLS a proxy is asked for the server's page, not for a way to it.
                        let asks_proxy = self.proxy.as_ref().filter(|it| self.is_plain() && it.kind != Kind::Socks5);
                        return alone(stream, request, asks_proxy, asked).await;
                    }
                }
            }
        };
        drop(shared);
        over(sender, request, asked).await
    }

    async fn open(&self, identity: Option<&Identity>, asked: &Asked) -> Result<Stream, KubernetesError> {
        let host = self.server.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let port = self.server.port_u16().unwrap_or(if self.is_plain() { 80 } else { 443 });
        let tcp = self.reach(host, port, asked).await?;
        if self.is_plain() {
            return Ok(Stream::Plain(tcp));
        }
        // Certificates are renewed in place: each connection reads them again.
        let config = tls::config(&self.tls, identity).map_err(KubernetesError::Settings)?;
        let name = self.tls.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(|error| KubernetesError::Settings(error.to_string()))?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(|error| {
            let cause = innermost(&error);
            match error.kind() {
                std::io::ErrorKind::InvalidData => KubernetesError::Tls { server: asked.server.clone(), cause },
                _ => asked.unreachable(cause),
            }
        })?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

impl Connector {
    fn is_plain(&self) -> bool {
        self.server.scheme_str() == Some("http")
    }

    /// A stream to the server, or to the proxy that is asked for its pages.
    async fn reach(&self, host: &str, port: u16, asked: &Asked) -> Result<Box<dyn Pipe>, KubernetesError> {
        let connect = async |host: &str, port: u16| {
            let tcp = TcpStream::connect((host, port)).await?;
            let _ = tcp.set_nodelay(true);
            Ok::<_, std::io::Error>(tcp)
        };
        let Some(proxy) = &self.proxy else {
            let tcp = connect(host, port).await.map_err(|error| asked.unreachable(error))?;
            return Ok(Box::new(tcp));
        };
        let failed =
            |error: &dyn std::fmt::Display| asked.unreachable(format!("proxy {}:{}: {error}", proxy.host, proxy.port));
        let tcp = connect(&proxy.host, proxy.port).await.map_err(|error| failed(&error))?;
        let mut stream: Box<dyn Pipe> = Box::new(tcp);
        if proxy.kind == Kind::Https {
            let mut config = tls::config(&Tls::default(), None).map_err(KubernetesError::Settings)?;
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            let name = ServerName::try_from(proxy.host.clone()).map_err(|error| failed(&error))?;
            let over_tls = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
            stream = Box::new(over_tls.map_err(|error| failed(&innermost(&error)))?);
        }
        if !self.is_plain() || proxy.kind == Kind::Socks5 {
            proxy.tunnel(&mut stream, host, port).await.map_err(|error| asked.unreachable(error))?;
        }
        Ok(stream)
    }
}

async fn over(
    mut sender: Sender,
    request: Request<Empty<Bytes>>,
    asked: &Asked,
) -> Result<Response<Incoming>, KubernetesError> {
    sender.ready().await.map_err(|error| asked.unreachable(innermost(&error)))?;
    sender.send_request(request).await.map_err(|error| asked.unreachable(innermost(&error)))
}

async fn share(stream: Box<TlsStream<Box<dyn Pipe>>>, asked: &Asked) -> Result<Sender, KubernetesError> {
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| asked.unreachable(innermost(&error)))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(cause = innermost(&error), "the connection to the Kubernetes API ended");
        }
    });
    Ok(sender)
}

/// Over HTTP/1.1, on a connection that nobody else uses.
async fn alone(
    stream: Stream,
    mut request: Request<Empty<Bytes>>,
    proxy: Option<&Proxy>,
    asked: &Asked,
) -> Result<Response<Incoming>, KubernetesError> {
    // HTTP/2 has the host in the request's first line, HTTP/1.1 in a header.
    let uri = std::mem::take(request.uri_mut());
    let host = uri.authority().and_then(|it| HeaderValue::from_str(it.as_str()).ok());
    request.headers_mut().extend(host.map(|host| (HOST, host)));
    match proxy {
        Some(proxy) => {
            let who = proxy.authorization().and_then(|it| HeaderValue::from_str(&it).ok());
            request.headers_mut().extend(who.map(|who| (PROXY_AUTHORIZATION, who)));
            *request.uri_mut() = uri;
        }
        None => *request.uri_mut() = uri.path_and_query().cloned().map(Uri::from).unwrap_or_default(),
    }
    let failed = |error: hyper::Error| asked.unreachable(innermost(&error));
    let mut sender = match stream {
        Stream::Plain(stream) => {
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
            tokio::spawn(connection);
            sender
        }
        Stream::Tls(stream) => {
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
            tokio::spawn(connection);
            sender
        }
    };
    sender.send_request(request).await.map_err(failed)
}
