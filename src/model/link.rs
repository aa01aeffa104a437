//! Network devices as the kernel describes them (`if_link.h`, `if_addr.h`).

use ipnet::IpNet;

use super::Name;

/// A device with its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
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
