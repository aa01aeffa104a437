//! What is wrong, in groups: one for each series that counts it.

use super::html::{Markup, html};
use super::runbook::RUNBOOK;
use super::words::{moment, plain};
use super::{FEW_ROWS, Found, ROWS, View, causes, explain, history, host_link, part, status, turn};
use crate::audit::Finding;

/// Findings where they are not all there is on a page.
const MOST: usize = 40;
/// Groups where they are not all there is on a page.
const MOST_GROUPS: usize = 40;

/// A series' findings: where the first stands among all of them, how many there are, and those that are shown.
struct Group<'a> {
    index: usize,
    total: usize,
    shown: Vec<&'a Finding>,
}

/// A few of every series, so that one that has many hides no other.
fn few<'a>(findings: &[&'a Finding]) -> Vec<Group<'a>> {
    let chunks: Vec<&[&Finding]> = findings.chunk_by(|a, b| a.fault == b.fault).collect();
    let each = match chunks.len() {
        1 => FEW_ROWS,
        2..=4 => FEW_ROWS / 2,
        _ => 3,
    };
    let (mut index, mut left) = (0, MOST);
    let group = |chunk: &&[&'a Finding]| {
        let shown: Vec<&Finding> = chunk.iter().copied().take(each.min(left)).collect();
        left -= shown.len();
        index += chunk.len();
        Group { index: index - chunk.len(), total: chunk.len(), shown }
    };
    chunks.iter().filter(|chunk| !chunk.is_empty()).map(group).collect()
}

/// The overview's part.
pub(super) fn overview(out: &mut Markup, view: &View) {
    let report = &view.published.report;
    let findings: Vec<&Finding> = report.findings.iter().collect();
    if findings.is_empty() {
        return;
    }
    out.raw("<section>\n<h2>Findings</h2>\n");
    let groups = few(&findings);
    if groups.len() > 1 {
        out.raw("<ul class=\"index\">\n");
        for group in groups.iter().take(MOST_GROUPS) {
            let Some(first) = findings.get(group.index) else { continue };
            html!(out, "<li><a href=\"#f", group.index, "\">", name(first), "</a> <span class=\"count\">");
            html!(out, count(group.total), "</span>\n");
        }
        out.raw("</ul>\n");
    }
    for group in groups.iter().take(MOST_GROUPS) {
        if let Some(first) = findings.get(group.index) {
            write_group(out, view, first, group, true);
        }
    }
    if let Some(more) = groups.len().checked_sub(MOST_GROUPS).filter(|more| *more > 0) {
        html!(out, "<p>… and ", more, " more series.</p>\n");
    }
    out.raw(
        "<p><a href=\"/findings\">All findings</a> · <a href=\"/api/v1/findings\">the same as JSON</a></p>\n</section>\n",
    );
}

/// All findings, a part at a time.
pub(super) fn page(out: &mut Markup, view: &View, page: usize) -> Found {
    let findings = &view.published.report.findings;
    status::headline(out, view);
    let (page, shown) = part(findings, page);
    turn(out, "/findings", page, findings.len());
    for chunk in shown.chunk_by(|a, b| a.fault == b.fault) {
        let total = findings.iter().filter(|it| it.fault == chunk[0].fault).count();
        let group = Group { index: 0, total, shown: chunk.iter().collect() };
        write_group(out, view, &chunk[0], &group, false);
    }
    turn(out, "/findings", page, findings.len());
    Found::Yes
}

/// Those that concern a host.
pub(super) fn of_host(out: &mut Markup, view: &View, host: &str) {
    let findings = view.published.report.findings.iter();
    let findings: Vec<&Finding> = findings.filter(|finding| finding.host.as_deref() == Some(host)).collect();
    if findings.is_empty() {
        return;
    }
    html!(out, "<section>\n<h2>What is wrong here: ", count(findings.len()), "</h2>\n");
    for group in few(&findings).iter().take(MOST_GROUPS) {
        if let Some(first) = findings.get(group.index) {
            write_group(out, view, first, &Group { index: 0, total: group.total, shown: group.shown.clone() }, false);
            more(out, group, "/findings");
        }
    }
    out.raw("</section>\n");
}

/// A number of findings.
pub(super) fn count(number: usize) -> String {
    #[allow(clippy::cast_precision_loss, reason = "nobody has 2^53 findings")]
    super::words::count(number as f64)
}

/// What a series' findings are, for people.
fn name(finding: &Finding) -> String {
    let labels: Vec<String> = finding.fault.labels().map(|(_, value)| plain(value)).collect();
    format!("{}: {}", finding.metric().title(), labels.join(", "))
}

fn more(out: &mut Markup, group: &Group<'_>, path: &str) {
    if let Some(more) = group.total.checked_sub(group.shown.len()).filter(|more| *more > 0) {
        html!(out, "<p>… and ", count(more), " more like this: <a href=\"", path, "\">all findings</a></p>\n");
    }
}

/// `whole`: the group is one of a list in which it begins at its index, so that it has an anchor and a continuation.
fn write_group(out: &mut Markup, view: &View, first: &Finding, group: &Group<'_>, whole: bool) {
    out.raw("<h3");
    if whole {
        html!(out, " id=\"f", group.index, "\"");
    }
    out.raw(">");
    causes::badge(out, first.severity());
    html!(out, " ", name(first), " <span class=\"count\">", count(group.total), "</span></h3>\n");
    html!(out, "<p class=\"series\"><code>", first.metric().as_str(), "{");
    for (index, (name, value)) in first.fault.labels().enumerate() {
        html!(out, if index > 0 { "," } else { "" }, name, "=\"", value, "\"");
    }
    let alert = first.alert().as_str();
    html!(out, "}</code> · <a href=\"", RUNBOOK, "#", alert.to_ascii_lowercase(), "\">runbook: ", alert, "</a></p>\n");
    // What a cause explains stands above already.
    let explained = whole && view.published.report.causes.iter().any(|it| it.findings.contains(&group.index));
    if explained {
        html!(out, "<details><summary>", count(group.shown.len()), " of ", count(group.total), "</summary>\n");
    }
    if !group.shown.is_empty() {
        out.raw(
            "<table class=\"findings\">\n<thead><tr><th scope=\"col\">Where<th scope=\"col\">What is wrong\
             <th scope=\"col\">Expected<th scope=\"col\">Actual</thead>\n<tbody>\n",
        );
        for finding in &group.shown {
            row(out, view, finding);
        }
        out.raw("</tbody>\n</table>\n");
    }
    if explained {
        out.raw("</details>\n");
    }
    if whole {
        more(out, group, &format!("/findings?page={}", group.index / ROWS + 1));
    }
}

fn row(out: &mut Markup, view: &View, finding: &Finding) {
    html!(out, "<tr><th scope=\"row\"><code>", finding.subject, "</code>");
    if let Some(host) = finding.host.as_deref().filter(|host| *host != finding.subject) {
        out.raw("<br>host ");
        host_link(out, host);
    }
    explain::link(out, &explain::target(finding, &view.published.node));
    html!(out, "<td>", finding.detail);
    if !finding.action.is_empty() {
        html!(out, "<p class=\"do\"><b>Do:</b> ", finding.action, "</p>");
    }
    if let Some(since) = finding.since {
        out.raw("<p class=\"since\">Since ");
        moment(out, since, view.now);
        out.raw("</p>");
    }
    history::timeline(out, view, &finding.subject);
    html!(out, "<td><code>", finding.expected, "</code><td><code>", finding.actual, "</code>\n");
}
