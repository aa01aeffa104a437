//! Hosts by utilisation of their blocks.

use std::collections::{BTreeMap, HashMap};

use super::bar::bar;
use super::html::{Markup, html};
use super::words::{count, percent};
use super::{FEW_ROWS, Found, ROWS, View, host_link, part, turn};
use crate::audit::HostFigures;
use crate::model::Name;

/// A host over all pools.
pub(super) struct Row<'a> {
    name: &'a str,
    sums: HostFigures,
    findings: usize,
}

fn add(sums: &mut HostFigures, other: &HostFigures) {
    // Destructured, so that a figure that is added must be thought of here.
    let HostFigures {
        confirmed,
        pending,
        pending_deletion,
        allocated,
        cooldown,
        free,
        lost,
        borrowed,
        lent,
        empty_blocks,
    } = other;
    sums.confirmed += confirmed;
    sums.pending += pending;
    sums.pending_deletion += pending_deletion;
    sums.allocated += allocated;
    sums.cooldown += cooldown;
    sums.free += free;
    sums.lost += lost;
    sums.borrowed += borrowed;
    sums.lent += lent;
    sums.empty_blocks += empty_blocks;
}

/// Every host that has figures, the fullest first.
fn rows(view: &View) -> Vec<Row<'_>> {
    let report = &view.published.report;
    let mut sums: BTreeMap<&Name, HostFigures> = BTreeMap::new();
    for ((host, _), figures) in report.ipam.iter().flat_map(|ipam| &ipam.hosts) {
        add(sums.entry(host).or_default(), figures);
    }
    let mut findings: HashMap<&str, usize> = HashMap::new();
    for host in report.findings.iter().filter_map(|finding| finding.host.as_deref()) {
        *findings.entry(host).or_default() += 1;
    }
    let mut rows: Vec<Row<'_>> = sums
        .into_iter()
        .map(|(name, sums)| Row { name, sums, findings: findings.get(name.as_ref()).copied().unwrap_or_default() })
        .collect();
    // Stable, so that hosts that are as full stay in the order of their names.
    rows.sort_by(|a, b| fullness(&b.sums).total_cmp(&fullness(&a.sums)));
    rows
}

#[allow(clippy::cast_precision_loss, reason = "no host has 2^53 addresses")]
fn float(count: u64) -> f64 {
    count as f64
}

fn fullness(figures: &HostFigures) -> f64 {
    // A host without blocks is neither full nor empty: it comes last.
    if figures.size() == 0 { -1.0 } else { float(figures.size() - figures.free) / float(figures.size()) }
}

/// The overview's part.
pub(super) fn overview(out: &mut Markup, view: &View) {
    if view.published.report.ipam.is_none() {
        return;
    }
    let rows = rows(view);
    out.raw("<section>\n<h2>Hosts, the fullest first</h2>\n");
    table(out, rows.get(..rows.len().min(FEW_ROWS)).unwrap_or_default());
    if let Some(more) = rows.len().checked_sub(FEW_ROWS).filter(|more| *more > 0) {
        html!(out, "<p>… and ", more, " more: <a href=\"/hosts\">all hosts</a></p>\n");
    }
    out.raw("</section>\n");
}

/// All hosts, a part at a time.
pub(super) fn page(out: &mut Markup, view: &View, page: usize) -> Found {
    let rows = rows(view);
    html!(out, "<h1>Hosts, the fullest first: ", rows.len(), "</h1>\n");
    if view.published.report.ipam.is_none() {
        out.raw("<p class=\"note\">The cluster&#39;s IPAM is not judged here, or not yet.</p>\n");
    }
    let (page, shown) = part(&rows, page);
    turn(out, "/hosts", page, rows.len());
    table(out, shown);
    turn(out, "/hosts", page, rows.len());
    Found::Yes
}

fn table(out: &mut Markup, rows: &[Row<'_>]) {
    out.raw("<table>\n<thead><tr><th scope=\"col\">Host");
    columns(out);
    out.raw("<th scope=\"col\" class=\"number\">Findings</thead>\n<tbody>\n");
    for Row { name, sums, findings } in rows {
        out.raw("<tr><th scope=\"row\">");
        host_link(out, name);
        cells(out, sums);
        out.raw("<td class=\"number");
        if *findings > 0 {
            out.raw(" bad");
        }
        html!(out, "\">", findings, "\n");
    }
    out.raw("</tbody>\n</table>\n");
}

fn columns(out: &mut Markup) {
    out.raw("<th scope=\"col\">Addresses of its blocks in use");
    for column in ["Blocks", "Empty", "Allocated", "Cooldown", "Free", "Lost", "Borrowed from others", "Lent to others"]
    {
        html!(out, "<th scope=\"col\" class=\"number\">", column);
    }
}

fn cells(out: &mut Markup, figures: &HostFigures) {
    let (size, used) = (float(figures.size()), float(figures.size() - figures.free));
    out.raw("<td>");
    let words = format!("{} of {}", count(used), count(size));
    let parts =
        [("allocated", float(figures.allocated)), ("cooldown", float(figures.cooldown)), ("lost", float(figures.lost))];
    bar(out, &words, size, &parts);
    html!(out, "<b>", percent(used, size), "</b> <small>", words, "</small><td class=\"number\">", figures.confirmed);
    for (number, what) in [(figures.pending, "pending"), (figures.pending_deletion, "being released")] {
        if number > 0 {
            html!(out, "<br><small>+", number, " ", what, "</small>");
        }
    }
    let HostFigures { empty_blocks, allocated, cooldown, free, lost, borrowed, lent, .. } = figures;
    for number in [empty_blocks, allocated, cooldown, free, lost, borrowed, lent] {
        html!(out, "<td class=\"number\">", number);
    }
}

fn figures_of<'a>(view: &'a View, host: &'a Name) -> impl Iterator<Item = (&'a Name, &'a HostFigures)> {
    let hosts = view.published.report.ipam.iter().flat_map(move |ipam| ipam.hosts.range((host.clone(), "".into())..));
    hosts.take_while(move |((name, _), _)| name == host).map(|((_, pool), figures)| (pool, figures))
}

/// Whether the report knows a host.
pub(super) fn has_figures(view: &View, host: &Name) -> bool {
    figures_of(view, host).next().is_some()
}

/// One host's figures, pool by pool.
pub(super) fn pools_of(out: &mut Markup, view: &View, host: &Name) {
    out.raw("<table>\n<thead><tr><th scope=\"col\">Pool");
    columns(out);
    out.raw("</thead>\n<tbody>\n");
    for (pool, figures) in figures_of(view, host).take(ROWS) {
        html!(out, "<tr><th scope=\"row\">", pool);
        cells(out, figures);
        out.raw("\n");
    }
    out.raw("</tbody>\n</table>\n");
}
