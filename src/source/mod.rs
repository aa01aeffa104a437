//! Where the pictures come from. A source reads what Calico stores or what Linux routes and says it as
//! [`Event`](crate::state::Event)s; nothing above this module knows a key, a byte or a socket.
//!
//! - `calico`: Calico's JSON, as far as both datastores write it alike.
//! - [`etcd`]: Calico's etcd datastore, live.
//! - [`backoff`]: how long to wait before a lost source is tried again.
//! - [`mod@file`]: dumps written by `etcdctl` or `kubectl`, for judging a cluster without reaching it.
//! - [`iproute`]: dumps written by `ip -j`, the same for the kernel.
//! - [`kubernetes`]: Calico's objects behind the Kubernetes API.
//! - [`netlink`]: this host's kernel, followed.

pub mod backoff;
mod calico;
pub mod etcd;
pub mod file;
pub mod iproute;
pub mod kubernetes;
pub mod netlink;
