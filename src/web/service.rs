//! What is answered to which request.

use std::collections::HashMap;
use std::fmt::Write;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Buf;
use http_body_util::BodyExt;
use hyper::body::Body;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::access::{Access, Refused};
use super::body::Pieces;
use super::clients::{Leave, Ongoing};
use super::explanation::explanation_json;
use super::findings::FindingsJson;
use super::history::{HistoryQuery, history_json};
use super::negotiate;
use super::page::{self, Answered, Found, Page, View};
use crate::audit::explain::{Explanation, Subject, SubjectError};
use crate::audit::{HostBlocks, RoutePage};
use crate::engine::{Inquiry, Unanswered};
use crate::metrics::{Format, Published, Scraper, Vitals};
use crate::model::Name;
use crate::state::Entry;

/// What a person can set.
#[derive(Debug, Clone)]
pub struct WebConfig {
    /// `--web.telemetry-path`.
    pub telemetry_path: String,
    /// `--web.max-requests`: more at once are refused; 0 is no limit. Health is always answered: a probe that fails
    /// because many scrape would restart what is well.
    pub max_requests: usize,
}

impl WebConfig {
    /// Whether a client can ask for this path: it is compared with the path of a request (RFC 3986, 3.3) as it is.
    ///
    /// # Errors
    ///
    /// Why no request ever has it.
    pub fn check_path(path: &str) -> Result<(), &'static str> {
        if !path.starts_with('/') {
            return Err("a path begins with /");
        }
        if path.contains(['?', '#']) {
            return Err("no request has ? or # in its path: leave out the query and the fragment");
        }
        if path.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err("clients resolve . and .. before they ask: write the path without them");
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte);
        let mut rest = path.bytes();
        while let Some(byte) = rest.next() {
            let is_encoded = byte == b'%' && rest.by_ref().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
            if !is_encoded && !is_plain(byte) {
                return Err("clients send this character percent-encoded: write it so, as in /a%20b");
            }
        }
        Ok(())
    }
}

impl Default for WebConfig {
    fn default() -> WebConfig {
        WebConfig { telemetry_path: "/metrics".to_string(), max_requests: 40 }
    }
}

/// Everything that a request is answered from.
#[derive(Debug)]
pub struct WebState {
    config: WebConfig,
    published: watch::Receiver<Arc<Published>>,
    scraper: Scraper,
    /// `--web.max-requests`.
    limit: usize,
    lanes: Lanes,
    findings: FindingsJson,
    inquiry: Option<Inquiry>,
    access: Option<Arc<Access>>,
}

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const CSS: &str = "text/css; charset=utf-8";

const FINDINGS: &str = "/api/v1/findings";
const EXPLAIN: &str = "/api/v1/explain";
const HISTORY: &str = "/api/v1/history";
const STYLE: &str = "/style.css";

type Answer = Response<Pieces>;

impl WebState {
    /// Answers from what `published` last said, and counts requests into `vitals`.
    pub fn new(config: WebConfig, published: watch::Receiver<Arc<Published>>, vitals: Arc<Vitals>) -> WebState {
        let limit = if config.max_requests == 0 { usize::MAX } else { config.max_requests };
        let scraper = Scraper::new(vitals);
        WebState {
            config,
            published,
            scraper,
            limit,
            lanes: Lanes::default(),
            findings: FindingsJson::default(),
            inquiry: None,
            access: None,
        }
    }

    /// Has pages ask the engine for what a report does not say.
    #[must_use]
    pub fn asking(mut self, inquiry: Inquiry) -> WebState {
        self.inquiry = Some(inquiry);
        self
    }

    /// Lets in only whom `--web.config.file` lets in, over what it says.
    #[must_use]
    pub fn guarded(mut self, access: Arc<Access>) -> WebState {
        self.access = Some(access);
        self
    }

    /// What `--web.config.file` says.
    pub(super) fn access(&self) -> Option<&Arc<Access>> {
        self.access.as_ref()
    }

    /// Answers a request. Of a body, if it has any, a little is taken in and thrown away.
    pub(super) async fn answer<B: Body>(self: Arc<Self>, request: Request<B>, client: &Ongoing) -> Answer {
        let response = match &self.access {
            None => {
                client.admitted();
                self.clone().route(&request, client).await
            }
            Some(access) => {
                let (mut response, headers) = match access.admit(request.headers(), client.peer()).await {
                    Ok(headers) => {
                        client.admitted();
                        (self.clone().route(&request, client).await, headers)
                    }
                    Err((why, headers)) => (refused(why), headers),
                };
                // What an operator sets is stronger than what the page sets.
                for (name, value) in headers {
                    response.headers_mut().insert(name, value);
                }
                response
            }
        };
        self.scraper.vitals().count_request(response.status().as_u16());
        discard(request.into_body()).await;
        response
    }

    async fn route<B: Body>(self: Arc<Self>, request: &Request<B>, client: &Ongoing) -> Answer {
        let path = request.uri().path();
        let published = self.published.borrow().clone();
        let is_health = matches!(path, "/healthz" | "/readyz") && path != self.config.telemetry_path;
        let is_telemetry = path == self.config.telemetry_path;
        let page = if is_telemetry { None } else { Page::of(path, request.uri().query()) };
        let is_known =
            is_health || is_telemetry || page.is_some() || matches!(path, EXPLAIN | FINDINGS | HISTORY | STYLE);
        if !is_known {
            return plain(StatusCode::NOT_FOUND, "not found\n");
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        if !request.body().is_end_stream() {
            let mut response = plain(StatusCode::PAYLOAD_TOO_LARGE, "a request has no body here\n");
            // Or the body would be taken for the next request.
            if request.version() < Version::HTTP_2 {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            return response;
        }
        match path {
            "/healthz" if is_health => return plain(StatusCode::OK, "ok\n"),
            "/readyz" if is_health => return ready(&published),
            STYLE if !is_telemetry => return style(),
            _ => {}
        }
        let Ok(leave) = client.leave(self.limit).await else {
            let limit = self.config.max_requests;
            return plain(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{limit} requests are being served at once, which is the limit: try again later\n"),
            );
        };
        let (format, mut response) = match page {
            _ if is_telemetry => self.metrics(request.headers(), published, &leave).await,
            Some(page) => (HTML, self.page(page, published, &leave).await),
            None if path == EXPLAIN => (JSON, self.explanation(request.uri().query()).await),
            None if path == HISTORY => (JSON, self.history(request.uri().query(), published, &leave).await),
            None => (JSON, self.findings(published, &leave).await),
        };
        let headers = response.headers_mut();
        // An answer that is no success has said already what it is.
        if !headers.contains_key(header::CONTENT_TYPE) {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format));
        }
        finish(response.map(|body| body.holding(leave)))
    }

    /// A page; what a report does not say is asked first.
    async fn page(&self, page: Page, published: Arc<Published>, leave: &Arc<Leave>) -> Answer {
        let (host, from) = match &page {
            Page::Host(name, from) => (Some(name.clone()), *from),
            Page::Overview => (Some(published.node.clone()), 0),
            _ => (None, 0),
        };
        let rows = match &page {
            Page::Routes(page) => Some((page * page::ROWS, page::ROWS)),
            Page::Overview => Some((0, page::FEW_ROUTES)),
            _ => None,
        };
        let (blocks, routes) = tokio::join!(self.blocks(host, from), self.routes(rows));
        let explained = match &page {
            Page::Explain(text) if !text.trim().is_empty() => self.explained(text).await,
            _ => Ok(Ok(None)),
        };
        let recent = match (&page, &self.inquiry) {
            (Page::History(Ok(query)), Some(inquiry)) => {
                inquiry.history(query.filter.clone(), query.limit).await.map(Some)
            }
            _ => Ok(None),
        };
        let timelines = self.timelines(page::subjects(&page, &published)).await;
        let telemetry_path = self.config.telemetry_path.clone();
        let now = SystemTime::now();
        let view = View { published, telemetry_path, now, blocks, routes, explained, recent, timelines };
        let Some((found, html)) = self.lanes.page(leave, move || page::render(&page, &view)).await else {
            return plain(StatusCode::INTERNAL_SERVER_ERROR, "the page could not be written\n");
        };
        let mut response = Response::new(html.into());
        *response.status_mut() = match found {
            Found::Yes => StatusCode::OK,
            Found::No => StatusCode::NOT_FOUND,
            Found::Busy => StatusCode::SERVICE_UNAVAILABLE,
        };
        let policy = HeaderValue::from_static(page::CONTENT_SECURITY_POLICY);
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
        response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }

    async fn blocks(&self, host: Option<Name>, from: usize) -> Answered<HostBlocks> {
        match (&self.inquiry, host) {
            (Some(inquiry), Some(host)) => inquiry.blocks(host, from).await,
            _ => Ok(None),
        }
    }

    async fn routes(&self, rows: Option<(usize, usize)>) -> Answered<RoutePage> {
        match (&self.inquiry, rows) {
            (Some(inquiry), Some((from, limit))) => inquiry.routes(from, limit).await,
            _ => Ok(None),
        }
    }

    async fn explained(&self, text: &str) -> Result<Answered<Explanation>, SubjectError> {
        let subject: Subject = text.parse()?;
        Ok(match &self.inquiry {
            Some(inquiry) => inquiry.explain(subject).await,
            None => Ok(None),
        })
    }

    /// The newest changes about each subject. A page does without them where the engine is busy.
    async fn timelines(&self, subjects: Vec<Box<str>>) -> HashMap<Box<str>, Vec<Entry>> {
        let Some(inquiry) = self.inquiry.as_ref().filter(|_| !subjects.is_empty()) else { return HashMap::new() };
        let entries = inquiry.timelines(subjects.clone(), page::TIMELINE).await.unwrap_or_default();
        subjects.into_iter().zip(entries).collect()
    }

    /// `/api/v1/explain?q=`: the engine answers.
    async fn explanation(&self, query: Option<&str>) -> Answer {
        let text = page::parameter(query.unwrap_or_default(), "q");
        match self.explained(&text).await {
            Err(why) => plain(StatusCode::BAD_REQUEST, format!("q={}: {why}\n", text.escape_debug())),
            Ok(Err(Unanswered)) => plain(StatusCode::SERVICE_UNAVAILABLE, "the engine is busy: try again\n"),
            Ok(Ok(None)) => plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "nothing has been judged yet: every source has to be read completely first\n",
            ),
            Ok(Ok(Some(explained))) => {
                let status = if explained.names_nothing() { StatusCode::NOT_FOUND } else { StatusCode::OK };
                let mut response = Response::new(explanation_json(&explained).into());
                *response.status_mut() = status;
                response
            }
        }
    }

    async fn history(&self, query: Option<&str>, published: Arc<Published>, leave: &Arc<Leave>) -> Answer {
        let query = match HistoryQuery::parse(query.unwrap_or_default()) {
            Ok(query) => query,
            Err(why) => return plain(StatusCode::BAD_REQUEST, format!("{why}\n")),
        };
        let recent = match &self.inquiry {
            Some(inquiry) => inquiry.history(query.filter, query.limit).await,
            None => Err(Unanswered),
        };
        let Ok(recent) = recent else {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "the engine is busy: try again\n");
        };
        match self.lanes.page(leave, move || history_json(&published.node, &recent)).await {
            Some(json) => Response::new(json.into()),
            None => plain(StatusCode::INTERNAL_SERVER_ERROR, "the history could not be written\n"),
        }
    }

    async fn metrics(
        self: &Arc<Self>,
        headers: &HeaderMap,
        published: Arc<Published>,
        leave: &Arc<Leave>,
    ) -> (&'static str, Answer) {
        let format = negotiate::format(&list(headers, header::ACCEPT));
        let gzip = negotiate::gzip(&list(headers, header::ACCEPT_ENCODING));
        let pieces = if self.scraper.is_cheap(&published, format, gzip) {
            self.scraper.body(&published, format, gzip).ok()
        } else {
            let state = self.clone();
            self.lanes.scrape(leave, move || state.scraper.body(&published, format, gzip).ok()).await.flatten()
        };
        let Some(pieces) = pieces else {
            return (TEXT, plain(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n"));
        };
        let mut response = Response::new(Pieces::new(pieces));
        let headers = response.headers_mut();
        headers.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        if gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        (Format::content_type(format), response)
    }

    async fn findings(self: &Arc<Self>, published: Arc<Published>, leave: &Arc<Leave>) -> Answer {
        let json = match self.findings.made(&published) {
            Some(json) => Some(json),
            None => {
                let state = self.clone();
                self.lanes.page(leave, move || state.findings.json(&published)).await
            }
        };
        match json {
            Some(json) => Response::new(Pieces::new([json])),
            None => plain(StatusCode::INTERNAL_SERVER_ERROR, "the findings could not be written\n"),
        }
    }
}

fn refused(why: Refused) -> Answer {
    match why {
        Refused::Broken => plain(StatusCode::INTERNAL_SERVER_ERROR, "--web.config.file cannot be used: see the log\n"),
        Refused::TooOften(seconds) => {
            let mut response = plain(StatusCode::TOO_MANY_REQUESTS, "asked too often: try again later\n");
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            response
        }
        Refused::Unknown => {
            let mut response = plain(StatusCode::UNAUTHORIZED, "a name and a password are needed\n");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
            response
        }
    }
}

/// Takes in what a client is about to send of a body that nobody wants: a stream that is cut off under its hands makes
/// clients forget the answer (curl over HTTP/2). Whoever sends much, or slowly, is cut off all the same.
async fn discard<B: Body>(body: B) {
    const MOST: usize = 64 * 1024;
    const PATIENCE: Duration = Duration::from_secs(1);
    let mut body = pin!(body);
    let taken = async {
        let mut left = MOST;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Buf::remaining));
            if left == 0 {
                break;
            }
        }
    };
    // What is not there by then is not waited for.
    let _ = tokio::time::timeout(PATIENCE, taken).await;
}

/// Longer work, beside the threads that serve and follow the sources: one piece of each kind at a time, so that what
/// many ask for takes no more than two processors and no more memory than two answers. A leave is kept until its work is
/// over, also where whoever asked has gone.
#[derive(Debug)]
struct Lanes {
    /// Scrapes do not wait for pages.
    scrapes: Arc<Semaphore>,
    pages: Arc<Semaphore>,
}

impl Default for Lanes {
    fn default() -> Lanes {
        let lane = || Arc::new(Semaphore::new(1));
        Lanes { scrapes: lane(), pages: lane() }
    }
}

impl Lanes {
    async fn scrape<T: Send + 'static>(
        &self,
        leave: &Arc<Leave>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        aside(&self.scrapes, leave, work).await
    }

    async fn page<T: Send + 'static>(
        &self,
        leave: &Arc<Leave>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        aside(&self.pages, leave, work).await
    }
}

/// `None` if it panicked or the program is ending.
async fn aside<T: Send + 'static>(
    lane: &Arc<Semaphore>,
    leave: &Arc<Leave>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let turn: OwnedSemaphorePermit = lane.clone().acquire_owned().await.ok()?;
    let held = (turn, leave.clone());
    let work = move || {
        let done = work();
        drop(held);
        done
    };
    tokio::task::spawn_blocking(work).await.ok()
}

/// A page's style, which costs nothing to serve.
fn style() -> Answer {
    let mut response = plain(StatusCode::OK, page::STYLE);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CSS));
    response
}

fn ready(published: &Published) -> Answer {
    let mut text = String::new();
    for source in published.waiting_for() {
        text.push_str(if text.is_empty() { "waiting for " } else { ", " });
        // Writing to a string does not fail.
        let _ = write!(text, "{}", source.name);
    }
    if published.enabled().next().is_none() {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "no source has been started\n");
    }
    if let Some(why) = &published.cannot_tell {
        text.push_str(if text.is_empty() { "" } else { "; " });
        let _ = write!(text, "cannot tell: {why}");
    }
    if text.is_empty() {
        return plain(StatusCode::OK, "ready\n");
    }
    text.push('\n');
    plain(StatusCode::SERVICE_UNAVAILABLE, text)
}

fn plain(status: StatusCode, text: impl Into<Pieces>) -> Answer {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(TEXT));
    finish(response)
}

/// What every answer carries. The length is said here, since HEAD wants it without a body.
fn finish(mut response: Answer) -> Answer {
    let length = response.body().len();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A list header that may come in several lines.
fn list(headers: &HeaderMap, name: HeaderName) -> String {
    let lines: Vec<&str> = headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect();
    lines.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_telemetry_path_that_no_request_has_is_refused() {
        for path in ["/metrics", "/", "//", "/a/b.c", "/a%20b", "/a:b@c;d=e,f", "/...", "/%3f"] {
            assert_eq!(WebConfig::check_path(path), Ok(()), "{path}");
        }
        for (path, why) in [
            ("", "begins with /"),
            ("metrics", "begins with /"),
            ("/a?b", "? or #"),
            ("/a#b", "? or #"),
            ("/a/../b", ". and .."),
            ("/.", ". and .."),
            ("/a b", "percent-encoded"),
            ("/a\n", "percent-encoded"),
            ("/\u{e9}", "percent-encoded"),
            ("/100%", "percent-encoded"),
            ("/%2", "percent-encoded"),
            ("/%zz", "percent-encoded"),
        ] {
            let error = WebConfig::check_path(path).unwrap_err();
            assert!(error.contains(why), "{path}: {error}");
        }
    }
}
