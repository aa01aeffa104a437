//! An entry of `ip -j -d -s neigh show nud all` as a [`Neighbour`], and one of `bridge -j -d fdb show` as an [`FdbEntry`].

use super::FileError;
use super::entry::Entry;
use crate::model::{EntryState, FdbEntry, Mac, Neighbour};

/// Reads a neighbour of the device that `index` knows; `None` for another device's, and for one that this host only
/// answers for (`proxy`).
pub(super) fn neighbour(
    entry: &Entry<'_>,
    index: impl Fn(&str) -> Option<u32>,
) -> Result<Option<Neighbour>, FileError> {
    let device = entry.text("dev")?.ok_or_else(|| entry.missing("dev"))?;
    let Some(device) = index(device).filter(|_| !entry.has("proxy")) else { return Ok(None) };
    let address = entry.parsed("dst", "an address")?.ok_or_else(|| entry.missing("dst"))?;
    let mac: Option<Mac> = entry.parsed("lladdr", "a MAC")?;
    let mut state = 0;
    for word in entry.texts("state")? {
        let bit = EntryState::from_name(word);
        state |= bit.ok_or_else(|| entry.wrong("state", format!("`{word}` is not a state of a neighbour")))?.0;
    }
    Ok(Some(Neighbour { device, address, mac, state: EntryState(state) }))
}

/// Reads a forwarding entry of the device that `index` knows; `None` for another device's, and for one that is its
/// bridge's and not its own (`master`).
pub(super) fn fdb_entry(entry: &Entry<'_>, index: impl Fn(&str) -> Option<u32>) -> Result<Option<FdbEntry>, FileError> {
    // `ip` says `dev`, `bridge` says `ifname`.
    let device = entry.text("ifname")?.ok_or_else(|| entry.missing("ifname"))?;
    let own = entry.texts("flags")?.contains(&"self");
    let Some(device) = index(device).filter(|_| own) else { return Ok(None) };
    let mac = entry.parsed("mac", "a MAC")?.ok_or_else(|| entry.missing("mac"))?;
    let destination = entry.parsed("dst", "an address")?;
    let state = entry.text("state")?.ok_or_else(|| entry.missing("state"))?;
    let state =
        fdb_state(state).ok_or_else(|| entry.wrong("state", format!("`{state}` is not a state of an entry")))?;
    Ok(Some(FdbEntry { device, mac, destination, state }))
}

/// `bridge/fdb.c`, `state_n2a`: the first that fits of a mask; nothing for one that was learned.
fn fdb_state(text: &str) -> Option<EntryState> {
    match text {
        "permanent" => Some(EntryState::PERMANENT),
        "static" => Some(EntryState::NOARP),
        "stale" => EntryState::from_name("STALE"),
        "" => Some(EntryState::REACHABLE),
        other => u16::from_str_radix(other.strip_prefix("state=0x")?, 16).ok().map(EntryState),
    }
}
