//! A cluster and one host's kernel as plain maps, to be built, broken and told as events.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use calico_exporter::audit::Backend;
use calico_exporter::model::{
    AllocationBlock, Attribute, AttributeKind, BlockAffinity, BlockOwner, Family, FelixConfiguration, IpPool, Link,
    Name, Node, Route, RouteKey, TABLE_MAIN, WorkloadEndpoint, ordinal_of,
};
use calico_exporter::state::{Event, Object, ObjectId, Side, State, Unreadable};
use ipnet::IpNet;

/// Who speaks BGP with whom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Topology {
    Mesh,
    /// The mesh, and one Node has an AS number of its own.
    MeshOfTwoAs,
    /// No mesh; every Node peers with the Nodes labelled as reflectors, which share a cluster id.
    Reflectors,
    /// No mesh, one router outside.
    Outside,
    /// No mesh and no peer.
    Nothing,
}

/// Both pictures. An object that cannot be read is `None`.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) me: Name,
    pub(super) backend: Backend,
    pub(super) topology: Topology,
    pub(super) objects: BTreeMap<ObjectId, Option<Object>>,
    pub(super) links: BTreeMap<u32, Link>,
    pub(super) routes: BTreeMap<RouteKey, Route>,
}

impl World {
    pub(super) fn put(&mut self, object: Object) {
        self.objects.insert(object.id(), Some(object));
    }

    pub(super) fn put_route(&mut self, route: Route) {
        self.routes.insert(route.key(), route);
    }

    fn readable(&self) -> impl Iterator<Item = &Object> {
        self.objects.values().flatten()
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = (&Name, &Node)> {
        self.readable().filter_map(|it| match it {
            Object::Node(name, node) => Some((name, node)),
            _ => None,
        })
    }

    pub(super) fn node(&self, name: &str) -> Option<&Node> {
        self.nodes().find(|(it, _)| &***it == name).map(|(_, node)| node)
    }

    pub(super) fn node_is_dark(&self, name: &Name) -> bool {
        self.objects.get(&ObjectId::Node(name.clone())) == Some(&None)
    }

    pub(super) fn pools(&self) -> impl Iterator<Item = &IpPool> {
        self.readable().filter_map(|it| match it {
            Object::Pool(pool) => Some(pool),
            _ => None,
        })
    }

    pub(super) fn pool_of(&self, net: &IpNet) -> Option<&IpPool> {
        self.pools().filter(|pool| pool.cidr.contains(net)).max_by_key(|pool| pool.cidr.prefix_len())
    }

    pub(super) fn pool_is_dark(&self) -> bool {
        self.objects.iter().any(|(id, object)| matches!(id, ObjectId::Pool(_)) && object.is_none())
    }

    pub(super) fn blocks(&self) -> impl Iterator<Item = &AllocationBlock> {
        self.readable().filter_map(|it| match it {
            Object::Block(block) => Some(block),
            _ => None,
        })
    }

    pub(super) fn block(&self, cidr: &IpNet) -> Option<&AllocationBlock> {
        self.blocks().find(|block| block.cidr == *cidr)
    }

    pub(super) fn block_around(&self, net: &IpNet) -> Option<&AllocationBlock> {
        self.blocks().filter(|block| block.cidr.contains(net)).max_by_key(|block| block.cidr.prefix_len())
    }

    /// Blocks that hold the address, with whom they give it to.
    pub(super) fn holds(&self, at: IpAddr) -> impl Iterator<Item = (&AllocationBlock, &Attribute)> {
        self.blocks().filter_map(move |block| {
            let ordinal = u32::try_from(ordinal_of(&block.cidr, at)?).ok()?;
            let held = block.allocation(ordinal)??;
            (held.kind != AttributeKind::Cooldown).then_some((block, held))
        })
    }

    /// No block that holds the address gives it to anybody.
    pub(super) fn is_free(&self, at: IpAddr) -> bool {
        self.blocks().all(|block| match ordinal_of(&block.cidr, at).map(u32::try_from) {
            Some(Ok(ordinal)) => block.allocation(ordinal).is_none(),
            _ => true,
        })
    }

    /// The Nodes on one of whose tunnels the address is.
    pub(super) fn tunnels_at(&self, at: IpAddr) -> Vec<&Name> {
        self.nodes().filter(|(_, node)| node.tunnels.values().any(|it| *it == at)).map(|(name, _)| name).collect()
    }

    pub(super) fn is_dark(&self, net: &IpNet) -> bool {
        self.objects.iter().any(|(id, it)| matches!(id, ObjectId::Block(cidr) if it.is_none() && cidr.contains(net)))
    }

    /// All keys that can be read.
    pub(super) fn affinities(&self) -> impl Iterator<Item = &BlockAffinity> {
        self.readable().filter_map(|it| match it {
            Object::Affinity(key) => Some(key),
            _ => None,
        })
    }

    /// Keys of hosts that can be read.
    pub(super) fn keys(&self, cidr: &IpNet) -> Vec<&BlockAffinity> {
        let keys = self.readable().filter_map(|it| match it {
            Object::Affinity(key) => Some(key),
            _ => None,
        });
        keys.filter(|key| key.cidr == *cidr).collect()
    }

    pub(super) fn has_dark_key(&self, net: &IpNet) -> bool {
        self.objects.iter().any(|(id, it)| matches!(id, ObjectId::Affinity(_, cidr) if it.is_none() && cidr == net))
    }

    pub(super) fn endpoints(&self) -> impl Iterator<Item = &WorkloadEndpoint> {
        self.readable().filter_map(|it| match it {
            Object::Endpoint(endpoint) => Some(endpoint),
            _ => None,
        })
    }

    pub(super) fn endpoints_at(&self, address: IpAddr) -> impl Iterator<Item = &WorkloadEndpoint> {
        self.endpoints().filter(move |endpoint| endpoint.addresses.contains(&address))
    }

    pub(super) fn felix(&self, name: &str) -> Option<&FelixConfiguration> {
        match self.objects.get(&ObjectId::Felix(name.into()))? {
            Some(Object::Felix(_, config)) => Some(config),
            _ => None,
        }
    }

    pub(super) fn link(&self, name: &str) -> Option<&Link> {
        self.links.values().find(|link| &*link.name == name)
    }

    /// The main table's route of lowest metric.
    pub(super) fn route(&self, net: &IpNet) -> Option<&Route> {
        let to = self.routes.values().filter(|it| it.table == TABLE_MAIN && it.destination == *net);
        to.min_by_key(|route| route.metric)
    }

    /// Everything as a source would list it.
    pub(super) fn events(&self) -> Vec<Event> {
        let mut events = vec![Event::Resync(Side::Datastore)];
        events.extend(self.objects.iter().map(|(id, object)| told(id, object.as_ref())));
        events.extend([Event::Synced(Side::Datastore), Event::Resync(Side::Kernel)]);
        events.extend(self.links.values().cloned().map(Event::Link));
        events.extend(self.routes.values().cloned().map(Event::Route));
        events.push(Event::Synced(Side::Kernel));
        events
    }

    /// What a source would tell between this and the next.
    pub(super) fn until(&self, next: &World) -> Vec<Event> {
        let mut events = Vec::new();
        for (id, object) in &next.objects {
            if self.objects.get(id) != Some(object) {
                events.push(told(id, object.as_ref()));
            }
        }
        events.extend(self.objects.keys().filter(|id| !next.objects.contains_key(id)).cloned().map(Event::Delete));
        let links = next.links.iter().filter(|(index, link)| self.links.get(index) != Some(link));
        events.extend(links.map(|(_, link)| Event::Link(link.clone())));
        events.extend(self.links.keys().filter(|it| !next.links.contains_key(it)).copied().map(Event::LinkGone));
        let routes = next.routes.iter().filter(|(key, route)| self.routes.get(key) != Some(route));
        events.extend(routes.map(|(_, route)| Event::Route(route.clone())));
        events.extend(self.routes.keys().filter(|it| !next.routes.contains_key(it)).cloned().map(Event::RouteGone));
        events
    }
}

fn told(id: &ObjectId, object: Option<&Object>) -> Event {
    match object {
        Some(object) => Event::Put(Box::new(object.clone())),
        None => Event::Unreadable {
            id: id.clone(),
            key: key_of(id).into(),
            why: Unreadable::Undecodable("not JSON".to_owned()),
        },
    }
}

/// Where etcd keeps the objects that these tests make unreadable.
pub(super) fn key_of(id: &ObjectId) -> String {
    let dashed = |cidr: &IpNet| format!("ipv{}/block/{}", family(cidr), cidr.to_string().replacen('/', "-", 1));
    let v3 = |plural: &str, name: &str| format!("/calico/resources/v3/projectcalico.org/{plural}/{name}");
    match id {
        ObjectId::Block(cidr) => format!("/calico/ipam/v2/assignment/{}", dashed(cidr)),
        ObjectId::Affinity(BlockOwner::Host(host), cidr) => format!("/calico/ipam/v2/host/{host}/{}", dashed(cidr)),
        ObjectId::Affinity(owner, cidr) => {
            format!("/calico/ipam/v2/{}/{}", owner.to_string().replacen(':', "/", 1), dashed(cidr))
        }
        ObjectId::Handle(name) => format!("/calico/ipam/v2/handle/{name}"),
        ObjectId::IpamConfig => "/calico/ipam/v2/config".to_owned(),
        ObjectId::Pool(name) => v3("ippools", name),
        ObjectId::Reservation(name) => v3("ipreservations", name),
        ObjectId::Node(name) => v3("nodes", name),
        ObjectId::Endpoint(id) => v3(&format!("workloadendpoints/{}", id.namespace), &id.name),
        ObjectId::Felix(name) => v3("felixconfigurations", name),
        ObjectId::BgpConfiguration(name) => v3("bgpconfigurations", name),
        ObjectId::BgpPeer(name) => v3("bgppeers", name),
        ObjectId::Cluster => v3("clusterinformations", "default"),
        ObjectId::Malformed(_, text) => text.to_string(),
    }
}

fn family(net: &IpNet) -> u8 {
    match Family::of_net(net) {
        Family::V4 => 4,
        Family::V6 => 6,
    }
}

/// Both pictures folded. Where endpoints are not listed, they are those that were looked up.
pub(super) fn state(events: impl IntoIterator<Item = Event>, lists_endpoints: bool) -> State {
    let mut state = State::new(lists_endpoints);
    for event in events {
        state.apply(event, Duration::from_secs(1000));
    }
    state
}
