//! The whole of it: a datastore, hosts with pods, an exporter beside each, and who watches them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::agents::Shared;
use crate::ipam::Ipam;
use crate::monitoring::{Monitoring, get};
use crate::network::{SITES, Site, add, build, ip, remove, try_ip};
use crate::process::{Process, within};
use crate::store::{Etcd, Store, urls};

/// How long an exporter here lets a difference stand: the default, 120 s, as much faster as the alerts are, and a
/// second, since BIRD is as slow as ever.
pub(crate) const GRACE: &str = "3s";
/// The same of leaks (15 min). It is that long, since a contradiction between claims takes a minute here as everywhere,
/// and a host that is gone is told of by its claims before its addresses are called leaked.
const LEAKS_GRACE: &str = "50s";

pub(crate) struct Pod {
    pub(crate) host: &'static str,
    pub(crate) device: String,
    pub(crate) addresses: Vec<IpAddr>,
    /// The key of its endpoint.
    pub(crate) key: String,
    pub(crate) handle: String,
}

pub(crate) struct Lab {
    pub(crate) directory: PathBuf,
    pub(crate) store: Store,
    pub(crate) ipam: Ipam,
    pub(crate) agents: Shared,
    pub(crate) etcd: Etcd,
    pub(crate) exporters: BTreeMap<&'static str, Process>,
    pub(crate) monitoring: Monitoring,
    pub(crate) pods: Vec<Pod>,
    /// A key and its value, while somebody tries how it is without.
    pub(crate) taken: Option<(String, String)>,
    /// What an exporter said when all was well.
    pub(crate) old_page: String,
    created: u32,
    /// Each host's addresses of `tunl0` and `vxlan.calico`.
    pub(crate) tunnels: BTreeMap<&'static str, [IpAddr; 2]>,
}

pub(crate) fn site(name: &str) -> Site {
    *SITES.iter().find(|site| site.name == name).unwrap()
}

impl Lab {
    /// Three hosts with some pods each, and everything around them.
    pub(crate) fn start(directory: &Path) -> Lab {
        build();
        let etcd = Etcd::start(directory);
        let mut store = Store::connect();
        resource(
            &mut store,
            "ClusterInformation",
            "clusterinformations/default",
            &json!({
                "clusterGUID": "7d1f", "clusterType": "k8s,bgp", "calicoVersion": "v3.33.0", "datastoreReady": true,
            }),
        );
        let ipam = Ipam::new(&mut store);
        let monitoring = Monitoring::start(directory);
        let agents = Shared::default();
        agents.run();
        let mut lab = Lab {
            directory: directory.to_owned(),
            store,
            ipam,
            agents,
            etcd,
            exporters: BTreeMap::new(),
            monitoring,
            pods: Vec::new(),
            taken: None,
            old_page: String::new(),
            created: 0,
            tunnels: BTreeMap::new(),
        };
        for name in ["h1", "h2", "h3"] {
            lab.join(name);
            for pool in ["ipip", "plain", "vxlan"] {
                lab.create_pod(name, pool);
                lab.create_pod(name, pool);
            }
        }
        lab
    }

    /// A host joins: its Node, its tunnels' addresses, Felix, BIRD, the exporter.
    pub(crate) fn join(&mut self, name: &'static str) {
        let site = site(name);
        add(&site);
        self.write_node(name, site.v4);
        let addresses = ["ipip", "vxlan"].map(|pool| {
            let handle = format!("{pool}-tunnel-addr-{name}");
            self.ipam.assign(&mut self.store, pool, name, &handle, json!({"type": format!("{pool}TunnelAddress")}))
        });
        self.tunnels.insert(name, addresses);
        self.write_node(name, site.v4);
        self.agents.lock().add(site, &self.directory);
        let configured = |lab: &mut Lab| lab.directory.join(format!("{name}-bird.conf")).exists();
        self.wait("BIRD's configuration", configured).unwrap();
        self.agents.lock().hosts.get_mut(name).unwrap().birds.start();
        self.start_exporter(name);
        self.monitoring.scrape(name, site.v4);
    }

    /// A host leaves as `kubectl drain`, `calicoctl delete node` and kube-controllers have it leave.
    pub(crate) fn leave(&mut self, name: &'static str) {
        while let Some(index) = self.pods.iter().position(|pod| pod.host == name) {
            self.delete_pod(index);
        }
        self.monitoring.scrape_no_more(name);
        self.exporters.remove(name).unwrap().terminate();
        self.delete_node(name);
        self.release_tunnels(name);
        self.tunnels.remove(name);
        for (cidr, _) in self.ipam.blocks_of(name) {
            self.ipam.release_block(&mut self.store, name, cidr);
        }
        let mut host = self.agents.lock().hosts.remove(name).unwrap();
        host.birds.terminate();
        host.tunnel.terminate();
        remove(&host.site);
    }

    pub(crate) fn start_exporter(&mut self, name: &'static str) {
        self.start_exporter_with(name, GRACE, site(name).ipam);
    }

    /// The same with another grace of routes, and with or without the IPAM collector.
    pub(crate) fn start_exporter_with(&mut self, name: &'static str, grace: &str, ipam: bool) {
        let ipam = if ipam { "--collector.ipam" } else { "--no-collector.ipam" };
        self.run_exporter(name, &["--etcd.endpoints", &urls(), "--routes.grace", grace, ipam], &[]);
    }

    /// The same with a certificate for etcd that runs out tomorrow.
    pub(crate) fn start_exporter_with_certificate(&mut self, name: &'static str) {
        let [cert, key] = ["pem", "key"].map(|end| format!("{}/tomorrow.{end}", self.directory.display()));
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        openssl.args(["-subj", "/CN=lab", "-days", "1", "-out", &cert, "-keyout", &key]);
        assert!(openssl.output().unwrap().status.success());
        let ipam = if site(name).ipam { "--collector.ipam" } else { "--no-collector.ipam" };
        let flags = ["--etcd.endpoints", &urls(), "--routes.grace", GRACE, ipam];
        self.run_exporter(name, &flags, &[("ETCD_CERT_FILE", &cert), ("ETCD_KEY_FILE", &key)]);
    }

    /// An exporter whose datastore is the Kubernetes API at this URL.
    pub(crate) fn start_exporter_of_kubernetes(&mut self, name: &'static str, url: &str) {
        let flags = ["--datastore.type", "kubernetes", "--no-collector.ipam"];
        self.run_exporter(name, &flags, &[("K8S_API_ENDPOINT", url)]);
    }

    fn run_exporter(&mut self, name: &'static str, flags: &[&str], environment: &[(&str, &str)]) {
        let mut command = within(name, env!("CARGO_BIN_EXE_calico-exporter"));
        command.args(["serve", "--node.name", name, "--web.listen-address", "0.0.0.0:19179"]);
        command.args(["--leaks.interval", "5s", "--leaks.grace", LEAKS_GRACE]).args(flags);
        command.envs(environment.iter().copied());
        let process = Process::start(&self.directory, &format!("{name}-exporter"), command);
        self.exporters.insert(name, process);
    }

    /// Takes a host's tunnel addresses back into IPAM, as kube-controllers does after its Node.
    pub(crate) fn release_tunnels(&mut self, name: &str) {
        for address in self.tunnels[name] {
            self.ipam.release(&mut self.store, address);
        }
    }

    /// Allocates a host's tunnel addresses again.
    pub(crate) fn assign_tunnels(&mut self, name: &str) {
        for (address, pool) in self.tunnels[name].into_iter().zip(["ipip", "vxlan"]) {
            let (handle, kind) =
                (format!("{pool}-tunnel-addr-{name}"), json!({"type": format!("{pool}TunnelAddress")}));
            self.ipam.assign_this(&mut self.store, address, name, &handle, kind);
        }
    }

    /// Writes a host's Node with this address and its tunnels.
    pub(crate) fn write_node(&mut self, name: &str, address: &str) {
        let mut bgp = json!({"ipv4Address": format!("{address}/24")});
        if let Some(v6) = site(name).v6 {
            bgp["ipv6Address"] = json!(format!("{v6}/64"));
        }
        let mut spec = json!({"orchRefs": [{"nodeName": name, "orchestrator": "k8s"}]});
        if let Some([ipip, vxlan]) = self.tunnels.get(name) {
            bgp["ipv4IPIPTunnelAddr"] = json!(ipip);
            spec["ipv4VXLANTunnelAddr"] = json!(vxlan);
        }
        spec["bgp"] = bgp;
        resource(&mut self.store, "Node", &format!("nodes/{name}"), &spec);
    }

    /// Writes a Node of which the lab has no host.
    pub(crate) fn write_stranger(&mut self, name: &str, spec: &Value) {
        resource(&mut self.store, "Node", &format!("nodes/{name}"), spec);
    }

    pub(crate) fn delete_node(&mut self, name: &str) {
        self.store.delete(&format!("/calico/resources/v3/projectcalico.org/nodes/{name}"));
    }

    /// A pod, as the CNI plugin makes it: an address, a device with a route, an endpoint. Felix follows. Where host and
    /// pool have IPv6 too, so has the pod.
    pub(crate) fn create_pod(&mut self, host: &'static str, pool: &str) {
        let (name, handle) = self.names();
        let extra =
            json!({"namespace": "default", "pod": name, "timestamp": "2026-08-20 09:15:02.123456789 +0000 UTC"});
        let mut addresses = vec![self.ipam.assign(&mut self.store, pool, host, &handle, extra.clone())];
        if pool == "plain" && site(host).v6.is_some() {
            addresses.push(self.ipam.assign(&mut self.store, "plain6", host, &handle, extra));
        }
        self.attach(host, name, &handle, addresses);
    }

    /// A pod with an address of another host's block.
    pub(crate) fn create_borrower(&mut self, host: &'static str, lender: &str, pool: &str) {
        let (name, handle) = self.names();
        let block = self.ipam.blocks_in(lender, pool)[0];
        let extra = json!({"namespace": "default", "pod": name});
        let address = self.ipam.assign_from(&mut self.store, block, host, &handle, extra);
        self.attach(host, name, &handle, vec![address]);
    }

    fn names(&mut self) -> (String, String) {
        self.created += 1;
        (format!("web-{}", self.created), format!("k8s-pod-network.{:064x}", self.created))
    }

    fn attach(&mut self, host: &'static str, name: String, handle: &str, addresses: Vec<IpAddr>) {
        let device = format!("cali{:011x}", self.created);
        let mut lines = format!(
            "link add {device} type veth peer name far{}\nlink set far{} up\nlink set {device} up\n",
            self.created, self.created
        );
        for address in &addresses {
            lines += &format!("route add {address} dev {device} scope link\n");
        }
        ip(host, &lines);
        let networks: Vec<String> =
            addresses.iter().map(|address| format!("{address}/{}", if address.is_ipv6() { 128 } else { 32 })).collect();
        let path = format!("workloadendpoints/default/{host}-k8s-{}-eth0", name.replace('-', "--"));
        let (_, container) = handle.split_once('.').unwrap();
        resource(
            &mut self.store,
            "WorkloadEndpoint",
            &path,
            &json!({
                "orchestrator": "k8s", "node": host, "containerID": container, "pod": name, "endpoint": "eth0",
                "ipNetworks": networks, "profiles": ["kns.default"], "interfaceName": device, "mac": "ee:ee:ee:ee:ee:ee",
            }),
        );
        let key = format!("/calico/resources/v3/projectcalico.org/{path}");
        self.pods.push(Pod { host, device, addresses, key, handle: handle.to_owned() });
    }

    /// Takes a pod away in the opposite order.
    pub(crate) fn delete_pod(&mut self, index: usize) {
        let pod = self.pods.swap_remove(index);
        self.store.delete(&pod.key);
        try_ip(pod.host, &format!("link del {}", pod.device));
        for address in pod.addresses {
            self.ipam.release(&mut self.store, address);
        }
    }

    /// Takes a pool away with all that is in it, in the proper order.
    pub(crate) fn clear_pool(&mut self, name: &str) {
        let blocks = self.ipam.blocks_of_pool(name);
        let inside = |pod: &Pod| blocks.iter().any(|(cidr, _)| cidr.contains(&pod.addresses[0]));
        while let Some(index) = self.pods.iter().rposition(inside) {
            self.delete_pod(index);
        }
        for (cidr, host) in &blocks {
            self.ipam.release_block(&mut self.store, host, *cidr);
        }
        self.ipam.remove_pool(&mut self.store, name);
    }

    /// Gives back the blocks of a host that stand empty, but not its last of a pool: what kube-controllers does.
    pub(crate) fn release_empty_blocks(&mut self, host: &str) {
        for (cidr, empty) in self.ipam.blocks_of(host) {
            let pool = self.ipam.pool_of(cidr);
            if empty && self.ipam.blocks_in(host, pool).len() > 1 {
                self.ipam.release_block(&mut self.store, host, cidr);
            }
        }
    }

    /// Waits for something that has to come; says what the lab looks like if it does not.
    pub(crate) fn wait(&mut self, what: &str, mut holds: impl FnMut(&mut Lab) -> bool) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(240);
        while !holds(self) {
            if Instant::now() > deadline {
                return Err(format!("waited in vain for {what}\n{}", self.describe()));
            }
            thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    /// What an exporter finds, `None` before it is ready.
    pub(crate) fn findings(&self, name: &str) -> Option<Vec<Value>> {
        let address = format!("{}:19179", site(name).v4);
        get(&address, "/readyz")?;
        let answer: Value = serde_json::from_str(&get(&address, "/api/v1/findings")?).ok()?;
        answer["findings"].as_array().cloned()
    }

    /// Neither a finding, nor an alert that is on or on its way, nor one that the receiver still believes in.
    pub(crate) fn is_quiet(&self) -> bool {
        self.exporters.keys().all(|name| self.findings(name).is_some_and(|findings| findings.is_empty()))
            && self.monitoring.active().is_some_and(|alerts| alerts.is_empty())
    }

    /// For a person who wants to know why something did not come.
    pub(crate) fn describe(&self) -> String {
        let mut text = String::new();
        for name in self.exporters.keys() {
            match self.findings(name) {
                None => text += &format!("{name}: no findings to be had\n{}\n", self.exporters[name].last_words()),
                Some(findings) => {
                    for finding in findings {
                        text += &format!("{name}: {finding}\n");
                    }
                }
            }
        }
        for (state, labels) in self.monitoring.active().unwrap_or_default() {
            text += &format!("alert {state}: {labels}\n");
        }
        text
    }
}

/// Writes one of Calico's v3 objects.
fn resource(store: &mut Store, kind: &str, path: &str, spec: &Value) {
    let name = path.rsplit('/').next().unwrap();
    let mut metadata = json!({"name": name, "creationTimestamp": "2026-08-01T00:00:00Z"});
    if kind == "WorkloadEndpoint" {
        metadata["namespace"] = json!("default");
    }
    let value = json!({"kind": kind, "apiVersion": "projectcalico.org/v3", "metadata": metadata, "spec": spec});
    store.put(&format!("/calico/resources/v3/projectcalico.org/{path}"), &value.to_string());
}
