//! Generates a cluster of any size, with faults planted on purpose, into etcd or into a dump file:
//!
//! ```text
//! cargo run --release --example generate -- --hosts 5000 --etcd http://127.0.0.1:2379
//! cargo run --release --example generate -- --hosts 100 --faults 8 --file dump.json
//! ```
//!
//! What was planted is printed, one fault a line: metric, reason, subject; as `check` would find it.

use std::io::Write;
use std::path::PathBuf;

use clap::Parser;

#[path = "../benches/scale/cluster.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the benchmarks")]
mod cluster;
#[path = "../benches/scale/load.rs"]
#[allow(unreachable_pub, reason = "shared with the benchmarks")]
mod load;

use cluster::{BLOCK_SIZE, Shape};

#[derive(Parser)]
struct Arguments {
    /// Hosts.
    #[arg(long, default_value_t = 5000)]
    hosts: u32,
    /// Blocks of each host.
    #[arg(long, default_value_t = 3)]
    blocks: u32,
    /// Addresses in use of each block's 64.
    #[arg(long, default_value_t = 32)]
    used: u32,
    /// Faults to plant.
    #[arg(long, default_value_t = 0)]
    faults: u32,
    /// Leave workload endpoints out.
    #[arg(long)]
    no_endpoints: bool,
    /// Put the keys into this etcd.
    #[arg(long, value_name = "URL")]
    etcd: Option<String>,
    /// Write a dump to this file.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), load::Failure> {
    let it = Arguments::parse();
    if it.hosts.checked_mul(it.blocks).is_none_or(|blocks| blocks > 1 << 18) || it.used > BLOCK_SIZE {
        return Err("a pool of 10.0.0.0/8 has 262144 blocks of 64 addresses".into());
    }
    let shape =
        Shape { hosts: it.hosts, blocks: it.blocks, used: it.used, faults: it.faults, endpoints: !it.no_endpoints };
    let mut written = Vec::new();
    if let Some(path) = &it.file {
        written.push((path.display().to_string(), load::into_file(path, shape.keys())?));
    }
    if let Some(endpoint) = &it.etcd {
        written.push((endpoint.clone(), load::into_etcd(endpoint, shape.keys()).await?));
    }
    for (place, (keys, bytes)) in written {
        writeln!(std::io::stderr(), "{place}: {keys} keys, {bytes} bytes of values")?;
    }
    for fault in shape.planted() {
        writeln!(std::io::stdout(), "{} {} {}", fault.metric, fault.reason, fault.subject)?;
    }
    Ok(())
}
