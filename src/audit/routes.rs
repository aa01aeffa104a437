//! This host's routes, kept judged: one verdict a destination, and the sums over them. An event costs the
//! destinations that it touches.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::bgp::Sessions;
use super::cannot_tell::knows_host;
use super::causes::RouteFacts;
use super::doubts::{Doubts, Urgency};
use super::expect::Context;
use super::finding::{Finding, Metric};
use super::grace::Standing;
use super::judge::{Difference, Verdict};
use super::named::NamedHosts;
use super::now::Now;
use super::report::{Histogram, RouteClass, RoutesReport};
use super::setting::{Backend, FelixOverrides, Programmer, Setting};
use super::totals::Totals;
use super::tunnels::Owners;
use super::{node_addresses, tunnels, words};
use crate::model::{EndpointId, Family, IpPool, Link, Name, Protocol, Route, Shared, TABLE_MAIN, TunnelKind, host_net};
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

/// What is derived from the whole picture, anew when any of it changes.
#[derive(Debug, Clone)]
pub(super) struct Derived {
    pub(super) setting: Setting,
    pub(super) sessions: Sessions,
    /// See [`Context::parents`].
    parents: [Option<Name>; 2],
    pub(super) bird_meant: bool,
    own_node: OwnNode,
    routed_by_others: bool,
    /// Nodes whose address is questioned, and in which families: what follows from that is not judged (J34).
    questioned: BTreeMap<Name, BTreeSet<Family>>,
    /// Nodes' routing addresses.
    node_addresses: BTreeSet<IpAddr>,
    /// The families in which the datastore describes no session at all from this Node (J37).
    no_session: [bool; 2],
}

impl Derived {
    /// Judges one destination. Without its Node nothing of this host can be right or wrong (J35), and what follows from a
    /// Node's questioned address is not told beside it (J34).
    fn judge(&self, context: &Context<'_>, destination: &IpNet, changed: Option<Duration>) -> Verdict {
        let mut verdict = context.judge(destination, changed);
        if self.own_node != OwnNode::There {
            return verdict.unjudged();
        }
        let follows = |difference: &Difference| {
            difference.host != *context.me && self.is_questioned(&difference.host, Family::of_net(destination))
        };
        if verdict.difference.as_deref().is_some_and(follows) {
            verdict.difference = None;
        }
        verdict
    }

    fn is_questioned(&self, node: &Name, family: Family) -> bool {
        self.questioned.get(node).is_some_and(|families| families.contains(&family))
    }

    /// Whether a fault of this host's devices follows from its Node's address (J34): what is compared with the device
    /// that the address is on.
    fn follows_from_address(&self, finding: &Finding, me: &Name) -> bool {
        let family = finding.label("device").and_then(TunnelKind::of_device).map(TunnelKind::family);
        finding.metric == Metric::TunnelFaults
            && matches!(finding.label("reason"), Some("wrong_parent" | "mtu_too_high" | "wrong_local_address"))
            && family.is_some_and(|family| self.is_questioned(me, family))
    }

    /// What expectations are computed from.
    fn context<'a>(&'a self, state: &'a State, me: &'a Name, examined: &'a Cell<usize>) -> Context<'a> {
        Context {
            datastore: &state.datastore,
            kernel: &state.kernel,
            me,
            node: state.datastore.node(me),
            setting: &self.setting,
            parents: &self.parents,
            sessions: &self.sessions,
            bird_meant: self.bird_meant,
            routed_by_others: self.routed_by_others,
            reads: true,
            examined,
        }
    }
}

/// Whether this host's Node is there (J35).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OwnNode {
    /// It is, readable or not.
    There,
    /// It is gone, and this host is in use: it was deleted under living pods.
    Missing,
    /// Nothing belongs to a host of this name.
    Unknown,
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
    host_standing: Standing<(Metric, String, String)>,
    /// Main-table destinations with a route of BIRD's.
    bird_routes: BTreeSet<IpNet>,
    /// How many of them lie in a pool or block, by family (J24, J29).
    bird_inside: [BTreeSet<IpNet>; 2],
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
    RouteClass::ALL.into_iter().filter(|class| !class.reasons().is_empty())
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
            bird_routes: BTreeSet::new(),
            bird_inside: Default::default(),
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
            _ => Derived {
                setting: Setting::of(&state.datastore, &self.options.node)
                    .overridden(&self.options.tunnels.felix)
                    .told(self.options.backend),
                sessions: Sessions::new(&state.datastore),
                parents: Default::default(),
                bird_meant: false,
                own_node: OwnNode::There,
                routed_by_others: self.options.backend == Backend::None
                    || state.datastore.cluster().is_some_and(|cluster| cluster.has_type("canal")),
                questioned: BTreeMap::new(),
                node_addresses: BTreeSet::new(),
                no_session: [false; 2],
            },
        };
        let is_workload = |device: &Name| derived.setting.is_workload_device(device);
        everything |= changes.devices.iter().any(|device| !is_workload(device));
        derived.own_node = self.own_node(state, &derived.setting);
        let me = state.datastore.node(&self.options.node);
        let parents = Family::ALL.map(|family| {
            let (link, _) = state.kernel.interface_of(me?.routing_address(family)?)?;
            Some(link.name.clone())
        });
        everything |= parents != derived.parents;
        derived.parents = parents;
        let holds_node =
            |cidr: &IpNet| derived.node_addresses.range(cidr.network()..).next().is_some_and(|it| cidr.contains(it));
        if everything || changes.cidrs.iter().any(holds_node) {
            let questioned = node_addresses::questioned(&state.datastore);
            everything |= questioned != derived.questioned;
            derived.questioned = questioned;
        }
        if everything {
            self.shared.prune();
            derived.node_addresses = node_addresses::all(&state.datastore);
            derived.no_session = Family::ALL.map(|family| derived.sessions.has_none(&self.options.node, family));
        }

        let aggregates = self.note_bird_routes(state, changes, everything);
        let bird_meant = self.is_bird_meant(state);
        everything |= bird_meant != derived.bird_meant;
        derived.bird_meant = bird_meant;

        let (me, examined) = (self.options.node.clone(), Cell::new(0));
        let context = derived.context(state, &me, &examined);
        if !first && !state.datastore.follows_blocks() {
            changes.destinations.iter().for_each(|it| self.doubts.note_change(*it, now.monotonic));
        }
        let dirty = if everything {
            self.all_destinations(&context)
        } else {
            self.touched_destinations(&context, changes, &aggregates)
        };
        self.judged = dirty.len();
        for destination in dirty {
            let verdict = derived.judge(&context, &destination, self.doubts.changed(&destination));
            let program = changes.programs.get(&destination).copied();
            self.replace(destination, verdict, now, !first, program);
        }
        self.examined = examined;
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

    /// Keeps track of BIRD's routes; returns those changed destinations that are or were aggregates' (J16).
    fn note_bird_routes(&mut self, state: &State, changes: &Changes, everything: bool) -> Vec<IpNet> {
        if everything {
            // Nobody asks which of them are aggregates: all is looked at again.
            let of_bird = |route: &&Route| route.protocol == Protocol::BIRD && route.table == TABLE_MAIN;
            self.bird_routes = state.kernel.routes().filter(of_bird).map(|route| route.destination).collect();
            for (family, members) in Family::ALL.into_iter().zip(&mut self.bird_inside) {
                let inside = |net: &&IpNet| Family::of_net(net) == family && is_inside(state, net);
                *members = self.bird_routes.iter().filter(inside).copied().collect();
            }
            return Vec::new();
        }
        let mut aggregates = Vec::new();
        let mut look: BTreeSet<IpNet> = changes.destinations.clone();
        // A block that comes or goes may take BIRD's routes in or out of what is known.
        for cidr in &changes.cidrs {
            look.extend(self.bird_routes.range(cidr..).take_while(|it| cidr.contains(&it.addr())).copied());
        }
        for destination in look {
            let is = state.kernel.has_route_of(&destination, Protocol::BIRD);
            let was = if is { !self.bird_routes.insert(destination) } else { self.bird_routes.remove(&destination) };
            if is || was {
                aggregates.push(destination);
            }
            let inside = is && is_inside(state, &destination);
            let members = &mut self.bird_inside[family_index(&destination)];
            if inside {
                members.insert(destination);
            } else {
                members.remove(&destination);
            }
        }
        aggregates
    }

    /// J35.
    fn own_node(&self, state: &State, setting: &Setting) -> OwnNode {
        let (datastore, kernel, me) = (&state.datastore, &state.kernel, &self.options.node);
        if datastore.nodes().contains_key(me) || datastore.is_unreadable_node(me) {
            return OwnNode::There;
        }
        let is_workload = |device: &str| setting.is_workload_device(device);
        let through = |route: &Route| route.next_hops.iter().any(|hop| hop.device.as_deref().is_some_and(is_workload));
        let in_use = kernel.links().any(|link| is_workload(&link.name))
            || !kernel.knows_links() && kernel.main_routes().any(through);
        if in_use || knows_host(datastore, me) { OwnNode::Missing } else { OwnNode::Unknown }
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
                self.bird_inside.iter().any(|members| !members.is_empty())
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

    fn touched_destinations(&self, context: &Context<'_>, changes: &Changes, aggregates: &[IpNet]) -> Vec<IpNet> {
        let mut touched: BTreeSet<IpNet> = changes.destinations.clone();
        touched.extend(changes.addresses.iter().map(|address| host_net(*address)));
        for net in changes.cidrs.iter().chain(aggregates) {
            touched.insert(*net);
            touched
                .extend(self.verdicts.range(net..).take_while(|(it, _)| net.contains(&it.addr())).map(|(it, _)| *it));
            touched.extend(context.kernel.main_routes_within(net).map(|route| route.destination));
            touched.extend(context.candidates(net));
        }
        for device in &changes.devices {
            touched.extend(context.addresses_behind(device));
        }
        touched.into_iter().collect()
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
        self.derived.as_ref()?.judge(context, destination, None).difference
    }

    /// J29.
    fn grace(&self, destination: &IpNet, difference: &Difference) -> Duration {
        let Some(grace) = self.options.grace else { return Duration::ZERO };
        let silent = self.bird_inside[family_index(destination)].is_empty();
        if difference.programmer == Some(Programmer::Bird) && silent { grace.max(BIRD_START) } else { grace }
    }

    pub(super) fn differences(&self) -> impl Iterator<Item = (&IpNet, &Difference)> + '_ {
        self.differing.iter().filter_map(|(net, _)| Some((net, self.verdicts.get(net)?.difference.as_deref()?)))
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

    /// What causes are told by.
    pub(super) fn facts(&self) -> RouteFacts<'_> {
        RouteFacts {
            verdicts: &self.verdicts,
            required: &self.totals.required,
            devices: &self.totals.devices,
            bird_writes: [0, 1].map(|family| !self.bird_inside[family].is_empty()),
        }
    }

    /// Faults of devices, of this host's Node and of ownership, however young.
    pub(super) fn host_findings(&self) -> impl Iterator<Item = &Finding> + '_ {
        self.host_findings.iter()
    }

    pub(super) fn finding(&self, net: &IpNet, difference: &Difference) -> Finding {
        let labels = vec![
            ("class", Cow::Borrowed(difference.class.as_str())),
            ("reason", Cow::Borrowed(difference.reason.as_str())),
        ];
        let mut finding = Finding::new(Metric::RouteFaults, labels, words::destination(net))
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
        routes.chain(host).filter(|due| *due > now.monotonic).min()
    }
}

/// Whether a route's destination lies in a pool or in a block.
fn is_inside(state: &State, destination: &IpNet) -> bool {
    state.datastore.pool_of(destination).is_some() || state.datastore.is_in_block(destination)
}

fn family_index(net: &IpNet) -> usize {
    match Family::of_net(net) {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

fn host_key(finding: &Finding) -> (Metric, String, String) {
    (finding.metric, finding.subject.clone(), finding.label("reason").unwrap_or_default().to_owned())
}
