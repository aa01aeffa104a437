//! The faults: each is put in, seen at the receiver, and taken out again.
//!
//! Each alert of `alerts/` is expected by at least one of them; `tests/it/alerts.rs` sees to it. For a new alert, add it
//! to the `expected` of the scenario whose fault it tells of, or write a scenario: what breaks it, and what repairs it.
//! Faults that do not touch each other share a scenario, since each takes half a minute of waiting.

mod exporters;
mod hosts;
mod ipam;
mod pools;
mod routes;

use serde_json::Value;

use crate::lab::Lab;
use crate::run::Scenario;

/// All of them, in the order in which they are played.
pub(crate) fn all() -> Vec<Scenario> {
    let parts = [
        routes::routes(),
        routes::bgp(),
        hosts::tunnels(),
        ipam::all(),
        pools::all(),
        hosts::nodes(),
        exporters::all(),
    ];
    parts.into_iter().flatten().collect()
}

/// The first block of this host in this pool.
fn block(lab: &Lab, host: &str, pool: &str) -> ipnet::IpNet {
    lab.ipam.blocks_in(host, pool)[0]
}

/// Changes a value in etcd as somebody does who edits it by hand.
fn edit(lab: &mut Lab, key: &str, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_str(&lab.store.get(key).unwrap()).unwrap();
    change(&mut value);
    lab.store.put(key, &value.to_string());
}

/// Has Felix on these hosts carry nothing over any more.
fn stop_felix(lab: &Lab, hosts: &[&'static str]) {
    let mut agents = lab.agents.lock();
    hosts.iter().for_each(|name| agents.hosts.get_mut(name).unwrap().felix_stopped = true);
}
