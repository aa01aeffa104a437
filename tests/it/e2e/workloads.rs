//! This host's pods: nobody lists the endpoints of a large cluster, so that the one that decides is looked up (J25).

use super::host::{Host, web_0, web_1};
use crate::support::netns::in_namespace;

#[test]
fn a_pod_without_route_is_missing_once_its_endpoint_is_there() {
    in_namespace(async |namespace| {
        let Some(host) = Host::start(namespace).await else { return };
        let put = async |(key, value): (String, String)| host.etcd.put(&key, &value).await;
        put(web_0()).await;
        let exporter = host.healthy();
        let expected = || {
            let labels = [("class", "local_workload"), ("encapsulation", "none")];
            exporter.scrape().value("calico_routes_expected", &labels).unwrap()
        };
        assert_eq!(expected(), 4.0);
        host.namespace.ip("route del 10.65.0.2/32 metric 0");
        host.namespace.ip("route del 10.65.0.2/32");
        host.namespace.ip("route del 10.65.0.3/32");
        // Both were looked up; what has no endpoint has to have no route.
        exporter.until_found(&["local_workload missing 10.65.0.2"]);
        assert_eq!(expected(), 3.0);
        // It is looked up again, since an endpoint is written after its address is allocated.
        put(web_1()).await;
        let both = ["local_workload missing 10.65.0.2", "local_workload missing 10.65.0.3"];
        exporter.until_found(&both);
        // A pod whose device has no carrier is about to go: nothing is missing.
        host.namespace.ip("link set p4 down");
        exporter.until_found(&both[1..]);
        host.namespace.ip("link set p4 up");
        exporter.until_found(&both);
        host.namespace.ip("route add 10.65.0.2/32 dev cali1 scope link metric 1024");
        host.namespace.ip("route add 10.65.0.3/32 dev cali1 scope link metric 1024");
        // web-1 is behind cali2. With its route there, nothing needs the endpoint, but it is known still.
        exporter.until("no route is missing", |_| !exporter.findings().iter().any(|it| it.contains("missing")));
    });
}
