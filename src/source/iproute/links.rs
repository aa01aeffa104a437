//! An entry of `ip -j -d addr show` as a [`Link`].

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::FileError;
use super::entry::Entry;
use crate::model::{Link, Mac, Name, VxlanDevice};

/// A device, and the name of the one that it sends through, where it is a VXLAN device with one.
pub(super) struct Read {
    pub(super) link: Link,
    parent: Option<Name>,
}

/// Devices by name. Parents are told by name and known by index; one that the file does not have is not known.
pub(super) fn resolved(read: Vec<Read>) -> Vec<Link> {
    let indices: HashMap<Name, u32> = read.iter().map(|it| (it.link.name.clone(), it.link.index)).collect();
    let resolve = |Read { mut link, parent }| {
        if let (Some(vxlan), Some(parent)) = (&mut link.vxlan, parent) {
            let parent: Name = parent;
            let number = || parent.strip_prefix("if").and_then(|number| number.parse().ok());
            vxlan.parent = indices.get(&parent).copied().or_else(number);
        }
        link
    };
    read.into_iter().map(resolve).collect()
}

/// Reads a device. `NO-CARRIER` is a word of iproute2's that stands among the flags where a device is UP and not
/// RUNNING (`ip/ipaddress.c`, `print_link_flags`); RUNNING itself is never printed.
pub(super) fn link(entry: &Entry<'_>) -> Result<Read, FileError> {
    let index = entry.number("ifindex")?.ok_or_else(|| entry.missing("ifindex"))?;
    let name = entry.text("ifname")?.ok_or_else(|| entry.missing("ifname"))?;
    let (mut kind, mut vxlan, mut parent) = (None, None, None);
    if let Some(info) = entry.object("linkinfo")? {
        kind = info.text("info_kind")?;
        if kind == Some("vxlan")
            && let Some(data) = info.object("info_data")?
        {
            vxlan = Some(vxlan_device(&data)?);
            parent = data.text("link")?.map(Name::from);
        }
    }
    // Of another kind of device it has another length.
    let mac = entry.text("address")?.filter(|text| text.len() == 17).and_then(|text| text.parse::<Mac>().ok());
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
    let link = Link {
        index,
        name: name.into(),
        kind: kind.map(Into::into),
        admin_up: flags.contains(&"UP"),
        no_carrier: flags.contains(&"NO-CARRIER"),
        mtu,
        mac,
        vxlan,
        addresses,
    };
    Ok(Read { link, parent })
}

/// `info_data` of a VXLAN device (`ip/iplink_vxlan.c`, `vxlan_print_opt`).
fn vxlan_device(data: &Entry<'_>) -> Result<VxlanDevice, FileError> {
    let local = match data.parsed("local", "an address")? {
        Some(address) => Some(address),
        None => data.parsed("local6", "an address")?,
    };
    Ok(VxlanDevice {
        vni: data.number("id")?,
        port: data.number("port")?,
        local,
        parent: None,
        flow_based: data.has("external"),
    })
}

fn address(entry: &Entry<'_>) -> Result<IpNet, FileError> {
    let local: IpAddr = entry.parsed("local", "an address")?.ok_or_else(|| entry.missing("local"))?;
    let length: u8 = entry.number("prefixlen")?.ok_or_else(|| entry.missing("prefixlen"))?;
    IpNet::new(local, length).map_err(|_| entry.wrong("prefixlen", format!("{length} is too long for {local}")))
}
