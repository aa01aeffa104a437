//! Other names and addresses, the same ones everywhere: prefixes stay prefixes of each other, an address keeps its place in
//! its block, a MAC that Felix derives from a name is derived from the new one, a Pod's device is named after the new Pod.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use ring::digest::{SHA256, digest};
use serde_json::Value;

use crate::model::{BlockOwner, Family, Mac};
use crate::state::{Event, Object};

/// Leading bits of an IPv4 address that stay, and where those begin that stay as well: a block has 4096 addresses at most.
/// The first octet says whether an address is private.
const V4: (u32, u32) = (8, 20);
/// The same of IPv6.
const V6: (u32, u32) = (16, 108);
/// Names that mean something, or tell nothing.
const COMMON: [&str; 14] = [
    "default",
    "kube-system",
    "all",
    "eth0",
    "host",
    "node",
    "k8s",
    "cni",
    "virtual",
    "load-balancer",
    "calico",
    "kubernetes",
    "global",
    "none",
];

/// What is called what.
pub(super) struct Aliases {
    /// Makes the aliases of one bundle others than those of another. It is kept nowhere.
    salt: [u8; 16],
    names: HashMap<String, String>,
    macs: BTreeMap<Mac, Mac>,
}

impl Aliases {
    /// Aliases for all names that such events tell of.
    pub(super) fn of(events: &[Event], host: &str) -> Aliases {
        let mut salt = [0; 16];
        salt.fill_with(|| fastrand::u8(..));
        let mut aliases = Aliases { salt, names: HashMap::new(), macs: BTreeMap::new() };
        aliases.node(host);
        for event in events {
            let Event::Put(object) = event else { continue };
            match &**object {
                Object::Node(name, _) => aliases.node(name),
                Object::Affinity(affinity) => {
                    if let BlockOwner::Host(host) = &affinity.owner {
                        aliases.node(host);
                    }
                }
                Object::Block(block) => {
                    for attribute in block.attributes.iter() {
                        if let Some(node) = &attribute.node {
                            aliases.node(node);
                        }
                        for name in [&attribute.namespace, &attribute.pod].into_iter().flatten() {
                            aliases.name(name);
                        }
                        if let (Some(namespace), Some(pod)) = (&attribute.namespace, &attribute.pod) {
                            aliases.device(namespace, pod);
                        }
                    }
                }
                Object::Endpoint(endpoint) => {
                    aliases.node(&endpoint.node);
                    aliases.name(&endpoint.id.namespace);
                    aliases.name(&endpoint.pod);
                    aliases.device(&endpoint.id.namespace, &endpoint.pod);
                    aliases.name(&endpoint.container_id);
                }
                Object::Pool(pool) => aliases.name(&pool.name),
                Object::Reservation(reservation) => aliases.name(&reservation.name),
                Object::BgpPeer(name, _) => aliases.name(name),
                _ => {}
            }
        }
        aliases
    }

    fn hashed(&self, text: &[u8]) -> [u8; 32] {
        let mut found = [0; 32];
        found.copy_from_slice(digest(&SHA256, &[&self.salt[..], text].concat()).as_ref());
        found
    }

    fn name(&mut self, name: &str) {
        if name.is_empty() || COMMON.contains(&name) || self.names.contains_key(name) {
            return;
        }
        let hashed = self.hashed(name.as_bytes());
        // A letter first, and nothing that has to be doubled or escaped anywhere.
        let alias = format!("n{}", hashed[..6].iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        self.names.insert(name.replace('-', "--"), alias.clone());
        self.names.insert(name.to_owned(), alias);
    }

    fn node(&mut self, name: &str) {
        self.name(name);
        let alias = self.names.get(name).cloned().unwrap_or_else(|| name.to_owned());
        for family in Family::ALL {
            self.macs.insert(Mac::derived(name, family), Mac::derived(&alias, family));
        }
    }

    /// The host's side of a Pod's veth.
    fn device(&mut self, namespace: &str, pod: &str) {
        let of = |namespace: &str, pod: &str| {
            let hashed = sha1_smol::Sha1::from(format!("{namespace}.{pod}")).digest().to_string();
            format!("cali{}", &hashed[..11])
        };
        let alias = |name: &str| self.names.get(name).map_or(name.to_owned(), Clone::clone);
        let named = of(&alias(namespace), &alias(pod));
        self.names.insert(of(namespace, pod), named);
    }

    /// The same value under other names.
    pub(super) fn value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => Value::Array(items.iter().map(|item| self.value(item)).collect()),
            Value::Object(fields) => {
                Value::Object(fields.iter().map(|(name, value)| (self.text(name), self.value(value))).collect())
            }
            other => other.clone(),
        }
    }

    /// The same text under other names: each run of characters that is an address, a MAC or a name.
    pub(super) fn text(&self, text: &str) -> String {
        let mut written = String::with_capacity(text.len());
        let mut rest = text;
        let mut before = None;
        while let Some(first) = rest.chars().next() {
            let begins = !before.is_some_and(|it: char| it.is_ascii_alphanumeric());
            let found = if begins { self.address(rest).or_else(|| self.known(rest)) } else { None };
            let length = match found {
                Some((length, alias)) => {
                    written.push_str(&alias);
                    length
                }
                None => {
                    written.push(first);
                    first.len_utf8()
                }
            };
            before = rest[..length].chars().next_back();
            rest = &rest[length..];
        }
        written
    }

    /// The longest known name that a text begins with.
    fn known(&self, text: &str) -> Option<(usize, String)> {
        let end = |at: usize| !text[at..].starts_with(|it: char| it.is_ascii_alphanumeric());
        let part = |it: char| it.is_ascii_alphanumeric() || "-._".contains(it);
        let run = text.find(|it| !part(it)).unwrap_or(text.len());
        (1..=run).rev().filter(|at| text.is_char_boundary(*at) && end(*at)).find_map(|at| {
            let alias = self.names.get(&text[..at])?;
            Some((at, alias.clone()))
        })
    }

    /// The address or MAC that a text begins with. A block's name in a key has dashes for what separates its parts.
    fn address(&self, text: &str) -> Option<(usize, String)> {
        let part = |it: char| it.is_ascii_hexdigit() || ".:".contains(it);
        let run = text.find(|it| !part(it)).unwrap_or(text.len());
        let run = text[..run].trim_end_matches('.').len();
        let run = if text[..run].ends_with(':') && !text[..run].ends_with("::") { run - 1 } else { run };
        if let Ok(mac) = text[..run].parse::<Mac>() {
            return Some((run, self.mac(mac).to_string()));
        }
        if let Ok(address) = text[..run].parse::<IpAddr>() {
            let length = text[run..]
                .strip_prefix('/')
                .map_or(0, |rest| rest.find(|it: char| !it.is_ascii_digit()).unwrap_or(rest.len()));
            let net = if length > 0 { text[..run + 1 + length].parse::<IpNet>().ok() } else { None };
            // A network stays one; an address with the length of its network keeps its own bits.
            return Some(match net.filter(|net| net.trunc() == *net) {
                Some(net) => {
                    let alias = IpNet::new(self.ip(address), net.prefix_len()).map(|it| it.trunc().to_string());
                    (run + 1 + length, alias.ok()?)
                }
                None => (run, self.ip(address).to_string()),
            });
        }
        self.dashed(text)
    }

    /// `10-65-0-0-26` and `dead-beef--0-122`: the names of blocks' objects.
    fn dashed(&self, text: &str) -> Option<(usize, String)> {
        let part = |it: char| it.is_ascii_hexdigit() || it == '-';
        let run = text.find(|it| !part(it)).unwrap_or(text.len());
        let (address, length) = text[..run].rsplit_once('-')?;
        let bits: u8 = length.parse().ok()?;
        for separator in [".", ":"] {
            if let Ok(address) = address.replace('-', separator).parse::<IpAddr>()
                && bits <= if address.is_ipv4() { 32 } else { 128 }
                && (separator == ":" || address.is_ipv4())
            {
                return Some((run, format!("{}-{bits}", self.ip(address)).replace(['.', ':'], "-")));
            }
        }
        None
    }

    fn mac(&self, mac: Mac) -> Mac {
        if let Some(known) = self.macs.get(&mac) {
            return *known;
        }
        let text = mac.to_string();
        // Felix gives all devices of Pods the same, and nobody has the one of zeros.
        if matches!(&*text, "ee:ee:ee:ee:ee:ee" | "00:00:00:00:00:00" | "ff:ff:ff:ff:ff:ff") {
            return mac;
        }
        let hashed = self.hashed(text.as_bytes());
        let bytes = [0x02, hashed[0], hashed[1], hashed[2], hashed[3], hashed[4]];
        Mac::from_bytes(&bytes).unwrap_or(mac)
    }

    /// Two addresses have as many leading bits in common after this as before.
    fn ip(&self, address: IpAddr) -> IpAddr {
        let is_special = address.is_loopback() || address.is_multicast() || address.is_unspecified();
        match address {
            _ if is_special => address,
            IpAddr::V4(it) if it.is_link_local() || it.is_broadcast() => address,
            IpAddr::V4(it) => IpAddr::V4(Ipv4Addr::from(self.bits(u128::from(it.to_bits()), 32, V4) as u32)),
            IpAddr::V6(it) if it.is_unicast_link_local() => address,
            IpAddr::V6(it) => IpAddr::V6(Ipv6Addr::from(self.bits(it.to_bits(), 128, V6))),
        }
    }

    fn bits(&self, bits: u128, width: u32, (from, to): (u32, u32)) -> u128 {
        let mut changed = bits;
        for place in from..to {
            let before = bits >> (width - place);
            let seed = [&[width as u8, place as u8][..], &before.to_be_bytes()].concat();
            changed ^= u128::from(self.hashed(&seed)[0] & 1) << (width - 1 - place);
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn aliases(names: &[&str]) -> Aliases {
        let mut aliases = Aliases { salt: [7; 16], names: HashMap::new(), macs: BTreeMap::new() };
        names.iter().for_each(|name| aliases.node(name));
        aliases
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    proptest! {
        #[test]
        fn what_is_inside_stays_inside_and_keeps_its_place(address: u32, length in 8u8..33, block in 20u8..33) {
            let aliases = aliases(&[]);
            let address = IpAddr::V4(Ipv4Addr::from(address));
            let around = IpNet::new(address, length).unwrap().trunc();
            let of = |text: String| aliases.text(&text);
            prop_assert!(net(&of(around.to_string())).contains(&of(address.to_string()).parse::<IpAddr>().unwrap()));
            prop_assert_eq!(net(&of(around.to_string())).prefix_len(), length);
            // Its place in its block.
            let block = IpNet::new(address, block).unwrap().trunc();
            let offset = |net: IpNet, address: IpAddr| match (net.network(), address) {
                (IpAddr::V4(net), IpAddr::V4(address)) => address.to_bits().wrapping_sub(net.to_bits()),
                _ => unreachable!(),
            };
            let (named, moved) = (net(&of(block.to_string())), of(address.to_string()).parse().unwrap());
            prop_assert_eq!(offset(named, moved), offset(block, address));
            // The name of its object, and its key.
            let dashed = |net: IpNet| net.to_string().replace(['.', '/'], "-");
            prop_assert_eq!(of(dashed(block)), dashed(named));
            let key = |net: IpNet| format!("/ipv4/block/{}-{}", net.network(), net.prefix_len());
            prop_assert_eq!(of(key(block)), key(named));
        }

        #[test]
        fn two_addresses_share_as_many_leading_bits(one: u32, other: u32) {
            let aliases = aliases(&[]);
            let moved = |bits: u32| aliases.bits(u128::from(bits), 32, V4) as u32;
            prop_assert_eq!((one ^ other).leading_zeros(), (moved(one) ^ moved(other)).leading_zeros());
        }
    }

    #[test]
    fn names_are_replaced_wherever_they_stand_and_only_as_a_whole() {
        let aliases = aliases(&["rack-1", "rack-10", "db"]);
        let alias = |name: &str| aliases.names[name].clone();
        for (text, wanted) in [
            ("host:rack-1", format!("host:{}", alias("rack-1"))),
            ("rack-10", alias("rack-10")),
            ("rack-100", "rack-100".to_owned()),
            ("vxlan-tunnel-addr-rack-1", format!("vxlan-tunnel-addr-{}", alias("rack-1"))),
            ("rack--1-k8s-db-eth0", format!("{}-k8s-{}-eth0", alias("rack-1"), alias("db"))),
            ("node.rack-1", format!("node.{}", alias("rack-1"))),
            ("dbx", "dbx".to_owned()),
            ("ee:ee:ee:ee:ee:ee", "ee:ee:ee:ee:ee:ee".to_owned()),
            ("0.0.0.0/0", "0.0.0.0/0".to_owned()),
            ("169.254.1.1", "169.254.1.1".to_owned()),
            ("10.0.0.0/8", "10.0.0.0/8".to_owned()),
        ] {
            assert_eq!(aliases.text(text), wanted, "{text}");
        }
        let mac = Mac::derived("rack-1", Family::V4).to_string();
        assert_eq!(aliases.text(&mac), Mac::derived(&alias("rack-1"), Family::V4).to_string());
    }
}
