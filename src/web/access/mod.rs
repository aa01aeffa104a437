//! Who may ask, and over what: `--web.config.file`, as exporter-toolkit defines it, so that the file that serves
//! node_exporter serves here.
//!
//! The file, and the certificates that it names, are looked at again for each connection and each request; no signal
//! is needed. A file that has become unreadable or wrong lets nobody in, as there; certificates that do not fit each
//! other, which they do not while they are being replaced one after the other, leave those of before in force.

mod client;
mod document;
mod duration;
mod limit;
mod section;
mod settings;
mod tls;
mod users;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use rustls::ServerConfig;
use tokio::sync::Semaphore;
use tracing::{info, warn};

use document::Document;
use limit::Bucket;
use tls::Material;
use users::{Doorkeeper, Verdict};

use super::clients::Peer;

/// A `--web.config.file` that cannot be used: one line that names the file and the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {what}", path.display())]
pub struct AccessError {
    path: PathBuf,
    what: String,
}

/// A `--web.config.file` in force.
#[derive(Debug)]
pub struct Access {
    path: PathBuf,
    /// Fixed at the start, as in exporter-toolkit: whether TLS is spoken, HTTP/2 offered, and how often asked.
    is_tls: bool,
    http2: bool,
    bucket: Option<Bucket>,
    keeper: Doorkeeper,
    /// One look at the files at a time.
    turn: Arc<Semaphore>,
    current: Mutex<Current>,
}

/// The file as it was last seen, and what came of it.
#[derive(Debug)]
struct Current {
    text: Vec<u8>,
    /// What is wrong, where something is.
    document: Result<Arc<Document>, String>,
    tls: Option<(Material, Arc<ServerConfig>)>,
    /// What was last complained of, so that it is not said with each request.
    complaint: Option<String>,
}

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The file cannot be used any more.
    Broken,
    /// Too many requests or guesses; a retry is allowed after this many seconds.
    TooOften(u64),
    /// No name and password that fit.
    Unknown,
}

/// What every answer carries.
pub(super) type Headers = Vec<(HeaderName, HeaderValue)>;

impl Access {
    /// Reads the file and all that it names.
    ///
    /// # Errors
    ///
    /// It cannot be read, is not of its form, or certificates cannot be used.
    pub fn load(path: &Path) -> Result<Access, AccessError> {
        let fail = |what: String| AccessError { path: path.to_owned(), what };
        let text = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
        let document = parse(&text, path).map_err(fail)?;
        for warning in &document.warnings {
            warn!("--web.config.file {}: {warning}", path.display());
        }
        let http2 = document.http2;
        let tls = match &document.tls {
            None => None,
            Some(settings) => {
                let material = Material::read(settings).map_err(fail)?;
                let config = material.server_config(settings, http2).map_err(fail)?;
                Some((material, Arc::new(config)))
            }
        };
        Ok(Access {
            path: path.to_owned(),
            is_tls: tls.is_some(),
            http2,
            bucket: document.rate.map(|rate| Bucket::new(rate, Instant::now())),
            keeper: Doorkeeper::new().map_err(fail)?,
            turn: Arc::new(Semaphore::new(1)),
            current: Mutex::new(Current { text, document: Ok(Arc::new(document)), tls, complaint: None }),
        })
    }

    /// Whether this is the text of such a file. Files that it names are not looked at.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn understand(text: &[u8]) -> Result<(), AccessError> {
        let path = Path::new("web.yml");
        parse(text, path).map(drop).map_err(|what| AccessError { path: path.to_owned(), what })
    }

    /// Whether TLS is spoken.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The PEM text of the certificate that is in force.
    pub fn certificate(&self) -> Option<Vec<u8>> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.tls.as_ref().map(|(material, _)| material.cert.clone())
    }

    /// Whether anybody needs a password.
    pub(super) fn has_users(&self) -> bool {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.document.as_ref().is_ok_and(|document| !document.users.is_empty())
    }

    /// What to shake hands with; `None` while the file cannot be used.
    pub(super) async fn handshake(self: &Arc<Self>) -> Option<Arc<ServerConfig>> {
        self.looked(true).await?.1
    }

    /// Whether a request may be answered, and what its answer is to carry.
    pub(super) async fn admit(
        self: &Arc<Self>,
        headers: &HeaderMap,
        peer: Peer,
    ) -> Result<Headers, (Refused, Headers)> {
        let Some((Some(document), _)) = self.looked(false).await else { return Err((Refused::Broken, Vec::new())) };
        if let Some(bucket) = self.bucket.as_ref().filter(|bucket| !bucket.take(Instant::now())) {
            return Err((Refused::TooOften(bucket.interval()), Vec::new()));
        }
        if document.users.is_empty() {
            return Ok(document.headers.clone());
        }
        let authorization = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        match self.keeper.admits(&document.users, authorization, peer).await {
            Verdict::Admitted => Ok(document.headers.clone()),
            Verdict::Unknown => Err((Refused::Unknown, document.headers.clone())),
            Verdict::Later(seconds) => Err((Refused::TooOften(seconds), document.headers.clone())),
        }
    }

    /// Looks at the files beside the thread that serves: one at a time, so that many who ask take no thread each.
    async fn looked(self: &Arc<Self>, with_tls: bool) -> Option<(Option<Arc<Document>>, Option<Arc<ServerConfig>>)> {
        let turn = self.turn.clone().acquire_owned().await.ok()?;
        let access = self.clone();
        let look = move || {
            let seen = access.look(with_tls);
            drop(turn);
            seen
        };
        tokio::task::spawn_blocking(look).await.ok()
    }

    /// Looks at the files again. Their text is compared, not their times: nothing that was written is missed.
    fn look(&self, with_tls: bool) -> (Option<Arc<Document>>, Option<Arc<ServerConfig>>) {
        let read = std::fs::read(&self.path);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Err(error) => {
                current.text = Vec::new();
                current.document = Err(error.to_string());
            }
            Ok(text) => {
                if text != current.text {
                    current.document = parse(&text, &self.path).map(Arc::new);
                    // Other settings are not served with the certificates of before.
                    current.tls = None;
                    current.text = text;
                    if current.document.is_ok() {
                        current.complaint = None;
                        info!(file = %self.path.display(), "--web.config.file was changed and is in force");
                    }
                }
            }
        }
        let document = match current.document.clone() {
            Ok(document) => document,
            Err(error) => {
                self.complain(&mut current, error, "nobody is let in");
                return (None, None);
            }
        };
        if !with_tls {
            return (Some(document), None);
        }
        match self.renewed(&mut current, &document) {
            Ok(()) => current.complaint = None,
            Err(error) => self.complain(&mut current, error, "certificates of before stay in force, if there were any"),
        }
        let config = current.tls.as_ref().map(|(_, config)| config.clone());
        (Some(document), config)
    }

    /// Takes the certificates that are there now, if they are others and fit.
    fn renewed(&self, current: &mut Current, document: &Document) -> Result<(), String> {
        let settings = document.tls.as_ref().ok_or("tls_server_config: gone; TLS can only be left off at the start")?;
        let material = Material::read(settings)?;
        if current.tls.as_ref().is_some_and(|(before, _)| *before == material) {
            return Ok(());
        }
        let config = material.server_config(settings, self.http2)?;
        if current.tls.is_some() {
            info!(file = %self.path.display(), "certificates were renewed");
        }
        current.tls = Some((material, Arc::new(config)));
        Ok(())
    }

    fn complain(&self, current: &mut Current, error: String, what: &str) {
        if current.complaint.as_ref() != Some(&error) {
            warn!("--web.config.file {}: {error}: {what}", self.path.display());
            current.complaint = Some(error);
        }
    }
}

fn parse(text: &[u8], path: &Path) -> Result<Document, String> {
    let text = std::str::from_utf8(text).map_err(|_| "not UTF-8".to_owned())?;
    Document::parse(text, path.parent().unwrap_or(Path::new("")))
}
