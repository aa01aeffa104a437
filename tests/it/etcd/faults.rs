//! etcd paused, put back to an older state, slow, cut off, or a cluster that loses its leader.

use std::process::Command;
use std::time::Duration;

use calico_exporter::source::etcd::settings::Settings;
use calico_exporter::source::etcd::{Config, Probe};

use crate::support::cluster::Cluster;
use crate::support::etcd::{Etcd, block, settings};
use crate::support::follow::{Source, config};
use crate::support::netns::in_namespace;
use crate::support::proxy::Proxy;
use crate::support::tool;

/// A configuration that doubts silence soon.
fn doubting(settings: Settings) -> Config {
    let mut config = config(settings);
    config.probe = Probe { after: Duration::from_millis(300), timeout: Duration::from_secs(1) };
    config.timeouts.request = Duration::from_secs(2);
    config.timeouts.connect = Duration::from_secs(2);
    config
}

async fn put(etcd: &Etcd, index: u32, pod: &str) {
    let (key, value) = block(index, pod);
    etcd.put(&key, &value).await;
}

/// Its connections stay open, and nothing answers on them.
#[tokio::test]
async fn an_etcd_that_is_paused_is_not_trusted_until_it_goes_on() {
    let Some(etcd) = Etcd::start().await else { return };
    put(&etcd, 0, "before").await;
    let mut source = Source::start(doubting(etcd.settings()));
    source.until_in_sync().await;
    etcd.signal("STOP");
    source.until("the silence is said", |picture| !picture.in_sync).await;
    assert!(source.picture.has_pod("before"), "what is known stays");
    etcd.signal("CONT");
    source.until_in_sync().await;
    put(&etcd, 1, "after").await;
    source.until("it follows again", |picture| picture.has_pod("after")).await;
    source.stop().await;
}

/// What was written after the snapshot is gone, and revisions count from there again.
#[tokio::test]
async fn an_etcd_restored_from_an_older_snapshot_is_believed() {
    let Some(mut etcd) = Etcd::start().await else { return };
    put(&etcd, 0, "first").await;
    put(&etcd, 1, "second").await;
    let Some(snapshot) = etcd.snapshot().await else { return };
    put(&etcd, 0, "changed").await;
    put(&etcd, 2, "third").await;
    etcd.delete(&block(1, "").0).await;
    let mut source = Source::start(doubting(etcd.settings()));
    source.until("all of it", |picture| picture.in_sync && picture.has_pod("third")).await;
    assert!(!source.picture.has_pod("second"));
    etcd.stop();
    source.until("the loss is said", |picture| !picture.in_sync).await;
    etcd.restore(&snapshot).await;
    source.until("the older state", |picture| picture.in_sync && picture.has_pod("second")).await;
    assert!(source.picture.has_pod("first"), "{:?}", source.picture.objects);
    assert!(!source.picture.has_pod("changed") && !source.picture.has_pod("third"));
    put(&etcd, 3, "new").await;
    source.until("it follows again", |picture| picture.has_pod("new")).await;
    source.stop().await;
}

/// One of three is gone and another leads: the exporter goes to one that is there.
#[tokio::test]
async fn one_of_three_members_may_go_be_it_the_leader() {
    let Some(mut cluster) = Cluster::start().await else { return };
    cluster.put(&block(0, "before")).await;
    // Each has its turn to be the one that is followed first.
    let mut sources: Vec<Source> = (0..6).map(|_| Source::start(doubting(settings(cluster.urls())))).collect();
    for source in &mut sources {
        source.until_in_sync().await;
        assert!(source.picture.has_pod("before"));
    }
    let leader = cluster.leader().await;
    cluster.kill(leader);
    cluster.put(&block(1, "without")).await;
    for source in &mut sources {
        source.until("it follows another", |picture| picture.in_sync && picture.has_pod("without")).await;
    }
    assert_ne!(cluster.leader().await, leader);
    // Two gone: nobody leads, and a member that is left must not be believed.
    let next = cluster.leader().await;
    cluster.kill(next);
    for source in &mut sources {
        source.until("without a leader it is not trusted", |picture| !picture.in_sync).await;
    }
    cluster.start_again(leader).await;
    cluster.put(&block(2, "again")).await;
    for source in &mut sources {
        source.until("with two of three", |picture| picture.in_sync && picture.has_pod("again")).await;
    }
    for source in sources {
        source.stop().await;
    }
}

/// A second for each piece either way: slower, and no fault.
#[tokio::test]
async fn a_slow_network_is_no_loss() {
    let Some(etcd) = Etcd::start().await else { return };
    for index in 0..50 {
        put(&etcd, index, "before").await;
    }
    let proxy = Proxy::start(etcd.port()).await;
    proxy.delay(Duration::from_secs(1));
    let mut config = config(settings(vec![proxy.url()]));
    config.probe = Probe { after: Duration::from_secs(1), timeout: Duration::from_secs(10) };
    let mut source = Source::start(config);
    source.until_in_sync().await;
    assert_eq!(source.picture.objects.len(), 50);
    put(&etcd, 50, "slowly").await;
    source.until("it comes", |picture| picture.has_pod("slowly")).await;
    assert!(source.picture.lost.is_empty(), "{:?}", source.picture.lost);
    source.stop().await;
}

/// etcd in a network of its own, and the cable between pulled and plugged in again.
#[test]
fn a_network_that_is_cut_is_said_and_followed_when_it_is_back() {
    const ETCD: &str = "10.99.0.2";
    in_namespace(async |namespace| {
        if tool("nsenter").is_none() {
            return;
        }
        // This thread is in etcd's network first.
        namespace.ip("link set lo up");
        namespace.veth("eth0", "far", &format!("{ETCD}/24"));
        let Some(etcd) = Etcd::start_at(ETCD).await else { return };
        put(&etcd, 0, "before").await;
        let there = |words: &str| {
            let pid = etcd.pid().to_string();
            let ip = Command::new("nsenter").args(["-t", &pid, "-n", "ip"]).args(words.split(' ')).status().unwrap();
            assert!(ip.success(), "{words}");
        };
        // And in one of its own from now on.
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        there(&format!("link set far netns {}", nix::unistd::gettid()));
        namespace.ip("addr add 10.99.0.1/24 dev far");
        namespace.ip("link set far up");
        let put_there = |index: u32, pod: &str| {
            let ((key, value), pid) = (block(index, pod), etcd.pid().to_string());
            let words = ["-t", &pid, "-n", "etcdctl", "--endpoints", &etcd.url(), "put", &key, &value];
            let put = Command::new("nsenter").args(words).env("ETCDCTL_API", "3").output().unwrap();
            assert!(put.status.success(), "{put:?}");
        };
        let mut source = Source::start(doubting(etcd.settings()));
        source.until("across the cable", |picture| picture.in_sync && picture.has_pod("before")).await;
        there("link set eth0 down");
        source.until("the cut is said", |picture| !picture.in_sync).await;
        put_there(1, "meanwhile");
        assert!(source.picture.has_pod("before") && !source.picture.has_pod("meanwhile"));
        there("link set eth0 up");
        source.until("it is whole again", |picture| picture.in_sync && picture.has_pod("meanwhile")).await;
        put_there(2, "after");
        source.until("it follows again", |picture| picture.has_pod("after")).await;
        source.stop().await;
    });
}
