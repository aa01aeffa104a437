//! A support bundle: all that `check`, `explain` and `plan` judge, in one file, without what they do not read. It is JSON,
//! packed by gzip; `zcat FILE | jq` shows what is in it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Cursor, Read, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::iproute::Printed;
use super::kubernetes::{ApiGroup, Resource};
use crate::state::Event;

mod anonymise;
mod redact;

use anonymise::Aliases;
use redact::Selectors;

/// The form of this document.
const FORM: u32 = 1;
/// The largest document that is read, unpacked.
const LARGEST: u64 = 4 << 30;
/// What stands between a bundle's path and the name of a document in it.
const WITHIN: char = '!';

/// A datastore as it was read: values, of which only a part is kept.
#[derive(Debug, Clone)]
pub enum Raw {
    /// etcd's keys and values.
    Etcd(Vec<(Vec<u8>, Vec<u8>)>),
    /// Objects of the Kubernetes API.
    Kubernetes(ApiGroup, Vec<(Resource, Vec<Vec<u8>>)>),
}

/// A bundle.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bundle {
    /// The form of the document.
    bundle: u32,
    /// The exporter that wrote it.
    pub version: String,
    /// When, in RFC 3339.
    pub written: String,
    /// Whether names and addresses are others than they were.
    pub anonymised: bool,
    /// Whose kernel it is.
    pub node: String,
    /// Variables that say how Calico was told to work on that host.
    pub environment: BTreeMap<String, String>,
    /// `etcdv3` or `kubernetes`.
    pub datastore_type: String,
    /// The kernel's release.
    #[serde(default)]
    pub kernel: String,
    /// What `check` said there.
    pub findings: Value,
    /// Documents by name, each as `--datastore.file`, `--routes.file` and so on take it.
    documents: BTreeMap<String, Value>,
}

/// What a bundle says beside its documents.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// Whose kernel it is.
    pub node: String,
    /// When, in RFC 3339.
    pub written: String,
    /// Variables that say how Calico was told to work.
    pub environment: BTreeMap<String, String>,
    /// The kernel's release.
    pub kernel: String,
    /// What `check` says.
    pub findings: Value,
}

impl Bundle {
    /// A bundle of a datastore and, if its events are given, a kernel; under other names if `others` has the events that
    /// tell of them.
    pub fn new(about: About, raw: &Raw, kernel: Option<&[Event]>, others: Option<&[Event]>) -> Bundle {
        let mut documents = BTreeMap::new();
        let aliases = others.map(|events| Aliases::of(events, &about.node));
        let named = |value: &Value| aliases.as_ref().map_or_else(|| value.clone(), |it| it.value(value));
        let text = |text: &str| aliases.as_ref().map_or_else(|| text.to_owned(), |it| it.text(text));
        match raw {
            Raw::Etcd(pairs) => {
                documents.insert("datastore".to_owned(), etcd(pairs, &named, &text));
            }
            Raw::Kubernetes(group, lists) => {
                for (resource, list) in kubernetes(*group, lists, &named) {
                    documents.insert(format!("datastore-{}", resource.plural(*group)), list);
                }
            }
        }
        if let Some(events) = kernel {
            let Printed { routes, links, neighbours, fdb, rules } = Printed::of(events);
            let mut put = |name: &str, list: Vec<Value>| drop(documents.insert(name.to_owned(), named(&list.into())));
            put("routes", routes);
            put("links", links);
            neighbours.into_iter().for_each(|list| put("neighbours", list));
            fdb.into_iter().for_each(|list| put("fdb", list));
            for (name, list) in ["rules", "rules6"].into_iter().zip(rules.into_iter().flatten()) {
                put(name, list);
            }
        }
        Bundle {
            bundle: FORM,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            written: about.written,
            anonymised: aliases.is_some(),
            node: text(&about.node),
            environment: about.environment,
            datastore_type: if matches!(raw, Raw::Etcd(_)) { "etcdv3" } else { "kubernetes" }.to_owned(),
            kernel: about.kernel,
            findings: named(&about.findings),
            documents,
        }
    }

    /// Writes it, readable by nobody else.
    ///
    /// # Errors
    /// The file is there already, or cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        let mut packed = GzEncoder::new(io::BufWriter::new(file), Compression::default());
        serde_json::to_writer(&mut packed, self)?;
        packed.finish()?.flush()
    }

    /// Reads one.
    ///
    /// # Errors
    /// It cannot be read, or is no bundle.
    pub fn read(path: &Path) -> io::Result<Bundle> {
        let bundle: Bundle =
            serde_json::from_reader(io::BufReader::new(GzDecoder::new(File::open(path)?).take(LARGEST)))
                .map_err(|error| io::Error::other(format!("no bundle of `calico-exporter bundle`: {error}")))?;
        match bundle.bundle {
            FORM => Ok(bundle),
            form => Err(io::Error::other(format!("a bundle of form {form}, which a newer exporter reads"))),
        }
    }

    /// The path by which `open` finds a document of the bundle at `path`, if it is there.
    pub fn document(&self, path: &Path, name: &str) -> Option<PathBuf> {
        self.documents.contains_key(name).then(|| within(path, name))
    }

    /// The paths of all documents of the datastore.
    pub fn datastore(&self, path: &Path) -> Vec<PathBuf> {
        self.documents.keys().filter(|name| name.starts_with("datastore")).map(|name| within(path, name)).collect()
    }
}

fn within(path: &Path, name: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(format!("{WITHIN}{name}"));
    path.into()
}

/// Opens a file, or a document of a bundle by [`Bundle::document`]'s path.
///
/// # Errors
/// It is not there, or cannot be read.
pub(super) fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    let missing = match File::open(path) {
        Ok(file) => return Ok(Box::new(file)),
        Err(error) => error,
    };
    let Some((file, name)) = path.to_str().and_then(|path| path.rsplit_once(WITHIN)) else { return Err(missing) };
    let mut bundle = Bundle::read(Path::new(file))?;
    match bundle.documents.remove(name) {
        Some(document) => Ok(Box::new(Cursor::new(document.to_string()))),
        None => Err(missing),
    }
}

/// As `etcdctl get -w json` prints it.
fn etcd(pairs: &[(Vec<u8>, Vec<u8>)], named: &impl Fn(&Value) -> Value, text: &impl Fn(&str) -> String) -> Value {
    let read: Vec<(&[u8], Option<Value>)> =
        pairs.iter().map(|(key, value)| (key.as_slice(), serde_json::from_slice(value).ok())).collect();
    let mut selectors = Selectors::default();
    read.iter().flat_map(|(_, value)| value).for_each(|value| selectors.note(value));
    let kvs: Vec<Value> = pairs
        .iter()
        .zip(&read)
        .map(|((key, whole), (_, value))| {
            let key = String::from_utf8_lossy(key);
            let kept = match value {
                Some(value) => named(&redacted(&key, value, &selectors)).to_string(),
                // An affinity's is a word; what else is no JSON is as unreadable as before by any other text.
                None if key.starts_with(super::etcd::key::HOST_AFFINITIES) => {
                    let word: String = String::from_utf8_lossy(whole).chars().take(32).collect();
                    if word.chars().all(|it| it.is_ascii_alphanumeric()) { word } else { "unreadable".to_owned() }
                }
                None if whole.is_empty() => String::new(),
                None => "unreadable".to_owned(),
            };
            json!({"key": BASE64_STANDARD.encode(text(&key)), "value": BASE64_STANDARD.encode(kept)})
        })
        .collect();
    json!({"header": {}, "count": kvs.len(), "kvs": kvs})
}

/// A value of etcd's: what stands in a resource is kept as in an object of its kind, and IPAM's own is read whole.
fn redacted(key: &str, value: &Value, selectors: &Selectors) -> Value {
    let Some(place) = key.strip_prefix("/calico/resources/v3/projectcalico.org/") else { return value.clone() };
    let kind = match place.split('/').next().unwrap_or_default() {
        "nodes" => "Node",
        "workloadendpoints" => "WorkloadEndpoint",
        "felixconfigurations" => "FelixConfiguration",
        "bgpconfigurations" => "BGPConfiguration",
        "bgppeers" => "BGPPeer",
        "clusterinformations" => "ClusterInformation",
        _ => "",
    };
    match value {
        Value::Object(_) => redact::object(kind, value, selectors),
        other => other.clone(),
    }
}

fn kubernetes(
    group: ApiGroup,
    lists: &[(Resource, Vec<Vec<u8>>)],
    named: &impl Fn(&Value) -> Value,
) -> Vec<(Resource, Value)> {
    let lists: Vec<(Resource, Vec<Value>)> = lists
        .iter()
        .map(|(resource, items)| {
            // An item that is no JSON stays an item, and as unreadable.
            (*resource, items.iter().map(|item| serde_json::from_slice(item).unwrap_or_default()).collect())
        })
        .collect();
    let mut selectors = Selectors::default();
    lists.iter().flat_map(|(_, items)| items).for_each(|item| selectors.note(item));
    let list = |(resource, items): &(Resource, Vec<Value>)| {
        let kind = resource.kind(group);
        let items: Vec<Value> = items.iter().map(|item| named(&redact::object(kind, item, &selectors))).collect();
        let list = json!({
            "apiVersion": resource.api_version(group), "kind": format!("{kind}List"),
            "metadata": {"resourceVersion": "1"}, "items": items,
        });
        (*resource, list)
    };
    lists.iter().map(list).collect()
}
