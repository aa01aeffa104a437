//! Messages about neighbours, forwarding entries and policy rules as plain values.
//!
//! The library reads all attributes of a message, and refuses all for one that it does not like; here only those are
//! read that the picture needs, as in [`super::super::decode`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rtnetlink::packet_core::{DecodeError, Emitable, NlasIterator, parse_u32};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::neighbour::{NeighbourFlags, NeighbourHeader};
use rtnetlink::packet_route::rule::{RuleFlags, RuleHeader};

use crate::model::{EntryState, Family, FdbEntry, Mac, Name, Neighbour, PolicyRule, RuleAction};
use crate::source::netlink::decode::{Decode, RTM_DELLINK, RTM_NEWLINK, attributes, ip_of_length, link, text};

// The library keeps its numbers to itself. These are of `linux/{rtnetlink,neighbour,fib_rules}.h`.
pub(super) const RTM_NEWNEIGH: u16 = 28;
pub(super) const RTM_DELNEIGH: u16 = 29;
const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;

const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;

const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_IIFNAME: u16 = 3;
const FRA_GOTO: u16 = 4;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_OIFNAME: u16 = 17;

/// Attributes of a rule that say nothing of which packets it is for: `FRA_UNSPEC`, `FRA_FLOW` (the realm of what matched),
/// `FRA_PAD`, `FRA_PROTOCOL` (who made it).
const FRA_HARMLESS: [u16; 4] = [0, 11, 18, 21];

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source::netlink) enum Change {
    /// `RTM_NEWLINK`: index and, where it is told, name.
    Link(u32, Option<Name>),
    /// `RTM_DELLINK`, by index.
    LinkGone(u32),
    /// `RTM_NEWNEIGH` of IPv4 or IPv6.
    Neighbour(Neighbour),
    /// `RTM_DELNEIGH` likewise.
    NeighbourGone(Neighbour),
    /// `RTM_NEWNEIGH` of a bridge, which a VXLAN device is to the kernel.
    Fdb(FdbEntry),
    /// `RTM_DELNEIGH` likewise.
    FdbGone(FdbEntry),
    /// `RTM_NEWRULE`; as an event, `RTM_DELRULE` as well: what it does to the order, a list tells.
    Rule(PolicyRule),
}

impl Decode for Change {
    fn decode(kind: u16, payload: &[u8]) -> Result<Option<Change>, DecodeError> {
        Ok(match kind {
            RTM_NEWLINK => link(payload)?.map(|link| Change::Link(link.index, link.name)),
            RTM_DELLINK => link(payload)?.map(|link| Change::LinkGone(link.index)),
            RTM_NEWNEIGH => entry(payload)?.map(|entry| match entry {
                Entry::Neighbour(entry) => Change::Neighbour(entry),
                Entry::Fdb(entry) => Change::Fdb(entry),
            }),
            RTM_DELNEIGH => entry(payload)?.map(|entry| match entry {
                Entry::Neighbour(entry) => Change::NeighbourGone(entry),
                Entry::Fdb(entry) => Change::FdbGone(entry),
            }),
            RTM_NEWRULE | RTM_DELRULE => rule(payload)?.map(Change::Rule),
            _ => None,
        })
    }
}

/// The device that a message about a neighbour or a forwarding entry is of (`struct ndmsg`); `None` for all others.
pub(super) fn device_of(kind: u16, payload: &[u8]) -> Option<u32> {
    let bytes = payload.get(4..8).filter(|_| matches!(kind, RTM_NEWNEIGH | RTM_DELNEIGH))?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

enum Entry {
    Neighbour(Neighbour),
    Fdb(FdbEntry),
}

fn entry(payload: &[u8]) -> Result<Option<Entry>, DecodeError> {
    let header = NeighbourHeader::parse(payload)?;
    let (mut destination, mut mac) = (None, None);
    for attribute in attributes(payload, &header, &[NDA_DST, NDA_LLADDR]) {
        let attribute = attribute?;
        match attribute.kind() {
            NDA_DST => destination = Some(ip_of_length(attribute.value())?),
            _ => mac = Mac::from_bytes(attribute.value()),
        }
    }
    let (device, state) = (header.ifindex, EntryState(header.state.into()));
    Ok(match (header.family, destination, mac) {
        // Its own, and not that of a bridge that it is a port of.
        (AddressFamily::Bridge, _, Some(mac)) if header.flags.contains(NeighbourFlags::Own) => {
            Some(Entry::Fdb(FdbEntry { device, mac, destination, state }))
        }
        // A proxy entry is an address that this host answers for.
        (AddressFamily::Inet | AddressFamily::Inet6, Some(address), _)
            if !header.flags.contains(NeighbourFlags::Proxy) =>
        {
            Some(Entry::Neighbour(Neighbour { device, address, mac, state }))
        }
        _ => None,
    })
}

fn rule(payload: &[u8]) -> Result<Option<PolicyRule>, DecodeError> {
    let header = RuleHeader::parse(payload)?;
    let family = match header.family {
        AddressFamily::Inet => Family::V4,
        AddressFamily::Inet6 => Family::V6,
        _ => return Ok(None),
    };
    let (mut table, mut target, mut mark, mut mask) = (u32::from(header.table), 0, None, None);
    let mut rule = PolicyRule {
        inverted: header.flags.contains(RuleFlags::Invert),
        from: prefix(None, header.src_len, family)?,
        to: prefix(None, header.dst_len, family)?,
        selective: header.tos != 0,
        ..PolicyRule::for_all(family, 0, RuleAction::Nop)
    };
    for attribute in NlasIterator::new(payload.get(header.buffer_len()..).unwrap_or_default()) {
        let attribute = attribute?;
        let value = attribute.value();
        match attribute.kind() {
            FRA_SRC => rule.from = prefix(Some(ip_of_length(value)?), header.src_len, family)?,
            FRA_DST => rule.to = prefix(Some(ip_of_length(value)?), header.dst_len, family)?,
            FRA_IIFNAME => rule.input = Some(text(value)),
            FRA_OIFNAME => rule.output = Some(text(value)),
            FRA_GOTO => target = parse_u32(value)?,
            FRA_PRIORITY => rule.priority = parse_u32(value)?,
            FRA_TABLE => table = parse_u32(value)?,
            FRA_FWMARK => mark = Some(parse_u32(value)?),
            FRA_FWMASK => mask = Some(parse_u32(value)?),
            // All bits are none.
            FRA_SUPPRESS_PREFIXLEN => rule.suppress_length = Some(parse_u32(value)?).filter(|it| *it != u32::MAX),
            kind if FRA_HARMLESS.contains(&kind) => {}
            // A service, a user, ports, a VRF, a group of devices, or what a newer kernel knows: it decides for some packets,
            // and for which is not known.
            _ => rule.selective = true,
        }
    }
    if mark.is_some() || mask.is_some() {
        rule.mark = Some((mark.unwrap_or(0), mask.unwrap_or(u32::MAX)));
    }
    rule.action = RuleAction::from_number(header.action.into(), table, target);
    Ok(Some(rule))
}

/// Any address where the length is 0.
fn prefix(address: Option<IpAddr>, length: u8, family: Family) -> Result<Option<IpNet>, DecodeError> {
    if length == 0 {
        return Ok(None);
    }
    let any = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let address = address.unwrap_or(any);
    let net = IpNet::new(address, length).map_err(|_| format!("a prefix {address}/{length}"))?;
    Ok(Some(net.trunc()))
}
