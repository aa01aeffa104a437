//! What Felix programs, from blocks (J21).

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Context, Device, Devices, Expectation, Form, Gateway, Need};
use crate::audit::report::{Encapsulation, RouteClass};
use crate::audit::setting::Programmer;
use crate::model::{EncapMode, Family, IpPool, Name, PoolClass, TunnelKind, host_route};

impl Context<'_> {
    pub(super) fn felix_programs(&self, pool: &IpPool) -> bool {
        self.setting.ownership.programs(Programmer::Felix, pool.class())
            && !self.setting.ownership_unknown_for(pool.class())
    }

    pub(super) fn felix_block(&self, cidr: &IpNet, host: &Name, pool: &IpPool, found: &mut Vec<Expectation>) {
        if host == self.me {
            // A single address needs no blackhole: nothing of it is left over.
            if host_route(cidr).is_some() {
                return;
            }
            found.push(Expectation {
                class: RouteClass::LocalBlock,
                need: self.felix_need(&Form::Blackhole, cidr),
                programmer: Programmer::Felix,
                host: Some(host.clone()),
                form: Form::Blackhole,
                bird_only: false,
            });
            return;
        }
        found.extend(self.felix_remote(cidr, host, pool, RouteClass::RemoteBlock));
    }

    /// Felix's route to another host, of this class unless it leads to a tunnel address alone.
    pub(super) fn felix_remote(
        &self,
        net: &IpNet,
        host: &Name,
        pool: &IpPool,
        class: RouteClass,
    ) -> Option<Expectation> {
        let single = host_route(net);
        let form = self.felix_form(pool, host, single)?;
        Some(Expectation {
            class: single.map_or(class, |address| self.single_class(address, class)),
            need: self.felix_need(&form, net),
            programmer: Programmer::Felix,
            host: Some(host.clone()),
            form,
            bird_only: false,
        })
    }

    fn felix_need(&self, form: &Form, net: &IpNet) -> Need {
        let required = self.setting.felix_routes_blocks
            && self.is_addressed(Family::of_net(net))
            && *form != Form::Unknown
            && !self.is_over_own_tunnel(form, net);
        if required { Need::Required } else { Need::Permitted }
    }

    /// Whether the way leads over a tunnel address that this host has as well: the kernel takes no such gateway, and one
    /// fault of the datastore stands for all of it (J13).
    fn is_over_own_tunnel(&self, form: &Form, net: &IpNet) -> bool {
        let over = match form {
            Form::Remote { gateway: Gateway::Exactly(gateway), .. } => Some(*gateway),
            Form::Remote { gateway: Gateway::OnLink, .. } => host_route(net),
            _ => None,
        };
        over.is_some_and(|over| self.node.is_some_and(|node| node.tunnels.values().any(|own| *own == over)))
    }

    /// Whether this host has an address of the family. Without one Felix finds neither its tunnel nor the device to
    /// route through, as on a host without IPv6 of a cluster that has both.
    pub(super) fn is_addressed(&self, family: Family) -> bool {
        self.node.is_some_and(|node| node.routing_address(family).is_some())
    }

    /// How Felix routes to `host`, or `None` where it does not: no Node, no address, no VTEP for a tunnel (J21).
    /// `single`: the one address that the route is for. That it is the peer's tunnel address its Node says, and not its
    /// allocation.
    pub(in crate::audit) fn felix_form(&self, pool: &IpPool, host: &Name, single: Option<IpAddr>) -> Option<Form> {
        if self.datastore.is_unreadable_node(host) || self.datastore.is_unreadable_node(self.me) {
            return Some(Form::Unknown);
        }
        let family = pool.family();
        let node = self.datastore.node(host)?;
        let peer = node.routing_address(family)?;
        let same_subnet = self.same_subnet(peer);
        let direct = match pool.mode() {
            EncapMode::Never => true,
            EncapMode::CrossSubnet => same_subnet,
            EncapMode::Always => false,
        };
        if direct {
            let device = self.parent(family).map_or(Device::Any, Device::Exactly);
            let gateway = Gateway::Exactly(peer);
            return Some(Form::Remote { encapsulation: Encapsulation::None, device, gateway, same_subnet });
        }
        match pool.class() {
            PoolClass::Vxlan => {
                let vtep = node.vtep(family)?;
                let gateway = if single == Some(vtep) { Gateway::OnLink } else { Gateway::Exactly(vtep) };
                let device = self.vxlan_devices(family);
                Some(Form::Remote { encapsulation: Encapsulation::Vxlan, device, gateway, same_subnet })
            }
            // There is no IPIP for IPv6.
            PoolClass::Ipip if family == Family::V4 => Some(Form::Remote {
                encapsulation: Encapsulation::Ipip,
                device: Device::Tunnel(const { &[TunnelKind::Ipip.device()] }),
                gateway: Gateway::Exactly(peer),
                same_subnet,
            }),
            _ => None,
        }
    }

    pub(super) fn vxlan_devices(&self, family: Family) -> Device {
        const BOTH: Devices = &[TunnelKind::VxlanV4.device(), TunnelKind::VxlanV6.device()];
        Device::Tunnel(match family {
            Family::V4 => &BOTH[..1],
            Family::V6 if self.setting.bpf => BOTH,
            Family::V6 => &BOTH[1..],
        })
    }
}
