//! `explain`: why something can be reached from this host, or why not. Exit 0 every link is ok, 1 one is at fault, 2 it
//! cannot be told.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use super::{check, output, read};
use crate::audit::Now;
use crate::audit::explain::{Explanation, LinkState, Subject, words};
use crate::cli::{ExplainArgs, Output};
use crate::config::{ConfigError, Sources};
use crate::web::{explanation_json, runbook_url};

/// Looks once and explains.
///
/// # Errors
///
/// A flag, a file or a source cannot be used.
pub async fn explain(args: &ExplainArgs, sources: Sources) -> Result<ExitCode, ConfigError> {
    let subject: Subject = args.what.parse().map_err(|error| ConfigError::Flags(format!("explain: {error}")))?;
    let dump = read::dump(&sources)?;
    let now = Now { monotonic: Duration::ZERO, wall: dump.newest.unwrap_or_else(SystemTime::now) };
    // One address is told of by every block, whatever is followed.
    let sources = Sources { by_affinities: false, ..sources };
    let (state, auditor) = check::look(&sources, &dump, now).await?;
    let findings = auditor.report(&state, now).findings;
    let explained = auditor.explain(&state, &findings, &subject);
    match args.output {
        Output::Json => output::json(explanation_json(&explained)),
        Output::Text => output::text(&in_words(&explained)),
    }
    Ok(match explained.verdict.state {
        LinkState::Ok => ExitCode::SUCCESS,
        LinkState::Fault => ExitCode::from(1),
        LinkState::CannotTell => ExitCode::from(2),
    })
}

/// For people: a link a line, and what is wrong with it below.
fn in_words(explained: &Explanation) -> String {
    let mut text = String::new();
    let from = explained.node.as_ref().map_or(String::new(), |node| format!(" from {node}"));
    let _ = writeln!(text, "{}{}\n", check::printable(&explained.subject), check::printable(&from));
    for link in &explained.links {
        let state = match link.state {
            LinkState::Ok => "ok",
            LinkState::CannotTell => "cannot tell",
            LinkState::Fault => "FAULT",
        };
        let actual = check::printable(&link.actual);
        let _ = writeln!(text, "{:16} {state:12} {}: {actual}", words(link.kind), check::printable(&link.subject));
        if link.state != LinkState::Ok {
            let _ = writeln!(text, "{:29} wanted: {}", "", check::printable(&link.wanted));
            let _ = writeln!(text, "{:29} {}", "", check::printable(&link.detail));
        }
    }
    if explained.left_out > 0 {
        let _ = writeln!(text, "… and {} more blocks", explained.left_out);
    }
    let verdict = &explained.verdict;
    let blank = if explained.links.is_empty() { "" } else { "\n" };
    let _ = writeln!(text, "{blank}{}", check::printable(&verdict.sentence));
    if !verdict.cause.is_empty() {
        let _ = writeln!(text, "do: {}", check::printable(&verdict.cause));
    }
    if let Some(finding) = &verdict.finding {
        let _ = writeln!(text, "runbook: {}", runbook_url(finding));
    }
    text
}
