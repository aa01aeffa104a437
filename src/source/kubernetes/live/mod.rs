//! An API server that answers: one connection, lists in pages, watches, and what to do when they break.
//!
//! - [`settings`], `kubeconfig`, `exec`, `auth`, `tls`: who we are, and whom we trust.
//! - `proxy`: what stands between us and the server.
//! - `connect`, `client`, [`error`](KubernetesError): one HTTP/2 connection, requests, and what their answers mean.
//! - `discover`, `list`, `items`, `watch`: the API's own forms.
//! - `config`: what is read, and how patiently.
//! - `part`, `claims`, `follow`, `own`, `sync`, [`run()`]: a picture that stays true.
//! - `once`, `lookup`: what is read when somebody asks.

use super::{ApiGroup, Convention, Resource, objects};

mod auth;
mod claims;
mod client;
mod config;
mod connect;
mod discover;
mod error;
mod exec;
mod follow;
mod items;
mod kubeconfig;
mod list;
mod lookup;
mod once;
mod own;
mod part;
mod proxy;
mod run;
pub mod settings;
mod sync;
mod tls;
mod watch;

pub use client::{Client, Timeouts};
pub use config::{Config, Pace};
pub use error::KubernetesError;
pub use once::{RawList, Reader};
pub use run::run;
