//! This host's tunnel devices and their addresses (J13), its Node against its interfaces (J30), who programs which routes (J27), and the
//! tunnel mode that the routes show (J26).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::cannot_tell::closest_names;
use super::expect::Devices;
use super::fault::{Fault, NodeReason, OwnerReason, TunnelReason};
use super::finding::Finding;
use super::judge::Evidence;
use super::node_addresses::listed;
use super::report::{Encapsulation, TunnelMode, TunnelModes};
use super::setting::{Programmer, Setting, tunnel_class};
use super::{tunnel_devices, wireguard, words};
use crate::model::{AffinityState, EncapMode, Family, IpPool, Link, Name, PoolClass, TunnelKind};
use crate::state::{Datastore, Kernel};

/// J13: the devices of this host's Node's tunnel addresses whose class has a pool, and those that a required route
/// needs (`needed`: each entry a list of which any will do). One finding a device and reason.
pub(super) fn devices(
    datastore: &Datastore,
    kernel: &Kernel,
    me: &Name,
    setting: &Setting,
    needed: &BTreeSet<Devices>,
) -> Vec<Finding> {
    if !kernel.knows_links() {
        return Vec::new();
    }
    let node = datastore.node(me);
    let mut wanted: BTreeMap<Vec<&str>, Vec<IpAddr>> = needed.iter().map(|it| (it.to_vec(), Vec::new())).collect();
    // Felix makes no tunnel of a family of which this host has no address to send from.
    let sends = |kind: &TunnelKind| node.is_some_and(|node| node.routing_address(kind.family()).is_some());
    let tunnels = node.map(|node| &node.tunnels).into_iter().flatten();
    for (kind, address) in tunnels.filter(|(kind, _)| sends(kind)) {
        // WireGuard's are looked at by themselves: it has no pools.
        let in_use = tunnel_class(*kind).is_some_and(|class| {
            datastore.pools().values().any(|pool| pool.class() == class && pool.family() == kind.family())
        });
        if in_use {
            let names = match kind {
                // eBPF has one device for both families.
                TunnelKind::VxlanV6 if setting.bpf => {
                    vec![TunnelKind::VxlanV4.device(), TunnelKind::VxlanV6.device()]
                }
                kind => vec![kind.device()],
            };
            wanted.entry(names).or_default().push(*address);
        }
    }
    for family in Family::ALL.into_iter().filter(|family| sends(&TunnelKind::wireguard(*family))) {
        let names = vec![TunnelKind::wireguard(family).device()];
        if let Some(address) = wireguard_address(datastore, kernel, me, setting, family) {
            wanted.entry(names).or_default().extend(address);
        }
    }
    let mut findings = Vec::new();
    let mut links: BTreeMap<u32, (&Link, Vec<IpAddr>)> = BTreeMap::new();
    for (names, addresses) in wanted {
        match names.iter().find_map(|name| kernel.link(name)) {
            Some(link) => links.entry(link.index).or_insert((link, Vec::new())).1.extend(addresses),
            None => findings.push(missing(&names, me, setting)),
        }
    }
    for (link, addresses) in links.into_values() {
        if link.is_up() {
            findings.extend(tunnel_devices::attributes(datastore, kernel, me, setting, link));
        } else {
            findings.push(down(link, me));
        }
        let of_wireguard =
            matches!(TunnelKind::of_device(&link.name), Some(TunnelKind::WireguardV4 | TunnelKind::WireguardV6));
        if !addresses.is_empty() || of_wireguard {
            findings.extend(device_addresses(link, &addresses, me, setting));
        }
    }
    findings
}

/// Whether this host encrypts in a family, and the address that its device is to have then: its Node's, or under host
/// encryption the Node's own. A host whose kernel has no WireGuard shows no key, and takes no part.
fn wireguard_address(
    datastore: &Datastore,
    kernel: &Kernel,
    me: &Name,
    setting: &Setting,
    family: Family,
) -> Option<Option<IpAddr>> {
    let node = datastore.node(me)?;
    let kind = TunnelKind::wireguard(family);
    let address = node.tunnels.get(&kind).copied();
    let made = address.is_some() || kernel.link(kind.device()).is_some();
    let in_use = wireguard::has_key(node, family) || setting.wireguard_of[family as usize] && made;
    let own = || {
        let encrypts = wireguard::encrypts_nodes(datastore, kernel, me, setting, family);
        node.routing_address(family).filter(|_| encrypts)
    };
    in_use.then(|| address.or_else(own))
}

fn down(link: &Link, me: &Name) -> Finding {
    Finding::of_tunnel(&link.name, TunnelReason::Down, me)
        .detail(format!("tunnel device {} is down or has no carrier: no route through it works", link.name))
        .expected("up", if link.admin_up { "no carrier" } else { "down" })
        .action(format!("ip link set {} up, and see why calico-node did not", link.name))
}

fn missing(names: &[&str], me: &Name, setting: &Setting) -> Finding {
    let name = names.last().copied().unwrap_or_default();
    let off = TunnelKind::of_device(name)
        .filter(|kind| kind.is_vxlan())
        .and_then(|kind| setting.turned_off(kind.family(), true));
    let finding =
        Finding::of_tunnel(name, TunnelReason::Missing, me).expected(format!("device {name}"), "no such device");
    match off {
        Some(off) => finding
            .detail(format!(
                "tunnel device {name} does not exist: no route through it can be programmed. {off}, so that Felix does \
                 not make it"
            ))
            .action(words::turn_on(&off)),
        None => finding
            .detail(format!("tunnel device {name} does not exist: no route through it can be programmed"))
            .action("see Felix's log on this host: it makes the device when it has the Node's addresses"),
    }
}

/// What the device carries against the Node's address. IPv6 link-local addresses are the kernel's own.
fn device_addresses(link: &Link, wanted: &[IpAddr], me: &Name, setting: &Setting) -> Option<Finding> {
    let carried: Vec<IpAddr> = link
        .addresses
        .iter()
        .map(|net| net.addr())
        .filter(|address| !matches!(address, IpAddr::V6(address) if address.is_unicast_link_local()))
        .collect();
    let listed = |addresses: &[IpAddr]| {
        let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        if texts.is_empty() { "no address".to_owned() } else { texts.join(", ") }
    };
    // Where one device carries both families (eBPF), the other family's address may be there or not.
    let family = TunnelKind::of_device(&link.name).map(TunnelKind::family);
    let is_own = |address: &IpAddr| !setting.bpf || family.is_none_or(|family| family == Family::of(*address));
    let absent = wanted.iter().filter(|address| is_own(address)).any(|address| !carried.contains(address));
    let extra = carried.iter().any(|address| !wanted.contains(address));
    let (reason, detail) = match (absent, extra) {
        // The device was made, and this host got no address for it.
        (false, false) if wanted.is_empty() => {
            (TunnelReason::AddressMissing, "has no address, and neither has the Node")
        }
        (false, false) => return None,
        // eBPF may leave the device without one (`bpfOverlayHostSourceIP`).
        (true, false) if setting.bpf && carried.is_empty() => return None,
        (true, false) => (TunnelReason::AddressMissing, "does not carry the Node's tunnel address"),
        (true, true) => (TunnelReason::AddressDiffers, "carries another address than the Node's tunnel address"),
        (false, true) => (TunnelReason::AddressUnexpected, "carries an address beside the Node's tunnel address"),
    };
    let expected =
        if absent || extra { listed(wanted) } else { "an address of a pool, in the Node and on it".to_owned() };
    Some(
        Finding::of_tunnel(&link.name, reason, me)
            .detail(format!("tunnel device {} {detail}", link.name))
            .expected(expected, listed(&carried))
            .action(
                "restart calico-node on this host, or set the address as the Node says (calicoctl get node -o yaml)",
            ),
    )
}

/// J30: this host's Node against its interfaces, each reason once for the host.
pub(super) fn node(datastore: &Datastore, kernel: &Kernel, me: &Name) -> Vec<Finding> {
    let Some(node) = datastore.node(me).filter(|_| kernel.knows_links()) else { return Vec::new() };
    let mut missing = Vec::new();
    let mut differing = Vec::new();
    for family in Family::ALL {
        let Some(subnet) = node.bgp_address(family) else { continue };
        let crosses =
            datastore.pools().values().any(|pool| pool.mode() == EncapMode::CrossSubnet && pool.family() == family);
        match kernel.interface_of(subnet.addr()) {
            None => missing.push(subnet.addr().to_string()),
            Some((link, length)) if crosses && length != subnet.prefix_len() => {
                differing.push((subnet.to_string(), format!("{}/{length} on {}", subnet.addr(), link.name)));
            }
            Some(_) => {}
        }
    }
    let fault = |reason| Finding::new(Fault::Node(reason), me).host(Some(me.clone()));
    let mut findings = Vec::new();
    if !missing.is_empty() {
        findings.push(
            fault(NodeReason::AddressMissing)
                .detail("no interface of this host has the address by which the other hosts reach it")
                .expected(missing.join(", "), "on no interface")
                .action("correct spec.bgp of the Node (calicoctl get node -o yaml) or the interface; see IP_AUTODETECTION_METHOD"),
        );
    }
    if !differing.is_empty() {
        let (expected, actual): (Vec<String>, Vec<String>) = differing.into_iter().unzip();
        findings.push(
            fault(NodeReason::PrefixDiffers)
                .detail("the Node's prefix length is not the interface's: CrossSubnet takes hosts for near that are far, or the reverse")
                .expected(expected.join(", "), actual.join(", "))
                .action("set the prefix length of spec.bgp's address to the interface's and let calico-node detect it again"),
        );
    }
    findings
}

/// J35: this host has no Node, and everything that it has to be judged against is gone.
pub(super) fn node_missing(datastore: &Datastore, me: &Name) -> Finding {
    let closest = closest_names(me, datastore.nodes().keys());
    let names = if closest.is_empty() { "there is no Node at all".to_owned() } else { listed(&closest) };
    Finding::new(Fault::Node(NodeReason::NodeMissing), me)
        .host(Some(me.clone()))
        .detail(format!(
            "There is no Node {me} in the datastore: nothing leads to this host, and nothing of it is judged but this."
        ))
        .expected(format!("a Node {me}"), format!("no Node {me}; the closest of the Nodes: {names}"))
        .action(
            "If this host is called otherwise in Calico, set --node.name (NODENAME). If its Node was deleted, restart \
             calico-node here: it writes the Node again. Do not remove routes or addresses: pods use them.",
        )
}

/// A pool's configured mode.
pub(super) fn configured_mode(pool: &IpPool) -> TunnelMode {
    match (pool.class(), pool.mode()) {
        (PoolClass::Vxlan, EncapMode::CrossSubnet) => TunnelMode::VxlanCrossSubnet,
        (PoolClass::Vxlan, _) => TunnelMode::VxlanAlways,
        (PoolClass::Ipip, EncapMode::CrossSubnet) => TunnelMode::IpipCrossSubnet,
        (PoolClass::Ipip, _) => TunnelMode::IpipAlways,
        (PoolClass::NoEncap | PoolClass::Unrouted, _) => TunnelMode::None,
    }
}

/// J26: the configured mode while every remote route of the pool fits it, else what is seen.
pub(super) fn modes(datastore: &Datastore, evidence: &BTreeMap<Evidence, u64>) -> BTreeMap<Name, TunnelModes> {
    let of_pool = |pool: &IpPool| {
        let configured = configured_mode(pool);
        let seen: Vec<&Evidence> = evidence.keys().filter(|it| it.pool == pool.name).collect();
        TunnelModes { configured, observed: observed_mode(configured, &seen) }
    };
    datastore.pools().values().map(|pool| (pool.name.clone(), of_pool(pool))).collect()
}

fn observed_mode(configured: TunnelMode, seen: &[&Evidence]) -> TunnelMode {
    // WireGuard takes the traffic of any pool; routes to hosts that are no peers show the mode beneath it.
    let beneath: Vec<&&Evidence> = seen.iter().filter(|it| it.encapsulation != Encapsulation::Wireguard).collect();
    let seen = match (seen, beneath.as_slice()) {
        ([], _) => return TunnelMode::Unknown,
        (_, []) => return TunnelMode::Wireguard,
        (_, beneath) => beneath,
    };
    if seen.iter().all(|it| it.fits) {
        return configured;
    }
    let kinds: BTreeSet<Encapsulation> = seen.iter().map(|it| it.encapsulation).collect();
    let by_subnet = seen.iter().all(|it| it.same_subnet == (it.encapsulation == Encapsulation::None));
    match kinds.into_iter().collect::<Vec<_>>().as_slice() {
        [Encapsulation::Ipip] => TunnelMode::IpipAlways,
        [Encapsulation::Vxlan] => TunnelMode::VxlanAlways,
        [Encapsulation::None] => TunnelMode::None,
        [Encapsulation::Ipip, Encapsulation::None] if by_subnet => TunnelMode::IpipCrossSubnet,
        [Encapsulation::Vxlan, Encapsulation::None] if by_subnet => TunnelMode::VxlanCrossSubnet,
        _ => TunnelMode::Mixed,
    }
}

fn family_words(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// Who is configured to program which class of pools here; BIRD nothing where the backend is told to be without.
pub(super) fn owners(setting: &Setting) -> Vec<(&'static str, PoolClass)> {
    let components = [("felix", Programmer::Felix), ("bird", Programmer::Bird)];
    let classes = [PoolClass::Vxlan, PoolClass::Ipip, PoolClass::NoEncap];
    components
        .iter()
        .filter(|(_, who)| *who == Programmer::Felix || !setting.without_bird)
        .flat_map(|(name, who)| classes.iter().map(move |class| (*name, *who, *class)))
        .filter(|(_, who, class)| setting.ownership.programs(*who, *class))
        .map(|(name, _, class)| (name, class))
        .collect()
}

/// Who programs routes between hosts, and whether that can be.
pub(super) struct Owners<'a> {
    pub(super) setting: &'a Setting,
    /// The families in which BIRD is meant to run and the datastore describes no session from this Node.
    pub(super) no_session: [bool; 2],
}

impl Owners<'_> {
    fn bird_owns(&self, class: PoolClass) -> bool {
        self.setting.ownership.programs(Programmer::Bird, class)
    }

    /// J27, J37: why nobody or two program a class of pools.
    fn reason(&self, datastore: &Datastore, me: &Name, class: PoolClass) -> Option<(OwnerReason, String)> {
        let felix = self.setting.ownership.programs(Programmer::Felix, class);
        let owns = self.bird_owns(class);
        match (felix, owns && !self.setting.without_bird) {
            (true, true) => {
                Some((OwnerReason::Both, "Felix and BIRD are both configured to program the routes of these pools".to_owned()))
            }
            // A cloud may route what is not encapsulated.
            (false, false) if owns && class == PoolClass::Ipip => Some((
                OwnerReason::Neither,
                "BIRD alone is configured to program the routes of these pools, and calico-node is told to run without \
                 it (--calico.backend)"
                    .to_owned(),
            )),
            (false, false) if self.setting.ownership.explicit && !owns => Some((
                OwnerReason::Neither,
                "neither Felix nor BIRD is configured to program the routes of these pools".to_owned(),
            )),
            (false, true) => {
                let silent = Family::ALL
                    .into_iter()
                    .filter(|family| self.no_session[*family as usize] && self.is_held(datastore, me, class, *family));
                let families: Vec<&str> = silent.map(family_words).collect();
                (!families.is_empty()).then(|| {
                    let families = families.join(" and ");
                    (
                        OwnerReason::NoSession,
                        format!(
                            "BIRD programs the routes of these pools, and the datastore describes no BGP session from \
                             {me} ({families}): the node-to-node mesh does not join it, and no BGPPeer selects it. No \
                             other host's block can be reached, and no other host reaches this one's"
                        ),
                    )
                })
            }
            _ => None,
        }
    }

    /// Whether another Node holds a block of these pools that BIRD would carry a route to.
    fn is_held(&self, datastore: &Datastore, me: &Name, class: PoolClass, family: Family) -> bool {
        datastore.affinities().any(|(cidr, owner, entry)| {
            let there = || datastore.block(cidr).is_some() || !datastore.follows(cidr);
            let pool = || datastore.pool_of(cidr).filter(|pool| pool.class() == class && !pool.disable_bgp_export);
            Family::of_net(cidr) == family
                && entry.state != AffinityState::Pending
                && owner
                    .host()
                    .filter(|host| *host != me)
                    .and_then(|host| datastore.node(host))
                    .is_some_and(|node| node.bgp_address(family).is_some() && !self.setting.wireguard_takes(node))
                && pool().is_some()
                && there()
        })
    }
}

/// J27, J37: classes of pools whose routes two, or nobody, programs.
pub(super) fn owner_faults(datastore: &Datastore, me: &Name, owners: &Owners<'_>) -> Vec<Finding> {
    if owners.setting.ownership_unknown {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for class in [PoolClass::Ipip, PoolClass::NoEncap] {
        if !datastore.pools().values().any(|pool| pool.class() == class) {
            continue;
        }
        let Some((reason, detail)) = owners.reason(datastore, me, class) else { continue };
        let name = class.as_str();
        let finding = Finding::new(Fault::Owner(class, reason), name).detail(format!("{detail} ({name})"));
        findings.push(match reason {
            OwnerReason::NoSession => finding.expected("a BGP session to another Node or to a router", "none").action(
                "turn the mesh on (nodeToNodeMeshEnabled of BGPConfiguration default), or write a BGPPeer that selects \
                 this Node",
            ),
            OwnerReason::Both => finding
                .expected("one of felix, bird", "felix and bird")
                .action("make programClusterRoutes of FelixConfiguration and BGPConfiguration complementary"),
            OwnerReason::Neither => finding.expected("one of felix, bird", "none").action(
                "make programClusterRoutes of FelixConfiguration and BGPConfiguration complementary, and \
                 --calico.backend what calico-node's CALICO_NETWORKING_BACKEND is",
            ),
        });
    }
    findings
}
