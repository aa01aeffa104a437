//! Words for what goes another way: rules and routes as iproute2 prints them.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Right, Sender, Taken, Walks};
use crate::audit::expect::Context;
use crate::audit::words::{destination, purpose};
use crate::model::{Family, Name, PolicyRule, RuleAction, TABLE_MAIN, address_at, host_route};

/// What is wrong. `senders`: those whose packets rules send elsewhere.
pub(super) fn detail(right: &Right<'_>, senders: &[&Sender], taken: &Taken<'_>) -> String {
    let whole = format!("{}, {}", destination(&right.destination), purpose(&right.expectations[right.met]));
    let whither = match taken.part == right.destination {
        true => whole,
        false => format!("{}, a part of {whole}", destination(&taken.part)),
    };
    let host = senders.iter().any(|sender| sender.from.is_none());
    let who = match (host, senders.iter().any(|sender| sender.from.is_some())) {
        (true, false) => "this host sends",
        (false, true) => "pods of this host send",
        _ => "this host and its pods send",
    };
    let instead = match (&taken.rule, taken.route) {
        (None, Some(route)) => {
            format!("takes the more specific {}, which is not Calico's", destination(&route.destination))
        }
        (None, None) => "finds no rule that leads to a route".to_owned(),
        (Some(rule), None) => format!("is dropped or refused by policy rule {}", rule.priority),
        (Some(rule), Some(route)) => {
            format!(
                "takes {} of table {} by policy rule {}",
                destination(&route.destination),
                table(route.table),
                rule.priority
            )
        }
    };
    format!("what {who} to {whither}, {instead}, though its own route is right")
}

fn table(number: u32) -> String {
    match number {
        TABLE_MAIN => "main".to_owned(),
        number => number.to_string(),
    }
}

/// The rule and the route that win.
pub(super) fn actual(taken: &Taken<'_>) -> String {
    let rule = taken.rule.as_ref().map(|rule| format!("rule {}", brief(rule)));
    match (rule, taken.route) {
        (Some(rule), Some(route)) => format!("{rule}: {route}"),
        (Some(rule), None) => rule,
        (None, Some(route)) => route.to_string(),
        (None, None) => "no rule".to_owned(),
    }
}

/// As `ip rule` prints it, without the words for any source.
fn brief(rule: &PolicyRule) -> String {
    rule.to_string().replacen(" from all", "", 1)
}

/// How to see it, and what to do.
pub(super) fn action(
    context: &Context<'_>,
    walks: &Walks,
    right: &Right<'_>,
    sender: Option<&&Sender>,
    taken: &Taken<'_>,
) -> String {
    let to = example(context, right, taken.part);
    let from = sender
        .and_then(|sender| pod(context, walks, sender, taken.rule.as_ref()))
        .map_or(String::new(), |(source, device)| format!(" from {source} iif {device}"));
    let see = format!("see `ip rule` and `ip route get {to}{from}`");
    let pool = context.datastore.pool_of(&right.destination).map_or(right.destination, |pool| pool.cidr);
    match (&taken.rule, taken.route) {
        (None, Some(route)) => {
            format!("{see}: find who installed {} (its protocol says) and remove it", destination(&route.destination))
        }
        (None, None) => format!("{see}: put back the rule `ip rule add lookup main priority 32766`"),
        (Some(rule), _) if matches!(rule.action, RuleAction::Table(TABLE_MAIN)) => {
            format!("{see}: find who limits the main table by suppress_prefixlength")
        }
        (Some(rule), _) => {
            let before = rule.priority.saturating_sub(1);
            format!(
                "{see}: keep {pool} out of what the program behind that rule routes, or send it to the main table \
                 before: `ip rule add to {pool} lookup main priority {before}`"
            )
        }
    }
}

/// An address of a part that has no route of its own.
fn example(context: &Context<'_>, right: &Right<'_>, part: IpNet) -> IpAddr {
    let goes_along = |address: &IpAddr| {
        let route = context.kernel.lookup(TABLE_MAIN, &IpNet::from(*address));
        route.is_some_and(|route| route.destination == right.destination || route.destination == part)
    };
    (0..64).filter_map(|ordinal| address_at(&part, ordinal)).find(goes_along).unwrap_or_else(|| part.addr())
}

/// The source and the device of a pod like the sender.
fn pod(context: &Context<'_>, walks: &Walks, sender: &Sender, rule: Option<&PolicyRule>) -> Option<(IpAddr, String)> {
    let from = sender.from?;
    let of_rule = |address: &IpAddr| rule.and_then(|rule| rule.from).is_none_or(|net| net.contains(address));
    let routes = walks.own(Family::of(from)).flat_map(|cidr| context.kernel.main_routes_within(cidr));
    let mut pods = routes
        .filter(|route| context.is_on_workload(route))
        .filter_map(|route| Some((host_route(&route.destination)?, route.next_hops.first()?.device.as_ref()?)));
    let named = |device: &Name| sender.device().unwrap_or(device).to_string();
    // The kernel refuses a source that it would not expect behind the device (`rp_filter`): better a pod that is there.
    let pod = pods.find(|(address, _)| of_rule(address)).map(|(address, device)| (address, named(device)));
    Some(pod.unwrap_or_else(|| (from, named(&"DEVICE".into()))))
}
