//! Dumps of both datastores, whole and broken.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::*;
use crate::source::kubernetes::ApiGroup;
use crate::state::ObjectId;

fn dump(text: &str) -> Result<Dump, FileError> {
    datastore_from(Path::new("dump.json"), text.as_bytes())
}

fn kvs(pairs: &[(&str, Option<&str>)]) -> String {
    let kvs: Vec<String> = pairs
        .iter()
        .map(|(key, value)| {
            let value = value.map(|value| format!(r#","value":"{}""#, BASE64_STANDARD.encode(value)));
            format!(r#"{{"key":"{}","version":1{}}}"#, BASE64_STANDARD.encode(key), value.unwrap_or_default())
        })
        .collect();
    format!(r#"{{"header":{{"revision":7}},"kvs":[{}],"count":{}}}"#, kvs.join(","), pairs.len())
}

#[test]
fn a_dump_is_a_complete_list() {
    let text = kvs(&[
        ("/calico/felix/v2/x", Some("{}")),
        ("/calico/ipam/v2/host/h1/ipv4/block/10.0.0.0-26", None),
        ("/calico/ipam/v2/config", None),
        ("/calico/ipam/v2/handle/gone", Some(r#"{"deleted":true}"#)),
    ]);
    let dump = dump(&text).unwrap();
    assert!(matches!(
        &dump.events[..],
        [
            Event::Resync(Side::Datastore),
            Event::Put(affinity),
            Event::Unreadable { id: ObjectId::IpamConfig, .. },
            Event::Delete(ObjectId::Handle(_)),
            Event::Synced(Side::Datastore),
        ] if matches!(&**affinity, Object::Affinity(_))
    ));
    assert_eq!(dump.newest, None);
}

#[test]
fn an_empty_datastore_has_a_header_alone() {
    for text in [r#"{"header":{"cluster_id":1}}"#, r#"{"header":{},"kvs":null}"#, r#"{"kvs":[]}"#] {
        assert_eq!(dump(text).unwrap().events, [Event::Resync(Side::Datastore), Event::Synced(Side::Datastore)]);
    }
}

#[test]
fn the_newest_moment_is_the_latest_of_all_kinds() {
    let block = "/calico/ipam/v2/assignment/ipv4/block/10.0.0.0-30";
    let node = "/calico/resources/v3/projectcalico.org/nodes/n";
    let created = r#"{"metadata":{"creationTimestamp":"1970-01-01T00:00:05Z"}}"#;
    for (claimed, allocated, released, newest) in [(1, 2, 3, 5), (9, 2, 3, 9), (1, 8, 3, 8), (1, 2, 7, 7)] {
        let value = format!(
            r#"{{"cidr":"10.0.0.0/30","affinity_claim_time":"1970-01-01T00:00:0{claimed}Z","attributes":[{{"secondary":{{"timestamp":"1970-01-01 00:00:0{allocated} +0000 UTC"}}}},{{"releasedAt":"1970-01-01T00:00:0{released}Z"}}]}}"#
        );
        let dump = dump(&kvs(&[(block, Some(&value)), (node, Some(created))])).unwrap();
        assert_eq!(dump.newest, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(newest)));
    }
}

#[test]
fn what_is_no_dump_says_what_was_expected() {
    let base64 = BASE64_STANDARD.encode("/calico/ipam/v2/config");
    for (text, what) in [
        (String::new(), "EOF while parsing a value at line 1 column 0"),
        ("{}".to_owned(), "neither \"header\" nor \"kvs\" nor \"items\" in it"),
        (r#"{"secrets":[]}"#.to_owned(), "neither \"header\" nor \"kvs\" nor \"items\" in it"),
        ("/calico/ipam/v2/config\n{}".to_owned(), "expected value at line 1 column 1"),
        ("[]".to_owned(), "invalid type: sequence, expected an object with \"kvs\" or \"items\" at line 1 column 1"),
        (r#"{"kvs":[{"key":"?"}]}"#.to_owned(), "\"?\" is no base64: Invalid symbol 63, offset 0. at line 1 column 18"),
        (r#"{"kvs":[{"value":""}]}"#.to_owned(), "missing field `key` at line 1 column 20"),
        (r#"{"kvs":{}}"#.to_owned(), "invalid type: map, expected a list of keys and values at line 1 column 9"),
        (format!(r#"{{"kvs":[{{"key":"{base64}""#), "EOF while parsing an object at line 1 column 49"),
        (kvs(&[]) + "{}", "trailing characters at line 1 column 45"),
        (
            r#"{"header":{},"kvs":[],"more":true}"#.to_owned(),
            "it was cut (\"more\": true), so that what is missing would look deleted",
        ),
    ] {
        let error = dump(&text).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "dump.json: {what}; expected the output of `etcdctl get --prefix /calico -w json` or `kubectl get … -A -o json`"
            )
        );
    }
    let error = datastore(Path::new("/nowhere/etcd.json")).unwrap_err().to_string();
    assert!(error.starts_with("/nowhere/etcd.json: No such file"), "{error}");
}

/// An API object with a name and a spec.
fn object(api_version: &str, kind: &str, name: &str, spec: &str) -> String {
    format!(
        r#"{{"apiVersion":"{api_version}","kind":"{kind}","metadata":{{"name":"{name}","creationTimestamp":"1970-01-01T00:00:05Z"}},"spec":{{{spec}}}}}"#
    )
}

fn list(kind: &str, items: &[String]) -> String {
    format!(
        r#"{{"apiVersion":"v1","items":[{}],"kind":"{kind}","metadata":{{"resourceVersion":""}}}}"#,
        items.join(",")
    )
}

const CRD: &str = "crd.projectcalico.org/v1";
const V3: &str = "projectcalico.org/v3";

fn files(texts: &[String], convention: &Convention) -> Result<Dump, FileError> {
    let mut reading = Reading::new(convention);
    for (index, text) in texts.iter().enumerate() {
        reading.read(Path::new(&format!("{index}.json")), text.as_bytes())?;
    }
    reading.finish()
}

/// The names of what was read.
fn names(dump: &Dump) -> Vec<String> {
    let name = |event: &Event| match event {
        Event::Put(object) => match object.id() {
            ObjectId::Pool(name) | ObjectId::Node(name) | ObjectId::Felix(name) => Some(name.to_string()),
            ObjectId::Block(cidr) => Some(cidr.to_string()),
            other => panic!("{other:?}"),
        },
        Event::Resync(_) | Event::Synced(_) => None,
        other => panic!("{other:?}"),
    };
    dump.events.iter().filter_map(name).collect()
}

#[test]
fn a_list_of_anything_holds_what_is_read_of_it() {
    let items = [
        object("v1", "Secret", "s", ""),
        object(CRD, "IPPool", "p", r#""cidr":"10.0.0.0/16""#),
        object("v1", "Node", "n", ""),
        object("policy/v1", "IPPool", "q", ""),
    ];
    let dump = dump(&list("List", &items)).unwrap();
    assert_eq!(names(&dump), ["p", "n"]);
    assert_eq!(dump.kinds, [Kind::Pool, Kind::Node].into());
    assert_eq!(dump.newest, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(5)));
    assert!(matches!((&dump.events[0], dump.events.last()), (Event::Resync(_), Some(Event::Synced(_)))));
}

#[test]
fn items_without_a_kind_are_what_the_list_says_before_or_after_them() {
    for text in [
        r#"{"kind":"NodeList","apiVersion":"v1","items":[{"metadata":{"name":"n"}}]}"#,
        r#"{"apiVersion":"v1","items":[{"metadata":{"name":"n"}}],"kind":"NodeList"}"#,
    ] {
        assert_eq!(names(&dump(text).unwrap()), ["n"], "{text}");
    }
    let error = dump(r#"{"items":[{"metadata":{"name":"n"}}],"kind":"List"}"#).unwrap_err().to_string();
    assert!(
        error.starts_with("dump.json: neither its items nor its kind \"List\" say what they are; expected"),
        "{error}"
    );
    // An item that is none is counted.
    let dump = dump(r#"{"kind":"NodeList","apiVersion":"v1","items":[7]}"#).unwrap();
    assert!(matches!(&dump.events[1], Event::Unreadable { id: ObjectId::Malformed(Kind::Node, _), .. }));
}

#[test]
fn an_empty_list_says_that_there_is_nothing_of_its_kind_and_no_list_says_nothing() {
    let empty = r#"{"kind":"BGPPeerList","apiVersion":"projectcalico.org/v3","items":[]}"#;
    assert_eq!(dump(empty).unwrap().kinds, [Kind::BgpPeer].into());
    assert_eq!(dump(&list("List", &[])).unwrap().kinds, [].into());
    assert_eq!(dump(r#"{"header":{}}"#).unwrap().kinds, Kind::ALL.into());
}

#[test]
fn a_single_object_is_read_too() {
    let pool = object(CRD, "IPPool", "p", r#""cidr":"10.0.0.0/16""#);
    assert_eq!(names(&dump(&pool).unwrap()), ["p"]);
    let node = r#"{"status":{"addresses":[{"type":"InternalIP","address":"x"}]},"kind":"Node","apiVersion":"v1","metadata":{"name":"n"}}"#;
    assert!(matches!(&dump(node).unwrap().events[1], Event::Unreadable { id: ObjectId::Node(_), .. }));
}

#[test]
fn files_of_the_kubernetes_api_that_are_no_whole_list_say_so() {
    for (text, what) in [
        (
            r#"{"kind":"NodeList","apiVersion":"v1","metadata":{"continue":"abc"},"items":[]}"#,
            "it was cut (\"continue\" is set), so that what is missing would look deleted",
        ),
        (r#"{"kind":"Status","status":"Failure","message":"forbidden"}"#, "the API server refused: forbidden"),
        (
            r#"{"kind":"APIGroupList","groups":[]}"#,
            "an object of kind \"APIGroupList\", which is not read, and no list",
        ),
        (r#"{"kind":"NodeList","items":{}}"#, "invalid type: map, expected a list of API objects at line 1 column 29"),
        (r#"{"kind":"NodeList","apiVersion":"v1","items":[{},"#, "EOF while parsing a value at line 1 column 49"),
        (r#"{"kvs":[],"items":[]}"#, "both \"kvs\" and \"items\" in it"),
    ] {
        let error = dump(text).unwrap_err().to_string();
        assert!(error.starts_with(&format!("dump.json: {what}; expected the output of ")), "{error}");
    }
    let two = files(&[kvs(&[]), list("List", &[])], &Convention::default()).unwrap_err().to_string();
    assert_eq!(two, "0.json is of etcd and 1.json of the Kubernetes API: give the files of one datastore");
}

#[test]
fn the_group_in_use_is_that_which_has_blocks_and_is_not_locked() {
    let block = |group: &str, cidr: &str| {
        object(group, "IPAMBlock", &cidr.replace(['.', '/'], "-"), &format!(r#""cidr":"{cidr}""#))
    };
    let ready = |group: &str, ready: bool| {
        object(group, "ClusterInformation", "default", &format!(r#""datastoreReady":{ready}"#))
    };
    let pool = |group: &str, name: &str| object(group, "IPPool", name, r#""cidr":"10.0.0.0/16""#);
    let read = |items: &[String], convention: &Convention| {
        let blocks = |dump: Dump| {
            let events = dump
                .events
                .into_iter()
                .filter(|event| !matches!(event, Event::Put(object) if matches!(**object, Object::Cluster(_))));
            names(&Dump { events: events.collect(), ..dump })
        };
        files(&[list("List", items)], convention).map(blocks).map_err(|error| error.to_string())
    };
    let (old, new) = (block(CRD, "10.0.0.0/26"), block(V3, "10.0.0.64/26"));
    let plain = Convention::default();
    // One of them; beside the classic group Calico's own server has the other's kinds, but for blocks.
    assert_eq!(read(&[old.clone(), pool(V3, "p")], &plain).unwrap(), ["10.0.0.0/26", "p"]);
    assert_eq!(read(&[old.clone(), pool(V3, "p"), pool(CRD, "p")], &plain).unwrap(), ["10.0.0.0/26", "p"]);
    assert_eq!(read(&[new.clone(), pool(CRD, "p")], &plain).unwrap(), ["10.0.0.64/26"]);
    // After a migration.
    let both = [old.clone(), new.clone(), pool(CRD, "old"), pool(V3, "new")];
    let with = |more: &[String]| read(&[&both[..], more].concat(), &plain);
    assert_eq!(with(&[ready(CRD, false), ready(V3, true)]).unwrap(), ["10.0.0.64/26", "new"]);
    assert_eq!(with(&[ready(CRD, true), ready(V3, false)]).unwrap(), ["10.0.0.0/26", "old"]);
    assert_eq!(with(&[ready(V3, true)]).unwrap(), ["10.0.0.64/26", "new"]);
    for undecided in [&[][..], &[ready(CRD, true), ready(V3, true)], &[ready(CRD, false), ready(V3, false)]] {
        let error = with(undecided).unwrap_err();
        assert!(error.contains("--kubernetes.api-group"), "{error}");
    }
    for (group, name) in [(ApiGroup::Crd, "old"), (ApiGroup::Native, "new")] {
        let told = Convention { group: Some(group), ..Convention::default() };
        assert_eq!(read(&both, &told).unwrap()[1], name);
    }
    // Host-local IPAM has none.
    let told = Convention { use_pod_cidr: true, ..Convention::default() };
    assert_eq!(read(&[pool(CRD, "p")], &told).unwrap(), ["p"]);
    assert_eq!(read(&[pool(V3, "p")], &told).unwrap(), ["p"]);
}
