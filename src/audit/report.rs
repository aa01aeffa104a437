//! What an audit found: numbers and findings as plain data, without a word of Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use super::causes::Cause;
use super::fault::Part;
use super::finding::Finding;
use super::note::Note;
use crate::model::label_values;
use crate::model::{IpPool, Name, PoolClass, TunnelKind};
use crate::state::{Program, Table};

label_values! {
    /// What a route is for (J15).
    pub enum RouteClass {
        /// To a pod of this host.
        LocalWorkload = "local_workload",
        /// The blackhole that covers a block of this host.
        LocalBlock = "local_block",
        /// To another host's block.
        RemoteBlock = "remote_block",
        /// To one address that another host uses from a block that is not its own.
        Borrowed = "borrowed",
        /// To another host's tunnel address that no block route covers.
        TunnelAddress = "tunnel_address",
        /// Inside a pool, and not Calico's.
        Foreign = "foreign",
    }
}

label_values! {
    /// How packets to a destination are wrapped.
    pub enum Encapsulation {
        /// Through `tunl0`.
        Ipip = "ipip",
        /// Through `vxlan.calico` or `vxlan-v6.calico`.
        Vxlan = "vxlan",
        /// Through `wireguard.cali` or `wg-v6.cali`.
        Wireguard = "wireguard",
        /// Not wrapped.
        None = "none",
    }
}

label_values! {
    /// A pool's mode, as configured or as the routes show it (J26).
    pub enum TunnelMode {
        /// IPIP between all hosts.
        IpipAlways = "ipip_always",
        /// IPIP between subnets.
        IpipCrossSubnet = "ipip_cross_subnet",
        /// VXLAN between all hosts.
        VxlanAlways = "vxlan_always",
        /// VXLAN between subnets.
        VxlanCrossSubnet = "vxlan_cross_subnet",
        /// No tunnel.
        None = "none",
        /// Observed only: WireGuard carries everything, whatever the pool says.
        Wireguard = "wireguard",
        /// Observed only: routes of one pool contradict each other.
        Mixed = "mixed",
        /// Observed only: no remote route to tell by.
        Unknown = "unknown",
    }
}

/// A pool's figures. The six counts of addresses are a partition of the pool; floats, since an IPv6 /64 has 2^64.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolFigures {
    /// The pool; `None` for the blocks that lie in none (`no_ippool`).
    pub pool: Option<IpPool>,
    /// Given to somebody.
    pub allocated: f64,
    /// Released and still resting.
    pub cooldown: f64,
    /// Would be free or unclaimed, were it not reserved (J5).
    pub reserved: f64,
    /// Free in a block.
    pub free: f64,
    /// In a block, and in neither list; or in a block that cannot be read: nobody gets it.
    pub lost: f64,
    /// In no block.
    pub unclaimed: f64,
    /// Blocks that exist.
    pub blocks: u64,
    /// Blocks that fit.
    pub blocks_capacity: f64,
    /// Hosts that the pool selects and that own no block in it (J31).
    pub hosts_without_block: u64,
    /// Allocations without `node` (J31).
    pub addresses_without_node: u64,
    /// When the address that has rested longest was released.
    pub cooldown_oldest: Option<SystemTime>,
}

/// A host's figures in one pool.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct HostFigures {
    /// Confirmed affinities.
    pub confirmed: u64,
    /// Pending affinities.
    pub pending: u64,
    /// Affinities being released.
    pub pending_deletion: u64,
    /// Addresses of its affine blocks: given to somebody and not in `unallocated`.
    pub allocated: u64,
    /// Resting.
    pub cooldown: u64,
    /// In `unallocated`, reserved ones included (J5).
    pub free: u64,
    /// In neither list.
    pub lost: u64,
    /// Addresses it uses from blocks that are not its own.
    pub borrowed: u64,
    /// Addresses of its blocks that other hosts use.
    pub lent: u64,
    /// Affine blocks in which nothing is allocated (J8).
    pub empty_blocks: u64,
}

impl HostFigures {
    /// Addresses in the host's affine blocks.
    pub fn size(&self) -> u64 {
        self.allocated + self.cooldown + self.free + self.lost
    }
}

/// The cluster's IPAM.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct IpamReport {
    /// By pool name; `no_ippool` for orphan blocks, present only where there are any.
    pub pools: BTreeMap<Name, PoolFigures>,
    /// By host and pool name.
    pub hosts: BTreeMap<(Name, Name), HostFigures>,
    /// Blocks a host may have of one IP version.
    pub max_blocks_per_host: u32,
    /// No borrowing.
    pub strict_affinity: bool,
}

/// Counts by class and encapsulation.
pub type ClassCounts = BTreeMap<(RouteClass, Encapsulation), u64>;

/// A pool's tunnel mode, twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelModes {
    /// What the pool says.
    pub configured: TunnelMode,
    /// What the routes show.
    pub observed: TunnelMode,
}

/// A histogram of seconds; cumulative counts are made when it is written out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Histogram {
    /// Observations at or below each of [`Histogram::BOUNDS`] and above the one before; the last is above all.
    pub buckets: [u64; Histogram::BOUNDS.len() + 1],
    /// Sum of all observations in seconds.
    pub sum: f64,
}

impl Histogram {
    /// Upper bounds in seconds: Felix takes milliseconds, BIRD a second, a repair up to 99 s, a graceful restart 240 s.
    /// 10 s is the objective of `alerts/slo.rules.yml`.
    pub const BOUNDS: [f64; 13] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0];

    /// Adds an observation.
    pub fn observe(&mut self, seconds: f64) {
        let bucket = Self::BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(Self::BOUNDS.len());
        self.buckets[bucket] += 1;
        self.sum += seconds;
    }

    /// How many observations there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// This host's routes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RoutesReport {
    /// Only affinity keys are followed: borrowed addresses that have no route are not known, so that how many are
    /// expected is not told.
    pub partial: bool,
    /// Destinations the kernel has.
    pub actual: ClassCounts,
    /// Destinations it ought to have, permitted ones while they are there included (J20).
    pub expected: ClassCounts,
    /// Differences younger than the grace period.
    pub pending: BTreeMap<RouteClass, u64>,
    /// How long differences took to settle.
    pub convergence: BTreeMap<RouteClass, Histogram>,
    /// Destinations that came and went in the kernel: adds and deletes.
    pub changes: BTreeMap<(RouteClass, Program), (u64, u64)>,
    /// The tunnels that pools' packets go through, if configured so.
    pub devices: BTreeSet<TunnelKind>,
    /// Tunnel modes by pool.
    pub tunnel_modes: BTreeMap<Name, TunnelModes>,
    /// Felix forwards by eBPF here.
    pub bpf: bool,
    /// Hosts that faults of routes are counted by; those of all other hosts are counted together.
    pub named: BTreeSet<Name>,
    /// Workload devices that are up, with neither a route nor an endpoint.
    pub devices_without_endpoint: u64,
    /// Who is configured to program which class of pools: `felix` or `bird`.
    pub owners: Vec<(&'static str, PoolClass)>,
}

/// Entries of one table of one tunnel device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EntryCounts {
    /// Those that the kernel has for good, whoever made them.
    pub actual: u64,
    /// Those that it ought to have.
    pub expected: u64,
    /// Differences younger than the grace period.
    pub pending: u64,
    /// Missing and wrong ones, older than that, that a route of the main table needs now.
    pub faults_in_use: u64,
}

/// What is beneath this host's routes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TunnelsReport {
    /// By device and table: of tunnels that Felix has here, and of tables that are known.
    pub entries: BTreeMap<(Name, Table), EntryCounts>,
    /// How long differences took to settle.
    pub convergence: BTreeMap<Table, Histogram>,
    /// WireGuard devices whose policy rules were judged.
    pub rules: BTreeSet<TunnelKind>,
}

/// What an audit found. A part is absent until every source that it reads has been in sync once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// The cluster's IPAM.
    pub ipam: Option<IpamReport>,
    /// This host's routes.
    pub routes: Option<RoutesReport>,
    /// What is beneath them.
    pub tunnels: Option<TunnelsReport>,
    /// Leaks and handles have been judged: a sweep saw all of them.
    pub leaks: bool,
    /// Everything that is wrong, sorted.
    pub findings: Vec<Finding>,
    /// What several of them have in common (J45): each finding belongs to one at most.
    pub causes: Vec<Cause>,
    /// What is no fault and worth a line.
    pub notes: Vec<Note>,
}

impl Report {
    /// Whether a part of the audit has reported.
    pub fn has(&self, part: Part) -> bool {
        match part {
            Part::Sources => true,
            Part::Ipam => self.ipam.is_some(),
            Part::Routes => self.routes.is_some(),
            Part::Tunnels => self.tunnels.is_some(),
            Part::Leaks => self.leaks,
        }
    }

    /// Findings that no cause explains.
    pub fn unexplained(&self) -> impl Iterator<Item = &Finding> {
        let mut explained = vec![false; self.findings.len()];
        for at in self.causes.iter().flat_map(|cause| &cause.findings) {
            if let Some(explained) = explained.get_mut(*at) {
                *explained = true;
            }
        }
        self.findings.iter().zip(explained).filter(|(_, explained)| !explained).map(|(finding, _)| finding)
    }
}
