//! Which keys are read: half-open ranges of etcd's key space, each with the size of its pages.
//!
//! Keys by `libcalico-go/lib/backend/model` (`BlockKey`, `BlockAffinityKey`, `IPAMHandleKey`, `IPAMConfigKey`,
//! `ResourceKey`), whose order in etcd is that of their bytes.

use ipnet::IpNet;

use super::key;
use crate::state::Follow;

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
/// Resources are a few hundred bytes to a few kB each.
const PAGE_OF_SMALL: i64 = 1000;
/// An affinity is about 120 bytes, the key included, and the fewer pages the better: see [`PAGE_OF_SWEPT`].
const PAGE_OF_AFFINITIES: i64 = 5000;
/// etcd (3.4, measured) walks its index over the whole rest of a range for each page: half a million keys in pages of a
/// thousand are a hundred million steps, and took minutes. Ten thousand endpoints are about 6 MB. It is a bound: what is
/// swept is read in far smaller parts, see [`KeyRange::split`].
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
            KeyRange::affinities(),
        ];
        ranges.extend(RESOURCES.map(|prefix| KeyRange::prefix(prefix, PAGE_OF_SMALL)));
        ranges
    }

    /// What is listed and watched in full. A host's own blocks come to it, where others' are left out.
    pub fn followed(follow: &Follow) -> Vec<KeyRange> {
        match follow {
            Follow::Blocks => KeyRange::watched(),
            Follow::Affinities(_) => KeyRange::watched_by_affinities(),
        }
    }

    /// What an exporter lists and watches that follows affinity keys alone: the same without blocks. Its host's own
    /// blocks are known once the keys are.
    pub fn watched_by_affinities() -> Vec<KeyRange> {
        let mut ranges = KeyRange::watched();
        ranges[0] = KeyRange { start: key::IPAM_CONFIG.into(), end: key::HANDLES.into(), page: PAGE_OF_SMALL };
        ranges
    }

    /// What a sweep judges handles and endpoints by: blocks, pools and nodes; and the affinities, which tell where blocks
    /// lie.
    pub fn swept_against() -> Vec<KeyRange> {
        vec![
            KeyRange::affinities(),
            KeyRange::blocks(),
            KeyRange::prefix(key::POOLS, PAGE_OF_SMALL),
            KeyRange::prefix(key::NODES, PAGE_OF_SMALL),
        ]
    }

    /// All affinities.
    fn affinities() -> KeyRange {
        KeyRange { start: key::HOST_AFFINITIES.into(), end: after(key::VIRTUAL_AFFINITIES), page: PAGE_OF_AFFINITIES }
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

    /// Whether it begins with a block's key.
    pub(super) fn holds_blocks(&self) -> bool {
        self.start.starts_with(key::BLOCKS.as_bytes())
    }

    /// The same keys as ranges that follow each other, each with about `keys` of `marks`, which are keys in any order.
    /// Marks that are not there, or outside, make the parts uneven and nothing else.
    #[must_use]
    pub fn split(self, marks: &[Vec<u8>], keys: usize) -> Vec<KeyRange> {
        let inside = |key: &&Vec<u8>| self.start < **key && **key < self.end;
        let mut inside: Vec<&Vec<u8>> = marks.iter().filter(inside).collect();
        inside.sort_unstable();
        inside.dedup();
        let mut parts = Vec::with_capacity(inside.len() / keys.max(1) + 1);
        let mut start = self.start;
        for mark in inside.into_iter().skip(keys.max(1)).step_by(keys.max(1)) {
            parts.push(KeyRange { start, end: mark.clone(), page: self.page });
            start = mark.clone();
        }
        parts.push(KeyRange { start, end: self.end, page: self.page });
        parts
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
    fn parts_of_a_range_hold_the_same_keys() {
        let whole = KeyRange { start: b"b".to_vec(), end: b"y".to_vec(), page: 7 };
        let marks = |text: &str| text.bytes().map(|byte| vec![byte]).collect::<Vec<_>>();
        for (given, keys, parts) in
            [("", 3, 1), ("abyz", 1, 1), ("gfedc", 2, 3), ("gfedc", 5, 1), ("ggggcd", 1, 3), ("cdefg", 0, 5)]
        {
            let found = whole.clone().split(&marks(given), keys);
            assert_eq!(found.len(), parts, "{given} {keys}");
            assert_eq!((&found[0].start, &found[parts - 1].end), (&whole.start, &whole.end));
            assert!(found.windows(2).all(|pair| pair[0].end == pair[1].start && pair[0].start < pair[0].end));
            assert!(found.iter().all(|part| part.page == 7));
        }
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
