//! Which keys are read: half-open ranges of etcd's key space, each with the size of its pages.
//!
//! Keys by `libcalico-go/lib/backend/model` (`BlockKey`, `BlockAffinityKey`, `IPAMHandleKey`, `IPAMConfigKey`,
//! `ResourceKey`), whose order in etcd is that of their bytes.

use ipnet::IpNet;

use super::key;

/// The keys `start <= key < end`, and how many of them to ask for at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// First key of the range.
    pub start: Vec<u8>,
    /// First key after the range.
    pub end: Vec<u8>,
    /// Keys in a page.
    pub page: i64,
}

/// A block with 64 allocations is about 10 kB: a page of them stays well under the 4 MB of an ordinary gRPC message,
/// and larger pages were measured to be no faster, only heavier.
const PAGE_OF_BLOCKS: i64 = 200;
/// Affinities, handles and resources are a few hundred bytes to a few kB each.
const PAGE_OF_SMALL: i64 = 1000;
/// etcd (3.4, measured) walks its index over the whole rest of a range for each page: half a million keys in pages of a
/// thousand are a hundred million steps, and took minutes. Ten thousand endpoints are about 5 MB.
const PAGE_OF_SWEPT: i64 = 10_000;

/// Resources that are watched.
const RESOURCES: [&str; 7] = [
    key::POOLS,
    key::NODES,
    key::RESERVATIONS,
    key::FELIX_CONFIGURATIONS,
    key::BGP_CONFIGURATIONS,
    key::BGP_PEERS,
    key::CLUSTER_INFORMATIONS,
];

impl KeyRange {
    /// All keys that begin with `prefix`.
    pub fn prefix(prefix: &str, page: i64) -> KeyRange {
        KeyRange { start: prefix.into(), end: after(prefix), page }
    }

    /// What a running exporter lists and watches: blocks, affinities, the IPAM configuration and seven kinds of
    /// resources.
    ///
    /// `assignment/` < `config` < `handle/` < `host/` < `virtual/`: two ranges around the handles cover the rest of
    /// the IPAM. Handles and workload endpoints are left out on purpose. There is one of each for every pod of the
    /// cluster; following them would cost each host more than everything else together (see [`KeyRange::swept`]).
    pub fn watched() -> Vec<KeyRange> {
        let mut ranges = vec![
            KeyRange { start: key::BLOCKS.into(), end: key::HANDLES.into(), page: PAGE_OF_BLOCKS },
            KeyRange { start: key::HOST_AFFINITIES.into(), end: after(key::VIRTUAL_AFFINITIES), page: PAGE_OF_SMALL },
        ];
        ranges.extend(RESOURCES.map(|prefix| KeyRange::prefix(prefix, PAGE_OF_SMALL)));
        ranges
    }

    /// What a sweep judges handles and endpoints by: blocks, pools and nodes.
    pub fn swept_against() -> Vec<KeyRange> {
        vec![
            KeyRange::blocks(),
            KeyRange::prefix(key::POOLS, PAGE_OF_SMALL),
            KeyRange::prefix(key::NODES, PAGE_OF_SMALL),
        ]
    }

    /// All blocks.
    pub fn blocks() -> KeyRange {
        KeyRange::prefix(key::BLOCKS, PAGE_OF_BLOCKS)
    }

    /// The keys of one block.
    pub fn block(cidr: &IpNet) -> KeyRange {
        let start = key::block(cidr).into_bytes();
        let mut end = start.clone();
        end.push(0);
        KeyRange { start, end, page: 1 }
    }

    /// The keys of one of the kinds that are too many to watch.
    pub fn swept(kind: Swept) -> KeyRange {
        match kind {
            Swept::Handles => KeyRange::prefix(key::HANDLES, PAGE_OF_SWEPT),
            Swept::Endpoints => KeyRange::prefix(key::ENDPOINTS, PAGE_OF_SWEPT),
        }
    }
}

/// The first key after all that begin with `prefix`, which ends in a byte under 255 (Calico's end in `/`).
fn after(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    end
}

/// Kinds that are read in pages now and then, never watched: there is one for each pod of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Swept {
    /// IPAM handles.
    Handles,
    /// Workload endpoints.
    Endpoints,
}

impl Swept {
    /// All of them.
    pub const ALL: [Swept; 2] = [Swept::Handles, Swept::Endpoints];
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(ranges: &[KeyRange], key: &str) -> usize {
        let key = key.as_bytes();
        ranges.iter().filter(|range| range.start.as_slice() <= key && key < range.end.as_slice()).count()
    }

    #[test]
    fn every_watched_key_is_in_one_range_and_the_numerous_ones_in_none() {
        let ranges = KeyRange::watched();
        for key in [
            "/calico/ipam/v2/assignment/ipv4/block/10.0.0.0-26",
            "/calico/ipam/v2/assignment/ipv6/block/fd00:10:244::40-122",
            "/calico/ipam/v2/config",
            "/calico/ipam/v2/host/node-a/ipv4/block/10.0.0.0-26",
            "/calico/ipam/v2/host/node-a",
            "/calico/ipam/v2/virtual/load-balancer/ipv4/block/203.0.113.0-30",
            "/calico/resources/v3/projectcalico.org/ippools/default-ipv4-ippool",
            "/calico/resources/v3/projectcalico.org/nodes/node-a",
            "/calico/resources/v3/projectcalico.org/ipreservations/r",
            "/calico/resources/v3/projectcalico.org/felixconfigurations/node.node-a",
            "/calico/resources/v3/projectcalico.org/bgpconfigurations/default",
            "/calico/resources/v3/projectcalico.org/bgppeers/rack1-tor",
            "/calico/resources/v3/projectcalico.org/clusterinformations/default",
        ] {
            assert_eq!(covered(&ranges, key), 1, "{key}");
        }
        for key in [
            "/calico/ipam/v2/handle/k8s-pod-network.6d1f",
            "/calico/resources/v3/projectcalico.org/workloadendpoints/default/a",
            "/calico/resources/v3/projectcalico.org/networkpolicies/default/a",
            "/calico/felix/v2/no-region/host/node-a/status",
        ] {
            assert_eq!(covered(&ranges, key), 0, "{key}");
        }
        let swept = Swept::ALL.map(KeyRange::swept);
        assert_eq!(covered(&swept, "/calico/ipam/v2/handle/k8s-pod-network.6d1f"), 1);
        assert_eq!(covered(&swept, "/calico/resources/v3/projectcalico.org/workloadendpoints/default/a"), 1);
    }
}
