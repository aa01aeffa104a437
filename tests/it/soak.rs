//! A long life: churn in the datastore and in the kernel, scrapes, pages, connections that break, an etcd that restarts.
//! Memory, file descriptors and threads are flat at the end. `make soak`.

use std::time::{Duration, Instant};

use crate::e2e::host::{Host, ROUTES, web_0, without_loan};
use crate::support::calico::{owned, pod};
use crate::support::exporter::Exporter;
use crate::support::netns::in_namespace;

/// What is held at one moment.
#[derive(Debug, Clone, Copy)]
struct Held {
    memory_kib: u64,
    descriptors: u64,
    threads: u64,
}

fn held(exporter: &Exporter) -> Held {
    let number = |field: &str| exporter.status(field).split(' ').next().unwrap().parse::<u64>().unwrap();
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", exporter.pid())).unwrap().count() as u64;
    Held { memory_kib: number("VmRSS"), descriptors, threads: number("Threads") }
}

/// The middle one: a scrape that happens to be under way does not count.
fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values[values.len() / 2]
}

fn assert_flat(what: &str, samples: &[Held], of: fn(&Held) -> u64, allowed: u64) {
    // The first part is the way up.
    let part = samples.len() / 5;
    let early = median(samples[part..2 * part].iter().map(of));
    let late = median(samples[samples.len() - part..].iter().map(of));
    eprintln!("soak: {what}: {early} early, {late} at the end");
    assert!(late <= early + allowed, "{what} grew from {early} to {late}");
}

#[test]
#[ignore = "make soak: it takes as long as it is told"]
fn a_long_life_leaves_nothing_behind() {
    let told = std::env::var("SOAK").unwrap_or_else(|_| "30m".to_owned());
    let whole = humantime::parse_duration(&told).expect("SOAK is a time, as 10m");
    in_namespace(async move |namespace| {
        let Some(mut host) = Host::start(namespace).await else { return };
        let url = host.etcd.url();
        let flags = ["--etcd.endpoints", &url, "--node.name", "h1", "--routes.grace", "1s"];
        // This datastore has no handles, and not every pod's endpoint: leaks in the making, which is not what is looked at.
        let often = ["--datastore.resync", "20s", "--leaks.interval", "15s", "--leaks.grace", "24h"];
        let exporter = Exporter::start(&[&flags[..], &often].concat());
        exporter.until_ready();
        let (start, mut samples, mut rounds, mut restarts) = (Instant::now(), Vec::new(), 0_u32, 0);
        let mut restarted = Instant::now();
        while start.elapsed() < whole || samples.len() < 20 {
            rounds += 1;
            churn(&host, rounds).await;
            for path in ["/metrics", "/", "/api/v1/findings", "/readyz", "/nowhere"] {
                exporter.get(path);
            }
            exporter.get_with("/metrics", "Accept-Encoding: gzip\r\n");
            // A client that goes in the midst of an answer, and one that never asks.
            drop(exporter.connect());
            if restarted.elapsed() > whole / 12 {
                host.etcd.stop();
                exporter.until("the loss is said", |scrape| {
                    scrape.value("calico_exporter_source_in_sync", &[("source", "etcd")]) == Some(0.0)
                });
                host.etcd.start_again().await;
                exporter.until_ready();
                (restarted, restarts) = (Instant::now(), restarts + 1);
            }
            samples.push(held(&exporter));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        eprintln!("soak: {rounds} rounds, {restarts} restarts of etcd in {:?}", start.elapsed());
        exporter.until_found(&[]);
        assert_flat("memory in KiB", &samples, |held| held.memory_kib, 4096);
        assert_flat("file descriptors", &samples, |held| held.descriptors, 2);
        assert_flat("threads", &samples, |held| held.threads, 2);
    });
}

/// Blocks, endpoints and routes that come and go, and are as they were at the end.
async fn churn(host: &Host, round: u32) {
    let cidr = format!("10.67.{}.0/26", 3 + round % 12);
    let pods: Vec<_> = (0..20).map(|ordinal| pod(ordinal, "h2", &format!("web-{round}-{ordinal}"))).collect();
    host.etcd.put_all(&owned(&cidr, "h2", &pods)).await;
    host.etcd.put_all(&[web_0(), without_loan()]).await;
    let flapping: Vec<&str> =
        ROUTES.iter().copied().filter(|line| line.contains("proto 80") && !line.contains("table")).collect();
    let del = |line: &&str| format!("route del {}\n", line.trim_start_matches("route add "));
    host.namespace.batch(&flapping.iter().map(del).collect::<String>());
    host.namespace.batch(&flapping.iter().map(|line| format!("{line}\n")).collect::<String>());
    for (key, _) in owned(&cidr, "h2", &[]) {
        host.etcd.delete(&key).await;
    }
    let all = super::e2e::host::datastore();
    host.etcd.put_all(&all).await;
    host.etcd.delete(&web_0().0).await;
}
