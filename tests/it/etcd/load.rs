//! Much data, and much change.

use std::time::Duration;

use calico_exporter::source::etcd::{Timeouts, snapshot};

use crate::support::etcd::{Etcd, block, full_block};
use crate::support::follow::{Picture, Source, config};

#[tokio::test]
async fn more_than_a_message_can_hold_is_read_in_pages() {
    let Some(etcd) = Etcd::start().await else { return };
    let mut client = etcd.client().await;
    let mut bytes = 0;
    for index in 0..1000 {
        let (key, value) = full_block(index);
        bytes += value.len();
        client.put(key, value, None).await.unwrap();
    }
    // A page with nothing but values of the greatest size: more than any message may hold.
    for index in 1000..1020 {
        let (key, _) = full_block(index);
        client.put(key, "x".repeat(1_400_000), None).await.unwrap();
    }
    assert!(bytes > 8_000_000);
    let mut source = Source::start(config(etcd.settings()));
    source.until_in_sync().await;
    assert_eq!(source.picture.objects.len(), 1020);
    assert!(source.picture.lost.is_empty(), "{:?}", source.picture.lost);
    source.stop().await;
}

#[tokio::test]
async fn nothing_is_lost_among_a_thousand_changes_a_second() {
    let Some(etcd) = Etcd::start().await else { return };
    let mut config = config(etcd.settings());
    // Lists in the middle of it all: none may bring back what a watch saw go.
    config.resync = Duration::from_millis(700);
    let mut source = Source::start(config);
    source.until_in_sync().await;

    let mut writers = Vec::new();
    for writer in 0..8_u32 {
        let mut client = etcd.client().await;
        writers.push(tokio::spawn(async move {
            let mut turn = tokio::time::interval(Duration::from_millis(8));
            for round in 0..500_u32 {
                turn.tick().await;
                let (key, value) = block(writer * 1000 + round * 7 % 50, &format!("{writer}-{round}"));
                if round % 3 == 2 {
                    client.delete(key, None).await.unwrap();
                } else {
                    client.put(key, value, None).await.unwrap();
                }
            }
        }));
    }
    let written = tokio::spawn(async move {
        for writer in writers {
            writer.await.unwrap();
        }
    });
    while !written.is_finished() {
        let lists = source.picture.syncs + 1;
        source.until("one more list", |picture| picture.syncs >= lists).await;
    }
    written.await.unwrap();
    let (key, value) = block(99_999, "last");
    etcd.put(&key, &value).await;
    source.until("the last change", |picture| picture.has_pod("last")).await;
    source.until("a whole list", |picture| picture.in_sync).await;

    let fresh = Picture::of(snapshot(&etcd.settings(), Timeouts::default()).await.unwrap());
    assert!(fresh.objects.len() > 100);
    assert_eq!(source.picture.objects, fresh.objects);
    assert!(source.picture.lost.is_empty(), "{:?}", source.picture.lost);
    assert!(source.picture.syncs >= 3);
    source.stop().await;
}

#[tokio::test]
async fn a_list_whose_revision_is_compacted_begins_again() {
    let Some(etcd) = Etcd::start().await else { return };
    let mut client = etcd.client().await;
    for index in 0..1500 {
        let (key, value) = block(index, "first");
        client.put(key, value, None).await.unwrap();
    }
    let mut source = Source::start(config(etcd.settings()));
    source.until("the list begins", |picture| !picture.objects.is_empty()).await;
    // Nobody receives now, so that the list stands still in the middle.
    let (key, value) = block(1499, "last");
    let revision = client.put(key, value, None).await.unwrap().header().unwrap().revision();
    client.compact(revision, None).await.unwrap();
    source.until_in_sync().await;
    assert_eq!((source.picture.resyncs, source.picture.syncs, source.picture.objects.len()), (2, 1, 1500));
    assert!(source.picture.has_pod("last"));
    assert!(source.picture.lost.is_empty(), "{:?}", source.picture.lost);
    source.stop().await;
}
