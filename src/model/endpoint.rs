//! Workload endpoints (`libcalico-go/lib/apis/internalapi/workloadendpoint.go`): which pod uses which address, where.

use std::net::IpAddr;

use super::{Labels, Name};

/// Identity of a workload endpoint: its namespace and name. The name is opaque; what it is made of is in the spec.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId {
    /// Kubernetes namespace.
    pub namespace: Name,
    /// `<node>-k8s-<pod>-<endpoint>`, each part's own dashes doubled.
    pub name: Name,
}

impl EndpointId {
    /// The id that Calico gives a Kubernetes pod's first interface (`libcalico-go/lib/names/workloadendpoint.go`).
    pub fn of_pod(node: &str, namespace: &str, pod: &str) -> EndpointId {
        let double = |part: &str| part.replace('-', "--");
        EndpointId { namespace: namespace.into(), name: format!("{}-k8s-{}-eth0", double(node), double(pod)).into() }
    }
}

/// A workload endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadEndpoint {
    /// Namespace and name.
    pub id: EndpointId,
    /// The Calico node it runs on.
    pub node: Name,
    /// The pod's name, empty where the orchestrator has none.
    pub pod: Name,
    /// The container's id, as in the handle `<network>.<containerID>`.
    pub container_id: Name,
    /// The host's side of its veth, e.g. `cali…`.
    pub interface: Name,
    /// Its addresses (`ipNetworks`, each a `/32` or `/128`).
    pub addresses: Vec<IpAddr>,
    /// Floating addresses (`ipNATs[].externalIP`).
    pub floating: Vec<IpAddr>,
    /// `orchestrator` is `openstack`: Neutron gave the addresses, not Calico's IPAM.
    pub openstack: bool,
    /// `metadata.labels`; those that it inherits from its profiles (`pcns.…`, `pcsa.…`) are not among them.
    pub labels: Labels,
}
