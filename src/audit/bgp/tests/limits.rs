//! Large clusters, tangles, and an oracle.

use super::*;

#[test]
fn a_tangle_of_reflectors_ends() {
    // Sixty reflectors of twelve cluster ids, all of them peers, and twins at the end that no way leads over: the
    // search must give up rather than try every path.
    let reflectors = (1..=60).map(|number| format!("n{number} rr={} l=1", number % 12));
    let twins = ["n61 rr=x t=1", "n62 rr=x t=2", "n63 a=b", "n64 c=d"].map(str::to_owned);
    let nodes: Vec<String> = reflectors.chain(twins).collect();
    let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
    Cluster::of(Some(false), &nodes)
        .peer("nodes=has(l) peers=has(l)")
        .peer("nodes=has(a) peers=has(l)")
        .peer("nodes=has(t) peers=has(t)")
        .peer("nodes=t=='1' peers=has(l)")
        .peer("nodes=has(c) peers=t=='2'")
        .expect(&["n63 n64 both P", "n63 n62 both R", "n1 n63,n62 both R"]);
}

#[test]
fn thousands_of_nodes() {
    let mut cluster = Cluster::of(None, &[]);
    for number in 0..5000u32 {
        let [_, _, high, low] = number.to_be_bytes();
        let bgp = NodeBgp {
            ipv4: Some(format!("10.9.{high}.{low}/16").parse().unwrap()),
            route_reflector_cluster_id: (number < 4).then(|| "a".to_owned()),
            ..Default::default()
        };
        let labels = [("rr", (number < 4).to_string())].into_iter().collect();
        let node = Node { labels, bgp: Some(bgp), ..Default::default() };
        cluster.put(Object::Node(format!("node-{number}").as_str().into(), node));
    }
    let cluster = cluster.peer("nodes=all() peers=rr=='true'").peer("peers=all() filter");
    let sessions = cluster.sessions();
    for number in 0..5000 {
        let from = format!("node-{number}");
        let wanted = if number == 4999 { Reach::None } else { Reach::Required };
        assert_eq!(sessions.reach(&from, "node-4999", Family::V4), wanted);
    }
}

/// Carries an announcement along every path that visits no node twice, as BIRD would hand it on: an oracle that takes
/// no short cuts.
fn carried(
    sessions: &[(usize, usize)],
    clusters: &[Option<char>],
    lends: &[bool],
    path: &mut Vec<usize>,
    to: usize,
) -> bool {
    let at = path[path.len() - 1];
    if at == to {
        return true;
    }
    if path.len() > 1 {
        let list: Vec<_> = path[1..path.len() - 1].iter().map(|node| clusters[*node]).collect();
        if clusters[at].is_none() || lends[at] || list.contains(&clusters[at]) {
            return false;
        }
    }
    (0..clusters.len()).any(|next| {
        let joined = sessions.contains(&(at, next)) || sessions.contains(&(next, at));
        let client = |node: usize| clusters[node] != clusters[at];
        let passed = path.len() < 2 || client(path[path.len() - 2]) || client(next);
        if !joined || !passed || path.contains(&next) {
            return false;
        }
        path.push(next);
        let arrives = carried(sessions, clusters, lends, path, to);
        path.pop();
        arrives
    })
}

proptest::proptest! {
    #[test]
    fn required_is_what_is_carried(
        clusters in proptest::collection::vec(proptest::sample::select(vec![None, Some('a'), Some('b'), Some('c')]), 6),
        sessions in proptest::collection::vec((0..6usize, 0..6usize), 0..9),
        lends in proptest::collection::vec(proptest::bool::weighted(0.2), 6),
    ) {
        let nodes: Vec<String> = (clusters.iter().enumerate())
            .map(|(at, cluster)| match cluster {
                Some(id) => format!("n{} rr={id}", at + 1),
                None => format!("n{}", at + 1),
            })
            .collect();
        let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
        let cluster = (sessions.iter())
            .fold(Cluster::of(Some(false), &nodes), |cluster, (one, other)| {
                cluster.peer(&format!("node=n{} ip=10.0.0.{}", one + 1, other + 1))
            });
        let made = cluster.sessions();
        for from in 0..6 {
            for to in (0..6).filter(|to| *to != from) {
                let lending = |name: &str| lends[name[1..].parse::<usize>().unwrap() - 1];
                let names = [from, to].map(|node| format!("n{}", node + 1));
                let reach = made.reach_borrowed(&names[0], &names[1], Family::V4, &lending);
                let wanted = carried(&sessions, &clusters, &lends, &mut vec![from], to);
                proptest::prop_assert_eq!(reach == Reach::Required, wanted, "{} to {}", from + 1, to + 1);
            }
        }
    }
}
