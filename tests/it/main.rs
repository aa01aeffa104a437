//! Integration tests: against a real etcd, a real kernel, the real binary. One test binary, because linking costs more
//! than running.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod etcd;
mod support;
