//! What of a datastore's value a rule reads, and nothing else: what is not named here never leaves the cluster.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Fields of `metadata`. Labels and annotations have rules of their own.
const METADATA: [&str; 5] = ["name", "namespace", "creationTimestamp", "deletionTimestamp", "resourceVersion"];
/// What Calico keeps in annotations: Nodes' addresses and Pods' (`k8s/resources/node.go`, `k8s/conversion`).
const ANNOTATIONS: [&str; 2] = ["projectcalico.org/", "cni.projectcalico.org/"];
/// An annotation that holds the metadata of an object as Calico's own API has it.
const INNER: &str = "projectcalico.org/metadata";
/// A copy of a Node's labels.
const LABELS: &str = "projectcalico.org/labels";

const NODE: [&str; 10] = [
    "addresses",
    "bgp",
    "interfaces",
    "ipv4VXLANTunnelAddr",
    "ipv6VXLANTunnelAddr",
    "orchRefs",
    "podCIDR",
    "podCIDRs",
    "vxlanTunnelMACAddr",
    "vxlanTunnelMACAddrV6",
];
const ENDPOINT: [&str; 12] = [
    "containerID",
    "endpoint",
    "hostNetwork",
    "interfaceName",
    "ipNATs",
    "ipNetworks",
    "ipv4NAT",
    "mac",
    "node",
    "nodeName",
    "orchestrator",
    "pod",
];
const FELIX: [&str; 16] = [
    "bpfEnabled",
    "deviceRouteProtocol",
    "floatingIPs",
    "interfacePrefix",
    "ipipEnabled",
    "ipv6Support",
    "nodeSelector",
    "programClusterRoutes",
    "routeSource",
    "routeSyncDisabled",
    "vxlanEnabled",
    "vxlanPort",
    "vxlanVNI",
    "wireguardEnabled",
    "wireguardEnabledV6",
    "wireguardHostEncryptionEnabled",
];
const BGP: [&str; 12] = [
    "asNumber",
    "nodeToNodeMeshEnabled",
    "programClusterRoutes",
    "filters",
    "keepOriginalNextHop",
    "localWorkloadSelector",
    "nextHopMode",
    "node",
    "nodeSelector",
    "peerIP",
    "peerSelector",
    "reversePeering",
];
const CLUSTER: [&str; 3] = ["calicoVersion", "clusterType", "datastoreReady"];
const STATUS: [&str; 8] =
    ["addresses", "phase", "podCIDRs", "podIP", "podIPs", "reason", "wireguardPublicKey", "wireguardPublicKeyV6"];

/// Which labels are asked for, by all selectors of a datastore.
#[derive(Debug, Default)]
pub(super) struct Selectors(BTreeSet<String>);

impl Selectors {
    /// Takes in the selectors of a value.
    pub(super) fn note(&mut self, value: &Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        Value::String(text) if name.ends_with("elector") => self.words(text),
                        _ => self.note(value),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.note(item)),
            _ => {}
        }
    }

    fn words(&mut self, text: &str) {
        let word = |it: char| it.is_ascii_alphanumeric() || "-_./".contains(it);
        let words = text.split(|it| !word(it)).filter(|it| !it.is_empty());
        self.0.extend(words.map(|it| it.trim_matches('.').to_owned()));
    }

    fn has(&self, label: &str) -> bool {
        self.0.contains(label)
    }
}

/// What is kept of an object of this kind.
pub(super) fn object(kind: &str, value: &Value, selectors: &Selectors) -> Value {
    let Value::Object(fields) = value else { return Value::Null };
    let mut kept = Map::new();
    for (name, value) in fields {
        let value = match &**name {
            "apiVersion" | "kind" => value.clone(),
            "metadata" => metadata(value, selectors),
            "spec" => spec(kind, value),
            "status" => only(value, &STATUS),
            _ => continue,
        };
        kept.insert(name.clone(), value);
    }
    Value::Object(kept)
}

fn spec(kind: &str, value: &Value) -> Value {
    match kind {
        "Node" => {
            let mut kept = only(value, &NODE);
            // Addresses, and no keys: those are in the status, and public.
            if let (Some(kept), Some(wireguard)) = (kept.as_object_mut(), value.get("wireguard")) {
                kept.insert("wireguard".into(), only(wireguard, &["interfaceIPv4Address", "interfaceIPv6Address"]));
            }
            kept
        }
        "Pod" | "WorkloadEndpoint" => only(value, &ENDPOINT),
        "FelixConfiguration" => only(value, &FELIX),
        "BGPConfiguration" | "BGPPeer" => only(value, &BGP),
        "ClusterInformation" => only(value, &CLUSTER),
        // Addresses and who has them: all of it is read.
        _ => value.clone(),
    }
}

fn only(value: &Value, names: &[&str]) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, _)| names.contains(&name.as_str()));
            Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
        }
        // Of another type than Calico writes: that it is, is all that matters.
        Value::Null => Value::Null,
        _ => Value::Bool(false),
    }
}

fn metadata(value: &Value, selectors: &Selectors) -> Value {
    let mut kept = only(value, &METADATA);
    let Some(fields) = kept.as_object_mut() else { return kept };
    if let Some(found) = value.get("labels") {
        fields.insert("labels".into(), labels(found, selectors));
    }
    if let Some(Value::Object(annotations)) = value.get("annotations") {
        let mut found = Map::new();
        for (name, value) in annotations {
            let text = || serde_json::from_str::<Value>(value.as_str().unwrap_or_default());
            let value = match &**name {
                INNER => text().map_or(Value::Null, |inner| Value::String(metadata(&inner, selectors).to_string())),
                LABELS => text().map_or(Value::Null, |inner| Value::String(labels(&inner, selectors).to_string())),
                name if ANNOTATIONS.iter().any(|it| name.starts_with(it)) => value.clone(),
                _ => continue,
            };
            found.insert(name.clone(), value);
        }
        fields.insert("annotations".into(), Value::Object(found));
    }
    kept
}

fn labels(value: &Value, selectors: &Selectors) -> Value {
    let Value::Object(fields) = value else { return Value::Null };
    let kept = fields.iter().filter(|(name, _)| selectors.has(name) || name.starts_with("projectcalico.org/"));
    Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_secret_is_kept_wherever_it_stands() {
        let applied = json!({"kubectl.kubernetes.io/last-applied-configuration": "s3cret", "team": "s3cret"});
        let inner =
            json!({"labels": {"a": "s3cret", "rack": "7"}, "annotations": applied, "uid": "s3cret"}).to_string();
        let mut annotations = applied.as_object().unwrap().clone();
        annotations.insert(INNER.into(), json!(inner));
        annotations.insert("projectcalico.org/IPv4Address".into(), json!("10.0.0.1/24"));
        let metadata = json!({
            "name": "n", "labels": {"rack": "7", "owner": "s3cret"}, "annotations": annotations,
            "managedFields": ["s3cret"], "ownerReferences": ["s3cret"],
        });
        let mut selectors = Selectors::default();
        selectors.note(&json!({"spec": {"nodeSelector": "has(rack) && rack == '7'", "other": ["x"]}}));
        for (kind, spec) in [
            ("Pod", json!({"nodeName": "h", "containers": [{"env": [{"value": "s3cret"}]}], "volumes": "s3cret"})),
            ("WorkloadEndpoint", json!({"node": "h", "serviceAccountName": "s3cret", "ports": ["s3cret"]})),
            ("BGPPeer", json!({"peerIP": "10.0.0.9", "password": {"secretKeyRef": {"name": "s3cret"}}})),
            ("BGPConfiguration", json!({"asNumber": 1, "nodeMeshPassword": "s3cret", "communities": ["s3cret"]})),
            ("FelixConfiguration", json!({"vxlanVNI": 1, "openstackRegion": "s3cret", "logFilePath": "s3cret"})),
            ("ClusterInformation", json!({"clusterType": "k8s", "clusterGUID": "s3cret"})),
            ("Node", json!({"podCIDR": "10.0.0.0/24", "providerID": "s3cret", "wireguard": {"privateKey": "s3cret"}})),
        ] {
            let value = json!({"kind": kind, "metadata": metadata, "spec": spec, "data": "s3cret",
                "status": {"podIP": "10.0.0.1", "nodeInfo": "s3cret", "images": ["s3cret"]}});
            let kept = object(kind, &value, &selectors).to_string();
            assert!(!kept.contains("s3cret"), "{kept}");
            assert!(kept.contains("\"rack\":\"7\"") && kept.contains("10.0.0.1/24"), "{kept}");
        }
    }
}
