//! One host's route collector that follows affinity keys: what it reads, what it weighs, and what wakes it.

use std::thread::sleep;
use std::time::{Duration, Instant};

use etcd_client::Client;

use super::Bench;
use super::cluster::Shape;
use super::load::Failure;
use super::process::Running;
use super::routes;
use super::table::{Goal, Runs};

const BLOCKS: [&str; 1] = ["--no-collector.ipam"];
const AFFINITIES: [&str; 3] = ["--no-collector.ipam", "--routes.watch", "affinities"];
/// Writes a second to other hosts' blocks.
const RATE: u64 = 1000;

pub fn measure(bench: &mut Bench) -> Result<(), Failure> {
    routes::program(bench)?;
    let (mut times, mut read, mut steady, mut peak) = <(Runs, Runs, Runs, Runs)>::default();
    let (mut all_times, mut all_read, mut all_steady) = <(Runs, Runs, Runs)>::default();
    for _ in 0..bench.runs.min(3) {
        let (seconds, megabytes, memory) = start(bench, &BLOCKS)?;
        all_times.add(seconds);
        all_read.add(megabytes);
        all_steady.add(memory.0);
        let (seconds, megabytes, memory) = start(bench, &AFFINITIES)?;
        times.add(seconds);
        read.add(megabytes);
        steady.add(memory.0);
        peak.add(memory.1);
    }
    let table = &mut bench.table;
    let by_blocks = "--routes.watch blocks";
    let work = "routes collector, --routes.watch affinities";
    table.row(&format!("{work}: start to /readyz"), "s", &times, Some((by_blocks, &all_times)), &Goal::None)?;
    let sent = "the same: etcd sent until 3 s later";
    table.row(sent, "MB", &read, Some((by_blocks, &all_read)), &Goal::AtMost(4.0))?;
    table.row("the same: memory, steady", "MiB", &steady, Some((by_blocks, &all_steady)), &Goal::AtMost(24.0))?;
    table.row("the same: memory, peak", "MiB", &peak, None, &Goal::None)?;
    wakes(bench)
}

/// Seconds to ready, megabytes that etcd sent, and memory.
fn start(bench: &Bench, flags: &[&str]) -> Result<(f64, f64, (f64, f64)), Failure> {
    let before = bench.etcd.sent()?;
    let exporter = Running::exporter(&bench.etcd, flags, None)?;
    let seconds = exporter.ready()?.as_secs_f64();
    sleep(Duration::from_secs(3));
    let sent = bench.etcd.sent()? - before;
    Ok((seconds, sent / 1e6, exporter.memory()?))
}

/// How often the exporter gets to run while nothing happens, and while other hosts' blocks are written.
fn wakes(bench: &mut Bench) -> Result<(), Failure> {
    let exporter = Running::exporter(&bench.etcd, &AFFINITIES, None)?;
    exporter.ready()?;
    sleep(Duration::from_secs(3));
    // What wakes it by the clock alone comes every ten seconds.
    let seconds = 20;
    let measured = |during: &mut dyn FnMut() -> Result<(), Failure>| -> Result<(f64, f64), Failure> {
        let (woken, used, began) = (exporter.wakes()?, exporter.processor()?, Instant::now());
        during()?;
        let elapsed = began.elapsed().as_secs_f64();
        Ok(((exporter.wakes()? - woken) / elapsed, (exporter.processor()? - used) / elapsed * 100.0))
    };
    let (idle, _) = measured(&mut || {
        sleep(Duration::from_secs(seconds));
        Ok(())
    })?;
    let mut written = 0;
    let (busy, processor) = measured(&mut || {
        written = bench.runtime.block_on(write(bench.etcd.url(), bench.shape, Duration::from_secs(seconds)))?;
        Ok(())
    })?;
    let one = |value: f64| Runs::from_iter([value]);
    let work = format!("{} writes a second to other hosts' blocks", written / seconds);
    let nothing = Some(("while nothing is written", &one(idle))).map(|(name, runs)| (name, runs.clone()));
    let peer = nothing.as_ref().map(|(name, runs)| (*name, runs));
    bench.table.row(&format!("{work}: wake-ups"), "a second", &one(busy), peer, &Goal::None)?;
    bench.table.row("the same: processor", "% of a core", &one(processor), None, &Goal::None)?;
    Ok(())
}

async fn write(endpoint: String, shape: Shape, long: Duration) -> Result<u64, Failure> {
    let client = Client::connect([endpoint], None).await?;
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let others = u64::from(shape.block_count() - shape.blocks);
    let (began, mut number) = (Instant::now(), 0);
    while began.elapsed() < long {
        tick.tick().await;
        for _ in 0..RATE / 100 {
            let block = shape.blocks + ((number * 7919) % others) as u32;
            let (mut kv, value) = (client.kv_client(), shape.block(block, number / others + 1));
            tokio::spawn(async move { kv.put(Shape::block_key(block), value, None).await });
            number += 1;
        }
    }
    Ok(number)
}
