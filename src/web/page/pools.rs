//! Pools by utilisation. A pool runs out of blocks before it runs out of addresses, so both are shown.

use super::bar::bar;
use super::html::{Markup, html};
use super::words::{count, percent, plain};
use super::{ROWS, View};
use crate::audit::PoolFigures;
use crate::model::Name;

/// Addresses of the pool.
fn size(figures: &PoolFigures) -> f64 {
    let PoolFigures { allocated, cooldown, reserved, free, lost, unclaimed, .. } = figures;
    allocated + cooldown + reserved + free + lost + unclaimed
}

/// How full it is: what runs out first.
fn fullness(figures: &PoolFigures) -> f64 {
    let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    #[allow(clippy::cast_precision_loss, reason = "no pool has 2^53 blocks")]
    let blocks = figures.blocks as f64;
    share(blocks, figures.blocks_capacity).max(share(size(figures) - figures.free - figures.unclaimed, size(figures)))
}

/// The overview's part.
pub(super) fn table(out: &mut Markup, view: &View) {
    let Some(ipam) = &view.published.report.ipam else { return };
    let mut pools: Vec<(&Name, &PoolFigures)> = ipam.pools.iter().collect();
    pools.sort_by(|(_, a), (_, b)| fullness(b).total_cmp(&fullness(a)));
    out.raw(
        "<section>\n<h2>Pools, the fullest first</h2>\n<table>\n<thead><tr><th scope=\"col\">Pool\
         <th scope=\"col\">Blocks claimed<th scope=\"col\">Addresses in use<th scope=\"col\" class=\"number\">Allocated\
         <th scope=\"col\" class=\"number\">Cooldown<th scope=\"col\" class=\"number\">Reserved\
         <th scope=\"col\" class=\"number\">Free in blocks<th scope=\"col\" class=\"number\">Lost\
         <th scope=\"col\">Tunnel: configured, observed</thead>\n<tbody>\n",
    );
    for (name, figures) in pools.iter().take(ROWS) {
        row(out, view, name, figures);
    }
    out.raw("</tbody>\n</table>\n");
    if let Some(more) = pools.len().checked_sub(ROWS).filter(|more| *more > 0) {
        html!(out, "<p>… and ", more, " more.</p>\n");
    }
    out.raw("</section>\n");
}

fn row(out: &mut Markup, view: &View, name: &Name, figures: &PoolFigures) {
    html!(out, "<tr><th scope=\"row\">", name);
    match &figures.pool {
        Some(pool) => {
            html!(out, "<br><code>", pool.cidr, "</code>");
            if pool.disabled {
                out.raw("<br>disabled");
            }
        }
        None => out.raw("<br>blocks in no pool"),
    }
    #[allow(clippy::cast_precision_loss, reason = "no pool has 2^53 blocks")]
    let blocks = figures.blocks as f64;
    let capacity = figures.blocks_capacity;
    out.raw("<td>");
    if capacity > 0.0 {
        let words = format!("{} of {} blocks", count(blocks), count(capacity));
        bar(out, &words, capacity, &[("allocated", blocks)]);
        html!(out, "<b>", percent(blocks, capacity), "</b> <small>", words, "</small>");
    } else {
        html!(out, count(blocks), " blocks");
    }
    let (size, used) = (size(figures), figures.allocated + figures.cooldown + figures.reserved + figures.lost);
    let words = format!("{} of {}", count(used), count(size));
    out.raw("<td>");
    let parts = [
        ("allocated", figures.allocated),
        ("cooldown", figures.cooldown),
        ("reserved", figures.reserved),
        ("lost", figures.lost),
    ];
    bar(out, &words, size, &parts);
    html!(out, "<b>", percent(used, size), "</b> <small>", words, "</small>");
    for number in [figures.allocated, figures.cooldown, figures.reserved, figures.free, figures.lost] {
        html!(out, "<td class=\"number\">", count(number));
    }
    out.raw("<td>");
    let modes = view.published.report.routes.as_ref().and_then(|routes| routes.tunnel_modes.get(name));
    match modes {
        Some(modes) if modes.configured == modes.observed => html!(out, plain(modes.configured.as_str())),
        Some(modes) => html!(out, plain(modes.configured.as_str()), ", observed ", plain(modes.observed.as_str())),
        None => out.raw("–"),
    }
    out.raw("\n");
}
