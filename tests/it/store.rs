//! A datastore in memory, for the lab's stand-ins: what they write is dumped as `etcdctl` does.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

#[derive(Debug, Default)]
pub(crate) struct Store(BTreeMap<String, String>);

impl Store {
    pub(crate) fn put(&mut self, key: &str, value: &str) {
        self.0.insert(key.to_owned(), value.to_owned());
    }

    pub(crate) fn delete(&mut self, key: &str) {
        self.0.remove(key);
    }

    pub(crate) fn get(&mut self, key: &str) -> Option<String> {
        self.0.get(key).cloned()
    }

    /// `etcdctl get --prefix /calico -w json`.
    pub(crate) fn dump(&self) -> String {
        let encode = |text: &String| BASE64_STANDARD.encode(text);
        let kvs: Vec<Value> =
            self.0.iter().map(|(key, value)| json!({"key": encode(key), "value": encode(value)})).collect();
        json!({"header": {"revision": 1}, "kvs": kvs, "count": self.0.len()}).to_string()
    }
}
