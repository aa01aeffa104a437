//! Requests to the API server: each with who we are, and with what its answer means. Only GET is ever sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::write::GzDecoder;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use hyper::{Request, Response};
use std::io::Write as _;
use tokio::time::timeout;

use super::auth::Authenticator;
use super::connect::Connector;
use super::error::{Asked, KubernetesError};
use super::settings::{Impersonate, Settings, User};
use crate::source::progress::{Allowance, Patience, Progress};

/// The largest answer that is accepted, in bytes, once it is unpacked: a page of 500 of the largest objects that are
/// ever stored is far below it.
const LARGEST_ANSWER: usize = 128 << 20;
/// The largest body of a refusal that is read.
const LARGEST_REFUSAL: usize = 64 << 10;

/// How objects are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Whole.
    Whole,
    /// `metadata` only: names, versions, labels and annotations.
    Metadata,
}

impl Form {
    fn accept(self, verb: &str) -> &'static str {
        match (self, verb) {
            (Form::Whole, _) => "application/json",
            (Form::Metadata, "list") => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            (Form::Metadata, _) => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        }
    }
}

/// How long the steps of a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From a request to the head of its answer.
    pub answer: Duration,
    /// Between two pieces of an answer that has an end.
    pub piece: Duration,
    /// How long an answer may take for what it delivers.
    pub patience: Patience,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { answer: Duration::from_secs(30), piece: Duration::from_secs(30), patience: Patience::default() }
    }
}

/// The API server; clones share one connection.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    /// As it is named in messages.
    server: Arc<str>,
    /// What stands before each path.
    base: String,
    authority: String,
    connector: Connector,
    authenticator: Authenticator,
    /// Whom to act as.
    impersonate: Vec<(HeaderName, HeaderValue)>,
    uncompressed: bool,
    timeouts: Timeouts,
}

impl Client {
    /// Connects with the first request.
    pub fn new(settings: &Settings, timeouts: Timeouts) -> Client {
        let uri = &settings.server;
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let base = uri.path().trim_end_matches('/').to_owned();
        Client {
            shared: Arc::new(Shared {
                server: format!("{}://{authority}{base}", uri.scheme_str().unwrap_or("https")).into(),
                base,
                authority,
                connector: Connector::new(settings),
                // Whatever the settings say: nothing that lets one in is sent in the clear.
                authenticator: Authenticator::new(match uri.scheme_str() {
                    Some("http") => User::Certificate,
                    _ => settings.user.clone(),
                }),
                impersonate: settings.impersonate.as_ref().map(impersonation).unwrap_or_default(),
                uncompressed: settings.uncompressed,
                timeouts,
            }),
        }
    }

    /// Where it is.
    pub fn server(&self) -> &str {
        &self.shared.server
    }

    /// How many connections were made so far: one, as long as nothing breaks.
    pub async fn connections(&self) -> u64 {
        self.shared.connector.made().await
    }

    pub(super) fn asked(&self, verb: &'static str, resource: &str) -> Asked {
        Asked { server: self.shared.server.clone(), verb, resource: resource.into() }
    }

    /// Asks for a path and waits for the head of the answer, which is 200.
    pub(super) async fn get(
        &self,
        path: &str,
        form: Form,
        asked: &Asked,
    ) -> Result<Response<Incoming>, KubernetesError> {
        let mut refused = None;
        loop {
            let shown = self.shared.authenticator.shown(refused).await.map_err(KubernetesError::Settings)?;
            let request = self.request(path, form, asked.verb != "watch", shown.header.as_ref(), asked)?;
            let limit = self.shared.timeouts.answer;
            let sent = self.shared.connector.send(request, shown.identity, asked);
            let response = match timeout(limit, sent).await {
                Ok(response) => response?,
                Err(_) => return Err(asked.timed_out(limit)),
            };
            match response.status().as_u16() {
                200 => return Ok(response),
                // Once: the token may have been replaced since it was read.
                401 if refused.is_none() => refused = Some(shown.generation),
                code => {
                    let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                    let after = after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
                    let body = self.body(response, LARGEST_REFUSAL, asked).await.unwrap_or_default();
                    return Err(asked.refused(code, after, &body));
                }
            }
        }
    }

    fn request(
        &self,
        path: &str,
        form: Form,
        packed: bool,
        who: Option<&hyper::header::HeaderValue>,
        asked: &Asked,
    ) -> Result<Request<Empty<Bytes>>, KubernetesError> {
        let Shared { base, authority, impersonate, uncompressed, .. } = &*self.shared;
        let scheme = self.shared.server.split("://").next().unwrap_or("https");
        let mut request = Request::get(format!("{scheme}://{authority}{base}{path}"))
            .header(ACCEPT, form.accept(asked.verb))
            .header(USER_AGENT, concat!("calico-exporter/", env!("CARGO_PKG_VERSION")));
        if packed && !uncompressed {
            request = request.header(ACCEPT_ENCODING, "gzip");
        }
        if let Some(who) = who {
            request = request.header(AUTHORIZATION, who);
        }
        for (name, value) in impersonate {
            request = request.header(name, value);
        }
        request.body(Empty::new()).map_err(|error| asked.failed(error.to_string()))
    }

    /// Reads an object or a page whole.
    pub(super) async fn read(&self, path: &str, form: Form, asked: &Asked) -> Result<Vec<u8>, KubernetesError> {
        let response = self.get(path, form, asked).await?;
        self.body(response, LARGEST_ANSWER, asked).await
    }

    /// Asks for something whose answer is taken in as it comes.
    pub(super) async fn open(&self, path: &str, form: Form, asked: &Asked) -> Result<Body, KubernetesError> {
        let response = self.get(path, form, asked).await?;
        Ok(Body::new(response, self.shared.timeouts.piece, None, asked))
    }

    /// How long a list may take for what it delivers.
    pub(super) fn patience(&self) -> Patience {
        self.shared.timeouts.patience
    }

    async fn body(&self, response: Response<Incoming>, most: usize, asked: &Asked) -> Result<Vec<u8>, KubernetesError> {
        let Timeouts { piece, patience, .. } = self.shared.timeouts;
        let mut body = Body::new(response, piece, Some(patience.late), asked);
        let mut whole = Vec::new();
        while let Some(piece) = body.next().await? {
            whole.extend_from_slice(&piece);
            if whole.len() > most {
                return Err(asked.failed(format!("an answer of more than {most} bytes")));
            }
        }
        Ok(whole)
    }
}

/// An answer that comes.
pub(super) struct Body {
    body: Incoming,
    unpacking: Option<GzDecoder<Vec<u8>>>,
    /// How long the next piece may take.
    limit: Duration,
    /// How long all of it may, unless whoever reads it decides that.
    allowance: Option<Allowance>,
    progress: Progress,
    asked: Asked,
}

impl Body {
    fn new(response: Response<Incoming>, limit: Duration, allowance: Option<Allowance>, asked: &Asked) -> Body {
        let packed = response.headers().get(CONTENT_ENCODING).is_some_and(|it| it == "gzip");
        let unpacking = packed.then(|| GzDecoder::new(Vec::new()));
        let progress = Progress::default();
        Body { body: response.into_body(), unpacking, limit, allowance, progress, asked: asked.clone() }
    }

    /// The next piece, unpacked; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, KubernetesError> {
        let asked = &self.asked;
        let data = loop {
            let left = self.allowance.map_or(self.limit, |allowance| self.progress.left(allowance));
            let began = Instant::now();
            let frame = timeout(self.limit.min(left), self.body.frame()).await;
            self.progress.wait(began.elapsed());
            match frame {
                Ok(None) => break None,
                Ok(Some(frame)) => {
                    let frame = frame.map_err(|error| asked.unreachable(super::error::innermost(&error)))?;
                    if let Ok(data) = frame.into_data() {
                        self.progress.arrive(data.len());
                        break Some(data);
                    }
                }
                Err(_) if left < self.limit => return Err(asked.slow(self.progress.waited())),
                Err(_) => return Err(asked.timed_out(self.limit)),
            }
        };
        let damaged = |error| asked.failed(format!("gzip: {error}"));
        match (&mut self.unpacking, data) {
            (None, data) => Ok(data.map(Vec::from)),
            (Some(decoder), Some(data)) => {
                decoder.write_all(&data).map_err(damaged)?;
                Ok(Some(std::mem::take(decoder.get_mut())))
            }
            (Some(decoder), None) => {
                decoder.try_finish().map_err(damaged)?;
                let rest = std::mem::take(decoder.get_mut());
                Ok(Some(rest).filter(|rest| !rest.is_empty()))
            }
        }
    }
}

/// The headers that say whom to act as (`client-go/transport/round_trippers.go`). A value that no header can have is
/// replaced by one that nobody is called: never by nothing, which would be ourselves.
fn impersonation(who: &Impersonate) -> Vec<(HeaderName, HeaderValue)> {
    let value = |text: &str| {
        HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("calico-exporter:unusable"))
    };
    let mut headers = vec![(HeaderName::from_static("impersonate-user"), value(&who.user))];
    headers.extend(who.uid.iter().map(|uid| (HeaderName::from_static("impersonate-uid"), value(uid))));
    headers.extend(who.groups.iter().map(|group| (HeaderName::from_static("impersonate-group"), value(group))));
    for (key, values) in &who.extra {
        let escaped: String = key.bytes().map(escaped).collect();
        let Ok(name) = HeaderName::try_from(format!("impersonate-extra-{escaped}")) else { continue };
        headers.extend(values.iter().map(|it| (name.clone(), value(it))));
    }
    headers
}

/// A byte of a header's name, percent-encoded where it cannot stand there.
fn escaped(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        b'!' | b'#' | b'$' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    }
}

/// A path with its query, whose values may hold anything.
pub(super) fn with_query<'a>(path: &str, query: impl Iterator<Item = &'a (&'static str, String)>) -> String {
    let mut text = path.to_owned();
    for (index, (name, value)) in query.enumerate() {
        text.push(if index == 0 { '?' } else { '&' });
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => text.push(char::from(byte)),
                _ => text.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    text
}
