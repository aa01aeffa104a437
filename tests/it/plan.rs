//! `plan` on recordings, and against the lab's allocator: where one more host fits, it really gets a block.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::store::Store;

#[path = "../lab/ipam.rs"]
#[allow(dead_code, reason = "the lab needs more of it")]
mod allocator;

use allocator::Ipam;

/// Exit code and standard output.
fn plan(dump: &Path, flags: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_calico-exporter"));
    let output = command.arg("plan").arg("--datastore.file").arg(dump).args(flags).env_clear().output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
}

fn json_of(dump: &Path, flags: &[&str]) -> (Option<i32>, Value) {
    let (code, text) = plan(dump, &[flags, &["--output", "json"]].concat());
    (code, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

fn node(store: &mut Store, name: &str) {
    let value = json!({"metadata": {"name": name}, "spec": {"bgp": {"ipv4Address": "10.1.0.1/16"}}});
    store.put(&format!("/calico/resources/v3/projectcalico.org/nodes/{name}"), &value.to_string());
}

#[test]
fn one_more_host_fits_exactly_where_the_labs_allocator_takes_it() {
    let directory = tempfile::tempdir().unwrap();
    let dump = directory.path().join("etcd.json");
    let mut store = Store::default();
    let mut ipam = Ipam::new(&mut store);
    // Nobody borrows, so that a host without a block of its own has nothing.
    store.put("/calico/ipam/v2/config", &json!({"strict_affinity": true, "auto_allocate_blocks": true}).to_string());
    // 256 blocks of the IPIP pool, all but three claimed. The other pools are not to help out.
    for pool in ["plain", "vxlan", "plain6"] {
        let key = format!("/calico/resources/v3/projectcalico.org/ippools/{pool}");
        let mut value: Value = serde_json::from_str(&store.get(&key).unwrap()).unwrap();
        value["spec"]["disabled"] = json!(true);
        store.put(&key, &value.to_string());
    }
    let join = |ipam: &mut Ipam, store: &mut Store, index: usize| {
        let name = format!("h{index}");
        node(store, &name);
        let handle = format!("ipip-tunnel-addr-{name}");
        let attributes = json!({"type": "ipipTunnelAddress"});
        ipam.assign(store, "ipip", &name, &handle, attributes)
    };
    for index in 0..253 {
        join(&mut ipam, &mut store, index);
    }
    for index in 253..258 {
        std::fs::write(&dump, store.dump()).unwrap();
        // One address is the tunnel's, which the plan counts by itself.
        let (code, found) = json_of(&dump, &["--add-hosts", "1", "--pods-per-host", "0"]);
        let tried = catch_unwind(AssertUnwindSafe(|| join(&mut ipam, &mut store, index)));
        assert_eq!(code, Some(if tried.is_ok() { 0 } else { 1 }), "host {index}: {found}");
        assert_eq!(found["fit"], if tried.is_ok() { "yes" } else { "no" });
        assert_eq!(found["pools"][0]["more_hosts"], 256usize.saturating_sub(index), "host {index}");
        assert_eq!(tried.is_ok(), index < 256);
    }
    // And pods: the last host fills its block of 16, of which its tunnel has one.
    let (_, found) = json_of(&dump, &[]);
    let free = 256 * 15;
    assert_eq!(found["pools"][0]["more_pods"], free);
    for pod in 0..15 {
        ipam.assign(
            &mut store,
            "ipip",
            "h255",
            &format!("k8s-pod-network.{pod}"),
            json!({"pod": "p", "namespace": "n"}),
        );
    }
    std::fs::write(&dump, store.dump()).unwrap();
    let (_, found) = json_of(&dump, &[]);
    assert_eq!((&found["pools"][0]["more_pods"], &found["pools"][0]["pods"]), (&json!(free - 15), &json!(15)));
    let refused = AssertUnwindSafe(|| ipam.assign(&mut store, "ipip", "h255", "k8s-pod-network.x", json!({})));
    assert!(catch_unwind(refused).is_err());
}

#[test]
fn a_pool_over_a_nodes_own_address_is_said_and_changes_no_answer() {
    let directory = tempfile::tempdir().unwrap();
    let dump = directory.path().join("etcd.json");
    let mut store = Store::default();
    node(&mut store, "h1");
    let pool = |store: &mut Store, cidr: &str| {
        let value = json!({"metadata": {"name": "pods"}, "spec": {"cidr": cidr, "blockSize": 26}});
        store.put("/calico/resources/v3/projectcalico.org/ippools/pods", &value.to_string());
    };
    pool(&mut store, "10.1.0.0/20");
    std::fs::write(&dump, store.dump()).unwrap();
    let note = "pool pods (10.1.0.0/20) holds the addresses of Nodes (h1): \
                the first block over them cuts these Nodes off";
    let (code, text) = plan(&dump, &[]);
    assert_eq!((code, text.lines().filter(|line| *line == note).count()), (Some(0), 1), "{text}");
    assert_eq!(json_of(&dump, &[]).1["notes"], json!([note]));
    pool(&mut store, "10.2.0.0/20");
    std::fs::write(&dump, store.dump()).unwrap();
    assert_eq!(json_of(&dump, &[]).1["notes"], json!([]));
}

#[test]
fn a_recording_is_planned_and_its_exit_code_says_whether_it_fits() {
    let dump = crate::support::repository("tests/fixtures/dual-stack-borrowing/etcd.json");
    let (code, found) = json_of(&dump, &["--add-hosts", "10", "--pods-per-host", "100", "--block-size"]);
    assert_eq!(code, Some(0), "{found}");
    let small = &found["pools"][0];
    // 4 blocks of 16, three of them reserved in part, all claimed; 49 addresses are given out or reserved.
    assert_eq!(
        (&small["ippool"], &small["blocks_claimed"], &small["blocks_left"]),
        (&json!("v4-small"), &json!(4), &json!(0))
    );
    assert_eq!(small["block_sizes"][0]["block_size"], 26);
    assert_eq!(found["families"][1]["family"], "ipv6");
    let (code, found) = json_of(&dump, &["--add-hosts", "400", "--pods-per-host", "100"]);
    assert_eq!((code, &found["fit"], &found["families"][0]["runs_out"]), (Some(1), &json!("no"), &json!("addresses")));
    let (code, text) = plan(&dump, &["--add-hosts", "400", "--pods-per-host", "100"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("does not fit: addresses run out first"), "{text}");
}

#[test]
fn flags_that_say_nothing_are_refused_in_one_line() {
    let dump = crate::support::repository("tests/fixtures/three-hosts/etcd.json");
    for (flags, word) in [
        (&["--add-hosts", "3"][..], "--pods-per-host"),
        (&["--add-hosts", "x", "--pods-per-host", "1"], "--add-hosts"),
        (&["--add-hosts", "1", "--pods-per-host", "1", "--host-labels", "zone"], "--host-labels"),
        (&["--add-hosts", "2000000", "--pods-per-host", "1"], "--add-hosts"),
    ] {
        let (code, text) = plan(&dump, flags);
        assert_eq!(code, Some(2), "{flags:?}");
        assert!(text.contains(word) && text.trim_end().lines().count() == 1, "{text}");
    }
}
