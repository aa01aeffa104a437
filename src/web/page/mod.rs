//! Pages that a person can read at 3 a.m.: plain HTML made here, without scripts and without anything from elsewhere.
//! First whether anything is wrong, then what, then why one can see it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

mod bar;
mod blocks;
mod causes;
mod explain;
mod findings;
mod history;
mod hosts;
mod html;
mod pools;
mod request;
mod routes;
mod runbook;
mod status;
mod words;

#[cfg(test)]
mod tests;

use html::{Markup, html};
pub(super) use request::text as parameter;
pub use runbook::{runbook_of, runbook_url};

use super::history::HistoryQuery;
use crate::audit::explain::{Explanation, SubjectError};
use crate::audit::{HostBlocks, RoutePage};
use crate::engine::{Recent, Unanswered};
use crate::metrics::{Build, Published};
use crate::model::Name;
use crate::state::Entry;

/// Nothing may run and nothing be loaded but our own style, whatever a name from the datastore holds.
pub(super) const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// What `/style.css` serves.
pub(super) const STYLE: &str = include_str!("style.css");

/// Rows of one page of a list.
pub(super) const ROWS: usize = 100;
/// Rows of a list that has a page of its own.
const FEW_ROWS: usize = 10;
/// Changes that are shown with a subject.
pub(super) const TIMELINE: usize = 5;
/// Findings of the overview that are shown with their changes.
const MOST_TIMELINES: usize = 40;
/// Routes on the overview: findings are told there already.
pub(super) const FEW_ROUTES: usize = 6;

/// A page, with where in its list it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Page {
    /// `/`: everything in short.
    Overview,
    /// `/findings?page=`: everything that is wrong.
    Findings(usize),
    /// `/hosts?page=`: hosts by utilisation.
    Hosts(usize),
    /// `/host/NAME?from=`: a host's blocks.
    Host(Name, usize),
    /// `/routes?page=`: expected against actual.
    Routes(usize),
    /// `/explain?q=`: why something can be reached from here, or why not.
    Explain(String),
    /// `/history?subject=&host=&kind=`: what changed; an error is a query that means nothing.
    History(Result<HistoryQuery, String>),
}

/// What the engine said, if it was asked: `None` inside where it does not know.
pub(super) type Answered<T> = Result<Option<T>, Unanswered>;

/// What a page is made from.
#[derive(Debug)]
pub(super) struct View {
    pub(super) published: Arc<Published>,
    pub(super) telemetry_path: String,
    pub(super) now: SystemTime,
    /// A host's blocks: this host's, or those of the host that is asked for.
    pub(super) blocks: Answered<HostBlocks>,
    /// This host's routes.
    pub(super) routes: Answered<RoutePage>,
    /// What was asked to be explained; an error is a text that means nothing.
    pub(super) explained: Result<Answered<Explanation>, SubjectError>,
    /// What changed, where that is the page.
    pub(super) recent: Answered<Recent>,
    /// The newest changes about the subjects that are shown.
    pub(super) timelines: HashMap<Box<str>, Vec<Entry>>,
}

/// How an answer's status is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Yes,
    No,
    Busy,
}

/// Writes a page. `Found::Busy`: it says that the engine did not answer.
pub(super) fn render(page: &Page, view: &View) -> (Found, String) {
    let mut out = Markup::default();
    head(&mut out, page, view);
    let found = match page {
        Page::Overview => overview(&mut out, view),
        Page::Findings(page) => findings::page(&mut out, view, *page),
        Page::Hosts(page) => hosts::page(&mut out, view, *page),
        Page::Host(name, _) => blocks::page(&mut out, view, name),
        Page::Routes(_) => routes::page(&mut out, view),
        Page::Explain(text) => explain::page(&mut out, view, text),
        Page::History(query) => history::page(&mut out, view, query),
    };
    foot(&mut out);
    (found, out.finish())
}

/// Subjects of a page whose newest changes are shown with them.
pub(super) fn subjects(page: &Page, published: &Published) -> Vec<Box<str>> {
    let findings = &published.report.findings;
    match page {
        Page::Overview => findings.iter().take(MOST_TIMELINES).map(|it| it.subject.as_str().into()).collect(),
        Page::Findings(page) => part(findings, *page).1.iter().map(|it| it.subject.as_str().into()).collect(),
        Page::Explain(text) if !text.trim().is_empty() => vec![text.trim().into()],
        _ => Vec::new(),
    }
}

fn overview(out: &mut Markup, view: &View) -> Found {
    status::headline(out, view);
    causes::overview(out, view);
    findings::overview(out, view);
    causes::nearly(out, view);
    pools::table(out, view);
    routes::overview(out, view);
    hosts::overview(out, view);
    blocks::overview(out, view);
    status::sources(out, view);
    Found::Yes
}

fn head(out: &mut Markup, page: &Page, view: &View) {
    let node = &view.published.node;
    html!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>",
        status::title(view, page),
        "</title>\n<link rel=\"stylesheet\" href=\"/style.css?",
        Build::THIS.version,
        "\">\n</head>\n<body>\n<header>\n<p class=\"name\">calico-exporter on <b>",
        node,
        "</b></p>\n<nav aria-label=\"Pages\">"
    );
    let links = [
        ("/", "Overview", *page == Page::Overview),
        ("/findings", "Findings", matches!(page, Page::Findings(_))),
        ("/routes", "Routes", matches!(page, Page::Routes(_))),
        ("/hosts", "Hosts", matches!(page, Page::Hosts(_))),
        ("/history", "History", matches!(page, Page::History(_))),
        (&request::host_path(node), "This host", matches!(page, Page::Host(name, _) if name == node)),
        (&view.telemetry_path, "Metrics", false),
        ("/api/v1/findings", "JSON", false),
    ];
    for (path, words, current) in links {
        html!(out, " <a href=\"", path, "\"");
        if current {
            out.raw(" aria-current=\"page\"");
        }
        html!(out, ">", words, "</a>");
    }
    out.raw("</nav>\n");
    explain::form(out, if let Page::Explain(text) = page { text } else { "" });
    out.raw("</header>\n<main>\n");
}

fn foot(out: &mut Markup) {
    let Build { version, revision, .. } = Build::THIS;
    html!(
        out,
        "</main>\n<footer><p>calico-exporter ",
        version,
        " (",
        revision,
        ") compares what Calico&#39;s datastore intends with what this host&#39;s kernel routes. It only reads.</p>\
         </footer>\n</body>\n</html>\n"
    );
}

/// Links to the other parts of a list that is cut into parts of [`ROWS`].
fn turn(out: &mut Markup, path: &'static str, page: usize, total: usize) {
    let last = total.saturating_sub(1) / ROWS;
    if last == 0 {
        return;
    }
    html!(out, "<nav class=\"turn\" aria-label=\"Parts of the list\">");
    let link = |out: &mut Markup, to: Option<usize>, words: &'static str| match to {
        Some(to) => html!(out, " <a href=\"", path, "?page=", to + 1, "\">", words, "</a>"),
        None => html!(out, " <span>", words, "</span>"),
    };
    link(out, (page > 0).then_some(0), "first");
    link(out, page.checked_sub(1), "previous");
    html!(out, " <b>", page + 1, " of ", last + 1, "</b>");
    link(out, (page < last).then_some(page + 1), "next");
    link(out, (page < last).then_some(last), "last");
    out.raw("</nav>\n");
}

/// The part of a list that is shown: which one, the last one there is at most.
fn part<T>(list: &[T], page: usize) -> (usize, &[T]) {
    let page = page.min(list.len().saturating_sub(1) / ROWS);
    let from = page * ROWS;
    (page, list.get(from..list.len().min(from + ROWS)).unwrap_or_default())
}

fn host_link(out: &mut Markup, name: &str) {
    html!(out, "<a href=\"", request::host_path(name), "\">", name, "</a>");
}

fn busy(out: &mut Markup) {
    out.raw("<p class=\"note\"><b>The engine is busy</b> and did not answer in time: load this page again.</p>\n");
}
