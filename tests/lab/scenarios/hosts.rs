//! Hosts: their tunnels and their Nodes.

use super::stop_felix;
use crate::lab::site;
use crate::network::ip;
use crate::run::Scenario;

pub(super) fn tunnels() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "address removed from tunl0",
            short: true,
            // With a device's last IPv4 address the kernel drops every IPv4 route through it: one fault, and one alert.
            expected: &[("CalicoTunnelAddressWrong", &[("instance", "h1"), ("device", "tunl0")])],
            tolerated: &[],
            fault: |_| ip("h1", "addr flush dev tunl0"),
            repair: |lab| lab.agents.refresh("h1"),
        },
        Scenario {
            name: "tunnel device down",
            short: false,
            expected: &[("CalicoTunnelDeviceDown", &[("instance", "h3"), ("device", "vxlan.calico")])],
            tolerated: &[],
            fault: |_| ip("h3", "link set vxlan.calico down"),
            repair: |lab| {
                ip("h3", "link set vxlan.calico up");
                lab.agents.refresh("h3");
            },
        },
        Scenario {
            name: "pool switched to CrossSubnet, routes left behind",
            short: false,
            expected: &[("CalicoTunnelModeDrift", &[("ippool", "ipip"), ("mode", "ipip_always")])],
            tolerated: &[],
            fault: |lab| {
                stop_felix(lab, &["h1", "h2"]);
                lab.ipam.set_ipip(&mut lab.store, "ipip", "CrossSubnet");
            },
            repair: |lab| ["h1", "h2"].into_iter().for_each(|name| lab.agents.refresh(name)),
        },
    ]
}

pub(super) fn nodes() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "node deleted, its blocks left",
            short: false,
            expected: &[("CalicoAffinityOfUnknownHost", &[("cluster", "lab")])],
            tolerated: &[],
            fault: |lab| lab.delete_node("h3"),
            repair: |lab| lab.write_node("h3", site("h3").v4),
        },
        Scenario {
            // Its Node was deleted, what it had in IPAM was taken back, and then calico-node wrote the Node as it was.
            name: "node added again under its name",
            short: false,
            expected: &[
                ("CalicoTunnelAddressNotAllocated", &[("device", "tunl0"), ("reason", "not_allocated")]),
                ("CalicoTunnelAddressNotAllocated", &[("device", "vxlan.calico"), ("reason", "not_allocated")]),
            ],
            tolerated: &[],
            fault: |lab| {
                lab.delete_node("h3");
                lab.release_tunnels("h3");
                lab.write_node("h3", site("h3").v4);
            },
            repair: |lab| lab.assign_tunnels("h3"),
        },
        Scenario {
            name: "address of a node changed",
            short: false,
            expected: &[
                ("CalicoNodeAddressFaults", &[("instance", "h2"), ("reason", "address_missing")]),
                ("CalicoHostUnreachable", &[("host", "h2")]),
            ],
            tolerated: &[],
            fault: |lab| lab.write_node("h2", "172.30.1.99"),
            repair: |lab| lab.write_node("h2", site("h2").v4),
        },
    ]
}
