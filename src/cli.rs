//! What a person types: flags and their environment, as text. What they mean is decided in [`crate::config`].

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::metrics::Build;
use crate::source::kubernetes::ApiGroup;

/// What `--version` says after the program's name: version, commit, and what it was built for and how.
pub static VERSION: LazyLock<String> = LazyLock::new(|| {
    let Build { version, revision, arch } = Build::THIS;
    let libc = if cfg!(target_feature = "crt-static") { "static" } else { "dynamic" };
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    format!("{version} (revision {revision}, {}-{arch}, {libc}, {profile})", std::env::consts::OS)
});

/// Tells whether the network that Calico's datastore describes is the network that this host's kernel has.
#[derive(Debug, Parser)]
#[command(name = "calico-exporter", version = VERSION.as_str(), args_conflicts_with_subcommands = true, max_term_width = 100)]
pub struct Cli {
    /// What to do; `serve` where nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Flags of `serve`, which need not be named.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Follow the datastore and the kernel and serve metrics (the default).
    Serve(Box<ServeArgs>),
    /// Look once and name everything that is wrong: exit 0 clean, 1 findings, 2 cannot tell.
    Check(Box<CheckArgs>),
    /// Explain why an address, a CIDR, a host or a pod can be reached from this host, or why not.
    Explain(Box<ExplainArgs>),
    /// Write what this host and the datastore say into a file that can be given away; no secret is in it.
    Bundle(Box<BundleArgs>),
    /// Count how many more hosts and pods fit: exit 0 they do, 1 they do not, 2 cannot tell.
    Plan(Box<PlanArgs>),
}

/// Where the pictures come from.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sources")]
pub struct SourceArgs {
    /// etcd's URLs, comma-separated [env: ETCD_ENDPOINTS].
    #[arg(long = "etcd.endpoints", value_name = "URL,…")]
    pub etcd_endpoints: Option<String>,
    /// User [env: ETCD_USERNAME].
    #[arg(long = "etcd.username", value_name = "NAME")]
    pub etcd_username: Option<String>,
    /// File with the user's password [env: ETCD_PASSWORD, the password itself].
    #[arg(long = "etcd.password-file", value_name = "FILE")]
    pub etcd_password_file: Option<PathBuf>,
    /// What etcd's certificate is checked against [env: ETCD_CA_CERT_FILE].
    #[arg(long = "etcd.ca-file", value_name = "FILE")]
    pub etcd_ca_file: Option<String>,
    /// Client certificate [env: ETCD_CERT_FILE].
    #[arg(long = "etcd.cert-file", value_name = "FILE")]
    pub etcd_cert_file: Option<String>,
    /// Its key [env: ETCD_KEY_FILE].
    #[arg(long = "etcd.key-file", value_name = "FILE")]
    pub etcd_key_file: Option<String>,
    /// A calicoctl.cfg, used instead of the environment.
    #[arg(long = "calico.config", value_name = "FILE")]
    pub calico_config: Option<PathBuf>,
    /// Which datastore Calico uses; with etcd's endpoints given it is etcd [env: DATASTORE_TYPE].
    #[arg(long = "datastore.type", value_name = "TYPE")]
    pub datastore_type: Option<DatastoreType>,
    /// The API group that Calico's objects are in; else it is discovered [env: CALICO_API_GROUP].
    #[arg(long = "kubernetes.api-group", value_name = "GROUP")]
    pub api_group: Option<ApiGroupArg>,
    /// IPAM is host-local: the Nodes' podCIDRs are the blocks [env: USE_POD_CIDR].
    #[arg(long = "kubernetes.use-pod-cidr")]
    pub use_pod_cidr: bool,
    /// A support bundle (`calico-exporter bundle`) instead of the datastore and the kernel.
    #[arg(long = "bundle", value_name = "FILE", conflicts_with_all = ["datastore_file", "routes_file", "etcd_endpoints", "calico_config", "datastore_type"])]
    pub bundle: Option<PathBuf>,
    /// A dump instead of the datastore: `etcdctl get --prefix /calico -w json`, or what `kubectl get … -A -o json` or the
    /// API server's lists say; may be given several times.
    #[arg(long = "datastore.file", value_name = "FILE")]
    pub datastore_file: Vec<PathBuf>,
    /// A dump instead of the kernel's routes: `ip -j -d route show table all`.
    #[arg(long = "routes.file", value_name = "FILE")]
    pub routes_file: Option<PathBuf>,
    /// A dump instead of the kernel's devices: `ip -j -d addr show`.
    #[arg(long = "links.file", value_name = "FILE")]
    pub links_file: Option<PathBuf>,
    /// A dump instead of the tunnels' neighbours: `ip -j -d -s neigh show nud all`.
    #[arg(long = "neighbours.file", value_name = "FILE")]
    pub neighbours_file: Option<PathBuf>,
    /// A dump instead of the tunnels' forwarding entries: `bridge -j -d fdb show`.
    #[arg(long = "fdb.file", value_name = "FILE")]
    pub fdb_file: Option<PathBuf>,
    /// A dump instead of the policy rules: `ip -j rule show`, then another of `ip -6 -j rule show`.
    #[arg(long = "rules.file", value_name = "FILE")]
    pub rules_file: Vec<PathBuf>,
    /// This host's Calico node name [env: NODENAME, then /var/lib/calico/nodename, then the lower-case host name].
    #[arg(long = "node.name", value_name = "NAME")]
    pub node_name: Option<String>,
    /// Whether BIRD is meant to run on this host; auto tells from its routes and the cluster's type.
    #[arg(long = "calico.backend", value_name = "BACKEND", env = "CALICO_NETWORKING_BACKEND", default_value = "auto")]
    pub backend: BackendArg,
    /// Which blocks the routes collector follows: all of them, or, for thousands of hosts, affinity keys and this host's
    /// own blocks alone (with --no-collector.ipam; see docs/scale.md).
    #[arg(long = "routes.watch", value_name = "WHAT", default_value = "blocks")]
    pub routes_watch: WatchArg,
    /// Audit the cluster's IPAM; once per cluster is enough.
    #[arg(long = "collector.ipam", overrides_with = "no_collector_ipam", hide = true)]
    pub collector_ipam: bool,
    /// Leave the cluster's IPAM out.
    #[arg(long = "no-collector.ipam", overrides_with = "collector_ipam")]
    pub no_collector_ipam: bool,
    /// Audit this host's routes; on every host.
    #[arg(long = "collector.routes", overrides_with = "no_collector_routes", hide = true)]
    pub collector_routes: bool,
    /// Leave this host's routes out.
    #[arg(long = "no-collector.routes", overrides_with = "collector_routes")]
    pub no_collector_routes: bool,
    /// Audit what is beneath the routes: the tunnels' neighbours and forwarding entries, and policy rules.
    #[arg(long = "collector.tunnels", overrides_with = "no_collector_tunnels", hide = true)]
    pub collector_tunnels: bool,
    /// Leave neighbours, forwarding entries and policy rules out.
    #[arg(long = "no-collector.tunnels", overrides_with = "collector_tunnels")]
    pub no_collector_tunnels: bool,
    /// Look for leaked addresses and broken handles, with the IPAM collector.
    #[arg(long = "collector.leaks", overrides_with = "no_collector_leaks", hide = true)]
    pub collector_leaks: bool,
    /// Leave leaks and handles out.
    #[arg(long = "no-collector.leaks", overrides_with = "collector_leaks")]
    pub no_collector_leaks: bool,
    /// Least severe messages to write.
    #[arg(long = "log.level", value_name = "LEVEL", default_value = "info")]
    pub log_level: LogLevel,
    /// How messages are written.
    #[arg(long = "log.format", value_name = "FORMAT", default_value = "logfmt")]
    pub log_format: LogFormat,
}

/// `--datastore.type`, in Calico's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DatastoreType {
    /// etcd.
    Etcdv3,
    /// The Kubernetes API.
    Kubernetes,
}

/// `--kubernetes.api-group`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ApiGroupArg {
    /// The classic one.
    #[value(name = "crd.projectcalico.org/v1")]
    Crd,
    /// Calico's own API as custom resources.
    #[value(name = "projectcalico.org/v3")]
    Native,
}

impl From<ApiGroupArg> for ApiGroup {
    fn from(group: ApiGroupArg) -> ApiGroup {
        match group {
            ApiGroupArg::Crd => ApiGroup::Crd,
            ApiGroupArg::Native => ApiGroup::Native,
        }
    }
}

/// `--calico.backend`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BackendArg {
    /// Tell from what is seen.
    Auto,
    /// BIRD runs.
    Bird,
    /// VXLAN alone.
    Vxlan,
    /// Neither.
    None,
}

/// `--routes.watch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WatchArg {
    /// Every block.
    Blocks,
    /// Affinity keys and this host's own blocks.
    Affinities,
}

/// `--log.level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

/// `--log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// key=value.
    Logfmt,
    /// One JSON object a line.
    Json,
}

/// Flags of `serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Where the pictures come from.
    #[command(flatten)]
    pub source: SourceArgs,
    /// How long a difference between datastore and kernel stands before it is a fault; 0s is at once.
    #[arg(long = "routes.grace", value_name = "TIME", default_value = "120s", value_parser = grace)]
    pub routes_grace: Duration,
    /// How often the datastore is read in full, against drift: 1s or more.
    #[arg(long = "datastore.resync", value_name = "TIME", default_value = "10m", value_parser = period)]
    pub datastore_resync: Duration,
    /// How often handles and endpoints are swept for leaks: 1s or more.
    #[arg(long = "leaks.interval", value_name = "TIME", default_value = "15m", value_parser = period)]
    pub leaks_interval: Duration,
    /// How long an address may be allocated and not in use, or the reverse, before it counts as leaked; 0s is at once.
    #[arg(long = "leaks.grace", value_name = "TIME", default_value = "15m", value_parser = grace)]
    pub leaks_grace: Duration,
    /// Memory for what changed, when and by whom (`/history`): bytes, or as 512KiB or 1MiB; 0 keeps nothing.
    #[arg(long = "history.size", value_name = "SIZE", default_value = "512KiB", value_parser = size)]
    pub history_size: usize,
    /// Where to listen; may be given several times.
    #[arg(long = "web.listen-address", value_name = "ADDRESS", default_value = ":19179", help_heading = "Web")]
    pub listen: Vec<String>,
    /// Where the metrics are.
    #[arg(long = "web.telemetry-path", value_name = "PATH", default_value = "/metrics", help_heading = "Web")]
    pub telemetry_path: String,
    /// TLS, passwords, headers, rates: a file of exporter-toolkit's form, as node_exporter takes it.
    #[arg(long = "web.config.file", value_name = "FILE", help_heading = "Web")]
    pub web_config_file: Option<PathBuf>,
    /// How many requests are served at once; 0 is no limit.
    #[arg(long = "web.max-requests", value_name = "N", default_value_t = 40, help_heading = "Web")]
    pub max_requests: usize,
}

/// Flags of `check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// Where the pictures come from.
    #[command(flatten)]
    pub source: SourceArgs,
    /// For people or for programs.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub output: Output,
    /// How long a difference has to stand; 0s compares at once, and from files there is nothing to wait for.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = settle)]
    pub settle: Duration,
    /// Print every finding, not the first five of a kind.
    #[arg(long)]
    pub all: bool,
    /// When to use colour; auto: on a terminal, unless NO_COLOR is set.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: ColorArg,
}

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ColorArg {
    Auto,
    Always,
    Never,
}

/// Flags of `bundle`.
#[derive(Debug, Clone, Args)]
pub struct BundleArgs {
    /// The file to write; it must not be there yet.
    #[arg(value_name = "FILE", default_value = "calico-exporter-bundle.json.gz")]
    pub file: PathBuf,
    /// Replace names and addresses by others, the same ones everywhere: every finding stays.
    #[arg(long)]
    pub anonymise: bool,
    /// Where the pictures come from.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// Flags of `explain`.
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// An address, a CIDR, a host, or NAMESPACE/POD.
    #[arg(value_name = "WHAT")]
    pub what: String,
    /// Where the pictures come from.
    #[command(flatten)]
    pub source: SourceArgs,
    /// For people or for programs.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub output: Output,
}

/// Flags of `plan`.
#[derive(Debug, Clone, Args)]
pub struct PlanArgs {
    /// Where the picture comes from; the kernel's is not asked for.
    #[command(flatten)]
    pub source: SourceArgs,
    /// For people or for programs.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub output: Output,
    /// Say whether so many more hosts fit.
    #[arg(long, value_name = "N", requires = "pods_per_host")]
    pub add_hosts: Option<u64>,
    /// Pods on each of them.
    #[arg(long, value_name = "M", requires = "add_hosts")]
    pub pods_per_host: Option<u64>,
    /// Their labels, which pools choose hosts by.
    #[arg(long, value_name = "KEY=VALUE,…", requires = "add_hosts")]
    pub host_labels: Option<String>,
    /// Compare block sizes on the present spread of pods over hosts.
    #[arg(long)]
    pub block_size: bool,
}

/// `--output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Grouped, with words.
    Text,
    /// As documented in `docs/findings.md`.
    Json,
}

/// At most this much: the journal is gone through for every page.
const LARGEST_HISTORY: usize = 64 << 20;

fn size(text: &str) -> Result<usize, String> {
    let (number, unit) = text.split_at(text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit {
        "" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        _ => None,
    };
    let size = unit.and_then(|unit| number.parse::<usize>().ok()?.checked_mul(unit));
    match size {
        Some(size) if size <= LARGEST_HISTORY => Ok(size),
        Some(_) => Err("at most 64MiB".to_owned()),
        None => Err("write it as 524288, 512KiB or 1MiB".to_owned()),
    }
}

/// The shortest time between two readings of everything: a shorter one is a load and no better answer.
const LEAST_PERIOD: Duration = Duration::from_secs(1);
/// The longest time that means anything here.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
/// The longest that somebody waits for `check`.
const LONGEST_SETTLE: Duration = Duration::from_secs(3600);

/// How often something is done.
fn period(text: &str) -> Result<Duration, String> {
    between(LEAST_PERIOD, LONGEST, text)
}

/// How long something has to stand.
fn grace(text: &str) -> Result<Duration, String> {
    between(Duration::ZERO, LONGEST, text)
}

fn settle(text: &str) -> Result<Duration, String> {
    between(Duration::ZERO, LONGEST_SETTLE, text)
}

fn between(least: Duration, most: Duration, text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| format!("{error}; write it as 90s, 10m or 1h"))?;
    match (least..=most).contains(&duration) {
        true => Ok(duration),
        false => {
            let [least, most] = [least, most].map(humantime::format_duration);
            Err(format!("out of bounds; give {least} to {most}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn sizes_are_bytes_or_binary_multiples() {
        assert_eq!(size("0"), Ok(0));
        assert_eq!(size("1000"), Ok(1000));
        assert_eq!(size("512KiB"), Ok(524_288));
        assert_eq!(size("64MiB"), Ok(LARGEST_HISTORY));
        for bad in ["", "KiB", "1kB", "1 MiB", "-1", "65MiB", "99999999999999999999", "18014398509481984KiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_is_the_default_and_takes_its_flags_without_being_named() {
        let cli = Cli::try_parse_from(["calico-exporter", "--routes.grace", "90s", "--no-collector.ipam"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.serve.routes_grace, Duration::from_secs(90));
        assert_eq!(cli.serve.leaks_grace, Duration::from_secs(900));
        assert!(cli.serve.source.no_collector_ipam);
        let cli = Cli::try_parse_from(["calico-exporter", "check", "--output", "json"]).unwrap();
        assert!(matches!(cli.command, Some(Command::Check(args)) if args.output == Output::Json));
    }

    #[test]
    fn every_time_has_bounds() {
        let serve =
            |flag: &str, value: &str| Cli::try_parse_from(["calico-exporter", flag, value]).map(|cli| cli.serve);
        for flag in ["--datastore.resync", "--leaks.interval"] {
            for refused in ["0s", "999ms", "1ms", "31days"] {
                let error = serve(flag, refused).unwrap_err().to_string();
                assert!(error.contains(flag) && error.contains("1s to"), "{flag} {refused}: {error}");
            }
            assert!(serve(flag, "1s").is_ok());
        }
        for flag in ["--routes.grace", "--leaks.grace"] {
            assert!(serve(flag, "0s").is_ok() && serve(flag, "31days").is_err(), "{flag}");
        }
        let check = |value: &str| Cli::try_parse_from(["calico-exporter", "check", "--settle", value]);
        assert!(check("0s").is_ok() && check("2h").is_err());
    }

    #[test]
    fn a_bad_value_is_named_with_its_flag() {
        let error = Cli::try_parse_from(["calico-exporter", "--routes.grace", "soon"]).unwrap_err().to_string();
        assert!(error.contains("--routes.grace") && error.contains("soon"), "{error}");
        let error = Cli::try_parse_from(["calico-exporter", "--calico.backend", "frr"]).unwrap_err().to_string();
        assert!(error.contains("--calico.backend") && error.contains("frr"), "{error}");
    }
}
