//! Pure rules: a picture and a moment in, findings and figures out. No clock, no I/O, no logging.
//!
//! Every rule cites the judgement that decides it (J1…J31) in its documentation.

pub mod bgp;
pub mod expect;
mod finding;
mod grace;
pub mod judge;
mod now;
mod report;
pub mod routes;
pub mod setting;
pub mod tunnels;
mod words;

pub use bgp::{Reach, Sessions};
pub use finding::{Finding, Labels, Metric};
pub use grace::Standing;
pub use now::Now;
pub use report::{
    ClassCounts, Encapsulation, Histogram, HostFigures, IpamReport, PoolFigures, Report, RouteClass, RoutesReport,
    TunnelMode, TunnelModes,
};
pub use routes::{RouteAudit, RouteOptions};
pub use setting::Backend;
