//! An entry of `ip -j rule show` as a [`PolicyRule`].

use std::net::IpAddr;

use ipnet::IpNet;

use super::FileError;
use super::entry::Entry;
use super::names::{TABLES, TYPES};
use crate::model::{Family, PolicyRule, RuleAction};

/// What is read of a rule, or says nothing of which packets it is for (`ip/iprule.c`, `print_rule`). What else it asks for
/// (ports, users, a VRF, what a newer iproute2 prints) decides for some packets, and for which is not known.
const KNOWN: [&str; 22] = [
    "priority",
    "not",
    "src",
    "srclen",
    "dst",
    "dstlen",
    "fwmark",
    "fwmask",
    "iif",
    "iif_detached",
    "oif",
    "oif_detached",
    "table",
    "suppress_prefixlen",
    "goto",
    "unresolved",
    "nop",
    "action",
    "protocol",
    "realms",
    "flow_from",
    "flow_to",
];

/// Reads a rule. A list has rules of one family and does not say which.
pub(super) fn rule(entry: &Entry<'_>, family: Family) -> Result<PolicyRule, FileError> {
    let priority = entry.number("priority")?.ok_or_else(|| entry.missing("priority"))?;
    let mark = mask(entry, "fwmark")?.map(|mark| Ok((mark, mask(entry, "fwmask")?.unwrap_or(u32::MAX))));
    Ok(PolicyRule {
        family,
        priority,
        inverted: entry.has("not"),
        from: prefix(entry, "src", "srclen", family)?,
        to: prefix(entry, "dst", "dstlen", family)?,
        mark: mark.transpose()?,
        input: entry.text("iif")?.map(Into::into),
        output: entry.text("oif")?.map(Into::into),
        selective: entry.has_other_than(&KNOWN),
        suppress_length: entry.number("suppress_prefixlen")?,
        action: action(entry)?,
    })
}

fn action(entry: &Entry<'_>) -> Result<RuleAction, FileError> {
    if let Some(table) =
        entry.named("table", TABLES, "neither a number nor a table of iproute2's; `ip -N` prints numbers")?
    {
        return Ok(RuleAction::Table(table));
    }
    // The table of a rule for VRFs is that of the packet's device.
    if entry.has("l3mdev") {
        return Ok(RuleAction::Table(0));
    }
    if let Some(target) = entry.number("goto")? {
        return Ok(RuleAction::Goto(target));
    }
    if entry.has("nop") {
        return Ok(RuleAction::Nop);
    }
    let number = entry.named("action", TYPES, "neither a number nor an action of iproute2's")?;
    Ok(RuleAction::from_number(number.ok_or_else(|| entry.missing("table"))?, 0, 0))
}

fn prefix(entry: &Entry<'_>, field: &str, length: &str, family: Family) -> Result<Option<IpNet>, FileError> {
    let address: IpAddr = match entry.text(field)? {
        None | Some("all") => return Ok(None),
        Some(text) => text.parse().map_err(|_| entry.wrong(field, format!("`{text}` is not an address")))?,
    };
    if Family::of(address) != family {
        let problem = format!(
            "{address} in the list of the other family: give `ip -j rule show` first, `ip -6 -j rule show` second"
        );
        return Err(entry.wrong(field, problem));
    }
    let bits: u8 = entry.number(length)?.unwrap_or(family.bits());
    let net =
        IpNet::new(address, bits).map_err(|_| entry.wrong(length, format!("{bits} is too long for {address}")))?;
    Ok(Some(net.trunc()))
}

/// A number in hexadecimal digits.
fn mask(entry: &Entry<'_>, field: &str) -> Result<Option<u32>, FileError> {
    let Some(text) = entry.text(field)? else { return Ok(None) };
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u32::from_str_radix(digits, 16).map(Some).map_err(|_| entry.wrong(field, format!("`{text}` is not a mark")))
}
