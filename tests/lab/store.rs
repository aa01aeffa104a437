//! etcd: the process, and a connection that waits for each answer.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use etcd_client::{Client, GetOptions};
use tokio::runtime::Runtime;

use crate::network::ETCD;
use crate::process::Process;

fn url(member: usize) -> String {
    format!("http://{}:2379", ETCD[member])
}

fn peer(member: usize) -> String {
    format!("http://{}:2380", ETCD[member])
}

/// All members, as `--etcd.endpoints` takes them.
pub(crate) fn urls() -> String {
    let urls: Vec<String> = (0..ETCD.len()).map(url).collect();
    urls.join(",")
}

/// The servers: three members of one cluster.
pub(crate) struct Etcd {
    directory: PathBuf,
    members: Vec<Process>,
}

impl Etcd {
    pub(crate) fn start(directory: &Path) -> Etcd {
        let members = (0..ETCD.len()).map(|member| Etcd::run(directory, member)).collect();
        Store::connect();
        Etcd { directory: directory.to_owned(), members }
    }

    fn run(directory: &Path, member: usize) -> Process {
        let cluster: Vec<String> = (0..ETCD.len()).map(|member| format!("m{member}={}", peer(member))).collect();
        let mut command = Command::new("etcd");
        // Below /run nothing waits for a disk.
        command
            .args(["--name", &format!("m{member}"), "--data-dir", &format!("/run/etcd-{member}")])
            .args(["--listen-client-urls", &url(member), "--advertise-client-urls", &url(member)])
            .args(["--listen-peer-urls", &peer(member), "--initial-advertise-peer-urls", &peer(member)])
            // Both cores may be busy for a while, which is no reason to elect somebody else.
            .args(["--heartbeat-interval", "200", "--election-timeout", "2000"])
            .args(["--initial-cluster", &cluster.join(",")]);
        Process::start(directory, &format!("etcd-{member}"), command)
    }

    /// Ends these members and starts them again, with their data.
    pub(crate) fn restart(&mut self, members: &[usize]) {
        members.iter().for_each(|member| self.members[*member].terminate());
        for member in members {
            self.members[*member] = Etcd::run(&self.directory, *member);
        }
        members.iter().for_each(|member| drop(Store::connect_to(vec![url(*member)])));
    }

    /// Has another member lead. Returns who leads now.
    pub(crate) fn move_leader(&self) -> usize {
        let mut stores: Vec<Store> = (0..ETCD.len()).map(|member| Store::connect_to(vec![url(member)])).collect();
        let ids: Vec<u64> = stores.iter_mut().map(|store| store.member_and_leader().0).collect();
        let (_, before) = stores[0].member_and_leader();
        let old = ids.iter().position(|id| *id == before).unwrap();
        let new = (old + 1) % ids.len();
        stores[old].insist(async |client| client.move_leader(ids[new]).await);
        assert_eq!(stores[new].member_and_leader().1, ids[new], "the leader did not move");
        new
    }
}

/// A connection; one for each thread.
pub(crate) struct Store {
    runtime: Runtime,
    client: Client,
    urls: Vec<String>,
}

impl Store {
    /// Waits until etcd answers.
    pub(crate) fn connect() -> Store {
        Store::connect_to((0..ETCD.len()).map(url).collect())
    }

    fn connect_to(urls: Vec<String>) -> Store {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let answered = runtime.block_on(async {
                let attempt = async {
                    let mut client = Client::connect(&urls, None).await?;
                    client.get("health", None).await?;
                    Ok::<_, etcd_client::Error>(client)
                };
                tokio::time::timeout(Duration::from_secs(2), attempt).await
            });
            if let Ok(Ok(client)) = answered {
                return Store { runtime, client, urls };
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
                _ if attempt < 5 => *self = Store::connect_to(std::mem::take(&mut self.urls)),
                Ok(Err(error)) => panic!("etcd: {error}"),
                Err(_) => panic!("etcd does not answer"),
            }
        }
        unreachable!("the loop has no end")
    }

    /// Who answers, and who leads.
    fn member_and_leader(&mut self) -> (u64, u64) {
        let answer = self.insist(async |client| client.status().await);
        (answer.header().map_or(0, etcd_client::ResponseHeader::member_id), answer.leader())
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
