//! It needs a role that reads Calico's keys, and nothing else; and it writes nothing.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use etcd_client::{Client, ConnectOptions, Permission};

use super::host::Host;
use crate::support::etcd::Etcd;
use crate::support::exporter::{Exporter, program};
use crate::support::netns::in_namespace;

/// What etcd has counted: its own words, by name and labels.
fn counted(etcd: &Etcd) -> BTreeMap<String, f64> {
    let mut stream = TcpStream::connect(("127.0.0.1", etcd.port())).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let samples = text.lines().filter_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    });
    samples.collect()
}

/// Why none of these counts may move: the first are the store's own, the others what was asked of etcd over gRPC.
fn is_a_write(name: &str) -> bool {
    let stored = [
        "etcd_mvcc_put_total",
        "etcd_mvcc_delete_total",
        "etcd_debugging_mvcc_put_total",
        "etcd_debugging_mvcc_delete_total",
    ];
    let asked =
        ["Put", "DeleteRange", "Compact", "LeaseGrant", "LeaseRevoke", "UserAdd", "RoleAdd", "MemberAdd", "Lock"];
    stored.contains(&name)
        || name.starts_with("grpc_server_handled_total{")
            && asked.iter().any(|method| name.contains(&format!("grpc_method=\"{method}\"")))
}

#[test]
fn a_role_that_reads_calicos_keys_is_enough_and_nothing_is_written() {
    in_namespace(async |namespace| {
        let Some(host) = Host::start(namespace).await else { return };
        let etcd = &host.etcd;
        etcd.put("/elsewhere/secret", "nobody's business").await;
        let mut root: Client = etcd.client().await;
        root.role_add("root").await.unwrap();
        root.user_add("root", "secret", None).await.unwrap();
        root.user_grant_role("root", "root").await.unwrap();
        // As docs/deploy.md says it.
        root.role_add("calico-exporter").await.unwrap();
        root.role_grant_permission("calico-exporter", Permission::read("/calico/").with_prefix()).await.unwrap();
        root.user_add("calico-exporter", "pass", None).await.unwrap();
        root.user_grant_role("calico-exporter", "calico-exporter").await.unwrap();
        root.auth_enable().await.unwrap();
        let options = ConnectOptions::new().with_user("root", "secret");
        let mut root = Client::connect([etcd.url()], Some(options)).await.unwrap();
        let before = root.get("revision", None).await.unwrap().header().unwrap().revision();
        let (counts_before, url) = (counted(etcd), etcd.url());

        // Everything it does: every collector, its sweep for leaks, full lists, pages, and a look of `check`.
        let mut command = program();
        command.envs([("ETCD_USERNAME", "calico-exporter"), ("ETCD_PASSWORD", "pass")]);
        let flags = ["--etcd.endpoints", &url, "--node.name", "h1"];
        let often = ["--datastore.resync", "1s", "--leaks.interval", "1s", "--routes.grace", "1s"];
        let exporter = Exporter::spawn(command, &[&flags[..], &often].concat());
        exporter.until_ready();
        exporter.until("it sweeps", |_| exporter.log().contains("swept for leaks"));
        exporter.until("it lists more than once", |scrape| {
            let synced = scrape.value("calico_exporter_source_last_sync_timestamp_seconds", &[("source", "etcd")]);
            let started = scrape.value("process_start_time_seconds", &[]);
            synced.unwrap() - started.unwrap() > 4.0
        });
        for path in ["/", "/api/v1/findings", "/hosts", "/routes"] {
            exporter.get(path);
        }
        let mut check = program();
        check.envs([("ETCD_USERNAME", "calico-exporter"), ("ETCD_PASSWORD", "pass")]);
        let check = check.arg("check").args(flags).args(["--settle", "0s"]).output().unwrap();
        assert!(matches!(check.status.code(), Some(0 | 1)), "{check:?}");
        assert!(!exporter.log().contains("level=warn"), "{}", exporter.log());

        let counts = counted(etcd);
        for (name, count) in counts.iter().filter(|(name, _)| is_a_write(name)) {
            assert_eq!(*count, counts_before.get(name).copied().unwrap_or_default(), "{name}");
        }
        assert!(counts.keys().any(|name| name == "etcd_mvcc_put_total"), "{:?}", counts.keys());
        let reads = |counts: &BTreeMap<String, f64>| counts["etcd_mvcc_range_total"];
        assert!(reads(&counts) > reads(&counts_before), "it does read");
        // Every write of any kind makes a revision.
        let after = root.get("revision", None).await.unwrap().header().unwrap().revision();
        assert_eq!(after, before);
    });
}
