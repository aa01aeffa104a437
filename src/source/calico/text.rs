//! Addresses and prefixes as Calico writes them (`libcalico-go/lib/net/{ip,ipnet}.go`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::json::FromText;

/// Reads an address with or without a prefix length; without one, it is a full prefix. Host bits are kept.
pub(in crate::source) fn net(text: &str) -> Option<IpNet> {
    match text.contains('/') {
        true => text.parse().ok(),
        false => text.parse().ok().map(|address: IpAddr| IpNet::from(address.to_canonical())),
    }
}

/// A prefix, masked.
pub(in crate::source) struct Masked(pub(in crate::source) IpNet);

impl FromText for Masked {
    const EXPECTED: &'static str = "a CIDR such as 10.0.0.0/26";

    fn from_text(text: &str) -> Option<Self> {
        net(text).map(|net| Masked(net.trunc()))
    }
}

/// A prefix with its host bits.
impl FromText for IpNet {
    const EXPECTED: &'static str = "an address, with or without a prefix length";

    fn from_text(text: &str) -> Option<Self> {
        net(text)
    }
}

impl FromText for IpAddr {
    const EXPECTED: &'static str = "an address";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok().map(|address: IpAddr| address.to_canonical())
    }
}

impl FromText for Ipv4Net {
    const EXPECTED: &'static str = "an IPv4 address, with or without a prefix length";

    fn from_text(text: &str) -> Option<Self> {
        match net(text)? {
            IpNet::V4(net) => Some(net),
            IpNet::V6(_) => None,
        }
    }
}

impl FromText for Ipv6Net {
    const EXPECTED: &'static str = "an IPv6 address, with or without a prefix length";

    fn from_text(text: &str) -> Option<Self> {
        match net(text)? {
            IpNet::V6(net) => Some(net),
            IpNet::V4(_) => None,
        }
    }
}

impl FromText for Ipv4Addr {
    const EXPECTED: &'static str = "an IPv4 address";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl FromText for Ipv6Addr {
    const EXPECTED: &'static str = "an IPv6 address";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_address_is_a_full_prefix_and_host_bits_stay() {
        assert_eq!(net("10.0.0.1"), Some("10.0.0.1/32".parse().unwrap()));
        assert_eq!(net("fd00::1"), Some("fd00::1/128".parse().unwrap()));
        assert_eq!(net("172.18.0.4/16").map(|net| net.to_string()), Some("172.18.0.4/16".to_owned()));
        assert_eq!(Masked::from_text("10.0.0.65/26").map(|net| net.0), Some("10.0.0.64/26".parse().unwrap()));
        assert_eq!(IpAddr::from_text("::ffff:10.0.0.1"), Some("10.0.0.1".parse().unwrap()));
        for text in ["", "/", "10.0.0.0/33", "10.0.0.0/", "10.0.0/8", "010.0.0.1", " 10.0.0.1", "host", "fd00::/129"] {
            assert_eq!(net(text), None, "{text}");
        }
        assert!(Ipv4Net::from_text("fd00::1/64").is_none() && Ipv6Net::from_text("10.0.0.1/8").is_none());
    }
}
