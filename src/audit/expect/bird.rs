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
        let Some((host, settled)) = (match settled.as_slice() {
            [only] => Some((*only, true)),
            // confd ignores a pending key, and BIRD keeps what it had: either way (J22).
            [] => claims(true).next().map(|host| (host, false)),
            // Two hosts announce the block; which one wins is chance.
            _ => {
                found.push(self.unknown(cidr));
                return;
            }
        }) else {
            return;
        };
        let whole = settled && exists && !single;
        let certain = !self.setting.ownership_unknown;
        if host == self.me {
            let required = whole && certain && pool.is_some() && self.bird_meant;
            found.push(Expectation {
                class: RouteClass::LocalBlock,
                need: if required { Need::Required } else { Need::Permitted },
                programmer: Programmer::Bird,
                host: Some(host.clone()),
                form: Form::Blackhole,
                bird_only: false,
            });
            return;
        }
        let Some(form) = self.bird_form(pool, host, Family::of_net(cidr)) else { return };
        let reach = self.sessions.reach(host, self.me, Family::of_net(cidr));
        let required = whole && pool.is_some_and(|pool| self.bird_requires(pool, host, reach));
        found.push(Expectation {
            class: RouteClass::RemoteBlock,
            need: if required { Need::Required } else { Need::Permitted },
            programmer: Programmer::Bird,
            host: Some(host.clone()),
            form,
            bird_only: false,
        });
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
    pub(super) fn bird_form(&self, pool: Option<&IpPool>, host: &Name, family: Family) -> Option<Form> {
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
