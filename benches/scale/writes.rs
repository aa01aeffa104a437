//! A cluster that changes: how soon a change is seen, what many of them cost, and whether any is lost.

use std::thread::sleep;
use std::time::{Duration, Instant};

use etcd_client::Client;
use tokio::task::JoinSet;

use super::cluster::Shape;
use super::load::Failure;
use super::process::{Running, get};
use super::table::{Goal, Runs};
use super::{Bench, IPAM_ONLY};

/// Writes a second.
const RATE: u64 = 1000;

fn series(of: &Running) -> Result<String, Failure> {
    Ok(String::from_utf8(get(of.address, "/metrics", false)?.body)?)
}

fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

/// From a put's answer to the scrape that shows it.
pub fn latency(bench: &mut Bench) -> Result<(), Failure> {
    const ALLOCATED: &str =
        r#"calico_host_addresses{host="node-00000",ippool="default-ipv4-ippool",state="allocated"}"#;
    let client = bench.runtime.block_on(Client::connect([bench.etcd.url()], None))?;
    let put = |revision| {
        bench.runtime.block_on(client.kv_client().put(Shape::block_key(0), bench.shape.block(0, revision), None))
    };
    put(1)?;
    let exporter = Running::exporter(&bench.etcd, &IPAM_ONLY, None)?;
    exporter.ready()?;
    let base = value(&series(&exporter)?, ALLOCATED).ok_or("no such series")?;
    let mut seen = Runs::default();
    for revision in 0..=100u64 {
        let wanted = base - ((revision + 1) % 2) as f64;
        put(revision)?;
        let took = exporter.until(|it| series(it).is_ok_and(|text| value(&text, ALLOCATED) == Some(wanted)))?;
        // The first look at so large a cluster is followed by a pause of four times its length.
        if revision > 0 {
            seen.add(took.as_secs_f64() * 1000.0);
        }
        sleep(Duration::from_millis(200));
    }
    bench.table.row("etcd put → value in /metrics, median", "ms", &seen.only(0.5), None, &Goal::None)?;
    bench.table.row("etcd put → value in /metrics, p99", "ms", &seen.only(0.99), None, &Goal::AtMost(50.0))?;
    Ok(())
}

/// Many writes to blocks all over the cluster, for a while.
pub fn measure(bench: &mut Bench) -> Result<(), Failure> {
    let exporter = Running::exporter(&bench.etcd, &IPAM_ONLY, None)?;
    exporter.ready()?;
    sleep(Duration::from_secs(2));
    let (used, began) = (exporter.processor()?, Instant::now());
    let (shape, seconds, blocks) = (bench.shape, bench.seconds, u64::from(bench.shape.block_count()));
    let endpoint = bench.etcd.url();
    let (written, before, middle) = bench.runtime.block_on(async {
        let client = Client::connect([endpoint], None).await?;
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        let (mut number, mut written) = (0, JoinSet::new());
        // What is flat is flat once its buffers have found their size.
        let (mut before, mut middle) = (None, None);
        while began.elapsed() < Duration::from_secs(seconds) {
            tick.tick().await;
            if before.is_none() && began.elapsed() > Duration::from_secs(seconds) / 4 {
                before = Some(exporter.memory()?.0);
            }
            if middle.is_none() && began.elapsed() > Duration::from_secs(seconds) * 5 / 8 {
                middle = Some(exporter.memory()?.0);
            }
            for _ in 0..RATE / 100 {
                // A step that has no part in common with the number of blocks visits them all.
                let block = ((number * 7919) % blocks) as u32;
                let mut kv = client.kv_client();
                let value = shape.block(block, number / blocks + 1);
                written.spawn(async move { kv.put(Shape::block_key(block), value, None).await });
                number += 1;
            }
            while let Some(written) = written.try_join_next() {
                written??;
            }
        }
        while let Some(written) = written.join_next().await {
            written??;
        }
        Ok::<_, Failure>((number, before.unwrap_or(f64::NAN), middle.unwrap_or(f64::NAN)))
    })?;
    let elapsed = began.elapsed().as_secs_f64();
    let cpu = (exporter.processor()? - used) / elapsed * 100.0;
    sleep(Duration::from_secs(3));
    let (after, peak) = exporter.memory()?;
    let one = |value: f64| Runs::from_iter([value]);
    let work = format!("{:.0} block writes a second for {seconds} s", written as f64 / elapsed);
    bench.table.row(&format!("{work}: processor"), "% of a core", &one(cpu), None, &Goal::AtMost(30.0))?;
    bench.table.row("the same: memory after a quarter of it", "MiB", &one(before), None, &Goal::None)?;
    bench.table.row("the same: memory in the middle of the rest", "MiB", &one(middle), None, &Goal::None)?;
    bench.table.row("the same: memory at the end", "MiB", &one(after), None, &Goal::AtMost((before * 1.1).round()))?;
    bench.table.row("the same: memory, peak", "MiB", &one(peak), None, &Goal::AtMost(48.0))?;
    let fresh = Running::exporter(&bench.etcd, &IPAM_ONLY, None)?;
    fresh.ready()?;
    let differing = || -> Result<Vec<String>, Failure> {
        let (ours, truth) = (Bench::picture(&series(&exporter)?), Bench::picture(&series(&fresh)?));
        Ok(ours.symmetric_difference(&truth).cloned().collect())
    };
    // What claims and blocks contradict each other about is told once it has stood for a minute.
    let _ = fresh.until(|_| differing().is_ok_and(|it| it.is_empty()));
    let differing = differing()?;
    differing.iter().for_each(|line| super::eprintln(line));
    let differing = differing.len() as f64;
    bench.table.row(
        "the same: series that differ from a fresh list's",
        "",
        &one(differing),
        None,
        &Goal::AtMost(0.0),
    )?;
    Ok(())
}
