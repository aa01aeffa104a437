//! SIGTERM and SIGINT: what is being served is finished, and the program ends well within five seconds.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::exposition::parse;
use crate::support::calico::{node, owned, pool};
use crate::support::etcd::{Etcd, free_port};
use crate::support::exporter::{Answer, Exporter};

/// What the contract promises.
const PROMISED: Duration = Duration::from_secs(5);

fn ends(exporter: &mut Exporter) {
    let (status, took) = exporter.ended();
    assert_eq!(status.code(), Some(0), "{}", exporter.log());
    assert!(took < PROMISED, "{took:?}\n{}", exporter.log());
}

/// An etcd with a cluster of this one host: of an empty one nothing can be said.
async fn etcd() -> Option<Etcd> {
    let etcd = Etcd::start().await?;
    let h1 = node("h1", json!({"ipv4Address": "10.9.0.1/24"}), None, None);
    etcd.put_all(&[pool("main", "10.0.0.0/16", 26, "Always", "Never"), h1]).await;
    Some(etcd)
}

#[tokio::test]
async fn it_ends_while_following_etcd_and_a_kernel() {
    let Some(etcd) = etcd().await else { return };
    for signal in ["TERM", "INT"] {
        let url = etcd.url();
        let mut exporter = Exporter::start(&["--etcd.endpoints", &url, "--node.name", "h1"]);
        exporter.until_ready();
        exporter.signal(signal);
        ends(&mut exporter);
    }
}

#[test]
fn it_ends_with_etcd_away() {
    // Refused, and never answered (a documentation address that nobody routes, or that is refused as well).
    for url in [format!("http://127.0.0.1:{}", free_port()), "http://192.0.2.1:2379".to_owned()] {
        let mut exporter = Exporter::start(&["--etcd.endpoints", &url, "--node.name", "h1"]);
        assert_eq!(exporter.get("/readyz").status, 503);
        exporter.signal("TERM");
        ends(&mut exporter);
    }
}

#[tokio::test]
async fn it_ends_after_etcd_went_away() {
    let Some(mut etcd) = etcd().await else { return };
    let url = etcd.url();
    let mut exporter = Exporter::start(&["--etcd.endpoints", &url, "--node.name", "h1"]);
    exporter.until_ready();
    etcd.stop();
    exporter.until("the loss is said", |scrape| {
        scrape.value("calico_exporter_source_in_sync", &[("source", "etcd")]) == Some(0.0)
    });
    exporter.signal("TERM");
    ends(&mut exporter);
}

/// A dump of a cluster whose metrics no socket's buffers hold.
fn large_dump() -> String {
    let mut all = vec![pool("main", "10.0.0.0/8", 26, "Always", "Never")];
    for index in 0..2500 {
        let (host, address) = (format!("host-{index}"), std::net::Ipv4Addr::from(0x0a00_0000 + index * 64));
        all.push(node(&host, json!({"ipv4Address": "10.9.0.1/24"}), None, None));
        all.extend(owned(&format!("{address}/26"), &host, &[]));
    }
    let entry = |(key, value): &(String, String)| json!({"key": STANDARD.encode(key), "value": STANDARD.encode(value)});
    json!({"header": {}, "kvs": all.iter().map(entry).collect::<Vec<_>>()}).to_string()
}

/// An exporter that has read [`large_dump`], whose file it needs no more.
fn serving_much() -> Exporter {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), large_dump()).unwrap();
    let exporter = Exporter::start(&[
        "--datastore.file",
        file.path().to_str().unwrap(),
        "--no-collector.leaks",
        "--node.name",
        "h1",
    ]);
    exporter.until_ready();
    exporter
}

#[test]
fn a_scrape_in_progress_is_finished() {
    let mut exporter = serving_much();
    let ask = |stream: &mut TcpStream| stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let mut scrape = exporter.connect();
    ask(&mut scrape);
    // The answer has begun: its head is here, and the rest waits for somebody to read it.
    scrape.peek(&mut [0]).unwrap();
    // Another is connected and says nothing.
    let _idle = exporter.connect();
    let mut kept = exporter.connect();
    ask(&mut kept);
    kept.read_exact(&mut [0]).unwrap();
    exporter.signal("TERM");
    let reading = std::thread::spawn(move || Answer::read(scrape));
    let reading_too = std::thread::spawn(move || {
        let mut rest = Vec::new();
        kept.read_to_end(&mut rest).unwrap();
        rest.len()
    });
    ends(&mut exporter);
    let answer = reading.join().unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.body.len() > 1 << 20, "{} bytes", answer.body.len());
    parse(answer.text(), calico_exporter::metrics::Format::Text);
    assert!(reading_too.join().unwrap() > answer.body.len());
}

/// Somebody who never reads, or never says all, keeps nobody from going.
#[test]
fn clients_that_do_not_go_on_are_given_up() {
    let mut exporter = serving_much();
    // More answers than all buffers on the way hold.
    let mut stuck = exporter.connect();
    stuck.write_all("GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n".repeat(20).as_bytes()).unwrap();
    stuck.peek(&mut [0]).unwrap();
    let mut slow = exporter.connect();
    slow.write_all(b"GET /metrics HTT").unwrap();
    exporter.signal("TERM");
    let (status, took) = exporter.ended();
    assert_eq!(status.code(), Some(0), "{}", exporter.log());
    // They are given four of the five seconds; a busy machine may take its time over the rest.
    assert!(took < 2 * PROMISED, "{took:?}");
    assert!(exporter.log().contains("giving up connections"), "{}", exporter.log());
}
