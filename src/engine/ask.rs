//! What is asked of the datastore's source beside what it tells by itself, and how often: single endpoints, and other
//! hosts' blocks where they are not followed.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::audit::{Auditor, Urgency};
use crate::state::{Lookup, ObjectId, Side, State};

/// The first pause before something is asked again, doubled up to one of the two below.
const PAUSE: Duration = Duration::from_secs(2);
/// The longest pause while a difference turns on the answer.
const LONGEST: Duration = Duration::from_secs(64);
/// The longest while the answer explains what is there: it is only to be seen whether it still does.
const LONGEST_EXPLAINED: Duration = Duration::from_secs(600);
/// Blocks asked for at once, and so many more a second after that.
const BURST: f64 = 64.0;
const A_SECOND: f64 = 16.0;
/// Pause where there is no room for a question now.
const NO_ROOM: Duration = Duration::from_millis(250);

/// When something is asked next.
#[derive(Debug)]
struct Asked {
    next: Duration,
    pause: Duration,
    urgency: Urgency,
}

/// What is being asked.
#[derive(Debug)]
pub(super) struct Asking {
    asked: HashMap<ObjectId, Asked>,
    allowance: Allowance,
}

impl Default for Asking {
    fn default() -> Self {
        Asking { asked: HashMap::new(), allowance: Allowance { left: BURST, at: Duration::ZERO } }
    }
}

/// About so long: thousands of hosts see the same key at the same moment.
fn about(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64())
}

impl Asking {
    /// When something is to be asked next, if anything is.
    pub(super) fn next(&self) -> Option<Duration> {
        self.asked.values().map(|asked| asked.next).min()
    }

    /// Asks what is due, each again after a while: an endpoint is written after its address is allocated, and a block
    /// that nobody follows may change.
    pub(super) fn ask(&mut self, auditor: &Auditor, state: &mut State, lookups: &mpsc::Sender<Lookup>, now: Duration) {
        if state.datastore.knows_endpoints() || !state.in_sync(Side::Datastore) {
            return;
        }
        let endpoints = auditor.lookups().map(|id| (ObjectId::Endpoint(id.clone()), Urgency::Differing));
        let blocks = auditor.questions().into_iter().map(|(cidr, urgency)| (ObjectId::Block(cidr), urgency));
        let wanted: HashMap<ObjectId, Urgency> = endpoints.chain(blocks).collect();
        self.asked.retain(|id, _| wanted.contains_key(id));
        state.datastore.keep_reads(|cidr| wanted.contains_key(&ObjectId::Block(*cidr)));
        for (id, urgency) in wanted {
            let lookup = match &id {
                ObjectId::Endpoint(id) => Lookup::Endpoint(id.clone()),
                ObjectId::Block(cidr) => Lookup::Block { cidr: *cidr, held: state.datastore.read(cidr).is_some() },
                _ => continue,
            };
            let doubted =
                matches!(&id, ObjectId::Block(cidr) if state.datastore.read(cidr).is_some_and(|it| it.doubted));
            let asked = self.asked.entry(id).or_insert_with(|| Asked {
                // A route that is not there yet is there in a moment, nearly always: then nobody need ask.
                next: if matches!(lookup, Lookup::Block { .. }) { now + about(PAUSE) } else { now },
                pause: PAUSE,
                urgency,
            });
            asked.note(urgency, doubted, now);
            if asked.next > now {
                continue;
            }
            match self.allowance.grants(&lookup, now) && lookups.try_send(lookup).is_ok() {
                true => asked.went_out(now),
                false => asked.next = now + NO_ROOM,
            }
        }
    }
}

impl Asked {
    /// Asks sooner what has become more urgent.
    fn note(&mut self, urgency: Urgency, doubted: bool, now: Duration) {
        if urgency > self.urgency {
            self.pause = PAUSE;
        }
        if (urgency > self.urgency || doubted) && self.next > now + PAUSE {
            self.next = now + about(PAUSE);
        }
        self.urgency = urgency;
    }

    fn went_out(&mut self, now: Duration) {
        self.next = now + self.pause;
        let longest = if self.urgency == Urgency::Explained { LONGEST_EXPLAINED } else { LONGEST };
        self.pause = (self.pause * 2).min(longest);
    }
}

/// How many blocks may be asked for, as of a moment.
#[derive(Debug)]
struct Allowance {
    left: f64,
    at: Duration,
}

impl Allowance {
    fn grants(&mut self, lookup: &Lookup, now: Duration) -> bool {
        if matches!(lookup, Lookup::Endpoint(_)) {
            return true;
        }
        self.left = (self.left + now.saturating_sub(self.at).as_secs_f64() * A_SECOND).min(BURST);
        self.at = now;
        let granted = self.left >= 1.0;
        if granted {
            self.left -= 1.0;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;

    use super::*;
    use crate::audit::testing::{Block, Cluster, at, net, pool};
    use crate::audit::{AuditOptions, Backend, RouteOptions, TunnelOptions};
    use crate::model::{AffinityState, EncapMode, IpPool, Link, NextHop, Protocol, Route, RouteType, TABLE_MAIN};
    use crate::state::{Event, Follow, Object};

    /// h1, which follows affinity keys, and what it asks.
    struct Host {
        cluster: Cluster,
        auditor: Auditor,
        asking: Asking,
        questions: mpsc::Sender<Lookup>,
        asked: mpsc::Receiver<Lookup>,
    }

    fn block(number: usize) -> IpNet {
        net(&format!("10.0.{number}.0/26"))
    }

    /// Felix's route to h3 for an address of h2's block of this number.
    fn route(number: usize) -> Route {
        let (gateway, device) = ("192.168.0.3".parse().ok(), Some("tunl0".into()));
        Route {
            table: TABLE_MAIN,
            destination: net(&format!("10.0.{number}.9/32")),
            metric: 0,
            tos: 0,
            kind: RouteType::Unicast,
            protocol: Protocol::FELIX,
            link_scope: false,
            next_hops: [NextHop { gateway, device, down: false, onlink: true }].into(),
        }
    }

    /// The host with a route into each of so many blocks.
    fn host(routes: usize) -> Host {
        let state = State::new(false).following(Follow::Affinities("h1".into()));
        let mut cluster = Cluster { state, seconds: 0 };
        let (ipip, vxlan) = (EncapMode::Always, EncapMode::Never);
        cluster.put(Object::Pool(IpPool { ipip, vxlan, ..pool("main", "10.0.0.0/16", 26) }));
        for (host, address) in [("h1", "192.168.0.1/24"), ("h2", "192.168.0.2/24"), ("h3", "192.168.0.3/24")] {
            cluster.node(host, &[address]);
        }
        for number in 0..routes {
            // Of a claim alone no route to the whole block follows.
            cluster.affinity("host:h2", &block(number).to_string(), AffinityState::Pending);
            cluster.event(Event::Route(route(number)));
        }
        cluster.event(Event::Link(Link { index: 2, name: "tunl0".into(), admin_up: true, ..Link::default() }));
        cluster.synced().event(Event::Synced(Side::Kernel));
        let options = RouteOptions {
            node: "h1".into(),
            backend: Backend::Auto,
            grace: Some(Duration::ZERO),
            tunnels: TunnelOptions::default(),
        };
        let leak_grace = Duration::ZERO;
        let auditor = Auditor::new(AuditOptions { ipam: None, routes: Some(options), leaks: false, leak_grace });
        let (questions, asked) = mpsc::channel(1000);
        Host { cluster, auditor, asking: Asking::default(), questions, asked }
    }

    impl Host {
        /// What is asked for in a look at this second.
        fn look(&mut self, second: u64) -> Vec<Lookup> {
            self.cluster.seconds = second;
            let (state, now) = (&mut self.cluster.state, at(second));
            self.auditor.look(state, now);
            self.asking.ask(&self.auditor, state, &self.questions, now.monotonic);
            std::iter::from_fn(|| self.asked.try_recv().ok()).collect()
        }

        /// The seconds at which something is asked for, and what.
        fn looks(&mut self, seconds: std::ops::Range<u64>) -> Vec<(u64, Lookup)> {
            seconds.flat_map(|second| self.look(second).into_iter().map(move |it| (second, it))).collect()
        }
    }

    #[test]
    fn a_block_is_asked_for_after_a_while_and_then_ever_more_seldom() {
        let mut host = host(1);
        assert_eq!(host.look(0), []);
        assert!(host.asking.next().unwrap() >= PAUSE / 2);
        let cidr = block(0);
        // Nobody answers.
        let asked = host.looks(3..200);
        let at = |asked: &[(u64, Lookup)]| asked.iter().map(|(second, _)| *second).collect::<Vec<_>>();
        assert_eq!(at(&asked), [3, 5, 9, 17, 33, 65, 129, 193]);
        assert!(asked.iter().all(|(_, it)| *it == Lookup::Block { cidr, held: false }));
        // The address is lent: that explains the route, and is only looked at now and then.
        host.cluster.block(Block::of("host:h2", &cidr.to_string()).pod(9, "h3", "borrower"));
        let asked = host.looks(200..3000);
        assert_eq!(at(&asked), [257, 321, 449, 705, 1217, 1817, 2417]);
        assert!(asked.iter().all(|(_, it)| *it == Lookup::Block { cidr, held: true }));
        // It is given back: a difference is looked at sooner, and so is a block whose key has changed.
        host.cluster.block(Block::of("host:h2", &cidr.to_string()));
        let sooner = at(&host.looks(3000..3005));
        assert!(matches!(sooner[..], [first, ..] if first <= 3003), "{sooner:?}");
    }

    #[test]
    fn what_has_settled_by_itself_is_not_asked_for_and_nothing_of_it_is_kept() {
        let mut host = host(2);
        assert_eq!(host.look(0), []);
        host.cluster.event(Event::RouteGone(route(0).key()));
        let asked = host.looks(1..4);
        assert!(!asked.is_empty() && asked.iter().all(|(_, it)| it.id() == ObjectId::Block(block(1))), "{asked:?}");
        host.cluster.block(Block::of("host:h2", &block(1).to_string()));
        host.look(4);
        assert!(host.cluster.datastore().read(&block(1)).is_some());
        host.cluster.event(Event::RouteGone(route(1).key()));
        assert_eq!(host.look(5), []);
        assert!(host.cluster.datastore().read(&block(1)).is_none());
        assert_eq!(host.asking.next(), None);
    }

    #[test]
    fn a_host_with_many_doubts_does_not_ask_for_everything_at_once() {
        let mut host = host(200);
        assert_eq!(host.look(0), []);
        let counts: Vec<usize> = (3..8).map(|second| host.look(second).len()).collect();
        assert_eq!(counts, [64, 16, 16, 16, 16]);
        // Endpoints are few, and each decides whether a route is missing.
        let mut allowance = Allowance { left: 0.0, at: Duration::ZERO };
        let endpoint = Lookup::Endpoint(crate::model::EndpointId::of_pod("h1", "default", "a"));
        assert!((0..100).all(|_| allowance.grants(&endpoint, Duration::ZERO)));
        assert!(!allowance.grants(&Lookup::Block { cidr: block(0), held: false }, Duration::ZERO));
    }
}
