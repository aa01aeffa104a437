use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::model::{
    AffinityState, BlockAffinity, BlockOwner, EncapMode, IpPool, Link, NextHop, Route, RouteType, TABLE_MAIN,
};
use crate::state::event::{Event, Object, ObjectId, Side};
use crate::state::{Follow, State};

const LIMIT: usize = 512 << 10;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn at(seconds: f64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs_f64(1000.0 + seconds)
}

fn pool(name: &str, cidr: &str, ipip: EncapMode) -> IpPool {
    IpPool {
        name: name.into(),
        cidr: net(cidr),
        block_size: 26,
        ipip,
        vxlan: EncapMode::Never,
        disabled: false,
        disable_bgp_export: false,
        node_selector: "all()".to_owned(),
        load_balancer: false,
        manual: false,
    }
}

fn route(destination: &str, gateway: u8) -> Route {
    let gateway = Some(std::net::IpAddr::from([192, 0, 2, gateway]));
    let hop = NextHop { gateway, device: Some("eth0".into()), down: false, onlink: false };
    Route {
        table: TABLE_MAIN,
        destination: net(destination),
        metric: 0,
        tos: 0,
        kind: RouteType::Unicast,
        protocol: Protocol::BIRD,
        link_scope: false,
        next_hops: Arc::from([hop]),
    }
}

/// A state with a pool, in which both sides are in sync.
fn synced(limit: usize) -> State {
    let mut state = State::new(false);
    state.history = History::new(limit);
    state.begin_batch(at(0.0));
    let pool = Object::Pool(pool("default", "10.0.0.0/16", EncapMode::Always));
    for event in [
        Event::Resync(Side::Datastore),
        Event::Put(Box::new(pool)),
        Event::Synced(Side::Datastore),
        Event::Resync(Side::Kernel),
        Event::Route(route("10.0.0.0/26", 2)),
        Event::Synced(Side::Kernel),
    ] {
        state.apply(event, Duration::ZERO);
    }
    assert_eq!(state.history.entries(&Filter::default()).count(), 0, "a first list is no change");
    state
}

fn feed(state: &mut State, time: f64, events: impl IntoIterator<Item = Event>) {
    state.begin_batch(at(time));
    events.into_iter().for_each(|event| state.apply(event, Duration::from_secs_f64(time)));
}

fn words(state: &State) -> Vec<String> {
    let mut words: Vec<String> = state.history.entries(&Filter::default()).map(Entry::words).collect();
    words.reverse();
    words
}

fn process(pid: u32, name: &str, gone: bool) -> Author {
    Author::Netlink(pid, Some(Process { pid, name: name.into(), gone }))
}

#[test]
fn changes_read_as_sentences() {
    let mut state = synced(LIMIT);
    let affinity = |host: &str, state| {
        let owner = BlockOwner::Host(host.into());
        Event::Put(Box::new(Object::Affinity(BlockAffinity { owner, cidr: net("10.0.1.0/26"), state })))
    };
    feed(
        &mut state,
        1.0,
        [
            Event::Origin(Author::Revision("17".into())),
            Event::Put(Box::new(Object::Pool(pool("default", "10.0.0.0/16", EncapMode::CrossSubnet)))),
            affinity("h2", AffinityState::Pending),
            affinity("h2", AffinityState::Confirmed),
            Event::Delete(ObjectId::Affinity(BlockOwner::Host("h2".into()), net("10.0.1.0/26"))),
        ],
    );
    feed(
        &mut state,
        2.0,
        [
            Event::Origin(process(812, "systemd-networkd", false)),
            Event::RouteGone(route("10.0.0.0/26", 2).key()),
            Event::Origin(process(31337, "ip", true)),
            Event::Route(route("10.0.1.0/26", 3)),
            Event::Origin(Author::Netlink(4_198_530_112, None)),
            Event::Route(route("10.0.1.0/26", 4)),
            Event::Origin(Author::Kernel),
            Event::Link(Link {
                index: 4,
                name: "tunl0".into(),
                kind: Some("ipip".into()),
                admin_up: true,
                no_carrier: false,
                mtu: 1480,
                mac: None,
                vxlan: None,
                addresses: vec![net("10.0.0.1/32")],
            }),
        ],
    );
    assert_eq!(
        words(&state),
        [
            "ippool default changed at revision 17: ipipMode Always → CrossSubnet",
            "affinity by h2 of 10.0.1.0/26 added at revision 17: pending",
            "affinity by h2 of 10.0.1.0/26 changed at revision 17: pending → confirmed",
            "affinity by h2 of 10.0.1.0/26 deleted at revision 17: confirmed",
            "route deleted by systemd-networkd (812): 10.0.0.0/26 via 192.0.2.2 dev eth0 proto bird",
            "route added by ip (31337, gone): 10.0.1.0/26 via 192.0.2.3 dev eth0 proto bird",
            "route changed by netlink port 4198530112, protocol bird: 10.0.1.0/26 via 192.0.2.3 dev eth0 proto bird → \
             10.0.1.0/26 via 192.0.2.4 dev eth0 proto bird",
            "link tunl0 added by the kernel: name tunl0, kind ipip, state up, mtu 1480, inet 10.0.0.1/32",
        ]
    );
    assert_eq!(state.history.deleter(&net("10.0.0.0/26")), Some(&process(812, "systemd-networkd", false)));
    assert_eq!(state.history.deleter(&net("10.0.1.0/26")), None, "it is back");
    assert_eq!(state.history.counts()[&Kind::Pool], 1);
}

#[test]
fn what_is_repeated_and_what_is_not_calicos_is_no_change() {
    let mut state = synced(LIMIT);
    let foreign = Route { protocol: Protocol::STATIC, ..route("172.30.0.0/24", 9) };
    feed(&mut state, 1.0, [Event::Route(route("10.0.0.0/26", 2)), Event::Route(foreign)]);
    assert!(words(&state).is_empty(), "{:?}", words(&state));
}

#[test]
fn a_list_says_what_it_found_different() {
    let mut state = synced(LIMIT);
    let relist = [Event::Resync(Side::Kernel), Event::Route(route("10.0.3.0/26", 5)), Event::Synced(Side::Kernel)];
    feed(&mut state, 1.0, relist);
    assert_eq!(
        words(&state),
        [
            "route added by an unknown writer, found by a fresh list: 10.0.3.0/26 via 192.0.2.5 dev eth0 proto bird",
            "route deleted by an unknown writer, found by a fresh list: 10.0.0.0/26 via 192.0.2.2 dev eth0 proto bird",
            "kernel listed: 2 differences found",
        ]
    );
}

#[test]
fn a_burst_is_one_entry_that_knows_its_destinations() {
    let mut state = synced(LIMIT);
    let block = |n: u32| format!("10.{}.{}.{}/26", n >> 10 & 0xff, n >> 2 & 0xff, (n & 3) * 64);
    let events = (0..500).map(|n| Event::Route(route(&block(n), 2)));
    feed(&mut state, 1.0, std::iter::once(Event::Origin(process(1021, "bird", false))).chain(events));
    let gone = (0..500).map(|n| Event::RouteGone(route(&block(n), 2).key()));
    feed(&mut state, 1.2, std::iter::once(Event::Origin(process(1021, "bird", false))).chain(gone));
    let words = words(&state);
    assert_eq!(words.len(), 2 * (BURST_AFTER as usize + 1));
    let more = 500 - BURST_AFTER;
    let last = format!("{more} more routes deleted by bird (1021) within 0.1 s, from {} on", &block(BURST_AFTER)[..]);
    assert_eq!(words.last(), Some(&last));
    let of = |subject: &str| Filter { subject: Some(subject.into()), ..Filter::default() };
    assert_eq!(
        state.history.entries(&of("10.0.100.70")).count(),
        2,
        "the burst that added it and the one that took it"
    );
    assert_eq!(state.history.entries(&of("10.77.0.0")).count(), 0);
}

#[test]
fn entries_of_a_standing_fault_stay_and_leave_when_it_ends() {
    let mut state = synced(16 << 10);
    feed(&mut state, 1.0, [Event::RouteGone(route("10.0.0.0/26", 2).key())]);
    state.history.set_standing([("10.0.0.0/26", None)].into_iter());
    let churn = |state: &mut State, from: u32| {
        for n in from..from + 400 {
            let gateway = u8::try_from(n % 200).unwrap() + 1;
            feed(state, 2.0 + f64::from(n) * 3.0, [Event::Route(route("10.0.9.0/26", gateway))]);
        }
    };
    churn(&mut state, 0);
    let of = Filter { subject: Some("10.0.0.0/26".into()), ..Filter::default() };
    assert_eq!(state.history.entries(&of).count(), 1);
    assert!(state.history.dropped() > 100 && state.history.bytes() <= 16 << 10);
    state.history.set_standing([].into_iter());
    churn(&mut state, 400);
    assert_eq!(state.history.entries(&of).count(), 0);
}

#[test]
fn filters_are_by_kind_host_time_and_overlap() {
    let mut history = History::new(LIMIT);
    history.set_time(at(1.0));
    history.source(Operation::Lost, "kernel", Some("ENOBUFS".to_owned()));
    history.set_time(at(2.0));
    let series = "calico_route_faults{class=\"remote_block\",reason=\"missing\"}".to_owned();
    history.fault(false, series.clone(), "10.0.1.0/26", Some(&"h2".into()), Some(at(-118.0)));
    history.set_time(at(72.0));
    history.fault(true, series, "10.0.1.0/26", Some(&"h2".into()), Some(at(-118.0)));
    let count = |filter: Filter| history.entries(&filter).count();
    assert_eq!(count(Filter::default()), 3);
    assert_eq!(count(Filter { area: Some(Area::Fault), ..Filter::default() }), 2);
    assert_eq!(count(Filter { host: Some("h2".into()), ..Filter::default() }), 2);
    assert_eq!(count(Filter { since: Some(at(3.0)), ..Filter::default() }), 1);
    assert_eq!(count(Filter { subject: Some("10.0.1.5".into()), ..Filter::default() }), 2);
    assert_eq!(count(Filter { subject: Some("10.0.0.0/8".into()), ..Filter::default() }), 2);
    assert_eq!(count(Filter { subject: Some("10.0.2.0/26".into()), ..Filter::default() }), 0);
    let all: Vec<String> = history.entries(&Filter::default()).map(Entry::words).collect();
    assert_eq!(
        all,
        [
            "calico_route_faults{class=\"remote_block\",reason=\"missing\"} 10.0.1.0/26 (h2) ended after 3m 10s",
            "calico_route_faults{class=\"remote_block\",reason=\"missing\"} 10.0.1.0/26 (h2) became a fault after 2m",
            "kernel lost: ENOBUFS",
        ]
    );
}

#[test]
fn a_history_of_no_size_keeps_nothing() {
    let mut state = synced(0);
    feed(&mut state, 1.0, [Event::RouteGone(route("10.0.0.0/26", 2).key())]);
    assert_eq!((state.history.bytes(), words(&state).len()), (0, 0));
}

#[test]
fn keys_only_mode_takes_no_answer_for_a_change() {
    let mut state = State::new(false).following(Follow::Affinities("h1".into()));
    state.history = History::new(LIMIT);
    feed(&mut state, 0.0, [Event::Resync(Side::Datastore), Event::Synced(Side::Datastore)]);
    let block = crate::model::AllocationBlock::new(net("10.0.5.0/26"));
    feed(&mut state, 1.0, [Event::Put(Box::new(Object::Block(block)))]);
    assert!(words(&state).is_empty());
}

fn arbitrary_event() -> impl Strategy<Value = Event> {
    let block = (0u8..6, 0u8..4).prop_map(|(third, fourth)| format!("10.0.{third}.{}/26", u32::from(fourth) * 64));
    let state = prop_oneof![Just(AffinityState::Pending), Just(AffinityState::Confirmed)];
    let host = prop_oneof![Just("h1"), Just("h2")];
    let mode = prop_oneof![Just(EncapMode::Always), Just(EncapMode::Never), Just(EncapMode::CrossSubnet)];
    prop_oneof![
        (block.clone(), 2u8..5).prop_map(|(block, gateway)| Event::Route(route(&block, gateway))),
        block.clone().prop_map(|block| Event::RouteGone(route(&block, 2).key())),
        (host.clone(), block.clone(), state).prop_map(|(host, block, state)| {
            let owner = BlockOwner::Host(host.into());
            Event::Put(Box::new(Object::Affinity(BlockAffinity { owner, cidr: net(&block), state })))
        }),
        (host, block)
            .prop_map(|(host, block)| Event::Delete(ObjectId::Affinity(BlockOwner::Host(host.into()), net(&block)))),
        mode.prop_map(|mode| Event::Put(Box::new(Object::Pool(pool("default", "10.0.0.0/16", mode))))),
        Just(Event::Delete(ObjectId::Pool("default".into()))),
    ]
}

/// Every property that the entries leave set, by subject.
fn replayed<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    mut known: BTreeMap<(String, String, String), String>,
) -> BTreeMap<(String, String, String), String> {
    for entry in entries {
        for fact in &entry.facts {
            let key = (entry.what.to_string(), entry.subject.to_string(), fact.name.to_string());
            assert_eq!(known.get(&key).map(String::as_str), fact.before.as_deref(), "{key:?} before");
            match &fact.after {
                Some(after) => drop(known.insert(key, after.to_string())),
                None => drop(known.remove(&key)),
            }
        }
    }
    known
}

fn picture(state: &State) -> BTreeMap<(String, String, String), String> {
    let mut all = BTreeMap::new();
    for route in state.kernel.routes() {
        all.insert(("route".to_owned(), route.destination.to_string(), String::new()), route.to_string());
    }
    for (cidr, owner, entry) in state.datastore.affinities() {
        let what = format!("affinity by {} of", owner.host().unwrap());
        all.insert((what, cidr.to_string(), String::new()), entry.state.as_str().to_owned());
    }
    for pool in state.datastore.pools().values() {
        for (name, value) in facts::pool(pool) {
            all.insert(("ippool".to_owned(), pool.name.to_string(), name.into_owned()), value);
        }
    }
    all
}

proptest! {
    /// No change is lost and none invented: the entries, replayed on the first picture, give the last.
    #[test]
    fn entries_replayed_give_the_picture(
        events in proptest::collection::vec(arbitrary_event(), 0..60),
        relist in proptest::collection::vec((0u8..6, 2u8..5), 0..8),
    ) {
        let mut state = synced(64 << 20);
        let first = picture(&state);
        for (n, event) in (0u32..).zip(events) {
            // Far apart, so that nothing is folded.
            feed(&mut state, 10.0 * f64::from(n + 1), [event]);
        }
        let list = relist.iter().map(|(third, gateway)| Event::Route(route(&format!("10.0.{third}.0/26"), *gateway)));
        let all = std::iter::once(Event::Resync(Side::Kernel)).chain(list);
        feed(&mut state, 5000.0, all.chain([Event::Synced(Side::Kernel)]));
        let filter = Filter::default();
        let mut entries: Vec<&Entry> =
            state.history.entries(&filter).filter(|it| it.area != Area::Source && it.burst.is_none()).collect();
        entries.reverse();
        prop_assert_eq!(replayed(entries.into_iter(), first), picture(&state));
    }

    /// Whatever comes, the bound holds, and what is counted is what is there.
    #[test]
    fn the_bound_holds(
        limit in 1usize..40_000,
        changes in proptest::collection::vec((0u8..6, 0u8..40, 2u8..9, any::<bool>()), 0..300),
    ) {
        let mut state = synced(limit);
        for (n, (third, step, gateway, fault)) in (0u32..).zip(changes) {
            let destination = format!("10.0.{third}.0/26");
            feed(&mut state, f64::from(n) * f64::from(step) * 0.1, [Event::Route(route(&destination, gateway))]);
            if fault {
                state.history.set_standing([(destination.as_str(), None)].into_iter());
            }
            let history = &state.history;
            prop_assert!(history.bytes() <= limit);
            let there: usize = history.recent.iter().chain(&history.kept).map(Entry::bytes).sum();
            prop_assert_eq!(history.bytes(), there);
            prop_assert_eq!(history.kept_bytes, history.kept.iter().map(Entry::bytes).sum::<usize>());
        }
    }
}
