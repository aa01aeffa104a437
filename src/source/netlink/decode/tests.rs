//! Messages recorded from Linux 6.18 in a network namespace (netlink header removed, links cut to what matters), each
//! line with what it is. Those of ipip and wireguard are put together by `if_link.h`: that kernel had neither.

use rtnetlink::packet_route::RouteNetlinkMessage;

use super::*;
use crate::model::Family;

/// Bytes of a text: each line has them in hexadecimal, and after a bar what they are.
fn bytes(text: &str) -> Vec<u8> {
    let digits = text.lines().flat_map(|line| line.split('|').next().unwrap_or_default().split_whitespace());
    digits.map(|digits| u8::from_str_radix(digits, 16).unwrap()).collect()
}

fn read_link(text: &str) -> LinkMessage {
    match change(RTM_NEWLINK, &bytes(text)) {
        Ok(Some(Change::Link(link))) => link,
        other => panic!("{other:?}"),
    }
}

fn read_address(text: &str) -> AddressMessage {
    match change(RTM_NEWADDR, &bytes(text)) {
        Ok(Some(Change::Address(address))) => address,
        other => panic!("{other:?}"),
    }
}

fn read_route(text: &str) -> RouteMessage {
    match change(RTM_NEWROUTE, &bytes(text)) {
        Ok(Some(Change::Route(route))) => route,
        other => panic!("{other:?}"),
    }
}

fn hop(gateway: &str, device: u32, down: bool, onlink: bool) -> Hop {
    let gateway = (!gateway.is_empty()).then(|| gateway.parse().unwrap());
    Hop { gateway, device: Some(device), down, onlink }
}

/// `ip link add eth0 type veth`, both ends up.
const VETH: &str = "
    00 00 01 00 03 00 00 00 43 10 01 00 00 00 00 00             | ifinfomsg: ether, 3, UP BROADCAST RUNNING MULTICAST LOWER_UP
    09 00 03 00 65 74 68 30 00 00 00 00                         | IFLA_IFNAME eth0
    05 00 10 00 06 00 00 00                                     | IFLA_OPERSTATE up
    08 00 04 00 dc 05 00 00                                     | IFLA_MTU 1500
    10 00 12 00 09 00 01 00 76 65 74 68 00 00 00 00             | IFLA_LINKINFO { IFLA_INFO_KIND veth }
";

#[test]
fn a_veth() {
    let link = read_link(VETH);
    assert_eq!((link.index, link.name.as_deref(), link.kind.as_deref()), (3, Some("eth0"), Some("veth")));
    assert_eq!((link.mtu, link.admin_up, link.no_carrier), (Some(1500), true, false));
}

#[test]
fn a_veth_whose_other_end_is_down_has_no_carrier() {
    // UP BROADCAST MULTICAST: neither RUNNING nor LOWER_UP.
    let link = read_link(&VETH.replace("43 10 01 00", "03 10 00 00"));
    assert_eq!((link.admin_up, link.no_carrier), (true, true));
    let link = read_link(&VETH.replace("43 10 01 00", "02 10 00 00"));
    assert_eq!((link.admin_up, link.no_carrier), (false, false), "down is not NO-CARRIER");
}

#[test]
fn a_vxlan() {
    let link = read_link(
        "
        00 00 01 00 04 00 00 00 43 10 01 00 00 00 00 00         | ifinfomsg: ether, 4, UP BROADCAST RUNNING MULTICAST LOWER_UP
        11 00 03 00 76 78 6c 61 6e 2e 63 61 6c 69 63 6f 00 00 00 00 | IFLA_IFNAME vxlan.calico
        05 00 10 00 00 00 00 00                                 | IFLA_OPERSTATE unknown
        08 00 04 00 aa 05 00 00                                 | IFLA_MTU 1450
        30 00 12 00                                             | IFLA_LINKINFO {
        0a 00 01 00 76 78 6c 61 6e 00 00 00                     |   IFLA_INFO_KIND vxlan
        20 00 02 00                                             |   IFLA_INFO_DATA {
        08 00 01 00 00 10 00 00                                 |     IFLA_VXLAN_ID 4096
        08 00 03 00 03 00 00 00                                 |     IFLA_VXLAN_LINK 3
        0c 00 21 00 f7 ff ff ff 00 00 00 ff                     |     IFLA_VXLAN_RESERVED_BITS, of Linux 6.14 } }
        ",
    );
    assert_eq!((link.name.as_deref(), link.kind.as_deref()), (Some("vxlan.calico"), Some("vxlan")));
    assert!(link.admin_up && !link.no_carrier, "its operational state UNKNOWN is up");
    let vxlan = link.vxlan.unwrap();
    assert_eq!((vxlan.vni, vxlan.parent, vxlan.port, vxlan.local), (Some(4096), Some(3), None, None));
    assert!(!vxlan.flow_based);
}

#[test]
fn an_ipip_and_a_wireguard_device() {
    let link = read_link(
        "
        00 00 00 03 05 00 00 00 c1 00 01 00 00 00 00 00         | ifinfomsg: ARPHRD_TUNNEL, 5, UP RUNNING NOARP LOWER_UP
        0a 00 03 00 74 75 6e 6c 30 00 00 00                     | IFLA_IFNAME tunl0
        08 00 04 00 c8 05 00 00                                 | IFLA_MTU 1480
        28 00 12 00                                             | IFLA_LINKINFO {
        09 00 01 00 69 70 69 70 00 00 00 00                     |   IFLA_INFO_KIND ipip
        18 00 02 00                                             |   IFLA_INFO_DATA {
        08 00 02 00 00 00 00 00                                 |     IFLA_IPTUN_LOCAL 0.0.0.0
        05 00 04 00 00 00 00 00                                 |     IFLA_IPTUN_TTL 0
        04 00 00 00                                             |   } }
        ",
    );
    assert_eq!((link.name.as_deref(), link.kind.as_deref(), link.mtu), (Some("tunl0"), Some("ipip"), Some(1480)));
    let link = read_link(
        "
        00 00 fe ff 06 00 00 00 d1 00 01 00 00 00 00 00         | ifinfomsg: ARPHRD_NONE, 6, UP POINTOPOINT RUNNING NOARP LOWER_UP
        13 00 03 00 77 69 72 65 67 75 61 72 64 2e 63 61 6c 69 00 00 | IFLA_IFNAME wireguard.cali
        08 00 04 00 a0 05 00 00                                 | IFLA_MTU 1440
        14 00 12 80                                             | IFLA_LINKINFO, flagged as nested {
        0e 00 01 00 77 69 72 65 67 75 61 72 64 00 00 00         |   IFLA_INFO_KIND wireguard }
        ",
    );
    assert_eq!((link.name.as_deref(), link.kind.as_deref()), (Some("wireguard.cali"), Some("wireguard")));
}

#[test]
fn a_bridge_that_lets_a_port_go_does_not_delete_it() {
    let of_bridge = VETH.replacen("00 00 01 00", "07 00 01 00", 1);
    assert_eq!(change(RTM_DELLINK, &bytes(&of_bridge)).unwrap(), None);
    assert_eq!(change(RTM_NEWLINK, &bytes(&of_bridge)).unwrap(), None);
    assert_eq!(change(RTM_DELLINK, &bytes(VETH)).unwrap(), Some(Change::LinkGone(3)));
}

#[test]
fn addresses_of_both_families_and_of_a_peer() {
    let address = read_address(
        "
        02 20 80 00 03 00 00 00                                 | ifaddrmsg: IPv4, /32, permanent, global, 3
        08 00 01 00 0a 63 00 02                                 | IFA_ADDRESS 10.99.0.2
        08 00 02 00 0a 63 00 01                                 | IFA_LOCAL 10.99.0.1
        09 00 03 00 65 74 68 30 00 00 00 00                     | IFA_LABEL eth0
        ",
    );
    let (local, peer) = ("10.99.0.1/32".parse().unwrap(), "10.99.0.2".parse().unwrap());
    assert_eq!(address, AddressMessage { index: 3, local, peer });
    let address = read_address(
        "
        0a 40 82 00 03 00 00 00                                 | ifaddrmsg: IPv6, /64, permanent nodad, global, 3
        14 00 01 00 fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 04 | IFA_ADDRESS fd00::4
        ",
    );
    assert_eq!(address.local, "fd00::4/64".parse().unwrap());
}

/// `ip route add 10.65.1.0/26 via 172.18.0.5 dev eth0 onlink proto 80 mtu 1480`, seen while the link had no carrier.
const UNICAST: &str = "
    02 1a 00 00 fe 50 00 01 14 00 00 00                         | rtmsg: IPv4, /26, main, proto 80, unicast, ONLINK LINKDOWN
    08 00 0f 00 fe 00 00 00                                     | RTA_TABLE main
    08 00 01 00 0a 41 01 00                                     | RTA_DST 10.65.1.0
    0c 00 08 00 08 00 02 00 c8 05 00 00                         | RTA_METRICS { RTAX_MTU 1480 }
    08 00 05 00 ac 12 00 05                                     | RTA_GATEWAY 172.18.0.5
    08 00 04 00 03 00 00 00                                     | RTA_OIF 3
";

#[test]
fn a_route_by_a_gateway() {
    let route = read_route(UNICAST);
    assert_eq!((route.table, route.destination), (254, "10.65.1.0/26".parse().unwrap()));
    assert_eq!((route.kind, route.protocol, route.metric), (RouteType::Unicast, Protocol::FELIX, 0));
    assert_eq!(route.hops, [hop("172.18.0.5", 3, true, true)]);
    let gone = change(RTM_DELROUTE, &bytes(UNICAST)).unwrap();
    assert_eq!(gone, Some(Change::RouteGone(route)));
}

#[test]
fn what_a_look_up_left_behind_is_no_route() {
    let cloned = UNICAST.replace("14 00 00 00 ", "00 02 00 00 ");
    assert_eq!(change(RTM_NEWROUTE, &bytes(&cloned)).unwrap(), None);
}

#[test]
fn a_route_on_a_link_with_a_metric() {
    let route = read_route(
        "
        02 20 00 00 fe 03 fd 01 00 00 00 00                     | rtmsg: IPv4, /32, main, boot, scope link, unicast
        08 00 0f 00 fe 00 00 00                                 | RTA_TABLE main
        08 00 01 00 0a 41 00 02                                 | RTA_DST 10.65.0.2
        08 00 06 00 00 04 00 00                                 | RTA_PRIORITY 1024
        08 00 04 00 04 00 00 00                                 | RTA_OIF 4
        ",
    );
    assert_eq!((route.metric, route.link_scope, route.protocol), (1024, true, Protocol::BOOT));
    assert_eq!(route.hops, [hop("", 4, false, false)]);
}

#[test]
fn routes_that_lead_nowhere_and_tables() {
    for (header, attributes, kind, table, net) in [
        ("02 1a 00 00 fe 0c 00 06", "08 00 0f 00 fe 00 00 00 08 00 01 00 0a 42 00 00", 6, 254, "10.66.0.0/26"),
        ("02 1a 00 00 fe 03 00 07", "08 00 0f 00 fe 00 00 00 08 00 01 00 0a 43 02 00", 7, 254, "10.67.2.0/26"),
        // A table beyond 255 is RT_TABLE_COMPAT in the header.
        ("02 1a 00 00 fc 03 00 08", "08 00 0f 00 70 11 01 00 08 00 01 00 0a 43 03 00", 8, 70000, "10.67.3.0/26"),
        ("02 1a 00 00 01 03 00 09", "08 00 0f 00 01 00 00 00 08 00 01 00 0a 43 01 00", 9, 1, "10.67.1.0/26"),
    ] {
        let route = read_route(&format!("{header} 00 00 00 00 {attributes}"));
        assert_eq!((route.kind, route.table), (RouteType::from_number(kind), table));
        assert_eq!(route.destination, net.parse().unwrap());
        assert!(route.hops.is_empty());
    }
}

#[test]
fn a_default_route_has_no_destination() {
    let route = read_route(
        "
        02 00 00 00 fe 03 00 01 10 00 00 00                     | rtmsg: IPv4, /0, main, boot, unicast, LINKDOWN
        08 00 05 00 ac 12 00 01                                 | RTA_GATEWAY 172.18.0.1
        08 00 04 00 03 00 00 00                                 | RTA_OIF 3
        ",
    );
    assert_eq!((route.table, route.destination), (254, "0.0.0.0/0".parse().unwrap()));
}

#[test]
fn an_ipv4_route_by_an_ipv6_gateway() {
    let route = read_route(
        "
        02 18 00 00 fe 03 00 01 00 00 00 00                     | rtmsg: IPv4, /24, main, boot, unicast
        08 00 0f 00 fe 00 00 00                                 | RTA_TABLE main
        08 00 01 00 0a 46 01 00                                 | RTA_DST 10.70.1.0
        16 00 12 00 0a 00 fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 09 00 00 | RTA_VIA IPv6 fd00::9
        08 00 04 00 03 00 00 00                                 | RTA_OIF 3
        ",
    );
    assert_eq!(route.hops, [hop("fd00::9", 3, false, false)]);
}

#[test]
fn several_next_hops_of_two_families() {
    let route = read_route(
        "
        02 18 00 00 fe 0c 00 01 00 00 00 00                     | rtmsg: IPv4, /24, main, bird, unicast
        08 00 0f 00 fe 00 00 00                                 | RTA_TABLE main
        08 00 01 00 0a 46 00 00                                 | RTA_DST 10.70.0.0
        34 00 09 00                                             | RTA_MULTIPATH {
        10 00 10 01 03 00 00 00                                 |   rtnexthop: 16 bytes, LINKDOWN, weight 2, 3
        08 00 05 00 ac 12 00 05                                 |     RTA_GATEWAY 172.18.0.5
        20 00 04 00 03 00 00 00                                 |   rtnexthop: 32 bytes, ONLINK, weight 1, 3
        16 00 12 00 0a 00 fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 06 00 00 |     RTA_VIA IPv6 fd00::6 }
        ",
    );
    assert_eq!(route.hops, [hop("172.18.0.5", 3, true, false), hop("fd00::6", 3, false, true)]);
}

#[test]
fn an_ipv6_route_by_several_gateways() {
    let route = read_route(
        "
        0a 40 00 00 fe 03 00 01 00 00 00 00                     | rtmsg: IPv6, /64, main, boot, unicast
        08 00 0f 00 fe 00 00 00                                 | RTA_TABLE main
        14 00 01 00 fd 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 | RTA_DST fd01::
        08 00 06 00 00 04 00 00                                 | RTA_PRIORITY 1024
        3c 00 09 00                                             | RTA_MULTIPATH {
        1c 00 00 00 03 00 00 00                                 |   rtnexthop: 28 bytes, weight 1, 3
        14 00 05 00 fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 05 |     RTA_GATEWAY fd00::5
        1c 00 00 00 03 00 00 00                                 |   rtnexthop: 28 bytes, weight 1, 3
        14 00 05 00 fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 06 |     RTA_GATEWAY fd00::6 }
        05 00 14 00 00 00 00 00                                 | RTA_PREF medium
        ",
    );
    assert_eq!(Family::of_net(&route.destination), Family::V6);
    assert_eq!(route.hops, [hop("fd00::5", 3, false, false), hop("fd00::6", 3, false, false)]);
}

#[test]
fn an_ipv6_blackhole_leads_not_to_lo() {
    let route = read_route(
        "
        0a 7a 00 00 fe 50 00 06 00 00 00 00                     | rtmsg: IPv6, /122, main, proto 80, blackhole
        08 00 0f 00 fe 00 00 00                                 | RTA_TABLE main
        14 00 01 00 de ad be ef 00 00 00 00 00 00 00 00 00 00 00 00 | RTA_DST dead:beef::
        08 00 06 00 00 04 00 00                                 | RTA_PRIORITY 1024
        08 00 04 00 01 00 00 00                                 | RTA_OIF 1
        ",
    );
    assert_eq!((route.kind, route.metric), (RouteType::Blackhole, 1024));
    assert!(route.hops.is_empty());
}

#[test]
fn a_route_for_one_source_is_left_out() {
    let text = "
        0a 40 40 00 fe 03 00 01 00 00 00 00                     | rtmsg: IPv6, /64 from /64, main, boot, unicast
        14 00 01 00 fd 05 00 00 00 00 00 00 00 00 00 00 00 00 00 00 | RTA_DST fd05::
        14 00 02 00 fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 | RTA_SRC fd00::
        08 00 04 00 03 00 00 00                                 | RTA_OIF 3
    ";
    assert_eq!(change(RTM_NEWROUTE, &bytes(text)).unwrap(), None);
}

#[test]
fn what_is_no_part_of_the_picture_is_passed_over() {
    assert_eq!(change(28, &[]).unwrap(), None, "a neighbour");
    let multicast = UNICAST.replacen("02 1a", "80 1a", 1);
    assert_eq!(change(RTM_NEWROUTE, &bytes(&multicast)).unwrap(), None, "RTNL_FAMILY_IPMR");
}

#[test]
fn every_kind_of_device_keeps_its_name() {
    // The library has a word of its own for each that it knows.
    for kind in ["ipip", "ip6tnl", "sit", "gretap", "ip6gretap", "vxlan", "wireguard", "netkit", "openvswitch", "new"] {
        let attribute = [&[0, 0, 1, 0], kind.as_bytes(), &[0]].concat();
        let mut nested = attribute.clone();
        nested[0] = u8::try_from(attribute.len()).unwrap();
        assert_eq!(info(&nested).unwrap().0.as_deref(), Some(kind));
    }
}

#[test]
fn what_is_not_needed_cannot_make_a_message_unreadable() {
    // RTAX_MTU with two bytes; an alias, a driver's data and statistics that are nonsense.
    let route = UNICAST.replace("0c 00 08 00 08 00 02 00 c8 05 00 00", "0c 00 08 00 06 00 02 00 c8 05 00 00");
    let alias = VETH.to_owned() + "05 00 14 00 ff 00 00 00 | IFLA_IFALIAS, no UTF-8";
    let statistics = VETH.to_owned() + "08 00 17 00 ff ff ff ff | IFLA_STATS64, four bytes";
    let data = "10 00 12 00 09 00 01 00 76 65 74 68 00 00 00 00";
    let data =
        VETH.replace(data, "1c 00 12 00 09 00 01 00 76 65 74 68 00 00 00 00 0c 00 02 00 02 00 00 00 00 00 00 00");
    assert_eq!(read_route(&route), read_route(UNICAST));
    for link in [&alias, &statistics, &data] {
        assert_eq!(read_link(link), read_link(VETH));
    }
    // Why they are not read as a whole.
    let whole = |kind, text: &str| RouteNetlinkMessage::parse_with_param(&bytes(text), kind);
    assert!(whole(RTM_NEWROUTE, UNICAST).is_ok() && whole(RTM_NEWLINK, VETH).is_ok());
    assert!(whole(RTM_NEWROUTE, &route).is_err() && whole(RTM_NEWLINK, &alias).is_err());
}

#[test]
fn a_name_of_any_bytes_is_a_name() {
    let link = read_link(&VETH.replace("65 74 68 30 00 00 00 00", "65 74 68 ff 00 00 00 00"));
    assert_eq!(link.name.as_deref(), Some("eth\u{fffd}"));
}

#[test]
fn an_address_is_of_the_family_that_the_message_says() {
    let text = "
        02 20 80 00 03 00 00 00                                 | ifaddrmsg: IPv4, /32, permanent, global, 3
        14 00 01 00 fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 04 | IFA_ADDRESS fd00::4
    ";
    assert!(change(RTM_NEWADDR, &bytes(text)).is_err());
    let header = "02 20 80 00 03 00 00 00";
    assert!(change(RTM_NEWADDR, &bytes(header)).is_err(), "neither IFA_ADDRESS nor IFA_LOCAL");
}

#[test]
fn nothing_that_is_cut_off_or_of_the_wrong_size_is_read_as_something() {
    for (kind, text, header) in [(RTM_NEWROUTE, UNICAST, 12), (RTM_NEWLINK, VETH, 16)] {
        let whole = bytes(text);
        for length in 0..whole.len() {
            // Cut between two attributes it is another message, elsewhere none; in no case a panic.
            let read = change(kind, &whole[..length]);
            assert!(read.is_err() || length >= header, "{length}");
        }
    }
    for wrong in [
        UNICAST.replace("02 1a 00 00 fe", "02 21 00 00 fe"),
        UNICAST.replace("08 00 01 00 0a 41 01 00", "07 00 01 00 0a 41 01 00"),
        UNICAST.replace("08 00 04 00 03 00 00 00", "06 00 04 00 03 00 00 00"),
        UNICAST.replace("0c 00 08 00 08 00 02 00", "0c 00 09 00 40 00 02 00"),
        UNICAST.replace("0c 00 08 00 08 00 02 00", "0c 00 09 00 00 00 02 00"),
    ] {
        assert!(change(RTM_NEWROUTE, &bytes(&wrong)).is_err(), "{wrong}");
    }
}
