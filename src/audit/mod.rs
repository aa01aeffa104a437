//! Pure rules: a picture and a moment in, findings and figures out. No clock, no I/O, no logging.
//!
//! Every rule cites the judgement that decides it (J1…J31) in its documentation.

pub mod handles;
pub mod leaks;
pub mod sweep;
pub mod tunnel_addresses;

mod finding;
mod report;
#[cfg(test)]
mod sample;

pub use finding::{Finding, Labels, Metric};
pub use report::{
    ClassCounts, Encapsulation, Histogram, HostFigures, IpamReport, PoolFigures, Report, RouteClass, RoutesReport,
    TunnelMode, TunnelModes,
};
