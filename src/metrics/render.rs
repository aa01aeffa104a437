//! A report as series. A gauge of faults is counted from the findings: nothing else knows how many there are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::catalogue::{self as c, Series};
use super::exposition::unix;
use super::exposition::{Exposition, Value};
use crate::audit::{
    AffinityReason, BlockReason, CauseKind, Encapsulation, EntryCounts, EntryReason, Fault, HandleReason, HostFigures,
    IpamReport, LeakReason, Metric, MismatchReason, NodeReason, OwnerReason, PoolFigures, Report, RouteClass,
    RouteReason, RoutesReport, TunnelMode, TunnelReason, TunnelsReport,
};
use crate::model::{PoolClass, TunnelKind};
use crate::state::{Kind as ObjectKind, Program};

/// Writes all series of a report. Those of a part that has not reported are absent, not 0.
pub(super) fn write(report: &Report, out: &mut dyn Exposition) -> fmt::Result {
    let counts = Counts::of(report);
    if let Some(ipam) = &report.ipam {
        pools(ipam, out)?;
        hosts(ipam, out)?;
    }
    counts.write(Metric::MismatchedAddresses, out)?;
    counts.write_by_host(Metric::MismatchedAddresses, &c::HOST_MISMATCHED, out)?;
    for metric in [Metric::InvalidBlocks, Metric::AffinityFaults, Metric::HandleFaults, Metric::LeakedAddresses] {
        counts.write(metric, out)?;
    }
    if let Some(routes) = &report.routes {
        tunnel_modes(routes, out)?;
    }
    counts.write(Metric::TunnelFaults, out)?;
    if let Some(tunnels) = &report.tunnels {
        entries(tunnels, out)?;
    }
    counts.write(Metric::TunnelEntryFaults, out)?;
    if let Some(tunnels) = &report.tunnels {
        entry_movement(tunnels, out)?;
    }
    counts.write(Metric::NodeFaults, out)?;
    if let Some(routes) = &report.routes {
        out.series(&c::WORKLOAD_DEVICES_WITHOUT_ENDPOINT, &mut |samples| {
            samples.sample(&[], routes.devices_without_endpoint.into())
        })?;
        destinations(routes, out)?;
    }
    counts.write(Metric::RouteFaults, out)?;
    counts.write_by_host(Metric::RouteFaults, &c::HOST_ROUTE_FAULTS, out)?;
    if let Some(routes) = &report.routes {
        movement(routes, out)?;
        owners(routes, out)?;
    }
    counts.write(Metric::OwnerFaults, out)?;
    counts.write(Metric::UndecodableKeys, out)?;
    causes(report, out)
}

fn causes(report: &Report, out: &mut dyn Exposition) -> fmt::Result {
    out.series(&c::CAUSES, &mut |samples| {
        for kind in CauseKind::ALL.into_iter().filter(|kind| report.has(kind.part())) {
            let count = report.causes.iter().filter(|cause| cause.kind == kind).count();
            samples.sample(&[kind.as_str()], Value::Whole(count as u64))?;
        }
        Ok(())
    })
}

fn pools(ipam: &IpamReport, out: &mut dyn Exposition) -> fmt::Result {
    out.series(&c::IPPOOL_INFO, &mut |samples| {
        for (name, pool) in ipam.pools.iter().filter_map(|(name, figures)| Some((name, figures.pool.as_ref()?))) {
            let (cidr, block_size) = (pool.cidr.to_string(), pool.block_size.to_string());
            let disabled = if pool.disabled { "true" } else { "false" };
            let assignment = match (pool.load_balancer, pool.manual) {
                (true, _) => "load_balancer",
                (false, true) => "manual",
                (false, false) => "automatic",
            };
            let labels =
                [name, cidr.as_str(), &block_size, pool.ipip.as_str(), pool.vxlan.as_str(), disabled, assignment];
            samples.sample(&labels, Value::Whole(1))?;
        }
        Ok(())
    })?;
    out.series(&c::IPPOOL_ADDRESSES, &mut |samples| {
        for (name, pool) in &ipam.pools {
            let counts = [pool.allocated, pool.cooldown, pool.reserved, pool.free, pool.lost, pool.unclaimed];
            for (state, count) in c::POOL_STATES.into_iter().zip(counts) {
                samples.sample(&[name, state], count.into())?;
            }
        }
        Ok(())
    })?;
    let mut each = |series: &'static Series, value: fn(&PoolFigures) -> Option<Value>| {
        out.series(series, &mut |samples| {
            for (name, pool) in &ipam.pools {
                if let Some(value) = value(pool) {
                    samples.sample(&[name], value)?;
                }
            }
            Ok(())
        })
    };
    each(&c::IPPOOL_BLOCKS, |pool| Some(pool.blocks.into()))?;
    // Outside every pool there is no room to speak of, and nothing that selects hosts.
    each(&c::IPPOOL_BLOCKS_CAPACITY, |pool| pool.pool.as_ref().map(|_| pool.blocks_capacity.into()))?;
    each(&c::IPPOOL_HOSTS_WITHOUT_BLOCK, |pool| pool.pool.as_ref().map(|_| pool.hosts_without_block.into()))?;
    each(&c::IPPOOL_ADDRESSES_WITHOUT_NODE, |pool| Some(pool.addresses_without_node.into()))?;
    each(&c::IPPOOL_COOLDOWN_OLDEST, |pool| pool.cooldown_oldest.map(|time| unix(time).into()))
}

fn hosts(ipam: &IpamReport, out: &mut dyn Exposition) -> fmt::Result {
    out.series(&c::HOST_BLOCKS, &mut |samples| {
        for ((host, pool), figures) in &ipam.hosts {
            let counts = [figures.confirmed, figures.pending, figures.pending_deletion];
            for (state, count) in c::AFFINITY_STATES.into_iter().zip(counts) {
                samples.sample(&[host, pool, state], count.into())?;
            }
        }
        Ok(())
    })?;
    out.series(&c::HOST_ADDRESSES, &mut |samples| {
        for ((host, pool), figures) in &ipam.hosts {
            let counts = [figures.allocated, figures.cooldown, figures.free, figures.lost];
            for (state, count) in c::HOST_STATES.into_iter().zip(counts) {
                samples.sample(&[host, pool, state], count.into())?;
            }
        }
        Ok(())
    })?;
    let mut each = |series: &'static Series, value: fn(&HostFigures) -> Option<Value>| {
        out.series(series, &mut |samples| {
            for ((host, pool), figures) in &ipam.hosts {
                if let Some(value) = value(figures) {
                    samples.sample(&[host, pool], value)?;
                }
            }
            Ok(())
        })
    };
    each(&c::HOST_UTILIZATION, utilization)?;
    each(&c::HOST_BORROWED, |figures| Some(figures.borrowed.into()))?;
    each(&c::HOST_LENT, |figures| Some(figures.lent.into()))?;
    each(&c::HOST_EMPTY_BLOCKS, |figures| Some(figures.empty_blocks.into()))?;
    out.series(&c::MAX_BLOCKS_PER_HOST, &mut |samples| {
        samples.sample(&[], u64::from(ipam.max_blocks_per_host).into())
    })?;
    out.series(&c::STRICT_AFFINITY, &mut |samples| samples.sample(&[], ipam.strict_affinity.into()))
}

#[allow(clippy::cast_precision_loss, reason = "a host's addresses are far below 2^53")]
fn utilization(figures: &HostFigures) -> Option<Value> {
    let size = figures.size();
    (size > 0).then(|| ((size - figures.free) as f64 / size as f64).into())
}

fn tunnel_modes(routes: &RoutesReport, out: &mut dyn Exposition) -> fmt::Result {
    out.series(&c::TUNNEL_MODE, &mut |samples| {
        for (pool, modes) in &routes.tunnel_modes {
            for (source, mode) in c::MODE_SOURCES.into_iter().zip([modes.configured, modes.observed]) {
                samples.sample(&[pool, mode.as_str(), source], Value::Whole(1))?;
            }
        }
        Ok(())
    })
}

fn entries(tunnels: &TunnelsReport, out: &mut dyn Exposition) -> fmt::Result {
    each_entry(tunnels, &c::TUNNEL_ENTRIES, |counts| counts.actual, out)?;
    each_entry(tunnels, &c::TUNNEL_ENTRIES_EXPECTED, |counts| counts.expected, out)?;
    each_entry(tunnels, &c::TUNNEL_ENTRIES_PENDING, |counts| counts.pending, out)
}

fn entry_movement(tunnels: &TunnelsReport, out: &mut dyn Exposition) -> fmt::Result {
    each_entry(tunnels, &c::TUNNEL_ENTRY_FAULTS_IN_USE, |counts| counts.faults_in_use, out)?;
    out.series(&c::TUNNEL_ENTRY_CONVERGENCE, &mut |samples| {
        for (table, histogram) in &tunnels.convergence {
            samples.histogram(&[table.as_str()], histogram)?;
        }
        Ok(())
    })
}

fn each_entry(
    tunnels: &TunnelsReport,
    series: &'static Series,
    value: fn(&EntryCounts) -> u64,
    out: &mut dyn Exposition,
) -> fmt::Result {
    out.series(series, &mut |samples| {
        for ((device, table), counts) in &tunnels.entries {
            samples.sample(&[device, table.as_str()], value(counts).into())?;
        }
        Ok(())
    })
}

/// What is there and what ought to be. Whatever one side has the other has too, be it 0: subtracting two series whose
/// labels do not match gives nothing at all, and nothing is what an alert would then say.
fn destinations(routes: &RoutesReport, out: &mut dyn Exposition) -> fmt::Result {
    let mut keys: BTreeSet<_> = routes.actual.keys().chain(routes.expected.keys()).copied().collect();
    for class in RouteClass::ALL {
        if !keys.iter().any(|(known, _)| *known == class) {
            keys.insert((class, Encapsulation::None));
        }
    }
    for (series, counts) in [(&c::ROUTES, &routes.actual), (&c::ROUTES_EXPECTED, &routes.expected)] {
        out.series(series, &mut |samples| {
            for key @ (class, encapsulation) in &keys {
                // What cannot be known is absent, not 0.
                if routes.partial && *class == RouteClass::Borrowed && series.name == c::ROUTES_EXPECTED.name {
                    continue;
                }
                let count = counts.get(key).copied().unwrap_or(0);
                samples.sample(&[class.as_str(), encapsulation.as_str()], count.into())?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn movement(routes: &RoutesReport, out: &mut dyn Exposition) -> fmt::Result {
    out.series(&c::ROUTES_PENDING, &mut |samples| {
        for class in RouteClass::ALL {
            let count = routes.pending.get(&class).copied();
            // A foreign route is a difference of the class of its form (J17).
            if class != RouteClass::Foreign || count.is_some() {
                samples.sample(&[class.as_str()], count.unwrap_or(0).into())?;
            }
        }
        Ok(())
    })?;
    out.series(&c::ROUTE_CONVERGENCE, &mut |samples| {
        for (class, histogram) in &routes.convergence {
            samples.histogram(&[class.as_str()], histogram)?;
        }
        Ok(())
    })?;
    out.series(&c::ROUTE_CHANGES, &mut |samples| {
        for class in RouteClass::ALL {
            for program in Program::ALL {
                let (adds, deletes) = routes.changes.get(&(class, program)).copied().unwrap_or_default();
                for (operation, count) in c::OPERATIONS.into_iter().zip([adds, deletes]) {
                    samples.sample(&[class.as_str(), operation, program.as_str()], count.into())?;
                }
            }
        }
        Ok(())
    })
}

fn owners(routes: &RoutesReport, out: &mut dyn Exposition) -> fmt::Result {
    let owners: BTreeSet<_> = routes
        .owners
        .iter()
        .filter(|(_, class)| *class != PoolClass::Unrouted)
        .map(|(component, class)| [*component, class.as_str()])
        .collect();
    out.series(&c::ROUTES_OWNER, &mut |samples| {
        owners.iter().try_for_each(|labels| samples.sample(labels, Value::Whole(1)))
    })
}

/// The host that faults of hosts without a name of their own are counted under.
const OTHERS: &str = "others";

/// How many findings there are of each fault.
#[derive(Default)]
struct Counts<'a> {
    totals: BTreeMap<Fault, u64>,
    hosts: BTreeMap<(Metric, &'a str, &'a Fault), u64>,
}

impl<'a> Counts<'a> {
    fn of(report: &'a Report) -> Counts<'a> {
        let mut counts = Counts::default();
        counts.preset(ObjectKind::ALL.map(Fault::Undecodable));
        if let Some(ipam) = &report.ipam {
            counts.preset(MismatchReason::ALL.map(Fault::Mismatch));
            counts.preset(BlockReason::ALL.map(Fault::Block));
            counts.preset(AffinityReason::ALL.map(Fault::Affinity));
            counts.preset(NodeReason::ALL.into_iter().filter(|reason| reason.is_of_cluster()).map(Fault::Node));
            if report.leaks {
                counts.preset(HandleReason::ALL.map(Fault::Handle));
                for pool in ipam.pools.keys() {
                    counts.preset(LeakReason::ALL.map(|reason| Fault::Leak(pool.clone(), reason)));
                }
            }
            for kind in ipam.pools.values().filter_map(|figures| figures.pool.as_ref()?.tunnel()) {
                counts.preset(TunnelReason::of_address(kind).map(of_device(kind)));
            }
        }
        if let Some(routes) = &report.routes {
            counts.preset_routes(routes);
        }
        if let Some(tunnels) = &report.tunnels {
            for (device, table) in tunnels.entries.keys() {
                counts.preset(EntryReason::ALL.map(|reason| Fault::Entry(device.clone(), *table, reason)));
            }
            for kind in &tunnels.rules {
                counts.preset(TunnelReason::of_rules().map(of_device(*kind)));
            }
        }
        for finding in &report.findings {
            *counts.totals.entry(finding.fault.clone()).or_default() += 1;
            if let Some(host) = &finding.host {
                let named = finding.metric() != Metric::RouteFaults
                    || report.routes.as_ref().is_none_or(|routes| routes.named.contains(host));
                let host = if named { host } else { OTHERS };
                *counts.hosts.entry((finding.metric(), host, &finding.fault)).or_default() += 1;
            }
        }
        counts
    }

    fn preset_routes(&mut self, routes: &RoutesReport) {
        self.preset(NodeReason::ALL.into_iter().filter(|reason| !reason.is_of_cluster()).map(Fault::Node));
        for class in RouteClass::ALL {
            // Borrowed addresses without a route are not known then, though some may be found missing all the same.
            let known = |reason: &RouteReason| {
                !(routes.partial && (class, *reason) == (RouteClass::Borrowed, RouteReason::Missing))
            };
            self.preset(RouteReason::of_class(class).filter(known).map(|reason| Fault::Route(class, reason)));
        }
        for modes in routes.tunnel_modes.values() {
            let pool_class = match modes.configured {
                TunnelMode::IpipAlways | TunnelMode::IpipCrossSubnet => Some(PoolClass::Ipip),
                TunnelMode::None => Some(PoolClass::NoEncap),
                TunnelMode::VxlanAlways
                | TunnelMode::VxlanCrossSubnet
                | TunnelMode::Wireguard
                | TunnelMode::Mixed
                | TunnelMode::Unknown => None,
            };
            // Only where there is such a pool (J27).
            if let Some(class) = pool_class {
                self.preset(OwnerReason::ALL.map(|reason| Fault::Owner(class, reason)));
            }
        }
        for kind in &routes.devices {
            self.preset(TunnelReason::of_device(*kind).map(of_device(*kind)));
        }
    }

    fn preset(&mut self, faults: impl IntoIterator<Item = Fault>) {
        for fault in faults {
            self.totals.entry(fault).or_default();
        }
    }

    fn write(&self, metric: Metric, out: &mut dyn Exposition) -> fmt::Result {
        let labels = metric.labels().len();
        out.series(c::of(metric), &mut |samples| {
            for (fault, count) in self.totals.iter().filter(|(fault, _)| fault.metric() == metric) {
                samples.sample(&fault.values()[..labels], (*count).into())?;
            }
            Ok(())
        })
    }

    fn write_by_host(&self, metric: Metric, series: &'static Series, out: &mut dyn Exposition) -> fmt::Result {
        let labels = metric.labels().len();
        out.series(series, &mut |samples| {
            for ((_, host, fault), count) in self.hosts.iter().filter(|((of, ..), _)| *of == metric) {
                let [first, second, third] = fault.values();
                samples.sample(&[*host, first, second, third][..=labels], (*count).into())?;
            }
            Ok(())
        })
    }
}

/// A fault of a kind's device.
fn of_device(kind: TunnelKind) -> impl Fn(TunnelReason) -> Fault {
    move |reason| Fault::Tunnel(kind.device().into(), reason)
}
