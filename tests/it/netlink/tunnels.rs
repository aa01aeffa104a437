//! Neighbours, forwarding entries and policy rules against real kernels.

use std::time::{Duration, Instant};

use calico_exporter::model::{EntryState, Family, FdbEntry, Neighbour};
use calico_exporter::source::iproute::Files;
use calico_exporter::source::netlink::{self, Settings};
use calico_exporter::state::{Event, Side, State};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::{NEVER, doubts_alone, events_alone};
use crate::support::netns::{Namespace, in_namespace};
use crate::support::picture::{Follower, PATIENCE};

const DEVICES: &str = "
    ip link set lo up
    ip link add eth0 type veth peer name p0; ip link set p0 up
    ip addr add 172.18.0.4/16 dev eth0; ip link set eth0 up; ip -6 addr add fd00::4/64 dev eth0 nodad
    ip link add vxlan.calico type vxlan id 4096 local 172.18.0.4 dev eth0 dstport 4789 nolearning
    ip link add vxlan-v6.calico type vxlan id 4097 local fd00::4 dev eth0 dstport 4789 nolearning
    ip link add other type vxlan id 7 local 172.18.0.4 dev eth0 dstport 4790
    for device in vxlan.calico vxlan-v6.calico other; do ip link set $device up; done
";

/// Every form of entry, and those of other devices, which are to be passed over.
const ENTRIES: &str = "
    ip neigh add 10.1.0.1 lladdr 66:00:00:00:00:01 dev vxlan.calico nud permanent
    ip neigh add 10.1.0.2 lladdr 66:00:00:00:00:02 dev vxlan.calico nud stale
    ip neigh add 10.1.0.3 dev vxlan.calico nud failed
    ip neigh add 10.1.0.4 lladdr 66:00:00:00:00:04 dev vxlan.calico nud noarp
    ip neigh add proxy 10.1.0.5 dev vxlan.calico
    ip -6 neigh add fd01::1 lladdr 66:00:00:00:00:06 dev vxlan-v6.calico nud permanent
    ip neigh add 10.1.0.1 lladdr 66:00:00:00:00:09 dev other nud permanent
    ip neigh add 172.18.0.9 lladdr 66:00:00:00:00:09 dev eth0 nud permanent
    bridge fdb add 66:00:00:00:00:01 dst 172.18.0.5 dev vxlan.calico self permanent
    bridge fdb add 66:00:00:00:00:02 dst 172.18.0.6 dev vxlan.calico self static
    bridge fdb add 66:00:00:00:00:03 dst 172.18.0.7 dev vxlan.calico
    bridge fdb add 00:00:00:00:00:00 dst 172.18.0.8 dev vxlan.calico self permanent
    bridge fdb add 66:00:00:00:00:06 dst fd00::5 dev vxlan-v6.calico self permanent
    bridge fdb add 66:00:00:00:00:01 dst 172.18.0.9 dev other
";

const RULES: &str = "
    ip rule add not fwmark 0x100000/0x100000 priority 99 lookup 1
    ip rule add from 10.0.0.0/8 to 10.1.0.0/16 iif eth0 tos 0x10 priority 100 lookup 200
    ip rule add ipproto tcp dport 80 priority 100 lookup 70000
    ip rule add fwmark 0x5 oif eth0 priority 101 blackhole
    ip rule add uidrange 1-5 priority 102 goto 32766
    ip rule add priority 103 lookup main suppress_prefixlength 0
    ip rule add to 10.9.0.1 priority 104 prohibit
    ip -6 rule add not fwmark 0x200000/0x200000 priority 99 lookup 2
    ip -6 rule add from fd00::/64 priority 98 unreachable
";

fn folded(events: Vec<Event>) -> State {
    let mut state = State::new(false);
    for event in events {
        state.apply(event, Duration::ZERO);
    }
    state
}

/// What is known of all three, a line each: two pictures are the same if these are. `bridge` has one word for a state,
/// and the kernel tells of its own neighbours for multicast in lists alone.
fn words(state: &State) -> Vec<String> {
    let mut words = Vec::new();
    for device in 1..64 {
        let own = |it: &&Neighbour| !it.address.is_multicast();
        words.extend(state.tunnels.neighbours_of(device).filter(own).map(|it| format!("{it:?}")));
        words.extend(state.tunnels.fdb_of(device).map(|it| {
            let state = match it.state {
                state if state.is_permanent() => EntryState::PERMANENT,
                state if state.0 & EntryState::NOARP.0 != 0 => EntryState::NOARP,
                state => state,
            };
            format!("{:?}", FdbEntry { state, ..*it })
        }));
    }
    words.extend(
        Family::ALL.iter().flat_map(|family| state.tunnels.rules(*family)).flatten().map(|it| format!("{it:?}")),
    );
    words
}

/// The lines that one has and the other has not.
fn difference(one: &State, other: &State) -> Vec<String> {
    let (one, other) = (words(one), words(other));
    let only = |a: &[String], b: &[String], sign: &str| {
        a.iter().filter(|line| !b.contains(line)).map(|line| format!("{sign} {line}")).collect::<Vec<_>>()
    };
    [only(&one, &other, "-"), only(&other, &one, "+")].concat()
}

/// What iproute2 prints here, as the files are read.
fn printed(namespace: &Namespace) -> State {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: Vec<u8>| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let files = Files {
        routes: file("routes", namespace.ip("-j -d route show table all")),
        links: Some(file("links", namespace.ip("-j -d addr show"))),
        neighbours: Some(file("neighbours", namespace.ip("-j -d -s neigh show nud all"))),
        fdb: Some(file("fdb", namespace.bridge("-j -d fdb show"))),
        rules: vec![file("rules", namespace.ip("-j rule show")), file("rules6", namespace.ip("-6 -j rule show"))],
    };
    folded(files.events().unwrap())
}

async fn asked() -> State {
    folded(netlink::tunnels_snapshot().await.unwrap())
}

/// What the kernel says, once iproute2 prints the same.
async fn agreed(namespace: &Namespace) -> State {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (asked, printed) = (asked().await, printed(namespace));
        if words(&asked) == words(&printed) {
            return asked;
        }
        assert!(Instant::now() < deadline, "{:#?}", difference(&asked, &printed));
    }
}

/// Follows what is beneath the routes and folds what it tells.
struct Beneath {
    events: mpsc::Receiver<Vec<Event>>,
    _stop: watch::Sender<bool>,
    state: State,
    resyncs: usize,
}

impl Beneath {
    async fn start(settings: Settings) -> Beneath {
        let (sender, events) = mpsc::channel(1);
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(netlink::run_tunnels_with(settings, sender, stopped));
        let mut beneath = Beneath { events, _stop: stop, state: State::new(false), resyncs: 0 };
        beneath.until("the first picture", |it| it.resyncs > 0).await;
        beneath
    }

    fn take(&mut self, batch: Vec<Event>) {
        for event in batch {
            self.resyncs += usize::from(event == Event::Resync(Side::Tunnels));
            self.state.apply(event, Duration::ZERO);
        }
    }

    async fn until(&mut self, what: &str, holds: impl Fn(&Beneath) -> bool) {
        let waited = timeout(PATIENCE, async {
            while !holds(self) {
                let batch = self.events.recv().await.expect("the follower goes on");
                self.take(batch);
            }
        });
        let met = waited.await;
        assert!(met.is_ok(), "not in time: {what}, after {} lists", self.resyncs);
    }

    /// Folds events until the picture is the kernel's as it is asked now.
    async fn until_true(&mut self, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let truth = asked().await;
            if words(&self.state) == words(&truth) {
                return;
            }
            assert!(Instant::now() < deadline, "{what}: {:#?}", difference(&self.state, &truth));
            if let Ok(batch) = timeout(Duration::from_millis(100), self.events.recv()).await {
                self.take(batch.expect("the follower goes on"));
            }
        }
    }

    fn neighbours(&self) -> usize {
        (1..64).map(|device| self.state.tunnels.neighbours_of(device).count()).sum()
    }
}

#[test]
fn every_form_of_entry_and_rule_is_what_iproute2_prints() {
    in_namespace(async |namespace| {
        agreed(&namespace).await;
        namespace.script(DEVICES);
        namespace.script(ENTRIES);
        namespace.script(RULES);
        let state = agreed(&namespace).await;
        let index = |name: &str| {
            let shown = String::from_utf8(namespace.ip(&format!("-o link show dev {name}"))).unwrap();
            shown.split(':').next().unwrap().trim().parse::<u32>().unwrap()
        };
        let (v4, v6, other) = (index("vxlan.calico"), index("vxlan-v6.calico"), index("other"));
        let permanent = |device| state.tunnels.neighbours_of(device).filter(|it| it.state.is_permanent()).count();
        assert_eq!((permanent(v4), permanent(v6), state.tunnels.neighbours_of(other).count()), (1, 1, 0));
        assert_eq!((state.tunnels.fdb_of(v4).count(), state.tunnels.fdb_of(v6).count()), (4, 1));
        assert_eq!(state.tunnels.fdb_of(other).count() + state.tunnels.fdb_of(index("eth0")).count(), 0);
        let by_hand = state.tunnels.fdb_entry(v4, "66:00:00:00:00:03".parse().unwrap()).unwrap();
        assert!(by_hand.state.is_permanent(), "whatever else it is: {:?}", by_hand.state);
        assert_eq!(Family::ALL.map(|family| state.tunnels.rules(family).unwrap().len()), [10, 4]);
    });
}

#[test]
fn each_change_is_followed_without_a_fresh_list() {
    in_namespace(async |namespace| {
        namespace.script(DEVICES);
        let mut beneath = Beneath::start(events_alone()).await;
        for change in [
            "ip neigh add 10.1.0.1 lladdr 66:00:00:00:00:01 dev vxlan.calico nud permanent",
            "ip neigh replace 10.1.0.1 lladdr 66:00:00:00:00:02 dev vxlan.calico nud permanent",
            "ip neigh add 172.18.0.9 lladdr 66:00:00:00:00:09 dev eth0 nud permanent",
            "bridge fdb add 66:00:00:00:00:01 dst 172.18.0.5 dev vxlan.calico self permanent",
            "bridge fdb replace 66:00:00:00:00:01 dst 172.18.0.6 dev vxlan.calico self permanent",
            "bridge fdb add 66:00:00:00:00:06 dst fd00::5 dev vxlan-v6.calico",
            "ip -6 neigh add fd01::1 lladdr 66:00:00:00:00:06 dev vxlan-v6.calico nud permanent",
            "bridge fdb del 66:00:00:00:00:01 dev vxlan.calico",
            "ip neigh del 10.1.0.1 dev vxlan.calico",
            // What goes with its device, and what does not.
            "ip neigh add 10.1.0.3 lladdr 66:00:00:00:00:03 dev vxlan.calico nud permanent",
            "bridge fdb add 66:00:00:00:00:03 dst 172.18.0.5 dev vxlan.calico self permanent",
            "ip link set vxlan.calico down",
            "ip link del vxlan.calico",
        ] {
            namespace.script(change);
            beneath.until_true(change).await;
        }
        assert_eq!(beneath.resyncs, 1);
    });
}

#[test]
fn a_device_that_is_made_anew_and_a_rule_are_listed_at_once() {
    in_namespace(async |namespace| {
        namespace.script(DEVICES);
        namespace.script(ENTRIES);
        let mut beneath = Beneath::start(doubts_alone()).await;
        for change in [
            "ip link del vxlan.calico; ip link add vxlan.calico type vxlan id 9 dstport 4789 && ip link set vxlan.calico up",
            "ip neigh add 10.1.0.1 lladdr 66:00:00:00:00:01 dev vxlan.calico nud permanent",
            "ip rule add not fwmark 0x100000/0x100000 priority 99 lookup 1",
            "ip -6 rule add not fwmark 0x100000/0x100000 priority 99 lookup 1",
            "ip rule del priority 99",
            "bridge fdb append 00:00:00:00:00:00 dst 172.18.0.8 dev vxlan.calico",
            "bridge fdb del 00:00:00:00:00:00 dst 172.18.0.8 dev vxlan.calico",
            "ip link set vxlan-v6.calico down; ip link set vxlan-v6.calico name other6",
            "ip link set other down; ip link set other name vxlan-v6.calico; ip link set vxlan-v6.calico up",
        ] {
            namespace.script(change);
            beneath.until_true(change).await;
        }
        assert_eq!(beneath.resyncs, 1, "all of it by differences");
        agreed(&namespace).await;
    });
}

#[test]
fn an_overrun_costs_a_list_of_neighbours_and_none_of_routes() {
    in_namespace(async |namespace| {
        namespace.script(DEVICES);
        // The smallest buffer there is, and nobody who takes the events.
        let settings = Settings { receive_buffer: 1, ..events_alone() };
        let mut routes = Follower::start(events_alone()).await;
        let mut beneath = Beneath::start(settings).await;
        let entry = |n: u32| format!("10.{}.{}.{}", n >> 16 & 255, n >> 8 & 255, n & 255);
        let lines = (1..4000)
            .map(|n| format!("neigh add {} lladdr 66:00:00:00:00:01 dev vxlan.calico nud permanent\n", entry(n)));
        namespace.batch(&lines.collect::<String>());
        beneath.until("a second list", |it| it.resyncs > 1).await;
        beneath.until_true("after the flood").await;
        assert!(beneath.neighbours() >= 3999, "{}", beneath.neighbours());
        namespace.ip("neigh add 10.99.0.1 lladdr 66:00:00:00:00:01 dev vxlan.calico nud permanent");
        beneath.until_true("and it follows again").await;
        routes.until_true("all the while").await;
        assert_eq!((routes.resyncs, routes.lost.len()), (1, 0));
    });
}

/// Not one message of a pod's device is made into anything; that it costs nothing is seen by what is left of the time.
#[test]
fn what_happens_on_other_devices_is_no_event() {
    in_namespace(async |namespace| {
        namespace.script(DEVICES);
        let mut beneath = Beneath::start(Settings { refresh: NEVER, ..events_alone() }).await;
        let lines = (1..2000u32).map(|n| {
            format!("neigh add 172.18.{}.{} lladdr 66:00:00:00:00:01 dev eth0 nud permanent\n", n >> 8, n & 255)
        });
        namespace.batch(&lines.collect::<String>());
        namespace.ip("neigh add 10.99.0.1 lladdr 66:00:00:00:00:01 dev vxlan.calico nud permanent");
        let mut batch = timeout(PATIENCE, beneath.events.recv()).await.expect("in time").expect("it goes on");
        batch.retain(|event| !matches!(event, Event::Origin(_)));
        assert!(
            matches!(&batch[..], [Event::Neighbour(entry)] if entry.address.to_string() == "10.99.0.1"),
            "{batch:?}"
        );
    });
}

/// `cargo test --test it -- --ignored --nocapture five_thousand`: 5,000 other hosts, against what iproute2 needs.
#[test]
#[ignore = "a measurement"]
fn five_thousand_peers_are_dumped() {
    in_namespace(async |namespace| {
        namespace.script(DEVICES);
        let of =
            |n: u32| (format!("10.1.{}.{}", n >> 8, n & 255), format!("66:00:00:00:{:02x}:{:02x}", n >> 8, n & 255));
        let lines = (1..=5000).map(|n| {
            let (address, mac) = of(n);
            format!("neigh add {address} lladdr {mac} dev vxlan.calico nud permanent\n")
        });
        namespace.batch(&lines.collect::<String>());
        let lines = (1..=5000).map(|n| {
            let (address, mac) = of(n);
            format!("fdb add {mac} dst {address} dev vxlan.calico self permanent\n")
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), lines.collect::<String>()).unwrap();
        namespace.bridge(&format!("-batch {}", file.path().display()));
        for _ in 0..5 {
            let began = Instant::now();
            namespace.ip("-j neigh show nud all");
            namespace.bridge("-j fdb show");
            let iproute2 = began.elapsed();
            let began = Instant::now();
            let events = netlink::tunnels_snapshot().await.unwrap();
            let dumped = began.elapsed();
            let state = folded(events);
            assert!(state.tunnels.neighbours_of(4).count() >= 5000 && state.tunnels.fdb_of(4).count() == 5000);
            println!("iproute2: {iproute2:?}; dumped in {dumped:?}, folded by {:?}", began.elapsed());
        }
    });
}
