//! Calico's objects behind the Kubernetes API (`libcalico-go/lib/backend/k8s`): custom resources, and what Calico reads
//! out of Nodes and Pods. What this datastore alone has (groups and versions, annotations, names of objects, deletions
//! in two steps, versions of lists, watches that end) ends here.
//!
//! - [`Resource`], [`ApiGroup`]: what is read, and where the API server has it.
//! - [`objects`]: an API object as what it says to Calico.
//! - [`settings`]: how to reach the API server, as Calico's own tools are told.
//! - [`run()`] lists, watches and starts again for as long as the exporter runs.

mod auth;
mod client;
mod connect;
mod discover;
mod error;
mod exec;
mod follow;
mod index;
mod kubeconfig;
mod list;
mod lookup;
pub mod objects;
mod resource;
mod run;
pub mod settings;
mod sync;
mod tls;
mod watch;

pub use client::{Client, Timeouts};
pub use error::KubernetesError;
pub use resource::{ApiGroup, Resource};
pub use run::{Config, Pace, run};
