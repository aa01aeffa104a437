//! This host's routes: what ought to be there beside what is.

use super::html::{Markup, html};
use super::words::{moment, plain, plural};
use super::{FEW_ROUTES, Found, ROWS, View, busy, host_link, turn};
use crate::audit::{RoutePage, RouteRow, RouteState};

/// The overview's part: differences, or the first few.
pub(super) fn overview(out: &mut Markup, view: &View) {
    let page = match &view.routes {
        Ok(None) => return,
        Err(_) => {
            out.raw("<section>\n<h2>This host&#39;s routes</h2>\n");
            busy(out);
            return out.raw("</section>\n");
        }
        Ok(Some(page)) => page,
    };
    out.raw("<section>\n<h2>This host&#39;s routes</h2>\n");
    summary(out, page);
    let shown = page.rows.get(..page.rows.len().min(FEW_ROUTES)).unwrap_or_default();
    table(out, view, shown);
    if let Some(more) = page.total.checked_sub(shown.len()).filter(|more| *more > 0) {
        html!(out, "<p>… and ", more, " more: <a href=\"/routes\">all routes</a></p>\n");
    }
    out.raw("</section>\n");
}

/// All routes, a part at a time.
pub(super) fn page(out: &mut Markup, view: &View) -> Found {
    html!(out, "<h1>Routes of ", view.published.node, "</h1>\n");
    let page = match &view.routes {
        Err(_) => {
            busy(out);
            return Found::Busy;
        }
        Ok(None) => {
            out.raw("<p class=\"note\">This host&#39;s routes are not judged here, or not yet.</p>\n");
            return Found::Yes;
        }
        Ok(Some(page)) => page,
    };
    summary(out, page);
    turn(out, "/routes", page.from / ROWS, page.total);
    table(out, view, &page.rows);
    turn(out, "/routes", page.from / ROWS, page.total);
    Found::Yes
}

fn summary(out: &mut Markup, page: &RoutePage) {
    html!(out, "<p>", page.total, " ", plural(page.total, "destination", "destinations"));
    html!(out, " in the main table or expected there: <b>", page.faults, " ", plural(page.faults, "fault", "faults"));
    html!(out, "</b>, ", page.pending, " pending. Differences come first.</p>\n");
}

fn table(out: &mut Markup, view: &View, rows: &[RouteRow]) {
    if rows.is_empty() {
        return;
    }
    out.raw(
        "<table class=\"routes\">\n<thead><tr><th scope=\"col\">Destination<th scope=\"col\">State<th scope=\"col\">For\
         <th scope=\"col\">Expected<th scope=\"col\">Actual</thead>\n<tbody>\n",
    );
    for row in rows {
        write_row(out, view, row);
    }
    out.raw("</tbody>\n</table>\n");
}

fn write_row(out: &mut Markup, view: &View, row: &RouteRow) {
    html!(out, "<tr><th scope=\"row\"><code>", row.destination, "</code>");
    match &row.state {
        RouteState::Ok => out.raw("<td class=\"good\">✔ ok"),
        RouteState::Pending(reason) => html!(out, "<td class=\"wait\">… pending: ", plain(reason.as_str())),
        RouteState::Fault(reason) => html!(out, "<td class=\"bad\">✖ fault: ", plain(reason.as_str())),
        RouteState::NoDevice(device) => {
            html!(out, "<td class=\"wait\">… waits for ", device, ", which is down or missing: see its own finding");
        }
        RouteState::Unsettled => out.raw("<td class=\"wait\">… changed a moment ago"),
    }
    if let Some(since) = row.since {
        out.raw("<br><small>since ");
        moment(out, since, view.now);
        out.raw("</small>");
    }
    html!(out, "<td class=\"for\">", row.class.map(|class| plain(class.as_str())).unwrap_or_default());
    if let Some(host) = &row.host {
        out.raw("<br>");
        host_link(out, host);
    }
    for text in [&row.expected, &row.actual] {
        match text.as_str() {
            "" => out.raw("<td><small>no route</small>"),
            text => html!(out, "<td><code>", text, "</code>"),
        }
    }
    if !row.detail.is_empty() {
        html!(out, "<tr class=\"why\"><td colspan=\"5\">", row.detail);
    }
    out.raw("\n");
}
