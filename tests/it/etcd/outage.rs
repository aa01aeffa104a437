//! What a picture must survive: etcd gone, back, empty, compacted, silent.

use std::time::Duration;

use calico_exporter::source::etcd::Probe;
use etcd_client::PutOptions;

use crate::support::etcd::{Etcd, block, free_port, settings};
use crate::support::follow::{Source, config};
use crate::support::proxy::Proxy;
use crate::support::tool;

#[tokio::test]
async fn it_comes_back_when_etcd_does() {
    let Some(mut etcd) = Etcd::start().await else { return };
    let (key, value) = block(0, "before");
    etcd.put(&key, &value).await;
    let mut source = Source::start(config(etcd.settings()));
    source.until_in_sync().await;

    etcd.stop();
    source.until("the loss is said", |picture| !picture.in_sync).await;
    assert!(source.picture.lost[0].contains(&etcd.url()), "{:?}", source.picture.lost);
    assert!(source.picture.has_pod("before"), "what is known stays");

    etcd.start_again().await;
    source.until_in_sync().await;
    let (key, value) = block(1, "after");
    etcd.put(&key, &value).await;
    source.until("it follows again", |picture| picture.has_pod("after")).await;
    assert!(source.picture.has_pod("before"));
    source.stop().await;
}

#[tokio::test]
async fn an_etcd_that_comes_back_empty_is_believed() {
    let Some(mut etcd) = Etcd::start().await else { return };
    for index in 0..20 {
        let (key, value) = block(index, "before");
        etcd.put(&key, &value).await;
    }
    let mut source = Source::start(config(etcd.settings()));
    source.until_in_sync().await;
    assert_eq!(source.picture.objects.len(), 20);

    etcd.stop();
    etcd.forget();
    etcd.start_again().await;
    source.until("it is empty", |picture| picture.in_sync && picture.objects.is_empty()).await;
    assert!(!source.picture.lost.is_empty());
    let (key, value) = block(1, "after");
    etcd.put(&key, &value).await;
    source.until("it follows again", |picture| picture.has_pod("after")).await;
    source.stop().await;
}

#[tokio::test]
async fn it_starts_before_etcd_does() {
    let Some(mut etcd) = Etcd::start().await else { return };
    etcd.stop();
    let mut source = Source::start(config(etcd.settings()));
    source.until("the absence is said", |picture| !picture.lost.is_empty()).await;
    assert!(source.picture.lost[0].contains("cannot be reached"), "{:?}", source.picture.lost);
    assert_eq!(source.picture.syncs, 0);
    etcd.start_again().await;
    source.until_in_sync().await;
    source.stop().await;
}

#[tokio::test]
async fn a_stalled_watch_whose_history_is_compacted_lists_again() {
    let Some(etcd) = Etcd::start().await else { return };
    let mut source = Source::start(config(etcd.settings()));
    source.until_in_sync().await;

    // Nobody receives now. More than all windows and queues on the way can hold:
    let value = "x".repeat(20_000);
    let mut writers = Vec::new();
    for writer in 0..8_u32 {
        let (mut client, value) = (etcd.client().await, value.clone());
        writers.push(tokio::spawn(async move {
            for round in 0..250 {
                let (key, _) = block(writer * 1000 + round % 10, "");
                client.put(key, value.as_str(), None).await.unwrap();
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let (key, value) = block(99_999, "last");
    let mut client = etcd.client().await;
    let put = client.put(key, value, None::<PutOptions>).await.unwrap();
    let revision = put.header().unwrap().revision();
    client.compact(revision, None).await.unwrap();

    source.until("the end of the history", |picture| picture.has_pod("last") && picture.in_sync).await;
    assert_eq!(source.picture.syncs, 2);
    assert!(source.picture.lost[0].contains("compacted"), "{:?}", source.picture.lost);
    assert_eq!(source.picture.objects.len(), 81);
    source.stop().await;
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_not_trusted() {
    let Some(etcd) = Etcd::start().await else { return };
    let proxy = Proxy::start(etcd.port()).await;
    let mut config = config(settings(vec![proxy.url()]));
    config.probe = Probe { after: Duration::from_millis(300), timeout: Duration::from_secs(1) };
    config.timeouts.request = Duration::from_secs(1);
    config.timeouts.connect = Duration::from_secs(1);
    let mut source = Source::start(config);
    source.until_in_sync().await;
    // Silence alone is no loss while probes are answered.
    tokio::time::timeout(Duration::from_secs(3), source.until("a loss", |picture| !picture.in_sync))
        .await
        .expect_err("nothing is lost");

    proxy.silence(true);
    let (key, value) = block(0, "unheard");
    etcd.put(&key, &value).await;
    source.until("the silence is said", |picture| !picture.in_sync).await;
    assert!(source.picture.lost[0].contains("did not answer"), "{:?}", source.picture.lost);
    proxy.silence(false);
    source.until("it is heard", |picture| picture.in_sync && picture.has_pod("unheard")).await;
    source.stop().await;
}

/// etcd's own proxy (3.4) ignores requests for progress: its silence must not be taken for a loss.
#[tokio::test]
async fn a_proxy_that_knows_no_progress_is_followed_without_losses() {
    let Some(etcd) = Etcd::start().await else { return };
    let (_proxy, url) = grpc_proxy(&etcd);
    let mut config = config(settings(vec![url]));
    config.probe = Probe { after: Duration::from_millis(200), timeout: Duration::from_millis(500) };
    let mut source = Source::start(config);
    source.until_in_sync().await;
    source.picture.lost.clear();
    for index in 0..3 {
        tokio::time::timeout(Duration::from_secs(2), source.until("a loss", |picture| !picture.in_sync))
            .await
            .expect_err("nothing is lost");
        let (key, value) = block(index, &format!("pod-{index}"));
        etcd.put(&key, &value).await;
        let pod = format!("pod-{index}");
        source.until("it is followed", |picture| picture.has_pod(&pod)).await;
    }
    assert!(source.picture.lost.is_empty(), "{:?}", source.picture.lost);
    source.stop().await;
}

/// The proxy keeps our watch while the etcd behind it is replaced, and says nothing: revisions that run backwards do.
#[tokio::test]
async fn an_etcd_replaced_behind_a_proxy_is_noticed() {
    let Some(mut etcd) = Etcd::start().await else { return };
    for index in 0..20 {
        let (key, value) = block(index, "before");
        etcd.put(&key, &value).await;
    }
    let (_proxy, url) = grpc_proxy(&etcd);
    let mut config = config(settings(vec![url]));
    config.probe = Probe { after: Duration::from_secs(4), timeout: Duration::from_millis(500) };
    let mut source = Source::start(config);
    source.until("all is there", |picture| picture.in_sync && picture.objects.len() == 20).await;
    etcd.stop();
    etcd.forget();
    etcd.start_again().await;
    source.until("it is empty", |picture| picture.in_sync && picture.objects.is_empty()).await;
    source.stop().await;
}

/// etcd's `grpc-proxy` in front of an etcd.
fn grpc_proxy(etcd: &Etcd) -> (Stopped, String) {
    let port = free_port();
    // Where there is an etcd, there is its proxy.
    let child = std::process::Command::new(tool("etcd").unwrap())
        .args(["grpc-proxy", "start", "--endpoints", &etcd.url(), "--listen-addr", &format!("127.0.0.1:{port}")])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    (Stopped(child), format!("http://127.0.0.1:{port}"))
}

/// Ends a process when the test ends.
struct Stopped(std::process::Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}
