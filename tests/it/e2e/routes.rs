//! One thing at a time goes wrong in a healthy host's kernel: each is one fault of the right reason, and gone when it
//! is put right.

use super::forms::assert_healthy;
use super::host::Host;
use crate::exposition::Exposition;
use crate::support::netns::in_namespace;

fn faults(scrape: &Exposition, class: &str, reason: &str) -> f64 {
    scrape.value("calico_route_faults", &[("class", class), ("reason", reason)]).unwrap()
}

fn pending(scrape: &Exposition, class: &str) -> f64 {
    scrape.value("calico_routes_pending", &[("class", class)]).unwrap()
}

fn converged(scrape: &Exposition, class: &str) -> f64 {
    scrape.value("calico_route_convergence_seconds_count", &[("class", class)]).unwrap()
}

#[test]
fn a_removed_route_is_pending_then_missing_and_restored_it_has_converged() {
    in_namespace(async |namespace| {
        let Some(host) = Host::start(namespace).await else { return };
        let (patient, hasty) = (host.exporter("1h"), host.healthy());
        assert_healthy(&patient.until_ready());
        for (class, subject, delete, add) in [
            (
                "remote_block",
                "10.65.1.0/26",
                "route del 10.65.1.0/26 table main",
                "route add 10.65.1.0/26 via 172.18.0.5 dev tunl0 onlink proto 80 mtu 1480",
            ),
            (
                "remote_block",
                "10.67.1.0/26",
                "route del 10.67.1.0/26",
                "route add 10.67.1.0/26 via 172.18.0.5 dev eth0 proto bird metric 1024",
            ),
            (
                "local_block",
                "10.67.0.0/26",
                "route del blackhole 10.67.0.0/26",
                "route add blackhole 10.67.0.0/26 proto bird",
            ),
            (
                "borrowed",
                "10.66.1.5",
                "route del 10.66.1.5/32",
                "route add 10.66.1.5/32 via 10.68.0.7 dev vxlan.calico onlink mtu 1450",
            ),
            (
                "tunnel_address",
                "10.68.0.7",
                "route del 10.68.0.7/32",
                "route add 10.68.0.7/32 dev vxlan.calico scope link mtu 1450",
            ),
            (
                "remote_block",
                "dead:beef::40/122",
                "route del dead:beef::40/122",
                "route add dead:beef::40/122 via fd00::5 dev eth0 onlink proto 80",
            ),
        ] {
            let before = converged(&patient.scrape(), class);
            host.namespace.ip(delete);
            let scrape = patient.until("pending", |scrape| pending(scrape, class) == 1.0);
            assert_eq!(scrape.sum("calico_route_faults"), 0.0, "{subject}");
            hasty.until_found(&[&format!("{class} missing {subject}")]);
            let scrape = hasty.until("missing", |scrape| faults(scrape, class, "missing") == 1.0);
            assert_eq!(scrape.sum("calico_route_faults"), 1.0, "{subject}");
            assert_eq!(scrape.sum("calico_routes_pending"), 0.0, "{subject}");
            host.namespace.ip(add);
            for exporter in [&patient, &hasty] {
                let settled = |scrape: &Exposition| converged(scrape, class) == before + 1.0;
                assert_healthy(&exporter.until(subject, settled));
            }
            hasty.until_found(&[]);
        }
    });
}

#[test]
fn a_route_to_a_block_that_nobody_owns_is_stale() {
    in_namespace(async |namespace| {
        let Some(host) = Host::start(namespace).await else { return };
        let exporter = host.healthy();
        for (class, subject, form) in [
            ("remote_block", "10.65.9.0/26", "10.65.9.0/26 via 172.18.0.5 dev tunl0 onlink proto 80"),
            ("remote_block", "10.66.9.0/26", "10.66.9.0/26 via 10.66.1.0 dev vxlan.calico onlink"),
            ("remote_block", "10.67.9.0/26", "10.67.9.0/26 via 172.18.0.5 dev eth0 proto bird"),
            ("local_block", "10.65.10.0/26", "blackhole 10.65.10.0/26 proto 80"),
            ("borrowed", "10.66.9.9", "10.66.9.9/32 via 10.66.1.0 dev vxlan.calico onlink"),
            ("local_workload", "10.65.0.9", "10.65.0.9/32 dev cali1 scope link"),
            ("remote_block", "dead:beef::1000/122", "dead:beef::1000/122 via fd00::5 dev eth0 proto 80"),
        ] {
            host.namespace.ip(&format!("route add {form}"));
            exporter.until_found(&[&format!("{class} stale {subject}")]);
            assert_eq!(faults(&exporter.scrape(), class, "stale"), 1.0);
            host.namespace.ip(&format!("route del {}", form.split(" onlink").next().unwrap()));
            exporter.until_found(&[]);
        }
        // The block goes, and its route stays.
        for (key, _) in crate::support::calico::owned("10.66.17.0/26", "h2", &[]) {
            host.etcd.delete(&key).await;
        }
        exporter.until_found(&["remote_block stale 10.66.17.0/26"]);
    });
}

#[test]
fn a_route_that_leads_elsewhere_is_named_by_how() {
    in_namespace(async |namespace| {
        let Some(host) = Host::start(namespace).await else { return };
        let exporter = host.healthy();
        let replaced = |subject: &str, changed: &str, right: &str, finding: &str| {
            host.namespace.ip(&format!("route replace {changed}"));
            exporter.until_found(&[finding]);
            let reason = finding.split(' ').nth(1).unwrap();
            assert_eq!(faults(&exporter.scrape(), finding.split(' ').next().unwrap(), reason), 1.0, "{subject}");
            host.namespace.ip(&format!("route replace {right}"));
            exporter.until_found(&[]);
        };
        let ipip = "10.65.1.0/26 via 172.18.0.5 dev tunl0 onlink proto 80 mtu 1480";
        let vxlan = "10.66.1.0/26 via 10.66.1.0 dev vxlan.calico onlink mtu 1450";
        let near = "10.66.17.0/26 via 172.18.0.5 dev eth0 onlink proto 80";
        let plain = "10.67.1.0/26 via 172.18.0.5 dev eth0 proto bird metric 1024";
        let loan = "10.65.1.9/32 via 172.19.0.6 dev tunl0 onlink proto 80 mtu 1480";
        for (changed, right, finding) in [
            // The pool says IPIP Always.
            ("10.65.1.0/26 via 172.18.0.5 dev eth0 proto bird", ipip, "remote_block wrong_encapsulation 10.65.1.0/26"),
            ("10.66.1.0/26 via 172.18.0.5 dev eth0 proto 80", vxlan, "remote_block wrong_encapsulation 10.66.1.0/26"),
            ("10.66.1.0/26 via 172.18.0.5 dev tunl0 onlink", vxlan, "remote_block wrong_encapsulation 10.66.1.0/26"),
            // CrossSubnet to a host in this subnet.
            (
                "10.66.17.0/26 via 10.66.1.0 dev vxlan.calico onlink",
                near,
                "remote_block wrong_encapsulation 10.66.17.0/26",
            ),
            // To another host's address.
            ("10.65.1.0/26 via 172.19.0.6 dev tunl0 onlink proto 80", ipip, "remote_block wrong_next_hop 10.65.1.0/26"),
            ("10.66.1.0/26 via 10.68.0.7 dev vxlan.calico onlink", vxlan, "remote_block wrong_next_hop 10.66.1.0/26"),
            (
                "10.67.1.0/26 via 172.19.0.6 dev eth0 onlink proto bird metric 1024",
                plain,
                "remote_block wrong_next_hop 10.67.1.0/26",
            ),
            ("10.65.1.9/32 via 172.18.0.5 dev tunl0 onlink proto 80", loan, "borrowed wrong_next_hop 10.65.1.9"),
            // Dropped.
            ("unreachable 10.65.1.0/26 proto 80", ipip, "remote_block wrong_type 10.65.1.0/26"),
            ("blackhole 10.66.1.0/26", vxlan, "remote_block wrong_type 10.66.1.0/26"),
            ("unreachable 10.67.1.0/26 proto bird metric 1024", plain, "remote_block wrong_type 10.67.1.0/26"),
            ("prohibit 10.65.1.9/32 proto 80", loan, "borrowed wrong_type 10.65.1.9"),
            // Forwarded where it has to be dropped.
            (
                "10.65.16.0/26 via 172.18.0.5 dev eth0 proto 80",
                "blackhole 10.65.16.0/26 proto 80",
                "local_block wrong_type 10.65.16.0/26",
            ),
            (
                "10.65.1.0/26 proto 80 nexthop via 172.18.0.5 dev tunl0 onlink nexthop via 172.18.0.9 dev tunl0 onlink",
                ipip,
                "remote_block multipath 10.65.1.0/26",
            ),
        ] {
            replaced(finding, changed, right, finding);
        }
        assert_healthy(&exporter.scrape());
    });
}

#[test]
fn a_foreign_route_is_a_fault_where_it_takes_traffic_away() {
    in_namespace(async |namespace| {
        let Some(host) = Host::start(namespace).await else { return };
        let exporter = host.healthy();
        host.namespace.ip("route add 10.66.1.32/27 via 172.18.0.9 dev eth0 proto static");
        exporter.until_found(&["remote_block foreign 10.66.1.32/27"]);
        host.namespace.ip("route del 10.66.1.32/27");
        exporter.until_found(&[]);
        assert_healthy(&exporter.scrape());
    });
}

#[test]
fn a_tunnel_that_is_down_is_one_fault_and_its_routes_are_none() {
    in_namespace(async |namespace| {
        let Some(host) = Host::start(namespace).await else { return };
        let exporter = host.healthy();
        let tunnel = |scrape: &Exposition, device: &str, reason: &str| {
            scrape.value("calico_tunnel_faults", &[("device", device), ("reason", reason)])
        };
        // Without its other end it has no carrier, and its routes stay, flagged.
        host.namespace.ip("link set p1 down");
        exporter.until_found(&["tunl0 down tunl0"]);
        let scrape = exporter.scrape();
        assert_eq!(scrape.sum("calico_route_faults") + scrape.sum("calico_routes_pending"), 0.0);
        host.namespace.ip("link set p1 up");
        exporter.until_found(&[]);
        // The kernel takes the routes through it away.
        host.namespace.ip("link set tunl0 down");
        exporter.until_found(&["tunl0 down tunl0"]);
        let scrape = exporter.scrape();
        assert_eq!(tunnel(&scrape, "tunl0", "down"), Some(1.0));
        assert_eq!(scrape.sum("calico_route_faults") + scrape.sum("calico_routes_pending"), 0.0);
        // Up again, it still has no routes: now they are what is wrong, one by one.
        host.namespace.ip("link set tunl0 up");
        exporter.until_found(&[
            "borrowed missing 10.65.1.9",
            "remote_block missing 10.65.1.0/26",
            "remote_block missing 10.65.18.0/26",
            "remote_block missing 10.65.2.0/26",
        ]);
        for line in super::host::ROUTES.iter().filter(|line| line.contains("dev tunl0")) {
            host.namespace.ip(line);
        }
        exporter.until_found(&[]);
        assert_healthy(&exporter.scrape());
        for (change, undo, found) in [
            (
                "addr del dead:beef::1/128 dev vxlan-v6.calico",
                "addr add dead:beef::1/128 dev vxlan-v6.calico nodad",
                "vxlan-v6.calico address_missing vxlan-v6.calico",
            ),
            (
                "addr add 10.66.0.9/32 dev vxlan.calico",
                "addr del 10.66.0.9/32 dev vxlan.calico",
                "vxlan.calico address_unexpected vxlan.calico",
            ),
        ] {
            host.namespace.ip(change);
            exporter.until_found(&[found]);
            host.namespace.ip(undo);
            exporter.until_found(&[]);
        }
        host.namespace.ip("link del vxlan-v6.calico");
        exporter.until_found(&["vxlan-v6.calico missing vxlan-v6.calico"]);
    });
}
