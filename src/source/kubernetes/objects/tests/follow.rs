//! What changes to objects mean.

use super::*;
use crate::model::BlockOwner;

fn ledger_of(events: &[(&str, Resource, &str)]) -> (Ledger, Vec<Event>) {
    let decoder = Decoder { use_pod_cidr: true, ..Decoder::new(ApiGroup::Crd) };
    let mut ledger = Ledger::default();
    let mut last = Vec::new();
    for (what, resource, item) in events {
        let decoded = decoder.decode(*resource, item.as_bytes());
        last = match *what {
            "DELETED" => ledger.delete(decoded),
            _ => ledger.put(decoded, Reading::default()),
        };
    }
    (ledger, last)
}

fn last(events: &[(&str, Resource, &str)]) -> Vec<Event> {
    ledger_of(events).1
}

const CLAIM: &str = r#"{"metadata":{"name":"x"},"spec":{"node":"h1","cidr":"10.0.0.0/26","deleted":"false"}}"#;

fn claim_of(node: &str) -> ObjectId {
    ObjectId::Affinity(BlockOwner::Host(node.into()), "10.0.0.0/26".parse().unwrap())
}

#[test]
fn an_update_to_deleted_is_the_deletion() {
    let gone = CLAIM.replace("false", "true");
    let deletion = [Event::Delete(claim_of("h1"))];
    assert_eq!(last(&[("ADDED", Resource::Affinities, CLAIM), ("MODIFIED", Resource::Affinities, &gone)]), deletion);
    // The row's own end says it again.
    let both = [
        ("ADDED", Resource::Affinities, CLAIM),
        ("MODIFIED", Resource::Affinities, &gone),
        ("DELETED", Resource::Affinities, &gone),
    ];
    assert_eq!(last(&both), deletion);
    assert_eq!(last(&[("DELETED", Resource::Affinities, CLAIM)]), deletion);
}

#[test]
fn what_cannot_be_read_any_more_is_still_that_object() {
    for (item, broken) in [(CLAIM, r#"{"metadata":{"name":"x"},"spec":7}"#), (CLAIM, r#"{"metadata":{"name":"x"}}"#)] {
        let events = last(&[("ADDED", Resource::Affinities, item), ("MODIFIED", Resource::Affinities, broken)]);
        assert!(
            matches!(&events[..], [Event::Unreadable { id, key, .. }] if *id == claim_of("h1") && &**key == "blockaffinities/x"),
            "{events:?}"
        );
        // Its end is that object's end.
        let events = last(&[
            ("ADDED", Resource::Affinities, item),
            ("MODIFIED", Resource::Affinities, broken),
            ("DELETED", Resource::Affinities, broken),
        ]);
        assert!(events.contains(&Event::Delete(claim_of("h1"))), "{events:?}");
    }
    // One that was never read is at least counted, and its end ends that.
    let broken = r#"{"metadata":{"name":"x"},"spec":7}"#;
    let malformed = ObjectId::Malformed(Kind::Affinity, "blockaffinities/x".into());
    let events = last(&[("ADDED", Resource::Affinities, broken)]);
    assert!(matches!(&events[..], [Event::Unreadable { id, .. }] if *id == malformed));
    let events = last(&[("ADDED", Resource::Affinities, broken), ("MODIFIED", Resource::Affinities, CLAIM)]);
    assert!(matches!(&events[..], [Event::Delete(id), Event::Put(_)] if *id == malformed), "{events:?}");
}

#[test]
fn a_name_that_stands_for_something_else_now_ends_what_it_stood_for() {
    let other = CLAIM.replace("h1", "h2");
    let events = last(&[("ADDED", Resource::Affinities, CLAIM), ("MODIFIED", Resource::Affinities, &other)]);
    assert!(matches!(&events[..], [Event::Delete(gone), Event::Put(_)] if *gone == claim_of("h1")), "{events:?}");
    let (mut ledger, _) = ledger_of(&[("ADDED", Resource::Affinities, CLAIM)]);
    let place = Place { resource: Resource::Affinities, namespace: None, name: "x".into() };
    assert_eq!(ledger.gone(&place), [Event::Delete(claim_of("h1"))]);
    assert_eq!(ledger.gone(&place), []);
}

#[test]
fn the_blocks_of_a_node_go_with_it_or_with_its_pod_cidrs() {
    let node = |cidrs: &str| format!(r#"{{"metadata":{{"name":"n"}},"spec":{{"podCIDRs":[{cidrs}]}}}}"#);
    let (one, none) = (node(r#""10.244.0.0/24""#), node(""));
    let events = last(&[("ADDED", Resource::Nodes, &one), ("MODIFIED", Resource::Nodes, &none)]);
    assert!(
        matches!(
            &events[..],
            [Event::Delete(ObjectId::Affinity(..)), Event::Delete(ObjectId::Block(_)), Event::Put(_)]
        ),
        "{events:?}"
    );
    let events = last(&[("ADDED", Resource::Nodes, &one), ("DELETED", Resource::Nodes, &one)]);
    assert_eq!(events.len(), 3, "{events:?}");
    // A Node that cannot be read keeps its blocks.
    let broken = r#"{"metadata":{"name":"n"},"spec":{"podCIDRs":["x"]}}"#;
    let events = last(&[("ADDED", Resource::Nodes, &one), ("MODIFIED", Resource::Nodes, broken)]);
    assert!(matches!(&events[..], [Event::Unreadable { id: ObjectId::Node(_), .. }]), "{events:?}");
    let events = last(&[
        ("ADDED", Resource::Nodes, &one),
        ("MODIFIED", Resource::Nodes, broken),
        ("DELETED", Resource::Nodes, broken),
    ]);
    assert_eq!(events.len(), 3, "{events:?}");
}

#[test]
fn what_a_list_does_not_name_is_told() {
    let mut ledger = Ledger::default();
    let place = |name: &str| Place { resource: Resource::Pools, namespace: None, name: name.into() };
    let put = |ledger: &mut Ledger, name: &str, version| {
        let item = format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{{"cidr":"10.0.0.0/16"}}}}"#);
        let pool = Decoder::new(ApiGroup::Crd).decode(Resource::Pools, item.as_bytes());
        ledger.put(pool, Reading { version, round: 1 })
    };
    // In whatever order they come.
    for (name, version) in [("b", 2), ("d", 4), ("a", 1), ("c", 3)] {
        assert!(matches!(&put(&mut ledger, name, version)[..], [Event::Put(_)]));
    }
    for (name, version, known) in [("a", 1, true), ("c", 3, true), ("d", 5, false), ("e", 6, false)] {
        assert_eq!(ledger.see(name, Reading { version, round: 2 }), known, "{name}");
    }
    assert_eq!(ledger.unseen(2), ["b".into()]);
    assert_eq!(ledger.gone(&place("b")), [Event::Delete(ObjectId::Pool("b".into()))]);
    assert_eq!(ledger.gone(&place("b")), [], "once");
    assert_eq!(["a", "b", "c", "d"].map(|name| ledger.version(&place(name))), [Some(1), None, Some(3), Some(4)]);
}
