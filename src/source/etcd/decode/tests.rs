//! Values of every kind, good and bad, through [`event`].

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::source::file;
use crate::state::{Kind, Object};

const BLOCK: &str = "/calico/ipam/v2/assignment/ipv4/block/10.0.0.0-30";
const AFFINITY: &str = "/calico/ipam/v2/host/h1/ipv4/block/10.0.0.0-30";
const HANDLE: &str = "/calico/ipam/v2/handle/a.b";
const CONFIG: &str = "/calico/ipam/v2/config";
const POOL: &str = "/calico/resources/v3/projectcalico.org/ippools/p";
const RESERVATION: &str = "/calico/resources/v3/projectcalico.org/ipreservations/r";
const NODE: &str = "/calico/resources/v3/projectcalico.org/nodes/n";
const ENDPOINT: &str = "/calico/resources/v3/projectcalico.org/workloadendpoints/default/e";
const FELIX: &str = "/calico/resources/v3/projectcalico.org/felixconfigurations/default";
const BGP: &str = "/calico/resources/v3/projectcalico.org/bgpconfigurations/default";
const PEER: &str = "/calico/resources/v3/projectcalico.org/bgppeers/p";
const CLUSTER: &str = "/calico/resources/v3/projectcalico.org/clusterinformations/default";
const KEYS: [&str; 12] =
    [BLOCK, AFFINITY, HANDLE, CONFIG, POOL, RESERVATION, NODE, ENDPOINT, FELIX, BGP, PEER, CLUSTER];

/// The object that a value is read as.
pub(super) fn object(key: &str, value: &str) -> Object {
    match event(key.as_bytes(), value.as_bytes()) {
        Some(Event::Put(object)) => *object,
        other => panic!("{key} {value}: {other:?}"),
    }
}

/// Why a value cannot be read.
pub(super) fn undecodable(key: &str, value: impl AsRef<[u8]>) -> String {
    match event(key.as_bytes(), value.as_ref()) {
        Some(Event::Unreadable { why: Unreadable::Undecodable(why), .. }) => why,
        other => panic!("{key} {}: {other:?}", String::from_utf8_lossy(value.as_ref())),
    }
}

#[test]
fn bad_values_are_told_apart_from_good_ones_and_say_what_is_wrong() {
    for (key, value, why) in [
        (BLOCK, "", "the value is empty"),
        (HANDLE, "", "the value is empty"),
        (NODE, "", "the value is empty"),
        (BLOCK, "null", "invalid type: null, expected an object"),
        (HANDLE, "null", "invalid type: null, expected an object"),
        (POOL, "null", "invalid type: null, expected an object"),
        (BLOCK, "[]", "invalid type: sequence, expected an object"),
        (AFFINITY, "7", "invalid type: integer `7`, expected an object"),
        (AFFINITY, " ", "EOF while parsing a value at byte 1"),
        (BLOCK, "{}", "cidr: missing"),
        (BLOCK, r#"{"cidr":null}"#, "cidr: missing"),
        (BLOCK, r#"{"cidr":"10.0.0.0/30"} x"#, "trailing characters at byte 24"),
        (BLOCK, r#"{"cidr":"10.0.0.0/30","allocations":[0,"#, "allocations[1]: EOF while parsing a value at byte 39"),
        (
            BLOCK,
            r#"{"cidr":"10.0.0/30"}"#,
            r#"cidr: invalid value: string "10.0.0/30", expected a CIDR such as 10.0.0.0/26"#,
        ),
        (BLOCK, r#"{"cidr":30}"#, "cidr: invalid type: integer `30`, expected a CIDR such as 10.0.0.0/26"),
        (BLOCK, r#"{"affinity":{}}"#, "affinity: invalid type: map, expected a string"),
        (BLOCK, r#"{"allocations":{}}"#, "allocations: invalid type: map, expected a list of at most 65536 entries"),
        (BLOCK, r#"{"allocations":["0"]}"#, r#"allocations[0]: invalid type: string "0", expected i64"#),
        (BLOCK, r#"{"allocations":[0,1.5]}"#, "allocations[1]: invalid type: floating point `1.5`, expected i64"),
        (
            BLOCK,
            r#"{"allocations":[9223372036854775808]}"#,
            "allocations[0]: invalid value: integer `9223372036854775808`, expected i64",
        ),
        (BLOCK, r#"{"unallocated":[1e2]}"#, "unallocated[0]: invalid type: floating point `100.0`, expected i64"),
        (BLOCK, r#"{"sequenceNumber":-1}"#, "sequenceNumber: invalid value: integer `-1`, expected u64"),
        (BLOCK, r#"{"sequenceNumber":1.8e18}"#, "sequenceNumber: invalid type: floating point `1.8e+18`, expected u64"),
        (
            BLOCK,
            r#"{"sequenceNumber":18446744073709551616}"#,
            "sequenceNumber: invalid type: floating point `1.8446744073709552e+19`, expected u64",
        ),
        (
            BLOCK,
            r#"{"sequenceNumberForAllocation":{"0":-5}}"#,
            "sequenceNumberForAllocation.0: invalid value: integer `-5`, expected u64",
        ),
        (
            BLOCK,
            r#"{"attributes":[{"handle_id":5}]}"#,
            "attributes[0].handle_id: invalid type: integer `5`, expected a string",
        ),
        (
            BLOCK,
            r#"{"attributes":[{},{"secondary":{"note":true}}]}"#,
            "attributes[1].secondary.note: invalid type: boolean `true`, expected a string",
        ),
        (BLOCK, r#"{"deleted":"true"}"#, r#"deleted: invalid type: string "true", expected a boolean"#),
        (
            AFFINITY,
            "{\"state\":\"con\\u001bfirmed\"}",
            r#"state: invalid value: string "con\u{1b}firmed", expected confirmed, pending or pendingDeletion"#,
        ),
        (HANDLE, r#"{"block":{"10.0.0.0/99":1}}"#, r#"block: key "10.0.0.0/99", expected a CIDR such as 10.0.0.0/26"#),
        (HANDLE, r#"{"block":{"10.0.0.0/30":"1"}}"#, r#"block.10.0.0.0/30: invalid type: string "1", expected i64"#),
        (CONFIG, r#"{"maxBlocksPerHost":-1}"#, "maxBlocksPerHost: invalid value: integer `-1`, expected u32"),
        (CONFIG, r#"{"strict_affinity":"yes"}"#, r#"strict_affinity: invalid type: string "yes", expected a boolean"#),
        (
            RESERVATION,
            r#"{"spec":{"reservedCIDRs":"x"}}"#,
            r#"spec.reservedCIDRs: invalid type: string "x", expected a list of at most 65536 entries"#,
        ),
        (BGP, r#"{"spec":[]}"#, "spec: invalid type: sequence, expected an object"),
        (
            CLUSTER,
            r#"{"spec":{"datastoreReady":"no"}}"#,
            r#"spec.datastoreReady: invalid type: string "no", expected a boolean"#,
        ),
    ] {
        assert_eq!(undecodable(key, value), why, "{key} {value}");
    }
    assert!(undecodable(BLOCK, b"{\"affinity\":\"\xff\xfe\"}").starts_with("affinity: invalid unicode code point"));
    assert!(undecodable(NODE, b"\x00\x01\x02\xff").starts_with("expected value"));
}

#[test]
fn a_block_that_names_another_cidr_is_none() {
    let value = br#"{"cidr":"10.0.0.4/30","allocations":[null,null,null,null],"unallocated":[0,1,2,3]}"#;
    let Some(Event::Unreadable { id, key, why }) = event(BLOCK.as_bytes(), value) else { panic!() };
    assert_eq!(id, key::identify(BLOCK.as_bytes()).unwrap());
    assert_eq!((&*key, why), (BLOCK, Unreadable::CidrDiffers("10.0.0.4/30".parse().unwrap())));
}

#[test]
fn a_value_marked_deleted_is_a_deletion() {
    for key in [BLOCK, AFFINITY, HANDLE] {
        assert_eq!(event(key.as_bytes(), br#"{"deleted":true}"#), deletion(key.as_bytes()), "{key}");
    }
    assert_eq!(deletion(b"/calico/felix/v2/x"), None);
    assert_eq!(event(b"/calico/felix/v2/x", b"{}"), None);
}

#[test]
fn a_key_that_names_nothing_is_unreadable_whatever_it_holds() {
    let key = b"/calico/ipam/v2/assignment/ipv4/block/10.0.0.0-\x1b99";
    let Some(Event::Unreadable { id, key, why }) = event(key, b"{}") else { panic!() };
    assert!(matches!(id, ObjectId::Malformed(Kind::Block, _)));
    assert_eq!(&*key, r"/calico/ipam/v2/assignment/ipv4/block/10.0.0.0-\u{1b}99");
    assert_eq!(
        why,
        Unreadable::Undecodable(r#"key: "10.0.0.0-\u{1b}99" is not what the key of a block ends in"#.into())
    );
}

#[test]
fn hostile_values_are_cheap() {
    let mib = 1 << 20;
    let values = [
        "x".repeat(mib),
        "[".repeat(mib),
        "{\"a\":".repeat(mib / 5),
        format!("{{\"unknown\":{}", "[".repeat(mib)),
        format!("{{\"attributes\":[{}]}}", vec!["{}"; mib / 3].join(",")),
        format!("{{\"allocations\":[{}]}}", vec!["0"; mib / 2].join(",")),
        format!("{{\"cidr\":\"10.0.0.0/30\",\"unallocated\":[{}]}}", vec!["-9"; 65_536].join(",")),
        format!("{{\"cidr\":\"{}\"}}", "\\u0000".repeat(mib / 6)),
        format!("{{\"sequenceNumberForAllocation\":{{{}}}}}", vec!["\"x\":1"; mib / 6].join(",")),
        format!("{{\"metadata\":{{\"labels\":{{{}}}}}}}", vec!["\"\":\"\""; mib / 6].join(",")),
        format!("{{\"sequenceNumber\":{}}}", "9".repeat(mib)),
        format!("{}null", " ".repeat(mib)),
    ];
    let start = Instant::now();
    for key in KEYS {
        for value in &values {
            if let Some(Event::Unreadable { why: Unreadable::Undecodable(why), .. }) =
                event(key.as_bytes(), value.as_bytes())
            {
                assert!(why.chars().count() <= why::LENGTH && !why.chars().any(char::is_control), "{why}");
            }
        }
    }
    // 144 MiB; a debug build on a busy machine needs a few seconds.
    assert!(start.elapsed() < Duration::from_secs(120), "{:?}", start.elapsed());
    assert!(undecodable(BLOCK, &values[5]).ends_with("a list of more than 65536 entries"));
}

fn dumps(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { dumps(&path) } else { vec![path] })
        .filter(|it| it.ends_with("etcd.json"))
        .collect()
}

#[test]
fn everything_that_real_calico_wrote_is_readable() {
    let mut dumps = dumps(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures"));
    // Those were built by hand.
    dumps.retain(|path| !["cases", "flavours"].iter().any(|built| path.iter().any(|part| part == *built)));
    assert!(dumps.len() >= 10, "{dumps:?}");
    for path in dumps {
        let dump = file::datastore(&path).unwrap();
        let mut blocks = 0;
        for event in &dump.events {
            match event {
                Event::Unreadable { .. } | Event::Delete(_) => panic!("{}: {event:?}", path.display()),
                Event::Put(object) => {
                    let Object::Block(block) = &**object else { continue };
                    blocks += 1;
                    assert_eq!(block.allocations_len, block.size() as usize);
                    assert_eq!(block.allocated.len() + block.unallocated.len(), block.size());
                    assert!(block.out_of_range.is_empty() && block.duplicates.is_empty());
                    assert!(block.unreferenced.is_empty() && block.bad_indices.is_empty());
                    assert!(block.sequence_defects.is_empty(), "{block:?}");
                    assert!(block.attributes.iter().all(|it| it.handle.is_some() || it.released_at.is_some()));
                }
                _ => {}
            }
        }
        assert!(blocks > 0 && dump.newest.is_some(), "{}", path.display());
    }
}

#[test]
fn the_newest_moment_of_a_dump_is_known() {
    assert!(created(NODE.as_bytes(), br#"{"metadata":{"creationTimestamp":"2026-08-01T00:00:00Z"}}"#).is_some());
    assert_eq!(created(NODE.as_bytes(), br#"{"metadata":{}}"#), None);
    assert_eq!(created(BLOCK.as_bytes(), br#"{"metadata":{"creationTimestamp":"2026-08-01T00:00:00Z"}}"#), None);
}

/// One value for each of [`KEYS`] with everything that is read of it.
const VALUES: [&str; 12] = [
    r#"{"cidr":"10.0.0.0/30","affinity":"host:h1","affinity_claim_time":"2026-08-20T09:14:59Z","allocations":[0,null,1,null],"unallocated":[3,1],"attributes":[{"handle_id":"a.b","secondary":{"node":"h1","timestamp":"2026-08-20 09:15:02.1 +0000 UTC"}},{"releasedAt":"2026-08-22T10:11:12Z"}],"sequenceNumber":1787390000123456798,"sequenceNumberForAllocation":{"0":1787390000123456789},"deleted":false}"#,
    r#"{"state":"pendingDeletion","deleted":false}"#,
    r#"{"block":{"10.0.0.0/30":1},"deleted":false}"#,
    r#"{"strict_affinity":true,"maxBlocksPerHost":4}"#,
    r#"{"metadata":{},"spec":{"cidr":"10.0.0.0/16","blockSize":30,"ipipMode":"Always","allowedUses":["Tunnel"]},"status":{"conditions":[{"type":"Allocatable","status":"False"}]}}"#,
    r#"{"spec":{"reservedCIDRs":["10.0.0.0/31","10.0.0.9"]}}"#,
    r#"{"metadata":{"labels":{"a":"b"}},"spec":{"bgp":{"asNumber":"1.10","ipv4Address":"10.9.0.1/24"},"addresses":[{"address":"10.9.0.1","type":"InternalIP"}],"wireguard":{}},"status":{}}"#,
    r#"{"spec":{"node":"h1","pod":"p","ipNetworks":["10.0.0.1/32"],"ipNATs":[{"externalIP":"10.8.0.1"}]}}"#,
    r#"{"metadata":{"creationTimestamp":"2026-08-01T00:00:00Z"},"spec":{"deviceRouteProtocol":80,"floatingIPs":"Enabled"}}"#,
    r#"{"spec":{"nodeToNodeMeshEnabled":false,"asNumber":64512}}"#,
    r#"{"spec":{"peerIP":"[fd00::1]:179","nextHopMode":"Self","filters":["f"]}}"#,
    r#"{"spec":{"clusterType":"k8s,bgp","datastoreReady":true}}"#,
];

proptest! {
    #[test]
    fn any_bytes_are_classified(key in proptest::collection::vec(any::<u8>(), 0..80), value in proptest::collection::vec(any::<u8>(), 0..200), kind in 0usize..12) {
        event(&key, &value);
        prop_assert!(event(KEYS[kind].as_bytes(), &value).is_some());
        event(&[b"/calico/ipam/v2/", &key[..]].concat(), &value);
    }

    #[test]
    fn any_mutation_is_classified(kind in 0usize..12, value in 0usize..12, at in any::<proptest::sample::Index>(), to in any::<proptest::sample::Index>(), with in r#"(null|-1|0|9{1,25}|1\.5|""|"[a-z0-9:./-]{0,12}"|\[\]|\{\}|,|:|\}|\PC|[\x00-\x1f])"#) {
        let mut text = VALUES[value].to_owned();
        let boundary = |at: usize, text: &str| (at..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap();
        let (from, to) = (at.index(text.len()), to.index(text.len()));
        let (from, to) = (boundary(from.min(to), &text), boundary(from.max(to), &text));
        text.replace_range(from..to, &with);
        prop_assert!(event(KEYS[kind].as_bytes(), text.as_bytes()).is_some());
    }

    #[test]
    fn any_token_may_become_another(kind in 0usize..12, at in any::<proptest::sample::Index>(), with in r#"(null|-1|70000|9{1,25}|1\.5|""|"[a-z0-9:./-]{0,12}"|\[\]|\[null\]|\{\}|true)"#) {
        let text = VALUES[kind];
        let starts: Vec<usize> = text.match_indices([':', '[']).map(|(at, _)| at + 1).collect();
        let from = starts[at.index(starts.len())];
        let mut values = serde_json::Deserializer::from_str(&text[from..]).into_iter::<IgnoredAny>();
        let end = values.next().filter(Result::is_ok).map_or(from, |_| from + values.byte_offset());
        let text = format!("{}{with}{}", &text[..from], &text[end..]);
        prop_assert!(event(KEYS[kind].as_bytes(), text.as_bytes()).is_some(), "{text}");
    }
}

#[test]
fn the_samples_of_the_properties_are_good() {
    for (key, value) in KEYS.into_iter().zip(VALUES) {
        assert_eq!(object(key, value).id(), key::identify(key.as_bytes()).unwrap());
    }
}
