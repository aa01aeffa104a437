//! Kernels that are busy with other things, or too busy.

use calico_exporter::model::Family;

use super::forms::assert_healthy;
use super::host::{Host, ROUTES, kernel, vxlan};
use crate::exposition::Exposition;
use crate::support::exporter::Exporter;
use crate::support::netns::in_namespace;

/// So many routes that are none of Calico's, and outside its pools.
const MANY: u32 = 10_000;

fn foreign(verb: &str) -> String {
    let line = |n: u32| {
        let address = std::net::Ipv4Addr::from(0x0ac8_0000 + n);
        format!("route {verb} {address}/32 via 172.18.0.9 dev eth0 proto static\n")
    };
    (0..MANY).map(line).collect()
}

/// Waits until it has seen all that happened, which ended with every route of [`ROUTES`] in place: one more comes last.
fn all_are_back(host: &Host, exporter: &Exporter) {
    host.namespace.ip("route add 10.65.14.0/26 via 172.18.0.9 dev eth0 proto static");
    exporter.until("all of them and one", |scrape| scrape.sum("calico_routes") == 26.0);
    host.namespace.ip("route del 10.65.14.0/26");
    exporter.until("all of them", |scrape| scrape.sum("calico_routes") == 25.0);
}

#[test]
fn ten_thousand_foreign_routes_are_nobodys_business() {
    in_namespace(async |namespace| {
        let Some(host) = Host::start(namespace).await else { return };
        host.namespace.batch(&foreign("add"));
        let exporter = host.healthy();
        assert_healthy(&exporter.scrape());
        // Events still come through.
        host.namespace.ip("route del 10.66.17.0/26");
        exporter.until_found(&["remote_block missing 10.66.17.0/26"]);
        host.namespace.ip("route add 10.66.17.0/26 via 172.18.0.5 dev eth0 onlink proto 80");
        exporter.until_found(&[]);
        assert_healthy(&exporter.scrape());
    });
}

#[test]
fn ten_thousand_routes_that_flap_leave_nothing_behind() {
    in_namespace(async |namespace| {
        let Some(host) = Host::start(namespace).await else { return };
        let exporter = host.healthy();
        let resident = |field: &str| {
            let text = exporter.status(field);
            text.split(' ').next().unwrap().parse::<u64>().unwrap()
        };
        let gone: String = ROUTES
            .iter()
            .filter(|line| line.contains("proto 80") && !line.contains("table"))
            .map(|line| format!("route del {}\n", line.trim_start_matches("route add ")))
            .collect();
        let back: String = ROUTES
            .iter()
            .filter(|line| line.contains("proto 80") && !line.contains("table"))
            .map(|line| format!("{line}\n"))
            .collect();
        let mut before = 0;
        for round in 0..7 {
            if round == 2 {
                // By now it has held all of them twice.
                before = resident("VmRSS");
            }
            host.namespace.batch(&foreign("add"));
            host.namespace.batch(&gone);
            // It is asked in the midst of it.
            assert_eq!(exporter.get("/metrics").status, 200);
            host.namespace.batch(&foreign("del"));
            host.namespace.batch(&back);
        }
        all_are_back(&host, &exporter);
        exporter.until_found(&[]);
        assert_healthy(&exporter.until_ready());
        let after = resident("VmRSS");
        // A hundred thousand changes: kept, they would be tens of megabytes.
        assert!(after < before + 12 * 1024, "{before} kB before, {after} kB after");
    });
}

/// Two neighbours and two forwarding entries of each family.
fn beneath_is_back(scrape: &Exposition) -> bool {
    scrape.sum("calico_tunnel_entries") == 8.0 && scrape.sum("calico_tunnel_entries_pending") == 0.0
}

#[test]
fn a_device_that_is_deleted_and_made_again_is_one_fault_and_none() {
    in_namespace(async |namespace| {
        let Some(host) = Host::start(namespace).await else { return };
        let exporter = host.healthy();
        host.namespace.ip("link del vxlan.calico");
        exporter.until_found(&["vxlan.calico missing vxlan.calico"]);
        vxlan(&host.namespace, Family::V4);
        let routes = ROUTES.iter().filter(|line| line.contains("dev vxlan.calico"));
        host.namespace.batch(&routes.map(|line| format!("{line}\n")).collect::<String>());
        all_are_back(&host, &exporter);
        exporter.until_found(&[]);
        exporter.until("what is beneath is back", beneath_is_back);
        assert_healthy(&exporter.until_ready());
        // The underlay's device, with every route through it, and the VXLAN devices that send by it.
        host.namespace.ip("link del eth0");
        exporter.until_found(&[
            "vxlan-v6.calico missing vxlan-v6.calico",
            "vxlan.calico missing vxlan.calico",
            "address_missing h1",
            "remote_block missing 10.65.17.0/26",
            "remote_block missing 10.66.17.0/26",
            "remote_block missing 10.67.1.0/26",
            "remote_block missing 10.67.2.0/26",
            "remote_block missing dead:beef::40/122",
        ]);
        host.namespace.script("for it in eth0 tunl0 vxlan.calico vxlan-v6.calico cali1 cali2 cali3 wireguard.cali; do ip link del $it; done; for table in main 1; do ip route flush table $table; done; ip -6 route flush table main");
        kernel(&host.namespace);
        all_are_back(&host, &exporter);
        exporter.until_found(&[]);
        exporter.until("what is beneath is back", beneath_is_back);
        assert_healthy(&exporter.until_ready());
    });
}
