//! An entry of `ip -j -d route show table all` as a [`Route`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::FileError;
use super::entry::Entry;
use super::names;
use crate::model::{Family, NextHop, Protocol, Route, RouteType, TABLE_MAIN};

/// What to do about a name from somebody's own `rt_tables` or `rt_protos`.
const HINT: &str = "neither a number nor one of iproute2's own names; `ip -N` prints numbers";

/// Reads a route, or `None` where the model has no place for it.
pub(super) fn route(entry: &Entry<'_>) -> Result<Option<Route>, FileError> {
    // A route for one source prefix is looked up apart from the others, and would stand for one with the same
    // destination that has none. Multicast forwarding entries have a source too.
    if entry.has("from") {
        return Ok(None);
    }
    let Some(destination) = destination(entry)? else { return Ok(None) };
    let kind = RouteType::from_number(entry.named("type", names::TYPES, HINT)?.unwrap_or(1));
    let flags = entry.texts("flags")?;
    let next_hops = if kind.has_next_hops() { next_hops(entry, &flags)? } else { Vec::new() };
    Ok(Some(Route {
        table: entry.named("table", names::TABLES, HINT)?.unwrap_or(TABLE_MAIN),
        destination,
        metric: entry.number("metric")?.unwrap_or(0),
        tos: entry.named("tos", names::SERVICES, HINT)?.unwrap_or(0),
        kind,
        protocol: entry.named("protocol", names::PROTOCOLS, HINT)?.map_or(Protocol::BOOT, Protocol),
        link_scope: entry.named::<u8>("scope", names::SCOPES, HINT)? == Some(253),
        next_hops: next_hops.into(),
    }))
}

/// The destination: `default`, a prefix, or an address alone for a host. `None` for an MPLS label.
fn destination(entry: &Entry<'_>) -> Result<Option<IpNet>, FileError> {
    let text = entry.text("dst")?.ok_or_else(|| entry.missing("dst"))?;
    if text == "default" {
        return Ok(Some(match family_of_default(entry)? {
            Family::V4 => IpNet::V4(Default::default()),
            Family::V6 => IpNet::V6(Default::default()),
        }));
    }
    if text.parse::<u32>().is_ok() {
        return Ok(None);
    }
    let net = match text.parse::<IpAddr>() {
        Ok(address) => Ok(IpNet::from(address)),
        Err(_) => text.parse::<IpNet>(),
    };
    match net {
        Ok(net) => Ok(Some(net.trunc())),
        Err(_) => Err(entry.wrong("dst", format!("`{text}` is neither a prefix nor an address"))),
    }
}

/// The word `default` does not tell the family. Every IPv6 route has a router preference (`RTA_PREF`) and no IPv4
/// route has one; before Linux 4.1 neither has, and the gateway tells. An IPv4 route's IPv6 gateway is in `via`.
fn family_of_default(entry: &Entry<'_>) -> Result<Family, FileError> {
    if entry.has("pref") {
        return Ok(Family::V6);
    }
    let mut gateway = entry.parsed::<IpAddr>("gateway", "an address")?;
    for hop in entry.objects("nexthops")? {
        gateway = gateway.or(hop.parsed("gateway", "an address")?);
    }
    Ok(gateway.map_or(Family::V4, Family::of))
}

fn next_hops(entry: &Entry<'_>, route_flags: &[&str]) -> Result<Vec<NextHop>, FileError> {
    if entry.has("nexthops") {
        let hops = entry.objects("nexthops")?;
        return hops.iter().map(|hop| next_hop(hop, route_flags, &hop.texts("flags")?)).collect();
    }
    let only = next_hop(entry, route_flags, &[])?;
    Ok(if only.gateway.is_none() && only.device.is_none() { Vec::new() } else { vec![only] })
}

/// A next hop: flags that the route has, all of its next hops have.
fn next_hop(entry: &Entry<'_>, route_flags: &[&str], flags: &[&str]) -> Result<NextHop, FileError> {
    let flagged = |name: &&str| route_flags.contains(name) || flags.contains(name);
    Ok(NextHop {
        gateway: gateway(entry)?,
        device: entry.text("dev")?.map(Into::into),
        down: ["dead", "linkdown"].iter().any(flagged),
        onlink: flagged(&"onlink"),
    })
}

/// `gateway` is of the route's own family, `via` of the other.
fn gateway(entry: &Entry<'_>) -> Result<Option<IpAddr>, FileError> {
    if let Some(gateway) = entry.parsed("gateway", "an address")? {
        return Ok(Some(gateway));
    }
    let Some(via) = entry.object("via")? else { return Ok(None) };
    let host = match via.text("family")? {
        Some("inet") => via.parsed::<Ipv4Addr>("host", "an IPv4 address")?.map(IpAddr::V4),
        Some("inet6") => via.parsed::<Ipv6Addr>("host", "an IPv6 address")?.map(IpAddr::V6),
        Some(other) => return Err(via.wrong("family", format!("`{other}` is neither inet nor inet6"))),
        None => return Err(via.missing("family")),
    };
    host.map(Some).ok_or_else(|| via.missing("host"))
}
