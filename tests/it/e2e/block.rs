//! A block as the project's first text shows it: two addresses allocated, `secondary` null, the free list turned over.

use serde_json::{Value, json};

use crate::exposition::Exposition;
use crate::support::calico::{KeyValue, affinity, block_key, node, pool};
use crate::support::etcd::Etcd;
use crate::support::exporter::{Exporter, findings, run};

const CIDR: &str = "172.20.238.192/26";
const HOST: &str = "host19";

/// The block, its free list as it is written, with the given ordinals before it.
fn block(freed: &[u64]) -> KeyValue {
    let allocations: Vec<Value> = (0..64)
        .map(|ordinal| match ordinal {
            8 => json!(0),
            9 => json!(1),
            _ => Value::Null,
        })
        .collect();
    let unallocated: Vec<u64> = freed.iter().copied().chain(10..64).chain([1, 0]).chain(2..8).collect();
    let handle = |id: &str| json!({"handle_id": format!("k8s-pod-network.{id}"), "secondary": null});
    let value = json!({
        "cidr": CIDR, "affinity": format!("host:{HOST}"), "strictAffinity": false,
        "allocations": allocations, "unallocated": unallocated,
        "attributes": [
            handle("e908404f358d0e88231393cf2e19b0328f05ccc162743e18a87e0192beef0e0d"),
            handle("c4367bf4e8732d6dc33ed192f9ee9ce07f9e6731a98e1fca58cd2d1c1b887c5c"),
        ],
    });
    (block_key(CIDR), value.to_string())
}

fn addresses(scrape: &Exposition, state: &str) -> Option<f64> {
    scrape.value("calico_host_addresses", &[("host", HOST), ("ippool", "main"), ("state", state)])
}

fn ratio(scrape: &Exposition) -> Option<f64> {
    scrape.value("calico_host_block_utilization_ratio", &[("host", HOST), ("ippool", "main")])
}

fn mismatches(scrape: &Exposition) -> [Option<f64>; 3] {
    ["allocated_and_unallocated", "neither", "duplicate"]
        .map(|reason| scrape.value("calico_ipam_mismatched_addresses", &[("reason", reason)]))
}

#[tokio::test]
async fn two_of_sixty_four_addresses_are_allocated_and_one_put_back_is_a_mismatch() {
    let Some(etcd) = Etcd::start().await else { return };
    etcd.put_all(&[
        pool("main", "172.20.0.0/16", 26, "Always", "Never"),
        node(HOST, json!({"ipv4Address": "10.0.0.19/24"}), None, None),
        affinity(HOST, CIDR),
        block(&[]),
    ])
    .await;
    let url = etcd.url();
    let etcd_alone = ["--etcd.endpoints", &url, "--no-collector.routes", "--node.name", HOST];
    let exporter = Exporter::start(&[&etcd_alone[..], &["--datastore.resync", "1h"]].concat());
    let scrape = exporter.until_ready();
    assert_eq!(addresses(&scrape, "allocated"), Some(2.0));
    assert_eq!(addresses(&scrape, "free"), Some(62.0));
    assert_eq!(ratio(&scrape), Some(0.03125));
    assert_eq!(mismatches(&scrape), [Some(0.0); 3]);
    assert_eq!(scrape.sum("calico_ipam_invalid_blocks"), 0.0);
    assert_eq!(scrape.sum("calico_ipam_affinity_faults"), 0.0);

    // Written as a person does it who repairs by hand.
    let (key, value) = block(&[8]);
    let Some(etcdctl) = crate::support::tool("etcdctl") else { return };
    let put = std::process::Command::new(etcdctl)
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", &etcd.url(), "put", &key, &value])
        .output()
        .unwrap();
    assert!(put.status.success(), "{put:?}");
    let scrape = exporter.until("a mismatch", |scrape| mismatches(scrape) == [Some(1.0), Some(0.0), Some(0.0)]);
    // The allocator goes by its list of free addresses, and so do the figures.
    assert_eq!(addresses(&scrape, "allocated"), Some(1.0));
    assert_eq!(addresses(&scrape, "free"), Some(63.0));
    assert_eq!(ratio(&scrape), Some(0.015625));
    assert_eq!(
        scrape.value("calico_host_mismatched_addresses", &[("host", HOST), ("reason", "allocated_and_unallocated")]),
        Some(1.0)
    );
    assert_eq!(exporter.findings(), ["allocated_and_unallocated 172.20.238.200"]);

    // `check` says the same. The two handles of the text have no objects here: the sweep would say so.
    let check =
        run(&[&["check"], &etcd_alone[..], &["--no-collector.leaks", "--settle", "0s", "--output", "json"]].concat());
    assert_eq!(check.status.code(), Some(1), "{check:?}");
    assert_eq!(findings(std::str::from_utf8(&check.stdout).unwrap()), ["allocated_and_unallocated 172.20.238.200"]);

    etcd.put(&key, &block(&[]).1).await;
    exporter.until("mended", |scrape| mismatches(scrape) == [Some(0.0); 3] && addresses(scrape, "free") == Some(62.0));
}
