//! Hosts: their tunnels and their Nodes.

use serde_json::json;

use super::{block, edit, stop_felix};
use crate::ipam::Pool;
use crate::lab::site;
use crate::network::{bridge, ip};
use crate::run::Scenario;

/// Felix's configuration for all hosts, which the lab has none of otherwise.
const FELIX: &str = "/calico/resources/v3/projectcalico.org/felixconfigurations/default";

/// BGP's, likewise.
const BGP: &str = "/calico/resources/v3/projectcalico.org/bgpconfigurations/default";

/// A pool over the network of hosts.
const HOSTS: &str = "hosts";

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
            name: "beneath the routes: an entry gone, one left behind, a wide device",
            short: true,
            expected: &[
                ("CalicoTunnelEntriesMissing", &[("instance", "h1"), ("device", "vxlan.calico"), ("table", "fdb")]),
                ("CalicoTunnelEntriesStale", &[("instance", "h2"), ("table", "neighbour"), ("reason", "stale")]),
                ("CalicoTunnelMtuTooHigh", &[("instance", "h3"), ("device", "tunl0")]),
            ],
            tolerated: &[],
            fault: |_| {
                bridge("h1", &format!("fdb del {} dev vxlan.calico", site("h3").mac));
                ip("h2", "neigh add 10.99.0.1 lladdr 66:00:00:00:00:09 dev vxlan.calico nud permanent");
                ip("h3", "link set tunl0 mtu 1500");
            },
            repair: |lab| {
                lab.agents.refresh("h1");
                ip("h2", "neigh del 10.99.0.1 dev vxlan.calico");
                ip("h3", "link set tunl0 mtu 1480");
            },
        },
        Scenario {
            name: "tunnel device with another host's address",
            short: false,
            expected: &[("CalicoTunnelDeviceWrong", &[("instance", "h2"), ("reason", "wrong_local_address")])],
            tolerated: &[],
            fault: |_| ip("h2", "link set vxlan.calico type vxlan id 4096 local 172.30.1.99"),
            repair: |_| ip("h2", &format!("link set vxlan.calico type vxlan id 4096 local {}", site("h2").v4)),
        },
        Scenario {
            // Two hosts have shown their keys, and nobody sends anything into a tunnel between them.
            name: "WireGuard without its policy rule",
            short: false,
            expected: &[
                ("CalicoTrafficUnencrypted", &[("instance", "h1"), ("device", "wireguard.cali")]),
                ("CalicoTrafficUnencrypted", &[("instance", "h2"), ("device", "wireguard.cali")]),
            ],
            tolerated: &[],
            fault: |lab| {
                let felix = json!({
                    "kind": "FelixConfiguration", "apiVersion": "projectcalico.org/v3",
                    "metadata": {"name": "default", "creationTimestamp": "2026-08-01T00:00:00Z"},
                    "spec": {"wireguardEnabled": true},
                });
                lab.store.put(FELIX, &felix.to_string());
                for name in ["h1", "h2"] {
                    let node = format!("/calico/resources/v3/projectcalico.org/nodes/{name}");
                    edit(lab, &node, |node| node["status"] = json!({"wireguardPublicKey": format!("key of {name}")}));
                }
            },
            repair: |lab| {
                lab.store.delete(FELIX);
                ["h1", "h2"].into_iter().for_each(|name| lab.write_node(name, site(name).v4));
            },
        },
        Scenario {
            // A host that was cloned.
            name: "two nodes show one WireGuard key",
            short: false,
            expected: &[("CalicoWireguardKeyConflict", &[("cluster", "lab")])],
            tolerated: &["CalicoTrafficUnencrypted", "CalicoTunnelDeviceDown"],
            fault: |lab| {
                lab.store.put(FELIX, &encrypting());
                for name in ["h1", "h2"] {
                    let node = format!("/calico/resources/v3/projectcalico.org/nodes/{name}");
                    edit(lab, &node, |node| node["status"] = json!({"wireguardPublicKey": wireguard_key(1)}));
                }
            },
            repair: |lab| {
                lab.store.delete(FELIX);
                ["h1", "h2"].into_iter().for_each(|name| lab.write_node(name, site(name).v4));
            },
        },
        Scenario {
            // A device and a rule, and a table that leaves the other host out.
            name: "a peer that WireGuard's table lacks",
            short: false,
            expected: &[("CalicoPeersUnencrypted", &[("instance", "h1")])],
            // h2 has neither device nor rule, and IPAM does not know the addresses.
            tolerated: &[
                "CalicoTrafficUnencrypted",
                "CalicoTunnelDeviceDown",
                "CalicoTunnelAddressNotAllocated",
                "CalicoRoutesMisdirected",
                "CalicoHostUnreachable",
            ],
            fault: |lab| {
                ip("h1", "link add wireguard.cali type veth peer name wgpeer");
                ip("h1", "link set wgpeer up");
                ip("h1", "link set wireguard.cali mtu 1300 up");
                ip("h1", "addr add 198.51.100.1/32 dev wireguard.cali");
                ip("h1", "route add 198.51.100.2/32 dev wireguard.cali table 1");
                ip("h1", "rule add not fwmark 0x100000/0x100000 priority 99 table 1");
                lab.store.put(FELIX, &encrypting());
                for (index, name) in [(1, "h1"), (2, "h2")] {
                    let node = format!("/calico/resources/v3/projectcalico.org/nodes/{name}");
                    edit(lab, &node, |node| {
                        node["status"] = json!({"wireguardPublicKey": wireguard_key(index)});
                        node["spec"]["wireguard"] = json!({"interfaceIPv4Address": format!("198.51.100.{index}")});
                    });
                }
            },
            repair: |lab| {
                lab.store.delete(FELIX);
                ["h1", "h2"].into_iter().for_each(|name| lab.write_node(name, site(name).v4));
                ip("h1", "rule del priority 99");
                ip("h1", "link del wireguard.cali");
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

fn encrypting() -> String {
    json!({
        "kind": "FelixConfiguration", "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": "default", "creationTimestamp": "2026-08-01T00:00:00Z"},
        "spec": {"wireguardEnabled": true},
    })
    .to_string()
}

/// A key of 32 bytes alike, as base64 writes it.
fn wireguard_key(of: u8) -> &'static str {
    match of {
        1 => "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
        _ => "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",
    }
}

pub(super) fn nodes() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "node deleted under living pods",
            short: false,
            expected: &[
                ("CalicoNodeMissing", &[("instance", "h3")]),
                ("CalicoAffinityOfUnknownHost", &[("cluster", "lab")]),
            ],
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
            // Autodetection took the same bridge on both; or a host was cloned.
            name: "two nodes have one address",
            short: true,
            expected: &[("CalicoNodeAddressConflict", &[("cluster", "lab"), ("reason", "address_duplicate")])],
            tolerated: &[],
            fault: |lab| {
                let address = format!("{}/24", site("h2").v4);
                lab.write_stranger("h9", &json!({"bgp": {"ipv4Address": address}}));
            },
            repair: |lab| lab.delete_node("h9"),
        },
        Scenario {
            // Nothing but the way to it is wrong: no BGP session and no tunnel's entry is lost with it.
            name: "no way to a node's address",
            short: false,
            expected: &[("CalicoNodeUnreachable", &[("instance", "h2"), ("reason", "no_way")])],
            // Hosts without a default route have no way to it either; its tunnel's address is in no block.
            tolerated: &["CalicoTunnelAddressNotAllocated"],
            fault: |lab| {
                ip("h2", "route add blackhole 172.30.9.0/24");
                let bgp = json!({"ipv4Address": "172.30.9.5/24", "ipv4IPIPTunnelAddr": "198.51.100.9"});
                lab.write_stranger("h9", &json!({"bgp": bgp}));
            },
            repair: |lab| {
                lab.delete_node("h9");
                ip("h2", "route del blackhole 172.30.9.0/24");
            },
        },
        Scenario {
            name: "a block over a node's address",
            short: false,
            expected: &[("CalicoNodeAddressConflict", &[("cluster", "lab"), ("reason", "address_in_block")])],
            tolerated: &[],
            fault: |lab| {
                lab.write_stranger("h9", &json!({"bgp": {"ipv4Address": "172.30.9.5/24"}}));
                let cidr = "172.30.9.0/24".parse().unwrap();
                let pool = Pool { name: HOSTS, cidr, block: 28, ipip: "Always", vxlan: "Never" };
                lab.ipam.add_pool(&mut lab.store, pool);
                lab.ipam.claim(&mut lab.store, HOSTS, "h2");
            },
            repair: |lab| {
                let cidr = block(lab, "h2", HOSTS);
                lab.ipam.release_block(&mut lab.store, "h2", cidr);
                lab.ipam.remove_pool(&mut lab.store, HOSTS);
                lab.delete_node("h9");
            },
        },
        Scenario {
            name: "the mesh turned off and no BGPPeer written",
            short: false,
            expected: &[("CalicoRoutesCarriedByNobody", &[("cluster", "lab"), ("pool_class", "none")])],
            // Once it is on again BIRD needs some seconds to be joined.
            tolerated: &[
                "CalicoRoutesMissing",
                "CalicoHostUnreachable",
                "CalicoHostIsolated",
                "CalicoManyHostsUnreachable",
                "CalicoRouteConvergenceSlow",
            ],
            fault: |lab| {
                let bgp = json!({
                    "kind": "BGPConfiguration", "apiVersion": "projectcalico.org/v3",
                    "metadata": {"name": "default", "creationTimestamp": "2026-08-01T00:00:00Z"},
                    "spec": {"nodeToNodeMeshEnabled": false, "asNumber": 64512},
                });
                lab.store.put(BGP, &bgp.to_string());
            },
            repair: |lab| lab.store.delete(BGP),
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
