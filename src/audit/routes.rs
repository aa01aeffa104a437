//! This host's routes, kept judged: one verdict a destination, and the sums over them. An event costs the
//! destinations that it touches.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::bird_routes::BirdRoutes;
use super::causes::RouteFacts;
use super::derived::{Derived, OwnNode};
use super::diverted::{Sender, Walks};
use super::doubts::{Doubts, Urgency};
use super::expect::Context;
use super::fault::{Fault, RouteReason};
use super::finding::Finding;
use super::grace::Standing;
use super::judge::{Difference, Verdict};
use super::named::NamedHosts;
use super::now::Now;
use super::report::{Histogram, RouteClass, RoutesReport};
use super::setting::{Backend, FelixOverrides, Programmer};
use super::totals::Totals;
use super::tunnels::Owners;
use super::underlay::{Underlay, Way};
use super::wireguard::Wireguard;
use super::{node_addresses, tunnels, words};
use crate::model::{EndpointId, Family, IpPool, Link, Name, Shared, TABLE_MAIN, host_net};
use crate::state::{Changes, Datastore, Program, State};

/// J29: while BIRD has written nothing here, it may be waiting for a peer: 240 s and its start.
pub(super) const BIRD_START: Duration = Duration::from_secs(270);

/// How this host's routes are judged.
#[derive(Debug, Clone)]
pub struct RouteOptions {
    /// This host's Calico node name.
    pub node: Name,
    /// Whether BIRD is meant to run here.
    pub backend: Backend,
    /// How long a difference stands before it is a fault; `None` for dumps, where it is one at once.
    pub grace: Option<Duration>,
    /// What is beneath the routes.
    pub tunnels: TunnelOptions,
}

/// How what is beneath the routes is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TunnelOptions {
    /// Whether neighbours, forwarding entries and policy rules are.
    pub entries: bool,
    /// What Felix's environment says on this host.
    pub felix: FelixOverrides,
}

/// The audit of this host's routes.
#[derive(Debug, Clone)]
pub struct RouteAudit {
    pub(super) options: RouteOptions,
    pub(super) derived: Option<Derived>,
    pub(super) verdicts: BTreeMap<IpNet, Arc<Verdict>>,
    /// Those that any number of destinations share, each once: nearly every route is as it ought to be.
    shared: Shared<Verdict>,
    totals: Totals,
    pub(super) differing: Standing<IpNet>,
    /// Faults of devices, of this host's Node and of ownership.
    host_findings: Vec<Finding>,
    host_standing: Standing<(Fault, String)>,
    /// The ways to the other Nodes.
    underlay: Underlay,
    bird: BirdRoutes,
    lookups: BTreeMap<IpNet, EndpointId>,
    doubts: Doubts,
    convergence: BTreeMap<RouteClass, Histogram>,
    changes: BTreeMap<(RouteClass, Program), (u64, u64)>,
    named: NamedHosts,
    /// How many destinations the last look judged.
    pub judged: usize,
    /// How many endpoints it went through to find them.
    pub(super) examined: Cell<usize>,
}

/// Classes that a difference can be of: a foreign route is one of the class of its form (J17).
fn fault_classes() -> impl Iterator<Item = RouteClass> {
    RouteClass::ALL.into_iter().filter(|class| RouteReason::of_class(*class).next().is_some())
}

impl RouteAudit {
    /// An audit that has not looked yet.
    pub fn new(options: RouteOptions) -> RouteAudit {
        RouteAudit {
            options,
            derived: None,
            verdicts: BTreeMap::new(),
            shared: Shared::default(),
            totals: Totals::default(),
            differing: Standing::default(),
            host_findings: Vec::new(),
            host_standing: Standing::default(),
            underlay: Underlay::default(),
            bird: BirdRoutes::default(),
            lookups: BTreeMap::new(),
            doubts: Doubts::default(),
            // From the start, or a rate would not see the first observation.
            convergence: fault_classes().map(|class| (class, Histogram::default())).collect(),
            changes: BTreeMap::new(),
            named: NamedHosts::default(),
            judged: 0,
            examined: Cell::new(0),
        }
    }

    /// Looks again at what changed. Both sides have to be in sync.
    pub fn refresh(&mut self, state: &State, changes: &Changes, now: Now) {
        let first = self.derived.is_none();
        let mut everything = first || changes.everything;
        let mut derived = match self.derived.take() {
            Some(derived) if !everything => derived,
            _ => Derived::of(state, &self.options.node, self.options.backend, &self.options.tunnels.felix),
        };
        let is_workload = |device: &Name| derived.setting.is_workload_device(device);
        // A rule decides about every destination.
        everything |= changes.rules || changes.devices.iter().any(|device| !is_workload(device));
        derived.own_node = OwnNode::of(state, &derived.setting, &self.options.node);
        let me = state.datastore.node(&self.options.node);
        let parents = Family::ALL.map(|family| {
            let (link, _) = state.kernel.interface_of(me?.routing_address(family)?)?;
            Some(link.name.clone())
        });
        everything |= parents != derived.parents;
        derived.parents = parents;
        let holds_node =
            |cidr: &IpNet| derived.node_addresses.range(cidr.network()..).next().is_some_and(|it| cidr.contains(it));
        // By the way to a Node it is judged which gateways lead there.
        everything |= changes.destinations.iter().any(holds_node);
        if everything || changes.cidrs.iter().any(holds_node) {
            let questioned = node_addresses::questioned(&state.datastore);
            everything |= questioned != derived.questioned;
            derived.questioned = questioned;
        }
        if everything {
            self.shared.prune();
            derived.node_addresses = node_addresses::all(&state.datastore);
            derived.wireguard = Wireguard::of(state, &self.options.node, &derived.setting);
            derived.no_session = Family::ALL.map(|family| derived.sessions.has_none(&self.options.node, family));
        }

        // Live, every table is followed.
        derived.has_tables |=
            everything && (self.options.grace.is_some() || state.kernel.routes().any(|it| it.table != TABLE_MAIN));

        let aggregates = self.bird.note(state, changes, everything);
        let bird_meant = self.is_bird_meant(state);
        everything |= bird_meant != derived.bird_meant;
        derived.bird_meant = bird_meant;
        let setting = (&derived.setting, &self.options.node);
        everything |= derived.walks.update(state, setting, changes, everything);

        let (me, examined) = (self.options.node.clone(), Cell::new(0));
        let context = derived.context(state, &me, &examined);
        if !first && !state.datastore.follows_blocks() {
            changes.destinations.iter().for_each(|it| self.doubts.note_change(*it, now.monotonic));
        }
        let dirty = if everything {
            self.all_destinations(&context)
        } else {
            self.touched_destinations(&context, &derived.walks, changes, &aggregates)
        };
        self.judged = dirty.len();
        for destination in dirty {
            let verdict = derived.judge(&context, &destination, self.doubts.changed(&destination));
            let program = changes.programs.get(&destination).copied();
            self.replace(destination, verdict, now, !first, program);
        }
        self.examined = examined;
        self.look_at_underlay(state, changes, everything, &derived, now);
        if everything || !changes.is_empty() {
            self.look_at_host(state, &derived, now);
        }
        self.derived = Some(derived);
        let mut faults: BTreeMap<Name, u64> = BTreeMap::new();
        for (_, difference) in self.differences().filter(|(net, difference)| self.is_fault(net, difference, now)) {
            *faults.entry(difference.host.clone()).or_default() += 1;
        }
        self.named.update(&faults);
    }

    /// Whether nothing belongs to a host of this name, as of the last look.
    pub(super) fn is_unknown_host(&self) -> bool {
        self.derived.as_ref().is_some_and(|derived| derived.own_node == OwnNode::Unknown)
    }

    /// J24.
    fn is_bird_meant(&self, state: &State) -> bool {
        match self.options.backend {
            Backend::Bird => true,
            Backend::Vxlan | Backend::None => false,
            Backend::Auto => {
                Family::ALL.into_iter().any(|family| self.bird.writes(family))
                    || state.datastore.cluster().is_some_and(|cluster| cluster.has_type("bgp"))
            }
        }
    }

    fn all_destinations(&self, context: &Context<'_>) -> Vec<IpNet> {
        let mut all: Vec<IpNet> = self.verdicts.keys().copied().collect();
        all.extend(context.kernel.main_routes().map(|route| route.destination));
        all.extend(context.all_candidates());
        // Sorted lists one after the other: that is soon done.
        all.sort();
        all.dedup();
        all
    }

    fn touched_destinations(
        &self,
        context: &Context<'_>,
        walks: &Walks,
        changes: &Changes,
        aggregates: &[IpNet],
    ) -> Vec<IpNet> {
        let mut touched: BTreeSet<IpNet> = changes.destinations.clone();
        touched.extend(changes.addresses.iter().map(|address| host_net(*address)));
        // A route of a table before main decides about all that lies in its destination.
        let encrypted = changes.destinations.iter().filter(|it| context.wireguard.is_in_play(Family::of_net(it)));
        touched.extend(encrypted.flat_map(|net| self.judged_within(net)));
        for net in changes.cidrs.iter().chain(aggregates) {
            touched.insert(*net);
            touched.extend(self.judged_within(net));
            touched.extend(context.kernel.main_routes_within(net).map(|route| route.destination));
            touched.extend(context.candidates(net));
        }
        for device in &changes.devices {
            touched.extend(context.addresses_behind(device));
        }
        for (_, net) in changes.other_tables.iter().filter(|(table, net)| walks.asks(*table, net)) {
            touched.extend(self.judged_within(net));
            touched.extend(self.judged_around(net));
        }
        for net in &changes.destinations {
            touched.extend(self.judged_around(net).filter(|it| context.is_open_to_others(it)));
        }
        touched.into_iter().collect()
    }

    /// Judged destinations inside the prefix.
    fn judged_within(&self, net: &IpNet) -> impl Iterator<Item = IpNet> {
        let net = *net;
        self.verdicts.range(net..).take_while(move |(it, _)| net.contains(&it.addr())).map(|(it, _)| *it)
    }

    /// Judged destinations that are wider than the prefix and contain it.
    fn judged_around(&self, net: &IpNet) -> impl Iterator<Item = IpNet> {
        let net = *net;
        let wider = move |length| IpNet::new(net.addr(), length).ok().map(|it| it.trunc());
        (0..net.prefix_len()).filter_map(wider).filter(|it| self.verdicts.contains_key(it))
    }

    fn replace(&mut self, destination: IpNet, verdict: Verdict, now: Now, counts: bool, program: Option<Program>) {
        let old = self.verdicts.get(&destination).cloned();
        let same = old.as_deref() == Some(&verdict);
        if !same {
            if let Some(old) = &old {
                self.totals.apply(old, false);
            }
            self.totals.apply(&verdict, true);
        }
        // What nobody was heard to change, the kernel changed: it drops routes with their device without a word.
        let program = program.unwrap_or(Program::Kernel);
        let before = old.as_ref().and_then(|old| old.actual);
        match (before, verdict.actual) {
            (None, Some((class, _))) if counts => self.changes.entry((class, program)).or_default().0 += 1,
            (Some((class, _)), None) if counts => self.changes.entry((class, program)).or_default().1 += 1,
            _ => {}
        }
        if verdict.difference.is_some() {
            self.differing.stands(destination, now);
        } else if let Some(age) = self.differing.falls(&destination, now)
            && let Some(class) = old.as_ref().and_then(|old| old.difference.as_ref()).map(|it| it.class)
        {
            self.convergence.entry(class).or_default().observe(age.as_secs_f64());
        }
        self.doubts.note(&destination, &verdict);
        match &verdict.lookup {
            Some(id) => drop(self.lookups.insert(destination, (**id).clone())),
            None => drop(self.lookups.remove(&destination)),
        }
        if verdict == Verdict::default() {
            self.verdicts.remove(&destination);
        } else if !same {
            let verdict = if verdict.is_common() { self.shared.share(verdict) } else { Arc::new(verdict) };
            self.verdicts.insert(destination, verdict);
        }
    }

    fn look_at_underlay(&mut self, state: &State, changes: &Changes, everything: bool, derived: &Derived, now: Now) {
        if derived.own_node != OwnNode::There {
            self.underlay.clear();
            return;
        }
        let questioned = |name: &Name, family| derived.is_questioned(name, family);
        let live = self.options.grace.is_some();
        let asked = derived.asked(state, &self.options.node, live);
        self.underlay.refresh(&asked, changes, everything, questioned, now);
    }

    fn look_at_host(&mut self, state: &State, derived: &Derived, now: Now) {
        let me = &self.options.node;
        let mut findings = Vec::new();
        if derived.own_node == OwnNode::There {
            let needed = self.totals.devices.keys().cloned().collect();
            findings.extend(tunnels::devices(&state.datastore, &state.kernel, me, &derived.setting, &needed));
            findings.retain(|finding| !derived.follows_from_address(finding, me));
            findings.extend(tunnels::node(&state.datastore, &state.kernel, me));
            findings.extend(self.owner_faults(&state.datastore, derived));
        } else {
            findings.push(tunnels::node_missing(&state.datastore, me));
        }
        let keys: BTreeSet<_> = findings.iter().map(host_key).collect();
        self.host_standing.retain(|key| keys.contains(key));
        for key in keys {
            self.host_standing.stands(key, now);
        }
        self.host_findings = findings;
    }

    /// J27, J37.
    fn owner_faults(&self, datastore: &Datastore, derived: &Derived) -> Vec<Finding> {
        let owners = Owners {
            setting: &derived.setting,
            no_session: if derived.bird_meant { derived.no_session } else { [false; 2] },
        };
        tunnels::owner_faults(datastore, &self.options.node, &owners)
    }

    /// The same, for a chain that wants them however young.
    pub(super) fn current_owner_faults(&self, datastore: &Datastore) -> Vec<Finding> {
        self.derived.as_ref().map(|derived| self.owner_faults(datastore, derived)).unwrap_or_default()
    }

    /// What is wrong with a destination now, however young; nothing before the first look.
    pub(super) fn difference(&self, context: &Context<'_>, destination: &IpNet) -> Option<Box<Difference>> {
        let difference = self.derived.as_ref()?.judge(context, destination, None).difference;
        difference.filter(|it| !self.underlay.stands_for(&it.host, Family::of_net(destination)))
    }

    /// J29.
    fn grace(&self, destination: &IpNet, difference: &Difference) -> Duration {
        let Some(grace) = self.options.grace else { return Duration::ZERO };
        let silent = !self.bird.writes(Family::of_net(destination));
        if difference.programmer == Some(Programmer::Bird) && silent { grace.max(BIRD_START) } else { grace }
    }

    pub(super) fn differences(&self) -> impl Iterator<Item = (&IpNet, &Difference)> + '_ {
        let differing = self.differing.iter();
        let differences = differing.filter_map(|(net, _)| Some((net, self.verdicts.get(net)?.difference.as_deref()?)));
        differences.filter(|(net, difference)| !self.underlay.stands_for(&difference.host, Family::of_net(net)))
    }

    pub(super) fn is_fault(&self, destination: &IpNet, difference: &Difference, now: Now) -> bool {
        let doubt = self.verdicts.get(destination).and_then(|verdict| verdict.doubt.as_ref());
        let unconfirmed = doubt.is_some_and(|doubt| doubt.is_unconfirmed()) && !self.doubts.believes_keys();
        !unconfirmed && self.differing.is_due(destination, self.grace(destination, difference), now)
    }

    /// What is wrong by now.
    pub fn findings(&self, now: Now) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self
            .differences()
            .filter(|(net, difference)| self.is_fault(net, difference, now))
            .map(|(net, difference)| self.finding(net, difference))
            .collect();
        let grace = self.options.grace.unwrap_or(Duration::ZERO);
        let host = self.host_findings.iter().filter(|it| self.host_standing.is_due(&host_key(it), grace, now));
        findings.extend(host.cloned().map(|mut finding| {
            finding.since = self.since(self.host_standing.since(&host_key(&finding)));
            finding
        }));
        findings.extend(self.underlay.due(grace, now).map(|(finding, since)| {
            let mut finding = finding.clone();
            finding.since = self.since(Some(since));
            finding
        }));
        findings
    }

    /// From a dump nothing is known of when it began.
    pub(super) fn since(&self, since: Option<Now>) -> Option<std::time::SystemTime> {
        self.options.grace.and(since).map(|since| since.wall)
    }

    /// What expectations are computed from, as of the last look; nothing before the first.
    pub(super) fn context<'a>(&'a self, state: &'a State) -> Option<Context<'a>> {
        Some(self.derived.as_ref()?.context(state, &self.options.node, &self.examined))
    }

    /// Those who send, as far as policy rules tell them apart; the host first.
    pub(super) fn senders(&self, family: Family) -> &[Sender] {
        self.derived.as_ref().map(|derived| derived.walks.senders(family)).unwrap_or_default()
    }

    /// The facts that causes are derived from.
    pub(super) fn facts(&self) -> RouteFacts<'_> {
        RouteFacts {
            verdicts: &self.verdicts,
            required: &self.totals.required,
            devices: &self.totals.devices,
            bird_writes: Family::ALL.map(|family| self.bird.writes(family)),
        }
    }

    /// Faults of devices, of this host's Node and of ownership, however young.
    pub(super) fn host_findings(&self) -> impl Iterator<Item = &Finding> + '_ {
        self.host_findings.iter()
    }

    /// The ways to a Node's addresses now, each with what stands against it, however young.
    pub(super) fn ways_to(&self, state: &State, name: &Name) -> Vec<(Way, Option<Finding>)> {
        let Some(derived) = self.derived.as_ref().filter(|it| it.own_node == OwnNode::There) else { return Vec::new() };
        let asked = derived.asked(state, &self.options.node, self.options.grace.is_some());
        let of = |family| Some((asked.way(name, family)?, self.underlay.fault(name, family).cloned()));
        Family::ALL.into_iter().filter_map(of).collect()
    }

    pub(super) fn finding(&self, net: &IpNet, difference: &Difference) -> Finding {
        let fault = Fault::Route(difference.class, difference.reason);
        let mut finding = Finding::new(fault, words::destination(net))
            .host(Some(difference.host.clone()))
            .detail(difference.detail.clone())
            .expected(difference.expected.clone(), difference.actual.clone())
            .action(difference.action.clone());
        finding.since = self.since(self.differing.since(net));
        finding
    }

    /// This host's figures.
    pub fn report(&self, state: &State, now: Now) -> RoutesReport {
        let mut pending: BTreeMap<RouteClass, u64> = BTreeMap::new();
        for (net, difference) in self.differences() {
            if !self.is_fault(net, difference, now) {
                *pending.entry(difference.class).or_default() += 1;
            }
        }
        let partial = !state.datastore.follows_blocks();
        let mut expected = self.totals.expected.clone();
        if partial {
            expected.retain(|(class, _), _| *class != RouteClass::Borrowed);
        }
        RoutesReport {
            partial,
            actual: self.totals.actual.clone(),
            expected,
            pending,
            convergence: self.convergence.clone(),
            changes: self.changes.clone(),
            tunnel_modes: tunnels::modes(&state.datastore, &self.totals.evidence),
            bpf: self.derived.as_ref().is_some_and(|derived| derived.setting.bpf),
            named: self.named.names().clone(),
            devices: state.datastore.pools().values().filter_map(IpPool::tunnel).collect(),
            owners: self.derived.as_ref().map(|derived| tunnels::owners(&derived.setting)).unwrap_or_default(),
            devices_without_endpoint: self.devices_without_endpoint(state),
        }
    }

    /// Workload devices that are up, with neither a route nor an endpoint, as far as endpoints are known (J35).
    fn devices_without_endpoint(&self, state: &State) -> u64 {
        let Some(derived) = self.derived.as_ref().filter(|it| it.own_node == OwnNode::There) else { return 0 };
        let named: BTreeSet<&Name> =
            state.datastore.endpoints_on(&self.options.node).map(|endpoint| &endpoint.interface).collect();
        let idle = |link: &&Link| {
            derived.setting.is_workload_device(&link.name)
                && link.is_up()
                && !state.kernel.routes_through(&link.name)
                && !named.contains(&link.name)
        };
        state.kernel.links().filter(idle).count() as u64
    }

    /// Endpoints to look up: those that decide whether a route that is not there has to be.
    pub fn lookups(&self) -> impl Iterator<Item = &EndpointId> + '_ {
        self.lookups.values()
    }

    /// Blocks of other hosts to read, where they are not followed, with how much each matters.
    pub fn questions(&self) -> BTreeMap<IpNet, Urgency> {
        self.doubts.questions(|destination| self.verdicts.get(destination).map(Arc::as_ref))
    }

    /// When the next young difference becomes a fault (monotonic).
    pub fn next_due(&self, now: Now) -> Option<Duration> {
        let routes = self
            .differences()
            .filter_map(|(net, difference)| Some(self.differing.since(net)?.monotonic + self.grace(net, difference)));
        let grace = self.options.grace.unwrap_or(Duration::ZERO);
        let host = self.host_standing.iter().map(|(_, since)| since.monotonic + grace);
        let underlay = self.underlay.faults().map(|(_, since)| since.monotonic + grace);
        routes.chain(host).chain(underlay).filter(|due| *due > now.monotonic).min()
    }
}

fn host_key(finding: &Finding) -> (Fault, String) {
    (finding.fault.clone(), finding.subject.clone())
}
