//! FelixConfiguration, BGPConfiguration and BGPPeer
//! (`api/pkg/apis/projectcalico/v3/{felixconfig,bgpconfig,bgppeer}.go`).

use std::net::{IpAddr, SocketAddr};

use serde::de::IgnoredAny;

use super::json::{FromText, List, Maybe, object};
use super::{AsNumber, Read, parse, timestamp};
use crate::model::{
    BgpConfiguration, BgpPeer, FelixConfiguration, Name, NextHopMode, PeerAddress, ProgramClusterRoutes,
};
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
        "wireguardHostEncryptionEnabled" => wireguard_host_encryption: Option<bool>,
        "bpfEnabled" => bpf_enabled: Option<bool>,
        "floatingIPs" => floating_ips: Maybe<String>,
        "ipipEnabled" => ipip_enabled: Option<bool>,
        "vxlanEnabled" => vxlan_enabled: Option<bool>,
        "vxlanVNI" => vxlan_vni: Option<u32>,
        "vxlanPort" => vxlan_port: Option<u16>,
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
pub(in crate::source) fn felix(name: Name, value: &[u8]) -> Read {
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
        wireguard_host_encryption: spec.wireguard_host_encryption,
        bpf_enabled: spec.bpf_enabled,
        floating_ips: spec.floating_ips.0.map(|text| text == "Enabled"),
        ipip_enabled: spec.ipip_enabled,
        vxlan_enabled: spec.vxlan_enabled,
        vxlan_vni: spec.vxlan_vni,
        vxlan_port: spec.vxlan_port,
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
pub(in crate::source) fn bgp_configuration(name: Name, value: &[u8]) -> Read {
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
pub(in crate::source) fn bgp_peer(name: Name, value: &[u8]) -> Read {
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

#[cfg(test)]
mod tests {
    use super::super::tests::{object, undecodable};
    use super::*;

    type Reader = fn(Name, &[u8]) -> Read;

    const FELIX: (&str, Reader) = ("node.a", felix);
    const BGP: (&str, Reader) = ("default", bgp_configuration);
    const PEER: (&str, Reader) = ("tor", bgp_peer);

    fn read((name, reader): (&str, Reader), value: &str) -> Read {
        reader(name.into(), value.as_bytes())
    }

    fn name(text: &str) -> Option<Name> {
        Some(text.into())
    }

    fn peer(spec: &str) -> BgpPeer {
        match object(read(PEER, &format!(r#"{{"spec":{{{spec}}}}}"#))) {
            Object::BgpPeer(_, peer) => peer,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_felix_configuration_says_what_it_says_and_no_more() {
        let value = r#"{"metadata":{"creationTimestamp":"2026-08-01T00:00:00Z"},"spec":{"nodeSelector":"all()","programClusterRoutes":"EnabledIPIPOnly","deviceRouteProtocol":80,"interfacePrefix":"cali,tap","routeSyncDisabled":true,"routeSource":"WorkloadIPs","wireguardEnabled":true,"wireguardEnabledV6":false,"wireguardHostEncryptionEnabled":true,"bpfEnabled":true,"floatingIPs":"Enabled","ipipEnabled":false,"vxlanEnabled":true,"vxlanVNI":4097,"vxlanPort":4790,"ipv6Support":false,"reportingInterval":"0s"}}"#;
        let felix = FelixConfiguration {
            name: name("node.a"),
            node_selector: Some("all()".to_owned()),
            created: Some(1_785_542_400),
            program_cluster_routes: Some(ProgramClusterRoutes::EnabledIpipOnly),
            device_route_protocol: Some(80),
            interface_prefix: Some("cali,tap".to_owned()),
            route_sync_disabled: Some(true),
            route_source: Some("WorkloadIPs".to_owned()),
            wireguard_enabled: Some(true),
            wireguard_enabled_v6: Some(false),
            wireguard_host_encryption: Some(true),
            bpf_enabled: Some(true),
            floating_ips: Some(true),
            ipip_enabled: Some(false),
            vxlan_enabled: Some(true),
            vxlan_vni: Some(4097),
            vxlan_port: Some(4790),
            ipv6_support: Some(false),
        };
        assert_eq!(object(read(FELIX, value)), Object::Felix("node.a".into(), felix));
        let nothing = FelixConfiguration { name: name("node.a"), ..FelixConfiguration::default() };
        for value in ["{}", r#"{"metadata":null,"spec":null}"#, r#"{"spec":{"floatingIPs":null,"interfacePrefix":""}}"#]
        {
            assert_eq!(object(read(FELIX, value)), Object::Felix("node.a".into(), nothing.clone()));
        }
        let Object::Felix(_, disabled) = object(read(FELIX, r#"{"spec":{"floatingIPs":"Disabled"}}"#)) else {
            panic!()
        };
        assert_eq!(disabled.floating_ips, Some(false));
    }

    #[test]
    fn settings_that_calico_does_not_know_are_refused() {
        let routes = "expected Disabled, Enabled, EnabledIPIPOnly or EnabledNoEncapOnly";
        for (key, spec, why) in [
            (
                FELIX,
                r#""programClusterRoutes":"Some""#,
                &*format!(r#"spec.programClusterRoutes: invalid value: string "Some", {routes}"#),
            ),
            (
                BGP,
                r#""programClusterRoutes":true"#,
                &format!("spec.programClusterRoutes: invalid type: boolean `true`, {routes}"),
            ),
            (
                FELIX,
                r#""deviceRouteProtocol":256"#,
                "spec.deviceRouteProtocol: invalid value: integer `256`, expected u8",
            ),
            (FELIX, r#""bpfEnabled":"true""#, r#"spec.bpfEnabled: invalid type: string "true", expected a boolean"#),
            (
                PEER,
                r#""nextHopMode":"Other""#,
                r#"spec.nextHopMode: invalid value: string "Other", expected Auto, Self or Keep"#,
            ),
            (
                PEER,
                r#""peerIP":5"#,
                "spec.peerIP: invalid type: integer `5`, expected an address, with or without a port",
            ),
        ] {
            assert_eq!(undecodable(read(key, &format!(r#"{{"spec":{{{spec}}}}}"#))), why);
        }
    }

    #[test]
    fn a_bgp_configuration_may_turn_the_mesh_off() {
        let configuration = |value: &str| match object(read(BGP, value)) {
            Object::BgpConfiguration(_, configuration) => configuration,
            other => panic!("{other:?}"),
        };
        let off = configuration(
            r#"{"spec":{"nodeToNodeMeshEnabled":false,"asNumber":"1.1","programClusterRoutes":"EnabledNoEncapOnly"}}"#,
        );
        assert_eq!((off.mesh, off.as_number), (Some(false), Some(65537)));
        assert_eq!(off.program_cluster_routes, Some(ProgramClusterRoutes::EnabledNoEncapOnly));
        let silent = configuration(r#"{"spec":{"logSeverityScreen":"Info"}}"#);
        assert_eq!(silent, BgpConfiguration { name: name("default"), ..BgpConfiguration::default() });
    }

    #[test]
    fn a_bgp_peer_is_read_to_the_last_field() {
        let full = peer(
            r#""node":"n1","nodeSelector":"rack == '1'","peerIP":"172.18.255.1","peerSelector":"rr","asNumber":64600,"filters":["a","b"],"nextHopMode":"Self","reversePeering":"Manual","localWorkloadSelector":"app == 'x'""#,
        );
        let expected = BgpPeer {
            name: name("tor"),
            node: name("n1"),
            node_selector: Some("rack == '1'".to_owned()),
            peer_ip: Some(PeerAddress::Address("172.18.255.1".parse().unwrap())),
            peer_selector: Some("rr".to_owned()),
            as_number: Some(64600),
            filters: vec!["a".to_owned(), "b".to_owned()],
            next_hop_mode: Some(NextHopMode::SelfHop),
            reverse_manual: true,
            local_workload_selector: Some("app == 'x'".to_owned()),
        };
        assert_eq!(full, expected);
        let empty = r#""node":"","nodeSelector":"","peerIP":"","filters":null,"keepOriginalNextHop":false,"reversePeering":"Auto""#;
        assert_eq!(peer(empty), BgpPeer { name: name("tor"), ..BgpPeer::default() });
        assert_eq!(peer(r#""keepOriginalNextHop":true"#).next_hop_mode, Some(NextHopMode::Keep));
        assert_eq!(peer(r#""nextHopMode":"Auto""#).next_hop_mode, Some(NextHopMode::Auto));
    }

    #[test]
    fn a_peers_address_may_have_a_port() {
        for (text, address) in [
            ("10.0.0.1", Some("10.0.0.1")),
            ("10.0.0.1:179", Some("10.0.0.1")),
            ("fd00::1", Some("fd00::1")),
            ("[fd00::1]", Some("fd00::1")),
            ("[fd00::1]:179", Some("fd00::1")),
            ("10.0.0.1:99999", None),
            ("router.example", None),
        ] {
            let expected = match address {
                Some(address) => PeerAddress::Address(address.parse().unwrap()),
                None => PeerAddress::Unreadable(text.to_owned()),
            };
            assert_eq!(peer(&format!(r#""peerIP":"{text}""#)).peer_ip, Some(expected));
        }
    }
}
