//! Routes: single ones, those of a whole host, and those that BGP brings.

use std::process::Command;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::json;

use super::{block, stop_felix};
use crate::ipam::CONFIG;
use crate::lab::{Lab, site};
use crate::network::ip;
use crate::run::Scenario;

const FELIX: &str = "/calico/resources/v3/projectcalico.org/felixconfigurations/default";
const BGP: &str = "/calico/resources/v3/projectcalico.org/bgpconfigurations/default";

pub(super) fn routes() -> Vec<Scenario> {
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
            name: "a VPN client's rule and table",
            short: true,
            expected: &[("CalicoTrafficDiverted", &[("instance", "h1"), ("severity", "critical"), ("cluster", "lab")])],
            tolerated: &[],
            fault: |lab| {
                ip(
                    "h1",
                    &format!("route add {} via {} dev tunl0 onlink table 52", block(lab, "h2", "ipip"), site("h3").v4),
                );
                ip("h1", "rule add lookup 52 priority 5270");
            },
            repair: |_| {
                ip("h1", "rule del priority 5270");
                ip("h1", "route flush table 52");
            },
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
            // Unwrapped pools are both's, IPIP is nobody's.
            name: "Felix and BIRD configured alike",
            short: false,
            expected: &[
                ("CalicoRoutesOwnedByBoth", &[("pool_class", "none")]),
                ("CalicoRoutesOwnedByNobody", &[("pool_class", "ipip"), ("severity", "critical")]),
            ],
            tolerated: &[],
            fault: |lab| {
                for (kind, key) in [("FelixConfiguration", FELIX), ("BGPConfiguration", BGP)] {
                    let value = json!({"kind": kind, "metadata": {"name": "default"},
                                       "spec": {"programClusterRoutes": "EnabledNoEncapOnly"}});
                    lab.store.put(key, &value.to_string());
                }
            },
            repair: |lab| [FELIX, BGP].into_iter().for_each(|key| lab.store.delete(key)),
        },
        Scenario {
            name: "block released that Felix does not hear of",
            short: false,
            expected: &[("CalicoRoutesStaleOnManyHosts", &[("severity", "critical"), ("cluster", "lab")])],
            tolerated: &[],
            fault: |lab| {
                let cidr = lab.ipam.claim(&mut lab.store, "ipip", "h3");
                let routed = |name: &str| has_route(name, cidr);
                lab.wait("routes to the new block", |_| routed("h1") && routed("h2")).unwrap();
                stop_felix(lab, &["h1", "h2"]);
                lab.ipam.release_block(&mut lab.store, "h3", cidr);
            },
            repair: |lab| ["h1", "h2"].into_iter().for_each(|name| lab.agents.refresh(name)),
        },
        Scenario {
            name: "Felix far behind",
            short: false,
            expected: &[("CalicoRouteConvergenceSlow", &[("class", "remote_block"), ("cluster", "lab")])],
            tolerated: &[],
            fault: |lab| {
                // Half a minute is half a minute here, and so are these exporters' two of grace: nothing is missing yet.
                lab.store.put(CONFIG, &json!({"auto_allocate_blocks": true, "maxBlocksPerHost": 200}).to_string());
                for name in ["h1", "h3"] {
                    lab.exporters.get_mut(name).unwrap().terminate();
                    lab.start_exporter_with(name, "120s", site(name).ipam);
                    lab.agents.lock().hosts.get_mut(name).unwrap().lag = Duration::from_secs(35);
                }
                let first = lab.monitoring.received();
                for _ in 0..100 {
                    lab.ipam.claim(&mut lab.store, "ipip", "h2");
                    std::thread::sleep(Duration::from_millis(1500));
                    if !lab.monitoring.received_since(first).is_empty() {
                        break;
                    }
                }
            },
            repair: |lab| {
                ["h1", "h3"].into_iter().for_each(|name| lab.agents.refresh(name));
                lab.release_empty_blocks("h2");
                lab.store.delete(CONFIG);
                for name in ["h1", "h3"] {
                    lab.exporters.get_mut(name).unwrap().terminate();
                    lab.start_exporter(name);
                }
            },
        },
    ]
}

pub(super) fn bgp() -> Vec<Scenario> {
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
        Scenario {
            name: "all BGP sessions cut",
            short: false,
            expected: &[("CalicoManyHostsUnreachable", &[("severity", "critical"), ("cluster", "lab")])],
            tolerated: &[],
            fault: |lab| on_every_bird(lab, "disable \"mesh_*\""),
            repair: |lab| on_every_bird(lab, "enable \"mesh_*\""),
        },
        Scenario {
            // Felix' routes stand: BIRD alone writes nothing, and the others do not notice.
            name: "BIRD writes nothing on a host",
            short: false,
            expected: &[("CalicoProgrammerSilent", &[("instance", "h3"), ("host", "h3"), ("node", "h3")])],
            tolerated: &[],
            fault: |lab| {
                lab.agents.lock().hosts["h3"].birds.control("bird", "disable kernel1");
                ip("h3", "route flush proto bird");
            },
            repair: |lab| drop(lab.agents.lock().hosts["h3"].birds.control("bird", "enable kernel1")),
        },
        Scenario {
            // The others have theirs to it: Felix and the way from BIRD to the kernel are dead on this host alone.
            name: "host without a route to any other",
            short: false,
            expected: &[("CalicoHostIsolated", &[("instance", "h3"), ("severity", "critical")])],
            tolerated: &[],
            fault: |lab| {
                stop_felix(lab, &["h3"]);
                lab.agents.lock().hosts["h3"].birds.control("bird", "disable kernel1");
                ip("h3", "route flush dev tunl0\nroute flush dev vxlan.calico\nroute flush dev eth0 proto bird");
            },
            repair: |lab| {
                lab.agents.lock().hosts["h3"].birds.control("bird", "enable kernel1");
                lab.agents.refresh("h3");
            },
        },
    ]
}

/// Whether a host's kernel has a route to this block.
fn has_route(host: &str, cidr: IpNet) -> bool {
    let shown = Command::new("ip").args(["-n", host, "route", "show", &cidr.to_string()]).output();
    shown.is_ok_and(|output| !output.stdout.is_empty())
}

fn on_every_bird(lab: &Lab, words: &str) {
    for host in lab.agents.lock().hosts.values() {
        host.birds.control("bird", words);
    }
}
