//! What a person ought to know and what is no fault: a line beside the findings.

use std::fmt;

use ipnet::IpNet;

use super::node_addresses::listed;
use crate::model::Name;
use crate::state::Datastore;

/// A line of information.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Note {
    /// Calico's IPAM has left nothing: addresses are somebody else's to give out (J38).
    NoIpam,
    /// A pool that gives addresses out holds Nodes' own, in no block yet (J34).
    NodesInPool {
        /// The pool.
        pool: Name,
        /// Its CIDR.
        cidr: IpNet,
        /// The Nodes.
        nodes: Vec<Name>,
    },
}

impl Note {
    /// Whether anything is left by Calico's IPAM at all.
    pub(super) fn of_ipam(datastore: &Datastore) -> Option<Note> {
        (!datastore.has_ipam()).then_some(Note::NoIpam)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::NoIpam => f.write_str("no IPAM block: is IPAM host-local? --kubernetes.use-pod-cidr"),
            Note::NodesInPool { pool, cidr, nodes } => write!(
                f,
                "pool {pool} ({cidr}) holds the addresses of Nodes ({}): the first block over them cuts these Nodes off",
                listed(nodes)
            ),
        }
    }
}
