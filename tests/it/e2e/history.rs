//! Who changed what: real programs delete real routes, and the exporter names them, or says that it cannot.

use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::Value;

use super::host::Host;
use crate::support::exporter::Exporter;
use crate::support::netns::{Namespace, in_namespace};

/// A program that changes routes as long as it is told to: iproute2 under another name, which a netlink message
/// cannot tell from the program of that name.
struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    _folder: tempfile::TempDir,
}

impl Program {
    fn start(namespace: &Namespace, name: &str, before: &[&str]) -> Program {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let ip =
            ["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip", "/bin/ip"].into_iter().find(|it| std::fs::metadata(it).is_ok());
        std::fs::copy(ip.unwrap(), &path).unwrap();
        let path = path.to_str().unwrap();
        let words: Vec<&str> = before.iter().copied().chain([path, "-batch", "-"]).collect();
        let mut command: Command = namespace.command(words[0]);
        command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take();
        Program { child, stdin, _folder: folder }
    }

    fn run(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

fn changes(exporter: &Exporter, query: &str) -> Vec<Value> {
    let answer = exporter.get(&format!("/api/v1/history?{query}"));
    let document: Value =
        serde_json::from_str(answer.text()).unwrap_or_else(|error| panic!("{error}: {}", answer.text()));
    assert_eq!(document["schema"], 1);
    document["entries"].as_array().unwrap().clone()
}

/// The newest deletion of a route to the destination, once it is there.
fn deletion(exporter: &Exporter, destination: &str) -> Value {
    let query = format!("subject={destination}&kind=kernel");
    exporter.until("the deletion is recorded", |_| {
        changes(exporter, &query).first().is_some_and(|it| it["operation"] == "deleted")
    });
    changes(exporter, &query)[0].clone()
}

const ROUTE: &str = "10.66.17.0/26 via 172.18.0.5 dev eth0 onlink proto 80";
const NET: &str = "10.66.17.0/26";

/// In the host's PID namespace a port names a process; elsewhere nothing does, and nothing may.
fn sees_the_hosts_processes() -> bool {
    std::fs::read_link("/proc/self/ns/pid").unwrap().to_str() == Some("pid:[4026531836]")
}

#[test]
fn the_program_that_deleted_a_route_is_named_with_its_setting() {
    in_namespace(async |namespace| {
        let Some(host) = Host::start(namespace).await else { return };
        let exporter = host.healthy();
        assert_eq!(changes(&exporter, "kind=kernel&subject=10.66.17.0/26"), [Value::Null; 0], "a start is no change");
        let mut networkd = Program::start(&host.namespace, "systemd-networkd", &[]);
        networkd.run(&format!("route del {NET}"));
        let entry = deletion(&exporter, NET);
        let named = sees_the_hosts_processes();
        assert_eq!(entry["by"]["port"], networkd.child.id());
        assert_eq!(entry["protocol"], "80");
        assert_eq!(entry["host"], "h2");
        assert_eq!(entry["changes"][0]["before"], ROUTE);
        if named {
            // The kernel keeps 15 bytes of a name.
            assert_eq!(entry["by"]["program"], "systemd-network");
            assert_eq!(entry["by"]["pid"], networkd.child.id());
            assert_eq!(entry["text"], format!("route deleted by systemd-network ({}): {ROUTE}", networkd.child.id()));
        }
        exporter.until_found(&["remote_block missing 10.66.17.0/26"]);
        let finding: Value = serde_json::from_str(exporter.get("/api/v1/findings").text()).unwrap();
        let finding = &finding["findings"][0];
        if named {
            let detail = finding["detail"].as_str().unwrap();
            assert!(
                detail.ends_with(&format!("systemd-network deleted it (process {})", networkd.child.id())),
                "{detail}"
            );
            assert!(finding["action"].as_str().unwrap().contains("ManageForeignRoutes=no"), "{finding}");
            let labels = [("class", "remote_block"), ("operation", "delete"), ("by", "other")];
            assert_eq!(exporter.scrape().value("calico_route_changes_total", &labels), Some(1.0));
        }
        let page = exporter.get("/").text().to_owned();
        assert!(page.contains("class=\"timeline\"") && page.contains("route deleted by"), "{page}");
        let page = exporter.get("/history?subject=10.66.17.9").text().to_owned();
        assert!(page.contains("became a fault") && page.contains("route deleted by"), "{page}");
        assert!(exporter.log().contains("fault began"), "{}", exporter.log());

        networkd.run(&format!("route add {ROUTE}"));
        exporter.until_found(&[]);
        let told = changes(&exporter, "subject=10.66.17.0/26");
        let told: Vec<_> =
            told.iter().map(|it| (it["kind"].as_str().unwrap(), it["operation"].as_str().unwrap())).collect();
        assert_eq!(told, [("fault", "ended"), ("kernel", "added"), ("fault", "began"), ("kernel", "deleted")]);
        assert!(exporter.log().contains("fault ended"), "{}", exporter.log());
    });
}

#[test]
fn a_process_that_is_gone_or_lives_in_another_pid_namespace_is_not_guessed() {
    in_namespace(async |namespace| {
        let Some(host) = Host::start(namespace).await else { return };
        let exporter = host.healthy();
        host.namespace.ip(&format!("route del {NET}"));
        let by = deletion(&exporter, NET)["by"].clone();
        let name = by["program"].as_str();
        assert!(name.is_none_or(|name| name == "ip"), "{by}");

        host.namespace.ip(&format!("route add {ROUTE}"));
        exporter.until_found(&[]);
        let mut bird = Program::start(&host.namespace, "bird", &["unshare", "--pid", "--fork", "--mount-proc"]);
        bird.run(&format!("route del {NET}"));
        let by = deletion(&exporter, NET)["by"].clone();
        assert_eq!(by["program"], Value::Null, "{by}");
        assert!(by["port"].as_u64().unwrap() < 10, "in its own namespace its number is small: {by}");
    });
}

#[test]
fn changes_of_the_datastore_say_what_and_at_which_revision() {
    in_namespace(async |namespace| {
        let Some(host) = Host::start(namespace).await else { return };
        let exporter = host.healthy();
        let (key, value) = super::host::without_loan();
        host.etcd.put(&key, &value).await;
        exporter.until("the block's change is recorded", |_| !changes(&exporter, "kind=datastore").is_empty());
        let entry = changes(&exporter, "kind=datastore&subject=10.65.1.9")[0].clone();
        assert_eq!((entry["what"].as_str(), entry["host"].as_str()), (Some("block"), Some("h2")));
        let text = entry["text"].as_str().unwrap();
        assert!(text.starts_with("block 10.65.1.0/26 changed at revision "), "{text}");
        assert!(text.contains("allocated 2 → 1") && text.contains("10.65.1.9"), "{text}");
        assert!(entry["by"]["revision"].as_str().unwrap().parse::<u64>().is_ok());
        assert_eq!(exporter.get("/api/v1/history?kind=pod").status, 400);
    });
}
