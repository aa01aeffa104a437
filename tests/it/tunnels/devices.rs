//! Single edits of the devices, and who says what they have to be.

use calico_exporter::audit::EntryCounts;
use calico_exporter::model::FelixConfiguration;
use calico_exporter::state::{Event, Object, ObjectId, Table, Unreadable};

use super::{Host, beneath, done, found, mac, vx1};

#[test]
fn a_device_that_is_made_otherwise_is_one_fault() {
    let vxlan = |change: fn(&mut calico_exporter::model::VxlanDevice)| {
        found(move |it| done(it.link("vxlan.calico", |link| change(link.vxlan.as_mut().unwrap()))))
    };
    assert_eq!(vxlan(|it| it.vni = Some(4097)), ["vxlan.calico/wrong_vni vxlan.calico → vx1"]);
    assert_eq!(vxlan(|it| it.port = Some(8472)), ["vxlan.calico/wrong_port vxlan.calico → vx1"]);
    assert_eq!(
        vxlan(|it| it.local = Some("10.88.1.99".parse().unwrap())),
        ["vxlan.calico/wrong_local_address vxlan.calico → vx1"]
    );
    assert_eq!(vxlan(|it| it.parent = Some(6)), ["vxlan.calico/wrong_parent vxlan.calico → vx1"]);
    assert_eq!(
        found(|it| done(it.link("vxlan-v6.calico", |link| link.mac = Some(mac("66:00:00:00:00:09"))))),
        ["vxlan-v6.calico/wrong_mac vxlan-v6.calico → vx1"]
    );
    assert_eq!(
        found(|it| done(it.link("vxlan-v6.calico", |link| link.mtu = 1431))),
        ["vxlan-v6.calico/mtu_too_high vxlan-v6.calico → vx1"]
    );
    assert_eq!(
        found(|it| done(it.link("eth0", |link| link.mtu = 1400))),
        ["vxlan-v6.calico/mtu_too_high vxlan-v6.calico → vx1", "vxlan.calico/mtu_too_high vxlan.calico → vx1"]
    );
    assert_eq!(
        found(|it| done(it.link("vxlan.calico", |link| link.addresses = vec!["10.200.56.65/32".parse().unwrap()]))),
        ["vxlan.calico/address_differs vxlan.calico → vx1"]
    );
}

#[test]
fn a_device_that_is_down_or_missing_is_that_one_fault_and_expects_nothing() {
    // As the kernel leaves it: its neighbours go with it, its forwarding entries stay.
    let down = |it: &mut Host| {
        it.link("vxlan.calico", |link| link.admin_up = false);
        let device = it.index("vxlan.calico");
        let gone: Vec<_> = it.state.tunnels.neighbours_of(device).map(|entry| entry.address).collect();
        for address in gone {
            it.event(Event::NeighbourGone(device, address));
        }
    };
    assert_eq!(found(down), ["vxlan.calico/down vxlan.calico → vx1"]);
    let mut host = vx1();
    down(&mut host);
    for table in Table::ALL {
        assert_eq!(host.counts()[&("vxlan.calico".to_owned(), table)], EntryCounts::default());
    }
    assert_eq!(
        found(|it| {
            let index = it.index("vxlan-v6.calico");
            it.event(Event::LinkGone(index));
        }),
        ["vxlan-v6.calico/missing vxlan-v6.calico → vx1"]
    );
    // This host's own end is not complete: Felix makes no device then.
    assert_eq!(beneath(|it| done(it.node("vx1", |node| node.bgp.as_mut().unwrap().ipv6 = None))), [""; 0]);
}

#[test]
fn vni_and_port_are_felixs_by_its_precedence() {
    let other = |it: &mut Host| {
        it.link("vxlan.calico", |link| {
            let vxlan = link.vxlan.as_mut().unwrap();
            (vxlan.vni, vxlan.port) = (Some(4097), Some(4790));
        });
    };
    assert_eq!(found(other).len(), 2);
    // The IPv6 device has what the default says.
    let v6 = ["vxlan-v6.calico/wrong_port vxlan-v6.calico → vx1", "vxlan-v6.calico/wrong_vni vxlan-v6.calico → vx1"];
    assert_eq!(
        found(|it| {
            other(it);
            it.felix(|felix| (felix.vxlan_vni, felix.vxlan_port) = (Some(4097), Some(4790)));
        }),
        v6
    );
    assert_eq!(
        found(|it| {
            other(it);
            let own = FelixConfiguration { vxlan_vni: Some(4097), ..FelixConfiguration::default() };
            it.put(Object::Felix("node.vx1".into(), own));
            it.felix(|felix| (felix.vxlan_vni, felix.vxlan_port) = (Some(5), Some(4790)));
        }),
        v6
    );
    // What Felix has in its environment is stronger than all of them.
    assert_eq!(
        found(|it| {
            other(it);
            it.options.felix.vxlan_vni = Some(4097);
            it.options.felix.vxlan_port = Some(4790);
            it.felix(|felix| felix.vxlan_vni = Some(5));
        }),
        v6
    );
    // What cannot be read may say anything.
    assert_eq!(
        beneath(|it| {
            other(it);
            it.event(Event::Unreadable {
                id: ObjectId::Felix("node.vx1".into()),
                key: "/key".into(),
                why: Unreadable::Undecodable("no JSON".to_owned()),
            });
        }),
        [""; 0]
    );
}
