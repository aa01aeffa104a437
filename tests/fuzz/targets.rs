//! What reads what comes from outside. Each says in words what it made of it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use calico_exporter::metrics::{Published, Vitals};
use calico_exporter::model::Selector;
use calico_exporter::source::etcd::decode;
use calico_exporter::source::etcd::settings::Settings;
#[cfg(feature = "kubernetes")]
use calico_exporter::source::kubernetes::settings::{Settings as Api, Written};
use calico_exporter::source::{file, iproute, netlink};
use calico_exporter::state::Event;
use calico_exporter::web::{Access, Server, ServerConfig, WebConfig, WebState};

use crate::etcd;
#[cfg(feature = "kubernetes")]
use crate::kubernetes;

pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// Reads it and says what it says.
    pub(crate) read: fn(&[u8]) -> String,
    /// Inputs to begin with, beside those in `tests/corpus`.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
    /// What means something in it.
    pub(crate) words: &'static [&'static str],
    /// Bytes that may be taken for one of input.
    pub(crate) factor: usize,
    /// Executions of a short run, where they are slow.
    pub(crate) short: u64,
}

impl Target {
    /// What may be taken whatever the input. gRPC makes room for a message as soon as a frame says how long it is, up to
    /// the 16 MiB that are accepted of etcd, and a few pages are on their way at once.
    pub(crate) fn base(&self) -> usize {
        match self.name {
            "etcd-frames" => 64 << 20,
            _ => 0,
        }
    }
}

const JSON: &[&str] = &[
    "\"cidr\":",
    "\"affinity\":\"host:a\"",
    "\"allocations\":[",
    "\"unallocated\":",
    "\"attributes\":",
    "\"handle_id\":",
    "\"secondary\":",
    "\"sequenceNumber\":",
    "\"strictAffinity\":true",
    "\"deleted\":true",
    "\"releasedAt\":",
    "\"state\":",
    "\"spec\":{",
    "\"metadata\":{",
    "\"kind\":\"IPPool\"",
    "\"blockSize\":",
    "\"nodeSelector\":\"all()\"",
    "null,",
    "[",
    "{",
    "\"10.0.0.0/26\"",
    "\"fd00::/122\"",
    "\"2026-01-01T00:00:00Z\"",
    "\\ud800",
    "\\u0000",
];

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "etcd", read: values, seeds: etcd_seeds, words: JSON, factor: 64, short: u64::MAX },
    Target { name: "etcd-frames", read: etcd::frames, seeds: etcd::frames_seeds, words: &[], factor: 256, short: 300 },
    Target { name: "dump", read: dump, seeds: dump_seeds, words: JSON, factor: 64, short: u64::MAX },
    Target {
        name: "routes",
        read: routes,
        seeds: || recorded(".routes.json"),
        words: IPROUTE,
        factor: 128,
        short: u64::MAX,
    },
    Target {
        name: "links",
        read: links,
        seeds: || recorded(".links.json"),
        words: IPROUTE,
        factor: 128,
        short: u64::MAX,
    },
    Target { name: "tunnels", read: tunnels, seeds: tunnels_files, words: IPROUTE, factor: 128, short: 1_000 },
    Target { name: "netlink", read: datagram, seeds: datagrams, words: &[], factor: 64, short: u64::MAX },
    Target {
        name: "selector",
        read: selector,
        seeds: || lines(SELECTORS),
        words: SELECTORS,
        factor: 256,
        short: u64::MAX,
    },
    Target { name: "web-config", read: web_config, seeds: || lines(WEB), words: WEB, factor: 512, short: 5_000 },
    Target {
        name: "calicoctl",
        read: calicoctl,
        seeds: || lines(CALICOCTL),
        words: CALICOCTL,
        factor: 512,
        short: 2_000,
    },
    Target { name: "http", read: http, seeds: || lines(HTTP), words: HTTP, factor: 64, short: 1_000 },
    #[cfg(feature = "kubernetes")]
    Target {
        name: "kubernetes",
        read: kubernetes::object,
        seeds: kubernetes::objects,
        words: JSON,
        factor: 64,
        short: u64::MAX,
    },
    #[cfg(feature = "kubernetes")]
    Target {
        name: "kubernetes-answers",
        read: kubernetes::answers,
        seeds: kubernetes::all_answers,
        words: kubernetes::ANSWERS,
        factor: 64,
        short: 500,
    },
    #[cfg(feature = "kubernetes")]
    Target {
        name: "kubernetes-watch",
        read: kubernetes::lines,
        seeds: kubernetes::recorded_lines,
        words: kubernetes::LINES,
        factor: 64,
        short: 500,
    },
    #[cfg(feature = "kubernetes")]
    Target {
        name: "kubeconfig",
        read: kubernetes::kubeconfig,
        seeds: || lines(kubernetes::KUBECONFIG),
        words: kubernetes::KUBECONFIG,
        factor: 512,
        short: 2_000,
    },
];

const IPROUTE: &[&str] = &[
    "\"dst\":\"default\"",
    "\"gateway\":",
    "\"dev\":\"eth0\"",
    "\"nexthops\":[",
    "\"flags\":[\"onlink\"]",
    "\"protocol\":",
    "\"table\":",
    "\"metric\":",
    "\"type\":\"blackhole\"",
    "\"addr_info\":[",
    "\"linkinfo\":{",
    "\"via\":{",
    "\"lladdr\":\"66:00:00:00:00:01\"",
    "\"mac\":\"66:00:00:00:00:01\"",
    "\"ifname\":\"vxlan.calico\"",
    "\"state\":[\"PERMANENT\"]",
    "\"priority\":32766",
    "\"src\":\"all\"",
    "[{",
    "},{",
];
const SELECTORS: &[&str] = &[
    "all()",
    "a == 'b'",
    "has(a) && !has(b)",
    "a in {'b', \"c\"} || global()",
    "!(a != 'b')",
    "a contains 'b'",
    "a starts with 'b'",
    "a not in {}",
    "((",
    "projectcalico.org/x",
];
const WEB: &[&str] = &[
    "tls_server_config:\n  cert_file: a\n  key_file: b\n",
    "  client_auth_type: RequireAndVerifyClientCert\n",
    "  client_allowed_sans: [a]\n",
    "  cipher_suites: [TLS_AES_128_GCM_SHA256]\n",
    "  curve_preferences: [X25519]\n",
    "http_server_config:\n  http2: no\n  headers:\n    X-Frame-Options: deny\n",
    "basic_auth_users:\n  a: $2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi\n",
    "rate_limit:\n  interval: 1m0.5s\n  burst: 3\n",
    "&a [*a]",
    "<<: *a",
    "!!binary ",
    "? ",
    "--- ",
    "|\n",
];
const CALICOCTL: &[&str] = &[
    "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\nspec:\n  datastoreType: etcdv3\n",
    "  etcdEndpoints: https://a:2379,b:2379\n",
    "  etcdKeyFile: /a\n",
    "  etcdPassword: a\n",
    "  etcdCACert: |\n    -----BEGIN \n",
    "  datastoreType: kubernetes\n",
    "  k8sAPIEndpoint: https://a:6443\n  k8sAPIToken: a\n",
    "  kubeconfigInline: |\n    current-context: a\n",
    "  usePodCIDR: true\n  calicoAPIGroup: projectcalico.org/v3\n",
];
const HTTP: &[&str] = &[
    "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n",
    "HEAD / HTTP/1.0\r\n\r\n",
    "GET /host?name=a&from=1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "Accept: application/openmetrics-text;q=0.5,*/*\r\n",
    "Accept-Encoding: gzip;q=0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Content-Length: 5\r\n",
    "Expect: 100-continue\r\n",
    "Connection: upgrade\r\nUpgrade: h2c\r\n",
    "%00%ff",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
];

fn lines(words: &[&str]) -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    seeds.push(words.concat().into_bytes());
    seeds
}

/// Recordings whose name ends so.
pub(crate) fn recorded(ending: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(std::fs::read(path).unwrap());
            }
        }
    }
    found
}

/// A key, a line's end, and its value.
fn values(input: &[u8]) -> String {
    let (key, value) = input.split_at(input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len()));
    let value = value.get(1..).unwrap_or_default();
    format!("{:?} {:?}", decode::event(key, value), decode::deletion(key))
}

fn etcd_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for dump in recorded("etcd.json") {
        let dump: serde_json::Value = serde_json::from_slice(&dump).unwrap();
        for kv in dump["kvs"].as_array().unwrap() {
            let bytes = |field: &str| STANDARD.decode(kv[field].as_str().unwrap_or_default()).unwrap();
            seeds.push([bytes("key"), bytes("value")].join(&b'\n'));
        }
    }
    // A few of each are enough to begin with.
    seeds.sort();
    seeds.dedup();
    seeds.into_iter().step_by(7).collect()
}

fn dump(input: &[u8]) -> String {
    match file::datastore_from(Path::new("dump"), input) {
        Ok(dump) => format!("{dump:?}"),
        Err(error) => error.to_string(),
    }
}

fn dump_seeds() -> Vec<Vec<u8>> {
    let kv = |(key, value): (&str, &str)| {
        format!("{{\"key\":\"{}\",\"value\":\"{}\",\"mod_revision\":1}}", STANDARD.encode(key), STANDARD.encode(value))
    };
    let kvs: Vec<String> = [
        ("/calico/ipam/v2/config", "{\"StrictAffinity\":true}"),
        ("/calico/ipam/v2/host/a/ipv4/block/10.0.0.0-26", "{\"state\":\"confirmed\"}"),
    ]
    .map(kv)
    .to_vec();
    vec![format!("{{\"header\":{{\"revision\":5}},\"kvs\":[{}],\"count\":2}}", kvs.join(",")).into_bytes()]
}

fn routes(input: &[u8]) -> String {
    match iproute::routes(Path::new("routes"), input) {
        Ok(routes) => format!("{routes:?}"),
        Err(error) => error.to_string(),
    }
}

fn links(input: &[u8]) -> String {
    match iproute::links(Path::new("links"), input) {
        Ok(links) => format!("{links:?}"),
        Err(error) => error.to_string(),
    }
}

/// What one file says as neighbours, as forwarding entries and as policy rules.
fn tunnels(input: &[u8]) -> String {
    static FILES: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("routes"), "[]").unwrap();
        let mut links: serde_json::Value = serde_json::from_slice(&recorded("vx1.links.json").remove(0)).unwrap();
        // Read with each input: no more than the entries need.
        links.as_array_mut().unwrap().retain(|link| link["ifname"] == "vxlan.calico");
        std::fs::write(folder.path().join("links"), links.to_string()).unwrap();
        folder
    });
    let at = |name: &str| FILES.path().join(name);
    std::fs::write(at("file"), input).unwrap();
    let of = iproute::Files { routes: at("routes"), links: Some(at("links")), ..iproute::Files::default() };
    let said = [
        iproute::Files { neighbours: Some(at("file")), ..of.clone() },
        iproute::Files { fdb: Some(at("file")), ..of.clone() },
        iproute::Files { rules: vec![at("file")], ..of },
    ]
    .map(|files| match files.events() {
        Ok(events) => format!("{:?}", events.iter().filter(|it| !matches!(it, Event::Link(_))).collect::<Vec<_>>()),
        Err(error) => error.to_string(),
    });
    said.join("; ")
}

fn tunnels_files() -> Vec<Vec<u8>> {
    [".neigh.json", ".fdb.json", ".rules.json", ".rules6.json"].into_iter().flat_map(recorded).collect()
}

fn datagram(input: &[u8]) -> String {
    format!("{:?}", netlink::understood(input))
}

/// What the kernel writes, by hand: header, what the message is of, attributes (`linux/{netlink,rtnetlink}.h`).
fn datagrams() -> Vec<Vec<u8>> {
    let attribute = |kind: u16, value: &[u8]| {
        let mut bytes = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let message = |kind: u16, of: &[u8], attributes: &[Vec<u8>]| {
        let body = [of, &attributes.concat()].concat();
        let mut bytes = ((body.len() + 16) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([2, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(body);
        bytes
    };
    let hop = [&16u16.to_ne_bytes()[..], &[0, 0], &3i32.to_ne_bytes(), &attribute(5, &[10, 0, 0, 1])].concat();
    let route = message(
        24,
        &[2, 26, 0, 0, 254, 80, 0, 1, 0, 0, 0, 0],
        &[
            attribute(1, &[10, 0, 0, 64]),
            attribute(4, &3u32.to_ne_bytes()),
            attribute(9, &hop),
            attribute(15, &[254, 0, 0, 0]),
        ],
    );
    let device = message(
        16,
        &[0, 0, 1, 0, 3, 0, 0, 0, 0x43, 0x10, 1, 0, 0, 0, 0, 0],
        &[
            attribute(3, b"vxlan.calico\0"),
            attribute(4, &1450u32.to_ne_bytes()),
            attribute(18, &attribute(1, b"vxlan\0")),
        ],
    );
    let address =
        message(20, &[2, 32, 0, 0, 3, 0, 0, 0], &[attribute(1, &[10, 0, 0, 1]), attribute(2, &[10, 0, 0, 1])]);
    let hardware = attribute(2, &[0x66, 0, 0, 0, 0, 1]);
    let [neighbour, fdb] = [2, 7].map(|family| {
        let of = [family, 0, 0, 0, 3, 0, 0, 0, 0x80, 0, 0, 1];
        message(28, &of, &[attribute(1, &[10, 0, 0, 2]), hardware.clone()])
    });
    let of_rule = [2, 24, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0];
    let rule = message(
        32,
        &of_rule,
        &[attribute(1, &[10, 0, 0, 0]), attribute(6, &100u32.to_ne_bytes()), attribute(15, &[254, 0, 0, 0])],
    );
    let done = message(3, &[0, 0, 0, 0], &[]);
    vec![[route.clone(), device.clone(), done].concat(), route, device, address, neighbour, fdb, rule]
}

fn selector(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    match Selector::parse(&text) {
        Ok(selector) => format!("{selector:?} {}", selector.matches(&[("a", "b")].into_iter().collect())),
        Err(error) => error.to_string(),
    }
}

fn web_config(input: &[u8]) -> String {
    match Access::understand(input) {
        Ok(()) => "understood".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn calicoctl(input: &[u8]) -> String {
    static FILE: LazyLock<tempfile::NamedTempFile> = LazyLock::new(|| tempfile::NamedTempFile::new().unwrap());
    std::fs::write(FILE.path(), input).unwrap();
    let said = match Settings::from_calicoctl(FILE.path()) {
        Ok(settings) => format!("{settings:?}"),
        Err(error) => error.to_string(),
    };
    #[cfg(feature = "kubernetes")]
    let said = format!("{said} {:?} {:?}", Written::read(FILE.path()), Api::from_calicoctl(FILE.path(), &|_| None));
    said
}

/// A whole server, on a thread of its own; after each input it still answers.
fn http(input: &[u8]) -> String {
    static SERVER: LazyLock<SocketAddr> = LazyLock::new(|| {
        let config = ServerConfig { first_timeout: Duration::from_millis(200), ..ServerConfig::default() };
        let bound = Server::bind(&["127.0.0.1:0".parse().unwrap()], config).unwrap();
        let address = bound.addresses()[0];
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let published = Published::starting("h1".into(), Vec::new());
                let (_publish, published) = tokio::sync::watch::channel(Arc::new(published));
                let state = WebState::new(WebConfig::default(), published, Arc::new(Vitals::default()));
                bound.serve(Arc::new(state), std::future::pending()).await.unwrap();
            });
        });
        address
    });
    let ask = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(*SERVER).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // It may be closed before all of it is sent.
        let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer).into_owned();
        if text.is_empty() { format!("nothing ({read:?})") } else { text }
    };
    let answer = ask(input);
    let health = ask(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(health.starts_with("HTTP/1.1 200"), "it does not answer any more: {health}");
    answer.lines().next().unwrap_or("no answer").to_owned()
}
