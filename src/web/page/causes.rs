//! What is behind the findings, and what is nearly used up: the first thing that a person needs.

use super::findings::count;
use super::html::{Markup, html};
use super::runbook::RUNBOOK;
use super::words::{moment, plural};
use super::{FEW_ROWS, View};
use crate::audit::{Cause, Limit, Severity, limits};

/// The overview's part: causes, what matters most first.
pub(super) fn overview(out: &mut Markup, view: &View) {
    let mut causes: Vec<&Cause> = view.published.report.causes.iter().collect();
    if causes.is_empty() {
        return;
    }
    causes.sort_by_key(|cause| (cause.severity, cause.kind));
    html!(out, "<section id=\"causes\">\n<h2>", plural(causes.len(), "Cause", "Causes"), "</h2>\n");
    for alike in causes.chunk_by(|a, b| a.kind == b.kind && a.severity == b.severity) {
        for cause in alike.iter().take(FEW_ROWS) {
            one(out, view, cause);
        }
        if let Some(more) = alike.len().checked_sub(FEW_ROWS).filter(|more| *more > 0) {
            html!(out, "<p>… and ", count(more), " more like this: <a href=\"/api/v1/findings\">as JSON</a></p>\n");
        }
    }
    out.raw("</section>\n");
}

fn one(out: &mut Markup, view: &View, cause: &Cause) {
    html!(out, "<article class=\"cause\" id=\"", cause.id(), "\">\n<h3>");
    badge(out, cause.severity);
    html!(out, " ", cause.detail, "</h3>\n<ul>\n");
    for shown in &cause.evidence {
        html!(out, "<li>", shown, "\n");
    }
    out.raw("</ul>\n");
    html!(out, "<p class=\"do\"><b>Do:</b> ", cause.action, "</p>\n<p class=\"since\">");
    html!(out, "Explains ", count(cause.findings.len()), " ", plural(cause.findings.len(), "finding", "findings"));
    if let Some(since) = cause.since {
        out.raw(", since ");
        moment(out, since, view.now);
    }
    let alert = cause.kind.alert();
    html!(
        out,
        " · <a href=\"",
        RUNBOOK,
        "#",
        alert.to_ascii_lowercase(),
        "\">runbook: ",
        alert,
        "</a></p>\n</article>\n"
    );
}

/// A severity, in words and in its colour.
pub(super) fn badge(out: &mut Markup, severity: Severity) {
    html!(out, "<span class=\"severity ", severity.as_str(), "\">", severity.as_str(), "</span>");
}

/// Bounds of alerts that stand without a fault.
pub(super) fn near(view: &View) -> Vec<Limit> {
    view.published.report.ipam.as_ref().map(limits).unwrap_or_default()
}

/// The overview's part: what is nearly used up.
pub(super) fn nearly(out: &mut Markup, view: &View) {
    let near = near(view);
    if near.is_empty() {
        return;
    }
    out.raw("<section id=\"limits\">\n<h2>Nearly used up</h2>\n<ul>\n");
    for limit in near.iter().take(FEW_ROWS) {
        out.raw("<li>");
        badge(out, limit.severity);
        html!(
            out,
            " ",
            limit.detail,
            " · <a href=\"",
            RUNBOOK,
            "#",
            limit.alert.to_ascii_lowercase(),
            "\">runbook</a>\n"
        );
    }
    if let Some(more) = near.len().checked_sub(FEW_ROWS).filter(|more| *more > 0) {
        html!(out, "<li>… and ", count(more), " more\n");
    }
    out.raw("</ul>\n</section>\n");
}
