//! Workload endpoints out of Pods (`libcalico-go/lib/backend/k8s/conversion/{conversion,workload_endpoint_default}.go`).

use std::fmt::Write as _;
use std::net::IpAddr;

use ring::digest;
use serde::de::IgnoredAny;

use super::meta::Meta;
use super::{Decoded, Decoder, Says};
use crate::model::{EndpointId, Labels, WorkloadEndpoint};
use crate::source::calico::json::{FromText, List, Text, object};
use crate::source::calico::{parse, text, why};
use crate::source::kubernetes::Resource;
use crate::state::{Object, Unreadable};

object! {
    Item<'de>, rest IgnoredAny, {
        "metadata" => meta: Meta<'de>,
        "spec" => spec: Spec<'de>,
        "status" => status: Status<'de>,
    }
}

object! {
    Spec<'de>, rest IgnoredAny, {
        "nodeName" => node: Text<'de>,
        "serviceAccountName" => service_account: Text<'de>,
        "hostNetwork" => host_network: bool,
    }
}

object! {
    Status<'de>, rest IgnoredAny, {
        "phase" => phase: Text<'de>,
        "podIP" => address: Text<'de>,
        "podIPs" => addresses: List<PodIp<'de>>,
    }
}

object! {
    PodIp<'de>, rest IgnoredAny, {
        "ip" => ip: Text<'de>,
    }
}

const POD_IP: &str = "cni.projectcalico.org/podIP";
const POD_IPS: &str = "cni.projectcalico.org/podIPs";
const CONTAINER_ID: &str = "cni.projectcalico.org/containerID";
const FLOATING: &str = "cni.projectcalico.org/floatingIPs";
const AWS: &str = "vpc.amazonaws.com/pod-ips";

/// Reads a Pod. One that runs on a host, and not on its network, is an endpoint; once it is finished, one without
/// addresses.
pub(super) fn read(decoder: &Decoder, item: &[u8]) -> Result<Decoded, Unreadable> {
    let Item { meta, spec, status } = parse(item)?;
    let place = meta.place(Resource::Pods)?;
    let Some(node) = spec.node.get().filter(|_| !spec.host_network) else {
        return Ok(meta.decoded(place, Says::Nothing));
    };
    let (namespace, pod) = (meta.namespace(), &*place.name);
    // A bad address spoils a finished Pod, too.
    let mut addresses = addresses(&meta, &status)?;
    if is_finished(&meta, &status) {
        addresses.clear();
    }
    let floating = floating(&meta, &addresses)?;
    let endpoint = WorkloadEndpoint {
        id: EndpointId::of_pod(node, namespace, pod),
        node: node.into(),
        pod: place.name.clone(),
        container_id: meta.annotation(CONTAINER_ID).unwrap_or_default().into(),
        interface: format!("{}{}", decoder.interface_prefix, device(namespace, pod)).into(),
        addresses,
        floating,
        openstack: false,
        labels: labels(&meta, namespace, spec.service_account.get()),
    };
    Ok(meta.decoded(place, Says::Objects(vec![Object::Endpoint(endpoint)])))
}

/// A Pod's own labels, and those that Calico adds (`libcalico-go/lib/backend/k8s/conversion`, `podToDefaultWorkloadEndpoint`).
fn labels(meta: &Meta<'_>, namespace: &str, account: Option<&str>) -> Labels {
    let added = [("projectcalico.org/namespace", namespace), ("projectcalico.org/orchestrator", "k8s")];
    let account = account.map(|account| ("projectcalico.org/serviceaccount", account));
    meta.labels().chain(added).chain(account).collect()
}

/// What follows the prefix in the name of the host's side of a Pod's veth (`VethNameForWorkload`).
fn device(namespace: &str, pod: &str) -> String {
    let mut name = String::with_capacity(12);
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{namespace}.{pod}").as_bytes());
    for byte in &digest.as_ref()[..6] {
        let _ = write!(name, "{byte:02x}");
    }
    name.truncate(11);
    name
}

/// The first source that says anything: kubelet's status comes after CNI's annotation, and stays after it.
fn addresses(meta: &Meta<'_>, status: &Status<'_>) -> Result<Vec<IpAddr>, Unreadable> {
    let annotation = |name| meta.annotation(name).filter(|text| !text.is_empty()).map(|text| (name, text));
    let listed: Vec<&str> = status.addresses.0.iter().map(|entry| entry.ip.get().unwrap_or_default()).collect();
    let (field, texts) = if !listed.is_empty() {
        ("status.podIPs".to_owned(), listed)
    } else if let Some(address) = status.address.get() {
        ("status.podIP".to_owned(), vec![address])
    } else if let Some((name, text)) = annotation(POD_IPS).or(annotation(POD_IP)).or(annotation(AWS)) {
        let texts = if name == POD_IP { vec![text] } else { text.split(',').collect() };
        (format!("metadata.annotations.{name}"), texts)
    } else {
        return Ok(Vec::new());
    };
    let read = |text: &str| text::net(text).map(|net| net.network());
    texts.into_iter().map(|text| read(text).ok_or_else(|| bad(&field, text))).collect()
}

fn bad(field: &str, text: &str) -> Unreadable {
    Unreadable::Undecodable(why::at(field, &format!("{text:?}, expected an address")))
}

/// Its addresses are not its own any more (`IsFinished`). Of a Pod that is being deleted, CNI says so.
fn is_finished(meta: &Meta<'_>, status: &Status<'_>) -> bool {
    let emptied = |name| meta.annotation(name) == Some("");
    let released = meta.is_going() && (emptied(POD_IP) || emptied(AWS));
    released || matches!(status.phase.get(), Some("Succeeded" | "Failed" | "Completed"))
}

/// Floating addresses, a list in JSON: those of a family that the Pod has.
fn floating(meta: &Meta<'_>, addresses: &[IpAddr]) -> Result<Vec<IpAddr>, Unreadable> {
    let Some(listed) = meta.annotation(FLOATING).filter(|_| !addresses.is_empty()) else { return Ok(Vec::new()) };
    let field = format!("metadata.annotations.{FLOATING}");
    let texts: List<String> = parse(listed.as_bytes())
        .map_err(|_| Unreadable::Undecodable(why::at(&field, &format!("{listed:?}, expected a list of addresses"))))?;
    let mut floating = Vec::new();
    for text in &texts.0 {
        let address = IpAddr::from_text(text).ok_or_else(|| bad(&field, text))?;
        if addresses.iter().any(|own| own.is_ipv4() == address.is_ipv4()) {
            floating.push(address);
        }
    }
    Ok(floating)
}
