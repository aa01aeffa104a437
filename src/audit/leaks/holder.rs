//! Who holds an address, and whether it is to be judged by its endpoint (J11).

use std::net::IpAddr;

use crate::model::{
    AllocationBlock, Attribute, AttributeKind, BlockOwner, Name, host_net, names_another_container, ordinal_of,
};
use crate::state::Datastore;

/// Who holds an address in the block that decides about it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Holder<'a> {
    /// Nobody: it is free, or lies in no block.
    Nobody,
    /// Nobody any more: it was released and rests (J12).
    Cooling,
    /// Somebody whom a bad attribute index hides: it is allocated, and nothing else is known (J3 counts it).
    Hidden,
    /// A host's tunnel: its node decides.
    Tunnel(&'a Attribute),
    /// A KubeVirt machine: it keeps its address while it is stopped, and has two endpoints while it migrates.
    Machine(&'a Attribute),
    /// Windows' reservation, a load balancer, or an allocation without handle: no endpoint is asked about it.
    Exempt(&'a Attribute),
    /// Anything else that has a handle: its endpoint decides.
    Judged(&'a Attribute),
}

impl<'a> Holder<'a> {
    /// What is written about the holder, where anything is.
    pub(crate) fn attribute(self) -> Option<&'a Attribute> {
        match self {
            Holder::Nobody | Holder::Cooling | Holder::Hidden => None,
            Holder::Tunnel(attribute)
            | Holder::Machine(attribute)
            | Holder::Exempt(attribute)
            | Holder::Judged(attribute) => Some(attribute),
        }
    }

    /// Sorts an allocation of `block` by what holds it; `None` is a bad index.
    pub(crate) fn of(block: &AllocationBlock, attribute: Option<&'a Attribute>) -> Holder<'a> {
        let Some(attribute) = attribute else { return Holder::Hidden };
        match attribute.kind {
            AttributeKind::Cooldown => Holder::Cooling,
            AttributeKind::Tunnel => Holder::Tunnel(attribute),
            AttributeKind::VirtualMachine => Holder::Machine(attribute),
            AttributeKind::WindowsReserved | AttributeKind::LoadBalancer => Holder::Exempt(attribute),
            AttributeKind::Workload if matches!(block.owner, Some(BlockOwner::Virtual(_))) => Holder::Exempt(attribute),
            AttributeKind::Workload => match &attribute.handle {
                None if attribute.abridged => Holder::Judged(attribute),
                None => Holder::Exempt(attribute),
                Some(handle) if is_machine_handle(handle) => Holder::Machine(attribute),
                Some(_) => Holder::Judged(attribute),
            },
        }
    }
}

/// `<network>.vmi.<namespace>.<machine>` (`vmipam/ipam_kubevirt.go`): a stopped machine may have lost both owners'
/// attributes, `vmi-name` among them, and still keeps its address.
fn is_machine_handle(handle: &str) -> bool {
    handle.contains(".vmi.")
}

/// The block that decides about an address, and who holds it there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The most specific readable block around the address that gives it to somebody; where none does, the most specific.
    pub(crate) block: Option<&'a AllocationBlock>,
    /// Its ordinal there, where it is one that a block of Calico's can have.
    pub(crate) ordinal: Option<u32>,
    /// Who holds it.
    pub(crate) holder: Holder<'a>,
}

impl<'a> Place<'a> {
    /// Looks an address up.
    pub(crate) fn of(datastore: &'a Datastore, address: IpAddr) -> Place<'a> {
        let in_block = |block: &'a AllocationBlock| {
            let ordinal = ordinal_of(&block.cidr, address).and_then(|ordinal| u32::try_from(ordinal).ok());
            let holder = match ordinal.and_then(|ordinal| block.allocation(ordinal)) {
                Some(attribute) => Holder::of(block, attribute),
                None => Holder::Nobody,
            };
            Place { block: Some(block), ordinal, holder }
        };
        let is_given = |place: &Place<'_>| !matches!(place.holder, Holder::Nobody | Holder::Cooling);
        let net = host_net(address);
        let mut places = datastore.blocks_around(&net).map(in_block);
        let Some(first) = places.next() else {
            return Place { block: None, ordinal: None, holder: Holder::Nobody };
        };
        if is_given(&first) { first } else { places.find(is_given).unwrap_or(first) }
    }
}

impl Place<'_> {
    /// Whether the allocation's handle names another container: of a handle that was left out, as its digest tells.
    pub(crate) fn names_another_container(&self, container: &str) -> bool {
        let Some(attribute) = self.holder.attribute() else { return false };
        match &attribute.handle {
            Some(handle) => names_another_container(handle, container),
            None if !attribute.abridged => false,
            None => {
                let digest = self.block.zip(self.ordinal).and_then(|(block, ordinal)| block.digest(ordinal));
                digest.is_some_and(|digest| digest.names_another(container))
            }
        }
    }
}

/// Whether a node is the allocation's, or that of the machine's other half during a migration.
pub(crate) fn is_at_home(attribute: &Attribute, node: &Name) -> bool {
    [&attribute.node, &attribute.peer_node].into_iter().any(|home| home.as_ref() == Some(node))
}
