//! Dumps of a datastore, for judging a cluster without reaching it.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use thiserror::Error;

use super::etcd::decode;
use crate::state::{Event, Object, Side};

/// What a datastore's dump says.
#[derive(Debug, Clone, PartialEq)]
pub struct Dump {
    /// [`Event::Resync`], an event for every key that the exporter reads, [`Event::Synced`].
    pub events: Vec<Event>,
    /// The newest moment that the dump tells of: claims, allocations, releases and creations. Judging a dump, it stands
    /// for *now* (J6). `None` where the dump tells of none.
    pub newest: Option<SystemTime>,
}

/// Why a dump cannot be read.
#[derive(Debug, Error)]
pub enum FileError {
    /// The file cannot be opened.
    #[error("{}: {error}; expected the output of {EXPECTED}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The file is not what it ought to be.
    #[error("{}: {what}; expected the output of {EXPECTED}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
}

const EXPECTED: &str = "`etcdctl get --prefix /calico -w json`";

/// Reads the file at `path`: the output of `etcdctl get --prefix /calico -w json`.
///
/// # Errors
///
/// The file cannot be read, or is not such a dump. A value that cannot be decoded is no error but an event.
pub fn datastore(path: &Path) -> Result<Dump, FileError> {
    let file = File::open(path).map_err(|error| FileError::Open { path: path.to_owned(), error })?;
    datastore_from(path, file)
}

/// Reads the same from anywhere; `name` is what errors call it. The JSON is read key by key and never held as a whole.
///
/// # Errors
///
/// As [`datastore`].
pub fn datastore_from(name: &Path, reader: impl Read) -> Result<Dump, FileError> {
    let fail = |what: String| FileError::Content { path: name.to_owned(), what };
    let mut sink = Sink::default();
    sink.events.push(Event::Resync(Side::Datastore));
    let mut json = serde_json::Deserializer::from_reader(BufReader::with_capacity(1 << 16, reader));
    let found = Response(&mut sink).deserialize(&mut json).and_then(|found| json.end().map(|()| found));
    let found = found.map_err(|error| fail(error.to_string()))?;
    if found.more {
        return Err(fail("it was cut (\"more\": true), so that what is missing would look deleted".to_owned()));
    }
    // An empty answer has a header and no `kvs`.
    if !found.header && !found.kvs {
        return Err(fail("neither \"header\" nor \"kvs\" in it".to_owned()));
    }
    sink.events.push(Event::Synced(Side::Datastore));
    Ok(Dump { events: sink.events, newest: sink.newest })
}

#[derive(Default)]
struct Sink {
    events: Vec<Event>,
    newest: Option<SystemTime>,
}

impl Sink {
    fn take(&mut self, key: &[u8], value: &[u8]) {
        let event = decode::event(key, value);
        self.newest = self.newest.max(decode::created(key, value)).max(event.as_ref().and_then(newest));
        self.events.extend(event);
    }
}

fn newest(event: &Event) -> Option<SystemTime> {
    let Event::Put(object) = event else { return None };
    let Object::Block(block) = &**object else { return None };
    block.attributes.iter().flat_map(|it| [it.released_at, it.allocated_at]).fold(block.claimed_at, Option::max)
}

/// The answer's object: what it had beside the keys.
#[derive(Default)]
struct Found {
    header: bool,
    kvs: bool,
    more: bool,
}

struct Response<'a>(&'a mut Sink);

impl<'de> DeserializeSeed<'de> for Response<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Response<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object with \"kvs\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let mut found = Found::default();
        while let Some(key) = map.next_key::<String>()? {
            match &*key {
                "kvs" => {
                    found.kvs = true;
                    map.next_value_seed(KeyValues(&mut *self.0))?;
                }
                "more" => found.more = map.next_value::<Option<bool>>()?.unwrap_or_default(),
                other => {
                    found.header |= other == "header";
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// `kvs`: a list, or `null`.
struct KeyValues<'a>(&'a mut Sink);

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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::state::ObjectId;

    fn dump(text: &str) -> Result<Dump, FileError> {
        datastore_from(Path::new("dump.json"), text.as_bytes())
    }

    fn kvs(pairs: &[(&str, Option<&str>)]) -> String {
        let kvs: Vec<String> = pairs
            .iter()
            .map(|(key, value)| {
                let value = value.map(|value| format!(r#","value":"{}""#, BASE64_STANDARD.encode(value)));
                format!(r#"{{"key":"{}","version":1{}}}"#, BASE64_STANDARD.encode(key), value.unwrap_or_default())
            })
            .collect();
        format!(r#"{{"header":{{"revision":7}},"kvs":[{}],"count":{}}}"#, kvs.join(","), pairs.len())
    }

    #[test]
    fn a_dump_is_a_complete_list() {
        let text = kvs(&[
            ("/calico/felix/v2/x", Some("{}")),
            ("/calico/ipam/v2/host/h1/ipv4/block/10.0.0.0-26", None),
            ("/calico/ipam/v2/config", None),
            ("/calico/ipam/v2/handle/gone", Some(r#"{"deleted":true}"#)),
        ]);
        let dump = dump(&text).unwrap();
        assert!(matches!(
            &dump.events[..],
            [
                Event::Resync(Side::Datastore),
                Event::Put(affinity),
                Event::Unreadable { id: ObjectId::IpamConfig, .. },
                Event::Delete(ObjectId::Handle(_)),
                Event::Synced(Side::Datastore),
            ] if matches!(&**affinity, Object::Affinity(_))
        ));
        assert_eq!(dump.newest, None);
    }

    #[test]
    fn an_empty_datastore_has_a_header_alone() {
        for text in [r#"{"header":{"cluster_id":1}}"#, r#"{"header":{},"kvs":null}"#, r#"{"kvs":[]}"#] {
            assert_eq!(dump(text).unwrap().events, [Event::Resync(Side::Datastore), Event::Synced(Side::Datastore)]);
        }
    }

    #[test]
    fn the_newest_moment_is_the_latest_of_all_kinds() {
        let block = "/calico/ipam/v2/assignment/ipv4/block/10.0.0.0-30";
        let node = "/calico/resources/v3/projectcalico.org/nodes/n";
        let created = r#"{"metadata":{"creationTimestamp":"1970-01-01T00:00:05Z"}}"#;
        for (claimed, allocated, released, newest) in [(1, 2, 3, 5), (9, 2, 3, 9), (1, 8, 3, 8), (1, 2, 7, 7)] {
            let value = format!(
                r#"{{"cidr":"10.0.0.0/30","affinity_claim_time":"1970-01-01T00:00:0{claimed}Z","attributes":[{{"secondary":{{"timestamp":"1970-01-01 00:00:0{allocated} +0000 UTC"}}}},{{"releasedAt":"1970-01-01T00:00:0{released}Z"}}]}}"#
            );
            let dump = dump(&kvs(&[(block, Some(&value)), (node, Some(created))])).unwrap();
            assert_eq!(dump.newest, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(newest)));
        }
    }

    #[test]
    fn what_is_no_dump_says_what_was_expected() {
        let base64 = BASE64_STANDARD.encode("/calico/ipam/v2/config");
        for (text, what) in [
            (String::new(), "EOF while parsing a value at line 1 column 0"),
            ("{}".to_owned(), "neither \"header\" nor \"kvs\" in it"),
            (r#"{"items":[]}"#.to_owned(), "neither \"header\" nor \"kvs\" in it"),
            ("/calico/ipam/v2/config\n{}".to_owned(), "expected value at line 1 column 1"),
            ("[]".to_owned(), "invalid type: sequence, expected an object with \"kvs\" at line 1 column 1"),
            (
                r#"{"kvs":[{"key":"?"}]}"#.to_owned(),
                "\"?\" is no base64: Invalid symbol 63, offset 0. at line 1 column 18",
            ),
            (r#"{"kvs":[{"value":""}]}"#.to_owned(), "missing field `key` at line 1 column 20"),
            (r#"{"kvs":{}}"#.to_owned(), "invalid type: map, expected a list of keys and values at line 1 column 9"),
            (format!(r#"{{"kvs":[{{"key":"{base64}""#), "EOF while parsing an object at line 1 column 49"),
            (kvs(&[]) + "{}", "trailing characters at line 1 column 45"),
            (
                r#"{"header":{},"kvs":[],"more":true}"#.to_owned(),
                "it was cut (\"more\": true), so that what is missing would look deleted",
            ),
        ] {
            let error = dump(&text).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("dump.json: {what}; expected the output of `etcdctl get --prefix /calico -w json`")
            );
        }
        let error = datastore(Path::new("/nowhere/etcd.json")).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/etcd.json: No such file"), "{error}");
    }
}
