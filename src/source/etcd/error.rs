//! What goes wrong with etcd, by what an operator can do about it.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::Error as ClientError;

use crate::source::calico::why::printable;

/// Characters of etcd's own words that are kept.
const MOST_WORDS: usize = 256;

/// Why etcd could not be read. Each message names the endpoint, what failed and, where there is one, the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EtcdError {
    /// The settings cannot be used as they are.
    #[error("etcd settings: {0}")]
    Settings(String),
    /// Nobody answers, or the connection broke.
    #[error("etcd at {endpoint} cannot be reached: {cause}")]
    Unreachable {
        /// Where.
        endpoint: Arc<str>,
        /// The innermost cause.
        cause: String,
    },
    /// Somebody answers, but no TLS session comes about.
    #[error(
        "no TLS session with etcd at {endpoint}: {cause} (check the CA, the client's certificate and key, and http or https in the endpoint)"
    )]
    Tls {
        /// Where.
        endpoint: Arc<str>,
        /// The innermost cause.
        cause: String,
    },
    /// Wrong or missing user or password.
    #[error("etcd at {endpoint} does not accept {user}: {cause} (check the user's name and password)")]
    Credentials {
        /// Where.
        endpoint: Arc<str>,
        /// `user NAME`, or that none was given.
        user: String,
        /// etcd's words.
        cause: String,
    },
    /// The user may not read what is needed.
    #[error(
        "etcd at {endpoint} does not let {user} read {what}: the user needs a role with read on the prefix /calico/"
    )]
    Denied {
        /// Where.
        endpoint: Arc<str>,
        /// `user NAME`, or that none was given.
        user: String,
        /// Which keys.
        what: String,
    },
    /// No answer in time.
    #[error("etcd at {endpoint} did not answer within {} ({doing})", humantime::format_duration(*.after))]
    TimedOut {
        /// Where.
        endpoint: Arc<str>,
        /// What it was asked.
        doing: String,
        /// How long it had.
        after: Duration,
    },
    /// The revision being read or watched does not exist any more: only a fresh list helps.
    #[error("etcd at {endpoint} compacted its history away while {doing}")]
    Compacted {
        /// Where.
        endpoint: Arc<str>,
        /// What was being done.
        doing: String,
    },
    /// What answers is not what answered before: another cluster, or one restored from a backup.
    #[error("etcd at {endpoint} has another history than before: {what}")]
    History {
        /// Where.
        endpoint: Arc<str>,
        /// How that shows.
        what: String,
    },
    /// An answer that no etcd gives: nothing that comes with it can be believed.
    #[error("etcd at {endpoint} contradicts itself ({doing}): {what}")]
    Absurd {
        /// Where.
        endpoint: Arc<str>,
        /// What it was asked.
        doing: String,
        /// The contradiction.
        what: String,
    },
    /// A list that takes too long for what it delivers.
    #[error("etcd at {endpoint} is too slow ({doing}): a list has taken {}", humantime::format_duration(Duration::from_secs(after.as_secs())))]
    Slow {
        /// Where.
        endpoint: Arc<str>,
        /// What it was asked.
        doing: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// An answer over the size that is accepted.
    #[error("etcd at {endpoint} answered with too large a message ({doing}): {cause}")]
    TooLarge {
        /// Where.
        endpoint: Arc<str>,
        /// What it was asked.
        doing: String,
        /// The sizes.
        cause: String,
    },
    /// Anything else, in etcd's words.
    #[error("etcd at {endpoint} failed ({doing}): {cause}")]
    Failed {
        /// Where.
        endpoint: Arc<str>,
        /// What it was asked.
        doing: String,
        /// etcd's words.
        cause: String,
    },
}

impl EtcdError {
    /// What it means if a server cuts the first exchange off, by how it was spoken to.
    pub(super) fn at_first(self, over_tls: bool, with_certificate: bool) -> EtcdError {
        let cut = |cause: &str| ["connection closed", "broken pipe", "reset"].iter().any(|word| cause.contains(word));
        match self {
            // In TLS 1.3 a server misses the client's certificate only after the client has gone on, and its alert
            // may be lost with the connection.
            EtcdError::Unreachable { endpoint, cause } if over_tls && !with_certificate && cut(&cause) => {
                EtcdError::Tls { endpoint, cause: format!("{cause}; it may want a client's certificate") }
            }
            EtcdError::Unreachable { endpoint, cause } if !over_tls && cut(&cause) => {
                let cause = format!("{cause}; if it speaks TLS, write the endpoint with https://");
                EtcdError::Unreachable { endpoint, cause }
            }
            other => other,
        }
    }
}

/// Whom an error is about.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) endpoint: Arc<str>,
    user: Option<Arc<str>>,
}

impl Peer {
    pub(super) fn new(endpoint: &str, user: Option<&str>) -> Peer {
        Peer { endpoint: endpoint.into(), user: user.map(Into::into) }
    }

    fn user(&self) -> String {
        match &self.user {
            Some(user) => format!("user {user}"),
            None => "a client without user and password".to_owned(),
        }
    }

    pub(super) fn timed_out(&self, doing: &str, after: Duration) -> EtcdError {
        EtcdError::TimedOut { endpoint: self.endpoint.clone(), doing: doing.to_owned(), after }
    }

    pub(super) fn unreachable(&self, cause: &str) -> EtcdError {
        EtcdError::Unreachable { endpoint: self.endpoint.clone(), cause: printable(cause, MOST_WORDS) }
    }

    pub(super) fn compacted(&self, doing: &str) -> EtcdError {
        EtcdError::Compacted { endpoint: self.endpoint.clone(), doing: doing.to_owned() }
    }

    pub(super) fn history(&self, what: String) -> EtcdError {
        EtcdError::History { endpoint: self.endpoint.clone(), what }
    }

    pub(super) fn absurd(&self, doing: &str, what: impl ToString) -> EtcdError {
        EtcdError::Absurd {
            endpoint: self.endpoint.clone(),
            doing: doing.to_owned(),
            what: printable(&what.to_string(), MOST_WORDS),
        }
    }

    pub(super) fn slow(&self, doing: &str, after: Duration) -> EtcdError {
        EtcdError::Slow { endpoint: self.endpoint.clone(), doing: doing.to_owned(), after }
    }

    /// The meaning of a client error met while `doing` something (a verb's -ing form and its object).
    pub(super) fn explain(&self, error: &ClientError, doing: &str) -> EtcdError {
        match error {
            ClientError::GRpcStatus(status) => {
                let inner = innermost(status);
                // tonic's codes are not nameable from here; their numbers are gRPC's.
                let unavailable = status.code() as i32 == 14;
                self.explain_words(status.message(), inner.as_deref(), unavailable, doing)
            }
            ClientError::TransportError(error) => {
                let inner = innermost(error);
                self.explain_words(&error.to_string(), inner.as_deref(), true, doing)
            }
            ClientError::InvalidArgs(_) | ClientError::InvalidUri(_) => {
                EtcdError::Settings(format!("endpoint {}: {error}", self.endpoint))
            }
            other => self.explain_words(&other.to_string(), None, false, doing),
        }
    }

    /// etcd says in words alone what the code leaves open (`api/v3rpc/rpctypes/error.go`).
    pub(super) fn explain_words(
        &self,
        message: &str,
        inner: Option<&str>,
        unavailable: bool,
        doing: &str,
    ) -> EtcdError {
        let endpoint = self.endpoint.clone();
        let has = |needles: &[&str]| needles.iter().any(|needle| message.contains(needle));
        // Whatever answers may say anything.
        let words = |text: &str| printable(text, MOST_WORDS);
        let cause = words(inner.unwrap_or(message));
        if has(&["has been compacted"]) {
            self.compacted(doing)
        } else if has(&["is a future revision"]) {
            self.history("a revision that it gave out is in its future".to_owned())
        } else if has(&["permission denied"]) {
            EtcdError::Denied { endpoint, user: self.user(), what: doing.trim_start_matches("reading ").to_owned() }
        } else if has(&[
            "authentication failed",
            "invalid auth token",
            "user name is empty",
            "user name not found",
            "revision of auth store is old",
        ]) {
            EtcdError::Credentials { endpoint, user: self.user(), cause: words(message) }
        } else if has(&["message length too large"]) {
            EtcdError::TooLarge { endpoint, doing: doing.to_owned(), cause }
        } else if is_tls(&cause) {
            EtcdError::Tls { endpoint, cause }
        } else if unavailable || inner.is_some() {
            EtcdError::Unreachable { endpoint, cause }
        } else {
            EtcdError::Failed { endpoint, doing: doing.to_owned(), cause }
        }
    }
}

/// Whether the words are rustls': its errors reach us as text only.
fn is_tls(cause: &str) -> bool {
    ["certificate", "fatal alert", "corrupt message", "tls", "TLS", "UnknownIssuer", "peer is incompatible"]
        .iter()
        .any(|word| cause.contains(word))
}

/// The words of the innermost cause: the outer ones say "transport error" and nothing else.
fn innermost(error: &dyn std::error::Error) -> Option<String> {
    let mut source = error.source()?;
    while let Some(inner) = source.source() {
        source = inner;
    }
    Some(source.to_string())
}

/// Whether etcd says that it does not know users at all, so that a user and password are no help and no harm.
pub(super) fn is_auth_not_enabled(error: &ClientError) -> bool {
    matches!(error, ClientError::GRpcStatus(status) if status.message().contains("authentication is not enabled"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_decide() {
        let peer = Peer::new("http://e:2379", Some("reader"));
        let explain = |message: &str| peer.explain_words(message, None, false, "reading /calico/ipam/v2/host/");
        assert!(matches!(
            explain("etcdserver: mvcc: required revision has been compacted"),
            EtcdError::Compacted { .. }
        ));
        assert!(matches!(
            explain("etcdserver: mvcc: required revision is a future revision"),
            EtcdError::History { .. }
        ));
        assert_eq!(
            explain("etcdserver: permission denied").to_string(),
            "etcd at http://e:2379 does not let user reader read /calico/ipam/v2/host/: \
             the user needs a role with read on the prefix /calico/"
        );
        assert!(matches!(explain("etcdserver: invalid auth token"), EtcdError::Credentials { .. }));
        assert!(matches!(explain("etcdserver: request timed out"), EtcdError::Failed { .. }));
    }
}
