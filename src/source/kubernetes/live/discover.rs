//! In which of two groups Calico keeps its objects here, and which of them this version of Calico has
//! (`libcalico-go/lib/backend/k8s/discovery.go`; a migration from one to the other leaves both behind).

use serde::Deserialize;

use super::client::{Client, Form};
use super::error::KubernetesError;
use super::{ApiGroup, Resource};

/// What there is to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Where Calico's objects are.
    pub group: ApiGroup,
    /// What the group has of what is ever read.
    served: Vec<Resource>,
}

#[derive(Deserialize)]
struct Groups {
    groups: Vec<Named>,
}

#[derive(Deserialize)]
struct Resources {
    resources: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ClusterInformation {
    spec: Spec,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    datastore_ready: Option<bool>,
}

impl Found {
    /// Whether a resource is there at all.
    pub(super) fn serves(&self, resource: Resource) -> bool {
        resource.is_core() || self.served.contains(&resource)
    }
}

/// Finds Calico's group, unless it was `told`.
///
/// # Errors
/// The API cannot be read, or neither group has Calico's blocks: an API without Calico is no empty cluster.
pub(super) async fn discover(client: &Client, told: Option<ApiGroup>) -> Result<Found, KubernetesError> {
    let group = match told {
        Some(group) => group,
        None => choose(client).await?,
    };
    let served = served(client, group).await?.unwrap_or_default();
    match served.contains(&Resource::Blocks) {
        true => Ok(Found { group, served }),
        false => Err(client.asked("get", "").group(format!(
            "the group {} has no ipamblocks: install Calico's custom resources, or say --kubernetes.api-group",
            group.api_version()
        ))),
    }
}

/// As Calico does: native only where the older group is gone. Where a migration has left both, the one that is not locked.
async fn choose(client: &Client) -> Result<ApiGroup, KubernetesError> {
    let asked = client.asked("get", "/apis");
    let groups: Groups = match client.read("/apis", Form::Whole, &asked).await {
        Ok(body) => serde_json::from_slice(&body)
            .map_err(|error| asked.failed(format!("what it answers is no list of groups: {error}")))?,
        // Discovery is open to everybody who has a name, unless somebody closed it.
        Err(KubernetesError::Denied { .. }) => return Ok(ApiGroup::Crd),
        Err(error) => return Err(error),
    };
    let has = |group: ApiGroup| groups.groups.iter().any(|it| group.api_version().split('/').next() == Some(&it.name));
    match (has(ApiGroup::Crd), has(ApiGroup::Native)) {
        (true, false) => return Ok(ApiGroup::Crd),
        (false, true) => return Ok(ApiGroup::Native),
        (false, false) => {
            return Err(asked.group(
                "neither crd.projectcalico.org nor projectcalico.org is served: Calico keeps nothing here".to_owned(),
            ));
        }
        (true, true) => {}
    }
    // Calico's own API server, which serves projectcalico.org beside the older group, has no blocks.
    let native = served(client, ApiGroup::Native).await?.unwrap_or_default();
    if !native.contains(&Resource::Blocks) {
        return Ok(ApiGroup::Crd);
    }
    let ready = (is_ready(client, ApiGroup::Crd).await?, is_ready(client, ApiGroup::Native).await?);
    Ok(if ready == (false, true) { ApiGroup::Native } else { ApiGroup::Crd })
}

/// What a group has of what is ever read; `None` where it is not there.
async fn served(client: &Client, group: ApiGroup) -> Result<Option<Vec<Resource>>, KubernetesError> {
    let path = format!("/apis/{}", group.api_version());
    let asked = client.asked("get", &path);
    match client.read(&path, Form::Whole, &asked).await {
        Ok(body) => {
            let list: Resources = serde_json::from_slice(&body)
                .map_err(|error| asked.failed(format!("what it answers is no list of resources: {error}")))?;
            let has = |resource: &Resource| list.resources.iter().any(|it| it.name == resource.plural(group));
            Ok(Some(Resource::ALL.into_iter().filter(has).collect()))
        }
        Err(KubernetesError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn is_ready(client: &Client, group: ApiGroup) -> Result<bool, KubernetesError> {
    let path = format!("{}/default", Resource::ClusterInformations.path(group));
    let asked = client.asked("get", &path);
    match client.read(&path, Form::Whole, &asked).await {
        Ok(body) => {
            let read: ClusterInformation = serde_json::from_slice(&body)
                .map_err(|error| asked.failed(format!("what it answers is no ClusterInformation: {error}")))?;
            Ok(read.spec.datastore_ready.unwrap_or(false))
        }
        Err(KubernetesError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
