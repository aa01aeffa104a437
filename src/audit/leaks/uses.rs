//! Which addresses endpoints use, gathered endpoint by endpoint in little memory: half a million of them are read in
//! pages and none is kept that is as it should be.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

use super::holder::{Holder, Place, is_at_home};
use crate::model::{Attribute, EndpointId, Name, OrdinalSet, WorkloadEndpoint, host_net};
use crate::state::Datastore;

/// An endpoint that does not fit what the datastore says of its address, with what is needed to name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct User {
    pub(super) id: EndpointId,
    pub(super) node: Name,
    pub(super) pod: Name,
    pub(super) container: Name,
}

/// The endpoints of one address.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Users<'a> {
    /// How many fit the allocation: its node, its container. Who they are, the allocation says.
    pub(super) fitting: u32,
    /// How many were only counted, how many of them Calico addresses, and the first of their nodes by name.
    pub(super) counted: u32,
    pub(super) counted_of_calico: u32,
    pub(super) counted_on: Option<&'a Name>,
    /// Those that do not fit, sorted.
    pub(super) others: &'a [User],
}

impl Users<'_> {
    pub(super) fn total(&self) -> usize {
        self.fitting as usize + self.counted as usize + self.others.len()
    }

    /// Whether Calico gives any of them its address, rather than OpenStack (J38).
    pub(super) fn any_of_calico(&self) -> bool {
        self.fitting > 0 || self.counted_of_calico > 0 || !self.others.is_empty()
    }
}

/// Endpoints of an address that are only counted.
#[derive(Debug, Clone, Copy)]
struct Counted {
    all: u32,
    of_calico: u32,
    /// The number of the first of their nodes by name.
    node: u32,
}

#[derive(Debug, Clone, Default)]
struct Odd {
    /// Fitting endpoints beyond the first, which has its bit.
    more_fitting: u32,
    others: Vec<User>,
}

/// Everything that endpoints say of addresses. An address whose one endpoint fits its allocation costs a bit; one that
/// needs no allocation (a pool of another IPAM) a few bytes; only what may become a finding is kept by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Uses {
    fitting: HashMap<IpNet, OrdinalSet>,
    odd: HashMap<IpAddr, Odd>,
    counted: HashMap<IpAddr, Counted>,
    nodes: Vec<Name>,
    node_numbers: HashMap<Name, u32>,
    unreadable: BTreeSet<EndpointId>,
}

impl Uses {
    /// Takes in one endpoint. What it is compared with is the datastore as it is now; what does not fit is compared
    /// again in the end.
    pub(crate) fn add(&mut self, datastore: &Datastore, endpoint: &WorkloadEndpoint) {
        for (index, address) in endpoint.addresses.iter().enumerate() {
            // One endpoint that lists an address twice is still one endpoint.
            if !endpoint.addresses[..index].contains(address) {
                self.add_address(datastore, endpoint, *address);
            }
        }
    }

    fn add_address(&mut self, datastore: &Datastore, endpoint: &WorkloadEndpoint, address: IpAddr) {
        let place = Place::of(datastore, address);
        match place.holder {
            Holder::Judged(attribute) => match (place.block, place.ordinal) {
                (Some(block), Some(ordinal)) if fits(place, attribute, endpoint) => {
                    if !self.fitting.entry(block.cidr).or_default().insert(ordinal) {
                        self.odd.entry(address).or_default().more_fitting += 1;
                    }
                }
                _ => self.keep(endpoint, address),
            },
            Holder::Nobody | Holder::Cooling if !endpoint.openstack && needs_allocation(datastore, address) => {
                self.keep(endpoint, address);
            }
            Holder::Nobody | Holder::Cooling | Holder::Tunnel(_) | Holder::Exempt(_) => self.count(endpoint, address),
            Holder::Hidden | Holder::Machine(_) => {}
        }
    }

    fn keep(&mut self, endpoint: &WorkloadEndpoint, address: IpAddr) {
        self.odd.entry(address).or_default().others.push(User {
            id: endpoint.id.clone(),
            node: endpoint.node.clone(),
            pod: endpoint.pod.clone(),
            container: endpoint.container_id.clone(),
        });
    }

    fn count(&mut self, endpoint: &WorkloadEndpoint, address: IpAddr) {
        let number = match self.node_numbers.get(&endpoint.node) {
            Some(number) => *number,
            None => {
                let number = self.nodes.len() as u32;
                self.nodes.push(endpoint.node.clone());
                self.node_numbers.insert(endpoint.node.clone(), number);
                number
            }
        };
        let entry = self.counted.entry(address).or_insert(Counted { all: 0, of_calico: 0, node: number });
        entry.all += 1;
        entry.of_calico += u32::from(!endpoint.openstack);
        if self.nodes[number as usize] < self.nodes[entry.node as usize] {
            entry.node = number;
        }
    }

    /// Takes in an endpoint that exists and cannot be read: its addresses are not known (J1).
    pub(crate) fn add_unreadable(&mut self, id: EndpointId) {
        self.unreadable.insert(id);
    }

    /// Brings what was kept into an order that does not depend on that of the pages.
    pub(super) fn settle(&mut self) {
        for odd in self.odd.values_mut() {
            odd.others.sort_unstable();
        }
    }

    /// The addresses that have more to say than a bit.
    pub(super) fn noted(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.odd.keys().chain(self.counted.keys().filter(|address| !self.odd.contains_key(*address))).copied()
    }

    /// Whether [`Uses::noted`] has the address.
    pub(super) fn is_noted(&self, address: IpAddr) -> bool {
        self.odd.contains_key(&address) || self.counted.contains_key(&address)
    }

    /// The endpoints of an address.
    pub(super) fn of(&self, address: IpAddr, block: Option<&IpNet>, ordinal: Option<u32>) -> Users<'_> {
        let bit = block
            .and_then(|cidr| self.fitting.get(cidr))
            .zip(ordinal)
            .is_some_and(|(ordinals, ordinal)| ordinals.contains(ordinal));
        let odd = self.odd.get(&address);
        let counted = self.counted.get(&address);
        Users {
            fitting: u32::from(bit) + odd.map_or(0, |odd| odd.more_fitting),
            counted: counted.map_or(0, |counted| counted.all),
            counted_of_calico: counted.map_or(0, |counted| counted.of_calico),
            counted_on: counted.and_then(|counted| self.nodes.get(counted.node as usize)),
            others: odd.map_or(&[], |odd| &odd.others),
        }
    }

    /// Whether the pod that the allocation names has an endpoint that cannot be read: it may well use the address.
    pub(super) fn is_hidden(&self, attribute: &Attribute) -> bool {
        let (Some(node), Some(namespace), Some(pod)) = (&attribute.node, &attribute.namespace, &attribute.pod) else {
            return false;
        };
        if self.unreadable.is_empty() {
            return false;
        }
        // Any interface of the pod: the name up to its last part, in which a dash of the pod's would be doubled.
        let EndpointId { namespace, name } = EndpointId::of_pod(node, namespace, pod);
        let prefix = name.strip_suffix("eth0").unwrap_or(&name);
        let from = EndpointId { namespace: namespace.clone(), name: prefix.into() };
        self.unreadable
            .range(from..)
            .take_while(|id| id.namespace == namespace)
            .map_while(|id| id.name.strip_prefix(prefix))
            .any(|interface| !interface.starts_with('-'))
    }
}

/// Whether the endpoint is where and who the allocation says. An allocation without `node` says too little.
fn fits(place: Place<'_>, attribute: &Attribute, endpoint: &WorkloadEndpoint) -> bool {
    attribute.node.is_some()
        && is_at_home(attribute, &endpoint.node)
        && !place.names_another_container(&endpoint.container_id)
}

/// Whether a used address has to be allocated: in a pool that is enabled (J12). Of nested pools the most specific one
/// decides, as it does for routes.
pub(super) fn needs_allocation(datastore: &Datastore, address: IpAddr) -> bool {
    datastore.pool_of(&host_net(address)).is_some_and(|pool| !pool.disabled)
}
