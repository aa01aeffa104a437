//! What this host's tunnel devices are made of, against what the datastore says of this host (J13): a tunnel whose device
//! has another network number, port, address, parent or MAC is up, has its routes, and carries nothing.

use std::net::IpAddr;

use super::fault::TunnelReason;
use super::finding::Finding;
use super::setting::Setting;
use crate::model::{Family, Link, Name, Node, TunnelKind, VxlanDevice};
use crate::state::{Datastore, Kernel};

/// Attributes of a device that is up. What the kernel does not tell is not judged: Felix leaves such a device as it is
/// (`felix/dataplane/linux/vxlan_mgr.go`, `vxlanLinksIncompat`).
pub(super) fn attributes(
    datastore: &Datastore,
    kernel: &Kernel,
    me: &Name,
    setting: &Setting,
    link: &Link,
) -> Vec<Finding> {
    let Some(kind) = TunnelKind::of_device(&link.name) else { return Vec::new() };
    let Some(node) = datastore.node(me) else { return Vec::new() };
    let device = Device { kernel, me, setting, node, link, kind };
    let mut findings = Vec::new();
    let flow_based = is_flow_based(link, setting);
    if let Some(vxlan) = link.vxlan.as_ref().filter(|_| !flow_based) {
        findings.extend(device.numbers(vxlan));
        findings.extend(device.ends(vxlan));
    }
    findings.extend(device.mac());
    if !flow_based {
        findings.extend(device.mtu());
    }
    findings
}

/// eBPF: each packet says where it goes, and one device is enough for both families. In doubt either is believed: the
/// versions differ in what they make of the setting.
pub(super) fn is_flow_based(link: &Link, setting: &Setting) -> bool {
    let is_vxlan = TunnelKind::of_device(&link.name).is_some_and(TunnelKind::is_vxlan);
    is_vxlan && (setting.bpf || link.vxlan.as_ref().is_some_and(|vxlan| vxlan.flow_based))
}

/// One device of this host.
struct Device<'a> {
    kernel: &'a Kernel,
    me: &'a Name,
    setting: &'a Setting,
    node: &'a Node,
    link: &'a Link,
    kind: TunnelKind,
}

impl Device<'_> {
    fn fault(&self, reason: TunnelReason) -> Finding {
        Finding::of_tunnel(&self.link.name, reason, self.me)
    }

    /// The device by which this host's own address is reached, with that address: what the tunnel's packets leave by.
    fn underlay(&self) -> Option<(&Link, IpAddr)> {
        let address = self.node.bgp_address(self.kind.family())?.addr();
        self.kernel.interface_of(address).map(|(link, _)| (link, address))
    }

    /// VNI and port: hosts that differ in one of them do not hear each other.
    fn numbers(&self, vxlan: &VxlanDevice) -> Vec<Finding> {
        let name = &self.link.name;
        let told = |reason, what: &str, variable: &str, wanted: String, actual: String| {
            self.fault(reason)
                .detail(format!(
                    "tunnel device {name} has {what} {actual}: hosts whose device has another do not hear it"
                ))
                .expected(format!("{what} {wanted}"), format!("{what} {actual}"))
                .action(format!(
                    "see whether calico-node runs here, and whether {variable} is in its environment on this host; the \
                     exporter takes it from its own"
                ))
        };
        let mut findings = Vec::new();
        if let (Some(wanted), Some(actual)) = (self.setting.vxlan_vni, vxlan.vni)
            && wanted != actual
        {
            findings.push(told(
                TunnelReason::WrongVni,
                "VNI",
                "FELIX_VXLANVNI",
                wanted.to_string(),
                actual.to_string(),
            ));
        }
        if let (Some(wanted), Some(actual)) = (self.setting.vxlan_port, vxlan.port)
            && wanted != actual
        {
            findings.push(told(
                TunnelReason::WrongPort,
                "UDP port",
                "FELIX_VXLANPORT",
                wanted.to_string(),
                actual.to_string(),
            ));
        }
        findings
    }

    /// Where its packets come from and leave by. An own address that no interface has is a fault of the Node (J30), and
    /// Felix leaves the device alone.
    fn ends(&self, vxlan: &VxlanDevice) -> Vec<Finding> {
        let Some((underlay, address)) = self.underlay() else { return Vec::new() };
        let name = &self.link.name;
        let mut findings = Vec::new();
        if let Some(local) = vxlan.local.filter(|local| *local != address) {
            findings.push(
                self.fault(TunnelReason::WrongLocalAddress)
                    .detail(format!("tunnel device {name} sends from {local}, which is not this host's address"))
                    .expected(address.to_string(), local.to_string())
                    .action("see Felix's log on this host: it makes the device anew when its address changes"),
            );
        }
        if let Some(parent) = vxlan.parent.filter(|parent| *parent != underlay.index) {
            let actual = self.kernel.link_at(parent).map_or_else(|| format!("if{parent}"), |it| it.name.to_string());
            findings.push(
                self.fault(TunnelReason::WrongParent)
                    .detail(format!(
                        "tunnel device {name} sends through {actual}, and {address} is on {}",
                        underlay.name
                    ))
                    .expected(underlay.name.to_string(), actual)
                    .action("see Felix's log on this host: it makes the device anew when the interface changes"),
            );
        }
        findings
    }

    /// Other hosts address their frames to the MAC that the Node has.
    fn mac(&self) -> Option<Finding> {
        let family = self.kind.family();
        if self.kind != TunnelKind::vxlan(family) {
            return None;
        }
        self.node.vtep(family)?;
        let (wanted, actual) = (self.node.vxlan_mac(self.me, family), self.link.mac?);
        (wanted != actual).then(|| {
            self.fault(TunnelReason::WrongMac)
                .detail(format!(
                    "tunnel device {} has the MAC {actual}, and the other hosts send to {wanted}: it drops what it gets",
                    self.link.name
                ))
                .expected(wanted.to_string(), actual.to_string())
                .action("see who changed it (NetworkManager, systemd-networkd) and restart calico-node on this host")
        })
    }

    /// Only more than fits is a fault: less may be meant for a smaller interface that is not known here. Where no
    /// interface has this host's address, that fault of the Node stands for this one (J30).
    fn mtu(&self) -> Option<Finding> {
        let has_address = self.node.bgp_address(self.kind.family()).is_some();
        let parent = || self.kernel.link_at(self.link.vxlan.as_ref()?.parent?).filter(|_| !has_address);
        let parent = self.underlay().map(|(link, _)| link).or_else(parent)?;
        let most = parent.mtu.saturating_sub(self.kind.overhead());
        (self.link.mtu > most).then(|| {
            self.fault(TunnelReason::MtuTooHigh)
                .detail(format!(
                    "tunnel device {} has MTU {}, and of the {} of {} are {} left for it: large packets are lost or \
                     sent twice",
                    self.link.name, self.link.mtu, parent.mtu, parent.name, most
                ))
                .expected(format!("at most {most}"), self.link.mtu.to_string())
                .action("raise the interface's MTU, or lower Calico's (vxlanMTU, ipipMTU, wireguardMTU) and restart calico-node")
        })
    }
}

/// Whether this host has everything that makes its own end of a VXLAN tunnel: without it Felix makes no device, and
/// nothing is expected on one.
pub(super) fn has_own_end(datastore: &Datastore, me: &Name, family: Family) -> bool {
    datastore.nodes().get(me).is_some_and(|node| node.vtep(family).is_some())
}
