//! What the kernel does with a packet: policy rules in order, and from each table the longest prefix that holds.
//!
//! The walk is the kernel's: `fib_rules_lookup` and `fib_rule_match` (`net/core/fib_rules.c`), `fib_table_lookup`
//! (`net/ipv4/fib_trie.c`), `fib6_rule_lookup` (`net/ipv6/fib6_rules.c`). What a rule asks for beyond what a
//! [`PolicyRule`] holds (ports, users, protocols, marks that somebody else sets) does not decide here: such rules are
//! kept apart, as those that may apply.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::{Family, Name, PolicyRule, Route, RouteType, RuleAction, TABLE_MAIN, host_route};
use crate::state::Kernel;

#[cfg(test)]
mod tests;

/// `RT_TABLE_DEFAULT` and `RT_TABLE_LOCAL`.
const TABLE_DEFAULT: u32 = 253;
pub(super) const TABLE_LOCAL: u32 = 255;
/// `RT_TABLE_UNSPEC`, the table of a rule for VRFs: the packet's device says which it is (`l3mdev`).
const TABLE_OF_VRF: u32 = 0;

/// The device by which the host's own packets enter the walk: `LOOPBACK_IFINDEX`.
const LOOPBACK: &str = "lo";

/// A packet, or all packets alike to a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Where it goes: an address, or a prefix whose addresses are all meant.
    pub to: IpNet,
    /// Its source; `None` for the host's own that has none yet.
    pub from: Option<IpAddr>,
    /// The device by which it came; `None` for the host's own.
    pub input: Option<Name>,
    /// Its firewall mark.
    pub mark: u32,
}

impl Packet {
    /// One of the host's own, without source and mark.
    pub fn of_host(to: IpNet) -> Packet {
        Packet { to, from: None, input: None, mark: 0 }
    }

    /// One of a pod's that has the address, by its device.
    pub fn of_pod(to: IpNet, from: IpAddr, input: Name) -> Packet {
        Packet { to, from: Some(from), input: Some(input), mark: 0 }
    }
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It is for this host.
    Here,
    /// It takes this route, which may be one that drops it.
    By(&'a Route),
    /// A rule drops or refuses it.
    Refused,
    /// No table has a route for it.
    Nowhere,
}

/// The kernel's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<'a> {
    /// What becomes of the packet.
    pub outcome: Outcome<'a>,
    /// The rule that decided; `None` where none did.
    pub rule: Option<PolicyRule>,
    /// Earlier rules that do something with other packets to the same place, or with this one by selectors that cannot be
    /// evaluated.
    pub may_apply: Vec<MayApply<'a>>,
}

/// A rule for packets that differ in more than their destination: marked, of other sources or devices, of a protocol, a
/// user, a VRF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MayApply<'a> {
    /// The rule.
    pub rule: PolicyRule,
    /// What it does with them; `None` where it leads to a table that is not known, or to other rules.
    pub outcome: Option<Outcome<'a>>,
}

/// How a rule stands to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    Yes,
    No,
    /// It is for others with the same destination.
    Others,
    /// It depends on something that is not known of the packet.
    Unknown,
}

/// The rules that a kernel starts with (`fib_default_rules_init`, `fib6_rules_net_init`): IPv6 has no default table.
fn default_rules(family: Family) -> Vec<PolicyRule> {
    let rule = |priority, table| PolicyRule::for_all(family, priority, RuleAction::Table(table));
    let mut rules = vec![rule(0, TABLE_LOCAL), rule(32766, TABLE_MAIN)];
    if family == Family::V4 {
        rules.push(rule(32767, TABLE_DEFAULT));
    }
    rules
}

/// Whether these are the rules that a kernel starts with.
pub(super) fn is_default(family: Family, rules: &[PolicyRule]) -> bool {
    rules == default_rules(family)
}

/// Whether the rule is for the packet or for one like it to another destination.
pub(super) fn may_match(rule: &PolicyRule, packet: &Packet) -> bool {
    match rule.to {
        None => matches(rule, packet) == Match::Yes,
        // Some destinations do not match what the inverted rule asks for.
        Some(_) if rule.inverted => true,
        Some(_) => matches(&PolicyRule { to: None, ..rule.clone() }, packet) == Match::Yes,
    }
}

/// Whether the rule is for the packet.
fn matches(rule: &PolicyRule, packet: &Packet) -> Match {
    let input = packet.input.as_deref().unwrap_or(LOOPBACK);
    let to = rule.to.is_none_or(|net| net.contains(&packet.to));
    // No packet here is of a socket that is bound to a device.
    let rest = rule.input.as_deref().is_none_or(|device| device == input)
        && rule.output.is_none()
        && rule.mark.is_none_or(|(value, mask)| (value ^ packet.mark) & mask == 0)
        && rule.from.is_none_or(|net| net.prefix_len() == 0 || packet.from.is_some_and(|from| net.contains(&from)));
    match (to && rest, rule.selective) {
        // An unknown selector can only narrow a match, or widen an inverted one.
        (true, true) => Match::Unknown,
        (false, true) if rule.inverted => Match::Yes,
        (known, _) if known != rule.inverted => Match::Yes,
        // Inverted, it is for whatever differs from this packet.
        _ if rule.inverted || to => Match::Others,
        _ => Match::No,
    }
}

/// The kernel's decision about a packet. `rules`: the policy rules of its family in the order in which they are asked,
/// where they are known.
pub fn decide<'a>(kernel: &'a Kernel, rules: Option<&[PolicyRule]>, packet: &Packet) -> Decision<'a> {
    let family = Family::of_net(&packet.to);
    let rules: Cow<'_, [PolicyRule]> = rules.map_or_else(|| Cow::Owned(default_rules(family)), Cow::Borrowed);
    let mut may_apply = Vec::new();
    let mut at = 0;
    while let Some(rule) = rules.get(at) {
        at += 1;
        match matches(rule, packet) {
            Match::No => continue,
            Match::Others | Match::Unknown => {
                let outcome = outcome_of(kernel, rule, packet);
                let leads_on = match rule.action {
                    RuleAction::Goto(_) => true,
                    RuleAction::Table(TABLE_OF_VRF) => kernel.may_have_vrf(),
                    _ => false,
                };
                if outcome.is_some() || leads_on {
                    may_apply.push(MayApply { rule: rule.clone(), outcome });
                }
                continue;
            }
            Match::Yes => {}
        }
        if let RuleAction::Goto(target) = rule.action {
            // A target that is not there is passed over; one that is there is asked like any other rule.
            let found = rules.iter().skip(at).position(|it| it.priority == target);
            at += found.unwrap_or(0);
            continue;
        }
        if let Some(outcome) = outcome_of(kernel, rule, packet) {
            return Decision { outcome, rule: Some(rule.clone()), may_apply };
        }
    }
    Decision { outcome: Outcome::Nowhere, rule: None, may_apply }
}

/// What a rule makes of a packet that it matches; `None`: the next one is asked.
fn outcome_of<'a>(kernel: &'a Kernel, rule: &PolicyRule, packet: &Packet) -> Option<Outcome<'a>> {
    let table = match rule.action {
        RuleAction::Table(table) => table,
        RuleAction::Goto(_) | RuleAction::Nop => return None,
        // What is unknown to `fib4_rule_action` is refused there.
        RuleAction::Blackhole | RuleAction::Unreachable | RuleAction::Prohibit | RuleAction::Other(_) => {
            return Some(Outcome::Refused);
        }
    };
    let route = kernel.lookup(table, &packet.to)?;
    match route.kind {
        RouteType::Throw => None,
        // A route that drops is an error to the kernel, and errors are not suppressed.
        kind if kind.has_next_hops()
            && rule.suppress_length.is_some_and(|length| u32::from(route.destination.prefix_len()) <= length) =>
        {
            None
        }
        RouteType::Local if host_route(&packet.to).is_some() => Some(Outcome::Here),
        _ => Some(Outcome::By(route)),
    }
}
