//! What a person ought to know and what is no fault: a line beside the findings.

use std::fmt;

use super::cannot_tell::has_ipam;
use crate::state::Datastore;

/// A line of information.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Note {
    /// Calico's IPAM has left nothing: addresses are somebody else's to give out (J38).
    NoIpam,
}

impl Note {
    /// What there is to say of a datastore.
    pub fn of(datastore: &Datastore) -> Vec<Note> {
        if has_ipam(datastore) { Vec::new() } else { vec![Note::NoIpam] }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::NoIpam => f.write_str("no IPAM block: is IPAM host-local? --kubernetes.use-pod-cidr"),
        }
    }
}
