//! Workload endpoints (`libcalico-go/lib/apis/internalapi/workloadendpoint.go`) and the cluster's description.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::de::IgnoredAny;

use super::json::{List, Maybe, object};
use super::{Read, parse};
use crate::model::{ClusterInformation, EndpointId, WorkloadEndpoint};
use crate::state::Object;

object! {
    Endpoint, rest IgnoredAny, {
        "spec" => spec: EndpointSpec,
    }
}

object! {
    EndpointSpec, rest IgnoredAny, {
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
    let Endpoint { spec } = parse(value)?;
    Ok(Some(Object::Endpoint(WorkloadEndpoint {
        id,
        node: spec.node.into(),
        pod: spec.pod.into(),
        container_id: spec.container_id.into(),
        interface: spec.interface.into(),
        addresses: spec.networks.0.iter().filter_map(|network| network.0.map(|net| net.addr())).collect(),
        floating: spec.nats.0.iter().filter_map(|nat| nat.external.0).collect(),
    })))
}

object! {
    Cluster, rest IgnoredAny, {
        "spec" => spec: ClusterSpec,
    }
}

object! {
    ClusterSpec, rest IgnoredAny, {
        "clusterType" => cluster_type: String,
        "calicoVersion" => calico_version: String,
        "datastoreReady" => datastore_ready: Option<bool>,
    }
}

/// Reads the cluster's description.
pub(super) fn cluster(value: &[u8]) -> Read {
    let Cluster { spec } = parse(value)?;
    Ok(Some(Object::Cluster(ClusterInformation {
        cluster_type: spec.cluster_type,
        calico_version: spec.calico_version,
        datastore_ready: spec.datastore_ready,
    })))
}
