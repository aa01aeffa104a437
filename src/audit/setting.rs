//! What is configured for this host: who programs which routes, by which names and protocols.

use super::report::Encapsulation;
use crate::model::{
    EncapMode, Family, FelixConfiguration, Link, Name, Node, PoolClass, ProgramClusterRoutes, Protocol, Selector,
    TunnelKind,
};
use crate::state::{Datastore, Kind, ObjectId};

/// `vxlanVNI` and `vxlanPort` where nobody says otherwise (`felix/config/config_params.go`).
const VXLAN_VNI: u32 = 4096;
const VXLAN_PORT: u16 = 4789;

/// Whether BIRD is meant to run on this host (J24): `CALICO_NETWORKING_BACKEND`, which is not in the datastore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backend {
    /// Told from the kernel's routes and the cluster's type.
    #[default]
    Auto,
    /// BIRD runs.
    Bird,
    /// Felix alone, with VXLAN.
    Vxlan,
    /// Neither.
    None,
}

/// What Felix's own environment says on this host. It is stronger than the datastore, which does not show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FelixOverrides {
    /// `FELIX_VXLANVNI`.
    pub vxlan_vni: Option<u32>,
    /// `FELIX_VXLANPORT`.
    pub vxlan_port: Option<u16>,
}

/// Who programs a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Programmer {
    /// Felix, from blocks.
    Felix,
    /// BIRD, from affinity keys and endpoints, over BGP.
    Bird,
}

/// Which classes Felix and BIRD are configured to program on this host (J27).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ownership {
    felix: [bool; 2],
    bird: [bool; 2],
    /// Both settings are written down, rather than defaults.
    pub explicit: bool,
}

fn class_index(class: PoolClass) -> Option<usize> {
    match class {
        PoolClass::Ipip => Some(0),
        PoolClass::NoEncap => Some(1),
        PoolClass::Vxlan | PoolClass::Unrouted => None,
    }
}

impl Ownership {
    /// Whether the component is configured to program routes of pools of this class.
    pub(super) fn programs(&self, who: Programmer, class: PoolClass) -> bool {
        match (who, class_index(class)) {
            (Programmer::Felix, Some(index)) => self.felix[index],
            (Programmer::Bird, Some(index)) => self.bird[index],
            (Programmer::Felix, None) => class == PoolClass::Vxlan,
            (Programmer::Bird, None) => false,
        }
    }

    fn of(
        felix: Option<ProgramClusterRoutes>,
        bird: Option<ProgramClusterRoutes>,
        minor: u32,
        any_tunnel: bool,
    ) -> Self {
        use ProgramClusterRoutes as P;
        let classes = |setting: P| match setting {
            P::Disabled => [false, false],
            P::EnabledIpipOnly => [true, false],
            P::EnabledNoEncapOnly => [false, true],
            P::Enabled => [true, true],
        };
        let explicit = felix.is_some() && bird.is_some();
        let felix = match (minor, felix) {
            (33.., setting) => classes(setting.unwrap_or(P::EnabledIpipOnly)),
            // 3.31 and 3.32 know two values; unencapsulated pools only where there is no tunnel at all (`int_dataplane.go`).
            (31..=32, Some(P::Enabled)) => [true, !any_tunnel],
            _ => [false, false],
        };
        let bird = match (minor, bird) {
            (33.., setting) => classes(setting.unwrap_or(P::EnabledNoEncapOnly)),
            (32, setting) => classes(setting.unwrap_or(P::Enabled)),
            // Up to 3.31 BIRD's templates know no such setting.
            _ => [true, true],
        };
        Ownership { felix, bird, explicit }
    }
}

/// The minor version of `v3.MINOR.PATCH`; the newest known where the text is of another form.
fn minor_version(version: &str) -> u32 {
    let newest = u32::MAX;
    let Some(rest) = version.trim_start_matches('v').strip_prefix("3.") else { return newest };
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(newest)
}

/// What is configured for this host, merged from Felix's and BGP's configurations and the cluster's version.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    /// Prefixes of workload devices.
    pub workload_prefixes: Vec<String>,
    /// The protocol of Felix's device routes; 3 by default.
    pub device_protocol: Protocol,
    /// Felix programs no routes, or one for each endpoint of the cluster instead of blocks: nothing of its classes is
    /// required.
    pub felix_routes_blocks: bool,
    /// Felix programs routes at all: not with `routeSyncDisabled`.
    pub felix_routes: bool,
    /// WireGuard encrypts between hosts: BIRD leaves its routes to peers that have a key out (3.33).
    pub wireguard: bool,
    /// Machines of OpenStack run here, to which Neutron gives addresses.
    pub openstack: bool,
    /// Felix programs floating addresses: `floatingIPs` is Enabled, or the orchestrator is OpenStack
    /// (`felix/dataplane/linux/endpoint_mgr.go`).
    pub floating_ips: bool,
    /// eBPF: one VXLAN device carries both families, and may have no address.
    pub bpf: bool,
    /// Whether Felix has a VXLAN tunnel, of IPv4 and of IPv6.
    pub vxlan: [bool; 2],
    /// The tunnels' network number; `None` where a configuration cannot be read that may say another.
    pub vxlan_vni: Option<u32>,
    /// Their UDP port; likewise.
    pub vxlan_port: Option<u16>,
    /// Whether Felix encrypts, IPv4 and IPv6.
    pub wireguard_of: [bool; 2],
    /// Whether Nodes' own addresses are encrypted as well.
    pub wireguard_host_encryption: bool,
    /// Who programs what.
    pub ownership: Ownership,
    /// A configuration that decides who programs what cannot be read: only VXLAN is certain.
    pub ownership_unknown: bool,
    /// The configured backend runs no BIRD (`vxlan`, `none`).
    pub without_bird: bool,
    /// The FelixConfiguration that says `vxlanEnabled: false` beside an IPv4 VXLAN pool.
    vxlan_off: Option<Name>,
    /// The one that says `ipv6Support: false`.
    ipv6_off: Option<Name>,
}

impl Setting {
    /// Merges what is configured for `node`: `node.NAME` over a matching selector (the oldest) over `default`
    /// (`felix/config/config_params.go`, `SourcesInDescendingOrder`).
    pub(super) fn of(datastore: &Datastore, node: &Name) -> Setting {
        let own = format!("node.{node}");
        let labels = datastore.nodes().get(node).map(|node| node.labels.clone()).unwrap_or_default();
        let mut scoped: Vec<&FelixConfiguration> = datastore
            .felix()
            .iter()
            .filter(|(name, _)| name.as_ref() != "default" && !name.starts_with("node."))
            .map(|(_, config)| config)
            .filter(|config| {
                let selector = config.node_selector.as_deref().map(Selector::parse);
                matches!(selector, Some(Ok(selector)) if selector.matches(&labels))
            })
            .collect();
        scoped.sort_by_key(|config| config.created);
        let sources: Vec<&FelixConfiguration> = datastore
            .felix()
            .get(own.as_str())
            .into_iter()
            .chain(scoped.first().copied())
            .chain(datastore.felix().get("default"))
            .collect();
        // Who turns something off, by the first word that is said of it.
        let off = |field: fn(&FelixConfiguration) -> Option<bool>| {
            let said = sources.iter().copied().find(|config| field(config).is_some())?;
            let named = datastore.felix().iter().find(|(_, config)| std::ptr::eq(*config, said));
            named.filter(|_| field(said) == Some(false)).map(|(name, _)| name.clone())
        };
        fn first<T>(sources: &[&FelixConfiguration], field: impl Fn(&FelixConfiguration) -> Option<T>) -> Option<T> {
            sources.iter().find_map(|config| field(config))
        }
        let bgp = [own.as_str(), "default"]
            .iter()
            .filter_map(|name| datastore.bgp().get(*name))
            .find_map(|config| config.program_cluster_routes);
        let minor =
            minor_version(datastore.cluster().map(|cluster| cluster.calico_version.as_str()).unwrap_or_default());
        let wireguard_of = [
            first(&sources, |it| it.wireguard_enabled).unwrap_or(false),
            first(&sources, |it| it.wireguard_enabled_v6).unwrap_or(false),
        ];
        let wireguard = wireguard_of.contains(&true);
        // `felix/calc/encapsulation_resolver.go`: disabled pools count, and `vxlanEnabled` is about IPv4 alone.
        let has_vxlan =
            |family| datastore.pools().values().any(|pool| pool.family() == family && pool.vxlan != EncapMode::Never);
        let vxlan = [
            first(&sources, |it| it.vxlan_enabled).unwrap_or_else(|| has_vxlan(Family::V4)),
            has_vxlan(Family::V6) && first(&sources, |it| it.ipv6_support).unwrap_or(true),
        ];
        let certain = !datastore.has_unreadable(Kind::Felix);
        let any_tunnel = wireguard
            || datastore.pools().values().any(|pool| matches!(pool.class(), PoolClass::Vxlan | PoolClass::Ipip));
        let openstack = datastore.cluster().is_some_and(|cluster| cluster.has_type("openstack"));
        let prefixes = first(&sources, |it| it.interface_prefix.clone()).unwrap_or_else(|| "cali".to_owned());
        let source = first(&sources, |it| it.route_source.clone());
        let unreadable = |name: &str| {
            let name: Name = name.into();
            datastore.unreadable().contains_key(&ObjectId::Felix(name.clone()))
                || datastore.unreadable().contains_key(&ObjectId::BgpConfiguration(name))
        };
        Setting {
            workload_prefixes: prefixes
                .split(',')
                .map(|prefix| prefix.trim().to_owned())
                .filter(|prefix| !prefix.is_empty())
                .collect(),
            device_protocol: Protocol(first(&sources, |it| it.device_route_protocol).unwrap_or(Protocol::BOOT.0)),
            felix_routes_blocks: !first(&sources, |it| it.route_sync_disabled).unwrap_or(false)
                && source.is_none_or(|source| source != "WorkloadIPs"),
            felix_routes: !first(&sources, |it| it.route_sync_disabled).unwrap_or(false),
            wireguard,
            vxlan,
            vxlan_vni: certain.then(|| first(&sources, |it| it.vxlan_vni).unwrap_or(VXLAN_VNI)),
            vxlan_port: certain.then(|| first(&sources, |it| it.vxlan_port).unwrap_or(VXLAN_PORT)),
            wireguard_of,
            wireguard_host_encryption: first(&sources, |it| it.wireguard_host_encryption).unwrap_or(false),
            openstack,
            floating_ips: first(&sources, |it| it.floating_ips).unwrap_or(false) || openstack,
            bpf: first(&sources, |it| it.bpf_enabled).unwrap_or(false),
            ownership: Ownership::of(first(&sources, |it| it.program_cluster_routes), bgp, minor, any_tunnel),
            ownership_unknown: unreadable(&own) || unreadable("default"),
            without_bird: false,
            vxlan_off: off(|config| config.vxlan_enabled).filter(|_| has_vxlan(Family::V4)),
            ipv6_off: off(|config| config.ipv6_support),
        }
    }

    /// The setting by which Felix leaves out what it programs in a family, or its VXLAN tunnel there.
    pub(super) fn turned_off(&self, family: Family, by_vxlan: bool) -> Option<String> {
        let (name, field) = match family {
            Family::V4 => (self.vxlan_off.as_ref().filter(|_| by_vxlan)?, "vxlanEnabled"),
            Family::V6 => (self.ipv6_off.as_ref()?, "ipv6Support"),
        };
        Some(format!("FelixConfiguration {name} has {field}: false"))
    }

    /// The same on a host whose backend is told.
    pub(super) fn told(mut self, backend: Backend) -> Setting {
        self.without_bird = matches!(backend, Backend::Vxlan | Backend::None);
        self
    }

    /// Whether nobody here programs routes of this class: BIRD alone would, and does not run (J37).
    pub(super) fn is_without_programmer(&self, class: PoolClass) -> bool {
        self.without_bird
            && self.ownership.programs(Programmer::Bird, class)
            && !self.ownership.programs(Programmer::Felix, class)
    }

    /// The same on a host whose Felix has this in its environment.
    pub(super) fn overridden(mut self, felix: &FelixOverrides) -> Setting {
        self.vxlan_vni = felix.vxlan_vni.or(self.vxlan_vni);
        self.vxlan_port = felix.vxlan_port.or(self.vxlan_port);
        self
    }

    /// Whether Felix has a VXLAN tunnel of the family here.
    pub(super) fn has_vxlan(&self, family: Family) -> bool {
        self.vxlan[family as usize]
    }

    /// Whether it cannot be known who programs pools of this class; VXLAN is always Felix's.
    pub(super) fn ownership_unknown_for(&self, class: PoolClass) -> bool {
        self.ownership_unknown && class_index(class).is_some()
    }

    /// Whether the device is a workload's.
    pub(super) fn is_workload_device(&self, device: &str) -> bool {
        self.workload_prefixes.iter().any(|prefix| device.starts_with(prefix.as_str()))
    }

    /// Whether the device is Calico's: a workload's, or one of its tunnels (J16).
    pub(super) fn is_calico_device(&self, device: &str) -> bool {
        matches!(device, "tunl0" | "vxlan.calico" | "vxlan-v6.calico") || self.is_workload_device(device)
    }

    /// Whether the protocol is one that Felix marks its own routes with.
    pub(super) fn is_felix_protocol(&self, protocol: Protocol) -> bool {
        protocol == Protocol::FELIX || (self.device_protocol != Protocol::BOOT && protocol == self.device_protocol)
    }

    /// Whether BIRD leaves its route to this peer to WireGuard.
    pub(super) fn wireguard_takes(&self, peer: &Node) -> bool {
        self.wireguard && (peer.wireguard_key_v4.is_some() || peer.wireguard_key_v6.is_some())
    }
}

/// How a device wraps packets: by Calico's names, or by its kind.
pub(super) fn device_encapsulation(device: &str, link: Option<&Link>) -> Encapsulation {
    match device {
        "tunl0" => return Encapsulation::Ipip,
        "vxlan.calico" | "vxlan-v6.calico" => return Encapsulation::Vxlan,
        "wireguard.cali" | "wg-v6.cali" => return Encapsulation::Wireguard,
        _ => {}
    }
    match link.and_then(|link| link.kind.as_deref()) {
        Some("ipip") => Encapsulation::Ipip,
        Some("vxlan") => Encapsulation::Vxlan,
        Some("wireguard") => Encapsulation::Wireguard,
        _ => Encapsulation::None,
    }
}

/// The class of pools whose blocks go through the tunnel; WireGuard has none.
pub(super) fn tunnel_class(kind: TunnelKind) -> Option<PoolClass> {
    match kind {
        TunnelKind::Ipip => Some(PoolClass::Ipip),
        TunnelKind::VxlanV4 | TunnelKind::VxlanV6 => Some(PoolClass::Vxlan),
        TunnelKind::WireguardV4 | TunnelKind::WireguardV6 => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (minor, Felix's setting, BIRD's) → programs IPIP and unencapsulated: Felix, BIRD.
    #[test]
    fn who_programs_follows_the_version_and_both_settings() {
        use ProgramClusterRoutes as P;
        let owners = |minor, felix, bird, tunnels| {
            let owners = Ownership::of(felix, bird, minor, tunnels);
            (owners.felix, owners.bird)
        };
        assert_eq!(owners(33, None, None, true), ([true, false], [false, true]));
        assert_eq!(owners(u32::MAX, None, None, true), ([true, false], [false, true]));
        assert_eq!(owners(33, Some(P::Disabled), Some(P::Enabled), true), ([false, false], [true, true]));
        assert_eq!(owners(33, Some(P::Enabled), Some(P::EnabledNoEncapOnly), true), ([true, true], [false, true]));
        assert_eq!(owners(32, None, None, true), ([false, false], [true, true]));
        assert_eq!(owners(32, Some(P::Enabled), Some(P::Disabled), true), ([true, false], [false, false]));
        assert_eq!(owners(31, Some(P::Enabled), None, false), ([true, true], [true, true]));
        assert_eq!(owners(29, Some(P::Enabled), Some(P::Disabled), true), ([false, false], [true, true]));
    }

    #[test]
    fn a_version_of_another_form_counts_as_the_newest() {
        assert_eq!(minor_version("v3.29.0"), 29);
        assert_eq!(minor_version("v3.33.1-0.dev"), 33);
        assert_eq!(minor_version("3.30"), 30);
        assert_eq!(minor_version("master"), u32::MAX);
        assert_eq!(minor_version(""), u32::MAX);
    }
}
