//! Tests against the real things: recordings of real Calico, a real etcd, a real kernel, the real binary. One binary,
//! so that it is linked once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends with a panic")]

mod alerts;
mod bgp;
mod both_forms;
mod bundle;
mod cannot_tell;
mod cases;
mod causes;
mod charts;
mod check;
mod commands;
mod dashboards;
mod deploy;
mod e2e;
mod etcd;
mod explain;
mod exposition;
mod fixtures;
mod forward;
mod guarded;
mod ipam;
mod judgement;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod layering;
mod leaks;
mod metrics;
mod netlink;
mod newcomer;
mod pages;
mod plan;
mod random;
mod reliability;
mod sample;
mod scale;
mod scraped;
mod ship;
mod soak;
mod store;
mod support;
mod tunnels;
mod web;
