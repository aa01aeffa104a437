//! `metadata` of an API object, and what Calico keeps of its own there.

use serde::de::IgnoredAny;

use super::{Decoded, Decoder, Place, Says};
use crate::source::calico::json::{Entries, Text, object};
use crate::source::calico::{parse, timestamp, why};
use crate::source::kubernetes::{ApiGroup, Resource};
use crate::state::Unreadable;

/// The annotation in which `crd.projectcalico.org/v1` keeps what Calico's own `metadata` would say, as JSON
/// (`libcalico-go/lib/backend/k8s/resources/resources.go`).
const METADATA: &str = "projectcalico.org/metadata";

object! {
    pub(super) Meta<'de>, rest IgnoredAny, {
        "name" => name: Text<'de>,
        "namespace" => namespace: Text<'de>,
        "uid" => uid: Text<'de>,
        "resourceVersion" => version: Text<'de>,
        "creationTimestamp" => created: Text<'de>,
        "deletionTimestamp" => deletion: Text<'de>,
        "labels" => labels: Entries<'de, String>,
        "annotations" => annotations: Entries<'de, Text<'de>>,
    }
}

object! {
    /// Calico's own `metadata`, as far as anything of it is read.
    pub(super) Kept<'de>, rest IgnoredAny, {
        "creationTimestamp" => created: Text<'de>,
        "deletionTimestamp" => deletion: Text<'de>,
    }
}

impl Kept<'_> {
    /// When the object was made, in seconds since 1970.
    pub(super) fn created(&self) -> Option<i64> {
        self.created.get().and_then(timestamp::unix_seconds)
    }

    /// Whether Calico is about to delete it.
    pub(super) fn is_going(&self) -> bool {
        self.deletion.get().is_some()
    }
}

impl Meta<'_> {
    /// `metadata.namespace`.
    pub(super) fn namespace(&self) -> &str {
        self.namespace.get().unwrap_or_default()
    }

    /// Whether the object is being deleted.
    pub(super) fn is_going(&self) -> bool {
        self.deletion.get().is_some()
    }

    /// `metadata.labels`.
    pub(super) fn labels(&self) -> impl Iterator<Item = (&str, &str)> + '_ {
        self.labels.0.iter().map(|(key, value)| (&**key, value.as_str()))
    }

    /// The annotation's text: `None` where there is none, `Some("")` where it is empty.
    pub(super) fn annotation(&self, name: &str) -> Option<&str> {
        let (_, text) = self.annotations.0.iter().rfind(|(key, _)| key == name)?;
        Some(text.get().unwrap_or_default())
    }

    /// What Calico keeps in an annotation of a classic custom resource. Where that cannot be read, Calico drops the
    /// whole object (`ConvertK8sResourceToCalicoResource`).
    pub(super) fn kept(&self, group: ApiGroup) -> Result<Kept<'_>, Unreadable> {
        match self.annotation(METADATA).filter(|_| group == ApiGroup::Crd) {
            None => Ok(Kept::default()),
            Some(text) => parse(text.as_bytes()).map_err(|error| match error {
                Unreadable::Undecodable(what) => {
                    Unreadable::Undecodable(why::at(&format!("metadata.annotations.{METADATA}"), &what))
                }
                other => other,
            }),
        }
    }

    /// Where the object is.
    ///
    /// # Errors
    /// It has no name.
    pub(super) fn place(&self, resource: Resource) -> Result<Place, Unreadable> {
        let Some(name) = self.name.get() else {
            return Err(Unreadable::Undecodable(why::at("metadata.name", "missing")));
        };
        let namespace = self.namespace.get().filter(|_| resource == Resource::Pods);
        Ok(Place { resource, namespace: namespace.map(Into::into), name: name.into() })
    }

    pub(super) fn decoded(&self, place: Place, says: Says) -> Decoded {
        let text = |text: &Text<'_>| text.get().unwrap_or_default().into();
        let created = self.created.get().and_then(timestamp::rfc3339);
        Decoded { place, uid: text(&self.uid), version: text(&self.version), created, says }
    }
}

/// Checks what a custom resource keeps, and says where it is.
pub(super) fn custom(decoder: &Decoder, resource: Resource, meta: &Meta<'_>) -> Result<Place, Unreadable> {
    meta.kept(decoder.group)?;
    meta.place(resource)
}
