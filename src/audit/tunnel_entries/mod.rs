//! What is beneath this host's routes: the neighbours and forwarding entries of its VXLAN tunnels, expected against
//! actual, and WireGuard's policy rules. A route can be right and every packet still be lost for want of one of them.
//!
//! Decided, where the reference leaves room:
//!
//! - A MAC that changes is a wrong neighbour, a missing and a stale forwarding entry: each is an entry of its own.
//! - What leads elsewhere is `wrong` whatever its state; only what leads to the right place can be `not_permanent`.
//! - While a Node cannot be read nothing is stale: it may be the one that asks for the entry (J1).
//! - A tunnel whose device is missing or down, or of which this host's own end is not complete, expects no entry; what is
//!   on it is not judged, and its figures are 0.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::finding::Finding;
use super::grace::Standing;
use super::now::Now;
use super::report::{EntryCounts, Histogram, TunnelsReport};
use super::routes::RouteOptions;
use super::setting::Setting;
use crate::audit::fault::{EntryReason, Fault};
use crate::model::{Family, Mac, Name, TunnelKind};
use crate::state::{Changes, Kind, State, Table};

mod judge;
mod peers;
mod rules;
#[cfg(test)]
mod tests;
mod words;

pub use judge::Entry;
use judge::{Verdict, judge};
pub use peers::{Peer, Tunnel, tunnels};
pub(super) use rules::is_sent_there as is_sent_to_wireguard;

/// An entry of one family's tunnel.
type Key = (Family, Entry);

/// An entry that a packet needs on its way.
#[derive(Debug, Clone)]
pub(super) struct NeededEntry {
    /// Its key.
    pub(super) subject: String,
    /// The table that it is in.
    pub(super) table: Table,
    /// Whether that table was read.
    pub(super) known: bool,
    /// What ought to be there.
    pub(super) expected: String,
    /// What is.
    pub(super) actual: String,
    /// What is wrong with it.
    pub(super) fault: Option<Finding>,
}

/// The audit of what is beneath the routes.
#[derive(Debug, Clone)]
pub struct TunnelAudit {
    options: RouteOptions,
    setting: Option<Setting>,
    /// Those whose entries are judged.
    tunnels: BTreeMap<Family, Tunnel>,
    /// The device of every tunnel that Felix has here, judged or not, and whether it needs forwarding entries.
    devices: BTreeMap<Family, (Name, bool)>,
    verdicts: BTreeMap<Key, Verdict>,
    counts: BTreeMap<(Family, Table), EntryCounts>,
    differing: Standing<Key>,
    rules: Vec<(TunnelKind, Option<Finding>)>,
    rules_standing: Standing<TunnelKind>,
    convergence: BTreeMap<Table, Histogram>,
    /// How many entries the last look judged.
    pub judged: usize,
}

impl TunnelAudit {
    /// An audit that has not looked yet.
    pub fn new(options: RouteOptions) -> TunnelAudit {
        TunnelAudit {
            options,
            setting: None,
            tunnels: BTreeMap::new(),
            devices: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            counts: BTreeMap::new(),
            differing: Standing::default(),
            rules: Vec::new(),
            rules_standing: Standing::default(),
            convergence: BTreeMap::new(),
            judged: 0,
        }
    }

    /// Looks again at what changed. Datastore, kernel and tunnels have to be in sync.
    pub fn refresh(&mut self, state: &State, changes: &Changes, now: Now) {
        let is_tunnel = |device: &Name| TunnelKind::of_device(device).is_some();
        let everything = changes.everything || changes.tables || changes.devices.iter().any(is_tunnel);
        let setting = match self.setting.take() {
            Some(setting) if !everything => setting,
            _ => {
                let setting = Setting::of(&state.datastore, &self.options.node).overridden(&self.options.tunnels.felix);
                self.derive(state, &setting);
                setting
            }
        };
        let first = self.verdicts.is_empty() && self.differing.iter().next().is_none();
        let dirty = if everything || first { self.all_keys(state) } else { self.touched_keys(changes) };
        self.judged = dirty.len();
        let certain = !state.datastore.has_unreadable(Kind::Node);
        for key in dirty {
            let (family, entry) = key;
            let verdict = self.tunnels.get(&family).map(|tunnel| judge(tunnel, &state.tunnels, entry, certain));
            self.replace(key, verdict, now);
        }
        if everything || changes.rules || first {
            self.look_at_rules(state, &setting, now);
        }
        self.setting = Some(setting);
    }

    fn derive(&mut self, state: &State, setting: &Setting) {
        let (datastore, kernel, me) = (&state.datastore, &state.kernel, &self.options.node);
        self.tunnels.clear();
        self.devices.clear();
        for family in Family::ALL {
            if setting.has_vxlan(family) && kernel.knows_links() {
                self.devices.insert(family, (peers::device(kernel, setting, family).into(), !setting.bpf));
            }
            if let Some(tunnel) = peers::tunnel(datastore, kernel, me, setting, family) {
                self.devices.insert(family, (tunnel.device.clone(), tunnel.has_fdb));
                self.tunnels.insert(family, tunnel);
            }
        }
    }

    /// All that is expected, all that is there, and all that was.
    fn all_keys(&self, state: &State) -> Vec<Key> {
        let mut keys: Vec<Key> = self.verdicts.keys().copied().collect();
        for (family, tunnel) in &self.tunnels {
            if state.tunnels.knows(Table::Neighbours) {
                let there = state.tunnels.neighbours_of(tunnel.index).map(|it| it.address);
                let there = there.filter(|address| Family::of(*address) == *family);
                keys.extend(tunnel.addresses().chain(there).map(|address| (*family, Entry::Neighbour(address))));
            }
            if tunnel.has_fdb && state.tunnels.knows(Table::Fdb) {
                let there = state.tunnels.fdb_of(tunnel.index).map(|it| it.mac);
                keys.extend(tunnel.macs().chain(there).map(|mac| (*family, Entry::Fdb(mac))));
            }
        }
        // Sorted lists one after the other: that is soon done.
        keys.sort();
        keys.dedup();
        keys
    }

    fn touched_keys(&self, changes: &Changes) -> Vec<Key> {
        let mut keys = Vec::new();
        for (family, tunnel) in &self.tunnels {
            let here = |(device, _): &&(u32, std::net::IpAddr)| *device == tunnel.index;
            let addresses = changes.neighbours.iter().filter(here).map(|(_, address)| *address);
            let addresses = addresses.filter(|address| Family::of(*address) == *family);
            keys.extend(addresses.map(|address| (*family, Entry::Neighbour(address))));
            if tunnel.has_fdb {
                let macs = changes.fdb.iter().filter(|(device, _)| *device == tunnel.index).map(|(_, mac)| *mac);
                keys.extend(macs.map(|mac| (*family, Entry::Fdb(mac))));
            }
        }
        keys
    }

    /// `verdict`: `None` where the tunnel is not judged any more.
    fn replace(&mut self, key: Key, verdict: Option<Verdict>, now: Now) {
        let (family, entry) = key;
        let judged = verdict.is_some();
        let verdict = verdict.unwrap_or_default();
        let old = self.verdicts.remove(&key).unwrap_or_default();
        let counts = self.counts.entry((family, entry.table())).or_default();
        counts.actual = counts.actual + u64::from(verdict.actual) - u64::from(old.actual);
        counts.expected = counts.expected + u64::from(verdict.expected) - u64::from(old.expected);
        if verdict.difference.is_some() {
            self.differing.stands(key, now);
        } else if let Some(age) = self.differing.falls(&key, now)
            && judged
        {
            self.convergence.entry(entry.table()).or_default().observe(age.as_secs_f64());
        }
        if verdict != Verdict::default() {
            self.verdicts.insert(key, verdict);
        }
    }

    fn look_at_rules(&mut self, state: &State, setting: &Setting, now: Now) {
        self.rules = rules::judge(&state.datastore, &state.kernel, &state.tunnels, &self.options.node, setting);
        let missing: BTreeSet<TunnelKind> =
            self.rules.iter().filter(|(_, finding)| finding.is_some()).map(|(kind, _)| *kind).collect();
        self.rules_standing.retain(|kind| missing.contains(kind));
        for kind in missing {
            self.rules_standing.stands(kind, now);
        }
    }

    fn grace(&self) -> Duration {
        self.options.grace.unwrap_or(Duration::ZERO)
    }

    fn differences(&self) -> impl Iterator<Item = (&Tunnel, Key, EntryReason)> + '_ {
        self.differing.iter().filter_map(|(key, _)| {
            let reason = self.verdicts.get(key)?.difference?;
            Some((self.tunnels.get(&key.0)?, *key, reason))
        })
    }

    fn is_fault(&self, key: &Key, now: Now) -> bool {
        self.differing.is_due(key, self.grace(), now)
    }

    /// From a dump nothing is known of when it began.
    fn since(&self, since: Option<Now>) -> Option<std::time::SystemTime> {
        self.options.grace.and(since).map(|since| since.wall)
    }

    /// What is wrong by now.
    pub fn findings(&self, state: &State, now: Now) -> Vec<Finding> {
        let faults = self.differences().filter(|(_, key, _)| self.is_fault(key, now));
        let mut findings: Vec<Finding> =
            faults.map(|(tunnel, key, reason)| self.finding(state, tunnel, key, reason)).collect();
        for (kind, finding) in &self.rules {
            if let Some(finding) = finding
                && self.rules_standing.is_due(kind, self.grace(), now)
            {
                let since = self.since(self.rules_standing.since(kind));
                findings.push(Finding { since, ..finding.clone() });
            }
        }
        findings
    }

    fn finding(&self, state: &State, tunnel: &Tunnel, key: Key, reason: EntryReason) -> Finding {
        let (_, entry) = key;
        let fault = Fault::Entry(tunnel.device.clone(), entry.table(), reason);
        let owner = judge::owners(tunnel, entry).first().map(|peer| peer.node.clone());
        let used = judge::is_used(tunnel, &state.kernel, entry);
        let mut finding = Finding::new(fault, entry.subject())
            .host(Some(owner.unwrap_or_else(|| self.options.node.clone())))
            .detail(words::detail(tunnel, entry, reason, used))
            .expected(words::expected(tunnel, entry), words::actual(tunnel, &state.tunnels, entry))
            .action(words::action(entry, reason));
        finding.since = self.since(self.differing.since(&key));
        finding
    }

    /// The entries that a packet through the tunnel of a family to this tunnel address needs; `None` where the tunnel is
    /// not judged.
    pub(super) fn way_to(&self, state: &State, family: Family, address: IpAddr) -> Option<Vec<NeededEntry>> {
        let tunnel = self.tunnels.get(&family)?;
        let certain = !state.datastore.has_unreadable(Kind::Node);
        let macs: BTreeSet<Mac> = tunnel.at(address).map(|peer| peer.mac).filter(|_| tunnel.has_fdb).collect();
        let entries = std::iter::once(Entry::Neighbour(address)).chain(macs.into_iter().map(Entry::Fdb));
        let needed = entries.map(|entry| {
            let known = state.tunnels.knows(entry.table());
            let difference = judge(tunnel, &state.tunnels, entry, certain).difference.filter(|_| known);
            NeededEntry {
                subject: entry.subject(),
                table: entry.table(),
                known,
                expected: words::expected(tunnel, entry),
                actual: words::actual(tunnel, &state.tunnels, entry),
                fault: difference.map(|reason| self.finding(state, tunnel, (family, entry), reason)),
            }
        });
        Some(needed.collect())
    }

    /// Figures: of every tunnel that Felix has here, and of tables that are known.
    pub fn report(&self, state: &State, now: Now) -> TunnelsReport {
        let mut entries = BTreeMap::new();
        let mut add = |device: &Name, table, counts: EntryCounts| {
            let sum: &mut EntryCounts = entries.entry((device.clone(), table)).or_default();
            sum.actual += counts.actual;
            sum.expected += counts.expected;
            sum.pending += counts.pending;
            sum.faults_in_use += counts.faults_in_use;
        };
        for (family, (device, has_fdb)) in &self.devices {
            for table in Table::ALL {
                if state.tunnels.knows(table) && (table == Table::Neighbours || *has_fdb) {
                    add(device, table, self.counts.get(&(*family, table)).copied().unwrap_or_default());
                }
            }
        }
        for (tunnel, key, reason) in self.differences() {
            let fault = self.is_fault(&key, now);
            let in_use = fault && reason.loses_traffic() && judge::is_used(tunnel, &state.kernel, key.1);
            let counts =
                EntryCounts { pending: u64::from(!fault), faults_in_use: u64::from(in_use), ..Default::default() };
            add(&tunnel.device, key.1.table(), counts);
        }
        let rules = self.rules.iter().map(|(kind, _)| *kind).collect();
        // From the start, or a rate would not see the first observation.
        let mut convergence = self.convergence.clone();
        for (_, table) in entries.keys() {
            convergence.entry(*table).or_default();
        }
        TunnelsReport { entries, convergence, rules }
    }

    /// When the next young difference becomes a fault (monotonic).
    pub fn next_due(&self, now: Now) -> Option<Duration> {
        let entries = self.differing.iter().map(|(_, since)| since.monotonic);
        let rules = self.rules_standing.iter().map(|(_, since)| since.monotonic);
        entries.chain(rules).map(|since| since + self.grace()).filter(|due| *due > now.monotonic).min()
    }
}
