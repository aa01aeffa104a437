//! Workload endpoints (`libcalico-go/lib/apis/internalapi/workloadendpoint.go`).

use std::net::IpAddr;

use ipnet::IpNet;
use serde::de::IgnoredAny;

use super::node::Metadata;
use crate::model::{EndpointId, WorkloadEndpoint};
use crate::source::calico::json::{List, Maybe, object};
use crate::source::calico::{Read, parse};
use crate::state::Object;

object! {
    Endpoint<'de>, rest IgnoredAny, {
        "metadata" => metadata: Metadata<'de>,
        "spec" => spec: EndpointSpec,
    }
}

object! {
    EndpointSpec, rest IgnoredAny, {
        "orchestrator" => orchestrator: String,
        "node" => node: String,
        "pod" => pod: String,
        "containerID" => container_id: String,
        "interfaceName" => interface: String,
        "ipNetworks" => networks: List<Maybe<IpNet>>,
        "ipNATs" => nats: List<Nat>,
    }
}

object! {
    Nat, rest IgnoredAny, {
        "externalIP" => external: Maybe<IpAddr>,
    }
}

/// Reads the endpoint `id`.
pub(super) fn read(id: EndpointId, value: &[u8]) -> Read {
    let Endpoint { metadata, spec } = parse(value)?;
    Ok(Some(Object::Endpoint(WorkloadEndpoint {
        id,
        node: spec.node.into(),
        pod: spec.pod.into(),
        container_id: spec.container_id.into(),
        interface: spec.interface.into(),
        addresses: spec.networks.0.iter().filter_map(|network| network.0.map(|net| net.addr())).collect(),
        floating: spec.nats.0.iter().filter_map(|nat| nat.external.0).collect(),
        openstack: spec.orchestrator == "openstack",
        labels: metadata.labels.0.iter().map(|(key, value)| (&**key, value.as_str())).collect(),
    })))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{object, undecodable};
    use super::*;

    const KEY: &str = "/calico/resources/v3/projectcalico.org/workloadendpoints/default/node--a-k8s-web--0-eth0";

    #[test]
    fn an_endpoint_is_named_by_its_key_and_described_by_its_spec() {
        let value = r#"{"kind":"WorkloadEndpoint","metadata":{"name":"other","namespace":"other","labels":{"app":"web","zone":"a"}},"spec":{"orchestrator":"k8s","node":"node-a","containerID":"6d1f0c2b9ab4","pod":"web-0","endpoint":"eth0","ipNetworks":["10.244.83.65/32","fd00::5","10.1.2.3/24"],"ipNATs":[{"internalIP":"10.244.83.65","externalIP":"172.18.1.1"},{"externalIP":""},null],"interfaceName":"cali3f1c0a2b4d5","mac":"ee:ee:ee:ee:ee:ee"}}"#;
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let endpoint = WorkloadEndpoint {
            id: EndpointId::of_pod("node-a", "default", "web-0"),
            node: "node-a".into(),
            pod: "web-0".into(),
            container_id: "6d1f0c2b9ab4".into(),
            interface: "cali3f1c0a2b4d5".into(),
            addresses: addresses(&["10.244.83.65", "fd00::5", "10.1.2.3"]),
            floating: addresses(&["172.18.1.1"]),
            openstack: false,
            labels: [("app", "web"), ("zone", "a")].into_iter().collect(),
        };
        assert_eq!(object(KEY, value), Object::Endpoint(endpoint));
    }

    #[test]
    fn an_endpoint_may_lack_everything_but_not_have_garbage() {
        let Object::Endpoint(endpoint) = object(KEY, r#"{"spec":{"ipNetworks":null,"ipNATs":null,"pod":null}}"#) else {
            panic!()
        };
        assert!(endpoint.addresses.is_empty() && endpoint.floating.is_empty() && endpoint.pod.is_empty());
        let why = undecodable(KEY, r#"{"spec":{"ipNetworks":["10.0.0.1/32","10.0.0.1/x"]}}"#);
        assert!(why.starts_with(r#"spec.ipNetworks[1]: invalid value: string "10.0.0.1/x""#), "{why}");
        let why = undecodable(KEY, r#"{"spec":{"ipNATs":[{"externalIP":"10.0.0.1/32"}]}}"#);
        assert!(why.starts_with("spec.ipNATs[0].externalIP: "), "{why}");
    }
}
