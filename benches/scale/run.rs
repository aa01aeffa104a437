//! Measures the exporter on a large cluster beside the tools that people use on the same: `make bench`. Prints a table;
//! `docs/benchmarks.md` keeps the latest.
//!
//! Everything runs in a network namespace of its own, in which this program starts itself again: an etcd, the kernel's
//! routes, the exporter and its peers.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Parser;

#[allow(unreachable_pub, reason = "a module of a program")]
mod affinities;
#[allow(unreachable_pub, dead_code, reason = "shared with the generator")]
mod cluster;
#[allow(unreachable_pub, reason = "a module of a program")]
mod idle;
#[allow(unreachable_pub, reason = "a module of a program")]
mod kubernetes;
#[allow(unreachable_pub, dead_code, reason = "shared with the generator")]
mod load;
#[allow(unreachable_pub, dead_code, reason = "shared with the tests")]
mod peers;
#[allow(unreachable_pub, reason = "a module of a program")]
mod process;
#[allow(unreachable_pub, reason = "a module of a program")]
mod proxy;
#[allow(unreachable_pub, reason = "a module of a program")]
mod routes;
#[allow(unreachable_pub, reason = "a module of a program")]
mod scrapes;
#[allow(unreachable_pub, reason = "a module of a program")]
mod table;
#[allow(unreachable_pub, reason = "a module of a program")]
mod tunnels;
#[allow(unreachable_pub, reason = "a module of a program")]
mod writes;

use cluster::Shape;
use load::Failure;
use process::{Running, to_the_end};
use table::{Goal, Runs, Table};

const BLOCKS: &str = "/calico/ipam/v2/assignment/";
const HANDLES: &str = "/calico/ipam/v2/handle/";
const ENDPOINTS: &str = "/calico/resources/v3/projectcalico.org/workloadendpoints/";
const IPAM_ONLY: [&str; 2] = ["--no-collector.routes", "--no-collector.leaks"];

#[derive(Parser)]
struct Arguments {
    /// Hosts; the benchmark with twice as many comes by itself.
    #[arg(long, default_value_t = 5000)]
    hosts: u32,
    /// Runs of each measurement.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Seconds of a thousand writes a second.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What serves the same series through client_golang (benches/peer, built).
    #[arg(long)]
    peer: Option<PathBuf>,
    /// Another etcd behind the Kubernetes API, besides the one that is installed (benches/etcd, built).
    #[arg(long)]
    etcd: Option<PathBuf>,
    /// What answers the same as `check` (benches/calicoctl, built).
    #[arg(long)]
    calicoctl: Option<PathBuf>,
    /// Only measurements of these names: start, scrape, routes, latency, writes, idle, sweep, tunnels, affinities,
    /// proxy, kubernetes, twice.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Already inside a namespace.
    #[arg(long, hide = true)]
    inside: bool,
}

/// What all measurements share.
struct Bench {
    runs: usize,
    seconds: u64,
    shape: Shape,
    etcd: Running,
    peer: Option<PathBuf>,
    directory: PathBuf,
    runtime: tokio::runtime::Runtime,
    table: Table,
    /// The kernel has its routes.
    programmed: bool,
}

fn main() -> Result<(), Failure> {
    let it = Arguments::parse();
    if !it.inside {
        let own = std::env::current_exe()?;
        let mut inside = Command::new("unshare");
        inside.args(["--net", "--map-root-user", "--"]).arg(own).args(std::env::args_os().skip(1)).arg("--inside");
        return Err(inside.exec().into());
    }
    to_the_end("ip", &["link", "set", "lo", "up"])?;
    let directory = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Only a sweep reads endpoints, half of all keys.
    let endpoints = !it.only.iter().all(|only| matches!(only.as_str(), "affinities" | "proxy" | "kubernetes"))
        || it.only.is_empty();
    // And tunnels have nothing to do with etcd.
    let hosts = if it.only == ["tunnels"] { 0 } else { it.hosts };
    let shape = Shape { hosts, blocks: 3, used: 32, faults: 24, endpoints };
    let etcd = Running::etcd(&directory.path().join("etcd"))?;
    let (keys, bytes) = runtime.block_on(load::into_etcd(&etcd.url(), shape.keys()))?;
    eprintln(&format!("{hosts} hosts, {keys} keys, {} MB of values", bytes / 1_000_000));
    let directory_path = directory.path().to_owned();
    let (runs, seconds) = (it.runs, it.seconds);
    let table = Table::begin()?;
    let mut bench = Bench {
        runs,
        seconds,
        shape,
        etcd,
        peer: it.peer,
        directory: directory_path,
        runtime,
        table,
        programmed: false,
    };
    let wanted = |name: &str| it.only.is_empty() || it.only.iter().any(|only| only == name);
    let mut once = (f64::NAN, f64::NAN);
    if wanted("start") || wanted("twice") {
        once = bench.start("start to /readyz, IPAM alone")?;
    }
    if wanted("scrape") {
        scrapes::measure(&mut bench)?;
    }
    if wanted("writes") {
        writes::measure(&mut bench)?;
    }
    if wanted("idle") {
        idle::measure(&mut bench)?;
    }
    if wanted("latency") {
        writes::latency(&mut bench)?;
    }
    if wanted("sweep") {
        bench.sweep()?;
    }
    if wanted("routes") {
        routes::measure(&mut bench)?;
    }
    if wanted("tunnels") {
        tunnels::measure(&mut bench, it.hosts)?;
    }
    if wanted("affinities") {
        affinities::measure(&mut bench)?;
    }
    if wanted("proxy") {
        proxy::measure(&mut bench)?;
    }
    if wanted("kubernetes") {
        kubernetes::measure(&mut bench, it.etcd.as_deref(), it.calicoctl.as_deref())?;
    }
    if wanted("twice") {
        let shape = Shape { hosts: it.hosts * 2, endpoints: false, ..shape };
        bench.etcd = Running::etcd(&bench.directory.join("twice"))?;
        let blocks = shape.keys().filter(|(key, _)| !key.starts_with(HANDLES));
        bench.runtime.block_on(load::into_etcd(&bench.etcd.url(), blocks))?;
        let twice = bench.start("twice the hosts: start to /readyz")?;
        let row = |table: &mut Table, work, ours, peer| {
            let (ours, peer) = (Runs::from_iter([ours]), Runs::from_iter([peer]));
            table.row(work, "", &ours, Some(("once the hosts", &peer)), &Goal::Ratio(2.1))
        };
        row(&mut bench.table, "twice the hosts: time", twice.0, once.0)?;
        row(&mut bench.table, "twice the hosts: memory", twice.1, once.1)?;
    }
    Ok(())
}

/// To the terminal, beside the table.
fn eprintln(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}

impl Bench {
    /// Time and memory from nothing to ready; returns both medians.
    fn start(&mut self, work: &str) -> Result<(f64, f64), Failure> {
        let (mut ours, mut peers, mut steady, mut peak, mut large) = Default::default();
        let endpoints = format!("--endpoints={}", self.etcd.url());
        let add = |runs: &mut Runs, value: f64| runs.add(value);
        for _ in 0..self.runs {
            let (seconds, memory) = to_the_end("etcdctl", &[&endpoints, "get", "--prefix", BLOCKS])?;
            add(&mut peers, seconds);
            add(&mut large, memory);
            let exporter = Running::exporter(&self.etcd, &IPAM_ONLY, None)?;
            add(&mut ours, exporter.ready()?.as_secs_f64());
            sleep(Duration::from_secs(2));
            let (now, most) = exporter.memory()?;
            add(&mut steady, now);
            add(&mut peak, most);
        }
        let (first, goals) = (work.starts_with("start"), [Goal::Ratio(1.0), Goal::AtMost(32.0), Goal::AtMost(48.0)]);
        let [time, at_rest, at_most] = if first { goals } else { [Goal::None, Goal::None, Goal::None] };
        self.table.row(work, "s", &ours, Some(("etcdctl get --prefix", &peers)), &time)?;
        self.table.row(&format!("{work}: memory, steady"), "MiB", &steady, Some(("etcdctl", &large)), &at_rest)?;
        self.table.row(&format!("{work}: memory, peak"), "MiB", &peak, Some(("etcdctl", &large)), &at_most)?;
        Ok((ours.at(0.5), steady.at(0.5)))
    }

    /// A sweep for leaks, as the log tells how long it took.
    fn sweep(&mut self) -> Result<(), Failure> {
        let (mut ours, mut peers, mut peak) = (Runs::default(), Runs::default(), Runs::default());
        let endpoints = format!("--endpoints={}", self.etcd.url());
        let log = self.directory.join("sweep.log");
        for _ in 0..self.runs.min(3) {
            let keys = |prefix| {
                to_the_end("etcdctl", &[&endpoints, "--command-timeout=1m", "get", "--prefix", prefix, "--keys-only"])
            };
            peers.add(keys(HANDLES)?.0 + keys(ENDPOINTS)?.0);
            let flags = ["--no-collector.routes", "--leaks.interval", "5s"];
            let exporter = Running::exporter(&self.etcd, &flags, Some(&log))?;
            let seconds = || {
                let text = std::fs::read_to_string(&log).ok()?;
                let line = text.lines().find(|line| line.contains("swept for leaks"))?.to_owned();
                line.split_whitespace().find_map(|part| part.strip_prefix("seconds=")?.parse().ok())
            };
            exporter.until(|_| seconds().is_some())?;
            ours.add(seconds().unwrap_or(f64::NAN));
            peak.add(exporter.memory()?.1);
        }
        let work = format!("sweep of {} handles and as many endpoints", self.shape.address_count());
        self.table.row(&work, "s", &ours, Some(("etcdctl --keys-only, both", &peers)), &Goal::Ratio(2.0))?;
        self.table.row("the same: memory, peak", "MiB", &peak, None, &Goal::AtMost(96.0))?;
        Ok(())
    }

    /// The series of this exporter that tell of the cluster, as a set.
    fn picture(text: &str) -> BTreeSet<String> {
        let tells = |line: &&str| line.starts_with("calico_ip") || line.starts_with("calico_host");
        text.lines().filter(tells).map(str::to_owned).collect()
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::new(&self.directory).join(name)
    }
}

/// How long something takes, in seconds.
fn timed<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<(T, f64), Failure> {
    let began = Instant::now();
    let done = work()?;
    Ok((done, began.elapsed().as_secs_f64()))
}
