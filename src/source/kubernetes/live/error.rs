//! What goes wrong with the Kubernetes API, by what an operator can do about it.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

/// Why the API could not be read. Each message names the server, what was asked and, where there is one, the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KubernetesError {
    /// The settings cannot be used as they are.
    #[error("settings of the Kubernetes API: {0}")]
    Settings(String),
    /// Nobody answers, or the connection broke.
    #[error("the Kubernetes API at {server} cannot be reached: {cause}")]
    Unreachable {
        /// Where.
        server: Arc<str>,
        /// The innermost cause.
        cause: String,
    },
    /// Somebody answers, but no TLS session comes about.
    #[error(
        "no TLS session with the Kubernetes API at {server}: {cause} (check the CA, and the client's certificate and key)"
    )]
    Tls {
        /// Where.
        server: Arc<str>,
        /// The innermost cause.
        cause: String,
    },
    /// 401: the token or certificate says nothing to the server.
    #[error("the Kubernetes API at {server} does not know who we are ({asked}): check the token or the certificate")]
    Credentials {
        /// Where.
        server: Arc<str>,
        /// What was asked.
        asked: String,
    },
    /// 403: a permission is missing.
    #[error(
        "the Kubernetes API at {server} refuses {verb} on {resource}: {message} (the ClusterRole needs get, list and watch on it)"
    )]
    Denied {
        /// Where.
        server: Arc<str>,
        /// `get`, `list` or `watch`.
        verb: &'static str,
        /// The resource, with its group.
        resource: String,
        /// The server's words, which name the user.
        message: String,
    },
    /// 404: the resource or the object does not exist.
    #[error("the Kubernetes API at {server} has no {asked}")]
    NotFound {
        /// Where.
        server: Arc<str>,
        /// What was asked.
        asked: String,
    },
    /// No answer in time.
    #[error("the Kubernetes API at {server} did not answer within {} ({asked})", humantime::format_duration(*.after))]
    TimedOut {
        /// Where.
        server: Arc<str>,
        /// What was asked.
        asked: String,
        /// How long it had.
        after: Duration,
    },
    /// 410: the version being read or watched does not exist any more. Only a fresh list helps.
    #[error(
        "the Kubernetes API at {server} does not keep the version any more from which to go on ({asked}): {message}"
    )]
    Expired {
        /// Where.
        server: Arc<str>,
        /// What was asked.
        asked: String,
        /// The server's words.
        message: String,
    },
    /// 429, 503, 504: it has other things to do.
    #[error("the Kubernetes API at {server} is busy ({asked}): {message}")]
    Busy {
        /// Where.
        server: Arc<str>,
        /// What was asked.
        asked: String,
        /// The server's words.
        message: String,
        /// What it asks to be given.
        retry_after: Option<Duration>,
    },
    /// Neither an event nor a sign of life for so long: a watch from a version that the server does not have yet is
    /// silent, and swallows events.
    #[error("the Kubernetes API at {server} has been silent for {} ({asked})", humantime::format_duration(*.after))]
    Silent {
        /// Where.
        server: Arc<str>,
        /// What was asked.
        asked: String,
        /// How long.
        after: Duration,
    },
    /// What answers is not what answered before: it was restored from a backup.
    #[error("the Kubernetes API at {server} has another history than before ({asked}): version {found} after {known}")]
    History {
        /// Where.
        server: Arc<str>,
        /// What was asked.
        asked: String,
        /// The version that it had.
        known: u64,
        /// The version that it has.
        found: u64,
    },
    /// An answer that no API server gives: nothing that comes with it can be believed.
    #[error("the Kubernetes API at {server} contradicts itself ({asked}): {what}")]
    Absurd {
        /// Where.
        server: Arc<str>,
        /// What was asked.
        asked: String,
        /// The contradiction.
        what: String,
    },
    /// An answer that takes too long for what it delivers.
    #[error("the Kubernetes API at {server} is too slow ({asked}): an answer has taken {}", humantime::format_duration(Duration::from_secs(after.as_secs())))]
    Slow {
        /// Where.
        server: Arc<str>,
        /// What was asked.
        asked: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// Calico keeps its objects in another group than before, or in none.
    #[error("the Kubernetes API at {server}: {what}")]
    Group {
        /// Where.
        server: Arc<str>,
        /// What is there.
        what: String,
    },
    /// Anything else, in the server's words.
    #[error("the Kubernetes API at {server} failed ({asked}): {message}")]
    Failed {
        /// Where.
        server: Arc<str>,
        /// What was asked.
        asked: String,
        /// Its words.
        message: String,
    },
}

impl KubernetesError {
    /// How long the server wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            KubernetesError::Busy { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What we may not read, where that is the reason.
    pub fn denied(&self) -> Option<&str> {
        match self {
            KubernetesError::Denied { resource, .. } => Some(resource),
            KubernetesError::Credentials { .. } => Some("everything"),
            _ => None,
        }
    }
}

/// `metav1.Status`: how the API says what went wrong, as a body of its own or in a watch's event.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    code: u16,
    message: String,
    reason: String,
    details: Details,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    #[serde(rename = "retryAfterSeconds")]
    retry_after_seconds: Option<u64>,
}

/// What was asked, for a message.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub server: Arc<str>,
    pub verb: &'static str,
    /// `ipamblocks.crd.projectcalico.org`, or a path.
    pub resource: Arc<str>,
}

impl Asked {
    fn words(&self) -> String {
        format!("{} {}", self.verb, self.resource)
    }

    /// Longest message of the server's that is repeated: anything may stand between us and it.
    const LONGEST: usize = 300;

    /// What an answer other than 200 means. `body` may be anything: proxies answer, too.
    pub(super) fn refused(&self, code: u16, retry_after: Option<Duration>, body: &[u8]) -> KubernetesError {
        let status: Status = serde_json::from_slice(body).unwrap_or_default();
        self.status(Status { code, ..status }, retry_after, true)
    }

    /// What a `Status` in an event means.
    pub(super) fn reported(&self, object: &str) -> KubernetesError {
        match serde_json::from_str::<Status>(object) {
            Ok(status) => self.status(status, None, false),
            Err(_) => self.failed("an ERROR event that says nothing".to_owned()),
        }
    }

    fn status(&self, status: Status, retry_after: Option<Duration>, answered: bool) -> KubernetesError {
        let (server, asked) = (self.server.clone(), self.words());
        let words = if status.message.is_empty() { status.reason } else { status.message };
        let mut message: String = words.chars().filter(|it| !it.is_control()).take(Self::LONGEST).collect();
        if message.is_empty() {
            message = format!("status {}", status.code);
        }
        match status.code {
            401 => KubernetesError::Credentials { server, asked },
            403 => KubernetesError::Denied { server, verb: self.verb, resource: self.resource.to_string(), message },
            404 => KubernetesError::NotFound { server, asked: self.resource.to_string() },
            410 => KubernetesError::Expired { server, asked, message },
            // What stands between us and the API, or between it and etcd, is away: what is known stays known.
            500 | 502 if answered => {
                KubernetesError::Unreachable { server, cause: format!("status {}: {message}", status.code) }
            }
            429 | 503 | 504 => {
                let retry_after = retry_after.or(status.details.retry_after_seconds.map(Duration::from_secs));
                KubernetesError::Busy { server, asked, message, retry_after }
            }
            _ => KubernetesError::Failed { server, asked, message },
        }
    }

    pub(super) fn failed(&self, message: String) -> KubernetesError {
        KubernetesError::Failed { server: self.server.clone(), asked: self.words(), message }
    }

    pub(super) fn unreachable(&self, cause: impl ToString) -> KubernetesError {
        KubernetesError::Unreachable { server: self.server.clone(), cause: cause.to_string() }
    }

    pub(super) fn timed_out(&self, after: Duration) -> KubernetesError {
        KubernetesError::TimedOut { server: self.server.clone(), asked: self.words(), after }
    }

    pub(super) fn absurd(&self, what: impl ToString) -> KubernetesError {
        KubernetesError::Absurd { server: self.server.clone(), asked: self.words(), what: what.to_string() }
    }

    pub(super) fn slow(&self, after: Duration) -> KubernetesError {
        KubernetesError::Slow { server: self.server.clone(), asked: self.words(), after }
    }

    pub(super) fn silent(&self, after: Duration) -> KubernetesError {
        KubernetesError::Silent { server: self.server.clone(), asked: self.words(), after }
    }

    pub(super) fn group(&self, what: String) -> KubernetesError {
        KubernetesError::Group { server: self.server.clone(), what }
    }

    pub(super) fn history(&self, known: u64, found: u64) -> KubernetesError {
        KubernetesError::History { server: self.server.clone(), asked: self.words(), known, found }
    }
}

/// The words of the innermost cause: the outer ones say "connection error" and nothing else.
pub(super) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut source = error;
    while let Some(inner) = source.source() {
        source = inner;
    }
    source.to_string()
}
