use std::time::Duration;

use super::*;
use crate::model::{BgpConfiguration, BgpPeer, Node, NodeBgp, PeerAddress};
use crate::state::{Event, Object, ObjectId, State, Unreadable};

mod limits;

/// A datastore put together by hand.
#[derive(Default)]
struct Cluster(State);

/// A node as `NAME [as=N] [rr=ID] [v4 | v6] [LABEL=VALUE …]`; the address follows from the name's number.
impl Cluster {
    fn of(mesh: Option<bool>, nodes: &[&str]) -> Cluster {
        let mut cluster = Cluster::default();
        cluster.put(Object::BgpConfiguration("default".into(), BgpConfiguration { mesh, ..Default::default() }));
        for text in nodes {
            let mut words = text.split_whitespace();
            let name = words.next().unwrap();
            let number: u8 = name.trim_start_matches(char::is_alphabetic).parse().unwrap();
            let mut bgp = NodeBgp {
                ipv4: Some(format!("10.0.0.{number}/24").parse().unwrap()),
                ipv6: Some(format!("fd00::{number}/64").parse().unwrap()),
                ..Default::default()
            };
            let mut labels = Vec::new();
            for word in words {
                match word.split_once('=') {
                    Some(("as", number)) => bgp.as_number = Some(number.parse().unwrap()),
                    Some(("rr", id)) => bgp.route_reflector_cluster_id = Some(id.to_owned()),
                    Some((label, value)) => labels.push((label, value)),
                    None if word == "v4" => bgp.ipv6 = None,
                    None => bgp.ipv4 = None,
                }
            }
            cluster.put(Object::Node(
                name.into(),
                Node { labels: labels.into_iter().collect(), bgp: Some(bgp), ..Default::default() },
            ));
        }
        cluster
    }

    fn put(&mut self, object: Object) {
        self.0.apply(Event::Put(Box::new(object)), Duration::ZERO);
    }

    fn dark(&mut self, id: ObjectId) {
        let why = Unreadable::Undecodable("cut short".to_owned());
        self.0.apply(Event::Unreadable { id, key: "/calico/…".into(), why }, Duration::ZERO);
    }

    /// A BGPPeer as `[node=NAME] [nodes=SELECTOR] [peers=SELECTOR] [ip=ADDRESS] [as=N] [filter] [manual] [workloads]`;
    /// selectors are written without blanks.
    fn peer(mut self, text: &str) -> Cluster {
        let mut peer = BgpPeer::default();
        for word in text.split_whitespace() {
            match word.split_once('=') {
                Some(("node", name)) => peer.node = Some(name.into()),
                Some(("nodes", selector)) => peer.node_selector = Some(selector.to_owned()),
                Some(("peers", selector)) => peer.peer_selector = Some(selector.to_owned()),
                Some(("ip", text)) => {
                    let address = text.parse().map(PeerAddress::Address);
                    peer.peer_ip = Some(address.unwrap_or(PeerAddress::Unreadable(text.to_owned())));
                }
                Some(("as", number)) => peer.as_number = Some(number.parse().unwrap()),
                _ if word == "filter" => peer.filters.push("some".to_owned()),
                _ if word == "manual" => peer.reverse_manual = true,
                _ if word == "workloads" => peer.local_workload_selector = Some("all()".to_owned()),
                _ => panic!("{word}"),
            }
        }
        let name = format!("peer-{}", self.0.datastore.peers().len());
        self.put(Object::BgpPeer(name.as_str().into(), peer));
        self
    }

    fn sessions(&self) -> Sessions {
        Sessions::new(&self.0.datastore)
    }

    /// Checks rows `FROM TO v4|v6 R|P|-`, several `TO` with commas, `all` for every ordered pair.
    fn expect(self, rows: &[&str]) -> Cluster {
        let sessions = self.sessions();
        let names: Vec<String> = self.0.datastore.nodes().keys().map(|name| name.to_string()).collect();
        for row in rows {
            let [from, to, family, wanted] = row.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{row}") };
            let list = |text: &str| -> Vec<String> {
                if text == "all" { names.clone() } else { text.split(',').map(str::to_owned).collect() }
            };
            let families = match family {
                "v4" => &[Family::V4][..],
                "v6" => &[Family::V6],
                _ => &Family::ALL,
            };
            let wanted = match wanted {
                "R" => Reach::Required,
                "P" => Reach::Permitted,
                _ => Reach::None,
            };
            for (from, to) in list(from).iter().flat_map(|from| list(to).into_iter().map(move |to| (from.clone(), to)))
            {
                for family in families.iter().filter(|_| from != to) {
                    assert_eq!(sessions.reach(&from, &to, *family), wanted, "{row}: {from} {to} {family:?}");
                }
            }
        }
        self
    }
}

#[test]
fn the_mesh() {
    let cluster = Cluster::of(None, &["n1", "n2", "n3 v4", "n4 v6"]).expect(&[
        "n1,n2 n1,n2 both R",
        "n1 n3 v4 R",
        "n3 n1 v6 -",
        "n3 n4 both -",
        "n4 n2 v6 R",
        "n4 n2 v4 -",
        "n1 n9 both -",
        "n9 n1 both -",
    ]);
    assert!(cluster.sessions().only_mesh());
    // No configuration at all is the mesh; a node's own configuration says nothing about it.
    let mut bare = Cluster::of(None, &["n1", "n2"]);
    bare.0.apply(Event::Delete(ObjectId::BgpConfiguration("default".into())), Duration::ZERO);
    let off = BgpConfiguration { mesh: Some(false), ..Default::default() };
    bare.put(Object::BgpConfiguration("node.n1".into(), off));
    assert!(bare.expect(&["all all both R"]).sessions().only_mesh());
    // Off, and nothing else.
    assert!(!Cluster::of(Some(false), &["n1", "n2"]).expect(&["all all both -"]).sessions().only_mesh());
}

#[test]
fn the_mesh_and_as_numbers() {
    // n2's sessions do not come up since Calico 3.32: its routes are missing, and that is to be said.
    let cluster = Cluster::of(None, &["n1", "n2 as=65000", "n3"]).expect(&["all all both R"]);
    assert!(!cluster.sessions().only_mesh());
    assert!(Cluster::of(None, &["n1", "n2 as=64512"]).sessions().only_mesh(), "the global number said out loud");
    let mut cluster = Cluster::of(None, &["n1", "n2 as=65000"]);
    let configuration = BgpConfiguration { as_number: Some(65000), ..Default::default() };
    cluster.put(Object::BgpConfiguration("default".into(), configuration));
    assert!(cluster.sessions().only_mesh());
}

#[test]
fn what_only_the_mesh_means() {
    let nodes = ["n1 a=1", "n2", "n3"];
    for (peer, only) in [
        ("ip=10.0.0.254 as=64999", true),
        ("nodes=has(a) peers=has(a)", true),
        ("peers=has(nothing)", true),
        ("workloads", true),
        ("nodes=has(a) ip=10.0.0.1", true),
        ("nodes=has(a) ip=10.0.0.2 as=64999", true),
        ("nodes=has(a) ip=10.0.0.2", false),
        ("nodes=has(a) peers=all()", false),
        ("node=n1 peers=has(a)||all() filter", false),
        ("nodes=has( peers=all()", false),
        ("nodes=all() ip=router", false),
    ] {
        let cluster = Cluster::of(None, &nodes).peer(peer);
        assert_eq!(cluster.sessions().only_mesh(), only, "{peer}");
    }
    assert!(!Cluster::of(None, &["n1", "n2", "n3 rr=1"]).sessions().only_mesh());
    for dark in
        [ObjectId::BgpPeer("x".into()), ObjectId::Node("x".into()), ObjectId::BgpConfiguration("default".into())]
    {
        let mut cluster = Cluster::of(None, &nodes);
        cluster.dark(dark);
        assert!(!cluster.sessions().only_mesh());
    }
}

#[test]
fn one_reflector() {
    let cluster = Cluster::of(Some(false), &["n1 rr=1", "n2", "n3", "n4 v4"]).peer("nodes=all() peers=has(none)");
    cluster.expect(&["all all both -"]);
    let nodes = ["n1 rr=1.0.0.1 rr=x", "n2", "n3", "n4 v4"].map(|node| node.replace(" rr=x", ""));
    let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
    Cluster::of(Some(false), &nodes).peer("ip=10.0.0.1").expect(&["all all v4 R", "all all v6 -"]);
    Cluster::of(Some(false), &nodes).peer("ip=10.0.0.1").peer("ip=fd00::1").expect(&[
        "all all v4 R",
        "n1,n2,n3 n1,n2,n3 v6 R",
        "n4 n2 v6 -",
    ]);
}

#[test]
fn a_reflector_beside_the_mesh() {
    let nodes = ["n1 rr=1 x=y", "n2", "n3"];
    // The reflector is not in the mesh.
    Cluster::of(None, &nodes).expect(&["n2 n3 both R", "n1 n2,n3 both -", "n2,n3 n1 both -"]);
    Cluster::of(None, &nodes).peer("peers=has(x)").expect(&["all all both R"]);
    // The other two keep the mesh whatever filters stand on the way over the reflector.
    Cluster::of(None, &nodes).peer("peers=has(x) filter").expect(&["n2 n3 both R", "n1 n2 both P", "n3 n1 both P"]);
}

#[test]
fn reflectors_in_a_row() {
    let rows = |one: &str, other: &str| {
        let (one, other) = (format!("n1 rr={one} r=1"), format!("n2 rr={other} r=2"));
        Cluster::of(Some(false), &[&one, &other, "n3 c=1", "n4 c=2", "n5 c=1"])
            .peer("nodes=c=='1' peers=r=='1'")
            .peer("nodes=c=='2' peers=r=='2'")
            .peer("nodes=r=='1' peers=r=='2'")
    };
    rows("a", "b").expect(&["all all both R"]);
    // Twins: what the one reflected, the other does not hand on. Its own blocks it does.
    rows("a", "a").expect(&[
        "n3 n5 both R",
        "n3,n5 n4 both P",
        "n4 n3,n5 both P",
        "n1 all both R",
        "n2 all both R",
        "n3,n4,n5 n1,n2 both R",
    ]);
    // Three in a row, the last one with the first one's id.
    Cluster::of(Some(false), &["n1 rr=a r=1", "n2 rr=b r=2", "n3 rr=a r=3", "n4 c=1", "n5 c=3"])
        .peer("nodes=c=='1' peers=r=='1'")
        .peer("nodes=c=='3' peers=r=='3'")
        .peer("nodes=r=='2' peers=r!=''&&r!='2'&&has(r)")
        .expect(&["n4 n2 both R", "n4 n3 both R", "n4 n5 both P", "n1 n3 both R"]);
    // Twins without a session of their own, a third between them.
    Cluster::of(Some(false), &["n1 rr=a r=1", "n2 rr=a r=1", "n3 rr=a r=3"])
        .peer("nodes=r=='1' peers=r=='3'")
        .expect(&["n1 n2 both P", "n1 n3 both R"]);
    // Whoever is no reflector passes nothing on.
    Cluster::of(Some(false), &["n1", "n2 x=y", "n3"]).peer("peers=has(x)").expect(&["n1 n2 both R", "n1 n3 both P"]);
}

#[test]
fn peers_of_single_nodes() {
    let nodes = ["n1 a=b", "n2", "n3"];
    Cluster::of(Some(false), &nodes).peer("node=n2 ip=10.0.0.1").expect(&[
        "n1,n2 n1,n2 v4 R",
        "n1 n2 v6 -",
        "n1 n3 both -",
    ]);
    Cluster::of(Some(false), &nodes).peer("node=n2 peers=has(a)").expect(&["n1,n2 n1,n2 both R", "n3 n2 both -"]);
    // The selector counts where both are given, and a peer may itself be among the nodes.
    Cluster::of(Some(false), &nodes).peer("node=n2 nodes=all() peers=has(a)").expect(&["n1 n2,n3 both R"]);
    Cluster::of(Some(false), &nodes).peer("node=n9 peers=has(a)").expect(&["all all both -"]);
    // Nobody is the peer.
    Cluster::of(Some(false), &nodes).peer("node=n2").expect(&["all all both -"]);
}

#[test]
fn manual_wants_both_sides() {
    let nodes = ["n1 a=b", "n2", "n3"];
    let one = Cluster::of(Some(false), &nodes).peer("node=n2 ip=10.0.0.1 manual").expect(&["n1,n2 n1,n2 v4 P"]);
    one.peer("node=n1 ip=10.0.0.2 manual").expect(&["n1,n2 n1,n2 v4 R", "n1 n3 v4 -", "n1 n2 v6 -"]);
    Cluster::of(Some(false), &nodes)
        .peer("node=n2 ip=10.0.0.1 manual")
        .peer("nodes=has(a) peers=!has(a) manual")
        .expect(&["n1,n2 n1,n2 v4 R", "n1 n2,n3 v6 P"]);
    // Selected on both sides, so configured on both.
    Cluster::of(Some(false), &nodes).peer("peers=all() manual").expect(&["all all both R"]);
    // The other side's filters count as well as one's own.
    Cluster::of(Some(false), &nodes)
        .peer("node=n2 ip=10.0.0.1 manual")
        .peer("node=n1 ip=10.0.0.2 manual filter")
        .expect(&["n1,n2 n1,n2 v4 P"]);
}

#[test]
fn filters() {
    let nodes = ["n1", "n2", "n3"];
    Cluster::of(None, &nodes).peer("peers=all() filter").expect(&["all all both R"]);
    Cluster::of(Some(false), &nodes).peer("peers=all() filter").expect(&["all all both P"]);
    Cluster::of(Some(false), &nodes).peer("peers=all() filter").peer("node=n1 ip=10.0.0.2").expect(&[
        "n1 n2 v4 R",
        "n2 n1 v6 P",
        "n1 n3 v4 P",
    ]);
}

#[test]
fn as_numbers_of_peers() {
    let nodes = ["n1 a=b", "n2 as=65000", "n3"];
    for (peer, wanted) in [
        ("node=n1 ip=10.0.0.2 as=65000", "n1,n2 n1,n2 v4 R"),
        ("node=n1 ip=10.0.0.2 as=64512", "n1,n2 n1,n2 v4 P"),
        ("node=n1 ip=10.0.0.2", "n1,n2 n1,n2 v4 P"),
        ("node=n1 ip=10.0.0.3", "n1,n3 n1,n3 v4 R"),
        ("node=n1 ip=10.0.0.3 as=64512", "n1,n3 n1,n3 v4 R"),
        ("node=n1 ip=10.0.0.3 as=64999", "n1,n3 n1,n3 v4 P"),
        ("nodes=!has(a) peers=has(a)", "n1,n2 n1,n2 both R"),
    ] {
        Cluster::of(Some(false), &nodes).peer(peer).expect(&[wanted]);
    }
    // Over an AS border a reflector is none.
    Cluster::of(Some(false), &["n1 rr=a r=1", "n2 as=65000", "n3", "n4"]).peer("peers=has(r)").expect(&[
        "n1 n2 both R",
        "n2 n3 both P",
        "n3 n2 both P",
        "n3 n4 both R",
    ]);
}

#[test]
fn what_cannot_be_read() {
    let nodes = ["n1 rr=a r=1", "n2", "n3", "n4"];
    // A selector: what is described besides stays required, everything else may be.
    Cluster::of(Some(false), &nodes).peer("nodes=has( peers=all()").expect(&["all all both P"]);
    Cluster::of(Some(false), &nodes).peer("peers=a=b").expect(&["all all both P"]);
    Cluster::of(Some(false), &nodes).peer("ip=router.example").expect(&["all all both P"]);
    Cluster::of(Some(false), &nodes).peer("ip=10.0.0.1").peer("peers=((").expect(&["all all v4 R", "all all v6 P"]);
    Cluster::of(None, &nodes[1..]).peer("peers=((").expect(&["all all both R"]);
    // An object.
    let dark = |mesh, id| {
        let mut cluster = Cluster::of(mesh, &nodes);
        cluster.dark(id);
        cluster
    };
    dark(Some(false), ObjectId::BgpPeer("x".into())).expect(&["all all both P"]);
    dark(None, ObjectId::BgpPeer("x".into())).expect(&["n2 n3 both R", "n1 n2 both P"]);
    dark(Some(false), ObjectId::Node("n8".into())).expect(&["n2 n3 both P", "n8 n2 both P", "n2 n8 both P"]);
    dark(None, ObjectId::Node("n8".into())).expect(&["n2 n3 both R", "n8 n2 both P", "n9 n2 both -"]);
    dark(None, ObjectId::BgpConfiguration("node.n2".into())).expect(&["n2 n3 both R"]);
    dark(None, ObjectId::BgpConfiguration("default".into())).expect(&["n2 n3 both P", "n1 n2 both -"]);
    let mut cluster = Cluster::of(Some(false), &nodes).peer("peers=has(r)");
    cluster.dark(ObjectId::BgpConfiguration("default".into()));
    cluster.expect(&["all all both R"]);
}

#[test]
fn routers_outside() {
    let nodes = ["n1 rack=1 as=64601", "n2 rack=1 as=64602", "n3 rack=2 as=64603"];
    let one = Cluster::of(Some(false), &nodes).peer("nodes=rack=='1' ip=10.0.0.254 as=64999");
    one.expect(&["n1 n2 v4 P", "n1 n3 both -", "n1 n2 v6 -"])
        .peer("nodes=rack=='2' ip=10.1.0.254 as=64999")
        .expect(&["all all v4 P", "all all v6 -"]);
}

#[test]
fn a_reflector_that_lends() {
    let cluster =
        Cluster::of(Some(false), &["n1 rr=a rr=a r=1", "n2 rr=a r=1", "n3", "n4", "n5 v4"]).peer("peers=has(r)");
    let sessions = cluster.sessions();
    let reach = |from, to, lenders: &[&str]| {
        sessions.reach_borrowed(from, to, Family::V4, &|host: &str| lenders.contains(&host))
    };
    assert_eq!(reach("n3", "n4", &[]), Reach::Required);
    assert_eq!(reach("n3", "n4", &["n5"]), Reach::Required);
    assert_eq!(reach("n3", "n4", &["n1"]), Reach::Required, "n2 passes it on");
    assert_eq!(reach("n3", "n4", &["n1", "n2"]), Reach::Permitted);
    assert_eq!(reach("n3", "n1", &["n1"]), Reach::Required, "the lender itself has a session with the borrower");
    assert_eq!(reach("n1", "n3", &["n2"]), Reach::Required, "the borrower is a reflector");
    let one = Cluster::of(Some(false), &["n1 rr=a r=1", "n3", "n4"]).peer("peers=has(r)").sessions();
    assert_eq!(one.reach_borrowed("n3", "n4", Family::V6, &|host| host == "n1"), Reach::Permitted);
    let meshed = Cluster::of(None, &["n1 rr=a r=1", "n3", "n4"]).peer("peers=has(r)").sessions();
    assert_eq!(meshed.reach_borrowed("n3", "n4", Family::V6, &|host| host == "n1"), Reach::Required);
}

#[test]
fn workloads_as_peers() {
    let nodes = ["n1 a=b", "n2"];
    for (peer, wanted) in [
        ("workloads", [true, true, true]),
        ("workloads node=n2", [false, true, false]),
        ("workloads node=n9", [false, false, true]),
        ("workloads nodes=has(a)", [true, false, false]),
        ("workloads nodes=has(", [true, true, true]),
        ("peers=all()", [false, false, false]),
    ] {
        let sessions = Cluster::of(Some(false), &nodes).peer(peer).sessions();
        assert_eq!(["n1", "n2", "n9"].map(|name| sessions.local_peer_workloads(name)), wanted, "{peer}");
    }
    Cluster::of(Some(false), &nodes).peer("workloads").peer("workloads nodes=((").expect(&["all all both -"]);
}

#[test]
fn addresses_that_two_nodes_claim() {
    let mut cluster = Cluster::of(None, &["n1", "n2", "n3"]);
    let bgp = NodeBgp { ipv4: Some("10.0.0.1/24".parse().unwrap()), ..Default::default() };
    cluster.put(Object::Node("n2".into(), Node { bgp: Some(bgp), ..Default::default() }));
    cluster.expect(&["n1 n2 v4 P", "n1 n3 both R", "n2 n3 v4 R"]);
}
