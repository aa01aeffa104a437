//! `explain` asked on h1 while one thing after the other is broken: its verdict names the link, and a healthy address is
//! ok from end to end, before and after.

use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use serde_json::Value;

use crate::ipam::{affinity_key, block_key};
use crate::lab::{Lab, site};
use crate::network::{bridge, ip};
use crate::process::within;
use crate::store::urls;

/// What is broken, whose pod of which pool is asked for, and the link that is at fault.
struct Case {
    name: &'static str,
    host: &'static str,
    pool: &'static str,
    link: &'static str,
    fault: fn(&mut Lab, IpAddr),
    repair: fn(&mut Lab, IpAddr),
}

const ENDPOINT: &str = "/calico/resources/v3/projectcalico.org/";

fn cases() -> Vec<Case> {
    let case = |name, host, pool, link, fault, repair| Case { name, host, pool, link, fault, repair };
    vec![
        case(
            "the pool is deleted",
            "h2",
            "ipip",
            "pool",
            |lab, _| lab.take(&pool_key("ipip")),
            |lab, _| lab.give_back(),
        ),
        case(
            "the block's key is deleted",
            "h2",
            "ipip",
            "block",
            |lab, address| lab.take(&affinity_key("h2", lab.block_of(address))),
            |lab, _| lab.give_back(),
        ),
        case("the address is free as well", "h2", "ipip", "address", free_too, |lab, address| {
            let cidr = lab.block_of(address);
            lab.ipam.rewrite(&mut lab.store, cidr);
        }),
        case(
            "the endpoint is deleted",
            "h2",
            "ipip",
            "endpoint",
            |lab, address| lab.take(&lab.endpoint_of(address)),
            |lab, _| lab.give_back(),
        ),
        case(
            "the Node is deleted",
            "h2",
            "ipip",
            "host",
            |lab, _| lab.delete_node("h2"),
            |lab, _| {
                lab.write_node("h2", site("h2").v4);
                lab.agents.refresh("h1");
            },
        ),
        case(
            "the route is deleted",
            "h2",
            "ipip",
            "path",
            |lab, address| ip("h1", &format!("route del {}", lab.block_of(address))),
            |lab, _| lab.agents.refresh("h1"),
        ),
        case(
            "the route leads to another host",
            "h2",
            "ipip",
            "path",
            |lab, address| {
                let (block, wrong) = (lab.block_of(address), site("h3").v4);
                ip("h1", &format!("route replace {block} via {wrong} dev tunl0 proto 80 onlink"));
            },
            |lab, _| lab.agents.refresh("h1"),
        ),
        case(
            "a blackhole takes the address",
            "h2",
            "plain",
            "path",
            |_, address| ip("h1", &format!("route add blackhole {address} proto static")),
            |_, address| ip("h1", &format!("route del blackhole {address} proto static")),
        ),
        case(
            "the tunnel's neighbour is deleted",
            "h3",
            "vxlan",
            "neighbour",
            |lab, _| ip("h1", &format!("neigh del {} dev vxlan.calico", lab.tunnels["h3"][1])),
            |lab, _| lab.agents.refresh("h1"),
        ),
        case(
            "the forwarding entry is deleted",
            "h3",
            "vxlan",
            "fdb",
            |_, _| bridge("h1", &format!("fdb del {} dev vxlan.calico", site("h3").mac)),
            |lab, _| lab.agents.refresh("h1"),
        ),
        case(
            "the tunnel is down",
            "h2",
            "ipip",
            "device",
            |_, _| ip("h1", "link set tunl0 down"),
            |lab, _| {
                ip("h1", "link set tunl0 up");
                lab.agents.refresh("h1");
            },
        ),
        case(
            "the pod's device is down",
            "h1",
            "ipip",
            "workload_device",
            |lab, address| ip("h1", &format!("link set {} down", lab.device_of(address))),
            |lab, address| {
                ip("h1", &format!("link set {} up", lab.device_of(address)));
                lab.agents.refresh("h1");
            },
        ),
    ]
}

fn pool_key(name: &str) -> String {
    format!("/calico/resources/v3/projectcalico.org/ippools/{name}")
}

/// Lists the address as free, which it is not.
fn free_too(lab: &mut Lab, address: IpAddr) {
    let cidr = lab.block_of(address);
    let key = block_key(cidr);
    let mut value: Value = serde_json::from_str(&lab.store.get(&key).unwrap()).unwrap();
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => u32::from(address),
        IpAddr::V6(_) => panic!("IPv4 alone is asked for"),
    };
    value["unallocated"].as_array_mut().unwrap().push((number(address) - number(cidr.network())).into());
    lab.store.put(&key, &value.to_string());
}

impl Lab {
    fn pod_at(&self, address: IpAddr) -> &crate::lab::Pod {
        self.pods.iter().find(|pod| pod.addresses.contains(&address)).unwrap()
    }

    fn endpoint_of(&self, address: IpAddr) -> String {
        assert!(self.pod_at(address).key.starts_with(ENDPOINT));
        self.pod_at(address).key.clone()
    }

    fn device_of(&self, address: IpAddr) -> String {
        self.pod_at(address).device.clone()
    }

    fn block_of(&self, address: IpAddr) -> IpNet {
        let hosts = ["h1", "h2", "h3"].into_iter().flat_map(|host| self.ipam.blocks_of(host));
        hosts.map(|(cidr, _)| cidr).find(|cidr| cidr.contains(&address)).unwrap()
    }

    /// Deletes a key, to be given back.
    fn take(&mut self, key: &str) {
        self.taken = self.store.get(key).map(|value| (key.to_owned(), value));
        assert!(self.taken.is_some(), "there is no {key}");
        self.store.delete(key);
    }

    fn give_back(&mut self) {
        let (key, value) = self.taken.take().unwrap();
        self.store.put(&key, &value);
    }

    /// What `explain` says on h1.
    fn explained(&self, address: IpAddr) -> Value {
        let mut command = within("h1", env!("CARGO_BIN_EXE_calico-exporter"));
        command.args(["explain", &address.to_string(), "--output", "json", "--node.name", "h1"]);
        let output = command.args(["--etcd.endpoints", &urls()]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }
}

fn is_healthy(explained: &Value) -> bool {
    let links = explained["links"].as_array().map(Vec::as_slice).unwrap_or_default();
    !links.is_empty() && links.iter().all(|link| link["state"] == "ok")
}

/// Asks in sickness and in health.
pub(crate) fn play(lab: &mut Lab) -> Result<(), String> {
    for case in cases() {
        let pools: IpNet = lab.ipam.pools.iter().find(|pool| pool.name == case.pool).unwrap().cidr;
        let mut pods = lab.pods.iter().filter(|pod| pod.host == case.host);
        let address = pods.find_map(|pod| pod.addresses.iter().find(|it| pools.contains(*it)).copied()).unwrap();
        let mut last = Value::Null;
        let mut until = |lab: &mut Lab, what: &str, holds: &dyn Fn(&Value) -> bool| {
            let told = lab.wait(what, |lab| {
                last = lab.explained(address);
                holds(&last)
            });
            told.map_err(|why| format!("{}: {why}\n{last:#}", case.name))
        };
        until(lab, "health before", &is_healthy)?;
        let begun = Instant::now();
        (case.fault)(lab, address);
        let named =
            until(lab, "the verdict", &|it| it["verdict"]["link"] == case.link && it["verdict"]["state"] == "fault");
        let told = begun.elapsed();
        (case.repair)(lab, address);
        named?;
        until(lab, "health after", &is_healthy)?;
        crate::say(&format!("ok    explain: {}: the {} after {}", case.name, case.link, crate::run::seconds(told)));
    }
    Ok(())
}
