//! An entry of `ip -j -d addr show` as a [`Link`].

use std::net::IpAddr;

use ipnet::IpNet;

use super::FileError;
use super::entry::Entry;
use crate::model::Link;

/// Reads a device. `NO-CARRIER` is a word of iproute2's that stands among the flags where a device is UP and not
/// RUNNING (`ip/ipaddress.c`, `print_link_flags`); RUNNING itself is never printed.
pub(super) fn link(entry: &Entry<'_>) -> Result<Link, FileError> {
    let index = entry.number("ifindex")?.ok_or_else(|| entry.missing("ifindex"))?;
    let name = entry.text("ifname")?.ok_or_else(|| entry.missing("ifname"))?;
    let kind = match entry.object("linkinfo")? {
        Some(info) => info.text("info_kind")?,
        None => None,
    };
    if !entry.has("flags") {
        return Err(entry.missing("flags"));
    }
    let flags = entry.texts("flags")?;
    let mtu = entry.number("mtu")?.ok_or_else(|| entry.missing("mtu"))?;
    // `ip link show` has no such list: without it, a host would look as if it had lost its addresses.
    if !entry.has("addr_info") {
        return Err(entry.wrong("addr_info", "is missing; `ip -j -d addr show` has it, `ip link` has not"));
    }
    let mut addresses = entry.objects("addr_info")?.iter().map(address).collect::<Result<Vec<_>, _>>()?;
    addresses.sort_unstable();
    addresses.dedup();
    Ok(Link {
        index,
        name: name.into(),
        kind: kind.map(Into::into),
        admin_up: flags.contains(&"UP"),
        no_carrier: flags.contains(&"NO-CARRIER"),
        mtu,
        addresses,
    })
}

fn address(entry: &Entry<'_>) -> Result<IpNet, FileError> {
    let local: IpAddr = entry.parsed("local", "an address")?.ok_or_else(|| entry.missing("local"))?;
    let length: u8 = entry.number("prefixlen")?.ok_or_else(|| entry.missing("prefixlen"))?;
    IpNet::new(local, length).map_err(|_| entry.wrong("prefixlen", format!("{length} is too long for {local}")))
}
