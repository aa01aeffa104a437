//! `--web.config.file`: the real program, asked by curl and openssl.

mod attacks;
mod clients;
mod limits;
mod passwords;
mod tls;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use tempfile::TempDir;

use crate::support::certificates::Certificates;
use crate::support::etcd::DEADLINE;
use crate::support::exporter::{Exporter, run};
use crate::support::tool;

const DUMP: [&str; 2] = ["--datastore.file", "tests/fixtures/three-hosts/etcd.json"];
const CERTIFICATE: &str = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n";

/// An exporter with a file, and certificates beside that file.
struct Guarded {
    dir: TempDir,
    curl: PathBuf,
    certificates: Certificates,
    exporter: Option<Exporter>,
}

/// What curl got.
#[derive(Debug)]
struct Got {
    /// 0 where there was no answer over HTTP.
    status: u16,
    /// `1.1` or `2`.
    version: String,
    head: String,
    body: String,
    /// What curl complained of.
    said: String,
}

impl Guarded {
    /// Certificates alone; `None` where a tool is missing.
    fn prepare() -> Option<Guarded> {
        let dir = tempfile::tempdir().unwrap();
        let curl = tool("curl")?;
        let certificates = Certificates::make(dir.path())?;
        Some(Guarded { dir, curl, certificates, exporter: None })
    }

    fn start(config: &str) -> Option<Guarded> {
        let mut guarded = Guarded::prepare()?;
        guarded.serve(config);
        Some(guarded)
    }

    fn serve(&mut self, config: &str) {
        self.write(config);
        let file = self.file();
        let flags = [&DUMP[..], &["--node.name", "h1", "--web.config.file", file.to_str().unwrap()]].concat();
        self.exporter = Some(Exporter::start(&flags));
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("web.yml")
    }

    fn write(&self, config: &str) {
        std::fs::write(self.file(), config).unwrap();
    }

    fn exporter(&self) -> &Exporter {
        self.exporter.as_ref().unwrap()
    }

    fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}{path}", self.exporter().address())
    }

    /// Asks with these words for curl.
    fn curl(&self, words: &[&str], url: &str) -> Got {
        let output = Command::new(&self.curl)
            .args(["-sS", "-D", "-", "-m", "60", "-w", "\n%{http_code} %{http_version}", "--noproxy", "*"])
            .args(words)
            .arg(url)
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (answer, end) = text.rsplit_once('\n').unwrap();
        let (status, version) = end.split_once(' ').unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
        Got {
            status: status.parse().unwrap(),
            version: version.to_owned(),
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
            said: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Asks over TLS, trusting the CA.
    fn https(&self, words: &[&str], path: &str) -> Got {
        self.curl(&[&["--cacert", "ca.pem"], words].concat(), &self.url("https", path))
    }

    fn http(&self, words: &[&str], path: &str) -> Got {
        self.curl(words, &self.url("http", path))
    }
}

/// Waits until it holds.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "never: {what}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Runs it with a file of this text, and sees that it refuses in one line that names the flag, the file and these words.
fn refused(dir: &Path, config: &str, wanted: &[&str]) {
    let file = dir.join("bad.yml");
    std::fs::write(&file, config).unwrap();
    let file = file.to_str().unwrap();
    let output = run(&[&DUMP[..], &["--web.listen-address", "127.0.0.1:0", "--web.config.file", file]].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{config}: {said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    for word in [&["--web.config.file", file], wanted].concat() {
        assert!(said.contains(word), "{config}: no {word:?} in {said}");
    }
}
