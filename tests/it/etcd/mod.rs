//! The live etcd source against a real etcd.

mod access;
mod affinities;
mod faults;
mod follow;
mod lies;
mod load;
mod outage;
mod rotation;
