//! Support bundles: what is judged from one is what was judged where it was written, under whatever names, and no secret
//! leaves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use calico_exporter::source::bundle::{About, Bundle, Raw};
use calico_exporter::source::{file, iproute};
use flate2::read::GzDecoder;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::dumped::{Carrier, Dumped, affinity_key, block_key, endpoint_key, handle_key, host};
use crate::support::etcd::{Etcd, block};
use crate::support::repository;

/// Runs `check` and returns its answer and how it ended.
fn check(arguments: &[String]) -> (Value, i32) {
    let output = Command::new(env!("CARGO_BIN_EXE_calico-exporter"))
        .env_clear()
        .args(["check", "--output", "json"])
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let answer = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (answer, output.status.code().unwrap())
}

/// etcd's pairs out of a dump.
fn pairs(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let dump: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let bytes = |value: &Value| BASE64_STANDARD.decode(value.as_str().unwrap_or_default()).unwrap();
    dump["kvs"].as_array().unwrap().iter().map(|it| (bytes(&it["key"]), bytes(&it["value"]))).collect()
}

/// What is found, without names: how often for each metric and reason.
fn forms(answer: &Value) -> BTreeMap<String, usize> {
    let mut forms = BTreeMap::new();
    for finding in answer["findings"].as_array().unwrap() {
        let labels = finding["labels"].as_object().unwrap().iter();
        let labels = labels.filter(|(name, _)| matches!(name.as_str(), "reason" | "class" | "kind" | "family"));
        let labels: Vec<String> = labels.map(|(name, value)| format!("{name}={value}")).collect();
        *forms.entry(format!("{}{labels:?}", finding["metric"])).or_default() += 1;
    }
    forms
}

/// What is found, by name. (Why a value cannot be read is not among it: a bundle does not have that value.)
fn named(answer: &Value) -> Vec<Value> {
    let fields = ["metric", "labels", "subject", "host", "severity"];
    let findings = answer["findings"].as_array().unwrap().iter();
    findings.map(|finding| fields.iter().map(|field| finding[*field].clone()).collect()).collect()
}

/// Bundles of these dumps, as they are and under other names, say what the dumps say.
fn is_the_same(node: &str, datastore: &Path, routes: Option<(&Path, &Path)>) {
    let folder = tempfile::tempdir().unwrap();
    let mut arguments = vec!["--datastore.file".to_owned(), datastore.display().to_string()];
    arguments.extend(["--node.name".to_owned(), node.to_owned()]);
    let mut kernel = None;
    if let Some((routes, links)) = routes {
        let path = |path: &Path| path.display().to_string();
        arguments.extend(["--routes.file".to_owned(), path(routes), "--links.file".to_owned(), path(links)]);
        kernel = Some(iproute::snapshot(routes, Some(links)).unwrap());
    }
    let (wanted, code) = check(&arguments);
    let raw = Raw::Etcd(pairs(datastore));
    let about = About { node: node.to_owned(), ..About::default() };
    let others = file::datastore(datastore).unwrap().events;
    for anonymise in [false, true] {
        let others = anonymise.then_some(&others[..]);
        let bundle = Bundle::new(about.clone(), &raw, kernel.as_deref(), others);
        let path = folder.path().join(format!("{anonymise}.gz"));
        bundle.write(&path).unwrap();
        let (found, ended) = check(&["--bundle".to_owned(), path.display().to_string()]);
        assert_eq!(ended, code, "{} {anonymise}", datastore.display());
        match anonymise {
            false => assert_eq!(named(&found), named(&wanted), "{}", datastore.display()),
            true => assert_eq!(forms(&found), forms(&wanted), "{}", datastore.display()),
        }
    }
}

#[test]
fn recorded_clusters_are_judged_the_same_from_a_bundle() {
    for (folder, node, host) in [
        ("bgp-reflectors", "n1", "n1"),
        ("bgp-reflectors", "n4", "n4"),
        ("ipip-mesh", "n1", ""),
        ("dual-stack-borrowing", "n1", ""),
    ] {
        let at = |file: &str| repository(&format!("tests/fixtures/{folder}/{file}"));
        let files: Vec<PathBuf> = ["routes", "links"].map(|it| at(&format!("{host}.{it}.json"))).into();
        is_the_same(node, &at("etcd.json"), (!host.is_empty()).then_some((&*files[0], &*files[1])));
    }
}

/// A cluster with faults, written down as dumps.
fn planted(faults: &[u8], carrier: Carrier) -> (tempfile::TempDir, [PathBuf; 3]) {
    let mut cluster = Dumped::healthy(carrier, 24);
    for (at, fault) in faults.iter().enumerate() {
        let index = at + 2;
        match fault % 7 {
            0 => cluster.value(&block_key(index))["unallocated"].as_array_mut().unwrap().push(json!(2)),
            1 => drop(cluster.keys.remove(&affinity_key(index))),
            2 => *cluster.value(&affinity_key(index)) = json!("{\"state\":"),
            3 => drop(cluster.keys.remove(&endpoint_key(index, 1))),
            4 => drop(cluster.keys.remove(&handle_key(index, 2))),
            5 => {
                let attributes = cluster.value(&block_key(index))["attributes"].as_array_mut().unwrap();
                attributes[0]["secondary"] = json!({"node": host(index), "type": "ipipTunnelAddress"});
            }
            _ => cluster.routes.retain(|route| route["dst"] != cluster_block(index).as_str()),
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let files = ["etcd.json", "routes.json", "links.json"].map(|file| folder.path().join(file));
    let encoded = |text: &str| BASE64_STANDARD.encode(text);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let kvs: Vec<Value> =
        cluster.keys.iter().map(|(key, value)| json!({"key": encoded(key), "value": encoded(&text(value))})).collect();
    std::fs::write(&files[0], json!({"header": {}, "kvs": kvs}).to_string()).unwrap();
    std::fs::write(&files[1], Value::from(cluster.routes.clone()).to_string()).unwrap();
    std::fs::write(&files[2], Value::from(cluster.links.clone()).to_string()).unwrap();
    (folder, files)
}

fn cluster_block(index: usize) -> String {
    format!("{}/26", crate::support::dumped::block_base(index))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn whatever_is_wrong_stays_so_under_other_names(
        faults in proptest::collection::vec(0u8..7, 0..16), bird: bool,
    ) {
        let carrier = if bird { Carrier::Bird } else { Carrier::Vxlan };
        let (_folder, [datastore, routes, links]) = planted(&faults, carrier);
        is_the_same(&host(0), &datastore, Some((&routes, &links)));
    }
}

#[tokio::test]
async fn a_live_host_and_its_etcd_are_written_without_secrets_and_read_again() {
    let Some(etcd) = Etcd::start().await else { return };
    let (key, value) = block(0, "secret-pod");
    etcd.put(&key, &value).await;
    etcd.put("/calico/ipam/v2/host/node-a/ipv4/block/10.0.0.0-26", "confirmed").await;
    let node = json!({
        "kind": "Node", "metadata": {"name": "node-a", "labels": {"owner": "s3cret"},
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "s3cret"}},
        "spec": {"bgp": {"ipv4Address": "192.0.2.7/24"}},
    });
    etcd.put("/calico/resources/v3/projectcalico.org/nodes/node-a", &node.to_string()).await;
    let pool = json!({"metadata": {"name": "pool-x"}, "spec": {"cidr": "10.0.0.0/16", "blockSize": 26}});
    etcd.put("/calico/resources/v3/projectcalico.org/ippools/pool-x", &pool.to_string()).await;
    let folder = tempfile::tempdir().unwrap();
    for (flags, named) in [(&[][..], true), (&["--anonymise"], false)] {
        let path = folder.path().join(format!("{named}.gz"));
        let output = Command::new(env!("CARGO_BIN_EXE_calico-exporter"))
            .env_clear()
            .env("ETCD_PASSWORD", "s3cret")
            .args(["bundle", "--etcd.endpoints", &etcd.url(), "--node.name", "node-a"])
            .args(flags)
            .arg(&path)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap());
        assert_eq!(mode & 0o777, 0o600);
        let document: Value = serde_json::from_reader(GzDecoder::new(std::fs::File::open(&path).unwrap())).unwrap();
        let kvs = document["documents"]["datastore"]["kvs"].as_array().unwrap();
        let decoded =
            |value: &Value| String::from_utf8(BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap()).unwrap();
        let values: String = kvs.iter().map(|it| decoded(&it["key"]) + " " + &decoded(&it["value"]) + "\n").collect();
        let all = format!("{document}{values}");
        assert!(!all.contains("s3cret"), "{all}");
        for name in ["node-a", "secret-pod", "pool-x", "192.0.2.7"] {
            assert_eq!(all.contains(name), named, "{name}: {all}");
        }
        assert!(document["documents"]["links"].as_array().unwrap().iter().any(|it| it["ifname"] == "lo"));
        let (found, _) = check(&["--bundle".to_owned(), path.display().to_string()]);
        assert_eq!(forms(&found), forms(&document["findings"]), "what was found there");
    }
}
