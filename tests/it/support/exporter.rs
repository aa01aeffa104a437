//! The real program for one test: started on a port of its own, scraped byte by byte, gone when the test ends.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use calico_exporter::metrics::Format;

use super::etcd::DEADLINE;
use crate::exposition::{Exposition, parse};

/// The program, with none of this process's environment: Calico's variables would be read.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_calico-exporter"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// Runs it to its end with these words.
pub(crate) fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

/// A running `serve`.
pub(crate) struct Exporter {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Exporter {
    /// Starts it in this thread's network namespace and waits until it says where it listens.
    pub(crate) fn start(arguments: &[&str]) -> Exporter {
        Exporter::spawn(program(), arguments)
    }

    /// The same with a command that was prepared.
    pub(crate) fn spawn(mut command: Command, arguments: &[&str]) -> Exporter {
        command.args(["--web.listen-address", "127.0.0.1:0"]).args(arguments);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().unwrap();
        let mut exporter = Exporter { child, address: SocketAddr::from(([0, 0, 0, 0], 0)), log: log.clone() };
        let (sender, address) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            keep_log(stderr, &log, |found| {
                // Nobody waits for a second one.
                let _ = sender.send(found);
            })
        });
        exporter.address = address
            .recv_timeout(DEADLINE)
            .unwrap_or_else(|_| panic!("it never said where it listens:\n{}", exporter.log()));
        exporter
    }

    /// What it wrote to stderr so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A line of `/proc/PID/status`, without its name.
    pub(crate) fn status(&self, field: &str) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(&format!("{field}:"))).unwrap();
        line.trim().to_owned()
    }

    /// Sends it a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.pid().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end; also how long that took.
    pub(crate) fn ended(&mut self) -> (ExitStatus, Duration) {
        let start = Instant::now();
        while start.elapsed() < DEADLINE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, start.elapsed());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it does not end:\n{}", self.log());
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.get_with(path, "")
    }

    /// Asks on a connection of its own; `headers` end in `\r\n` each.
    pub(crate) fn get_with(&self, path: &str, headers: &str) -> Answer {
        let mut stream = self.connect();
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        Answer::read(stream)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect_timeout(&self.address, DEADLINE).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// A scrape, which has to be answered well.
    pub(crate) fn scrape(&self) -> Exposition {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200);
        parse(answer.text(), Format::Text)
    }

    /// Scrapes until this holds.
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Exposition) -> bool) -> Exposition {
        let mut last = Exposition::default();
        let scraped = eventually(|| {
            last = self.scrape();
            holds(&last)
        });
        if !scraped {
            let shown = last.samples.iter().filter(|((name, _), value)| {
                **value != 0.0 && !name.starts_with("process_") && !name.ends_with("_bucket")
            });
            let shown: Vec<String> =
                shown.map(|((name, labels), value)| format!("{name} {labels:?} {value}")).collect();
            panic!("never: {what}\n{}\nfindings: {:?}\n{}", shown.join("\n"), self.findings(), self.log());
        }
        last
    }

    /// Waits until these and no others are the findings.
    pub(crate) fn until_found(&self, wanted: &[&str]) {
        let mut last = Vec::new();
        let found = eventually(|| {
            last = self.findings();
            last == wanted
        });
        assert!(found, "never {wanted:?}, at last {last:?}\n{}", self.log());
    }

    /// Scrapes until all enabled sources are in sync and a report was made from them.
    pub(crate) fn until_ready(&self) -> Exposition {
        self.until("in sync", |scrape| {
            let sync = scrape.samples.iter().filter(|((name, _), _)| name == "calico_exporter_source_in_sync");
            sync.clone().count() > 0
                && sync.into_iter().all(|(_, value)| *value == 1.0)
                && scrape.value("calico_exporter_report_timestamp_seconds", &[]).is_some()
        });
        // A report may be from between two sources' first pictures.
        self.until("every part has reported", |_| self.get("/readyz").status == 200)
    }

    /// The findings that `/api/v1/findings` names: `label values subject`, sorted.
    pub(crate) fn findings(&self) -> Vec<String> {
        let answer = self.get("/api/v1/findings");
        assert_eq!(answer.status, 200);
        findings(answer.text())
    }
}

/// Whether this holds sooner or later.
fn eventually(mut holds: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !holds() {
        if start.elapsed() > DEADLINE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn keep_log(stderr: ChildStderr, log: &Mutex<String>, found: impl Fn(SocketAddr)) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        let address = line.split(" address=").nth(1).and_then(|rest| rest.trim_matches('"').split_once("://"));
        let address = address.map(|(_, address)| address.trim_end_matches('"').parse());
        log.lock().unwrap().push_str(&format!("{line}\n"));
        if let Some(Ok(address)) = address {
            found(address);
        }
    }
}

/// What findings in JSON say: `label values subject`, in their order.
pub(crate) fn findings(json: &str) -> Vec<String> {
    let document: serde_json::Value = serde_json::from_str(json).unwrap();
    let say = |finding: &serde_json::Value| {
        let labels: BTreeMap<String, String> = serde_json::from_value(finding["labels"].clone()).unwrap();
        let labels: Vec<String> = labels.into_values().collect();
        format!("{} {}", labels.join(" "), finding["subject"].as_str().unwrap())
    };
    document["findings"].as_array().unwrap().iter().map(say).collect()
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Reads one whole answer on a connection that is closed after it.
    pub(crate) fn read(mut stream: TcpStream) -> Answer {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head");
        let body = bytes.split_off(end + 4);
        let head = String::from_utf8(bytes).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: BTreeMap<String, String> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        assert_eq!(headers["content-length"].parse(), Ok(body.len()), "the body is whole");
        Answer { status, headers, body }
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}
