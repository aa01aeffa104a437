//! The recordings of real Calico under `check`: clean on every host, and the same from a dump as from a real etcd.

use std::path::{Path, PathBuf};
use std::process::Output;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use etcd_client::DeleteOptions;
use serde_json::{Value, json};

use crate::fixtures::{RECORDED, folder};
use crate::support::calico::KeyValue;
use crate::support::etcd::Etcd;
use crate::support::exporter::{findings, run};

/// The recordings without kernels.
const IPAM_ONLY: &[&str] = &["ipip-mesh", "dual-stack-borrowing", "kubernetes-v1"];

/// A dump's keys and values.
fn dumped(name: &str) -> Vec<KeyValue> {
    let text = std::fs::read(folder(name).join("etcd.json")).unwrap();
    let dump: Value = serde_json::from_slice(&text).unwrap();
    let decoded = |text: &Value| String::from_utf8(STANDARD.decode(text.as_str().unwrap()).unwrap()).unwrap();
    dump["kvs"].as_array().unwrap().iter().map(|kv| (decoded(&kv["key"]), decoded(&kv["value"]))).collect()
}

/// Writes them as `etcdctl` does.
fn write_dump(entries: &[KeyValue], path: &Path) {
    let entry = |(key, value): &KeyValue| json!({"key": STANDARD.encode(key), "value": STANDARD.encode(value)});
    let dump = json!({"kvs": entries.iter().map(entry).collect::<Vec<_>>()});
    std::fs::write(path, dump.to_string()).unwrap();
}

/// Where a host's kernel was recorded, if it was.
#[derive(Clone)]
struct Kernel {
    host: String,
    routes: PathBuf,
    links: PathBuf,
}

impl Kernel {
    fn of(name: &str, host: &str) -> Kernel {
        let path = |what: &str| folder(name).join(format!("{host}.{what}.json"));
        Kernel { host: host.to_owned(), routes: path("routes"), links: path("links") }
    }
}

/// What `check` says in JSON of a datastore, given as flag and value, and a kernel.
fn check(datastore: [&str; 2], kernel: Option<&Kernel>) -> Output {
    let mut arguments = vec!["check", datastore[0], datastore[1], "--output", "json", "--settle", "0s"];
    match kernel {
        Some(Kernel { host, routes, links }) => arguments.extend([
            "--node.name",
            host,
            "--routes.file",
            routes.to_str().unwrap(),
            "--links.file",
            links.to_str().unwrap(),
        ]),
        None => arguments.extend(["--node.name", "nobody", "--no-collector.routes"]),
    }
    run(&arguments)
}

/// Puts these into etcd, and nothing else.
async fn load(etcd: &Etcd, entries: &[KeyValue]) {
    etcd.client().await.delete("/", Some(DeleteOptions::new().with_prefix())).await.unwrap();
    etcd.put_all(entries).await;
}

fn every_recording() -> impl Iterator<Item = (&'static str, Vec<Option<Kernel>>)> {
    let with_kernels = RECORDED
        .iter()
        .map(|(name, hosts)| (*name, hosts.iter().map(|host| Some(Kernel::of(name, host))).chain([None]).collect()));
    with_kernels.chain(IPAM_ONLY.iter().map(|name| (*name, vec![None])))
}

#[tokio::test]
async fn every_recording_is_clean_from_files_and_from_etcd() {
    let Some(etcd) = Etcd::start().await else { return };
    let url = etcd.url();
    for (name, kernels) in every_recording() {
        load(&etcd, &dumped(name)).await;
        let file = folder(name).join("etcd.json");
        for kernel in &kernels {
            let what = format!("{name} {:?}", kernel.as_ref().map(|kernel| &kernel.host));
            let from_file = check(["--datastore.file", file.to_str().unwrap()], kernel.as_ref());
            assert_eq!(from_file.status.code(), Some(0), "{what}: {from_file:?}");
            assert!(from_file.stderr.is_empty(), "{what}: {from_file:?}");
            assert_eq!(findings(std::str::from_utf8(&from_file.stdout).unwrap()), [""; 0], "{what}");
            let from_etcd = check(["--etcd.endpoints", &url], kernel.as_ref());
            assert_eq!(from_etcd, from_file, "{what}");
        }
    }
}

/// What `check --routes.watch affinities` says.
fn check_by_affinities(datastore: [&str; 2], kernel: &Kernel) -> Output {
    let mut arguments = vec!["check", datastore[0], datastore[1], "--output", "json", "--settle", "0s"];
    arguments.extend(["--no-collector.ipam", "--routes.watch", "affinities", "--node.name", &kernel.host]);
    let (routes, links) = (kernel.routes.to_str().unwrap(), kernel.links.to_str().unwrap());
    arguments.extend(["--routes.file", routes, "--links.file", links]);
    run(&arguments)
}

#[tokio::test]
async fn every_recording_is_clean_by_affinities_from_files_and_from_etcd() {
    let Some(etcd) = Etcd::start().await else { return };
    for (name, hosts) in RECORDED {
        load(&etcd, &dumped(name)).await;
        let file = folder(name).join("etcd.json");
        for host in *hosts {
            let kernel = Kernel::of(name, host);
            let from_file = check_by_affinities(["--datastore.file", file.to_str().unwrap()], &kernel);
            assert_eq!(from_file.status.code(), Some(0), "{name} {host}: {from_file:?}");
            assert!(from_file.stderr.is_empty(), "{name} {host}: {from_file:?}");
            let from_etcd = check_by_affinities(["--etcd.endpoints", &etcd.url()], &kernel);
            assert_eq!(from_etcd, from_file, "{name} {host}");
        }
    }
}

/// What is missing by a key or in an own block is seen; a borrowed address of another host's block is not.
#[tokio::test]
async fn by_affinities_a_route_taken_out_is_one_finding_where_that_can_be_known() {
    let Some(etcd) = Etcd::start().await else { return };
    load(&etcd, &dumped("three-hosts")).await;
    let dir = tempfile::tempdir().unwrap();
    let file = folder("three-hosts").join("etcd.json");
    for (destination, finding) in [
        ("10.202.1.64/26", Some("remote_block missing 10.202.1.64/26")),
        ("10.204.0.128/26", Some("local_block missing 10.204.0.128/26")),
        ("10.200.0.129", Some("local_workload missing 10.200.0.129")),
        ("10.205.0.26", None),
    ] {
        let kernel = reroute(&Kernel::of("three-hosts", "h1"), dir.path(), destination, &[]);
        let from_file = check_by_affinities(["--datastore.file", file.to_str().unwrap()], &kernel);
        assert_eq!(from_file.status.code(), Some(i32::from(finding.is_some())), "{from_file:?}");
        assert_eq!(findings(std::str::from_utf8(&from_file.stdout).unwrap()), Vec::from_iter(finding));
        assert_eq!(check_by_affinities(["--etcd.endpoints", &etcd.url()], &kernel), from_file);
    }
}

/// Changes a value of the first key that begins with this.
fn change(entries: &mut [KeyValue], prefix: &str, how: impl FnOnce(&mut Value)) {
    let (_, value) = entries.iter_mut().find(|(key, _)| key.starts_with(prefix)).unwrap();
    let mut changed = serde_json::from_str(value).unwrap();
    how(&mut changed);
    *value = changed.to_string();
}

/// A copy of a kernel's routes without the one to this destination, and with this one more.
fn reroute(kernel: &Kernel, dir: &Path, without: &str, more: &[Value]) -> Kernel {
    let mut routes: Vec<Value> = serde_json::from_slice(&std::fs::read(&kernel.routes).unwrap()).unwrap();
    let whole = routes.len();
    routes.retain(|route| route["dst"] != without);
    assert_eq!(routes.len(), whole - 1, "{without}");
    routes.extend(more.iter().cloned());
    let path = dir.join("routes.json");
    std::fs::write(&path, Value::from(routes).to_string()).unwrap();
    Kernel { routes: path, ..kernel.clone() }
}

/// Faults of every audit at once, in a copy: named alike from a dump and from etcd, byte for byte.
#[tokio::test]
async fn planted_faults_are_the_same_from_files_and_from_etcd() {
    let Some(etcd) = Etcd::start().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut entries = dumped("three-hosts");
    let ipam = "/calico/ipam/v2";
    change(&mut entries, &format!("{ipam}/assignment/ipv4/block/10.200.0.128-26"), |block| {
        block["unallocated"].as_array_mut().unwrap().push(json!(1));
    });
    change(&mut entries, &format!("{ipam}/assignment/ipv4/block/10.201.1.64-26"), |block| {
        block["affinity"] = json!("host:h3");
    });
    entries.retain(|(key, _)| !key.starts_with(&format!("{ipam}/handle/vxlan-tunnel-addr-h2")));
    entries.retain(|(key, _)| !key.ends_with("workloadendpoints/default/h1-k8s-app--0003-eth0"));
    entries.push((format!("{ipam}/host/h9/ipv4/block/10.200.9.0-26"), r#"{"state":"confirmed"}"#.to_owned()));
    entries.push((format!("{ipam}/assignment/ipv4/block/10.200.10.0-26"), "nonsense \u{1b}".to_owned()));
    let file = dir.path().join("etcd.json");
    write_dump(&entries, &file);
    load(&etcd, &entries).await;
    let stale = json!({
        "type": "unicast", "dst": "10.202.7.0/26", "gateway": "10.77.1.2", "dev": "tunl0", "table": "main",
        "protocol": "80", "scope": "global", "flags": ["onlink"],
    });
    let kernel = reroute(&Kernel::of("three-hosts", "h1"), dir.path(), "10.204.1.64/26", &[stale]);
    for kernel in [Some(&kernel), None] {
        let from_file = check(["--datastore.file", file.to_str().unwrap()], kernel);
        assert_eq!(from_file.status.code(), Some(1), "{from_file:?}");
        let from_etcd = check(["--etcd.endpoints", &etcd.url()], kernel);
        assert_eq!(from_etcd, from_file);
        let found = findings(std::str::from_utf8(&from_file.stdout).unwrap());
        let has = |finding: &str| found.iter().any(|it| it.contains(finding));
        for finding in
            ["allocated_and_unallocated 10.200.0.129", "unknown_host 10.200.9.0/26", "missing_handle", "block /calico/"]
        {
            assert!(has(finding), "{finding}: {found:#?}");
        }
        let routes = ["remote_block missing 10.204.1.64/26", "remote_block stale 10.202.7.0/26"];
        assert_eq!(routes.map(has), [kernel.is_some(); 2], "{found:#?}");
    }
}

/// A route taken out of a dump of the kernel is the one finding.
#[tokio::test]
async fn a_route_taken_out_is_one_finding_from_files_and_from_etcd() {
    let Some(etcd) = Etcd::start().await else { return };
    load(&etcd, &dumped("three-hosts")).await;
    let dir = tempfile::tempdir().unwrap();
    let file = folder("three-hosts").join("etcd.json");
    for (destination, finding) in [
        ("10.202.1.64/26", "remote_block missing 10.202.1.64/26"),
        ("10.204.0.128/26", "local_block missing 10.204.0.128/26"),
        ("10.205.0.26", "borrowed missing 10.205.0.26"),
        ("10.200.0.129", "local_workload missing 10.200.0.129"),
    ] {
        let kernel = reroute(&Kernel::of("three-hosts", "h1"), dir.path(), destination, &[]);
        let from_file = check(["--datastore.file", file.to_str().unwrap()], Some(&kernel));
        assert_eq!(from_file.status.code(), Some(1), "{from_file:?}");
        assert_eq!(findings(std::str::from_utf8(&from_file.stdout).unwrap()), [finding]);
        assert_eq!(check(["--etcd.endpoints", &etcd.url()], Some(&kernel)), from_file);
    }
}
