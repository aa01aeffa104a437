//! A watch: what happens after a version, one JSON object a line.

use std::borrow::Cow;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::{Client, Form, with_query};
use super::error::{Asked, KubernetesError, innermost};
use super::list::version;

/// The longest line that is accepted: etcd stores no larger object than 1.5 MB.
const LONGEST_LINE: usize = 16 << 20;

/// What a watch says.
#[derive(Debug)]
pub(super) enum Told {
    /// An object has this content now.
    Put(Bytes),
    /// An object is gone; this is the last that was known of it.
    Gone(Bytes),
    /// Nothing else has happened up to this version.
    Bookmark(u64),
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Bookmark<'a> {
    #[serde(borrow)]
    metadata: BookmarkMeta<'a>,
}

#[derive(Deserialize)]
struct BookmarkMeta<'a> {
    #[serde(borrow, rename = "resourceVersion")]
    version: Cow<'a, str>,
}

/// One watch, over a stream of its own.
pub(super) struct Watch {
    body: Incoming,
    read: BytesMut,
    /// Bytes of `read` in which no line ends.
    searched: usize,
    asked: Asked,
}

impl Watch {
    /// Watches `path` for what comes after `version`. The server is asked to end it after `lasting`: it says then how
    /// far it got.
    pub(super) async fn open(
        client: &Client,
        path: &str,
        query: &[(&'static str, String)],
        form: Form,
        resource: &str,
        version: u64,
        lasting: Duration,
    ) -> Result<Watch, KubernetesError> {
        let own = [
            ("watch", "true".to_owned()),
            ("allowWatchBookmarks", "true".to_owned()),
            ("resourceVersion", version.to_string()),
            ("timeoutSeconds", lasting.as_secs().max(1).to_string()),
        ];
        let asked = client.asked("watch", resource);
        let response = client.get(&with_query(path, query.iter().chain(&own)), form, &asked).await?;
        Ok(Watch { body: response.into_body(), read: BytesMut::new(), searched: 0, asked })
    }

    pub(super) fn asked(&self) -> &Asked {
        &self.asked
    }

    /// What is said next; `None` when the server ends the watch. May be dropped and called again: nothing is lost.
    ///
    /// # Errors
    /// The watch is over, and an ERROR in it says why: such answers come with HTTP 200.
    pub(super) async fn next(&mut self) -> Result<Option<Told>, KubernetesError> {
        loop {
            if let Some(line) = self.line() {
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return understand(&line, &self.asked).map(Some);
            }
            if self.read.len() > LONGEST_LINE {
                return Err(self.asked.failed(format!("an event of more than {LONGEST_LINE} bytes")));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.read.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(self.asked.unreachable(innermost(&error))),
                // What is cut off in the middle of a line has not ended by itself.
                None if !self.read.iter().all(u8::is_ascii_whitespace) => {
                    return Err(self.asked.unreachable("it closed the watch in the middle of an event"));
                }
                None => return Ok(None),
            }
        }
    }

    fn line(&mut self) -> Option<Bytes> {
        match self.read[self.searched..].iter().position(|byte| *byte == b'\n') {
            None => {
                self.searched = self.read.len();
                None
            }
            Some(position) => {
                let line = self.read.split_to(self.searched + position).freeze();
                self.read.advance(1);
                self.searched = 0;
                Some(line)
            }
        }
    }
}

fn understand(line: &Bytes, asked: &Asked) -> Result<Told, KubernetesError> {
    let said: Line<'_> =
        serde_json::from_slice(line).map_err(|error| asked.failed(format!("an event that is none: {error}")))?;
    let object = || line.slice_ref(said.object.get().as_bytes());
    match &*said.kind {
        "ADDED" | "MODIFIED" => Ok(Told::Put(object())),
        "DELETED" => Ok(Told::Gone(object())),
        "BOOKMARK" => {
            let bookmark: Bookmark<'_> = serde_json::from_str(said.object.get())
                .map_err(|error| asked.failed(format!("a bookmark that is none: {error}")))?;
            Ok(Told::Bookmark(version(&bookmark.metadata.version, asked)?))
        }
        "ERROR" => Err(asked.reported(said.object.get())),
        other => {
            let other: String = other.chars().filter(|it| !it.is_control()).take(40).collect();
            Err(asked.failed(format!("an event of type {other:?}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Asked {
        Asked { server: "https://api".into(), verb: "watch", resource: "ipamblocks".into() }
    }

    fn told(line: &str) -> Result<Told, KubernetesError> {
        understand(&Bytes::copy_from_slice(line.as_bytes()), &asked())
    }

    #[test]
    fn each_type_of_event_says_its_own() {
        let object = r#"{"metadata":{"name":"a","resourceVersion":"7"}}"#;
        let line = |kind: &str| told(&format!(r#"{{"type":"{kind}","object":{object}}}"#));
        for kind in ["ADDED", "MODIFIED"] {
            assert!(matches!(line(kind), Ok(Told::Put(bytes)) if bytes == object), "{kind}");
        }
        assert!(matches!(line("DELETED"), Ok(Told::Gone(bytes)) if bytes == object));
        assert!(matches!(line("BOOKMARK"), Ok(Told::Bookmark(7))));
        assert!(matches!(line("NEWS"), Err(KubernetesError::Failed { .. })));
        assert!(matches!(told("Bad Gateway"), Err(KubernetesError::Failed { .. })));
    }

    #[test]
    fn errors_come_as_events_and_say_what_an_answer_would() {
        let error = |code: u16| {
            told(&format!(r#"{{"type":"ERROR","object":{{"kind":"Status","code":{code},"message":"m"}}}}"#))
                .unwrap_err()
        };
        assert!(matches!(error(410), KubernetesError::Expired { .. }));
        assert!(matches!(error(401), KubernetesError::Credentials { .. }));
        assert!(matches!(error(403), KubernetesError::Denied { .. }));
        assert!(matches!(error(429), KubernetesError::Busy { .. }));
        assert!(matches!(error(500), KubernetesError::Failed { .. }));
        assert!(matches!(told(r#"{"type":"ERROR","object":"?"}"#), Err(KubernetesError::Failed { .. })));
    }
}
