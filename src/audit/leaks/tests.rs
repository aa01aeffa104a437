use super::judge;
use crate::audit::sample::{
    self, Cluster, attribute, container, endpoint, handle, ip, load_balancer, machine, net, pod, tunnel,
};
use crate::model::{AttributeKind, EndpointId, Name, TunnelKind};
use crate::state::ObjectId;

/// web-0 on h1, db-0 on h2, api-0 of h2 with an address borrowed from h1, and everything that is never a leak.
fn healthy() -> Cluster {
    let mut cluster = Cluster::two_hosts();
    cluster.run("h1", "web-0", "10.0.0.1");
    cluster.run("h2", "db-0", "10.0.0.65");
    cluster.run("h2", "api-0", "10.0.0.2");
    cluster.give_tunnel("h1", TunnelKind::VxlanV4, "10.0.0.10");
    cluster.give_tunnel("h1", TunnelKind::VxlanV6, "fd00::a");
    cluster.give_tunnel("h2", TunnelKind::WireguardV6, "fd00::4a");
    let windows = attribute(AttributeKind::WindowsReserved, Some("Windows-Reserved-IPAM-Handle"));
    cluster.allocate("10.0.0.0", windows);
    cluster.allocate("10.0.0.11", attribute(AttributeKind::Cooldown, None));
    cluster.allocate("10.0.0.12", attribute(AttributeKind::Workload, None));
    cluster.allocate("10.0.0.13", machine("h1", "stopped", None));
    cluster.allocate("10.0.0.14", machine("h1", "moving", Some("h2")));
    cluster.attach(endpoint("h1", "moving", &["10.0.0.14"]));
    cluster.attach(endpoint("h2", "moving", &["10.0.0.14"]));
    cluster.block("10.0.1.0/26", "virtual:load-balancer");
    cluster.allocate("10.0.1.0", load_balancer());
    cluster
}

/// Applies `change` to the healthy cluster and names what follows: reason, subject, pool, host.
fn found(change: impl FnOnce(&mut Cluster)) -> Vec<String> {
    sample::found(healthy(), change, judge, |it| {
        let [pool, reason, _] = it.fault.values();
        format!("{reason} {} {pool} {}", it.subject, it.host.as_deref().unwrap_or("-"))
    })
}

#[track_caller]
fn clean(change: impl FnOnce(&mut Cluster)) {
    assert_eq!(found(change), [""; 0]);
}

#[test]
fn what_is_never_a_leak_is_none() {
    clean(|_| {});
    // Where endpoints are not known, nothing is.
    assert_eq!(judge(&healthy().watched()), []);
}

#[test]
fn an_address_on_an_unknown_host() {
    assert_eq!(
        found(|it| {
            it.nodes.remove("h2");
        }),
        [
            "on_unknown_host 10.0.0.2 v4 h2",
            "on_unknown_host 10.0.0.65 v4 h2",
            // Tunnel addresses too, the kinds of IPv6 among them.
            "on_unknown_host fd00::4a v6 h2",
        ]
    );
    // A host whose Node cannot be read exists.
    clean(|it| {
        it.nodes.remove("h2");
        it.unreadable.push(ObjectId::Node("h2".into()));
    });
    // The block's owner is not the allocation's node, and no node is no unknown one.
    clean(|it| it.block("10.0.2.0/26", "host:gone"));
    clean(|it| it.attribute("10.0.0.1").node = None);
    clean(|it| it.attribute("10.0.0.10").node = None);
    // What J11 exempts is exempt here as well.
    clean(|it| it.attribute("10.0.0.13").node = Some("gone".into()));
    clean(|it| it.attribute("10.0.0.12").node = Some("gone".into()));
    clean(|it| it.attribute("10.0.1.0").node = Some("gone".into()));
}

#[test]
fn an_address_that_nobody_uses() {
    let lost = "allocated_not_in_use 10.0.0.1 v4 h1";
    assert_eq!(found(|it| it.endpoint("h1", "web-0").addresses.clear()), [lost]);
    // A floating address is no use of an allocation.
    let floats = |it: &mut Cluster| {
        let web = it.endpoint("h1", "web-0");
        web.floating = std::mem::take(&mut web.addresses);
    };
    assert_eq!(found(floats), [lost]);
    // Without `node` it is a leak of nobody's.
    let orphan = |it: &mut Cluster| {
        it.attribute("10.0.0.1").node = None;
        it.endpoint("h1", "web-0").addresses.clear();
    };
    assert_eq!(found(orphan), ["allocated_not_in_use 10.0.0.1 v4 -"]);
    // In a pool that is disabled, and in none, it is one as well (J12).
    let disabled = |it: &mut Cluster| {
        it.pool("v4", "10.0.0.0/16").disabled = true;
        it.endpoint("h1", "web-0").addresses.clear();
    };
    assert_eq!(found(disabled), [lost]);
    let no_pool = |it: &mut Cluster| {
        it.pools.clear();
        it.endpoint("h1", "web-0").addresses.clear();
    };
    assert_eq!(found(no_pool), ["allocated_not_in_use 10.0.0.1 no_ippool h1"]);
    // The most specific pool counts it.
    let nested = |it: &mut Cluster| {
        it.pool("inner", "10.0.0.0/24");
        it.endpoint("h1", "web-0").addresses.clear();
    };
    assert_eq!(found(nested), ["allocated_not_in_use 10.0.0.1 inner h1"]);
    // A stopped machine that lost its attributes is one by its handle; a pod's address in a Service's block is the
    // Service's.
    clean(|it| {
        it.allocate("10.0.0.20", attribute(AttributeKind::Workload, Some("k8s-pod-network.vmi.default.db")));
    });
    clean(|it| it.allocate("10.0.1.5", pod("h1", "not-a-pod")));
}

#[test]
fn nothing_follows_from_what_cannot_be_read() {
    let unreadable = |it: &mut Cluster, id: EndpointId| {
        it.endpoints.remove(&id);
        it.unreadable.push(ObjectId::Endpoint(id));
    };
    clean(|it| unreadable(it, EndpointId::of_pod("h1", "default", "web-0")));
    let second = |name: &str| EndpointId { namespace: "default".into(), name: name.into() };
    // The pod's second interface hides the address as well, another pod's does not.
    clean(|it| {
        it.endpoint("h1", "web-0").addresses.clear();
        unreadable(it, second("h1-k8s-web--0-net1"));
    });
    let other = |it: &mut Cluster| {
        it.endpoint("h1", "web-0").addresses.clear();
        unreadable(it, second("h1-k8s-web--0--a-eth0"));
    };
    assert_eq!(found(other), ["allocated_not_in_use 10.0.0.1 v4 h1"]);
    // A block that cannot be read: no allocation is known, and no endpoint's address is free.
    clean(|it| {
        let cidr = net("10.0.0.0/26");
        it.blocks.remove(&cidr);
        it.unreadable.push(ObjectId::Block(cidr));
        it.attach(endpoint("h1", "twin", &["10.0.0.1"]));
    });
    // A bad attribute index: allocated, to whom is not known.
    clean(|it| *it.held("10.0.0.1") = None);
    clean(|it| *it.held("10.0.0.14") = None);
}

#[test]
fn an_address_used_on_another_node() {
    let moved = |it: &mut Cluster| {
        it.endpoint("h1", "web-0").node = "h2".into();
    };
    assert_eq!(found(moved), ["on_another_node 10.0.0.1 v4 h2"]);
    // Both of its endpoints elsewhere: still one finding, and this one.
    let twice = |it: &mut Cluster| {
        it.endpoint("h1", "web-0").node = "h2".into();
        it.attach(endpoint("h2", "twin", &["10.0.0.1"]));
    };
    assert_eq!(found(twice), ["on_another_node 10.0.0.1 v4 h2"]);
    // On the migration peer it is at home; an allocation without node is at home everywhere.
    clean(|it| {
        it.attribute("10.0.0.1").peer_node = Some("h2".into());
        it.endpoint("h1", "web-0").node = "h2".into();
    });
    clean(|it| {
        it.attribute("10.0.0.1").node = None;
        it.endpoint("h1", "web-0").node = "h2".into();
    });
    // A machine that has moved.
    clean(|it| it.attribute("10.0.0.14").node = Some("h3".into()));
}

#[test]
fn an_address_that_was_given_to_another_container() {
    let differs = |it: &mut Cluster| it.endpoint("h1", "web-0").container_id = container("other").into();
    assert_eq!(found(differs), ["handle_differs 10.0.0.1 v4 h1"]);
    // An endpoint that does not know its container, and a handle of another form, differ from nothing.
    clean(|it| it.endpoint("h1", "web-0").container_id = "".into());
    clean(|it| {
        it.attribute("10.0.0.1").handle = Some("by-hand".into());
        it.handles.clear();
    });
    // A network's name may have dots.
    let network = |of: &str| Some(format!("net.example.org.{}", container(of)).into());
    clean(|it| it.attribute("10.0.0.1").handle = network("web-0"));
    assert_eq!(found(|it| it.attribute("10.0.0.1").handle = network("other"))[0], "handle_differs 10.0.0.1 v4 h1");
    // Old plugins named the pod, and the endpoint's container may be a sandbox's name.
    clean(|it| {
        it.attribute("10.0.0.1").handle = Some("default.web-0".into());
        it.handles.clear();
    });
    clean(|it| it.endpoint("h1", "web-0").container_id = "k8s_POD_web-0_default".into());
}

#[test]
fn an_address_with_two_endpoints() {
    let twin = |address: &'static str| move |it: &mut Cluster| it.attach(endpoint("h2", "twin", &[address]));
    assert_eq!(found(twin("10.0.0.1")), ["two_endpoints 10.0.0.1 v4 h1"]);
    // Also where nothing is allocated, before it is `in_use_not_allocated`; also in no pool.
    let free = |it: &mut Cluster| {
        it.attach(endpoint("h1", "a", &["10.0.0.30"]));
        it.attach(endpoint("h2", "b", &["10.0.0.30"]));
    };
    assert_eq!(found(free), ["two_endpoints 10.0.0.30 v4 h1"]);
    let outside = |it: &mut Cluster| {
        it.attach(endpoint("h2", "b", &["192.0.2.1"]));
        it.attach(endpoint("h1", "a", &["192.0.2.1"]));
    };
    assert_eq!(found(outside), ["two_endpoints 192.0.2.1 no_ippool h1"]);
    // One endpoint that lists it twice is one; a floating address is none; a machine may have three.
    clean(|it| it.endpoint("h1", "web-0").addresses.push(ip("10.0.0.1")));
    clean(|it| it.endpoint("h2", "db-0").floating.push(ip("10.0.0.1")));
    clean(twin("10.0.0.14"));
}

#[test]
fn an_address_that_openstack_gave_out_needs_no_allocation() {
    let machine = |it: &mut Cluster, node: &str, name: &str, address: &str| {
        it.attach(endpoint(node, name, &[address]));
        it.endpoint(node, name).openstack = true;
    };
    for address in ["10.0.0.30", "10.0.200.1", "10.0.0.11", "192.0.2.1"] {
        clean(|it| machine(it, "h1", "vm", address));
        clean(|it| {
            machine(it, "h1", "vm", address);
            machine(it, "h2", "other", address);
        });
        // A pod beside it is Calico's to address.
        let beside = |it: &mut Cluster| {
            machine(it, "h1", "vm", address);
            it.attach(endpoint("h2", "pod", &[address]));
        };
        assert!(found(beside)[0].starts_with("two_endpoints "), "{address}");
    }
}

#[test]
fn an_address_that_is_used_and_not_allocated() {
    let uses = |address: &'static str| move |it: &mut Cluster| it.attach(endpoint("h2", "stray", &[address]));
    assert_eq!(found(uses("10.0.0.30")), ["in_use_not_allocated 10.0.0.30 v4 h2"]);
    // In no block, and in cooldown (J12).
    assert_eq!(found(uses("10.0.200.1")), ["in_use_not_allocated 10.0.200.1 v4 h2"]);
    assert_eq!(found(uses("10.0.0.11")), ["in_use_not_allocated 10.0.0.11 v4 h2"]);
    // In a disabled pool, also inside one that is enabled, and in none (another IPAM's) it needs no allocation.
    for pool in ["10.0.0.0/16", "10.0.0.0/24"] {
        for address in ["10.0.0.30", "10.0.0.11"] {
            clean(|it| {
                if pool == "10.0.0.0/16" {
                    it.pools.clear();
                }
                it.pool("off", pool).disabled = true;
                uses(address)(it);
            });
        }
    }
    clean(uses("192.0.2.1"));
    clean(|it| it.endpoint("h1", "web-0").floating.push(ip("10.0.0.30")));
    // What is allocated to something else is allocated.
    clean(uses("10.0.0.0"));
    clean(uses("10.0.0.12"));
}

#[test]
fn of_overlapping_blocks_any_one_allocates() {
    // Free in the inner block, given out by the outer one.
    clean(|it| it.block("10.0.0.0/28", "host:h2"));
    let stopped = |it: &mut Cluster| {
        it.block("10.0.0.0/28", "host:h2");
        it.endpoint("h1", "web-0").addresses.clear();
    };
    assert_eq!(found(stopped), ["allocated_not_in_use 10.0.0.1 v4 h1"]);
    // Allocated in both: one finding.
    let both = |it: &mut Cluster| {
        it.block("10.0.0.32/28", "host:h2");
        it.allocate("10.0.0.33", pod("h2", "gone-2"));
        let outer = it.blocks.get_mut(&net("10.0.0.0/26")).unwrap();
        outer.held.insert(33, Some(pod("h1", "gone-1")));
    };
    assert_eq!(found(both), ["allocated_not_in_use 10.0.0.33 v4 h2"]);
}

#[test]
fn the_words_name_what_a_person_needs() {
    let mut cluster = healthy();
    cluster.attach(endpoint("h2", "twin", &["10.0.0.1"]));
    let findings = judge(&cluster.datastore());
    let [finding] = findings.as_slice() else { panic!("{findings:?}") };
    assert_eq!(
        finding.detail,
        format!(
            "10.0.0.1 is allocated to pod default/web-0 on h1 (handle {}, block 10.0.0.0/26). And pod default/twin on \
             h2 and the endpoint that it is allocated to have it: they take each other's traffic.",
            handle("web-0")
        )
    );
    assert_eq!(finding.actual, "2 endpoints");
    // An address is given back by command only where nobody uses it.
    assert!(!finding.action.contains("release"));
    let mut cluster = healthy();
    cluster.endpoints.remove(&EndpointId::of_pod("h1", "default", "web-0"));
    assert!(judge(&cluster.datastore())[0].action.contains("calicoctl ipam release --ip=10.0.0.1"));
}

#[test]
fn a_tunnel_address_of_no_node_is_known_by_its_type_alone() {
    let mut old = tunnel("gone", TunnelKind::VxlanV6);
    old.handle = None::<Name>;
    assert_eq!(found(|it| it.allocate("fd00::b", old)), ["on_unknown_host fd00::b v6 gone"]);
    // One that a living node has left behind is not a leak.
    clean(|it| it.allocate("fd00::b", tunnel("h1", TunnelKind::VxlanV6)));
}
