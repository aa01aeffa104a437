//! Ethernet addresses, and those that Felix derives for the ends of its VXLAN tunnels.

use std::fmt;
use std::str::FromStr;

use super::Family;

/// An Ethernet address (EUI-48).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

/// A text that is no hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a hardware address")]
pub struct MacError;

impl Mac {
    /// All zero: the key of a forwarding entry for whatever is not known.
    pub const ZERO: Mac = Mac([0; 6]);

    /// From the bytes of a netlink attribute: `None` where they are not six.
    pub fn from_bytes(bytes: &[u8]) -> Option<Mac> {
        Some(Mac(bytes.try_into().ok()?))
    }

    /// The address of a node's tunnel device where its Node has none: the byte 0x66 and five bytes of SHA-1 over the
    /// node's name, which for IPv6 ends in `-v6` (`felix/calc/vxlan_resolver.go`, `vtepMACForHost`).
    pub fn derived(node: &str, family: Family) -> Mac {
        let mut hash = sha1_smol::Sha1::from(node);
        if family == Family::V6 {
            hash.update(b"-v6");
        }
        let [a, b, c, d, e, ..] = hash.digest().bytes();
        Mac([0x66, a, b, c, d, e])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Every form that Go's `net.ParseMAC` takes, by which Calico validates: pairs of digits between colons or dashes, fours
/// between dots, 6, 8 or 20 bytes. Of a longer one the first six count: more the kernel does not keep.
impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Mac, MacError> {
        let (separator, width) = match text.as_bytes() {
            [_, _, separator @ (b':' | b'-'), ..] => (char::from(*separator), 2),
            [_, _, _, _, b'.', ..] => ('.', 4),
            _ => return Err(MacError),
        };
        let mut bytes = Vec::with_capacity(20);
        for part in text.split(separator) {
            if part.len() != width || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(MacError);
            }
            let number = u16::from_str_radix(part, 16).map_err(|_| MacError)?;
            bytes.extend(&number.to_be_bytes()[2 - width / 2..]);
        }
        match bytes.len() {
            6 | 8 | 20 => Mac::from_bytes(&bytes[..6]).ok_or(MacError),
            _ => Err(MacError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn felix_derives_what_was_recorded() {
        for (node, v4, v6) in [
            ("vx1", "66:fc:0d:2e:98:f8", "66:a4:25:1c:18:2c"),
            ("vx2", "66:4d:1b:c6:ea:56", "66:3c:5f:75:bd:b8"),
            ("vx3.rack1.example", "66:ab:8b:78:42:9f", "66:ec:3e:c1:d7:b1"),
            ("vx4", "66:34:7d:00:8c:dc", "66:2e:d9:25:13:1f"),
            ("vx5-v4only", "66:ad:a2:1a:a3:48", "66:1d:1b:d0:54:1a"),
            ("ip-10-0-1-23.eu-west-1.compute.internal", "66:bc:80:e2:a0:ca", "66:06:2a:b8:98:53"),
        ] {
            assert_eq!(Mac::derived(node, Family::V4).to_string(), v4, "{node}");
            assert_eq!(Mac::derived(node, Family::V6).to_string(), v6, "{node}");
        }
    }

    #[test]
    fn every_form_that_go_reads() {
        let mac = Mac([2, 0x11, 0x22, 0xaa, 0xbb, 3]);
        for text in ["02:11:22:aa:bb:03", "02:11:22:AA:BB:03", "02-11-22-aa-bb-03", "0211.22aa.bb03"] {
            assert_eq!(text.parse(), Ok(mac), "{text}");
        }
        for long in
            ["02:11:22:aa:bb:03:04:05", "0211.22aa.bb03.0405", &format!("02:11:22:aa:bb:03{}", ":00".repeat(14))]
        {
            assert_eq!(long.parse(), Ok(mac), "{long}");
        }
        for text in [
            "",
            "x",
            "02",
            "02:11:22:aa:bb",
            "02:11:22:aa:bb:03:04",
            "02:11:22:aa:bb:3",
            "2:11:22:aa:bb:03",
            "02:11-22:aa:bb:03",
            "0211:22aa:bb03",
            "021122aabb03",
            "0211.22aa.bb0",
            "02:11:22:aa:bb:0g",
            " 02:11:22:aa:bb:03",
            "02:11:22:aa:bb:+3",
            "é2:11:22:aa:bb:03",
        ] {
            assert_eq!(text.parse::<Mac>(), Err(MacError), "{text}");
        }
    }
}
