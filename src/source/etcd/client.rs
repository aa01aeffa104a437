//! One connection to one etcd server, and the few requests that are made over it.
//!
//! Each connection has one endpoint, although the client library could balance over several: its balancer picks
//! servers at random and hands out those that are down, so that with one of three members gone no list of many pages
//! would ever end; and revisions and watches are easier to judge where one server answers for all of them. The next
//! endpoint is tried when this one fails (see [`super::run`]).

use std::future::Future;
use std::time::Duration;

use etcd_client::{
    Certificate, Client, ConnectOptions, GetOptions, GetResponse, Identity, KeyValue, KvClient, ResponseHeader,
    TlsOptions, WatchClient, WatchOptions, WatchStream,
};
use futures_util::future::try_join_all;

use super::error::{EtcdError, Peer, is_auth_not_enabled};
use super::key;
use super::range::KeyRange;
use super::settings::{Settings, SettingsError};

/// The largest answer that is accepted, in bytes. A page is far smaller; this leaves room for pages that hold a few
/// values of the greatest size that etcd accepts (1.5 MiB), which some broken writer may have left there.
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;

/// libcalico's own numbers (`libcalico-go/lib/backend/etcdv3/etcdv3.go`), and what etcd's server allows a client to
/// send (a ping every 5 s at most, and none while nothing is being asked).
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Single keys that are asked for at once.
const AT_ONCE: usize = 16;

/// How long the steps of a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect, TLS and authentication included.
    pub connect: Duration,
    /// From a request to its whole answer.
    pub request: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { connect: Duration::from_secs(10), request: Duration::from_secs(30) }
    }
}

/// What a single key was found to be.
pub(super) enum Found {
    /// It has this value.
    Value(KeyValue),
    /// It was not written since.
    Same,
    /// It does not exist.
    Nothing,
}

/// A connection to one etcd server; clones share it.
#[derive(Clone)]
pub struct Connection {
    pub(super) peer: Peer,
    kv: KvClient,
    watch: WatchClient,
    timeouts: Timeouts,
    /// The channel lives as long as its client.
    _client: Client,
}

impl Connection {
    /// Connects to `endpoint`, one of `settings.endpoints` (`http://` or `https://` may be left out), and sees that
    /// somebody answers there.
    ///
    /// # Errors
    /// [`EtcdError::Settings`], [`EtcdError::Unreachable`], [`EtcdError::Tls`], [`EtcdError::Credentials`],
    /// [`EtcdError::Denied`], [`EtcdError::TimedOut`].
    pub async fn open(settings: &Settings, endpoint: &str, timeouts: Timeouts) -> Result<Connection, EtcdError> {
        let user = settings.credentials.as_ref();
        let peer = Peer::new(endpoint, user.map(|user| user.username.as_str()));
        let options = options(settings, endpoint, timeouts).map_err(|error| EtcdError::Settings(error.to_string()))?;
        let with_user = match user {
            Some(user) => {
                let password = user.password().map_err(|error| EtcdError::Settings(error.to_string()))?;
                options.clone().with_user(&user.username, password)
            }
            None => options.clone(),
        };
        let connect = async {
            match Client::connect([endpoint], Some(with_user)).await {
                // Go's client does the same: a user and password left over in the settings of an etcd without
                // authentication do not matter.
                Err(error) if is_auth_not_enabled(&error) => Client::connect([endpoint], Some(options)).await,
                result => result,
            }
        };
        let answers = async {
            let client = within(&peer, timeouts.connect, "connecting", connect).await?;
            let connection = Connection {
                peer: peer.clone(),
                kv: client.kv_client().max_decoding_message_size(LARGEST_ANSWER),
                watch: client.watch_client().max_decoding_message_size(LARGEST_ANSWER),
                timeouts,
                _client: client,
            };
            // Only the first request connects, unless there is a user.
            connection.ping(timeouts.connect).await?;
            Ok(connection)
        };
        let (over_tls, with_certificate) = (speaks_tls(settings, endpoint), settings.tls.identity.is_some());
        answers.await.map_err(|error: EtcdError| error.at_first(over_tls, with_certificate))
    }

    /// The endpoint as it was given.
    pub fn endpoint(&self) -> &str {
        &self.peer.endpoint
    }

    /// One page: at most `range.page` keys of the range, in order, from `start` on, as of `revision` (the newest if
    /// `None`). Always linearizable: a member that lags, behind a proxy that picks members, would not know the
    /// revision.
    pub(super) async fn page(
        &self,
        range: &KeyRange,
        start: &[u8],
        revision: Option<i64>,
    ) -> Result<GetResponse, EtcdError> {
        let options = GetOptions::new()
            .with_range(range.end.as_slice())
            .with_limit(range.page)
            .with_revision(revision.unwrap_or_default());
        let doing = format!("reading {}", String::from_utf8_lossy(&range.start));
        let mut kv = self.kv.clone();
        within(&self.peer, self.timeouts.request, &doing, kv.get(start, Some(options))).await
    }

    /// Single keys as they are now, and a revision that none of them is older than. A key that is given with a revision
    /// is sent only if it was written after that.
    ///
    /// Each is a request of its own: the library panics where the answer to a transaction lacks a part.
    pub(super) async fn read(&self, keys: &[(String, Option<i64>)]) -> Result<(Vec<Found>, i64), EtcdError> {
        let mut answers = Vec::with_capacity(keys.len());
        for keys in keys.chunks(AT_ONCE) {
            answers.extend(try_join_all(keys.iter().map(|(key, known)| self.read_one(key, *known))).await?);
        }
        let revision = answers.iter().map(|(_, revision)| *revision).min().unwrap_or_default();
        Ok((answers.into_iter().map(|(found, _)| found).collect(), revision))
    }

    async fn read_one(&self, key: &str, known: Option<i64>) -> Result<(Found, i64), EtcdError> {
        let options = known.map(|known| GetOptions::new().with_min_mod_revision(known + 1));
        let doing = "reading single keys";
        let mut kv = self.kv.clone();
        let mut answer = within(&self.peer, self.timeouts.request, doing, kv.get(key, options)).await?;
        let revision = answer.header().map_or(0, ResponseHeader::revision);
        // etcd counts the keys before it leaves out what was not written since.
        let found = match (answer.take_kvs().pop(), answer.count()) {
            (Some(kv), _) if kv.key() != key.as_bytes() => return Err(self.peer.absurd(doing, "another key")),
            (Some(kv), _) if kv.mod_revision() > revision => {
                return Err(self.peer.absurd(doing, format!("revision {} of {revision}", kv.mod_revision())));
            }
            (Some(kv), _) => Found::Value(kv),
            (None, 0) => Found::Nothing,
            (None, _) if known.is_some() => Found::Same,
            (None, _) => return Err(self.peer.absurd(doing, "a key that is there, without its value")),
        };
        Ok((found, revision))
    }

    /// Asks for next to nothing, to see whether the server still answers, and for which cluster, at which revision.
    pub(super) async fn ping(&self, timeout: Duration) -> Result<Option<ResponseHeader>, EtcdError> {
        let options = GetOptions::new().with_count_only();
        let mut kv = self.kv.clone();
        let doing = format!("reading {}", key::IPAM_CONFIG);
        let mut answer = within(&self.peer, timeout, &doing, kv.get(key::IPAM_CONFIG, Some(options))).await?;
        Ok(answer.take_header())
    }

    /// Opens a stream that watches all `ranges` from `revision` on.
    pub(super) async fn watch(&self, ranges: &[KeyRange], revision: i64) -> Result<WatchStream, EtcdError> {
        let Some((first, others)) = ranges.split_first() else {
            return Err(EtcdError::Settings("nothing to watch".to_owned()));
        };
        let mut watch = self.watch.clone();
        let open = async {
            let mut stream = watch.watch(first.start.clone(), Some(watch_options(first, revision))).await?;
            for range in others {
                stream.watch(range.start.clone(), Some(watch_options(range, revision))).await?;
            }
            Ok(stream)
        };
        within(&self.peer, self.timeouts.request, "opening watches", open).await
    }

    pub(super) fn request_timeout(&self) -> Duration {
        self.timeouts.request
    }
}

/// Watches a range from `revision` on. In fragments: without them, an answer to a watch that lags holds a thousand
/// revisions, whatever their size.
pub(super) fn watch_options(range: &KeyRange, revision: i64) -> WatchOptions {
    WatchOptions::new().with_range(range.end.clone()).with_start_revision(revision).with_fragment()
}

/// Runs a request within `timeout` and says what its error means.
async fn within<T>(
    peer: &Peer,
    timeout: Duration,
    doing: &str,
    request: impl Future<Output = Result<T, etcd_client::Error>>,
) -> Result<T, EtcdError> {
    match tokio::time::timeout(timeout, request).await {
        Ok(result) => result.map_err(|error| peer.explain(&error, doing)),
        Err(_) => Err(peer.timed_out(doing, timeout)),
    }
}

/// Whether `endpoint` is spoken to over TLS: by its scheme or, without one, if there are certificates to use.
fn speaks_tls(settings: &Settings, endpoint: &str) -> bool {
    let certificates = settings.tls.ca.is_some() || settings.tls.identity.is_some();
    endpoint.starts_with("https://") || (certificates && !endpoint.starts_with("http://"))
}

fn options(settings: &Settings, endpoint: &str, timeouts: Timeouts) -> Result<ConnectOptions, SettingsError> {
    let options = ConnectOptions::new()
        .with_connect_timeout(timeouts.connect)
        .with_keep_alive(KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT)
        .with_keep_alive_while_idle(false)
        // A member cut off from its cluster must say so: its watch would be silent for ever.
        .with_require_leader(true)
        // Tokens expire (etcd's simple ones after five minutes without use); each list begins with a fresh one.
        .with_auto_token_refresh(true);
    // The library takes TLS settings for a plain endpoint as a mistake.
    if !speaks_tls(settings, endpoint) {
        return Ok(options);
    }
    let tls = TlsOptions::new().timeout(timeouts.connect);
    let tls = match &settings.tls.ca {
        Some(ca) => tls.ca_certificate(Certificate::from_pem(ca.read()?)),
        // As Go does: without a CA of one's own, those that the host trusts.
        None => tls.with_native_roots(),
    };
    Ok(options.with_tls(match &settings.tls.identity {
        Some(identity) => tls.identity(Identity::from_pem(identity.cert.read()?, identity.key.read()?)),
        None => tls,
    }))
}
