//! The policy rule that sends what is to be encrypted to WireGuard's table (`felix/wireguard/wireguard.go`): without it
//! the main table's routes hold, and packets leave as they are.

use crate::audit::fault::TunnelReason;
use crate::audit::finding::Finding;
use crate::audit::setting::Setting;
use crate::model::{Family, Name, PolicyRule, RuleAction, TABLE_MAIN, TunnelKind};
use crate::state::{Datastore, Kernel, Tunnels};

/// `RT_TABLE_DEFAULT` and `RT_TABLE_LOCAL`, between which main is.
const OWN_TABLES: std::ops::RangeInclusive<u32> = 253..=255;

/// The families that this host encrypts: Felix is told to, has shown its key, and there is somebody to talk to.
fn encrypted(datastore: &Datastore, me: &Name, setting: &Setting) -> impl Iterator<Item = Family> {
    let of = |family: &Family| {
        setting.wireguard_of[*family as usize]
            && datastore.node(me).is_some_and(|node| node.wireguard_key(*family).is_some())
            && datastore.nodes().iter().any(|(name, node)| name != me && node.wireguard_key(*family).is_some())
    };
    Family::ALL.into_iter().filter(of).collect::<Vec<_>>().into_iter()
}

/// The WireGuard devices of which rules are judged, each with whether one is missing.
pub(super) fn judge(
    datastore: &Datastore,
    kernel: &Kernel,
    tables: &Tunnels,
    me: &Name,
    setting: &Setting,
) -> Vec<(TunnelKind, Option<Finding>)> {
    let of_family = |family| {
        let rules = tables.rules(family)?;
        let kind = TunnelKind::wireguard(family);
        let finding = (!is_sent_there(kernel, rules, family)).then(|| missing(rules, me, kind));
        Some((kind, finding))
    };
    encrypted(datastore, me, setting).filter_map(of_family).collect()
}

/// Whether a rule sends all that is not marked as encrypted to the device's table, before main is asked.
pub(in crate::audit) fn is_sent_there(kernel: &Kernel, rules: &[PolicyRule], family: Family) -> bool {
    let device = TunnelKind::wireguard(family).device();
    let leads = |table: u32| {
        let mut routes = kernel.routes().filter(|route| Family::of_net(&route.destination) == family);
        routes.any(|route| {
            route.table == table && route.next_hops.iter().any(|hop| hop.device.as_deref() == Some(device))
        })
    };
    let main = rules.iter().find(|rule| is_general(rule) && rule.action == RuleAction::Table(TABLE_MAIN));
    let before_main = |rule: &&PolicyRule| main.is_none_or(|main| rule.priority < main.priority);
    rules.iter().filter(before_main).any(|rule| match rule.action {
        RuleAction::Table(table) if is_for_all(rule) && !OWN_TABLES.contains(&table) && table != 0 => {
            // Felix's own form is taken at its word: the table is empty until there is a route to a peer.
            leads(table) || (rule.inverted && rule.mark.is_some())
        }
        _ => false,
    })
}

fn is_unselective(rule: &PolicyRule) -> bool {
    let PolicyRule { from, to, input, output, selective, .. } = rule;
    from.is_none() && to.is_none() && input.is_none() && output.is_none() && !selective
}

/// Every packet, and every route of the table.
fn is_general(rule: &PolicyRule) -> bool {
    is_unselective(rule) && !rule.inverted && rule.mark.is_none() && rule.suppress_length.is_none()
}

/// Every packet but those that are marked.
fn is_for_all(rule: &PolicyRule) -> bool {
    is_unselective(rule) && rule.inverted == rule.mark.is_some()
}

fn missing(rules: &[PolicyRule], me: &Name, kind: TunnelKind) -> Finding {
    let device = kind.device();
    let actual: Vec<String> = rules.iter().map(ToString::to_string).collect();
    Finding::of_tunnel(device, TunnelReason::RuleMissing, me)
        .detail(format!(
            "no policy rule sends packets to the table of {device} before the main table is asked: they leave unencrypted"
        ))
        .expected(format!("not from all fwmark 0x100000/0x100000 lookup (the table with the routes of {device})"), {
            match actual.is_empty() {
                true => "no rules".to_owned(),
                false => actual.join("; "),
            }
        })
        .action("see Felix's log on this host: it adds the rule when it starts and within 99 s; and who else writes rules")
}
