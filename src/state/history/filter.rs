//! Which entries a reader wants.

use std::time::SystemTime;

use ipnet::IpNet;

use super::entry::{Area, Entry};
use crate::model::{Name, host_net, host_route};

/// What an entry has to have; every part that is given has to hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// It is about this subject: a name, or addresses that overlap its own. A default route concerns every address, and
    /// is not meant.
    pub subject: Option<Box<str>>,
    /// It concerns this host.
    pub host: Option<Name>,
    /// It happened there.
    pub area: Option<Area>,
    /// It is not older than this.
    pub since: Option<SystemTime>,
}

/// The addresses that a subject names: a CIDR, or an address.
pub(super) fn place_of(subject: &str) -> Option<IpNet> {
    let net: Option<IpNet> = subject.parse().ok();
    net.map(|net| net.trunc()).or_else(|| Some(host_net(subject.parse().ok()?)))
}

impl Filter {
    /// Whether the entry is wanted.
    pub fn admits(&self, entry: &Entry) -> bool {
        self.area.is_none_or(|area| entry.area == area)
            && self.since.is_none_or(|since| entry.at >= since)
            && self.host.as_ref().is_none_or(|host| concerns(entry, host))
            && self.subject.as_deref().is_none_or(|subject| is_about(entry, subject))
    }
}

fn concerns(entry: &Entry, host: &Name) -> bool {
    entry.host.as_ref() == Some(host) || *entry.subject == **host
}

fn is_about(entry: &Entry, subject: &str) -> bool {
    if *entry.subject == *subject || entry.host.as_deref() == Some(subject) {
        return true;
    }
    let Some(asked) = place_of(subject) else { return false };
    let overlaps = |net: &IpNet| net.prefix_len() > 0 && (net.contains(&asked) || asked.contains(net));
    match &entry.burst {
        Some(burst) => burst.places.iter().any(overlaps),
        None => entry.place.as_ref().is_some_and(overlaps),
    }
}

/// An address bare, a prefix as CIDR.
pub(super) fn subject_of(net: &IpNet) -> Box<str> {
    host_route(net).map_or_else(|| net.to_string(), |address| address.to_string()).into()
}
