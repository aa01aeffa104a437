//! A real etcd for one test: on free ports, in a directory of its own, gone when the test ends.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use calico_exporter::source::etcd::settings::{Settings, Tls};
use etcd_client::{Client, ConnectOptions, PutOptions, Txn, TxnOp};
use tempfile::TempDir;

use super::tool;

/// How long anything may take that must happen sooner or later.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Settings that reach these endpoints as nobody in particular.
pub(crate) fn settings(endpoints: Vec<String>) -> Settings {
    Settings { endpoints, credentials: None, tls: Tls::default() }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) struct Etcd {
    program: PathBuf,
    dir: TempDir,
    generation: u32,
    host: String,
    port: u16,
    peer_port: u16,
    /// More arguments.
    arguments: Vec<String>,
    options: ConnectOptions,
    child: Option<Child>,
}

impl Etcd {
    /// Starts one as it comes and waits until it answers. `None` where there is no etcd: the test is to return.
    pub(crate) async fn start() -> Option<Etcd> {
        Etcd::start_with(Vec::new(), ConnectOptions::new()).await
    }

    /// Starts one as it comes on another address of this network namespace.
    pub(crate) async fn start_at(host: &str) -> Option<Etcd> {
        Etcd::start_on(host, Vec::new(), ConnectOptions::new()).await
    }

    /// Starts one with these arguments (over TLS if there is a certificate among them); `options` are how the test itself connects.
    pub(crate) async fn start_with(arguments: Vec<String>, options: ConnectOptions) -> Option<Etcd> {
        Etcd::start_on("127.0.0.1", arguments, options).await
    }

    async fn start_on(host: &str, arguments: Vec<String>, options: ConnectOptions) -> Option<Etcd> {
        let mut etcd = Etcd {
            program: tool("etcd")?,
            dir: tempfile::tempdir().unwrap(),
            generation: 0,
            host: host.to_owned(),
            port: free_port(),
            peer_port: free_port(),
            arguments,
            options,
            child: None,
        };
        etcd.start_again().await;
        Some(etcd)
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.arguments.iter().any(|argument| argument == "--cert-file") { "https" } else { "http" };
        format!("{scheme}://{}:{}", self.host, self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Settings that reach it.
    pub(crate) fn settings(&self) -> Settings {
        settings(vec![self.url()])
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Sends it a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.pid().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// How the test itself connects from now on.
    pub(crate) fn connect_with(&mut self, options: ConnectOptions) {
        self.options = options;
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join(format!("data-{}", self.generation))
    }

    /// Kills it. What it had acknowledged is on disk.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Also one that is paused.
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// The next start finds no data.
    pub(crate) fn forget(&mut self) {
        self.generation += 1;
    }

    /// Starts it on the same ports, with what data there is, and waits until it answers.
    pub(crate) async fn start_again(&mut self) {
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let data = self.data();
        let log = std::fs::File::create(self.dir.path().join("log")).unwrap();
        let child = Command::new(&self.program)
            .args(["--listen-client-urls", &self.url(), "--advertise-client-urls", &self.url()])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .arg("--data-dir")
            .arg(data)
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let started = Instant::now();
        loop {
            let answered = async {
                let mut client = Client::connect([self.url()], Some(self.options.clone())).await?;
                client.get("health", None).await
            };
            // A restarted etcd with users refuses us, which is an answer, too.
            match tokio::time::timeout(Duration::from_secs(2), answered).await {
                Ok(Ok(_)) => return,
                Ok(Err(etcd_client::Error::GRpcStatus(status))) if status.message().contains("etcdserver: user") => {
                    return;
                }
                other if started.elapsed() > DEADLINE => {
                    let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap();
                    panic!("etcd does not answer: {other:?}\n{log}");
                }
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Forgets every revision but the newest.
    pub(crate) async fn compact(&self) {
        let mut client = self.client().await;
        let newest = client.get("health", None).await.unwrap().header().unwrap().revision();
        client.compact(newest, None).await.unwrap();
    }

    /// A backup of what there is; `None` where there is no etcdctl.
    pub(crate) async fn snapshot(&self) -> Option<PathBuf> {
        let file = self.dir.path().join("snapshot.db");
        let mut command = Command::new(tool("etcdctl")?);
        let saved = command.env("ETCDCTL_API", "3").args(["--endpoints", &self.url(), "snapshot", "save"]).arg(&file);
        assert!(saved.output().unwrap().status.success());
        Some(file)
    }

    /// Goes back to a backup.
    pub(crate) async fn restore(&mut self, snapshot: &std::path::Path) {
        self.stop();
        self.forget();
        let data = self.data();
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let mut command = Command::new(tool("etcdctl").unwrap());
        command.env("ETCDCTL_API", "3").args(["snapshot", "restore"]).arg(snapshot).arg("--data-dir").arg(data);
        command.args(["--initial-cluster", &format!("default={peer}"), "--initial-advertise-peer-urls", &peer]);
        let restored = command.output().unwrap();
        assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
        self.start_again().await;
    }

    /// A connection of the test's own.
    pub(crate) async fn client(&self) -> Client {
        Client::connect([self.url()], Some(self.options.clone())).await.unwrap()
    }

    pub(crate) async fn put(&self, key: &str, value: &str) {
        self.client().await.put(key, value, None::<PutOptions>).await.unwrap();
    }

    /// Puts many, a hundred in a transaction.
    pub(crate) async fn put_all(&self, entries: &[(String, String)]) {
        let mut client = self.client().await;
        for page in entries.chunks(100) {
            let puts: Vec<TxnOp> =
                page.iter().map(|(key, value)| TxnOp::put(key.as_str(), value.as_str(), None)).collect();
            client.txn(Txn::new().and_then(puts)).await.unwrap();
        }
    }

    pub(crate) async fn delete(&self, key: &str) {
        self.client().await.delete(key, None).await.unwrap();
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Key and value of the block `10.x.y.z/26` number `index`, of `node-a`, whose first address belongs to `pod`.
pub(crate) fn block(index: u32, pod: &str) -> (String, String) {
    let address = std::net::Ipv4Addr::from(0x0a00_0000 + index * 64);
    let nulls = vec!["null"; 63].join(",");
    let free = (1..64).map(|ordinal| ordinal.to_string()).collect::<Vec<_>>().join(",");
    let value = format!(
        r#"{{"cidr":"{address}/26","affinity":"host:node-a","allocations":[0,{nulls}],"unallocated":[{free}],"attributes":[{{"handle_id":"k8s-pod-network.{pod}","secondary":{{"namespace":"default","node":"node-a","pod":"{pod}"}}}}],"sequenceNumber":1787390000123456798,"sequenceNumberForAllocation":{{}},"deleted":false}}"#
    );
    (format!("/calico/ipam/v2/assignment/ipv4/block/{address}-26"), value)
}

/// As [`block`], with all its addresses given to pods: about 10 kB, the size of a full block.
pub(crate) fn full_block(index: u32) -> (String, String) {
    let address = std::net::Ipv4Addr::from(0x0a00_0000 + index * 64);
    let ordinals = (0..64).map(|ordinal| ordinal.to_string()).collect::<Vec<_>>().join(",");
    let attributes = (0..64)
        .map(|ordinal| {
            format!(
                r#"{{"handle_id":"k8s-pod-network.{index:032x}{ordinal:032x}","secondary":{{"namespace":"default","node":"node-a","pod":"pod-{index}-{ordinal}","timestamp":"2026-08-20 09:15:02.123456789 +0000 UTC"}}}}"#
            )
        })
        .collect::<Vec<_>>()
        .join(",");
    let value = format!(
        r#"{{"cidr":"{address}/26","affinity":"host:node-a","allocations":[{ordinals}],"unallocated":[],"attributes":[{attributes}],"sequenceNumber":1787390000123456798,"sequenceNumberForAllocation":{{}},"deleted":false}}"#
    );
    (format!("/calico/ipam/v2/assignment/ipv4/block/{address}-26"), value)
}
