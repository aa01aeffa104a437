//! Words of others, and readers of the log who do not read: neither steers nor stops anything.

use std::io::Write;
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use calico_exporter::model::steers;
use serde_json::{Value, json};

use crate::support::etcd::free_port;
use crate::support::exporter::{Exporter, program, run};

/// ECMA-48 in seven and in eight bits, DEL, and a mark that turns text around.
const EVIL: &str = "h\u{1b}]0;x\u{7}\u{9b}2J\u{7f}\u{202e}9";

/// The recorded cluster with a host of that name, which claims a block, and has a Node.
fn hostile() -> tempfile::NamedTempFile {
    let text = std::fs::read_to_string("tests/fixtures/three-hosts/etcd.json").unwrap();
    let mut dump: Value = serde_json::from_str(&text).unwrap();
    let mut put = |key: String, value: Value| {
        let [key, value] = [key, value.to_string()].map(|text| STANDARD.encode(text));
        dump["kvs"].as_array_mut().unwrap().push(json!({"key": key, "value": value}));
    };
    put(
        format!("/calico/ipam/v2/host/{EVIL}/ipv4/block/10.200.40.0-26"),
        json!({"state": "confirmed", "deleted": false}),
    );
    put(format!("/calico/ipam/v2/host/{EVIL}/ipv4/block/10.200.40.64-26"), json!("neither"));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(dump.to_string().as_bytes()).unwrap();
    file
}

fn shows_nothing_that_steers(what: &str, text: &[u8]) {
    let text = std::str::from_utf8(text).unwrap();
    let found: Vec<char> = text.chars().filter(|it| *it != '\n' && steers(*it)).collect();
    assert!(found.is_empty(), "{what}: {found:?} in {text}");
    assert!(text.contains("\\u009b") || text.contains("\\u{9b}") || what == "the page", "{what} names it: {text}");
}

#[test]
fn what_others_wrote_steers_no_terminal_and_no_log() {
    let file = hostile();
    let sources = ["--datastore.file", file.path().to_str().unwrap(), "--node.name", "h1", "--no-collector.routes"];
    for more in [&["check"][..], &["check", "--all"], &["check", "--output", "json"]] {
        let output = run(&[more, &sources].concat());
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
        shows_nothing_that_steers(&more.join(" "), &output.stdout);
    }
    let explained = run(&[&["explain", "10.200.40.0/26"][..], &sources].concat());
    shows_nothing_that_steers("explain", &explained.stdout);
    // As this host's own name it is in a line of the log; or it is refused, and the refusal is a line as well.
    let own = ["check", "--datastore.file", sources[1], "--node.name", EVIL, "--routes.file", "/nowhere"];
    shows_nothing_that_steers("a refusal", &run(&own).stderr);

    let exporter = Exporter::start(&sources);
    exporter.until("a report", |scrape| scrape.value("calico_exporter_report_timestamp_seconds", &[]).is_some());
    for path in ["/api/v1/findings", "/"] {
        let answer = exporter.get(path);
        assert_eq!(answer.status, 200);
        shows_nothing_that_steers(if path == "/" { "the page" } else { path }, &answer.body);
    }
    shows_nothing_that_steers("the log", exporter.log().as_bytes());
}

/// stderr is a pipe that nobody reads: it is full soon, and everything else goes on.
#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let dump = ["--datastore.file", "tests/fixtures/three-hosts/etcd.json", "--node.name", "h1"];
    let mut child = program()
        .args(dump)
        .args(["--no-collector.routes", "--log.level", "debug", "--web.listen-address", &address])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    let connect = || loop {
        match TcpStream::connect(&address) {
            Ok(stream) => break stream,
            Err(error) => assert!(began.elapsed() < Duration::from_secs(60), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    // Each is a line at this level. A pipe holds 64 KiB.
    for _ in 0..2000 {
        let mut stream = connect();
        let _ = stream.write_all(b"nonsense\r\n\r\n");
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    }
    let mut stream = connect();
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(crate::support::exporter::Answer::read(stream).status, 200);
    let killed = std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(killed.success());
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > Duration::from_secs(5) {
            child.kill().unwrap();
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(status.success());
}
