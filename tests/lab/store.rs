//! etcd: the process, and a connection that waits for each answer.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use etcd_client::{Client, GetOptions};
use tokio::runtime::Runtime;

use crate::network::ETCD;
use crate::process::Process;

pub(crate) fn url() -> String {
    format!("http://{ETCD}:2379")
}

/// The server.
pub(crate) struct Etcd {
    directory: PathBuf,
    process: Process,
}

impl Etcd {
    pub(crate) fn start(directory: &Path) -> Etcd {
        let etcd = Etcd { directory: directory.to_owned(), process: Etcd::run(directory) };
        Store::connect();
        etcd
    }

    fn run(directory: &Path) -> Process {
        let peer = format!("http://{ETCD}:2380");
        let mut command = Command::new("etcd");
        command
            .arg("--data-dir")
            .arg(directory.join("etcd"))
            .args(["--listen-client-urls", &url(), "--advertise-client-urls", &url()])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")]);
        Process::start(directory, "etcd", command)
    }

    /// Ends it and starts it again, with its data.
    pub(crate) fn restart(&mut self) {
        self.process.terminate();
        self.process = Etcd::run(&self.directory);
        Store::connect();
    }
}

/// A connection; one for each thread.
pub(crate) struct Store {
    runtime: Runtime,
    client: Client,
}

impl Store {
    /// Waits until etcd answers.
    pub(crate) fn connect() -> Store {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let answered = runtime.block_on(async {
                let attempt = async {
                    let mut client = Client::connect([url()], None).await?;
                    client.get("health", None).await?;
                    Ok::<_, etcd_client::Error>(client)
                };
                tokio::time::timeout(Duration::from_secs(2), attempt).await
            });
            if let Ok(Ok(client)) = answered {
                return Store { runtime, client };
            }
            assert!(Instant::now() < deadline, "etcd does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Does it again on a new connection where it fails: etcd may just be restarting.
    fn insist<T>(&mut self, action: impl AsyncFn(&mut Client) -> Result<T, etcd_client::Error>) -> T {
        for attempt in 0.. {
            let limit = Duration::from_secs(5);
            let client = &mut self.client;
            let outcome = self.runtime.block_on(async { tokio::time::timeout(limit, action(client)).await });
            match outcome {
                Ok(Ok(done)) => return done,
                _ if attempt < 5 => *self = Store::connect(),
                Ok(Err(error)) => panic!("etcd: {error}"),
                Err(_) => panic!("etcd does not answer"),
            }
        }
        unreachable!("the loop has no end")
    }

    pub(crate) fn put(&mut self, key: &str, value: &str) {
        self.insist(async |client| client.put(key, value, None).await);
    }

    pub(crate) fn delete(&mut self, key: &str) {
        self.insist(async |client| client.delete(key, None).await);
    }

    pub(crate) fn get(&mut self, key: &str) -> Option<String> {
        let answer = self.insist(async |client| client.get(key, None).await);
        answer.kvs().first().map(|pair| String::from_utf8_lossy(pair.value()).into_owned())
    }

    /// Everything below a prefix, and the revision it is of.
    pub(crate) fn list(&mut self, prefix: &str) -> (i64, Vec<(String, String)>) {
        let answer = self.insist(async |client| client.get(prefix, Some(GetOptions::new().with_prefix())).await);
        let revision = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (revision, answer.kvs().iter().map(|pair| (text(pair.key()), text(pair.value()))).collect())
    }

    /// The newest revision.
    pub(crate) fn revision(&mut self) -> i64 {
        let answer = self.insist(async |client| client.get("revision", None).await);
        answer.header().map_or(0, etcd_client::ResponseHeader::revision)
    }
}
