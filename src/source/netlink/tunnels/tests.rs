//! Messages as Linux 6.18 sends them, byte by byte, and what they do to the picture.

use super::*;
use crate::model::EntryState;
use crate::source::netlink::decode::Decode;
use decode::{RTM_DELNEIGH, RTM_NEWNEIGH};

/// `ip neigh add 10.1.0.64 lladdr 66:00:00:00:00:02 dev vxlan.calico nud permanent`.
const NEIGHBOUR: &[u8] = &[
    2, 0, 0, 0, 5, 0, 0, 0, 0x80, 0, 0, 1, // ndmsg: IPv4, 5, PERMANENT, unicast
    8, 0, 1, 0, 10, 1, 0, 64, // NDA_DST
    10, 0, 2, 0, 0x66, 0, 0, 0, 0, 2, 0, 0, // NDA_LLADDR
];

/// `bridge fdb add 66:00:00:00:00:02 dst 172.18.0.2 dev vxlan.calico`.
const ENTRY: &[u8] = &[
    7, 0, 0, 0, 5, 0, 0, 0, 0xc0, 0, 2, 0, // ndmsg: bridge, 5, PERMANENT|NOARP, SELF
    10, 0, 2, 0, 0x66, 0, 0, 0, 0, 2, 0, 0, // NDA_LLADDR
    8, 0, 1, 0, 172, 18, 0, 2, // NDA_DST
];

fn decoded(kind: u16, bytes: &[u8]) -> Change {
    Change::decode(kind, bytes).unwrap().unwrap()
}

fn with(bytes: &[u8], place: usize, byte: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[place] = byte;
    bytes
}

fn apply(tunnels: &mut Tunnels, change: Change) -> (Vec<Event>, bool) {
    let mut events = Vec::new();
    let doubt = tunnels.apply(change, false, &mut events);
    (events, doubt.is_err())
}

fn known() -> Tunnels {
    Tunnels { devices: [(5, "vxlan.calico".into())].into(), ..Tunnels::default() }
}

#[test]
fn neighbours_and_forwarding_entries_are_read_and_others_passed_over() {
    let Change::Neighbour(neighbour) = decoded(RTM_NEWNEIGH, NEIGHBOUR) else { panic!() };
    assert_eq!((neighbour.device, neighbour.address), (5, "10.1.0.64".parse().unwrap()));
    assert_eq!((neighbour.mac, neighbour.state), ("66:00:00:00:00:02".parse().ok(), EntryState::PERMANENT));
    let Change::Fdb(entry) = decoded(RTM_NEWNEIGH, ENTRY) else { panic!() };
    assert_eq!((entry.mac, entry.destination), (neighbour.mac.unwrap(), "172.18.0.2".parse().ok()));
    assert!(entry.state.is_permanent() && entry.state != EntryState::PERMANENT);
    for (bytes, why) in [
        (with(ENTRY, 10, 4), "a bridge's (NTF_MASTER)"),
        (with(NEIGHBOUR, 10, 8), "what this host answers for (NTF_PROXY)"),
        (with(NEIGHBOUR, 0, 12), "of DECnet"),
    ] {
        assert_eq!(Change::decode(RTM_NEWNEIGH, &bytes).unwrap(), None, "{why}");
    }
    // A header alone has no address, and what is cut off is an error.
    assert_eq!(Change::decode(RTM_NEWNEIGH, &NEIGHBOUR[..12]).unwrap(), None);
    for length in [1, 11, 14, 19, 26] {
        assert!(Change::decode(RTM_NEWNEIGH, &NEIGHBOUR[..length]).is_err(), "{length}");
    }
}

#[test]
fn messages_of_other_devices_are_of_no_interest() {
    let tunnels = known();
    assert!(tunnels.interests(RTM_NEWNEIGH, NEIGHBOUR) && tunnels.interests(RTM_DELNEIGH, ENTRY));
    assert!(!tunnels.interests(RTM_NEWNEIGH, &with(NEIGHBOUR, 4, 6)));
    assert!(!tunnels.interests(RTM_DELNEIGH, &with(ENTRY, 5, 1)));
    assert!(tunnels.interests(RTM_NEWNEIGH, &NEIGHBOUR[..6]), "what cannot be told is to be read, and refused");
    assert!(tunnels.interests(16, &[0; 16]), "a link");
}

#[test]
fn an_entry_is_told_of_once_and_a_delete_of_another_destination_is_none() {
    let mut tunnels = known();
    let (neighbour, entry) = (decoded(RTM_NEWNEIGH, NEIGHBOUR), decoded(RTM_NEWNEIGH, ENTRY));
    for change in [&neighbour, &entry] {
        assert_eq!(apply(&mut tunnels, change.clone()).0.len(), 1);
        assert_eq!(apply(&mut tunnels, change.clone()), (vec![], false), "again");
    }
    let elsewhere = decoded(RTM_NEWNEIGH, &with(ENTRY, 31, 9));
    assert_eq!(apply(&mut tunnels, elsewhere).0.len(), 1);
    assert_eq!(apply(&mut tunnels, decoded(RTM_DELNEIGH, ENTRY)), (vec![], false));
    let gone = apply(&mut tunnels, decoded(RTM_DELNEIGH, &with(ENTRY, 31, 9)));
    assert_eq!(gone, (vec![Event::FdbGone(5, "66:00:00:00:00:02".parse().unwrap())], false));
    let gone = apply(&mut tunnels, decoded(RTM_DELNEIGH, NEIGHBOUR));
    assert_eq!(gone, (vec![Event::NeighbourGone(5, "10.1.0.64".parse().unwrap())], false));
    assert_eq!(tunnels, known());
    // Of another device, as it is heard while everything is listed.
    assert_eq!(apply(&mut tunnels, decoded(RTM_NEWNEIGH, &with(ENTRY, 4, 6))), (vec![], false));
    let zero = [&ENTRY[..16], &[0; 8], &ENTRY[24..]].concat();
    assert_eq!(apply(&mut tunnels, decoded(RTM_DELNEIGH, &zero)), (vec![], true), "there may be another");
}

#[test]
fn a_device_that_is_made_anew_takes_its_entries_along_and_is_listed_anew() {
    let mut tunnels = known();
    for bytes in [NEIGHBOUR, ENTRY] {
        apply(&mut tunnels, decoded(RTM_NEWNEIGH, bytes));
    }
    assert_eq!(apply(&mut tunnels, Change::Link(5, Some("vxlan.calico".into()))), (vec![], false));
    assert_eq!(apply(&mut tunnels, Change::Link(5, None)), (vec![], false));
    assert_eq!(apply(&mut tunnels, Change::Link(9, Some("cali123".into()))), (vec![], false));
    assert_eq!(apply(&mut tunnels, Change::LinkGone(9)), (vec![], false));
    let (events, doubted) = apply(&mut tunnels, Change::LinkGone(5));
    assert_eq!((events.len(), doubted), (2, false));
    assert_eq!(apply(&mut tunnels, Change::Link(7, Some("vxlan.calico".into()))), (vec![], true));
    assert!(tunnels.interests(RTM_NEWNEIGH, &with(NEIGHBOUR, 4, 7)));
    assert!(!tunnels.interests(RTM_NEWNEIGH, NEIGHBOUR));
    // Renamed, it is nobody's.
    apply(&mut tunnels, decoded(RTM_NEWNEIGH, &with(NEIGHBOUR, 4, 7)));
    let (events, doubted) = apply(&mut tunnels, Change::Link(7, Some("vxlan.old".into())));
    assert_eq!((events.len(), doubted), (1, false));
    assert_eq!(tunnels, Tunnels::default());
}

#[test]
fn the_difference_turns_one_picture_into_the_other() {
    let mut old = known();
    for bytes in [NEIGHBOUR.to_vec(), ENTRY.to_vec(), with(NEIGHBOUR, 19, 65)] {
        apply(&mut old, decoded(RTM_NEWNEIGH, &bytes));
    }
    let mut fresh = known();
    for bytes in [with(NEIGHBOUR, 8, 4), with(ENTRY, 21, 3)] {
        apply(&mut fresh, decoded(RTM_NEWNEIGH, &bytes));
    }
    fresh.rules.insert(Family::V4, Vec::new());
    let difference = old.difference(&fresh);
    assert_eq!(difference.len(), 5, "{difference:?}");
    assert_eq!(fresh.difference(&fresh), []);
}

/// `FRA_SUPPRESS_IFGROUP` and what no kernel has yet are not passed over: for which packets such a rule is, is not known.
#[test]
fn an_attribute_of_a_rule_that_is_not_understood_makes_it_a_rule_for_some_packets() {
    let rule = |attribute: u8| {
        // `from all lookup 56`, and an attribute of four bytes.
        let header = [2, 0, 0, 0, 56, 0, 0, 1, 0, 0, 0, 0];
        let more = [8, 0, attribute, 0, 3, 0, 0, 0];
        match Change::decode(32, &[&header[..], &more].concat()).unwrap() {
            Some(Change::Rule(rule)) => rule.selective,
            other => panic!("{other:?}"),
        }
    };
    // Flow label, group of devices, a number that nothing has.
    assert!(rule(26) && rule(13) && rule(77));
    // A realm, and who made it.
    assert!(!rule(11) && !rule(21));
}
