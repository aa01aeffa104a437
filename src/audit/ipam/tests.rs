mod figures;
mod grace;
mod random;
mod rules;

use super::{IpamAudit, IpamOptions, NO_IPPOOL, NodeFilter};
use crate::audit::testing::{Block, Cluster, keys};
use crate::state::Changes;
use std::time::Duration;

const GRACE: Duration = Duration::from_secs(90);

/// An audit of a dump or of a living cluster.
fn audit(live: bool) -> IpamAudit {
    IpamAudit::new(IpamOptions { live, affinity_grace: GRACE })
}

/// Knows `all()` alone, and finds everything else unreadable.
fn selector(text: &str) -> Option<NodeFilter> {
    (text == "all()").then(|| Box::new(|_: &_| true) as NodeFilter)
}

fn refresh(audit: &mut IpamAudit, cluster: &mut Cluster) {
    let changes = cluster.changes();
    audit.refresh(cluster.datastore(), &changes, cluster.now(), &selector);
}

/// A fresh audit of everything, as of a dump.
fn whole(cluster: &Cluster) -> IpamAudit {
    let mut audit = audit(false);
    audit.refresh(cluster.datastore(), &Changes::default(), cluster.now(), &selector);
    audit
}

/// Everything that is wrong with a dump: short name of the metric, reason or kind, subject.
fn wrong(cluster: &Cluster) -> Vec<String> {
    let short = |metric: &str| metric.replace("calico_ipam_", "").replace("calico_exporter_", "");
    keys(&whole(cluster).findings())
        .into_iter()
        .map(|(metric, label, subject)| format!("{} {label} {subject}", short(metric)))
        .collect()
}

/// Two hosts with a block each, one address borrowed, one resting, and a block of nobody with a pod that lives on.
fn healthy() -> Cluster {
    let mut cluster = Cluster::new();
    cluster
        .pool("p", "10.0.0.0/24", 28)
        .node("h1", &["192.168.0.1/24"])
        .node("h2", &["192.168.0.2/24"])
        .owned(first())
        .owned(Block::of("host:h2", "10.0.0.16/28").pod(3, "h2", "c").cooldown(4, 1_799_999_000))
        .block(Block::new("10.0.0.32/28").pod(0, "h2", "d"));
    cluster
}

/// The first block of [`healthy`].
fn first() -> Block {
    Block::of("host:h1", "10.0.0.0/28").pod(0, "h1", "a").pod(1, "h2", "b")
}
