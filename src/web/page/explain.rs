//! Why something can be reached from this host, or why not: the chain, link by link, and the field in which to ask.

use std::net::IpAddr;

use ipnet::IpNet;

use super::html::{Markup, html};
use super::runbook::runbook_url;
use super::{Found, View, busy, history, request};
use crate::audit::explain::{Explanation, Link, LinkState, Subject, words};
use crate::audit::{Finding, Metric};
use crate::model::Name;

/// The field, on every page.
pub(super) fn form(out: &mut Markup, text: &str) {
    html!(
        out,
        "<form action=\"/explain\" method=\"get\" role=\"search\"><input name=\"q\" type=\"search\" required maxlength=\"",
        Subject::LONGEST,
        "\" aria-label=\"What to explain\" placeholder=\"address, CIDR, host or namespace/pod\" value=\"",
        text,
        "\"><button>Explain</button></form>\n"
    );
}

/// A link to the explanation of a subject.
pub(super) fn link(out: &mut Markup, subject: &str) {
    html!(out, "<br><a href=\"", request::explain_path(subject), "\">explain</a>");
}

/// What explains a finding best: its subject where that is something to be reached, else its host.
pub(super) fn target(finding: &Finding, node: &Name) -> String {
    let subject = &finding.subject;
    let host = || finding.host.as_ref().unwrap_or(node).to_string();
    match finding.metric() {
        Metric::HandleFaults | Metric::OwnerFaults => host(),
        Metric::TunnelFaults if subject.parse::<IpAddr>().is_err() => host(),
        // A block's or a claim's key ends in its CIDR.
        Metric::UndecodableKeys => {
            let last = subject.rsplit('/').next().unwrap_or_default().replacen('-', "/", 1);
            last.parse::<IpNet>().map_or_else(|_| host(), |cidr| cidr.to_string())
        }
        _ => subject.clone(),
    }
}

pub(super) fn page(out: &mut Markup, view: &View, text: &str) -> Found {
    let answer = match &view.explained {
        Err(why) => {
            html!(out, "<h1>What is to be explained?</h1>\n<p class=\"note bad\">", why, "</p>\n");
            return Found::No;
        }
        Ok(answer) => answer,
    };
    match answer {
        Err(_) => {
            html!(out, "<h1>Why ", text, "?</h1>\n");
            busy(out);
            Found::Busy
        }
        Ok(None) if text.trim().is_empty() => {
            out.raw(
                "<h1>Explain</h1>\n<p>An address, a CIDR, a host or a pod (namespace/name): the chain from its pool to \
                 the device through which this host reaches it, and which link is at fault.</p>\n",
            );
            Found::Yes
        }
        Ok(None) => {
            html!(out, "<h1>Why ", text, "?</h1>\n");
            out.raw(
                "<p class=\"note\">Nothing has been judged yet: every source has to be read completely first.</p>\n",
            );
            Found::Busy
        }
        Ok(Some(explained)) => {
            write(out, explained);
            if explained.names_nothing() {
                return Found::No;
            }
            history::timeline(out, view, text.trim());
            Found::Yes
        }
    }
}

fn write(out: &mut Markup, explained: &Explanation) {
    let verdict = &explained.verdict;
    let (class, mark) = match verdict.state {
        LinkState::Ok => ("good", "✔"),
        LinkState::CannotTell => ("wait", "?"),
        LinkState::Fault => ("bad", "✖"),
    };
    html!(out, "<section class=\"answer ", class, "\">\n<h1><span aria-hidden=\"true\">", mark, "</span> ");
    html!(out, explained.subject, "</h1>\n<p>", verdict.sentence, "</p>\n");
    if !verdict.cause.is_empty() {
        html!(out, "<p><b>Do:</b> ", verdict.cause, "</p>\n");
    }
    if let Some(finding) = &verdict.finding {
        html!(out, "<p><a href=\"", runbook_url(finding), "\">runbook: ", finding.alert().as_str(), "</a></p>\n");
    }
    out.raw("</section>\n");
    if explained.names_nothing() {
        return;
    }
    let stale =
        [("datastore", explained.datastore_in_sync), ("kernel", explained.kernel_in_sync || explained.node.is_none())];
    for (what, _) in stale.iter().filter(|(_, current)| !current) {
        html!(out, "<p class=\"note\">The picture of the ", what, " is <b>not current</b>: this is how it was.</p>\n");
    }
    out.raw(
        "<section>\n<table class=\"chain\">\n<thead><tr><th scope=\"col\">Link<th scope=\"col\"><th scope=\"col\">Wanted\
         <th scope=\"col\">Actual</thead>\n<tbody>\n",
    );
    for link in &explained.links {
        row(out, link);
    }
    out.raw("</tbody>\n</table>\n");
    if explained.left_out > 0 {
        html!(out, "<p>… and ", explained.left_out, " more blocks: ask for one of them.</p>\n");
    }
    out.raw("</section>\n");
}

fn row(out: &mut Markup, link: &Link) {
    let (class, state) = match link.state {
        LinkState::Ok => ("good", "ok"),
        LinkState::CannotTell => ("wait", "cannot tell"),
        LinkState::Fault => ("bad", "fault"),
    };
    html!(out, "<tr><th scope=\"row\">", words(link.kind), "<br><code>", link.subject, "</code><td class=\"", class);
    html!(out, "\">", state, "<td>", link.wanted, "<td>", link.actual);
    if !link.detail.is_empty() {
        html!(out, "<p class=\"do\"><b>", link.detail, "</b></p>");
    }
    out.raw("\n");
}
