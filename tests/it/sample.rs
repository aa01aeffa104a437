//! A report with something of everything, made by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use calico_exporter::audit::{
    AffinityReason, BlockReason, Cause, CauseKind, Encapsulation, EntryCounts, EntryReason, Fault, Finding, Histogram,
    HostFigures, IpamReport, LeakReason, MismatchReason, NodeReason, OwnerReason, PoolFigures, Report, RouteClass,
    RouteReason, RoutesReport, Severity, TunnelMode, TunnelModes, TunnelReason, TunnelsReport,
};
use calico_exporter::metrics::{Build, Process, Published, SourceStatus, VitalSigns};
use calico_exporter::model::{EncapMode, IpPool, Name, PoolClass, TunnelKind};
use calico_exporter::state::{Kind, Program, Side, Table};

pub(crate) fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

pub(crate) fn pool(name: &str, cidr: &str) -> IpPool {
    IpPool {
        name: name.into(),
        cidr: cidr.parse().unwrap(),
        block_size: if cidr.contains(':') { 122 } else { 26 },
        ipip: EncapMode::Always,
        vxlan: EncapMode::Never,
        disabled: false,
        disable_bgp_export: false,
        node_selector: "all()".to_string(),
        load_balancer: false,
        manual: false,
    }
}

pub(crate) fn figures(pool: Option<IpPool>) -> PoolFigures {
    PoolFigures {
        pool,
        allocated: 5.0,
        cooldown: 1.0,
        reserved: 2.0,
        free: 121.0,
        lost: 1.0,
        unclaimed: 65_406.0,
        blocks: 2,
        blocks_capacity: 1024.0,
        hosts_without_block: 1,
        addresses_without_node: 1,
        cooldown_oldest: Some(at(1_700_000_000)),
    }
}

fn ipam() -> IpamReport {
    let v6 = PoolFigures {
        // 2^64 and a bit less: more than an integer of 64 bits holds.
        unclaimed: 18_446_744_073_709_551_616.0,
        blocks_capacity: 288_230_376_151_711_744.0,
        cooldown_oldest: None,
        ..figures(Some(IpPool {
            ipip: EncapMode::Never,
            vxlan: EncapMode::CrossSubnet,
            disabled: true,
            ..pool("six", "fd00:10::/64")
        }))
    };
    let orphans = PoolFigures { reserved: 0.0, unclaimed: 0.0, cooldown_oldest: None, ..figures(None) };
    let host = HostFigures {
        confirmed: 1,
        pending: 1,
        allocated: 2,
        free: 62,
        borrowed: 1,
        empty_blocks: 0,
        ..HostFigures::default()
    };
    let borrower = HostFigures { borrowed: 3, ..HostFigures::default() };
    IpamReport {
        pools: BTreeMap::from([
            ("main".into(), figures(Some(pool("main", "10.204.0.0/16")))),
            ("no_ippool".into(), orphans),
            ("six".into(), v6),
        ]),
        hosts: BTreeMap::from([
            (("h1".into(), "main".into()), host),
            (("h2".into(), "main".into()), HostFigures { lent: 4, cooldown: 3, lost: 61, ..HostFigures::default() }),
            (("h2".into(), "six".into()), borrower),
        ]),
        max_blocks_per_host: 20,
        strict_affinity: false,
    }
}

fn routes() -> RoutesReport {
    let mut convergence = Histogram::default();
    for seconds in [0.02, 0.5, 400.0] {
        convergence.observe(seconds);
    }
    RoutesReport {
        devices_without_endpoint: 1,
        partial: false,
        actual: BTreeMap::from([
            ((RouteClass::LocalWorkload, Encapsulation::None), 3),
            ((RouteClass::RemoteBlock, Encapsulation::None), 1),
            ((RouteClass::Foreign, Encapsulation::None), 1),
        ]),
        expected: BTreeMap::from([
            ((RouteClass::LocalWorkload, Encapsulation::None), 3),
            ((RouteClass::RemoteBlock, Encapsulation::Ipip), 2),
        ]),
        pending: BTreeMap::from([(RouteClass::RemoteBlock, 1)]),
        convergence: BTreeMap::from([(RouteClass::RemoteBlock, convergence)]),
        changes: BTreeMap::from([((RouteClass::LocalWorkload, Program::Felix), (7, 4))]),
        bpf: false,
        named: BTreeSet::from(["h2".into()]),
        devices: BTreeSet::from([TunnelKind::Ipip]),
        tunnel_modes: BTreeMap::from([
            ("main".into(), TunnelModes { configured: TunnelMode::IpipAlways, observed: TunnelMode::Mixed }),
            ("plain".into(), TunnelModes { configured: TunnelMode::None, observed: TunnelMode::Unknown }),
        ]),
        owners: vec![("felix", PoolClass::Ipip), ("bird", PoolClass::NoEncap)],
    }
}

fn tunnels() -> TunnelsReport {
    let mut convergence = Histogram::default();
    convergence.observe(0.2);
    let counts = EntryCounts { actual: 3, expected: 4, pending: 1, faults_in_use: 1 };
    let device: Name = "vxlan.calico".into();
    TunnelsReport {
        entries: BTreeMap::from([
            ((device.clone(), Table::Neighbours), EntryCounts { pending: 0, ..counts }),
            ((device, Table::Fdb), counts),
        ]),
        convergence: BTreeMap::from([(Table::Fdb, convergence)]),
        rules: BTreeSet::from([TunnelKind::WireguardV4]),
    }
}

/// Everything at once.
pub(crate) fn report() -> Report {
    let h2: Name = "h2".into();
    let entry = |table, reason| Fault::Entry("vxlan.calico".into(), table, reason);
    let mut findings = vec![
        Finding::new(Fault::Undecodable(Kind::Block), "/calico/ipam/v2/assignment/ipv4/block/10.204.9.0-26"),
        Finding::new(Fault::Mismatch(MismatchReason::Neither), "10.204.0.1").host(Some(h2.clone())),
        Finding::new(Fault::Mismatch(MismatchReason::Neither), "10.204.0.2").host(Some(h2.clone())),
        Finding::new(Fault::Mismatch(MismatchReason::Duplicate), "10.9.0.2"),
        Finding::new(Fault::Block(BlockReason::Overlap), "10.204.0.0/26"),
        Finding::new(Fault::Affinity(AffinityReason::TwoHosts), "10.204.0.64/26"),
        Finding::new(Fault::Leak("main".into(), LeakReason::TwoEndpoints), "10.204.0.5"),
        Finding::new(Fault::Tunnel("tunl0".into(), TunnelReason::Down), "tunl0"),
        Finding::new(entry(Table::Neighbours, EntryReason::Missing), "10.204.2.64").host(Some(h2.clone())),
        Finding::new(entry(Table::Fdb, EntryReason::Stale), "66:00:00:00:00:01"),
        Finding::new(Fault::Node(NodeReason::PrefixDiffers), "h1"),
        Finding::new(Fault::Route(RouteClass::RemoteBlock, RouteReason::Missing), "10.204.1.64/26")
            .host(Some(h2.clone())),
        Finding::new(Fault::Route(RouteClass::RemoteBlock, RouteReason::Missing), "10.204.2.64/26").host(Some(h2)),
        Finding::new(Fault::Route(RouteClass::Borrowed, RouteReason::Stale), "10.204.3.1"),
        Finding::new(Fault::Owner(PoolClass::Ipip, OwnerReason::Both), "ipip"),
    ];
    findings.sort();
    Report {
        ipam: Some(ipam()),
        routes: Some(routes()),
        tunnels: Some(tunnels()),
        leaks: true,
        findings,
        causes: vec![cause()],
        notes: Vec::new(),
    }
}

/// Two routes of h2 are missing.
fn cause() -> Cause {
    Cause {
        kind: CauseKind::HostUnreachable,
        severity: Severity::Warning,
        subject: "h2".to_owned(),
        since: Some(at(1_700_000_000)),
        findings: vec![11, 12],
        detail: "h2 cannot be reached from h1".to_owned(),
        evidence: vec!["2 routes to it are at fault".to_owned()],
        action: "see BIRD".to_owned(),
    }
}

pub(crate) fn sources() -> Vec<SourceStatus> {
    let etcd = SourceStatus {
        in_sync: true,
        synced_once: true,
        last_sync: Some(at(1_700_000_100)),
        resyncs: 2,
        ..SourceStatus::waiting("etcd", Side::Datastore)
    };
    vec![etcd, SourceStatus::waiting("netlink", Side::Kernel), SourceStatus::waiting("netlink_tunnels", Side::Tunnels)]
}

pub(crate) fn published(report: Report) -> Arc<Published> {
    Arc::new(Published {
        report: Arc::new(report),
        report_time: Some(at(1_700_000_200)),
        audit_seconds: 0.0125,
        changes: BTreeMap::from([(Kind::Pool, 2)]),
        ..Published::starting("h1".into(), sources())
    })
}

pub(crate) fn signs() -> VitalSigns {
    VitalSigns {
        build: Build { version: "1.2.3", revision: "abc", arch: "x86_64" },
        requests: [12, 0, 2, 1, 0, 0, 0, 0, 3],
        process: Process {
            cpu_seconds: Some(1.25),
            resident_bytes: Some(20_000_000),
            virtual_bytes: Some(300_000_000),
            open_fds: Some(17),
            max_fds: Some(1024),
            start_seconds: Some(1_700_000_000.25),
        },
        certificates: vec![("web", 1_800_000_000), ("etcd", 1_800_000_600)],
    }
}
