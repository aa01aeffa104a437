//! What is configured: versions, who programs which routes, and who speaks BGP with whom.

use calico_exporter::model::{
    BgpConfiguration, BgpPeer, ClusterInformation, FelixConfiguration, Name, PeerAddress,
    ProgramClusterRoutes as Program,
};
use calico_exporter::state::Object;

use super::build::{Builder, chance, pick};
use super::world::{Topology, World};

impl Builder {
    pub(super) fn speak(&mut self, topology: Topology, world: &mut World) {
        let rng = &mut self.rng;
        let programs = [
            None,
            None,
            Some(Program::Enabled),
            Some(Program::Disabled),
            Some(Program::EnabledIpipOnly),
            Some(Program::EnabledNoEncapOnly),
        ];
        let mesh = match topology {
            Topology::Mesh | Topology::MeshOfTwoAs => *pick(rng, &[None, Some(true)]),
            _ => Some(false),
        };
        let minor = rng.u32(29..=33);
        let cluster_type = pick(rng, &["k8s,bgp", "k8s"]).to_string();
        world.put(Object::Cluster(ClusterInformation {
            cluster_type,
            calico_version: format!("v3.{minor}.1"),
            datastore_ready: Some(true),
        }));
        let program_cluster_routes = if minor >= 32 { *pick(rng, &programs) } else { None };
        let name = Some("default".into());
        world.put(Object::BgpConfiguration(
            "default".into(),
            BgpConfiguration { name, mesh, as_number: None, program_cluster_routes },
        ));
        for name in ["default", "scoped", "node.n1"] {
            let felix = FelixConfiguration {
                name: Some(name.into()),
                node_selector: (name == "scoped").then(|| "all()".to_owned()),
                program_cluster_routes: if minor >= 31 { *pick(rng, &programs) } else { None },
                device_route_protocol: *pick(rng, &[None, None, Some(80), Some(99)]),
                floating_ips: *pick(rng, &[None, Some(true), Some(false)]),
                interface_prefix: pick(rng, &[None, None, Some("cali,tap"), Some("tap")]).map(str::to_owned),
                ..FelixConfiguration::default()
            };
            if chance(rng, 40) {
                world.put(Object::Felix(name.into(), felix));
            }
        }
        let peer = BgpPeer { name: Some("peer".into()), ..BgpPeer::default() };
        match topology {
            Topology::MeshOfTwoAs => {
                let node = self.nodes.get_mut("n2").unwrap();
                node.bgp.get_or_insert_default().as_number = Some(65001);
            }
            Topology::Reflectors => {
                for name in ["n1", "n2", "n3"].into_iter().filter(|_| chance(rng, 40)) {
                    let node = self.nodes.get_mut(name).unwrap();
                    node.labels = [("reflector", "yes")].into_iter().collect();
                    node.bgp.get_or_insert_default().route_reflector_cluster_id = Some("224.0.0.1".to_owned());
                }
                let selectors = (Some("all()".to_owned()), Some("has(reflector)".to_owned()));
                world.put(Object::BgpPeer(
                    "peer".into(),
                    BgpPeer { node_selector: selectors.0, peer_selector: selectors.1, ..peer },
                ));
            }
            Topology::Outside | Topology::Mesh if topology == Topology::Outside || chance(rng, 30) => {
                for address in ["10.77.1.254", "fd77:1::fe"] {
                    let peer_ip = Some(PeerAddress::Address(address.parse().unwrap()));
                    let name: Name = format!("router-{}", address.len()).into();
                    let peer = BgpPeer { name: Some(name.clone()), peer_ip, as_number: Some(64999), ..peer.clone() };
                    world.put(Object::BgpPeer(name, peer));
                }
            }
            _ => {}
        }
    }
}
