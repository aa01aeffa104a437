//! etcd goes, comes back, comes back empty, and forgets its history: the exporter says so, keeps serving, and is right
//! again by itself.

use crate::exposition::Exposition;
use crate::support::calico::{block, node, owned, pod, pool};
use crate::support::etcd::Etcd;
use crate::support::exporter::Exporter;

const CIDR: &str = "10.65.0.0/26";

/// A block in which so many addresses are given to pods.
fn used(pods: usize) -> (String, String) {
    let pods: Vec<_> = (0..pods).map(|ordinal| pod(ordinal, "h1", &format!("web-{ordinal}"))).collect();
    block(CIDR, "h1", &pods)
}

async fn started() -> Option<(Etcd, Exporter)> {
    let etcd = Etcd::start().await?;
    let mut all = vec![
        pool("main", "10.65.0.0/16", 26, "Always", "Never"),
        node("h1", serde_json::json!({"ipv4Address": "10.0.0.1/24"}), None, None),
    ];
    all.extend(owned(CIDR, "h1", &[]));
    all.push(used(3));
    etcd.put_all(&all[..3]).await;
    etcd.put_all(&all[3..]).await;
    let url = etcd.url();
    let exporter = Exporter::start(&[
        "--etcd.endpoints",
        &url,
        "--node.name",
        "h1",
        "--datastore.resync",
        "1h",
        "--no-collector.routes",
    ]);
    let scrape = exporter.until_ready();
    assert_eq!(allocated(&scrape), Some(3.0));
    Some((etcd, exporter))
}

fn allocated(scrape: &Exposition) -> Option<f64> {
    scrape.value("calico_host_addresses", &[("host", "h1"), ("ippool", "main"), ("state", "allocated")])
}

fn in_sync(scrape: &Exposition) -> bool {
    scrape.value("calico_exporter_source_in_sync", &[("source", "etcd")]).unwrap() == 1.0
}

#[tokio::test]
async fn while_etcd_is_away_the_last_report_stands() {
    let Some((mut etcd, mut exporter)) = started().await else { return };
    etcd.stop();
    let scrape = exporter.until("the loss is said", |scrape| !in_sync(scrape));
    assert_eq!(allocated(&scrape), Some(3.0));
    let age = |scrape: &Exposition| scrape.value("calico_exporter_report_timestamp_seconds", &[]).unwrap();
    let stood = age(&scrape);
    for path in ["/healthz", "/readyz", "/metrics", "/", "/api/v1/findings"] {
        assert_eq!(exporter.get(path).status, 200, "{path}");
    }
    assert!(exporter.get("/api/v1/findings").text().contains(r#""in_sync":{"datastore":false"#));
    assert!(exporter.log().contains(&etcd.url()), "{}", exporter.log());
    etcd.start_again().await;
    let scrape = exporter.until("in sync again", in_sync);
    assert_eq!(allocated(&scrape), Some(3.0));
    let (key, value) = used(5);
    etcd.put(&key, &value).await;
    let scrape = exporter.until("it follows again", |scrape| allocated(scrape) == Some(5.0));
    assert!(age(&scrape) > stood);
    assert!(scrape.value("calico_exporter_source_resyncs_total", &[("source", "etcd")]).unwrap() >= 1.0);
    assert!(exporter.is_running());
}

#[tokio::test]
async fn an_etcd_that_comes_back_empty_is_believed() {
    let Some((mut etcd, exporter)) = started().await else { return };
    etcd.stop();
    exporter.until("the loss is said", |scrape| !in_sync(scrape));
    etcd.forget();
    etcd.start_again().await;
    let scrape = exporter.until("nothing is left", |scrape| in_sync(scrape) && allocated(scrape).is_none());
    for name in ["calico_ippool_info", "calico_host_addresses", "calico_host_blocks"] {
        assert!(!scrape.names().contains(name), "{name}");
    }
    assert_eq!(scrape.sum("calico_ipam_affinity_faults"), 0.0);
    assert_eq!(exporter.get("/readyz").status, 200);
    let (key, value) = used(7);
    etcd.put(&key, &value).await;
    // Without its pool the block is nobody's.
    let orphan = [("host", "h1"), ("ippool", "no_ippool"), ("state", "allocated")];
    exporter.until("it follows again", |scrape| scrape.value("calico_host_addresses", &orphan) == Some(7.0));
}

/// The history that a stalled watch would need is compacted away: it lists anew.
#[tokio::test]
async fn a_compaction_under_the_watch_is_survived() {
    let Some((etcd, mut exporter)) = started().await else { return };
    // A compaction that the watch is ahead of means nothing.
    let compact = async |etcd: &Etcd| {
        let mut client = etcd.client().await;
        let revision = client.get("revision", None).await.unwrap().header().unwrap().revision();
        client.compact(revision, None).await.unwrap();
    };
    compact(&etcd).await;
    let (key, value) = used(4);
    etcd.put(&key, &value).await;
    let scrape = exporter.until("it follows on", |scrape| allocated(scrape) == Some(4.0));
    assert_eq!(scrape.value("calico_exporter_source_resyncs_total", &[("source", "etcd")]), Some(0.0));

    // It stands still while more happens than all windows and buffers on the way can hold.
    exporter.signal("STOP");
    let text = "x".repeat(100_000);
    let mut writers = Vec::new();
    for writer in 0..8 {
        let (mut client, text) = (etcd.client().await, text.clone());
        writers.push(tokio::spawn(async move {
            for round in 0..60 {
                let key = crate::support::calico::block_key(&format!("10.66.{writer}.{}/26", round % 4 * 64));
                client.put(key, text.as_str(), None).await.unwrap();
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let (key, value) = used(6);
    etcd.put(&key, &value).await;
    compact(&etcd).await;
    exporter.signal("CONT");
    let scrape = exporter.until("the end of the history", |scrape| allocated(scrape) == Some(6.0) && in_sync(scrape));
    assert_eq!(scrape.value("calico_exporter_source_resyncs_total", &[("source", "etcd")]), Some(1.0));
    assert_eq!(scrape.value("calico_exporter_undecodable_keys", &[("kind", "block")]), Some(32.0));
    assert!(exporter.log().contains("compacted"), "{}", exporter.log());
    assert!(exporter.is_running());
}
