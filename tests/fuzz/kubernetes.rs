//! The Kubernetes API's objects, its answers and its watches, and who says where it is.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use calico_exporter::source::backoff::Backoff;
use calico_exporter::source::kubernetes::objects::{Decoder, Ledger, Reading};
use calico_exporter::source::kubernetes::settings::Settings;
use calico_exporter::source::kubernetes::{ApiGroup, Config, Pace, Reader, Resource, run};
use serde_json::{Value, json};

use crate::source::said_until_lost;
use crate::targets::recorded;

/// Between two answers.
const NEXT: &[u8] = b"\n---\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n";

/// How objects are read by the letter that stands before one.
fn decoder(letter: u8) -> (Resource, Decoder) {
    let number = usize::from(letter.wrapping_sub(b'A'));
    let all = Resource::ALL.len();
    let mut decoder = Decoder::new(ApiGroup::ALL[number / all % 2]);
    decoder.use_pod_cidr = number / all / 2 % 2 == 1;
    (Resource::ALL[number % all], decoder)
}

/// A letter, and an object that is first there and then gone.
pub(crate) fn object(input: &[u8]) -> String {
    let Some((letter, item)) = input.split_first() else { return String::new() };
    let (resource, decoder) = decoder(*letter);
    let decoded = decoder.decode(resource, item);
    let mut ledger = Ledger::default();
    format!("{resource:?} {:?} {:?}", ledger.put(decoded.clone(), Reading::default()), ledger.delete(decoded))
}

/// Of each recorded list some objects, without what the server alone reads.
fn items() -> Vec<(Resource, ApiGroup, Vec<Value>)> {
    let lists = recorded(".json").into_iter().filter_map(|bytes| {
        let list: Value = serde_json::from_slice(&bytes).ok()?;
        let kind = list["kind"].as_str()?.strip_suffix("List")?;
        let (resource, group) = Resource::identify(list["apiVersion"].as_str()?, kind)?;
        let mut items: Vec<Value> = list["items"].as_array()?.iter().take(3).cloned().collect();
        for item in &mut items {
            item["metadata"].as_object_mut()?.remove("managedFields");
        }
        Some((resource, group, items))
    });
    lists.collect()
}

pub(crate) fn objects() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (resource, group, items) in items() {
        let wanted = |letter: &u8| {
            let (of, decoder) = decoder(*letter);
            of == resource && (decoder.group == group || resource.is_core())
        };
        for letter in (b'A'..=u8::MAX).take(4 * Resource::ALL.len()).filter(wanted) {
            seeds.extend(items.iter().map(|item| [&[letter][..], item.to_string().as_bytes()].concat()));
        }
    }
    seeds
}

/// To the first line of a request.
type Answers = Box<dyn FnMut(&str) -> Option<Vec<u8>> + Send>;

/// An API server that says to each request what it is told to say; a watch for which it has nothing stays open.
struct Server {
    settings: Settings,
    answers: Mutex<Answers>,
    open: Mutex<Vec<TcpStream>>,
}

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || listener.incoming().flatten().for_each(answer));
    let settings = Settings::from_environment(&|name| (name == "K8S_API_ENDPOINT").then(|| url.clone())).unwrap();
    Server { settings, answers: Mutex::new(Box::new(|_| None)), open: Mutex::default() }
});

fn answer(mut stream: TcpStream) {
    let mut head = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(request) = head.next() else { return };
    head.find(String::is_empty);
    let answer = (SERVER.answers.lock().unwrap())(&request);
    let (bytes, ends) = answer.map_or((OK.into(), false), |answer| (answer, true));
    // Whoever asked may have gone.
    let _ = stream.write_all(&bytes);
    if !ends {
        SERVER.open.lock().unwrap().push(stream);
    }
}

/// What comes of asking such a server.
fn ask<F: Future<Output = String>>(
    answers: impl FnMut(&str) -> Option<Vec<u8>> + Send + 'static,
    ask: impl FnOnce(Config) -> F,
) -> String {
    static RUNTIME: LazyLock<tokio::runtime::Runtime> =
        LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap());
    *SERVER.answers.lock().unwrap() = Box::new(answers);
    let mut config = Config::new(&SERVER.settings);
    let soon = Duration::from_millis(1);
    config.pace = Pace { jitter: Duration::ZERO, backoff: Backoff::new(soon, soon), ..Pace::default() };
    let said = RUNTIME.block_on(async { tokio::time::timeout(Duration::from_secs(30), ask(config)).await });
    SERVER.open.lock().unwrap().clear();
    said.expect("it waits for what never comes")
}

/// Answers to a client that reads everything once, as they stand on the wire; after them nothing is there.
pub(crate) fn answers(input: &[u8]) -> String {
    let mut answers = VecDeque::new();
    let mut rest = input;
    while let Some(end) = rest.windows(NEXT.len()).position(|window| window == NEXT) {
        answers.push_back(rest[..end].to_vec());
        rest = &rest[end + NEXT.len()..];
    }
    answers.push_back(rest.to_vec());
    let nothing = b"HTTP/1.1 404 Not Found\r\n\r\n";
    let next = move |_: &str| Some(answers.pop_front().unwrap_or_else(|| nothing.to_vec()));
    ask(next, async |config| match async { Reader::open(&config).await?.snapshot().await }.await {
        Ok(events) => format!("{events:?}"),
        Err(error) => error.to_string(),
    })
}

pub(crate) fn all_answers() -> Vec<Vec<u8>> {
    let group = ApiGroup::Crd;
    let items = items();
    let answer = |body: Value| format!("{OK}{body}").into_bytes();
    let names: Vec<Value> = Resource::ALL.iter().map(|it| json!({"name": it.plural(group)})).collect();
    let mut answers =
        vec![answer(json!({"groups": [{"name": "crd.projectcalico.org"}]})), answer(json!({"resources": names}))];
    let mut seeds = Vec::new();
    for refusal in recorded("api-errors.ndjson").iter().flat_map(|text| text.split(|byte| *byte == b'\n')) {
        let Ok(refusal) = serde_json::from_slice::<Value>(refusal) else { continue };
        let head = format!("HTTP/1.1 {} No\r\nRetry-After: 1\r\n\r\n", refusal["status"]);
        let refused = [head.as_bytes(), refusal["body"].as_str().unwrap_or_default().as_bytes()].concat();
        seeds.push([&answers[..], &[refused]].concat().join(NEXT));
    }
    for resource in Resource::ALL {
        let of = |it: &&(Resource, ApiGroup, Vec<Value>)| it.0 == resource && (it.1 == group || resource.is_core());
        let one: Vec<Value> = items.iter().filter(of).flat_map(|it| it.2.iter().take(1)).take(1).cloned().collect();
        answers.push(answer(json!({"metadata": {"resourceVersion": "5", "continue": ""}, "items": one})));
    }
    seeds.push(answers.join(NEXT));
    seeds
}

/// What a watch of blocks says before it ends.
pub(crate) fn lines(input: &[u8]) -> String {
    let lines = [OK.as_bytes(), input].concat();
    let answers = move |request: &str| {
        let body = match request.split_whitespace().nth(1).unwrap_or_default() {
            "/apis" => json!({"groups": [{"name": "crd.projectcalico.org"}]}),
            "/apis/crd.projectcalico.org/v1" => json!({"resources": [{"name": "ipamblocks"}]}),
            path if path.contains("watch=true") => return path.contains("ipamblocks").then(|| lines.clone()),
            _ => json!({"metadata": {"resourceVersion": "5"}, "items": []}),
        };
        Some(format!("{OK}{body}").into_bytes())
    };
    ask(answers, async |config| said_until_lost(|events, lookups, stopped| run(config, events, lookups, stopped)).await)
}

pub(crate) fn recorded_lines() -> Vec<Vec<u8>> {
    let recorded = recorded("watch.ndjson");
    let of_blocks = |line: &&[u8]| line.windows(9).any(|window| window == b"IPAMBlock");
    let lines = recorded.iter().flat_map(|text| text.split_inclusive(|byte| *byte == b'\n').filter(of_blocks));
    let mut seeds: Vec<Vec<u8>> = lines.map(<[u8]>::to_vec).collect();
    seeds.push(seeds.concat());
    seeds
}

pub(crate) const LINES: &[&str] = &[
    "{\"type\":\"ADDED\",\"object\":",
    "{\"type\":\"DELETED\",\"object\":",
    "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"7\"}}}\n",
    "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410}}\n",
    "{\"type\":\"ERROR\",\"object\":{\"code\":429,\"details\":{\"retryAfterSeconds\":1}}}\n",
    "\"resourceVersion\":\"6\"",
    "\"cidr\":\"10.0.0.0/26\"",
    "\"deleted\":true",
    "}}\n",
];

pub(crate) const ANSWERS: &[&str] = &[
    "\n---\n",
    "HTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.1 401 \r\n\r\n",
    "HTTP/1.1 410 Gone\r\n\r\n{\"kind\":\"Status\",\"code\":410}",
    "HTTP/1.1 429 \r\nRetry-After: 1\r\n\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Content-Length: 5\r\n",
    "Content-Encoding: gzip\r\n",
    "{\"metadata\":{\"resourceVersion\":\"5\",\"continue\":\"a\"},\"items\":null}",
    "\"continue\":\"a\"",
    "\"remainingItemCount\":1",
    "{\"groups\":[{\"name\":\"projectcalico.org\"},{\"name\":\"crd.projectcalico.org\"}]}",
    "\"spec\":{\"datastoreReady\":true}",
];

/// A kubeconfig, and whether its certificates can be used.
pub(crate) fn kubeconfig(input: &[u8]) -> String {
    static FILE: LazyLock<tempfile::NamedTempFile> = LazyLock::new(|| tempfile::NamedTempFile::new().unwrap());
    std::fs::write(FILE.path(), input).unwrap();
    let path = FILE.path().to_str().map(str::to_owned);
    match Settings::from_environment(&|name| path.clone().filter(|_| name == "KUBECONFIG")) {
        // The system's authorities are many, whatever the input.
        Ok(settings) if settings.tls.ca.is_none() => format!("{settings:?}"),
        Ok(settings) => format!("{settings:?} {:?}", settings.check()),
        Err(error) => error.to_string(),
    }
}

pub(crate) const KUBECONFIG: &[&str] = &[
    "apiVersion: v1\nkind: Config\ncurrent-context: a\n",
    "contexts:\n- name: a\n  context: {cluster: b, user: c}\n",
    "clusters:\n- name: b\n  cluster:\n    server: https://127.0.0.1:6443\n",
    // A PEM block whose two bytes are no certificate.
    "    certificate-authority-data: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1BQT0KLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo=\n",
    "    insecure-skip-tls-verify: true\n",
    "    tls-server-name: a\n",
    "users:\n- name: c\n  user:\n    token: a\n",
    "    client-certificate-data: LS0tLS1CRUdJTiA=\n    client-key-data: LS0tLS1CRUdJTiA=\n",
    "    exec: {apiVersion: client.authentication.k8s.io/v1, command: a, provideClusterInfo: true, env: [{name: a, value: b}]}\n",
    "    username: a\n    password: b\n",
    "&a [*a]",
    "<<: *a",
];
