//! Whatever is stored: it is read, or counted as unreadable. It is never taken for a deletion.

use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::*;

/// An object of each resource with everything that is read of it.
const ITEMS: [(Resource, &str); 12] = [
    (
        Resource::Blocks,
        r#"{"metadata":{"name":"10-0-0-0-30","uid":"u","resourceVersion":"7","annotations":{"projectcalico.org/metadata":"{}"}},"spec":{"cidr":"10.0.0.0/30","affinity":"host:h1","affinityClaimTime":"2026-08-20T09:14:59Z","allocations":[0,null,1,null],"unallocated":[3,1],"attributes":[{"handle_id":"a.b","secondary":{"node":"h1"}},{"releasedAt":"2026-08-22T10:11:12Z"}],"sequenceNumber":1787390000123456798,"sequenceNumberForAllocation":{"0":1787390000123456789},"deleted":false,"strictAffinity":false}}"#,
    ),
    (
        Resource::Affinities,
        r#"{"metadata":{"name":"h1-10-0-0-0-30"},"spec":{"cidr":"10.0.0.0/30","node":"h1","state":"pending","type":"host","deleted":"false"}}"#,
    ),
    (
        Resource::Handles,
        r#"{"metadata":{"name":"a.b"},"spec":{"handleID":"a.B","block":{"10.0.0.0/30":1},"deleted":false}}"#,
    ),
    (Resource::IpamConfigs, r#"{"metadata":{"name":"default"},"spec":{"strictAffinity":true,"maxBlocksPerHost":4}}"#),
    (
        Resource::Pools,
        r#"{"metadata":{"name":"p"},"spec":{"cidr":"10.0.0.0/16","blockSize":30,"ipipMode":"Always"},"status":{"conditions":[{"type":"Allocatable","status":"False"}]}}"#,
    ),
    (Resource::Reservations, r#"{"metadata":{"name":"r"},"spec":{"reservedCIDRs":["10.0.0.0/31"]}}"#),
    (Resource::FelixConfigurations, r#"{"metadata":{"name":"default"},"spec":{"deviceRouteProtocol":80}}"#),
    (Resource::BgpConfigurations, r#"{"metadata":{"name":"default"},"spec":{"asNumber":64512}}"#),
    (Resource::BgpPeers, r#"{"metadata":{"name":"p"},"spec":{"peerIP":"[fd00::1]:179","filters":["f"]}}"#),
    (
        Resource::ClusterInformations,
        r#"{"metadata":{"name":"default"},"spec":{"clusterType":"k8s,kdd","datastoreReady":true}}"#,
    ),
    (
        Resource::Nodes,
        r#"{"metadata":{"name":"n","labels":{"a":"b"},"annotations":{"projectcalico.org/IPv4Address":"10.9.0.1/24","projectcalico.org/labels":"{\"c\":\"d\"}"}},"spec":{"podCIDR":"10.1.0.0/24","podCIDRs":["10.1.0.0/24"]},"status":{"addresses":[{"type":"InternalIP","address":"10.9.0.1"}]}}"#,
    ),
    (
        Resource::Pods,
        r#"{"metadata":{"name":"p","namespace":"d","deletionTimestamp":null,"annotations":{"cni.projectcalico.org/floatingIPs":"[\"10.8.0.1\"]"}},"spec":{"nodeName":"n","hostNetwork":false},"status":{"phase":"Running","podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"}]}}"#,
    ),
];

fn decoders() -> impl Iterator<Item = Decoder> {
    ApiGroup::ALL
        .into_iter()
        .flat_map(|group| [false, true].map(|use_pod_cidr| Decoder { use_pod_cidr, ..Decoder::new(group) }))
}

/// Reads it in every way; a deletion is only what says so itself.
fn read(resource: Resource, item: &[u8]) {
    let value: serde_json::Value = serde_json::from_slice(item).unwrap_or_default();
    let deleted = &value["spec"]["deleted"];
    let said = *deleted == true || ["1", "t", "T", "true", "TRUE", "True"].iter().any(|text| *deleted == **text);
    for decoder in decoders() {
        let decoded = decoder.decode(resource, item);
        assert_eq!(decoded.place.resource, resource);
        match &decoded.says {
            Says::Deleted(id) => assert!(said && id.kind() == resource.model(), "{id:?}"),
            Says::Unreadable { id, key, why } => {
                assert_eq!(id.kind(), resource.model());
                assert!(key.starts_with(resource.plural(decoder.group)) && !key.chars().any(char::is_control));
                if let Unreadable::Undecodable(why) = why {
                    assert!(why.chars().count() <= why::LENGTH && !why.chars().any(char::is_control), "{why}");
                }
            }
            Says::Objects(objects) => assert!(!objects.is_empty()),
            Says::Nothing => {}
        }
        let mut ledger = Ledger::default();
        let gone =
            ledger.put(decoded, Reading::default()).iter().filter(|event| matches!(event, Event::Delete(_))).count();
        // A Pod that is none of Calico's, or what says that it is deleted.
        let nothing = matches!(decoder.decode(resource, item).says, Says::Nothing | Says::Deleted(_));
        assert!(gone == 0 || nothing);
    }
}

#[test]
fn the_samples_of_the_properties_are_good() {
    for (resource, item) in ITEMS {
        for decoder in decoders() {
            let says = decoder.decode(resource, item.as_bytes()).says;
            assert!(matches!(says, Says::Objects(_)), "{says:?}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_classified(item in proptest::collection::vec(any::<u8>(), 0..200), kind in 0usize..12) {
        read(ITEMS[kind].0, &item);
    }

    #[test]
    fn any_object_read_as_any_other_is_classified(kind in 0usize..12, other in 0usize..12) {
        read(ITEMS[kind].0, ITEMS[other].1.as_bytes());
    }

    #[test]
    fn any_mutation_is_classified(kind in 0usize..12, at in any::<proptest::sample::Index>(), to in any::<proptest::sample::Index>(), with in r#"(null|-1|0|9{1,25}|1\.5|""|"[a-z0-9:./-]{0,12}"|\[\]|\{\}|,|:|\}|\PC|[\x00-\x1f])"#) {
        let (resource, item) = ITEMS[kind];
        let mut text = item.to_owned();
        let boundary = |at: usize, text: &str| (at..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap();
        let (from, to) = (at.index(text.len()), to.index(text.len()));
        let (from, to) = (boundary(from.min(to), &text), boundary(from.max(to), &text));
        text.replace_range(from..to, &with);
        read(resource, text.as_bytes());
    }

    #[test]
    fn any_token_may_become_another(kind in 0usize..12, at in any::<proptest::sample::Index>(), with in r#"(null|-1|70000|9{1,25}|1\.5|""|"[a-z0-9:./-]{0,12}"|\[\]|\[null\]|\{\}|true|"true")"#) {
        let (resource, text) = ITEMS[kind];
        let starts: Vec<usize> = text.match_indices([':', '[']).map(|(at, _)| at + 1).collect();
        let from = starts[at.index(starts.len())];
        let mut values = serde_json::Deserializer::from_str(&text[from..]).into_iter::<IgnoredAny>();
        let end = values.next().filter(Result::is_ok).map_or(from, |_| from + values.byte_offset());
        read(resource, format!("{}{with}{}", &text[..from], &text[end..]).as_bytes());
    }
}

#[test]
fn hostile_objects_are_cheap() {
    let mib = 1 << 20;
    let values = [
        "[".repeat(mib),
        format!("{{\"metadata\":{{\"name\":\"x\",\"unknown\":{}", "[".repeat(mib)),
        format!("{{\"metadata\":{{\"name\":\"{}\"}}}}", "x\\u0000".repeat(mib / 7)),
        format!(
            "{{\"metadata\":{{\"name\":\"10-0-0-0-30\"}},\"spec\":{{\"attributes\":[{}]}}}}",
            vec!["{}"; mib / 3].join(",")
        ),
        format!("{{\"metadata\":{{\"annotations\":{{{}}}}}}}", vec!["\"\":\"\""; mib / 6].join(",")),
        format!("{{\"spec\":{{\"nodeName\":\"n\"}},\"status\":{{\"podIPs\":[{}]}}}}", vec!["{}"; mib / 3].join(",")),
    ];
    for (resource, _) in ITEMS {
        for value in &values {
            let decoded = Decoder::new(ApiGroup::Crd).decode(resource, value.as_bytes());
            assert!(!matches!(decoded.says, Says::Deleted(_)));
            assert!(decoded.place.key(ApiGroup::Crd).chars().count() <= 512);
        }
    }
}
