//! All audits together, and when each may run: a rule runs only while every source that it reads is in sync; else the
//! last report stands.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::cannot_tell::CannotTell;
use super::causes::{self, Cause, Evidence};
use super::doubts::Urgency;
use super::explain::{Explanation, Known, Subject, explain};
use super::fault::{Fault, TunnelReason};
use super::finding::Finding;
use super::grace::Standing;
use super::ipam::{IpamAudit, IpamOptions, undecodable};
use super::note::Note;
use super::now::Now;
use super::place::Place;
use super::report::Report;
use super::routes::{RouteAudit, RouteOptions};
use super::rows::RoutePage;
use super::strangers;
use super::sweep::{Persistence, Sweep, Swept};
use super::tunnel_entries::TunnelAudit;
use super::{node_addresses, tunnel_addresses, unreadable, wireguard};
use crate::model::{EndpointId, Name, Node, Selector};
use crate::state::{Changes, Datastore, Lookup, ObjectId, Side, State, SyncState, Unreadable, UnreadableValue};

/// What runs, and how patiently.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    /// The cluster's IPAM.
    pub ipam: Option<IpamOptions>,
    /// This host's routes.
    pub routes: Option<RouteOptions>,
    /// Leaks and handles, with IPAM.
    pub leaks: bool,
    /// How long a leak stands before it is a finding: CNI allocates before it writes the endpoint.
    pub leak_grace: Duration,
}

/// How much one look judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// CIDRs of blocks and keys.
    pub ipam: usize,
    /// Destinations of routes.
    pub routes: usize,
    /// Entries of the tunnels' tables.
    pub tunnels: usize,
    /// Endpoints that were gone through.
    pub endpoints: usize,
}

/// The audits and what they know.
#[derive(Debug)]
pub struct Auditor {
    options: AuditOptions,
    /// The datastore was read from files, which may hold a part of it.
    dumped: bool,
    ipam: Option<IpamAudit>,
    routes: Option<RouteAudit>,
    beneath: Option<TunnelAudit>,
    /// Each has looked at least once.
    ipam_looked: bool,
    routes_looked: bool,
    beneath_looked: bool,
    /// What the routes' audit has not seen while the kernel was not in sync.
    owed: Changes,
    /// The same of what is beneath.
    owed_beneath: Changes,
    leaks: Vec<Finding>,
    leaks_judged: bool,
    /// Where endpoints are listed: something changed since everything was gone through.
    unswept: bool,
    /// How many endpoints the last look swept.
    swept: usize,
    /// Handles and endpoints that the last sweep could not read.
    swept_unreadable: BTreeMap<ObjectId, UnreadableValue>,
    persistence: Persistence,
    /// Calico's IPAM was in use at the last look.
    ipam_calicos: bool,
    /// The last sweep saw a handle.
    swept_handles: bool,
    /// Which endpoints use a Node's tunnel address, as the last sweep saw it.
    tunnel_users: BTreeMap<IpAddr, EndpointId>,
    /// Nodes' own addresses and their tunnels'.
    node_addresses: BTreeSet<IpAddr>,
    /// What is wrong with them in the cluster's IPAM.
    addresses: Vec<Finding>,
    addresses_standing: Standing<(Fault, String)>,
    notes: Vec<Note>,
}

fn address_key(finding: &Finding) -> (Fault, String) {
    (finding.fault.clone(), finding.subject.clone())
}

impl Auditor {
    /// Audits that have not looked yet.
    pub fn new(options: AuditOptions) -> Auditor {
        Auditor {
            ipam: options.ipam.map(IpamAudit::new),
            routes: options.routes.clone().map(RouteAudit::new),
            beneath: options.routes.clone().filter(|routes| routes.tunnels.entries).map(TunnelAudit::new),
            options,
            dumped: false,
            ipam_looked: false,
            routes_looked: false,
            beneath_looked: false,
            owed: Changes::default(),
            owed_beneath: Changes::default(),
            leaks: Vec::new(),
            leaks_judged: false,
            unswept: false,
            swept: 0,
            swept_unreadable: BTreeMap::new(),
            persistence: Persistence::default(),
            ipam_calicos: false,
            swept_handles: false,
            tunnel_users: BTreeMap::new(),
            node_addresses: BTreeSet::new(),
            addresses: Vec::new(),
            addresses_standing: Standing::default(),
            notes: Vec::new(),
        }
    }

    /// The same audits of a datastore that was read from files, which may hold a part of it (J40).
    #[must_use]
    pub fn of_dump(mut self, dumped: bool) -> Auditor {
        self.dumped = dumped;
        self
    }

    /// Why nothing can be said, if so, once the datastore has been read.
    pub fn cannot_tell(&self, state: &State) -> Option<CannotTell> {
        if *state.sync(Side::Datastore) == SyncState::Waiting {
            return None;
        }
        CannotTell::of_datastore(&state.datastore, self.dumped).or_else(|| {
            let routes = self.routes.as_ref().filter(|routes| routes.is_unknown_host())?;
            Some(CannotTell::unknown_host(&state.datastore, &routes.options.node))
        })
    }

    /// Looks at what changed, as far as the sources are in sync. Returns whether anything could be judged.
    pub fn look(&mut self, state: &mut State, now: Now) -> bool {
        if !state.in_sync(Side::Datastore) || CannotTell::of_datastore(&state.datastore, self.dumped).is_some() {
            return false;
        }
        let mut judged = false;
        let mut changes = state.take_changes();
        let beneath = changes.take_beneath();
        if self.ipam.is_some() {
            self.look_at_ipam(&state.datastore, &changes, now);
            judged = true;
        }
        self.owed.merge(changes);
        if let Some(routes) = &mut self.routes
            && state.in_sync(Side::Kernel)
        {
            routes.refresh(state, &std::mem::take(&mut self.owed), now);
            self.routes_looked = true;
            judged = true;
        }
        if let Some(audit) = &mut self.beneath {
            self.owed_beneath.merge(beneath);
            if state.in_sync(Side::Kernel) && state.in_sync(Side::Tunnels) {
                audit.refresh(state, &std::mem::take(&mut self.owed_beneath), now);
                self.beneath_looked = true;
                judged = true;
            }
        }
        judged
    }

    fn look_at_ipam(&mut self, datastore: &Datastore, changes: &Changes, now: Now) {
        let first = !self.ipam_looked;
        self.ipam_looked = true;
        if let Some(ipam) = &mut self.ipam {
            ipam.refresh(datastore, changes, now, &|text| {
                let selector = Selector::parse(text).ok()?;
                Some(Box::new(move |node: &Node| selector.matches(&node.labels)))
            });
        }
        if first || changes.everything {
            let tunnels = datastore.nodes().values().flat_map(|node| node.tunnels.values()).copied();
            self.node_addresses = tunnels.chain(node_addresses::all(datastore)).collect();
        }
        let concerns = |cidr: &IpNet| {
            self.node_addresses.range(cidr.network()..).next().is_some_and(|address| cidr.contains(address))
        };
        // An endpoint that takes or leaves a tunnel's address says as much as the block does (J13).
        let used = changes.addresses.iter().any(|address| self.node_addresses.contains(address));
        let ipam_calicos = self.is_ipam_calicos(datastore);
        let begins = std::mem::replace(&mut self.ipam_calicos, ipam_calicos) != ipam_calicos;
        if first || begins || changes.everything || used || changes.cidrs.iter().any(concerns) {
            self.look_at_node_addresses(datastore, now);
        }
        let moved = first || changes.everything || changes.handles;
        self.unswept |= moved || !changes.cidrs.is_empty() || !changes.addresses.is_empty();
        self.swept = 0;
        // Everything is gone through: once for each list that is complete, as a sweep does, and not for single events.
        let complete = first || changes.listed;
        if self.options.leaks && datastore.knows_endpoints() && complete && std::mem::take(&mut self.unswept) {
            self.swept = datastore.endpoints().len();
            let mut sweep = Sweep::begin(datastore);
            for endpoint in datastore.endpoints().values() {
                sweep.endpoint(datastore, endpoint);
            }
            for handle in datastore.handles().values() {
                sweep.handle(datastore, handle);
            }
            for id in datastore.unreadable().keys() {
                sweep.unreadable(id);
            }
            self.settle_sweep(datastore, sweep.finish(datastore), now);
        }
    }

    fn look_at_node_addresses(&mut self, datastore: &Datastore, now: Now) {
        self.addresses = if datastore.knows_endpoints() {
            tunnel_addresses::judge(datastore)
        } else {
            tunnel_addresses::judge_with(datastore, |address| self.tunnel_users.get(&address))
        };
        if !self.is_ipam_calicos(datastore) {
            self.addresses.retain(|finding| !matches!(finding.fault, Fault::Tunnel(_, TunnelReason::NotAllocated)));
        }
        self.addresses.extend(node_addresses::judge(datastore));
        self.addresses.extend(wireguard::duplicate_keys(datastore));
        self.notes = node_addresses::notes(datastore);
        let keys: BTreeSet<_> = self.addresses.iter().map(address_key).collect();
        self.addresses_standing.retain(|key| keys.contains(key));
        for key in keys {
            self.addresses_standing.stands(key, now);
        }
    }

    /// Takes in what a sweep found that saw everything. One that broke off is simply begun anew.
    pub fn take_sweep(&mut self, state: &State, swept: Swept, now: Now) {
        if state.in_sync(Side::Datastore) && self.ipam_looked {
            self.settle_sweep(&state.datastore, swept, now);
            self.look_at_node_addresses(&state.datastore, now);
        }
    }

    /// Whether the last sweep already saw that this value cannot be read, for this reason.
    pub fn swept_unreadable(&self, id: &ObjectId, why: &Unreadable) -> bool {
        self.swept_unreadable.get(id).is_some_and(|value| value.why == *why)
    }

    fn settle_sweep(&mut self, datastore: &Datastore, swept: Swept, now: Now) {
        self.leaks_judged = true;
        let Swept { mut candidates, tunnel_users, unreadable, has_handles } = swept;
        self.swept_unreadable = unreadable;
        self.tunnel_users = tunnel_users;
        self.swept_handles = has_handles;
        if !self.is_ipam_calicos(datastore) {
            candidates.clear();
        }
        // A dump does not move: everything in it is judged at once (J6).
        let live = self.options.ipam.as_ref().is_some_and(|it| it.live);
        self.leaks = if live {
            self.persistence.settle(candidates, now.monotonic, now.wall, self.options.leak_grace)
        } else {
            candidates.into_iter().map(|candidate| candidate.finding).collect()
        };
    }

    /// Whether Calico's IPAM is in use, as far as is known: else addresses are somebody else's to give out (J38).
    fn is_ipam_calicos(&self, datastore: &Datastore) -> bool {
        datastore.has_ipam() || self.swept_handles
    }

    /// What stands now.
    pub fn report(&self, state: &State, now: Now) -> Report {
        let mut findings = Vec::new();
        let ipam = self.ipam.as_ref().filter(|_| self.ipam_looked);
        if let Some(ipam) = ipam {
            findings.extend(ipam.findings());
            findings.extend(self.leaks.iter().cloned());
            // Nobody watches these; one that was looked up is known already (J1).
            let swept = self.swept_unreadable.iter().filter(|(id, _)| !state.datastore.unreadable().contains_key(id));
            findings.extend(swept.map(|(id, value)| undecodable(id, value)));
            findings.extend(self.due_addresses(now));
        }
        let routes = self.routes.as_ref().filter(|_| self.routes_looked);
        if let Some(routes) = routes {
            findings.extend(routes.findings(now));
        }
        let beneath = self.beneath.as_ref().filter(|_| self.beneath_looked);
        if let Some(beneath) = beneath {
            findings.extend(beneath.findings(state, now));
        }
        if ipam.is_none() && state.in_sync(Side::Datastore) {
            let unreadable = unreadable(&state.datastore);
            findings.extend(unreadable.filter(|finding| matches!(finding.fault, Fault::Undecodable(_))));
        }
        for finding in findings.iter_mut().filter(|finding| matches!(finding.fault, Fault::Route(..))) {
            strangers::name(finding, &state.history);
        }
        let place = Place::of(&state.datastore);
        findings.iter_mut().for_each(|finding| place.localize(finding, self.node()));
        findings.sort();
        Report {
            ipam: ipam.map(IpamAudit::report),
            routes: routes.map(|routes| routes.report(state, now)),
            tunnels: beneath.map(|beneath| beneath.report(state, now)),
            leaks: self.leaks_judged,
            causes: self.causes(state, &findings),
            findings,
            notes: Note::of_ipam(&state.datastore).into_iter().chain(self.notes.iter().cloned()).collect(),
        }
    }

    /// What these findings have in common; positions in them name them. `findings`: those of a report, or some of them.
    pub fn causes(&self, state: &State, findings: &[Finding]) -> Vec<Cause> {
        let routes = self.routes.as_ref().filter(|_| self.routes_looked).map(RouteAudit::facts);
        causes::find(findings, &Evidence { state, node: self.node(), routes })
    }

    fn address_grace(&self) -> Duration {
        self.options.ipam.as_ref().filter(|it| it.live).map_or(Duration::ZERO, |it| it.affinity_grace)
    }

    fn due_addresses(&self, now: Now) -> impl Iterator<Item = Finding> + '_ {
        let grace = self.address_grace();
        let due = move |finding: &&Finding| self.addresses_standing.is_due(&address_key(finding), grace, now);
        self.addresses.iter().filter(due).cloned().map(move |mut finding| {
            if !grace.is_zero() {
                finding.since = self.addresses_standing.since(&address_key(&finding)).map(|since| since.wall);
            }
            finding
        })
    }

    /// The monotonic moment at which something becomes a finding by standing alone.
    pub fn next_due(&self, now: Now) -> Option<Duration> {
        let grace = self.address_grace();
        let tunnels = self.addresses_standing.iter().map(|(_, since)| since.monotonic + grace);
        self.ipam
            .iter()
            .filter_map(IpamAudit::next_due)
            .chain(self.routes.iter().filter_map(|routes| routes.next_due(now)))
            .chain(self.beneath.iter().filter_map(|beneath| beneath.next_due(now)))
            .chain(tunnels)
            .filter(|due| *due > now.monotonic)
            .min()
    }

    /// How much the last look judged: what an event costs is counted, and a test sees to it that it stays small.
    pub fn judged(&self) -> Judged {
        Judged {
            ipam: self.ipam.as_ref().map_or(0, |ipam| ipam.judged),
            routes: self.routes.as_ref().map_or(0, |routes| routes.judged),
            tunnels: self.beneath.as_ref().map_or(0, |beneath| beneath.judged),
            endpoints: self.swept + self.routes.as_ref().map_or(0, |routes| routes.examined.get()),
        }
    }

    /// Blocks of other hosts to read, where they are not followed, with how much each matters.
    pub fn questions(&self) -> BTreeMap<IpNet, Urgency> {
        self.routes.as_ref().map(RouteAudit::questions).unwrap_or_default()
    }

    /// Everything that the picture leaves open and a source can answer, were it asked now.
    pub fn wanted(&self, state: &State) -> Vec<Lookup> {
        if state.datastore.knows_endpoints() {
            return Vec::new();
        }
        let held = |cidr: &IpNet| state.datastore.read(cidr).is_some();
        let blocks = self.questions().into_keys().map(|cidr| Lookup::Block { cidr, held: held(&cidr) });
        blocks.chain(self.lookups().cloned().map(Lookup::Endpoint)).collect()
    }

    /// Endpoints that decide whether a route that is not there has to be.
    pub fn lookups(&self) -> impl Iterator<Item = &EndpointId> + '_ {
        self.routes.iter().flat_map(RouteAudit::lookups)
    }

    /// This host's routes as a person looks at them; `None` where they are not judged, or not yet.
    pub fn routes(&self, state: &State, now: Now, from: usize, limit: usize) -> Option<RoutePage> {
        let routes = self.routes.as_ref().filter(|_| self.routes_looked)?;
        Some(routes.rows(state, now, from, limit))
    }

    /// Why a subject can be reached from here, or why not; `findings`: what stands, as in the last report.
    pub fn explain(&self, state: &State, findings: &[Finding], subject: &Subject) -> Explanation {
        let routes = self.routes.as_ref().filter(|_| self.routes_looked);
        let beneath = self.beneath.as_ref().filter(|_| self.beneath_looked);
        explain(&Known { state, findings, routes, beneath }, subject)
    }

    /// Whose routes are judged, if any are.
    pub fn node(&self) -> Option<&Name> {
        self.options.routes.as_ref().map(|routes| &routes.node)
    }
}
