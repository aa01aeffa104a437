//! The faults: each is put in, seen at the receiver, and taken out again.

use crate::lab::Lab;
use crate::network::ip;
use crate::run::Scenario;

/// A block of this host in this pool, as `ip route` writes it.
fn block(lab: &Lab, host: &str, pool: &str) -> String {
    lab.ipam.blocks_in(host, pool)[0].to_string()
}

pub(crate) fn all() -> Vec<Scenario> {
    vec![Scenario {
        name: "route deleted",
        short: true,
        expected: &[("CalicoRoutesMissing", &[("host", "h2"), ("class", "remote_block"), ("cluster", "lab")])],
        tolerated: &[],
        fault: |lab| ip("h1", &format!("route del {}", block(lab, "h2", "ipip"))),
        repair: |lab| lab.agents.refresh("h1"),
    }]
}
