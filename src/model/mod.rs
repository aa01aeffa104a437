//! What Calico and Linux say, as types: plain data without I/O, clock or logging.
//!
//! Calico's objects ([`AllocationBlock`], [`BlockAffinity`], [`Handle`], [`IpPool`], [`Node`], …) carry Calico's names
//! and only the fields that a rule reads; the kernel's ([`Route`], [`Link`], [`Neighbour`], …) carry Linux's. A value that cannot be
//! read never becomes one of these types: see [`crate::state::Event::Unreadable`].

use std::sync::Arc;

mod address;
mod affinity;
mod bgp;
mod block;
mod cluster;
mod detail;
mod endpoint;
mod felix;
mod few;
mod handle;
mod label_values;
mod labels;
mod link;
mod mac;
mod moment;
mod neighbour;
mod node;
mod pack;
mod pool;
mod printable;
mod route;
mod rule;
mod selector;
mod shared;

pub use address::{Family, address_at, address_count, host_net, host_route, net_of, ordinal_of};
pub use affinity::{AffinityState, BlockAffinity, BlockOwner};
pub use bgp::{BgpConfiguration, BgpPeer, NextHopMode, PeerAddress};
pub use block::{AllocationBlock, Attribute, AttributeKind, Holders, OrdinalSet, SequenceDefect};
pub use cluster::{ClusterInformation, IpamConfig};
pub use detail::{Detail, HandleDigest};
pub(crate) use detail::{is_plain_handle, names_another_container};
pub use endpoint::{EndpointId, WorkloadEndpoint};
pub use felix::{FelixConfiguration, ProgramClusterRoutes};
pub use few::Few;
pub use handle::Handle;
pub(crate) use label_values::label_values;
pub use labels::{Label, Labels};
pub use link::{Link, VxlanDevice};
pub use mac::{Mac, MacError};
pub use moment::{rfc3339, rfc3339_millis};
pub use neighbour::{EntryState, FdbEntry, Neighbour};
pub use node::{Node, NodeAddress, NodeAddressType, NodeBgp, TunnelKind};
pub(crate) use pack::pack;
pub use pool::{EncapMode, IpPool, IpReservation, PoolClass};
pub use printable::{Printable, printable_json, steers};
pub use route::{NextHop, Protocol, Route, RouteKey, RouteType, TABLE_MAIN};
pub use rule::{PolicyRule, RuleAction};
pub use selector::{Selector, SelectorError};
pub use shared::Shared;

/// A name as Calico or the kernel wrote it (a host, a pool, a device): shared, since one host is named by many objects.
pub type Name = Arc<str>;
