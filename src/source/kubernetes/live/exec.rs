//! A program that says who we are: how the kubeconfigs of most clouds let one in
//! (<https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins>).

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::process::Command;
use tokio::time::timeout;

use crate::source::etcd::settings::{Identity, Pem};

/// How long the program may take: it asks a cloud, but no person.
const LIMIT: Duration = Duration::from_secs(30);

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
    /// Runs the program. Its output is a secret: no message repeats it.
    pub(super) async fn run(&self) -> Result<Credential, String> {
        let mut spec = json!({"interactive": false});
        if let Some(cluster) = &self.cluster {
            spec["cluster"] = cluster.clone();
        }
        let info = json!({"apiVersion": self.api_version, "kind": "ExecCredential", "spec": spec});
        let program = self.command.display();
        let fail = |what: String| format!("{}: {program}: {what}", self.setting);
        let run = Command::new(&self.command)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|it| (&it.name, &it.value)))
            .env("KUBERNETES_EXEC_INFO", info.to_string())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = match timeout(LIMIT, run).await {
            Err(_) => return Err(fail(format!("did not end within {} s", LIMIT.as_secs()))),
            Ok(Err(error)) => {
                let hint = if self.hint.is_empty() { String::new() } else { format!(" ({})", self.hint.trim()) };
                return Err(fail(format!("{error}{hint}")));
            }
            Ok(Ok(output)) => output,
        };
        if !output.status.success() {
            return Err(fail(format!("{}; run it by hand to see why", output.status)));
        }
        self.understand(&output.stdout).map_err(fail)
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
            ("echo s3cret; echo s3cret >&2; exit 3".to_owned(), "3"),
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
}
