//! What goes wrong with a real API server, and that all is right again by itself.

use std::time::Duration;

use calico_exporter::source::kubernetes::Config;
use calico_exporter::source::kubernetes::settings::Settings;
use calico_exporter::state::ObjectId;
use serde_json::json;

use super::affinities::{affinity, by_affinities};
use super::{block, blocks, config, fill};
use crate::support::follow::Source;
use crate::support::kube::{ApiServer, TOKEN, V1};
use crate::support::proxy::Proxy;

/// A server with the recorded cluster, and a source that has read it.
async fn in_sync() -> Option<(ApiServer, Source)> {
    let server = ApiServer::start(V1).await?;
    fill(&server, V1).await;
    let mut source = Source::start_kubernetes(config(server.settings()));
    source.until_in_sync().await;
    Some((server, source))
}

#[tokio::test]
async fn a_server_that_is_killed_and_comes_back_is_followed_again() {
    let Some((mut server, mut source)) = in_sync().await else { return };
    server.stop();
    source.until("out of sync", |picture| !picture.in_sync).await;
    assert!(source.picture.lost.iter().any(|why| why.contains("cannot be reached")), "{:?}", source.picture.lost);
    let before = source.picture.objects.len();
    server.start_again().await;
    server.send("POST", &blocks(V1), &block(V1, "10.210.77.0/30", "rack1-node-1")).await;
    source.until("the new block", |picture| picture.in_sync && picture.has("10.210.77.0/30")).await;
    assert_eq!(source.picture.objects.len(), before + 1, "nothing was lost or taken for gone");
    source.stop().await;
}

#[tokio::test]
async fn what_happened_while_nobody_listened_is_told_after_a_compaction() {
    let Some((mut server, mut source)) = in_sync().await else { return };
    server.stop();
    source.until("out of sync", |picture| !picture.in_sync).await;
    // Another one, which the exporter does not know, changes things and forgets how.
    let port = server.move_away();
    server.start_again().await;
    server.send("POST", &blocks(V1), &block(V1, "10.210.77.0/30", "rack1-node-1")).await;
    server.delete(&format!("{}/10-210-1-0-26", blocks(V1))).await;
    server.etcd.compact().await;
    server.stop();
    server.move_to(port);
    server.start_again().await;
    source
        .until("what happened meanwhile", |picture| {
            let gone = ObjectId::Block("10.210.1.0/26".parse().unwrap());
            picture.in_sync && picture.has("10.210.77.0/30") && !picture.objects.contains_key(&gone)
        })
        .await;
    source.stop().await;
}

#[tokio::test]
async fn a_datastore_restored_from_an_older_snapshot_is_read_anew() {
    let Some((mut server, mut source)) = in_sync().await else { return };
    let Some(snapshot) = server.etcd.snapshot().await else { return };
    server.send("POST", &blocks(V1), &block(V1, "10.210.77.0/30", "rack1-node-1")).await;
    // Versions go far beyond those of the snapshot.
    for number in 0..50 {
        let change = json!({"metadata": {"annotations": {"n": number.to_string()}}});
        server.patch(&format!("{}/10-210-77-0-30", blocks(V1)), &change).await;
    }
    source.until("the block", |picture| picture.has("10.210.77.0/30")).await;
    server.stop();
    server.etcd.restore(&snapshot).await;
    server.start_again().await;
    let gone = |block: &str| ObjectId::Block(block.parse().unwrap());
    source
        .until("the block gone", |picture| picture.in_sync && !picture.objects.contains_key(&gone("10.210.77.0/30")))
        .await;
    assert!(source.picture.lost.iter().any(|why| why.contains("another history")), "{:?}", source.picture.lost);
    // And what happens now is heard.
    server.send("POST", &blocks(V1), &block(V1, "10.210.78.0/30", "rack1-node-1")).await;
    source.until("a later block", |picture| picture.in_sync && picture.has("10.210.78.0/30")).await;
    source.stop().await;
}

#[tokio::test]
async fn a_token_that_was_replaced_is_read_again() {
    let Some((mut server, mut source)) = in_sync().await else { return };
    server.stop();
    server.accept_token("another-token");
    server.start_again().await;
    source.until("refused", |picture| picture.lost.iter().any(|why| why.contains("does not know who we are"))).await;
    assert!(!source.picture.in_sync);
    assert!(!source.picture.lost.iter().any(|why| why.contains(TOKEN)), "no message has the token");
    std::fs::write(server.path("token"), "another-token\n").unwrap();
    source.until_in_sync().await;
    source.stop().await;
}

#[tokio::test]
async fn a_permission_that_is_taken_away_is_named_and_missed_until_it_is_back() {
    let Some(server) = ApiServer::start(V1).await else { return };
    fill(&server, V1).await;
    server.permit(&server.rules(&["ipreservations", "nodes"])).await;
    let mut source = Source::start_kubernetes(config(server.settings()));
    source.until("the missing permissions", |picture| picture.denied.len() == 2 && picture.lost.len() == 2).await;
    assert_eq!(source.picture.denied, ["ipreservations.crd.projectcalico.org", "nodes"]);
    assert!(source.picture.lost.iter().any(|why| why.contains("refuses list on nodes")), "{:?}", source.picture.lost);
    assert_eq!(source.picture.syncs, 0, "what may not be read is not taken for empty");
    // What may be read is followed all the same.
    server.send("POST", &blocks(V1), &block(V1, "10.210.77.0/30", "rack1-node-1")).await;
    source.until("a block", |picture| picture.has("10.210.77.0/30")).await;
    server.permit(&server.rules(&[])).await;
    source.until("in sync", |picture| picture.in_sync && picture.denied.is_empty()).await;
    source.stop().await;
}

#[tokio::test]
async fn a_permission_that_is_taken_away_under_a_watch_is_missed_until_it_is_back() {
    let Some(server) = ApiServer::start(V1).await else { return };
    fill(&server, V1).await;
    const ME: &str = "rack1-node-1";
    let affinities = format!("/apis/{V1}/blockaffinities");
    let key = |host: &str, cidr: &str| (affinities.clone(), affinity(V1, host, cidr, "confirmed"));
    let blocks = |cidr: &str| (blocks(V1), block(V1, cidr, ME));
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "late"}});
    // How it follows, what may not be read, and what is written meanwhile.
    for (follow, resource, written) in [
        (config as fn(Settings) -> Config, "ipamblocks", vec![blocks("10.210.77.0/30")]),
        (by_affinities, "blockaffinities", vec![key("rack1-node-2", "10.210.78.0/30")]),
        (by_affinities, "ipamblocks", vec![key(ME, "10.210.79.0/30"), blocks("10.210.79.0/30")]),
        (by_affinities, "nodes", vec![("/api/v1/nodes".to_owned(), node)]),
    ] {
        let mut config = follow(server.settings());
        config.pace.permission = Duration::from_millis(300);
        let mut source = Source::start_kubernetes(config);
        source.until_in_sync().await;
        let before = source.picture.objects.len();
        server.permit(&server.rules(&[resource])).await;
        source.until("out of sync", |picture| !picture.in_sync && !picture.denied.is_empty()).await;
        let group = if resource == "nodes" { "" } else { ".crd.projectcalico.org" };
        assert_eq!(source.picture.denied, [format!("{resource}{group}")]);
        for (path, object) in &written {
            server.send("POST", path, object).await;
        }
        for _ in 0..20 {
            source.receive().await;
        }
        assert!(!source.picture.in_sync && !source.picture.denied.is_empty(), "{resource}: for as long as it lasts");
        server.permit(&server.rules(&[])).await;
        source.until("in sync", |picture| picture.in_sync && picture.denied.is_empty()).await;
        let all = before + written.len();
        source.until("what happened meanwhile", |picture| picture.objects.len() == all).await;
        assert_eq!(source.picture.deletions, 0, "{resource}: nothing was taken for gone");
        source.stop().await;
    }
}

#[tokio::test]
async fn only_reading_is_ever_asked_and_over_one_connection() {
    let Some(server) = ApiServer::start(V1).await else { return };
    fill(&server, V1).await;
    let proxy = Proxy::start(server.port()).await;
    let mut settings = server.settings();
    settings.server = proxy.url().replace("http:", "https:").parse().unwrap();
    let mut source = Source::start_kubernetes(config(settings));
    source.until_in_sync().await;
    server.send("POST", &blocks(V1), &block(V1, "10.210.77.0/30", "rack1-node-1")).await;
    source.until("the block", |picture| picture.has("10.210.77.0/30")).await;
    let asked = server.audited();
    assert!(asked.len() > 20, "{asked:?}");
    for (verb, resource, code) in &asked {
        assert!(["get", "list", "watch"].contains(&verb.as_str()), "{verb} {resource}");
        assert_eq!(*code, 200, "{verb} {resource}");
        assert_ne!(resource, "secrets");
    }
    let watched = asked.iter().filter(|(verb, ..)| verb == "watch").count();
    assert!(watched <= 10, "each resource is watched once: {asked:?}");
    assert_eq!(proxy.accepted(), 1);
    // Whom nothing vouches for is told nothing, and is no API server.
    let mut settings = server.settings();
    settings.tls.ca = None;
    let mut stranger = Source::start_kubernetes(config(settings));
    stranger.until("no session", |picture| picture.lost.iter().any(|why| why.contains("no TLS session"))).await;
    stranger.stop().await;
    source.stop().await;
}

#[tokio::test]
async fn drift_is_looked_for_by_names_and_versions_alone() {
    let Some(server) = ApiServer::start(V1).await else { return };
    fill(&server, V1).await;
    let mut config = config(server.settings());
    config.pace.check = Duration::from_millis(500);
    let mut source = Source::start_kubernetes(config);
    source.until_in_sync().await;
    let before = server.audited().len();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let asked = server.audited().split_off(before);
    assert!(asked.iter().any(|(verb, ..)| verb == "list"), "compared");
    // Where Calico's group is, is asked by paths.
    assert!(
        asked.iter().all(|(verb, resource, _)| verb == "list" || resource.is_empty()),
        "and nothing read that does not differ: {asked:?}"
    );
    assert_eq!((source.picture.syncs, source.picture.lost.len()), (1, 0));
    source.stop().await;
}
