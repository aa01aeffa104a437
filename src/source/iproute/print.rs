//! The kernel's side as iproute2's JSON, as far as it is read again: what [`Files`](super::Files) makes of it are the same
//! events.

use serde_json::{Map, Value, json};

use crate::model::{EntryState, Family, FdbEntry, Link, Neighbour, NextHop, PolicyRule, Route, RouteType, RuleAction};
use crate::state::Event;

/// A host's kernel, list by list; absent what nothing was said of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Printed {
    /// `ip -j -d route show table all`.
    pub routes: Vec<Value>,
    /// `ip -j -d addr show`.
    pub links: Vec<Value>,
    /// `ip -j -d -s neigh show nud all`.
    pub neighbours: Option<Vec<Value>>,
    /// `bridge -j -d fdb show`.
    pub fdb: Option<Vec<Value>>,
    /// `ip -j rule show` and `ip -6 -j rule show`.
    pub rules: Option<[Vec<Value>; 2]>,
}

impl Printed {
    /// What such events say.
    pub fn of(events: &[Event]) -> Printed {
        let links: Vec<&Link> =
            events.iter().filter_map(|event| if let Event::Link(link) = event { Some(link) } else { None }).collect();
        let name = |index: u32| match links.iter().find(|it| it.index == index) {
            Some(link) => link.name.to_string(),
            None => format!("if{index}"),
        };
        let mut printed = Printed::default();
        for event in events {
            match event {
                Event::Link(it) => printed.links.push(link(it, &name)),
                Event::Route(it) => printed.routes.push(route(it)),
                Event::Neighbour(it) => printed.neighbours.get_or_insert_default().push(neighbour(it, &name)),
                Event::Fdb(it) => printed.fdb.get_or_insert_default().push(entry(it, &name)),
                Event::Rules(family, rules) => {
                    let lists = printed.rules.get_or_insert_default();
                    lists[usize::from(*family == Family::V6)].extend(rules.iter().map(rule));
                }
                Event::Listed(crate::state::Table::Neighbours) => drop(printed.neighbours.get_or_insert_default()),
                Event::Listed(crate::state::Table::Fdb) => drop(printed.fdb.get_or_insert_default()),
                _ => {}
            }
        }
        printed
    }
}

fn put(object: &mut Value, field: &str, value: Option<impl Into<Value>>) {
    if let (Some(object), Some(value)) = (object.as_object_mut(), value) {
        object.insert(field.to_owned(), value.into());
    }
}

fn link(link: &Link, name: &impl Fn(u32) -> String) -> Value {
    let flags: Vec<&str> =
        [("UP", link.admin_up), ("NO-CARRIER", link.no_carrier)].into_iter().filter(|it| it.1).map(|it| it.0).collect();
    let addresses: Vec<Value> =
        link.addresses.iter().map(|net| json!({"local": net.addr(), "prefixlen": net.prefix_len()})).collect();
    let mut printed = json!({
        "ifindex": link.index, "ifname": &*link.name, "flags": flags, "mtu": link.mtu, "addr_info": addresses,
    });
    put(&mut printed, "address", link.mac.map(|mac| mac.to_string()));
    if let Some(kind) = &link.kind {
        let mut info = json!({"info_kind": &**kind});
        if let Some(vxlan) = &link.vxlan {
            let mut data = json!({});
            put(&mut data, "id", vxlan.vni);
            put(&mut data, "port", vxlan.port);
            put(&mut data, "local", vxlan.local.map(|it| it.to_string()));
            put(&mut data, "link", vxlan.parent.map(name));
            put(&mut data, "external", vxlan.flow_based.then_some(true));
            put(&mut info, "info_data", Some(data));
        }
        put(&mut printed, "linkinfo", Some(info));
    }
    printed
}

fn route(route: &Route) -> Value {
    let kind = match route.kind {
        RouteType::Other(number) => json!(number.to_string()),
        kind => json!(kind.as_str()),
    };
    let mut printed = json!({
        "type": kind, "dst": route.destination.to_string(), "table": route.table.to_string(), "metric": route.metric,
        "tos": route.tos.to_string(), "protocol": route.protocol.0.to_string(),
        "scope": if route.link_scope { "link" } else { "global" }, "flags": [],
    });
    match &*route.next_hops {
        [] => {}
        [only] => {
            if let (Some(all), Value::Object(hop)) = (printed.as_object_mut(), next_hop(only, route)) {
                all.extend(hop);
            }
        }
        several => {
            let hops: Vec<Value> = several.iter().map(|hop| next_hop(hop, route)).collect();
            put(&mut printed, "nexthops", Some(hops));
        }
    }
    printed
}

fn next_hop(hop: &NextHop, route: &Route) -> Value {
    let flags: Vec<&str> =
        [("linkdown", hop.down), ("onlink", hop.onlink)].into_iter().filter(|it| it.1).map(|it| it.0).collect();
    let mut printed = Value::Object(Map::new());
    put(&mut printed, "flags", Some(flags));
    put(&mut printed, "dev", hop.device.as_ref().map(ToString::to_string));
    let Some(gateway) = hop.gateway else { return printed };
    match Family::of(gateway) == Family::of_net(&route.destination) {
        true => put(&mut printed, "gateway", Some(gateway.to_string())),
        false => {
            let family = if gateway.is_ipv4() { "inet" } else { "inet6" };
            put(&mut printed, "via", Some(json!({"family": family, "host": gateway})));
        }
    }
    printed
}

fn neighbour(neighbour: &Neighbour, name: &impl Fn(u32) -> String) -> Value {
    let words = neighbour.state.words();
    let states: Vec<&str> = words.split(',').filter(|word| *word != "none").collect();
    let mut printed = json!({"dst": neighbour.address, "dev": name(neighbour.device), "state": states});
    put(&mut printed, "lladdr", neighbour.mac.map(|mac| mac.to_string()));
    printed
}

fn entry(entry: &FdbEntry, name: &impl Fn(u32) -> String) -> Value {
    let state = match entry.state {
        EntryState::REACHABLE => String::new(),
        EntryState(bits) => format!("state=0x{bits:x}"),
    };
    let mut printed =
        json!({"mac": entry.mac.to_string(), "ifname": name(entry.device), "flags": ["self"], "state": state});
    put(&mut printed, "dst", entry.destination.map(|it| it.to_string()));
    printed
}

fn rule(rule: &PolicyRule) -> Value {
    let mut printed = json!({"priority": rule.priority});
    let nets = [("src", "srclen", &rule.from), ("dst", "dstlen", &rule.to)];
    for (field, length, net) in nets {
        put(&mut printed, field, Some(net.map_or("all".to_owned(), |net| net.addr().to_string())));
        put(&mut printed, length, net.map(|net| net.prefix_len()));
    }
    put(&mut printed, "not", rule.inverted.then_some(Value::Null));
    put(&mut printed, "fwmark", rule.mark.map(|(mark, _)| format!("{mark:#x}")));
    put(&mut printed, "fwmask", rule.mark.map(|(_, mask)| format!("{mask:#x}")));
    put(&mut printed, "iif", rule.input.as_ref().map(ToString::to_string));
    put(&mut printed, "oif", rule.output.as_ref().map(ToString::to_string));
    put(&mut printed, "l3mdev", rule.selective.then_some(Value::Null));
    put(&mut printed, "suppress_prefixlen", rule.suppress_length);
    match rule.action {
        RuleAction::Table(table) => put(&mut printed, "table", Some(table.to_string())),
        RuleAction::Goto(target) => put(&mut printed, "goto", Some(target)),
        RuleAction::Nop => put(&mut printed, "nop", Some(Value::Null)),
        RuleAction::Blackhole => put(&mut printed, "action", Some("6")),
        RuleAction::Unreachable => put(&mut printed, "action", Some("7")),
        RuleAction::Prohibit => put(&mut printed, "action", Some("8")),
        RuleAction::Other(number) => put(&mut printed, "action", Some(number.to_string())),
    }
    printed
}
