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
//! - [`metrics`]: the report as Prometheus reads it: one catalogue, two text formats.
//! - [`web`]: what is served over HTTP.
//! - [`source`]: etcd, netlink and files; all speak [`state::Event`].
//! - [`engine`]: the one task that owns the state and publishes reports.
//! - [`log`]: lines to stderr, which never wait for their reader.
//! - [`cli`], [`config`], [`command`]: what a person types, what it means, and what it does.

pub mod audit;
pub mod cli;
pub mod command;
pub mod config;
pub mod engine;
pub mod log;
pub mod metrics;
pub mod model;
pub mod source;
pub mod state;
pub mod web;
