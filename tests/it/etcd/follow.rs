//! List, watch, look up, read once.

use std::time::Duration;

use calico_exporter::model::EndpointId;
use calico_exporter::source::etcd::{EtcdError, Swept, Timeouts, connect, snapshot, sweep};
use calico_exporter::state::{Event, Kind, ObjectId};

use crate::support::etcd::{Etcd, block};
use crate::support::follow::{Picture, Source, config};

const POOL: &str = "/calico/resources/v3/projectcalico.org/ippools/default-ipv4-ippool";
const POOL_VALUE: &str = r#"{"kind":"IPPool","apiVersion":"projectcalico.org/v3","metadata":{"name":"default-ipv4-ippool"},"spec":{"cidr":"10.0.0.0/8","vxlanMode":"Never","ipipMode":"CrossSubnet","blockSize":26}}"#;
const ENDPOINT: &str = "/calico/resources/v3/projectcalico.org/workloadendpoints/default/node--a-k8s-web--0-eth0";
const ENDPOINT_VALUE: &str = r#"{"kind":"WorkloadEndpoint","apiVersion":"projectcalico.org/v3","metadata":{"name":"node--a-k8s-web--0-eth0","namespace":"default"},"spec":{"orchestrator":"k8s","node":"node-a","containerID":"6d1f","pod":"web-0","endpoint":"eth0","ipNetworks":["10.0.0.1/32"],"interfaceName":"cali3f1c0a2b4d5"}}"#;
const HANDLE: &str = "/calico/ipam/v2/handle/k8s-pod-network.6d1f";
const HANDLE_VALUE: &str = r#"{"block":{"10.0.0.0/26":1},"deleted":false}"#;

fn kinds(picture: &Picture) -> Vec<Kind> {
    picture.objects.keys().map(ObjectId::kind).collect()
}

#[tokio::test]
async fn what_is_there_is_listed_and_what_changes_is_watched() {
    let Some(etcd) = Etcd::start().await else { return };
    let (key, value) = block(0, "first");
    etcd.put(&key, &value).await;
    etcd.put("/calico/ipam/v2/host/node-a/ipv4/block/10.0.0.0-26", "").await;
    etcd.put("/calico/ipam/v2/virtual/load-balancer/ipv4/block/10.9.0.0-26", r#"{"state":"confirmed"}"#).await;
    etcd.put("/calico/ipam/v2/config", r#"{"auto_allocate_blocks":true}"#).await;
    etcd.put(POOL, POOL_VALUE).await;
    etcd.put(HANDLE, HANDLE_VALUE).await;
    etcd.put(ENDPOINT, ENDPOINT_VALUE).await;
    etcd.put("/calico/resources/v3/projectcalico.org/networkpolicies/default/p", "{}").await;

    let mut source = Source::start(config(etcd.settings()));
    source.until_in_sync().await;
    assert_eq!(
        kinds(&source.picture),
        [Kind::Block, Kind::Affinity, Kind::Affinity, Kind::IpamConfig, Kind::Pool],
        "neither handles nor endpoints, nor what is not ours"
    );

    etcd.put(HANDLE, HANDLE_VALUE).await;
    let (other, value) = block(1, "second");
    etcd.put(&other, &value).await;
    source.until("the new block is seen", |picture| picture.has_pod("second")).await;
    etcd.put(&other, "{\"cidr\":").await;
    source.until("its broken value is seen", |picture| picture.has("Unreadable")).await;
    etcd.delete(&key).await;
    source.until("the first block is gone", |picture| !picture.has_pod("first")).await;
    assert_eq!(kinds(&source.picture)[0], Kind::Block, "a value that cannot be read is no deletion");
    assert_eq!((source.picture.syncs, source.picture.lost.len()), (1, 0));
    source.stop().await;
}

#[tokio::test]
async fn it_lists_again_now_and_then_without_a_loss() {
    let Some(etcd) = Etcd::start().await else { return };
    let mut config = config(etcd.settings());
    config.resync = Duration::from_millis(300);
    let mut source = Source::start(config);
    for index in 0..4_u32 {
        let (key, value) = block(index, &format!("pod-{index}"));
        etcd.put(&key, &value).await;
        let lists = source.picture.syncs + 2;
        let pod = format!("pod-{index}");
        source.until("listed again", |picture| picture.syncs >= lists && picture.has_pod(&pod)).await;
    }
    assert_eq!((source.picture.objects.len(), source.picture.lost.len()), (4, 0));
    source.stop().await;
}

#[tokio::test]
async fn endpoints_are_read_when_asked_for() {
    let Some(etcd) = Etcd::start().await else { return };
    etcd.put(ENDPOINT, ENDPOINT_VALUE).await;
    etcd.put(&ENDPOINT.replace("web", "bad"), "garbage").await;
    let mut source = Source::start(config(etcd.settings()));
    source.until_in_sync().await;

    source.look_up(EndpointId::of_pod("node-a", "default", "web-0")).await;
    source.look_up(EndpointId::of_pod("node-a", "default", "bad-0")).await;
    source.look_up(EndpointId::of_pod("node-a", "default", "gone-0")).await;
    source
        .until("three answers", |picture| {
            picture.has("cali3f1c0a2b4d5") && picture.has("Unreadable") && picture.deletions == 1
        })
        .await;
    etcd.delete(ENDPOINT).await;
    source.look_up(EndpointId::of_pod("node-a", "default", "web-0")).await;
    source.until("it is gone", |picture| picture.deletions == 2).await;
    source.stop().await;
}

#[tokio::test]
async fn a_snapshot_has_everything_and_a_sweep_what_is_numerous() {
    let Some(etcd) = Etcd::start().await else { return };
    let (key, value) = block(0, "first");
    etcd.put(&key, &value).await;
    etcd.put(POOL, POOL_VALUE).await;
    etcd.put(ENDPOINT, ENDPOINT_VALUE).await;
    let mut client = etcd.client().await;
    for index in 0..2500 {
        client.put(format!("/calico/ipam/v2/handle/k8s-pod-network.{index:05}"), HANDLE_VALUE, None).await.unwrap();
    }

    let events = snapshot(&etcd.settings(), Timeouts::default()).await.unwrap();
    let picture = Picture::of(events);
    assert!(picture.in_sync);
    assert_eq!(picture.objects.len(), 2503);
    assert!(picture.has("cali3f1c0a2b4d5") && picture.has_pod("first"));

    let connection = connect(&etcd.settings(), Timeouts::default()).await.unwrap();
    let mut found = Picture::default();
    let mut gather = |batch: Vec<Event>| batch.into_iter().for_each(|event| found.apply(event));
    let revision = sweep(&connection, &Swept::ALL, None, &mut gather).await.unwrap();
    assert_eq!(found.objects.len(), 2501);

    etcd.delete(ENDPOINT).await;
    let count_at = async |revision| {
        let mut count = 0;
        let result = sweep(&connection, &[Swept::Endpoints], revision, |batch| count += batch.len()).await;
        result.map(|_| count)
    };
    assert_eq!(count_at(Some(revision)).await, Ok(1), "as of then");
    assert_eq!(count_at(None).await, Ok(0));
    client.compact(revision + 1, None).await.unwrap();
    assert!(matches!(count_at(Some(revision)).await, Err(EtcdError::Compacted { .. })));
}
