//! What each request says of who asks, kept fresh: a token's file is replaced within the hour, a program's token ends.

use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use tokio::sync::Mutex;

use super::settings::{TOKEN_AGE, User};
use crate::source::backoff::Backoff;
use crate::source::etcd::settings::Identity;

/// A program is asked again so long before what it gave ends.
const MARGIN: Duration = Duration::from_secs(60);
/// A program is not started again sooner, whatever it said: a token that has ended already is asked for by each request.
const LEAST_PAUSE: Duration = Duration::from_secs(10);
/// Nor one that failed, again and again, sooner than this in the end.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// Who we are, as of now.
#[derive(Clone, Default)]
pub(super) struct Shown {
    /// The `Authorization` header.
    pub header: Option<HeaderValue>,
    /// A certificate that a program gave.
    pub identity: Option<Identity>,
    /// Goes up with each other answer.
    pub generation: u64,
}

/// Asks whoever knows, and remembers.
pub(super) struct Authenticator {
    user: User,
    known: Mutex<Known>,
}

struct Known {
    shown: Shown,
    read: Option<Instant>,
    until: Option<SystemTime>,
    /// When the program may be started again.
    next: Option<Instant>,
    /// Why it failed last.
    failed: Option<String>,
    backoff: Backoff,
}

impl Default for Known {
    fn default() -> Self {
        let backoff = Backoff::new(LEAST_PAUSE, LONGEST_PAUSE);
        Known { shown: Shown::default(), read: None, until: None, next: None, failed: None, backoff }
    }
}

impl Authenticator {
    pub(super) fn new(user: User) -> Authenticator {
        Authenticator { user, known: Mutex::default() }
    }

    /// Who we are. `refused`: the generation that the API server did not accept, which is asked for anew.
    ///
    /// # Errors
    /// The file or the program does not say it; the text names it.
    pub(super) async fn shown(&self, refused: Option<u64>) -> Result<Shown, String> {
        let mut known = self.known.lock().await;
        let fresh = known.read.is_some_and(|read| match &self.user {
            User::Certificate | User::Token(_) | User::Basic(..) => true,
            User::TokenFile(_) => read.elapsed() < TOKEN_AGE,
            User::Exec(_) => known.until.is_none_or(|until| SystemTime::now() + MARGIN < until),
        });
        if fresh && refused != Some(known.shown.generation) {
            return Ok(known.shown.clone());
        }
        if matches!(self.user, User::Exec(_)) && known.next.is_some_and(|next| Instant::now() < next) {
            return match &known.failed {
                Some(why) => Err(why.clone()),
                None => Ok(known.shown.clone()),
            };
        }
        let asked = self.ask().await;
        let pause = match &asked {
            Ok(_) => {
                known.backoff.reset();
                LEAST_PAUSE
            }
            Err(_) => known.backoff.next_delay().max(Duration::from_secs(1)),
        };
        known.next = Some(Instant::now() + pause);
        known.failed = asked.as_ref().err().cloned();
        let (header, identity, until) = asked?;
        known.read = Some(Instant::now());
        known.until = until;
        if known.shown.generation == 0 || header != known.shown.header || identity != known.shown.identity {
            known.shown = Shown { header, identity, generation: known.shown.generation + 1 };
        }
        Ok(known.shown.clone())
    }

    async fn ask(&self) -> Result<(Option<HeaderValue>, Option<Identity>, Option<SystemTime>), String> {
        Ok(match &self.user {
            User::Certificate => (None, None, None),
            User::Token(token) => (Some(header(&format!("Bearer {}", token.trim()), "the token")?), None, None),
            User::Basic(name, password) => {
                let both = STANDARD.encode(format!("{name}:{password}"));
                (Some(header(&format!("Basic {both}"), "the name and password")?), None, None)
            }
            User::TokenFile(path) => {
                let name = path.display().to_string();
                let token = tokio::fs::read_to_string(path).await.map_err(|error| format!("{name}: {error}"))?;
                match token.trim() {
                    "" => return Err(format!("{name}: the token's file is empty")),
                    token => (Some(header(&format!("Bearer {token}"), &name)?), None, None),
                }
            }
            User::Exec(exec) => {
                let credential = exec.run().await?;
                let value =
                    credential.token.map(|token| header(&format!("Bearer {token}"), &exec.setting)).transpose()?;
                (value, credential.identity, credential.until)
            }
        })
    }
}

/// A header that no log shows.
fn header(text: &str, what: &str) -> Result<HeaderValue, String> {
    let mut value =
        HeaderValue::from_str(text).map_err(|_| format!("{what}: it has characters that no header may have"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::kubernetes::live::exec::Exec;

    #[tokio::test]
    async fn a_file_is_read_again_when_what_it_said_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "first\n").unwrap();
        let who = Authenticator::new(User::TokenFile(file.path().to_owned()));
        let first = who.shown(None).await.unwrap();
        assert_eq!(first.header.clone().unwrap(), "Bearer first");
        std::fs::write(file.path(), "second").unwrap();
        assert_eq!(who.shown(None).await.unwrap().header, first.header, "not with every request");
        let second = who.shown(Some(first.generation)).await.unwrap();
        assert_eq!(second.header.clone().unwrap(), "Bearer second");
        assert_ne!(second.generation, first.generation);
        assert!(!format!("{:?}", second.header).contains("second"), "no log shows it");
        // What another request has found out already is not asked twice.
        assert_eq!(who.shown(Some(first.generation)).await.unwrap().generation, second.generation);
        std::fs::write(file.path(), "").unwrap();
        assert!(who.shown(Some(second.generation)).await.is_err());
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_program_is_not_started_with_each_request() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let (program, ran) = (dir.path().join("program"), dir.path().join("ran"));
        let exec = Exec {
            setting: "config: exec".to_owned(),
            api_version: "client.authentication.k8s.io/v1".to_owned(),
            command: program.clone(),
            arguments: Vec::new(),
            environment: Vec::new(),
            hint: String::new(),
            cluster: None,
        };
        let ended = r#"{"apiVersion":"client.authentication.k8s.io/v1","status":{"token":"old","expirationTimestamp":"2020-01-01T00:00:00Z"}}"#;
        for (script, works) in [(format!("echo '{ended}'"), true), ("echo sorry >&2; exit 1".to_owned(), false)] {
            std::fs::write(&program, format!("#!/bin/sh\necho >>{}\n{script}\n", ran.display())).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
            std::fs::write(&ran, "").unwrap();
            let who = Authenticator::new(User::Exec(exec.clone()));
            for _ in 0..24 {
                let shown = who.shown(None).await;
                assert_eq!(shown.is_ok(), works);
                let refused = shown.map_or(0, |it| it.generation);
                assert_eq!(who.shown(Some(refused)).await.is_ok(), works);
            }
            assert_eq!(std::fs::read_to_string(&ran).unwrap().lines().count(), 1, "{script}");
        }
    }
}
