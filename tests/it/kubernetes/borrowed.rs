//! Addresses that hosts lend each other, in a real kernel, where only keys and own blocks are followed: another host's
//! block is read by name, and no more of them than routes turn on.

use std::collections::BTreeSet;

use calico_exporter::source::kubernetes::ApiGroup;
use serde_json::Value;

use super::served::exporter;
use crate::e2e::host::{datastore, kernel};
use crate::support::calico::{KeyValue, block, endpoint, pod, tunnel};
use crate::support::custom;
use crate::support::kube::{ApiServer, V1, folder, path, shipped_rules};
use crate::support::netns::in_namespace;

/// What the API server keeps of what etcd would hold.
fn item((key, value): &KeyValue) -> Value {
    custom::item(ApiGroup::Crd, key, value).unwrap()
}

async fn create(server: &ApiServer, item: Value) {
    server.create(&folder(&item), &item).await;
}

async fn replace(server: &ApiServer, pair: &KeyValue) {
    let item = item(pair);
    server.replace(&path(&item), &item).await;
}

/// The blocks that were read one by one so far; none is ever listed with others.
fn read(server: &ApiServer) -> BTreeSet<String> {
    let asked = server.asked();
    let all = |uri: &&String| uri.contains("/ipamblocks?") && !uri.contains("metadata.name");
    assert_eq!(asked.iter().find(all), None);
    asked.iter().filter_map(|uri| Some(uri.split_once("/ipamblocks/")?.1.to_owned())).collect()
}

#[test]
fn a_borrowed_address_is_judged_by_the_one_block_that_it_is_of() {
    in_namespace(async |namespace| {
        kernel(&namespace);
        let Some(server) = ApiServer::start(V1).await else { return };
        server.permit(&shipped_rules("calico-exporter", &[])).await;
        for pair in datastore() {
            create(&server, item(&pair)).await;
        }
        let flags = ["--no-collector.ipam", "--routes.watch", "affinities", "--routes.grace", "1s"];
        let exporter = exporter(&server, &[&flags[..], &["--node.name", "h1"]].concat());
        exporter.until_ready();
        let faults = |reason: &str, wanted: Option<f64>| {
            let labels = [("class", "borrowed"), ("reason", reason)];
            exporter.until(reason, |it| it.value("calico_route_faults", &labels) == wanted);
        };
        let borrowed = |wanted: f64| {
            exporter.until("the loans", |it| {
                let of = |by| it.value("calico_routes", &[("class", "borrowed"), ("encapsulation", by)]);
                of("ipip").zip(of("vxlan")).is_some_and(|(ipip, vxlan)| ipip + vxlan == wanted)
            });
        };

        // Two hosts have lent each other an address of a block each, and the kernel says so.
        borrowed(2.0);
        exporter.until_found(&[]);
        // The third might explain somebody else's route inside a pool, and does not exist.
        let turned_on = BTreeSet::from(["10-65-1-0-26", "10-65-15-0-26", "10-66-1-0-26"].map(str::to_owned));
        exporter.until("these blocks are read", |_| read(&server) == turned_on);

        // To the lender instead of the borrower.
        namespace.ip("route replace 10.65.1.9/32 via 172.18.0.5 dev tunl0 onlink proto 80");
        exporter.until_found(&["borrowed wrong_next_hop 10.65.1.9"]);
        faults("wrong_next_hop", Some(1.0));
        namespace.ip("route replace 10.65.1.9/32 via 172.19.0.6 dev tunl0 onlink proto 80");
        exporter.until_found(&[]);
        faults("wrong_next_hop", Some(0.0));

        // Without a route nothing asks about an address of another's block: that it is missing is not seen, nor claimed.
        namespace.ip("route del 10.65.1.9/32");
        borrowed(1.0);
        exporter.until_found(&[]);
        faults("missing", None);
        namespace.ip("route add 10.65.1.9/32 via 172.19.0.6 dev tunl0 onlink proto 80");
        borrowed(2.0);

        // This host lends one itself: its own block says what is missing.
        let own = |lent: &[_]| {
            let used = [
                tunnel(1, "h1", "ipip-tunnel-addr", "ipipTunnelAddress"),
                pod(2, "h1", "web-0"),
                pod(3, "h1", "web-1"),
            ];
            block("10.65.0.0/26", "h1", &[&used[..], lent].concat())
        };
        replace(&server, &own(&[pod(30, "h3", "far-2")])).await;
        exporter.until_found(&["borrowed missing 10.65.0.30"]);
        faults("missing", Some(1.0));
        namespace.ip("route add 10.65.0.30/32 via 172.19.0.6 dev tunl0 onlink proto 80");
        exporter.until_found(&[]);
        borrowed(3.0);
        replace(&server, &own(&[])).await;
        exporter.until_found(&["borrowed stale 10.65.0.30"]);
        namespace.ip("route del 10.65.0.30/32");
        exporter.until_found(&[]);

        // This host borrows one of the block that is known already.
        server.ensure_namespace("shop").await;
        create(&server, item(&endpoint("h1", "guest", "10.65.1.20/32", ""))).await;
        let lent =
            [tunnel(0, "h2", "ipip-tunnel-addr", "ipipTunnelAddress"), pod(9, "h3", "far-0"), pod(20, "h1", "guest")];
        replace(&server, &block("10.65.1.0/26", "h2", &lent)).await;
        namespace.veth(&custom::device("shop", "guest"), "p9", "169.254.1.1/32");
        namespace.ip(&format!("route add 10.65.1.20/32 dev {} scope link", custom::device("shop", "guest")));
        let pods = [("class", "local_workload"), ("encapsulation", "none")];
        exporter.until("the guest", |it| it.value("calico_routes", &pods) == Some(5.0));
        exporter.until_found(&[]);
        namespace.ip("route replace 10.65.1.20/32 via 172.19.0.6 dev tunl0 onlink proto 80");
        exporter.until_found(&["local_workload wrong_encapsulation 10.65.1.20"]);
        namespace.ip("route del 10.65.1.20/32");
        exporter.until_found(&[]);
        assert_eq!(read(&server), turned_on, "and no block of anybody else's all the while");
    });
}
