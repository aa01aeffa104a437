//! What BIRD programs, from affinity keys and along its sessions (J22).

use ipnet::IpNet;

use super::{Context, Device, Expectation, Form, Gateway, Need};
use crate::audit::bgp::Reach;
use crate::audit::report::{Encapsulation, RouteClass};
use crate::audit::setting::Programmer;
use crate::model::{AffinityState, EncapMode, Family, IpPool, Name, PoolClass, TunnelKind, host_route};

impl Context<'_> {
    pub(super) fn bird_may_program(&self, class: PoolClass) -> bool {
        self.setting.ownership.programs(Programmer::Bird, class) || self.setting.ownership_unknown_for(class)
    }

    pub(super) fn bird_block(&self, cidr: &IpNet, exists: bool, pool: Option<&IpPool>, found: &mut Vec<Expectation>) {
        let single = host_route(cidr).is_some();
        if self.datastore.is_dark_affinity(cidr) {
            found.push(self.unknown(cidr));
            return;
        }
        let claims = |pending: bool| {
            let wanted = move |state: AffinityState| (state == AffinityState::Pending) == pending;
            self.datastore
                .affinities_of(cidr)
                .filter(move |(_, entry)| wanted(entry.state))
                .filter_map(|(owner, _)| owner.host())
        };
        let settled: Vec<&Name> = claims(false).collect();
        match settled.as_slice() {
            [only] => found.extend(self.bird_claim(cidr, only, exists && !single, pool)),
            // confd ignores a pending key, and BIRD keeps what it had: either way (J22).
            [] => found.extend(claims(true).next().and_then(|host| self.bird_claim(cidr, host, false, pool))),
            // Each of them announces the block, and which one wins is chance.
            several => found.extend(several.iter().filter_map(|host| self.bird_claim(cidr, host, false, pool))),
        }
    }

    /// The route of a block that `host` announces; `whole`: it has to, as far as the datastore says.
    fn bird_claim(&self, cidr: &IpNet, host: &Name, whole: bool, pool: Option<&IpPool>) -> Option<Expectation> {
        let (class, form, required) = if host == self.me {
            // BIRD originates no block of one address (J22).
            if host_route(cidr).is_some() {
                return None;
            }
            let certain = !self.setting.ownership_unknown && pool.is_some();
            (RouteClass::LocalBlock, Form::Blackhole, whole && certain && self.bird_meant)
        } else {
            let form = self.bird_form(pool, host, Family::of_net(cidr))?;
            let reach = self.sessions.reach(host, self.me, Family::of_net(cidr));
            let required = whole && pool.is_some_and(|pool| self.bird_requires(pool, host, reach));
            let class = host_route(cidr)
                .map_or(RouteClass::RemoteBlock, |address| self.single_class(address, RouteClass::RemoteBlock));
            (class, form, required)
        };
        Some(Expectation {
            class,
            need: if required { Need::Required } else { Need::Permitted },
            programmer: Programmer::Bird,
            host: Some(host.clone()),
            form,
            bird_only: false,
        })
    }

    /// Whether BIRD's route to a host has to be here, given the way that its announcement takes (J22).
    pub(super) fn bird_requires(&self, pool: &IpPool, host: &Name, reach: Reach) -> bool {
        self.bird_meant
            && reach == Reach::Required
            && !pool.disable_bgp_export
            && !self.setting.ownership_unknown
            && !self.datastore.node(host).is_some_and(|peer| self.setting.wireguard_takes(peer))
    }

    /// How BIRD routes to `host`, or `None` where that host announces nothing: no Node, no address of the family.
    pub(in crate::audit) fn bird_form(&self, pool: Option<&IpPool>, host: &Name, family: Family) -> Option<Form> {
        if self.datastore.is_unreadable_node(host) || self.datastore.is_unreadable_node(self.me) {
            return Some(Form::Unknown);
        }
        let peer = self.datastore.node(host)?.bgp_address(family)?.addr();
        let same_subnet = self.same_subnet(peer);
        // In no pool BIRD's kernel filter accepts the route as it is.
        let tunnel = match pool.map_or(EncapMode::Never, IpPool::mode) {
            EncapMode::Never => false,
            EncapMode::CrossSubnet => !same_subnet,
            EncapMode::Always => true,
        };
        if tunnel && family == Family::V4 {
            return Some(Form::Remote {
                encapsulation: Encapsulation::Ipip,
                device: Device::Tunnel(const { &[TunnelKind::Ipip.device()] }),
                gateway: Gateway::Exactly(peer),
                same_subnet,
            });
        }
        Some(Form::Remote {
            encapsulation: Encapsulation::None,
            device: self.parent(family).map_or(Device::Any, Device::Reaching),
            gateway: Gateway::Recursive,
            same_subnet,
        })
    }
}
