//! A host of a cluster that has pools of every mode: its datastore, and its kernel in a namespace, as Calico 3.33
//! leaves them when all is well.
//!
//! h1 is this host; h2 is in its subnet, h3 behind the router 172.18.0.1.

use calico_exporter::model::{Family, Mac, TunnelKind};
use serde_json::json;

use crate::support::calico::{KeyValue, block, cluster, endpoint, node, owned, pod, pool, tunnel};
use crate::support::etcd::Etcd;
use crate::support::exporter::Exporter;
use crate::support::netns::Namespace;

/// Everything in the datastore.
pub(crate) fn datastore() -> Vec<KeyValue> {
    let bgp =
        |v4: &str, v6: &str, ipip: &str| json!({"ipv4Address": v4, "ipv6Address": v6, "ipv4IPIPTunnelAddr": ipip});
    let mut all = vec![
        cluster("v3.33.0", "k8s,bgp"),
        node("h1", bgp("172.18.0.4/16", "fd00::4/64", "10.65.0.1"), Some("10.66.0.0"), Some("dead:beef::1")),
        node("h2", bgp("172.18.0.5/16", "fd00::5/64", "10.65.1.0"), Some("10.66.1.0"), Some("dead:beef::41")),
        node("h3", bgp("172.19.0.6/16", "fd01::6/64", "10.65.2.0"), Some("10.68.0.7"), Some("dead:beef::81")),
        pool("ipip", "10.65.0.0/20", 26, "Always", "Never"),
        pool("ipip-cross", "10.65.16.0/20", 26, "CrossSubnet", "Never"),
        pool("vxlan", "10.66.0.0/20", 26, "Never", "Always"),
        pool("vxlan-cross", "10.66.16.0/20", 26, "Never", "CrossSubnet"),
        pool("plain", "10.67.0.0/20", 26, "Never", "Never"),
        pool("singles", "10.68.0.0/26", 32, "Never", "Always"),
        pool("vxlan6", "dead:beef::/112", 122, "Never", "CrossSubnet"),
    ];
    let ipip = |ordinal, host| tunnel(ordinal, host, "ipip-tunnel-addr", "ipipTunnelAddress");
    let vxlan = |ordinal, host| tunnel(ordinal, host, "vxlan-tunnel-addr", "vxlanTunnelAddress");
    let vxlan6 = |ordinal, host| tunnel(ordinal, host, "vxlan-v6-tunnel-addr", "vxlanV6TunnelAddress");
    for (cidr, host, allocations) in [
        ("10.65.0.0/26", "h1", vec![ipip(1, "h1"), pod(2, "h1", "web-0"), pod(3, "h1", "web-1")]),
        // One address is lent to h3.
        ("10.65.1.0/26", "h2", vec![ipip(0, "h2"), pod(9, "h3", "far-0")]),
        ("10.65.2.0/26", "h3", vec![ipip(0, "h3")]),
        ("10.65.16.0/26", "h1", vec![]),
        ("10.65.17.0/26", "h2", vec![pod(0, "h2", "near-0")]),
        ("10.65.18.0/26", "h3", vec![]),
        ("10.66.0.0/26", "h1", vec![vxlan(0, "h1"), pod(5, "h1", "web-2")]),
        ("10.66.1.0/26", "h2", vec![vxlan(0, "h2"), pod(5, "h3", "far-1")]),
        ("10.66.2.0/26", "h3", vec![]),
        ("10.66.17.0/26", "h2", vec![]),
        ("10.66.18.0/26", "h3", vec![]),
        ("10.67.0.0/26", "h1", vec![]),
        ("10.67.1.0/26", "h2", vec![]),
        ("10.67.2.0/26", "h3", vec![]),
        ("10.68.0.7/32", "h3", vec![vxlan(0, "h3")]),
        ("dead:beef::/122", "h1", vec![vxlan6(1, "h1"), pod(2, "h1", "web-6")]),
        ("dead:beef::40/122", "h2", vec![vxlan6(1, "h2")]),
        ("dead:beef::80/122", "h3", vec![vxlan6(1, "h3")]),
    ] {
        all.extend(owned(cidr, host, &allocations));
    }
    all
}

/// The endpoint of `web-0`, which has 10.65.0.2.
pub(crate) fn web_0() -> KeyValue {
    endpoint("h1", "web-0", "10.65.0.2/32", "cali1")
}

/// The endpoint of `web-1`, which has 10.65.0.3.
pub(crate) fn web_1() -> KeyValue {
    endpoint("h1", "web-1", "10.65.0.3/32", "cali2")
}

/// h2's IPIP block with nobody in it.
pub(crate) fn without_loan() -> KeyValue {
    block("10.65.1.0/26", "h2", &[tunnel(0, "h2", "ipip-tunnel-addr", "ipipTunnelAddress")])
}

/// The kernel's routes that Calico's objects ask for, a line of `ip -batch` each.
pub(crate) const ROUTES: &[&str] = &[
    // Pods, one of them still with the route that the CNI plugin left.
    "route add 10.65.0.2/32 dev cali1 scope link metric 1024",
    "route add 10.65.0.2/32 dev cali1 scope link",
    "route add 10.65.0.3/32 dev cali2 scope link metric 1024",
    "route add 10.66.0.5/32 dev cali3 scope link metric 1024",
    "route add dead:beef::2/128 dev cali3 metric 1024",
    // Blocks of this host, by Felix and by BIRD.
    "route add blackhole 10.65.0.0/26 proto 80",
    "route add blackhole 10.65.16.0/26 proto 80",
    "route add blackhole 10.66.0.0/26 proto 80",
    "route add blackhole 10.67.0.0/26 proto bird",
    "route add blackhole dead:beef::/122 proto 80 metric 1024",
    // IPIP, by Felix and as BIRD writes it.
    "route add 10.65.1.0/26 via 172.18.0.5 dev tunl0 onlink proto 80 mtu 1480",
    "route add 10.65.2.0/26 via 172.19.0.6 dev tunl0 onlink proto bird metric 1024",
    "route add 10.65.17.0/26 via 172.18.0.5 dev eth0 onlink proto 80",
    "route add 10.65.18.0/26 via 172.19.0.6 dev tunl0 onlink proto 80 mtu 1480",
    // VXLAN.
    "route add 10.66.1.0/26 via 10.66.1.0 dev vxlan.calico onlink mtu 1450",
    "route add 10.66.2.0/26 via 10.68.0.7 dev vxlan.calico onlink mtu 1450",
    "route add 10.66.17.0/26 via 172.18.0.5 dev eth0 onlink proto 80",
    "route add 10.66.18.0/26 via 10.68.0.7 dev vxlan.calico onlink mtu 1450",
    "route add dead:beef::40/122 via fd00::5 dev eth0 onlink proto 80",
    "route add dead:beef::80/122 via dead:beef::81 dev vxlan-v6.calico onlink mtu 1430",
    // Without encapsulation, by BIRD: to the peer, and through the router.
    "route add 10.67.1.0/26 via 172.18.0.5 dev eth0 proto bird metric 1024",
    "route add 10.67.2.0/26 via 172.18.0.1 dev eth0 proto bird metric 1024",
    // Borrowed addresses, and a tunnel address that is a block.
    "route add 10.65.1.9/32 via 172.19.0.6 dev tunl0 onlink proto 80 mtu 1480",
    "route add 10.66.1.5/32 via 10.68.0.7 dev vxlan.calico onlink mtu 1450",
    "route add 10.68.0.7/32 dev vxlan.calico scope link mtu 1450",
    // WireGuard's table is another than main: nothing of it is counted.
    "route add 10.65.1.0/26 dev wireguard.cali scope link table 1",
    "route add throw 10.65.0.0/26 table 1",
    // Somebody else's, inside a pool, where no block is; and default routes.
    "route add 10.65.15.0/26 via 172.18.0.9 dev eth0 proto static",
    "route add default via 172.18.0.1 dev eth0",
    "route add ::/0 via fd00::1 dev eth0",
];

/// The devices and [`ROUTES`].
pub(crate) fn kernel(namespace: &Namespace) {
    namespace.ip("link set lo up");
    namespace.veth("eth0", "p0", "172.18.0.4/16");
    namespace.ip("addr add fd00::4/64 dev eth0 nodad");
    namespace.veth("tunl0", "p1", "10.65.0.1/32");
    namespace.ip("link set tunl0 mtu 1480");
    vxlan(namespace, Family::V4);
    vxlan(namespace, Family::V6);
    for (device, peer) in [("cali1", "p4"), ("cali2", "p5"), ("cali3", "p6"), ("wireguard.cali", "p7")] {
        namespace.ip(&format!("link add {device} type veth peer name {peer}"));
        namespace.ip(&format!("link set {peer} up"));
        namespace.ip(&format!("link set {device} up"));
    }
    namespace.batch(&ROUTES.iter().map(|line| format!("{line}\n")).collect::<String>());
}

/// Other hosts' ends of this host's VXLAN tunnels: name, tunnel address, own address.
const PEERS: [(&str, &str, &str); 4] = [
    ("h2", "10.66.1.0", "172.18.0.5"),
    ("h3", "10.68.0.7", "172.19.0.6"),
    ("h2", "dead:beef::41", "fd00::5"),
    ("h3", "dead:beef::81", "fd01::6"),
];

/// A VXLAN device as Felix makes it, with what it needs beneath the routes.
pub(super) fn vxlan(namespace: &Namespace, family: Family) {
    let (device, local, mtu, address) = match family {
        Family::V4 => ("vxlan.calico", "172.18.0.4", 1450, "10.66.0.0/32"),
        Family::V6 => ("vxlan-v6.calico", "fd00::4", 1430, "dead:beef::1/128"),
    };
    let mac = Mac::derived("h1", family);
    namespace.ip(&format!(
        "link add {device} address {mac} mtu {mtu} type vxlan id 4096 local {local} dev eth0 dstport 4789 nolearning"
    ));
    namespace.ip(&format!("link set {device} up"));
    namespace.ip(&format!("addr add {address} dev {device}"));
    entries(namespace, family);
}

/// Its neighbours and forwarding entries.
pub(super) fn entries(namespace: &Namespace, family: Family) {
    let device = TunnelKind::vxlan(family).device();
    for (host, tunnel, own) in PEERS.into_iter().filter(|(_, tunnel, _)| Family::of(tunnel.parse().unwrap()) == family)
    {
        let mac = Mac::derived(host, family);
        namespace.ip(&format!("neigh replace {tunnel} lladdr {mac} dev {device} nud permanent"));
        namespace.bridge(&format!("fdb replace {mac} dst {own} dev {device} self permanent"));
    }
}

/// The host with its etcd.
pub(crate) struct Host {
    pub(crate) namespace: Namespace,
    pub(crate) etcd: Etcd,
}

impl Host {
    /// All of it; `None` where there is no etcd.
    pub(crate) async fn start(namespace: Namespace) -> Option<Host> {
        kernel(&namespace);
        let etcd = Etcd::start().await?;
        etcd.put_all(&datastore()).await;
        Some(Host { namespace, etcd })
    }

    /// An exporter that polls nothing and waits so long before a difference is a fault.
    pub(crate) fn exporter(&self, grace: &str) -> Exporter {
        let url = self.etcd.url();
        let arguments = ["--etcd.endpoints", &url, "--node.name", "h1", "--datastore.resync", "1h"];
        Exporter::start(&[&arguments[..], &["--routes.grace", grace]].concat())
    }

    /// One whose differences are soon faults, and that has found none yet.
    pub(crate) fn healthy(&self) -> Exporter {
        let exporter = self.exporter("1s");
        exporter.until_ready();
        assert_eq!(exporter.findings(), [""; 0]);
        exporter
    }
}
