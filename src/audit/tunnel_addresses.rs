//! Every Node's tunnel addresses against IPAM (J13; invariant I13, and what `calicoctl ipam check` does not see of IPv6).
//!
//! A MAC that two Nodes' VXLAN tunnels have is a finding of its own. An address has one finding at most. Where J13 leaves room, this was decided:
//!
//! - `duplicate`: two Nodes have the address, or one Node has it for two devices. Host and device are those of the first
//!   claim by node name and kind.
//! - `owned_by_pod`: an endpoint has the address, or its allocation names a pod, whatever else the allocation says.
//! - `not_allocated`: the allocation is not this Node's claim: `type` and `node` as `allocateip` writes them, or neither
//!   handle nor attributes (very old Calico). So an address that is free, resting, in no block, or allocated to another
//!   node, for another device or to a load balancer is not allocated. A handle without attributes is a workload's
//!   (`allocateip.go`), not a tunnel's.
//! - On Windows the address is one of those that its host's block keeps back (J33).
//! - Pools are not asked: an address in a disabled pool or in none has to be allocated as well.
//! - In a dark CIDR, and where a bad attribute index hides the allocation, nothing follows from the block: neither
//!   `not_allocated` nor `owned_by_pod` by its allocation. What follows from Nodes and endpoints alone stays (J1).

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Finding;
use super::fault::{Fault, TunnelReason};
use super::leaks::{Holder, Place, owner};
use crate::model::{Attribute, AttributeKind, EndpointId, Family, Mac, Name, TunnelKind, host_net};
use crate::state::Datastore;

/// One Node's claim to an address for one of its devices.
type Claim<'a> = (&'a Name, TunnelKind);

/// The faults of all Nodes' tunnel addresses, sorted. Endpoints count as far as the datastore lists them.
pub fn judge(datastore: &Datastore) -> Vec<Finding> {
    judge_with(datastore, |address| datastore.endpoints_at(address).map(|endpoint| &endpoint.id).min())
}

/// The same, with another word on which endpoint uses an address: that of the last sweep
/// ([`super::sweep::Swept::tunnel_users`]).
pub fn judge_with<'a>(datastore: &'a Datastore, user: impl Fn(IpAddr) -> Option<&'a EndpointId>) -> Vec<Finding> {
    let mut claims: BTreeMap<IpAddr, Vec<Claim<'_>>> = BTreeMap::new();
    for (name, node) in datastore.nodes() {
        for (kind, address) in &node.tunnels {
            claims.entry(*address).or_default().push((name, *kind));
        }
    }
    let mut found: Vec<Finding> = claims
        .into_iter()
        .filter_map(|(address, claims)| match claims.as_slice() {
            [claim] => judge_claim(datastore, address, *claim, user(address)),
            // Nodes come by name and kinds in order: the first claim is the first by both.
            [first, ..] => Some(duplicate(address, *first, &claims)),
            [] => None,
        })
        .collect();
    found.extend(Family::ALL.into_iter().flat_map(|family| duplicate_macs(datastore, family)));
    found.sort_unstable();
    found
}

/// MACs that more than one Node's tunnel end point has, each once: every other host keeps one forwarding entry for such
/// a MAC (`felix/vxlanfdb/vxlan_fdb.go`, `SetVTEPs`), and which Node it leads to differs from host to host.
fn duplicate_macs(datastore: &Datastore, family: Family) -> impl Iterator<Item = Finding> {
    let mut nodes: BTreeMap<Mac, Vec<&Name>> = BTreeMap::new();
    for (name, node) in datastore.nodes().iter().filter(|(_, node)| node.vtep(family).is_some()) {
        nodes.entry(node.vxlan_mac(name, family)).or_default().push(name);
    }
    let several = nodes.into_iter().filter(|(_, nodes)| nodes.len() > 1);
    several.map(move |(mac, nodes)| {
        let who = nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let kind = TunnelKind::vxlan(family);
        let field = match family {
            Family::V4 => "vxlanTunnelMACAddr",
            Family::V6 => "vxlanTunnelMACAddrV6",
        };
        Finding::new(Fault::Tunnel(kind.device().into(), TunnelReason::DuplicateMac), mac)
            .host(nodes.first().map(|name| (*name).clone()))
            .detail(format!(
                "{mac} is the MAC of {} on {who}: each other host sends what is meant for them to one of them alone.",
                kind.device()
            ))
            .expected("one Node", who)
            .action(format!("Give each of these Nodes a spec.{field} of its own, or none: Felix derives one then."))
    })
}

fn judge_claim(datastore: &Datastore, address: IpAddr, claim: Claim<'_>, user: Option<&EndpointId>) -> Option<Finding> {
    let (node, kind) = claim;
    if let Some(EndpointId { namespace, name }) = user {
        return Some(owned_by_pod(address, claim, &format!("endpoint {namespace}/{name} has it")));
    }
    if datastore.is_dark(&host_net(address)) {
        return None;
    }
    let place = Place::of(datastore, address);
    let expected = format!("allocated as {} to {node}", kind.attribute());
    if is_windows(place, node, kind) {
        return None;
    }
    let actual = match place.holder {
        Holder::Hidden => return None,
        Holder::Nobody if place.block.is_none() => "in no block".to_owned(),
        Holder::Nobody => "free".to_owned(),
        Holder::Cooling => "released, and resting".to_owned(),
        Holder::Tunnel(it) | Holder::Machine(it) | Holder::Exempt(it) | Holder::Judged(it) => {
            if it.has_pod() {
                return Some(owned_by_pod(address, claim, &format!("it is allocated{}", owner(it))));
            }
            if satisfies(it, node, kind) {
                return None;
            }
            let handle = it.handle.as_deref().map_or_else(|| "no handle".to_owned(), |id| format!("handle {id}"));
            format!("allocated{} ({handle})", owner(it))
        }
    };
    let finding = found(TunnelReason::NotAllocated, address, claim)
        .detail(format!(
            "{node} uses {address} on {}, and IPAM does not know it as such: it is {actual}.",
            kind.device()
        ))
        .expected(expected, actual)
        .action(format!(
            "Restart calico-node on {node}: when it starts, it gives the tunnel an address that is its own."
        ));
    Some(finding)
}

/// A Windows host's own VXLAN address, which its block keeps back with the gateway's and the last one (J33).
fn is_windows(place: Place<'_>, node: &Name, kind: TunnelKind) -> bool {
    let reserved = place.holder.attribute().is_some_and(|it| it.kind == AttributeKind::WindowsReserved);
    reserved && kind == TunnelKind::VxlanV4 && place.block.and_then(|block| block.host()) == Some(node)
}

/// What `allocateip` writes, or what Calico wrote before it knew handles and attributes.
fn satisfies(attribute: &Attribute, node: &Name, kind: TunnelKind) -> bool {
    attribute.is_bare()
        || (attribute.node.as_ref() == Some(node) && attribute.kind_text.as_deref() == Some(kind.attribute()))
}

fn found(reason: TunnelReason, address: IpAddr, (node, kind): Claim<'_>) -> Finding {
    Finding::new(Fault::Tunnel(kind.device().into(), reason), address).host(Some(node.clone()))
}

fn duplicate(address: IpAddr, first: Claim<'_>, claims: &[Claim<'_>]) -> Finding {
    let who = claims.iter().map(|(node, kind)| format!("{node} ({})", kind.device())).collect::<Vec<_>>().join(", ");
    found(TunnelReason::Duplicate, address, first)
        .detail(format!("{address} is the tunnel address of {who}: packets to one go to another."))
        .expected("one Node and one device", who)
        .action(
            "Restart calico-node on these hosts: the one to which the address is not allocated takes another. \
             If none does, remove the address from one of the Nodes first.",
        )
}

fn owned_by_pod(address: IpAddr, claim: Claim<'_>, how: &str) -> Finding {
    let (node, kind) = claim;
    found(TunnelReason::OwnedByPod, address, claim)
        .detail(format!("{node} uses {address} on {}, but a pod owns it: {how}.", kind.device()))
        .expected(format!("allocated as {} to {node}", kind.attribute()), how)
        .action(format!("Restart calico-node on {node}: when it starts, it gives the tunnel another address."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::sample::{self, Cluster, attribute, endpoint, ip, load_balancer, net, tunnel};
    use crate::state::ObjectId;

    fn healthy() -> Cluster {
        let mut cluster = Cluster::two_hosts();
        cluster.give_tunnel("h1", TunnelKind::VxlanV4, "10.0.0.1");
        cluster.give_tunnel("h1", TunnelKind::Ipip, "10.0.0.2");
        cluster.give_tunnel("h1", TunnelKind::WireguardV6, "fd00::1");
        // Borrowed from h1's block, and no fault.
        cluster.give_tunnel("h2", TunnelKind::VxlanV4, "10.0.0.3");
        cluster.give_tunnel("h2", TunnelKind::VxlanV6, "fd00::41");
        cluster.run("h1", "web", "10.0.0.9");
        cluster
    }

    fn found(change: impl FnOnce(&mut Cluster)) -> Vec<String> {
        sample::found(healthy(), change, judge, |it| {
            let [device, reason, _] = it.fault.values();
            format!("{reason} {} {device} {}", it.subject, it.host.as_deref().unwrap_or("-"))
        })
    }

    #[track_caller]
    fn clean(change: impl FnOnce(&mut Cluster)) {
        assert_eq!(found(change), [""; 0]);
    }

    #[test]
    fn addresses_that_are_allocated_to_the_node_and_the_device_are_sound() {
        clean(|_| {});
        clean(|it| it.pool("v4", "10.0.0.0/16").disabled = true);
        clean(|it| it.pools.clear());
        // Very old Calico wrote neither handle nor attributes.
        clean(|it| *it.attribute("10.0.0.2") = attribute(AttributeKind::Workload, None));
        // An old address left behind is no claim.
        clean(|it| it.allocate("10.0.0.30", tunnel("h1", TunnelKind::VxlanV4)));
    }

    #[test]
    fn an_address_that_is_not_allocated_as_the_tunnels() {
        let lost = ["not_allocated 10.0.0.1 vxlan.calico h1"];
        let free = |it: &mut Cluster| {
            it.blocks.get_mut(&net("10.0.0.0/26")).unwrap().held.remove(&1);
        };
        assert_eq!(found(free), lost);
        let instead = |other: Attribute| move |it: &mut Cluster| *it.attribute("10.0.0.1") = other;
        let rests = attribute(AttributeKind::Cooldown, None);
        assert_eq!(found(instead(rests)), lost);
        assert_eq!(found(instead(tunnel("h2", TunnelKind::VxlanV4))), lost);
        assert_eq!(found(instead(tunnel("h1", TunnelKind::Ipip))), lost);
        assert_eq!(found(instead(load_balancer())), lost);
        assert_eq!(found(instead(attribute(AttributeKind::Workload, Some("by-hand")))), lost);
        assert_eq!(
            found(|it| {
                it.blocks.remove(&net("fd00::40/122"));
            }),
            ["not_allocated fd00::41 vxlan-v6.calico h2"]
        );
        let outside = |it: &mut Cluster| it.tunnel("h1", TunnelKind::WireguardV4, "192.0.2.1");
        assert_eq!(found(outside), ["not_allocated 192.0.2.1 wireguard.cali h1"]);
        // What cannot be read may be the claim.
        clean(|it| *it.held("10.0.0.1") = None);
        clean(|it| {
            let cidr = net("10.0.0.0/26");
            it.blocks.remove(&cidr);
            it.unreadable.push(ObjectId::Block(cidr));
        });
    }

    #[test]
    fn a_windows_hosts_address_is_one_that_its_block_keeps_back() {
        let windows = |it: &mut Cluster| {
            let kept = || attribute(AttributeKind::WindowsReserved, Some("windows-reserved-ipam-handle"));
            it.block("10.0.1.0/26", "host:h2");
            for address in ["10.0.1.0", "10.0.1.1", "10.0.1.2", "10.0.1.63"] {
                it.allocate(address, kept());
            }
            it.tunnel("h2", TunnelKind::VxlanV4, "10.0.1.1");
        };
        clean(windows);
        // Not of another host's block, and not for another tunnel.
        let borrowed = |it: &mut Cluster| {
            windows(it);
            it.blocks.get_mut(&net("10.0.1.0/26")).unwrap().owner = crate::model::BlockOwner::parse("host:h1");
        };
        assert_eq!(found(borrowed), ["not_allocated 10.0.1.1 vxlan.calico h2"]);
        let ipip = |it: &mut Cluster| {
            windows(it);
            it.tunnel("h2", TunnelKind::VxlanV4, "10.0.0.3");
            it.tunnel("h2", TunnelKind::Ipip, "10.0.1.1");
        };
        assert_eq!(found(ipip), ["not_allocated 10.0.1.1 tunl0 h2"]);
    }

    #[test]
    fn an_address_that_a_pod_owns() {
        let pods = ["owned_by_pod 10.0.0.9 wireguard.cali h2"];
        let claim = |it: &mut Cluster| it.tunnel("h2", TunnelKind::WireguardV4, "10.0.0.9");
        assert_eq!(found(claim), pods);
        // By the allocation alone, and by the endpoint alone.
        assert_eq!(
            found(|it| {
                claim(it);
                it.endpoints.clear();
            }),
            pods
        );
        let used = |it: &mut Cluster| it.attach(endpoint("h1", "stray", &["fd00::1"]));
        assert_eq!(found(used), ["owned_by_pod fd00::1 wg-v6.cali h1"]);
        // Even in a block that cannot be read: the endpoint says so.
        assert_eq!(
            found(|it| {
                used(it);
                it.blocks.remove(&net("fd00::/122"));
                it.unreadable.push(ObjectId::Block(net("fd00::/122")));
            }),
            ["owned_by_pod fd00::1 wg-v6.cali h1"]
        );
        // A floating address is not its pod's own.
        clean(|it| it.endpoint("h1", "web").floating.push(ip("10.0.0.1")));
    }

    #[test]
    fn an_address_that_is_claimed_twice() {
        let nodes = |it: &mut Cluster| it.tunnel("h2", TunnelKind::VxlanV4, "10.0.0.1");
        assert_eq!(found(nodes), ["duplicate 10.0.0.1 vxlan.calico h1"]);
        let kinds = |it: &mut Cluster| it.tunnel("h1", TunnelKind::VxlanV4, "10.0.0.2");
        assert_eq!(found(kinds), ["duplicate 10.0.0.2 tunl0 h1"]);
        // Before a pod's and before what is not allocated.
        assert_eq!(
            found(|it| {
                it.tunnel("h1", TunnelKind::WireguardV4, "10.0.0.9");
                it.tunnel("h2", TunnelKind::WireguardV4, "10.0.0.9");
            }),
            ["duplicate 10.0.0.9 wireguard.cali h1"]
        );
    }
}
