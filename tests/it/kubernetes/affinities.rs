//! Following affinities: this host's blocks come and go with their keys, Nodes are known by their metadata, and other
//! hosts' blocks are read when they are asked for.

use calico_exporter::model::BlockOwner;
use calico_exporter::source::kubernetes::settings::Settings;
use calico_exporter::source::kubernetes::{Config, Reader};
use calico_exporter::state::{Event, Follow, Lookup, ObjectId};
use serde_json::{Value, json};

use super::{block, blocks, config, fill};
use crate::support::follow::{Picture, Source};
use crate::support::kube::{ApiServer, V1, V3};

const ME: &str = "rack1-node-1";
const MINE: &str = "10.210.1.0/26";
const OTHERS: &str = "10.210.13.128/26";
const NEW: &str = "10.210.77.0/30";

/// The same where affinities are followed.
pub(super) fn by_affinities(settings: Settings) -> Config {
    Config { follow: Follow::Affinities(ME.into()), ..config(settings) }
}

fn id(cidr: &str) -> ObjectId {
    ObjectId::Block(cidr.parse().unwrap())
}

fn has(picture: &Picture, cidr: &str) -> bool {
    picture.objects.contains_key(&id(cidr))
}

fn key(host: &str, cidr: &str) -> ObjectId {
    ObjectId::Affinity(BlockOwner::Host(host.into()), cidr.parse().unwrap())
}

pub(super) fn affinity(group: &str, host: &str, cidr: &str, state: &str) -> Value {
    let deleted = if group == V1 { json!("false") } else { json!(false) };
    json!({
        "apiVersion": group, "kind": "BlockAffinity",
        "metadata": {"name": format!("{host}-{}", cidr.replace(['.', ':', '/'], "-"))},
        "spec": {"cidr": cidr, "node": host, "state": state, "type": "host", "deleted": deleted},
    })
}

fn affinities(group: &str) -> String {
    format!("/apis/{group}/blockaffinities")
}

async fn in_sync(group: &str) -> Option<(ApiServer, Source)> {
    let server = ApiServer::start(group).await?;
    fill(&server, group).await;
    let mut source = Source::start_kubernetes(by_affinities(server.settings()));
    source.until_in_sync().await;
    Some((server, source))
}

/// Something that is followed, written last: what was written before it would have been told by then.
async fn mark(server: &ApiServer, source: &mut Source, cidr: &str) {
    server.send("POST", &affinities(V1), &affinity(V1, "somebody", cidr, "confirmed")).await;
    source.until("the mark", |picture| picture.objects.contains_key(&key("somebody", cidr))).await;
}

#[tokio::test]
async fn keys_own_blocks_and_what_nodes_say_of_themselves_are_all_that_is_read() {
    for group in [V1, V3] {
        let Some((server, source)) = in_sync(group).await else { return };
        let count = |kind: &str| source.picture.objects.keys().filter(|id| id.kind().as_str() == kind).count();
        assert_eq!((count("block"), count("affinity"), count("node")), (5, 18, 4));
        assert!(has(&source.picture, MINE) && !has(&source.picture, OTHERS));
        assert!(source.picture.has("10.77.2.3/24") && !source.picture.has("Internal"), "annotations, and no status");
        let asked = server.asked();
        let of = |part: &str| asked.iter().filter(|uri| uri.contains(part)).collect::<Vec<_>>();
        assert!(
            of("/ipamblocks").iter().all(|uri| uri.contains("metadata.name%3D10-21")
                || uri.contains("metadata.name%3Dfd00-210--cc3c-ef32-708c-b6c0-122")),
            "{asked:?}"
        );
        assert_eq!(of("/ipamblocks").len(), 10, "each is listed and watched once: {asked:?}");
        assert!(of("/pods").is_empty() && of("/ipamhandles").is_empty(), "{asked:?}");
        source.stop().await;
    }
}

#[tokio::test]
async fn own_blocks_are_followed_from_their_key_to_its_end_and_others_wake_nobody() {
    let Some((server, mut source)) = in_sync(V1).await else { return };
    let at = |cidr: &str| format!("{}/{}", blocks(V1), cidr.replace(['.', '/'], "-"));
    let written = |pod: &str| json!({"spec": {"attributes": [{"handle_id": pod, "secondary": {"pod": pod, "node": ME, "namespace": "n"}}]}});

    let told = source.told;
    for round in 0..20 {
        server.patch(&at(OTHERS), &json!({"metadata": {"annotations": {"round": round.to_string()}}})).await;
    }
    mark(&server, &mut source, "10.1.0.0/26").await;
    assert_eq!(source.told - told, 1, "the mark alone");

    // As Calico claims: the pending key, the block, the confirmed key.
    server.send("POST", &affinities(V1), &affinity(V1, ME, NEW, "pending")).await;
    source.until("the claim", |picture| picture.has("Pending")).await;
    source.until("that there is no block yet", |picture| picture.deletions > 0).await;
    server.send("POST", &blocks(V1), &block(V1, NEW, ME)).await;
    source.until("the block after its key", |picture| has(picture, NEW)).await;
    let mut full = written("first");
    full["spec"]["allocations"] = json!([0, null, null, null]);
    full["spec"]["unallocated"] = json!([1, 2, 3]);
    server.patch(&at(NEW), &full).await;
    source.until("it changed", |picture| picture.has_pod("first")).await;
    let claim = format!("{}/{ME}-10-210-77-0-30", affinities(V1));
    server.patch(&claim, &json!({"spec": {"state": "confirmed"}})).await;

    // Given up, in the first of two steps: what happens to the block then is no news.
    server.patch(&claim, &json!({"spec": {"deleted": "true"}})).await;
    source.until("the key is gone", |picture| !picture.objects.contains_key(&key(ME, NEW))).await;
    mark(&server, &mut source, "10.1.0.64/26").await;
    let told = source.told;
    server.patch(&at(NEW), &written("second")).await;
    mark(&server, &mut source, "10.1.0.128/26").await;
    assert_eq!(source.told - told, 1, "the mark alone");

    // Taken back: it is read again.
    server.patch(&claim, &json!({"spec": {"deleted": "false"}})).await;
    source.until("it is read again", |picture| picture.has_pod("second")).await;
    server.delete(&at(NEW)).await;
    source.until("it is gone", |picture| !has(picture, NEW)).await;
    assert_eq!((source.picture.syncs, source.picture.lost.len()), (1, 0), "{:?}", source.picture.lost);
    source.stop().await;
}

#[tokio::test]
async fn nodes_come_change_and_go_and_one_without_calicos_address_has_its_own() {
    let Some((server, mut source)) = in_sync(V1).await else { return };
    let node = |annotations: Value| {
        json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": "late", "annotations": annotations},
            "status": {"addresses": [{"type": "InternalIP", "address": "10.77.9.9"}]},
        })
    };
    server.create("/api/v1/nodes", &node(json!({}))).await;
    source.until("its own address", |picture| picture.has("10.77.9.9")).await;
    let given = json!({"metadata": {"annotations": {"projectcalico.org/IPv4Address": "10.77.9.8/24"}}});
    server.patch("/api/v1/nodes/late", &given).await;
    source.until("Calico's", |picture| picture.has("10.77.9.8/24") && !picture.has("10.77.9.9")).await;
    server.delete("/api/v1/nodes/late").await;
    source.until("it is gone", |picture| !picture.objects.contains_key(&ObjectId::Node("late".into()))).await;
    source.stop().await;
}

#[tokio::test]
async fn other_hosts_blocks_are_read_when_they_are_asked_for() {
    let Some((server, mut source)) = in_sync(V1).await else { return };
    let ask = |cidr: &str| Lookup::Block { cidr: cidr.parse().unwrap(), held: true };
    source.ask(ask(OTHERS)).await;
    source.until("its answer", |picture| has(picture, OTHERS)).await;
    let path = format!("{}/10-210-13-128-26", blocks(V1));
    server.patch(&path, &json!({"spec": {"allocations": "broken"}})).await;
    source.ask(ask(OTHERS)).await;
    source.until("it cannot be read", |picture| picture.has("Unreadable")).await;
    // The first of two steps is the deletion.
    server.patch(&path, &json!({"spec": {"allocations": [], "deleted": true}})).await;
    source.ask(ask(OTHERS)).await;
    source.until("it is gone", |picture| !has(picture, OTHERS)).await;
    let deletions = source.picture.deletions;
    source.ask(ask(NEW)).await;
    source.until("it never was", |picture| picture.deletions > deletions).await;
    source.stop().await;
}

#[tokio::test]
async fn a_picture_read_once_has_keys_and_own_blocks_and_answers_for_the_rest() {
    let Some(server) = ApiServer::start(V3).await else { return };
    fill(&server, V3).await;
    let reader = Reader::open(&by_affinities(server.settings())).await.unwrap();
    let picture = Picture::of(reader.snapshot().await.unwrap());
    assert!(picture.in_sync && has(&picture, MINE) && !has(&picture, OTHERS) && !picture.has("Internal"));
    let ask = |cidr: &str| Lookup::Block { cidr: cidr.parse().unwrap(), held: false };
    let answers = reader.answer(&[ask(OTHERS), ask(NEW)]).await.unwrap();
    assert!(matches!(&answers[0], Event::Put(object) if object.id() == id(OTHERS)));
    assert_eq!(answers[1..], [Event::Delete(id(NEW))]);
}

#[tokio::test]
async fn a_list_of_many_is_from_the_servers_memory_only_where_that_is_as_new_as_etcds() {
    let Some(server) = ApiServer::start(V1).await else { return };
    let keys = |numbers: std::ops::Range<u32>| numbers.map(|it| format!("10.{}.{}.0/26", 128 + it / 250, it % 250));
    for cidr in keys(0..1001) {
        server.create(&affinities(V1), &affinity(V1, ME, &cidr, "confirmed")).await;
    }
    let reader = Reader::open(&Config { follow: Follow::Blocks, ..config(server.settings()) }).await.unwrap();
    let all = || async {
        let picture = Picture::of(reader.snapshot().await.unwrap());
        assert!(keys(0..1001).all(|cidr| picture.objects.contains_key(&key(ME, &cidr))));
        assert_eq!(picture.objects.len(), 1001);
        let asked = server.asked().into_iter().filter(|asked| asked.contains("/blockaffinities?"));
        let (memory, pages): (Vec<_>, Vec<_>) = asked.partition(|asked| asked.contains("NotOlderThan"));
        (memory.len(), pages.iter().filter(|asked| asked.contains("continue=")).count())
    };
    // The last that etcd was told is a key.
    assert_eq!(all().await, (1, 0));
    // Of something else the server's memory of keys is not told; an etcd that would tell answers as before.
    server.create(&blocks(V1), &block(V1, OTHERS, "rack1-node-2")).await;
    server.send("DELETE", &format!("{}/{}", blocks(V1), OTHERS.replace(['.', '/'], "-")), &json!({})).await;
    let (memory, pages) = all().await;
    assert!(memory == 2 && (pages == 2 || pages == 0), "{memory} {pages}");
}

#[tokio::test]
async fn after_a_restart_and_a_compaction_own_blocks_are_followed_again() {
    let Some((mut server, mut source)) = in_sync(V1).await else { return };
    server.stop();
    source.until("out of sync", |picture| !picture.in_sync).await;
    assert!(has(&source.picture, MINE), "what is known stays");
    let port = server.move_away();
    server.start_again().await;
    server.delete(&format!("{}/10-210-1-0-26", blocks(V1))).await;
    server.etcd.compact().await;
    server.stop();
    server.move_to(port);
    server.start_again().await;
    source.until("what happened meanwhile", |picture| picture.in_sync && !has(picture, MINE)).await;
    assert!(!has(&source.picture, OTHERS));
    source.stop().await;
}
