//! Recordings of one cluster in both forms, and values good and bad.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;
use crate::model::{Family, NodeAddress, NodeAddressType, SequenceDefect};
use crate::source::file;
use crate::state::Kind;

fn folder(group: ApiGroup) -> PathBuf {
    let name = match group {
        ApiGroup::Crd => "kubernetes-v1",
        ApiGroup::Native => "kubernetes-v3",
    };
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn recorded(group: ApiGroup, resource: Resource) -> Vec<Decoded> {
    let body = std::fs::read(folder(group).join(format!("{}.json", resource.plural(group)))).unwrap();
    let list: List<'_> = serde_json::from_slice(&body).unwrap();
    assert_eq!(list.kind, format!("{}List", resource.kind(group)));
    assert_eq!(list.api_version, resource.api_version(group));
    list.items.iter().map(|item| Decoder::new(group).decode(resource, item.get().as_bytes())).collect()
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    kind: &'a str,
    api_version: &'a str,
    #[serde(borrow)]
    items: Vec<&'a serde_json::value::RawValue>,
}

fn api(group: ApiGroup) -> BTreeMap<ObjectId, Object> {
    let mut objects = BTreeMap::new();
    for decoded in Resource::ALL.into_iter().flat_map(|resource| recorded(group, resource)) {
        assert!(!decoded.uid.is_empty() && decoded.version.parse::<u64>().is_ok());
        match decoded.says {
            Says::Objects(read) => objects.extend(read.into_iter().map(|object| (object.id(), object))),
            Says::Nothing => assert_eq!(decoded.place.resource, Resource::Pods),
            other => panic!("{}: {other:?}", decoded.place),
        }
    }
    objects
}

fn etcd(group: ApiGroup) -> BTreeMap<ObjectId, Object> {
    let dump = file::datastore(&folder(group).join("etcd.json")).unwrap();
    let put = |event| if let Event::Put(object) = event { Some((object.id(), *object)) } else { None };
    dump.events.into_iter().filter_map(put).collect()
}

/// What the fixtures' README says may differ, taken out: moments, `clusterType`, addresses that only Nodes have.
fn comparable(mut object: Object) -> Object {
    match &mut object {
        Object::Block(block) => {
            block.claimed_at = block.claimed_at.map(|_| std::time::SystemTime::UNIX_EPOCH);
            for attribute in std::sync::Arc::make_mut(&mut block.attributes) {
                attribute.released_at = attribute.released_at.map(|_| std::time::SystemTime::UNIX_EPOCH);
            }
        }
        // All of them are `spec.bgp`'s again, or `InternalIP`s, or names.
        Object::Node(_, node) => {
            let bgp: Vec<_> = Family::ALL.iter().filter_map(|family| node.bgp_address(*family)).collect();
            let told = |it: &NodeAddress| match it.kind {
                NodeAddressType::Other => bgp.contains(&it.address),
                kind => kind == NodeAddressType::Internal && bgp.iter().any(|net| net.addr() == it.address.addr()),
            };
            node.addresses = std::mem::take(&mut node.addresses).into_iter().filter(|it| !told(it)).collect();
        }
        Object::Felix(_, felix) => felix.created = felix.created.map(|_| 0),
        Object::Cluster(cluster) => cluster.cluster_type = cluster.cluster_type.replace(",kdd", ""),
        _ => {}
    }
    object
}

#[test]
fn one_cluster_is_the_same_in_both_datastores() {
    for group in ApiGroup::ALL {
        let (api, etcd) = (api(group), etcd(group));
        let count = |of: &BTreeMap<ObjectId, Object>, kind| of.keys().filter(|id| id.kind() == kind).count();
        for (kind, number) in [
            (Kind::Block, 19),
            (Kind::Affinity, 18),
            (Kind::Handle, 50),
            (Kind::IpamConfig, 1),
            (Kind::Pool, 7),
            (Kind::Reservation, 1),
            (Kind::Node, 4),
            (Kind::Endpoint, 36),
            (Kind::Felix, 2),
            (Kind::BgpConfiguration, 1),
            (Kind::Cluster, 1),
        ] {
            assert_eq!(count(&etcd, kind), number, "{kind}");
        }
        for (id, object) in &etcd {
            let found = api.get(id).unwrap_or_else(|| panic!("{id:?}"));
            assert_eq!(comparable(found.clone()), comparable(object.clone()));
        }
        // Pods that lost their address are endpoints without one.
        let more: Vec<&Object> =
            api.iter().filter(|(id, _)| !etcd.contains_key(id)).map(|(_, object)| object).collect();
        assert_eq!(more.len(), 3);
        for object in more {
            let Object::Endpoint(endpoint) = object else { panic!("{object:?}") };
            assert!(endpoint.addresses.is_empty());
            assert!(["report-x7k2p", "evicted-1", "closing-2"].contains(&&*endpoint.pod), "{endpoint:?}");
        }
    }
}

#[test]
fn sequence_numbers_above_what_a_float_holds_are_exact() {
    let item = br#"{"metadata":{"name":"10-0-0-0-31"},"spec":{"cidr":"10.0.0.0/31","allocations":[0,null],"unallocated":[1],"attributes":[{}],"sequenceNumber":1795499653894295326,"sequenceNumberForAllocation":{"0":1795499653894295326},"strictAffinity":true}}"#;
    let Says::Objects(objects) = Decoder::new(ApiGroup::Crd).decode(Resource::Blocks, item).says else { panic!() };
    let [Object::Block(block)] = &objects[..] else { panic!() };
    let number = 1_795_499_653_894_295_326;
    assert_eq!(*block.sequence_defects, [SequenceDefect::NotBelow { ordinal: 0, number }]);
    assert_eq!(block.owner, None);
}

mod any;
mod follow;
mod ipam;
mod node;
mod pod;

/// What an object says that is read in this group.
fn says(group: ApiGroup, resource: Resource, item: &str) -> Says {
    Decoder::new(group).decode(resource, item.as_bytes()).says
}

/// The one object that it is.
fn one(resource: Resource, item: &str) -> Object {
    match says(ApiGroup::Crd, resource, item) {
        Says::Objects(mut objects) if objects.len() == 1 => objects.remove(0),
        other => panic!("{item}: {other:?}"),
    }
}

/// Which object cannot be read, its key, and why.
fn bad(resource: Resource, item: &str) -> (ObjectId, String, String) {
    match says(ApiGroup::Crd, resource, item) {
        Says::Unreadable { id, key, why: Unreadable::Undecodable(why) } => (id, key.to_string(), why),
        other => panic!("{item}: {other:?}"),
    }
}
