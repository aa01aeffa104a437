//! The package's units, defaults, rules and examples on a host without Kubernetes: a real Prometheus scrapes what the
//! units start, and a real Alertmanager is told of a route that is taken away. All of it on the ports that it is shipped
//! with, in a namespace of its own; only what is waited for is shorter.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::package::unpacked;
use crate::alerts::{rule_files, yaml};
use crate::e2e::host::Host;
use crate::support::etcd::DEADLINE;
use crate::support::netns::in_namespace;
use crate::support::tool;

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(command: &mut Command) -> Running {
    Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

/// Starts what the unit starts, with the defaults in its environment, as systemd reads both.
fn start_unit(root: &Path, unit: &str) -> Running {
    let text = std::fs::read_to_string(root.join(format!("usr/lib/systemd/system/{unit}.service"))).unwrap();
    let setting = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let defaults = std::fs::read_to_string(root.join(setting("EnvironmentFile=-/"))).unwrap();
    let variables: Vec<(&str, &str)> =
        defaults.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('=')).collect();
    let arguments = variables.iter().find(|(name, _)| *name == "ARGS").map_or("", |(_, value)| value);
    let line = setting("ExecStart=/").replace("$ARGS", arguments);
    let mut words = line.split_whitespace();
    start(Command::new(root.join(words.next().unwrap())).args(words).env_clear().envs(variables))
}

/// Changes a file that was installed.
fn edit(file: &Path, change: impl FnOnce(String) -> String) {
    let text = std::fs::read_to_string(file).unwrap();
    let changed = change(text.clone());
    assert_ne!(text, changed, "{}", file.display());
    std::fs::write(file, changed).unwrap();
}

/// Whatever Alertmanager tells the receivers of its example: the receiver's name and the alert's.
fn receiver() -> mpsc::Receiver<(String, String)> {
    let listener = TcpListener::bind("127.0.0.1:9095").unwrap();
    let (sender, received) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = BufReader::new(stream);
            let lines = stream.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty());
            let head: Vec<String> = lines.collect();
            let length = head.iter().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap().parse().unwrap();
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            stream.get_mut().write_all(answer).unwrap();
            let to = head[0].split(' ').nth(1).unwrap().to_owned();
            let message: Value = serde_json::from_slice(&body).unwrap();
            for alert in message["alerts"].as_array().unwrap() {
                // The test may be over.
                let _ = sender.send((to.clone(), alert["labels"]["alertname"].as_str().unwrap().to_owned()));
            }
        }
    });
    received
}

/// What Prometheus' API says there.
fn ask(path: &str) -> Option<Value> {
    let mut stream = TcpStream::connect("127.0.0.1:9090").ok()?;
    // HTTP/1.0 knows no chunks.
    write!(stream, "GET /api/v1/{path} HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    serde_json::from_str(text.split_once("\r\n\r\n")?.1).ok()
}

fn until(what: &str, mut holds: impl FnMut(&mut String) -> bool) {
    let (begun, mut seen) = (Instant::now(), String::new());
    while !holds(&mut seen) {
        assert!(begun.elapsed() < DEADLINE, "never: {what}: {seen}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
#[ignore = "make ship-test: it needs the package"]
fn what_the_package_installs_is_scraped_and_an_alert_is_delivered() {
    let (Some(prometheus), Some(alertmanager)) = (tool("prometheus"), tool("prometheus-alertmanager")) else { return };
    in_namespace(async move |namespace| {
        let Some(host) = Host::start(namespace).await else { return };
        let root = unpacked();
        let at = |path: &str| root.path().join(path);
        edit(&at("etc/default/calico-exporter"), |text| {
            let text = text.replace(
                "#ETCD_ENDPOINTS=https://etcd.example.org:2379",
                &format!("ETCD_ENDPOINTS={}", host.etcd.url()),
            );
            text.replace("#NODENAME=", "NODENAME=h1")
                .replace("#ARGS=--web.config.file=/etc/calico-exporter/web.yml", "ARGS=--routes.grace=1s")
        });
        let _exporters = ["calico-exporter", "calico-exporter-ipam"].map(|unit| start_unit(root.path(), unit));
        let (share, examples) = ("usr/share/calico-exporter/alerts", "usr/share/doc/calico-exporter/examples");
        let config = at(&format!("{examples}/prometheus.example.yml"));
        // host1 and host2 are both this host.
        edit(&config, |text| {
            let text = text.replace("/usr/share/", &format!("{}/usr/share/", root.path().display()));
            text.replace("host1.example", "127.0.0.1").replace("host2.example", "127.0.0.2").replace("15s", "1s")
        });
        edit(&at(&format!("{share}/calico.rules.yml")), |text| text.replace("for: 5m", "for: 0s"));
        let routing = at(&format!("{share}/alertmanager.example.yml"));
        edit(&routing, |text| text.replace("group_wait: 30s", "group_wait: 0s"));
        let received = receiver();
        let data = tempfile::tempdir().unwrap();
        let _alertmanager = start(
            Command::new(alertmanager)
                .args(["--web.listen-address=127.0.0.1:9093", "--cluster.listen-address="])
                .arg(format!("--config.file={}", routing.display()))
                .arg(format!("--storage.path={}", data.path().join("alertmanager").display())),
        );
        let _prometheus = start(
            Command::new(prometheus)
                .arg("--web.listen-address=127.0.0.1:9090")
                .arg(format!("--config.file={}", config.display()))
                .arg(format!("--storage.tsdb.path={}", data.path().join("prometheus").display())),
        );

        until("every target is up", |seen| {
            let targets = ask("targets").map(|answer| answer["data"]["activeTargets"].clone()).unwrap_or_default();
            *seen = targets.to_string();
            targets.as_array().is_some_and(|all| all.len() == 3 && all.iter().all(|target| target["health"] == "up"))
        });
        let groups = ask("rules").unwrap()["data"]["groups"].as_array().unwrap().len();
        let shipped: usize = rule_files().iter().map(|file| yaml(file)["groups"].as_sequence().unwrap().len()).sum();
        assert_eq!(groups, shipped, "every group of rules is loaded");
        let flat: Vec<_> = received.try_iter().collect();
        assert_eq!(flat, [], "nothing is wrong");
        // Both that look say that h2 cannot be reached in that pool.
        host.namespace.ip("route del 10.67.1.0/26");
        until("the pager is told", |seen| {
            received.try_iter().any(|(to, alert)| {
                *seen += &format!(" {to} {alert}");
                to == "/pager" && alert == "CalicoHostUnreachable"
            })
        });
    });
}
