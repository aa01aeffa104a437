//! This host's devices, its Node and the owners of pool classes, judged a second time (J13, J27, J30).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use calico_exporter::audit::Backend;
use calico_exporter::model::{AffinityState, EncapMode, Family, Name, Node, PoolClass, Route, RouteType, TunnelKind};
use calico_exporter::state::ObjectId;

use super::oracle::{Fault, Oracle};
use super::wanted::Form;
use super::world::Topology;

impl Oracle<'_> {
    pub(super) fn host_faults(&self) -> BTreeSet<Fault> {
        let world = self.world;
        let me = world.me.to_string();
        let mut faults = BTreeSet::new();
        if !self.has_node() {
            // J35: nothing of this host is judged but this.
            return [("calico_node_faults", "node_missing".to_owned(), me.clone(), me)].into();
        }
        let mut devices: BTreeMap<&str, Option<IpAddr>> = BTreeMap::new();
        for net in self.destinations().iter().filter(|net| !world.is_dark(net)) {
            let mut wanted = self.wanted(net);
            // One way to be right is enough; of what is required one stands for the others.
            if let Some(route) = world.route(net)
                && let Some(met) = wanted.iter().find(|it| self.compare(route, it).is_none() && !it.only_bird)
            {
                wanted = vec![met.clone()];
            }
            let Some(needed) = wanted.iter().find(|it| it.required) else { continue };
            if world.route(net).is_none() && self.is_covered(net, needed) {
                continue;
            }
            if let Form::Remote { device: device @ ("tunl0" | "vxlan.calico" | "vxlan-v6.calico"), .. } = needed.form {
                devices.entry(device).or_default();
            }
        }
        for (kind, address) in world.node(&world.me).iter().flat_map(|node| &node.tunnels) {
            let (class, family) = match kind {
                TunnelKind::Ipip => (PoolClass::Ipip, Family::V4),
                TunnelKind::VxlanV4 => (PoolClass::Vxlan, Family::V4),
                TunnelKind::VxlanV6 => (PoolClass::Vxlan, Family::V6),
                _ => continue,
            };
            let sends = world.node(&world.me).is_some_and(|node| node.routing_address(family).is_some());
            if sends && world.pools().any(|pool| pool.class() == class && pool.family() == family) {
                devices.insert(kind.device(), Some(*address));
            }
        }
        for (device, address) in devices {
            let mut fault = |reason: &str| {
                faults.insert(("calico_tunnel_faults", format!("{device}/{reason}"), device.to_owned(), me.clone()));
            };
            let Some(link) = world.link(device) else {
                fault("missing");
                continue;
            };
            if !link.admin_up || link.no_carrier {
                fault("down");
            }
            let Some(address) = address else { continue };
            let own: Vec<IpAddr> = link.addresses.iter().map(|net| net.addr()).filter(|it| !is_local(*it)).collect();
            match (own.contains(&address), own.iter().any(|it| *it != address)) {
                (true, true) => fault("address_unexpected"),
                (false, true) => fault("address_differs"),
                (false, false) => fault("address_missing"),
                (true, false) => {}
            }
        }
        for family in Family::ALL {
            let Some(net) = world.node(&world.me).and_then(|node| node.bgp_address(family)) else { continue };
            let on_link = world.links.values().flat_map(|link| &link.addresses).find(|it| it.addr() == net.addr());
            let crosses = world.pools().any(|it| it.mode() == EncapMode::CrossSubnet && it.family() == family);
            let mut fault = |reason: &str| {
                faults.insert(("calico_node_faults", reason.to_owned(), me.clone(), me.clone()));
            };
            match on_link {
                None => fault("address_missing"),
                Some(it) if crosses && it.prefix_len() != net.prefix_len() => fault("prefix_differs"),
                Some(_) => {}
            }
        }
        for (node, _, reason) in self.ways() {
            faults.insert(("calico_node_faults", reason.to_owned(), node.clone(), node));
        }
        let set = &self.setting;
        let classes = [
            (PoolClass::Ipip, "ipip", set.felix_ipip, set.bird_ipip),
            (PoolClass::NoEncap, "none", set.felix_plain, set.bird_plain),
        ];
        for (class, name, felix, bird) in classes {
            let runs = !matches!(world.backend, Backend::Vxlan | Backend::None);
            let reason = match (felix, bird) {
                (true, true) if runs => "both",
                (false, true) if !runs && class == PoolClass::Ipip => "neither",
                (false, true) if runs && self.nobody_carries(class) => "no_session",
                (false, false) if set.in_words => "neither",
                _ => continue,
            };
            if !set.unknown && world.pools().any(|pool| pool.class() == class) {
                let labels = format!("{name}/{reason}");
                faults.insert(("calico_cluster_routes_owner_faults", labels, name.to_owned(), "-".to_owned()));
            }
        }
        faults
    }
}

impl Oracle<'_> {
    /// This host's Node is there, readable or not.
    pub(super) fn has_node(&self) -> bool {
        self.world.node(&self.world.me).is_some() || self.world.node_is_dark(&self.world.me)
    }

    /// J37: there is somebody to learn the class's routes from, and nobody to bring them.
    fn nobody_carries(&self, class: PoolClass) -> bool {
        let world = self.world;
        let dark = |id: &ObjectId| {
            matches!(id, ObjectId::Node(_) | ObjectId::BgpPeer(_) | ObjectId::BgpConfiguration(_))
                && world.objects[id].is_none()
        };
        let is = |id: &ObjectId| world.objects.get(id).is_some_and(Option::is_some);
        let reflector = || world.nodes().any(|(_, node)| node.labels.get("reflector").is_some());
        // What is deleted by name is not there: the mesh is on by default, and a peer that is gone joins nobody.
        let mesh_is_off = is(&ObjectId::BgpConfiguration("default".into()));
        let alone = mesh_is_off
            && match world.topology {
                Topology::Mesh | Topology::MeshOfTwoAs => false,
                Topology::Nothing => true,
                Topology::Reflectors => !is(&ObjectId::BgpPeer("peer".into())) || !reflector(),
                Topology::Outside => !world.objects.keys().any(|id| matches!(id, ObjectId::BgpPeer(_))),
            };
        let held = |family: Family| {
            world.affinities().any(|key| {
                let other = key.owner.host().filter(|host| **host != world.me).and_then(|host| world.node(host));
                let pool = world.pool_of(&key.cidr);
                Family::of_net(&key.cidr) == family
                    && key.state != AffinityState::Pending
                    && other.is_some_and(|node| node.bgp_address(family).is_some())
                    && pool.is_some_and(|pool| pool.class() == class && !pool.disable_bgp_export)
                    && world.block(&key.cidr).is_some()
            })
        };
        let mine = |family: &Family| world.node(&world.me).is_some_and(|node| node.bgp_address(*family).is_some());
        self.bird_meant && alone && !world.objects.keys().any(dark) && Family::ALL.into_iter().filter(mine).any(held)
    }

    /// J34: Nodes that have another's address, in which families. (No tunnel of these worlds and no block has one.)
    /// J44: the Nodes whose own address this host does not reach, by family, and why.
    pub(super) fn ways(&self) -> Vec<(String, Family, &'static str)> {
        let world = self.world;
        let questioned = self.duplicates();
        let mut found = Vec::new();
        for (name, node) in world.nodes().filter(|(name, _)| **name != world.me) {
            let owns = world.blocks().any(|block| block.host() == Some(name));
            let claims = world.affinities().any(|key| key.owner.host() == Some(name));
            for family in Family::ALL {
                let mine = world.node(&world.me).and_then(|node| node.routing_address(family));
                let has =
                    |at: IpAddr| world.links.values().any(|link| link.addresses.iter().any(|net| net.addr() == at));
                let sends = mine.is_some_and(|mine| world.links.is_empty() || has(mine));
                let Some(at) = node.routing_address(family).filter(|_| sends) else { continue };
                let in_use = owns || claims || !node.tunnels.is_empty();
                if in_use && !questioned.contains(&(name.to_string(), family)) {
                    found.extend(self.lost(at).map(|reason| (name.to_string(), family, reason)));
                }
            }
        }
        found
    }

    /// What becomes of a packet for the address, where it does not leave this host.
    fn lost(&self, at: IpAddr) -> Option<&'static str> {
        let of_family = |route: &&Route| Family::of_net(&route.destination) == Family::of(at);
        let routes: Vec<&Route> = self.world.routes.values().filter(of_family).collect();
        if routes.iter().any(|route| route.table == 255 && route.destination.addr() == at)
            || !routes.iter().any(|route| route.table == 254)
        {
            return None;
        }
        let holds = routes.into_iter().filter(|route| route.table == 254 && route.tos == 0);
        let holds = holds.filter(|route| route.destination.contains(&at));
        let Some(best) = holds.min_by_key(|it| (u8::MAX - it.destination.prefix_len(), it.metric)) else {
            return Some("no_way");
        };
        let tunnels = ["tunl0", "vxlan.calico", "vxlan-v6.calico", "wireguard.cali", "wg-v6.cali"];
        let loops = |device: &str| tunnels.contains(&device) || self.setting.is_workload(device);
        match best.kind {
            RouteType::Unicast => {
                let mut devices = best.next_hops.iter().filter_map(|hop| hop.device.as_deref());
                devices.any(loops).then_some("way_through_tunnel")
            }
            RouteType::Local | RouteType::Other(_) => None,
            _ => Some("no_way"),
        }
    }

    pub(super) fn duplicates(&self) -> BTreeSet<(String, Family)> {
        let mut found = BTreeSet::new();
        for (name, node) in self.world.nodes() {
            for family in Family::ALL {
                let address = node.routing_address(family);
                let shares = |(other, it): (&Name, &Node)| other != name && it.routing_address(family) == address;
                if address.is_some() && self.world.nodes().any(shares) {
                    found.insert((name.to_string(), family));
                }
            }
        }
        found
    }
}

fn is_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(it) if it.is_unicast_link_local())
}
