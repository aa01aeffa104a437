//! Calico's keys (`libcalico-go/lib/backend/model/{block,block_affinity,ipam_handle,ipam_config,resource}.go`).

use ipnet::IpNet;

use crate::model::{BlockOwner, EndpointId, Handle};
use crate::state::{Kind, ObjectId};

/// Everything that IPAM keeps; covers the five below.
pub const IPAM: &str = "/calico/ipam/v2/";
/// Blocks: `…/ipvN/block/<address>-<length>`.
pub const BLOCKS: &str = "/calico/ipam/v2/assignment/";
/// Hosts' affinities: `…/<node>/ipvN/block/<address>-<length>`.
pub const HOST_AFFINITIES: &str = "/calico/ipam/v2/host/";
/// Affinities of what is no host: `…/load-balancer/ipvN/block/<address>-<length>`.
pub const VIRTUAL_AFFINITIES: &str = "/calico/ipam/v2/virtual/";
/// Handles: the id follows.
pub const HANDLES: &str = "/calico/ipam/v2/handle/";
/// The IPAM configuration; a key, not a prefix.
pub const IPAM_CONFIG: &str = "/calico/ipam/v2/config";
/// All resources of Calico's v3 API, those that the exporter does not read among them.
pub const RESOURCES: &str = "/calico/resources/v3/projectcalico.org/";
/// IP pools, by name.
pub const POOLS: &str = "/calico/resources/v3/projectcalico.org/ippools/";
/// IP reservations, by name.
pub const RESERVATIONS: &str = "/calico/resources/v3/projectcalico.org/ipreservations/";
/// Nodes, by name.
pub const NODES: &str = "/calico/resources/v3/projectcalico.org/nodes/";
/// Workload endpoints, by namespace and name.
pub const ENDPOINTS: &str = "/calico/resources/v3/projectcalico.org/workloadendpoints/";
/// Felix configurations, by name.
pub const FELIX_CONFIGURATIONS: &str = "/calico/resources/v3/projectcalico.org/felixconfigurations/";
/// BGP configurations, by name.
pub const BGP_CONFIGURATIONS: &str = "/calico/resources/v3/projectcalico.org/bgpconfigurations/";
/// BGP peers, by name.
pub const BGP_PEERS: &str = "/calico/resources/v3/projectcalico.org/bgppeers/";
/// Cluster informations; only `default` means anything.
pub const CLUSTER_INFORMATIONS: &str = "/calico/resources/v3/projectcalico.org/clusterinformations/";

/// The prefixes below which objects of a kind are stored.
pub fn prefixes(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Block => &[BLOCKS],
        Kind::Affinity => &[HOST_AFFINITIES, VIRTUAL_AFFINITIES],
        Kind::Handle => &[HANDLES],
        Kind::IpamConfig => &[IPAM_CONFIG],
        Kind::Pool => &[POOLS],
        Kind::Reservation => &[RESERVATIONS],
        Kind::Node => &[NODES],
        Kind::Endpoint => &[ENDPOINTS],
        Kind::Felix => &[FELIX_CONFIGURATIONS],
        Kind::BgpConfiguration => &[BGP_CONFIGURATIONS],
        Kind::BgpPeer => &[BGP_PEERS],
        Kind::Cluster => &[CLUSTER_INFORMATIONS],
    }
}

/// The key of an endpoint.
pub fn endpoint(id: &EndpointId) -> String {
    format!("{ENDPOINTS}{}/{}", id.namespace, id.name)
}

/// The key of a handle.
pub fn handle(id: &str) -> String {
    format!("{HANDLES}{id}")
}

/// The key of a block, which must be masked.
pub fn block(cidr: &IpNet) -> String {
    format!("{BLOCKS}{}/block/{}-{}", version(cidr), cidr.addr(), cidr.prefix_len())
}

fn version(cidr: &IpNet) -> &'static str {
    match cidr {
        IpNet::V4(_) => "ipv4",
        IpNet::V6(_) => "ipv6",
    }
}

/// Which object a key stands for. `None`: none that the exporter reads, or nothing that Calico itself would find (its
/// patterns allow no further segment). [`ObjectId::Malformed`]: the key has the form of a kind, and what it names is
/// no CIDR or no UTF-8.
pub fn identify(key: &[u8]) -> Option<ObjectId> {
    match std::str::from_utf8(key) {
        Ok(key) => identify_text(key),
        Err(_) => {
            let text = String::from_utf8_lossy(key);
            let kind = identify_text(&text)?.kind();
            Some(ObjectId::Malformed(kind, text.into()))
        }
    }
}

fn identify_text(key: &str) -> Option<ObjectId> {
    if let Some(place) = key.strip_prefix(RESOURCES) {
        return resource(place);
    }
    if key == IPAM_CONFIG {
        return Some(ObjectId::IpamConfig);
    }
    let place = key.strip_prefix(IPAM)?;
    let segments: Vec<&str> = place.splitn(6, '/').collect();
    let malformed = |kind| ObjectId::Malformed(kind, key.into());
    match segments[..] {
        ["assignment", "ipv4" | "ipv6", "block", cidr] if !cidr.is_empty() => {
            Some(masked(cidr).map_or_else(|| malformed(Kind::Block), ObjectId::Block))
        }
        [who @ ("host" | "virtual"), name, "ipv4" | "ipv6", "block", cidr] if !name.is_empty() && !cidr.is_empty() => {
            let owner = match who {
                "host" => BlockOwner::Host(name.into()),
                _ => BlockOwner::Virtual(name.into()),
            };
            Some(masked(cidr).map_or_else(|| malformed(Kind::Affinity), |cidr| ObjectId::Affinity(owner, cidr)))
        }
        ["handle", id] if !id.is_empty() => Some(match Handle::sanitize(id) {
            "" => malformed(Kind::Handle),
            id => ObjectId::Handle(id.into()),
        }),
        _ => None,
    }
}

fn resource(place: &str) -> Option<ObjectId> {
    let segments: Vec<&str> = place.splitn(4, '/').collect();
    if segments.iter().any(|segment| segment.is_empty()) {
        return None;
    }
    Some(match segments[..] {
        ["ippools", name] => ObjectId::Pool(name.into()),
        ["ipreservations", name] => ObjectId::Reservation(name.into()),
        ["nodes", name] => ObjectId::Node(name.into()),
        ["workloadendpoints", namespace, name] => {
            ObjectId::Endpoint(EndpointId { namespace: namespace.into(), name: name.into() })
        }
        ["felixconfigurations", name] => ObjectId::Felix(name.into()),
        ["bgpconfigurations", name] => ObjectId::BgpConfiguration(name.into()),
        ["bgppeers", name] => ObjectId::BgpPeer(name.into()),
        ["clusterinformations", "default"] => ObjectId::Cluster,
        _ => return None,
    })
}

/// `10.0.0.64-26`: only the first dash stands for the slash; an IPv6 address keeps its colons.
fn masked(segment: &str) -> Option<IpNet> {
    segment.replacen('-', "/", 1).parse::<IpNet>().ok().map(|net| net.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn every_kind_of_key_is_known() {
        let id = EndpointId { namespace: "default".into(), name: "node--a-k8s-web--0-eth0".into() };
        for (key, object) in [
            ("/calico/ipam/v2/assignment/ipv4/block/10.0.0.64-26", ObjectId::Block(net("10.0.0.64/26"))),
            ("/calico/ipam/v2/assignment/ipv4/block/10.0.0.65-26", ObjectId::Block(net("10.0.0.64/26"))),
            ("/calico/ipam/v2/assignment/ipv6/block/fd00:10:244::40-122", ObjectId::Block(net("fd00:10:244::40/122"))),
            (
                "/calico/ipam/v2/host/a.b-c/ipv4/block/10.0.0.0-26",
                ObjectId::Affinity(BlockOwner::Host("a.b-c".into()), net("10.0.0.0/26")),
            ),
            (
                "/calico/ipam/v2/virtual/load-balancer/ipv6/block/fd00::-122",
                ObjectId::Affinity(BlockOwner::Virtual("load-balancer".into()), net("fd00::/122")),
            ),
            ("/calico/ipam/v2/handle/k8s-pod-network.6d1f", ObjectId::Handle("k8s-pod-network.6d1f".into())),
            ("/calico/ipam/v2/handle/k8s-pod-network.6d1f\r\n", ObjectId::Handle("k8s-pod-network.6d1f".into())),
            ("/calico/ipam/v2/config", ObjectId::IpamConfig),
            ("/calico/resources/v3/projectcalico.org/ippools/p", ObjectId::Pool("p".into())),
            ("/calico/resources/v3/projectcalico.org/ipreservations/r", ObjectId::Reservation("r".into())),
            ("/calico/resources/v3/projectcalico.org/nodes/n", ObjectId::Node("n".into())),
            (
                "/calico/resources/v3/projectcalico.org/workloadendpoints/default/node--a-k8s-web--0-eth0",
                ObjectId::Endpoint(id.clone()),
            ),
            ("/calico/resources/v3/projectcalico.org/felixconfigurations/node.a", ObjectId::Felix("node.a".into())),
            (
                "/calico/resources/v3/projectcalico.org/bgpconfigurations/default",
                ObjectId::BgpConfiguration("default".into()),
            ),
            ("/calico/resources/v3/projectcalico.org/bgppeers/tor", ObjectId::BgpPeer("tor".into())),
            ("/calico/resources/v3/projectcalico.org/clusterinformations/default", ObjectId::Cluster),
        ] {
            assert_eq!(identify(key.as_bytes()), Some(object.clone()), "{key}");
            assert!(prefixes(object.kind()).iter().any(|prefix| key.starts_with(prefix)), "{key}");
        }
        assert_eq!(identify(endpoint(&id).as_bytes()), Some(ObjectId::Endpoint(id)));
        for cidr in ["10.0.0.64/26", "fd00:10:244::40/122"] {
            assert_eq!(identify(block(&net(cidr)).as_bytes()), Some(ObjectId::Block(net(cidr))));
        }
        let affinity = format!("{HOST_AFFINITIES}h1/ipv4/block/10.0.0.0-26");
        assert!(matches!(identify(affinity.as_bytes()), Some(ObjectId::Affinity(BlockOwner::Host(_), _))));
    }

    #[test]
    fn keys_of_no_interest_are_left_alone() {
        for key in [
            "",
            "/",
            "/calico/",
            "/registry/pods/a",
            "/calico/felix/v2/no-region/host/h1/status",
            "/calico/ipam/v2/",
            "/calico/ipam/v2/config/more",
            "/calico/ipam/v2/host/h1",
            "/calico/ipam/v2/host/h1/ipv4/block/",
            "/calico/ipam/v2/host//ipv4/block/10.0.0.0-26",
            "/calico/ipam/v2/@/h1/ipv4/block/10.0.0.0-26",
            "/calico/ipam/v2/handle/",
            "/calico/ipam/v2/handle/a/b",
            "/calico/ipam/v2/assignment/ipv4/block/10.0.0.0-26/more",
            "/calico/ipam/v2/assignment/ipv5/block/10.0.0.0-26",
            "/calico/resources/v3/projectcalico.org/tiers/default",
            "/calico/resources/v3/projectcalico.org/ipamconfigurations/default",
            "/calico/resources/v3/projectcalico.org/blockaffinities/x",
            "/calico/resources/v3/projectcalico.org/clusterinformations/other",
            "/calico/resources/v3/projectcalico.org/nodes/",
            "/calico/resources/v3/projectcalico.org/nodes/a/b",
            "/calico/resources/v3/projectcalico.org/workloadendpoints/a",
            "/calico/resources/v3/projectcalico.org/workloadendpoints/a/b/c",
        ] {
            assert_eq!(identify(key.as_bytes()), None, "{key}");
        }
        assert_eq!(identify(b"/calico/\xff\xfe"), None);
    }

    #[test]
    fn a_place_that_cannot_be_read_keeps_its_kind() {
        for (key, kind) in [
            (&b"/calico/ipam/v2/assignment/ipv4/block/garbage"[..], Kind::Block),
            (b"/calico/ipam/v2/assignment/ipv4/block/10.0.0.0-99", Kind::Block),
            (b"/calico/ipam/v2/assignment/ipv4/block/10.0.0.0", Kind::Block),
            (b"/calico/ipam/v2/assignment/ipv4/block/\xff", Kind::Block),
            (b"/calico/ipam/v2/host/h1/ipv4/block/10.0.0-26", Kind::Affinity),
            (b"/calico/ipam/v2/host/\xff/ipv4/block/10.0.0.0-26", Kind::Affinity),
            (b"/calico/ipam/v2/handle/\rjunk", Kind::Handle),
            (b"/calico/resources/v3/projectcalico.org/nodes/\xc3\x28", Kind::Node),
        ] {
            match identify(key) {
                Some(ObjectId::Malformed(found, text)) => {
                    assert_eq!((found, &*text), (kind, &*String::from_utf8_lossy(key)));
                }
                other => panic!("{key:?}: {other:?}"),
            }
        }
    }
}
