//! Calico's objects behind the Kubernetes API (`libcalico-go/lib/backend/k8s`): custom resources, and what Calico reads
//! out of Nodes and Pods. What this datastore alone has (groups and versions, annotations, names of objects, deletions
//! in two steps) ends here.
//!
//! - [`Resource`], [`ApiGroup`]: what is read, and where the API server has it.
//! - [`objects`]: an API object as what it says to Calico.

pub mod objects;
mod resource;

pub use resource::{ApiGroup, Resource};
