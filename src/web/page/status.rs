//! The answer first: whether anything is wrong, and whether anybody can know.

use super::findings::count;
use super::html::{Markup, html};
use super::words::{moment, plural};
use super::{Page, View, causes};
use crate::audit::{Counts, Severity};
use crate::metrics::SourceStatus;
use crate::state::Side;

/// What a tab says.
pub(super) fn title(view: &View, page: &Page) -> String {
    let node = &view.published.node;
    let what = match page {
        Page::Overview => match (view.published.report_time, view.published.report.findings.len()) {
            (_, 0) if view.published.cannot_tell.is_some() => "cannot tell".to_owned(),
            (None, _) => "not judged yet".to_owned(),
            (Some(_), 0) => "nothing wrong".to_owned(),
            (Some(_), _) => Counts::of(&view.published.report).to_string(),
        },
        Page::Findings(_) => "findings".to_owned(),
        Page::Hosts(_) => "hosts".to_owned(),
        Page::Host(name, _) => format!("host {name}"),
        Page::Routes(_) => "routes".to_owned(),
        Page::History(_) => "what changed".to_owned(),
        Page::Explain(text) => format!("why {}", text.chars().take(80).collect::<String>()),
    };
    format!("{what} · {node} · calico-exporter")
}

/// The first thing on the page.
pub(super) fn headline(out: &mut Markup, view: &View) {
    let published = &view.published;
    let lost: Vec<&SourceStatus> = published.enabled().filter(|source| !source.in_sync).collect();
    let findings = published.report.findings.len();
    let counts = Counts::of(&published.report);
    let near = causes::near(view);
    let untold = findings == 0 && published.cannot_tell.is_some();
    let (class, mark) = match (published.report_time, findings, lost.len()) {
        _ if untold => ("wait", "?"),
        (None, ..) => ("wait", "…"),
        (_, 0, 0) if near.is_empty() => ("good", "✔"),
        (_, 0, 0) => ("wait", "!"),
        (_, 0, _) => ("wait", "?"),
        // What is only worth knowing does not look like what is broken.
        _ if counts.count(Severity::Critical) + counts.count(Severity::Warning) == 0 => ("wait", "i"),
        _ => ("bad", "✖"),
    };
    html!(out, "<section class=\"answer ", class, "\">\n<h1><span aria-hidden=\"true\">", mark, "</span> ");
    match (published.report_time, findings, lost.len()) {
        _ if untold => out.raw("It cannot be told whether anything is wrong"),
        (None, ..) => out.raw("Nothing has been judged yet"),
        (_, 0, 0) if near.is_empty() => out.raw("Nothing is wrong"),
        (_, 0, 0) => out.raw("No fault, and something is nearly used up"),
        (_, 0, _) => out.raw("Nothing was wrong when it was last judged"),
        (_, findings, _) => {
            html!(out, counts, " <small>", count(findings), " ", plural(findings, "finding", "findings"), "</small>");
        }
    }
    out.raw("</h1>\n<p>");
    match published.report_time {
        None if published.cannot_tell.is_some() => {}
        None => out.raw("Every source has to be read completely first."),
        Some(time) => {
            out.raw("As of ");
            moment(out, time, view.now);
            out.raw(".");
        }
    }
    let pending: u64 = published.report.routes.iter().flat_map(|routes| routes.pending.values()).sum();
    if pending > 0 {
        html!(
            out,
            " <a href=\"/routes\">",
            pending,
            " younger ",
            plural(usize::try_from(pending).unwrap_or(usize::MAX), "difference", "differences"),
            "</a> between routes may settle by itself."
        );
    }
    for (part, words) in [
        (published.report.ipam.is_none(), "The cluster's IPAM is not judged here, or not yet."),
        (published.report.routes.is_none(), "This host's routes are not judged here, or not yet."),
    ] {
        if part && published.report_time.is_some() {
            html!(out, " ", words);
        }
    }
    out.raw("</p>\n");
    if let Some(why) = &published.cannot_tell {
        html!(out, "<p><b>Cannot tell:</b> ", why, ".</p>\n");
    }
    for source in lost {
        out.raw("<p><b>");
        source_state(out, source, view);
        out.raw("</p>\n");
    }
    for note in &published.report.notes {
        html!(out, "<p>", note, "</p>\n");
    }
    out.raw("</section>\n");
}

fn side(source: &SourceStatus) -> &'static str {
    match source.side {
        Side::Datastore => "Calico's datastore",
        Side::Kernel => "this host's kernel",
        Side::Tunnels => "this host's tunnels",
    }
}

/// `NAME (side)</b> is not in sync since …: why`.
fn source_state(out: &mut Markup, source: &SourceStatus, view: &View) {
    html!(out, source.name, " (", side(source), ")</b> ");
    match (source.synced_once, source.lost_since) {
        (false, _) => out.raw("has not been read completely yet"),
        (true, Some(since)) => {
            out.raw("is not in sync since ");
            moment(out, since, view.now);
        }
        (true, None) => out.raw("is not in sync"),
    }
    match &source.why_lost {
        Some(why) => html!(out, ": ", why),
        None => out.raw("."),
    }
    if source.synced_once {
        out.raw(" – what is shown is from before.");
    }
}

/// How current each source is.
pub(super) fn sources(out: &mut Markup, view: &View) {
    out.raw(
        "<section>\n<h2>Sources</h2>\n<table>\n<thead><tr><th scope=\"col\">Source<th scope=\"col\">Describes\
         <th scope=\"col\">State<th scope=\"col\">Last complete<th scope=\"col\" class=\"number\">Read anew</thead>\n<tbody>\n",
    );
    for source in view.published.enabled() {
        let (class, state) = match (source.in_sync, source.synced_once) {
            (true, _) => ("good", "✔ in sync"),
            (false, true) => ("bad", "✖ not in sync"),
            (false, false) => ("wait", "… waiting for the first time"),
        };
        html!(out, "<tr><th scope=\"row\">", source.name, "<td>", side(source), "<td class=\"", class, "\">", state);
        if let Some(since) = source.lost_since {
            out.raw(" since ");
            moment(out, since, view.now);
        }
        if let Some(why) = source.why_lost.as_ref().filter(|_| !source.in_sync) {
            html!(out, ": ", why);
        }
        out.raw("<td>");
        match source.last_sync {
            Some(time) => moment(out, time, view.now),
            None => out.raw("never"),
        }
        html!(out, "<td class=\"number\">", source.resyncs, "\n");
    }
    out.raw("</tbody>\n</table>\n</section>\n");
}
