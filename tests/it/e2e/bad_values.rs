//! Whatever somebody writes into etcd: it is counted, the program lives, and nothing else is touched by it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::exposition::{Exposition, Key};
use crate::support::calico::{KeyValue, affinity, block, block_key, cluster, node, owned, pod, pool};
use crate::support::etcd::Etcd;
use crate::support::exporter::{Exporter, findings, run};

const CIDR: &str = "10.65.0.0/26";
const RESOURCES: &str = "/calico/resources/v3/projectcalico.org";

fn good() -> Vec<KeyValue> {
    let mut all = vec![
        cluster("v3.33.0", "k8s,bgp"),
        pool("main", "10.65.0.0/16", 26, "Always", "Never"),
        node("h1", json!({"ipv4Address": "10.0.0.1/24"}), None, None),
        node("h2", json!({"ipv4Address": "10.0.0.2/24"}), None, None),
    ];
    all.extend(owned(CIDR, "h1", &[pod(1, "h1", "web-0"), pod(2, "h1", "web-1")]));
    all.extend(owned("10.65.1.0/26", "h2", &[pod(0, "h2", "web-2")]));
    all
}

/// The good block with one field written otherwise.
fn with(field: &str, value: Value) -> Vec<u8> {
    let mut block: Value = serde_json::from_str(&good()[4].1).unwrap();
    block[field] = value;
    block.to_string().into_bytes()
}

/// The same with a value that `serde_json` would not write.
fn with_text(field: &str, text: &str) -> Vec<u8> {
    let block = String::from_utf8(with(field, json!("REPLACED"))).unwrap();
    block.replace("\"REPLACED\"", text).into_bytes()
}

/// Values of a block that nothing can be read from.
fn unreadable() -> Vec<(&'static str, Vec<u8>)> {
    let whole = good()[4].1.clone().into_bytes();
    let garbage: Vec<u8> = (0..1_u32 << 20).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    vec![
        ("empty", Vec::new()),
        ("blank", b" \n\t".to_vec()),
        ("null", b"null".to_vec()),
        ("a truncated object", whole[..whole.len() / 2].to_vec()),
        ("an object and more", [&whole[..], b"}"].concat()),
        ("a list", b"[]".to_vec()),
        ("a number", b"7".to_vec()),
        ("text", b"\"10.65.0.0/26\"".to_vec()),
        ("no fields", b"{}".to_vec()),
        ("no JSON", b"cidr: 10.65.0.0/26".to_vec()),
        ("a CIDR that is none", with("cidr", json!("10.65.0/26"))),
        ("a CIDR that is null", with("cidr", Value::Null)),
        ("a CIDR with a control character", with("cidr", json!("10.65.0.0/26\u{1b}[2J"))),
        ("an affinity that is a list", with("affinity", json!(["host:h1"]))),
        ("allocations that are a map", with("allocations", json!({"1": 0}))),
        ("allocations that are text", with("allocations", json!(["0"]))),
        ("an index that is a fraction", with("allocations", json!([0.5]))),
        ("an index over 2^63", with_text("allocations", "[9223372036854775808]")),
        ("a list without end", with_text("unallocated", &format!("[{}", "1,".repeat(1000)))),
        ("a list of more than 65536", with("unallocated", json!(vec![1; 70_000]))),
        ("a handle that is a number", with("attributes", json!([{"handle_id": 5}]))),
        ("an owner that is text", with("attributes", json!([{"secondary": "h1"}]))),
        ("a negative sequence number", with("sequenceNumber", json!(-1))),
        ("a sequence number over 2^64", with_text("sequenceNumber", "18446744073709551616")),
        ("a sequence number that is a fraction", with_text("sequenceNumber", "1.8e18")),
        ("nested too deeply", with_text("attributes", &format!("{}{}", "[".repeat(5000), "]".repeat(5000)))),
        (
            "no UTF-8",
            with_text("affinity", "\"X\"").iter().map(|byte| if *byte == b'X' { 0xff } else { *byte }).collect(),
        ),
        ("NUL bytes", vec![0; 4096]),
        ("1 MiB of garbage", garbage),
        ("half an UTF-16 pair", with_text("affinity", r#""\ud800""#)),
    ]
}

/// Values that say something wrong: how each is counted.
fn wrong() -> Vec<(&'static str, Vec<u8>)> {
    let list = |length: usize| json!((0..length).map(|_| Value::Null).collect::<Vec<_>>());
    vec![
        ("wrong_length", with("allocations", list(63))),
        ("wrong_length", with("allocations", list(65))),
        ("unallocated_out_of_range", with("unallocated", json!([-1]))),
        ("unallocated_out_of_range", with("unallocated", json!([64]))),
        ("unallocated_out_of_range", with("unallocated", json!([9_007_199_254_740_993_i64]))),
        ("bad_attribute_index", with("attributes", Value::Null)),
        ("unreferenced_attribute", with("allocations", list(64))),
        ("cidr_differs_from_key", with("cidr", json!("10.65.1.0/26"))),
        ("sequence_number", with("sequenceNumberForAllocation", json!({"64": 1}))),
        ("sequence_number", with("sequenceNumberForAllocation", json!({"1": 1_787_390_000_123_456_798_u64}))),
    ]
}

/// Other kinds of objects: the kind, the key, a bad value.
const OTHERS: &[(&str, &str, &str)] = &[
    ("affinity", "ipam/v2/host/h1/ipv4/block/10.65.0.0-26", "{\"state\":\"con\\u0000firmed\"}"),
    ("affinity", "ipam/v2/host/h1/ipv4/block/10.65.0.0-26", "7"),
    ("ipamconfig", "ipam/v2/config", r#"{"maxBlocksPerHost":-1}"#),
    ("ippool", "ippools/main", r#"{"spec":{"cidr":"10.65.0.0/99"}}"#),
    ("ippool", "ippools/main", ""),
    ("ipreservation", "ipreservations/some", r#"{"spec":{"reservedCIDRs":7}}"#),
    ("node", "nodes/h1", r#"{"spec":{"bgp":{"ipv4Address":"10.0.0.300/24"}}}"#),
    ("node", "nodes/h1", "null"),
    ("felixconfiguration", "felixconfigurations/default", r#"{"spec":{"routeSyncDisabled":"no"}}"#),
    ("bgpconfiguration", "bgpconfigurations/default", r#"{"spec":{"nodeToNodeMeshEnabled":1}}"#),
    ("bgppeer", "bgppeers/tor", r#"{"spec":[]}"#),
    ("clusterinformation", "clusterinformations/default", r#"{"spec":"#),
];

async fn start(etcd: &Etcd) -> Exporter {
    etcd.put_all(&good()).await;
    let url = etcd.url();
    let arguments = ["--etcd.endpoints", &url, "--node.name", "h1", "--datastore.resync", "1h"];
    // What a sweep adds would come in the midst of it.
    let exporter = Exporter::start(&[&arguments[..], &["--no-collector.routes", "--no-collector.leaks"]].concat());
    exporter.until_ready();
    exporter
}

fn undecodable(scrape: &Exposition, kind: &str) -> f64 {
    scrape.value("calico_exporter_undecodable_keys", &[("kind", kind)]).unwrap()
}

fn invalid(scrape: &Exposition, reason: &str) -> f64 {
    scrape.value("calico_ipam_invalid_blocks", &[("reason", reason)]).unwrap()
}

/// What is said of h2 and its block, and of everything that adds up to nothing where all is well.
fn of_h2(scrape: &Exposition) -> BTreeMap<Key, f64> {
    let concerns = |(_, labels): &Key| labels.get("host").is_some_and(|host| host == "h2");
    scrape.samples.iter().filter(|(key, _)| concerns(key)).map(|(key, value)| (key.clone(), *value)).collect()
}

/// All of IPAM.
fn ipam(scrape: &Exposition) -> BTreeMap<Key, f64> {
    let of =
        |name: &str| ["calico_ip", "calico_host_", "calico_exporter_undecodable"].iter().any(|it| name.starts_with(it));
    scrape.samples.iter().filter(|((name, _), _)| of(name)).map(|(key, value)| (key.clone(), *value)).collect()
}

#[tokio::test]
async fn every_bad_value_of_a_block_is_counted_and_hurts_nobody_else() {
    let Some(etcd) = Etcd::start().await else { return };
    let mut exporter = start(&etcd).await;
    let healthy = exporter.scrape();
    let mut client = etcd.client().await;
    let key = block_key(CIDR);
    let values = unreadable();
    assert!(values.len() >= 20);
    for (what, value) in values {
        client.put(key.as_str(), value, None).await.unwrap();
        let scrape = exporter.until(what, |scrape| undecodable(scrape, "block") == 1.0);
        assert_eq!(of_h2(&scrape), of_h2(&healthy), "{what}");
        assert_eq!(exporter.findings(), [format!("block {key}")], "{what}");
        client.put(key.as_str(), good()[4].1.as_str(), None).await.unwrap();
        exporter.until(what, |scrape| ipam(scrape) == ipam(&healthy));
        assert!(exporter.is_running(), "{what}");
    }
    for (reason, value) in wrong() {
        client.put(key.as_str(), value.as_slice(), None).await.unwrap();
        let text = String::from_utf8_lossy(&value);
        let scrape = exporter.until(&format!("{reason}: {text}"), |scrape| invalid(scrape, reason) == 1.0);
        assert_eq!(undecodable(&scrape, "block"), 0.0, "{text}");
        assert_eq!(of_h2(&scrape), of_h2(&healthy), "{text}");
        client.put(key.as_str(), good()[4].1.as_str(), None).await.unwrap();
        exporter.until(reason, |scrape| ipam(scrape) == ipam(&healthy));
    }
    assert!(exporter.is_running());
}

#[tokio::test]
async fn every_other_kind_of_object_is_counted_under_its_name() {
    let Some(etcd) = Etcd::start().await else { return };
    let mut exporter = start(&etcd).await;
    let healthy = exporter.scrape();
    let mut client = etcd.client().await;
    for (kind, place, value) in OTHERS {
        let key = if place.starts_with("ipam/") { format!("/calico/{place}") } else { format!("{RESOURCES}/{place}") };
        client.put(key.as_str(), *value, None).await.unwrap();
        let scrape = exporter.until(&key, |scrape| undecodable(scrape, kind) == 1.0);
        assert_eq!(scrape.sum("calico_exporter_undecodable_keys"), 1.0, "{key}");
        assert!(exporter.findings().contains(&format!("{kind} {key}")), "{key}: {:?}", exporter.findings());
        match good().into_iter().find(|(good, _)| *good == key) {
            Some((_, good)) => drop(client.put(key.as_str(), good, None).await.unwrap()),
            None => drop(client.delete(key.as_str(), None).await.unwrap()),
        }
        exporter.until(&key, |scrape| ipam(scrape) == ipam(&healthy));
    }
    // Keys that only look like Calico's.
    for key in ["/calico/ipam/v2/assignment/ipv4/block/10.65.0.0", "/calico/ipam/v2/assignment/ipv4/block/nonsense-26"]
    {
        etcd.put(key, "{}").await;
        exporter.until(key, |scrape| undecodable(scrape, "block") == 1.0);
        etcd.delete(key).await;
        exporter.until(key, |scrape| undecodable(scrape, "block") == 0.0);
    }
    for key in
        ["/calico/ipam/v2/assignment/ipv5/block/10.65.0.0-26", "/calico/nonsense", &format!("{RESOURCES}/ippools/a/b")]
    {
        etcd.put(key, "nonsense").await;
    }
    let (key, value) = affinity("h1", "10.65.9.0/26");
    etcd.put(&key, &value).await;
    exporter.until("what comes after them", |scrape| {
        scrape.value("calico_host_blocks", &[("host", "h1"), ("ippool", "main"), ("state", "confirmed")]) == Some(2.0)
    });
    assert_eq!(exporter.scrape().sum("calico_exporter_undecodable_keys"), 0.0);
    assert!(exporter.is_running());
}

/// Handles and endpoints are too many to be watched: the sweep for leaks counts them.
#[tokio::test]
async fn what_only_the_sweep_reads_is_counted_as_well() {
    let Some(etcd) = Etcd::start().await else { return };
    etcd.put_all(&good()).await;
    let bad = [
        ("handle", "/calico/ipam/v2/handle/a.b".to_owned(), "null"),
        ("workloadendpoint", format!("{RESOURCES}/workloadendpoints/shop/h1-k8s-web--0-eth0"), "["),
    ];
    for (_, key, value) in &bad {
        etcd.put(key, value).await;
    }
    let url = etcd.url();
    let exporter = Exporter::start(&[
        "--etcd.endpoints",
        &url,
        "--node.name",
        "h1",
        "--no-collector.routes",
        "--datastore.resync",
        "1h",
        "--leaks.interval",
        "1s",
    ]);
    for (kind, key, _) in &bad {
        exporter.until(key, |scrape| undecodable(scrape, kind) == 1.0);
        assert!(exporter.findings().contains(&format!("{kind} {key}")), "{:?}", exporter.findings());
        assert!(exporter.log().contains(key), "{}", exporter.log());
    }
    for (kind, key, _) in &bad {
        etcd.delete(key).await;
        exporter.until(key, |scrape| undecodable(scrape, kind) == 0.0);
    }
    // Said once, however often it was swept.
    assert_eq!(exporter.log().matches("this value cannot be read").count(), bad.len(), "{}", exporter.log());
}

/// All of them at once, there from the start, and under `check`, which must not call that clean.
#[tokio::test]
async fn an_etcd_full_of_bad_values_is_read_all_the_same() {
    let Some(etcd) = Etcd::start().await else { return };
    let values = unreadable();
    let count = values.len();
    let mut client = etcd.client().await;
    for (index, (_, value)) in values.into_iter().enumerate() {
        client.put(block_key(&format!("10.65.{}.0/26", index + 2)), value, None).await.unwrap();
    }
    for (key, value) in [("a.b", "null"), ("a.c", "{\"block\":7}")] {
        etcd.put(&format!("/calico/ipam/v2/handle/{key}"), value).await;
    }
    etcd.put(&format!("{RESOURCES}/workloadendpoints/shop/some"), "[").await;
    let exporter = start(&etcd).await;
    let scrape = exporter.scrape();
    assert_eq!(undecodable(&scrape, "block"), count as f64);
    let free = [("host", "h1"), ("ippool", "main"), ("state", "free")];
    assert_eq!(scrape.value("calico_host_addresses", &free), Some(62.0));
    // The first of them are named one by one, and the rest are counted.
    assert_eq!(exporter.log().matches("this value cannot be read").count(), count.min(20), "{}", exporter.log());

    let url = etcd.url();
    let check = ["check", "--etcd.endpoints", &url, "--node.name", "h1", "--no-collector.routes", "--settle", "0s"];
    let told = run(&[&check[..], &["--output", "json"]].concat());
    assert_eq!(told.status.code(), Some(1), "{told:?}");
    let found = findings(std::str::from_utf8(&told.stdout).unwrap());
    let of = |kind: &str| found.iter().filter(|finding| finding.starts_with(&format!("{kind} /calico/"))).count();
    assert_eq!((of("block"), of("handle"), of("workloadendpoint")), (count, 2, 1), "{found:#?}");
    // For people: no value's bytes reach the terminal.
    let told = run(&check);
    assert_eq!(told.status.code(), Some(1));
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(!text.chars().any(|it| it.is_control() && it != '\n'), "{text:?}");

    // Mended, it is the same as if nothing had been.
    for index in 0..count {
        let cidr = format!("10.65.{}.0/26", index + 2);
        let (key, value) = block(&cidr, "h1", &[]);
        etcd.put(&key, &value).await;
        let (key, value) = affinity("h1", &cidr);
        etcd.put(&key, &value).await;
    }
    let scrape = exporter.until("all are read", |scrape| undecodable(scrape, "block") == 0.0);
    assert_eq!(scrape.value("calico_host_addresses", &free), Some(62.0 + 64.0 * count as f64));
}
