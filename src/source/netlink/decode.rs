//! rtnetlink messages as plain values: the library reads the headers and attributes, here is what they mean.
//!
//! Of the attributes, only those that the picture needs are handed to the library. `RouteNetlinkMessage` reads all of
//! them, and refuses the whole message for one that it does not like: an alias that is no UTF-8, or what a newer kernel
//! writes otherwise. A host with such a device would have no picture at all. What is needed and cannot be read is an
//! error, and never a route or a device that is left out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rtnetlink::packet_core::{
    DecodeError, Emitable, NetlinkDeserializable, NetlinkHeader, NlaBuffer, NlasIterator, Parseable,
    ParseableParametrized, parse_u16_be, parse_u32,
};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeader};
use rtnetlink::packet_route::link::{InfoKind, LinkFlags, LinkHeader};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteLwEnCapType, RouteNextHop, RouteScope, RouteVia,
};

use crate::model::{Mac, Name, Protocol, RouteType, VxlanDevice};

// The recorded bytes are of a little-endian machine.
#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests;

// The library keeps its numbers to itself. These are of `linux/{rtnetlink,if_link,if_addr}.h`.
pub(super) const RTM_NEWLINK: u16 = 16;
pub(super) const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;

const IFLA_VXLAN_ID: u16 = 1;
const IFLA_VXLAN_LINK: u16 = 3;
const IFLA_VXLAN_LOCAL: u16 = 4;
const IFLA_VXLAN_PORT: u16 = 15;
const IFLA_VXLAN_LOCAL6: u16 = 17;
const IFLA_VXLAN_COLLECT_METADATA: u16 = 25;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;

/// What the picture needs of a route.
const OF_ROUTE: &[u16] = &[RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_MULTIPATH, RTA_TABLE, RTA_VIA];

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
    pub(super) mac: Option<Mac>,
    pub(super) vxlan: Option<VxlanDevice>,
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

/// What messages tell of one picture.
pub(super) trait Decode: Sized {
    /// Reads a message of type `kind` without its netlink header; `None` for what is no part of the picture.
    fn decode(kind: u16, payload: &[u8]) -> Result<Option<Self>, DecodeError>;
}

impl Decode for Change {
    fn decode(kind: u16, payload: &[u8]) -> Result<Option<Change>, DecodeError> {
        change(kind, payload)
    }
}

/// What a message tells, in the form that the library's [`NetlinkMessage`] carries.
///
/// [`NetlinkMessage`]: rtnetlink::packet_core::NetlinkMessage
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told<C>(pub(super) Option<C>);

impl<C: Decode> NetlinkDeserializable for Told<C> {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Told<C>, DecodeError> {
        Ok(Told(C::decode(header.message_type, payload)?))
    }
}

/// Reads a message of type `kind` without its netlink header.
fn change(kind: u16, payload: &[u8]) -> Result<Option<Change>, DecodeError> {
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

pub(super) fn link(payload: &[u8]) -> Result<Option<LinkMessage>, DecodeError> {
    let header = LinkHeader::parse(payload)?;
    // A bridge reports its ports with its own family, and a port that leaves it as a link that is deleted.
    if header.interface_family != AddressFamily::Unspec {
        return Ok(None);
    }
    let admin_up = header.flags.contains(LinkFlags::Up);
    let no_carrier = admin_up && !header.flags.contains(LinkFlags::Running);
    let mut link = LinkMessage {
        index: header.index,
        admin_up,
        no_carrier,
        name: None,
        kind: None,
        mtu: None,
        mac: None,
        vxlan: None,
    };
    for attribute in attributes(payload, &header, &[IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO]) {
        let attribute = attribute?;
        match attribute.kind() {
            // The library refuses a name that is no UTF-8. The kernel takes any bytes but blanks, '/' and ':'.
            IFLA_IFNAME => link.name = Some(text(attribute.value())),
            // Of another kind of device it has another length.
            IFLA_ADDRESS => link.mac = Mac::from_bytes(attribute.value()),
            IFLA_LINKINFO => (link.kind, link.vxlan) = info(attribute.value())?,
            _ => link.mtu = Some(parse_u32(attribute.value())?),
        }
    }
    Ok(Some(link))
}

/// The kind, and what a VXLAN device is made of: what else is nested differs from driver to driver and from kernel to
/// kernel.
fn info(nested: &[u8]) -> Result<(Option<Name>, Option<VxlanDevice>), DecodeError> {
    let (mut kind, mut data): (Option<Name>, &[u8]) = (None, &[]);
    let known = NlasIterator::new(nested).collect::<Result<Vec<_>, _>>()?;
    for attribute in &known {
        match attribute.kind() {
            IFLA_INFO_KIND => kind = Some(InfoKind::parse(attribute)?.to_string().into()),
            IFLA_INFO_DATA => data = attribute.value(),
            _ => {}
        }
    }
    let vxlan = match kind.as_deref() {
        Some("vxlan") if !data.is_empty() => Some(vxlan_device(data)?),
        _ => None,
    };
    Ok((kind, vxlan))
}

/// The library reads all attributes of a VXLAN device, and refuses all for one that it does not like.
fn vxlan_device(nested: &[u8]) -> Result<VxlanDevice, DecodeError> {
    let mut device = VxlanDevice::default();
    for attribute in NlasIterator::new(nested) {
        let attribute = attribute?;
        let value = attribute.value();
        match attribute.kind() {
            IFLA_VXLAN_ID => device.vni = Some(parse_u32(value)?),
            IFLA_VXLAN_LINK => device.parent = Some(parse_u32(value)?),
            IFLA_VXLAN_LOCAL | IFLA_VXLAN_LOCAL6 => device.local = Some(ip_of_length(value)?),
            IFLA_VXLAN_PORT => device.port = Some(parse_u16_be(value)?),
            // A flag from the kernel's first days with it, a byte with 0 or 1 by now.
            IFLA_VXLAN_COLLECT_METADATA => device.flow_based = value.first().is_none_or(|byte| *byte != 0),
            _ => {}
        }
    }
    Ok(device)
}

fn address(payload: &[u8]) -> Result<Option<AddressMessage>, DecodeError> {
    let header = AddressHeader::parse(payload)?;
    let family = header.family;
    if !is_ip(family) {
        return Ok(None);
    }
    let (mut local, mut peer) = (None, None);
    for attribute in attributes(payload, &header, &[IFA_ADDRESS, IFA_LOCAL]) {
        match AddressAttribute::parse(&attribute?)? {
            AddressAttribute::Local(address) => local = Some(of_family(family, address)?),
            AddressAttribute::Address(address) => peer = Some(of_family(family, address)?),
            _ => {}
        }
    }
    // IPv6 sends IFA_LOCAL only where there is a peer.
    let Some(own) = local.or(peer) else { return Err("an address without IFA_LOCAL and IFA_ADDRESS".into()) };
    let local = net(own, header.prefix_len)?;
    Ok(Some(AddressMessage { index: header.index, local, peer: peer.unwrap_or(own) }))
}

fn route(payload: &[u8]) -> Result<Option<RouteMessage>, DecodeError> {
    let header = RouteHeader::parse(payload)?;
    let family = header.address_family;
    // A clone is what a look-up left behind (a path's MTU, a redirect). A route for one source prefix is looked up
    // apart from the others, and would stand for one with the same destination that has none.
    if !is_ip(family) || header.flags.contains(RouteFlags::Cloned) || header.source_prefix_length != 0 {
        return Ok(None);
    }
    let mut destination = match family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        _ => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let (mut table, mut metric) = (u32::from(header.table), 0);
    let mut only = hop(header.flags);
    let mut several = None;
    for attribute in attributes(payload, &header, OF_ROUTE) {
        // The kind of encapsulation matters to RTA_ENCAP alone, of which nothing is needed.
        let known = (family, header.kind, RouteLwEnCapType::None);
        match RouteAttribute::parse_with_param(&attribute?, known)? {
            RouteAttribute::Destination(address) => destination = ip(&address)?,
            RouteAttribute::Oif(index) => only.device = Some(index),
            RouteAttribute::Priority(priority) => metric = priority,
            // The header has eight bits for it only.
            RouteAttribute::Table(number) => table = number,
            RouteAttribute::MultiPath(hops) => several = Some(next_hops(header.flags, &hops)?),
            other => gateway(&other, &mut only.gateway)?,
        }
    }
    let kind = RouteType::from_number(header.kind.into());
    let hops = match several {
        _ if !kind.has_next_hops() => Vec::new(),
        Some(hops) => hops,
        None if only.gateway.is_none() && only.device.is_none() => Vec::new(),
        None => vec![only],
    };
    Ok(Some(RouteMessage {
        table,
        destination: net(destination, header.destination_prefix_length)?.trunc(),
        metric,
        tos: header.tos,
        kind,
        protocol: Protocol(header.protocol.into()),
        link_scope: header.scope == RouteScope::Link,
        hops,
    }))
}

fn next_hops(route_flags: RouteFlags, hops: &[RouteNextHop]) -> Result<Vec<Hop>, DecodeError> {
    let one = |told: &RouteNextHop| {
        // Flags that the route has, all of its next hops have.
        let mut hop = hop(route_flags | RouteFlags::from_bits_retain(u32::from(told.flags.bits())));
        hop.device = Some(told.interface_index).filter(|index| *index != 0);
        for attribute in &told.attributes {
            gateway(attribute, &mut hop.gateway)?;
        }
        Ok(hop)
    };
    hops.iter().map(one).collect()
}

/// A next hop of which the flags are known.
fn hop(flags: RouteFlags) -> Hop {
    let down = flags.intersects(RouteFlags::Dead | RouteFlags::Linkdown);
    Hop { gateway: None, device: None, down, onlink: flags.contains(RouteFlags::Onlink) }
}

/// Takes the gateway that the attribute has, if it has one. RTA_VIA is one of another family than the route's, or of
/// another layer, which is none here.
fn gateway(attribute: &RouteAttribute, gateway: &mut Option<IpAddr>) -> Result<(), DecodeError> {
    match attribute {
        RouteAttribute::Gateway(address) => *gateway = Some(ip(address)?),
        RouteAttribute::Via(RouteVia::Inet(address)) => *gateway = Some(IpAddr::V4(*address)),
        RouteAttribute::Via(RouteVia::Inet6(address)) => *gateway = Some(IpAddr::V6(*address)),
        RouteAttribute::Via(_) => *gateway = None,
        _ => {}
    }
    Ok(())
}

/// The attributes of these kinds that follow the header.
pub(super) fn attributes<'a>(
    payload: &'a [u8],
    header: &impl Emitable,
    kinds: &'static [u16],
) -> impl Iterator<Item = Result<NlaBuffer<&'a [u8]>, DecodeError>> {
    let attributes = NlasIterator::new(payload.get(header.buffer_len()..).unwrap_or_default());
    attributes.filter(|attribute| attribute.as_ref().map_or(true, |attribute| kinds.contains(&attribute.kind())))
}

fn is_ip(family: AddressFamily) -> bool {
    matches!(family, AddressFamily::Inet | AddressFamily::Inet6)
}

/// The library reads an interface's address by its length, whatever family the header has.
fn of_family(family: AddressFamily, address: IpAddr) -> Result<IpAddr, DecodeError> {
    match address.is_ipv4() == (family == AddressFamily::Inet) {
        true => Ok(address),
        false => Err(format!("the address {address} of the family {family:?}").into()),
    }
}

/// An address by its length alone.
pub(super) fn ip_of_length(bytes: &[u8]) -> Result<IpAddr, DecodeError> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::from(bytes));
    }
    match <[u8; 16]>::try_from(bytes) {
        Ok(bytes) => Ok(IpAddr::from(bytes)),
        Err(_) => Err(format!("an address of {} bytes", bytes.len()).into()),
    }
}

fn ip(address: &RouteAddress) -> Result<IpAddr, DecodeError> {
    match address {
        RouteAddress::Inet(address) => Ok(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Ok(IpAddr::V6(*address)),
        other => Err(format!("{other:?} where an IP address is expected").into()),
    }
}

fn net(address: IpAddr, length: u8) -> Result<IpNet, DecodeError> {
    IpNet::new(address, length).map_err(|_| format!("a prefix {address}/{length}").into())
}

/// A name, which ends with a zero.
pub(super) fn text(bytes: &[u8]) -> Name {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into()
}
