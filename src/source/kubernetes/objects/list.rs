//! A list as the API server answers it, item by item: nothing of it is held as a whole.

use std::fmt;
use std::io::Read;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::source::calico::json::object;

/// What a list says beside its items.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// `kind`, e.g. `IPAMBlockList`.
    pub kind: String,
    /// `apiVersion`.
    pub api_version: String,
    /// `metadata.resourceVersion`: where a watch begins.
    pub version: String,
    /// `metadata.continue`: where the next page begins; empty on the last.
    pub next: String,
}

/// Hands each item of a page to `each`, as it is written.
///
/// # Errors
/// It is no JSON, or no list: an answer without items is never an empty list. What was handed out then is a part.
pub fn items(page: &[u8], each: impl FnMut(&[u8])) -> Result<Head, serde_json::Error> {
    read(&mut serde_json::Deserializer::from_slice(page), each)
}

/// The same, while the page arrives.
///
/// # Errors
/// As [`items`], or the page cannot be read.
pub fn items_from(page: impl Read, each: impl FnMut(&[u8])) -> Result<Head, serde_json::Error> {
    read(&mut serde_json::Deserializer::from_reader(page), each)
}

fn read<'de, R: serde_json::de::Read<'de>>(
    json: &mut serde_json::Deserializer<R>,
    each: impl FnMut(&[u8]),
) -> Result<Head, serde_json::Error> {
    let head = json.deserialize_map(Page(each))?;
    json.end().map(|()| head)
}

object! {
    Metadata, rest IgnoredAny, {
        "resourceVersion" => version: String,
        "continue" => next: String,
    }
}

struct Page<F>(F);

impl<'de, F: FnMut(&[u8])> Visitor<'de> for Page<F> {
    type Value = Head;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of API objects")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Head, A::Error> {
        let mut head = Head::default();
        let mut listed = false;
        while let Some(key) = map.next_key::<String>()? {
            match &*key {
                "kind" => head.kind = map.next_value()?,
                "apiVersion" => head.api_version = map.next_value()?,
                "metadata" => {
                    let metadata: Metadata = map.next_value()?;
                    (head.version, head.next) = (metadata.version, metadata.next);
                }
                "items" => {
                    listed = true;
                    map.next_value_seed(Items(&mut self.0))?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if !listed {
            return Err(A::Error::custom("no \"items\" in it"));
        }
        Ok(head)
    }
}

/// `items`: a list; Go writes an empty one as `null` as well.
pub(crate) struct Items<F>(pub(crate) F);

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
