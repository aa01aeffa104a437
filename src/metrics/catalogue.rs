//! Every series that this exporter serves, once: what is not in here cannot be written out.
//!
//! The help text is a sentence that says what is counted and what a value other than 0 means. `docs/metrics.md` is made
//! from this list (`docs`).

use crate::audit::{CauseKind, Encapsulation, Metric, RouteClass, RouteReason, TunnelMode};
use crate::state::{Kind as ObjectKind, Program, Table};

/// What a series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A value that goes up and down.
    Gauge,
    /// A value that only grows; its name ends in `_total`.
    Counter,
    /// Counts by upper bound.
    Histogram,
    /// Always 1: the labels are what it says. A gauge in the text format 0.0.4.
    Info,
}

/// Which collector provides a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collector {
    /// `--collector.ipam`.
    Ipam,
    /// `--collector.leaks`.
    Leaks,
    /// `--collector.routes`.
    Routes,
    /// `--collector.tunnels`.
    Tunnels,
    /// Always there.
    Exporter,
}

/// A label of a series.
#[derive(Debug)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// The values it can have; empty where they are not known beforehand.
    pub values: fn() -> Vec<&'static str>,
}

/// A family of series with one name.
#[derive(Debug)]
pub struct Series {
    /// The name as an alert says it: with `_total` or `_info`.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels, in the order in which they are written.
    pub labels: &'static [Label],
    /// Who provides it.
    pub collector: Collector,
    /// What it means.
    pub help: &'static str,
}

impl Series {
    /// The name without the suffix that its kind puts there: OpenMetrics' name of the family.
    pub fn family(&self) -> &'static str {
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        self.name.strip_suffix(suffix).unwrap_or(self.name)
    }

    /// Its base unit, which its name ends in.
    pub fn unit(&self) -> Option<&'static str> {
        let (_, last) = self.family().rsplit_once('_')?;
        ["seconds", "bytes", "ratio"].into_iter().find(|unit| *unit == last)
    }
}

/// The states of a pool's addresses, in the order of the documentation.
pub const POOL_STATES: [&str; 6] = ["allocated", "cooldown", "reserved", "free", "lost", "unclaimed"];
/// The states of a host's addresses.
pub const HOST_STATES: [&str; 4] = ["allocated", "cooldown", "free", "lost"];
/// The states of an affinity.
pub const AFFINITY_STATES: [&str; 3] = ["confirmed", "pending", "pending_deletion"];
/// Where a tunnel mode is known from.
pub const MODE_SOURCES: [&str; 2] = ["configured", "observed"];
/// What happens to a route.
pub const OPERATIONS: [&str; 2] = ["add", "delete"];
/// Names of sources.
pub const SOURCES: [&str; 5] = ["etcd", "kubernetes", "netlink", "netlink_tunnels", "file"];
/// Who can program routes.
pub const COMPONENTS: [&str; 2] = ["felix", "bird"];
/// Classes of pools that have an owner of their routes.
pub const POOL_CLASSES: [&str; 3] = ["ipip", "vxlan", "none"];
/// Certificates that the exporter shows to others.
pub const CERTIFICATES: [&str; 2] = ["web", "etcd"];
/// How Felix forwards packets.
pub const DATAPLANES: [&str; 2] = ["standard", "ebpf"];
/// Status codes that this server answers with.
pub const CODES: [&str; 9] = ["200", "400", "401", "404", "405", "413", "429", "500", "503"];

fn open() -> Vec<&'static str> {
    Vec::new()
}

/// Kinds of objects that people and operators change; the others change with every pod.
pub const CONFIGURED: [ObjectKind; 8] = [
    ObjectKind::IpamConfig,
    ObjectKind::Pool,
    ObjectKind::Reservation,
    ObjectKind::Node,
    ObjectKind::Felix,
    ObjectKind::BgpConfiguration,
    ObjectKind::BgpPeer,
    ObjectKind::Cluster,
];

fn configured_kinds() -> Vec<&'static str> {
    CONFIGURED.map(ObjectKind::as_str).to_vec()
}

fn classes() -> Vec<&'static str> {
    RouteClass::ALL.map(RouteClass::as_str).to_vec()
}

/// A foreign route is a fault of the class of its form (J17).
fn fault_classes() -> Vec<&'static str> {
    RouteClass::ALL
        .into_iter()
        .filter(|class| RouteReason::of_class(*class).next().is_some())
        .map(RouteClass::as_str)
        .collect()
}

fn tables() -> Vec<&'static str> {
    Table::ALL.map(Table::as_str).to_vec()
}

fn encapsulations() -> Vec<&'static str> {
    Encapsulation::ALL.map(Encapsulation::as_str).to_vec()
}

fn modes() -> Vec<&'static str> {
    TunnelMode::ALL.map(TunnelMode::as_str).to_vec()
}

fn kinds() -> Vec<&'static str> {
    ObjectKind::ALL.map(ObjectKind::as_str).to_vec()
}

/// `NAME = kind "name" by Collector { label: values, … } "help";` declares a static and adds it to [`ALL`].
macro_rules! series {
    ($($id:ident = $kind:ident $name:literal by $collector:ident { $($label:ident: $values:expr),* } $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $id: Series = Series {
                name: $name,
                kind: Kind::$kind,
                labels: &[$(Label { name: stringify!($label), values: $values }),*],
                collector: Collector::$collector,
                help: $help,
            };
        )*
        /// All of them, in the order in which they are listed and written.
        pub static ALL: &[&Series] = &[$(&$id),*];
    };
}

series! {
    IPPOOL_INFO = Info "calico_ippool_info" by Ipam
        { ippool: open, cidr: open, block_size: open, ipip_mode: open, vxlan_mode: open, disabled: || vec!["true", "false"],
          assignment: || vec!["automatic", "manual", "load_balancer"] }
        "An IP pool's configuration, always 1. `assignment`: who claims its blocks: hosts by themselves, whoever asks for an address, or Services.";
    IPPOOL_ADDRESSES = Gauge "calico_ippool_addresses" by Ipam { ippool: open, state: || POOL_STATES.to_vec() }
        "Addresses of an IP pool by state. The states add up to the pool's size; `lost` is in no list of its block and will never be handed out again. The pool `no_ippool` stands for blocks outside every pool.";
    IPPOOL_BLOCKS = Gauge "calico_ippool_blocks" by Ipam { ippool: open }
        "Blocks of an IP pool that exist.";
    IPPOOL_BLOCKS_CAPACITY = Gauge "calico_ippool_blocks_capacity" by Ipam { ippool: open }
        "Blocks that fit into an IP pool. Where as many exist, no host can claim another, however many addresses are free.";
    IPPOOL_HOSTS_WITHOUT_BLOCK = Gauge "calico_ippool_hosts_without_block" by Ipam { ippool: open }
        "Hosts that an IP pool selects and that own no block in it. Not a fault by itself.";
    IPPOOL_ADDRESSES_WITHOUT_NODE = Gauge "calico_ippool_addresses_without_node" by Ipam { ippool: open }
        "Allocated addresses of an IP pool that do not say on which node they are used. Not a fault by itself.";
    IPPOOL_COOLDOWN_OLDEST = Gauge "calico_ippool_cooldown_oldest_timestamp_seconds" by Ipam { ippool: open }
        "When the address of an IP pool that has rested longest was released, in unix time. Absent where none rests.";
    HOST_BLOCKS = Gauge "calico_host_blocks" by Ipam { host: open, ippool: open, state: || AFFINITY_STATES.to_vec() }
        "Affinities of a host by state.";
    HOST_ADDRESSES = Gauge "calico_host_addresses" by Ipam { host: open, ippool: open, state: || HOST_STATES.to_vec() }
        "Addresses of a host's blocks by state, as the allocator sees them. The states add up to the size of the blocks.";
    HOST_UTILIZATION = Gauge "calico_host_block_utilization_ratio" by Ipam { host: open, ippool: open }
        "Share of a host's block addresses that are not free, from 0 to 1. Absent for a host without block.";
    HOST_BORROWED = Gauge "calico_host_borrowed_addresses" by Ipam { host: open, ippool: open }
        "Addresses that a host uses from blocks that are not its own. Each needs a route of its own on every host.";
    HOST_LENT = Gauge "calico_host_lent_addresses" by Ipam { host: open, ippool: open }
        "Addresses of a host's blocks that other hosts use.";
    HOST_EMPTY_BLOCKS = Gauge "calico_host_empty_blocks" by Ipam { host: open, ippool: open }
        "Blocks that a host has claimed and in which nothing is allocated. They matter once the pool has no block left to claim.";
    MAX_BLOCKS_PER_HOST = Gauge "calico_ipam_max_blocks_per_host" by Ipam {}
        "Blocks of one IP version that a host may claim, as configured.";
    STRICT_AFFINITY = Gauge "calico_ipam_strict_affinity" by Ipam {}
        "Whether hosts are forbidden to borrow addresses, as configured: 1 or 0.";
    MISMATCHED = Gauge "calico_ipam_mismatched_addresses" by Ipam { reason: || Metric::MismatchedAddresses.reasons() }
        "Addresses on which a block's two lists disagree. `allocated_and_unallocated` will be handed out a second time while in use, `neither` will never be handed out again, `duplicate` stands twice in the list of free ones.";
    HOST_MISMATCHED = Gauge "calico_host_mismatched_addresses" by Ipam { host: open, reason: || Metric::MismatchedAddresses.reasons() }
        "Addresses on which a block's two lists disagree, by the host that owns the block; only where there are any.";
    INVALID_BLOCKS = Gauge "calico_ipam_invalid_blocks" by Ipam { reason: || Metric::InvalidBlocks.reasons() }
        "Blocks whose content contradicts itself, its key, its pool or another block.";
    AFFINITY_FAULTS = Gauge "calico_ipam_affinity_faults" by Ipam { reason: || Metric::AffinityFaults.reasons() }
        "Affinity keys and blocks that contradict each other about who owns a block, and those that stand half claimed or half released.";
    HANDLE_FAULTS = Gauge "calico_ipam_handle_faults" by Leaks { reason: || Metric::HandleFaults.reasons() }
        "IPAM handles that disagree with the blocks about what is allocated under them.";
    LEAKED = Gauge "calico_ipam_leaked_addresses" by Leaks { ippool: open, reason: || Metric::LeakedAddresses.reasons() }
        "Addresses that are allocated and used by nobody, used and not allocated, or used by another than IPAM says.";
    TUNNEL_MODE = Gauge "calico_tunnel_mode" by Routes { ippool: open, mode: modes, source: || MODE_SOURCES.to_vec() }
        "The encapsulation of an IP pool, always 1: as configured, and as the routes to other hosts show it. `wireguard` (it carries everything, whatever the pool says), `mixed` and `unknown` are only observed.";
    TUNNEL_FAULTS = Gauge "calico_tunnel_faults" by Routes { device: open, reason: || Metric::TunnelFaults.reasons() }
        "Tunnel devices and tunnel addresses that are not what the node says. A missing device stands for all its routes; one with another VNI, port or MAC carries nothing. `not_allocated`, `owned_by_pod`, `duplicate` and `duplicate_mac` come from the IPAM collector and cover every node; `rule_missing` comes from the tunnels collector and means that traffic leaves unencrypted.";
    TUNNEL_ENTRIES = Gauge "calico_tunnel_entries" by Tunnels { device: open, table: tables }
        "Permanent entries of a VXLAN tunnel device that the kernel has: neighbours (who has which tunnel address) and forwarding entries (which host has which MAC).";
    TUNNEL_ENTRIES_EXPECTED = Gauge "calico_tunnel_entries_expected" by Tunnels { device: open, table: tables }
        "Entries that a VXLAN tunnel device ought to have, one for each other node with a tunnel. 0 while the device is missing or down.";
    TUNNEL_ENTRIES_PENDING = Gauge "calico_tunnel_entries_pending" by Tunnels { device: open, table: tables }
        "Entries of a VXLAN tunnel device that have differed for less than the grace period.";
    TUNNEL_ENTRY_FAULTS = Gauge "calico_tunnel_entry_faults" by Tunnels { device: open, table: tables, reason: || Metric::TunnelEntryFaults.reasons() }
        "Entries of a VXLAN tunnel device that have differed from what the datastore says for longer than the grace period. To a node whose entry is missing or wrong nothing gets through, however right its routes are; a stale one is left over and mostly harmless.";
    TUNNEL_ENTRY_FAULTS_IN_USE = Gauge "calico_tunnel_entry_faults_in_use" by Tunnels { device: open, table: tables }
        "Of the entries that are missing or wrong, those that a route of the main table needs now: traffic is being lost.";
    TUNNEL_ENTRY_CONVERGENCE = Histogram "calico_tunnel_entry_convergence_seconds" by Tunnels { table: tables }
        "How long a difference between the datastore and an entry of a tunnel device lasted until it was settled.";
    NODE_FAULTS = Gauge "calico_node_faults" by Routes { reason: || Metric::NodeFaults.reasons() }
        "What is wrong with Nodes: of this host's, that it is gone (`node_missing`: nothing else of this host is judged) or differs from its interfaces (`prefix_differs` silently turns CrossSubnet into tunnels for all hosts or for none); of all of them, by the IPAM collector, that an address is another Node's, a tunnel's, or lies in a block, or that two show one WireGuard key. From this host to another Node's address: `no_way` and `way_through_tunnel` stand for every route over that Node.";
    WORKLOAD_DEVICES_WITHOUT_ENDPOINT = Gauge "calico_workload_devices_without_endpoint" by Routes {}
        "Workload devices of this host that are up, with neither a route nor an endpoint: what a pod's network left behind.";
    ROUTES = Gauge "calico_routes" by Routes { class: classes, encapsulation: encapsulations }
        "Destinations of Calico that the kernel has a route for: in its main table, or by a policy rule into WireGuard.";
    ROUTES_EXPECTED = Gauge "calico_routes_expected" by Routes { class: classes, encapsulation: encapsulations }
        "Destinations of Calico that the datastore gives this host, whether the kernel has them or not.";
    ROUTE_FAULTS = Gauge "calico_route_faults" by Routes { class: fault_classes, reason: || Metric::RouteFaults.reasons() }
        "Destinations whose route has differed from what the datastore says for longer than the grace period. `diverted`: the route is right, and a policy rule, another table or a more specific route of another program takes the packets of this host or of its pods.";
    HOST_ROUTE_FAULTS = Gauge "calico_host_route_faults" by Routes { host: open, class: fault_classes, reason: || Metric::RouteFaults.reasons() }
        "Route faults by the host that the route leads to; only where there are any. An exporter names the 32 hosts with most, the rest are `others`. Summed over all exporters, a host that many others cannot reach stands out.";
    ROUTES_PENDING = Gauge "calico_routes_pending" by Routes { class: fault_classes }
        "Destinations whose route has differed for less than the grace period. A busy cluster always has some.";
    ROUTE_CONVERGENCE = Histogram "calico_route_convergence_seconds" by Routes { class: fault_classes }
        "How long a difference between the datastore and the kernel lasted until it was settled.";
    ROUTE_CHANGES = Counter "calico_route_changes_total" by Routes { class: classes, operation: || OPERATIONS.to_vec(), by: || Program::ALL.map(Program::as_str).to_vec() }
        "Routes to Calico's destinations that the kernel gained and lost, by the program that asked for it: fast growth is flapping, and `other` a program that is not Calico's.";
    ROUTES_OWNER = Gauge "calico_cluster_routes_owner" by Routes { component: || COMPONENTS.to_vec(), pool_class: || POOL_CLASSES.to_vec() }
        "Which component is configured to program the routes of a class of pools, always 1.";
    OWNER_FAULTS = Gauge "calico_cluster_routes_owner_faults" by Routes { pool_class: || vec!["ipip", "none"], reason: || Metric::OwnerFaults.reasons() }
        "Classes of pools whose routes two components are configured to program, or none.";
    BUILD_INFO = Info "calico_exporter_build_info" by Exporter { version: open, revision: open, arch: open }
        "The running program, always 1.";
    NODE_INFO = Info "calico_exporter_node_info" by Exporter { host: open, dataplane: || DATAPLANES.to_vec() }
        "The host whose routes this exporter judges, by its Calico node name, always 1. Absent before they were judged.";
    SOURCE_IN_SYNC = Gauge "calico_exporter_source_in_sync" by Exporter { source: || SOURCES.to_vec() }
        "Whether the picture of a source is current: 1 or 0. While it is 0 the last report stands.";
    SOURCE_LAST_SYNC = Gauge "calico_exporter_source_last_sync_timestamp_seconds" by Exporter { source: || SOURCES.to_vec() }
        "When a source's picture was last complete, in unix time. Absent until it was.";
    SOURCE_RESYNCS = Counter "calico_exporter_source_resyncs_total" by Exporter { source: || SOURCES.to_vec() }
        "How many times a source had to be read from the start again.";
    DATASTORE_CHANGES = Counter "calico_exporter_datastore_changes_total" by Exporter { kind: configured_kinds }
        "Changes of Calico's configuration since this exporter first read it in full, by the kind of object. They stay 0 where --history.size is 0.";
    SOURCE_DENIED = Gauge "calico_exporter_source_denied_resources" by Exporter { source: || SOURCES.to_vec() }
        "How many of the resources that have to be read a source may not read. While it is not 0 the source is not current; the log names them.";
    UNDECODABLE_KEYS = Gauge "calico_exporter_undecodable_keys" by Exporter { kind: kinds }
        "Keys of the datastore whose value cannot be read, by the kind of object. Nothing is concluded from what such a value leaves open.";
    CAUSES = Gauge "calico_causes" by Exporter { cause: || CauseKind::ALL.map(CauseKind::as_str).to_vec() }
        "Causes behind findings: what several findings have in common, counted once. Absent until the part of the audit that would see it has reported.";
    REPORT_TIMESTAMP = Gauge "calico_exporter_report_timestamp_seconds" by Exporter {}
        "When the findings and figures served here were last worked out, in unix time. Absent before the first time.";
    AUDIT_DURATION = Gauge "calico_exporter_audit_duration_seconds" by Exporter {}
        "How long working out the findings and figures served here took the last time.";
    HTTP_REQUESTS = Counter "calico_exporter_http_requests_total" by Exporter { code: || CODES.to_vec() }
        "Answers given over HTTP by status code.";
    CERTIFICATE_EXPIRATION = Gauge "calico_exporter_certificate_expiration_timestamp_seconds" by Exporter { certificate: || CERTIFICATES.to_vec() }
        "When the first certificate of a chain that this exporter shows to others runs out, in unix time: `web` to those who ask (`--web.config.file`), `etcd` to etcd. Absent where there is none.";
    PROCESS_CPU = Counter "process_cpu_seconds_total" by Exporter {}
        "User and system CPU time spent by this process in seconds.";
    PROCESS_RESIDENT = Gauge "process_resident_memory_bytes" by Exporter {}
        "Resident memory of this process in bytes.";
    PROCESS_VIRTUAL = Gauge "process_virtual_memory_bytes" by Exporter {}
        "Virtual memory of this process in bytes.";
    PROCESS_OPEN_FDS = Gauge "process_open_fds" by Exporter {}
        "File descriptors that this process has open.";
    PROCESS_MAX_FDS = Gauge "process_max_fds" by Exporter {}
        "File descriptors that this process may have open.";
    PROCESS_START_TIME = Gauge "process_start_time_seconds" by Exporter {}
        "When this process was started, in unix time.";
}

/// The series that counts a metric's findings.
pub fn of(metric: Metric) -> &'static Series {
    match metric {
        Metric::UndecodableKeys => &UNDECODABLE_KEYS,
        Metric::MismatchedAddresses => &MISMATCHED,
        Metric::InvalidBlocks => &INVALID_BLOCKS,
        Metric::AffinityFaults => &AFFINITY_FAULTS,
        Metric::HandleFaults => &HANDLE_FAULTS,
        Metric::LeakedAddresses => &LEAKED,
        Metric::TunnelFaults => &TUNNEL_FAULTS,
        Metric::TunnelEntryFaults => &TUNNEL_ENTRY_FAULTS,
        Metric::NodeFaults => &NODE_FAULTS,
        Metric::RouteFaults => &ROUTE_FAULTS,
        Metric::OwnerFaults => &OWNER_FAULTS,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_metric_and_its_series_agree() {
        for metric in Metric::ALL {
            let series = of(metric);
            assert_eq!(series.name, metric.as_str());
            assert!(
                series.labels.iter().map(|label| label.name).eq(metric.labels().iter().copied()),
                "{}",
                series.name
            );
        }
    }

    #[test]
    fn names_are_well_formed_and_each_is_there_once() {
        let mut seen = BTreeSet::new();
        for series in ALL {
            assert!(seen.insert(series.name), "{} twice", series.name);
            assert!(seen.insert(series.family()) || series.family() == series.name, "{} clashes", series.name);
            assert!(series.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{}", series.name);
            assert_eq!(series.name.ends_with("_total"), series.kind == Kind::Counter, "{}", series.name);
            assert_eq!(series.name.ends_with("_info"), series.kind == Kind::Info, "{}", series.name);
            // Both formats write help as it stands.
            assert!(!series.help.contains(['\\', '"', '\n']) && series.help.ends_with('.'), "{}", series.name);
        }
    }

    #[test]
    fn units_are_read_off_the_name() {
        assert_eq!(PROCESS_CPU.unit(), Some("seconds"));
        assert_eq!(PROCESS_CPU.family(), "process_cpu_seconds");
        assert_eq!(HOST_UTILIZATION.unit(), Some("ratio"));
        assert_eq!(ROUTES.unit(), None);
    }
}
