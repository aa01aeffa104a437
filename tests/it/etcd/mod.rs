//! The live etcd source against a real etcd.

mod access;
mod follow;
mod load;
mod outage;
