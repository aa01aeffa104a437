//! What the flags mean: sources, collectors and names, validated once.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::audit::{Backend, CannotTell, FelixOverrides};
use crate::cli::{BackendArg, SourceArgs, WatchArg};
use crate::model::Name;
use crate::source::bundle::Bundle;
use crate::source::etcd::settings::{Settings, SettingsError};
use crate::source::iproute::Files;
use crate::source::kubernetes::Convention;
use crate::state::Follow;

mod datastore_type;
mod etcd;
mod felix;
#[cfg(feature = "kubernetes")]
mod kubernetes;

/// Why the program cannot start. Each is one line that names the flag and the value.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// etcd's settings.
    #[error("{0}")]
    Settings(#[from] SettingsError),
    /// A flag.
    #[error("{flag} {value:?}: {what}")]
    Flag {
        /// The flag.
        flag: &'static str,
        /// What it was given.
        value: String,
        /// What is wrong with it and what to do.
        what: String,
    },
    /// Flags that do not go together, or one that is missing.
    #[error("{0}")]
    Flags(String),
    /// What was read says too little for an answer.
    #[error("cannot tell: {0}")]
    CannotTell(#[from] CannotTell),
}

fn flag(flag: &'static str, value: impl ToString, what: impl ToString) -> ConfigError {
    ConfigError::Flag { flag, value: value.to_string(), what: what.to_string() }
}

/// Where Calico's objects are read.
#[derive(Debug, Clone)]
pub enum DatastoreSource {
    /// etcd.
    Etcd(Box<Settings>),
    /// The Kubernetes API.
    #[cfg(feature = "kubernetes")]
    Kubernetes(Box<crate::source::kubernetes::Config>),
    /// Dumps.
    Files(Vec<PathBuf>),
}

/// Where the kernel's devices and routes are read.
#[derive(Debug, Clone)]
pub enum KernelSource {
    /// This host's kernel.
    Netlink,
    /// Dumps.
    Files(Files),
}

/// Which audits run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collectors {
    /// The cluster's IPAM.
    pub ipam: bool,
    /// This host's routes.
    pub routes: bool,
    /// What is beneath them: neighbours and forwarding entries of the tunnels, and policy rules.
    pub tunnels: bool,
    /// Leaks and handles, with IPAM.
    pub leaks: bool,
}

/// Sources, collectors and names.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Calico's objects.
    pub datastore: DatastoreSource,
    /// What Calico was told of the Kubernetes API, where that is its datastore.
    pub convention: Convention,
    /// Devices and routes; absent where no collector reads them.
    pub kernel: Option<KernelSource>,
    /// Which audits run.
    pub collectors: Collectors,
    /// This host's Calico node name, where it was said; else it is told from the dump's addresses.
    pub node: Option<Name>,
    /// Whether BIRD is meant to run here.
    pub backend: Backend,
    /// Only affinity keys and this host's blocks are followed.
    pub by_affinities: bool,
    /// What Felix's environment on this host says, which the datastore does not show.
    pub felix: FelixOverrides,
}

/// The environment, as a function: tests have their own.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Sources {
    /// Decides where everything comes from.
    ///
    /// # Errors
    ///
    /// A flag's value cannot be used, or flags do not go together.
    pub fn new(args: &SourceArgs, environment: Environment<'_>) -> Result<Sources, ConfigError> {
        if let Some(path) = &args.bundle {
            return Sources::of_bundle(args, path);
        }
        if args.links_file.is_some() && args.routes_file.is_none() {
            return Err(ConfigError::Flags(
                "--links.file needs --routes.file: devices of another host say nothing of this one's routes".to_owned(),
            ));
        }
        for (name, given) in [("--neighbours.file", &args.neighbours_file), ("--fdb.file", &args.fdb_file)] {
            if given.is_some() && args.links_file.is_none() {
                return Err(ConfigError::Flags(format!(
                    "{name} needs --links.file: its entries are of devices, and say nothing without them"
                )));
            }
        }
        if !args.rules_file.is_empty() && args.routes_file.is_none() {
            return Err(ConfigError::Flags("--rules.file needs --routes.file of the same host".to_owned()));
        }
        #[cfg_attr(not(feature = "kubernetes"), allow(unused_mut))]
        let mut convention = datastore_type::convention(args, environment)?;
        let datastore = match &args.datastore_file[..] {
            [] => {
                let told = datastore_type::datastore_type(args, environment)?;
                #[cfg(feature = "kubernetes")]
                let kubernetes = kubernetes::datastore(told, args, environment, &mut convention)?;
                #[cfg(not(feature = "kubernetes"))]
                let kubernetes = datastore_type::not_built_in(told)?;
                match kubernetes {
                    Some(kubernetes) => kubernetes,
                    None => DatastoreSource::Etcd(Box::new(etcd::settings(args, environment)?)),
                }
            }
            files => {
                if let Some((name, value)) = etcd::given_flag(args) {
                    return Err(flag(name, value, "--datastore.file is read instead of etcd: give one of the two"));
                }
                DatastoreSource::Files(files.to_vec())
            }
        };
        let kernel = match (&args.routes_file, &datastore) {
            (Some(routes), _) => Some(KernelSource::Files(Files {
                routes: routes.clone(),
                links: args.links_file.clone(),
                neighbours: args.neighbours_file.clone(),
                fdb: args.fdb_file.clone(),
                rules: args.rules_file.clone(),
            })),
            // The kernel here is not the dumped cluster's.
            (None, DatastoreSource::Files(_)) => None,
            (None, _) => Some(KernelSource::Netlink),
        };
        let kernel = kernel.filter(|_| !args.no_collector_routes);
        // Host-local IPAM keeps nothing in the datastore that could be audited.
        let ipam = !args.no_collector_ipam && !convention.use_pod_cidr;
        let has_tunnels = match &kernel {
            Some(KernelSource::Netlink) => true,
            Some(KernelSource::Files(files)) => files.has_tunnels(),
            None => false,
        };
        let collectors = Collectors {
            ipam,
            routes: kernel.is_some(),
            tunnels: has_tunnels && !args.no_collector_tunnels,
            leaks: ipam && !args.no_collector_leaks,
        };
        if !collectors.ipam && !collectors.routes {
            return Err(ConfigError::Flags(
                match convention.use_pod_cidr {
                    true => {
                        "nothing to do: with host-local IPAM (--kubernetes.use-pod-cidr) only routes can be audited"
                    }
                    false => "nothing to do: the IPAM collector is off and there are no routes to audit",
                }
                .to_owned(),
            ));
        }
        let by_affinities = by_affinities(args, collectors)?;
        if by_affinities && convention.use_pod_cidr {
            return Err(ConfigError::Flags(
                "--routes.watch affinities: with host-local IPAM (--kubernetes.use-pod-cidr) there are none; leave it out"
                    .to_owned(),
            ));
        }
        let from_dump = matches!(kernel, Some(KernelSource::Files(_)));
        let node = node_name(args, environment, from_dump)?;
        let backend = match args.backend {
            BackendArg::Auto => Backend::Auto,
            BackendArg::Bird => Backend::Bird,
            BackendArg::Vxlan => Backend::Vxlan,
            BackendArg::None => Backend::None,
        };
        let felix = felix::overrides(environment, matches!(kernel, Some(KernelSource::Netlink)))?;
        Ok(Sources { datastore, convention, kernel, collectors, node, backend, by_affinities, felix })
    }

    /// What a support bundle says: its documents, and how Calico was told to work on its host.
    fn of_bundle(args: &SourceArgs, path: &Path) -> Result<Sources, ConfigError> {
        let bundle = Bundle::read(path).map_err(|error| flag("--bundle", path.display(), error))?;
        let document = |name: &str| bundle.document(path, name);
        let told = bundle.environment.get("CALICO_NETWORKING_BACKEND").map(String::as_str);
        let args = SourceArgs {
            bundle: None,
            datastore_file: bundle.datastore(path),
            routes_file: document("routes"),
            links_file: document("links"),
            neighbours_file: document("neighbours"),
            fdb_file: document("fdb"),
            rules_file: ["rules", "rules6"].into_iter().filter_map(document).collect(),
            node_name: args.node_name.clone().or_else(|| Some(bundle.node.clone())),
            backend: match (args.backend, told) {
                (BackendArg::Auto, Some("bird")) => BackendArg::Bird,
                (BackendArg::Auto, Some("vxlan")) => BackendArg::Vxlan,
                (BackendArg::Auto, Some("none")) => BackendArg::None,
                (given, _) => given,
            },
            ..args.clone()
        };
        Sources::new(&args, &|name| bundle.environment.get(name).cloned())
    }

    /// Which blocks are followed, for host `node`.
    pub fn follow(&self, node: &Name) -> Follow {
        if self.by_affinities { Follow::Affinities(node.clone()) } else { Follow::Blocks }
    }

    /// Whether the datastore may be a part of one: it is read from files. Nodes alone make podCIDR's blocks.
    pub fn may_be_partial(&self) -> bool {
        matches!(self.datastore, DatastoreSource::Files(_)) && !self.convention.use_pod_cidr
    }

    /// Whether everything comes from dumps: nothing moves, and everything is judged at once (J6).
    pub fn is_dump(&self) -> bool {
        matches!(self.datastore, DatastoreSource::Files(_)) && !matches!(self.kernel, Some(KernelSource::Netlink))
    }
}

/// Whether `--routes.watch` says so, and can.
fn by_affinities(args: &SourceArgs, collectors: Collectors) -> Result<bool, ConfigError> {
    match (args.routes_watch, collectors.ipam) {
        (WatchArg::Blocks, _) => Ok(false),
        (WatchArg::Affinities, false) => Ok(true),
        (WatchArg::Affinities, true) => Err(ConfigError::Flags(
            "--routes.watch affinities: the IPAM collector needs every block; give --no-collector.ipam with it, or \
             leave it out where --collector.ipam runs"
                .to_owned(),
        )),
    }
}

/// Calico's own order (`node/pkg/lifecycle/utils/utils.go`): told, the file that calico-node leaves, the host's name.
fn node_name(args: &SourceArgs, environment: Environment<'_>, from_dump: bool) -> Result<Option<Name>, ConfigError> {
    let said = args.node_name.clone().or_else(|| environment("NODENAME")).filter(|name| !name.is_empty());
    if let Some(name) = said {
        if name.chars().any(|it| it.is_control() || it.is_whitespace() || it == '/') {
            return Err(flag("--node.name", name, "not a node's name"));
        }
        return Ok(Some(name.into()));
    }
    if from_dump {
        return Ok(None);
    }
    let file = environment("CALICO_NODENAME_FILE").unwrap_or_else(|| "/var/lib/calico/nodename".to_owned());
    let read = |path: &Path| {
        let text = std::fs::read_to_string(path).ok()?;
        let name = text.trim().to_owned();
        (!name.is_empty()).then_some(name)
    };
    let name = read(Path::new(&file))
        .or_else(|| read(Path::new("/proc/sys/kernel/hostname")).map(|name| name.to_lowercase()))
        .ok_or_else(|| {
            ConfigError::Flags("--node.name: this host has no name; give its Calico node name".to_owned())
        })?;
    Ok(Some(name.into()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn sources(flags: &[&str], environment: &[(&str, &str)]) -> Result<Sources, String> {
        let cli = Cli::try_parse_from(std::iter::once(&"calico-exporter").chain(flags)).unwrap();
        let environment = |name: &str| {
            environment.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
        };
        Sources::new(&cli.serve.source, &environment).map_err(|error| error.to_string())
    }

    fn endpoints(sources: &Sources) -> &[String] {
        match &sources.datastore {
            DatastoreSource::Etcd(settings) => &settings.endpoints,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_flag_is_stronger_than_the_environment_in_both_its_forms() {
        let environment =
            [("CALICO_ETCD_ENDPOINTS", "http://a:2379"), ("ETCD_ENDPOINTS", "http://b:2379"), ("NODENAME", "h1")];
        assert_eq!(endpoints(&sources(&[], &environment).unwrap()), ["http://a:2379"]);
        let told = sources(&["--etcd.endpoints", "http://c:2379"], &environment).unwrap();
        assert_eq!(endpoints(&told), ["http://c:2379"]);
        assert_eq!(told.node.as_deref(), Some("h1"));
        assert!(matches!(told.kernel, Some(KernelSource::Netlink)));
    }

    #[test]
    fn a_dump_of_the_datastore_alone_has_no_routes_to_audit() {
        let dump = sources(&["--datastore.file", "d.json"], &[]).unwrap();
        assert!(dump.kernel.is_none() && dump.is_dump());
        assert_eq!(dump.collectors, Collectors { ipam: true, routes: false, tunnels: false, leaks: true });
        let both = sources(&["--datastore.file", "d.json", "--routes.file", "r.json"], &[]).unwrap();
        assert!(both.collectors.routes && both.is_dump() && both.node.is_none());
        assert!(!both.collectors.tunnels, "nothing was given to tell of them");
    }

    #[test]
    fn tunnels_are_audited_with_the_routes_and_from_what_is_given() {
        let etcd = ["--etcd.endpoints", "http://a:1"];
        assert!(sources(&etcd, &[]).unwrap().collectors.tunnels);
        for without in ["--no-collector.tunnels", "--no-collector.routes"] {
            assert!(!sources(&[&etcd[..], &[without]].concat(), &[]).unwrap().collectors.tunnels, "{without}");
        }
        let files = ["--datastore.file", "d", "--routes.file", "r", "--links.file", "l"];
        assert!(!sources(&files, &[]).unwrap().collectors.tunnels);
        for flag in ["--neighbours.file", "--fdb.file", "--rules.file"] {
            assert!(sources(&[&files[..], &[flag, "x"]].concat(), &[]).unwrap().collectors.tunnels, "{flag}");
        }
        let felix = sources(&files, &[("FELIX_VXLANVNI", "4097"), ("FELIX_VXLANPORT", "")]).unwrap().felix;
        assert_eq!(felix, FelixOverrides { vxlan_vni: Some(4097), vxlan_port: None });
        let error = sources(&files, &[("FELIX_VXLANPORT", "70000")]).unwrap_err();
        assert!(error.contains("FELIX_VXLANPORT") && error.contains("70000"), "{error}");
    }

    #[test]
    fn errors_name_the_flag_and_the_value() {
        let table: &[(&[&str], &[&str])] = &[
            (&["--links.file", "l.json"], &["--links.file", "--routes.file"]),
            (&["--routes.file", "r", "--neighbours.file", "n"], &["--neighbours.file", "--links.file"]),
            (&["--routes.file", "r", "--fdb.file", "n"], &["--fdb.file", "--links.file"]),
            (&["--rules.file", "n"], &["--rules.file", "--routes.file"]),
            (&["--datastore.file", "d", "--etcd.endpoints", "http://a:1"], &["--etcd.endpoints", "http://a:1"]),
            (&["--datastore.file", "d", "--no-collector.ipam"], &["nothing to do"]),
            (
                &["--etcd.endpoints", "http://a:1", "--routes.watch", "affinities"],
                &["--routes.watch", "--collector.ipam"],
            ),
            (
                &[
                    "--datastore.file",
                    "d",
                    "--routes.file",
                    "r",
                    "--routes.watch",
                    "affinities",
                    "--kubernetes.use-pod-cidr",
                ],
                &["--routes.watch", "--kubernetes.use-pod-cidr"],
            ),
            (&["--etcd.endpoints", "nonsense"], &["--etcd.endpoints", "nonsense"]),
            (
                &["--etcd.endpoints", "https://a:1", "--etcd.ca-file", "/nowhere/ca.pem"],
                &["--etcd.ca-file", "/nowhere/ca.pem"],
            ),
            (
                &["--etcd.endpoints", "http://a:1", "--etcd.password-file", "/nowhere/p"],
                &["--etcd.password-file", "/nowhere/p"],
            ),
            (&["--etcd.endpoints", "http://a:1", "--node.name", "a b"], &["--node.name", "a b"]),
            (&[], &["ETCD_ENDPOINTS", "--etcd.endpoints"]),
        ];
        for (flags, wanted) in table {
            let error = sources(flags, &[]).unwrap_err();
            assert!(wanted.iter().all(|it| error.contains(it)), "{flags:?}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
