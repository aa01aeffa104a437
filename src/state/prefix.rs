//! Look-ups by address in a map of prefixes, without a tree: blocks have few different lengths.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::pack;

/// A map by prefix that finds the prefixes around an address. It costs one look-up for each prefix length in use,
/// which for Calico's blocks is one or two.
#[derive(Debug, Clone)]
pub struct PrefixMap<V> {
    entries: BTreeMap<IpNet, V>,
    /// Prefix lengths in use, by family, with the number of entries that have them.
    lengths: [BTreeMap<u8, usize>; 2],
}

impl<V> Default for PrefixMap<V> {
    fn default() -> Self {
        PrefixMap { entries: BTreeMap::new(), lengths: Default::default() }
    }
}

fn family_index(net: &IpNet) -> usize {
    match net {
        IpNet::V4(_) => 0,
        IpNet::V6(_) => 1,
    }
}

impl<V> PrefixMap<V> {
    /// See [`pack`].
    pub(super) fn pack(&mut self) {
        pack(&mut self.entries);
    }

    /// Puts a value; returns the one it replaces.
    pub fn insert(&mut self, net: IpNet, value: V) -> Option<V> {
        let old = self.entries.insert(net, value);
        if old.is_none() {
            *self.lengths[family_index(&net)].entry(net.prefix_len()).or_default() += 1;
        }
        old
    }

    /// Takes a value out.
    pub fn remove(&mut self, net: &IpNet) -> Option<V> {
        let old = self.entries.remove(net)?;
        let lengths = &mut self.lengths[family_index(net)];
        if let Some(count) = lengths.get_mut(&net.prefix_len()) {
            *count -= 1;
            if *count == 0 {
                lengths.remove(&net.prefix_len());
            }
        }
        Some(old)
    }

    /// The value of exactly this prefix.
    pub fn get(&self, net: &IpNet) -> Option<&V> {
        self.entries.get(net)
    }

    /// The same, to change.
    pub fn get_mut(&mut self, net: &IpNet) -> Option<&mut V> {
        self.entries.get_mut(net)
    }

    /// The value of exactly this prefix, to change; one that is not there is made.
    pub(super) fn or_default(&mut self, net: IpNet) -> &mut V
    where
        V: Default,
    {
        let lengths = &mut self.lengths[family_index(&net)];
        self.entries.entry(net).or_insert_with(|| {
            *lengths.entry(net.prefix_len()).or_default() += 1;
            V::default()
        })
    }

    /// All entries, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&IpNet, &V)> + '_ {
        self.entries.iter()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries that contain the prefix (itself among them), the most specific first.
    pub fn covering(&self, net: &IpNet) -> impl Iterator<Item = (&IpNet, &V)> + use<'_, V> {
        let net = *net;
        self.lengths[family_index(&net)].keys().rev().filter_map(move |length| {
            if *length > net.prefix_len() {
                return None;
            }
            let wider = IpNet::new(net.addr(), *length).ok()?.trunc();
            self.entries.get_key_value(&wider)
        })
    }

    /// The entries that contain the address, the most specific first.
    pub fn around(&self, address: IpAddr) -> impl Iterator<Item = (&IpNet, &V)> + use<'_, V> {
        self.covering(&IpNet::from(address))
    }

    /// The entries inside the prefix, itself among them, sorted.
    pub fn within(&self, net: &IpNet) -> impl Iterator<Item = (&IpNet, &V)> + use<'_, V> {
        let net = net.trunc();
        // Sorted by address and then length: a wider prefix with the same address comes before and is left out.
        self.entries
            .range(net..)
            .take_while(move |(entry, _)| net.contains(&entry.addr()))
            .filter(move |(entry, _)| net.contains(*entry))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arbitrary_net() -> impl Strategy<Value = IpNet> {
        // Few bits in play, so that prefixes nest and collide.
        (0u32..64, 24u8..=32, any::<bool>()).prop_map(|(bits, length, six)| {
            let v4 = IpAddr::from((0x0a00_0000 + bits).to_be_bytes());
            let v6 = IpAddr::from((u128::from(bits) | (0xfd << 120)).to_be_bytes());
            if six { IpNet::new(v6, length + 96) } else { IpNet::new(v4, length) }.unwrap().trunc()
        })
    }

    proptest! {
        #[test]
        fn lookups_agree_with_a_walk(nets in prop::collection::vec(arbitrary_net(), 0..40), gone in prop::collection::vec(arbitrary_net(), 0..10), probe in arbitrary_net()) {
            let mut map = PrefixMap::default();
            for net in &nets { map.insert(*net, ()); }
            for net in &gone { map.remove(net); }
            let kept: std::collections::BTreeSet<IpNet> = nets.iter().copied().filter(|net| !gone.contains(net)).collect();
            prop_assert_eq!(map.len(), kept.len());
            let mut covering: Vec<IpNet> = kept.iter().copied().filter(|net| net.contains(&probe)).collect();
            covering.sort_by_key(|net| std::cmp::Reverse(net.prefix_len()));
            prop_assert_eq!(map.covering(&probe).map(|(net, ())| *net).collect::<Vec<_>>(), covering);
            let within: Vec<IpNet> = kept.iter().copied().filter(|net| probe.contains(net)).collect();
            prop_assert_eq!(map.within(&probe).map(|(net, ())| *net).collect::<Vec<_>>(), within);
        }
    }
}
