//! What is beneath the routes, as real Felix left it: every recorded host is healthy, every single change of it is the
//! finding that it deserves, and what is there legitimately is none.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use calico_exporter::audit::{
    AuditOptions, Auditor, Backend, EntryCounts, Finding, IpamOptions, Now, Report, RouteOptions, TunnelOptions,
    tunnels,
};
use calico_exporter::model::{
    EntryState, Family, FdbEntry, FelixConfiguration, Link, Mac, Neighbour, Node, PolicyRule, Protocol, Route,
    RouteType, RuleAction, TunnelKind,
};
use calico_exporter::source::file;
use calico_exporter::source::iproute::Files;
use calico_exporter::state::{Event, Object, ObjectId, State, Table, Unreadable};

use crate::fixtures::folder;

const NOW: Now = Now { monotonic: Duration::from_secs(1000), wall: SystemTime::UNIX_EPOCH };
const HOSTS: [&str; 4] = ["vx1", "vx2", "vx3.rack1.example", "vx4"];

/// vx2's, as vx1 sees it.
const VX2_TUNNEL: &str = "10.200.25.128";
const VX2_MAC: &str = "02:11:22:33:44:02";

fn files(host: &str) -> Files {
    let path = |what: &str| folder("vxlan-neighbours").join(format!("{host}.{what}.json"));
    Files {
        routes: path("routes"),
        links: Some(path("links")),
        neighbours: Some(path("neigh")),
        fdb: Some(path("fdb")),
        rules: vec![path("rules"), path("rules6")],
    }
}

/// A recorded host, to be changed and looked at.
struct Host {
    name: &'static str,
    state: State,
    options: TunnelOptions,
}

fn recorded(name: &'static str, files: &Files) -> Host {
    let mut state = State::new(true);
    let datastore = file::datastore(&folder("vxlan-neighbours").join("etcd.json")).unwrap().events;
    for event in datastore.into_iter().chain(files.events().unwrap()) {
        state.apply(event, NOW.monotonic);
    }
    Host { name, state, options: TunnelOptions { entries: true, ..TunnelOptions::default() } }
}

fn vx1() -> Host {
    recorded("vx1", &files("vx1"))
}

impl Host {
    fn event(&mut self, event: Event) -> &mut Host {
        self.state.apply(event, NOW.monotonic);
        self
    }

    fn put(&mut self, object: Object) -> &mut Host {
        self.event(Event::Put(Box::new(object)))
    }

    fn node(&mut self, name: &str, change: impl FnOnce(&mut Node)) -> &mut Host {
        let mut node = self.state.datastore.nodes()[name].clone();
        change(&mut node);
        self.put(Object::Node(name.into(), node))
    }

    fn felix(&mut self, change: impl FnOnce(&mut FelixConfiguration)) -> &mut Host {
        let mut felix = self.state.datastore.felix()["default"].clone();
        change(&mut felix);
        self.put(Object::Felix("default".into(), felix))
    }

    fn link(&mut self, name: &str, change: impl FnOnce(&mut Link)) -> &mut Host {
        let mut link = self.state.kernel.link(name).unwrap().clone();
        change(&mut link);
        self.event(Event::Link(link))
    }

    fn index(&self, device: &str) -> u32 {
        self.state.kernel.link(device).unwrap().index
    }

    fn neighbour(&mut self, address: &str, change: impl FnOnce(&mut Neighbour)) -> &mut Host {
        let address = address.parse().unwrap();
        let device = self.index(TunnelKind::vxlan(Family::of(address)).device());
        let mut neighbour = *self.state.tunnels.neighbour(device, address).unwrap();
        change(&mut neighbour);
        self.event(Event::Neighbour(neighbour))
    }

    fn without_neighbour(&mut self, address: &str) -> &mut Host {
        let address = address.parse().unwrap();
        let device = self.index(TunnelKind::vxlan(Family::of(address)).device());
        assert!(self.state.tunnels.neighbour(device, address).is_some());
        self.event(Event::NeighbourGone(device, address))
    }

    fn fdb(&mut self, device: &str, mac: &str, change: impl FnOnce(&mut FdbEntry)) -> &mut Host {
        let mut entry = *self.state.tunnels.fdb_entry(self.index(device), mac.parse().unwrap()).unwrap();
        change(&mut entry);
        self.event(Event::Fdb(entry))
    }

    /// Whatever `check` judges.
    fn report(&mut self) -> Report {
        let mut auditor = Auditor::new(AuditOptions {
            ipam: Some(IpamOptions { live: false, affinity_grace: Duration::ZERO }),
            routes: Some(RouteOptions {
                node: self.name.into(),
                backend: Backend::Auto,
                grace: None,
                tunnels: self.options,
            }),
            leaks: true,
            leak_grace: Duration::ZERO,
        });
        auditor.look(&mut self.state, NOW);
        auditor.report(&self.state, NOW)
    }

    fn counts(&mut self) -> BTreeMap<(String, Table), EntryCounts> {
        let entries = self.report().tunnels.unwrap().entries;
        entries.into_iter().map(|((device, table), counts)| ((device.to_string(), table), counts)).collect()
    }
}

/// Labels, subject and host, to compare and to read.
fn line(finding: &Finding) -> String {
    assert!([&finding.detail, &finding.expected, &finding.actual, &finding.action].iter().all(|it| !it.is_empty()));
    let labels: Vec<&str> = finding.labels.iter().map(|(_, value)| value.as_ref()).collect();
    format!("{} {} → {}", labels.join("/"), finding.subject, finding.host.as_deref().unwrap_or("-"))
}

/// Everything that is wrong after a change of vx1.
fn found(change: impl FnOnce(&mut Host)) -> Vec<String> {
    let mut host = vx1();
    change(&mut host);
    host.report().findings.iter().map(line).collect()
}

/// The same, of the tunnels alone: what a change does to routes and to IPAM besides is told elsewhere.
fn beneath(change: impl FnOnce(&mut Host)) -> Vec<String> {
    let tunnels = ["vxlan.calico/", "vxlan-v6.calico/", "wireguard.cali/"];
    found(change).into_iter().filter(|it| tunnels.iter().any(|device| it.starts_with(device))).collect()
}

fn clean(change: impl FnOnce(&mut Host)) {
    assert_eq!(found(change), [""; 0]);
}

/// A change is made: nothing more is asked of the host.
fn done(_: &mut Host) {}

fn mac(text: &str) -> Mac {
    text.parse().unwrap()
}

#[test]
fn every_recorded_host_has_each_entry_that_it_ought_to_have() {
    for name in HOSTS {
        let mut host = recorded(name, &files(name));
        let report = host.report();
        assert_eq!(report.findings.iter().map(line).collect::<Vec<_>>(), [""; 0], "{name}");
        let full = |number| EntryCounts { actual: number, expected: number, pending: 0, faults_in_use: 0 };
        let counts = host.counts();
        assert_eq!(counts.len(), 4);
        for table in Table::ALL {
            assert_eq!(counts[&("vxlan.calico".to_owned(), table)], full(4), "{name}");
            assert_eq!(counts[&("vxlan-v6.calico".to_owned(), table)], full(3), "{name}");
        }
        // What `explain` looks up.
        let peers = tunnels(&host.state, &name.into());
        assert_eq!(peers.iter().map(|tunnel| tunnel.peers().count()).collect::<Vec<_>>(), [4, 3]);
        for tunnel in &peers {
            assert!(tunnel.peer(name).is_none() && tunnel.peer("vx6-notunnel").is_none() && tunnel.has_fdb);
            for peer in tunnel.peers() {
                let neighbour = host.state.tunnels.neighbour(tunnel.index, peer.address).unwrap();
                assert_eq!(neighbour.mac, Some(peer.mac));
                let entry = host.state.tunnels.fdb_entry(tunnel.index, peer.mac).unwrap();
                assert_eq!(entry.destination, Some(peer.host));
            }
        }
    }
}

/// `check` as a person types it, on one recorded host.
fn checked(host: &str, fdb: Option<&std::path::Path>, environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let Files { routes, links, neighbours, fdb: recorded, rules } = files(host);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_calico-exporter"));
    command.arg("check").arg("--datastore.file").arg(folder("vxlan-neighbours").join("etcd.json"));
    command.arg("--routes.file").arg(routes).arg("--links.file").arg(links.unwrap());
    command.arg("--neighbours.file").arg(neighbours.unwrap());
    command.arg("--fdb.file").arg(fdb.map(Into::into).or(recorded).unwrap());
    for file in rules {
        command.arg("--rules.file").arg(file);
    }
    let output = command.envs(environment.iter().copied()).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn check_reads_the_files_and_felixs_environment() {
    for host in HOSTS {
        let (code, said) = checked(host, None, &[]);
        assert_eq!((code, said.contains("nothing is wrong")), (Some(0), true), "{host}: {said}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = std::fs::read_to_string(files("vx1").fdb.unwrap()).unwrap();
    assert!(text.contains("10.88.1.12"));
    std::fs::write(file.path(), text.replace("10.88.1.12", "10.88.1.99")).unwrap();
    let (code, said) = checked("vx1", Some(file.path()), &[]);
    assert_eq!(code, Some(1), "{said}");
    let series = r#"calico_tunnel_entry_faults{device="vxlan.calico",table="fdb",reason="wrong"} 1"#;
    assert!(said.contains(series) && said.contains("dst 10.88.1.99") && said.contains("(vx2)"), "{said}");
    let (code, said) = checked("vx1", None, &[("FELIX_VXLANVNI", "4097")]);
    assert_eq!((code, said.matches("wrong_vni").count()), (Some(1), 2), "{said}");
    let (code, said) = checked("vx1", Some(&files("vx1").routes), &[]);
    assert_eq!((code, said.lines().count()), (Some(2), 1), "{said}");
    assert!(said.contains("--fdb.file") && said.contains("vx1.routes.json") && said.contains("ifname"), "{said}");
}

#[test]
fn what_no_file_was_given_for_is_not_known() {
    let whole = files("vx1");
    let only = |files: Files| recorded("vx1", &files).counts().into_keys().map(|(_, table)| table).collect::<Vec<_>>();
    assert_eq!(only(Files { fdb: None, ..whole.clone() }), [Table::Neighbours; 2]);
    assert_eq!(only(Files { neighbours: None, ..whole.clone() }), [Table::Fdb; 2]);
    assert_eq!(only(Files { neighbours: None, fdb: None, ..whole.clone() }), []);
    let nothing = Files { neighbours: None, fdb: None, rules: Vec::new(), ..whole };
    assert!(recorded("vx1", &nothing).report().tunnels.is_none());
}

#[test]
fn each_entry_taken_out_is_missing() {
    let host = vx1();
    let mut tried = 0;
    for tunnel in tunnels(&host.state, &"vx1".into()) {
        for peer in tunnel.peers() {
            let gone = found(|it| done(it.event(Event::NeighbourGone(tunnel.index, peer.address))));
            assert_eq!(gone, [format!("{}/neighbour/missing {} → {}", tunnel.device, peer.address, peer.node)]);
            let gone = found(|it| done(it.event(Event::FdbGone(tunnel.index, peer.mac))));
            assert_eq!(gone, [format!("{}/fdb/missing {} → {}", tunnel.device, peer.mac, peer.node)]);
            tried += 2;
        }
    }
    assert_eq!(tried, 14);
}

#[test]
fn an_entry_that_leads_elsewhere_is_wrong() {
    assert_eq!(
        found(|it| done(it.neighbour(VX2_TUNNEL, |entry| entry.mac = Some(mac("66:34:7d:00:8c:dc"))))),
        ["vxlan.calico/neighbour/wrong 10.200.25.128 → vx2"]
    );
    assert_eq!(
        found(|it| {
            it.fdb("vxlan-v6.calico", "02:11:22:33:66:02", |entry| {
                entry.destination = Some("fd88:2::14".parse().unwrap());
            });
        }),
        ["vxlan-v6.calico/fdb/wrong 02:11:22:33:66:02 → vx2"]
    );
    // Whatever its state.
    let elsewhere = |it: &mut Neighbour| (it.mac, it.state) = (Some(mac("66:34:7d:00:8c:dc")), EntryState::REACHABLE);
    assert_eq!(
        found(|it| done(it.neighbour(VX2_TUNNEL, elsewhere))),
        ["vxlan.calico/neighbour/wrong 10.200.25.128 → vx2"]
    );
}

#[test]
fn an_entry_that_may_go_is_not_permanent_and_one_that_nobody_answered_is_missing() {
    for state in ["REACHABLE", "STALE", "DELAY", "PROBE", "NOARP"] {
        let state = EntryState::from_name(state).unwrap();
        assert_eq!(
            found(|it| done(it.neighbour(VX2_TUNNEL, |entry| entry.state = state))),
            ["vxlan.calico/neighbour/not_permanent 10.200.25.128 → vx2"]
        );
    }
    assert_eq!(
        found(|it| done(it.fdb("vxlan.calico", VX2_MAC, |entry| entry.state = EntryState::NOARP))),
        ["vxlan.calico/fdb/not_permanent 02:11:22:33:44:02 → vx2"]
    );
    for state in ["FAILED", "INCOMPLETE"] {
        let state = EntryState::from_name(state).unwrap();
        assert_eq!(
            found(|it| done(it.neighbour(VX2_TUNNEL, |entry| (entry.mac, entry.state) = (None, state)))),
            ["vxlan.calico/neighbour/missing 10.200.25.128 → vx2"]
        );
    }
}

#[test]
fn an_entry_that_no_node_asks_for_is_stale() {
    let left = |it: &mut Host| {
        let device = it.index("vxlan.calico");
        let address = "10.200.99.0".parse().unwrap();
        let mac = Some(mac("66:00:00:00:00:09"));
        it.event(Event::Neighbour(Neighbour { device, address, mac, state: EntryState::PERMANENT }));
    };
    assert_eq!(found(left), ["vxlan.calico/neighbour/stale 10.200.99.0 → vx1"]);
    let behind = |mac, state| {
        move |it: &mut Host| {
            let destination = Some("10.88.1.99".parse().unwrap());
            let device = it.index("vxlan.calico");
            it.event(Event::Fdb(FdbEntry { device, mac, destination, state }));
        }
    };
    assert_eq!(
        found(behind(mac("66:00:00:00:00:09"), EntryState::PERMANENT)),
        ["vxlan.calico/fdb/stale 66:00:00:00:00:09 → vx1"]
    );
    // flannel's, or made by hand: `bridge fdb add` adds NOARP.
    assert_eq!(found(behind(Mac::ZERO, EntryState(0xc0))), ["vxlan.calico/fdb/stale 00:00:00:00:00:00 → vx1"]);
    // Of this host's own end there is none.
    assert_eq!(
        found(behind(mac("66:fc:0d:2e:98:f8"), EntryState::PERMANENT)),
        ["vxlan.calico/fdb/stale 66:fc:0d:2e:98:f8 → vx1"]
    );
    // Somebody asks for it who cannot be read.
    let unreadable = Event::Unreadable {
        id: ObjectId::Node("vx9".into()),
        key: "/calico/resources/v3/projectcalico.org/nodes/vx9".into(),
        why: Unreadable::Undecodable("no JSON".to_owned()),
    };
    assert_eq!(
        beneath(|it| {
            left(it);
            it.event(unreadable);
        }),
        [""; 0]
    );
}

#[test]
fn what_is_there_legitimately_is_no_finding() {
    // By hand, with another bit beside.
    clean(|it| done(it.fdb("vxlan.calico", VX2_MAC, |entry| entry.state = EntryState(0xc0))));
    clean(|it| done(it.neighbour(VX2_TUNNEL, |entry| entry.state = EntryState(0xc0))));
    // Others' entries, and the kernel's own.
    for state in ["REACHABLE", "STALE", "DELAY", "PROBE", "NOARP"] {
        let state = EntryState::from_name(state).unwrap();
        clean(|it| {
            let device = it.index("vxlan.calico");
            let of = |address: &str, mac| Neighbour { device, address: address.parse().unwrap(), mac, state };
            it.event(Event::Neighbour(of("10.200.99.1", Some(mac("66:00:00:00:00:09")))));
            it.event(Event::Neighbour(of("ff02::fb", Some(mac("33:33:00:00:00:fb")))));
            it.event(Event::Neighbour(of("224.0.0.22", None)));
            let destination = Some("10.88.1.99".parse().unwrap());
            it.event(Event::Fdb(FdbEntry { device, mac: mac("66:00:00:00:00:09"), destination, state }));
        });
    }
    for state in ["FAILED", "INCOMPLETE"] {
        let state = EntryState::from_name(state).unwrap();
        clean(|it| {
            let device = it.index("vxlan-v6.calico");
            let address = "fd00:200::1".parse().unwrap();
            it.event(Event::Neighbour(Neighbour { device, address, mac: None, state }));
        });
    }
    // Permanent entries of every other device.
    clean(|it| {
        let device = it.index("eth0");
        let (address, state) = ("10.88.1.77".parse().unwrap(), EntryState::PERMANENT);
        it.event(Event::Neighbour(Neighbour { device, address, mac: Some(mac("66:00:00:00:00:09")), state }));
        it.event(Event::Fdb(FdbEntry { device, mac: mac("33:33:00:00:00:09"), destination: None, state }));
    });
    // A Node without one of the fields has no end, and a lower MTU may be meant.
    clean(|it| done(it.link("vxlan.calico", |link| link.mtu = 1300)));
    // What the kernel does not tell is not judged.
    clean(|it| done(it.link("vxlan.calico", |link| link.vxlan = None)));
    clean(|it| {
        it.link("vxlan.calico", |link| {
            let vxlan = link.vxlan.as_mut().unwrap();
            (vxlan.local, vxlan.parent) = (None, None);
        });
    });
}

#[test]
fn a_device_that_is_made_otherwise_is_one_fault() {
    let vxlan = |change: fn(&mut calico_exporter::model::VxlanDevice)| {
        found(move |it| done(it.link("vxlan.calico", |link| change(link.vxlan.as_mut().unwrap()))))
    };
    assert_eq!(vxlan(|it| it.vni = Some(4097)), ["vxlan.calico/wrong_vni vxlan.calico → vx1"]);
    assert_eq!(vxlan(|it| it.port = Some(8472)), ["vxlan.calico/wrong_port vxlan.calico → vx1"]);
    assert_eq!(
        vxlan(|it| it.local = Some("10.88.1.99".parse().unwrap())),
        ["vxlan.calico/wrong_local_address vxlan.calico → vx1"]
    );
    assert_eq!(vxlan(|it| it.parent = Some(6)), ["vxlan.calico/wrong_parent vxlan.calico → vx1"]);
    assert_eq!(
        found(|it| done(it.link("vxlan-v6.calico", |link| link.mac = Some(mac("66:00:00:00:00:09"))))),
        ["vxlan-v6.calico/wrong_mac vxlan-v6.calico → vx1"]
    );
    assert_eq!(
        found(|it| done(it.link("vxlan-v6.calico", |link| link.mtu = 1431))),
        ["vxlan-v6.calico/mtu_too_high vxlan-v6.calico → vx1"]
    );
    assert_eq!(
        found(|it| done(it.link("eth0", |link| link.mtu = 1400))),
        ["vxlan-v6.calico/mtu_too_high vxlan-v6.calico → vx1", "vxlan.calico/mtu_too_high vxlan.calico → vx1"]
    );
    assert_eq!(
        found(|it| done(it.link("vxlan.calico", |link| link.addresses = vec!["10.200.56.65/32".parse().unwrap()]))),
        ["vxlan.calico/address_differs vxlan.calico → vx1"]
    );
}

#[test]
fn a_device_that_is_down_or_missing_is_that_one_fault_and_expects_nothing() {
    // As the kernel leaves it: its neighbours go with it, its forwarding entries stay.
    let down = |it: &mut Host| {
        it.link("vxlan.calico", |link| link.admin_up = false);
        let device = it.index("vxlan.calico");
        let gone: Vec<_> = it.state.tunnels.neighbours_of(device).map(|entry| entry.address).collect();
        for address in gone {
            it.event(Event::NeighbourGone(device, address));
        }
    };
    assert_eq!(found(down), ["vxlan.calico/down vxlan.calico → vx1"]);
    let mut host = vx1();
    down(&mut host);
    for table in Table::ALL {
        assert_eq!(host.counts()[&("vxlan.calico".to_owned(), table)], EntryCounts::default());
    }
    assert_eq!(
        found(|it| {
            let index = it.index("vxlan-v6.calico");
            it.event(Event::LinkGone(index));
        }),
        ["vxlan-v6.calico/missing vxlan-v6.calico → vx1"]
    );
    // This host's own end is not complete: Felix makes no device then.
    assert_eq!(beneath(|it| done(it.node("vx1", |node| node.bgp.as_mut().unwrap().ipv6 = None))), [""; 0]);
}

#[test]
fn what_the_datastore_says_otherwise_the_kernel_has_wrong() {
    let fdb = |mac: &str, reason: &str, host: &str| format!("vxlan.calico/fdb/{reason} {mac} → {host}");
    let neighbour =
        |address: &str, reason: &str, host: &str| format!("vxlan.calico/neighbour/{reason} {address} → {host}");
    // Its address: a route to a CrossSubnet block is wrong as well.
    let moved = found(|it| {
        it.node("vx2", |node| node.bgp.as_mut().unwrap().ipv4 = Some("10.88.1.22/24".parse().unwrap()));
    });
    assert_eq!(moved[0], fdb(VX2_MAC, "wrong", "vx2"));
    assert!(moved[1..].iter().all(|it| it.starts_with("remote_block/wrong_next_hop")), "{moved:#?}");
    // Its MAC, in another form.
    assert_eq!(
        found(|it| done(it.node("vx2", |node| node.vxlan_mac_v4 = Some(mac("0211.2233.4409"))))),
        [
            fdb("02:11:22:33:44:09", "missing", "vx2"),
            fdb(VX2_MAC, "stale", "vx1"),
            neighbour(VX2_TUNNEL, "wrong", "vx2"),
        ]
    );
    // None: the derived one.
    let derived = found(|it| done(it.node("vx2", |node| node.vxlan_mac_v4 = None)));
    assert_eq!(derived[0], fdb("66:4d:1b:c6:ea:56", "missing", "vx2"));
    assert_eq!(derived.len(), 3);
    // Its tunnel address.
    let tunnel = beneath(|it| {
        it.node("vx2", |node| {
            node.tunnels.insert(TunnelKind::VxlanV4, "10.200.25.190".parse().unwrap());
        });
    });
    assert_eq!(
        tunnel,
        [
            "vxlan.calico/not_allocated 10.200.25.190 → vx2".to_owned(),
            neighbour("10.200.25.190", "missing", "vx2"),
            neighbour(VX2_TUNNEL, "stale", "vx1"),
        ]
    );
    // The whole Node.
    let gone = beneath(|it| done(it.event(Event::Delete(ObjectId::Node("vx4".into())))));
    let device = |it: &str| it.split('/').next().unwrap().to_owned();
    assert_eq!(gone.len(), 4, "{gone:#?}");
    assert!(gone.iter().all(|it| it.contains("/stale ")), "{gone:#?}");
    assert_eq!(gone.iter().filter(|it| device(it) == "vxlan.calico").count(), 2);
    // This host's own: other hosts will soon send to another MAC.
    assert_eq!(
        found(|it| done(it.node("vx1", |node| node.vxlan_mac_v6 = Some(mac("02:00:00:00:00:01"))))),
        ["vxlan-v6.calico/wrong_mac vxlan-v6.calico → vx1"]
    );
}

#[test]
fn two_nodes_with_one_mac_are_one_fault_and_either_destination_is_right() {
    for kept in ["10.88.1.12", "10.88.2.14"] {
        let both = found(|it| {
            let vx2 = mac(VX2_MAC);
            it.node("vx4", |node| node.vxlan_mac_v4 = Some(vx2));
            it.neighbour("10.200.144.0", |entry| entry.mac = Some(vx2));
            it.fdb("vxlan.calico", VX2_MAC, |entry| entry.destination = Some(kept.parse().unwrap()));
            let device = it.index("vxlan.calico");
            it.event(Event::FdbGone(device, mac("66:34:7d:00:8c:dc")));
        });
        assert_eq!(both, ["vxlan.calico/duplicate_mac 02:11:22:33:44:02 → vx2"], "{kept}");
    }
}

#[test]
fn vni_and_port_are_felixs_by_its_precedence() {
    let other = |it: &mut Host| {
        it.link("vxlan.calico", |link| {
            let vxlan = link.vxlan.as_mut().unwrap();
            (vxlan.vni, vxlan.port) = (Some(4097), Some(4790));
        });
    };
    assert_eq!(found(other).len(), 2);
    // The IPv6 device has what the default says.
    let v6 = ["vxlan-v6.calico/wrong_port vxlan-v6.calico → vx1", "vxlan-v6.calico/wrong_vni vxlan-v6.calico → vx1"];
    assert_eq!(
        found(|it| {
            other(it);
            it.felix(|felix| (felix.vxlan_vni, felix.vxlan_port) = (Some(4097), Some(4790)));
        }),
        v6
    );
    assert_eq!(
        found(|it| {
            other(it);
            let own = FelixConfiguration { vxlan_vni: Some(4097), ..FelixConfiguration::default() };
            it.put(Object::Felix("node.vx1".into(), own));
            it.felix(|felix| (felix.vxlan_vni, felix.vxlan_port) = (Some(5), Some(4790)));
        }),
        v6
    );
    // What Felix has in its environment is stronger than all of them.
    assert_eq!(
        found(|it| {
            other(it);
            it.options.felix.vxlan_vni = Some(4097);
            it.options.felix.vxlan_port = Some(4790);
            it.felix(|felix| felix.vxlan_vni = Some(5));
        }),
        v6
    );
    // What cannot be read may say anything.
    assert_eq!(
        beneath(|it| {
            other(it);
            it.event(Event::Unreadable {
                id: ObjectId::Felix("node.vx1".into()),
                key: "/key".into(),
                why: Unreadable::Undecodable("no JSON".to_owned()),
            });
        }),
        [""; 0]
    );
}

#[test]
fn a_family_without_tunnel_expects_nothing() {
    let off = |it: &mut Host| {
        it.felix(|felix| felix.ipv6_support = Some(false));
        let device = it.index("vxlan-v6.calico");
        it.event(Event::FdbGone(device, mac("02:11:22:33:66:02")));
    };
    assert_eq!(beneath(off), [""; 0]);
    let mut host = vx1();
    off(&mut host);
    assert!(host.counts().keys().all(|(device, _)| device == "vxlan.calico"));
}

#[test]
fn a_flow_based_device_has_neighbours_of_both_families_and_no_forwarding_entry() {
    // As Felix 3.33 makes it (not recorded): one device, which says nothing of VNI, address and parent.
    let flow_based = |it: &mut Host| {
        it.felix(|felix| felix.bpf_enabled = Some(true));
        let (v4, v6) = (it.index("vxlan.calico"), it.index("vxlan-v6.calico"));
        it.link("vxlan.calico", |link| {
            let vxlan = link.vxlan.as_mut().unwrap();
            (vxlan.flow_based, vxlan.vni, vxlan.local, vxlan.parent) = (true, Some(0), None, None);
            link.mtu = 1500;
            link.addresses.push("fd00:200:0:fb28:a543:8c55:6ca6:3840/128".parse().unwrap());
        });
        let (fdb, moved): (Vec<_>, Vec<_>) =
            (it.state.tunnels.fdb_of(v4).copied().collect(), it.state.tunnels.neighbours_of(v6).copied().collect());
        for entry in fdb {
            it.event(Event::FdbGone(v4, entry.mac));
        }
        for entry in moved {
            it.event(Event::Neighbour(Neighbour { device: v4, ..entry }));
        }
        it.event(Event::LinkGone(v6));
        let routes: Vec<Route> = it.state.kernel.routes().cloned().collect();
        for mut route in routes {
            let key = route.key();
            let mut through = false;
            for hop in &mut route.next_hops {
                if hop.device.as_deref() == Some("vxlan-v6.calico") {
                    hop.device = Some("vxlan.calico".into());
                    through = true;
                }
            }
            if through {
                it.event(Event::RouteGone(key)).event(Event::Route(route));
            }
        }
    };
    clean(flow_based);
    let mut host = vx1();
    flow_based(&mut host);
    let full = EntryCounts { actual: 7, expected: 7, pending: 0, faults_in_use: 0 };
    assert_eq!(host.counts(), BTreeMap::from([(("vxlan.calico".to_owned(), Table::Neighbours), full)]));
    assert_eq!(
        found(|it| {
            flow_based(it);
            let device = it.index("vxlan.calico");
            it.event(Event::NeighbourGone(device, "fd00:200:0:1992:7a81:b816:e9ad:24c0".parse().unwrap()));
        }),
        ["vxlan.calico/neighbour/missing fd00:200:0:1992:7a81:b816:e9ad:24c0 → vx2"]
    );
}

#[test]
fn an_entry_that_a_route_needs_is_counted_apart() {
    let mut host = vx1();
    host.without_neighbour(VX2_TUNNEL).without_neighbour("10.200.32.128");
    let report = host.report();
    let details: Vec<_> = report.findings.iter().map(|it| (it.subject.as_str(), it.detail.clone())).collect();
    let [(used, is_used), (idle, is_idle)] = &details[..] else { panic!("{details:#?}") };
    assert_eq!((*used, *idle), (VX2_TUNNEL, "10.200.32.128"));
    assert!(is_used.ends_with("; a route needs it now") && is_used.contains("vx2"), "{is_used}");
    let routed = host.state.kernel.is_used("10.200.32.128".parse().unwrap());
    assert_eq!(is_idle.ends_with("; a route needs it now"), routed, "{is_idle}");
    let counts = report.tunnels.unwrap().entries[&("vxlan.calico".into(), Table::Neighbours)];
    assert_eq!((counts.actual, counts.expected, counts.faults_in_use), (2, 4, 1 + u64::from(routed)));
}

/// vx1 as Felix with WireGuard has it: its rule, its table, and a peer with a key.
fn encrypts(it: &mut Host) {
    it.felix(|felix| felix.wireguard_enabled = Some(true));
    for name in ["vx1", "vx2"] {
        it.node(name, |node| node.wireguard_key_v4 = Some(format!("key of {name}")));
    }
    let index = it.state.kernel.links().map(|link| link.index).max().unwrap() + 1;
    it.event(Event::Link(Link {
        index,
        name: "wireguard.cali".into(),
        kind: Some("wireguard".into()),
        admin_up: true,
        mtu: 1440,
        ..Link::default()
    }));
    let mut route = it.state.kernel.main_routes().find(|it| it.kind == RouteType::Unicast).unwrap().clone();
    (route.table, route.protocol) = (1, Protocol::FELIX);
    route.destination = "10.201.25.128/26".parse().unwrap();
    route.next_hops.truncate(1);
    route.next_hops[0].device = Some("wireguard.cali".into());
    it.event(Event::Route(route));
}

fn rule(priority: u32, table: u32) -> PolicyRule {
    PolicyRule {
        family: Family::V4,
        priority,
        inverted: table == 1,
        from: None,
        to: None,
        mark: (table == 1).then_some((0x10_0000, 0x10_0000)),
        input: None,
        output: None,
        selective: false,
        suppress_length: None,
        action: RuleAction::Table(table),
    }
}

#[test]
fn without_its_rule_wireguard_encrypts_nothing() {
    let missing = ["wireguard.cali/rule_missing wireguard.cali → vx1"];
    let with = |rules: Vec<PolicyRule>| {
        beneath(|it| {
            encrypts(it);
            it.event(Event::Rules(Family::V4, rules));
        })
    };
    let usual = [rule(0, 255), rule(32766, 254), rule(32767, 253)];
    let and = |more: PolicyRule| {
        let mut rules = vec![more];
        rules.extend(usual.clone());
        rules.sort_by_key(|rule| rule.priority);
        rules
    };
    assert_eq!(with(usual.to_vec()), missing);
    assert_eq!(with(and(rule(99, 1))), [""; 0]);
    // Of another priority, or without the mark: what is sent there is encrypted.
    assert_eq!(with(and(rule(7, 1))), [""; 0]);
    assert_eq!(with(and(PolicyRule { inverted: false, mark: None, ..rule(99, 1) })), [""; 0]);
    // Asked after main, for some packets only, or leading to a table that does not encrypt.
    assert_eq!(with(and(rule(40000, 1))), missing);
    assert_eq!(with(and(PolicyRule { from: Some("10.9.0.0/16".parse().unwrap()), ..rule(99, 1) })), missing);
    assert_eq!(with(and(PolicyRule { selective: true, ..rule(99, 1) })), missing);
    assert_eq!(with(and(PolicyRule { inverted: false, ..rule(99, 1) })), missing);
    assert_eq!(with(and(PolicyRule { inverted: false, mark: None, ..rule(99, 7) })), missing);
    // An older rule before it that sends all to main.
    let mut shadowed = and(rule(99, 1));
    shadowed.insert(1, rule(5, 254));
    assert_eq!(with(shadowed), missing);
    // Nobody to talk to, no key shown, not told to.
    for change in [
        (|it: &mut Host| done(it.node("vx2", |node| node.wireguard_key_v4 = None))) as fn(&mut Host),
        |it| done(it.node("vx1", |node| node.wireguard_key_v4 = None)),
        |it| done(it.felix(|felix| felix.wireguard_enabled = None)),
    ] {
        assert_eq!(
            beneath(|it| {
                encrypts(it);
                change(it);
            }),
            [""; 0]
        );
    }
}
