//! One entry judged: what ought to be there against what is.

use std::net::IpAddr;

use super::peers::{Peer, Tunnel};
use crate::audit::fault::EntryReason;
use crate::model::{EntryState, Mac};
use crate::state::{Kernel, Table, Tunnels};

/// An entry of a tunnel's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Entry {
    /// Who has this tunnel address.
    Neighbour(IpAddr),
    /// Where a frame for this MAC goes.
    Fdb(Mac),
}

impl Entry {
    /// The table that it is in.
    pub fn table(self) -> Table {
        match self {
            Entry::Neighbour(_) => Table::Neighbours,
            Entry::Fdb(_) => Table::Fdb,
        }
    }

    /// Its key, as a finding's subject.
    pub(super) fn subject(self) -> String {
        match self {
            Entry::Neighbour(address) => address.to_string(),
            Entry::Fdb(mac) => mac.to_string(),
        }
    }
}

/// What is known of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Verdict {
    /// It is there for good.
    pub actual: bool,
    /// It ought to be.
    pub expected: bool,
    /// What is wrong.
    pub difference: Option<EntryReason>,
}

/// What the kernel has: the value, where there is one, and the state.
type Actual<V> = Option<(Option<V>, EntryState)>;

/// `certain`: every Node can be read, so that what none asks for is asked for by nobody (J1).
pub(super) fn judge(tunnel: &Tunnel, tables: &Tunnels, entry: Entry, certain: bool) -> Verdict {
    // An end that has this host's own address is one fault of the datastore (J13), and its entries may be there or not.
    if owners(tunnel, entry).iter().any(|peer| tunnel.is_own(peer.address)) {
        let permanent = match entry {
            Entry::Neighbour(address) => tables.neighbour(tunnel.index, address).map(|it| it.state),
            Entry::Fdb(mac) => tables.fdb_entry(tunnel.index, mac).map(|it| it.state),
        };
        let permanent = permanent.is_some_and(|state| state.is_permanent());
        return Verdict { actual: permanent, expected: permanent, difference: None };
    }
    match entry {
        Entry::Neighbour(address) => {
            let actual = tables.neighbour(tunnel.index, address).map(|it| (it.mac, it.state));
            compare(tunnel.at(address).map(|peer| peer.mac), actual, certain)
        }
        Entry::Fdb(mac) => {
            let actual = tables.fdb_entry(tunnel.index, mac).map(|it| (it.destination, it.state));
            compare(tunnel.with_mac(mac).map(|peer| peer.host), actual, certain)
        }
    }
}

/// What is not permanent is nobody's business, unless it is where a permanent entry ought to be.
fn compare<V: PartialEq>(wanted: impl Iterator<Item = V>, actual: Actual<V>, certain: bool) -> Verdict {
    let mut wanted = wanted.peekable();
    let expected = wanted.peek().is_some();
    let permanent = actual.as_ref().is_some_and(|(_, state)| state.is_permanent());
    let difference = match (expected, actual) {
        (true, None | Some((None, _))) => Some(EntryReason::Missing),
        (true, Some((Some(value), _))) if !wanted.any(|it| it == value) => Some(EntryReason::Wrong),
        (true, Some(_)) if !permanent => Some(EntryReason::NotPermanent),
        (false, Some(_)) if permanent && certain => Some(EntryReason::Stale),
        _ => None,
    };
    Verdict { actual: permanent, expected: expected || (permanent && !certain), difference }
}

/// Whether a route of the main table through the tunnel's device needs the entry now.
pub(super) fn is_used(tunnel: &Tunnel, kernel: &Kernel, entry: Entry) -> bool {
    let is_used = |address| kernel.is_used(&tunnel.device, address);
    match entry {
        Entry::Neighbour(address) => is_used(address),
        Entry::Fdb(mac) => tunnel.with_mac(mac).any(|peer| is_used(peer.address)),
    }
}

/// Whose it is.
pub(super) fn owners(tunnel: &Tunnel, entry: Entry) -> Vec<&Peer> {
    match entry {
        Entry::Neighbour(address) => tunnel.at(address).collect(),
        Entry::Fdb(mac) => tunnel.with_mac(mac).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_right_if_it_is_permanent_and_leads_to_one_who_asks_for_it() {
        use EntryReason as R;
        let of =
            |wanted: &[u8], actual: Actual<u8>, certain| compare(wanted.iter().copied(), actual, certain).difference;
        let is = |value, state| Some((value, EntryState(state)));
        type Case = (&'static [u8], Actual<u8>, bool, Option<R>);
        let table: &[Case] = &[
            (&[1], is(Some(1), 0x80), true, None),
            (&[1], is(Some(1), 0xc0), true, None),
            (&[1, 2], is(Some(2), 0x80), true, None),
            (&[1], None, true, Some(R::Missing)),
            (&[1], is(None, 0x20), true, Some(R::Missing)),
            (&[1], is(None, 0x01), true, Some(R::Missing)),
            (&[1], is(Some(2), 0x80), true, Some(R::Wrong)),
            (&[1], is(Some(2), 0x04), true, Some(R::Wrong)),
            (&[1], is(Some(1), 0x04), true, Some(R::NotPermanent)),
            (&[1], is(Some(1), 0x40), true, Some(R::NotPermanent)),
            (&[], None, true, None),
            (&[], is(Some(1), 0x80), true, Some(R::Stale)),
            (&[], is(None, 0x80), true, Some(R::Stale)),
            (&[], is(Some(1), 0x80), false, None),
            (&[], is(Some(1), 0x40), true, None),
            (&[], is(Some(1), 0x02), true, None),
            (&[], is(None, 0x20), true, None),
        ];
        for (wanted, actual, certain, expected) in table {
            assert_eq!(of(wanted, *actual, *certain), *expected, "{wanted:?} {actual:?} {certain}");
        }
    }
}
