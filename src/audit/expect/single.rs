//! Single addresses: this host's workloads (J25), and what other hosts use outside their own blocks (J16, J21, J22).

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Context, Expectation, Form, Need, holder, user};
use crate::audit::report::RouteClass;
use crate::audit::setting::Programmer;
use crate::model::{
    AffinityState, AllocationBlock, Attribute, BlockOwner, Family, IpPool, Name, WorkloadEndpoint, host_net, host_route,
};

impl Context<'_> {
    /// Local workloads (J25).
    pub(super) fn local_workload(&self, address: IpAddr, found: &mut Vec<Expectation>) {
        let block = self.block_around(&host_net(address));
        let holder = block.and_then(|block| holder(block, address));
        // The host's own addresses, its tunnels' among them, are nobody's workload (J16).
        let allocated_here = !self.is_own(address)
            && block.zip(holder).is_some_and(|(block, attribute)| user(block, attribute) == Some(self.me));
        let mut devices = Vec::new();
        let mut ready = false;
        for endpoint in self.datastore.endpoints_at(address).filter(|endpoint| endpoint.node == *self.me) {
            // A looked-up endpoint may have outlived its address.
            if !self.datastore.knows_endpoints() && !allocated_here {
                continue;
            }
            ready |= self.is_ready(endpoint) && !holder.is_some_and(|it| self.is_migration_target(it));
            devices.push(endpoint.interface.clone());
        }
        let known = !devices.is_empty();
        let floating = !known && self.datastore.floats_at(address).any(|endpoint| endpoint.node == *self.me);
        if !known && !allocated_here && !floating {
            return;
        }
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
        if let Some(block) = self.block_around(&net)
            && let Some(attribute) = holder(block, address)
            && let Some(user) = user(block, attribute)
            && user != self.me
        {
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
            let form = self.felix_form(pool, user, Some(address));
            found.extend(form.map(|form| Expectation {
                class: RouteClass::Borrowed,
                need: match self.is_current(block, address) {
                    true => self.felix_need(&form, Family::of(address)),
                    false => Need::Permitted,
                },
                programmer: Programmer::Felix,
                host: Some(user.clone()),
                form,
                bird_only: false,
            }));
        }
        // The owner of a confirmed block announces nothing beneath it.
        if self.bird_may_program(pool.class()) && !self.confirms(user, &block.cidr) {
            self.pod_by_bird(address, block, user, pool, RouteClass::Borrowed, found);
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
            class,
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
            class: RouteClass::Borrowed,
            need: Need::Permitted,
            programmer: Programmer::Bird,
            host: Some(host.clone()),
            form: form.unwrap_or(Form::Unknown),
            bird_only: true,
        });
    }
}
