//! Policy rules: which routing table a packet is looked up in (`fib_rules.h`).

use std::fmt;

use ipnet::IpNet;

use super::{Family, Name};

/// What a rule does with a packet that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RuleAction {
    /// `FR_ACT_TO_TBL`: looks it up in this table.
    Table(u32),
    /// `FR_ACT_GOTO`: goes on at the rule of this priority.
    Goto(u32),
    /// `FR_ACT_NOP`: goes on.
    Nop,
    /// `FR_ACT_BLACKHOLE`: drops it.
    Blackhole,
    /// `FR_ACT_UNREACHABLE`: refuses it.
    Unreachable,
    /// `FR_ACT_PROHIBIT`: refuses it.
    Prohibit,
    /// What is still unknown.
    Other(u8),
}

impl RuleAction {
    /// From the kernel's number, `FR_ACT_*`, with the table and the target that the rule names.
    pub fn from_number(number: u8, table: u32, target: u32) -> RuleAction {
        match number {
            1 => RuleAction::Table(table),
            2 => RuleAction::Goto(target),
            3 => RuleAction::Nop,
            6 => RuleAction::Blackhole,
            7 => RuleAction::Unreachable,
            8 => RuleAction::Prohibit,
            other => RuleAction::Other(other),
        }
    }
}

/// A policy rule. Rules are asked in the order of their priorities, those of one priority in the order in which they
/// were made.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyRule {
    /// The rules of IPv4 and of IPv6 are two lists.
    pub family: Family,
    /// `FRA_PRIORITY`: the smaller is asked first.
    pub priority: u32,
    /// `FIB_RULE_INVERT`: it matches what does *not* have the rest.
    pub inverted: bool,
    /// `FRA_SRC`; absent is any.
    pub from: Option<IpNet>,
    /// `FRA_DST`; absent is any.
    pub to: Option<IpNet>,
    /// `FRA_FWMARK` and `FRA_FWMASK`, a match where `mark & mask == value`; absent is any.
    pub mark: Option<(u32, u32)>,
    /// `FRA_IIFNAME`: the device that the packet came by; `lo` is this host itself.
    pub input: Option<Name>,
    /// `FRA_OIFNAME`: the device that a socket is bound to.
    pub output: Option<Name>,
    /// It asks for more than is told here: a service, a user, a protocol, ports, a tunnel.
    pub selective: bool,
    /// `FRA_SUPPRESS_PREFIXLEN`: routes of at most this prefix length do not count.
    pub suppress_length: Option<u32>,
    /// What it does.
    pub action: RuleAction,
}

impl PolicyRule {
    /// A rule that every packet matches.
    pub fn for_all(family: Family, priority: u32, action: RuleAction) -> PolicyRule {
        PolicyRule {
            family,
            priority,
            inverted: false,
            from: None,
            to: None,
            mark: None,
            input: None,
            output: None,
            selective: false,
            suppress_length: None,
            action,
        }
    }

    /// Whether every packet matches it.
    pub fn is_for_all(&self) -> bool {
        let PolicyRule { from, to, mark, input, output, selective, inverted, .. } = self;
        let unselective = from.is_none() && to.is_none() && input.is_none() && output.is_none() && mark.is_none();
        unselective && !selective && !inverted
    }
}

/// As `ip rule` prints it.
impl fmt::Display for PolicyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} from ", self.priority, if self.inverted { " not" } else { "" })?;
        match self.from {
            Some(net) => write!(f, "{net}")?,
            None => f.write_str("all")?,
        }
        if let Some(net) = self.to {
            write!(f, " to {net}")?;
        }
        if let Some((mark, mask)) = self.mark {
            write!(f, " fwmark {mark:#x}")?;
            if mask != u32::MAX {
                write!(f, "/{mask:#x}")?;
            }
        }
        for (word, device) in [("iif", &self.input), ("oif", &self.output)] {
            if let Some(device) = device {
                write!(f, " {word} {device}")?;
            }
        }
        match self.action {
            RuleAction::Table(0) => f.write_str(" lookup [l3mdev-table]")?,
            RuleAction::Table(254) => f.write_str(" lookup main")?,
            RuleAction::Table(255) => f.write_str(" lookup local")?,
            RuleAction::Table(253) => f.write_str(" lookup default")?,
            RuleAction::Table(table) => write!(f, " lookup {table}")?,
            RuleAction::Goto(target) => write!(f, " goto {target}")?,
            RuleAction::Nop => f.write_str(" nop")?,
            RuleAction::Blackhole => f.write_str(" blackhole")?,
            RuleAction::Unreachable => f.write_str(" unreachable")?,
            RuleAction::Prohibit => f.write_str(" prohibit")?,
            RuleAction::Other(number) => write!(f, " action {number}")?,
        }
        match self.suppress_length {
            Some(length) => write!(f, " suppress_prefixlength {length}"),
            None => Ok(()),
        }
    }
}
