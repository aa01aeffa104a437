//! A real Prometheus for one test, on a port of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::etcd::DEADLINE;

pub(crate) struct Prometheus {
    child: Child,
    address: String,
    _data: TempDir,
}

impl Prometheus {
    /// Starts this program with this configuration and waits until it says where it listens.
    pub(crate) fn start(program: &Path, configuration: &str) -> Prometheus {
        let data = tempfile::tempdir().unwrap();
        let file = data.path().join("prometheus.yml");
        std::fs::write(&file, configuration).unwrap();
        let mut child = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", data.path().join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        let (sender, address) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut said = String::new();
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if line.contains("Listening on") {
                    let address = line.split("address=").nth(1).and_then(|rest| rest.split(' ').next());
                    // Nobody waits for a second one.
                    let _ = sender.send(Ok(address.unwrap_or_default().trim_matches('"').to_owned()));
                }
                said += &format!("{line}\n");
            }
            let _ = sender.send(Err(said));
        });
        let address = address.recv_timeout(DEADLINE).expect("it never said where it listens");
        Prometheus { child, address: address.unwrap_or_else(|said| panic!("{said}")), _data: data }
    }

    /// What its API says to a query.
    pub(crate) fn query(&self, query: &str) -> Option<Vec<Value>> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        let query: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        // HTTP/1.0 knows no chunks.
        write!(stream, "GET /api/v1/query?query={query} HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let answer: Value = serde_json::from_str(text.split_once("\r\n\r\n")?.1).ok()?;
        answer["data"]["result"].as_array().cloned()
    }

    /// Asks until the answer is as wanted.
    pub(crate) fn until(&self, query: &str, holds: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let (begun, mut last) = (Instant::now(), None);
        while begun.elapsed() < DEADLINE {
            last = self.query(query);
            if let Some(answer) = last.as_ref().filter(|answer| holds(answer)) {
                return answer.clone();
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{query}: at last {last:?}");
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
