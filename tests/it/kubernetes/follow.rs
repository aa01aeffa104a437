//! Lists and watches.

use std::time::{Duration, Instant};

use calico_exporter::source::kubernetes::settings::Settings;
use serde_json::{Value, json};

use super::{block, blocks, config, fill, recorded};
use crate::support::follow::Source;
use crate::support::kube::{ApiServer, V1, V3};

#[tokio::test]
async fn a_claim_and_a_release_are_seen() {
    let Some(server) = ApiServer::start(V1).await else { return };
    fill(&server, V1).await;
    let mut source = Source::start_kubernetes(config(server.settings()));
    source.until_in_sync().await;
    // As the recording's README counts them, and the nodes.
    let count =
        |source: &Source, kind: &str| source.picture.objects.keys().filter(|id| id.kind().as_str() == kind).count();
    assert_eq!((count(&source, "block"), count(&source, "affinity"), count(&source, "node")), (19, 18, 4));
    let blocks = blocks(V1);
    let mut slowest = [Duration::ZERO; 2];
    for number in 0..10 {
        let cidr = format!("10.210.77.{}/30", number * 4);
        let began = Instant::now();
        server.send("POST", &blocks, &block(V1, &cidr, "rack1-node-1")).await;
        source.until("the claim", |picture| picture.has(&cidr)).await;
        slowest[0] = slowest[0].max(began.elapsed());
        // The first of two steps is the deletion.
        let path = format!("{blocks}/{}", cidr.replace(['.', '/'], "-"));
        let began = Instant::now();
        server.patch(&path, &json!({"spec": {"deleted": true}})).await;
        source.until("the release", |picture| !picture.has(&cidr)).await;
        slowest[1] = slowest[1].max(began.elapsed());
        server.delete(&path).await;
    }
    eprintln!("from the request to the event: a claim {:?}, a release {:?} at most", slowest[0], slowest[1]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(source.picture.lost, Vec::<String>::new());
    source.stop().await;
}

#[tokio::test]
async fn the_native_group_is_found_over_a_kubeconfig_and_read_alike() {
    let Some(server) = ApiServer::start(V3).await else { return };
    fill(&server, V3).await;
    let kubeconfig = server.kubeconfig();
    let settings = Settings::from_environment(&|name| (name == "KUBECONFIG").then(|| kubeconfig.clone())).unwrap();
    let mut source = Source::start_kubernetes(config(settings));
    source.until_in_sync().await;
    assert!(source.picture.has("10.210.1.0/26") && source.picture.has("max_blocks_per_host"));
    source.stop().await;
}

#[tokio::test]
async fn after_a_migration_the_group_that_is_not_locked_counts() {
    let Some(server) = ApiServer::start(V1).await else { return };
    server.add_resources(V3).await;
    let cluster = |group: &str, ready: bool| {
        let mut cluster: Value = recorded(group, "clusterinformations")["items"][0].clone();
        cluster["spec"]["datastoreReady"] = json!(ready);
        cluster
    };
    for (group, ready, cidr) in [(V1, false, "10.210.1.0/30"), (V3, true, "10.210.3.0/30")] {
        server.create(&format!("/apis/{group}/clusterinformations"), &cluster(group, ready)).await;
        server.send("POST", &blocks(group), &block(group, cidr, "rack1-node-1")).await;
    }
    let mut config = config(server.settings());
    config.pace.check = Duration::from_millis(300);
    let mut source = Source::start_kubernetes(config);
    source.until_in_sync().await;
    assert!(source.picture.has("10.210.3.0/30") && !source.picture.has("10.210.1.0/30"));
    // Back again, while we watch.
    for (group, ready) in [(V1, true), (V3, false)] {
        let path = format!("/apis/{group}/clusterinformations/default");
        server.patch(&path, &json!({"spec": {"datastoreReady": ready}})).await;
    }
    source
        .until("the other group", |picture| {
            picture.in_sync && picture.has("10.210.1.0/30") && !picture.has("10.210.3.0/30")
        })
        .await;
    source.stop().await;
}
