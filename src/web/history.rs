//! What changed, as JSON: `/api/v1/history`.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::page::parameter;
use crate::engine::Recent;
use crate::model::{printable_json, rfc3339_millis};
use crate::state::{Area, Author, Entry, Filter};

/// The version of the form: it changes when a reader of the old one would be wrong.
const SCHEMA: u32 = 1;
/// Entries of an answer where the request gives no limit, and the most that it may ask for.
const DEFAULT_LIMIT: usize = 100;
const LARGEST_LIMIT: usize = 1000;

/// What a request asks for: which changes, and how many of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct HistoryQuery {
    pub(super) filter: Filter,
    pub(super) limit: usize,
}

impl HistoryQuery {
    /// Reads `subject`, `host`, `kind`, `since` and `limit`.
    ///
    /// # Errors
    /// A sentence that names the parameter that means nothing: a filter that is passed over would show changes that
    /// nobody asked for.
    pub(super) fn parse(query: &str) -> Result<HistoryQuery, String> {
        let given = |name: &str| Some(parameter(query, name)).filter(|text| !text.is_empty());
        let area = given("kind").map(|text| match Area::ALL.into_iter().find(|area| area.as_str() == text) {
            Some(area) => Ok(area),
            None => Err(format!("kind={text}: it is fault, datastore, kernel or source")),
        });
        let since = given("since").map(|text| match moment(&text) {
            Some(time) => Ok(time),
            None => Err(format!("since={text}: write it as 2026-01-31T12:00:00Z or in seconds since 1970")),
        });
        let limit = given("limit").map(|text| match text.parse::<usize>() {
            Ok(limit @ 1..=LARGEST_LIMIT) => Ok(limit),
            _ => Err(format!("limit={text}: it is 1 to {LARGEST_LIMIT}")),
        });
        let filter = Filter {
            subject: given("subject").map(Into::into),
            host: given("host").map(Into::into),
            area: area.transpose()?,
            since: since.transpose()?,
        };
        Ok(HistoryQuery { filter, limit: limit.transpose()?.unwrap_or(DEFAULT_LIMIT) })
    }
}

fn moment(text: &str) -> Option<SystemTime> {
    let seconds = match text.parse::<i64>() {
        Ok(seconds) => seconds,
        Err(_) => OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp(),
    };
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    node: &'a str,
    more: bool,
    dropped: u64,
    entries: Vec<Change<'a>>,
}

#[derive(Serialize)]
struct Change<'a> {
    id: u64,
    time: Option<String>,
    kind: &'static str,
    operation: &'static str,
    what: &'a str,
    subject: &'a str,
    host: Option<&'a str>,
    by: By<'a>,
    protocol: Option<String>,
    changes: Vec<Property<'a>>,
    since: Option<String>,
    count: u64,
    until: Option<String>,
    text: String,
}

#[derive(Serialize, Default)]
struct By<'a> {
    program: Option<&'a str>,
    pid: Option<u32>,
    gone: Option<bool>,
    port: Option<u32>,
    revision: Option<&'a str>,
    text: String,
}

#[derive(Serialize)]
struct Property<'a> {
    name: &'a str,
    before: Option<&'a str>,
    after: Option<&'a str>,
}

/// The changes as one JSON document, newest first.
pub(super) fn history_json(node: &str, recent: &Recent) -> String {
    let entries = recent.entries.iter().map(change).collect();
    let document = Document { schema: SCHEMA, node, more: recent.more, dropped: recent.dropped, entries };
    // Only a map with keys that are no strings fails, and there is none.
    printable_json(serde_json::to_string(&document).unwrap_or_default())
}

fn change(entry: &Entry) -> Change<'_> {
    let of = |author| match author {
        &Author::Netlink(port, ref process) => By {
            program: process.as_ref().map(|it| &*it.name),
            pid: process.as_ref().map(|it| it.pid),
            gone: process.as_ref().map(|it| it.gone),
            port: Some(port),
            ..By::default()
        },
        Author::Kernel => By { program: Some("kernel"), port: Some(0), ..By::default() },
        Author::Revision(revision) => By { revision: Some(revision), ..By::default() },
        Author::Unknown | Author::List => By::default(),
    };
    Change {
        id: entry.id,
        time: rfc3339_millis(entry.at),
        kind: entry.area.as_str(),
        operation: entry.operation.as_str(),
        what: &entry.what,
        subject: &entry.subject,
        host: entry.host.as_deref(),
        by: By { text: entry.author.to_string(), ..of(&entry.author) },
        protocol: entry.protocol.map(|it| it.to_string()),
        changes: entry
            .facts
            .iter()
            .map(|it| Property { name: &it.name, before: it.before.as_deref(), after: it.after.as_deref() })
            .collect(),
        since: entry.since.and_then(rfc3339_millis),
        count: entry.burst.as_ref().map_or(1, |burst| burst.count),
        until: entry.burst.as_ref().and_then(|burst| burst.until).and_then(rfc3339_millis),
        text: entry.words(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{History, Operation};

    #[test]
    fn a_query_that_means_nothing_is_refused_by_name() {
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let query = HistoryQuery::parse("subject=10.0.0.1&kind=kernel&since=1970-01-01T00:01:00Z&limit=7&x=y").unwrap();
        let filter = Filter { subject: Some("10.0.0.1".into()), host: None, area: Some(Area::Kernel), since: at(60) };
        assert_eq!(query, HistoryQuery { filter, limit: 7 });
        assert_eq!(HistoryQuery::parse("since=60").unwrap().filter.since, at(60));
        assert_eq!(HistoryQuery::parse("").unwrap().limit, DEFAULT_LIMIT);
        for bad in ["kind=pod", "since=yesterday", "since=-1", "limit=0", "limit=1001", "limit=x"] {
            let why = HistoryQuery::parse(bad).unwrap_err();
            assert!(why.starts_with(bad), "{why}");
        }
    }

    #[test]
    fn fields_are_those_of_the_contract_in_its_order() {
        let mut history = History::new(1 << 16);
        history.set_time(SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250));
        history.source(Operation::Lost, "netlink", Some("ENOBUFS".to_owned()));
        let entries = history.entries(&Filter::default()).cloned().collect();
        assert_eq!(
            history_json("h1", &Recent { entries, more: false, dropped: 3 }),
            concat!(
                r#"{"schema":1,"node":"h1","more":false,"dropped":3,"entries":[{"id":1,"#,
                r#""time":"2023-11-14T22:13:20.250Z","kind":"source","operation":"lost","what":"source","#,
                r#""subject":"netlink","host":null,"by":{"program":null,"pid":null,"gone":null,"port":null,"#,
                r#""revision":null,"text":"an unknown writer"},"protocol":null,"changes":[{"name":"","before":null,"#,
                r#""after":"ENOBUFS"}],"since":null,"count":1,"until":null,"text":"netlink lost: ENOBUFS"}]}"#
            )
        );
    }
}
