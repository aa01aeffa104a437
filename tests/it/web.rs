//! The server on a real port, spoken to byte by byte.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use calico_exporter::audit::{HostFigures, IpamReport, Report};
use calico_exporter::metrics::{Format, Published, SourceStatus, Vitals};
use calico_exporter::state::Side;
use calico_exporter::web::{Bound, ListenAddress, Server, ServerConfig, WebConfig, WebState};
use flate2::read::GzDecoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::exposition::parse;
use crate::sample::{published, report};

const HOUR: Duration = Duration::from_secs(3600);

struct Served {
    address: SocketAddr,
    publish: watch::Sender<Arc<Published>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

fn bind(config: ServerConfig) -> Bound {
    Server::bind(&["127.0.0.1:0".parse().unwrap()], config).unwrap()
}

fn serve_with(web: WebConfig, server: ServerConfig, first: Arc<Published>) -> Served {
    let bound = bind(server);
    let address = bound.addresses()[0];
    let (publish, published) = watch::channel(first);
    let state = Arc::new(WebState::new(web, published, Arc::new(Vitals::default())));
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(bound.serve(state, async {
        let _ = stopped.await;
    }));
    Served { address, publish, stop, task }
}

fn serve(first: Arc<Published>) -> Served {
    serve_with(WebConfig::default(), ServerConfig::default(), first)
}

#[derive(Debug)]
struct Response {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Response {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// Reads one response; `head` has none of the body that its length tells of.
async fn read(stream: &mut TcpStream, head: bool) -> Response {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "closed before the head was complete");
    };
    let mut body = bytes.split_off(end + 4);
    let text = String::from_utf8(bytes).unwrap();
    let mut lines = text.trim_end().split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: BTreeMap<String, String> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_string()))
        .collect();
    let length: usize = if head { 0 } else { headers["content-length"].parse().unwrap() };
    while body.len() < length {
        assert_ne!(stream.read_buf(&mut body).await.unwrap(), 0, "closed before the body was complete");
    }
    assert_eq!(body.len(), length, "more than one response");
    Response { status, headers, body }
}

async fn ask(served: &Served, method: &str, path: &str, headers: &str) -> Response {
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    send(&mut stream, method, path, headers).await;
    read(&mut stream, method == "HEAD").await
}

async fn send(stream: &mut TcpStream, method: &str, path: &str, headers: &str) {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
}

async fn get(served: &Served, path: &str) -> Response {
    ask(served, "GET", path, "").await
}

/// Enough hosts for a body that no socket buffer holds.
fn large() -> Arc<Published> {
    let host = |number| ((format!("host-{number}").into(), "main".into()), HostFigures::default());
    let hosts = (0..12_000).map(host).collect();
    published(Report { ipam: Some(IpamReport { hosts, ..IpamReport::default() }), ..Report::default() })
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(10), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn metrics_in_both_formats() {
    let served = serve(published(report()));
    let text = get(&served, "/metrics").await;
    assert_eq!(text.status, 200);
    assert_eq!(text.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(text.headers["vary"], "Accept, Accept-Encoding");
    assert!(!text.headers.contains_key("content-encoding"));
    let shown = parse(text.text(), Format::Text);
    assert_eq!(shown.sum("calico_route_faults"), 3.0);
    assert_eq!(shown.value("calico_exporter_http_requests_total", &[("code", "200")]), Some(0.0));

    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let open = ask(&served, "GET", "/metrics?x=y", accept).await;
    assert_eq!(open.headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let shown = parse(open.text(), Format::OpenMetrics);
    assert_eq!(shown.value("calico_exporter_http_requests_total", &[("code", "200")]), Some(1.0));
}

#[tokio::test]
async fn compressed() {
    let served = serve(published(report()));
    for _ in 0..2 {
        let response = ask(&served, "GET", "/metrics", "Accept-Encoding: deflate, gzip\r\n").await;
        assert_eq!(response.headers["content-encoding"], "gzip");
        let mut text = String::new();
        GzDecoder::new(response.body.as_slice()).read_to_string(&mut text).unwrap();
        assert_eq!(parse(&text, Format::Text).sum("calico_route_faults"), 3.0);
    }
}

#[tokio::test]
async fn before_a_report_metrics_and_health_answer_and_readiness_says_what_is_missing() {
    let etcd = SourceStatus::waiting("etcd", Side::Datastore);
    let netlink = SourceStatus::waiting("netlink", Side::Kernel);
    let starting = Published::starting("h1".into(), vec![etcd, netlink]);
    let served = serve(Arc::new(starting.clone()));
    assert_eq!(get(&served, "/metrics").await.status, 200);
    assert_eq!(get(&served, "/healthz").await.status, 200);
    assert_eq!(get(&served, "/").await.status, 200);
    let ready = get(&served, "/readyz").await;
    assert_eq!((ready.status, ready.text()), (503, "waiting for etcd, netlink\n"));

    let mut next = starting;
    next.sources[0].synced_once = true;
    served.publish.send_replace(Arc::new(next.clone()));
    let ready = get(&served, "/readyz").await;
    assert_eq!((ready.status, ready.text()), (503, "waiting for netlink\n"));

    // Ready stays ready: a source that is lost later is told by its own series.
    next.sources[1].enabled = false;
    next.sources[0].why_lost = Some("connection refused".to_string());
    served.publish.send_replace(Arc::new(next));
    assert_eq!(get(&served, "/readyz").await.status, 200);

    served.publish.send_replace(Arc::new(Published::starting("h1".into(), Vec::new())));
    assert_eq!(get(&served, "/readyz").await.status, 503);
}

#[tokio::test]
async fn what_is_not_there_and_what_is_not_done() {
    let served = serve(published(report()));
    for path in ["/metric", "/metrics/", "/api/v1/findings/", "/%6detrics", "/../metrics", "/favicon.ico"] {
        assert_eq!(get(&served, path).await.status, 404, "{path}");
    }
    for path in ["/metrics", "/", "/healthz", "/readyz", "/api/v1/findings"] {
        let response = ask(&served, "POST", path, "Content-Length: 0\r\n").await;
        assert_eq!((response.status, response.headers["allow"].as_str()), (405, "GET, HEAD"), "{path}");
    }
    let shown = parse(get(&served, "/metrics").await.text(), Format::Text);
    assert_eq!(shown.value("calico_exporter_http_requests_total", &[("code", "404")]), Some(6.0));
    assert_eq!(shown.value("calico_exporter_http_requests_total", &[("code", "405")]), Some(5.0));
}

#[tokio::test]
async fn head_is_get_without_body_and_the_connection_goes_on() {
    let served = serve(published(report()));
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    for path in ["/", "/healthz", "/api/v1/findings"] {
        send(&mut stream, "HEAD", path, "").await;
        let head = read(&mut stream, true).await;
        send(&mut stream, "GET", path, "").await;
        let get = read(&mut stream, false).await;
        assert_eq!((head.status, &head.headers["content-length"]), (200, &get.headers["content-length"]), "{path}");
        assert_eq!(head.headers["content-type"], get.headers["content-type"]);
    }
    send(&mut stream, "HEAD", "/metrics", "").await;
    assert!(read(&mut stream, true).await.headers["content-length"].parse::<u32>().unwrap() > 1000);
}

#[tokio::test]
async fn the_page_runs_nothing_and_findings_are_the_contract() {
    let served = serve(published(report()));
    let page = get(&served, "/").await;
    assert!(page.headers["content-security-policy"].starts_with("default-src 'none'"));
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
    assert!(page.text().contains("calico-exporter on <b>h1</b>") && page.text().contains("10.204.1.64/26"));
    assert!(!page.text().contains("<script") && !page.text().contains("style=\""));
    let style = get(&served, "/style.css").await;
    assert_eq!((style.status, style.headers["content-type"].as_str()), (200, "text/css; charset=utf-8"));

    let findings = get(&served, "/api/v1/findings").await;
    assert_eq!(findings.headers["content-type"], "application/json");
    let json: serde_json::Value = serde_json::from_slice(&findings.body).unwrap();
    assert_eq!(json["schema"], 2);
    assert_eq!(json["in_sync"], serde_json::json!({"datastore": true, "kernel": false}));
    assert_eq!(json["findings"].as_array().unwrap().len(), report().findings.len());
}

#[tokio::test]
async fn another_telemetry_path() {
    let web = WebConfig { telemetry_path: "/".to_string(), ..WebConfig::default() };
    let served = serve_with(web, ServerConfig::default(), published(report()));
    assert!(get(&served, "/").await.text().starts_with("# HELP"));
    assert_eq!(get(&served, "/metrics").await.status, 404);
}

#[tokio::test]
async fn a_client_that_never_ends_its_head_is_left() {
    let server = ServerConfig { header_timeout: Duration::from_millis(200), ..ServerConfig::default() };
    let served = serve_with(WebConfig::default(), server, published(report()));
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: te").await.unwrap();
    let start = Instant::now();
    let mut rest = Vec::new();
    // It may be told why, and is closed in any case.
    let _ = timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await.expect("still open");
    assert!(start.elapsed() >= Duration::from_millis(150) && !rest.starts_with(b"HTTP/1.1 200"));
    assert_eq!(get(&served, "/healthz").await.status, 200);
}

#[tokio::test]
async fn a_head_without_end_is_refused_before_it_fills_memory() {
    let served = serve(published(report()));
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let line = format!("X-Long: {}\r\n", "x".repeat(4096));
    stream.write_all(b"GET /metrics HTTP/1.1\r\n").await.unwrap();
    let endless = async { while stream.write_all(line.as_bytes()).await.is_ok() {} };
    timeout(Duration::from_secs(10), endless).await.expect("it is read for ever");
    assert_eq!(get(&served, "/healthz").await.status, 200);
}

#[tokio::test]
async fn more_requests_than_allowed_are_refused_and_health_is_not() {
    let web = WebConfig { max_requests: 1, ..WebConfig::default() };
    let served = serve_with(web, ServerConfig { stalled: HOUR, ..ServerConfig::default() }, large());
    let mut slow = TcpStream::connect(served.address).await.unwrap();
    send(&mut slow, "GET", "/metrics", "").await;
    // Its answer has begun, and does not fit into what the sockets hold.
    slow.readable().await.unwrap();
    let refused = get(&served, "/metrics").await;
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("1 requests"), "{}", refused.text());
    assert_eq!(get(&served, "/").await.status, 503);
    assert_eq!(get(&served, "/healthz").await.status, 200);
    assert_eq!(get(&served, "/readyz").await.status, 503, "netlink is not there in this sample");
    let whole = read(&mut slow, false).await;
    assert!(whole.text().ends_with('\n') && whole.text().contains("process_open_fds"));
    eventually("served again", async || get(&served, "/metrics").await.status == 200).await;
}

#[tokio::test]
async fn a_reader_that_stops_reading_does_not_keep_its_place() {
    let web = WebConfig { max_requests: 1, ..WebConfig::default() };
    let write_timeout = Duration::from_secs(3);
    let server = ServerConfig { write_timeout, stalled: HOUR, ..ServerConfig::default() };
    let served = serve_with(web, server, large());
    let mut stalled = TcpStream::connect(served.address).await.unwrap();
    send(&mut stalled, "GET", "/metrics", "").await;
    stalled.readable().await.unwrap();
    assert_eq!(get(&served, "/metrics").await.status, 503);
    eventually("given up", async || get(&served, "/").await.status == 200).await;
}

/// Where a leave is wanted, nobody waits for a reader who does not read: neither for its leave nor for its place.
#[tokio::test]
async fn a_reader_that_stops_reading_gives_way_to_somebody_who_waits() {
    let server = ServerConfig {
        max_connections: 1,
        write_timeout: HOUR,
        stalled: Duration::from_millis(300),
        ..ServerConfig::default()
    };
    for max_connections in [1, 2] {
        let web = WebConfig { max_requests: 1, ..WebConfig::default() };
        let served = serve_with(web, ServerConfig { max_connections, ..server.clone() }, large());
        let mut stalled = TcpStream::connect(served.address).await.unwrap();
        send(&mut stalled, "GET", "/metrics", "").await;
        stalled.readable().await.unwrap();
        let answer = timeout(Duration::from_secs(2), get(&served, "/api/v1/findings")).await.expect("an answer");
        assert_eq!(answer.status, 200);
        let mut rest = Vec::new();
        let _ = timeout(Duration::from_secs(5), stalled.read_to_end(&mut rest)).await.expect("still open");
    }
}

#[tokio::test]
async fn stopping_finishes_what_is_being_served_and_closes_what_is_idle() {
    let served = serve(large());
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    send(&mut idle, "GET", "/healthz", "").await;
    read(&mut idle, false).await;
    let mut busy = TcpStream::connect(served.address).await.unwrap();
    send(&mut busy, "GET", "/metrics", "").await;
    busy.readable().await.unwrap();

    served.stop.send(()).unwrap();
    assert_eq!(idle.read(&mut [0]).await.unwrap(), 0, "an idle connection is closed");
    eventually("refused", async || TcpStream::connect(served.address).await.is_err()).await;
    assert!(!served.task.is_finished(), "an answer is still being read");
    let whole = read(&mut busy, false).await;
    assert!(whole.text().ends_with('\n') && whole.text().contains("process_open_fds"));
    timeout(Duration::from_secs(2), served.task).await.expect("done as soon as the answer is").unwrap().unwrap();
}

#[tokio::test]
async fn stopping_does_not_wait_for_ever() {
    let server = ServerConfig { drain_timeout: Duration::from_millis(200), ..ServerConfig::default() };
    let served = serve_with(WebConfig::default(), server, large());
    let mut busy = TcpStream::connect(served.address).await.unwrap();
    send(&mut busy, "GET", "/metrics", "").await;
    busy.readable().await.unwrap();
    served.stop.send(()).unwrap();
    timeout(Duration::from_secs(2), served.task).await.expect("gives up").unwrap().unwrap();
}

#[tokio::test]
async fn an_idle_connection_gives_way_to_a_new_one() {
    let server = ServerConfig { max_connections: 2, ..ServerConfig::default() };
    let served = serve_with(WebConfig::default(), server, published(report()));
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    send(&mut idle, "GET", "/healthz", "").await;
    read(&mut idle, false).await;
    // Whoever opens many and says nothing, or never ends a head, keeps nobody out.
    let mut silent = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: te").await.unwrap();
        silent.push(stream);
    }
    assert_eq!(timeout(Duration::from_secs(5), get(&served, "/metrics")).await.expect("answered").status, 200);
    assert_eq!(timeout(Duration::from_secs(5), idle.read(&mut [0])).await.expect("closed").unwrap(), 0);
}

#[tokio::test]
async fn connections_that_are_answered_do_not_give_way() {
    let server = ServerConfig { max_connections: 1, ..ServerConfig::default() };
    let served = serve_with(WebConfig::default(), server, large());
    let mut first = TcpStream::connect(served.address).await.unwrap();
    send(&mut first, "GET", "/metrics", "").await;
    first.readable().await.unwrap();
    let mut second = TcpStream::connect(served.address).await.unwrap();
    send(&mut second, "GET", "/healthz", "").await;
    let early = timeout(Duration::from_millis(200), second.readable()).await;
    assert!(early.is_err(), "answered beside the first");
    assert!(read(&mut first, false).await.text().contains("process_open_fds"));
    assert_eq!(timeout(Duration::from_secs(5), read(&mut second, false)).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_reader_that_takes_for_ever_is_left() {
    let server = ServerConfig { answer_timeout: Duration::from_secs(3), stalled: HOUR, ..ServerConfig::default() };
    let served = serve_with(WebConfig { max_requests: 1, ..WebConfig::default() }, server, large());
    let mut slow = TcpStream::connect(served.address).await.unwrap();
    send(&mut slow, "GET", "/metrics", "").await;
    slow.readable().await.unwrap();
    assert_eq!(get(&served, "/metrics").await.status, 503);
    // It takes a little now and then, for ever.
    let dripping = async {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let _ = slow.read(&mut [0; 4096]).await;
        }
    };
    tokio::select! {
        () = dripping => {}
        () = eventually("served again", async || get(&served, "/metrics").await.status == 200) => {}
    }
}

/// As `nc` does at the end of its input.
#[tokio::test]
async fn a_client_that_has_said_all_and_says_so_is_answered() {
    let served = serve(published(report()));
    for _ in 0..50 {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        send(&mut stream, "GET", "/metrics", "Connection: close\r\n").await;
        stream.shutdown().await.unwrap();
        assert_eq!(read(&mut stream, false).await.status, 200);
    }
}

#[tokio::test]
async fn a_request_with_a_body_is_refused_and_its_body_is_no_request() {
    let served = serve(published(report()));
    for headers in ["Content-Length: 31\r\n", "Transfer-Encoding: chunked\r\n"] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        send(&mut stream, "GET", "/metrics", headers).await;
        let response = read(&mut stream, false).await;
        assert_eq!((response.status, response.headers["connection"].as_str()), (413, "close"), "{headers}");
        // It may be closed before or after this is taken.
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut rest = Vec::new();
        let _ = timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await.expect("closed");
        assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    }
    let shown = parse(get(&served, "/metrics").await.text(), Format::Text);
    assert_eq!(shown.value("calico_exporter_http_requests_total", &[("code", "413")]), Some(2.0));
}

#[tokio::test]
async fn several_addresses_and_all_interfaces() {
    let addresses: Vec<ListenAddress> = vec![":0".parse().unwrap(), "localhost:0".parse().unwrap()];
    let bound = Server::bind(&addresses, ServerConfig::default()).unwrap();
    let ports: Vec<u16> = bound.addresses().iter().map(SocketAddr::port).collect();
    let (_publish, published) = watch::channel(published(report()));
    let state = Arc::new(WebState::new(WebConfig::default(), published, Arc::new(Vitals::default())));
    let serving = tokio::spawn(bound.serve(state, std::future::pending()));
    for port in ports {
        let mut stream = match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => stream,
            Err(_) => TcpStream::connect(("::1", port)).await.unwrap(),
        };
        send(&mut stream, "GET", "/healthz", "").await;
        assert_eq!(read(&mut stream, false).await.status, 200);
    }
    serving.abort();
}
