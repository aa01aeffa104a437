//! Pure rules: a picture and a moment in, findings and figures out. No clock, no I/O, no logging.
//!
//! Every rule cites the judgement that decides it (J1…J31) in its documentation.

mod finding;
mod reasons;
mod report;

pub use finding::{Finding, Labels, Metric};
pub use reasons::{Part, TUNNEL_ADDRESS_REASONS, TUNNEL_DEVICE_REASONS};
pub use report::{
    ClassCounts, Encapsulation, Histogram, HostFigures, IpamReport, PoolFigures, Report, RouteClass, RoutesReport,
    TunnelMode, TunnelModes,
};
