//! Pods.

use super::*;
use crate::model::{EndpointId, WorkloadEndpoint};

fn pod(meta: &str, spec: &str, status: &str) -> String {
    format!(
        r#"{{"metadata":{{"name":"web-0","namespace":"shop"{meta}}},"spec":{{"nodeName":"node-a"{spec}}},"status":{{{status}}}}}"#
    )
}

fn annotations(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        pairs.iter().map(|(name, text)| format!(r#""{name}":"{}""#, text.replace('"', "\\\""))).collect();
    format!(r#","annotations":{{{}}}"#, pairs.join(","))
}

fn endpoint(item: &str) -> WorkloadEndpoint {
    match one(Resource::Pods, item) {
        Object::Endpoint(endpoint) => endpoint,
        other => panic!("{other:?}"),
    }
}

fn addresses(item: &str) -> Vec<String> {
    endpoint(item).addresses.iter().map(ToString::to_string).collect()
}

const RUNNING: &str = r#""phase":"Running","podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"},{"ip":"fd00::1"}]"#;
const IP: &str = "cni.projectcalico.org/podIP";
const IPS: &str = "cni.projectcalico.org/podIPs";
const AWS: &str = "vpc.amazonaws.com/pod-ips";
const FLOATING: &str = "cni.projectcalico.org/floatingIPs";

#[test]
fn a_pod_is_an_endpoint_with_the_names_that_calico_gives_it() {
    let item = pod(&annotations(&[("cni.projectcalico.org/containerID", "6d1f")]), "", RUNNING);
    let expected = WorkloadEndpoint {
        id: EndpointId { namespace: "shop".into(), name: "node--a-k8s-web--0-eth0".into() },
        node: "node-a".into(),
        pod: "web-0".into(),
        container_id: "6d1f".into(),
        // printf shop.web-0 | sha1sum
        interface: "calia4fc3c48bd8".into(),
        addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        floating: Vec::new(),
        openstack: false,
        // Those that the conversion adds; it has none of its own.
        labels: [("projectcalico.org/namespace", "shop"), ("projectcalico.org/orchestrator", "k8s")]
            .into_iter()
            .collect(),
    };
    assert_eq!(endpoint(&item), expected);
    let decoder = Decoder { interface_prefix: "tap".into(), ..Decoder::new(ApiGroup::Native) };
    let Says::Objects(objects) = decoder.decode(Resource::Pods, item.as_bytes()).says else { panic!() };
    assert_eq!(objects, [Object::Endpoint(WorkloadEndpoint { interface: "tapa4fc3c48bd8".into(), ..expected })]);
}

#[test]
fn what_is_on_no_host_or_on_its_hosts_network_is_no_endpoint() {
    for spec in [r#","hostNetwork":true"#, r#","nodeName":"""#, r#","nodeName":null"#] {
        assert_eq!(says(ApiGroup::Crd, Resource::Pods, &pod("", spec, RUNNING)), Says::Nothing, "{spec}");
    }
    assert_eq!(addresses(&pod("", r#","hostNetwork":false"#, RUNNING)).len(), 2);
}

#[test]
fn the_first_source_that_names_addresses_counts() {
    let both = [(IP, "10.0.0.2/32"), (IPS, "10.0.0.3/32,fd00::3/128"), (AWS, "10.0.0.4")];
    for (pairs, status, expected) in [
        (&both[..], RUNNING, &["10.0.0.1", "fd00::1"][..]),
        (&both, r#""podIP":"10.0.0.9","podIPs":[]"#, &["10.0.0.9"]),
        (&both, r#""podIP":"","podIPs":null"#, &["10.0.0.3", "fd00::3"]),
        (&both[..1], "", &["10.0.0.2"]),
        (&[(IPS, ""), (IP, "10.0.0.2/32")], "", &["10.0.0.2"]),
        (&both[2..], "", &["10.0.0.4"]),
        (&[(IP, "")], r#""phase":"Pending""#, &[]),
        (&[], r#""phase":"Pending""#, &[]),
    ] {
        assert_eq!(addresses(&pod(&annotations(pairs), "", status)), expected, "{pairs:?} {status}");
    }
}

#[test]
fn a_finished_pod_has_no_address_whatever_its_status_shows() {
    for phase in ["Succeeded", "Failed", "Completed"] {
        assert_eq!(addresses(&pod("", "", &RUNNING.replace("Running", phase))), [""; 0], "{phase}");
    }
    let going = r#","deletionTimestamp":"2026-11-24T05:54:53Z""#;
    for (meta, pairs, holds) in [
        (going, &[(IP, ""), (IPS, "")][..], false),
        (going, &[(AWS, "")], false),
        (going, &[(IP, "10.0.0.1/32")], true),
        (going, &[], true),
        ("", &[(IP, "")], true),
    ] {
        let item = pod(&format!("{meta}{}", annotations(pairs)), "", RUNNING);
        assert_eq!(!addresses(&item).is_empty(), holds, "{meta} {pairs:?}");
    }
}

#[test]
fn one_bad_address_spoils_the_pod() {
    let id = ObjectId::Endpoint(EndpointId::of_pod("node-a", "shop", "web-0"));
    for (meta, status, field) in [
        (String::new(), r#""podIPs":[{"ip":"10.0.0.1"},{"ip":"10.0.0.300"}]"#, "status.podIPs"),
        (String::new(), r#""podIPs":[{}]"#, "status.podIPs"),
        (String::new(), r#""podIP":"x","phase":"Succeeded""#, "status.podIP"),
        (annotations(&[(IPS, "10.0.0.1/32, 10.0.0.2/32")]), "", "metadata.annotations.cni.projectcalico.org/podIPs"),
        (annotations(&[(FLOATING, "10.8.0.1")]), RUNNING, "metadata.annotations.cni.projectcalico.org/floatingIPs"),
        (annotations(&[(FLOATING, r#"["x"]"#)]), RUNNING, "metadata.annotations.cni.projectcalico.org/floatingIPs"),
    ] {
        let (found, key, why) = bad(Resource::Pods, &pod(&meta, "", status));
        assert_eq!((found, &*key), (id.clone(), "pods/shop/web-0"));
        assert!(why.starts_with(field), "{why}");
    }
}

#[test]
fn floating_addresses_are_those_of_a_family_that_the_pod_has() {
    let pairs = [(FLOATING, r#"["172.18.1.1","fd00:18::1"]"#)];
    let floating = |status| endpoint(&pod(&annotations(&pairs), "", status)).floating.len();
    assert_eq!(floating(RUNNING), 2);
    assert_eq!(floating(r#""podIP":"10.0.0.1""#), 1);
    assert_eq!(floating(r#""phase":"Pending""#), 0);
}
