//! What is beneath the routes, as real Felix left it: every recorded host is healthy, every single change of it is the
//! finding that it deserves, and what is there legitimately is none.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use calico_exporter::audit::{
    AuditOptions, Auditor, Backend, EntryCounts, Finding, IpamOptions, Now, Report, RouteOptions, TunnelOptions,
    tunnels,
};
use calico_exporter::model::{Family, FdbEntry, FelixConfiguration, Link, Mac, Neighbour, Node, TunnelKind};
use calico_exporter::source::file;
use calico_exporter::source::iproute::Files;
use calico_exporter::state::{Event, Object, State, Table};

use crate::fixtures::folder;

mod devices;
mod entries;
mod rules;

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
        let mut node = (*self.state.datastore.nodes()[name]).clone();
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
    let labels: Vec<&str> = finding.fault.labels().map(|(_, value)| value).collect();
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
