//! Felix and confd on every host: a loop that reads the datastore and carries over what changed.
//!
//! As the real Felix between two of its refreshes (90 s), this one does not look at the kernel: what somebody else
//! took out of it stays out until [`Agents::refresh`].

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use crate::bird::Birds;
use crate::network::{SITES, Site, ip, try_bridge, try_ip};
use crate::picture::{Node, Picture, Pool};
use crate::process::Process;
use crate::store::Store;
use crate::tunnel;

/// What runs on one host beside the exporter.
pub(crate) struct Host {
    pub(crate) site: Site,
    pub(crate) birds: Birds,
    /// Felix is not running: the datastore's changes do not reach the kernel.
    pub(crate) felix_stopped: bool,
    /// How far Felix is behind the datastore.
    pub(crate) lag: Duration,
    /// What it still has to carry over, and when it will.
    due: VecDeque<(Instant, BTreeMap<String, String>)>,
    /// Who keeps `tunl0` open.
    pub(crate) tunnel: Process,
    /// What Felix has programmed: `ip`'s words by what they are about.
    applied: BTreeMap<String, String>,
}

#[derive(Default)]
pub(crate) struct Agents {
    pub(crate) hosts: BTreeMap<&'static str, Host>,
    /// The revision that all of them have carried over.
    seen: i64,
}

/// The agents, shared by their loop and whoever breaks them.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Agents>>);

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Agents> {
        self.0.lock().unwrap()
    }

    /// Starts the loop, which ends with the program.
    pub(crate) fn run(&self) {
        let shared = self.clone();
        thread::spawn(move || {
            let mut store = Store::connect();
            loop {
                thread::sleep(Duration::from_millis(100));
                let seen = shared.lock().seen;
                if store.revision() != seen {
                    let (revision, pairs) = store.list("/calico/");
                    shared.lock().carry_over(revision, &Picture::read(&pairs));
                }
                shared.lock().hosts.values_mut().for_each(Host::catch_up);
            }
        });
    }

    /// The host's Felix starts anew, or reaches its refresh: everything is programmed again.
    pub(crate) fn refresh(&self, name: &str) {
        let mut agents = self.lock();
        agents.seen = 0;
        let host = agents.hosts.get_mut(name).unwrap();
        (host.felix_stopped, host.lag) = (false, Duration::ZERO);
        host.due.clear();
        // What it programmed it knows from the kernel; every line is written again.
        host.applied.values_mut().for_each(|words| words.push(' '));
    }
}

impl Agents {
    pub(crate) fn add(&mut self, site: Site, directory: &Path) {
        let tunnel = devices(&site, directory);
        let birds = Birds::new(site, directory);
        let (lag, due, applied) = (Duration::ZERO, VecDeque::new(), BTreeMap::new());
        self.hosts.insert(site.name, Host { site, birds, felix_stopped: false, lag, due, tunnel, applied });
        self.seen = 0;
    }

    fn carry_over(&mut self, revision: i64, picture: &Picture) {
        for host in self.hosts.values_mut() {
            host.birds.configure(picture);
            if !host.felix_stopped {
                host.due.push_back((Instant::now() + host.lag, wanted(&host.site, picture)));
            }
        }
        self.seen = revision;
    }
}

impl Host {
    /// Programs what is due by now.
    fn catch_up(&mut self) {
        let mut newest = None;
        while self.due.front().is_some_and(|(at, _)| *at <= Instant::now()) {
            newest = self.due.pop_front();
        }
        if let Some((_, wanted)) = newest {
            self.program(wanted);
        }
    }

    fn program(&mut self, wanted: BTreeMap<String, String>) {
        let (mut lines, mut forwarding) = (String::new(), String::new());
        for (what, words) in &self.applied {
            if !wanted.contains_key(what) {
                let line = format!("{} del {}\n", subject(what), words.trim_end());
                (if subject(what) == "fdb" { &mut forwarding } else { &mut lines }).push_str(&line);
            }
        }
        for (what, words) in &wanted {
            if self.applied.get(what) == Some(words) {
                continue;
            }
            if subject(what) == "fdb" {
                forwarding += &format!("fdb replace {words}\n");
                continue;
            }
            lines += &format!("{} replace {words}\n", subject(what));
            // The plugin's own route, which Felix replaces by one with its metric. It is deleted once: `metric 0` is
            // any metric to the kernel, and IPv6 makes 1024 of it in the first place.
            if let Some(plugin) = words.strip_suffix(" scope link metric 1024")
                && !words.contains(':')
                && !self.applied.contains_key(what)
            {
                lines += &format!("route del {plugin} metric 0\n");
            }
        }
        self.applied = wanted;
        if !lines.is_empty() {
            // A device may have gone meanwhile, and its routes with it.
            try_ip(self.site.name, &lines);
        }
        if !forwarding.is_empty() {
            try_bridge(self.site.name, &forwarding);
        }
    }
}

/// `route`, `addr`, `neigh` or `fdb`: what `ip` or `bridge` call the thing of a key.
fn subject(what: &str) -> &str {
    what.split_once(' ').map_or(what, |(subject, _)| subject)
}

/// The tunnels: VXLAN's, and a stand-in for IPIP's, which not every kernel has.
fn devices(site: &Site, directory: &Path) -> Process {
    let (address, mac) = (site.v4, site.mac);
    let tunnel = tunnel::start(site.name, directory);
    ip(
        site.name,
        &format!(
            "link add vxlan.calico address {mac} type vxlan id 4096 local {address} dev eth0 dstport 4789 nolearning
             link set vxlan.calico mtu 1450 up"
        ),
    );
    tunnel
}

/// What Felix programs on this host, as Calico 3.33 does by default: routes of pods, of IPIP and of VXLAN pools.
fn wanted(site: &Site, picture: &Picture) -> BTreeMap<String, String> {
    let mut wanted = BTreeMap::new();
    let mut route = |destination: String, words: String| {
        wanted.insert(format!("route {destination}"), format!("{}{destination} {}", kind(&words), rest(&words)));
    };
    for endpoint in picture.endpoints.iter().filter(|endpoint| endpoint.node == site.name) {
        for address in &endpoint.addresses {
            route(host_route(*address), format!("dev {} scope link metric 1024", endpoint.device));
        }
    }
    let me = picture.node(site.name);
    for block in &picture.blocks {
        let Some(pool) = picture.pool_of(&block.cidr).filter(|pool| pool.is_felix()) else { continue };
        let of = |host: &str| picture.node(host).and_then(|node| way(me, node, pool));
        match block.host.as_deref() {
            Some(host) if host == site.name => route(block.cidr.to_string(), "blackhole proto 80".into()),
            Some(host) => {
                if let Some(way) = of(host) {
                    route(block.cidr.to_string(), way);
                }
            }
            None => {}
        }
        for (address, user) in block.borrowed.iter().filter(|(_, user)| user != site.name) {
            if let Some(way) = of(user) {
                route(host_route(*address), way);
            }
        }
    }
    if me.is_some_and(|me| me.vtep.is_some()) {
        wanted.extend(picture.nodes.iter().filter(|node| node.name != site.name).flat_map(beneath));
    }
    for (device, address) in [("tunl0", me.and_then(|me| me.ipip)), ("vxlan.calico", me.and_then(|me| me.vtep))] {
        if let Some(address) = address {
            wanted.insert(format!("addr {device}"), format!("{address}/32 dev {device}"));
        }
    }
    wanted
}

/// What the VXLAN device needs of another node, whatever routes there are: who has its tunnel address, and where it is.
fn beneath(node: &Node) -> Vec<(String, String)> {
    let derived = SITES.iter().find(|site| site.name == node.name).map(|site| site.mac);
    let Some(mac) = node.mac.as_deref().or(derived) else { return Vec::new() };
    let (Some(vtep), Some(host)) = (node.vtep, node.v4) else { return Vec::new() };
    vec![
        (format!("neigh {vtep}"), format!("{vtep} lladdr {mac} dev vxlan.calico nud permanent")),
        (format!("fdb {mac}"), format!("{mac} dst {host} dev vxlan.calico self permanent")),
    ]
}

fn kind(words: &str) -> &'static str {
    if words.starts_with("blackhole") { "blackhole " } else { "" }
}

fn rest(words: &str) -> &str {
    words.trim_start_matches("blackhole").trim_start()
}

/// `ip route` deletes and prints single addresses without their length, and takes them so.
fn host_route(address: IpAddr) -> String {
    address.to_string()
}

/// How packets for another node get there.
fn way(me: Option<&Node>, node: &Node, pool: &Pool) -> Option<String> {
    let (me, address) = (me?, node.v4?);
    let near = me.subnet.is_some_and(|subnet| subnet.contains(&address));
    if near && (pool.ipip == "CrossSubnet" || pool.vxlan == "CrossSubnet") {
        return Some(format!("via {address} dev eth0 proto 80 onlink"));
    }
    if pool.vxlan == "Never" {
        return Some(format!("via {address} dev tunl0 proto 80 onlink"));
    }
    let vtep = node.vtep?;
    Some(format!("via {vtep} dev vxlan.calico onlink"))
}
