//! Neighbours, forwarding entries and rules, asked for on a socket of their own: those of the tunnel devices alone, since
//! a host has some for each pod.

use std::time::Duration;

use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::neighbour::{NeighbourAttribute, NeighbourMessage};
use rtnetlink::packet_route::rule::RuleMessage;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use tokio::time::timeout;

use super::decode::Change;
use super::{Tunnels, is_tunnel};
use crate::model::Family;
use crate::source::netlink::NetlinkError;
use crate::source::netlink::list::list;
use crate::source::netlink::socket::Socket;

/// `EAFNOSUPPORT`: the kernel has no rules of the family, or none at all.
const EAFNOSUPPORT: i32 = 97;

/// Lists the tunnel devices, what is on them, and the rules.
pub(super) async fn dump(limit: Duration) -> Result<Tunnels, NetlinkError> {
    timeout(limit, lists()).await.unwrap_or(Err(NetlinkError::Timeout { after: limit }))
}

async fn lists() -> Result<Tunnels, NetlinkError> {
    let mut socket = Socket::open_strict().map_err(NetlinkError::Open)?;
    let mut tunnels = Tunnels::default();
    for change in list(&mut socket, "links", &RouteNetlinkMessage::GetLink(LinkMessage::default())).await? {
        if let Change::Link(index, Some(name)) = change
            && is_tunnel(&name)
        {
            tunnels.devices.insert(index, name);
        }
    }
    let devices: Vec<u32> = tunnels.devices.keys().copied().collect();
    for device in devices {
        for (what, family) in [
            ("IPv4 neighbours", AddressFamily::Inet),
            ("IPv6 neighbours", AddressFamily::Inet6),
            ("forwarding entries", AddressFamily::Bridge),
        ] {
            // A kernel that does not filter sends those of all devices.
            for change in list(&mut socket, what, &entries(family, device)).await? {
                match change {
                    Change::Neighbour(entry) if entry.device == device => {
                        tunnels.neighbours.insert((device, entry.address), entry);
                    }
                    Change::Fdb(entry) if entry.device == device => {
                        tunnels.fdb.insert((device, entry.mac), entry);
                    }
                    _ => {}
                }
            }
        }
    }
    for (what, family, of) in
        [("IPv4 rules", AddressFamily::Inet, Family::V4), ("IPv6 rules", AddressFamily::Inet6, Family::V6)]
    {
        let found: Vec<Change> = match list(&mut socket, what, &rules(family)).await {
            Ok(found) => found,
            Err(NetlinkError::Refused { source, .. }) if source.raw_os_error() == Some(EAFNOSUPPORT) => Vec::new(),
            Err(error) => return Err(error),
        };
        let of_family = |change| match change {
            Change::Rule(rule) if rule.family == of => Some(rule),
            _ => None,
        };
        tunnels.rules.insert(of, found.into_iter().filter_map(of_family).collect());
    }
    Ok(tunnels)
}

/// A request for the entries of one device. On a strict socket, the kernel wants it as an attribute, and refuses it in the
/// header.
fn entries(family: AddressFamily, device: u32) -> RouteNetlinkMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family;
    message.attributes.push(NeighbourAttribute::IfIndex(device));
    RouteNetlinkMessage::GetNeighbour(message)
}

fn rules(family: AddressFamily) -> RouteNetlinkMessage {
    let mut message = RuleMessage::default();
    message.header.family = family;
    RouteNetlinkMessage::GetRule(message)
}
