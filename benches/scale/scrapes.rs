//! Scrapes of all hosts' series: of a report that was scraped before, of one that just changed, and by ten at once.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use super::cluster::Shape;
use super::load::Failure;
use super::process::{Running, get};
use super::table::{Goal, Runs};
use super::{Bench, IPAM_ONLY, timed};

const SCRAPERS: usize = 10;

/// One scraper after another, or ten at once: seconds of each scrape.
fn scrape(address: SocketAddr, gzip: bool, scrapers: usize, times: usize) -> Result<Runs, Failure> {
    let one = move || -> Result<Vec<f64>, Failure> {
        (0..times).map(|_| Ok(timed(|| get(address, "/metrics", gzip))?.1)).collect()
    };
    let threads: Vec<_> = (0..scrapers).map(|_| thread::spawn(one)).collect();
    let mut runs = Runs::default();
    for thread in threads {
        thread.join().map_err(|_| "a scraper failed")??.into_iter().for_each(|seconds| runs.add(seconds * 1000.0));
    }
    Ok(runs)
}

/// Serves these bytes and nothing else, each connection by a thread of its own: no exporter can be faster here.
fn ready_made(bytes: Vec<u8>) -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (address, bytes) = (listener.local_addr()?, Arc::new(bytes));
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let bytes = bytes.clone();
            thread::spawn(move || {
                // What is left unread when a connection ends resets it.
                let request = BufReader::new(stream.try_clone()?).lines();
                request.take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty())).for_each(drop);
                stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n")?;
                stream.write_all(&bytes)
            });
        }
    });
    Ok(address)
}

pub fn measure(bench: &mut Bench) -> Result<(), Failure> {
    let exporter = Running::exporter(&bench.etcd, &IPAM_ONLY, None)?;
    exporter.ready()?;
    let plain = get(exporter.address, "/metrics", false)?.body;
    let file = bench.file("metrics.txt");
    std::fs::write(&file, &plain)?;
    let peer = bench.peer.as_ref().map(|program| Running::other(program, &file)).transpose()?;
    let text = String::from_utf8_lossy(&plain);
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    let gzip = get(exporter.address, "/metrics", true)?.body.len();
    super::eprintln(&format!("a scrape: {series} series, {} bytes, {gzip} compressed", plain.len()));
    for (form, gzip, goal) in [("plain", false, 25.0), ("gzip", true, 50.0)] {
        let theirs = peer.as_ref().map(|peer| scrape(peer.address, gzip, 1, bench.runs)).transpose()?;
        // Every scrape after a change of its own: nothing is ready yet.
        let mut fresh = Runs::default();
        let client = bench.runtime.block_on(etcd_client::Client::connect([bench.etcd.url()], None))?;
        for revision in 1..=bench.runs as u64 * 2 {
            let value = bench.shape.block(0, revision);
            bench.runtime.block_on(client.kv_client().put(Shape::block_key(0), value, None))?;
            thread::sleep(std::time::Duration::from_millis(300));
            fresh.add(scrape(exporter.address, gzip, 1, 1)?.at(0.5));
        }
        let repeated = scrape(exporter.address, gzip, 1, bench.runs * 4)?;
        let mut row = |work: &str, ours: &Runs, peer: Option<&Runs>, goal: Goal| {
            let peer = peer.map(|runs| ("promhttp", runs));
            bench.table.row(&format!("scrape, {form}, {work}"), "ms", ours, peer, &goal)
        };
        row("of a report that just changed", &fresh, theirs.as_ref(), Goal::Ratio(1.0 / 6.0))?;
        row("again", &repeated, theirs.as_ref(), Goal::Ratio(1.0 / 6.0))?;
        let ten = scrape(exporter.address, gzip, SCRAPERS, bench.runs * 4)?.only(0.99);
        let theirs = peer.as_ref().map(|peer| scrape(peer.address, gzip, SCRAPERS, bench.runs)).transpose()?;
        let theirs = theirs.map(|runs| runs.only(0.99));
        row("ten at once, p99", &ten, theirs.as_ref(), Goal::AtMost(goal))?;
        if !gzip {
            // How much of that is the machine's: so many bytes through the loopback, and readers that take them.
            let least = scrape(ready_made(plain.clone())?, gzip, SCRAPERS, bench.runs * 4)?.only(0.99);
            let least = Some(("the bytes from memory", &least));
            bench.table.row(
                "the same, beside a thread a reader that has them ready",
                "ms",
                &ten,
                least,
                &Goal::None,
            )?;
        }
    }
    let (steady, peak) = exporter.memory()?;
    let runs = |value| Runs::from_iter([value]);
    bench.table.row("memory after these scrapes, steady", "MiB", &runs(steady), None, &Goal::None)?;
    bench.table.row("memory after these scrapes, peak", "MiB", &runs(peak), None, &Goal::None)?;
    Ok(())
}
