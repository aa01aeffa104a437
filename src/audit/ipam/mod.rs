//! The cluster's IPAM: blocks against themselves, keys against blocks, and the figures (J1–J8, J31).
//!
//! [`IpamAudit`] keeps a verdict for each CIDR that a block or a key names, and sums over them. A block or a key that
//! changed costs the verdicts of its CIDR and of the blocks that overlap it; only pools, nodes, reservations and
//! settings cost a walk over all. The rules are in `block`, `affinity`, `figures` and `unreadable`, small and pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::finding::Finding;
use super::now::Now;
use super::report::{HostFigures, IpamReport};
use crate::model::{Family, Few, IpamConfig, Name, Node, Shared, pack};
use crate::state::{Changes, Datastore, Kind};

use affinity::{Age, Claims, Seen};
use figures::Share;
use ledger::{Entry, HostShare, Ledger, PoolFacts};
use reserved::Reserved;
use standing::{Standing, settle};

mod affinity;
mod block;
mod figures;
mod ledger;
pub(in crate::audit) mod reserved;
mod standing;
mod unreadable;
mod view;

#[cfg(test)]
mod tests;

pub(super) use block::holder;
pub(super) use unreadable::undecodable;
pub use unreadable::unreadable;
pub(super) use view::view_of;
pub use view::{AddressState, AddressView, BlockContent, BlockView, HostBlocks};

/// The label `ippool` of what lies in no pool.
pub const NO_IPPOOL: &str = "no_ippool";

/// Whether a selector, parsed, chooses a node.
pub type NodeFilter = Box<dyn Fn(&Node) -> bool>;

/// How to judge time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpamOptions {
    /// The datastore is followed as it changes. False: a dump, of which everything is judged at once (J6).
    pub live: bool,
    /// How long key and block may contradict each other, and a claim or release may be unfinished, before that is a
    /// finding. Calico's own claims take milliseconds; a retry, seconds (I9).
    pub affinity_grace: Duration,
}

/// One verdict for each CIDR and the sums over them.
#[derive(Debug)]
pub struct IpamAudit {
    options: IpamOptions,
    now: Option<Now>,
    /// Boxed: a tree that is filled in order is half empty.
    verdicts: BTreeMap<IpNet, Box<Verdict>>,
    /// CIDRs whose verdict has differences: few, where there are many verdicts.
    faulty: BTreeSet<IpNet>,
    over_limit: BTreeMap<(Name, Family), Vec<Standing>>,
    unreadable: Vec<Standing>,
    ledger: Ledger,
    /// What CIDRs add to the sums: most add what many others do.
    shares: Shared<Share>,
    figures: Shared<HostFigures>,
    reserved: Reserved,
    pools: BTreeMap<Name, PoolFacts>,
    /// Every pool can be read.
    pools_known: bool,
    config: IpamConfig,
    /// The configuration can be read; while it cannot, nobody knows the limit (J1).
    config_known: bool,
    no_pool: Name,
    /// How many CIDRs the last look judged.
    pub judged: usize,
}

#[derive(Debug)]
struct Verdict {
    entry: Entry,
    standing: Few<Standing>,
}

impl IpamAudit {
    /// An audit that has seen nothing yet.
    pub fn new(options: IpamOptions) -> IpamAudit {
        IpamAudit {
            options,
            now: None,
            verdicts: BTreeMap::new(),
            faulty: BTreeSet::new(),
            over_limit: BTreeMap::new(),
            unreadable: Vec::new(),
            ledger: Ledger::default(),
            shares: Shared::default(),
            figures: Shared::default(),
            reserved: Reserved::default(),
            pools: BTreeMap::new(),
            pools_known: true,
            config: IpamConfig::default(),
            config_known: true,
            no_pool: Arc::from(NO_IPPOOL),
            judged: 0,
        }
    }

    /// Judges what changed, or everything the first time. Without changes it costs nothing and lets time pass.
    /// `selector` reads a pool's node selector, once a pool; `None` where it cannot be read, and then the pool selects
    /// nobody.
    pub fn refresh(
        &mut self,
        datastore: &Datastore,
        changes: &Changes,
        now: Now,
        selector: &dyn Fn(&str) -> Option<NodeFilter>,
    ) {
        let everything = changes.everything || self.now.is_none();
        self.now = Some(now);
        let touched = if everything {
            self.read_surroundings(datastore, selector);
            let known = self.verdicts.keys().chain(datastore.dark_blocks()).copied();
            known.chain(datastore.cidrs()).collect()
        } else {
            with_neighbours(datastore, &changes.cidrs)
        };
        self.judged = touched.len();
        let mut hosts: BTreeSet<(Name, Family)> = BTreeSet::new();
        // Every host with a key is in some verdict, so that judging all verdicts judges all limits.
        let claimants = |entry: &Entry| {
            let family = Family::of_net(&entry.cidr);
            entry.hosts.iter().map(move |it| (it.host.clone(), family)).collect::<Vec<_>>()
        };
        for cidr in touched {
            let before = self.verdicts.remove(&cidr);
            if let Some(before) = &before {
                self.ledger.remove(&before.entry);
                hosts.extend(claimants(&before.entry));
            }
            let before = before.map(|verdict| verdict.standing).unwrap_or_default();
            let Some(verdict) = self.judge(datastore, cidr, &before, now) else {
                self.faulty.remove(&cidr);
                continue;
            };
            self.ledger.add(&verdict.entry);
            hosts.extend(claimants(&verdict.entry));
            if verdict.standing.is_empty() {
                self.faulty.remove(&cidr);
            } else {
                self.faulty.insert(cidr);
            }
            self.verdicts.insert(cidr, Box::new(verdict));
        }
        if everything {
            pack(&mut self.verdicts);
            self.ledger.pack();
        }
        self.judge_limits(hosts, now);
        let found = unreadable(datastore).map(|finding| (finding, Age::AtOnce)).collect();
        self.unreadable = settle(&self.unreadable, found, now);
    }

    /// What every CIDR is judged against.
    fn read_surroundings(&mut self, datastore: &Datastore, selector: &dyn Fn(&str) -> Option<NodeFilter>) {
        self.shares.prune();
        self.figures.prune();
        self.config = datastore.ipam_config();
        self.config_known = !datastore.has_unreadable(Kind::IpamConfig);
        self.pools_known = !datastore.has_unreadable(Kind::Pool);
        self.reserved = Reserved::new(datastore.reservations().values());
        self.pools = datastore
            .pools()
            .iter()
            .map(|(name, pool)| {
                let filter = selector(&pool.node_selector);
                let chosen =
                    |node: &Node| pool.is_claimed_by_hosts() && filter.as_ref().is_some_and(|filter| filter(node));
                let selected = datastore.nodes().iter().filter(|(_, node)| chosen(node)).map(|(name, _)| name.clone());
                (name.clone(), PoolFacts::new(pool, &self.reserved, selected.collect()))
            })
            .collect();
    }

    /// The verdict on a CIDR; `None` where neither a block nor a readable key names it.
    fn judge(&mut self, datastore: &Datastore, cidr: IpNet, before: &[Standing], now: Now) -> Option<Verdict> {
        let claims = Claims::of(datastore, cidr);
        let pool = datastore.pool_of(&cidr);
        let knows = |host: &Name| datastore.nodes().contains_key(host) || datastore.is_unreadable_node(host);
        let mut found = affinity::faults(&claims, &knows);
        let block = match claims.block {
            Seen::Absent if claims.keys.is_empty() => return None,
            Seen::Absent | Seen::Unreadable => None,
            Seen::Readable(block) => Some(block),
        };
        if let Some(block) = block {
            let around = block::Surroundings {
                overlaps: datastore.blocks_overlapping(&cidr).next().map(|other| other.cidr),
                pool,
                pools_known: self.pools_known,
            };
            let values = block::mismatches(block).chain(block::defects(block, &around));
            found.extend(values.map(|finding| (finding, Age::AtOnce)));
        }
        let share = (!matches!(claims.block, Seen::Absent)).then(|| {
            let inside = datastore.blocks_overlapping(&cidr).map(|other| other.cidr);
            let inside = inside.chain(datastore.dark_blocks_overlapping(&cidr).copied()).collect();
            self.shares.share(figures::share(&cidr, block, &figures::widest(&cidr, inside), &self.reserved))
        });
        let pool = pool.map_or_else(|| self.no_pool.clone(), |pool| pool.name.clone());
        let owners = figures::owners(&claims);
        let hosts = figures::hosts(&claims).into_iter().map(|(host, figures)| HostShare {
            figures: self.figures.share(figures),
            owns: owners.contains(&host),
            host,
        });
        let entry = Entry { cidr, pool, share, hosts: hosts.collect() };
        Some(Verdict { entry, standing: settle(before, found, now).into() })
    }

    fn judge_limits(&mut self, hosts: BTreeSet<(Name, Family)>, now: Now) {
        let known = self.config_known;
        let limit = self.config.max_blocks();
        for (host, family) in hosts {
            let key = (host, family);
            let keys = self.ledger.keys(&key);
            let found = affinity::over_block_limit(&key.0, family, keys, limit).filter(|_| known);
            let before = self.over_limit.remove(&key).unwrap_or_default();
            if let Some(finding) = found {
                self.over_limit.insert(key, settle(&before, vec![(finding, Age::FirstSeen)], now));
            }
        }
    }

    fn standing(&self) -> impl Iterator<Item = &Standing> {
        let cidrs = self.faulty.iter().filter_map(|cidr| self.verdicts.get(cidr));
        self.unreadable
            .iter()
            .chain(cidrs.flat_map(|verdict| verdict.standing.iter()))
            .chain(self.over_limit.values().flatten())
    }

    /// Everything that is wrong and has been so for long enough, as of the last [`IpamAudit::refresh`]; sorted.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self
            .standing()
            .filter(|it| self.due(it).is_none())
            .map(|standing| standing.finding(self.options.live))
            .collect();
        findings.sort_unstable();
        findings
    }

    /// The next moment (monotonic) at which a young difference becomes a finding without anything else happening:
    /// refresh then.
    pub fn next_due(&self) -> Option<Duration> {
        self.standing().filter_map(|standing| self.due(standing)).min()
    }

    fn due(&self, standing: &Standing) -> Option<Duration> {
        let now = self.now.filter(|_| self.options.live)?;
        standing.due(now, self.options.affinity_grace)
    }

    /// The figures, as of the last [`IpamAudit::refresh`].
    pub fn report(&self) -> IpamReport {
        let pools = self.pools.iter().map(|(name, facts)| (name.clone(), self.ledger.pool(facts)));
        let orphans = self.ledger.orphans(&self.no_pool).map(|figures| (self.no_pool.clone(), figures));
        IpamReport {
            pools: pools.chain(orphans).collect(),
            hosts: self.ledger.hosts().clone(),
            max_blocks_per_host: self.config.max_blocks(),
            strict_affinity: self.config.strict_affinity,
        }
    }
}

/// What is wrong with one CIDR, however young it is.
pub(in crate::audit) fn judge_cidr(datastore: &Datastore, cidr: IpNet) -> Vec<Finding> {
    let mut audit = IpamAudit::new(IpamOptions { live: false, affinity_grace: Duration::ZERO });
    audit.pools_known = !datastore.has_unreadable(Kind::Pool);
    let now = Now { monotonic: Duration::ZERO, wall: std::time::SystemTime::UNIX_EPOCH };
    let verdict = audit.judge(datastore, cidr, &[], now);
    verdict.map(|it| it.standing.iter().map(|standing| standing.finding(false)).collect()).unwrap_or_default()
}

/// The CIDRs and those of all blocks that share addresses with them.
fn with_neighbours(datastore: &Datastore, cidrs: &BTreeSet<IpNet>) -> BTreeSet<IpNet> {
    let mut touched = cidrs.clone();
    for cidr in cidrs {
        touched.extend(datastore.blocks_overlapping(cidr).map(|block| block.cidr));
        touched.extend(datastore.dark_blocks_overlapping(cidr));
    }
    touched
}
