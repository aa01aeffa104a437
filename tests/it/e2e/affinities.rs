//! A host that follows affinity keys and its own blocks (`--routes.watch affinities`): another host's block is read where
//! a route turns on it, and of what it cannot see it does not speak.

use super::host::{Host, without_loan};
use crate::support::calico::{affinity, block_key, node};
use crate::support::exporter::Exporter;
use crate::support::netns::in_namespace;

impl Host {
    /// One that follows affinity keys, and whose differences are soon faults.
    fn by_affinities(&self) -> Exporter {
        let url = self.etcd.url();
        let words = ["--etcd.endpoints", &url, "--node.name", "h1", "--datastore.resync", "1h", "--routes.grace", "1s"];
        Exporter::start(&[&words[..], &["--no-collector.ipam", "--routes.watch", "affinities"]].concat())
    }
}

#[test]
fn another_hosts_block_is_read_once_a_route_turns_on_it() {
    in_namespace(async |namespace| {
        let Some(host) = Host::start(namespace).await else { return };
        let exporter = host.by_affinities();
        exporter.until_ready();
        // The loans are known from the blocks that hold them: a route to each is there, and counted.
        let borrowed = |class| [("class", "borrowed"), ("encapsulation", class)];
        let scrape = exporter.until("the loans", |it| {
            ["ipip", "vxlan"].iter().all(|class| it.value("calico_routes", &borrowed(class)) == Some(1.0))
        });
        assert_eq!(exporter.findings(), [""; 0]);
        // How many there ought to be it cannot know.
        let of_loans = |metric: &str, labels: &[(&str, &str)]| {
            let alike = |key: &crate::exposition::Key| {
                key.0 == metric && labels.iter().all(|(name, value)| key.1.get(*name).is_some_and(|it| it == value))
            };
            scrape.samples.keys().filter(|key| alike(key)).count()
        };
        assert_eq!(of_loans("calico_routes_expected", &[("class", "borrowed")]), 0);
        assert_eq!(of_loans("calico_route_faults", &[("class", "borrowed"), ("reason", "missing")]), 0);
        assert!(of_loans("calico_routes_expected", &[("class", "remote_block")]) > 0);
        assert!(of_loans("calico_route_faults", &[("class", "borrowed"), ("reason", "stale")]) > 0);

        // A `/32` to h2's block that is nobody's: only the block says so.
        host.namespace.ip("route add 10.65.1.20/32 via 172.19.0.6 dev tunl0 onlink proto 80");
        exporter.until_found(&["borrowed stale 10.65.1.20"]);
        let answer = exporter.get("/api/v1/findings");
        assert!(answer.text().contains("nobody has been given the address"), "{}", answer.text());
        host.namespace.ip("route del 10.65.1.20/32");
        exporter.until_found(&[]);
        // The loan ends: nobody tells of it, and the block is read again.
        let (key, value) = without_loan();
        host.etcd.put(&key, &value).await;
        host.namespace.ip("route replace 10.65.1.9/32 via 172.19.0.6 dev tunl0 onlink proto bird");
        exporter.until_found(&["borrowed stale 10.65.1.9"]);
    });
}

#[test]
fn what_it_read_and_cannot_be_read_is_counted() {
    in_namespace(async |namespace| {
        let Some(host) = Host::start(namespace).await else { return };
        let put = async |key: &str| host.etcd.put(key, "{").await;
        // A block that a loan's route turns on, one that no route does, a key and a Node.
        let (read, unread) = (block_key("10.65.1.0/26"), block_key("10.67.2.0/26"));
        let (claim, _) = affinity("h3", "10.65.18.0/26");
        let (named, _) = node("h9", serde_json::json!({}), None, None);
        for key in [&read, &unread, &claim, &named] {
            put(key).await;
        }
        let exporter = host.by_affinities();
        let lines =
            [("affinity", &claim), ("block", &read), ("node", &named)].map(|(kind, key)| format!("{kind} {key}"));
        let wanted: Vec<&str> = lines.iter().map(String::as_str).collect();
        exporter.until_found(&wanted);
        let scrape = exporter.scrape();
        for kind in ["affinity", "block", "node"] {
            assert_eq!(scrape.value("calico_exporter_undecodable_keys", &[("kind", kind)]), Some(1.0), "{kind}");
        }
        assert_eq!(scrape.sum("calico_route_faults"), 0.0, "nothing follows from what cannot be read");
        // No route turns on it any more: it is nobody's business here.
        host.namespace.ip("route del 10.65.1.9/32");
        exporter.until_found(&[wanted[0], wanted[2]]);
    });
}
