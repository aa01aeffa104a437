//! What is beneath the routes, in a real kernel, as nobody without a capability sees it: an entry that goes is pending at
//! once, missing after the grace, and clear when it is back.

use std::time::Instant;

use calico_exporter::model::{Family, Mac};

use super::forms::assert_healthy;
use super::host::{Host, entries, vxlan};
use super::unprivileged::program_for_anybody;
use crate::exposition::Exposition;
use crate::support::exporter::Exporter;
use crate::support::netns::in_namespace;

/// An exporter of h1 that polls nothing, and belongs to nobody.
fn nobodys(host: &Host, grace: &str) -> Exporter {
    let dir = tempfile::tempdir().unwrap();
    let url = host.etcd.url();
    let arguments =
        ["--etcd.endpoints", &url, "--node.name", "h1", "--datastore.resync", "1h", "--routes.grace", grace];
    let exporter = Exporter::spawn(program_for_anybody(dir.path()), &arguments);
    exporter.until_ready();
    assert_eq!(exporter.status("CapEff"), "0".repeat(16));
    exporter
}

fn value(scrape: &Exposition, name: &str, device: &str, table: &str) -> f64 {
    scrape.value(name, &[("device", device), ("table", table)]).unwrap()
}

/// Entries, those expected, those pending and faults in use of one table.
fn counts(scrape: &Exposition, device: &str, table: &str) -> [f64; 4] {
    ["entries", "entries_expected", "entries_pending", "entry_faults_in_use"]
        .map(|name| value(scrape, &format!("calico_tunnel_{name}"), device, table))
}

fn in_sync(scrape: &Exposition) -> Option<f64> {
    scrape.value("calico_exporter_source_in_sync", &[("source", "netlink_tunnels")])
}

#[test]
fn an_entry_that_goes_is_pending_then_missing_and_back_it_has_converged() {
    in_namespace(async |namespace| {
        let Some(host) = Host::start(namespace).await else { return };
        let (patient, hasty) = (nobodys(&host, "1h"), nobodys(&host, "1s"));
        let scrape = patient.until_ready();
        assert_healthy(&scrape);
        assert_eq!(in_sync(&scrape), Some(1.0));
        for (device, table) in [
            ("vxlan.calico", "neighbour"),
            ("vxlan.calico", "fdb"),
            ("vxlan-v6.calico", "neighbour"),
            ("vxlan-v6.calico", "fdb"),
        ] {
            assert_eq!(counts(&scrape, device, table), [2.0, 2.0, 0.0, 0.0], "{device} {table}");
        }
        let (v4, v6) = (Mac::derived("h3", Family::V4), Mac::derived("h2", Family::V6));
        let neighbour = "neigh del 10.68.0.7 dev vxlan.calico".to_owned();
        for (device, table, subject, program, delete, family) in [
            ("vxlan.calico", "fdb", v4.to_string(), "bridge", format!("fdb del {v4} dev vxlan.calico"), Family::V4),
            ("vxlan.calico", "neighbour", "10.68.0.7".to_owned(), "ip", neighbour, Family::V4),
            (
                "vxlan-v6.calico",
                "fdb",
                v6.to_string(),
                "bridge",
                format!("fdb del {v6} dev vxlan-v6.calico"),
                Family::V6,
            ),
        ] {
            let convergence = |scrape: &Exposition| {
                let name = "calico_tunnel_entry_convergence_seconds_count";
                scrape.value(name, &[("table", table)]).unwrap()
            };
            let before = convergence(&patient.scrape());
            let deleted = host.namespace.command(program).args(delete.split(' ')).status().unwrap();
            assert!(deleted.success(), "{delete}");
            let gone = Instant::now();
            let scrape =
                patient.until("pending", |it| value(it, "calico_tunnel_entries_pending", device, table) == 1.0);
            println!("{subject}: pending after {:?}", gone.elapsed());
            assert_eq!(scrape.sum("calico_tunnel_entry_faults"), 0.0);
            assert_eq!(counts(&scrape, device, table), [1.0, 2.0, 1.0, 0.0]);
            hasty.until_found(&[&format!("{device} missing {table} {subject}")]);
            println!("{subject}: missing after {:?}, of which the grace is 1 s", gone.elapsed());
            // Of h2's blocks in IPv6, which are near, no route leads through the tunnel.
            let used = if family == Family::V4 { 1.0 } else { 0.0 };
            assert_eq!(counts(&hasty.scrape(), device, table), [1.0, 2.0, 0.0, used], "{subject}");
            entries(&host.namespace, family);
            let back = Instant::now();
            hasty.until_found(&[]);
            println!("{subject}: clear {:?} after it was back", back.elapsed());
            for exporter in [&patient, &hasty] {
                assert_healthy(&exporter.until(&subject, |it| convergence(it) >= before + 1.0));
            }
        }
    });
}

#[test]
fn a_device_that_is_made_anew_is_followed_and_the_routes_are_not_listed_anew() {
    in_namespace(async |namespace| {
        let Some(host) = Host::start(namespace).await else { return };
        let exporter = nobodys(&host, "1s");
        let resyncs = |exporter: &Exporter, source| {
            exporter.scrape().value("calico_exporter_source_resyncs_total", &[("source", source)]).unwrap()
        };
        host.namespace.ip("link del vxlan-v6.calico");
        exporter.until_found(&["vxlan-v6.calico missing vxlan-v6.calico"]);
        assert_eq!(counts(&exporter.scrape(), "vxlan-v6.calico", "fdb"), [0.0; 4]);
        // As Felix makes it, but for what is beneath: under another index, with its route.
        vxlan(&host.namespace, Family::V6);
        host.namespace.ip("neigh flush dev vxlan-v6.calico nud permanent");
        host.namespace.ip("route add dead:beef::80/122 via dead:beef::81 dev vxlan-v6.calico onlink mtu 1430");
        let missing = |tunnel: &str| format!("vxlan-v6.calico missing neighbour {tunnel}");
        exporter.until_found(&[&missing("dead:beef::41"), &missing("dead:beef::81")]);
        assert_eq!(counts(&exporter.scrape(), "vxlan-v6.calico", "neighbour"), [0.0, 2.0, 0.0, 1.0]);
        entries(&host.namespace, Family::V6);
        exporter.until_found(&[]);
        assert_healthy(&exporter.scrape());
        // Changing a device's MAC drops its neighbours, permanent ones too.
        let (own, other) = (Mac::derived("h1", Family::V4), "66:00:00:00:00:09");
        host.namespace.ip(&format!("link set vxlan.calico address {other}"));
        let missing = |tunnel: &str| format!("vxlan.calico missing neighbour {tunnel}");
        exporter.until_found(&["vxlan.calico wrong_mac vxlan.calico", &missing("10.66.1.0"), &missing("10.68.0.7")]);
        host.namespace.ip(&format!("link set vxlan.calico address {own}"));
        entries(&host.namespace, Family::V4);
        exporter.until_found(&[]);
        assert_eq!((resyncs(&exporter, "netlink"), resyncs(&exporter, "netlink_tunnels")), (0.0, 0.0));
    });
}

#[test]
fn without_the_collector_nothing_of_it_is_read_and_check_sees_it_live() {
    in_namespace(async |namespace| {
        let Some(host) = Host::start(namespace).await else { return };
        let url = host.etcd.url();
        let common = ["--etcd.endpoints", &url, "--node.name", "h1", "--no-collector.leaks"];
        let exporter = Exporter::start(&[&common[..], &["--no-collector.tunnels"]].concat());
        let scrape = exporter.until_ready();
        assert_eq!(in_sync(&scrape), None);
        assert!(!scrape.names().iter().any(|name| name.starts_with("calico_tunnel_entr")));
        host.namespace.ip("neigh replace 10.68.0.7 lladdr 66:00:00:00:00:09 dev vxlan.calico nud permanent");
        let check = |more: &[&str]| {
            let output = crate::support::exporter::run(&[&["check", "--settle", "0s"], &common[..], more].concat());
            (output.status.code(), String::from_utf8(output.stdout).unwrap())
        };
        let (code, said) = check(&[]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("lladdr 66:00:00:00:00:09") && said.contains("reason=\"wrong\""), "{said}");
        assert_eq!(check(&["--no-collector.tunnels"]).0, Some(0));
    });
}
