//! Reserved addresses as a set: reservations may overlap, and an IPv6 one may hold more addresses than a float counts.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::{Family, IpReservation};

/// Numbers of the first and the last address, both inside.
pub(in crate::audit) type Range = (u128, u128);

/// The union of all reservations, as disjoint ranges in order.
#[derive(Debug, Clone, Default)]
pub(in crate::audit) struct Reserved {
    v4: Vec<Range>,
    v6: Vec<Range>,
}

impl Reserved {
    pub(in crate::audit) fn new<'a>(reservations: impl IntoIterator<Item = &'a IpReservation>) -> Reserved {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in reservations.into_iter().flat_map(|reservation| &reservation.cidrs) {
            match Family::of_net(net) {
                Family::V4 => v4.push(range(net)),
                Family::V6 => v6.push(range(net)),
            }
        }
        Reserved { v4: union(v4), v6: union(v6) }
    }

    pub(in crate::audit) fn ranges(&self, family: Family) -> &[Range] {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    pub(in crate::audit) fn contains(&self, address: IpAddr) -> bool {
        let (ranges, number) = (self.ranges(Family::of(address)), number(address));
        let after = ranges.partition_point(|(first, _)| *first <= number);
        after > 0 && ranges[after - 1].1 >= number
    }

    /// How many addresses of the prefix are reserved.
    pub(in crate::audit) fn inside(&self, net: &IpNet) -> u128 {
        let (first, last) = range(net);
        let ranges = self.ranges(Family::of_net(net));
        let start = ranges.partition_point(|(_, end)| *end < first);
        ranges[start..]
            .iter()
            .take_while(|(begin, _)| *begin <= last)
            .map(|(begin, end)| count((*begin).max(first), (*end).min(last)))
            .fold(0, u128::saturating_add)
    }
}

/// How many addresses the prefix holds; all of IPv6 is one less than it ought to be, and no float can tell.
pub(in crate::audit) fn size(net: &IpNet) -> u128 {
    let (first, last) = range(net);
    count(first, last)
}

/// The address as a number.
pub(in crate::audit) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

pub(in crate::audit) fn range(net: &IpNet) -> Range {
    (number(net.network()), number(net.broadcast()))
}

fn count(first: u128, last: u128) -> u128 {
    (last - first).saturating_add(1)
}

pub(in crate::audit) fn union(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut disjoint: Vec<Range> = Vec::new();
    for (first, last) in ranges {
        match disjoint.last_mut() {
            Some(before) if first <= before.1 => before.1 = before.1.max(last),
            _ => disjoint.push((first, last)),
        }
    }
    disjoint
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn reserved(nets: &[&str]) -> Reserved {
        let cidrs = nets.iter().map(|text| net(text)).collect();
        Reserved::new([&IpReservation { name: "r".into(), cidrs }])
    }

    #[test]
    fn overlapping_reservations_count_once() {
        let set = reserved(&["10.0.0.0/28", "10.0.0.8/29", "10.0.0.4/32", "10.0.0.32/32", "fd00::/64"]);
        assert_eq!(set.inside(&net("10.0.0.0/24")), 17);
        assert_eq!(set.inside(&net("10.0.0.8/30")), 4);
        assert_eq!(set.inside(&net("10.0.0.16/28")), 0);
        assert_eq!(set.inside(&net("10.0.0.33/32")), 0);
        assert!(set.contains("10.0.0.15".parse().unwrap()));
        assert!(!set.contains("10.0.0.16".parse().unwrap()));
    }

    #[test]
    fn families_are_apart_and_ipv6_is_counted_exactly() {
        let set = reserved(&["fd00::/65", "0.0.0.0/0"]);
        assert_eq!(set.inside(&net("fd00::/64")), 1 << 63);
        assert_eq!(set.inside(&net("::/96")), 0);
        assert_eq!(size(&net("fd00::/64")), 1 << 64);
        assert_eq!(size(&net("::/0")), u128::MAX);
        assert_eq!(reserved(&["::/0"]).inside(&net("::/0")), u128::MAX);
    }
}
