//! All audits together: what one look after another has to see again.

use std::time::Duration;

use super::testing::{Block, Cluster, address, at, keys};
use super::*;
use crate::model::{EndpointId, Node, TunnelKind};
use crate::state::{Object, ObjectId};

#[test]
fn j13_an_endpoint_that_takes_a_tunnels_address_is_seen_though_no_block_changed() {
    let mut cluster = Cluster::new();
    let tunnels = [(TunnelKind::VxlanV4, address("10.0.0.1"))].into();
    cluster.put(Object::Node("h1".into(), Node { tunnels, ..super::testing::node("h1", &["172.18.0.1/24"]) }));
    cluster.pool("p", "10.0.0.0/24", 26);
    cluster.owned(Block::of("host:h1", "10.0.0.0/26").tunnel(1, "h1", TunnelKind::VxlanV4)).synced();
    let ipam = IpamOptions { live: false, affinity_grace: Duration::ZERO };
    let mut auditor =
        Auditor::new(AuditOptions { ipam: Some(ipam), routes: None, leaks: false, leak_grace: Duration::ZERO });
    let mut reasons = |cluster: &mut Cluster| {
        auditor.look(&mut cluster.state, at(0));
        let found = auditor.report(&cluster.state, at(0)).findings;
        keys(&found).into_iter().map(|(metric, _, subject)| format!("{metric} {subject}")).collect::<Vec<_>>()
    };
    assert_eq!(reasons(&mut cluster), [""; 0]);
    cluster.endpoint("h1", "web", &["10.0.0.1"]);
    assert_eq!(reasons(&mut cluster), ["calico_tunnel_faults 10.0.0.1"]);
    cluster.delete(ObjectId::Endpoint(EndpointId::of_pod("h1", "default", "web")));
    assert_eq!(reasons(&mut cluster), [""; 0]);
}
