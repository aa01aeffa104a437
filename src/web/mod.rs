//! What is served over HTTP: `/metrics`, the findings, health, and a page that a person can read.
//!
//! A request is answered from the last [`Published`](crate::metrics::Published) and changes nothing: no lock stands
//! between it and the engine.

mod access;
mod body;
mod clients;
mod explanation;
mod findings;
mod history;
mod listen;
mod negotiate;
mod page;
mod server;
mod service;
mod stall;
mod streams;

pub use access::{Access, AccessError};
pub use explanation::explanation_json;
pub use findings::findings_json;
pub use listen::{BindError, ListenAddress, ListenAddressError};
pub use page::{runbook_of, runbook_url};
pub use server::{Bound, Server, ServerConfig};
pub use service::{WebConfig, WebState};
