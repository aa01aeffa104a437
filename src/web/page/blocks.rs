//! Blocks, address by address: what `calicoctl ipam show --show-blocks` counts, as one can see it.

use super::html::{Markup, html};
use super::words::plural;
use super::{Found, View, busy, findings, hosts, request};
use crate::audit::{AddressState, AddressView, BlockContent, BlockView, HostBlocks};
use crate::model::{AffinityState, BlockOwner, Name};

/// What stands in an address's cell, so that it is not told by colour alone.
fn letter(state: AddressState) -> &'static str {
    match state {
        AddressState::Free => "·",
        AddressState::Allocated => "A",
        AddressState::Borrowed => "B",
        AddressState::Cooldown => "C",
        AddressState::Reserved => "R",
        AddressState::Mismatched => "!",
        AddressState::Lost => "?",
    }
}

fn meaning(state: AddressState) -> &'static str {
    match state {
        AddressState::Free => "free",
        AddressState::Allocated => "allocated on the block's own host",
        AddressState::Borrowed => "borrowed: used on another host",
        AddressState::Cooldown => "in cooldown: released, not handed out yet",
        AddressState::Reserved => "reserved: free, and not handed out",
        AddressState::Mismatched => "mismatched: used and free at once, or free twice: will be handed out twice",
        AddressState::Lost => "lost: neither used nor free, nobody will get it",
    }
}

/// The overview's part: this host's first blocks.
pub(super) fn overview(out: &mut Markup, view: &View) {
    let node = &view.published.node;
    match &view.blocks {
        Err(_) => {
            out.raw("<section>\n<h2>This host&#39;s blocks</h2>\n");
            busy(out);
            out.raw("</section>\n");
        }
        Ok(None) => {}
        Ok(Some(host)) => {
            html!(out, "<section>\n<h2>This host&#39;s blocks: ", host.total, "</h2>\n");
            legend(out);
            let some = OVERVIEW.min(host.blocks.len());
            grids(out, node, host.blocks.get(..some).unwrap_or_default());
            if let Some(more) = host.total.checked_sub(some).filter(|more| *more > 0) {
                html!(out, "<p>… and ", more, " more: <a href=\"", request::host_path(node));
                html!(out, "\">this host&#39;s page</a></p>\n");
            }
            out.raw("</section>\n");
        }
    }
}

/// Blocks on the overview.
const OVERVIEW: usize = 6;

/// A host's page.
pub(super) fn page(out: &mut Markup, view: &View, name: &Name) -> Found {
    html!(out, "<h1>Host ", name, "</h1>\n");
    if *name == view.published.node {
        out.raw("<p>This host: <a href=\"/routes\">its routes</a> are judged here.</p>\n");
    }
    let known = hosts::has_figures(view, name);
    let blocks = match &view.blocks {
        Err(_) if !known => {
            busy(out);
            return Found::Busy;
        }
        Ok(None) if !known => return unknown(out, view),
        Err(_) | Ok(None) => None,
        Ok(Some(blocks)) => Some(blocks),
    };
    if blocks.is_some_and(|blocks| !blocks.has_node) {
        html!(out, "<p class=\"note bad\"><b>No Node is called ", name, "</b> in the datastore.</p>\n");
    }
    findings::of_host(out, view, name);
    if known {
        out.raw("<section>\n<h2>Pool by pool</h2>\n");
        hosts::pools_of(out, view, name);
        out.raw("</section>\n");
    }
    if view.blocks.is_err() {
        busy(out);
        return Found::Busy;
    }
    let Some(host) = blocks else { return Found::Yes };
    html!(out, "<section>\n<h2>Blocks: ", host.total, "</h2>\n");
    if host.total > 0 {
        legend(out);
    }
    turn(out, name, host);
    grids(out, name, &host.blocks);
    turn(out, name, host);
    out.raw("</section>\n");
    Found::Yes
}

fn unknown(out: &mut Markup, view: &View) -> Found {
    if view.published.report_time.is_none() {
        out.raw("<p class=\"note\">Nothing has been judged yet: every source has to be read completely first.</p>\n");
        return Found::Busy;
    }
    out.raw(
        "<p class=\"note\">The datastore has no Node, no block and no affinity of this name. \
         <a href=\"/hosts\">All hosts that have blocks</a></p>\n",
    );
    Found::No
}

/// Where blocks are left out before or after those shown.
fn turn(out: &mut Markup, name: &Name, host: &HostBlocks) {
    let end = host.from + host.blocks.len();
    if host.from == 0 && end >= host.total {
        return;
    }
    out.raw("<nav class=\"turn\" aria-label=\"Parts of the list\">");
    let path = request::host_path(name);
    if host.from > 0 {
        html!(out, "<a href=\"", path, "\">first</a> ");
    }
    match host.blocks.len() {
        0 => html!(out, "<b>none of ", host.total, "</b>"),
        _ => html!(out, "<b>", host.from + 1, " to ", end, " of ", host.total, "</b>"),
    }
    if end < host.total {
        html!(out, " <a href=\"", path, "?from=", end, "\">next</a>");
    }
    out.raw("</nav>\n");
}

fn legend(out: &mut Markup) {
    out.raw("<ul class=\"legend\">\n");
    for state in AddressState::ALL {
        html!(out, "<li><i class=\"", state.as_str(), "\">", letter(state), "</i> ", meaning(state), "\n");
    }
    out.raw("</ul>\n");
}

fn grids(out: &mut Markup, host: &Name, blocks: &[BlockView]) {
    out.raw("<div class=\"blocks\">\n");
    for block in blocks {
        grid(out, host, block);
    }
    out.raw("</div>\n");
}

fn grid(out: &mut Markup, host: &Name, block: &BlockView) {
    html!(out, "<article>\n<h3><a href=\"", request::explain_path(&block.cidr.to_string()), "\"><code>", block.cidr);
    out.raw("</code></a></h3>\n<p class=\"series\">");
    match &block.pool {
        Some(pool) => html!(out, "pool ", pool),
        None => out.raw("in no pool"),
    }
    let own = |owner: &BlockOwner| owner.host() == Some(host);
    for (owner, state) in &block.claims {
        match (own(owner), state) {
            (true, AffinityState::Confirmed) => {}
            (true, state) => html!(out, " · <b>affinity ", state.as_str(), "</b>"),
            (false, state) => html!(out, " · <b>also claimed by ", owner, " (", state.as_str(), ")</b>"),
        }
    }
    if !block.claims.iter().any(|(owner, _)| own(owner)) {
        out.raw(" · <b>no affinity key of this host</b>");
    }
    let (size, counts, addresses) = match &block.content {
        BlockContent::Absent => {
            return out.raw(" · <b>a key claims it, and there is no such block</b></p>\n</article>\n");
        }
        BlockContent::Unreadable => return out.raw(" · <b>the block cannot be read</b></p>\n</article>\n"),
        BlockContent::Readable { owner, size, counts, addresses } => {
            match owner {
                Some(owner) if own(owner) => {}
                Some(owner) => html!(out, " · <b>the block says that it belongs to ", owner, "</b>"),
                None => out.raw(" · <b>the block says that it belongs to nobody</b>"),
            }
            (*size, counts, addresses)
        }
    };
    out.raw("</p>\n");
    let told = AddressState::ALL.iter().zip(counts).filter(|(_, count)| **count > 0);
    let told: Vec<String> = told.map(|(state, count)| format!("{count} {}", state.as_str())).collect();
    let summary = format!("{size} {}: {}", plural(size as usize, "address", "addresses"), told.join(", "));
    html!(out, "<p>", summary, "</p>\n<div class=\"grid\" role=\"img\" aria-label=\"", summary, "\">");
    for AddressView { address, state, holder } in addresses {
        html!(out, "<i class=\"", state.as_str(), "\" title=\"", address, " ", state.as_str());
        if !holder.is_empty() {
            html!(out, ": ", short(holder));
        }
        html!(out, "\">", letter(*state), "</i>");
    }
    out.raw("</div>\n");
    if (addresses.len() as u64) < u64::from(size) {
        html!(out, "<p>The first ", addresses.len(), " of ", size, " addresses are drawn.</p>\n");
    }
    list(out, addresses);
    out.raw("</article>\n");
}

/// The same as a list, for those who cannot point at a cell, and to copy from.
fn list(out: &mut Markup, addresses: &[AddressView]) {
    let used = || addresses.iter().filter(|it| it.state != AddressState::Free);
    if used().next().is_none() {
        return;
    }
    html!(out, "<details><summary>", used().count(), " not free</summary>\n<table>\n<tbody>\n");
    for AddressView { address, state, holder } in used() {
        html!(out, "<tr><th scope=\"row\"><code>", address, "</code><td>", state.as_str(), "<td>", short(holder), "\n");
    }
    out.raw("</tbody>\n</table>\n</details>\n");
}

/// Many of these stand on a page, and a name is as long as somebody made it.
fn short(holder: &str) -> &str {
    let end = holder.char_indices().nth(HOLDER).map_or(holder.len(), |(end, _)| end);
    holder.get(..end).unwrap_or_default()
}

/// Characters of a holder's name that are shown: more than a pod's and its node's usually have.
const HOLDER: usize = 100;
