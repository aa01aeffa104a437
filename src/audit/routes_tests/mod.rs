//! Tables: what the judgement calls a fault and, beside it, the nearest state that is none. One host, h1, among three:
//! h2 in its subnet, h3 behind a router; a pool of each class; the kernel as Felix and BIRD of v3.33 leave it.

use std::time::Duration;

use super::testing::{Block, Cluster, address, at, net, node, pool};
use super::*;
use crate::model::{
    AffinityState, Attribute, BgpConfiguration, BlockOwner, ClusterInformation, EncapMode, EndpointId, Family,
    FelixConfiguration, IpPool, Labels, Link, Name, NextHop, Node, PolicyRule, ProgramClusterRoutes, Protocol, Route,
    RouteType, RuleAction, TABLE_MAIN, TunnelKind, WorkloadEndpoint,
};
use crate::state::State;
use crate::state::{Event, Object, ObjectId, Side};

mod deviations;
mod diverted;
mod effect;
mod form;
mod host;
mod time;
mod underlay;
mod unwanted;
mod wanted;
mod wireguard;

const KERNEL: &str = "
    default via 172.18.0.254 dev eth0 proto static
    172.18.0.0/24 dev eth0 proto kernel
    blackhole 10.1.0.0/26 proto 80
    10.1.0.64/26 via 10.1.0.64 dev vxlan.calico
    10.1.0.128/26 via 10.1.0.128 dev vxlan.calico
    10.1.0.5 dev cali-a metric 1024
    blackhole 10.2.0.0/26 proto 80
    10.2.0.64/26 via 172.18.0.2 dev eth0 proto 80
    10.2.0.128/26 via 10.1.0.128 dev vxlan.calico
    blackhole 10.3.0.0/26 proto 80
    10.3.0.64/26 via 172.18.0.2 dev tunl0 proto 80
    10.3.0.128/26 via 172.18.1.3 dev tunl0 proto 80
    blackhole 10.4.0.0/26 proto bird
    10.4.0.64/26 via 172.18.0.2 dev eth0 proto bird metric 1024
    10.4.0.70 via 172.18.0.254 dev eth0 proto bird metric 1024
    10.4.0.128/26 via 172.18.0.254 dev eth0 proto bird metric 1024";

const HOSTS: [(&str, &str); 3] = [("h1", "172.18.0.1/24"), ("h2", "172.18.0.2/24"), ("h3", "172.18.1.3/24")];

/// A host of a cluster, to be changed and looked at.
struct Host {
    cluster: Cluster,
    backend: Backend,
    routes: Vec<Route>,
    links: Vec<Link>,
}

fn healthy() -> Host {
    healthy_where(true)
}

/// `lists`: endpoints are listed, rather than looked up.
fn healthy_where(lists: bool) -> Host {
    let mut cluster = Cluster { state: State::new(lists), ..Cluster::new() };
    let modes = [
        ("vxlan", "10.1.0.0/16", EncapMode::Never, EncapMode::Always),
        ("cross", "10.2.0.0/16", EncapMode::Never, EncapMode::CrossSubnet),
        ("ipip", "10.3.0.0/16", EncapMode::Always, EncapMode::Never),
        ("plain", "10.4.0.0/16", EncapMode::Never, EncapMode::Never),
    ];
    for (name, cidr, ipip, vxlan) in modes {
        cluster.put(Object::Pool(IpPool { ipip, vxlan, ..pool(name, cidr, 26) }));
    }
    for (index, (host, subnet)) in HOSTS.into_iter().enumerate() {
        let first = index * 64;
        let mut it = node(host, &[subnet]);
        it.tunnels.insert(TunnelKind::VxlanV4, address(&format!("10.1.0.{first}")));
        it.tunnels.insert(TunnelKind::Ipip, address(&format!("10.3.0.{first}")));
        cluster.put(Object::Node(host.into(), it));
        for pool in 1..=4 {
            let mut block = Block::of(&format!("host:{host}"), &format!("10.{pool}.0.{first}/26"));
            block = match pool {
                1 => block.tunnel(0, host, TunnelKind::VxlanV4),
                3 => block.tunnel(0, host, TunnelKind::Ipip),
                _ => block,
            };
            block = match (pool, host) {
                (1, "h1") => block.pod(5, "h1", "a"),
                // h3 borrows from h2.
                (4, "h2") => block.pod(6, "h3", "b"),
                _ => block,
            };
            cluster.owned(block);
        }
    }
    cluster.put(endpoint("h1", "a", "10.1.0.5"));
    cluster.put(endpoint("h3", "b", "10.4.0.70"));
    cluster.put(cluster_of("v3.33.0", "k8s,bgp"));
    let links = vec![
        link(2, "eth0", &["172.18.0.1/24"]),
        link(3, "eth1", &["192.168.9.1/24"]),
        link(4, "tunl0", &["10.3.0.0/32"]),
        link(5, "vxlan.calico", &["10.1.0.0/32"]),
        link(6, "cali-a", &[]),
        link(7, "cali-z", &[]),
    ];
    Host { cluster, backend: Backend::Auto, routes: KERNEL.lines().filter_map(route).collect(), links }
}

fn cluster_of(version: &str, kind: &str) -> Object {
    let (cluster_type, calico_version) = (kind.to_owned(), version.to_owned());
    Object::Cluster(ClusterInformation { cluster_type, calico_version, datastore_ready: Some(true) })
}

fn link(index: u32, name: &str, addresses: &[&str]) -> Link {
    let addresses = addresses.iter().map(|it| net(it)).collect();
    let mtu = if name == "tunl0" || name.starts_with("vxlan") { 1430 } else { 1500 };
    Link { index, name: name.into(), admin_up: true, mtu, addresses, ..Link::default() }
}

fn endpoint(host: &str, pod: &str, at: &str) -> Object {
    Object::Endpoint(WorkloadEndpoint {
        id: EndpointId::of_pod(host, "default", pod),
        node: host.into(),
        pod: pod.into(),
        container_id: format!("c-{pod}").into(),
        interface: format!("cali-{pod}").into(),
        addresses: vec![address(at)],
        floating: Vec::new(),
        openstack: false,
        labels: Labels::default(),
    })
}

/// A route as `ip route` prints it; `nexthop` begins each of several ways.
fn route(line: &str) -> Option<Route> {
    let mut words = line.split_whitespace().peekable();
    let kind = match *words.peek()? {
        "blackhole" => RouteType::Blackhole,
        "unreachable" => RouteType::Unreachable,
        "prohibit" => RouteType::Prohibit,
        "throw" => RouteType::Throw,
        "local" => RouteType::Local,
        _ => RouteType::Unicast,
    };
    if kind != RouteType::Unicast {
        words.next();
    }
    let destination = match words.next()? {
        "default" => net("0.0.0.0/0"),
        text => text.parse().unwrap_or_else(|_| address(text).into()),
    };
    let mut made = Route {
        table: TABLE_MAIN,
        destination,
        metric: 0,
        tos: 0,
        kind,
        protocol: Protocol::BOOT,
        link_scope: false,
        next_hops: Default::default(),
    };
    let mut hop = NextHop { gateway: None, device: None, down: false, onlink: false };
    let mut hops: Vec<NextHop> = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "nexthop" => hop.gateway = None,
            "via" => hop.gateway = words.next().map(address),
            "dev" => {
                hop.device = words.next().map(Name::from);
                if kind == RouteType::Unicast {
                    hops.push(hop.clone());
                }
            }
            "linkdown" => hops.iter_mut().for_each(|it| it.down = true),
            "table" => made.table = words.next()?.parse().ok()?,
            "metric" => made.metric = words.next()?.parse().ok()?,
            "proto" => made.protocol = protocol(words.next()?),
            other => panic!("{other:?} in {line:?}"),
        }
    }
    made.next_hops = hops.into();
    made.link_scope = kind == RouteType::Unicast && made.next_hops.iter().all(|it| it.gateway.is_none());
    Some(made)
}

/// A rule for every packet.
fn rule(priority: u32, action: RuleAction) -> PolicyRule {
    PolicyRule::for_all(Family::V4, priority, action)
}

fn to_table(priority: u32, table: u32) -> PolicyRule {
    rule(priority, RuleAction::Table(table))
}

fn protocol(word: &str) -> Protocol {
    match word {
        "bird" => Protocol::BIRD,
        "kernel" => Protocol::KERNEL,
        "boot" => Protocol::BOOT,
        "static" => Protocol::STATIC,
        number => Protocol(number.parse().unwrap()),
    }
}

impl Host {
    /// Takes the routes to a destination out.
    fn without(&mut self, destination: &str) -> &mut Host {
        let gone = route(destination).unwrap();
        let before = self.routes.len();
        self.routes.retain(|it| (it.table, it.destination) != (gone.table, gone.destination));
        assert!(self.routes.len() < before, "{destination} was not there");
        self
    }

    /// Puts a route, instead of those to the same destination.
    fn with(&mut self, line: &str) -> &mut Host {
        let new = route(line).unwrap();
        self.routes.retain(|it| (it.table, it.destination) != (new.table, new.destination));
        self.routes.push(new);
        self
    }

    /// Puts a route beside those to the same destination.
    fn beside(&mut self, line: &str) -> &mut Host {
        self.routes.extend(route(line));
        self
    }

    /// The kernel's own IPv4 rules and these.
    fn rules(&mut self, extra: Vec<PolicyRule>) -> &mut Host {
        let mut rules = vec![to_table(0, 255), to_table(32766, TABLE_MAIN), to_table(32767, 253)];
        rules.extend(extra);
        rules.sort_by_key(|it| it.priority);
        self.cluster.event(Event::Rules(Family::V4, rules));
        self
    }

    fn link(&mut self, name: &str) -> &mut Link {
        self.links.iter_mut().find(|it| &*it.name == name).unwrap()
    }

    fn unlink(&mut self, name: &str) -> &mut Host {
        self.links.retain(|it| &*it.name != name);
        self
    }

    fn node(&mut self, name: &str, change: impl FnOnce(&mut Node)) -> &mut Host {
        let mut node = (*self.cluster.datastore().nodes()[name]).clone();
        change(&mut node);
        self.cluster.put(Object::Node(name.into(), node));
        self
    }

    fn pool(&mut self, name: &str, change: impl FnOnce(&mut IpPool)) -> &mut Host {
        let mut pool = self.cluster.datastore().pools()[name].clone();
        change(&mut pool);
        self.cluster.put(Object::Pool(pool));
        self
    }

    fn felix(&mut self, change: impl FnOnce(&mut FelixConfiguration)) -> &mut Host {
        let mut felix = FelixConfiguration { name: Some("default".into()), ..FelixConfiguration::default() };
        change(&mut felix);
        self.cluster.put(Object::Felix("default".into(), felix));
        self
    }

    fn bgp(&mut self, change: impl FnOnce(&mut BgpConfiguration)) -> &mut Host {
        let mut bgp = BgpConfiguration { name: Some("default".into()), ..BgpConfiguration::default() };
        change(&mut bgp);
        self.cluster.put(Object::BgpConfiguration("default".into(), bgp));
        self
    }

    fn delete(&mut self, id: ObjectId) -> &mut Host {
        self.cluster.delete(id);
        self
    }

    /// A key's state, or no key.
    fn key(&mut self, host: &str, cidr: &str, state: Option<AffinityState>) -> &mut Host {
        match state {
            Some(state) => done(self.cluster.affinity(&format!("host:{host}"), cidr, state)),
            None => done(self.cluster.delete(ObjectId::Affinity(BlockOwner::Host(host.into()), net(cidr)))),
        }
        self
    }

    fn state(&self) -> State {
        let mut cluster = self.cluster.clone();
        cluster.synced();
        for event in self.links.iter().cloned().map(Event::Link).chain(self.routes.iter().cloned().map(Event::Route)) {
            cluster.event(event);
        }
        cluster.event(Event::Synced(Side::Kernel));
        cluster.state
    }

    fn audit(&self, grace: Option<Duration>) -> (RouteAudit, State) {
        let mut audit = RouteAudit::new(RouteOptions {
            node: "h1".into(),
            backend: self.backend,
            grace,
            tunnels: TunnelOptions::default(),
        });
        let mut state = self.state();
        let changes = state.take_changes();
        audit.refresh(&state, &changes, at(0));
        (audit, state)
    }

    /// `class/reason subject host`, sorted.
    fn faults(&self) -> Vec<String> {
        let (audit, state) = self.audit(None);
        let found = audit.findings(at(0));
        let report = audit.report(&state, at(0));
        if found.is_empty() {
            let total = |counts: &ClassCounts| counts.values().sum::<u64>();
            let foreign = report.actual.iter().filter(|it| it.0.0 == RouteClass::Foreign).map(|it| it.1).sum::<u64>();
            assert_eq!(
                total(&report.actual) - foreign,
                total(&report.expected),
                "expected is actual on a healthy host (J20)"
            );
        }
        let mut told: Vec<String> = found.iter().map(told).collect();
        told.sort();
        told
    }
}

fn told(finding: &Finding) -> String {
    let labels: Vec<&str> = finding.fault.labels().map(|(_, value)| value).collect();
    format!("{} {} {}", labels.join("/"), finding.subject, finding.host.as_deref().unwrap_or("-"))
}

/// Ends a chain of changes whose value nobody wants.
fn done<T>(_: T) {}

/// What a change makes of the healthy host.
#[track_caller]
fn found(change: impl FnOnce(&mut Host)) -> Vec<String> {
    let mut host = healthy();
    change(&mut host);
    host.faults()
}

#[track_caller]
fn clean(change: impl FnOnce(&mut Host)) {
    assert_eq!(found(change), [""; 0]);
}

#[test]
fn the_healthy_host_is_healthy() {
    clean(|_| {});
}
