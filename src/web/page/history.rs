//! What changed, newest first: all of it, and the few changes that concern one subject.

use super::html::{Markup, html};
use super::{Found, View, busy, request};
use crate::model::rfc3339_millis;
use crate::state::{Area, Entry, Subject};
use crate::web::history::HistoryQuery;

pub(super) fn page(out: &mut Markup, view: &View, query: &Result<HistoryQuery, String>) -> Found {
    out.raw("<h1>What changed</h1>\n");
    let query = match query {
        Ok(query) => query,
        Err(why) => {
            html!(out, "<p class=\"note bad\">", why, "</p>\n");
            return Found::No;
        }
    };
    form(out, query);
    let recent = match &view.recent {
        Err(_) => {
            busy(out);
            return Found::Busy;
        }
        Ok(recent) => recent.as_ref(),
    };
    let Some(recent) = recent.filter(|recent| !recent.entries.is_empty()) else {
        out.raw(
            "<p class=\"note\">No change like this was seen since the exporter started. It keeps what changed in its \
             memory; <code>--history.size</code> says how much.</p>\n",
        );
        return Found::Yes;
    };
    out.raw(
        "<table class=\"history\">\n<thead><tr><th scope=\"col\">When<th scope=\"col\">Kind<th scope=\"col\">What\
         </thead>\n<tbody>\n",
    );
    for entry in &recent.entries {
        html!(out, "<tr id=\"e", entry.id, "\"><td>");
        time(out, entry);
        html!(out, "<td>", entry.area.as_str(), "<td>", entry.words(), " ");
        link(out, &entry.subject, "only this");
        out.raw("\n");
    }
    out.raw("</tbody>\n</table>\n");
    if recent.more {
        html!(out, "<p>Older changes: <code>/api/v1/history?limit=1000</code>, or narrow the filter.</p>\n");
    }
    if recent.dropped > 0 {
        html!(out, "<p>", recent.dropped, " older changes had to leave (<code>--history.size</code>).</p>\n");
    }
    Found::Yes
}

fn form(out: &mut Markup, query: &HistoryQuery) {
    let text = |it: Option<&str>| it.unwrap_or_default().to_owned();
    html!(
        out,
        "<form action=\"/history\" method=\"get\"><label>Subject <input name=\"subject\" value=\"",
        text(query.filter.subject.as_ref().map(Subject::name)),
        "\"></label> <label>Host <input name=\"host\" value=\"",
        text(query.filter.host.as_deref()),
        "\"></label> <label>Kind <select name=\"kind\"><option value=\"\">any</option>"
    );
    for area in Area::ALL {
        html!(out, "<option");
        if query.filter.area == Some(area) {
            out.raw(" selected");
        }
        html!(out, ">", area.as_str(), "</option>");
    }
    out.raw("</select></label> <button>Filter</button></form>\n");
}

fn time(out: &mut Markup, entry: &Entry) {
    let Some(text) = rfc3339_millis(entry.at) else { return };
    let shown = text.replace('T', " ").replace('Z', "");
    html!(out, "<time datetime=\"", text, "\">", shown, "</time>");
}

fn link(out: &mut Markup, subject: &str, words: &'static str) {
    html!(out, "<a href=\"", request::history_path(subject), "\">", words, "</a>");
}

/// The newest changes about a subject, oldest first, as a reader tells a story.
pub(super) fn timeline(out: &mut Markup, view: &View, subject: &str) {
    let Some(entries) = view.timelines.get(subject).filter(|entries| !entries.is_empty()) else { return };
    out.raw("<ol class=\"timeline\">");
    for entry in entries.iter().rev() {
        out.raw("<li>");
        time(out, entry);
        html!(out, " ", entry.words());
    }
    out.raw("</ol>");
    link(out, subject, "all its changes");
}
