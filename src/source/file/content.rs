//! What a file holds: its outermost object says which datastore it is of.

use std::fmt;
use std::io;

use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::bundle::Bundle;
use super::etcd::{KeyValues, Sink};

/// Where what is read goes.
pub(super) struct Content<'a> {
    pub(super) etcd: &'a mut Sink,
    pub(super) bundle: &'a mut Bundle,
}

/// Whose dump a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// etcd's.
    Etcd,
    /// The Kubernetes API's.
    Kubernetes,
}

/// What the outermost object had beside what was handed on.
#[derive(Default)]
pub(super) struct Found {
    header: bool,
    kvs: bool,
    more: bool,
    items: bool,
    kind: String,
    api_version: String,
    metadata: Option<Box<RawValue>>,
    spec: Option<Box<RawValue>>,
    status: Option<Box<RawValue>>,
    message: String,
}

impl Content<'_> {
    pub(super) fn read<R: io::Read>(
        self,
        json: &mut serde_json::Deserializer<serde_json::de::IoRead<R>>,
    ) -> Result<Found, serde_json::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Content<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with \"kvs\" or \"items\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let mut found = Found::default();
        while let Some(key) = map.next_key::<String>()? {
            match &*key {
                "kvs" => {
                    found.kvs = true;
                    map.next_value_seed(KeyValues(&mut *self.etcd))?;
                }
                "more" => found.more = map.next_value::<Option<bool>>()?.unwrap_or_default(),
                "items" => {
                    found.items = true;
                    let (version, kind) = (found.api_version.clone(), found.kind.clone());
                    map.next_value_seed(Items(|item: &[u8]| self.bundle.take((&version, &kind), item)))?;
                }
                "kind" => found.kind = map.next_value()?,
                "apiVersion" => found.api_version = map.next_value()?,
                "metadata" => found.metadata = map.next_value()?,
                "spec" => found.spec = map.next_value()?,
                // Of an object; of an answer that is a refusal it is text.
                "status" => found.status = map.next_value()?,
                "message" => found.message = map.next_value::<Option<String>>()?.unwrap_or_default(),
                other => {
                    found.header |= other == "header";
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// `items`: a list; Go writes an empty one as `null` as well.
struct Items<F>(F);

impl<'de, F: FnMut(&[u8])> DeserializeSeed<'de> for Items<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: FnMut(&[u8])> Visitor<'de> for Items<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of API objects")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        while let Some(item) = seq.next_element::<Box<RawValue>>()? {
            (self.0)(item.get().as_bytes());
        }
        Ok(())
    }
}

#[derive(serde::Deserialize, Default)]
struct ListMeta {
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

impl Found {
    /// Whose dump it is, once all of it has been read.
    ///
    /// # Errors
    /// It is none, or a part of one.
    pub(super) fn finish(self, bundle: &mut Bundle) -> Result<What, String> {
        let cut = |why: &str| Err(format!("it was cut ({why}), so that what is missing would look deleted"));
        if self.kvs && self.items {
            return Err("both \"kvs\" and \"items\" in it".to_owned());
        }
        if self.more {
            return cut("\"more\": true");
        }
        if self.items {
            let metadata = self.metadata.as_deref().map(ListMeta::deserialize).transpose();
            let metadata = metadata.map_err(|error| format!("metadata: {error}"))?.unwrap_or_default();
            if metadata.next.is_some_and(|next| !next.is_empty()) {
                return cut("\"continue\" is set");
            }
            bundle.close(&self.api_version, &self.kind)?;
            return Ok(What::Kubernetes);
        }
        // An empty answer has a header and no `kvs`.
        if self.header || self.kvs {
            return Ok(What::Etcd);
        }
        match &*self.kind {
            "" => Err("neither \"header\" nor \"kvs\" nor \"items\" in it".to_owned()),
            "Status" => Err(format!("the API server refused: {}", self.message)),
            kind => {
                let part = |name: &str, part: &Option<Box<RawValue>>| {
                    part.as_ref().map(|part| format!("\"{name}\":{}", part.get()))
                };
                let parts = [part("metadata", &self.metadata), part("spec", &self.spec), part("status", &self.status)];
                let item = format!("{{{}}}", parts.into_iter().flatten().collect::<Vec<_>>().join(","));
                match bundle.take_one(&self.api_version, kind, item.as_bytes()) {
                    true => Ok(What::Kubernetes),
                    false => Err(format!("an object of kind {kind:?}, which is not read, and no list")),
                }
            }
        }
    }
}
