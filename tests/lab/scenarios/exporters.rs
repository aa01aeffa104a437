//! The exporters themselves, and what they need.

use std::time::Duration;

use crate::cache;
use crate::lab::{GRACE, site};
use crate::network::{ETCD, ip};
use crate::process::Process;
use crate::refusal;
use crate::run::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "exporter killed",
            short: true,
            expected: &[("CalicoExporterDown", &[("instance", "h3"), ("job", "calico-exporter")])],
            tolerated: &[],
            fault: |lab| lab.exporters.get_mut("h3").unwrap().kill(),
            repair: |lab| lab.start_exporter("h3"),
        },
        Scenario {
            name: "exporter restarted again and again",
            short: false,
            expected: &[("CalicoExporterRestarting", &[("instance", "h2")])],
            tolerated: &[],
            fault: |lab| {
                for _ in 0..6 {
                    lab.exporters.get_mut("h2").unwrap().terminate();
                    lab.start_exporter("h2");
                    std::thread::sleep(Duration::from_millis(2500));
                }
            },
            repair: |_| {},
        },
        Scenario {
            name: "all exporters killed",
            short: false,
            expected: &[("CalicoExporterAllDown", &[("severity", "critical")])],
            tolerated: &[],
            fault: |lab| lab.exporters.values_mut().for_each(Process::kill),
            repair: |lab| ["h1", "h2", "h3"].into_iter().for_each(|name| lab.start_exporter(name)),
        },
        Scenario {
            name: "etcd cut off from a host",
            short: false,
            expected: &[("CalicoExporterSourceOutOfSync", &[("source", "etcd")])],
            tolerated: &[],
            fault: |_| ETCD.iter().for_each(|member| ip("h2", &format!("route add blackhole {member}"))),
            repair: |_| ETCD.iter().for_each(|member| ip("h2", &format!("route del blackhole {member}"))),
        },
        Scenario {
            name: "exporter without permission to read its datastore",
            short: false,
            expected: &[("CalicoExporterAccessDenied", &[("source", "kubernetes")])],
            // Not to be let in is to be out of sync, which is told later.
            tolerated: &["CalicoExporterSourceOutOfSync"],
            fault: |lab| {
                lab.exporters.get_mut("h2").unwrap().terminate();
                lab.start_exporter_of_kubernetes("h2", &refusal::start());
            },
            repair: |lab| {
                lab.exporters.get_mut("h2").unwrap().terminate();
                lab.start_exporter("h2");
            },
        },
        Scenario {
            name: "certificate that runs out tomorrow",
            short: false,
            expected: &[("CalicoExporterCertificateExpires", &[("certificate", "etcd")])],
            tolerated: &[],
            fault: |lab| {
                lab.exporters.get_mut("h3").unwrap().terminate();
                lab.start_exporter_with_certificate("h3");
            },
            repair: |lab| {
                lab.exporters.get_mut("h3").unwrap().terminate();
                lab.start_exporter("h3");
            },
        },
        Scenario {
            name: "IPAM unwatched, and a cache that hands out an old page",
            short: false,
            expected: &[
                ("CalicoIpamUnwatched", &[("cluster", "lab")]),
                ("CalicoExporterReportStale", &[("instance", "h3"), ("job", "calico-exporter")]),
            ],
            // What the old page kept back comes all at once: to the counters of routes it is an hour in a second.
            tolerated: &["CalicoRoutesFlapping"],
            fault: |lab| {
                cache::serve(&lab.old_page);
                lab.monitoring.scrape("h3", cache::ADDRESS);
                for name in ["h1", "h2"] {
                    lab.exporters.get_mut(name).unwrap().terminate();
                    lab.start_exporter_with(name, GRACE, false);
                }
            },
            repair: |lab| {
                lab.monitoring.scrape("h3", site("h3").v4);
                for name in ["h1", "h2"] {
                    lab.exporters.get_mut(name).unwrap().terminate();
                    lab.start_exporter(name);
                }
            },
        },
    ]
}
