//! What a real server cannot be made to say on demand: a small server that answers as one was recorded to
//! (`api-errors.ndjson`), in the clear and over HTTP/1.1.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use calico_exporter::source::kubernetes::Config;
use calico_exporter::source::kubernetes::settings::{Settings, User};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::affinities::{affinity, by_affinities};
use super::{config, recorded};
use crate::support::follow::Source;
use crate::support::kube::V1;
use crate::support::repository;

pub(super) const BLOCKS: &str = "/apis/crd.projectcalico.org/v1/ipamblocks";
const BLOCK: &str = "10.210.1.0/26";
/// What is said of the block itself, rather than of its key.
const WHOLE: &str = "AllocationBlock";

/// What is answered instead of what is right.
#[derive(Clone)]
struct Fault {
    /// To a watch, or to a list.
    watch: bool,
    status: u16,
    retry_after: Option<u64>,
    body: String,
    /// Whether the answer then goes on without a word.
    hangs: bool,
}

/// Pieces of a body, each with a pause before it.
pub(super) type Lie = fn(&str, usize) -> Vec<(Duration, String)>;

#[derive(Default)]
pub(super) struct Script {
    fault: Option<Fault>,
    /// What lists of blocks are answered, piece by piece, by their path and how many there were before.
    pub(super) lie: Option<Lie>,
    /// How many that were.
    pub(super) lies: usize,
    /// How often it was answered.
    faults: usize,
    /// Every path that was asked, and when.
    asked: Vec<(Instant, String)>,
    /// The version of every list.
    version: u64,
    /// The only block, if there is one.
    block: Option<Value>,
}

pub(super) struct Fake {
    port: u16,
    pub(super) script: Arc<Mutex<Script>>,
    /// Goes up when open watches are to end.
    generation: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl Fake {
    pub(super) async fn start() -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = Arc::new(Mutex::new(Script {
            version: 900,
            block: Some(recorded(V1, "ipamblocks")["items"][0].clone()),
            ..Script::default()
        }));
        let (generation, ended) = watch::channel(0);
        let shared = script.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(stream, shared.clone(), ended.clone()));
            }
        });
        Fake { port, script, generation, task }
    }

    pub(super) fn settings(&self) -> Settings {
        let server = format!("http://127.0.0.1:{}", self.port).parse().unwrap();
        Settings { server, user: User::Token("token".to_owned()), ..Settings::default() }
    }

    /// From now on, and to whoever watches, this is said.
    fn say(&self, fault: Option<Fault>) {
        let mut script = self.script.lock().unwrap();
        script.fault = fault;
        script.faults = 0;
        drop(script);
        self.generation.send_modify(|generation| *generation += 1);
    }

    fn faults(&self) -> usize {
        self.script.lock().unwrap().faults
    }

    fn asked(&self) -> Vec<(Instant, String)> {
        self.script.lock().unwrap().asked.clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(stream: TcpStream, script: Arc<Mutex<Script>>, mut ended: watch::Receiver<u64>) {
    let generation = *ended.borrow_and_update();
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    let mut line = String::new();
    stream.read_line(&mut first).await.unwrap();
    while stream.read_line(&mut line).await.unwrap() > 2 {
        line.clear();
    }
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let is_watch = path.contains("watch=true");
    let lie = {
        let mut script = script.lock().unwrap();
        let lie = script.lie.filter(|_| !is_watch && path.starts_with(&format!("{BLOCKS}?")));
        script.lies += usize::from(lie.is_some());
        lie.map(|lie| lie(&path, script.lies - 1))
    };
    if let Some(pieces) = lie {
        let head = "HTTP/1.1 200 Said\r\nConnection: close\r\nContent-Type: application/json\r\n\r\n";
        let _ = stream.write_all(head.as_bytes()).await;
        for (pause, piece) in pieces {
            tokio::time::sleep(pause).await;
            if stream.write_all(piece.as_bytes()).await.is_err() {
                return;
            }
        }
        let _ = stream.shutdown().await;
        return;
    }
    let (said, silent, version) = {
        let mut script = script.lock().unwrap();
        script.asked.push((Instant::now(), path.clone()));
        let fault = script.fault.clone().filter(|fault| fault.watch == is_watch && path.starts_with(BLOCKS));
        script.faults += usize::from(fault.is_some());
        let right = || {
            let (status, body) = right(&path, &script);
            Fault { watch: is_watch, status, retry_after: None, body, hangs: is_watch }
        };
        let silent = fault.is_some();
        let said = fault.unwrap_or_else(right);
        (said, silent, script.version)
    };
    let retry = said.retry_after.map(|seconds| format!("Retry-After: {seconds}\r\n")).unwrap_or_default();
    let head =
        format!("HTTP/1.1 {} Said\r\nConnection: close\r\nContent-Type: application/json\r\n{retry}\r\n", said.status);
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(said.body.as_bytes()).await;
    while said.hangs && *ended.borrow() == generation {
        if tokio::time::timeout(Duration::from_millis(100), ended.changed()).await.is_err() && !silent {
            let bookmark =
                json!({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version.to_string()}}});
            if stream.write_all(format!("{bookmark}\n").as_bytes()).await.is_err() {
                return;
            }
        }
    }
    let _ = stream.shutdown().await;
}

/// What a server with one block, or none, and no node answers.
fn right(path: &str, script: &Script) -> (u16, String) {
    let meta = json!({"resourceVersion": script.version.to_string()});
    let (base, query) = path.split_once('?').unwrap_or((path, ""));
    let body = match base {
        _ if query.contains("watch=true") => return (200, String::new()),
        "/apis" => json!({"groups": [{"name": "crd.projectcalico.org"}]}),
        "/apis/crd.projectcalico.org/v1" => json!({"resources": [{"name": "ipamblocks"}, {"name": "blockaffinities"}]}),
        "/apis/crd.projectcalico.org/v1/blockaffinities" => {
            let mut key = affinity(V1, "rack1-node-1", BLOCK, "confirmed");
            key["metadata"]["resourceVersion"] = json!("289");
            json!({"metadata": meta, "items": [key]})
        }
        BLOCKS => json!({"metadata": meta, "items": script.block.iter().collect::<Vec<_>>()}),
        _ if base.starts_with(BLOCKS) => match &script.block {
            Some(block) if block["metadata"]["name"].as_str() == base.rsplit('/').next() => block.clone(),
            _ => return (404, json!({"code": 404, "reason": "NotFound"}).to_string()),
        },
        _ => json!({"metadata": meta, "items": []}),
    };
    (200, body.to_string())
}

/// The recorded answers, each with its request.
fn lines() -> Vec<(String, String, Fault)> {
    let path = repository("tests/fixtures/kubernetes-v1/api-errors.ndjson");
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .map(|line| {
            let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
            let watch = text("request").contains("watch=true");
            let body = text("body");
            let fault = Fault {
                watch,
                status: line["status"].as_u64().unwrap() as u16,
                retry_after: text("retry_after").parse().ok(),
                hangs: watch && body.is_empty(),
                body,
            };
            (text("what"), text("request"), fault)
        })
        .collect()
}

#[tokio::test]
async fn no_recorded_answer_is_taken_for_emptiness() {
    let lines: Vec<_> = lines().into_iter().filter(|(what, ..)| !what.starts_with("... going on")).collect();
    assert_eq!(lines.len(), 13);
    // Every block is followed, or this host's by its name.
    for follows in [config, by_affinities] {
        for (what, request, fault) in &lines {
            no_emptiness(follows, what, request, fault).await;
        }
    }
}

async fn no_emptiness(follows: fn(Settings) -> Config, what: &str, request: &str, fault: &Fault) {
    let fake = Fake::start().await;
    let mut config = follows(fake.settings());
    config.pace.silence = Duration::from_secs(1);
    config.pace.settle = Duration::from_millis(50);
    let mut source = Source::start_kubernetes(config);
    source.until_in_sync().await;
    fake.say(Some(fault.clone()));
    source.until(&format!("out of sync: {what} ({request})"), |picture| !picture.in_sync).await;
    // Again and again, it changes nothing.
    let again = |fake: &Fake| fake.faults() >= 2;
    while !again(&fake) {
        source.receive().await;
    }
    assert!(source.picture.has(WHOLE), "{what}: {:?}", source.picture.objects);
    assert_eq!(source.picture.deletions, 0, "{what}");
    fake.say(None);
    source.until(&format!("in sync after: {what}"), |picture| picture.in_sync && picture.has(WHOLE)).await;
    source.stop().await;
}

#[tokio::test]
async fn a_list_that_expires_is_begun_again_and_its_other_token_is_not_used() {
    let (_, _, expired) = lines().into_iter().find(|(what, ..)| what.starts_with("continue token")).unwrap();
    let token = |body: &Value| body["metadata"]["continue"].as_str().unwrap().to_owned();
    let offered = token(&serde_json::from_str(&expired.body).unwrap());
    let first = json!({"metadata": {"resourceVersion": "900", "continue": "first/token="}, "items": []});
    let fake = Fake::start().await;
    fake.say(Some(Fault { watch: false, status: 200, retry_after: None, body: first.to_string(), hangs: false }));
    let mut source = Source::start_kubernetes(config(fake.settings()));
    // The second page of what has no end is the first again, until it expires.
    while !fake.asked().iter().any(|(_, path)| path.contains("continue=first%2Ftoken%3D")) {
        source.receive().await;
    }
    fake.say(Some(expired));
    source.until("the list broke off", |picture| !picture.lost.is_empty()).await;
    assert_eq!(source.picture.syncs, 0, "half a list is no list");
    fake.say(None);
    source.until_in_sync().await;
    assert!(source.picture.has(WHOLE));
    assert!(!fake.asked().iter().any(|(_, path)| path.contains(&offered)), "the token that was offered");
    source.stop().await;
}

#[tokio::test]
async fn a_server_that_is_busy_is_left_alone_for_as_long_as_it_asks() {
    let fake = Fake::start().await;
    let body = json!({"code": 429, "message": "storage is (re)initializing", "details": {"retryAfterSeconds": 1}});
    fake.say(Some(Fault { watch: false, status: 429, retry_after: Some(1), body: body.to_string(), hangs: false }));
    let mut source = Source::start_kubernetes(config(fake.settings()));
    while fake.faults() < 3 {
        source.receive().await;
    }
    assert!(source.picture.lost.iter().any(|why| why.contains("busy")), "{:?}", source.picture.lost);
    let lists: Vec<Instant> =
        fake.asked().into_iter().filter(|(_, path)| path.starts_with(BLOCKS)).map(|(at, _)| at).collect();
    for pair in lists.windows(2) {
        assert!(pair[1] - pair[0] >= Duration::from_secs(1), "{:?}", pair[1] - pair[0]);
    }
    source.stop().await;
}

#[tokio::test]
async fn a_version_that_goes_back_is_another_history() {
    let fake = Fake::start().await;
    let mut source = Source::start_kubernetes(config(fake.settings()));
    source.until_in_sync().await;
    fake.script.lock().unwrap().version = 890;
    fake.say(None);
    source.until("another history", |picture| picture.lost.iter().any(|why| why.contains("another history"))).await;
    source.until_in_sync().await;
    source.stop().await;
}

#[tokio::test]
async fn what_no_watch_told_is_found_by_name_and_version() {
    let fake = Fake::start().await;
    let mut config = config(fake.settings());
    config.pace.check = Duration::from_millis(200);
    let mut source = Source::start_kubernetes(config);
    source.until_in_sync().await;
    {
        let mut script = fake.script.lock().unwrap();
        let block = script.block.as_mut().unwrap();
        block["metadata"]["resourceVersion"] = json!("890");
        block["spec"]["affinity"] = json!("host:somebody-else");
    }
    source.until("the change", |picture| picture.has("somebody-else")).await;
    let whole =
        |fake: &Fake| fake.asked().iter().filter(|(_, path)| path.starts_with(&format!("{BLOCKS}?limit=500"))).count();
    let listed = whole(&fake);
    fake.script.lock().unwrap().block = None;
    source.until("it is gone", |picture| !picture.has(WHOLE)).await;
    assert!(whole(&fake) > listed, "compared");
    assert_eq!((source.picture.resyncs, source.picture.lost.len()), (1, 0), "{:?}", source.picture.lost);
    source.stop().await;
}
