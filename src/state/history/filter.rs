//! Which entries a reader wants.

use std::time::SystemTime;

use ipnet::IpNet;

use super::entry::{Area, Entry};
use crate::model::{Name, host_route, net_of};

/// What an entry has to have; every part that is given has to hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// It is about this subject: a name, or addresses that overlap its own. A default route concerns every address, and
    /// is not meant.
    pub subject: Option<Subject>,
    /// It concerns this host.
    pub host: Option<Name>,
    /// It happened there.
    pub area: Option<Area>,
    /// It is not older than this.
    pub since: Option<SystemTime>,
}

/// A name, and the addresses that it stands for if it is an address or a CIDR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    name: Box<str>,
    place: Option<IpNet>,
}

impl Subject {
    /// Its text.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<T: Into<Box<str>>> From<T> for Subject {
    fn from(name: T) -> Subject {
        let name = name.into();
        Subject { place: net_of(&name), name }
    }
}

impl Filter {
    /// Whether the entry is wanted.
    pub fn admits(&self, entry: &Entry) -> bool {
        self.area.is_none_or(|area| entry.area == area)
            && self.since.is_none_or(|since| entry.at >= since)
            && self.host.as_ref().is_none_or(|host| concerns(entry, host))
            && self.subject.as_ref().is_none_or(|subject| is_about(entry, subject))
    }
}

fn concerns(entry: &Entry, host: &Name) -> bool {
    entry.host.as_ref() == Some(host) || *entry.subject == **host
}

fn is_about(entry: &Entry, subject: &Subject) -> bool {
    if entry.subject == subject.name || entry.host.as_deref() == Some(&*subject.name) {
        return true;
    }
    let Some(asked) = subject.place else { return false };
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
