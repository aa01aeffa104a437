//! Words for entries: written as `ip neigh` and `bridge fdb` print them.

use super::judge::{Entry, owners};
use super::peers::{Peer, Tunnel};
use crate::audit::fault::EntryReason;
use crate::model::EntryState;
use crate::state::Tunnels;

/// Whose entry it is.
fn who(peers: &[&Peer]) -> String {
    peers.iter().map(|peer| peer.node.to_string()).collect::<Vec<_>>().join(" and ")
}

/// What is wrong, in a sentence.
pub(super) fn detail(tunnel: &Tunnel, entry: Entry, reason: EntryReason, used: bool) -> String {
    let device = &tunnel.device;
    let who = who(&owners(tunnel, entry));
    let what = match (entry, reason) {
        (Entry::Neighbour(address), EntryReason::Missing) => {
            format!("{device} has no neighbour entry for {address}, the tunnel address of {who}: nothing is sent to it")
        }
        (Entry::Neighbour(address), EntryReason::Wrong) => {
            format!(
                "{device} takes {address}, the tunnel address of {who}, for another MAC: what is sent so is dropped"
            )
        }
        (Entry::Neighbour(address), EntryReason::NotPermanent) => {
            format!("{device} has learned who is {address}, the tunnel address of {who}, and may forget it")
        }
        (Entry::Neighbour(address), EntryReason::Stale) => {
            return format!("{device} has a neighbour entry for {address}, which is no other Node's tunnel address");
        }
        (Entry::Fdb(mac), EntryReason::Missing) => {
            format!("{device} does not know where {mac}, the tunnel MAC of {who}, is: frames for it are dropped")
        }
        (Entry::Fdb(mac), EntryReason::Wrong) => {
            format!("{device} sends frames for {mac}, the tunnel MAC of {who}, to another host")
        }
        (Entry::Fdb(mac), EntryReason::NotPermanent) => {
            format!("{device} has an entry for {mac}, the tunnel MAC of {who}, that is not permanent: it may go")
        }
        (Entry::Fdb(mac), EntryReason::Stale) => {
            return format!("{device} has a forwarding entry for {mac}, which is no other Node's tunnel MAC");
        }
    };
    let use_now = if used { "a route needs it now" } else { "no route needs it now" };
    format!("{what}; {use_now}")
}

/// What ought to be there.
pub(super) fn expected(tunnel: &Tunnel, entry: Entry) -> String {
    let peers = owners(tunnel, entry);
    let each = |peer: &&Peer| match entry {
        Entry::Neighbour(address) => neighbour(address, &peer.mac.to_string(), EntryState::PERMANENT),
        Entry::Fdb(mac) => fdb(mac, &peer.host.to_string(), EntryState::PERMANENT),
    };
    match peers.is_empty() {
        true => "no entry".to_owned(),
        false => peers.iter().map(each).collect::<Vec<_>>().join(" or "),
    }
}

/// What is there.
pub(super) fn actual(tunnel: &Tunnel, tables: &Tunnels, entry: Entry) -> String {
    let found = match entry {
        Entry::Neighbour(address) => tables
            .neighbour(tunnel.index, address)
            .map(|it| neighbour(address, &it.mac.map(|mac| mac.to_string()).unwrap_or_default(), it.state)),
        Entry::Fdb(mac) => tables
            .fdb_entry(tunnel.index, mac)
            .map(|it| fdb(mac, &it.destination.map(|address| address.to_string()).unwrap_or_default(), it.state)),
    };
    found.unwrap_or_else(|| "no entry".to_owned())
}

fn neighbour(address: impl ToString, mac: &str, state: EntryState) -> String {
    let mac = if mac.is_empty() { String::new() } else { format!(" lladdr {mac}") };
    format!("{}{mac} {}", address.to_string(), state.words())
}

fn fdb(mac: impl ToString, destination: &str, state: EntryState) -> String {
    let destination = if destination.is_empty() { String::new() } else { format!(" dst {destination}") };
    format!("{}{destination} self {}", mac.to_string(), state.words().to_lowercase())
}

/// What to do about it.
pub(super) fn action(entry: Entry, reason: EntryReason) -> &'static str {
    match (reason, entry) {
        (EntryReason::Missing | EntryReason::Wrong, _) => {
            "see that Felix runs and is healthy on this host (calico-node's log, readiness); it repairs within 99 s, and \
             says nothing of it"
        }
        (EntryReason::NotPermanent, _) => {
            "see that Felix runs here and who else writes to the device; Felix makes the entry permanent within 99 s"
        }
        (EntryReason::Stale, Entry::Neighbour(_)) => {
            "Felix up to 3.27 leaves such entries, a later one takes them away within 99 s if it runs; else ip neigh del"
        }
        (EntryReason::Stale, Entry::Fdb(_)) => {
            "Felix up to 3.27 leaves such entries, a later one takes them away within 99 s if it runs; else bridge fdb del"
        }
    }
}
