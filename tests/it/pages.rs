//! Pages as a browser gets them: real sources' events, the real engine and the real server.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use calico_exporter::audit::{AuditOptions, Backend, IpamOptions, RouteOptions, TunnelOptions};
use calico_exporter::engine::{Engine, EngineOptions, Inquiry, Wiring, inquiry};
use calico_exporter::metrics::{Published, SourceStatus, Vitals};
use calico_exporter::model::{
    AffinityState, AllocationBlock, Attribute, AttributeKind, BlockAffinity, BlockOwner, Name, Node, NodeBgp,
};
use calico_exporter::source::{file, iproute};
use calico_exporter::state::{Event, Follow, Object, Side};
use calico_exporter::web::{Server, ServerConfig, WebConfig, WebState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use crate::sample::pool;

/// What somebody calls a host, a pod or a pool to make others' browsers do something.
const EVIL: &str = "<script>alert(\"1\")</script>'&";

/// An exporter without sources: what it knows, it was told.
struct Exporter {
    address: std::net::SocketAddr,
    events: mpsc::Sender<Vec<Event>>,
    _stop: watch::Sender<bool>,
}

impl Exporter {
    async fn start(node: &str, events: Vec<Event>) -> Exporter {
        let (sender, received) = mpsc::channel(4);
        let (_, sweeps) = mpsc::channel(1);
        let (lookups, _) = mpsc::channel(1);
        let (stop, stopped) = watch::channel(false);
        let sources =
            vec![SourceStatus::waiting("etcd", Side::Datastore), SourceStatus::waiting("netlink", Side::Kernel)];
        let engine = Engine::new(EngineOptions {
            partial: false,
            node: node.into(),
            audit: AuditOptions {
                ipam: Some(IpamOptions { live: false, affinity_grace: Duration::ZERO }),
                routes: Some(RouteOptions {
                    node: node.into(),
                    backend: Backend::Auto,
                    grace: None,
                    tunnels: TunnelOptions::default(),
                }),
                leaks: false,
                leak_grace: Duration::ZERO,
            },
            lists_endpoints: true,
            follow: Follow::Blocks,
            sources,
            dumped_at: None,
            history_size: 512 << 10,
        });
        let (published, mut readers) = watch::channel(Arc::new(engine.published().clone()));
        let (inquiry, questions) = inquiry();
        let address = serve(readers.clone(), Some(inquiry));
        tokio::spawn(engine.run(Wiring { events: received, sweeps, lookups, questions, published, stop: stopped }));
        if !events.is_empty() {
            sender.send(events).await.unwrap();
            readers.wait_for(|published| published.report.routes.is_some()).await.unwrap();
        }
        Exporter { address, events: sender, _stop: stop }
    }

    async fn get(&self, path: &str) -> (u16, String, String) {
        get(self.address, path).await
    }

    async fn page(&self, path: &str) -> String {
        let (status, head, body) = self.get(path).await;
        assert_eq!(status, 200, "{path}");
        assert!(head.contains("content-security-policy: default-src 'none'; style-src 'self';"), "{head}");
        assert!(!head.contains("unsafe-inline"), "{head}");
        body
    }
}

fn serve(readers: watch::Receiver<Arc<Published>>, inquiry: Option<Inquiry>) -> std::net::SocketAddr {
    let bound = Server::bind(&["127.0.0.1:0".parse().unwrap()], ServerConfig::default()).unwrap();
    let address = bound.addresses()[0];
    let mut state = WebState::new(WebConfig::default(), readers, Arc::new(Vitals::default()));
    if let Some(inquiry) = inquiry {
        state = state.asking(inquiry);
    }
    tokio::spawn(bound.serve(Arc::new(state), std::future::pending()));
    address
}

async fn get(address: std::net::SocketAddr, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_owned(), body.to_owned())
}

fn three_hosts(routes: &str) -> Vec<Event> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("tests/fixtures/three-hosts");
    let mut events = file::datastore(&folder.join("etcd.json")).unwrap().events;
    events.extend(iproute::snapshot(&root.join(routes), Some(&folder.join("h1.links.json"))).unwrap());
    events
}

/// Hosts with full blocks of pods whose names are hostile, and a kernel without any route.
fn many(hosts: u32) -> Vec<Event> {
    let host = |number: u32| Name::from(format!("h{number}{EVIL}"));
    let mut objects = vec![Object::Pool(pool(EVIL, "10.128.0.0/9"))];
    for number in 0..hosts {
        let name = host(number);
        let address = format!("172.16.{}.{}/16", number / 250, number % 250 + 1);
        let bgp = NodeBgp { ipv4: Some(address.parse().unwrap()), ..NodeBgp::default() };
        objects.push(Object::Node(name.clone(), Node { name: Some(name.clone()), bgp: Some(bgp), ..Node::default() }));
        // The first has as many as Calico allows.
        for block in 0..if number == 0 { 20 } else { 3 } {
            let index = number * 20 + block;
            let cidr = format!("10.{}.{}.{}/26", 128 + index / 1024, index / 4 % 256, index % 4 * 64).parse().unwrap();
            let owner = BlockOwner::Host(name.clone());
            objects.push(Object::Block(full(cidr, &owner, &host((number + 1) % hosts))));
            objects.push(Object::Affinity(BlockAffinity { owner, cidr, state: AffinityState::Confirmed }));
        }
    }
    let put = objects.into_iter().map(|object| Event::Put(Box::new(object)));
    let datastore = std::iter::once(Event::Resync(Side::Datastore)).chain(put).chain([Event::Synced(Side::Datastore)]);
    datastore.chain([Event::Resync(Side::Kernel), Event::Synced(Side::Kernel)]).collect()
}

/// A block of which some addresses are borrowed, and the last is lost.
fn full(cidr: ipnet::IpNet, owner: &BlockOwner, other: &Name) -> AllocationBlock {
    let attribute = |ordinal: u32| Attribute {
        handle: Some(EVIL.into()),
        node: if ordinal % 16 == 1 { Some(other.clone()) } else { owner.host().cloned() },
        namespace: Some(EVIL.into()),
        pod: Some(format!("{EVIL}{ordinal}").into()),
        ..Attribute::new(AttributeKind::Workload)
    };
    AllocationBlock {
        owner: Some(owner.clone()),
        allocations_len: 64,
        allocated: (0..63).collect(),
        holders: (0..63).map(Some).collect(),
        attributes: (0..63).map(attribute).collect(),
        attributes_len: 63,
        ..AllocationBlock::new(cidr)
    }
}

#[tokio::test]
async fn the_recorded_cluster_with_a_route_missing_says_so_first() {
    let exporter = Exporter::start("h1", three_hosts("examples/h1.routes.json")).await;
    let page = exporter.page("/").await;
    assert!(
        page.contains("0 critical · 1 warning · 0 info") && page.contains("runbook.md#calicoroutesmissing"),
        "{page}"
    );
    let order = [
        "<h1><span aria-hidden=\"true\">✖</span> 0 critical",
        "<h2>Findings",
        "Nearly used up",
        "Pools,",
        "This host&#39;s routes",
        "Hosts,",
        "blocks: 6",
        "Sources",
    ];
    let places: Vec<usize> =
        order.iter().map(|text| page.find(text).unwrap_or_else(|| panic!("{text}: {page}"))).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert!(page.contains("title=\"10.200.0.129 allocated: "), "{page}");
    assert!(page.contains("title=\"10.200.0.191 free\""), "{page}");

    let routes = exporter.page("/routes").await;
    let first = routes.split("<tbody>").nth(1).unwrap().split("<tr").nth(1).unwrap();
    assert!(first.contains("10.204.1.64/26") && first.contains("fault: missing"), "{first}");
    assert!(first.contains("dev eth0") && first.contains("no route"), "{first}");
    assert!(routes.contains("34 destinations") && routes.contains("<b>1 fault</b>"), "{routes}");
    assert_eq!(routes.matches("✔ ok").count(), 33);

    assert!(exporter.page("/host/h2").await.contains("10.201.1.64/26"));
    let (status, _, body) = exporter.get("/host/h9").await;
    assert_eq!((status, body.contains("no Node, no block")), (404, true), "{body}");
    for query in ["page=x", "page=-1", "page=0", "page=999999999", "x", "page=%3Cscript%3E"] {
        assert!(exporter.page(&format!("/routes?{query}")).await.contains("10.204.1.64/26"), "{query}");
    }
}

#[tokio::test]
async fn what_is_asked_is_explained_and_findings_and_blocks_lead_there() {
    let exporter = Exporter::start("h1", three_hosts("examples/h1.routes.json")).await;
    let page = exporter.page("/").await;
    assert!(page.contains("<form action=\"/explain\" method=\"get\""), "{page}");
    // The finding, and a block of this host's.
    for path in ["/explain?q=10.204.1.64%2F26", "/explain?q=10.200.0.128%2F26"] {
        assert!(page.contains(&format!("href=\"{path}\"")), "{path}: {page}");
        assert!(exporter.page(path).await.contains("<table class=\"chain\">"), "{path}");
    }
    let page = exporter.page("/explain?q=10.204.1.64").await;
    assert!(page.contains("the path is at fault: no route to 10.204.1.64/26"), "{page}");
    assert!(page.contains("runbook.md#calicoroutesmissing") && page.contains("value=\"10.204.1.64\""), "{page}");
    assert!(exporter.page("/explain?q=shop%2Fapp-0001").await.contains("10.200.0.129"));
    assert!(exporter.page("/explain").await.contains("An address, a CIDR, a host or a pod"));
    let evil = exporter.page("/explain?q=%3Cscript%3Ealert%28%221%22%29%3C%2Fscript%3E").await;
    assert!(!evil.contains("<script") && evil.contains("&lt;script&gt;"), "{evil}");
    for refused in
        [format!("q={}", "x".repeat(400)), "q=a+b".to_owned(), "q=a%00b".to_owned(), "q=10.0.0.1/99".to_owned()]
    {
        let (status, _, body) = exporter.get(&format!("/explain?{refused}")).await;
        assert_eq!((status, body.contains("What is to be explained?")), (404, true), "{refused}: {body}");
    }
    // The same for programs.
    let (status, headers, body) = exporter.get("/api/v1/explain?q=10.204.1.64%3A443").await;
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert!(status == 200 && headers.contains("application/json"), "{headers}");
    assert_eq!((&json["subject"], &json["verdict"]["state"]), (&"10.204.1.64".into(), &"fault".into()), "{body}");
    let (status, _, body) = exporter.get("/api/v1/explain?q=h9").await;
    assert!(status == 404 && body.contains("no host, pod or address `h9`; near: h1, h2, h3"), "{body}");
    let (status, _, page) = exporter.get("/explain?q=h9").await;
    assert!(status == 404 && page.contains("near: h1, h2, h3") && !page.contains("class=\"chain\""), "{page}");
    let (status, _, body) = exporter.get("/api/v1/explain?q=10.0.0.1/99").await;
    assert!(status == 400 && body.starts_with("q=10.0.0.1/99: ") && body.contains("is no CIDR"), "{body}");
    // A source that is lost: the chain is as it was, and says so.
    exporter.events.send(vec![Event::Lost(Side::Kernel, "gone".to_owned())]).await.unwrap();
    let start = Instant::now();
    while !exporter.page("/explain?q=10.204.1.64").await.contains("picture of the kernel is <b>not current</b>") {
        assert!(start.elapsed() < Duration::from_secs(10), "it never says so");
    }
}

#[tokio::test]
async fn without_a_fault_nothing_is_wrong_until_a_source_is_lost() {
    let exporter = Exporter::start("h1", three_hosts("tests/fixtures/three-hosts/h1.routes.json")).await;
    let page = exporter.page("/").await;
    // One of its pools has no block left: no fault, and not nothing.
    assert!(page.contains("No fault, and something is nearly used up") && page.contains("pool small"), "{page}");
    assert!(page.contains("class=\"answer wait\""), "{page}");
    exporter.events.send(vec![Event::Lost(Side::Datastore, EVIL.to_owned())]).await.unwrap();
    let start = Instant::now();
    let page = loop {
        let page = exporter.page("/").await;
        if !page.contains("No fault, and") {
            break page;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "it never says so: {page}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(page.contains("Nothing was wrong when it was last judged"), "{page}");
    assert!(page.contains("is not in sync since <time") && page.contains("alert(&quot;1&quot;)"), "{page}");
}

#[tokio::test]
async fn a_name_without_node_is_the_first_suspect() {
    let exporter = Exporter::start("h1.example", three_hosts("examples/h1.routes.json")).await;
    let page = exporter.page("/").await;
    assert!(page.contains("There is no Node h1.example in the datastore") && page.contains("--node.name"), "{page}");
    assert!(page.contains("the closest of the Nodes: h1, h2, h3"), "{page}");
}

#[tokio::test]
async fn every_page_of_three_and_of_500_hosts_is_bounded_and_holds_no_markup_from_outside() {
    for hosts in [3, 500] {
        let exporter = Exporter::start(&format!("h0{EVIL}"), many(hosts)).await;
        let host = "/host/h0%3Cscript%3Ealert%28%221%22%29%3C%2Fscript%3E%27%26";
        for path in [
            "/",
            "/findings",
            "/findings?page=4",
            "/hosts",
            "/hosts?page=5",
            "/routes",
            "/routes?page=7",
            host,
            &host.replace("/host/", "/explain?q="),
        ] {
            let start = Instant::now();
            let page = exporter.page(path).await;
            // Generous: other tests run beside this one.
            assert!(start.elapsed() < Duration::from_secs(10), "{path}: {:?}", start.elapsed());
            assert!(page.len() < 300 * 1024, "{path} of {hosts} hosts: {} bytes", page.len());
            assert!(!page.contains("<script") && !page.contains("alert(\""), "{path}: {page}");
            assert!(page.ends_with("</html>\n"));
        }
        let page = exporter.page(host).await;
        assert!(page.contains("Blocks: 20") && page.contains("1 to 8 of 20"), "{page}");
        assert!(exporter.page(&format!("{host}?from=16")).await.contains("17 to 20 of 20"));
        let page = exporter.page("/").await;
        assert_eq!(page.contains("490 more: <a href=\"/hosts\">"), hosts == 500);
    }
}

#[tokio::test]
async fn before_the_first_report_and_with_a_busy_engine_pages_say_so() {
    let exporter = Exporter::start("h1", Vec::new()).await;
    assert!(exporter.page("/").await.contains("Nothing has been judged yet"));
    assert_eq!(exporter.get("/host/h1").await.0, 503);
    assert_eq!(exporter.get("/explain?q=h1").await.0, 503);
    assert!(exporter.page("/routes").await.contains("not judged here, or not yet"));

    let (inquiry, _questions) = inquiry();
    let published = crate::sample::published(crate::sample::report());
    let (_publish, readers) = watch::channel(published);
    let address = serve(readers, Some(inquiry.patience(Duration::from_millis(20))));
    let (status, _, body) = get(address, "/").await;
    assert_eq!((status, body.matches("The engine is busy").count()), (200, 2));
    let (status, head, body) = get(address, "/routes").await;
    assert_eq!((status, body.contains("The engine is busy")), (503, true));
    assert!(head.contains("text/html"), "{head}");
}
