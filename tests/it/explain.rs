//! `explain` on the recordings of real Calico: every address that is in use is ok from every host, and of ten faults, one
//! for each link of the chain, the verdict names the link.

use std::net::IpAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use calico_exporter::audit::explain::{Explanation, Link, LinkKind, LinkState, Subject};
use calico_exporter::audit::{AuditOptions, Auditor, Backend, IpamOptions, Now, RouteOptions, TunnelOptions};
use calico_exporter::model::{
    EndpointId, FelixConfiguration, Link as Device, NodeAddress, NodeAddressType, Route, RouteType, TABLE_MAIN,
    address_at, host_net,
};
use calico_exporter::source::file;
use calico_exporter::source::iproute::Files;
use calico_exporter::state::{Event, Object, ObjectId, State};
use serde_json::Value;

use crate::fixtures::{RECORDED, folder};

const NOW: Now = Now { monotonic: Duration::from_secs(1000), wall: SystemTime::UNIX_EPOCH };

fn recorded(name: &str, host: &str) -> Vec<Event> {
    let path = |what: &str| folder(name).join(format!("{host}.{what}.json"));
    let there = |what: &str| Some(path(what)).filter(|path| path.exists());
    let files = Files {
        routes: path("routes"),
        links: there("links"),
        neighbours: there("neigh"),
        fdb: there("fdb"),
        rules: ["rules", "rules6"].into_iter().filter_map(there).collect(),
    };
    let mut events = file::datastore(&folder(name).join("etcd.json")).unwrap().events;
    events.extend(files.events().unwrap());
    events
}

/// What `explain` sees on a host.
struct Seen {
    state: State,
    auditor: Auditor,
}

fn see(host: &str, events: Vec<Event>) -> Seen {
    see_with(Backend::Auto, host, events)
}

fn see_with(backend: Backend, host: &str, events: Vec<Event>) -> Seen {
    let mut state = State::new(true);
    for event in events {
        state.apply(event, NOW.monotonic);
    }
    let mut auditor = Auditor::new(AuditOptions {
        ipam: Some(IpamOptions { live: false, affinity_grace: Duration::ZERO }),
        routes: Some(RouteOptions {
            node: host.into(),
            backend,
            grace: None,
            tunnels: TunnelOptions { entries: true, ..TunnelOptions::default() },
        }),
        leaks: true,
        leak_grace: Duration::ZERO,
    });
    auditor.look(&mut state, NOW);
    Seen { state, auditor }
}

impl Seen {
    fn explain(&self, subject: &str) -> Explanation {
        let findings = self.auditor.report(&self.state, NOW).findings;
        self.auditor.explain(&self.state, &findings, &subject.parse::<Subject>().unwrap())
    }
}

/// Layer 2 is in the dumps of one recording alone.
fn is_unread(kind: LinkKind) -> bool {
    matches!(kind, LinkKind::Neighbour | LinkKind::Fdb)
}

fn not_ok(explained: &Explanation) -> Vec<String> {
    let links = explained.links.iter().filter(|link| link.state != LinkState::Ok && !is_unread(link.kind));
    links
        .map(|link| {
            format!(
                "{} {}: {:?}: {} ({} / {})",
                link.kind.as_str(),
                link.subject,
                link.state,
                link.detail,
                link.wanted,
                link.actual
            )
        })
        .collect()
}

#[test]
fn every_pod_of_every_recording_is_reached_and_every_link_to_it_is_ok() {
    let mut wrong = Vec::new();
    let mut seen_ok = 0;
    for (name, hosts) in RECORDED {
        for host in *hosts {
            let events = recorded(name, host);
            let pods: Vec<(String, String)> = events
                .iter()
                .filter_map(|event| match event {
                    Event::Put(object) => match &**object {
                        Object::Endpoint(it) => Some((it.node.to_string(), format!("{}/{}", it.id.namespace, it.pod))),
                        _ => None,
                    },
                    _ => None,
                })
                .collect();
            let seen = see(host, events);
            for (node, pod) in pods {
                // Recorded on purpose: hosts without an address, or without a tunnel, to which no route can lead.
                let lame = ["vx5-v4only", "vx6-notunnel", "vx7-nobgp"].contains(&node.as_str());
                let explained = seen.explain(&pod);
                let found = not_ok(&explained);
                if *name == "vxlan-neighbours" && found.is_empty() {
                    assert_eq!(explained.verdict.state, LinkState::Ok, "{host} {pod}: {explained:#?}");
                }
                // Routers outside do not carry every borrowed address: there nothing is required, and it says what happens.
                let outside =
                    name.starts_with("bgp-tor") && explained.links.iter().any(|link| link.actual.contains("borrowed"));
                if lame || outside {
                    assert_ne!(explained.verdict.state, LinkState::Fault, "{name} {host} {pod}: {found:#?}");
                } else if !found.is_empty() {
                    wrong.push(format!("{name} {host} {pod} on {node}: {found:#?}"));
                } else {
                    seen_ok += 1;
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}: {}", wrong.len(), wrong.len() + seen_ok, wrong.join("\n"));
    assert!(seen_ok > 100, "{seen_ok}");
}

/// The object of each event, to be changed.
fn objects(events: &mut [Event]) -> impl Iterator<Item = &mut Object> {
    events.iter_mut().filter_map(|event| match event {
        Event::Put(object) => Some(&mut **object),
        _ => None,
    })
}

fn without(events: &mut Vec<Event>, gone: impl Fn(&Object) -> bool) {
    let before = events.len();
    events.retain(|event| !matches!(event, Event::Put(object) if gone(object)));
    assert!(events.len() < before, "nothing was taken out");
}

fn routes(events: &mut [Event], destination: &str, change: impl Fn(&mut Route)) {
    let destination = destination.parse().unwrap();
    let mut found = 0;
    for event in events {
        if let Event::Route(route) = event
            && route.table == TABLE_MAIN
            && route.destination == destination
        {
            change(route);
            found += 1;
        }
    }
    assert!(found > 0, "no route to {destination}");
}

fn link<'a>(events: &'a mut [Event], name: &str) -> &'a mut Device {
    let found = events.iter_mut().find_map(|event| match event {
        Event::Link(link) if &*link.name == name => Some(link),
        _ => None,
    });
    found.unwrap()
}

type Fault = (&'static str, &'static str, LinkKind, fn(&mut Vec<Event>));

/// What is asked, on h1 of `three-hosts`, the link that is at fault, and the fault. A pod of h2 in a VXLAN pool is
/// 10.200.1.65, one in a pool of BIRD's is 10.204.1.64; 10.200.0.129 is h1's own, 10.205.0.26 borrowed by h3.
const FAULTS: [Fault; 15] = [
    ("the pool is gone", "10.200.1.65", LinkKind::Pool, |events| {
        without(events, |it| matches!(it, Object::Pool(pool) if &*pool.name == "vx-always"));
    }),
    ("the block's key is gone", "10.200.1.65", LinkKind::Block, |events| {
        without(events, |it| matches!(it, Object::Affinity(key) if key.cidr == "10.200.1.64/26".parse().unwrap()));
    }),
    ("the address is used and free at once", "10.200.1.65", LinkKind::Address, |events| {
        let block = objects(events).find_map(|object| match object {
            Object::Block(block) if block.cidr == "10.200.1.64/26".parse().unwrap() => Some(block),
            _ => None,
        });
        block.unwrap().unallocated.insert(1);
    }),
    ("its endpoint is gone", "10.200.1.65", LinkKind::Endpoint, |events| {
        without(
            events,
            |it| matches!(it, Object::Endpoint(it) if it.addresses.contains(&"10.200.1.65".parse().unwrap())),
        );
    }),
    ("the pod runs on another host than IPAM says", "10.200.1.65", LinkKind::Endpoint, |events| {
        let endpoint = objects(events).find_map(|object| match object {
            Object::Endpoint(it) if it.addresses.contains(&"10.200.1.65".parse().unwrap()) => Some(it),
            _ => None,
        });
        endpoint.unwrap().node = "h3".into();
    }),
    ("the Node is gone", "10.200.1.65", LinkKind::Host, |events| {
        without(events, |it| matches!(it, Object::Node(name, _) if &**name == "h2"));
    }),
    ("the route is gone, and packets leave by the default route", "10.204.1.64", LinkKind::Path, |events| {
        let before = events.len();
        let gone = "10.204.1.64/26".parse().unwrap();
        events.retain(|event| !matches!(event, Event::Route(route) if route.destination == gone));
        assert!(events.len() < before);
    }),
    ("the route leads to another host", "10.200.1.65", LinkKind::Path, |events| {
        routes(events, "10.200.1.64/26", |route| {
            Arc::make_mut(&mut route.next_hops)[0].gateway = Some("10.200.8.128".parse().unwrap());
        });
    }),
    ("the route drops what it ought to forward", "10.204.1.64", LinkKind::Path, |events| {
        routes(events, "10.204.1.64/26", |route| {
            route.kind = RouteType::Unreachable;
            route.next_hops = Arc::default();
        });
    }),
    ("somebody's route takes the address away", "10.200.1.65", LinkKind::Path, |events| {
        let mut stray = None;
        routes(events, "10.200.1.64/26", |_| {});
        for event in events.iter() {
            if let Event::Route(route) = event
                && route.destination == "10.200.1.64/26".parse().unwrap()
            {
                stray = Some(route.clone());
            }
        }
        let mut stray = stray.unwrap();
        stray.destination = "10.200.1.64/28".parse().unwrap();
        stray.protocol = calico_exporter::model::Protocol::STATIC;
        let place = events.iter().position(|event| matches!(event, Event::Route(_))).unwrap();
        events.insert(place, Event::Route(stray));
    }),
    ("the borrowed address has no route of its own", "10.205.0.26", LinkKind::Path, |events| {
        let gone = "10.205.0.26/32".parse().unwrap();
        events.retain(|event| !matches!(event, Event::Route(route) if route.destination == gone));
    }),
    ("the tunnel's device is down", "10.200.1.65", LinkKind::Device, |events| {
        link(events, "vxlan.calico").admin_up = false;
    }),
    ("the tunnel's device has another address", "10.200.1.65", LinkKind::Device, |events| {
        link(events, "vxlan.calico").addresses = vec!["10.200.0.200/32".parse().unwrap()];
    }),
    ("the local pod's device is down", "10.200.0.129", LinkKind::WorkloadDevice, |events| {
        link(events, "cali00000000001").admin_up = false;
    }),
    ("the local pod's device is down, and its route with it", "10.200.0.129", LinkKind::WorkloadDevice, |events| {
        link(events, "cali00000000001").admin_up = false;
        let gone = "10.200.0.129/32".parse().unwrap();
        events.retain(|event| !matches!(event, Event::Route(route) if route.destination == gone));
    }),
];

#[test]
fn of_one_fault_for_each_link_the_verdict_names_the_link() {
    for (what, subject, kind, fault) in FAULTS {
        let healthy = see("h1", recorded("three-hosts", "h1")).explain(subject);
        assert_eq!(not_ok(&healthy), Vec::<String>::new(), "before: {what}");
        let mut events = recorded("three-hosts", "h1");
        fault(&mut events);
        let explained = see("h1", events).explain(subject);
        let verdict = &explained.verdict;
        assert_eq!((verdict.state, verdict.link), (LinkState::Fault, Some(kind)), "{what}: {explained:#?}");
        assert!(!verdict.cause.is_empty() && verdict.sentence.starts_with(subject), "{what}: {verdict:?}");
        // What is behind it may follow from it. Before it nothing is at fault; a route without its tunnel is not judged.
        let mut before = explained.links.iter().take_while(|link| link.kind != kind);
        let judged = |link: &Link| link.kind != LinkKind::Path && !is_unread(link.kind);
        assert!(before.all(|link| link.state == LinkState::Ok || !judged(link)), "{what}: {:#?}", not_ok(&explained));
    }
}

/// The same on vx1 of `vxlan-neighbours`, whose layer 2 is recorded: a pod of vx2 is 10.200.25.129.
const BENEATH: [Fault; 5] = [
    ("the neighbour is gone", "10.200.25.129", LinkKind::Neighbour, |events| {
        let gone: std::net::IpAddr = "10.200.25.128".parse().unwrap();
        events.retain(|event| !matches!(event, Event::Neighbour(it) if it.address == gone));
    }),
    ("the neighbour has another MAC", "10.200.25.129", LinkKind::Neighbour, |events| {
        for event in events.iter_mut() {
            if let Event::Neighbour(it) = event
                && it.address == "10.200.25.128".parse::<std::net::IpAddr>().unwrap()
            {
                it.mac = Some(calico_exporter::model::Mac([2, 0, 0, 0, 0, 9]));
            }
        }
    }),
    ("the forwarding entry leads to another host", "10.200.25.129", LinkKind::Fdb, |events| {
        for event in events.iter_mut() {
            if let Event::Fdb(it) = event
                && it.destination == Some("10.88.1.12".parse().unwrap())
            {
                it.destination = Some("10.88.1.13".parse().unwrap());
            }
        }
    }),
    ("forwarding entries are gone", "10.200.25.129", LinkKind::Fdb, |events| {
        events.retain(|event| !matches!(event, Event::Fdb(_)));
    }),
    ("a rule refuses what goes to pods", "10.200.25.129", LinkKind::Path, |events| {
        for event in events.iter_mut() {
            if let Event::Rules(_, rules) = event {
                let mut refusing = rules[0].clone();
                refusing.priority = 10;
                refusing.action = calico_exporter::model::RuleAction::Prohibit;
                refusing.to = Some("10.200.0.0/16".parse().unwrap());
                rules.insert(1, refusing);
            }
        }
    }),
];

#[test]
fn what_is_beneath_the_route_is_told_too() {
    let healthy = see("vx1", recorded("vxlan-neighbours", "vx1")).explain("10.200.25.129");
    assert_eq!(healthy.verdict.state, LinkState::Ok, "{healthy:#?}");
    let kinds: Vec<LinkKind> = healthy.links.iter().map(|link| link.kind).collect();
    assert!(kinds.contains(&LinkKind::Neighbour) && kinds.contains(&LinkKind::Fdb), "{kinds:?}");
    for (what, subject, kind, fault) in BENEATH {
        let mut events = recorded("vxlan-neighbours", "vx1");
        fault(&mut events);
        let explained = see("vx1", events).explain(subject);
        assert_eq!(
            (explained.verdict.state, explained.verdict.link),
            (LinkState::Fault, Some(kind)),
            "{what}: {explained:#?}"
        );
    }
}

/// What turns something off is the cause of what is not there, and is named.
#[test]
fn a_setting_that_is_the_cause_is_named() {
    let without_route = |net: &str, felix: FelixConfiguration| {
        let net = net.parse().unwrap();
        let mut events = recorded("vxlan-neighbours", "vx1");
        events.retain(|event| !matches!(event, Event::Route(route) if route.destination == net));
        events.push(Event::Put(Box::new(Object::Felix("default".into(), felix))));
        events
    };
    let off = FelixConfiguration { vxlan_enabled: Some(false), ..FelixConfiguration::default() };
    let explained = see("vx1", without_route("10.200.25.128/26", off)).explain("10.200.25.129");
    assert_eq!(explained.verdict.state, LinkState::Fault, "{explained:#?}");
    assert!(
        explained.verdict.sentence.contains("FelixConfiguration default has vxlanEnabled: false"),
        "{explained:#?}"
    );
    let v6 = pod_of(&see("vx1", recorded("vxlan-neighbours", "vx1")), "vx2", true);
    let seen = see("vx1", recorded("vxlan-neighbours", "vx1"));
    let block = seen.state.datastore.block_around(&host_net(v6)).unwrap().cidr.to_string();
    let off = FelixConfiguration { ipv6_support: Some(false), ..FelixConfiguration::default() };
    let explained = see("vx1", without_route(&block, off)).explain(&v6.to_string());
    assert!(explained.verdict.sentence.contains("FelixConfiguration default has ipv6Support: false"), "{explained:#?}");
}

/// The address of a pod on the node.
fn pod_of(seen: &Seen, node: &str, v6: bool) -> IpAddr {
    let pods = seen.state.datastore.endpoints_on(&node.into());
    pods.flat_map(|it| it.addresses.iter().copied()).find(|it| it.is_ipv6() == v6).unwrap()
}

/// A pool that BIRD alone would route, on a host that is told to be without BIRD: a cloud may route it (J37).
#[test]
fn a_pool_that_nobody_here_programs_is_said_to_be_one() {
    let mut events = recorded("three-hosts", "h1");
    let gone = "10.204.1.64/26".parse().unwrap();
    events.retain(|event| !matches!(event, Event::Route(route) if route.destination == gone));
    let explained = see_with(Backend::None, "h1", events).explain("10.204.1.64");
    let link = |kind| explained.links.iter().find(|link| link.kind == kind).unwrap();
    assert!(link(LinkKind::Pool).actual.ends_with("; nobody here programs it"), "{explained:#?}");
    assert!(link(LinkKind::Path).wanted.ends_with("nobody here programs it)"), "{explained:#?}");
    assert_ne!(explained.verdict.state, LinkState::Fault, "{explained:#?}");
}

/// Where Kubernetes' own addresses are others than the one that is routed by, both are shown (J34).
#[test]
fn a_nodes_addresses_of_kubernetes_stand_beside_the_one_that_is_routed_by() {
    let mut events = recorded("three-hosts", "h1");
    for event in &mut events {
        if let Event::Put(object) = event
            && let Object::Node(name, node) = &mut **object
            && &**name == "h2"
        {
            let address = "192.168.7.2/32".parse().unwrap();
            node.addresses = [NodeAddress { address, kind: NodeAddressType::Internal }].into();
        }
    }
    let explained = see("h1", events).explain("h2");
    let host = explained.links.iter().find(|link| link.kind == LinkKind::Host).unwrap();
    assert_eq!(host.actual, "Node h2 at 10.77.1.2; Kubernetes has 192.168.7.2 for it");
    assert_eq!(host.state, LinkState::Ok, "{host:#?}");
}

#[test]
fn where_a_packet_would_really_go_is_told() {
    let path = |events: Vec<Event>, subject: &str| {
        let explained = see("h1", events).explain(subject);
        explained.links.into_iter().find(|link| link.kind == LinkKind::Path).unwrap()
    };
    let mut events = recorded("three-hosts", "h1");
    let gone = "10.204.1.64/26".parse().unwrap();
    events.retain(|event| !matches!(event, Event::Route(route) if route.destination == gone));
    let link = path(events, "10.204.1.64");
    assert!(link.actual == "no route" || link.actual.contains("(the default route)"), "{link:#?}");
    assert!(link.wanted.contains("a block of h2") && link.wanted.contains("BIRD programs it"), "{link:#?}");
    // An address of this host's own block that nobody has is dropped here, and rightly so.
    let events = recorded("three-hosts", "h1");
    let free = address_at(&"10.200.0.128/26".parse().unwrap(), 40).unwrap().to_string();
    let explained = see("h1", events).explain(&free);
    let link = explained.links.iter().find(|link| link.kind == LinkKind::Path).unwrap();
    assert!(link.state == LinkState::Ok && link.actual.contains("(dropped here)"), "{link:#?}");
    assert_eq!(explained.verdict.state, LinkState::CannotTell, "nobody has it: {explained:#?}");
}

#[test]
fn hosts_blocks_and_strangers_are_explained() {
    let seen = see("h1", recorded("three-hosts", "h1"));
    for (subject, state, link) in [
        ("h2", LinkState::CannotTell, LinkKind::Path),
        ("10.204.1.64/26", LinkState::Ok, LinkKind::Path),
        ("10.200.0.0/20", LinkState::CannotTell, LinkKind::Path),
        ("8.8.8.8", LinkState::CannotTell, LinkKind::Pool),
        ("default/nobody", LinkState::CannotTell, LinkKind::Endpoint),
        ("h1", LinkState::Ok, LinkKind::Path),
    ] {
        let explained = seen.explain(subject);
        let unread_alone = not_ok(&explained).is_empty() && state == LinkState::CannotTell;
        assert!(unread_alone || explained.verdict.state == state, "{subject}: {explained:#?}");
        assert!(explained.links.iter().any(|it| it.kind == link), "{subject}: {explained:#?}");
    }
}

/// One text may be a host's name, a pod's, or an address that is a host's.
#[test]
fn what_is_asked_about_is_found_by_every_name_that_it_has() {
    let seen = see("h1", recorded("three-hosts", "h1"));
    for (asked, meant) in [
        ("app-0003", "default/app-0003"),
        ("app-0003:8080", "default/app-0003"),
        ("10.202.0.129:443", "10.202.0.129"),
        ("10.77.1.2", "h2"),
        ("10.77.1.2:179", "h2"),
        ("h2", "h2"),
    ] {
        let explained = seen.explain(asked);
        assert_eq!((explained.subject.as_str(), explained.names_nothing()), (meant, false), "{asked}");
        assert_eq!(explained.links, seen.explain(meant).links, "{asked}");
    }
    let mut events = recorded("three-hosts", "h1");
    let pod = seen.state.datastore.endpoints().values().find(|it| &*it.pod == "app-0003").unwrap();
    let mut other = pod.clone();
    other.id = EndpointId::of_pod("h1", "shop", "app-0003");
    other.addresses.clear();
    events.push(Event::Put(Box::new(Object::Endpoint(other))));
    let explained = see("h1", events).explain("app-0003");
    assert!(explained.names_nothing() && explained.verdict.state == LinkState::CannotTell, "{explained:#?}");
    let several = "several namespaces have a pod `app-0003`: ask for one of default/app-0003, shop/app-0003.";
    assert_eq!(explained.verdict.sentence, several);
}

/// A host that was deleted and left something behind is a host all the same.
#[test]
fn what_names_nothing_is_refused_with_names_that_are_like_it() {
    let explained = see("h1", recorded("three-hosts", "h1")).explain("ap-0003");
    assert!(explained.names_nothing() && explained.verdict.state == LinkState::CannotTell, "{explained:#?}");
    let sentence = &explained.verdict.sentence;
    assert!(sentence.starts_with("no host, pod or address `ap-0003`; near: app-0003, "), "{sentence}");
    let mut events = recorded("three-hosts", "h1");
    events.push(Event::Delete(ObjectId::Node("h2".into())));
    let explained = see("h1", events).explain("h2");
    assert_eq!((explained.verdict.state, explained.verdict.link), (LinkState::Fault, Some(LinkKind::Host)));
}

#[test]
fn the_command_exits_as_its_verdict_says_and_its_json_has_the_form() {
    let run = |subject: &str, flags: &[&str]| {
        let folder = folder("three-hosts");
        let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let mut command = Command::new(env!("CARGO_BIN_EXE_calico-exporter"));
        command.args([
            "explain",
            subject,
            "--datastore.file",
            &path("etcd.json"),
            "--routes.file",
            &path("h1.routes.json"),
        ]);
        let output = command.args(["--links.file", &path("h1.links.json")]).args(flags).env_clear().output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), text)
    };
    let (code, text) = run("10.204.1.64", &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("every link is as it ought to be from h1"), "{text}");
    let (code, text) = run("h9", &[]);
    let refused = text.starts_with("h9 from h1\n\nno host, pod or address `h9`; near: h1, h2, h3");
    assert!(code == Some(2) && refused, "{text}");
    let (code, text) = run("10.0.0.1/99", &[]);
    assert!(code == Some(2) && text.lines().count() == 1 && text.contains("is no CIDR"), "{text}");
    let (code, text) = run("10.200.1.65", &["--output", "json"]);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(code, Some(2), "neighbours are not read: {text}");
    assert_eq!(
        (&json["schema"], &json["node"], &json["verdict"]["state"]),
        (&1.into(), &"h1".into(), &"cannot_tell".into())
    );
    let kinds: Vec<&str> = json["links"].as_array().unwrap().iter().map(|it| it["link"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        ["pool", "block", "address", "endpoint", "host", "underlay", "path", "neighbour", "fdb", "device"]
    );
}
