//! API objects out of files: which of them are the cluster's, and what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde::de::IgnoredAny;

use super::{Dump, FileError, newest};
use crate::model::Detail;
use crate::source::calico::json::{Text, object};
use crate::source::kubernetes::objects::Says;
use crate::source::kubernetes::{ApiGroup, Convention, Resource};
use crate::state::{Event, Kind, Object};

object! {
    Head<'de>, rest IgnoredAny, {
        "apiVersion" => api_version: Text<'de>,
        "kind" => kind: Text<'de>,
    }
}

/// What there is of one resource of one group.
#[derive(Default)]
struct Part {
    events: Vec<Event>,
    newest: Option<SystemTime>,
}

/// API objects, by what they are.
pub(super) struct Bundle {
    convention: Convention,
    parts: BTreeMap<(Resource, ApiGroup), Part>,
    /// Items that do not say what they are, of a list that has not said it yet either.
    unnamed: Vec<Box<[u8]>>,
    /// What the list that is being read has.
    listed: BTreeSet<Resource>,
    /// Kinds that a mixed list has none of, and would have: `kubectl get A,B -o json` leaves out what has no object.
    left_out: BTreeSet<Kind>,
}

impl Bundle {
    pub(super) fn new(convention: &Convention) -> Bundle {
        Bundle {
            convention: convention.clone(),
            parts: BTreeMap::new(),
            unnamed: Vec::new(),
            listed: BTreeSet::new(),
            left_out: BTreeSet::new(),
        }
    }

    /// Takes an item of a list of this `apiVersion` and `kind`, as far as those are known. Items of mixed lists say what
    /// they are, those of Kubernetes' own lists do not. What is not read is passed over.
    pub(super) fn take(&mut self, (api_version, kind): (&str, &str), item: &[u8]) {
        let head: Head<'_> = serde_json::from_slice(item).unwrap_or_default();
        match (head.api_version.get().zip(head.kind.get()), of_list(kind)) {
            (Some((api_version, kind)), _) => self.take_listed(api_version, kind, item),
            (None, Some(kind)) => self.take_listed(api_version, kind, item),
            (None, None) => self.unnamed.push(item.into()),
        }
    }

    fn take_listed(&mut self, api_version: &str, kind: &str, item: &[u8]) {
        self.listed.extend(Resource::identify(api_version, kind).map(|(resource, _)| resource));
        self.take_one(api_version, kind, item);
    }

    /// Takes an object; false where none of its kind is read.
    pub(super) fn take_one(&mut self, api_version: &str, kind: &str, item: &[u8]) -> bool {
        let Some((resource, group)) = Resource::identify(api_version, kind) else { return false };
        let part = self.parts.entry((resource, group)).or_default();
        let decoded = self.convention.decoder(group, Detail::Full).decode(resource, item);
        let told = match &decoded.says {
            Says::Objects(objects) => objects.iter().filter_map(newest).max(),
            _ => None,
        };
        part.newest = part.newest.max(told).max(decoded.created);
        part.events.extend(decoded.events());
        true
    }

    /// A list has ended. An empty one says that there is nothing of its kind.
    ///
    /// # Errors
    /// Nobody has said what its items are.
    pub(super) fn close(&mut self, api_version: &str, kind: &str) -> Result<(), String> {
        let listed = std::mem::take(&mut self.listed);
        match of_list(kind) {
            Some(kind) => {
                if let Some(found) = Resource::identify(api_version, kind) {
                    self.parts.entry(found).or_default();
                }
                for item in std::mem::take(&mut self.unnamed) {
                    self.take_one(api_version, kind, &item);
                }
                Ok(())
            }
            None if self.unnamed.is_empty() => {
                self.left_out.extend(left_out(&listed));
                Ok(())
            }
            None => Err(format!("neither its items nor its kind {kind:?} say what they are")),
        }
    }

    fn has(&self, resource: Resource, group: ApiGroup) -> bool {
        self.parts.contains_key(&(resource, group))
    }

    /// Which group is in use (`libcalico-go/lib/backend/k8s/discovery.go`, as far as files tell): that which has blocks;
    /// where both have, after a migration, that which is not locked.
    fn group(&self) -> Result<ApiGroup, FileError> {
        if let Some(told) = self.convention.group {
            return Ok(told);
        }
        match (self.has(Resource::Blocks, ApiGroup::Crd), self.has(Resource::Blocks, ApiGroup::Native)) {
            (true, true) => match (self.is_ready(ApiGroup::Crd), self.is_ready(ApiGroup::Native)) {
                (Some(true), Some(false)) | (Some(true), None) => Ok(ApiGroup::Crd),
                (Some(false), Some(true)) | (None, Some(true)) => Ok(ApiGroup::Native),
                (Some(true), Some(true)) => Err(FileError::Groups("both are said to be ready")),
                _ => Err(FileError::Groups("neither is said to be ready")),
            },
            (true, false) => Ok(ApiGroup::Crd),
            (false, true) => Ok(ApiGroup::Native),
            // Host-local IPAM has no blocks in either.
            (false, false) => match self.parts.keys().any(|(it, group)| !it.is_core() && *group == ApiGroup::Crd) {
                true => Ok(ApiGroup::Crd),
                false => Ok(ApiGroup::Native),
            },
        }
    }

    /// What the group's `ClusterInformation` says.
    fn is_ready(&self, group: ApiGroup) -> Option<bool> {
        let part = self.parts.get(&(Resource::ClusterInformations, group))?;
        part.events.iter().find_map(|event| match event {
            Event::Put(object) => match &**object {
                Object::Cluster(cluster) => cluster.datastore_ready,
                _ => None,
            },
            _ => None,
        })
    }

    /// Everything of the group that is in use.
    ///
    /// # Errors
    /// Both have blocks, and it cannot be told which is in use.
    pub(super) fn finish(mut self) -> Result<Dump, FileError> {
        let group = self.group()?;
        // Beside the classic group, a server of Calico's answers for the other one: the same objects.
        let aggregated = group == ApiGroup::Crd && !self.has(Resource::Blocks, ApiGroup::Native);
        let mut dump = Dump { events: Vec::new(), newest: None, kinds: BTreeSet::new(), left_out: self.left_out };
        for resource in Resource::ALL {
            // Kubernetes' own are kept under the first.
            let of = if resource.is_core() { ApiGroup::Crd } else { group };
            let part = self.parts.remove(&(resource, of));
            let part = part.or_else(|| self.parts.remove(&(resource, ApiGroup::Native)).filter(|_| aggregated));
            let Some(part) = part else { continue };
            dump.kinds.insert(resource.model());
            dump.newest = dump.newest.max(part.newest);
            dump.events.extend(part.events);
        }
        if self.convention.use_pod_cidr && dump.kinds.contains(&Kind::Node) {
            dump.kinds.extend([Kind::Block, Kind::Affinity]);
        }
        dump.left_out.retain(|kind| !dump.kinds.contains(kind));
        Ok(dump)
    }
}

/// What a mixed list says that there is none of (J40). One with Nodes and pools is a whole answer. Without any object of
/// IPAM's it is of a cluster that leaves addresses to somebody else, and whoever asked for what every cluster of Calico's
/// has asked for Calico's other kinds as well.
fn left_out(listed: &BTreeSet<Resource>) -> impl Iterator<Item = Kind> {
    let has = |resource| listed.contains(&resource);
    let whole = has(Resource::Nodes) && has(Resource::Pools);
    let ipam = [Resource::Blocks, Resource::Affinities, Resource::Handles, Resource::IpamConfigs].into_iter().any(has);
    let calicos = has(Resource::ClusterInformations) && (has(Resource::FelixConfigurations) || has(Resource::Pools));
    let answers = move |resource: &Resource| whole || (!resource.is_core() && calicos && !ipam);
    Resource::ALL.into_iter().filter(answers).map(Resource::model)
}

/// The kind of the items of a list of this kind; `List` itself is of any.
fn of_list(kind: &str) -> Option<&str> {
    kind.strip_suffix("List").filter(|kind| !kind.is_empty())
}
