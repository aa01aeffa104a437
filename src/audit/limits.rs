//! Bounds of alerts that stand although nothing is at fault: pools that are nearly full, hosts at their limit. The
//! bounds are those of `alerts/calico.rules.yml`; a test holds both together.

use std::collections::BTreeMap;

use super::report::{IpamReport, PoolFigures};
use super::severity::Severity;
use crate::model::{Family, IpPool, Name};

/// The share of a pool's addresses below which new pods will soon not start.
pub const ADDRESSES_EXHAUSTED: f64 = 0.02;
/// The share of a pool's addresses below which somebody ought to look.
pub const ADDRESSES_LOW: f64 = 0.1;
/// The share of a pool's blocks below which hosts will soon have to borrow.
pub const BLOCKS_LOW: f64 = 0.1;

/// A bound that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The alert that it fires once it has stood for long enough.
    pub alert: &'static str,
    /// How much that matters.
    pub severity: Severity,
    /// The pool or the host.
    pub subject: Name,
    /// What is nearly used up, in a sentence.
    pub detail: String,
}

/// What is nearly used up, what matters most first.
pub fn limits(ipam: &IpamReport) -> Vec<Limit> {
    let mut found: Vec<Limit> = ipam.pools.iter().flat_map(|(name, pool)| of_pool(ipam, name, pool)).collect();
    found.extend(of_hosts(ipam));
    found.sort_by(|a, b| a.severity.cmp(&b.severity).then_with(|| a.subject.cmp(&b.subject)));
    found
}

fn percent(share: f64) -> String {
    match share * 100.0 {
        share if share > 0.0 && share < 0.1 => "less than 0.1 %".to_owned(),
        share if share > 99.9 && share < 100.0 => "99.9 %".to_owned(),
        share => format!("{} %", (share * 10.0).round() / 10.0),
    }
}

fn is_for_pods(pool: &IpPool) -> bool {
    !pool.disabled && !pool.manual && !pool.load_balancer
}

/// Pools that give nothing to pods are no room for them, so nothing runs out in them (J31).
fn of_pool(ipam: &IpamReport, name: &Name, figures: &PoolFigures) -> Vec<Limit> {
    let Some(pool) = figures.pool.as_ref().filter(|pool| is_for_pods(pool)) else { return Vec::new() };
    let limit = |alert, severity, detail| Limit { alert, severity, subject: name.clone(), detail };
    let mut found = Vec::new();
    let available = figures.free + figures.unclaimed;
    let size = available + figures.allocated + figures.cooldown + figures.lost;
    if size > 0.0 && available / size < ADDRESSES_LOW {
        let detail = format!("pool {} has {} of its addresses left", pool.name, percent(available / size));
        found.push(match available / size {
            share if share < ADDRESSES_EXHAUSTED => limit("CalicoPoolAddressesExhausted", Severity::Critical, detail),
            _ => limit("CalicoPoolAddressesLow", Severity::Warning, detail),
        });
    }
    #[allow(clippy::cast_precision_loss, reason = "no pool has 2^53 blocks")]
    let left = figures.blocks_capacity - figures.blocks as f64;
    if figures.blocks_capacity <= 0.0 {
        return found;
    }
    let in_pool = || ipam.hosts.iter().filter(|((_, pool), _)| pool == name).map(|(_, figures)| figures);
    let is_out =
        |host: &super::HostFigures| host.free == 0 && host.confirmed + host.pending + host.pending_deletion > 0;
    if left <= 0.0 {
        let starved = figures.hosts_without_block > 0 || in_pool().any(is_out);
        if ipam.strict_affinity && starved {
            let detail = format!(
                "pool {} has no block left, strict affinity forbids borrowing, and a host has no free address in it",
                pool.name
            );
            found.push(limit("CalicoPoolBlocksExhausted", Severity::Critical, detail));
        }
        let empty: u64 = in_pool().map(|host| host.empty_blocks).sum();
        if empty > 0 {
            let detail = format!("pool {} has no block left while hosts hold {empty} empty", pool.name);
            found.push(limit("CalicoPoolBlocksHeldEmpty", Severity::Info, detail));
        }
    }
    if left / figures.blocks_capacity < BLOCKS_LOW {
        let claimed = 1.0 - left / figures.blocks_capacity;
        let detail = format!("{} of the blocks of pool {} are claimed", percent(claimed.min(1.0)), pool.name);
        found.push(limit("CalicoPoolBlocksLow", Severity::Warning, detail));
    }
    found
}

/// Hosts that may claim no more and have nothing free.
fn of_hosts(ipam: &IpamReport) -> Vec<Limit> {
    // Blocks, and free addresses of enabled pools, by host and family.
    let mut hosts: BTreeMap<(&Name, Family), (u64, u64)> = BTreeMap::new();
    for ((host, pool), figures) in &ipam.hosts {
        let Some(pool) = ipam.pools.get(pool).and_then(|it| it.pool.as_ref()) else { continue };
        let sums = hosts.entry((host, pool.family())).or_default();
        sums.0 += figures.confirmed + figures.pending + figures.pending_deletion;
        sums.1 += if is_for_pods(pool) { figures.free } else { 0 };
    }
    let full =
        hosts.into_iter().filter(|(_, (blocks, free))| *free == 0 && *blocks >= u64::from(ipam.max_blocks_per_host));
    let limit = |((host, family), (blocks, _)): ((&Name, Family), (u64, u64))| Limit {
        alert: "CalicoHostAtBlockLimit",
        severity: Severity::Warning,
        subject: host.clone(),
        detail: format!(
            "host {host} has {blocks} {} blocks, which is its limit, and no free address in them",
            family.as_str()
        ),
    };
    full.map(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::HostFigures;
    use crate::audit::testing::pool;

    fn figures(change: impl FnOnce(&mut PoolFigures)) -> PoolFigures {
        let mut figures = PoolFigures {
            pool: Some(pool("p", "10.0.0.0/24", 26)),
            allocated: 128.0,
            cooldown: 0.0,
            reserved: 0.0,
            free: 64.0,
            lost: 0.0,
            unclaimed: 64.0,
            blocks: 3,
            blocks_capacity: 4.0,
            hosts_without_block: 0,
            addresses_without_node: 0,
            cooldown_oldest: None,
        };
        change(&mut figures);
        figures
    }

    fn alerts(strict: bool, hosts: &[(&str, HostFigures)], change: impl FnOnce(&mut PoolFigures)) -> Vec<String> {
        let hosts = hosts.iter().map(|(host, figures)| (((*host).into(), "p".into()), figures.clone())).collect();
        let pools = [("p".into(), figures(change))].into();
        let ipam = IpamReport { pools, hosts, max_blocks_per_host: 2, strict_affinity: strict };
        limits(&ipam).into_iter().map(|it| format!("{} {}", it.alert, it.subject)).collect()
    }

    #[test]
    fn a_pool_that_runs_out_of_addresses() {
        let left =
            |free: f64| alerts(false, &[], |it| (it.free, it.unclaimed, it.allocated) = (free, 0.0, 1000.0 - free));
        assert_eq!(left(100.0), [""; 0]);
        assert_eq!(left(99.0), ["CalicoPoolAddressesLow p"]);
        assert_eq!(left(20.0), ["CalicoPoolAddressesLow p"]);
        assert_eq!(left(19.0), ["CalicoPoolAddressesExhausted p"]);
        let disabled = |it: &mut PoolFigures| {
            it.pool.as_mut().unwrap().disabled = true;
            (it.free, it.unclaimed) = (0.0, 0.0);
        };
        assert_eq!(alerts(false, &[], disabled), [""; 0]);
    }

    #[test]
    fn a_pool_that_runs_out_of_blocks() {
        let claimed = |it: &mut PoolFigures| it.blocks = 4;
        let host = |free, empty_blocks| HostFigures { confirmed: 1, free, empty_blocks, ..HostFigures::default() };
        assert_eq!(alerts(false, &[("h1", host(0, 0))], claimed), ["CalicoPoolBlocksLow p"]);
        assert_eq!(alerts(true, &[("h1", host(5, 0))], claimed), ["CalicoPoolBlocksLow p"]);
        assert_eq!(
            alerts(true, &[("h1", host(0, 0))], claimed),
            ["CalicoPoolBlocksExhausted p", "CalicoPoolBlocksLow p"]
        );
        assert_eq!(
            alerts(false, &[("h1", host(5, 2))], claimed),
            ["CalicoPoolBlocksLow p", "CalicoPoolBlocksHeldEmpty p"]
        );
        let most = |it: &mut PoolFigures| (it.blocks, it.blocks_capacity) = (91, 100.0);
        assert_eq!(alerts(false, &[], most), ["CalicoPoolBlocksLow p"]);
        assert_eq!(alerts(false, &[], |it| (it.blocks, it.blocks_capacity) = (90, 100.0)), [""; 0]);
    }

    #[test]
    fn a_host_at_its_limit() {
        let host = |confirmed, free| HostFigures { confirmed, free, ..HostFigures::default() };
        let hosts = [("h1", host(2, 0)), ("h2", host(2, 1)), ("h3", host(1, 0))];
        assert_eq!(alerts(false, &hosts, |_| {}), ["CalicoHostAtBlockLimit h1"]);
    }
}
