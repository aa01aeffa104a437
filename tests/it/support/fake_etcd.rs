//! An etcd that lies on demand: gRPC over HTTP/2 with messages made by hand, so that they can be what no library makes.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use calico_exporter::source::etcd::settings::{Settings, Tls};
use futures_util::stream::{self, Stream};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;

/// A protobuf message in the making.
#[derive(Clone, Default)]
pub(crate) struct Message(pub(crate) Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A number.
    pub(crate) fn number(mut self, field: u64, value: i64) -> Message {
        self.varint(field << 3);
        self.varint(value as u64);
        self
    }

    /// Bytes, or a message.
    pub(crate) fn bytes(mut self, field: u64, value: &[u8]) -> Message {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// The fields of a message that has nothing but numbers and bytes.
    fn fields(mut bytes: &[u8]) -> Vec<(u64, i64, Vec<u8>)> {
        let take = |bytes: &mut &[u8]| {
            let (mut value, mut shift) = (0u64, 0);
            while let Some((byte, rest)) = bytes.split_first() {
                *bytes = rest;
                value |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            value
        };
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let key = take(&mut bytes);
            let value = take(&mut bytes);
            let mut content = Vec::new();
            if key & 7 == 2 {
                let (this, rest) = bytes.split_at((value as usize).min(bytes.len()));
                (content, bytes) = (this.to_vec(), rest);
            }
            found.push((key >> 3, value as i64, content));
        }
        found
    }

    /// As it stands on the wire.
    pub(crate) fn framed(&self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        [&[0][..], &length.to_be_bytes(), &self.0].concat()
    }
}

/// What a range request asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Range {
    pub(crate) key: Vec<u8>,
    pub(crate) end: Vec<u8>,
    pub(crate) limit: i64,
    pub(crate) revision: i64,
    pub(crate) count_only: bool,
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) mod_revision: i64,
    /// 0 where it is deleted.
    pub(crate) version: i64,
}

impl Pair {
    fn message(&self) -> Message {
        Message::default()
            .bytes(1, &self.key)
            .number(2, i64::from(self.version > 0))
            .number(3, self.mod_revision)
            .number(4, self.version)
            .bytes(5, &self.value)
    }
}

fn header(revision: i64) -> Message {
    Message::default().number(1, 7).number(2, 8).number(3, revision).number(4, 1)
}

/// The answer to a range request.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) revision: i64,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) more: bool,
    pub(crate) count: i64,
    pub(crate) delay: Duration,
}

impl Page {
    fn message(&self) -> Message {
        let mut message = Message::default().bytes(1, &header(self.revision).0);
        for pair in &self.pairs {
            message = message.bytes(2, &pair.message().0);
        }
        message.number(3, i64::from(self.more)).number(4, self.count)
    }
}

/// An event, of a type that etcd may not have.
pub(crate) fn event(kind: i64, pair: Option<&Pair>) -> Message {
    let message = Message::default().number(1, kind);
    match pair {
        Some(pair) => message.bytes(2, &pair.message().0),
        None => message,
    }
}

/// Events of one watch.
pub(crate) fn events(watch: i64, revision: i64, events: &[Message]) -> Message {
    let message = Message::default().bytes(1, &header(revision).0).number(2, watch);
    events.iter().fold(message, |message, event| message.bytes(11, &event.0))
}

/// What an answer is made into.
pub(crate) type Lie = fn(&Range, Page) -> Page;

/// What it keeps, and how it lies.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) pairs: Vec<Pair>,
    pub(crate) revision: i64,
    /// The revision that lists are of, where it is an older one.
    pub(crate) listed: Option<i64>,
    pub(crate) lie: Option<Lie>,
    /// Ranges that were asked for.
    pub(crate) asked: usize,
    /// Instead of every answer to a range: bytes on the wire.
    pub(crate) raw_range: Option<Vec<u8>>,
    /// After a watch is confirmed: bytes on the wire.
    pub(crate) raw_watch: Option<Vec<u8>>,
}

impl Script {
    /// Writes a key, at the next revision.
    pub(crate) fn put(&mut self, key: &str, value: &str) -> Pair {
        self.revision += 1;
        let version = self.pairs.iter().find(|it| it.key == key.as_bytes()).map_or(1, |it| it.version + 1);
        self.pairs.retain(|it| it.key != key.as_bytes());
        let pair = Pair { key: key.into(), value: value.into(), mod_revision: self.revision, version };
        self.pairs.push(pair.clone());
        self.pairs.sort_by(|a, b| a.key.cmp(&b.key));
        pair
    }

    fn page(&self, range: &Range) -> Page {
        let single = range.end.is_empty();
        let inside = |pair: &&Pair| match single {
            true => pair.key == range.key,
            false => pair.key >= range.key && pair.key < range.end,
        };
        let inside: Vec<Pair> = self.pairs.iter().filter(inside).cloned().collect();
        let limit = if range.limit > 0 { range.limit as usize } else { usize::MAX };
        let (count, more) = (inside.len() as i64, inside.len() > limit);
        let pairs = if range.count_only { Vec::new() } else { inside.into_iter().take(limit).collect() };
        Page {
            revision: self.listed.unwrap_or(self.revision),
            pairs,
            more: more && !range.count_only,
            count,
            delay: Duration::ZERO,
        }
    }
}

pub(crate) struct FakeEtcd {
    port: u16,
    pub(crate) script: Arc<Mutex<Script>>,
    /// What is said to every open watch.
    pub(crate) said: broadcast::Sender<Vec<u8>>,
    task: JoinHandle<()>,
}

impl Drop for FakeEtcd {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Body = StreamBody<Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>>;

impl FakeEtcd {
    pub(crate) async fn start(script: Script) -> FakeEtcd {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = Arc::new(Mutex::new(script));
        let (said, _) = broadcast::channel(64);
        let (shared, sayings) = (script.clone(), said.clone());
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let (script, said) = (shared.clone(), sayings.clone());
                let service = service_fn(move |request| answer(request, script.clone(), said.clone()));
                let serving = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
                tokio::spawn(serving);
            }
        });
        FakeEtcd { port, script, said, task }
    }

    pub(crate) fn settings(&self) -> Settings {
        let endpoints = vec![format!("http://127.0.0.1:{}", self.port)];
        Settings { endpoints, credentials: None, tls: Tls::default() }
    }

    /// From now on it lies so, or not at all.
    pub(crate) fn lie(&self, lie: Option<Lie>) {
        self.script.lock().unwrap().lie = lie;
    }
}

async fn answer(
    request: Request<Incoming>,
    script: Arc<Mutex<Script>>,
    said: broadcast::Sender<Vec<u8>>,
) -> Result<Response<Body>, Infallible> {
    let (frames, sent) = mpsc::channel::<Frame<Bytes>>(64);
    let is_watch = request.uri().path().ends_with("/Watch");
    let body = request.into_body();
    match is_watch {
        true => drop(tokio::spawn(watch(body, script, said.subscribe(), frames))),
        false => drop(tokio::spawn(range(body, script, frames))),
    }
    let body = stream::unfold(sent, |mut sent| async move { Some((Ok(sent.recv().await?), sent)) });
    let body: Pin<Box<dyn Stream<Item = _> + Send>> = Box::pin(body);
    let mut response = Response::new(StreamBody::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Ok(response)
}

fn end() -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    Frame::trailers(trailers)
}

async fn range(body: Incoming, script: Arc<Mutex<Script>>, frames: mpsc::Sender<Frame<Bytes>>) {
    let Ok(body) = body.collect().await else { return };
    let asked = body.to_bytes();
    let mut range = Range::default();
    for (field, number, content) in Message::fields(asked.get(5..).unwrap_or_default()) {
        match field {
            1 => range.key = content,
            2 => range.end = content,
            3 => range.limit = number,
            4 => range.revision = number,
            9 => range.count_only = number != 0,
            _ => {}
        }
    }
    let (answer, delay) = {
        let mut script = script.lock().unwrap();
        let page = script.page(&range);
        // A sign of life is no list.
        match (&script.raw_range, script.lie, range.count_only) {
            (Some(raw), _, false) => (raw.clone(), Duration::ZERO),
            (_, Some(lie), false) => {
                script.asked += 1;
                let page = lie(&range, page);
                (page.message().framed(), page.delay)
            }
            _ => (page.message().framed(), Duration::ZERO),
        }
    };
    tokio::time::sleep(delay).await;
    let _ = frames.send(Frame::data(answer.into())).await;
    let _ = frames.send(end()).await;
}

async fn watch(
    mut body: Incoming,
    script: Arc<Mutex<Script>>,
    mut said: broadcast::Receiver<Vec<u8>>,
    frames: mpsc::Sender<Frame<Bytes>>,
) {
    let (mut begun, mut read) = (0, Vec::new());
    let raw = script.lock().unwrap().raw_watch.clone();
    loop {
        let answer = tokio::select! {
            frame = body.frame() => {
                let Some(Ok(frame)) = frame else { return };
                read.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                let mut answer = Vec::new();
                while read.len() >= 5 {
                    let length = u32::from_be_bytes([read[1], read[2], read[3], read[4]]) as usize;
                    if read.len() < 5 + length {
                        break;
                    }
                    let message: Vec<u8> = read.drain(..5 + length).skip(5).collect();
                    let revision = script.lock().unwrap().revision;
                    for (field, ..) in Message::fields(&message) {
                        let message = Message::default().bytes(1, &header(revision).0);
                        answer.extend(match field {
                            1 => {
                                begun += 1;
                                message.number(2, begun - 1).number(3, 1).framed()
                            }
                            _ => message.number(2, -1).framed(),
                        });
                    }
                }
                if begun > 0 && let Some(raw) = &raw {
                    answer.extend_from_slice(raw);
                    let _ = frames.send(Frame::data(answer.into())).await;
                    let _ = frames.send(end()).await;
                    return;
                }
                answer
            }
            Ok(message) = said.recv() => message,
        };
        if !answer.is_empty() && frames.send(Frame::data(answer.into())).await.is_err() {
            return;
        }
    }
}
