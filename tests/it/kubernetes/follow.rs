//! Lists and watches.

use std::time::Duration;

use serde_json::json;

use super::{block, blocks, config, fill};
use crate::support::follow::Source;
use crate::support::kube::{ApiServer, V1};

#[tokio::test]
async fn a_claim_and_a_release_are_seen() {
    let Some(server) = ApiServer::start(V1).await else { return };
    fill(&server, V1).await;
    let mut source = Source::start_kubernetes(config(server.settings()));
    source.until_in_sync().await;
    // As the recording's README counts them, and the nodes.
    let count = |source: &Source, kind: &str| {
        source.picture.objects.keys().filter(|id| id.kind().as_str() == kind).count()
    };
    assert_eq!((count(&source, "block"), count(&source, "affinity"), count(&source, "node")), (19, 18, 4));
    let blocks = blocks(V1);
    server.send("POST", &blocks, &block(V1, "10.210.77.0/30", "rack1-node-1")).await;
    source.until("the claim", |picture| picture.has("10.210.77.0/30")).await;
    // The first of two steps is the deletion.
    server.patch(&format!("{blocks}/10-210-77-0-30"), &json!({"spec": {"deleted": true}})).await;
    source.until("the release", |picture| !picture.has("10.210.77.0/30")).await;
    server.delete(&format!("{blocks}/10-210-77-0-30")).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(source.picture.lost, Vec::<String>::new());
    source.stop().await;
}
