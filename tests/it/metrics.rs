//! A report in, `/metrics` out.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use calico_exporter::audit::{
    Fault, Finding, HandleReason, HostFigures, IpamReport, LeakReason, Metric, MismatchReason, Report, RouteClass,
    RouteReason, RoutesReport, TunnelReason,
};
use calico_exporter::metrics::catalogue::{ALL, Collector, Kind};
use calico_exporter::metrics::{Format, Published, Scraper, SourceStatus, Vitals, docs_page, render};
use calico_exporter::model::TunnelKind;
use calico_exporter::state::Side;
use flate2::read::GzDecoder;
use proptest::prelude::*;

use crate::exposition::{Exposition, parse};
use crate::sample::{at, figures, pool, published, report, signs};
use crate::support::same_as_file;

fn text_of(published: &Arc<Published>, format: Format) -> String {
    render(published, signs(), format).unwrap()
}

fn scrape(published: &Arc<Published>) -> Exposition {
    parse(&text_of(published, Format::Text), Format::Text)
}

/// `promtool check metrics` on a text; it must have nothing to say.
fn promtool(text: &str) {
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "promtool (package prometheus) cannot be started: {error}");
            eprintln!("\n*** SKIPPED: promtool (package prometheus) cannot be started: {error} ***\n");
            return;
        }
    };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "promtool: {}", String::from_utf8_lossy(&said));
}

#[test]
fn golden() {
    let published = published(report());
    same_as_file("tests/golden/metrics.txt", &text_of(&published, Format::Text));
    same_as_file("tests/golden/metrics.openmetrics.txt", &text_of(&published, Format::OpenMetrics));
}

#[test]
fn promtool_has_nothing_to_say() {
    promtool(&text_of(&published(report()), Format::Text));
    promtool(&text_of(&published(Report::default()), Format::Text));
    promtool(&text_of(&published(hostile()), Format::Text));
}

#[test]
fn documentation_is_the_catalogue() {
    same_as_file("docs/metrics.md", &docs_page());
}

#[test]
fn the_sample_shows_every_series_of_the_catalogue() {
    let mut report = report();
    report.findings.push(Finding::new(Fault::Handle(HandleReason::UnderCount), "k8s-pod-network.abc"));
    let shown = scrape(&published(report));
    for series in ALL {
        assert!(shown.types.contains_key(series.name), "{} is not shown", series.name);
    }
    assert_eq!(shown.types.len(), ALL.len());
    assert_eq!(shown.types["calico_route_changes_total"], "counter");
    assert_eq!(shown.types["calico_ippool_info"], "gauge");
}

#[test]
fn labels_have_the_values_that_the_catalogue_says() {
    let shown = scrape(&published(report()));
    for series in ALL.iter().filter(|series| series.kind != Kind::Histogram) {
        let names: BTreeSet<&str> = series.labels.iter().map(|label| label.name).collect();
        for (_, labels) in shown.samples.keys().filter(|(name, _)| name == series.name) {
            assert!(labels.keys().map(String::as_str).eq(names.iter().copied()), "{}: {labels:?}", series.name);
            for label in series.labels {
                let allowed = (label.values)();
                let value = labels[label.name].as_str();
                assert!(allowed.is_empty() || allowed.contains(&value), "{} {}={value}", series.name, label.name);
            }
        }
    }
}

#[test]
fn partitions_add_up() {
    let report = report();
    let ipam = report.ipam.clone().unwrap();
    let shown = scrape(&published(report));
    let sum = |name: &str, labels: &[(&str, &str)]| -> f64 {
        let fits = |of: &BTreeMap<String, String>| labels.iter().all(|(name, value)| of[*name] == *value);
        shown.samples.iter().filter(|((of, labels), _)| of == name && fits(labels)).map(|(_, value)| value).sum()
    };
    assert_eq!(sum("calico_ippool_addresses", &[("ippool", "main")]), 65_536.0);
    for ((host, pool), figures) in &ipam.hosts {
        let labels = [("host", &**host), ("ippool", &**pool)];
        let size = sum("calico_host_addresses", &labels);
        assert_eq!(size as u64, figures.size());
        let ratio = shown.value("calico_host_block_utilization_ratio", &labels);
        let free = shown.value("calico_host_addresses", &[labels[0], labels[1], ("state", "free")]).unwrap();
        assert_eq!(ratio, (size > 0.0).then(|| (size - free) / size));
    }
    let h1 = [("host", "h1"), ("ippool", "main")];
    assert_eq!(shown.value("calico_host_block_utilization_ratio", &h1), Some(0.03125));
}

#[test]
fn gauges_of_faults_are_the_findings() {
    let report = report();
    let shown = scrape(&published(report.clone()));
    for metric in Metric::ALL {
        let mut counts: BTreeMap<_, f64> = BTreeMap::new();
        for finding in report.findings.iter().filter(|finding| finding.metric() == metric) {
            *counts.entry(&finding.fault).or_default() += 1.0;
        }
        for (fault, count) in &counts {
            let labels: Vec<_> = fault.labels().collect();
            assert_eq!(shown.value(metric.as_str(), &labels), Some(*count), "{} {labels:?}", metric.as_str());
        }
        // All others are 0.
        assert_eq!(shown.sum(metric.as_str()), counts.values().sum::<f64>(), "{}", metric.as_str());
    }
    assert_eq!(shown.value("calico_host_mismatched_addresses", &[("host", "h2"), ("reason", "neither")]), Some(2.0));
    assert_eq!(shown.sum("calico_host_mismatched_addresses"), 2.0, "one has no host");
    let missing = [("class", "remote_block"), ("host", "h2"), ("reason", "missing")];
    assert_eq!(shown.value("calico_host_route_faults", &missing), Some(2.0));
    assert_eq!(shown.sum("calico_host_route_faults"), 2.0);
}

#[test]
fn a_healthy_cluster_has_every_reason_at_0_and_no_fault_by_host() {
    let report = Report { findings: Vec::new(), ..report() };
    let shown = scrape(&published(report));
    for metric in [Metric::MismatchedAddresses, Metric::InvalidBlocks, Metric::AffinityFaults, Metric::NodeFaults] {
        for reason in metric.reasons() {
            assert_eq!(shown.value(metric.as_str(), &[("reason", reason)]), Some(0.0), "{} {reason}", metric.as_str());
        }
    }
    for labels in [
        [("class", "remote_block"), ("reason", "missing")],
        [("class", "local_block"), ("reason", "wrong_type")],
        [("class", "tunnel_address"), ("reason", "linkdown")],
    ] {
        assert_eq!(shown.value("calico_route_faults", &labels), Some(0.0));
    }
    let never = [("class", "local_block"), ("reason", "multipath")];
    assert_eq!(shown.value("calico_route_faults", &never), None, "a blackhole has no next hop");
    let ipip: Vec<_> =
        TunnelReason::of_device(TunnelKind::Ipip).chain(TunnelReason::of_address(TunnelKind::Ipip)).collect();
    for reason in TunnelReason::ALL {
        let zero = ipip.contains(&reason).then_some(0.0);
        let reason = reason.as_str();
        assert_eq!(shown.value("calico_tunnel_faults", &[("device", "tunl0"), ("reason", reason)]), zero, "{reason}");
    }
    let rule = [("device", "wireguard.cali"), ("reason", "rule_missing")];
    assert_eq!(shown.value("calico_tunnel_faults", &rule), Some(0.0));
    for (table, reason) in [("neighbour", "wrong"), ("fdb", "not_permanent")] {
        let labels = [("device", "vxlan.calico"), ("table", table), ("reason", reason)];
        assert_eq!(shown.value("calico_tunnel_entry_faults", &labels), Some(0.0));
    }
    for reason in Metric::LeakedAddresses.reasons() {
        let labels = [("ippool", "main"), ("reason", reason)];
        assert_eq!(shown.value("calico_ipam_leaked_addresses", &labels), Some(0.0));
    }
    let names = shown.names();
    for absent in ["calico_host_mismatched_addresses", "calico_host_route_faults"] {
        assert!(!names.contains(absent), "{absent}");
    }
}

#[test]
fn what_one_side_of_the_routes_has_the_other_has_too() {
    let shown = scrape(&published(report()));
    let labels = |encapsulation| [("class", "remote_block"), ("encapsulation", encapsulation)];
    assert_eq!(shown.value("calico_routes", &labels("ipip")), Some(0.0));
    assert_eq!(shown.value("calico_routes_expected", &labels("ipip")), Some(2.0));
    assert_eq!(shown.value("calico_routes_expected", &labels("none")), Some(0.0));
}

#[test]
fn faults_by_host_add_up_although_most_hosts_have_no_series() {
    let missing = |host: usize| {
        let host = format!("h{host}");
        Finding::new(Fault::Route(RouteClass::RemoteBlock, RouteReason::Missing), &host)
            .host(Some(host.as_str().into()))
    };
    let named = (0..32).map(|host| format!("h{host}").into()).collect();
    let findings = (0..5000).map(missing).collect();
    let routes = RoutesReport { named, ..RoutesReport::default() };
    let shown = scrape(&published(Report { routes: Some(routes), findings, ..Report::default() }));
    let of = |name: &str| {
        shown.samples.iter().filter(|((it, _), _)| it == name).map(|(_, value)| *value).collect::<Vec<_>>()
    };
    let by_host = of("calico_host_route_faults");
    assert_eq!((by_host.len(), by_host.iter().sum::<f64>()), (33, 5000.0));
    let labels = [("host", "others"), ("class", "remote_block"), ("reason", "missing")];
    assert_eq!(shown.value("calico_host_route_faults", &labels), Some(4968.0));
    assert_eq!(of("calico_route_faults").iter().sum::<f64>(), 5000.0);
}

#[test]
fn before_a_report_there_are_only_the_exporters_own() {
    let starting = Arc::new(Published::starting("h1".into(), vec![SourceStatus::waiting("etcd", Side::Datastore)]));
    for format in [Format::Text, Format::OpenMetrics] {
        let shown = parse(&text_of(&starting, format), format);
        for name in shown.names() {
            assert!(name.starts_with("calico_exporter_") || name.starts_with("process_"), "{name}");
        }
        assert_eq!(shown.value("calico_exporter_source_in_sync", &[("source", "etcd")]), Some(0.0));
        assert_eq!(shown.value("calico_exporter_undecodable_keys", &[("kind", "block")]), Some(0.0));
        assert!(!shown.names().contains("calico_exporter_report_timestamp_seconds"));
        assert!(!shown.names().contains("calico_exporter_source_last_sync_timestamp_seconds"));
    }
}

#[test]
fn a_part_without_report_is_absent_and_the_other_is_there() {
    for (present, absent, report) in [
        (Collector::Ipam, Collector::Routes, Report { routes: None, findings: Vec::new(), ..report() }),
        (Collector::Routes, Collector::Ipam, Report { ipam: None, findings: Vec::new(), ..report() }),
        (Collector::Routes, Collector::Tunnels, Report { tunnels: None, findings: Vec::new(), ..report() }),
    ] {
        let shown = scrape(&published(report));
        let of = |collector| {
            let shown = &shown;
            // Judged by both (J13, J34).
            let series = ALL.iter().filter(move |series| series.collector == collector);
            series
                .filter(|series| !["calico_tunnel_faults", "calico_node_faults"].contains(&series.name))
                .filter(|s| shown.types.contains_key(s.name))
                .count()
        };
        assert_eq!(of(absent), 0);
        assert!(of(present) > 5);
    }
}

#[test]
fn two_files_are_one_source_as_current_as_the_worse() {
    let file = |side, in_sync, time, resyncs| SourceStatus {
        in_sync,
        synced_once: true,
        last_sync: Some(at(time)),
        resyncs,
        ..SourceStatus::waiting("file", side)
    };
    let mut disabled = SourceStatus::waiting("netlink", Side::Kernel);
    disabled.enabled = false;
    let sources = vec![file(Side::Datastore, true, 20, 1), file(Side::Kernel, false, 10, 2), disabled];
    let shown = scrape(&Arc::new(Published::starting("h1".into(), sources)));
    let labels = [("source", "file")];
    assert_eq!(shown.value("calico_exporter_source_in_sync", &labels), Some(0.0));
    assert_eq!(shown.value("calico_exporter_source_last_sync_timestamp_seconds", &labels), Some(10.0));
    assert_eq!(shown.value("calico_exporter_source_resyncs_total", &labels), Some(3.0));
    assert_eq!(shown.value("calico_exporter_source_in_sync", &[("source", "netlink")]), None);
}

fn body(scraper: &Scraper, published: &Arc<Published>, format: Format, gzip: bool) -> Vec<u8> {
    scraper.body(published, format, gzip).unwrap().concat()
}

fn gunzip(bytes: &[u8]) -> String {
    let mut text = String::new();
    // One member only: a reader that stops after the first must see everything.
    let mut decoder = GzDecoder::new(bytes);
    decoder.read_to_string(&mut text).unwrap();
    assert!(decoder.into_inner().is_empty(), "something follows the gzip member");
    text
}

#[test]
fn a_report_is_encoded_once_and_another_is_not_mixed_up_with_it() {
    let scraper = Scraper::new(Arc::new(Vitals::default()));
    let (first, second) = (published(report()), published(Report::default()));
    for format in [Format::Text, Format::OpenMetrics] {
        for gzip in [false, true] {
            assert!(!scraper.is_cheap(&first, format, gzip));
            let [report, _] = scraper.body(&first, format, gzip).unwrap();
            assert!(scraper.is_cheap(&first, format, gzip));
            let again = Arc::new(Published { audit_seconds: 7.0, ..(*first).clone() });
            let [same, own] = scraper.body(&again, format, gzip).unwrap();
            assert_eq!(report.as_ptr(), same.as_ptr(), "the same bytes, not a copy");
            let text =
                if gzip { gunzip(&[same, own].concat()) } else { String::from_utf8([same, own].concat()).unwrap() };
            let shown = parse(&text, format);
            assert_eq!(shown.value("calico_exporter_audit_duration_seconds", &[]), Some(7.0), "fresh each time");
            assert_eq!(shown.sum("calico_ipam_invalid_blocks"), 1.0);
        }
    }
    assert!(!scraper.is_cheap(&second, Format::Text, false));
    let shown = parse(&String::from_utf8(body(&scraper, &second, Format::Text, false)).unwrap(), Format::Text);
    assert!(!shown.names().contains("calico_ipam_invalid_blocks"));
}

fn hostile_names() -> [&'static str; 9] {
    ["\"", "\\", "\n", "a\\nb", "x\"} 1\nevil{y=\"", "\0\u{1}\r\t\u{7f}", "größe 🦀", "", "# EOF\n"]
}

/// Names that want to be syntax, wherever a name can come from outside.
fn hostile() -> Report {
    let names = hostile_names();
    let pools = names.map(|name| (name.into(), figures(Some(pool(name, "10.204.0.0/16")))));
    let hosts = names.map(|name| ((name.into(), name.into()), HostFigures { free: 64, ..HostFigures::default() }));
    let mut findings = Vec::new();
    for name in names {
        findings.push(Finding::new(Fault::Leak(name.into(), LeakReason::TwoEndpoints), name));
        findings.push(Finding::new(Fault::Tunnel(name.into(), TunnelReason::Down), name));
        findings.push(Finding::new(Fault::Mismatch(MismatchReason::Neither), name).host(Some(name.into())));
    }
    Report {
        ipam: Some(IpamReport { pools: pools.into(), hosts: hosts.into(), ..IpamReport::default() }),
        routes: Some(RoutesReport::default()),
        tunnels: None,
        leaks: true,
        findings,
        causes: Vec::new(),
        notes: Vec::new(),
    }
}

#[test]
fn hostile_names_stay_names() {
    let published = published(hostile());
    let text = scrape(&published);
    let open = parse(&text_of(&published, Format::OpenMetrics), Format::OpenMetrics);
    for shown in [&text, &open] {
        assert!(!shown.names().contains("evil"));
        for name in hostile_names() {
            let visible = if name.starts_with('\0') { "\\u{0}\\u{1}\\u{d}\\u{9}\\u{7f}" } else { name };
            let labels = [("ippool", visible), ("reason", "two_endpoints")];
            assert_eq!(shown.value("calico_ipam_leaked_addresses", &labels), Some(1.0), "{name:?}");
            let labels = [("host", visible), ("ippool", visible)];
            assert_eq!(shown.value("calico_host_lent_addresses", &labels), Some(0.0), "{name:?}");
        }
    }
    assert_eq!(text.samples, open.samples);
}

fn any_report() -> impl Strategy<Value = Report> {
    let name = || proptest::string::string_regex("[a-z0-9\"\\\\\n\r\u{0} {}#=,é]{0,6}").unwrap();
    let number = || prop_oneof![Just(0.0), 0.0..1e6, (0u32..70).prop_map(|power| 2f64.powi(power as i32))];
    let host = (0u64..99, 0u64..99, 0u64..99).prop_map(|(allocated, free, borrowed)| HostFigures {
        allocated,
        free,
        borrowed,
        ..HostFigures::default()
    });
    let leak = (name(), proptest::sample::select(&LeakReason::ALL), proptest::option::of(name())).prop_map(
        |(ippool, reason, host)| {
            Finding::new(Fault::Leak(ippool.into(), reason), "10.0.0.1").host(host.map(Into::into))
        },
    );
    let ipam = (
        proptest::collection::btree_map(name(), (number(), number()), 0..4),
        proptest::collection::btree_map((name(), name()), host, 0..6),
    )
        .prop_map(|(pools, hosts)| IpamReport {
            pools: pools
                .into_iter()
                .map(|(name, (free, lost))| {
                    let figures = figures(Some(pool(&name, "10.204.0.0/16")));
                    (name.into(), calico_exporter::audit::PoolFigures { free, lost, ..figures })
                })
                .collect(),
            hosts: hosts.into_iter().map(|((host, pool), figures)| ((host.into(), pool.into()), figures)).collect(),
            ..IpamReport::default()
        });
    (proptest::option::of(ipam), any::<bool>(), proptest::collection::vec(leak, 0..9)).prop_map(
        |(ipam, routes, findings)| Report {
            ipam,
            routes: routes.then(|| report().routes).flatten(),
            tunnels: routes.then(|| report().tunnels).flatten(),
            leaks: true,
            findings,
            causes: Vec::new(),
            notes: Vec::new(),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_formats_carry_the_same_samples_compressed_or_not(report in any_report()) {
        let published = published(report);
        let text = scrape(&published);
        let open = parse(&text_of(&published, Format::OpenMetrics), Format::OpenMetrics);
        prop_assert_eq!(&text.samples, &open.samples);
        let scraper = Scraper::new(Arc::new(Vitals::default()));
        for format in [Format::Text, Format::OpenMetrics] {
            let plain = parse(&String::from_utf8(body(&scraper, &published, format, false)).unwrap(), format);
            let zipped = parse(&gunzip(&body(&scraper, &published, format, true)), format);
            let ours = |shown: Exposition| -> BTreeMap<_, _> {
                shown.samples.into_iter().filter(|((name, _), _)| !name.starts_with("process_")).collect()
            };
            prop_assert_eq!(ours(plain), ours(zipped));
        }
    }
}
