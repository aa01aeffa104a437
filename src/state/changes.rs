//! What changed since the audit last looked, so that an event costs what it touches and not a walk over the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::event::ObjectId;
use super::history::Program;
use crate::model::{Mac, Name};

/// Places to look at again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// CIDRs whose block or keys changed.
    pub cidrs: BTreeSet<IpNet>,
    /// Addresses whose endpoints changed.
    pub addresses: BTreeSet<IpAddr>,
    /// Destinations whose routes changed.
    pub destinations: BTreeSet<IpNet>,
    /// Those of them that changed in other tables than main.
    pub other_tables: BTreeSet<(u32, IpNet)>,
    /// Which program changed them, as far as that was heard.
    pub programs: BTreeMap<IpNet, Program>,
    /// Devices that changed, came or went.
    pub devices: BTreeSet<Name>,
    /// Neighbours that changed, by device and address.
    pub neighbours: BTreeSet<(u32, IpAddr)>,
    /// Forwarding entries that changed, by device and MAC.
    pub fdb: BTreeSet<(u32, Mac)>,
    /// Policy rules changed.
    pub rules: bool,
    /// A table of neighbours or of forwarding entries is known now.
    pub tables: bool,
    /// Handles changed.
    pub handles: bool,
    /// A list of the datastore is complete.
    pub listed: bool,
    /// Something that everything depends on changed: a pool, a node, a setting.
    pub everything: bool,
}

impl Changes {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Changes::default()
    }

    /// Adds what another look is still owed.
    pub fn merge(&mut self, other: Changes) {
        if self.is_empty() {
            *self = other;
            return;
        }
        self.cidrs.extend(other.cidrs);
        self.addresses.extend(other.addresses);
        self.destinations.extend(other.destinations);
        self.other_tables.extend(other.other_tables);
        self.programs.extend(other.programs);
        self.devices.extend(other.devices);
        self.neighbours.extend(other.neighbours);
        self.fdb.extend(other.fdb);
        self.rules |= other.rules;
        self.tables |= other.tables;
        self.handles |= other.handles;
        self.listed |= other.listed;
        self.everything |= other.everything;
    }

    /// What concerns that which is beneath the routes; entries are taken out, rules are both audits' to see.
    pub(crate) fn take_beneath(&mut self) -> Changes {
        Changes {
            neighbours: std::mem::take(&mut self.neighbours),
            fdb: std::mem::take(&mut self.fdb),
            devices: self.devices.clone(),
            // A rule is right if it leads to a table with the right routes.
            rules: self.rules | !self.destinations.is_empty(),
            tables: std::mem::take(&mut self.tables),
            everything: self.everything,
            ..Changes::default()
        }
    }

    pub(super) fn object(&mut self, id: &ObjectId) {
        match id {
            ObjectId::Block(cidr) | ObjectId::Affinity(_, cidr) => {
                self.cidrs.insert(*cidr);
            }
            // An endpoint's addresses are noted where they are known.
            ObjectId::Endpoint(_) => {}
            ObjectId::Handle(_) => self.handles = true,
            ObjectId::IpamConfig
            | ObjectId::Pool(_)
            | ObjectId::Reservation(_)
            | ObjectId::Node(_)
            | ObjectId::Felix(_)
            | ObjectId::BgpConfiguration(_)
            | ObjectId::BgpPeer(_)
            | ObjectId::Cluster
            | ObjectId::Malformed(..) => self.everything = true,
        }
    }

    pub(super) fn address(&mut self, address: IpAddr) {
        self.addresses.insert(address);
    }
}
