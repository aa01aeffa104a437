//! Calico's etcd datastore (`libcalico-go/lib/backend/etcdv3`). What etcd alone has (the key's form, an affinity
//! without value, a claim time in snake case) ends here.
//!
//! - [`key`]: which object a key stands for, and which prefixes to list and watch.
//! - [`settings`]: how to reach it, as Calico's own tools are told.
//! - [`decode`]: a key and its value as an [`Event`](crate::state::Event).

pub mod decode;
pub mod key;
pub mod settings;
mod timestamp;
