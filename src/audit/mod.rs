//! Pure rules: a picture and a moment in, findings and figures out. No clock, no I/O, no logging.
//!
//! Every rule cites the judgement that decides it (J1…J45, `docs/judgement.md`) in its documentation.

pub mod explain;
pub mod handles;
pub mod leaks;
pub mod node_addresses;
pub mod plan;
pub mod sweep;
pub mod tunnel_addresses;

mod auditor;
mod bgp;
mod bird_routes;
mod cannot_tell;
mod causes;
mod derived;
mod diverted;
mod doubts;
mod expect;
mod fault;
mod finding;
pub mod forward;
mod grace;
mod ipam;
mod judge;
mod limits;
mod named;
mod natural;
mod note;
mod now;
mod place;

mod report;
mod routes;
mod rows;
mod setting;
mod severity;
mod strangers;
mod totals;
mod tunnel_devices;
mod tunnel_entries;
mod tunnels;
mod underlay;
mod wireguard;
mod words;

#[cfg(test)]
mod auditor_tests;
#[cfg(test)]
mod routes_tests;
#[cfg(test)]
mod sample;
#[cfg(test)]
pub(crate) mod testing;

pub use auditor::{AuditOptions, Auditor, Judged};
pub use bgp::{Reach, Sessions};
pub use cannot_tell::CannotTell;
pub use causes::{Cause, CauseKind};
pub use doubts::Urgency;
pub use fault::{
    AffinityReason, Alert, BlockReason, EntryReason, Fault, HandleReason, LeakReason, Metric, MismatchReason,
    NodeReason, OwnerReason, Part, RouteReason, TunnelReason,
};
pub use finding::{Candidate, Finding};
pub use grace::Standing;
pub use ipam::{
    AddressState, AddressView, BlockContent, BlockView, HostBlocks, IpamAudit, IpamOptions, NO_IPPOOL, NodeFilter,
    unreadable,
};
pub use limits::{ADDRESSES_EXHAUSTED, ADDRESSES_LOW, BLOCKS_LOW, Limit, limits};
pub use named::NAMED_HOSTS;
pub use natural::natural;
pub use note::Note;
pub use now::Now;
pub use report::{
    ClassCounts, Encapsulation, EntryCounts, Histogram, HostFigures, IpamReport, PoolFigures, Report, RouteClass,
    RoutesReport, TunnelMode, TunnelModes, TunnelsReport,
};
pub use routes::{RouteAudit, RouteOptions, TunnelOptions};
pub use rows::{RoutePage, RouteRow, RouteState};
pub use setting::{Backend, FelixOverrides};
pub use severity::{Counts, Severity};
pub use tunnel_entries::{Entry, Peer, Tunnel, TunnelAudit, tunnels};
