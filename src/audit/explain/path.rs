//! This host's part of the chain: the route that the kernel would really take against the one that is expected, and what
//! that route needs.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::ipam::is_single;
use super::{Known, Link, LinkKind, LinkState};
use crate::audit::diverted::has_same_ways;
use crate::audit::expect::{Context, Expectation, Form, Gateway, Need};
use crate::audit::fault::{Fault, OwnerReason};
use crate::audit::finding::Finding;
use crate::audit::forward::{self, MayApply, Outcome, Packet};
use crate::audit::judge::needed_devices;
use crate::audit::report::{Encapsulation, RouteClass};
use crate::audit::setting::Programmer;
use crate::audit::tunnel_entries::NeededEntry;
use crate::audit::underlay::Trouble;
use crate::audit::wireguard::Peer;
use crate::audit::{tunnels, words};
use crate::model::{Family, IpPool, Name, PolicyRule, Route, RouteType, TABLE_MAIN, host_net};
use crate::state::Table;

/// What is expected of a prefix.
struct Wanted {
    /// The destination that the route ought to have.
    net: IpNet,
    expectation: Expectation,
}

/// Where packets go.
struct Ways<'a> {
    /// What becomes of them; where it is not the same for all, of a pod's.
    taken: Outcome<'a>,
    /// What becomes of the host's own, where that is something else.
    host: Option<Outcome<'a>>,
    /// Rules for packets that are neither, and that would go elsewhere (J42).
    may_apply: Vec<MayApply<'a>>,
}

impl<'a> Ways<'a> {
    fn of(taken: Outcome<'a>) -> Ways<'a> {
        Ways { taken, host: None, may_apply: Vec::new() }
    }

    /// Whether the outcome is what becomes of all packets in any case.
    fn is_as(&self, outcome: Option<Outcome<'_>>) -> bool {
        match (outcome, self.taken) {
            (Some(Outcome::By(one)), Outcome::By(other)) => self.host.is_none() && has_same_ways(one, other),
            (Some(one), other) => self.host.is_none() && one == other,
            (None, _) => false,
        }
    }
}

impl fmt::Display for Ways<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&taken_words(self.taken))?;
        if let Some(host) = self.host {
            write!(f, " for this host's pods; for this host itself {}", taken_words(host))?;
        }
        if let Outcome::By(route) = self.taken
            && !route.next_hops.is_empty()
            && route.next_hops.iter().all(|hop| hop.down)
        {
            f.write_str(
                "; whether a route that is down is taken, ignore_routes_with_linkdown says, which is not read",
            )?;
        }
        for MayApply { rule, outcome } in &self.may_apply {
            write!(f, "; rule {rule} may apply")?;
            if let Some(outcome) = outcome {
                write!(f, ": {}", taken_words(*outcome))?;
            }
        }
        Ok(())
    }
}

impl Known<'_> {
    /// The links from the route on.
    pub(super) fn way(&self, net: IpNet) -> Vec<Link> {
        let Some(context) = self.context() else {
            let link = Link::new(LinkKind::Path, words::destination(&net)).wanted("a route from this host");
            return vec![link.actual("not known").cannot_tell("no host's routes were read: see --routes.file")];
        };
        let Some(routes) = self.routes else { return Vec::new() };
        let wanted = context.wanted(net);
        let ways = self.ways(&context, net);
        let taken = ways.taken;
        let devices = match taken {
            // What WireGuard carries needs no other tunnel.
            Outcome::By(route) if context.is_encrypted_by(route) && context.encryption(&net) != Peer::No => {
                route.next_hops.iter().filter_map(|hop| hop.device.clone()).take(1).collect()
            }
            _ => devices(&context, wanted.as_ref(), taken),
        };
        let mut links: Vec<Link> = self.near_link(&devices).into_iter().collect();
        links.push(self.path(&context, net, wanted.as_ref(), &ways));
        // Of another program's tunnel (flannel's) nothing is known beneath.
        let is_calicos = |it: &Name| context.setting.is_calico_device(it);
        if devices.iter().any(|it| context.encapsulation(it) == Encapsulation::Vxlan && is_calicos(it)) {
            links.extend(self.layer_2(net, wanted.as_ref(), taken));
        }
        // A pod of this host whose device is not ready has no route, and no form that is expected: its endpoint names it.
        let own = self.state.datastore.endpoints_at(net.addr()).find(|it| is_single(&net) && it.node == *context.me);
        let of_route = || devices.iter().find(|it| context.setting.is_workload_device(it));
        let workload = own.map(|endpoint| &endpoint.interface).or_else(of_route);
        match workload {
            Some(device) => links.push(self.workload_device(&context, net, device)),
            None => {
                links.extend(devices.first().map(|_| self.device(&context, &devices, taken, routes.host_findings())))
            }
        }
        links
    }

    /// This host's own faults, which affect every path from it (J36). Faults of the path's devices belong to the device link.
    fn near_link(&self, devices: &[Name]) -> Option<Link> {
        let me = self.me()?;
        let shown = |it: &&Finding| it.fault.device().is_none_or(|device| !devices.contains(device));
        let findings: Vec<Finding> = self.near_end().filter(shown).cloned().collect();
        let link = Link::new(LinkKind::Host, me).wanted("this host without faults of its own");
        (!findings.is_empty()).then(|| link.actual("this host, where the way begins").by(findings))
    }

    /// The way to another Node's own addresses, which every route to its pods stands on (J44); `None` where there is none
    /// to judge.
    pub(super) fn underlay(&self, name: &Name) -> Option<Link> {
        let ways = self.routes?.ways_to(self.state, name);
        let addresses: Vec<String> = ways.iter().map(|(way, _)| way.address.to_string()).collect();
        let mut link = Link::new(LinkKind::Underlay, name)
            .wanted(format!("a way to {} outside Calico's tunnels and pods' devices", addresses.join(" and ")));
        let mut actual = Vec::new();
        for (way, finding) in &ways {
            actual.push(match way.trouble {
                None => format!("{}: {}", way.address, way.taken),
                Some(Trouble::NoWay) => format!("nothing leads to {}: {}", way.address, way.taken),
                Some(Trouble::ThroughTunnel) => {
                    format!("the way to {} leads into the tunnel: {}", way.address, way.taken)
                }
            });
            link = link.by(finding.iter().cloned());
            if way.trouble.is_some() {
                link = link.fault(actual.last().cloned().unwrap_or_default());
            }
        }
        (!ways.is_empty()).then(|| link.actual(actual.join("; ")))
    }

    fn path(&self, context: &Context<'_>, net: IpNet, wanted: Option<&Wanted>, ways: &Ways<'_>) -> Link {
        let taken = ways.taken;
        let link = Link::new(LinkKind::Path, words::destination(&net));
        let link = link.wanted(wanted.map_or("nothing is expected".to_owned(), |it| context.wanted_words(it)));
        let link = link.actual(ways.to_string());
        let link = link.by(self.route_findings(context, net, taken));
        if context.datastore.is_dark(&net) {
            return link.cannot_tell("nothing follows from a block that cannot be read");
        }
        let device_down = wanted.is_some_and(|it| !context.is_any_up(needed_devices(&it.expectation.form)));
        match (wanted, taken) {
            (_, Outcome::Here) => link,
            (_, Outcome::Refused) => {
                link.fault("a policy rule of this host drops or refuses what goes there: see ip rule")
            }
            _ if device_down => link.cannot_tell("the tunnel device that it needs is missing or down"),
            (None, Outcome::Nowhere) => link.cannot_tell("no route leads there, and none is expected"),
            (None, Outcome::By(route)) if leads_nowhere(route) => {
                link.cannot_tell("this host drops what goes there, and nothing else is expected")
            }
            (None, Outcome::By(_)) => link.cannot_tell("the datastore does not say where it ought to go"),
            (Some(wanted), Outcome::By(route)) => {
                let link = judge_taken(context, link, net, wanted, route);
                let wider = route.destination.prefix_len() < wanted.net.prefix_len();
                match link.state {
                    LinkState::CannotTell if wider => link.by(self.nobody_carries(context, net, wanted)),
                    _ => link,
                }
            }
            (Some(wanted), Outcome::Nowhere) if context.is_passed_over(wanted) => {
                link.fault("no route leads there, by the policy rules of this host: see ip rule")
            }
            (Some(wanted), Outcome::Nowhere) => match self.nobody_carries(context, net, wanted).as_slice() {
                [] => link.cannot_tell("no route leads there; it may be there or not"),
                findings => link.by(findings.iter().cloned()),
            },
        }
    }

    /// What the kernel does with packets of this host and of its pods.
    fn ways<'a>(&'a self, context: &Context<'a>, net: IpNet) -> Ways<'a> {
        let family = Family::of_net(&net);
        if is_single(&net) && context.is_own_address(net.addr()) {
            return Ways::of(Outcome::Here);
        }
        let rules = self.state.tunnels.rules(family);
        let host = forward::decide(context.kernel, rules, &Packet::of_host(net));
        let mut ways = Ways::of(host.outcome);
        let senders = self.routes.map(|routes| routes.senders(family)).unwrap_or_default();
        let mut others = host.may_apply;
        for sender in senders.iter().filter(|sender| sender.from.is_some()) {
            let decision = forward::decide(context.kernel, rules, &sender.packet(net));
            if decision.outcome != ways.taken && ways.host.is_none() {
                ways.host = Some(std::mem::replace(&mut ways.taken, decision.outcome));
            }
            others.extend(decision.may_apply);
        }
        // What one of these senders is asked by is no question for it.
        let decides = |rule: &PolicyRule| senders.iter().any(|it| forward::may_match(rule, &it.packet(net)));
        others.retain(|it| !decides(&it.rule) && !ways.is_as(it.outcome));
        others.sort_by_key(|it| it.rule.priority);
        others.dedup_by(|one, other| one.rule == other.rule);
        ways.may_apply = others;
        ways
    }

    /// Why a route that BIRD may program is not there, where it is certain that nobody brings it (J37).
    fn nobody_carries(&self, context: &Context<'_>, net: IpNet, wanted: &Wanted) -> Vec<Finding> {
        let away = wanted.expectation.host.as_ref().is_some_and(|host| host != context.me);
        let pool =
            context.datastore.pool_of(&net).filter(|_| away && wanted.expectation.programmer == Programmer::Bird);
        let found = pool.map(|pool| self.owner_faults(pool)).unwrap_or_default();
        found
            .into_iter()
            .filter(|it| matches!(it.fault, Fault::Owner(_, OwnerReason::NoSession | OwnerReason::Neither)))
            .collect()
    }

    /// What the audit has against the routes of a prefix: its own, its block's, and the one that is taken.
    fn route_findings(&self, context: &Context<'_>, net: IpNet, taken: Outcome<'_>) -> Vec<Finding> {
        let Some(routes) = self.routes else { return Vec::new() };
        let mut nets = BTreeSet::from([net, self.block_cidr(net)]);
        if let Outcome::By(route) = taken
            && route.table == TABLE_MAIN
        {
            nets.insert(route.destination);
        }
        // The most specific first: it is the one that decides.
        let mut nets: Vec<IpNet> = nets.into_iter().filter(|it| it.contains(&net)).collect();
        nets.sort_by_key(|it| std::cmp::Reverse(it.prefix_len()));
        let judged = nets.iter().filter_map(|it| Some((it, routes.difference(context, it)?)));
        judged.map(|(net, difference)| routes.finding(net, &difference)).collect()
    }

    /// The tunnel's neighbour and forwarding entry.
    fn layer_2(&self, net: IpNet, wanted: Option<&Wanted>, taken: Outcome<'_>) -> Vec<Link> {
        let of_route = match taken {
            Outcome::By(route) => route.next_hops.iter().find_map(|hop| hop.gateway),
            Outcome::Here | Outcome::Nowhere | Outcome::Refused => None,
        };
        let tunnel_address = match wanted.map(|it| &it.expectation.form) {
            Some(Form::Remote { gateway: Gateway::Exactly(address), .. }) => *address,
            Some(Form::Remote { gateway: Gateway::OnLink, .. }) => net.addr(),
            _ => of_route.unwrap_or(net.addr()),
        };
        let needed = self.beneath.and_then(|it| it.way_to(self.state, Family::of_net(&net), tunnel_address));
        let kind = |table: Table| match table {
            Table::Neighbours => LinkKind::Neighbour,
            Table::Fdb => LinkKind::Fdb,
        };
        let Some(needed) = needed else {
            let why = match self.beneath {
                None => "neighbours were not read: see --neighbours.file, --fdb.file",
                Some(_) => "without its device, or this host's own end of it, the tunnel has no entries",
            };
            let unread =
                |table: Table| Link::new(kind(table), tunnel_address).wanted("an entry of Felix's").actual("not known");
            return Table::ALL.into_iter().map(|table| unread(table).cannot_tell(why)).collect();
        };
        let link = |it: NeededEntry| {
            let link = Link::new(kind(it.table), &it.subject).wanted(it.expected);
            match it.known {
                true => link.actual(it.actual).by(it.fault),
                false => {
                    link.actual("not known").cannot_tell("this table was not read: see --neighbours.file, --fdb.file")
                }
            }
        };
        needed.into_iter().map(link).collect()
    }

    fn device<'f>(
        &self,
        context: &Context<'_>,
        devices: &[Name],
        taken: Outcome<'_>,
        findings: impl Iterator<Item = &'f Finding>,
    ) -> Link {
        let names: Vec<&str> = devices.iter().map(AsRef::as_ref).collect();
        let link = Link::new(LinkKind::Device, names.join(" or ")).wanted("a device that is up");
        let of_device = |it: &&Finding| matches!(&it.fault, Fault::Tunnel(device, _) if devices.contains(device));
        let findings: Vec<Finding> = findings.filter(of_device).cloned().collect();
        if !context.kernel.knows_links() {
            return link.actual("not known").by(findings).cannot_tell("devices were not read: see --links.file");
        }
        let Some(found) = devices.iter().find_map(|name| context.kernel.link(name)) else {
            // One that is needed has a finding.
            return link
                .actual("no such device")
                .by(findings)
                .cannot_tell("it does not exist, and nothing needs it here");
        };
        let addresses: Vec<String> = found.addresses.iter().map(ToString::to_string).collect();
        let up = if found.is_up() { "up" } else { "down" };
        let link = link.actual(format!("{} is {up}, {}", found.name, listed(&addresses))).by(findings);
        let used = match taken {
            Outcome::By(route) => route.next_hops.iter().any(|hop| hop.device.as_ref() == Some(&found.name)),
            Outcome::Here | Outcome::Nowhere | Outcome::Refused => false,
        };
        match (found.is_up(), used) {
            (true, _) => link,
            (false, true) => link.fault(format!("{} is down or has no carrier", found.name)),
            (false, false) => link.cannot_tell("it is down, and nothing needs it here"),
        }
    }

    fn workload_device(&self, context: &Context<'_>, net: IpNet, device: &Name) -> Link {
        let link = Link::new(LinkKind::WorkloadDevice, device)
            .wanted(format!("{device}, up, with the pod's end of it in use"));
        if !context.kernel.knows_links() {
            return link.actual("not known").cannot_tell("devices were not read: see --links.file");
        }
        match context.kernel.link(device) {
            None => link.actual("no such device").fault(format!("{device} does not exist: nothing reaches the pod")),
            Some(found) if found.is_up() => link.actual("up"),
            Some(_) => link
                .actual("down or without carrier")
                .fault(format!("{device} is down: nothing reaches the pod that has {}", words::destination(&net))),
        }
    }
}

fn listed(addresses: &[String]) -> String {
    if addresses.is_empty() { "without address".to_owned() } else { addresses.join(", ") }
}

fn leads_nowhere(route: &Route) -> bool {
    !route.kind.has_next_hops()
}

/// What is taken, where the audit has nothing against it.
fn judge_taken(context: &Context<'_>, link: Link, net: IpNet, wanted: &Wanted, route: &Route) -> Link {
    let single = is_single(&net);
    // An address without a route of its own that may have one: a pod that is on its way, or one that nobody announced.
    let own = context.expectations(&net).into_iter().find(|it| single && !it.bird_only);
    if let Some(own) = own.filter(|_| route.destination != net && context.kernel.route(&net).is_none())
        && wanted.net != net
    {
        let what = if leads_nowhere(route) { "is dropped here" } else { "goes to the block's owner" };
        return link
            .cannot_tell(format!("{} has no route of its own, so that what is sent there {what}", purpose(&own)));
    }
    let through = route.next_hops.iter().find_map(|hop| hop.device.as_deref());
    if through.is_some_and(|device| context.encapsulation(device) == Encapsulation::Wireguard) {
        // WireGuard's own table: the route that is expected in the main table is there beside it, or BIRD left it out.
        return match context.encryption(&net) {
            Peer::Yes | Peer::Maybe => link,
            Peer::No => link.fault("it goes into WireGuard's device, which has no peer for it and drops it"),
        };
    }
    // Main's own, or a more specific one, is judged by the audit, which has nothing against it.
    let is_more_specific = route.destination.prefix_len() > wanted.net.prefix_len() && !leads_nowhere(route);
    if route.table == TABLE_MAIN && (route.destination == wanted.net || is_more_specific) {
        return link;
    }
    // Whichever rule, table and prefix win, what is taken is compared with what is wanted (J41).
    let is_known = wanted.expectation.form != Form::Unknown;
    if is_known && context.leads_as_wanted(route, wanted.net, &wanted.expectation) {
        return link;
    }
    let has_own = context.kernel.route(&wanted.net).is_some();
    let drops = leads_nowhere(route) && !matches!(wanted.expectation.form, Form::Blackhole);
    match wanted.expectation.need {
        _ if !has_own && !drops && context.is_aggregated(&wanted.net) => link,
        Need::Permitted if !has_own && drops => {
            link.cannot_tell("this host drops what goes there; the route may be there or not")
        }
        Need::Permitted if !has_own => link.cannot_tell("the route that may be there is not, and a wider one is taken"),
        _ if !is_known => link.cannot_tell("its own route is not taken, and nobody can say where it ought to lead"),
        Need::Required | Need::Permitted => link.fault(format!(
            "what goes to {} takes {}, where {} is wanted: see ip rule and ip route get",
            words::destination(&net),
            taken_words(Outcome::By(route)),
            words::form(&wanted.net, &wanted.expectation.form)
        )),
    }
}

fn taken_words(taken: Outcome<'_>) -> String {
    match taken {
        Outcome::Here => "an address of this host".to_owned(),
        Outcome::Nowhere => "no route".to_owned(),
        Outcome::Refused => "a policy rule drops or refuses it".to_owned(),
        Outcome::By(route) => {
            let what = match route.kind {
                _ if route.destination.prefix_len() == 0 => " (the default route)",
                RouteType::Blackhole | RouteType::Unreachable | RouteType::Prohibit => " (dropped here)",
                _ => "",
            };
            let table = match route.table {
                TABLE_MAIN => String::new(),
                table => format!(" in table {table}"),
            };
            format!("{route}{table}{what}")
        }
    }
}

fn purpose(expectation: &Expectation) -> String {
    let host = expectation.host.as_deref().unwrap_or("another host");
    match expectation.class {
        RouteClass::LocalWorkload => "a pod of this host".to_owned(),
        RouteClass::LocalBlock => "a block of this host".to_owned(),
        RouteClass::RemoteBlock => format!("a block of {host}"),
        RouteClass::Borrowed => format!("an address that {host} uses out of a block that is not its own"),
        RouteClass::TunnelAddress => format!("the tunnel address of {host}"),
        RouteClass::Foreign => "a foreign destination".to_owned(),
    }
}

/// The devices that the way leads through: those of the route that is taken, else those that are wanted.
fn devices(context: &Context<'_>, wanted: Option<&Wanted>, taken: Outcome<'_>) -> Vec<Name> {
    let needed = wanted.map(|it| needed_devices(&it.expectation.form)).unwrap_or_default();
    // Without its tunnel the route goes elsewhere, or is gone: the tunnel is what is missing.
    if !needed.is_empty() {
        return needed.iter().map(|name| Name::from(*name)).collect();
    }
    if let Some(Wanted { expectation: Expectation { form: Form::Workload(names), .. }, .. }) = wanted
        && let Some(name) = names.first()
    {
        return vec![name.clone()];
    }
    match taken {
        Outcome::By(route) if route.table == TABLE_MAIN && route.kind == RouteType::Unicast => {
            let mut names: Vec<Name> = route.next_hops.iter().filter_map(|hop| hop.device.clone()).collect();
            names.dedup();
            context.known_devices(names)
        }
        _ => Vec::new(),
    }
}

impl Context<'_> {
    fn encapsulation(&self, device: &str) -> Encapsulation {
        crate::audit::setting::device_encapsulation(device, self.kernel.link(device))
    }

    /// The main table has a route that is required, and the policy rules do not come to it.
    fn is_passed_over(&self, wanted: &Wanted) -> bool {
        wanted.expectation.need == Need::Required
            && self.kernel.route(&wanted.net).is_some_and(|route| route.kind != RouteType::Throw)
    }

    /// Nobody here programs the routes of the pool around a prefix.
    fn is_programmed_by_nobody(&self, net: &IpNet) -> bool {
        self.datastore.pool_of(net).is_some_and(|pool| self.setting.is_without_programmer(pool.class()))
    }

    /// Whether the route leads into WireGuard's device.
    fn is_encrypted_by(&self, route: &Route) -> bool {
        let mut devices = route.next_hops.iter().filter_map(|hop| hop.device.as_deref());
        devices.any(|device| self.encapsulation(device) == Encapsulation::Wireguard)
    }

    fn known_devices(&self, names: Vec<Name>) -> Vec<Name> {
        names.into_iter().take(1).collect()
    }

    /// The route that is expected of a prefix: its own, if it has to have one or has it, else its block's.
    fn wanted(&self, net: IpNet) -> Option<Wanted> {
        let of = |net: IpNet| {
            let expectations = self.expectations(&net).into_iter().filter(|it| !it.bird_only);
            expectations.map(move |expectation| Wanted { net, expectation })
        };
        let has = self.kernel.route(&net).is_some();
        let met = |wanted: &Wanted| {
            self.kernel.route(&wanted.net).is_some_and(|route| self.compare(route, &wanted.expectation).is_none())
        };
        let pick = |found: Vec<Wanted>| {
            let place = found.iter().position(met).unwrap_or_default();
            found.into_iter().nth(place)
        };
        let own: Vec<Wanted> = of(net).filter(|it| has || it.expectation.need == Need::Required).collect();
        if !own.is_empty() {
            return pick(own);
        }
        if self.is_ready_workload(net) {
            return of(net).next();
        }
        let around = self.datastore.block_around(&net).map(|block| block.cidr);
        let length = self.datastore.pool_of(&net).map(|pool| pool.block_size.min(net.prefix_len()));
        let key = length.and_then(|length| IpNet::new(net.addr(), length).ok()).map(|it| it.trunc());
        let block = around.or(key).filter(|it| *it != net);
        block.and_then(|block| pick(of(block).collect())).or_else(|| of(net).next())
    }

    /// A pod of this host whose device is not ready: its route is nothing to judge, and its device is what is wrong.
    fn is_ready_workload(&self, net: IpNet) -> bool {
        let mut endpoints = self.datastore.endpoints_at(net.addr()).filter(|endpoint| endpoint.node == *self.me);
        is_single(&net) && endpoints.any(|endpoint| !self.is_ready(endpoint))
    }

    fn is_own_address(&self, address: IpAddr) -> bool {
        self.kernel.has_address(address)
            || self.kernel.lookup(255, &host_net(address)).is_some_and(|it| it.kind == RouteType::Local)
    }

    /// What ought to be there, and the rule that says so.
    fn wanted_words(&self, wanted: &Wanted) -> String {
        let Wanted { net, expectation } = wanted;
        let who = match expectation.programmer {
            Programmer::Felix => "Felix",
            Programmer::Bird => "BIRD",
        };
        let need = match expectation.need {
            Need::Required => format!("{who} programs it"),
            Need::Permitted if self.is_programmed_by_nobody(net) => "nobody here programs it".to_owned(),
            Need::Permitted => format!("{who} may program it"),
        };
        let form = match expectation.form {
            Form::Unknown => "cannot be told".to_owned(),
            ref form => words::form(net, form),
        };
        let near = match (&expectation.form, &expectation.host) {
            (Form::Remote { same_subnet: true, .. }, Some(host)) => format!("; {host} is in this host's subnet"),
            (Form::Remote { same_subnet: false, .. }, Some(host)) => format!("; {host} is in another subnet"),
            _ => String::new(),
        };
        let pool = self.datastore.pool_of(net).map(pool_words).unwrap_or_default();
        format!("{form} ({}{pool}{near}; {need})", purpose(expectation))
    }
}

fn pool_words(pool: &IpPool) -> String {
    format!("; pool {} is {}", pool.name, tunnels::configured_mode(pool).as_str().replace('_', " "))
}
