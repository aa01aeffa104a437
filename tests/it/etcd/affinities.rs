//! Following affinity keys: this host's blocks come and go with their keys, and other hosts' blocks wake nobody.

use std::time::Duration;

use calico_exporter::model::BlockOwner;
use calico_exporter::state::{Event, Follow, Kind, Lookup, ObjectId};

use crate::support::calico::{affinity, block, block_key, node, owned, pod};
use crate::support::etcd::Etcd;
use crate::support::follow::{Picture, Source, config};

fn id(cidr: &str) -> ObjectId {
    ObjectId::Block(cidr.parse().unwrap())
}

fn ask(cidr: &str, held: bool) -> Lookup {
    Lookup::Block { cidr: cidr.parse().unwrap(), held }
}

fn has(picture: &Picture, cidr: &str) -> bool {
    picture.objects.contains_key(&id(cidr))
}

fn start(etcd: &Etcd) -> Source {
    let mut config = config(etcd.settings());
    config.follow = Follow::Affinities("h1".into());
    Source::start(config)
}

/// Something that is followed, written last: what was written before it would have been told by then.
async fn mark(etcd: &Etcd, source: &mut Source, name: &str) {
    let (key, value) = node(name, serde_json::json!({"ipv4Address": "10.0.0.9/24"}), None, None);
    etcd.put(&key, &value).await;
    source.until("the mark", |picture| picture.objects.contains_key(&ObjectId::Node(name.into()))).await;
}

const MINE: &str = "10.0.0.0/26";
const OTHERS: &str = "10.0.0.64/26";
const NEW: &str = "10.0.0.128/26";

async fn planted() -> Option<Etcd> {
    let etcd = Etcd::start().await?;
    etcd.put_all(&owned(MINE, "h1", &[pod(1, "h1", "mine")])).await;
    etcd.put_all(&owned(OTHERS, "h2", &[pod(1, "h2", "others")])).await;
    Some(etcd)
}

#[tokio::test]
async fn keys_and_own_blocks_are_told_and_other_hosts_blocks_wake_nobody() {
    let Some(etcd) = planted().await else { return };
    let mut source = start(&etcd);
    source.until_in_sync().await;
    let kinds: Vec<Kind> = source.picture.objects.keys().map(ObjectId::kind).collect();
    assert_eq!(kinds, [Kind::Block, Kind::Affinity, Kind::Affinity]);
    assert!(has(&source.picture, MINE) && source.picture.has_pod("mine"));

    let told = source.told;
    for round in 0..50 {
        let (key, value) = block(OTHERS, "h2", &[pod(1, "h2", &format!("round-{round}"))]);
        etcd.put(&key, &value).await;
    }
    mark(&etcd, &mut source, "mark").await;
    assert_eq!(source.told - told, 1, "the mark alone");
    assert!(!has(&source.picture, OTHERS));
    source.stop().await;
}

#[tokio::test]
async fn own_blocks_are_followed_from_their_key_to_its_end() {
    let Some(etcd) = planted().await else { return };
    let mut source = start(&etcd);
    source.until_in_sync().await;

    let (key, value) = block(MINE, "h1", &[pod(1, "h1", "mine"), pod(2, "h1", "second")]);
    etcd.put(&key, &value).await;
    source.until("it changed", |picture| picture.has_pod("second")).await;
    etcd.delete(&key).await;
    source.until("it is gone", |picture| !has(picture, MINE)).await;

    // As Calico claims: the pending key, the block, the confirmed key.
    let (claim, confirmed) = affinity("h1", NEW);
    etcd.put(&claim, &confirmed.replace("confirmed", "pending")).await;
    source.until("the claim", |picture| picture.has("Pending")).await;
    let (key, value) = block(NEW, "h1", &[pod(3, "h1", "third")]);
    etcd.put(&key, &value).await;
    source.until("the block after its key", |picture| picture.has_pod("third")).await;
    etcd.put(&claim, &confirmed).await;

    // A key to a block that was there before.
    let (claim, confirmed) = affinity("h1", OTHERS);
    etcd.put(&claim, &confirmed).await;
    source.until("the block that was there", |picture| picture.has_pod("others")).await;
    let (key, value) = block(OTHERS, "h1", &[pod(4, "h1", "fourth")]);
    etcd.put(&key, &value).await;
    source.until("it changed", |picture| picture.has_pod("fourth")).await;

    // Given up: what happens to the block then is no news.
    etcd.delete(&claim).await;
    let gone = ObjectId::Affinity(BlockOwner::Host("h1".into()), OTHERS.parse().unwrap());
    source.until("the key is gone", |picture| !picture.objects.contains_key(&gone)).await;
    mark(&etcd, &mut source, "before").await;
    let told = source.told;
    let (key, value) = block(OTHERS, "h2", &[pod(5, "h2", "fifth")]);
    etcd.put(&key, &value).await;
    mark(&etcd, &mut source, "after").await;
    assert_eq!(source.told - told, 1, "the mark alone");

    // Taken back.
    etcd.put(&claim, &confirmed).await;
    source.until("it is read again", |picture| picture.has_pod("fifth")).await;
    assert_eq!((source.picture.syncs, source.picture.lost.len()), (1, 0));
    source.stop().await;
}

#[tokio::test]
async fn other_hosts_blocks_are_read_when_asked_for_and_sent_again_only_if_written_since() {
    let Some(etcd) = planted().await else { return };
    let mut source = start(&etcd);
    source.until_in_sync().await;

    source.ask(ask(OTHERS, false)).await;
    source.until("its answer", |picture| picture.has_pod("others")).await;
    source.ask(ask(OTHERS, true)).await;
    source.until("as it was", |picture| picture.same == [id(OTHERS)]).await;
    let (key, value) = block(OTHERS, "h2", &[pod(1, "h2", "changed")]);
    etcd.put(&key, &value).await;
    source.ask(ask(OTHERS, true)).await;
    source.until("as it is now", |picture| picture.has_pod("changed")).await;
    source.ask(ask(OTHERS, false)).await;
    mark(&etcd, &mut source, "mark").await;
    assert_eq!(source.picture.same.len(), 1, "whoever has forgotten it is told in full");
    etcd.put(&key, "garbage").await;
    source.ask(ask(OTHERS, true)).await;
    source.until("it cannot be read", |picture| picture.has("Unreadable")).await;
    let deletions = source.picture.deletions;
    etcd.delete(&block_key(OTHERS)).await;
    source.ask(ask(OTHERS, true)).await;
    source.until("it is gone", |picture| picture.deletions > deletions && !has(picture, OTHERS)).await;
    source.stop().await;
}

#[tokio::test]
async fn it_lists_and_follows_again_after_a_loss_and_now_and_then() {
    let Some(mut etcd) = planted().await else { return };
    let mut config = config(etcd.settings());
    config.follow = Follow::Affinities("h1".into());
    config.resync = Duration::from_millis(400);
    let mut source = Source::start(config);
    source.until_in_sync().await;
    source.until("lists", |picture| picture.syncs >= 3).await;
    assert!(source.picture.lost.is_empty() && source.picture.has_pod("mine"));

    etcd.stop();
    source.until("the loss is said", |picture| !picture.in_sync).await;
    assert!(has(&source.picture, MINE), "what is known stays");
    etcd.start_again().await;
    source.until_in_sync().await;
    let (key, value) = block(MINE, "h1", &[pod(1, "h1", "again")]);
    etcd.put(&key, &value).await;
    source.until("it follows again", |picture| picture.has_pod("again")).await;
    assert!(!has(&source.picture, OTHERS));
    source.stop().await;
}

/// A history that is compacted before it was read: a fresh list, and nothing of it is lost.
#[tokio::test]
async fn a_compacted_history_is_listed_again() {
    let Some(etcd) = planted().await else { return };
    let mut source = start(&etcd);
    source.until_in_sync().await;
    // Nobody receives now. More than all windows and queues on the way can hold:
    let (key, _) = node("large", serde_json::json!({}), None, None);
    let mut writers = Vec::new();
    for _ in 0..4 {
        let (mut client, key) = (etcd.client().await, key.clone());
        writers.push(tokio::spawn(async move {
            for _ in 0..500 {
                client.put(key.as_str(), "x".repeat(20_000), None).await.unwrap();
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let (key, value) = block(MINE, "h1", &[pod(1, "h1", "last")]);
    let put = etcd.client().await.put(key, value, None).await.unwrap();
    let revision = put.header().unwrap().revision();
    etcd.client().await.compact(revision, None).await.unwrap();
    source.until("a fresh list", |picture| picture.syncs == 2 && picture.has_pod("last")).await;
    assert!(source.picture.lost[0].contains("compacted"), "{:?}", source.picture.lost);
    assert!(!has(&source.picture, OTHERS));
    source.stop().await;
}

/// What is read once for `check` is what is followed.
#[tokio::test]
async fn a_picture_read_once_has_keys_and_own_blocks_and_answers_for_the_rest() {
    use calico_exporter::source::etcd::{Timeouts, affinities};
    let Some(etcd) = planted().await else { return };
    let (events, mut reader) = affinities(&etcd.settings(), Timeouts::default(), &"h1".into()).await.unwrap();
    let picture = Picture::of(events);
    assert!(picture.in_sync && picture.has_pod("mine") && !has(&picture, OTHERS));
    let answers = reader.answer(&[ask(OTHERS, false), ask(NEW, false)]).await.unwrap();
    assert!(matches!(&answers[0], Event::Put(object) if object.id() == id(OTHERS)));
    assert_eq!(answers[1..], [Event::Delete(id(NEW))]);
}
