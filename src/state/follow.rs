//! How much of the datastore events tell of, and what is asked of a source beside that.

use ipnet::IpNet;

use super::event::ObjectId;
use crate::model::{EndpointId, Name};

/// Which blocks events tell of (`--routes.watch`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Follow {
    /// All of them.
    #[default]
    Blocks,
    /// All affinity keys, and the blocks that this host has a key to. What another host's block says is asked for,
    /// where a route turns on it.
    Affinities(Name),
}

/// A question to a source. It is answered among the events, or not at all, and then it is asked again: by
/// [`Event::Put`](super::Event::Put), [`Event::Unreadable`](super::Event::Unreadable) or
/// [`Event::Delete`](super::Event::Delete) of the object as it is now, or by [`Event::Same`](super::Event::Same).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Lookup {
    /// A workload endpoint.
    Endpoint(EndpointId),
    /// A block that is not followed.
    Block {
        /// Which.
        cidr: IpNet,
        /// What the last answer said is still known: [`Event::Same`](super::Event::Same) is enough of an answer.
        held: bool,
    },
}

impl Lookup {
    /// What it asks about.
    pub fn id(&self) -> ObjectId {
        match self {
            Lookup::Endpoint(id) => ObjectId::Endpoint(id.clone()),
            Lookup::Block { cidr, .. } => ObjectId::Block(*cidr),
        }
    }
}
