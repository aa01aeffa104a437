//! Which destinations something may be expected of.

use ipnet::IpNet;

use super::{Context, user};
use crate::model::{AllocationBlock, Name, WorkloadEndpoint, address_at, host_net};

impl Context<'_> {
    /// Destinations inside `net` that something may be expected of, beside what the kernel has.
    pub(in crate::audit) fn candidates(&self, net: &IpNet) -> Vec<IpNet> {
        let mut found: Vec<IpNet> = self.datastore.cidrs_within(net).collect();
        // A single address may lie in a block that is wider than `net`.
        for block in self.datastore.blocks_within(net).chain(self.datastore.block_around(net)) {
            self.singles(block, &mut found);
        }
        // What an endpoint expects stands on its own, but not in a block that cannot be read or of a machine that moves
        // here (J1, J25): it has to be looked at when the block changes or goes.
        found.extend(self.own_endpoints());
        found.retain(|destination| net.contains(destination));
        found
    }

    /// Addresses of this host's endpoints. Where endpoints are listed there may be half a million others.
    pub(super) fn own_endpoints(&self) -> impl Iterator<Item = IpNet> {
        self.own().flat_map(|endpoint| &endpoint.addresses).copied().map(host_net)
    }

    fn own(&self) -> impl Iterator<Item = &WorkloadEndpoint> {
        self.datastore.endpoints_on(self.me).inspect(|_| self.examined.set(self.examined.get() + 1))
    }

    /// The same for everything there is.
    pub(in crate::audit) fn all_candidates(&self) -> Vec<IpNet> {
        let mut found: Vec<IpNet> = self.datastore.blocks().map(|block| block.cidr).collect();
        found.extend(self.datastore.affinities().map(|(cidr, ..)| *cidr));
        for block in self.datastore.blocks() {
            self.singles(block, &mut found);
        }
        found.extend(self.own_endpoints());
        found.extend(self.wireguard.addresses(self.datastore));
        found
    }

    /// Addresses of a block that have a route of their own: this host's, and those that others borrow.
    pub(super) fn singles(&self, block: &AllocationBlock, found: &mut Vec<IpNet>) {
        let is_single = |user: &Name| user == self.me || block.host() != Some(user);
        // Nearly every block is its own host's pods, which have one attribute between them.
        if !block.attributes.iter().filter_map(|attribute| user(block, attribute)).any(is_single) {
            return;
        }
        for (ordinal, attribute) in block.allocations() {
            if attribute.and_then(|attribute| user(block, attribute)).is_some_and(is_single) {
                found.extend(address_at(&block.cidr, u64::from(ordinal)).map(host_net));
            }
        }
    }

    /// Addresses of this host's endpoints behind a device.
    pub(in crate::audit) fn addresses_behind(&self, device: &Name) -> Vec<IpNet> {
        let behind = self.own().filter(|endpoint| endpoint.interface == *device);
        behind.flat_map(|endpoint| endpoint.addresses.iter().chain(&endpoint.floating)).copied().map(host_net).collect()
    }
}
