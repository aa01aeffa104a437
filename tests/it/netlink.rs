//! The kernel's picture against real kernels: each test in a network namespace of its own.

use std::time::{Duration, Instant};

use calico_exporter::model::{Link, NextHop, Protocol, Route, RouteType};
use calico_exporter::source::iproute;
use calico_exporter::source::netlink::{self, Settings};
use calico_exporter::state::Event;

use crate::support::netns::{Namespace, in_namespace};
use crate::support::picture::{Follower, PATIENCE, Picture};

mod alone;
mod tunnels;

/// Devices by the names of Calico's. The kernel at hand may lack ipip and wireguard: a veth of that name stands in.
const DEVICES: &str = "
    ip link set lo up
    ip link add eth0 type veth peer name p0; ip link set p0 up
    ip addr add 172.18.0.4/16 dev eth0; ip link set eth0 up
    ip link add tunl0 type ipip || ip link add tunl0 type veth peer name p1; ip link set p1 up; ip link set tunl0 up
    ip addr add 10.65.0.1/32 dev tunl0
    ip link add vxlan.calico type vxlan id 4096 local 172.18.0.4 dev eth0 dstport 4789 nolearning
    ip link set vxlan.calico up; ip addr add 10.65.0.0/32 dev vxlan.calico
    ip link add cali12345678901 type veth peer name p3; ip link set p3 up; ip link set cali12345678901 up
    ip link add wireguard.cali type wireguard || ip link add wireguard.cali type veth peer name p4
    ip link set p4 up; ip link set wireguard.cali up
    ip -6 addr add fd00::4/64 dev eth0 nodad
    ip addr add 10.99.0.1 peer 10.99.0.2/32 dev eth0
    ip link add br0 type bridge; ip link add p5 type veth peer name b5; ip link set b5 master br0
";

/// Every form in which Calico's routes come, and forms of others that it must not stumble over.
const ROUTES: &str = "
    ip route add 10.65.0.2/32 dev cali12345678901 scope link metric 1024
    ip route add 10.65.0.2/32 dev cali12345678901 scope link
    ip route add 10.65.1.0/26 via 172.18.0.5 dev tunl0 onlink proto 80 mtu 1480
    ip route add 10.65.2.0/26 via 172.18.0.6 dev eth0 onlink proto 80
    ip route add 10.65.3.0/26 via 10.65.3.0 dev vxlan.calico onlink mtu 1450
    ip route add 10.65.4.7/32 dev vxlan.calico scope link
    ip route add blackhole 10.65.0.0/26 proto 80
    ip route add blackhole 10.66.0.0/26 proto bird
    ip route add 10.66.1.0/26 via 172.18.0.5 dev eth0 proto bird metric 1024
    ip route add 10.67.0.0/26 dev wireguard.cali scope link table 1
    ip route add throw 10.67.1.0/26 table 1
    ip route add 10.65.9.9/32 via 172.18.0.4 dev tunl0 onlink proto 80
    ip -6 route add blackhole dead:beef::/122 proto 80 metric 1024
    ip -6 route add dead:beef::40/122 via fd00::5 dev eth0 onlink proto 80
    ip -6 route add dead:beef::2/128 dev cali12345678901 metric 1024
    ip route add default via 172.18.0.1
    ip -6 route add default via fd00::1
    ip route add unreachable default metric 9999
    ip -6 route add unreachable default metric 9999 table 1234
    ip route add prohibit 10.80.0.0/26 table 70000
    ip route add 10.70.0.0/24 proto bird nexthop via 172.18.0.5 dev eth0 weight 2 nexthop via 172.18.0.6 dev eth0
    ip route add 10.70.1.0/24 via inet6 fd00::9 dev eth0
    ip route add 10.70.5.0/24 nexthop via inet6 fd00::9 dev eth0 nexthop via 172.18.0.9 dev eth0 onlink
    ip route add 10.70.2.0/24 tos 0x10 dev eth0
    ip route add 10.70.2.0/24 tos 0xb8 dev eth0
    ip route append 10.70.2.0/24 tos 0xb8 via 172.18.0.7
    ip -6 route add fd01::/64 nexthop via fd00::5 dev eth0 nexthop via fd00::6 dev eth0
    ip -6 route add fd05::/64 from fd00::/64 dev eth0
    ip -6 route add fd06::/64 dev eth0 metric 77
    ip -6 route append fd06::/64 dev tunl0 metric 77
    ip nexthop add id 7 via 172.18.0.9 dev eth0
    ip route add 10.70.3.0/24 nhid 7
    ip nexthop add id 8 blackhole
    ip route add 10.70.4.0/24 nhid 8
    ip -6 nexthop add id 9 via fd00::9 dev eth0
    ip nexthop add id 10 group 9
    ip -6 route add fd08::/64 nhid 10
";

const NEVER: Duration = Duration::from_secs(3600);

/// Nothing but events: no fresh list after the first.
fn events_alone() -> Settings {
    Settings { settle: NEVER, ..doubts_alone() }
}

/// No fresh list but for a doubt: one that is due anyway would hide that something was not seen.
fn doubts_alone() -> Settings {
    Settings { refresh: NEVER, ..Settings::default() }
}

/// What iproute2 prints here, as the files are read.
fn printed(namespace: &Namespace, numeric: &str) -> Picture {
    let folder = tempfile::tempdir().unwrap();
    let (routes, links) = (folder.path().join("routes.json"), folder.path().join("links.json"));
    std::fs::write(&routes, namespace.ip(&format!("{numeric} -j -d route show table all"))).unwrap();
    std::fs::write(&links, namespace.ip(&format!("{numeric} -j -d addr show"))).unwrap();
    Picture::of(iproute::snapshot(&routes, Some(&links)).unwrap())
}

async fn asked() -> Picture {
    Picture::of(netlink::snapshot().await.unwrap())
}

/// What the kernel says and what iproute2 prints of it, by names and by numbers, once they agree and this holds. Carrier
/// and addresses of a device settle by and by, so the two may be asked at different times.
async fn agreed(namespace: &Namespace, holds: impl Fn(&Picture) -> bool) -> Picture {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (asked, named, numbered) = (asked().await, printed(namespace, ""), printed(namespace, "-N"));
        if asked == named && asked == numbered && holds(&asked) {
            return asked;
        }
        if Instant::now() > deadline {
            assert_eq!(asked, named);
            assert_eq!(asked, numbered);
            panic!("it does not hold: {asked:#?}");
        }
    }
}

fn hop(gateway: &str, device: &str) -> NextHop {
    let gateway = (!gateway.is_empty()).then(|| gateway.parse().unwrap());
    NextHop { gateway, device: Some(device.into()), down: false, onlink: false }
}

#[test]
fn every_form_of_route_and_link_is_what_iproute2_prints() {
    in_namespace(async |namespace| {
        agreed(&namespace, |_| true).await;
        namespace.script(DEVICES);
        namespace.script(ROUTES);
        let picture = agreed(&namespace, |_| true).await;
        let route = |table, net: &str| picture.route(table, net).unwrap_or_else(|| panic!("{net}: {picture:#?}"));
        let tunnel = route(254, "10.65.1.0/26");
        assert_eq!((tunnel.kind, tunnel.protocol), (RouteType::Unicast, Protocol::FELIX));
        assert_eq!(*tunnel.next_hops, [NextHop { onlink: true, ..hop("172.18.0.5", "tunl0") }]);
        assert_eq!(route(254, "10.66.0.0/26").kind, RouteType::Blackhole);
        assert!(route(254, "dead:beef::/122").next_hops.is_empty());
        assert!(route(1, "10.67.0.0/26").link_scope);
        assert_eq!(route(1, "10.67.1.0/26").kind, RouteType::Throw);
        assert_eq!(route(70000, "10.80.0.0/26").kind, RouteType::Prohibit);
        assert_eq!(*route(254, "10.70.0.0/24").next_hops, [hop("172.18.0.5", "eth0"), hop("172.18.0.6", "eth0")]);
        assert_eq!(*route(254, "10.70.1.0/24").next_hops, [hop("fd00::9", "eth0")]);
        assert_eq!(route(254, "fd01::/64").next_hops.len(), 2);
        assert_eq!(*route(254, "10.70.3.0/24").next_hops, [hop("172.18.0.9", "eth0")]);
        assert_eq!(picture.routes.keys().filter(|key| key.destination == "fd06::/64".parse().unwrap()).count(), 2);
        assert!(picture.route(254, "fd05::/64").is_none(), "a route for one source only");
        let vxlan = picture.link("vxlan.calico").unwrap();
        assert_eq!((vxlan.kind.as_deref(), vxlan.is_up()), (Some("vxlan"), true));
        assert!(picture.link("lo").unwrap().kind.is_none());
        assert!(picture.link("eth0").unwrap().addresses.contains(&"10.99.0.1/32".parse().unwrap()));

        // Links that are down, and down at their other end.
        namespace.ip("link set p0 down");
        let no_carrier = |picture: &Picture| picture.link("eth0").unwrap().no_carrier;
        let picture = agreed(&namespace, no_carrier).await;
        assert!(picture.route(254, "10.65.2.0/26").unwrap().next_hops[0].down);
        assert!(picture.route(254, "10.70.0.0/24").unwrap().next_hops.iter().all(|hop| hop.down));
        namespace.ip("link set tunl0 down");
        agreed(&namespace, |picture| !picture.has("10.65.1.0/26")).await;
        namespace.ip("link set cali12345678901 down");
        agreed(&namespace, |picture| !picture.has("dead:beef::2/128")).await;
    });
}

#[test]
fn without_next_hops_of_next_hop_objects_the_route_is_still_there() {
    in_namespace(async |namespace| {
        namespace.script("echo 0 > /proc/sys/net/ipv4/nexthop_compat_mode");
        namespace.veth("eth0", "p0", "172.18.0.4/16");
        namespace.ip("nexthop add id 7 via 172.18.0.9 dev eth0");
        namespace.ip("route add 10.70.3.0/24 nhid 7");
        agreed(&namespace, |picture| picture.has("10.70.3.0/24")).await;
    });
}

#[test]
fn routes_come_change_and_go_by_events_alone() {
    in_namespace(async |namespace| {
        namespace.script(DEVICES);
        // A carrier that is found later changes routes without a word.
        let settled = |picture: &Picture| !picture.links.values().any(|link| link.no_carrier);
        agreed(&namespace, settled).await;
        let mut follower = Follower::start(events_alone()).await;
        for (net, first, second) in [
            (
                "10.66.1.0/26",
                "172.18.0.5 dev eth0 proto bird metric 1024",
                "172.18.0.6 dev eth0 proto bird metric 1024",
            ),
            ("dead:beef::40/122", "fd00::5 dev eth0 proto 80", "fd00::6 dev eth0 proto 80"),
        ] {
            let gateway = |follower: &Follower| {
                let route: Option<&Route> = follower.picture.route(254, net);
                route.and_then(|route| route.next_hops.first()).and_then(|hop| hop.gateway)
            };
            let first_gateway = first.split(' ').next().unwrap().parse().unwrap();
            let second_gateway = second.split(' ').next().unwrap().parse().unwrap();
            namespace.ip(&format!("route add {net} via {first}"));
            follower.until("added", |follower| gateway(follower) == Some(first_gateway)).await;
            namespace.ip(&format!("route replace {net} via {second}"));
            follower.until("replaced", |follower| gateway(follower) == Some(second_gateway)).await;
            namespace.ip(&format!("route replace blackhole {net} metric 1024 proto bird"));
            let blackhole = |follower: &Follower| {
                follower.picture.route(254, net).is_some_and(|route| route.kind == RouteType::Blackhole)
            };
            follower.until("made a blackhole", blackhole).await;
            namespace.ip(&format!("route del blackhole {net} metric 1024"));
            follower.until("deleted", |follower| !follower.picture.has(net)).await;
        }
        // The same destination on two devices is two routes with IPv6.
        namespace.ip("route add fd06::/64 dev eth0 metric 77");
        namespace.ip("route append fd06::/64 dev tunl0 metric 77");
        let count = |follower: &Follower| {
            let routes = follower.picture.routes.keys();
            routes.filter(|key| key.destination == "fd06::/64".parse().unwrap()).count()
        };
        follower.until("two", |follower| count(follower) == 2).await;
        namespace.ip("route del fd06::/64 dev eth0 metric 77");
        follower.until("one", |follower| count(follower) == 1).await;
        follower.until_true("at the end").await;
        assert_eq!(follower.resyncs, 1);
        follower.stop().await;
    });
}

#[test]
fn a_link_is_told_anew_with_each_change() {
    in_namespace(async |namespace| {
        let mut follower = Follower::start(events_alone()).await;
        namespace.veth("eth0", "p0", "172.18.0.4/16");
        let eth0 = |follower: &Follower, holds: fn(&Link) -> bool| follower.picture.link("eth0").is_some_and(holds);
        follower.until("made, up, addressed", |f| eth0(f, |link| link.is_up() && link.addresses.len() == 2)).await;
        assert_eq!(follower.picture.link("eth0").unwrap().kind.as_deref(), Some("veth"));
        namespace.ip("addr add 10.0.0.1/24 dev eth0");
        follower.until("three addresses", |f| eth0(f, |link| link.addresses.len() == 3)).await;
        namespace.ip("addr del 172.18.0.4/16 dev eth0");
        follower.until("two addresses", |f| eth0(f, |link| link.addresses.len() == 2)).await;
        namespace.ip("link set eth0 mtu 1400");
        follower.until("mtu", |f| eth0(f, |link| link.mtu == 1400)).await;
        namespace.ip("link set p0 down");
        follower.until("no carrier", |f| eth0(f, |link| link.admin_up && link.no_carrier)).await;
        // A port that a bridge takes and lets go is announced as a link that is deleted, and is none.
        namespace.ip("link add br0 type bridge");
        namespace.ip("link set eth0 master br0");
        namespace.ip("link set eth0 nomaster");
        namespace.ip("link set eth0 mtu 1300");
        follower.until("still there", |f| eth0(f, |link| link.mtu == 1300)).await;
        namespace.ip("link del eth0");
        follower.until("gone", |f| f.picture.link("eth0").is_none() && f.picture.link("p0").is_none()).await;
        assert_eq!(follower.resyncs, 1);
    });
}

#[test]
fn what_the_kernel_changes_without_a_word_is_seen() {
    in_namespace(async |namespace| {
        namespace.script(DEVICES);
        namespace.script(ROUTES);
        let mut follower = Follower::start(doubts_alone()).await;
        for change in [
            // Another end goes down: next hops are flagged.
            "link set p0 down",
            "link set p0 up",
            // Faster than the kernel announces it.
            "link set p0 down; ip route add 10.70.9.0/24 via 172.18.0.5; ip link set p0 up",
            "link set p0 down; ip -6 route add fd09::/64 via fd00::5; ip link set p0 up",
            // Devices go down or away: routes are dropped.
            "link set tunl0 down",
            "link set tunl0 up",
            "link del cali12345678901",
            // An address goes, and its connected route and everything that used it as a source.
            "addr del 172.18.0.4/16 dev eth0",
            "addr add 172.18.0.4/16 dev eth0",
            // Routes bear the names of devices.
            "link set wireguard.cali down",
            "link set wireguard.cali name wg0",
            "link set wg0 up",
            "route add 10.67.0.0/26 dev wg0 scope link table 1",
            // Next hops come and go one by one.
            "-6 route append fd01::/64 via fd00::7 dev eth0",
            "-6 route del fd01::/64 via fd00::5 dev eth0",
            "-6 route replace fd01::/64 nexthop via fd00::8 dev eth0 nexthop via fd00::9 dev eth0",
            "-6 route replace fd01::/64 via fd00::9 dev eth0",
            "-6 route replace fd06::/64 dev wg0 metric 77",
            // Routes that hide one another.
            "route append 10.65.2.0/26 via 172.18.0.9 dev eth0 onlink proto 80",
            "route prepend 10.65.2.0/26 via 172.18.0.8 dev eth0 onlink proto 80",
            "route del 10.65.2.0/26 via 172.18.0.8 dev eth0",
            "nexthop replace id 7 via 172.18.0.10 dev eth0",
            "link set eth0 down",
        ] {
            namespace.script(&format!("ip {change}"));
            follower.until_true(change).await;
        }
        assert_eq!(follower.resyncs, 1, "all of it by differences");
        agreed(&namespace, |_| true).await;
    });
}

#[test]
fn messages_lost_to_a_full_buffer_lead_to_a_fresh_list() {
    in_namespace(async |namespace| {
        namespace.veth("eth0", "p0", "172.18.0.4/16");
        // The smallest buffer there is, and nobody who takes the events.
        let settings = Settings { receive_buffer: 1, ..events_alone() };
        let mut follower = Follower::start(settings).await;
        namespace
            .batch(&(0..3000).map(|n| format!("route add {} via 172.18.0.5 proto 80\n", block(n))).collect::<String>());
        namespace.batch(&(0..2000).map(|n| format!("route del {}\n", block(n))).collect::<String>());
        follower.until("a second list", |follower| follower.resyncs > 1).await;
        assert!(
            follower.lost.iter().any(|why| why.contains("messages of the kernel were lost")),
            "{:?}",
            follower.lost
        );
        assert_eq!(follower.unsaid, 0, "until the fresh list is whole it is out of sync");
        follower.until_true("after the flood").await;
        assert_eq!(follower.picture.routes.values().filter(|route| route.protocol == Protocol::FELIX).count(), 1000);
        // And it follows again.
        namespace.ip("route add 10.255.0.0/26 via 172.18.0.5");
        follower.until("one more", |follower| follower.picture.has("10.255.0.0/26")).await;
    });
}

#[test]
fn a_host_of_a_large_cluster_is_listed_and_followed() {
    in_namespace(async |namespace| {
        namespace.veth("eth0", "p0", "172.18.0.4/16");
        namespace.batch(
            &(0..15_000).map(|n| format!("route add {} via 172.18.0.5 proto 80\n", block(n))).collect::<String>(),
        );
        agreed(&namespace, |picture| !picture.link("eth0").unwrap().no_carrier).await;
        let mut follower = Follower::start(doubts_alone()).await;
        let blocks = |picture: &Picture| picture.routes.values().filter(|r| r.protocol == Protocol::FELIX).count();
        assert_eq!(blocks(&follower.picture), 15_000);
        namespace.ip(&format!("route del {}", block(7)));
        follower.until("one less", |follower| !follower.picture.has(&block(7))).await;
        // The kernel drops all of them silently.
        namespace.ip("link set eth0 down");
        follower.until("none left", |follower| blocks(&follower.picture) == 0).await;
        follower.until_true("at the end").await;
    });
}

#[test]
fn whatever_happens_in_whatever_order_the_picture_comes_right() {
    in_namespace(async |namespace| {
        namespace.script(DEVICES);
        let mut follower = Follower::start(doubts_alone()).await;
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..12 {
            let lines: String = (0..25).map(|_| random_change(&mut random) + "\n").collect();
            let mut ip = namespace.command("ip");
            let mut child = ip
                .args(["-force", "-batch", "-"])
                .stdin(std::process::Stdio::piped())
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap();
            std::io::Write::write_all(&mut child.stdin.take().unwrap(), lines.as_bytes()).unwrap();
            // Some rounds are read while they happen, some afterwards.
            if random.bool() {
                child.wait().unwrap();
            }
            follower.until_true(&format!("seed {seed}, while it happens")).await;
            child.wait().unwrap();
            follower.until_true(&format!("seed {seed}: {lines}")).await;
        }
        agreed(&namespace, |_| true).await;
    });
}

/// A line for `ip -batch`, which may well fail.
fn random_change(random: &mut fastrand::Rng) -> String {
    let device = ["eth0", "tunl0", "wireguard.cali", "vxlan.calico", "p0"][random.usize(..5)];
    let verb = ["add", "replace", "del", "append", "prepend", "change"][random.usize(..6)];
    let (net, n) = (block(random.u32(..4)), random.u8(5..8));
    match random.u8(..11) {
        0 => format!("link set {device} {}", ["up", "down"][random.usize(..2)]),
        1 => format!("addr {} 10.64.{n}.1/24 dev {device}", ["add", "del"][random.usize(..2)]),
        2 => format!("link set {device} mtu {}", random.u32(1300..1310)),
        3 => format!("-6 route {verb} fd0{n}::/64 dev {device} metric 77"),
        4 => format!("-6 route {verb} fd0{n}::/64 nexthop via fd00::5 dev eth0 nexthop via fd00::6 dev eth0"),
        5 | 6 => format!("-6 route {verb} fd0{n}::/64 via fd00::{n} dev eth0"),
        7 => format!("route {verb} blackhole {net} proto 80"),
        8 => format!("route {verb} {net} nexthop via 172.18.0.{n} dev eth0 nexthop via 172.18.0.9 dev eth0"),
        _ => format!("route {verb} {net} via 172.18.0.{n} dev {device} onlink proto bird"),
    }
}

#[test]
fn it_stops_when_told_and_when_nobody_listens() {
    in_namespace(async |_namespace| {
        let follower = Follower::start(Settings::default()).await;
        follower.stop().await;
        let (sender, mut events) = tokio::sync::mpsc::channel(1);
        let (_stop, stopped) = tokio::sync::watch::channel(false);
        let settings = Settings { refresh: Duration::from_millis(10), ..Settings::default() };
        let task = tokio::spawn(netlink::run_with(settings, sender, stopped));
        let first = events.recv().await.unwrap();
        assert!(matches!(first.first(), Some(Event::Resync(_))) && matches!(first.last(), Some(Event::Synced(_))));
        drop(events);
        tokio::time::timeout(Duration::from_secs(10), task).await.expect("it ends").unwrap();
    });
}

/// The `n`th block of 10.192.0.0/10 with a prefix of 26.
fn block(n: u32) -> String {
    let address = std::net::Ipv4Addr::from(u32::from(std::net::Ipv4Addr::new(10, 192, 0, 0)) + n * 64);
    format!("{address}/26")
}
