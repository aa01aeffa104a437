//! Network devices as the kernel describes them (`if_link.h`, `if_addr.h`).

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Mac, Name};

/// `IFLA_INFO_DATA` of a VXLAN device. What the kernel does not say is absent: a device may have no parent and no
/// address of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VxlanDevice {
    /// `IFLA_VXLAN_ID`: the network's number.
    pub vni: Option<u32>,
    /// `IFLA_VXLAN_PORT`: the UDP port.
    pub port: Option<u16>,
    /// `IFLA_VXLAN_LOCAL`, `IFLA_VXLAN_LOCAL6`: the source of what it sends.
    pub local: Option<IpAddr>,
    /// `IFLA_VXLAN_LINK`: the `ifindex` of the device that it sends through.
    pub parent: Option<u32>,
    /// `IFLA_VXLAN_COLLECT_METADATA` (`external`): each packet says where it goes, as Calico's eBPF mode has it. VNI,
    /// address and parent mean nothing then.
    pub flow_based: bool,
}

/// A device with its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Link {
    /// `ifindex`.
    pub index: u32,
    /// `ifname`.
    pub name: Name,
    /// `IFLA_INFO_KIND`: `veth`, `vxlan`, `ipip`, …; absent on hardware.
    pub kind: Option<Name>,
    /// `IFF_UP`.
    pub admin_up: bool,
    /// UP without `IFF_RUNNING`, what iproute2 calls `NO-CARRIER` (`ip/ipaddress.c`, `print_link_flags`).
    pub no_carrier: bool,
    /// Bytes.
    pub mtu: u32,
    /// `IFLA_ADDRESS`, where it is an Ethernet address.
    pub mac: Option<Mac>,
    /// What a VXLAN device is made of; absent on others, and where nothing is told of it (`ip` without `-d`).
    pub vxlan: Option<VxlanDevice>,
    /// Addresses with their prefix lengths, sorted.
    pub addresses: Vec<IpNet>,
}

impl Link {
    /// Whether routes through it work: UP and not NO-CARRIER. The operational state says UNKNOWN on healthy tunnels
    /// and is no help (J14).
    pub fn is_up(&self) -> bool {
        self.admin_up && !self.no_carrier
    }
}
