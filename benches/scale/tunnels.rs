//! What is beneath the routes: a real VXLAN device with a neighbour and a forwarding entry for each peer, dumped and
//! audited.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use calico_exporter::audit::{Now, TunnelAudit};
use calico_exporter::source::netlink;
use calico_exporter::state::{Changes, Event, Side, State};

use super::load::Failure;
use super::peers;
use super::process::to_the_end;
use super::table::{Goal, Runs};
use super::{Bench, timed};

/// What Felix would have programmed.
fn program(bench: &Bench, count: u32) -> Result<(), Failure> {
    let (device, host) = (peers::DEVICE, peers::host(0));
    let mut links = String::new();
    let _ =
        writeln!(links, "link add under0 mtu 1550 type veth peer name under9\nlink set under0 up\nlink set under9 up");
    let _ = writeln!(links, "addr add {host}/{} dev under0", peers::SUBNET);
    let _ = writeln!(links, "link add {device} type vxlan id 4096 local {host} dev under0 dstport 4789 nolearning");
    let _ = writeln!(
        links,
        "link set {device} address {} up\naddr add {}/32 dev {device}",
        peers::mac(0),
        peers::address(0)
    );
    let mut entries = String::new();
    for n in 1..=count {
        let (address, host, mac) = (peers::address(n), peers::host(n), peers::mac(n));
        let _ = writeln!(links, "neigh add {address} lladdr {mac} dev {device} nud permanent");
        let _ = writeln!(entries, "fdb add {mac} dst {host} dev {device} self permanent");
    }
    for (program, lines) in [("ip", links), ("bridge", entries)] {
        let file = bench.file(program);
        std::fs::write(&file, lines)?;
        to_the_end(program, &["-batch", &file.to_string_lossy()])?;
    }
    Ok(())
}

pub fn measure(bench: &mut Bench, count: u32) -> Result<(), Failure> {
    program(bench, count)?;
    let mut known = State::new(true);
    let links = bench.runtime.block_on(netlink::snapshot())?;
    for event in peers::datastore(count).chain([Event::Synced(Side::Datastore)]).chain(links) {
        known.apply(event, Duration::ZERO);
    }
    let (mut ours, mut dumps, mut theirs) = (Runs::default(), Runs::default(), Runs::default());
    for _ in 0..bench.runs {
        let peer = |program, what| to_the_end(program, &["-j", what]);
        theirs.add((peer("ip", "neigh")?.0 + peer("bridge", "fdb")?.0) * 1000.0);
        let (mut state, mut audit) = (known.clone(), TunnelAudit::new(peers::options()));
        let ((report, findings), seconds) = timed(|| {
            let (events, dump) = timed(|| Ok(bench.runtime.block_on(netlink::tunnels_snapshot())?))?;
            dumps.add(dump * 1000.0);
            events.into_iter().for_each(|event| state.apply(event, Duration::ZERO));
            let now = Now { monotonic: Duration::ZERO, wall: SystemTime::now() };
            audit.refresh(&state, &Changes::default(), now);
            Ok((audit.report(&state, now), audit.findings(&state, now)))
        })?;
        let count = u64::from(count);
        if report.entries.len() != 2 || report.entries.values().any(|it| (it.actual, it.expected) != (count, count)) {
            return Err(format!("not all entries were seen: {:?}", report.entries).into());
        }
        if let Some(finding) = findings.first() {
            return Err(format!("what was programmed is not right: {finding:?}").into());
        }
        ours.add(seconds * 1000.0);
    }
    let peer = Some(("ip -j neigh and bridge -j fdb", &theirs));
    let work = format!("dump and audit of {count} neighbours and as many forwarding entries");
    bench.table.row(&work, "ms", &ours, peer, &Goal::Ratio(2.0))?;
    bench.table.row("the same: the dump alone", "ms", &dumps, peer, &Goal::None)?;
    Ok(())
}
