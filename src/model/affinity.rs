//! Which host a block belongs to: the affinity key's side of it (`libcalico-go/lib/backend/model/block_affinity.go`).

use std::fmt;

use ipnet::IpNet;

use super::Name;
use super::label_values::label_values;

/// Who a block is affine to: the `affinity` of a block's value and the type and name in an affinity's key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BlockOwner {
    /// `host:NAME`: a Calico node.
    Host(Name),
    /// `virtual:NAME`; the only name in use is `load-balancer`.
    Virtual(Name),
    /// Text of neither form. It is an owner, and nobody's host.
    Other(Name),
}

impl BlockOwner {
    /// Reads the `affinity` string of a block. The empty string means no owner.
    pub fn parse(text: &str) -> Option<BlockOwner> {
        match text.split_once(':') {
            _ if text.is_empty() => None,
            Some(("host", name)) => Some(BlockOwner::Host(name.into())),
            Some(("virtual", name)) => Some(BlockOwner::Virtual(name.into())),
            _ => Some(BlockOwner::Other(text.into())),
        }
    }

    /// The host's name, where the owner is a host.
    pub fn host(&self) -> Option<&Name> {
        match self {
            BlockOwner::Host(name) => Some(name),
            BlockOwner::Virtual(_) | BlockOwner::Other(_) => None,
        }
    }
}

impl fmt::Display for BlockOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BlockOwner::Host(name) => write!(f, "host:{name}"),
            BlockOwner::Virtual(name) => write!(f, "virtual:{name}"),
            BlockOwner::Other(text) => f.write_str(text),
        }
    }
}

label_values! {
    /// How far a claim or a release has come. An absent or empty `state` is confirmed: old data has none
    /// (`libcalico-go/lib/ipam/ipam.go`, `getBlockFromAffinity`).
    pub enum AffinityState {
        /// The block is the host's.
        Confirmed = "confirmed",
        /// The key was written, the block may not be yet. confd ignores it.
        Pending = "pending",
        /// The block is being released. confd still exports it.
        PendingDeletion = "pendingDeletion",
    }
}

/// One affinity key: a claim of `owner` to the block `cidr`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockAffinity {
    /// Who claims.
    pub owner: BlockOwner,
    /// The block, masked.
    pub cidr: IpNet,
    /// How far the claim is.
    pub state: AffinityState,
}
