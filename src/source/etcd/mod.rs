//! Calico's etcd datastore (`libcalico-go/lib/backend/etcdv3`). What etcd alone has (the key's form, an affinity
//! without value, a claim time in snake case) ends here.
//!
//! - [`key`]: which object a key stands for, and which prefixes to list and watch.
//! - [`settings`]: how to reach it, as Calico's own tools are told.
//! - [`decode`]: a key and its value as an [`Event`](crate::state::Event).
//! - [`run()`] lists, watches and starts again for as long as the exporter runs; [`snapshot`] lists once; [`sweep`]
//!   reads what is too numerous to follow.

mod client;
pub mod decode;
mod error;
pub mod key;
mod list;
mod lookup;
mod once;
mod own;
mod range;
mod run;
pub mod settings;
mod watch;

pub use client::{Connection, Timeouts};
pub use error::EtcdError;
pub use list::Lister;
pub use once::{Reader, affinities, connect, raw, snapshot, sweep};
pub use range::{KeyRange, Swept};
pub use run::{Config, run};
pub use watch::Probe;
