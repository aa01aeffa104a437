//! FelixConfiguration, as far as it changes the routes a host ought to have (`felix/config/config_params.go`).

use super::Name;

/// `programClusterRoutes`, in FelixConfiguration and in BGPConfiguration: which classes of pools a component programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProgramClusterRoutes {
    /// None.
    Disabled,
    /// IPIP pools; Felix's default since 3.33.
    EnabledIpipOnly,
    /// Unencapsulated pools; BIRD's default since 3.33.
    EnabledNoEncapOnly,
    /// Both.
    Enabled,
}

/// One FelixConfiguration. `None` means that the object does not say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FelixConfiguration {
    /// `default`, `node.NAME`, or a name of its own with a selector.
    pub name: Option<Name>,
    /// `spec.nodeSelector` (since 3.32); the oldest matching one applies.
    pub node_selector: Option<String>,
    /// `metadata.creationTimestamp`, unix seconds.
    pub created: Option<i64>,
    /// `programClusterRoutes`.
    pub program_cluster_routes: Option<ProgramClusterRoutes>,
    /// `deviceRouteProtocol`; 3 (boot) by default.
    pub device_route_protocol: Option<u8>,
    /// `interfacePrefix`: prefixes of workload devices, comma-separated; `cali` by default.
    pub interface_prefix: Option<String>,
    /// `routeSyncDisabled`: Felix programs no route.
    pub route_sync_disabled: Option<bool>,
    /// `routeSource`: `WorkloadIPs` routes each endpoint instead of blocks.
    pub route_source: Option<String>,
    /// `wireguardEnabled`.
    pub wireguard_enabled: Option<bool>,
    /// `wireguardEnabledV6`.
    pub wireguard_enabled_v6: Option<bool>,
    /// `wireguardHostEncryptionEnabled`.
    pub wireguard_host_encryption: Option<bool>,
    /// `bpfEnabled`.
    pub bpf_enabled: Option<bool>,
    /// `floatingIPs` is `Enabled`.
    pub floating_ips: Option<bool>,
    /// `ipipEnabled`; unset means derived from the pools.
    pub ipip_enabled: Option<bool>,
    /// `vxlanEnabled`; unset means derived from the pools.
    pub vxlan_enabled: Option<bool>,
    /// `vxlanVNI`; 4096 by default.
    pub vxlan_vni: Option<u32>,
    /// `vxlanPort`; 4789 by default.
    pub vxlan_port: Option<u16>,
    /// `ipv6Support`; true by default.
    pub ipv6_support: Option<bool>,
}
