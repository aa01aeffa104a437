//! The whole picture of links and routes, asked for on a socket of its own.

use std::time::Duration;

use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use tokio::time::timeout;

use super::Mirror;
use crate::model::Family;
use crate::source::netlink::NetlinkError;
use crate::source::netlink::decode::Change;
use crate::source::netlink::list::{each, list};
use crate::source::netlink::monitor::Doubt;
use crate::source::netlink::socket::Socket;

/// How often everything is asked for again when the lists do not fit together: a device was made between two of them.
const CONSISTENT_ATTEMPTS: u32 = 3;

/// Lists links, addresses and routes, and folds them. Devices are known before what names them.
pub(super) async fn dump(limit: Duration) -> Result<Mirror, NetlinkError> {
    timeout(limit, dump_consistent()).await.unwrap_or(Err(NetlinkError::Timeout { after: limit }))
}

async fn dump_consistent() -> Result<Mirror, NetlinkError> {
    let mut socket = Socket::open(&[]).map_err(NetlinkError::Open)?;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let (mirror, doubt) = dump_once(&mut socket).await?;
        let Some(doubt) = doubt.or(mirror.has_unknown_devices().then_some(Doubt("a route to an unknown device")))
        else {
            return Ok(mirror);
        };
        tracing::debug!(reason = doubt.0, attempt, "the lists do not fit together");
        if attempt == CONSISTENT_ATTEMPTS {
            return Ok(mirror);
        }
    }
}

async fn dump_once(socket: &mut Socket) -> Result<(Mirror, Option<Doubt>), NetlinkError> {
    let mut mirror = Mirror::default();
    let mut doubt = None;
    let lists = [
        ("links", RouteNetlinkMessage::GetLink(LinkMessage::default())),
        ("addresses", RouteNetlinkMessage::GetAddress(AddressMessage::default())),
    ];
    for (what, request) in lists {
        for change in list(socket, what, &request).await? {
            doubt = mirror.learn(change).err().or(doubt);
        }
    }
    let lists = [
        ("IPv4 routes", Family::V4, routes(AddressFamily::Inet)),
        ("IPv6 routes", Family::V6, routes(AddressFamily::Inet6)),
    ];
    for (what, family, request) in lists {
        each(socket, what, &request, |told| match told {
            // Where the kernel has no IPv6, it answers with the routes of all the families that it has.
            Some(Change::Route(route)) if Family::of_net(&route.destination) != family => {}
            Some(change) => doubt = mirror.learn(change).err().or(doubt),
            None => mirror.forget_routes(family),
        })
        .await?;
    }
    Ok((mirror, doubt))
}

/// A request for all routes of a family: zero is "any" everywhere else. `RouteMessageBuilder` makes a route to be
/// added: static, and in the main table.
fn routes(family: AddressFamily) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    RouteNetlinkMessage::GetRoute(message)
}
