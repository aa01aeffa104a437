//! Routes as the kernel holds them (`rtnetlink.h`).

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::{Name, host_route};

/// `RT_TABLE_MAIN`.
pub const TABLE_MAIN: u32 = 254;

/// `rtm_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteType {
    /// To a gateway or a device.
    Unicast,
    /// Dropped silently.
    Blackhole,
    /// Dropped with an ICMP unreachable.
    Unreachable,
    /// Dropped with an ICMP prohibited.
    Prohibit,
    /// The look-up goes on in the next table.
    Throw,
    /// An address of this host.
    Local,
    /// Broadcast, anycast, multicast, NAT and what is still unknown.
    Other(u8),
}

impl RouteType {
    /// From the kernel's number, `RTN_*`.
    pub fn from_number(number: u8) -> RouteType {
        match number {
            1 => RouteType::Unicast,
            2 => RouteType::Local,
            6 => RouteType::Blackhole,
            7 => RouteType::Unreachable,
            8 => RouteType::Prohibit,
            9 => RouteType::Throw,
            other => RouteType::Other(other),
        }
    }

    /// Whether it leads anywhere. The kernel gives an IPv6 route that does not the device `lo`, which means nothing.
    pub fn has_next_hops(self) -> bool {
        !matches!(self, RouteType::Blackhole | RouteType::Unreachable | RouteType::Prohibit | RouteType::Throw)
    }

    /// As iproute2 prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            RouteType::Unicast => "unicast",
            RouteType::Blackhole => "blackhole",
            RouteType::Unreachable => "unreachable",
            RouteType::Prohibit => "prohibit",
            RouteType::Throw => "throw",
            RouteType::Local => "local",
            RouteType::Other(_) => "other",
        }
    }
}

/// `rtm_protocol`: who installed the route (`/etc/iproute2/rt_protos`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Protocol(pub u8);

impl Protocol {
    /// `RTPROT_KERNEL`.
    pub const KERNEL: Protocol = Protocol(2);
    /// `RTPROT_BOOT`: Felix's default for device routes, and what `ip route add` writes.
    pub const BOOT: Protocol = Protocol(3);
    /// `RTPROT_STATIC`.
    pub const STATIC: Protocol = Protocol(4);
    /// `RTPROT_BIRD`.
    pub const BIRD: Protocol = Protocol(12);
    /// Felix's own for blackholes, same-subnet, IPIP and unencapsulated routes (`dataplanedefs`).
    pub const FELIX: Protocol = Protocol(80);
}

/// As iproute2 names it (`/etc/iproute2/rt_protos`).
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Protocol::KERNEL => f.write_str("kernel"),
            Protocol::BOOT => f.write_str("boot"),
            Protocol::STATIC => f.write_str("static"),
            Protocol::BIRD => f.write_str("bird"),
            Protocol(number) => write!(f, "{number}"),
        }
    }
}

/// One way out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// The gateway, absent where the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The device's name. A device that is not known is called `if<index>`.
    pub device: Option<Name>,
    /// `RTNH_F_LINKDOWN` or `RTNH_F_DEAD`.
    pub down: bool,
    /// `RTNH_F_ONLINK`.
    pub onlink: bool,
}

/// What tells two routes of a table apart. IPv6 may hold several device routes of one destination and metric
/// (`fe80::/64`), so the device is part of it there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteKey {
    /// The routing table, 254 is main.
    pub table: u32,
    /// Masked destination.
    pub destination: IpNet,
    /// `RTA_PRIORITY`; an IPv6 route added with 0 is kept with 1024 by the kernel.
    pub metric: u32,
    /// Type of service, 0 in all of Calico's.
    pub tos: u8,
    /// Only for an IPv6 route without gateway: its device.
    pub device: Option<Name>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The routing table.
    pub table: u32,
    /// Masked destination.
    pub destination: IpNet,
    /// `RTA_PRIORITY`.
    pub metric: u32,
    /// Type of service.
    pub tos: u8,
    /// Its type.
    pub kind: RouteType,
    /// Who installed it.
    pub protocol: Protocol,
    /// `RT_SCOPE_LINK`: the destination is on the device's link.
    pub link_scope: bool,
    /// Ways out; several are multipath; none for blackholes. Shared, since a host's blocks are reached the same way.
    pub next_hops: Arc<[NextHop]>,
}

impl Route {
    /// What tells it apart in its table.
    pub fn key(&self) -> RouteKey {
        let device = match (&self.destination, &*self.next_hops) {
            (IpNet::V6(_), [only]) if only.gateway.is_none() => only.device.clone(),
            _ => None,
        };
        RouteKey { table: self.table, destination: self.destination, metric: self.metric, tos: self.tos, device }
    }
}

/// As `ip route` prints it: a single address bare, and neither the metric 0 nor the protocol boot.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind != RouteType::Unicast {
            write!(f, "{} ", self.kind.as_str())?;
        }
        match host_route(&self.destination) {
            Some(address) => write!(f, "{address}")?,
            None => write!(f, "{}", self.destination)?,
        }
        match &*self.next_hops {
            [only] => write!(f, "{only}")?,
            several => several.iter().try_for_each(|hop| write!(f, " nexthop{hop}"))?,
        }
        if self.protocol != Protocol::BOOT {
            write!(f, " proto {}", self.protocol)?;
        }
        if self.metric != 0 {
            write!(f, " metric {}", self.metric)?;
        }
        Ok(())
    }
}

/// ` via GATEWAY dev DEVICE onlink linkdown`, as far as it has them.
impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        if let Some(device) = &self.device {
            write!(f, " dev {device}")?;
        }
        if self.onlink {
            f.write_str(" onlink")?;
        }
        if self.down {
            f.write_str(" linkdown")?;
        }
        Ok(())
    }
}
