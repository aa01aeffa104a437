//! One cluster in both datastores: whatever is known of it from etcd is known from the Kubernetes API.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use calico_exporter::source::file::{self, Dump};
use calico_exporter::source::kubernetes::objects::{Decoder, Ledger, Reading, Says};
use calico_exporter::source::kubernetes::{ApiGroup, Convention, Resource};
use calico_exporter::state::{Datastore, Event, Object, ObjectId, Side, State};
use serde_json::{Value, json};

use crate::fixtures::{self, RECORDED, folder, recorded_datastores};
use crate::support::calico::KeyValue;
use crate::support::custom;
use crate::support::exporter::{Exporter, run};

pub(crate) const BOTH: [(ApiGroup, &str); 2] = [(ApiGroup::Crd, "kubernetes-v1"), (ApiGroup::Native, "kubernetes-v3")];

/// The lists of a recording of the API server.
pub(crate) fn lists(group: ApiGroup, name: &str) -> Vec<PathBuf> {
    Resource::ALL.iter().map(|resource| folder(name).join(format!("{}.json", resource.plural(group)))).collect()
}

/// The same, read.
pub(crate) fn listed(group: ApiGroup, name: &str) -> Dump {
    file::datastores(&lists(group, name), &Convention::default()).unwrap()
}

fn fold(events: impl IntoIterator<Item = Event>) -> Datastore {
    let mut state = State::new(true);
    events.into_iter().for_each(|event| state.apply(event, Duration::ZERO));
    assert!(state.in_sync(Side::Datastore));
    state.datastore
}

fn objects(dump: Dump) -> BTreeMap<ObjectId, Object> {
    let put = |event| match event {
        Event::Put(object) => Some((object.id(), *object)),
        Event::Resync(_) | Event::Synced(_) => None,
        other => panic!("{other:?}"),
    };
    dump.events.into_iter().filter_map(put).collect()
}

/// etcd's keys and values.
pub(crate) fn pairs(dump: &Path) -> Vec<KeyValue> {
    let dump: Value = serde_json::from_slice(&fs::read(dump).unwrap()).unwrap();
    let text =
        |value: &Value| String::from_utf8(BASE64_STANDARD.decode(value.as_str().unwrap_or_default()).unwrap()).unwrap();
    dump["kvs"].as_array().unwrap().iter().map(|kv| (text(&kv["key"]), text(&kv["value"]))).collect()
}

#[test]
fn every_recorded_cluster_is_the_same_behind_the_kubernetes_api() {
    for folder in recorded_datastores() {
        let dump = folder.join("etcd.json");
        let etcd = file::datastore(&dump).unwrap();
        let newest = etcd.newest;
        let wanted: BTreeMap<ObjectId, Object> =
            objects(etcd).into_values().map(custom::sayable).map(|object| (object.id(), object)).collect();
        for group in ApiGroup::ALL {
            let list = custom::list(group, &pairs(&dump));
            let api = file::datastore_from(Path::new("list"), list.as_bytes()).unwrap();
            assert!(api.newest >= newest, "{}", folder.display());
            let api = objects(api);
            assert_eq!(api.len(), wanted.len(), "{} {group}", folder.display());
            for (id, object) in &wanted {
                assert_eq!(api.get(id), Some(object), "{} {group}", folder.display());
            }
        }
    }
}

#[test]
fn every_recorded_host_is_as_healthy_by_the_kubernetes_api() {
    for (name, hosts) in RECORDED {
        let list = custom::list(ApiGroup::Crd, &pairs(&folder(name).join("etcd.json")));
        let datastore = file::datastore_from(Path::new("list"), list.as_bytes()).unwrap().events;
        for host in *hosts {
            assert_eq!(
                fixtures::lines(&fixtures::findings(host, &datastore, &fixtures::kernel(name, host))),
                [""; 0],
                "{name} {host}"
            );
        }
    }
}

/// Series that the fixtures' README lets differ: moments, and what the program says of itself.
fn may_differ(name: &str) -> bool {
    name.starts_with("process_") || name.starts_with("calico_exporter_") || name.ends_with("_timestamp_seconds")
}

#[test]
fn a_recorded_cluster_is_served_alike_from_both_datastores() {
    for (group, name) in BOTH {
        let scrape = |files: &[PathBuf]| {
            let files: Vec<&str> = files.iter().flat_map(|path| ["--datastore.file", path.to_str().unwrap()]).collect();
            let check = run(&[&["check", "--output", "json"][..], &files].concat());
            let said = String::from_utf8(check.stdout).unwrap();
            assert_eq!(check.status.code(), Some(0), "{said} {}", String::from_utf8_lossy(&check.stderr));
            let exporter = Exporter::start(&files);
            exporter.until_ready();
            let answer = exporter.get("/metrics");
            let lines = answer
                .text()
                .lines()
                .filter(|line| !line.starts_with('#') && !may_differ(line.split(['{', ' ']).next().unwrap()));
            (said, lines.map(str::to_owned).collect::<Vec<_>>())
        };
        let (etcd, api) = (scrape(&[folder(name).join("etcd.json")]), scrape(&lists(group, name)));
        assert!(etcd.1.len() > 100, "{}", etcd.1.len());
        assert_eq!(api.1, etcd.1, "{name}");
        assert_eq!(api.0, etcd.0, "{name}");
    }
}

fn watched(name: &str) -> Vec<(String, Value)> {
    let text = fs::read_to_string(folder(name).join("watch.ndjson")).unwrap();
    let line = |line: &str| {
        let mut event: Value = serde_json::from_str(line).unwrap();
        (event["type"].as_str().unwrap().to_owned(), event["object"].take())
    };
    text.lines().map(line).collect()
}

fn resource(group: ApiGroup, object: &Value) -> Resource {
    let text = |field: &str| object[field].as_str().unwrap();
    Resource::identify(text("apiVersion"), text("kind"))
        .map(|(resource, _)| resource)
        .filter(|it| it.is_core() || it.api_version(group) == text("apiVersion"))
        .unwrap()
}

/// A watch that is replayed: the picture, and the objects that the API server would list at this moment.
struct Replay {
    decoder: Decoder,
    state: State,
    ledgers: BTreeMap<Resource, Ledger>,
    listed: BTreeMap<(Resource, String, String), Vec<u8>>,
}

impl Replay {
    fn begin(group: ApiGroup, name: &str) -> Replay {
        let mut replay = Replay {
            decoder: Decoder::new(group),
            state: State::new(true),
            ledgers: BTreeMap::new(),
            listed: BTreeMap::new(),
        };
        replay.state.apply(Event::Resync(Side::Datastore), Duration::ZERO);
        for resource in Resource::ALL {
            let path = folder(name).join(format!("{}.json", resource.plural(group)));
            let list: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            for item in list["items"].as_array().unwrap() {
                replay.put(resource, serde_json::to_vec(item).unwrap());
            }
        }
        replay.state.apply(Event::Synced(Side::Datastore), Duration::ZERO);
        replay
    }

    fn place(resource: Resource, item: &[u8]) -> (Resource, String, String) {
        let item: Value = serde_json::from_slice(item).unwrap();
        let text = |field: &str| item["metadata"][field].as_str().unwrap_or_default().to_owned();
        (resource, text("namespace"), text("name"))
    }

    fn put(&mut self, resource: Resource, item: Vec<u8>) {
        let ledger = self.ledgers.entry(resource).or_default();
        for event in ledger.put(self.decoder.decode(resource, &item), Reading::default()) {
            self.state.apply(event, Duration::ZERO);
        }
        self.listed.insert(Self::place(resource, &item), item);
    }

    fn delete(&mut self, resource: Resource, item: Vec<u8>) {
        let ledger = self.ledgers.entry(resource).or_default();
        for event in ledger.delete(self.decoder.decode(resource, &item)) {
            self.state.apply(event, Duration::ZERO);
        }
        self.listed.remove(&Self::place(resource, &item));
    }

    /// What a list at this moment says.
    fn fresh(&self) -> Datastore {
        let mut events = vec![Event::Resync(Side::Datastore)];
        for ((resource, ..), item) in &self.listed {
            events.extend(self.decoder.decode(*resource, item).events());
        }
        events.push(Event::Synced(Side::Datastore));
        fold(events)
    }
}

/// Everything that a picture holds.
fn contents(datastore: &Datastore) -> String {
    let blocks: Vec<_> = datastore.blocks().collect();
    let affinities: Vec<_> = datastore.affinities().collect();
    format!(
        "{blocks:#?} {affinities:#?} {:#?} {:#?} {:#?} {:#?} {:#?} {:#?}",
        datastore.handles(),
        datastore.pools(),
        datastore.nodes(),
        datastore.endpoints(),
        datastore.unreadable(),
        (datastore.ipam_config(), datastore.reservations(), datastore.felix(), datastore.bgp(), datastore.cluster()),
    )
}

#[test]
fn a_replayed_watch_ends_where_a_fresh_list_would() {
    for (group, name) in BOTH {
        let mut replay = Replay::begin(group, name);
        let before = contents(&replay.state.datastore);
        assert_eq!(before, contents(&replay.fresh()));
        let (mut seen, mut soft) = (0, 0);
        for (what, object) in watched(name) {
            if what == "BOOKMARK" {
                continue;
            }
            let resource = resource(group, &object);
            let gone = ["true", "True"].iter().any(|it| object["spec"]["deleted"] == **it)
                || object["spec"]["deleted"] == true;
            let item = serde_json::to_vec(&object).unwrap();
            match &*what {
                "ADDED" | "MODIFIED" => replay.put(resource, item),
                "DELETED" => replay.delete(resource, item),
                other => panic!("{other}"),
            }
            seen += 1;
            if gone && what == "MODIFIED" {
                // The row is still there, and it is no object any more.
                soft += 1;
                let Says::Deleted(id) = replay.decoder.decode(resource, &serde_json::to_vec(&object).unwrap()).says
                else {
                    panic!("{object}")
                };
                let state = &replay.state.datastore;
                let there = match &id {
                    ObjectId::Block(cidr) => state.block(cidr).is_some(),
                    ObjectId::Affinity(_, cidr) => state.has_affinity(cidr),
                    ObjectId::Handle(id) => state.handles().contains_key(id),
                    other => panic!("{other:?}"),
                };
                assert!(!there, "{id:?}");
            }
            assert_eq!(contents(&replay.state.datastore), contents(&replay.fresh()), "{name} after {seen}");
        }
        assert_eq!((seen, soft), (23, 3), "{name}");
        // Everything that came went again.
        assert_eq!(contents(&replay.state.datastore), before, "{name}");
    }
}

/// Two hosts with host-local IPAM, and the kernel of the first: files for the program.
fn host_local(route_to_n2: bool) -> (tempfile::TempDir, Vec<String>) {
    let node = |name: &str, address: &str, cidr: &str| {
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "annotations": {"projectcalico.org/IPv4Address": format!("{address}/24")}},
            "spec": {"podCIDR": cidr, "podCIDRs": [cidr]},
            "status": {"addresses": [{"type": "InternalIP", "address": address}]},
        })
    };
    let items = [
        node("n1", "10.77.1.1", "10.244.1.0/24"),
        node("n2", "10.77.1.2", "10.244.2.0/24"),
        json!({
            "apiVersion": "crd.projectcalico.org/v1", "kind": "IPPool", "metadata": {"name": "p"},
            "spec": {"cidr": "10.244.0.0/16", "ipipMode": "Always"},
        }),
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-0", "namespace": "shop"},
            "spec": {"nodeName": "n1"}, "status": {"phase": "Running", "podIP": "10.244.1.5"},
        }),
    ];
    let veth = custom::device("shop", "web-0");
    let mut routes = vec![
        json!({"type": "unicast", "dst": "10.77.1.0/24", "dev": "eth0", "protocol": "kernel", "scope": "link", "flags": []}),
        json!({"type": "unicast", "dst": "10.244.1.5", "dev": veth, "protocol": "80", "scope": "link", "flags": []}),
        json!({"type": "blackhole", "dst": "10.244.1.0/24", "protocol": "bird", "flags": []}),
    ];
    if route_to_n2 {
        routes.push(json!({
            "type": "unicast", "dst": "10.244.2.0/24", "gateway": "10.77.1.2", "dev": "tunl0", "protocol": "bird",
            "flags": ["onlink"],
        }));
    }
    let link = |index: u32, name: &str, address: &[(&str, u8)]| {
        let addresses: Vec<Value> = address
            .iter()
            .map(|(local, prefix)| json!({"family": "inet", "local": local, "prefixlen": prefix, "scope": "global"}))
            .collect();
        json!({"ifindex": index, "ifname": name, "flags": ["UP", "LOWER_UP"], "mtu": (if name == "eth0" { 1500 } else { 1480 }), "operstate": "UP", "addr_info": addresses})
    };
    // The tunnel's address is the one after the podCIDR's own.
    let links = [link(2, "eth0", &[("10.77.1.1", 24)]), link(3, &veth, &[]), link(4, "tunl0", &[("10.244.1.1", 32)])];
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, value: Value| {
        let path = folder.path().join(name);
        fs::write(&path, value.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let list = write("list.json", json!({"apiVersion": "v1", "kind": "List", "items": items}));
    let (routes, links) = (write("routes.json", json!(routes)), write("links.json", json!(links)));
    let files =
        ["--datastore.file", &list, "--routes.file", &routes, "--links.file", &links].map(str::to_owned).to_vec();
    (folder, files)
}

#[test]
fn with_host_local_ipam_routes_alone_are_judged_and_only_where_it_is_told() {
    let check = |route_to_n2: bool, more: &[&str]| {
        let (_folder, files) = host_local(route_to_n2);
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let output = run(&[&["check"][..], &files, more].concat());
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let told = ["--kubernetes.use-pod-cidr"];
    assert!(check(true, &told).1.starts_with("the routes of n1: nothing is wrong\n"));
    let (code, said, _) = check(false, &told);
    assert_eq!(code, 1);
    assert!(said.contains("10.244.2.0/24  (n2)") && said.contains(r#"reason="missing"} 1"#), "{said}");
    let (_, said, error) = check(true, &[]);
    assert!(said.contains("no IPAM block: is IPAM host-local? --kubernetes.use-pod-cidr"), "{said}");
    assert!(error.contains("judged as if there were none") && error.contains("block affinity handle"), "{error}");
    let (_folder, files) = host_local(true);
    let files: Vec<&str> = files.iter().map(String::as_str).chain(told).collect();
    let exporter = Exporter::start(&files);
    exporter.until_ready();
    let answer = exporter.get("/metrics");
    let text = answer.text();
    assert!(text.contains("calico_routes_expected{") && !text.contains("calico_host_blocks{"), "{text}");
}

#[test]
fn files_that_lack_what_is_judged_are_refused() {
    for (group, name) in BOTH {
        for (resource, hint) in [
            (Resource::Blocks, "IPAMBlocks"),
            (Resource::Affinities, "BlockAffinities"),
            (Resource::Pools, "IPPools"),
            (Resource::Nodes, "Nodes"),
            (Resource::Handles, "IPAMHandles"),
            (Resource::Pods, "Pods"),
        ] {
            let missing = format!("{}.json", resource.plural(group));
            let files = lists(group, name);
            let files: Vec<&str> = files
                .iter()
                .filter(|path| !path.ends_with(&missing))
                .flat_map(|path| ["--datastore.file", path.to_str().unwrap()])
                .collect();
            let output = run(&[&["check"][..], &files].concat());
            let error = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{missing}: {error}");
            assert!(error.contains("--datastore.file") && error.contains(hint), "{missing}: {error}");
            let leaks = matches!(resource, Resource::Handles | Resource::Pods);
            let without = run(&[&["check", "--no-collector.leaks"][..], &files].concat());
            assert_eq!(without.status.code(), Some(if leaks { 0 } else { 2 }), "{missing}");
        }
    }
}
