//! The faults: each is put in, seen at the receiver, and taken out again.

use std::time::Duration;

use serde_json::{Value, json};

use crate::ipam::{affinity_key, block_key};
use crate::lab::{Lab, site};
use crate::network::{ETCD, ip};
use crate::process::Process;
use crate::run::Scenario;

const CONFIG: &str = "/calico/ipam/v2/config";
const FELIX: &str = "/calico/resources/v3/projectcalico.org/felixconfigurations/default";

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

pub(crate) fn all() -> Vec<Scenario> {
    [routes(), bgp(), tunnels(), ipam(), nodes(), exporters()].into_iter().flatten().collect()
}

fn routes() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "route deleted",
            short: true,
            expected: &[("CalicoRoutesMissing", &[("host", "h2"), ("class", "remote_block"), ("cluster", "lab")])],
            tolerated: &[],
            fault: |lab| ip("h1", &format!("route del {}", block(lab, "h2", "ipip"))),
            repair: |lab| lab.agents.refresh("h1"),
        },
        Scenario {
            name: "route replaced by one to another host",
            short: true,
            expected: &[("CalicoRoutesMisdirected", &[("host", "h2"), ("class", "remote_block")])],
            tolerated: &[],
            fault: |lab| {
                let (block, wrong) = (block(lab, "h2", "ipip"), site("h3").v4);
                ip("h1", &format!("route replace {block} via {wrong} dev tunl0 proto 80 onlink"));
            },
            repair: |lab| lab.agents.refresh("h1"),
        },
        Scenario {
            name: "route of a pod deleted",
            short: false,
            expected: &[("CalicoRoutesMissing", &[("host", "h3"), ("class", "local_workload")])],
            tolerated: &[],
            fault: |lab| {
                let pod = lab.pods.iter().find(|pod| pod.host == "h3").unwrap();
                ip("h3", &format!("route del {}", pod.addresses[0]));
            },
            repair: |lab| lab.agents.refresh("h3"),
        },
        Scenario {
            name: "route that nothing asks for",
            short: false,
            expected: &[("CalicoRoutesStale", &[("class", "remote_block")])],
            tolerated: &[],
            fault: |_| ip("h1", &format!("route add 10.65.15.0/28 via {} dev tunl0 proto 80 onlink", site("h2").v4)),
            repair: |_| ip("h1", "route del 10.65.15.0/28"),
        },
        Scenario {
            name: "routes that come and go",
            short: false,
            expected: &[("CalicoRoutesFlapping", &[("instance", "h1")])],
            tolerated: &[],
            fault: |lab| {
                // Longer than a look, shorter than the grace.
                let blocks: Vec<_> = ["ipip", "vxlan"].map(|pool| block(lab, "h2", pool)).into();
                for _ in 0..40 {
                    blocks.iter().for_each(|cidr| ip("h1", &format!("route del {cidr}")));
                    std::thread::sleep(Duration::from_millis(200));
                    lab.agents.refresh("h1");
                    std::thread::sleep(Duration::from_millis(250));
                }
            },
            repair: |_| {},
        },
        Scenario {
            name: "Felix and BIRD both configured",
            short: false,
            expected: &[("CalicoRoutesOwnedByBoth", &[("pool_class", "none")])],
            tolerated: &[],
            fault: |lab| {
                let value = json!({"kind": "FelixConfiguration", "metadata": {"name": "default"},
                                   "spec": {"programClusterRoutes": "Enabled"}});
                lab.store.put(FELIX, &value.to_string());
            },
            repair: |lab| lab.store.delete(FELIX),
        },
    ]
}

fn bgp() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "BIRD killed",
            short: false,
            expected: &[("CalicoHostUnreachable", &[("host", "h2"), ("severity", "critical")])],
            tolerated: &[],
            fault: |lab| lab.agents.lock().hosts.get_mut("h2").unwrap().birds.kill(),
            repair: |lab| lab.agents.lock().hosts.get_mut("h2").unwrap().birds.start(),
        },
        Scenario {
            name: "BGP session cut",
            short: false,
            expected: &[
                ("CalicoRoutesMissing", &[("host", "h1"), ("class", "remote_block")]),
                ("CalicoRoutesMissing", &[("host", "h3"), ("class", "remote_block")]),
            ],
            tolerated: &[],
            fault: |lab| drop(lab.agents.lock().hosts["h1"].birds.control("bird", "disable mesh_h3")),
            repair: |lab| drop(lab.agents.lock().hosts["h1"].birds.control("bird", "enable mesh_h3")),
        },
    ]
}

fn tunnels() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "address removed from tunl0",
            short: true,
            // With a device's last IPv4 address the kernel drops every IPv4 route through it.
            expected: &[
                ("CalicoTunnelAddressWrong", &[("instance", "h1"), ("device", "tunl0")]),
                ("CalicoRoutesMissing", &[("host", "h2"), ("class", "remote_block")]),
                ("CalicoRoutesMissing", &[("host", "h3"), ("class", "remote_block")]),
            ],
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
            expected: &[
                ("CalicoRoutesMisdirected", &[("host", "h1"), ("class", "remote_block")]),
                ("CalicoRoutesMisdirected", &[("host", "h2"), ("class", "remote_block")]),
            ],
            tolerated: &["CalicoTunnelModeDrift"],
            fault: |lab| {
                stop_felix(lab, &["h1", "h2"]);
                lab.ipam.set_ipip(&mut lab.store, "ipip", "CrossSubnet");
            },
            repair: |lab| ["h1", "h2"].into_iter().for_each(|name| lab.agents.refresh(name)),
        },
    ]
}

fn ipam() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "value in etcd that cannot be read",
            short: false,
            expected: &[("CalicoExporterUndecodableKeys", &[("kind", "block")])],
            tolerated: &[],
            fault: |lab| {
                let key = block_key(block(lab, "h2", "ipip"));
                lab.store.put(&key, "{\"cidr\":");
            },
            repair: |lab| {
                let cidr = block(lab, "h2", "ipip");
                lab.ipam.rewrite(&mut lab.store, cidr);
            },
        },
        Scenario {
            name: "address made free by hand while it is allocated",
            short: false,
            expected: &[("CalicoAddressesHandedOutTwice", &[("reason", "allocated_and_unallocated")])],
            tolerated: &[],
            fault: |lab| {
                let key = block_key(block(lab, "h1", "plain"));
                edit(lab, &key, |value| {
                    let used = value["allocations"].as_array().unwrap().iter().position(|one| !one.is_null()).unwrap();
                    value["unallocated"].as_array_mut().unwrap().push(json!(used));
                });
            },
            repair: |lab| {
                let cidr = block(lab, "h1", "plain");
                lab.ipam.rewrite(&mut lab.store, cidr);
            },
        },
        Scenario {
            name: "claims broken by hand",
            short: false,
            expected: &[
                // A pending key without a block is both (J7).
                ("CalicoAffinityStuck", &[("reason", "stuck_pending")]),
                ("CalicoAffinityContradictory", &[("reason", "without_block")]),
                ("CalicoAffinityContradictory", &[("reason", "block_without_affinity")]),
            ],
            tolerated: &[],
            fault: |lab| {
                lab.store.put(&affinity_key("h1", "10.65.15.0/28".parse().unwrap()), "{\"state\":\"pending\"}");
                let key = affinity_key("h2", block(lab, "h2", "vxlan"));
                lab.store.delete(&key);
            },
            repair: |lab| {
                lab.store.delete(&affinity_key("h1", "10.65.15.0/28".parse().unwrap()));
                let key = affinity_key("h2", block(lab, "h2", "vxlan"));
                lab.store.put(&key, "{\"state\":\"confirmed\"}");
            },
        },
        Scenario {
            name: "host scaled to its block limit",
            short: false,
            expected: &[("CalicoHostAtBlockLimit", &[("host", "h3"), ("family", "IPv4")])],
            tolerated: &[],
            fault: |lab| {
                let limit = json!({"strict_affinity": true, "auto_allocate_blocks": true, "maxBlocksPerHost": 3});
                lab.store.put(CONFIG, &limit.to_string());
                for pool in ["ipip", "plain", "vxlan"] {
                    while lab.ipam.free_in(block(lab, "h3", pool)) > 0 {
                        lab.create_pod("h3", pool);
                    }
                }
            },
            repair: |lab| {
                while let Some(index) = lab.pods.iter().rposition(|pod| pod.host == "h3").filter(|index| *index > 17) {
                    lab.delete_pod(index);
                }
                lab.store.delete(CONFIG);
            },
        },
    ]
}

fn nodes() -> Vec<Scenario> {
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
            // Its sessions are gone, and so are its routes to the others.
            tolerated: &["CalicoRoutesMissing"],
            fault: |lab| lab.write_node("h2", "172.30.1.99"),
            repair: |lab| lab.write_node("h2", site("h2").v4),
        },
    ]
}

fn exporters() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "exporter killed",
            short: true,
            expected: &[("CalicoExporterDown", &[("instance", "h3"), ("job", "calico-exporter")])],
            tolerated: &[],
            fault: |lab| lab.exporters.get_mut("h3").unwrap().kill(),
            repair: |lab| lab.start_exporter("h3"),
        },
        Scenario {
            name: "exporter restarted again and again",
            short: false,
            expected: &[("CalicoExporterRestarting", &[("instance", "h2")])],
            tolerated: &[],
            fault: |lab| {
                for _ in 0..6 {
                    lab.exporters.get_mut("h2").unwrap().terminate();
                    lab.start_exporter("h2");
                    std::thread::sleep(Duration::from_millis(2500));
                }
            },
            repair: |_| {},
        },
        Scenario {
            name: "all exporters killed",
            short: false,
            expected: &[("CalicoExporterAllDown", &[("severity", "critical")])],
            // Both begin at the same moment; which of them is told first is chance.
            tolerated: &["CalicoExporterDown"],
            fault: |lab| lab.exporters.values_mut().for_each(Process::kill),
            repair: |lab| ["h1", "h2", "h3"].into_iter().for_each(|name| lab.start_exporter(name)),
        },
        Scenario {
            name: "etcd cut off from a host",
            short: false,
            expected: &[("CalicoExporterSourceOutOfSync", &[("source", "etcd")])],
            tolerated: &[],
            fault: |_| ip("h2", &format!("route add blackhole {ETCD}")),
            repair: |_| ip("h2", &format!("route del blackhole {ETCD}")),
        },
    ]
}
