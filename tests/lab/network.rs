//! The network: two subnets, a router between them, and hosts.
//!
//! ```text
//!   etcd, Prometheus, Alertmanager            h1 .11   h2 .12   (h4 .14)        h3 172.30.2.13
//!   172.30.1.1, etcd on .2, .3 and .4           │        │         │                 │
//!   ──────┴───────────────── 172.30.1.0/24 ─────┴────────┴─────────┴──── router ── 172.30.2.0/24
//! ```
//!
//! h1 and h2 have IPv6 as well. The services are in the namespace in which the lab itself runs.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::process::succeed;

/// What a host is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site {
    pub(crate) name: &'static str,
    pub(crate) v4: &'static str,
    pub(crate) gateway: &'static str,
    pub(crate) v6: Option<&'static str>,
    pub(crate) bridge: &'static str,
    /// What Felix derives from its name for its VXLAN device: 0x66 and five bytes of SHA-1.
    pub(crate) mac: &'static str,
    /// Whether its exporter audits the cluster's IPAM: some do, some do not.
    pub(crate) ipam: bool,
}

/// The members of etcd.
pub(crate) const ETCD: [&str; 3] = ["172.30.1.2", "172.30.1.3", "172.30.1.4"];

pub(crate) const SITES: [Site; 4] = [
    Site {
        name: "h1",
        v4: "172.30.1.11",
        gateway: "172.30.1.254",
        v6: Some("fd30::11"),
        bridge: "br-a",
        mac: "66:ac:4a:e9:72:85",
        ipam: true,
    },
    Site {
        name: "h2",
        v4: "172.30.1.12",
        gateway: "172.30.1.254",
        v6: Some("fd30::12"),
        bridge: "br-a",
        mac: "66:bf:1c:36:57:41",
        ipam: true,
    },
    Site {
        name: "h3",
        v4: "172.30.2.13",
        gateway: "172.30.2.254",
        v6: None,
        bridge: "br-b",
        mac: "66:8d:bc:60:58:e0",
        ipam: false,
    },
    Site {
        name: "h4",
        v4: "172.30.1.14",
        gateway: "172.30.1.254",
        v6: None,
        bridge: "br-a",
        mac: "66:4f:92:c0:44:d8",
        ipam: false,
    },
];

/// Runs `bridge` in a namespace; it has to succeed.
pub(crate) fn bridge(namespace: &str, words: &str) {
    let output = Command::new("bridge").args(["-n", namespace]).args(words.split_whitespace()).output();
    succeed(&format!("bridge in {namespace:?}: {words}"), output);
}

/// Runs lines of `ip` in one go, in a namespace or, for `""`, in the lab's own. Every line has to succeed.
pub(crate) fn ip(namespace: &str, lines: &str) {
    batch("ip", namespace, lines, false);
}

/// As [`ip`]; lines may fail.
pub(crate) fn try_ip(namespace: &str, lines: &str) {
    batch("ip", namespace, lines, true);
}

/// As [`try_ip`] with lines of `bridge`.
pub(crate) fn try_bridge(namespace: &str, lines: &str) {
    batch("bridge", namespace, lines, true);
}

fn batch(program: &str, namespace: &str, lines: &str, forgiving: bool) {
    let mut command = Command::new(program);
    if !namespace.is_empty() {
        command.args(["-n", namespace]);
    }
    if forgiving {
        command.arg("-force");
    }
    let mut child = command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let text: String = lines.lines().map(|line| format!("{}\n", line.trim())).collect();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output();
    if !forgiving {
        succeed(&format!("{program} in {namespace:?}: {lines}"), output);
    }
}

/// The bridges, the router, and the addresses of the services.
pub(crate) fn build() {
    ip("", "link set lo up\nnetns add router");
    // A bridge without an address of its own takes that of a port, and another when a host leaves: for a while nobody
    // would find the services behind it.
    let members: String = ETCD.iter().map(|address| format!("addr add {address}/24 dev br-a\n")).collect();
    ip(
        "",
        &format!(
            "link add br-a address 02:00:00:00:00:0a type bridge
             link add br-b address 02:00:00:00:00:0b type bridge
             link set br-a up
             link set br-b up
             addr add 172.30.1.1/24 dev br-a
             {members}
             link add router-a type veth peer name net-a netns router
             link add router-b type veth peer name net-b netns router
             link set router-a master br-a up
             link set router-b master br-b up
             route add 172.30.2.0/24 via 172.30.1.254"
        ),
    );
    ip("router", "link set lo up\naddr add 172.30.1.254/24 dev net-a\naddr add 172.30.2.254/24 dev net-b");
    ip("router", "link set net-a up\nlink set net-b up");
    forward("router");
}

/// A host's namespace and its uplink.
pub(crate) fn add(site: &Site) {
    let Site { name, v4, gateway, bridge, .. } = site;
    ip("", &format!("netns add {name}"));
    ip("", &format!("link add {name} type veth peer name eth0 netns {name}\nlink set {name} master {bridge} up"));
    ip(name, &format!("link set lo up\naddr add {v4}/24 dev eth0\nlink set eth0 up"));
    ip(name, &format!("route add default via {gateway} proto static"));
    if let Some(v6) = site.v6 {
        ip(name, &format!("addr add {v6}/64 dev eth0 nodad"));
    }
    forward(name);
}

/// Takes a host's namespace away, and its devices with it.
pub(crate) fn remove(site: &Site) {
    try_ip("", &format!("link del {}\nnetns del {}", site.name, site.name));
}

fn forward(namespace: &str) {
    let script = "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding";
    succeed("forwarding", crate::process::within(namespace, "sh").args(["-c", script]).output());
}
