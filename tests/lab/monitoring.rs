//! Prometheus, Alertmanager, and the receiver of what they have to say.
//!
//! Rules and Alertmanager's configuration are the shipped ones with time divided by [`FASTER`] (and at least a second):
//! what is waited (`for`, `keep_firing_for`, `group_wait`, `group_interval`), and what is looked back at, up to an hour
//! (the day of the lab is as much shorter as its alerts are faster). What looks at more than an hour, back or ahead, is
//! divided by [`FASTER_FAR`]: a prediction from six hours is made from half a minute. Nothing else of them is changed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::Process;

/// How much faster the lab's alerts are.
pub(crate) const FASTER: u64 = 60;
/// Keys of what is waited.
const WAITING: [&str; 4] = ["for", "keep_firing_for", "group_wait", "group_interval"];
/// How much faster it is what looks further than [`NEAR`].
const FASTER_FAR: u64 = 720;
const NEAR: Duration = Duration::from_secs(3600);
pub(crate) const PROMETHEUS: &str = "127.0.0.1:9090";
pub(crate) const ALERTMANAGER: &str = "127.0.0.1:9093";
/// Where the example of Alertmanager's configuration sends its messages.
const RECEIVER: &str = "127.0.0.1:9095";
pub(crate) const EXPORTER_PORT: u16 = 19179;

/// An alert that arrived.
#[derive(Debug, Clone)]
pub(crate) struct Notice {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) firing: bool,
    /// Which receiver it was sent to.
    pub(crate) to: String,
    pub(crate) at: Instant,
}

impl Notice {
    pub(crate) fn name(&self) -> &str {
        self.labels.get("alertname").map_or("", String::as_str)
    }
}

pub(crate) struct Monitoring {
    directory: PathBuf,
    notices: Arc<Mutex<Vec<Notice>>>,
    targets: BTreeMap<&'static str, String>,
    processes: Vec<Process>,
}

impl Monitoring {
    pub(crate) fn start(directory: &Path) -> Monitoring {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts");
        let mut rules = Vec::new();
        for entry in std::fs::read_dir(&root).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if name.ends_with(".rules.yml") {
                std::fs::write(directory.join(&name), faster(&std::fs::read_to_string(entry.path()).unwrap())).unwrap();
                rules.push(name);
            }
        }
        let example = std::fs::read_to_string(root.join("alertmanager.example.yml")).unwrap();
        std::fs::write(directory.join("alertmanager.yml"), faster(&example)).unwrap();
        std::fs::write(directory.join("targets.json"), "[]").unwrap();
        let config = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": rules,
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [ALERTMANAGER]}]}]},
            "scrape_configs": [{"job_name": "calico-exporter",
                                "file_sd_configs": [{"files": ["targets.json"], "refresh_interval": "1s"}]}],
        });
        // JSON is YAML.
        std::fs::write(directory.join("prometheus.yml"), config.to_string()).unwrap();

        let notices = Arc::default();
        receive(&notices);
        let mut prometheus = Command::new("prometheus");
        prometheus
            .arg(format!("--config.file={}", directory.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("prometheus").display()))
            .args([&format!("--web.listen-address={PROMETHEUS}"), "--rules.alert.resend-delay=5s"]);
        let mut alertmanager = Command::new(crate::tools::alertmanager().unwrap());
        alertmanager
            .arg(format!("--config.file={}", directory.join("alertmanager.yml").display()))
            .arg(format!("--storage.path={}", directory.join("alertmanager").display()))
            .args([&format!("--web.listen-address={ALERTMANAGER}"), "--cluster.listen-address="]);
        let processes = vec![
            Process::start(directory, "alertmanager", alertmanager),
            Process::start(directory, "prometheus", prometheus),
        ];
        let monitoring = Monitoring { directory: directory.to_owned(), notices, targets: BTreeMap::new(), processes };
        monitoring.wait_until_ready();
        monitoring
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !(get(PROMETHEUS, "/-/ready").is_some() && get(ALERTMANAGER, "/-/ready").is_some()) {
            let words = || self.processes.iter().map(Process::last_words).collect::<Vec<_>>().join("\n");
            assert!(Instant::now() < deadline, "Prometheus and Alertmanager are not ready: {}", words());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Has Prometheus scrape the exporter of this host.
    pub(crate) fn scrape(&mut self, name: &'static str, address: &str) {
        self.targets.insert(name, format!("{address}:{EXPORTER_PORT}"));
        self.write_targets();
    }

    pub(crate) fn scrape_no_more(&mut self, name: &str) {
        self.targets.remove(name);
        self.write_targets();
    }

    fn write_targets(&self) {
        let groups: Vec<Value> = self
            .targets
            .iter()
            .map(|(name, target)| json!({"targets": [target], "labels": {"cluster": "lab", "instance": name}}))
            .collect();
        // A file that is seen is whole.
        let new = self.directory.join("targets.new");
        std::fs::write(&new, json!(groups).to_string()).unwrap();
        std::fs::rename(new, self.directory.join("targets.json")).unwrap();
    }

    /// What was received from the `n`th message on.
    pub(crate) fn received_since(&self, n: usize) -> Vec<Notice> {
        self.notices.lock().unwrap()[n..].to_vec()
    }

    pub(crate) fn received(&self) -> usize {
        self.notices.lock().unwrap().len()
    }

    /// Alerts that Prometheus holds, firing or about to.
    pub(crate) fn active(&self) -> Option<Vec<(String, Value)>> {
        let answer: Value = serde_json::from_str(&get(PROMETHEUS, "/api/v1/alerts")?).ok()?;
        let alerts = answer["data"]["alerts"].as_array()?;
        Some(
            alerts
                .iter()
                .map(|alert| (alert["state"].as_str().unwrap_or("").to_owned(), alert["labels"].clone()))
                .collect(),
        )
    }

    /// How many series an expression gives; an error is Prometheus' own words.
    fn series(&self, expression: &str) -> Result<usize, String> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = get(PROMETHEUS, &format!("/api/v1/query?query={encoded}")).ok_or("it is refused")?;
        let answer: Value = serde_json::from_str(&answer).map_err(|error| error.to_string())?;
        answer["data"]["result"].as_array().map(Vec::len).ok_or_else(|| answer.to_string())
    }

    /// Panels of the shipped dashboards whose queries give nothing, and how many queries there are.
    pub(crate) fn empty_panels(&self) -> (Vec<String>, usize) {
        let (mut empty, mut count) = (Vec::new(), 0);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards");
        for entry in std::fs::read_dir(folder)
            .unwrap()
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|it| it == "json"))
        {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            let dashboard: Value = serde_json::from_str(&text).unwrap();
            for (title, expression) in queries(&dashboard) {
                count += 1;
                let variables = ["$cluster", "$job", "$instance", "$host"];
                let expression = expression.replace("$__rate_interval", "1m").replace("$__range", "1m");
                let expression = variables.iter().fold(expression, |text, variable| text.replace(variable, ".+"));
                match self.series(&expression) {
                    Ok(1..) => {}
                    other => empty.push(format!("{} {title}: {expression}: {other:?}", entry.path().display())),
                }
            }
        }
        (empty, count)
    }
}

/// The queries of a dashboard's panels, those in rows included, with the panels' titles.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().into_iter().flatten() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            queries.push((text(&panel["title"]), text(&target["expr"])));
        }
        queries.extend(self::queries(panel));
    }
    queries
}

/// A shipped file with its times divided. An objective's bound is a bucket's, which cannot be: BIRD is as slow as ever, so
/// that here any time is soon enough.
fn faster(text: &str) -> String {
    let text = text.replace("le=\"10.0\"", "le=\"+Inf\"");
    let mut scaled = String::new();
    for line in text.lines() {
        let waiting = WAITING.iter().find_map(|key| line.trim_start().strip_prefix(key)?.strip_prefix(": "));
        match waiting.and_then(|time| Some((time, divided(time)?))) {
            Some((time, divided)) => scaled += &format!("{}{divided}\n", line.strip_suffix(time).unwrap()),
            None => scaled += &format!("{}\n", windows(line)),
        }
    }
    scaled
}

/// A line with its windows divided: what follows `[` and `offset`, and the hours that are looked ahead.
fn windows(line: &str) -> String {
    let line = line.replace("* 3600)", &format!("* {})", 3600 / FASTER_FAR));
    let (mut scaled, mut rest) = (String::new(), line.as_str());
    while let Some(start) =
        [rest.find('[').map(|at| at + 1), rest.find("offset ").map(|at| at + 7)].iter().flatten().min()
    {
        let (before, after) = rest.split_at(*start);
        let end = after.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(after.len());
        scaled += before;
        scaled += divided(&after[..end]).as_deref().unwrap_or(&after[..end]);
        rest = &after[end..];
    }
    scaled + rest
}

fn divided(time: &str) -> Option<String> {
    let time = humantime::parse_duration(time).ok()?;
    let faster = if time > NEAR { FASTER_FAR } else { FASTER };
    Some(format!("{}s", (time.as_secs() / faster).max(1)))
}

/// Takes Alertmanager's messages and keeps them.
fn receive(notices: &Arc<Mutex<Vec<Notice>>>) {
    let listener = TcpListener::bind(RECEIVER).unwrap();
    let notices = notices.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let notices = notices.clone();
            thread::spawn(move || take(stream, &notices));
        }
    });
}

fn take(stream: TcpStream, notices: &Mutex<Vec<Notice>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        reader.read_line(&mut first).ok().filter(|count| *count > 0)?;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").ok()?;
        let to = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
        let message: Value = serde_json::from_slice(&body).ok()?;
        for alert in message["alerts"].as_array()? {
            let labels = serde_json::from_value(alert["labels"].clone()).ok()?;
            let firing = alert["status"] == "firing";
            notices.lock().unwrap().push(Notice { labels, firing, to: to.clone(), at: Instant::now() });
        }
    }
}

/// The body of a page, if it is a 200.
pub(crate) fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address.parse().ok()?, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: lab\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.lines().next()?.contains(" 200").then(|| body.to_owned())
}
