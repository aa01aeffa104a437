//! What is read of the API, and where it is (`libcalico-go/lib/backend/k8s/resources`).

use std::fmt;

use crate::state::Kind;

/// Where Calico keeps its custom resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ApiGroup {
    /// `crd.projectcalico.org/v1`: the classic one.
    Crd,
    /// `projectcalico.org/v3`: Calico's own API as custom resources, since v3.32. Where the classic group is there too,
    /// a server of Calico's may answer for this one, without blocks and handles.
    Native,
}

impl ApiGroup {
    /// Both.
    pub const ALL: [ApiGroup; 2] = [ApiGroup::Crd, ApiGroup::Native];

    /// What `CALICO_API_GROUP` means: anything but the native group, in any case, is the classic one
    /// (`libcalico-go/lib/backend/k8s/discovery.go`).
    pub fn told(text: &str) -> ApiGroup {
        if text.eq_ignore_ascii_case(ApiGroup::Native.api_version()) { ApiGroup::Native } else { ApiGroup::Crd }
    }

    /// Group and version, as `apiVersion` has them.
    pub fn api_version(self) -> &'static str {
        match self {
            ApiGroup::Crd => "crd.projectcalico.org/v1",
            ApiGroup::Native => "projectcalico.org/v3",
        }
    }
}

impl fmt::Display for ApiGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.api_version())
    }
}

/// A kind of objects that is read. Services and KubeControllersConfigurations are not: no rule asks for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is Calico's or Kubernetes' kind of that name")]
pub enum Resource {
    Blocks,
    Affinities,
    Handles,
    IpamConfigs,
    Pools,
    Reservations,
    FelixConfigurations,
    BgpConfigurations,
    BgpPeers,
    ClusterInformations,
    Nodes,
    Pods,
}

impl Resource {
    /// All of them.
    pub const ALL: [Resource; 12] = [
        Resource::Blocks,
        Resource::Affinities,
        Resource::Handles,
        Resource::IpamConfigs,
        Resource::Pools,
        Resource::Reservations,
        Resource::FelixConfigurations,
        Resource::BgpConfigurations,
        Resource::BgpPeers,
        Resource::ClusterInformations,
        Resource::Nodes,
        Resource::Pods,
    ];

    /// Its name in paths and in `kubectl get`.
    pub fn plural(self, group: ApiGroup) -> &'static str {
        match self {
            Resource::Blocks => "ipamblocks",
            Resource::Affinities => "blockaffinities",
            Resource::Handles => "ipamhandles",
            Resource::IpamConfigs => match group {
                ApiGroup::Crd => "ipamconfigs",
                ApiGroup::Native => "ipamconfigurations",
            },
            Resource::Pools => "ippools",
            Resource::Reservations => "ipreservations",
            Resource::FelixConfigurations => "felixconfigurations",
            Resource::BgpConfigurations => "bgpconfigurations",
            Resource::BgpPeers => "bgppeers",
            Resource::ClusterInformations => "clusterinformations",
            Resource::Nodes => "nodes",
            Resource::Pods => "pods",
        }
    }

    /// The `kind` of an object; a list's ends in `List`.
    pub fn kind(self, group: ApiGroup) -> &'static str {
        match self {
            Resource::Blocks => "IPAMBlock",
            Resource::Affinities => "BlockAffinity",
            Resource::Handles => "IPAMHandle",
            Resource::IpamConfigs => match group {
                ApiGroup::Crd => "IPAMConfig",
                ApiGroup::Native => "IPAMConfiguration",
            },
            Resource::Pools => "IPPool",
            Resource::Reservations => "IPReservation",
            Resource::FelixConfigurations => "FelixConfiguration",
            Resource::BgpConfigurations => "BGPConfiguration",
            Resource::BgpPeers => "BGPPeer",
            Resource::ClusterInformations => "ClusterInformation",
            Resource::Nodes => "Node",
            Resource::Pods => "Pod",
        }
    }

    /// Whether it is Kubernetes' own, the same in whatever group Calico's objects are.
    pub fn is_core(self) -> bool {
        matches!(self, Resource::Nodes | Resource::Pods)
    }

    /// Group and version, as `apiVersion` has them.
    pub fn api_version(self, group: ApiGroup) -> &'static str {
        if self.is_core() { "v1" } else { group.api_version() }
    }

    /// The path of its list, over all namespaces.
    pub fn path(self, group: ApiGroup) -> String {
        let root = if self.is_core() { "api" } else { "apis" };
        format!("/{root}/{}/{}", self.api_version(group), self.plural(group))
    }

    /// The kind of what such an object is read as.
    pub fn model(self) -> Kind {
        match self {
            Resource::Blocks => Kind::Block,
            Resource::Affinities => Kind::Affinity,
            Resource::Handles => Kind::Handle,
            Resource::IpamConfigs => Kind::IpamConfig,
            Resource::Pools => Kind::Pool,
            Resource::Reservations => Kind::Reservation,
            Resource::FelixConfigurations => Kind::Felix,
            Resource::BgpConfigurations => Kind::BgpConfiguration,
            Resource::BgpPeers => Kind::BgpPeer,
            Resource::ClusterInformations => Kind::Cluster,
            Resource::Nodes => Kind::Node,
            Resource::Pods => Kind::Endpoint,
        }
    }

    /// What objects of this `apiVersion` and `kind` are, and of which group (either, where they are Kubernetes' own).
    /// `None`: none that is read.
    pub fn identify(api_version: &str, kind: &str) -> Option<(Resource, ApiGroup)> {
        ApiGroup::ALL.into_iter().find_map(|group| {
            let named =
                |resource: &Resource| resource.api_version(group) == api_version && resource.kind(group) == kind;
            Resource::ALL.into_iter().find(named).map(|resource| (resource, group))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resource_is_found_where_the_api_server_has_it() {
        assert_eq!(Resource::Blocks.path(ApiGroup::Crd), "/apis/crd.projectcalico.org/v1/ipamblocks");
        assert_eq!(Resource::IpamConfigs.path(ApiGroup::Native), "/apis/projectcalico.org/v3/ipamconfigurations");
        assert_eq!(Resource::Pods.path(ApiGroup::Native), "/api/v1/pods");
        for resource in Resource::ALL {
            for group in ApiGroup::ALL {
                let found = Resource::identify(resource.api_version(group), resource.kind(group));
                let (found, of) = found.unwrap();
                assert_eq!(found, resource);
                assert!(of == group || resource.is_core());
            }
        }
        assert_eq!(Resource::identify("v1", "IPAMBlock"), None);
        assert_eq!(Resource::identify("crd.projectcalico.org/v1", "IPAMConfiguration"), None);
        assert_eq!(Resource::identify("v1", "Service"), None);
    }
}
