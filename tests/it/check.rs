//! `check` on a hundred hosts: ten planted faults of different kinds are named, and nothing else.

use serde_json::json;

use crate::support::dumped::{
    Carrier, Dumped, address, affinity_key, block_base, block_key, endpoint_key, handle, handle_key, host,
};

const HOSTS: usize = 100;

/// Runs the real `check`; the exit code and the findings as `metric{labels} subject`.
fn check(cluster: &Dumped) -> (i32, Vec<String>) {
    let (code, answer) = cluster.check_json();
    let findings = answer["findings"].as_array().unwrap().iter().map(|it| {
        let labels: Vec<String> = it["labels"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| format!("{name}={}", value.as_str().unwrap()))
            .collect();
        let (metric, subject) = (it["metric"].as_str().unwrap(), it["subject"].as_str().unwrap());
        format!("{metric}{{{}}} {subject}", labels.join(","))
    });
    (code, findings.collect())
}

#[test]
fn ten_faults_planted_among_a_hundred_hosts_are_named_and_nothing_else() {
    let mut cluster = Dumped::healthy(Carrier::Vxlan, HOSTS);
    assert_eq!(check(&cluster), (0, vec![]), "the cluster is healthy before anything is planted");

    // 1: an address that will be handed out twice.
    cluster.value(&block_key(11))["unallocated"].as_array_mut().unwrap().push(json!(2));
    // 2: an address that is lost.
    cluster.value(&block_key(12))["unallocated"].as_array_mut().unwrap().retain(|it| *it != json!(40));
    // 3: a block that nobody has a key to.
    cluster.keys.remove(&affinity_key(13));
    // 4: a value that nobody can read.
    *cluster.value(&affinity_key(14)) = json!("{\"state\":");
    // 5: a leaked address: its endpoint is gone.
    cluster.keys.remove(&endpoint_key(15, 1));
    // 6: a handle that is gone.
    cluster.keys.remove(&handle_key(16, 2));
    // 7: a tunnel address that is another's in the datastore.
    let attributes = cluster.value(&block_key(17))["attributes"].as_array_mut().unwrap();
    attributes[0]["secondary"] = json!({"node": host(17), "type": "ipipTunnelAddress"});
    // 8: a route that is missing, 9: one that leads elsewhere, 10: one that is stale.
    let missing = format!("{}/26", block_base(18));
    cluster.routes.retain(|route| route["dst"] != missing.as_str());
    cluster.route(19)["gateway"] = json!(address(20, 0));
    let stale = "10.100.200.0/26";
    let mut left = cluster.route(21).clone();
    left["dst"] = json!(stale);
    cluster.routes.push(left);

    let (code, found) = check(&cluster);
    let mut expected = vec![
        format!("calico_ipam_mismatched_addresses{{reason=allocated_and_unallocated}} {}", address(11, 2)),
        format!("calico_ipam_mismatched_addresses{{reason=neither}} {}", address(12, 40)),
        format!("calico_ipam_affinity_faults{{reason=block_without_affinity}} {}/26", block_base(13)),
        format!("calico_exporter_undecodable_keys{{kind=affinity}} {}", affinity_key(14)),
        format!("calico_ipam_leaked_addresses{{ippool=pods,reason=allocated_not_in_use}} {}", address(15, 1)),
        format!("calico_ipam_handle_faults{{reason=missing_handle}} {}", handle(16, 2)),
        format!("calico_tunnel_faults{{device=vxlan.calico,reason=not_allocated}} {}", address(17, 0)),
        format!("calico_route_faults{{class=remote_block,reason=missing}} {missing}"),
        format!("calico_route_faults{{class=remote_block,reason=wrong_next_hop}} {}/26", block_base(19)),
        format!("calico_route_faults{{class=remote_block,reason=stale}} {stale}"),
    ];
    expected.sort();
    let mut found = found;
    found.sort();
    assert_eq!(found, expected);
    assert_eq!(code, 1);
}
