//! Pure rules: a picture and a moment in, findings and figures out. No clock, no I/O, no logging.
//!
//! Every rule cites the judgement that decides it (J1…J31) in its documentation.

mod finding;
mod ipam;
mod now;
mod report;
#[cfg(test)]
pub(crate) mod testing;

pub use finding::{Finding, Labels, Metric};
pub use ipam::{IpamAudit, IpamOptions, NO_IPPOOL, NodeFilter, unreadable};
pub use now::Now;
pub use report::{
    ClassCounts, Encapsulation, Histogram, HostFigures, IpamReport, PoolFigures, Report, RouteClass, RoutesReport,
    TunnelMode, TunnelModes,
};
