//! `calico-exporter` tells whether the network that Calico's datastore describes is the network that this host's
//! kernel has. Data flows one way and imports point the other:
//!
//! ```text
//! source ──Event──▶ engine(State) ──▶ audit ──Report──▶ metrics ──▶ web
//! ```
//!
//! - [`model`]: what Calico and Linux say, as types.
//! - [`state`]: both pictures, folded from events.
//! - [`audit`]: pure rules; a picture and a moment in, a report out.
//! - [`source`]: etcd, netlink and files; all speak [`state::Event`].

pub mod audit;
pub mod model;
pub mod source;
pub mod state;
