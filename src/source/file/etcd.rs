//! `etcdctl get --prefix /calico -w json`: keys and values in base64.

use std::time::SystemTime;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

use super::newest;
use crate::source::etcd::decode;
use crate::state::Event;

/// What was read.
#[derive(Default)]
pub(super) struct Sink {
    pub(super) events: Vec<Event>,
    pub(super) newest: Option<SystemTime>,
}

impl Sink {
    fn take(&mut self, key: &[u8], value: &[u8]) {
        let event = decode::event(key, value);
        let told = event.as_ref().and_then(|event| if let Event::Put(object) = event { newest(object) } else { None });
        self.newest = self.newest.max(decode::created(key, value)).max(told);
        self.events.extend(event);
    }
}

/// `kvs`: a list, or `null`.
pub(super) struct KeyValues<'a>(pub(super) &'a mut Sink);

impl<'de> DeserializeSeed<'de> for KeyValues<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for KeyValues<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of keys and values")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(KeyValue { key, value }) = seq.next_element()? {
            self.0.take(&key.0, &value.0);
        }
        Ok(())
    }
}

#[derive(serde::Deserialize)]
struct KeyValue {
    key: Bytes,
    /// `etcdctl` leaves an empty value out.
    #[serde(default)]
    value: Bytes,
}

/// Bytes in base64.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl<'de> serde::Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Base64;
        impl Visitor<'_> for Base64 {
            type Value = Bytes;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("text in base64")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Bytes, E> {
                BASE64_STANDARD.decode(text).map(Bytes).map_err(|error| {
                    let start: String = text.chars().take(20).collect();
                    E::custom(format_args!("{start:?} is no base64: {error}"))
                })
            }
        }
        deserializer.deserialize_str(Base64)
    }
}
