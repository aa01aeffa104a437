//! What has to be asked of the policy rules: nothing on a host with the kernel's own rules alone. Else who sends, and
//! which tables may answer before main does.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::audit::forward::{self, Packet, TABLE_LOCAL};
use crate::audit::setting::Setting;
use crate::model::{Family, Name, PolicyRule, Route, RuleAction, TABLE_MAIN, address_at, host_route};
use crate::state::{Changes, Kernel, State};

/// The rules of both families, and what they make necessary to ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::audit) struct Walks {
    /// This host's blocks: what its pods send from.
    own: BTreeSet<IpNet>,
    families: [Option<Walk>; 2],
}

/// What has to be asked of the rules of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Walk {
    /// The rules, in the order in which they are asked.
    pub(super) rules: Vec<PolicyRule>,
    /// Every kind of sender that the rules tell apart; the host first.
    pub(super) senders: Vec<Sender>,
    /// Tables other than main that rules lead some of them to.
    tables: BTreeSet<u32>,
    /// A rule decides without a table, or main is not asked as usual: every destination has to be asked about.
    everywhere: bool,
}

/// Whose packets: the host's own, or those of a pod (J42).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::audit) struct Sender {
    /// An address of this host's own blocks; `None` for the host.
    pub(in crate::audit) from: Option<IpAddr>,
    input: Option<Name>,
}

impl Sender {
    pub(super) const HOST: Sender = Sender { from: None, input: None };

    /// Its unmarked packet.
    pub(in crate::audit) fn packet(&self, to: IpNet) -> Packet {
        Packet { to, from: self.from, input: self.input.clone(), mark: 0 }
    }

    /// The device that it sends by, where a rule names it.
    pub(super) fn device(&self) -> Option<&Name> {
        self.input.as_ref().filter(|name| !name.ends_with(ANY))
    }
}

/// No IP pool has larger blocks (`libcalico-go`, `validator.go`: `/20` and `/116`).
const LARGEST_BLOCK: u64 = 4096;

/// Ends the name of a workload device that no rule names.
const ANY: char = '*';

impl Walks {
    /// Takes in what changed. Returns whether every destination has to be asked about again.
    pub(in crate::audit) fn update(
        &mut self,
        state: &State,
        (setting, me): (&Setting, &Name),
        changes: &Changes,
        everything: bool,
    ) -> bool {
        let is_own = |cidr: &IpNet| state.datastore.block(cidr).is_some_and(|block| block.host() == Some(me));
        let mut moved = everything || changes.rules || !changes.devices.is_empty();
        if everything {
            let owned = state.datastore.blocks().filter(|block| block.host() == Some(me));
            self.own = owned.map(|block| block.cidr).collect();
        }
        for cidr in changes.cidrs.iter().filter(|_| !everything) {
            moved |= if is_own(cidr) { self.own.insert(*cidr) } else { self.own.remove(cidr) };
        }
        if !moved {
            return false;
        }
        let families = Family::ALL.map(|family| {
            let rules = state.tunnels.rules(family).filter(|rules| !forward::is_default(family, rules))?;
            Some(Walk::of(state, setting, &self.own, family, rules))
        });
        std::mem::replace(&mut self.families, families) != self.families
    }

    pub(super) fn of(&self, family: Family) -> Option<&Walk> {
        self.families[family as usize].as_ref()
    }

    /// This host's blocks of a family.
    pub(super) fn own(&self, family: Family) -> impl Iterator<Item = &IpNet> {
        self.own.iter().filter(move |cidr| Family::of_net(cidr) == family)
    }

    /// Those who send, as far as the rules of the family tell them apart; the host first.
    pub(in crate::audit) fn senders(&self, family: Family) -> &[Sender] {
        self.of(family).map_or(&[Sender::HOST], |walk| &walk.senders)
    }

    /// Whether a route of the table to a destination may decide.
    pub(in crate::audit) fn asks(&self, table: u32, destination: &IpNet) -> bool {
        self.of(Family::of_net(destination)).is_some_and(|walk| walk.tables.contains(&table))
    }
}

impl Walk {
    fn of(state: &State, setting: &Setting, own: &BTreeSet<IpNet>, family: Family, rules: &[PolicyRule]) -> Walk {
        let mut senders = vec![Sender::HOST];
        let inputs = inputs(state, setting, rules);
        for from in sources(own.iter().filter(|cidr| Family::of_net(cidr) == family), rules) {
            senders.extend(inputs.iter().map(|input| Sender { from: Some(from), input: Some(input.clone()) }));
        }
        // Senders that no rule tells apart are asked for once.
        let told_apart = |sender: &Sender| {
            let packet = sender.packet(any(family));
            let of_rule = |rule: &PolicyRule| forward::may_match(rule, &packet);
            (sender.from.is_none(), rules.iter().map(of_rule).collect::<Vec<_>>())
        };
        let mut seen = BTreeSet::new();
        senders.retain(|sender| seen.insert(told_apart(sender)));

        let concerns = |rule: &&PolicyRule| senders.iter().any(|it| forward::may_match(rule, &it.packet(any(family))));
        let table = |rule: &PolicyRule| match rule.action {
            RuleAction::Table(table) if table != TABLE_MAIN => Some(table),
            _ => None,
        };
        let tables = rules.iter().filter(concerns).filter_map(table).collect();
        let main_is_asked = |rule: &PolicyRule| {
            rule.action == RuleAction::Table(TABLE_MAIN) && rule.suppress_length.is_none() && rule.is_for_all()
        };
        let decides = |rule: &PolicyRule| match rule.action {
            RuleAction::Table(TABLE_MAIN) => rule.suppress_length.is_some(),
            RuleAction::Table(_) | RuleAction::Nop => false,
            _ => true,
        };
        let everywhere = !rules.iter().any(main_is_asked) || rules.iter().filter(concerns).any(decides);
        Walk { rules: rules.to_vec(), senders, tables, everywhere }
    }

    /// Whether something else than main's own route may decide about a destination or a part of it.
    pub(super) fn touches(&self, kernel: &Kernel, destination: &IpNet) -> bool {
        self.everywhere || kernel.other_routes_around(destination).any(|route| self.tables.contains(&route.table))
    }

    /// The parts of a destination that rules and tables tell apart: itself, and what they name inside it.
    pub(super) fn parts(&self, kernel: &Kernel, destination: &IpNet) -> Vec<IpNet> {
        let inside = |net: &IpNet| destination.contains(net) && net != destination;
        let routes = kernel.other_routes_around(destination).filter(|route| self.tables.contains(&route.table));
        let mut parts: Vec<IpNet> = routes.map(|route| route.destination).filter(inside).collect();
        parts.extend(self.rules.iter().filter_map(|rule| rule.to).filter(inside));
        parts.push(*destination);
        parts.sort_by_key(|net| (net.prefix_len(), net.addr()));
        parts.dedup();
        parts
    }
}

/// Every destination of a family.
fn any(family: Family) -> IpNet {
    match family {
        Family::V4 => IpNet::V4(Default::default()),
        Family::V6 => IpNet::V6(Default::default()),
    }
}

/// Devices by which pods send: those that rules name, and one for all others.
fn inputs(state: &State, setting: &Setting, rules: &[PolicyRule]) -> Vec<Name> {
    let is_there = |name: &&Name| !state.kernel.knows_links() || state.kernel.link(name).is_some();
    let named = rules.iter().filter_map(|rule| rule.input.as_ref());
    let mut inputs: Vec<Name> =
        named.filter(|name| setting.is_workload_device(name)).filter(is_there).cloned().collect();
    let prefix = setting.workload_prefixes.first().map(String::as_str).unwrap_or_default();
    inputs.push(format!("{prefix}{ANY}").into());
    inputs
}

/// Sources in this host's blocks: for each, an address that no rule names, and one of each part that rules name.
fn sources<'a>(own: impl Iterator<Item = &'a IpNet>, rules: &[PolicyRule]) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for block in own {
        let inside = |net: &IpNet| block.contains(net) && net != block;
        let named: Vec<IpNet> = rules.iter().filter_map(|rule| rule.from).filter(inside).collect();
        let mut addresses = (0..LARGEST_BLOCK).map_while(|ordinal| address_at(block, ordinal));
        found.extend(addresses.find(|address| !named.iter().any(|net| net.contains(address))));
        found.extend(named.iter().map(IpNet::addr));
    }
    found
}

/// The kernel's own table of this host's addresses is asked first by everybody.
pub(super) fn is_own_address(route: &Route) -> bool {
    route.table == TABLE_LOCAL && host_route(&route.destination).is_some()
}
