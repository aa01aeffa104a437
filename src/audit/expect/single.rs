//! Single addresses: this host's workloads (J25), and what other hosts use outside their own blocks (J16, J21, J22).

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Context, Expectation, Form, Need, holder, user};
use crate::audit::report::RouteClass;
use crate::audit::setting::Programmer;
use crate::model::{
    AffinityState, AllocationBlock, Attribute, BlockOwner, Family, IpPool, Name, WorkloadEndpoint, host_net,
    host_route, ordinal_of,
};

impl Context<'_> {
    /// Local workloads (J25).
    pub(super) fn local_workload(&self, address: IpAddr, found: &mut Vec<Expectation>) {
        // The host's own addresses, its tunnels' among them, are nobody's workload (J16).
        let allocated_here = !self.is_own(address)
            && self.allocations(address).any(|(block, attribute)| user(block, attribute) == Some(self.me));
        let moves_here = self.allocations(address).any(|(_, attribute)| self.is_migration_target(attribute));
        let mut devices = Vec::new();
        let mut ready = false;
        for endpoint in self.datastore.endpoints_at(address).filter(|endpoint| endpoint.node == *self.me) {
            // A looked-up endpoint may have outlived its address.
            if !self.datastore.knows_endpoints() && !allocated_here {
                continue;
            }
            ready |= self.is_ready(endpoint) && !moves_here;
            devices.push(endpoint.interface.clone());
        }
        let known = !devices.is_empty();
        if !known && !allocated_here && !self.may_float(address) {
            return;
        }
        let block = self.block_around(&host_net(address));
        let current = block.is_none_or(|block| self.is_current(block, address));
        let required = known && ready && current && self.setting.felix_routes_blocks;
        found.push(Expectation {
            class: RouteClass::LocalWorkload,
            need: if required { Need::Required } else { Need::Permitted },
            programmer: Programmer::Felix,
            host: Some(self.me.clone()),
            // Without carrier a workload's route is nothing to judge (J19).
            form: if known && !ready { Form::Unknown } else { Form::Workload(devices) },
            bird_only: false,
        });
    }

    /// Whether a pod here may have the address as a floating one (J25). In a pool Felix has to be told to program them,
    /// and then the route alone says so: which endpoint it is of is not known everywhere.
    fn may_float(&self, address: IpAddr) -> bool {
        let net = host_net(address);
        if self.datastore.pool_of(&net).is_none() {
            return self.datastore.floats_at(address).any(|endpoint| endpoint.node == *self.me);
        }
        self.setting.floating_ips
            && self.kernel.route(&net).is_some_and(|route| self.is_on_workload(route))
            && self.is_free(address)
    }

    /// Whether IPAM calls the address free, as far as every block is known that may hold it.
    pub(in crate::audit) fn is_free(&self, address: IpAddr) -> bool {
        let net = host_net(address);
        let given = |block: &AllocationBlock| {
            let ordinal = ordinal_of(&block.cidr, address).and_then(|it| u32::try_from(it).ok());
            ordinal.is_none_or(|ordinal| block.allocation(ordinal).is_some())
        };
        let known = self.reads || self.questions(&net).is_empty();
        known && !self.blocks_around(&net).any(given)
    }

    /// Who holds an address, in each block around it that gives it to somebody: of blocks that overlap any one counts.
    pub(in crate::audit) fn allocations(
        &self,
        address: IpAddr,
    ) -> impl Iterator<Item = (&AllocationBlock, &Attribute)> {
        self.blocks_around(&host_net(address)).filter_map(move |block| Some((block, holder(block, address)?)))
    }

    /// The host that uses an address as IPAM says, in each block around it.
    pub(in crate::audit) fn users(&self, address: IpAddr) -> impl Iterator<Item = &Name> {
        self.allocations(address).filter_map(|(block, attribute)| user(block, attribute))
    }

    pub(in crate::audit) fn is_ready(&self, endpoint: &WorkloadEndpoint) -> bool {
        !self.kernel.knows_links() || self.kernel.link(&endpoint.interface).is_some_and(|link| link.is_up())
    }

    /// The host that a machine moves to has no route before it has announced itself (`live_migration.go`).
    pub(super) fn is_migration_target(&self, attribute: &Attribute) -> bool {
        attribute.peer_node.as_ref() == Some(self.me) && attribute.node.as_ref() != Some(self.me)
    }

    /// A single address that another host uses: borrowed (J21, J22), or a pod that BIRD exports by itself (J16).
    pub(super) fn single_address(&self, address: IpAddr, found: &mut Vec<Expectation>) {
        let net = host_net(address);
        let pool = self.datastore.pool_of(&net);
        for (block, attribute) in self.allocations(address) {
            let Some(user) = user(block, attribute).filter(|user| *user != self.me) else { continue };
            if self.pool_uncertain(&net) {
                found.push(self.unknown(&net));
                return;
            }
            if block.host() != Some(user) && !matches!(block.owner, Some(BlockOwner::Virtual(_))) {
                self.borrowed(address, block, user, pool, found);
            } else if host_route(&block.cidr).is_some() {
                self.pod_of_single_block(address, block, user, pool, found);
            }
            self.exported_pod(address, user, pool, found);
        }
        for endpoint in self.datastore.endpoints_at(address).filter(|endpoint| endpoint.node != *self.me) {
            self.exported_pod(address, &endpoint.node, pool, found);
        }
    }

    pub(super) fn borrowed(
        &self,
        address: IpAddr,
        block: &AllocationBlock,
        user: &Name,
        pool: Option<&IpPool>,
        found: &mut Vec<Expectation>,
    ) {
        let Some(pool) = pool else { return };
        if self.felix_programs(pool) {
            let by_felix = self.felix_remote(&host_net(address), user, pool, RouteClass::Borrowed);
            found.extend(by_felix.map(|expectation| match self.is_current(block, address) {
                true => expectation,
                false => Expectation { need: Need::Permitted, ..expectation },
            }));
        }
        // The owner of a confirmed block announces nothing beneath it.
        if self.bird_may_program(pool.class()) && !self.confirms(user, &block.cidr) {
            self.pod_by_bird(address, block, user, pool, RouteClass::Borrowed, found);
        }
        if self.is_nobodys(pool) {
            found.push(self.unknown(&host_net(address)));
        }
    }

    /// The pod in a block of one address: BIRD originates no such block, but announces the pod.
    pub(super) fn pod_of_single_block(
        &self,
        address: IpAddr,
        block: &AllocationBlock,
        user: &Name,
        pool: Option<&IpPool>,
        found: &mut Vec<Expectation>,
    ) {
        if let Some(pool) = pool.filter(|pool| self.bird_may_program(pool.class())) {
            self.pod_by_bird(address, block, user, pool, RouteClass::RemoteBlock, found);
        }
    }

    /// A `/32` that BIRD on `user` has to announce where an endpoint there has the address (J22).
    pub(super) fn pod_by_bird(
        &self,
        address: IpAddr,
        block: &AllocationBlock,
        user: &Name,
        pool: &IpPool,
        class: RouteClass,
        found: &mut Vec<Expectation>,
    ) {
        let family = Family::of(address);
        let Some(form) = self.bird_form(Some(pool), user, family) else { return };
        let used = self.datastore.endpoints_at(address).any(|endpoint| endpoint.node == *user);
        let lends = |host: &str| self.confirms(host, &block.cidr);
        let required = used
            && self.is_current(block, address)
            && form != Form::Unknown
            && self.bird_requires(pool, user, self.sessions.reach_borrowed(user, self.me, family, &lends));
        found.push(Expectation {
            class: self.single_class(address, class),
            need: if required { Need::Required } else { Need::Permitted },
            programmer: Programmer::Bird,
            host: Some(user.clone()),
            form,
            bird_only: false,
        });
    }

    pub(super) fn confirms(&self, host: &str, cidr: &IpNet) -> bool {
        self.datastore.affinities_of(cidr).any(|(owner, entry)| {
            entry.state == AffinityState::Confirmed && owner.host().is_some_and(|it| it.as_ref() == host)
        })
    }

    /// A `/32` that BIRD on `host` may announce: the kernel's filter keeps it to its own classes, and where one is
    /// there all the same it is no leftover of a block. Judged as its class says (J16, J20).
    pub(super) fn exported_pod(
        &self,
        address: IpAddr,
        host: &Name,
        pool: Option<&IpPool>,
        found: &mut Vec<Expectation>,
    ) {
        let family = Family::of(address);
        let form = match pool {
            // Where both program the class, BIRD's route has BIRD's form.
            Some(pool) if self.felix_programs(pool) && !self.bird_may_program(pool.class()) => {
                self.felix_form(pool, host, None)
            }
            pool => self.bird_form(pool, host, family),
        };
        found.push(Expectation {
            class: self.single_class(address, RouteClass::Borrowed),
            need: Need::Permitted,
            programmer: Programmer::Bird,
            host: Some(host.clone()),
            form: form.unwrap_or(Form::Unknown),
            bird_only: true,
        });
    }
}
