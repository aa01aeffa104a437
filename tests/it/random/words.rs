//! A disagreement, told so that it can be judged by eye.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use calico_exporter::state::Object;

use super::oracle::{Fault, Oracle};
use super::world::World;

pub(super) fn disagreement(world: &World, audit: &BTreeSet<Fault>, oracle: &BTreeSet<Fault>) -> String {
    let mut text = format!("\naudit alone: {:#?}\n", audit.difference(oracle).collect::<Vec<_>>());
    let _ = writeln!(text, "second reading alone: {:#?}", oracle.difference(audit).collect::<Vec<_>>());
    let _ = writeln!(text, "{:?} {:?}", world.backend, world.topology);
    for (id, object) in &world.objects {
        match object {
            None => drop(writeln!(text, "unreadable {id:?}")),
            Some(Object::Pool(it)) => {
                let _ = writeln!(
                    text,
                    "pool {} {} /{} ipip {:?} vxlan {:?} disabled {} noexport {}",
                    it.name, it.cidr, it.block_size, it.ipip, it.vxlan, it.disabled, it.disable_bgp_export
                );
            }
            Some(Object::Node(name, it)) => {
                let _ = writeln!(text, "node {name} {:?} {:?} {:?}", it.bgp, it.tunnels, it.addresses);
            }
            Some(Object::Affinity(it)) => drop(writeln!(text, "key {} {} {:?}", it.owner, it.cidr, it.state)),
            Some(Object::Block(it)) => {
                let owner = it.owner.as_ref().map(ToString::to_string);
                let held: Vec<_> = it
                    .allocations()
                    .map(|(at, it)| {
                        format!("{at}:{:?}/{:?}", it.map(|it| it.kind), it.and_then(|it| it.node.as_deref()))
                    })
                    .collect();
                let _ = writeln!(text, "block {} {owner:?} {}", it.cidr, held.join(" "));
            }
            Some(Object::Endpoint(it)) => {
                let _ = writeln!(text, "endpoint {} {:?} {} {:?}", it.node, it.addresses, it.interface, it.floating);
            }
            Some(Object::Handle(_)) => {}
            Some(other) => drop(writeln!(text, "{other:?}")),
        }
    }
    for link in world.links.values() {
        let _ = writeln!(
            text,
            "link {} up {} no-carrier {} {:?}",
            link.name, link.admin_up, link.no_carrier, link.addresses
        );
    }
    for route in world.routes.values().filter(|it| it.table == 254) {
        let hops: Vec<_> =
            route.next_hops.iter().map(|it| format!("{:?} via {:?} down {}", it.device, it.gateway, it.down)).collect();
        let _ = writeln!(
            text,
            "route {} {:?} {:?} metric {} {}",
            route.destination,
            route.kind,
            route.protocol,
            route.metric,
            hops.join(", ")
        );
    }
    let oracle = Oracle::new(world);
    for net in oracle.destinations() {
        for it in oracle.wanted(&net) {
            let _ = writeln!(text, "wanted {net} {it:?}");
        }
    }
    text
}
