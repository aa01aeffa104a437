//! Blocks, affinities, handles, configurations.

use super::*;
use crate::model::{AffinityState, BlockAffinity, BlockOwner};

fn affinity(spec: &str) -> String {
    format!(r#"{{"metadata":{{"name":"h1-10-0-0-0-26"}},"spec":{{{spec}}}}}"#)
}

const CLAIM: &str = r#""state":"pending","node":"a-10-9-9-0-26","cidr":"10.0.0.0/26""#;

#[test]
fn an_affinity_is_what_its_spec_says() {
    let cidr = "10.0.0.0/26".parse().unwrap();
    let host = BlockOwner::Host("a-10-9-9-0-26".into());
    for (more, owner, state) in [
        ("", host.clone(), AffinityState::Pending),
        (r#","type":"host","state":null"#, host.clone(), AffinityState::Confirmed),
        (r#","type":"","state":"","more":[{}]"#, host, AffinityState::Confirmed),
        (
            r#","type":"virtual","node":"load-balancer""#,
            BlockOwner::Virtual("load-balancer".into()),
            AffinityState::Pending,
        ),
    ] {
        let found = one(Resource::Affinities, &affinity(&format!("{CLAIM}{more}")));
        assert_eq!(found, Object::Affinity(BlockAffinity { owner, cidr, state }), "{more}");
    }
}

#[test]
fn deleted_is_text_that_go_reads_or_a_boolean() {
    let said =
        |written: &str, group| says(group, Resource::Affinities, &affinity(&format!(r#"{CLAIM},"deleted":{written}"#)));
    for group in ApiGroup::ALL {
        for gone in [r#""true""#, r#""1""#, r#""t""#, r#""T""#, r#""TRUE""#, r#""True""#, "true"] {
            let id = ObjectId::Affinity(BlockOwner::Host("a-10-9-9-0-26".into()), "10.0.0.0/26".parse().unwrap());
            assert_eq!(said(gone, group), Says::Deleted(id), "{gone}");
        }
        for there in [r#""false""#, r#""""#, r#""0""#, r#""f""#, r#""F""#, r#""FALSE""#, r#""False""#, "false", "null"]
        {
            assert!(matches!(said(there, group), Says::Objects(_)), "{there}");
        }
        for other in [r#""yes""#, r#""tRUE""#, r#"" true""#, "1", "[]", "{}"] {
            assert!(matches!(said(other, group), Says::Unreadable { id: ObjectId::Affinity(..), .. }), "{other}");
        }
    }
}

#[test]
fn a_block_is_named_by_its_cidr() {
    let item = |name: &str, cidr: &str| {
        format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{{"cidr":"{cidr}","deleted":false}}}}"#)
    };
    let Object::Block(block) = one(Resource::Blocks, &item("10-0-0-0-30", "10.0.0.0/30")) else { panic!() };
    assert_eq!((block.cidr, block.owner), ("10.0.0.0/30".parse().unwrap(), None));
    // Two objects never say the same block, and none hides behind another's name.
    let differs = says(ApiGroup::Crd, Resource::Blocks, &item("10-0-0-0-30", "10.0.0.4/30"));
    let key = ObjectId::Block("10.0.0.0/30".parse().unwrap());
    let why = Unreadable::CidrDiffers("10.0.0.4/30".parse().unwrap());
    assert_eq!(differs, Says::Unreadable { id: key.clone(), key: "ipamblocks/10-0-0-0-30".into(), why });
    let (id, key_of, why) = bad(Resource::Blocks, &item("mine", "10.0.0.0/30"));
    assert_eq!(id, ObjectId::Malformed(Kind::Block, "ipamblocks/mine".into()));
    assert_eq!((&*key_of, &*why), ("ipamblocks/mine", "spec.cidr: 10.0.0.0/30, whose object is called 10-0-0-0-30"));
    let gone = item("10-0-0-0-30", "10.0.0.0/30").replace("false", "true");
    assert_eq!(says(ApiGroup::Crd, Resource::Blocks, &gone), Says::Deleted(key.clone()));
    // What cannot be read keeps its addresses in the dark.
    for spec in ["7", "null", "{}", r#"{"cidr":"x"}"#, r#"{"cidr":"10.0.0.0/30","allocations":"x"}"#] {
        let (id, ..) = bad(Resource::Blocks, &format!(r#"{{"metadata":{{"name":"10-0-0-0-30"}},"spec":{spec}}}"#));
        assert_eq!(id, key, "{spec}");
    }
}

#[test]
fn a_handle_has_the_id_that_its_spec_says() {
    let item = |spec: &str| format!(r#"{{"metadata":{{"name":"lb-tqpcyy"}},"spec":{{{spec}}}}}"#);
    let Object::Handle(handle) =
        one(Resource::Handles, &item(r#""handleID":"lb-tQPCyy\rx","block":{"10.0.0.0/30":2}"#))
    else {
        panic!()
    };
    assert_eq!((&*handle.id, handle.blocks), ("lb-tQPCyy", vec![("10.0.0.0/30".parse().unwrap(), 2)]));
    let gone = says(ApiGroup::Native, Resource::Handles, &item(r#""handleID":"lb-tQPCyy","deleted":true"#));
    assert_eq!(gone, Says::Deleted(ObjectId::Handle("lb-tQPCyy".into())));
    for (spec, id, why) in [
        (r#""handleID":"lb-tQPCyy","block":{"x":1}"#, "lb-tQPCyy", "block: key \"x\""),
        (r#""block":{}"#, "lb-tqpcyy", "spec.handleID: missing"),
        (r#""handleID":"\rx""#, "lb-tqpcyy", "spec.handleID: missing"),
        (r#""handleID":7"#, "lb-tqpcyy", "spec.handleID: invalid type: integer `7`"),
    ] {
        let (found, key, said) = bad(Resource::Handles, &item(spec));
        assert_eq!((found, &*key), (ObjectId::Handle(id.into()), "ipamhandles/lb-tqpcyy"), "{spec}");
        assert!(said.starts_with(why), "{said}");
    }
}

#[test]
fn only_what_is_called_default_is_a_configuration() {
    let item = |name: &str, spec: &str| format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{{{spec}}}}}"#);
    let spec = r#""strictAffinity":true,"maxBlocksPerHost":4,"kubeVirtVMAddressPersistence":"Enabled""#;
    let Object::IpamConfig(config) = one(Resource::IpamConfigs, &item("default", spec)) else { panic!() };
    assert_eq!((config.strict_affinity, config.auto_allocate_blocks), (true, false));
    assert_eq!((config.max_blocks_per_host, config.ip_cooldown_seconds), (4, 0));
    for resource in [Resource::IpamConfigs, Resource::ClusterInformations] {
        assert_eq!(says(ApiGroup::Crd, resource, &item("other", "")), Says::Nothing);
    }
}

#[test]
fn what_calico_keeps_in_an_annotation_is_its_metadata() {
    let item = |resource_kept: &str| {
        format!(
            r#"{{"metadata":{{"name":"p","creationTimestamp":"2026-11-24T05:54:12Z","annotations":{{"projectcalico.org/metadata":"{}"}}}},"spec":{{"cidr":"10.0.0.0/16"}}}}"#,
            resource_kept.replace('"', "\\\"")
        )
    };
    let created = |group, kept: &str| match says(group, Resource::FelixConfigurations, &item(kept)) {
        Says::Objects(objects) => match &objects[..] {
            [Object::Felix(_, felix)] => felix.created,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    let older = r#"{"creationTimestamp":"1970-01-01T00:00:07Z"}"#;
    assert_eq!(created(ApiGroup::Crd, older), Some(7));
    assert_eq!(created(ApiGroup::Crd, "{}"), Some(1_795_499_652));
    assert_eq!(created(ApiGroup::Native, older), Some(1_795_499_652));
    let Object::Pool(pool) = one(Resource::Pools, &item(r#"{"deletionTimestamp":"2026-11-24T05:54:12Z"}"#)) else {
        panic!()
    };
    assert!(pool.disabled);
    // Calico drops an object whose annotation it cannot read.
    for resource in [Resource::Pools, Resource::Affinities, Resource::Blocks] {
        let (_, _, why) = bad(resource, &item("{"));
        assert!(why.starts_with("metadata.annotations.projectcalico.org/metadata: EOF"), "{why}");
    }
    assert!(matches!(says(ApiGroup::Native, Resource::Pools, &item("{")), Says::Objects(_)));
}
