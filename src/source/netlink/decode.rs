//! rtnetlink messages as plain values, by the layouts of `linux/{netlink,rtnetlink,if_link,if_addr}.h`.
//!
//! Only what the model asks for is read. A decoder of whole messages is the wrong tool: it fails on any attribute that
//! a newer kernel writes differently, and a route that fails to decode looks like a route that is missing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::{DecodeError, NlasIterator};

use crate::model::{Name, Protocol, RouteType};

// The recorded bytes are of a little-endian machine.
#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;

/// The addresses' families; `AF_UNSPEC` is a link's.
pub(super) const AF_UNSPEC: u8 = 0;
pub(super) const AF_INET: u8 = 2;
pub(super) const AF_INET6: u8 = 10;

const IFF_UP: u32 = 0x1;
const IFF_RUNNING: u32 = 0x40;

const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;

const RTNH_F_DEAD: u32 = 0x1;
const RTNH_F_ONLINK: u32 = 0x4;
const RTNH_F_LINKDOWN: u32 = 0x10;
const RTM_F_CLONED: u32 = 0x200;
const RT_SCOPE_LINK: u8 = 253;

/// What a message says, devices still by index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// `RTM_NEWLINK`.
    Link(LinkMessage),
    /// `RTM_DELLINK`, by index.
    LinkGone(u32),
    /// `RTM_NEWADDR`.
    Address(AddressMessage),
    /// `RTM_DELADDR`.
    AddressGone(AddressMessage),
    /// `RTM_NEWROUTE`.
    Route(RouteMessage),
    /// `RTM_DELROUTE`.
    RouteGone(RouteMessage),
}

/// A device. A message about one aspect (a wireless event) has only that, so what is absent is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LinkMessage {
    pub(super) index: u32,
    pub(super) admin_up: bool,
    /// What iproute2 prints as `NO-CARRIER`: UP and not RUNNING (`ip/ipaddress.c`, `print_link_flags`).
    pub(super) no_carrier: bool,
    pub(super) name: Option<Name>,
    pub(super) kind: Option<Name>,
    pub(super) mtu: Option<u32>,
}

/// An address of a device; the three together tell it from the device's others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AddressMessage {
    pub(super) index: u32,
    /// `IFA_LOCAL` with the prefix length, host bits kept.
    pub(super) local: IpNet,
    /// `IFA_ADDRESS`: the other end of a point-to-point address, else the address itself.
    pub(super) peer: IpAddr,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RouteMessage {
    pub(super) table: u32,
    pub(super) destination: IpNet,
    pub(super) metric: u32,
    pub(super) tos: u8,
    pub(super) kind: RouteType,
    pub(super) protocol: Protocol,
    pub(super) link_scope: bool,
    pub(super) hops: Vec<Hop>,
}

/// A next hop, its device by index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) gateway: Option<IpAddr>,
    pub(super) device: Option<u32>,
    pub(super) down: bool,
    pub(super) onlink: bool,
}

/// Reads a message of type `kind` without its netlink header. `None` for what is no part of the picture.
pub(super) fn change(kind: u16, payload: &[u8]) -> Result<Option<Change>, DecodeError> {
    Ok(match kind {
        RTM_NEWLINK => link(payload)?.map(Change::Link),
        RTM_DELLINK => link(payload)?.map(|link| Change::LinkGone(link.index)),
        RTM_NEWADDR => address(payload)?.map(Change::Address),
        RTM_DELADDR => address(payload)?.map(Change::AddressGone),
        RTM_NEWROUTE => route(payload)?.map(Change::Route),
        RTM_DELROUTE => route(payload)?.map(Change::RouteGone),
        _ => None,
    })
}

/// `struct ifinfomsg`: family, pad, type (2), index (4), flags (4), change (4).
fn link(payload: &[u8]) -> Result<Option<LinkMessage>, DecodeError> {
    let (header, attributes) = split::<16>(payload, "ifinfomsg")?;
    // A bridge reports its ports with its own family, and a port that leaves it as a link that is deleted.
    if header[0] != AF_UNSPEC {
        return Ok(None);
    }
    let flags = u32_of(&header[8..12])?;
    let mut link = LinkMessage {
        index: u32_of(&header[4..8])?,
        admin_up: flags & IFF_UP != 0,
        no_carrier: flags & IFF_UP != 0 && flags & IFF_RUNNING == 0,
        name: None,
        kind: None,
        mtu: None,
    };
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute?;
        match attribute.kind() {
            IFLA_IFNAME => link.name = Some(text(attribute.value())),
            IFLA_MTU => link.mtu = Some(u32_of(attribute.value())?),
            IFLA_LINKINFO => link.kind = info_kind(attribute.value())?,
            _ => {}
        }
    }
    Ok(Some(link))
}

fn info_kind(nested: &[u8]) -> Result<Option<Name>, DecodeError> {
    for attribute in NlasIterator::new(nested) {
        let attribute = attribute?;
        if attribute.kind() == IFLA_INFO_KIND {
            return Ok(Some(text(attribute.value())));
        }
    }
    Ok(None)
}

/// `struct ifaddrmsg`: family, prefix length, flags, scope, index (4).
fn address(payload: &[u8]) -> Result<Option<AddressMessage>, DecodeError> {
    let (header, attributes) = split::<8>(payload, "ifaddrmsg")?;
    let family = header[0];
    if family != AF_INET && family != AF_INET6 {
        return Ok(None);
    }
    let (mut local, mut peer) = (None, None);
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute?;
        match attribute.kind() {
            IFA_LOCAL => local = Some(ip(family, attribute.value())?),
            IFA_ADDRESS => peer = Some(ip(family, attribute.value())?),
            _ => {}
        }
    }
    // IPv6 sends IFA_LOCAL only where there is a peer.
    let Some(own) = local.or(peer) else { return Err("an address without IFA_LOCAL and IFA_ADDRESS".into()) };
    Ok(Some(AddressMessage { index: u32_of(&header[4..8])?, local: net(own, header[1])?, peer: peer.unwrap_or(own) }))
}

/// `struct rtmsg`: family, lengths of destination and source, tos, table, protocol, scope, type, flags (4).
fn route(payload: &[u8]) -> Result<Option<RouteMessage>, DecodeError> {
    let (header, attributes) = split::<12>(payload, "rtmsg")?;
    let [family, length, source_length, tos, table, protocol, scope, kind, ..] = *header;
    let flags = u32_of(&header[8..12])?;
    // A clone is what a look-up left behind (a path's MTU, a redirect). A route for one source prefix is looked up
    // apart from the others, and would stand for one with the same destination that has none.
    if (family != AF_INET && family != AF_INET6) || flags & RTM_F_CLONED != 0 || source_length != 0 {
        return Ok(None);
    }
    let mut destination = match family {
        AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        _ => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let (mut table, mut metric) = (u32::from(table), 0);
    let mut only = Hop { gateway: None, device: None, down: down(flags), onlink: flags & RTNH_F_ONLINK != 0 };
    let mut several = None;
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute?;
        let value = attribute.value();
        match attribute.kind() {
            RTA_DST => destination = ip(family, value)?,
            RTA_OIF => only.device = Some(u32_of(value)?),
            RTA_GATEWAY => only.gateway = Some(ip(family, value)?),
            RTA_VIA => only.gateway = via(value)?,
            RTA_PRIORITY => metric = u32_of(value)?,
            // The header has eight bits for it only.
            RTA_TABLE => table = u32_of(value)?,
            RTA_MULTIPATH => several = Some(next_hops(family, flags, value)?),
            _ => {}
        }
    }
    let kind = RouteType::from_number(kind);
    let hops = match several {
        _ if !kind.has_next_hops() => Vec::new(),
        Some(hops) => hops,
        None if only.gateway.is_none() && only.device.is_none() => Vec::new(),
        None => vec![only],
    };
    Ok(Some(RouteMessage {
        table,
        destination: net(destination, length)?.trunc(),
        metric,
        tos,
        kind,
        protocol: Protocol(protocol),
        link_scope: scope == RT_SCOPE_LINK,
        hops,
    }))
}

/// A sequence of `struct rtnexthop`: length (2) of it with its attributes, flags, hops, index (4).
fn next_hops(family: u8, route_flags: u32, mut bytes: &[u8]) -> Result<Vec<Hop>, DecodeError> {
    let mut hops = Vec::new();
    while !bytes.is_empty() {
        let (header, _) = split::<8>(bytes, "rtnexthop")?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let Some(attributes) = bytes.get(8..length) else {
            return Err(format!("a next hop of {length} bytes among {}", bytes.len()).into());
        };
        // Flags that the route has, all of its next hops have.
        let flags = route_flags | u32::from(header[2]);
        let mut hop = Hop {
            gateway: None,
            device: Some(u32_of(&header[4..8])?).filter(|index| *index != 0),
            down: down(flags),
            onlink: flags & RTNH_F_ONLINK != 0,
        };
        for attribute in NlasIterator::new(attributes) {
            let attribute = attribute?;
            match attribute.kind() {
                RTA_GATEWAY => hop.gateway = Some(ip(family, attribute.value())?),
                RTA_VIA => hop.gateway = via(attribute.value())?,
                _ => {}
            }
        }
        hops.push(hop);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(hops)
}

/// `struct rtvia`: family (2) and an address: a gateway of another family than the route's.
fn via(value: &[u8]) -> Result<Option<IpAddr>, DecodeError> {
    let (header, address) = split::<2>(value, "rtvia")?;
    match u8::try_from(u16::from_ne_bytes(*header)) {
        Ok(family @ (AF_INET | AF_INET6)) => ip(family, address).map(Some),
        _ => Ok(None),
    }
}

fn down(flags: u32) -> bool {
    flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN) != 0
}

fn split<'a, const N: usize>(bytes: &'a [u8], what: &str) -> Result<(&'a [u8; N], &'a [u8]), DecodeError> {
    bytes.split_first_chunk::<N>().ok_or_else(|| format!("{} bytes are too few for a {what}", bytes.len()).into())
}

fn u32_of(bytes: &[u8]) -> Result<u32, DecodeError> {
    match <[u8; 4]>::try_from(bytes) {
        Ok(bytes) => Ok(u32::from_ne_bytes(bytes)),
        Err(_) => Err(format!("{} bytes where a number has 4", bytes.len()).into()),
    }
}

fn ip(family: u8, bytes: &[u8]) -> Result<IpAddr, DecodeError> {
    match (family, bytes.len()) {
        (AF_INET, 4) => Ok(IpAddr::V4(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]).into())),
        (AF_INET6, 16) => <[u8; 16]>::try_from(bytes)
            .map(|bytes| IpAddr::V6(bytes.into()))
            .map_err(|_| DecodeError::from("an IPv6 address that is none")),
        (_, length) => Err(format!("{length} bytes where family {family} has an address").into()),
    }
}

fn net(address: IpAddr, length: u8) -> Result<IpNet, DecodeError> {
    IpNet::new(address, length).map_err(|_| format!("a prefix {address}/{length}").into())
}

/// A name, which ends with a zero.
fn text(bytes: &[u8]) -> Name {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into()
}
