//! Arithmetic between a block and its addresses: an ordinal is an address's offset from the block's first address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both families, IPv4 first.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Family {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// The family of a prefix.
    pub fn of_net(net: &IpNet) -> Family {
        Family::of(net.addr())
    }

    /// As people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }

    /// Bits in an address: 32 or 128.
    pub fn bits(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }
}

/// The address as a prefix of its own: `/32` or `/128`.
pub fn host_net(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

/// The prefix that a text names: a CIDR, masked, or a single address.
pub fn net_of(text: &str) -> Option<IpNet> {
    text.parse().map(|net: IpNet| net.trunc()).ok().or_else(|| Some(host_net(text.parse().ok()?)))
}

/// The one address of a `/32` or `/128`, or `None` for a wider prefix.
pub fn host_route(net: &IpNet) -> Option<IpAddr> {
    (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
}

/// How many addresses the prefix holds; an IPv6 `/64` has 2^64, so this is a float.
pub fn address_count(net: &IpNet) -> f64 {
    2f64.powi(i32::from(net.max_prefix_len() - net.prefix_len()))
}

/// The address at `ordinal`, or `None` beyond the block's end.
pub fn address_at(block: &IpNet, ordinal: u64) -> Option<IpAddr> {
    let host_bits = u32::from(block.max_prefix_len() - block.prefix_len());
    if host_bits < 64 && ordinal >> host_bits != 0 {
        return None;
    }
    match block.network() {
        IpAddr::V4(first) => {
            let address = u32::from(first).checked_add(u32::try_from(ordinal).ok()?)?;
            Some(IpAddr::V4(Ipv4Addr::from(address)))
        }
        IpAddr::V6(first) => {
            let address = u128::from(first).checked_add(u128::from(ordinal))?;
            Some(IpAddr::V6(Ipv6Addr::from(address)))
        }
    }
}

/// The ordinal of `address`, or `None` where it lies outside the block or further than 2^64 from its start.
pub fn ordinal_of(block: &IpNet, address: IpAddr) -> Option<u64> {
    if !block.contains(&address) {
        return None;
    }
    match (block.network(), address) {
        (IpAddr::V4(first), IpAddr::V4(address)) => Some(u64::from(u32::from(address) - u32::from(first))),
        (IpAddr::V6(first), IpAddr::V6(address)) => u64::try_from(u128::from(address) - u128::from(first)).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn ordinals_start_at_the_first_address_and_end_with_the_block() {
        let block = net("10.0.0.64/26");
        assert_eq!(address_at(&block, 0), Some("10.0.0.64".parse().unwrap()));
        assert_eq!(address_at(&block, 63), Some("10.0.0.127".parse().unwrap()));
        assert_eq!(address_at(&block, 64), None);
        assert_eq!(ordinal_of(&block, "10.0.0.63".parse().unwrap()), None);
        assert_eq!(address_at(&net("255.255.255.192/26"), u64::MAX), None);
        assert_eq!(address_at(&net("10.0.0.1/32"), 0), Some("10.0.0.1".parse().unwrap()));
        assert_eq!(address_at(&net("10.0.0.1/32"), 1), None);
    }

    #[test]
    fn a_wide_ipv6_prefix_has_more_addresses_than_an_integer_holds() {
        assert_eq!(address_count(&net("fd00::/64")), 18_446_744_073_709_551_616.0);
        assert_eq!(address_count(&net("10.0.0.0/26")), 64.0);
    }

    proptest! {
        #[test]
        fn ordinal_and_address_are_inverse(first in any::<u128>(), prefix in 64u8..=128, ordinal in any::<u64>(), first4 in any::<u32>(), prefix4 in 0u8..=32) {
            for block in [
                IpNet::new(IpAddr::V6(first.into()), prefix).unwrap().trunc(),
                IpNet::new(IpAddr::V4(first4.into()), prefix4).unwrap().trunc(),
            ] {
                let bits = u32::from(block.max_prefix_len() - block.prefix_len());
                let inside = if bits >= 64 { ordinal } else { ordinal & ((1 << bits) - 1) };
                let address = address_at(&block, inside).unwrap();
                prop_assert_eq!(ordinal_of(&block, address), Some(inside));
            }
        }
    }
}
