//! Pure rules: a picture and a moment in, findings and figures out. No clock, no I/O, no logging.
//!
//! Every rule cites the judgement that decides it (J1…J31) in its documentation.

mod bgp;
mod finding;
mod report;

pub use bgp::{BIRD_START, Reach, Sessions, bird_grace, bird_has_written};
pub use finding::{Finding, Labels, Metric};
pub use report::{
    ClassCounts, Encapsulation, Histogram, HostFigures, IpamReport, PoolFigures, Report, RouteClass, RoutesReport,
    TunnelMode, TunnelModes,
};
