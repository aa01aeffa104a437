//! A program that says who we are: how the kubeconfigs of most clouds let one in
//! (<https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins>).

use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::source::etcd::settings::{Identity, Pem};

/// How long the program may take: it asks a cloud, but no person.
const LIMIT: Duration = Duration::from_secs(30);
/// The most that it may print: a token and a chain of certificates are a few kB.
const MOST_PRINTED: usize = 1 << 20;
/// How much of its complaint is kept, which is the end of it.
const MOST_COMPLAINT: usize = 2 << 10;
/// How much of that is shown.
const SHOWN: usize = 400;
/// Variables by which Calico's tools are told secrets of their own; they are none of the program's business.
const OURS: [&str; 3] = ["ETCD_", "CALICO_", "K8S_"];

/// The program and what it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// What to call it in a message: the kubeconfig and the key.
    pub setting: String,
    /// `client.authentication.k8s.io/v1` or `…/v1beta1`.
    pub api_version: String,
    /// The program.
    pub command: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables beside our own.
    pub environment: Vec<Named>,
    /// What to tell who does not have it.
    pub hint: String,
    /// The cluster, where the program wants to be told.
    pub cluster: Option<Value>,
}

/// A variable.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its value, which may be a secret.
    #[serde(default)]
    pub value: String,
}

impl std::fmt::Debug for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}=…", self.name)
    }
}

/// What the program said.
pub(super) struct Credential {
    pub token: Option<String>,
    pub identity: Option<Identity>,
    pub until: Option<SystemTime>,
}

#[derive(Deserialize)]
struct Printed {
    #[serde(rename = "apiVersion", default)]
    api_version: String,
    #[serde(default)]
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
    expiration_timestamp: Option<String>,
}

impl Exec {
    /// Runs the program. What it prints is a secret and in no message; what it complains of is shown.
    pub(super) async fn run(&self) -> Result<Credential, String> {
        let mut spec = json!({"interactive": false});
        if let Some(cluster) = &self.cluster {
            spec["cluster"] = cluster.clone();
        }
        let info = json!({"apiVersion": self.api_version, "kind": "ExecCredential", "spec": spec});
        let program = self.command.display();
        let fail = |what: String| format!("{}: {program}: {what}", self.setting);
        let ours = std::env::vars_os().map(|(name, _)| name);
        let ours = ours.filter(|name| OURS.iter().any(|it| name.to_string_lossy().starts_with(it)));
        let mut command = Command::new(&self.command);
        for name in ours {
            command.env_remove(name);
        }
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|it| (&it.name, &it.value)))
            .env("KUBERNETES_EXEC_INFO", info.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // What it starts ends with it.
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| {
            let hint = if self.hint.is_empty() { String::new() } else { format!(" ({})", self.hint.trim()) };
            fail(format!("{error}{hint}"))
        })?;
        let mut group = Group::of(&child);
        let ended = timeout(LIMIT, finish(&mut child)).await;
        let (status, printed, complaint) = match ended {
            Err(_) => return Err(fail(format!("did not end within {} s", LIMIT.as_secs()))),
            Ok(Err(error)) => return Err(fail(error.to_string())),
            Ok(Ok(ended)) => ended,
        };
        group.ended();
        if !status.success() {
            let complaint = match shown(&complaint) {
                none if none.is_empty() => "it does not say why; run it by hand".to_owned(),
                complaint => complaint,
            };
            return Err(fail(format!("{status}: {complaint}")));
        }
        self.understand(&printed).map_err(fail)
    }

    fn understand(&self, printed: &[u8]) -> Result<Credential, String> {
        let printed: Printed =
            serde_json::from_slice(printed).map_err(|_| "what it prints is no ExecCredential".to_owned())?;
        if printed.api_version != self.api_version {
            return Err(format!("it prints {:?}, not {:?}", printed.api_version, self.api_version));
        }
        let status = printed.status.ok_or("it prints no status")?;
        let identity = match (status.client_certificate_data, status.client_key_data) {
            (None, None) => None,
            (Some(cert), Some(key)) => {
                Some(Identity { cert: Pem::Inline(cert.into_bytes()), key: Pem::Inline(key.into_bytes()) })
            }
            _ => return Err("it prints a certificate without key, or a key without certificate".to_owned()),
        };
        if status.token.is_none() && identity.is_none() {
            return Err("it prints neither a token nor a certificate".to_owned());
        }
        let until = match status.expiration_timestamp {
            None => None,
            Some(text) => Some(
                OffsetDateTime::parse(&text, &Rfc3339)
                    .map_err(|_| "its expirationTimestamp is no time".to_owned())?
                    .into(),
            ),
        };
        Ok(Credential { token: status.token, identity, until })
    }
}

/// A program's process group, which is killed unless it ended by itself: a script's children hold its pipes open.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Group {
        Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    fn ended(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Gone already, or not ours any more: nothing is left to be done.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

/// Waits for the end of a program and of what it prints.
async fn finish(child: &mut Child) -> io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
    let (printed, complaint) = (child.stdout.take(), child.stderr.take());
    let (printed, complaint) = tokio::try_join!(all(printed), end(complaint))?;
    Ok((child.wait().await?, printed, complaint))
}

/// All of an output, which must not be too long.
async fn all(output: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut read = Vec::new();
    if let Some(output) = output {
        output.take(MOST_PRINTED as u64 + 1).read_to_end(&mut read).await?;
    }
    match read.len() > MOST_PRINTED {
        true => Err(io::Error::other(format!("prints more than {MOST_PRINTED} bytes"))),
        false => Ok(read),
    }
}

/// The end of an output, however long it is.
async fn end(output: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let (mut kept, mut piece) = (Vec::new(), vec![0; MOST_COMPLAINT]);
    let Some(mut output) = output else { return Ok(kept) };
    loop {
        let length = output.read(&mut piece).await?;
        if length == 0 {
            return Ok(kept);
        }
        kept.extend_from_slice(&piece[..length]);
        kept.drain(..kept.len().saturating_sub(MOST_COMPLAINT));
    }
}

/// The end of a complaint in one line.
fn shown(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ").chars().filter(|it| !it.is_control()).collect::<Vec<char>>();
    line[line.len().saturating_sub(SHOWN)..].iter().collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const V1: &str = "client.authentication.k8s.io/v1";

    fn exec(dir: &tempfile::TempDir, script: &str) -> Exec {
        let command = dir.path().join("program");
        std::fs::write(&command, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&command, std::fs::Permissions::from_mode(0o755)).unwrap();
        Exec {
            setting: "config: exec".to_owned(),
            api_version: V1.to_owned(),
            command,
            arguments: vec!["one".to_owned()],
            environment: vec![Named { name: "MINE".to_owned(), value: "s3cret".to_owned() }],
            hint: "install it".to_owned(),
            cluster: Some(json!({"server": "https://a:1"})),
        }
    }

    #[tokio::test]
    async fn a_program_is_told_where_we_go_and_says_who_we_are() {
        let dir = tempfile::tempdir().unwrap();
        let script = format!(
            r#"case "$KUBERNETES_EXEC_INFO" in *https://a:1*) ;; *) exit 1 ;; esac
echo '{{"apiVersion":"{V1}","kind":"ExecCredential","status":{{"token":"'$1-$MINE'","expirationTimestamp":"2026-11-24T12:00:00Z"}}}}'"#
        );
        let said = exec(&dir, &script).run().await.unwrap();
        assert_eq!(said.token.as_deref(), Some("one-s3cret"));
        assert_eq!(said.until, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_521_600)));
    }

    #[tokio::test]
    async fn what_goes_wrong_names_the_program_and_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let status = |status: &str| format!(r#"echo '{{"apiVersion":"{V1}","status":{status}}}'"#);
        for (script, named) in [
            ("echo s3cret; echo no login >&2; exit 3".to_owned(), "exit status: 3: no login"),
            ("echo s3cret; exit 3".to_owned(), "run it by hand"),
            ("echo s3cret".to_owned(), "no ExecCredential"),
            (r#"echo '{"apiVersion":"v9","status":{"token":"s3cret"}}'"#.to_owned(), "v9"),
            (status("{}"), "neither a token"),
            (status(r#"{"clientCertificateData":"s3cret"}"#), "without key"),
            (status(r#"{"token":"s3cret","expirationTimestamp":"s3cret"}"#), "no time"),
        ] {
            let error = exec(&dir, &script).run().await.err().unwrap();
            assert!(error.contains(named) && error.contains("config: exec") && !error.contains("s3cret"), "{error}");
        }
        let missing = Exec { command: "/nowhere/program".into(), ..exec(&dir, "") };
        let error = missing.run().await.err().unwrap();
        assert!(error.contains("/nowhere/program") && error.contains("install it"), "{error}");
    }

    #[tokio::test]
    async fn what_it_prints_is_bounded_and_what_it_starts_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let script = format!("(echo $BASHPID >{0}; echo $$ >{0}; exec sleep 1000) & yes s3cret", pid.display());
        let error = exec(&dir, &script).run().await.err().unwrap();
        assert!(error.contains("prints more than") && !error.contains("s3cret"), "{error}");
        // The group is the program's: nobody of it is left.
        let group: i32 = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
        let began = std::time::Instant::now();
        while killpg(Pid::from_raw(group), None).is_ok() {
            assert!(began.elapsed() < Duration::from_secs(10), "its children live on");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test]
    async fn a_long_complaint_is_cut_and_is_no_terminals_business() {
        let dir = tempfile::tempdir().unwrap();
        let script = r"for i in $(seq 5000); do echo line $i >&2; done; printf 'the \033[31mreason' >&2; exit 1";
        let error = exec(&dir, script).run().await.err().unwrap();
        assert!(error.ends_with("the [31mreason") && error.len() < 800, "{error}");
    }
}
