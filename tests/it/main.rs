//! Tests against the real things: one binary, so that it is linked once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends with a panic")]

mod fixtures;
mod ipam;
mod metrics;
mod netlink;
mod support;
