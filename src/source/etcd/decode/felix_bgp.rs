//! FelixConfiguration, BGPConfiguration and BGPPeer
//! (`api/pkg/apis/projectcalico/v3/{felixconfig,bgpconfig,bgppeer}.go`).

use std::net::{IpAddr, SocketAddr};

use serde::de::IgnoredAny;

use super::json::{FromText, List, Maybe, object};
use super::node::AsNumber;
use super::{Read, parse};
use crate::model::{
    BgpConfiguration, BgpPeer, FelixConfiguration, Name, NextHopMode, PeerAddress, ProgramClusterRoutes,
};
use crate::source::etcd::timestamp;
use crate::state::Object;

object! {
    Felix, rest IgnoredAny, {
        "metadata" => metadata: Metadata,
        "spec" => spec: FelixSpec,
    }
}

object! {
    Metadata, rest IgnoredAny, {
        "creationTimestamp" => created: String,
    }
}

object! {
    FelixSpec, rest IgnoredAny, {
        "nodeSelector" => node_selector: Maybe<String>,
        "programClusterRoutes" => program_cluster_routes: Maybe<ProgramClusterRoutes>,
        "deviceRouteProtocol" => device_route_protocol: Option<u8>,
        "interfacePrefix" => interface_prefix: Maybe<String>,
        "routeSyncDisabled" => route_sync_disabled: Option<bool>,
        "routeSource" => route_source: Maybe<String>,
        "wireguardEnabled" => wireguard_enabled: Option<bool>,
        "wireguardEnabledV6" => wireguard_enabled_v6: Option<bool>,
        "bpfEnabled" => bpf_enabled: Option<bool>,
        "floatingIPs" => floating_ips: Maybe<String>,
        "ipipEnabled" => ipip_enabled: Option<bool>,
        "vxlanEnabled" => vxlan_enabled: Option<bool>,
        "ipv6Support" => ipv6_support: Option<bool>,
    }
}

impl FromText for ProgramClusterRoutes {
    const EXPECTED: &'static str = "Disabled, Enabled, EnabledIPIPOnly or EnabledNoEncapOnly";

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "Disabled" => Some(ProgramClusterRoutes::Disabled),
            "Enabled" => Some(ProgramClusterRoutes::Enabled),
            "EnabledIPIPOnly" => Some(ProgramClusterRoutes::EnabledIpipOnly),
            "EnabledNoEncapOnly" => Some(ProgramClusterRoutes::EnabledNoEncapOnly),
            _ => None,
        }
    }
}

/// Reads the Felix configuration `name`.
pub(super) fn felix(name: Name, value: &[u8]) -> Read {
    let Felix { metadata, spec } = parse(value)?;
    let felix = FelixConfiguration {
        name: Some(name.clone()),
        node_selector: spec.node_selector.0,
        created: timestamp::unix_seconds(&metadata.created),
        program_cluster_routes: spec.program_cluster_routes.0,
        device_route_protocol: spec.device_route_protocol,
        interface_prefix: spec.interface_prefix.0,
        route_sync_disabled: spec.route_sync_disabled,
        route_source: spec.route_source.0,
        wireguard_enabled: spec.wireguard_enabled,
        wireguard_enabled_v6: spec.wireguard_enabled_v6,
        bpf_enabled: spec.bpf_enabled,
        floating_ips: spec.floating_ips.0.map(|text| text == "Enabled"),
        ipip_enabled: spec.ipip_enabled,
        vxlan_enabled: spec.vxlan_enabled,
        ipv6_support: spec.ipv6_support,
    };
    Ok(Some(Object::Felix(name, felix)))
}

object! {
    Bgp, rest IgnoredAny, {
        "spec" => spec: BgpSpec,
    }
}

object! {
    BgpSpec, rest IgnoredAny, {
        "nodeToNodeMeshEnabled" => mesh: Option<bool>,
        "asNumber" => as_number: AsNumber,
        "programClusterRoutes" => program_cluster_routes: Maybe<ProgramClusterRoutes>,
    }
}

/// Reads the BGP configuration `name`.
pub(super) fn bgp_configuration(name: Name, value: &[u8]) -> Read {
    let Bgp { spec } = parse(value)?;
    let configuration = BgpConfiguration {
        name: Some(name.clone()),
        mesh: spec.mesh,
        as_number: spec.as_number.0,
        program_cluster_routes: spec.program_cluster_routes.0,
    };
    Ok(Some(Object::BgpConfiguration(name, configuration)))
}

object! {
    Peer, rest IgnoredAny, {
        "spec" => spec: PeerSpec,
    }
}

object! {
    PeerSpec, rest IgnoredAny, {
        "node" => node: String,
        "nodeSelector" => node_selector: Maybe<String>,
        "peerIP" => peer_ip: Maybe<PeerAddress>,
        "peerSelector" => peer_selector: Maybe<String>,
        "asNumber" => as_number: AsNumber,
        "filters" => filters: List<String>,
        "keepOriginalNextHop" => keep_original_next_hop: bool,
        "nextHopMode" => next_hop_mode: Maybe<NextHopMode>,
        "reversePeering" => reverse_peering: String,
        "localWorkloadSelector" => local_workload_selector: Maybe<String>,
    }
}

impl FromText for NextHopMode {
    const EXPECTED: &'static str = "Auto, Self or Keep";

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "Auto" => Some(NextHopMode::Auto),
            "Self" => Some(NextHopMode::SelfHop),
            "Keep" => Some(NextHopMode::Keep),
            _ => None,
        }
    }
}

impl FromText for PeerAddress {
    const EXPECTED: &'static str = "an address, with or without a port";

    fn from_text(text: &str) -> Option<Self> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let address = bare.parse().or_else(|_| text.parse().map(|socket: SocketAddr| socket.ip()));
        Some(match address {
            Ok(address) => PeerAddress::Address(IpAddr::to_canonical(&address)),
            Err(_) => PeerAddress::Unreadable(text.to_owned()),
        })
    }
}

/// Reads the BGP peer `name`.
pub(super) fn bgp_peer(name: Name, value: &[u8]) -> Read {
    let Peer { spec } = parse(value)?;
    let peer = BgpPeer {
        name: Some(name.clone()),
        node: Some(spec.node).filter(|node| !node.is_empty()).map(Name::from),
        node_selector: spec.node_selector.0,
        peer_ip: spec.peer_ip.0,
        peer_selector: spec.peer_selector.0,
        as_number: spec.as_number.0,
        filters: spec.filters.0,
        next_hop_mode: match spec.keep_original_next_hop {
            true => Some(NextHopMode::Keep),
            false => spec.next_hop_mode.0,
        },
        reverse_manual: spec.reverse_peering == "Manual",
        local_workload_selector: spec.local_workload_selector.0,
    };
    Ok(Some(Object::BgpPeer(name, peer)))
}
