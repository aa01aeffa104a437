//! A real etcd of three members.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use etcd_client::Client;
use tempfile::TempDir;

use super::etcd::{DEADLINE, free_port};
use super::tool;

const MEMBERS: usize = 3;

pub(crate) struct Cluster {
    program: PathBuf,
    dir: TempDir,
    ports: [u16; MEMBERS],
    peer_ports: [u16; MEMBERS],
    members: [Option<Child>; MEMBERS],
}

impl Cluster {
    /// Starts it and waits until it has a leader; `None` where there is no etcd.
    pub(crate) async fn start() -> Option<Cluster> {
        let ports = || std::array::from_fn(|_| free_port());
        let mut cluster = Cluster {
            program: tool("etcd")?,
            dir: tempfile::tempdir().unwrap(),
            ports: ports(),
            peer_ports: ports(),
            members: [const { None }; MEMBERS],
        };
        (0..MEMBERS).for_each(|member| cluster.spawn(member));
        cluster.leader().await;
        Some(cluster)
    }

    fn spawn(&mut self, member: usize) {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let (client, peer) = (url(self.ports[member]), url(self.peer_ports[member]));
        let all: Vec<String> =
            self.peer_ports.iter().enumerate().map(|(number, port)| format!("m{number}={}", url(*port))).collect();
        let child = Command::new(&self.program)
            .args(["--name", &format!("m{member}"), "--initial-cluster", &all.join(",")])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .arg("--data-dir")
            .arg(self.dir.path().join(format!("m{member}")))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.members[member] = Some(child);
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect()
    }

    fn alive(&self) -> Vec<usize> {
        (0..MEMBERS).filter(|member| self.members[*member].is_some()).collect()
    }

    pub(crate) fn kill(&mut self, member: usize) {
        let mut child = self.members[member].take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(crate) async fn start_again(&mut self, member: usize) {
        self.spawn(member);
        self.leader().await;
    }

    /// Which one leads, once one of those that are there does.
    pub(crate) async fn leader(&self) -> usize {
        let started = Instant::now();
        loop {
            for member in self.alive() {
                let status = async {
                    let mut client = Client::connect([&self.urls()[member]], None).await?;
                    client.status().await
                };
                if let Ok(Ok(status)) = tokio::time::timeout(Duration::from_secs(2), status).await
                    && status.leader() == status.header().unwrap().member_id()
                {
                    return member;
                }
            }
            assert!(started.elapsed() < DEADLINE, "nobody leads");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Puts through a member that is there, once they agree on a leader.
    pub(crate) async fn put(&self, (key, value): &(String, String)) {
        let started = Instant::now();
        loop {
            for member in self.alive() {
                let put = async {
                    let mut client = Client::connect([&self.urls()[member]], None).await?;
                    client.put(key.as_str(), value.as_str(), None).await
                };
                if let Ok(Ok(_)) = tokio::time::timeout(Duration::from_secs(3), put).await {
                    return;
                }
            }
            assert!(started.elapsed() < DEADLINE, "nobody takes it");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in self.alive() {
            self.kill(member);
        }
    }
}
