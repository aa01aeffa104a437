//! Where the pictures come from. A source reads what Calico stores or what Linux routes and says it as
//! [`Event`](crate::state::Event)s; nothing above this module knows a key, a byte or a socket.
//!
//! - [`etcd`]: keys and values of Calico's etcd datastore, and how to connect to it.
//! - [`mod@file`]: dumps written by `etcdctl`, for judging a cluster without reaching it.

pub mod etcd;
pub mod file;
