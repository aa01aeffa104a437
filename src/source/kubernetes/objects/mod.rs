//! An API object as what it says to Calico. Whatever the bytes are, reading them neither panics nor fails: an object that
//! Calico could not read either is [`Says::Unreadable`], which is never a deletion (J1).

use std::fmt;
use std::time::SystemTime;

use ipnet::IpNet;

use crate::model::{Detail, Name};
use crate::source::calico::{Read, why};
use crate::state::{Event, Object, ObjectId, Unreadable};

use super::{ApiGroup, Resource};

mod block_name;
mod configuration;
mod ipam;
mod ledger;
mod meta;
mod node;
mod pod;
mod unreadable;

#[cfg(test)]
mod tests;

pub use ledger::{Ledger, Reading};

/// Where an object is: `kubectl get` finds it by this. No meaning is taken from a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// What it is.
    pub resource: Resource,
    /// Its namespace; a Pod alone has one.
    pub namespace: Option<Name>,
    /// Its name.
    pub name: Name,
}

impl Place {
    /// Where a block is.
    pub fn of_block(cidr: &IpNet) -> Place {
        Place { resource: Resource::Blocks, namespace: None, name: block_name::of(cidr).into() }
    }

    /// As an operator would look it up: `ipamblocks/10-0-0-0-26`, `pods/default/web-0`.
    pub fn key(&self, group: ApiGroup) -> Name {
        let mut key = String::from(self.resource.plural(group));
        for part in self.namespace.iter().chain([&self.name]) {
            key.push('/');
            key.push_str(part);
        }
        why::printable(&key, 512).into()
    }

    /// What an object here is to Calico, where its name alone says it.
    fn id(&self) -> Option<ObjectId> {
        let name = self.name.clone();
        match self.resource {
            Resource::Blocks => block_name::cidr(&name).map(ObjectId::Block),
            Resource::Pools => Some(ObjectId::Pool(name)),
            Resource::Reservations => Some(ObjectId::Reservation(name)),
            Resource::FelixConfigurations => Some(ObjectId::Felix(name)),
            Resource::BgpConfigurations => Some(ObjectId::BgpConfiguration(name)),
            Resource::BgpPeers => Some(ObjectId::BgpPeer(name)),
            Resource::IpamConfigs => (*name == *"default").then_some(ObjectId::IpamConfig),
            Resource::ClusterInformations => (*name == *"default").then_some(ObjectId::Cluster),
            Resource::Nodes => Some(ObjectId::Node(name)),
            // The name is cut and hashed, is in lower case, lacks the node.
            Resource::Affinities | Resource::Handles | Resource::Pods => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key(ApiGroup::Crd))
    }
}

/// An API object, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// Where it is.
    pub place: Place,
    /// `metadata.uid`, of the very object: another one of the same name has another.
    pub uid: Box<str>,
    /// `metadata.resourceVersion`.
    pub version: Box<str>,
    /// `metadata.creationTimestamp`.
    pub created: Option<SystemTime>,
    /// What it says.
    pub says: Says,
}

/// What an API object says.
#[derive(Debug, Clone, PartialEq)]
pub enum Says {
    /// These exist. It is one, but for a Node whose `podCIDRs` are blocks.
    Objects(Vec<Object>),
    /// These do not: it is marked as deleted, and the row itself goes later or never.
    Deleted(ObjectId),
    /// Nothing to Calico: a Pod on its host's network or on no host yet, a configuration that nobody reads.
    Nothing,
    /// Its value says nothing.
    Unreadable {
        /// Which object, as far as can still be told.
        id: ObjectId,
        /// Where it is stored.
        key: Name,
        /// Why.
        why: Unreadable,
    },
}

impl Decoded {
    /// What it means that a list holds it.
    pub fn events(self) -> Vec<Event> {
        match self.says {
            Says::Objects(objects) => objects.into_iter().map(|object| Event::Put(Box::new(object))).collect(),
            Says::Deleted(id) => vec![Event::Delete(id)],
            Says::Nothing => Vec::new(),
            Says::Unreadable { id, key, why } => vec![Event::Unreadable { id, key, why }],
        }
    }
}

/// How API objects are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoder {
    /// The group that Calico's objects are in.
    pub group: ApiGroup,
    /// How much is kept of a block.
    pub detail: Detail,
    /// Blocks are the Nodes' `podCIDRs` (`USE_POD_CIDR`): told, never guessed.
    pub use_pod_cidr: bool,
    /// What workloads' devices are called by: the first entry of `FELIX_INTERFACEPREFIX`, else `cali`.
    pub interface_prefix: Name,
}

impl Decoder {
    /// One that reads everything of Calico's own IPAM.
    pub fn new(group: ApiGroup) -> Decoder {
        Decoder { group, detail: Detail::Full, use_pod_cidr: false, interface_prefix: "cali".into() }
    }

    /// Reads one object.
    pub fn decode(&self, resource: Resource, item: &[u8]) -> Decoded {
        match self.read(resource, item) {
            Ok(decoded) => decoded,
            Err(why) => unreadable::decoded(self, resource, item, why),
        }
    }

    fn read(&self, resource: Resource, item: &[u8]) -> Result<Decoded, Unreadable> {
        match resource {
            Resource::Blocks => ipam::block(self, item),
            Resource::Affinities => ipam::affinity(self, item),
            Resource::Handles => ipam::handle(self, item),
            Resource::IpamConfigs => ipam::config(self, item),
            Resource::Nodes => node::read(self, item),
            Resource::Pods => pod::read(self, item),
            resource => configuration::read(self, resource, item),
        }
    }
}

/// What was read of one object that may be marked as deleted.
fn says(id: ObjectId, read: Read) -> Result<Says, Unreadable> {
    Ok(read?.map_or(Says::Deleted(id), |object| Says::Objects(vec![object])))
}
