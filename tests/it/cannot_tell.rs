//! Where nothing can be said, `check`, `explain` and `plan` exit 2, `serve` is not ready, and all of them say the same.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::fixtures::folder;
use crate::support::etcd::Etcd;
use crate::support::exporter::{Exporter, run};

/// A case in which there is no answer.
struct Case {
    what: &'static str,
    /// Where the datastore is read.
    datastore: Vec<String>,
    /// Words that everybody says.
    says: &'static [&'static str],
    /// The commands that cannot tell; the others are not asked.
    commands: &'static [&'static str],
    /// Whether `serve` starts and waits, rather than refuse what will not change.
    serves: bool,
}

const ALL: &[&str] = &["check", "explain", "plan"];

fn file(path: &Path) -> Vec<String> {
    vec!["--datastore.file".to_owned(), path.to_str().unwrap().to_owned()]
}

/// Writes a dump.
fn written(dir: &Path, name: &str, content: &Value) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, content.to_string()).unwrap();
    path
}

/// A list as `kubectl get A,B -o json` prints it.
fn list(items: &[Value]) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    let version = if ["Node", "Pod"].contains(&kind) { "v1" } else { "crd.projectcalico.org/v1" };
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn pool() -> Value {
    object("IPPool", "pods", &json!({"cidr": "10.0.0.0/16", "blockSize": 26}))
}

fn cluster() -> Value {
    object("ClusterInformation", "default", &json!({"clusterType": "k8s", "calicoVersion": "v3.30.0"}))
}

fn felix() -> Value {
    object("FelixConfiguration", "default", &json!({}))
}

/// The recorded dump without the keys that contain this.
fn without(dir: &Path, part: &str) -> PathBuf {
    use base64::Engine as _;
    let text = std::fs::read(folder("three-hosts").join("etcd.json")).unwrap();
    let mut dump: Value = serde_json::from_slice(&text).unwrap();
    let key = |kv: &Value| base64::prelude::BASE64_STANDARD.decode(kv["key"].as_str().unwrap()).unwrap();
    let kvs = dump["kvs"].as_array_mut().unwrap();
    let before = kvs.len();
    kvs.retain(|kv| !String::from_utf8(key(kv)).unwrap().contains(part));
    assert!(kvs.len() < before);
    written(dir, &format!("without-{}.json", part.replace('/', "")), &dump)
}

impl Case {
    fn holds(&self) {
        let words = |command: &[&str]| -> Vec<String> {
            let own = command.iter().map(|it| (*it).to_owned());
            own.chain(self.datastore.iter().cloned()).collect()
        };
        for command in self.commands {
            let command: &[&str] = match *command {
                "check" => &["check", "--no-collector.routes"],
                "explain" => &["explain", "10.0.0.1", "--no-collector.routes"],
                "plan" => &["plan"],
                other => panic!("{other}"),
            };
            let arguments = words(command);
            let output = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{}: {command:?}: {said}", self.what);
            assert_eq!(String::from_utf8(output.stdout).unwrap(), "", "{}: {command:?}", self.what);
            self.assert_said(&said, command[0]);
        }
        let arguments = words(&["--no-collector.routes"]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        if !self.serves {
            let output = run(&arguments);
            assert_eq!(output.status.code(), Some(2), "{}", self.what);
            return self.assert_said(&String::from_utf8(output.stderr).unwrap(), "serve");
        }
        let exporter = Exporter::start(&arguments);
        let scrape = exporter.until("it has read everything", |scrape| {
            let sync = scrape.samples.iter().filter(|((name, _), _)| name == "calico_exporter_source_in_sync");
            sync.clone().count() > 0 && sync.clone().all(|(_, value)| *value == 1.0)
        });
        let ready = exporter.get("/readyz");
        assert_eq!(ready.status, 503, "{}: {}", self.what, ready.text());
        self.assert_said(ready.text(), "/readyz");
        self.assert_said(exporter.get("/").text(), "the page");
        self.assert_said(&exporter.log(), "the log");
        // Nothing was judged, so that nothing looks healthy.
        assert_eq!(scrape.value("calico_exporter_report_timestamp_seconds", &[]), None, "{}", self.what);
        assert!(!scrape.samples.keys().any(|(name, _)| name.starts_with("calico_ip")), "{}", self.what);
    }

    fn assert_said(&self, text: &str, by: &str) {
        for words in self.says {
            assert!(text.contains(words), "{}: {by} does not say {words:?}: {text}", self.what);
        }
    }
}

#[test]
fn what_holds_too_little_is_no_clean_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let nothing = written(dir, "empty.json", &json!({"header": {"revision": 1}}));
    let foreign = written(dir, "foreign.json", &json!({"kvs": [{"key": "L3JlZ2lzdHJ5L3BvZHM=", "value": "e30="}]}));
    let no_nodes = list(&[pool(), cluster(), object("Pod", "a", &json!({}))]);
    let of_lists = |kinds: &[&str]| -> Vec<String> {
        let empty = |kind: &&str| {
            let version = if ["Node", "Pod"].contains(kind) { "v1" } else { "crd.projectcalico.org/v1" };
            let items: Vec<Value> = match *kind {
                "BlockAffinity" => vec![object(
                    kind,
                    "k",
                    &json!({
                    "node": "h1", "cidr": "10.0.0.0/26", "state": "confirmed", "deleted": "false"}),
                )],
                _ => Vec::new(),
            };
            let content = json!({"apiVersion": version, "kind": format!("{kind}List"), "items": items});
            file(&written(dir, &format!("{kind}.json"), &content))
        };
        kinds.iter().flat_map(empty).collect()
    };
    let everything = ["IPAMBlock", "BlockAffinity", "IPAMHandle", "IPPool", "Node", "Pod"];
    let cases = [
        Case {
            what: "an empty answer of etcdctl",
            datastore: file(&nothing),
            says: &["this datastore has nothing of Calico"],
            commands: ALL,
            serves: true,
        },
        Case {
            what: "another etcd",
            datastore: file(&foreign),
            says: &["this datastore has nothing of Calico"],
            commands: ALL,
            serves: true,
        },
        Case {
            what: "the keys below /calico/ipam",
            datastore: file(&folder("cases").join("33-ipam-prefix-only").join("etcd.json")),
            says: &["no Nodes and no IPPools", "etcdctl get --prefix /calico -w json"],
            commands: ALL,
            serves: true,
        },
        Case {
            what: "a dump without Nodes",
            datastore: file(&without(dir, "/nodes/")),
            says: &["objects of IPAM and no Nodes, without", "etcdctl get --prefix /calico -w json"],
            commands: ALL,
            serves: true,
        },
        Case {
            what: "a dump without pools",
            datastore: file(&without(dir, "/ippools/")),
            says: &["objects of IPAM and no IPPools, without", "etcdctl get --prefix /calico -w json"],
            commands: ALL,
            serves: true,
        },
        Case {
            what: "lists of which all but one are empty",
            datastore: of_lists(&everything),
            says: &["objects of IPAM and no Nodes and no IPPools, without"],
            commands: ALL,
            serves: true,
        },
        Case {
            what: "empty lists",
            datastore: of_lists(&["IPAMBlock", "IPAMHandle", "IPPool", "Node", "Pod"]),
            says: &["no list of BlockAffinities"],
            commands: ALL,
            serves: false,
        },
        Case {
            what: "a mixed list without Nodes",
            datastore: file(&written(dir, "mixed.json", &no_nodes)),
            says: &["no list of Nodes"],
            commands: ALL,
            serves: false,
        },
    ];
    for case in cases {
        case.holds();
    }
}

/// A wrong `--node.name`, on a host without pods: nothing there is right or wrong (J35).
#[test]
fn a_host_that_nobody_knows_is_not_a_clean_one() {
    let dir = tempfile::tempdir().unwrap();
    let routes = json!([{"dst": "default", "gateway": "10.77.1.254", "dev": "eth0", "protocol": "static"}]);
    let links = json!([{"ifindex": 2, "ifname": "eth0", "flags": ["UP", "LOWER_UP"], "mtu": 1500, "addr_info": []}]);
    let (routes, links) = (written(dir.path(), "routes.json", &routes), written(dir.path(), "links.json", &links));
    let mut sources = file(&folder("three-hosts").join("etcd.json"));
    for (flag, path) in [("--routes.file", &routes), ("--links.file", &links)] {
        sources.extend([flag.to_owned(), path.to_str().unwrap().to_owned()]);
    }
    sources.extend(["--node.name".to_owned(), "h7".to_owned()]);
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let says = ["belongs to a host h7: set --node.name", "the closest of the Nodes: h1, h2, h3"];
    for command in [&["check"][..], &["explain", "10.204.1.64"]] {
        let output = run(&[command, &*sources].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{command:?}: {said}");
        assert!(says.iter().all(|words| said.contains(words)), "{command:?}: {said}");
    }
    let exporter = Exporter::start(&sources);
    let missing = [("reason", "node_missing")];
    exporter.until("the series says so", |scrape| scrape.value("calico_node_faults", &missing) == Some(1.0));
    let ready = exporter.get("/readyz");
    assert!(ready.status == 503 && says.iter().all(|words| ready.text().contains(words)), "{}", ready.text());
}

#[test]
fn a_mixed_list_with_nodes_and_pools_is_a_whole_answer() {
    let dir = tempfile::tempdir().unwrap();
    let node = || object("Node", "h1", &json!({}));
    let policy_only = [node(), cluster(), felix(), object("Pod", "a", &json!({}))];
    let lists = [("pools.json", list(&[node(), pool()])), ("policy-only.json", list(&policy_only))];
    for (name, content) in lists {
        let mut arguments = vec!["check", "--no-collector.routes"];
        let datastore = file(&written(dir.path(), name, &content));
        arguments.extend(datastore.iter().map(String::as_str));
        let output = run(&arguments);
        let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{name}: {said}");
        for words in ["nothing is wrong", "is IPAM host-local? --kubernetes.use-pod-cidr", "block affinity handle"] {
            assert!(said.contains(words), "{name}: {words:?} is not in {said}");
        }
    }
}

#[tokio::test]
async fn an_etcd_without_calico_is_not_ready_until_something_is_there_once() {
    let Some(etcd) = Etcd::start().await else { return };
    etcd.put("/registry/pods/default/a", "{}").await;
    let datastore = vec!["--etcd.endpoints".to_owned(), etcd.url()];
    let case = Case {
        what: "etcd without Calico",
        datastore: datastore.clone(),
        says: &["this datastore has nothing of Calico", "ETCD_ENDPOINTS"],
        commands: ALL,
        serves: true,
    };
    case.holds();
    let arguments: Vec<&str> = datastore.iter().map(String::as_str).collect();
    let exporter = Exporter::start(&[&["--no-collector.routes"], &*arguments].concat());
    let key = "/calico/resources/v3/projectcalico.org/ippools/pods";
    etcd.put(key, r#"{"metadata":{"name":"pods"},"spec":{"cidr":"10.0.0.0/16","blockSize":26}}"#).await;
    exporter.until_ready();
    // A datastore that was full and becomes empty is believed.
    etcd.delete(key).await;
    exporter.until("the pool is gone", |scrape| scrape.value("calico_ippool_blocks", &[("ippool", "pods")]).is_none());
    assert_eq!(exporter.get("/readyz").status, 200);
}
