//! What is served, as a scraper sees it: before anything is known, of a recorded cluster, in both formats, and again
//! and again.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use calico_exporter::metrics::Format;
use calico_exporter::metrics::catalogue::{ALL, Collector};

use super::host::Host;
use crate::exposition::{Exposition, parse};
use crate::support::etcd::free_port;
use crate::support::exporter::Exporter;
use crate::support::netns::in_namespace;
use crate::support::tool;

/// The exporter's own series; the others come with the collectors.
fn own() -> BTreeSet<&'static str> {
    ALL.iter().filter(|series| series.collector == Collector::Exporter).map(|series| series.name).collect()
}

fn recorded(more: &[&str]) -> Exporter {
    let file = |name: &str| crate::fixtures::folder("three-hosts").join(name).to_str().unwrap().to_owned();
    let (datastore, routes, links) = (file("etcd.json"), file("h1.routes.json"), file("h1.links.json"));
    let files = ["--datastore.file", &datastore, "--routes.file", &routes, "--links.file", &links];
    let exporter = Exporter::start(&[&files[..], more].concat());
    exporter.until_ready();
    exporter
}

#[test]
fn before_anything_is_known_its_own_series_are_there_and_no_others() {
    let url = format!("http://127.0.0.1:{}", free_port());
    let exporter = Exporter::start(&["--etcd.endpoints", &url, "--node.name", "h1"]);
    let scrape = exporter.until("the absence is noticed", |_| exporter.log().contains(&url));
    let own = own();
    for family in scrape.types.keys() {
        assert!(own.contains(family.as_str()), "{family}");
    }
    assert_eq!(scrape.value("calico_exporter_source_in_sync", &[("source", "etcd")]), Some(0.0));
    assert!(scrape.value("process_resident_memory_bytes", &[]).unwrap() > 0.0);
    assert_eq!(exporter.get("/healthz").status, 200);
    let ready = exporter.get("/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("etcd"), "{}", ready.text());
    assert_eq!(exporter.get("/").status, 200);
    assert_eq!(exporter.get("/api/v1/findings").status, 200);
}

#[test]
fn promtool_has_nothing_to_say_of_a_recorded_cluster() {
    let Some(promtool) = tool("promtool") else { return };
    let exporter = recorded(&[]);
    let answer = exporter.get("/metrics");
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&answer.body).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn both_formats_say_the_same_of_a_recorded_cluster() {
    let exporter = recorded(&[]);
    let text = exporter.get("/metrics");
    assert!(text.headers["content-type"].starts_with("text/plain; version=0.0.4"), "{:?}", text.headers);
    let open = exporter.get_with("/metrics", "Accept: application/openmetrics-text; version=1.0.0\r\n");
    assert!(
        open.headers["content-type"].starts_with("application/openmetrics-text; version=1.0.0"),
        "{:?}",
        open.headers
    );
    assert!(open.text().ends_with("# EOF\n"));
    let calico = |scrape: Exposition| {
        let own = |name: &str| name.starts_with("process_") || name.starts_with("calico_exporter_");
        scrape.samples.into_iter().filter(|((name, _), _)| !own(name)).collect::<Vec<_>>()
    };
    let (text, open) = (parse(text.text(), Format::Text), parse(open.text(), Format::OpenMetrics));
    assert_eq!(text.sum("calico_route_faults"), 0.0);
    let (text, open) = (calico(text), calico(open));
    assert!(text.len() > 200);
    assert_eq!(text, open);
}

#[test]
fn each_collector_that_is_switched_off_takes_its_series_with_it() {
    let of = |collectors: &[Collector]| -> BTreeSet<String> {
        let wanted = ALL.iter().filter(|series| collectors.contains(&series.collector));
        wanted.map(|series| series.name.to_owned()).collect()
    };
    let shown = |more: &[&str]| -> BTreeSet<String> { recorded(more).scrape().types.into_keys().collect() };
    use Collector::{Exporter, Ipam, Leaks, Routes};
    for (flags, collectors) in [
        (&[][..], &[Exporter, Ipam, Leaks, Routes][..]),
        (&["--no-collector.ipam"], &[Exporter, Routes]),
        (&["--no-collector.routes"], &[Exporter, Ipam, Leaks]),
        (&["--no-collector.leaks"], &[Exporter, Ipam, Routes]),
        (&["--no-collector.leaks", "--no-collector.routes"], &[Exporter, Ipam]),
    ] {
        let (shown, mut allowed) = (shown(flags), of(collectors));
        if collectors.contains(&Ipam) {
            // It judges the tunnel addresses and the own addresses of all Nodes (J13, J34).
            allowed.extend(["calico_tunnel_faults", "calico_node_faults"].map(str::to_owned));
        }
        let beyond: Vec<&String> = shown.difference(&allowed).collect();
        assert!(beyond.is_empty(), "{flags:?}: {beyond:?}");
        // And what is on shows at least one of its own.
        for collector in collectors {
            assert!(!shown.is_disjoint(&of(&[*collector])), "{flags:?}: nothing of {collector:?}");
        }
    }
}

#[test]
fn fifty_scrapes_leave_nothing_behind() {
    in_namespace(async |namespace| {
        let Some(host) = Host::start(namespace).await else { return };
        let exporter = host.exporter("1h");
        exporter.until_ready();
        let ask = |times| {
            for _ in 0..times {
                for path in ["/metrics", "/", "/api/v1/findings", "/readyz", "/nothing"] {
                    exporter.get_with(path, "Accept-Encoding: gzip\r\n");
                }
            }
        };
        let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", exporter.pid())).unwrap().count();
        let kilobytes = || exporter.status("VmRSS").trim_end_matches(" kB").parse::<u64>().unwrap();
        // Buffers and caches are filled.
        ask(30);
        let settled = || {
            // The last connection's end is noticed a moment after its client has gone.
            let fewest = (0..50).map(|_| {
                std::thread::sleep(std::time::Duration::from_millis(10));
                descriptors()
            });
            fewest.min().unwrap()
        };
        let (before, memory) = (settled(), kilobytes());
        ask(50);
        assert_eq!(settled(), before);
        // A leak of one page's worth of text a request would be 5 MB.
        let now = kilobytes();
        assert!(now < memory + 2048, "{memory} kB before, {now} kB after");
        let own = exporter.scrape();
        assert!(own.value("process_open_fds", &[]).unwrap() >= before as f64);
        assert!(own.value("calico_exporter_http_requests_total", &[("code", "404")]).unwrap() >= 80.0);
    });
}
