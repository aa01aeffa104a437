//! The IPAM audit against what real Calico wrote, and what `calicoctl ipam show` said of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use calico_exporter::audit::{Finding, IpamAudit, IpamOptions, IpamReport, Now, PoolFigures};
use calico_exporter::model::{Name, address_count};
use calico_exporter::source::file::{self, Dump};
use calico_exporter::state::{Changes, State};

use crate::both_forms::{BOTH, listed};
use crate::fixtures::{folder, recorded_datastores};

/// A recording's datastore, audited as a dump.
struct Recording {
    folder: PathBuf,
    state: State,
    audit: IpamAudit,
    /// The same, looked at after every event.
    followed: IpamAudit,
}

impl Recording {
    fn read(folder: &Path, dump: Dump) -> Recording {
        let now = Now { monotonic: Duration::ZERO, wall: dump.newest.unwrap_or(SystemTime::UNIX_EPOCH) };
        let options = IpamOptions { live: false, affinity_grace: Duration::from_secs(90) };
        let (mut audit, mut followed) = (IpamAudit::new(options), IpamAudit::new(options));
        let mut state = State::new(true);
        for event in dump.events {
            state.apply(event, Duration::ZERO);
            let changes = state.take_changes();
            followed.refresh(&state.datastore, &changes, now, &|_| Some(Box::new(|_| true)));
        }
        audit.refresh(&state.datastore, &Changes::default(), now, &|_| Some(Box::new(|_| true)));
        Recording { folder: folder.to_owned(), state, audit, followed }
    }

    fn report(&self) -> IpamReport {
        self.audit.report()
    }

    /// The rows of a table that calicoctl drew, without its head.
    fn table(&self, file: &str) -> Option<Vec<Vec<String>>> {
        let text = fs::read_to_string(self.folder.join(file)).ok()?;
        let rows = text.lines().filter(|line| line.starts_with('|')).skip(1);
        Some(rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect())
    }
}

/// Every recorded datastore in the repository, those of the Kubernetes API in that form as well.
fn recordings() -> Vec<Recording> {
    let folders = recorded_datastores();
    let etcd =
        folders.iter().map(|folder| Recording::read(folder, file::datastore(&folder.join("etcd.json")).unwrap()));
    etcd.chain(BOTH.map(|(group, name)| Recording::read(&folder(name), listed(group, name)))).collect()
}

fn parts(figures: &PoolFigures) -> [f64; 6] {
    [figures.allocated, figures.cooldown, figures.reserved, figures.free, figures.lost, figures.unclaimed]
}

#[test]
fn nothing_is_wrong_with_any_recording_and_its_partitions_add_up() {
    for recording in recordings() {
        let (folder, report) = (&recording.folder, recording.report());
        assert_eq!(recording.audit.findings(), [], "{folder:?}");
        assert_eq!(recording.followed.findings(), [], "{folder:?}");
        assert_eq!(recording.followed.report(), report, "{folder:?}");
        assert!(!report.pools.is_empty() && !report.hosts.is_empty(), "{folder:?}");
        let mut size = 0;
        for (name, figures) in &report.pools {
            let pool = figures.pool.as_ref().unwrap();
            assert_eq!(parts(figures).iter().sum::<f64>(), address_count(&pool.cidr), "{folder:?} {name}");
            assert_eq!(figures.lost, 0.0, "{folder:?} {name}");
        }
        for block in recording.state.datastore.blocks().filter(|block| block.host().is_some()) {
            size += u64::from(block.size());
        }
        assert_eq!(report.hosts.values().map(|figures| figures.size()).sum::<u64>(), size, "{folder:?}");
    }
}

/// A cell like `16309 (100%)`; IPv6's totals are rounded by calicoctl to five digits.
fn number(cell: &str) -> f64 {
    cell.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn in_use_reserved_and_free_are_what_calicoctl_says() {
    let mut compared = 0;
    for recording in recordings() {
        let Some(rows) = recording.table("ipam-show.txt") else { continue };
        let report = recording.report();
        let pools = rows.iter().filter(|row| row[0] == "IP Pool");
        for row in pools {
            let at = format!("{:?} {}", recording.folder, row[1]);
            let named = |figures: &&PoolFigures| figures.pool.as_ref().is_some_and(|it| it.cidr.to_string() == row[1]);
            let figures = report.pools.values().find(named).unwrap();
            let in_use = figures.allocated + figures.cooldown + figures.lost;
            assert_eq!(in_use, number(&row[3]), "{at}: in use");
            assert_eq!(figures.reserved, number(&row[4]), "{at}: reserved");
            let free = figures.free + figures.unclaimed;
            if row[1].contains(':') {
                // calicoctl's integer overflows here.
                assert_eq!(free, 2f64.powi(64) - in_use, "{at}: free");
            } else {
                assert_eq!(free, number(&row[5]), "{at}: free");
            }
            compared += 1;
        }
        let blocks = rows.iter().filter(|row| row[0] == "Block").count() as u64;
        assert_eq!(report.pools.values().map(|figures| figures.blocks).sum::<u64>(), blocks, "{:?}", recording.folder);
    }
    assert!(compared >= 32, "{compared} pools compared");
}

#[test]
fn borrowed_and_lent_are_what_calicoctl_says() {
    let mut compared = 0;
    for recording in recordings() {
        let Some(rows) = recording.table("ipam-show-borrowed.txt") else { continue };
        let count = |column: usize| {
            let mut counts: BTreeMap<Name, u64> = BTreeMap::new();
            for row in rows.iter().filter(|row| !row[column].is_empty()) {
                *counts.entry(row[column].as_str().into()).or_default() += 1;
            }
            counts
        };
        let (mut borrowed, mut lent): (BTreeMap<Name, u64>, BTreeMap<Name, u64>) = Default::default();
        for ((host, _), figures) in &recording.report().hosts {
            for (sums, figure) in [(&mut borrowed, figures.borrowed), (&mut lent, figures.lent)] {
                if figure > 0 {
                    *sums.entry(host.clone()).or_default() += figure;
                }
            }
        }
        assert_eq!(borrowed, count(1), "{:?}", recording.folder);
        assert_eq!(lent, count(3), "{:?}", recording.folder);
        compared += rows.len();
    }
    assert!(compared >= 22, "{compared} addresses compared");
}

/// A block as an old Calico wrote it: no `deleted`, no sequence numbers, attributes without `secondary`.
fn old_block(unallocated: &str) -> String {
    let mut allocations = ["null"; 64];
    (allocations[8], allocations[9]) = ("0", "1");
    format!(
        r#"{{"cidr":"111.10.238.192/26","affinity":"host:k8s02","strictAffinity":false,"allocations":[{}],"unallocated":[{unallocated}],"attributes":[{{"handle_id":"k8s-pod-network.e908404f358d","secondary":null}},{{"handle_id":"k8s-pod-network.c4367bf4e873","secondary":null}}]}}"#,
        allocations.join(",")
    )
}

/// The audit of a dump of these keys and values.
fn audit_of(pairs: &[(&str, &str)]) -> (Vec<Finding>, IpamReport) {
    let kvs: Vec<String> = pairs
        .iter()
        .map(|(key, value)| {
            let (key, value) = (BASE64_STANDARD.encode(key), BASE64_STANDARD.encode(value));
            format!(r#"{{"key":"{key}","mod_revision":1,"value":"{value}"}}"#)
        })
        .collect();
    let dump = format!(r#"{{"header":{{"revision":1}},"kvs":[{}],"count":{}}}"#, kvs.join(","), kvs.len());
    let dump = file::datastore_from(Path::new("dump"), dump.as_bytes()).unwrap();
    let mut state = State::new(true);
    for event in dump.events {
        state.apply(event, Duration::ZERO);
    }
    let mut audit = IpamAudit::new(IpamOptions { live: false, affinity_grace: Duration::from_secs(90) });
    let now = Now { monotonic: Duration::ZERO, wall: SystemTime::UNIX_EPOCH };
    audit.refresh(&state.datastore, &Changes::default(), now, &|_| None);
    (audit.findings(), audit.report())
}

#[test]
fn a_block_of_an_old_calico_and_an_ordinal_that_came_back() {
    let free = "10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40,41,42,43,44,45,\
                46,47,48,49,50,51,52,53,54,55,56,57,58,59,60,61,62,63,1,0,2,3,4,5,6,7";
    let look = |unallocated: &str| {
        let (findings, report) = audit_of(&[
            ("/calico/ipam/v2/assignment/ipv4/block/111.10.238.192-26", &old_block(unallocated)),
            ("/calico/ipam/v2/host/k8s02/ipv4/block/111.10.238.192-26", ""),
            (
                "/calico/resources/v3/projectcalico.org/ippools/p",
                r#"{"kind":"IPPool","metadata":{"name":"p"},"spec":{"cidr":"111.10.0.0/16","ipipMode":"Always"}}"#,
            ),
            ("/calico/resources/v3/projectcalico.org/nodes/k8s02", r#"{"kind":"Node","metadata":{"name":"k8s02"}}"#),
        ]);
        (findings, report.hosts[&("k8s02".into(), "p".into())].clone())
    };
    let ratio = |size: u64, free: u64| (size - free) as f64 / size as f64;

    let (findings, host) = look(free);
    assert_eq!(findings, []);
    assert_eq!((host.allocated, host.free, host.confirmed), (2, 62, 1));
    assert_eq!(ratio(host.size(), host.free), 0.03125);

    // Allocations may be wrong after an accident; what is free is what `unallocated` says.
    let (findings, host) = look(&format!("{free},8"));
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].fault.reason(), Some("allocated_and_unallocated"));
    assert_eq!((findings[0].subject.as_str(), findings[0].host.as_deref()), ("111.10.238.200", Some("k8s02")));
    assert_eq!((host.allocated, host.free), (1, 63));
    assert_eq!(ratio(host.size(), host.free), 0.015625);
}
