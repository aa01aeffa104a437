//! Calico's objects behind the Kubernetes API (`libcalico-go/lib/backend/k8s`): custom resources, and what Calico reads
//! out of Nodes and Pods. What this datastore alone has (groups and versions, annotations, names of objects, deletions
//! in two steps, versions of lists, watches that end) ends here.
//!
//! - [`Resource`], [`ApiGroup`]: what is read, and where the API server has it.
//! - [`objects`]: an API object as what it says to Calico.
//! - [`settings`]: how to reach the API server, as Calico's own tools are told.
//! - [`run()`] lists, watches and starts again for as long as the exporter runs; a [`Reader`] reads once, or what is too
//!   numerous to follow.
//!
//! The last two are the feature `kubernetes`: dumps are read without it.

#[cfg(feature = "kubernetes")]
mod auth;
#[cfg(feature = "kubernetes")]
mod client;
#[cfg(feature = "kubernetes")]
mod connect;
mod convention;
#[cfg(feature = "kubernetes")]
mod discover;
#[cfg(feature = "kubernetes")]
mod error;
#[cfg(feature = "kubernetes")]
mod exec;
#[cfg(feature = "kubernetes")]
mod follow;
#[cfg(feature = "kubernetes")]
mod index;
#[cfg(feature = "kubernetes")]
mod items;
#[cfg(feature = "kubernetes")]
mod kubeconfig;
#[cfg(feature = "kubernetes")]
mod list;
#[cfg(feature = "kubernetes")]
mod lookup;
pub mod objects;
#[cfg(feature = "kubernetes")]
mod once;
#[cfg(feature = "kubernetes")]
mod own;
mod resource;
#[cfg(feature = "kubernetes")]
mod run;
#[cfg(feature = "kubernetes")]
pub mod settings;
#[cfg(feature = "kubernetes")]
mod sync;
#[cfg(feature = "kubernetes")]
mod tls;
#[cfg(feature = "kubernetes")]
mod watch;

#[cfg(feature = "kubernetes")]
pub use client::{Client, Timeouts};
pub use convention::Convention;
#[cfg(feature = "kubernetes")]
pub use error::KubernetesError;
#[cfg(feature = "kubernetes")]
pub use once::Reader;
pub use resource::{ApiGroup, Resource};
#[cfg(feature = "kubernetes")]
pub use run::{Config, Pace, run};
