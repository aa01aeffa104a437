use ipnet::IpNet;

use super::*;
use crate::model::{EncapMode, IpPool, Protocol, Route, RouteType, TABLE_MAIN};

fn written(routes: &[(&str, u32, Protocol)]) -> [bool; 2] {
    let mut state = State::new(true);
    for (name, cidr) in [("four", "10.200.0.0/20"), ("six", "fd00:200::/116")] {
        let pool = IpPool {
            name: name.into(),
            cidr: cidr.parse().unwrap(),
            block_size: 28,
            ipip: EncapMode::Never,
            vxlan: EncapMode::Never,
            disabled: false,
            disable_bgp_export: false,
            node_selector: String::new(),
            load_balancer: false,
            manual: false,
        };
        state.apply(Event::Put(Box::new(Object::Pool(pool))), Duration::ZERO);
    }
    for (destination, table, protocol) in routes {
        let destination: IpNet = destination.parse().unwrap();
        let route = Route {
            table: *table,
            destination,
            metric: 1024,
            tos: 0,
            kind: RouteType::Unicast,
            protocol: *protocol,
            link_scope: false,
            next_hops: Vec::new(),
        };
        state.apply(Event::Route(route), Duration::ZERO);
    }
    Family::ALL.map(|family| bird_has_written(&state.datastore, &state.kernel, family))
}

#[test]
fn what_bird_has_written() {
    assert_eq!(written(&[]), [false, false]);
    assert_eq!(written(&[("10.200.0.16/28", TABLE_MAIN, Protocol::BIRD)]), [true, false]);
    assert_eq!(written(&[("10.200.0.0/20", TABLE_MAIN, Protocol::BIRD)]), [true, false], "an aggregate");
    assert_eq!(written(&[("fd00:200::10/124", TABLE_MAIN, Protocol::BIRD)]), [false, true]);
    for none in [
        ("0.0.0.0/0", TABLE_MAIN, Protocol::BIRD),
        ("10.98.2.0/24", TABLE_MAIN, Protocol::BIRD),
        ("10.200.0.16/28", TABLE_MAIN, Protocol::FELIX),
        ("10.200.0.16/28", 1, Protocol::BIRD),
    ] {
        assert_eq!(written(&[none]), [false, false], "{none:?}");
    }
}

#[test]
fn how_long_bird_may_take() {
    let seconds = Duration::from_secs;
    assert_eq!(bird_grace(seconds(120), true), seconds(120));
    assert_eq!(bird_grace(seconds(120), false), seconds(270));
    assert_eq!(bird_grace(seconds(600), false), seconds(600));
}
