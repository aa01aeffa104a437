//! The cluster's description (`api/pkg/apis/projectcalico/v3/clusterinfo.go`).

use serde::de::IgnoredAny;

use super::json::object;
use super::{Read, parse};
use crate::model::ClusterInformation;
use crate::state::Object;

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
pub(in crate::source) fn cluster(value: &[u8]) -> Read {
    let Cluster { spec } = parse(value)?;
    Ok(Some(Object::Cluster(ClusterInformation {
        cluster_type: spec.cluster_type,
        calico_version: spec.calico_version,
        datastore_ready: spec.datastore_ready,
    })))
}

#[cfg(test)]
mod tests {
    use super::super::tests::object;
    use super::*;

    #[test]
    fn the_cluster_says_its_type_and_whether_it_is_ready() {
        let value = r#"{"spec":{"clusterType":"k8s,bgp","calicoVersion":"v3.33.0","datastoreReady":false}}"#;
        let Object::Cluster(found) = object(cluster(value.as_bytes())) else { panic!() };
        assert!(found.has_type("bgp") && !found.has_type("kdd"));
        assert_eq!((&*found.calico_version, found.datastore_ready), ("v3.33.0", Some(false)));
        assert_eq!(object(cluster(b"{}")), Object::Cluster(ClusterInformation::default()));
    }
}
