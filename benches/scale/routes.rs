//! The kernel's side: fifteen thousand routes in this namespace, dumped and audited.

use std::fmt::Write as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use calico_exporter::audit::{AuditOptions, Auditor, Backend, Now, RouteOptions, TunnelOptions};
use calico_exporter::model::Detail;
use calico_exporter::source::etcd::{KeyRange, Lister, Timeouts, connect, settings::Settings};
use calico_exporter::source::netlink;
use calico_exporter::state::{Event, Side, State};

use super::cluster::Shape;
use super::load::Failure;
use super::process::{Running, get, to_the_end};
use super::table::{Goal, Runs};
use super::{Bench, timed};

/// The way to another host's block.
fn route(host: u32, block: &str) -> String {
    format!("{block} via {} dev tunl0 proto bird onlink", Shape::host_address(host))
}

/// What Calico's BIRD would have programmed on the first host.
pub fn program(bench: &mut Bench) -> Result<(), Failure> {
    if std::mem::replace(&mut bench.programmed, true) {
        return Ok(());
    }
    // A veth's end stands in for the tunnel: not every kernel has ipip, and a route is a route.
    let mut lines = String::new();
    for (device, other) in [("eth0", "eth9"), ("tunl0", "tunl9")] {
        let _ = writeln!(lines, "link add {device} type veth peer name {other}");
        let _ = writeln!(lines, "link set {device} up\nlink set {other} up");
    }
    let _ = writeln!(lines, "addr add {}/12 dev eth0", Shape::host_address(0));
    for block in 0..bench.shape.block_count() {
        let (network, host) = (Shape::network(block), block / bench.shape.blocks);
        let _ = match host {
            0 => writeln!(lines, "route add blackhole {network}/26 proto bird"),
            _ => writeln!(lines, "route add {}", route(host, &format!("{network}/26"))),
        };
    }
    let file = bench.file("routes.batch");
    std::fs::write(&file, lines)?;
    to_the_end("ip", &["-batch", &file.to_string_lossy()])?;
    Ok(())
}

pub fn measure(bench: &mut Bench) -> Result<(), Failure> {
    program(bench)?;
    dump_and_audit(bench)?;
    let exporter = Running::exporter(&bench.etcd, &["--no-collector.ipam"], None)?;
    exporter.ready()?;
    sleep(Duration::from_secs(1));
    let (steady, peak) = exporter.memory()?;
    let one = |value: f64| Runs::from_iter([value]);
    bench.table.row(
        "routes collector, every block followed: memory, steady",
        "MiB",
        &one(steady),
        None,
        &Goal::None,
    )?;
    bench.table.row("routes collector, every block followed: memory, peak", "MiB", &one(peak), None, &Goal::None)?;
    withdrawals(bench, &exporter)
}

fn dump_and_audit(bench: &mut Bench) -> Result<(), Failure> {
    let node: calico_exporter::model::Name = Shape::host(0).into();
    let settings = Settings { endpoints: vec![bench.etcd.url()], credentials: None, tls: Default::default() };
    let mut datastore = State::new(false);
    bench.runtime.block_on(async {
        let connection = connect(&settings, Timeouts::default()).await?;
        let detail = Detail::Rules(node.clone());
        let mut list = Lister::new(&connection, KeyRange::watched(), None).in_detail(&detail);
        while let Some(batch) = list.next().await? {
            batch.into_iter().for_each(|event| datastore.apply(event, Duration::ZERO));
        }
        datastore.apply(Event::Synced(Side::Datastore), Duration::ZERO);
        Ok::<_, Failure>(())
    })?;
    let options = RouteOptions {
        node,
        backend: Backend::Auto,
        grace: Some(Duration::from_secs(120)),
        tunnels: TunnelOptions::default(),
    };
    let options =
        AuditOptions { ipam: None, routes: Some(options), leaks: false, leak_grace: Duration::from_secs(900) };
    let (mut ours, mut dumps, mut peers) = (Runs::default(), Runs::default(), Runs::default());
    for _ in 0..bench.runs {
        peers.add(to_the_end("ip", &["-j", "route", "show"])?.0 * 1000.0);
        let (mut state, mut auditor) = (datastore.clone(), Auditor::new(options.clone()));
        let (faults, seconds) = timed(|| {
            let (events, dump) = timed(|| Ok(bench.runtime.block_on(netlink::snapshot())?))?;
            dumps.add(dump * 1000.0);
            events.into_iter().for_each(|event| state.apply(event, Duration::ZERO));
            let now = Now { monotonic: Duration::ZERO, wall: std::time::SystemTime::now() };
            auditor.look(&mut state, now);
            Ok(auditor.report(&state, now).routes.map(|routes| routes.actual.values().sum::<u64>()))
        })?;
        if faults.unwrap_or(0) < u64::from(bench.shape.block_count()) {
            return Err("the audit has not seen the routes".into());
        }
        ours.add(seconds * 1000.0);
    }
    let peer = Some(("ip -j route show", &peers));
    let work = format!("dump and audit of {} routes", bench.shape.block_count());
    bench.table.row(&work, "ms", &ours, peer, &Goal::Ratio(2.0))?;
    bench.table.row("the same: the dump alone", "ms", &dumps, peer, &Goal::None)?;
    Ok(())
}

/// From the end of `ip route del` to the scrape that shows it.
fn withdrawals(bench: &mut Bench, exporter: &Running) -> Result<(), Failure> {
    let pending = || -> Result<f64, Failure> {
        let text = String::from_utf8(get(exporter.address, "/metrics", false)?.body)?;
        let lines = text.lines().filter(|line| line.starts_with("calico_routes_pending{"));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    };
    let (mut seen, mut withdrawn) = (Runs::default(), String::new());
    for host in 1..=50 {
        let before = pending()?;
        let destination = format!("{}/26", Shape::network(bench.shape.blocks * host));
        to_the_end("ip", &["route", "del", &destination])?;
        let began = Instant::now();
        while pending()? <= before {
            if began.elapsed() > Duration::from_secs(10) {
                return Err("a route's end is not seen".into());
            }
        }
        seen.add(began.elapsed().as_secs_f64() * 1000.0);
        let _ = writeln!(withdrawn, "route add {}", route(host, &destination));
        sleep(Duration::from_millis(100));
    }
    // What comes after this finds the host as it was.
    let file = bench.file("withdrawn.batch");
    std::fs::write(&file, withdrawn)?;
    to_the_end("ip", &["-batch", &file.to_string_lossy()])?;
    bench.table.row("route deleted → pending in /metrics, median", "ms", &seen.only(0.5), None, &Goal::None)?;
    bench.table.row("route deleted → pending in /metrics, p99", "ms", &seen.only(0.99), None, &Goal::AtMost(50.0))?;
    Ok(())
}
