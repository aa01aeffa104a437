//! Every form in which Calico writes routes, in a real kernel, is taken for what it is.

use std::collections::BTreeMap;

use super::host::Host;
use crate::exposition::Exposition;
use crate::support::netns::in_namespace;

/// `class encapsulation` → how many, where any.
fn counts(scrape: &Exposition, name: &str) -> BTreeMap<String, f64> {
    let of = scrape.samples.iter().filter(|((of, _), value)| of == name && **value != 0.0);
    of.map(|((_, labels), value)| (format!("{} {}", labels["class"], labels["encapsulation"]), *value)).collect()
}

pub(super) const HEALTHY: &[(&str, f64)] = &[
    ("borrowed ipip", 1.0),
    ("borrowed vxlan", 1.0),
    ("foreign none", 1.0),
    ("local_block none", 5.0),
    ("local_workload none", 4.0),
    ("remote_block ipip", 3.0),
    ("remote_block none", 5.0),
    ("remote_block vxlan", 4.0),
    ("tunnel_address vxlan", 1.0),
];

/// That the scrape shows the healthy host, whole and without a fault.
pub(super) fn assert_healthy(scrape: &Exposition) {
    let healthy: BTreeMap<String, f64> = HEALTHY.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
    assert_eq!(counts(scrape, "calico_routes"), healthy);
    let mut expected = healthy;
    expected.remove("foreign none");
    assert_eq!(counts(scrape, "calico_routes_expected"), expected);
    for faults in [
        "calico_route_faults",
        "calico_routes_pending",
        "calico_tunnel_faults",
        "calico_tunnel_entry_faults",
        "calico_tunnel_entries_pending",
        "calico_node_faults",
        "calico_cluster_routes_owner_faults",
        "calico_ipam_mismatched_addresses",
        "calico_ipam_invalid_blocks",
        "calico_ipam_affinity_faults",
        "calico_exporter_undecodable_keys",
    ] {
        assert!(scrape.names().contains(faults), "{faults}");
        assert_eq!(scrape.sum(faults), 0.0, "{faults}");
    }
}

#[test]
fn every_form_is_classified_and_none_is_a_fault() {
    in_namespace(async |namespace| {
        let Some(host) = Host::start(namespace).await else { return };
        let exporter = host.exporter("1s");
        assert_healthy(&exporter.until_ready());
        assert_eq!(exporter.findings(), [""; 0]);
        let scrape = exporter.scrape();
        for (pool, mode) in [
            ("ipip", "ipip_always"),
            ("ipip-cross", "ipip_cross_subnet"),
            ("vxlan", "vxlan_always"),
            ("vxlan-cross", "vxlan_cross_subnet"),
            ("plain", "none"),
            ("singles", "vxlan_always"),
            ("vxlan6", "vxlan_cross_subnet"),
        ] {
            for source in ["configured", "observed"] {
                let labels = [("ippool", pool), ("mode", mode), ("source", source)];
                assert_eq!(scrape.value("calico_tunnel_mode", &labels), Some(1.0), "{pool} {source}");
            }
        }
    });
}
