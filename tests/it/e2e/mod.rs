//! The real program from end to end: a real etcd or recordings on one side, a real kernel's routes on the other, and
//! what a person or Prometheus gets to see.

mod access;
mod affinities;
mod bad_values;
mod block;
mod churn;
mod events;
mod foreign;
mod forms;
mod history;
pub(crate) mod host;
mod outage;
mod reads_only;
mod recordings;
mod routes;
mod served;
mod special_values;
mod start;
mod stop;
mod tunnels;
mod unprivileged;
mod workloads;
