//! Where the pictures come from. A source reads what Calico stores or what Linux routes and says it as
//! [`Event`](crate::state::Event)s; nothing above this module knows a key, a byte or a socket.
//!
//! # What a datastore's source owes to the engine
//! - Whole pictures and what changes after that, as [`Event`](crate::state::Event)s: a list between `Resync` and
//!   `Synced`, then single objects; `Lost` when it is not current.
//! - [`Follow`](crate::state::Follow) says how much: with `Affinities(me)` no word of other hosts' blocks, of endpoints or
//!   of handles, and what is said of a block of this host comes after the key that claims it, the block as it is when the
//!   key comes included, be it that there is none.
//! - Answers to [`Lookup`](crate::state::Lookup)s, among the events; none is owed while the datastore is away. `Same` is
//!   an answer only to a question that says that the last answer is still known.
//!
//! # Sources
//! - [`archive`]: a picture read once, in the place of a source.
//! - [`bundle`]: a support bundle, written and read.
//! - `calico`: Calico's JSON, as far as both datastores write it alike.
//! - [`etcd`]: Calico's etcd datastore, live.
//! - [`backoff`]: how long to wait before a lost source is tried again.
//! - [`mod@file`]: dumps written by `etcdctl` or `kubectl`, for judging a cluster without reaching it.
//! - [`iproute`]: dumps written by `ip -j`, the same for the kernel.
//! - [`kubernetes`]: Calico's objects behind the Kubernetes API.
//! - [`netlink`]: this host's kernel, followed.
//! - [`progress`]: how long a list may take.
//! - [`supervise`]: starts a source again whose task died.

pub mod archive;
pub mod backoff;
pub mod bundle;
mod calico;
pub mod etcd;
pub mod file;
pub mod iproute;
pub mod kubernetes;
pub mod netlink;
pub mod progress;
pub mod supervise;
