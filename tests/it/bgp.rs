//! BGP sessions against what real BIRD had: every route that the sessions require was there.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its fixture has failed")]

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use calico_exporter::audit::{Reach, Sessions};
use calico_exporter::model::{AffinityState, AllocationBlock, BlockOwner, Family, PoolClass, address_at};
use calico_exporter::source::file;
use calico_exporter::state::{Datastore, State};
use ipnet::IpNet;

fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)
}

fn datastore(folder: &str) -> Datastore {
    let mut state = State::new(true);
    for event in file::datastore(&fixture(folder).join("etcd.json")).unwrap().events {
        state.apply(event, Duration::ZERO);
    }
    state.datastore
}

/// Destinations of BIRD's unicast routes on a recorded host.
fn routes(folder: &str, host: &str) -> Vec<String> {
    let text = std::fs::read_to_string(fixture(folder).join(format!("{host}.routes.json"))).unwrap();
    let routes: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let bird = routes.iter().filter(|route| route["protocol"] == "bird" && route["type"] == "unicast");
    bird.map(|route| route["dst"].as_str().unwrap().to_owned()).collect()
}

fn hosts(datastore: &Datastore) -> Vec<String> {
    datastore.nodes().keys().map(|name| name.to_string()).collect()
}

fn pairs(hosts: &[String]) -> impl Iterator<Item = (&String, &String)> {
    hosts.iter().flat_map(move |from| hosts.iter().filter(move |to| *to != from).map(move |to| (from, to)))
}

/// Blocks of pools without encapsulation by the host that announces them, `/32` blocks left out.
fn announced(datastore: &Datastore) -> Vec<(IpNet, String)> {
    let plain = |cidr: &IpNet| datastore.pool_of(cidr).is_some_and(|pool| pool.class() == PoolClass::NoEncap);
    let keys = datastore.affinities().filter(|(cidr, _, entry)| entry.state != AffinityState::Pending && plain(cidr));
    keys.filter_map(|(cidr, owner, _)| owner.host().map(|host| (*cidr, host.to_string()))).collect()
}

/// Borrowed addresses: the address, its block, the borrower.
fn borrowed(datastore: &Datastore) -> Vec<(IpAddr, IpNet, String)> {
    let of_block = |block: &AllocationBlock| {
        let ordinals = (0u64..1 << 4).filter_map(|ordinal| address_at(&block.cidr, ordinal));
        ordinals.map(|address| (address, block.cidr)).collect::<Vec<_>>()
    };
    (datastore.blocks().flat_map(of_block))
        .filter_map(|(address, cidr)| {
            let host = datastore.endpoints_at(address).next()?.node.to_string();
            let owner = datastore.block(&cidr)?.owner.clone()?;
            (owner != BlockOwner::Host(host.as_str().into())).then_some((address, cidr, host))
        })
        .collect()
}

fn confirmed(datastore: &Datastore, cidr: &IpNet, host: &str) -> bool {
    let owner = BlockOwner::Host(host.into());
    datastore.affinities_of(cidr).any(|(of, entry)| *of == owner && entry.state == AffinityState::Confirmed)
}

#[test]
fn over_reflectors_everything_is_required_and_there() {
    let folder = "bgp-reflectors";
    let datastore = datastore(folder);
    let sessions = Sessions::new(&datastore);
    assert!(!sessions.only_mesh());
    let hosts = hosts(&datastore);
    assert_eq!(hosts.len(), 6);
    for (from, to) in pairs(&hosts) {
        for family in Family::ALL {
            assert_eq!(sessions.reach(from, to, family), Reach::Required, "{from} to {to}");
        }
    }
    let (announced, borrowed) = (announced(&datastore), borrowed(&datastore));
    let borrowers: Vec<&str> = borrowed.iter().map(|(_, _, borrower)| borrower.as_str()).collect();
    assert_eq!(borrowers, ["n5", "n4"]);
    for host in ["n1", "n2", "n4", "n5"] {
        let routes = routes(folder, host);
        let there = |net: &IpNet| routes.iter().any(|dst| dst.parse() == Ok(*net));
        for (block, _) in announced.iter().filter(|(_, owner)| owner != host) {
            assert!(there(block), "{block} on {host}");
        }
        for (address, block, borrower) in borrowed.iter().filter(|(_, _, borrower)| borrower != host) {
            let family = Family::of(*address);
            let reach = sessions.reach_borrowed(borrower, host, family, &|name| confirmed(&datastore, block, name));
            assert_eq!(reach, Reach::Required, "{address} on {host}");
            assert!(routes.contains(&address.to_string()), "{address} on {host}");
        }
    }
}

#[test]
fn a_borrowed_address_needs_one_reflector_that_does_not_lend() {
    // n5's way to n2 leads over n1 and n4, of which n1 lends another block. Were this one lent by both, nobody would
    // pass the address on.
    let datastore = datastore("bgp-reflectors");
    let sessions = Sessions::new(&datastore);
    let reach = |lenders: &[&str]| sessions.reach_borrowed("n5", "n2", Family::V4, &|host| lenders.contains(&host));
    assert_eq!(reach(&["n1"]), Reach::Required);
    assert_eq!(reach(&["n1", "n4"]), Reach::Permitted);
}

#[test]
fn over_a_router_outside_nothing_is_required() {
    for folder in ["bgp-tor/blocks", "bgp-tor/aggregate", "bgp-tor/default"] {
        let datastore = datastore(folder);
        let sessions = Sessions::new(&datastore);
        let hosts = hosts(&datastore);
        for (from, to) in pairs(&hosts) {
            for family in Family::ALL {
                assert_eq!(sessions.reach(from, to, family), Reach::Permitted, "{folder}: {from} to {to}");
            }
        }
    }
}

#[test]
fn meshes() {
    for folder in ["three-hosts", "three-hosts-v3.29", "ipip-mesh", "dual-stack-borrowing", "vxlan-neighbours"] {
        let datastore = datastore(folder);
        let sessions = Sessions::new(&datastore);
        assert!(sessions.only_mesh(), "{folder}");
        for (from, this) in datastore.nodes() {
            for (to, other) in datastore.nodes().iter().filter(|(to, _)| *to != from) {
                for family in Family::ALL {
                    let both = this.bgp_address(family).is_some() && other.bgp_address(family).is_some();
                    let wanted = if both { Reach::Required } else { Reach::None };
                    assert_eq!(sessions.reach(from, to, family), wanted, "{folder}: {from} to {to}");
                }
            }
        }
        assert!(!sessions.local_peer_workloads("h1"));
    }
}
