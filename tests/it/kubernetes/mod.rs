//! The live Kubernetes source against a real API server.

mod affinities;
mod borrowed;
mod faults;
mod follow;
mod kubeconfig;
mod lies;
mod served;
mod trouble;

use std::time::Duration;

use calico_exporter::source::backoff::Backoff;
use calico_exporter::source::kubernetes::settings::Settings;
use calico_exporter::source::kubernetes::{Config, Pace, Timeouts};
use serde_json::{Value, json};

use crate::support::kube::{ApiServer, V1, V3};
use crate::support::repository;

/// A configuration as impatient as a test.
pub(crate) fn config(settings: Settings) -> Config {
    let timeouts = Timeouts { answer: Duration::from_secs(10), piece: Duration::from_secs(10), ..Timeouts::default() };
    let mut config = Config::with_timeouts(&settings, timeouts);
    config.pace = Pace {
        jitter: Duration::from_millis(100),
        longest_wait: Duration::from_secs(1),
        backoff: Backoff::new(Duration::from_millis(50), Duration::from_millis(500)),
        ..Pace::default()
    };
    config
}

/// A recorded list.
fn recorded(group: &str, resource: &str) -> Value {
    let folder = if group == V1 { "kubernetes-v1" } else { "kubernetes-v3" };
    let path = repository(&format!("tests/fixtures/{folder}/{resource}.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Puts the recorded cluster there, apart from its Pods.
async fn fill(server: &ApiServer, group: &str) {
    let config = if group == V3 { "ipamconfigurations" } else { "ipamconfigs" };
    for resource in [
        "clusterinformations",
        "ippools",
        config,
        "ipreservations",
        "felixconfigurations",
        "bgpconfigurations",
        "blockaffinities",
        "ipamblocks",
        "ipamhandles",
    ] {
        server.create_all(&format!("/apis/{group}/{resource}"), &recorded(group, resource)).await;
    }
    server.create_all("/api/v1/nodes", &recorded(group, "nodes")).await;
}

/// Where blocks are.
fn blocks(group: &str) -> String {
    format!("/apis/{group}/ipamblocks")
}

/// An empty block of four addresses.
fn block(group: &str, cidr: &str, host: &str) -> Value {
    json!({
        "apiVersion": group, "kind": "IPAMBlock", "metadata": {"name": cidr.replace(['.', ':', '/'], "-")},
        "spec": {
            "cidr": cidr, "affinity": format!("host:{host}"), "deleted": false, "strictAffinity": false,
            "allocations": [null, null, null, null], "unallocated": [0, 1, 2, 3], "attributes": [],
            "sequenceNumber": 1, "sequenceNumberForAllocation": {},
        },
    })
}
