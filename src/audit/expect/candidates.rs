//! Which destinations something may be expected of.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Context, user};
use crate::model::{AllocationBlock, Name, address_at, host_net};

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
        found.extend(self.own_endpoints_within(net));
        found.retain(|destination| net.contains(destination));
        found
    }

    /// Where endpoints are listed there may be half a million of them: a block's addresses are looked up one by one.
    fn own_endpoints_within(&self, net: &IpNet) -> Vec<IpNet> {
        const LOOKUPS: u8 = 10;
        if net.max_prefix_len() - net.prefix_len() > LOOKUPS {
            return self.own_endpoints().collect();
        }
        let is_own = |address: &IpAddr| self.datastore.endpoints_at(*address).any(|it| it.node == *self.me);
        (0u64..).map_while(|ordinal| address_at(net, ordinal)).filter(is_own).map(host_net).collect()
    }

    pub(super) fn own_endpoints(&self) -> impl Iterator<Item = IpNet> {
        let endpoints = self.datastore.endpoints().values().filter(|endpoint| endpoint.node == *self.me);
        endpoints.flat_map(|endpoint| &endpoint.addresses).copied().map(host_net)
    }

    /// The same for everything there is.
    pub(in crate::audit) fn all_candidates(&self) -> Vec<IpNet> {
        let mut found: Vec<IpNet> = self.datastore.blocks().map(|block| block.cidr).collect();
        found.extend(self.datastore.affinities().map(|(cidr, ..)| *cidr));
        for block in self.datastore.blocks() {
            self.singles(block, &mut found);
        }
        found.extend(self.own_endpoints());
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
        let endpoints = self.datastore.endpoints().values();
        let behind = endpoints.filter(|endpoint| endpoint.node == *self.me && endpoint.interface == *device);
        behind.flat_map(|endpoint| endpoint.addresses.iter().chain(&endpoint.floating)).copied().map(host_net).collect()
    }
}
