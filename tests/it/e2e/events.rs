//! A change is seen because something says so: whatever is read at an interval is read far in the future.

use super::forms::assert_healthy;
use super::host::{Host, without_loan};
use crate::exposition::Exposition;
use crate::support::calico::owned;
use crate::support::netns::in_namespace;

/// How often a source was read from the start again: while that stands still, what is new came by events.
fn resyncs(scrape: &Exposition, source: &str) -> f64 {
    scrape.value("calico_exporter_source_resyncs_total", &[("source", source)]).unwrap()
}

#[test]
fn what_is_put_into_etcd_and_what_leaves_the_kernel_is_visible_by_events() {
    in_namespace(async |namespace| {
        let Some(host) = Host::start(namespace).await else { return };
        let exporter = host.exporter("1h");
        let before = exporter.until_ready();
        assert_healthy(&before);
        let free = |scrape: &Exposition| {
            scrape.value("calico_host_addresses", &[("host", "h2"), ("ippool", "ipip"), ("state", "free")])
        };
        let pending =
            |scrape: &Exposition| scrape.value("calico_routes_pending", &[("class", "remote_block")]).unwrap();
        assert_eq!(free(&before), Some(62.0));

        let (key, value) = without_loan();
        host.etcd.put(&key, &value).await;
        let scrape = exporter.until("an address more is free", |scrape| free(scrape) == Some(63.0));
        // Its route is left over, though not for long enough to be a fault.
        assert_eq!(scrape.value("calico_routes_pending", &[("class", "borrowed")]), Some(1.0));
        assert_eq!(resyncs(&scrape, "etcd"), 0.0);

        // A new block wants a route.
        for (key, value) in owned("10.65.3.0/26", "h2", &[]) {
            host.etcd.put(&key, &value).await;
        }
        let scrape = exporter.until("a route is wanted", |scrape| pending(scrape) == 1.0);
        assert_eq!(resyncs(&scrape, "etcd"), 0.0);

        // A device that is still settling may have the kernel listed anew just now: that shows nothing.
        let by_event = (0..20).any(|_| {
            let asked = resyncs(&exporter.scrape(), "netlink");
            host.namespace.ip("route del 10.66.17.0/26");
            let scrape = exporter.until("a second route is wanted", |scrape| pending(scrape) == 2.0);
            host.namespace.ip("route add 10.66.17.0/26 via 172.18.0.5 dev eth0 onlink proto 80");
            exporter.until("it is there again", |scrape| pending(scrape) == 1.0);
            resyncs(&scrape, "netlink") == asked
        });
        assert!(by_event, "each time the kernel was listed anew");
        host.namespace.ip("route add 10.65.3.0/26 via 172.18.0.5 dev tunl0 onlink proto 80");
        exporter.until("all are there", |scrape| pending(scrape) == 0.0);
        let changes = exporter.scrape();
        let count = |operation| {
            let by = |program| {
                let labels = [("class", "remote_block"), ("operation", operation), ("by", program)];
                changes.value("calico_route_changes_total", &labels).unwrap()
            };
            ["bird", "felix", "kernel", "other"].map(by).iter().sum::<f64>()
        };
        // One more came than went: the new block's.
        assert!(count("delete") >= 1.0);
        assert_eq!(count("add"), count("delete") + 1.0);
    });
}
