//! Calico's objects behind the Kubernetes API (`libcalico-go/lib/backend/k8s`): custom resources, and what Calico reads
//! out of Nodes and Pods. What this datastore alone has (groups and versions, annotations, names of objects, deletions
//! in two steps, versions of lists, watches that end) ends here.
//!
//! - [`Resource`], [`ApiGroup`]: what is read, and where the API server has it.
//! - [`objects`]: an API object as what it says to Calico.
//! - The feature `kubernetes`: asking an API server. [`settings`] are how to reach it, as Calico's own tools are told;
//!   [`run()`] lists, watches and starts again for as long as the exporter runs; a [`Reader`] reads once, or what is too
//!   numerous to follow.
//!
//! Dumps are read without that feature.

mod convention;
#[cfg(feature = "kubernetes")]
mod live;
pub mod objects;
mod resource;

pub use convention::Convention;
#[cfg(feature = "kubernetes")]
pub use live::{Client, Config, KubernetesError, Pace, RawList, Reader, Timeouts, run, settings};
pub use resource::{ApiGroup, Resource};
