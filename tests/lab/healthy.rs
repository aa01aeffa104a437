//! A healthy day: everything that goes on in a cluster that is well, of which nobody is to be told anything.

use std::time::Duration;

use serde_json::json;

use crate::ipam::address;
use crate::lab::{Lab, site};
use crate::network::ip;
use crate::run::Healthy;

/// The handle by which Windows hosts keep the first three addresses of a block, and the last.
const WINDOWS: &str = "windows-reserved-ipam-handle";

const POOLS: [&str; 3] = ["ipip", "plain", "vxlan"];

/// Long enough for an alert to come that ought not to.
const A_WHILE: Duration = Duration::from_secs(12);

pub(crate) fn days() -> Vec<Healthy> {
    let day = |name, play| Healthy { name, short: false, play };
    vec![
        Healthy {
            name: "pods and blocks come and go, BIRD is restarted",
            short: true,
            play: |lab| {
                pods(lab, &["h1", "h2", "h3"], 4);
                restart_bird(lab, "h1");
                std::thread::sleep(A_WHILE);
            },
        },
        day("pods come and go by the hundred", |lab| {
            for _ in 0..3 {
                pods(lab, &["h1", "h2", "h3"], 20);
            }
            std::thread::sleep(A_WHILE);
        }),
        day("addresses are borrowed and given back", |lab| {
            for pool in POOLS {
                lab.create_borrower("h3", "h1", pool);
            }
            std::thread::sleep(A_WHILE);
            delete_from(lab, lab.pods.len() - POOLS.len());
        }),
        day("a host joins and leaves", |lab| {
            lab.join("h4");
            pods(lab, &["h4"], 5);
            std::thread::sleep(A_WHILE);
            lab.leave("h4");
            std::thread::sleep(A_WHILE);
        }),
        day("BIRD restarted on every host", |lab| {
            ["h1", "h2", "h3"].into_iter().for_each(|name| restart_bird(lab, name));
            std::thread::sleep(A_WHILE);
        }),
        day("exporters restarted", |lab| {
            for name in ["h1", "h2", "h3"] {
                lab.exporters.get_mut(name).unwrap().terminate();
                lab.start_exporter(name);
            }
            std::thread::sleep(A_WHILE);
        }),
        day("etcd's leader moved while pods come and go", |lab| {
            for _ in 0..2 {
                lab.etcd.move_leader();
                pods(lab, &["h1", "h2"], 3);
            }
            std::thread::sleep(A_WHILE);
        }),
        day("etcd restarted member by member, its leader first, and then the whole of it", |lab| {
            let leader = lab.etcd.move_leader();
            for member in [leader, leader + 1, leader + 2] {
                lab.etcd.restart(&[member % 3]);
                pods(lab, &["h1", "h2"], 2);
            }
            lab.etcd.restart(&[0, 1, 2]);
            pods(lab, &["h1", "h2"], 2);
            std::thread::sleep(A_WHILE);
        }),
        day("a Windows Node, a Node that is a router, and what Calico 3.31 leaves behind", |lab| {
            let cidr = lab.ipam.claim(&mut lab.store, "vxlan", "win1");
            let reserved = json!({"note": "windows host rsvd"});
            for ordinal in [0, 1, 2, 15] {
                let address = address(cidr, ordinal);
                lab.ipam.assign_this(&mut lab.store, address, "win1", WINDOWS, reserved.clone());
            }
            lab.write_stranger(
                "win1",
                &json!({
                    "bgp": {"ipv4Address": "172.30.1.77/24"}, "ipv4VXLANTunnelAddr": address(cidr, 1),
                    "vxlanTunnelMACAddr": "00:15:5d:3c:f8:12",
                }),
            );
            lab.write_stranger("router", &json!({"bgp": {"ipv4Address": "172.30.1.254/24"}}));
            lab.ipam.set_ipip(&mut lab.store, "ipip", "CrossSubnet");
            std::thread::sleep(A_WHILE);
            let peers = [("h1", "h2"), ("h2", "h1")];
            for (host, peer) in peers {
                let ([ipip, vxlan], via) = (lab.tunnels[peer], site(peer).v4);
                ip(
                    host,
                    &format!(
                        "route add {ipip} via {via} dev eth0 proto 80 onlink
                         route add {vxlan} dev vxlan.calico scope link proto 80"
                    ),
                );
            }
            std::thread::sleep(A_WHILE);
            for (host, peer) in peers {
                let [ipip, vxlan] = lab.tunnels[peer];
                ip(host, &format!("route del {ipip} proto 80\nroute del {vxlan} proto 80"));
            }
            lab.ipam.set_ipip(&mut lab.store, "ipip", "Always");
            lab.ipam.release_handle(&mut lab.store, WINDOWS);
            lab.ipam.release_block(&mut lab.store, "win1", cidr);
            ["win1", "router"].into_iter().for_each(|name| lab.delete_node(name));
            std::thread::sleep(A_WHILE);
        }),
        day("a pool's mode migrated and back", |lab| {
            for mode in ["CrossSubnet", "Always"] {
                lab.ipam.set_ipip(&mut lab.store, "ipip", mode);
                std::thread::sleep(A_WHILE);
            }
        }),
    ]
}

/// So many pods of each pool on each host, which then go; and so do the blocks that they leave empty.
fn pods(lab: &mut Lab, hosts: &[&'static str], count: usize) {
    let before = lab.pods.len();
    for _ in 0..count {
        for host in hosts {
            for pool in POOLS {
                lab.create_pod(host, pool);
            }
        }
    }
    delete_from(lab, before);
    for host in hosts {
        lab.release_empty_blocks(host);
    }
}

fn delete_from(lab: &mut Lab, first: usize) {
    while lab.pods.len() > first {
        lab.delete_pod(lab.pods.len() - 1);
    }
}

fn restart_bird(lab: &Lab, name: &str) {
    let mut agents = lab.agents.lock();
    let birds = &mut agents.hosts.get_mut(name).unwrap().birds;
    birds.terminate();
    birds.start();
}
