//! The plan for people: a table of pools, an answer in words, a table of block sizes.

use std::fmt::Write as _;

use crate::audit::plan::{Addition, Bound, Fit, Newcomers, Plan, PoolPlan, Shortage};
use crate::command::check::printable;
use crate::model::Family;

pub(super) fn of(plan: &Plan, newcomers: Option<&Newcomers>) -> String {
    let mut text = String::new();
    for unknown in &plan.unknown {
        let _ = writeln!(text, "cannot tell for certain: {unknown}");
    }
    let strict = if plan.strict_affinity { "affinity is strict: nobody borrows" } else { "hosts may borrow" };
    let claim = if plan.auto_allocate_blocks { "" } else { "; hosts may claim no block by themselves" };
    let _ = writeln!(text, "at most {} blocks a host and family; {strict}{claim}\n", plan.max_blocks_per_host);
    text += &pools(plan);
    for pool in &plan.pools {
        if pool.stranded > 0 && pool.closed.is_none() {
            let name = printable(&pool.name);
            let _ = writeln!(
                text,
                "{name}: {} free addresses in blocks whose hosts are not there to use them",
                count(pool.stranded)
            );
        }
    }
    for note in &plan.notes {
        let _ = writeln!(text, "{}", printable(&note.to_string()));
    }
    if let Some(newcomers) = newcomers {
        let _ = writeln!(text, "\n{} more hosts with {} pods each:", newcomers.hosts, newcomers.pods_per_host);
        if plan.additions.is_empty() {
            let _ = writeln!(text, "  there is no pool that gives addresses out");
        }
        for addition in &plan.additions {
            let _ = writeln!(text, "  {}", answer(addition, newcomers));
        }
    }
    for pool in plan.pools.iter().filter(|pool| !pool.sizes.is_empty()) {
        let _ = writeln!(text, "\n{}", printable(&pool.name));
        text += &sizes(pool);
    }
    text
}

fn pools(plan: &Plan) -> String {
    let head = [
        "POOL",
        "CIDR",
        "BLOCK",
        "HOSTS",
        "PODS",
        "OTHER",
        "CLAIMED",
        "LEFT",
        "FREE IN BLOCKS",
        "MORE HOSTS",
        "MORE PODS",
        "UNTIL",
    ];
    let rows = plan.pools.iter().map(|pool| {
        vec![
            printable(&pool.name),
            pool.cidr.to_string(),
            format!("/{}", pool.block_size),
            format!("{} of {}", pool.hosts_with_block, pool.hosts),
            pool.pods.to_string(),
            (pool.others + pool.cooldown).to_string(),
            match pool.blocks_empty {
                0 => pool.blocks_claimed.to_string(),
                empty => format!("{} ({empty} empty)", pool.blocks_claimed),
            },
            count(pool.blocks_left),
            count(pool.free_in_blocks),
            count(pool.more_hosts),
            count(pool.more_pods),
            until(pool),
        ]
    });
    aligned(&head, rows.collect())
}

fn until(pool: &PoolPlan) -> String {
    match pool.bound {
        Bound::Addresses => "all addresses are used".to_owned(),
        Bound::Blocks => "no block is left".to_owned(),
        Bound::BlockLimit => "every host has its most blocks".to_owned(),
        Bound::NoHost => "it selects no host".to_owned(),
        Bound::Closed => format!("closed: {}", pool.closed.map_or("", |closed| closed.as_str()).replace('_', " ")),
    }
}

fn answer(addition: &Addition, newcomers: &Newcomers) -> String {
    let family = match addition.family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    };
    let pools: Vec<String> = addition.pools.iter().map(|name| printable(name)).collect();
    let pools = pools.join(", ");
    let borrowed = match addition.borrowed {
        0 => String::new(),
        borrowed => format!(", {} addresses borrowed", count(borrowed)),
    };
    let fate = match addition.fit {
        Fit::Yes => format!(
            "fits ({} blocks claimed{borrowed}, {} left)",
            count(addition.blocks_claimed),
            count(addition.blocks_left)
        ),
        Fit::Depends => {
            "fits only with luck: some blocks are reserved in part, and which host gets those is chance".to_owned()
        }
        Fit::No => {
            let why = match addition.shortage {
                Some(Shortage::NoPool) => "no pool selects such a host (see --host-labels)",
                Some(Shortage::Blocks) => "blocks run out first, and affinity is strict",
                Some(Shortage::BlockLimit) => "a host would need more blocks than it may have",
                Some(Shortage::Addresses) | None => "addresses run out first",
            };
            format!("does not fit: {why} ({} of {} hosts fit)", addition.hosts_placed, newcomers.hosts)
        }
    };
    if pools.is_empty() { format!("{family}: {fate}") } else { format!("{family} from {pools}: {fate}") }
}

fn sizes(pool: &PoolPlan) -> String {
    let head = ["BLOCK SIZE", "BLOCKS NEEDED", "OF", "STRANDED", "ROUTES A HOST", ""];
    let rows = pool.sizes.iter().map(|size| {
        let mut notes = Vec::new();
        if size.prefix_len == pool.block_size {
            notes.push("now".to_owned());
        }
        if u128::from(size.blocks_needed) > size.blocks_capacity {
            notes.push("too few blocks".to_owned());
        }
        if size.hosts_over_limit > 0 {
            notes.push(format!("{} hosts over the block limit", size.hosts_over_limit));
        }
        vec![
            format!("/{}", size.prefix_len),
            size.blocks_needed.to_string(),
            count(size.blocks_capacity),
            size.stranded.to_string(),
            size.routes_per_host.to_string(),
            notes.join(", "),
        ]
    });
    aligned(&head, rows.collect())
}

/// A count as people read it: an IPv6 pool's in short.
fn count(count: u128) -> String {
    const READABLE: u128 = 10_000_000;
    if count < READABLE {
        return count.to_string();
    }
    let exponent = count.ilog10();
    let tenths = count / 10u128.pow(exponent - 1);
    format!("{}.{}e{exponent}", tenths / 10, tenths % 10)
}

/// Columns as wide as what stands in them.
fn aligned(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let wide = |text: &str| text.chars().count();
    let mut widths: Vec<usize> = head.iter().map(|text| wide(text)).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(wide(cell));
        }
    }
    let mut text = String::new();
    let head = head.iter().map(|text| (*text).to_owned()).collect();
    for row in std::iter::once(head).chain(rows) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell}{}", " ".repeat(width - wide(cell))));
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_counts_are_written_in_short() {
        assert_eq!(count(9_999_999), "9999999");
        assert_eq!(count(10_000_000), "1.0e7");
        assert_eq!(count(1 << 58), "2.8e17");
        assert_eq!(count(u128::MAX), "3.4e38");
    }

    #[test]
    fn columns_are_aligned_and_no_line_ends_in_blanks() {
        let text = aligned(&["A", "LONG"], vec![vec!["x".into(), String::new()], vec!["über".into(), "y".into()]]);
        assert_eq!(text, "A     LONG\nx\nüber  y\n");
    }
}
