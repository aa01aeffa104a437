//! Pools and hosts that run full.

use std::time::Duration;

use serde_json::json;

use super::block;
use crate::ipam::{CONFIG, Pool};
use crate::lab::Lab;
use crate::run::Scenario;

/// Pools that are made for this, each for one alert: their blocks, and how many addresses each has.
const POOLS: [(&str, &str, u8); 6] = [
    ("full", "10.70.0.0/28", 28),
    ("scarce", "10.70.1.0/27", 29),
    ("taken", "10.70.2.0/27", 28),
    ("held", "10.70.3.0/26", 28),
    ("filling", "10.70.4.0/26", 28),
    ("claimed", "10.70.5.0/24", 29),
];

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "pools that run full, each in its way",
            short: false,
            expected: &[
                ("CalicoPoolAddressesExhausted", &[("ippool", "full"), ("severity", "critical")]),
                ("CalicoPoolAddressesLow", &[("ippool", "scarce")]),
                ("CalicoPoolBlocksExhausted", &[("ippool", "taken"), ("severity", "critical")]),
                ("CalicoPoolBlocksLow", &[("ippool", "held")]),
                ("CalicoPoolBlocksHeldEmpty", &[("ippool", "held"), ("severity", "info")]),
                ("CalicoPoolAddressesRunningOut", &[("ippool", "filling")]),
                ("CalicoPoolBlocksRunningOut", &[("ippool", "claimed")]),
                ("CalicoHostOverBlockLimit", &[("reason", "over_block_limit"), ("severity", "info")]),
            ],
            // It is true of most of these pools: while one is filled, before its other alert comes, and while it is
            // emptied, after that has ended.
            tolerated: &["CalicoPoolBlocksLow"],
            fault: |lab| {
                for (name, cidr, block) in POOLS {
                    let pool = Pool { name, cidr: cidr.parse().unwrap(), block, ipip: "Always", vxlan: "Never" };
                    lab.ipam.add_pool(&mut lab.store, pool);
                }
                fill(lab);
                let limit = json!({"strict_affinity": true, "auto_allocate_blocks": true, "maxBlocksPerHost": 3});
                lab.store.put(CONFIG, &limit.to_string());
                run_out(lab);
            },
            repair: |lab| {
                lab.store.delete(CONFIG);
                POOLS.into_iter().for_each(|(name, _, _)| lab.clear_pool(name));
            },
        },
        Scenario {
            name: "host scaled to its block limit",
            short: false,
            expected: &[("CalicoHostAtBlockLimit", &[("host", "h3"), ("family", "IPv4")])],
            tolerated: &[],
            fault: |lab| {
                let limit = json!({"strict_affinity": true, "auto_allocate_blocks": true, "maxBlocksPerHost": 3});
                lab.store.put(CONFIG, &limit.to_string());
                for pool in ["ipip", "plain", "vxlan"] {
                    while lab.ipam.free_in(block(lab, "h3", pool)) > 0 {
                        lab.create_pod("h3", pool);
                    }
                }
            },
            repair: |lab| {
                while let Some(index) = lab.pods.iter().rposition(|pod| pod.host == "h3").filter(|index| *index > 17) {
                    lab.delete_pod(index);
                }
                lab.store.delete(CONFIG);
            },
        },
    ]
}

/// Brings each pool to where it is about to be told of, but for those that run out.
fn fill(lab: &mut Lab) {
    let pods = [
        // Not one address left.
        ("full", "h1", 16),
        // Three of 32, one on each host; every block is claimed.
        ("scarce", "h1", 15),
        ("scarce", "h2", 7),
        ("scarce", "h3", 7),
        // Two blocks, and the third host has none.
        ("taken", "h1", 1),
        ("taken", "h2", 1),
        // Four blocks, and each host has its own.
        ("held", "h1", 1),
        ("held", "h2", 1),
        ("held", "h3", 1),
        // Three of four blocks, and more than half of all addresses.
        ("filling", "h1", 14),
        ("filling", "h2", 14),
        ("filling", "h3", 5),
    ];
    for (pool, host, count) in pods {
        for _ in 0..count {
            lab.create_pod(host, pool);
        }
    }
    // One host holds a second block, and nothing is in it.
    lab.ipam.claim(&mut lab.store, "held", "h1");
    for _ in 0..13 {
        lab.ipam.claim(&mut lab.store, "claimed", "h1");
    }
}

/// Takes an address and a block now and then, until somebody is told where it leads to.
fn run_out(lab: &mut Lab) {
    let first = lab.monitoring.received();
    for _ in 0..16 {
        let notices = lab.monitoring.received_since(first);
        let told = |name: &str| notices.iter().any(|notice| notice.name() == name);
        if told("CalicoPoolAddressesRunningOut") && told("CalicoPoolBlocksRunningOut") {
            return;
        }
        // No host claims the last block for it.
        let open = |host: &&&str| lab.ipam.free_in(block(lab, host, "filling")) > 0;
        if let Some(host) = ["h1", "h2", "h3"].iter().find(open) {
            lab.create_pod(host, "filling");
        }
        lab.ipam.claim(&mut lab.store, "claimed", "h1");
        std::thread::sleep(Duration::from_secs(4));
    }
}
