//! What an exporter asks of etcd while nothing changes, as etcd itself counts it.

use std::thread::sleep;
use std::time::Duration;

use super::load::Failure;
use super::process::{Running, get};
use super::table::{Goal, Runs};
use super::{Bench, IPAM_ONLY};

/// Longer than the silence after which a watch is asked for a sign of life.
const WINDOW: Duration = Duration::from_secs(45);

/// etcd's own counters.
struct Asked {
    /// Messages over watches: new ranges, and requests for a sign of life.
    watching: f64,
    /// All other requests.
    others: f64,
    /// Watches that are open, over any number of ranges each.
    streams: f64,
    /// Bytes sent to clients.
    sent: f64,
}

impl Asked {
    fn of(etcd: &Running) -> Result<Asked, Failure> {
        let text = String::from_utf8(get(etcd.address, "/metrics", false)?.body)?;
        let sum = |wanted: &dyn Fn(&str) -> bool| -> f64 {
            let lines = text.lines().filter(|line| wanted(line));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        let received = |line: &str| line.starts_with("grpc_server_msg_received_total{");
        let is_watch = |line: &str| line.contains(r#"grpc_method="Watch""#);
        Ok(Asked {
            watching: sum(&|line| received(line) && is_watch(line)),
            others: sum(&|line| received(line) && !is_watch(line)),
            streams: sum(&|line| line.starts_with("etcd_debugging_mvcc_watch_stream_total ")),
            sent: sum(&|line| line.starts_with("etcd_network_client_grpc_sent_bytes_total ")),
        })
    }
}

pub fn measure(bench: &mut Bench) -> Result<(), Failure> {
    let exporter = Running::exporter(&bench.etcd, &IPAM_ONLY, None)?;
    exporter.ready()?;
    sleep(Duration::from_secs(2));
    let before = Asked::of(&bench.etcd)?;
    sleep(WINDOW);
    let after = Asked::of(&bench.etcd)?;
    drop(exporter);
    let seconds = WINDOW.as_secs();
    let mut row = |work: &str, unit: &str, value: f64, goal: Goal| {
        bench.table.row(work, unit, &Runs::from_iter([value]), None, &goal)
    };
    row(&format!("nothing changes for {seconds} s: watches"), "", after.streams, Goal::AtMost(1.0))?;
    let signs = after.watching - before.watching;
    row("the same: signs of life asked for", "", signs, Goal::AtMost((seconds / 30 + 1) as f64))?;
    row("the same: all other requests", "", after.others - before.others, Goal::AtMost(0.0))?;
    row("the same: sent by etcd", "kB", (after.sent - before.sent) / 1000.0, Goal::None)?;
    resyncs(bench)
}

/// What one list costs: two of them within a window, so that what comes only once is left out.
fn resyncs(bench: &mut Bench) -> Result<(), Failure> {
    let flags = [&IPAM_ONLY[..], &["--datastore.resync", "10s"]].concat();
    let exporter = Running::exporter(&bench.etcd, &flags, None)?;
    exporter.ready()?;
    let resyncs = || -> Result<f64, Failure> {
        let text = String::from_utf8(get(exporter.address, "/metrics", false)?.body)?;
        let line = text.lines().find(|line| line.starts_with("calico_exporter_source_resyncs_total{"));
        Ok(line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0))
    };
    let until = |count: f64| exporter.until(|_| resyncs().is_ok_and(|now| now >= count));
    until(1.0)?;
    let before = Asked::of(&bench.etcd)?;
    until(3.0)?;
    let after = Asked::of(&bench.etcd)?;
    let of_one = |value: f64| Runs::from_iter([value / 2.0]);
    bench.table.row("a resync: requests", "", &of_one(after.others - before.others), None, &Goal::None)?;
    bench.table.row("the same: sent by etcd", "MB", &of_one((after.sent - before.sent) / 1e6), None, &Goal::None)?;
    Ok(())
}
