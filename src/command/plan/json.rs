//! The plan for programs, as `docs/plan.md` describes it.

use serde_json::{Value, json};

use crate::audit::plan::{Addition, Newcomers, Plan, PoolPlan, SizePlan};
use crate::model::Family;

/// The version of the form: it changes when a reader of the old one would be wrong.
const SCHEMA: u32 = 1;

pub(super) fn of(plan: &Plan, newcomers: Option<&Newcomers>) -> String {
    let question =
        newcomers.map(|it| json!({"hosts": it.hosts, "pods_per_host": it.pods_per_host, "labels": it.labels.iter().collect::<Value>()}));
    json!({
        "schema": SCHEMA,
        "max_blocks_per_host": plan.max_blocks_per_host,
        "strict_affinity": plan.strict_affinity,
        "auto_allocate_blocks": plan.auto_allocate_blocks,
        "unknown": plan.unknown,
        "notes": plan.notes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "pools": plan.pools.iter().map(pool).collect::<Vec<_>>(),
        "add": question,
        "fit": plan.fits().map(|fit| fit.as_str()),
        "families": plan.additions.iter().map(addition).collect::<Vec<_>>(),
    })
    .to_string()
}

fn pool(pool: &PoolPlan) -> Value {
    json!({
        "ippool": &*pool.name,
        "cidr": pool.cidr,
        "block_size": pool.block_size,
        "closed": pool.closed.map(|closed| closed.as_str()),
        "hosts": pool.hosts,
        "hosts_with_block": pool.hosts_with_block,
        "pods": pool.pods,
        "other_addresses": pool.others,
        "cooldown": pool.cooldown,
        "blocks_claimed": pool.blocks_claimed,
        "blocks_empty": pool.blocks_empty,
        "blocks_left": number(pool.blocks_left),
        "blocks_left_reserved_in_part": pool.blocks_left_in_part,
        "free_in_blocks": number(pool.free_in_blocks),
        "stranded": number(pool.stranded),
        "more_hosts": number(pool.more_hosts),
        "more_pods": number(pool.more_pods),
        "bound": pool.bound.as_str(),
        "block_sizes": pool.sizes.iter().map(size).collect::<Vec<_>>(),
    })
}

fn size(size: &SizePlan) -> Value {
    json!({
        "block_size": size.prefix_len,
        "blocks_needed": size.blocks_needed,
        "blocks_capacity": number(size.blocks_capacity),
        "stranded": size.stranded,
        "routes_per_host": size.routes_per_host,
        "hosts_over_limit": size.hosts_over_limit,
        "fits": size.fits(),
    })
}

fn addition(addition: &Addition) -> Value {
    let family = match addition.family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    json!({
        "family": family,
        "ippools": addition.pools.iter().map(|name| &**name).collect::<Vec<_>>(),
        "tunnel_addresses_per_host": addition.tunnels.len(),
        "fit": addition.fit.as_str(),
        "runs_out": addition.shortage.map(|shortage| shortage.as_str()),
        "hosts_placed": addition.hosts_placed,
        "blocks_claimed": number(addition.blocks_claimed),
        "borrowed": number(addition.borrowed),
        "blocks_left": number(addition.blocks_left),
    })
}

/// An exact number as long as it fits 64 bits, and the nearest float beyond.
#[allow(clippy::cast_precision_loss, reason = "said in docs/plan.md")]
fn number(count: u128) -> Value {
    u64::try_from(count).map_or_else(|_| json!(count as f64), |count| json!(count))
}
