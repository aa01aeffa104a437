//! The same cluster behind the Kubernetes API: Kubernetes' own API server over an etcd of its own (`make
//! kube-apiserver`), what the exporter asks of it, and what `curl` needs for the same list.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::cluster::Shape;
use super::load::{Failure, into_etcd};
use super::process::{Running, exporter, free, to_the_end};
use super::table::{Goal, Runs};
use super::{Bench, eprintln, routes};

const GROUP: &str = "crd.projectcalico.org";
const KINDS: [(&str, &str); 8] = [
    ("ipamblocks", "IPAMBlock"),
    ("blockaffinities", "BlockAffinity"),
    ("ippools", "IPPool"),
    ("ipreservations", "IPReservation"),
    ("ipamconfigs", "IPAMConfig"),
    ("felixconfigurations", "FelixConfiguration"),
    ("bgpconfigurations", "BGPConfiguration"),
    ("clusterinformations", "ClusterInformation"),
];
const BLOCKS: [&str; 2] = ["--no-collector.routes", "--no-collector.leaks"];
const AFFINITIES: [&str; 3] = ["--no-collector.ipam", "--routes.watch", "affinities"];

/// Over `newer` and then over the etcd that is installed: the same of both, but that `check` has its goal over the newer one
/// only. Where etcd cannot tell the API server that its cache is up to date, every consistent list is read from etcd, and
/// that is what both `check` and its peer then wait for.
pub fn measure(bench: &mut Bench, newer: Option<&Path>, calicoctl: Option<&Path>) -> Result<(), Failure> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/kube-apiserver");
    if !program.is_file() {
        eprintln("!!! SKIPPED: kubernetes, for there is no target/kube-apiserver (make kube-apiserver) !!!");
        return Ok(());
    }
    let shape = Shape { faults: 0, endpoints: false, ..bench.shape };
    let installed = (Path::new("etcd"), Goal::None);
    for (etcd, goal) in newer.map(|etcd| (etcd, Goal::Ratio(0.5))).into_iter().chain([installed]) {
        let api = Api::start(bench, &program, etcd, shape)?;
        start(bench, &api, shape)?;
        check(bench, &api, calicoctl, &goal)?;
        affinities(bench, &api)?;
    }
    Ok(())
}

/// From nothing to ready, beside the list of blocks alone.
fn start(bench: &mut Bench, api: &Api, shape: Shape) -> Result<(), Failure> {
    let (mut ours, mut peers, mut connections, mut steady, mut peak) = <(Runs, Runs, Runs, Runs, Runs)>::default();
    for _ in 0..bench.runs {
        peers.add(api.curl(bench)?);
        let (running, seconds, _) = api.follow(bench, &BLOCKS)?;
        ours.add(seconds);
        connections.add(api.received(&running)?.0);
        sleep(Duration::from_secs(2));
        let (now, most) = running.memory()?;
        steady.add(now);
        peak.add(most);
    }
    let size = block(&shape, 0).1.len() as f64 / 1e3;
    let work = format!("{}, {} blocks of {size:.1} kB: start to /readyz", api.name, shape.block_count());
    let table = &mut bench.table;
    table.row(&work, "s", &ours, Some(("curl --compressed of the blocks", &peers)), &Goal::Ratio(1.0))?;
    table.row("the same: memory, steady", "MiB", &steady, None, &Goal::None)?;
    table.row("the same: memory, peak", "MiB", &peak, None, &Goal::AtMost(32.0))?;
    table.row("the same: connections", "", &connections, None, &Goal::AtMost(1.0))?;
    Ok(())
}

/// `check` and its peer in turn, each to its end.
fn check(bench: &mut Bench, api: &Api, calicoctl: Option<&Path>, goal: &Goal) -> Result<(), Failure> {
    let (mut ours, mut peak, mut peers, mut large) = <(Runs, Runs, Runs, Runs)>::default();
    let config = format!("KUBECONFIG={}", api.kubeconfig.display());
    let once = |program: &Path, flags: &[&str], seconds: &mut Runs, memory: &mut Runs| -> Result<(), Failure> {
        let words = [&config, "DATASTORE_TYPE=kubernetes", &program.display().to_string()];
        let (took, most) = to_the_end("env", &[&words, flags].concat())?;
        seconds.add(took);
        memory.add(most);
        Ok(())
    };
    for _ in 0..bench.runs {
        once(&exporter(), &[&["check", "--node.name", "node-00000"], &BLOCKS[..]].concat(), &mut ours, &mut peak)?;
        if let Some(calicoctl) = calicoctl {
            once(calicoctl, &["--allow-version-mismatch", "ipam", "show", "--show-blocks"], &mut peers, &mut large)?;
        }
    }
    let peer = |runs| calicoctl.map(|_| ("calicoctl ipam show --show-blocks", runs));
    let table = &mut bench.table;
    table.row("the same: check", "s", &ours, peer(&peers), goal)?;
    table.row("the same: check, memory, peak", "MiB", &peak, peer(&large), &Goal::Ratio(1.0))?;
    Ok(())
}

/// One of thousands of hosts, whose kernel has its routes: what it costs the API server.
fn affinities(bench: &mut Bench, api: &Api) -> Result<(), Failure> {
    routes::program(bench)?;
    let (mut processor, mut sent, mut steady) = <(Runs, Runs, Runs)>::default();
    let (mut all_processor, mut all_sent, mut all_steady) = <(Runs, Runs, Runs)>::default();
    for _ in 0..bench.runs {
        for (flags, processor, sent, steady) in [
            (&AFFINITIES[..1], &mut all_processor, &mut all_sent, &mut all_steady),
            (&AFFINITIES[..], &mut processor, &mut sent, &mut steady),
        ] {
            let (running, _, before) = api.follow(bench, flags)?;
            sleep(Duration::from_secs(1));
            processor.add(api.server.processor()? - before);
            sent.add(api.received(&running)?.1 / 1e6);
            steady.add(running.memory()?.0);
        }
    }
    let by_blocks = "--routes.watch blocks";
    let work = format!("{}, --routes.watch affinities, start: the API server's processor", api.name);
    let table = &mut bench.table;
    table.row(&work, "s", &processor, Some((by_blocks, &all_processor)), &Goal::AtMost(1.0))?;
    table.row("the same: it sent", "MB", &sent, Some((by_blocks, &all_sent)), &Goal::AtMost(2.0))?;
    table.row("the same: memory, steady", "MiB", &steady, Some((by_blocks, &all_steady)), &Goal::None)?;
    Ok(())
}

/// A running API server that holds the cluster.
struct Api {
    /// What it is, for the table.
    name: String,
    server: Running,
    kubeconfig: PathBuf,
    _etcd: Running,
}

impl Api {
    fn start(bench: &Bench, program: &Path, etcd: &Path, shape: Shape) -> Result<Api, Failure> {
        let name = format!("Kubernetes API over etcd {}", version(etcd)?);
        let directory = tempfile::tempdir_in(&bench.directory)?.keep();
        let etcd = Running::etcd_of(etcd, &directory)?;
        // As the server itself stores them: fifty thousand requests would take minutes.
        bench.runtime.block_on(into_etcd(&etcd.url(), stored(shape)))?;
        let at = |file: &str| directory.join(file).display().to_string();
        to_the_end("openssl", &["genrsa", "-out", &at("key.pem"), "2048"])?;
        std::fs::write(at("tokens.csv"), "token,admin,1,\"system:masters\"\n")?;
        let address = free()?;
        let child = Command::new(program)
            .args(["--etcd-servers", &etcd.url(), "--cert-dir", &at("certs")])
            // It would look for its own address by the default route, which this namespace does not have.
            .args(["--bind-address", "127.0.0.1", "--advertise-address", "192.0.2.1"])
            .args(["--secure-port", &address.port().to_string()])
            .args(["--service-account-issuer", "https://kubernetes.default.svc"])
            .args(["--service-account-key-file", &at("key.pem"), "--service-account-signing-key-file", &at("key.pem")])
            .args(["--token-auth-file", &at("tokens.csv"), "--authorization-mode", "AlwaysAllow"])
            .args(["--service-cluster-ip-range", "10.96.0.0/16", "--endpoint-reconciler-type", "none"])
            .args(["--disable-admission-plugins", "ServiceAccount"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let kubeconfig = PathBuf::from(at("kubeconfig"));
        let config = format!(
            r#"{{"current-context":"c","contexts":[{{"name":"c","context":{{"cluster":"c","user":"u"}}}}],
"clusters":[{{"name":"c","cluster":{{"server":"https://{address}","certificate-authority":"{}"}}}}],
"users":[{{"name":"u","user":{{"token":"token"}}}}]}}"#,
            at("certs/apiserver.crt")
        );
        std::fs::write(&kubeconfig, config)?;
        let api = Api { name, server: Running::of(child, address), kubeconfig, _etcd: etcd };
        let is = |path: &str| api.ask(&[], path).is_ok();
        api.server.until(|_| is("/readyz"))?;
        for (plural, kind) in KINDS {
            let definition = format!(
                r#"{{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{{"name":"{plural}.{GROUP}"}},
"spec":{{"group":"{GROUP}","scope":"Cluster","names":{{"plural":"{plural}","kind":"{kind}"}},"versions":[{{"name":"v1",
"served":true,"storage":true,"schema":{{"openAPIV3Schema":{{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}}}}]}}}}"#
            );
            let data = ["-H", "Content-Type: application/json", "-d", &definition];
            api.ask(&data, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")?;
        }
        // Whole: a page of it is there before the server's cache is.
        for (plural, _) in KINDS {
            api.server.until(|_| is(&format!("/apis/{GROUP}/v1/{plural}")))?;
        }
        Ok(api)
    }

    /// Asks with curl; returns how long that took.
    fn ask(&self, words: &[&str], path: &str) -> Result<f64, Failure> {
        let url = format!("https://{}{path}", self.server.address);
        let all = ["-sfk", "-o", "/dev/null", "-H", "Authorization: Bearer token", &url];
        Ok(to_the_end("curl", &[words, &all].concat())?.0)
    }

    /// The list of blocks, packed, into a file.
    fn curl(&self, bench: &Bench) -> Result<f64, Failure> {
        let file = bench.file("blocks.json").display().to_string();
        let url = format!("https://{}/apis/{GROUP}/v1/ipamblocks", self.server.address);
        let words = ["-sfk", "--compressed", "-o", &file, "-H", "Authorization: Bearer token", &url];
        Ok(to_the_end("curl", &words)?.0)
    }

    /// An exporter that follows, the seconds that it took from its first request to ready (starts are spread), and the
    /// server's processor time before.
    fn follow(&self, bench: &Bench, flags: &[&str]) -> Result<(Running, f64, f64), Failure> {
        let (address, log) = (free()?, bench.file("kubernetes.log"));
        let child = Command::new(exporter())
            .args(["--datastore.type", "kubernetes", "--node.name", "node-00000"])
            .args(["--web.listen-address", &address.to_string()])
            .args(flags)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .spawn()?;
        let running = Running::of(child, address);
        running.until(|_| std::fs::read_to_string(&log).is_ok_and(|log| log.contains("objects are found")))?;
        let (began, processor) = (Instant::now(), self.server.processor()?);
        running.ready()?;
        Ok((running, began.elapsed().as_secs_f64(), processor))
    }

    /// An exporter's connections to the server, and the bytes that it was sent over them. (The server has one to itself.)
    fn received(&self, exporter: &Running) -> Result<(f64, f64), Failure> {
        let (port, whose) = (format!("dport = :{}", self.server.address.port()), format!("pid={},", exporter.pid()));
        let listed = Command::new("ss").args(["-tinpOH", "state", "established", &port]).output()?;
        let text = String::from_utf8(listed.stdout)?;
        let lines: Vec<&str> = text.lines().filter(|line| line.contains(&whose)).collect();
        let bytes = |line: &&str| line.split("bytes_received:").nth(1)?.split(' ').next()?.parse::<f64>().ok();
        Ok((lines.len() as f64, lines.iter().filter_map(bytes).sum()))
    }
}

/// What an etcd calls itself.
fn version(etcd: &Path) -> Result<String, Failure> {
    let said = String::from_utf8(Command::new(etcd).arg("--version").output()?.stdout)?;
    let version = said.lines().find_map(|line| line.strip_prefix("etcd Version: "));
    Ok(version.ok_or_else(|| format!("{} --version: no version", etcd.display()))?.to_owned())
}

/// `metadata` as the server keeps it: who wrote which field is a good part of a small object.
fn metadata(name: &str, more: &str, number: u32, written: &str) -> String {
    let fields = written.split(' ').fold(String::new(), |mut text, field| {
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, r#"{comma}"f:{field}":{{}}"#);
        text
    });
    let uid = u64::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!(
        r#""metadata":{{"name":"{name}","uid":"{:08x}-{:04x}-4000-8000-{:012x}","generation":1,"creationTimestamp":"2026-11-24T02:34:00Z",{more}"managedFields":[{{"manager":"calico-ipam","operation":"Update","apiVersion":"{GROUP}/v1","time":"2026-11-24T02:34:00Z","fieldsType":"FieldsV1","fieldsV1":{{"f:metadata":{{"f:annotations":{{".":{{}},"f:projectcalico.org/metadata":{{}}}}}},"f:spec":{{".":{{}},{fields}}}}}}}]}}"#,
        uid >> 32,
        uid & 0xffff,
        uid.rotate_left(17) & 0xffff_ffff_ffff,
    )
}

const KEPT: &str = r#""annotations":{"projectcalico.org/metadata":"{}"},"#;

fn custom(plural: &str, kind: &str, name: &str, metadata: &str, spec: &str) -> (String, String) {
    let value = format!(r#"{{"apiVersion":"{GROUP}/v1","kind":"{kind}",{metadata},"spec":{spec}}}"#);
    (format!("/registry/{GROUP}/{plural}/{name}"), value)
}

fn dashed(block: u32) -> String {
    format!("{}-26", Shape::network(block)).replace('.', "-")
}

fn block(shape: &Shape, number: u32) -> (String, String) {
    let spec = shape.block(number, 0).replacen("affinity_claim_time", "affinityClaimTime", 1);
    let spec = spec.replacen('{', r#"{"strictAffinity":false,"#, 1);
    let written = "affinity affinityClaimTime allocations attributes cidr deleted sequenceNumber sequenceNumberForAllocation strictAffinity unallocated";
    let name = dashed(number);
    custom("ipamblocks", "IPAMBlock", &name, &metadata(&name, KEPT, number, written), &spec)
}

fn affinity(shape: &Shape, number: u32) -> (String, String) {
    let host = Shape::host(number / shape.blocks);
    let name = format!("{host}-{}", dashed(number));
    let hash = u128::from(number / shape.blocks + 1).wrapping_mul(0xff51_afd7_ed55_8ccd_9e37_79b9_7f4a_7c15);
    let labels = format!(
        r#""labels":{{"projectcalico.org/affinity-type":"host","projectcalico.org/hostname-hash":"{hash:032x}{:020x}","projectcalico.org/ip-version":"4"}},"#,
        hash.rotate_left(31) >> 48,
    );
    let spec = format!(
        r#"{{"cidr":"{}/26","deleted":"false","node":"{host}","state":"confirmed","type":"host"}}"#,
        Shape::network(number)
    );
    let meta = metadata(&name, &format!("{labels}{KEPT}"), number, "cidr deleted node state type");
    custom("blockaffinities", "BlockAffinity", &name, &meta, &spec)
}

/// A Node as kubelet and calico-node leave it, with the images that it lists.
fn node(host: u32) -> (String, String) {
    let (name, address) = (Shape::host(host), Shape::host_address(host));
    let annotations = format!(
        r#""labels":{{"beta.kubernetes.io/arch":"amd64","beta.kubernetes.io/os":"linux","kubernetes.io/arch":"amd64","kubernetes.io/hostname":"{name}","kubernetes.io/os":"linux","node.kubernetes.io/instance-type":"m5.2xlarge","topology.kubernetes.io/zone":"zone-{}"}},"annotations":{{"node.alpha.kubernetes.io/ttl":"0","projectcalico.org/IPv4Address":"{address}/12","volumes.kubernetes.io/controller-managed-attach-detach":"true"}},"#,
        host % 3,
    );
    let written = "allocatable capacity conditions daemonEndpoints images nodeInfo addresses podCIDR podCIDRs taints";
    let images = (0..40_u32).fold(String::new(), |mut text, image| {
        let comma = if text.is_empty() { "" } else { "," };
        let digest = u128::from(image + 1).wrapping_mul(0xff51_afd7_ed55_8ccd_9e37_79b9_7f4a_7c15);
        let _ = write!(
            text,
            r#"{comma}{{"names":["example.org/team/image-{image}@sha256:{digest:032x}"],"sizeBytes":1048576}}"#
        );
        text
    });
    let value = format!(
        r#"{{"apiVersion":"v1","kind":"Node",{},"spec":{{}},"status":{{"addresses":[{{"type":"InternalIP","address":"{address}"}},{{"type":"Hostname","address":"{name}"}}],"images":[{images}]}}}}"#,
        metadata(&name, &annotations, host, written),
    );
    (format!("/registry/minions/{name}"), value)
}

/// Every key with its value, as an API server keeps them in etcd.
fn stored(shape: Shape) -> impl Iterator<Item = (String, String)> {
    let pool = r#"{"cidr":"10.0.0.0/8","vxlanMode":"Never","ipipMode":"Always","natOutgoing":true,"blockSize":26,"nodeSelector":"all()","allowedUses":["Workload","Tunnel"],"assignmentMode":"Automatic"}"#;
    let cluster = r#"{"clusterType":"k8s,bgp,kdd","calicoVersion":"v3.33.0","datastoreReady":true}"#;
    let setting = |plural, kind, name, spec| custom(plural, kind, name, &metadata(name, KEPT, 0, "all"), spec);
    [
        setting("ippools", "IPPool", "default-ipv4-ippool", pool),
        setting("clusterinformations", "ClusterInformation", "default", cluster),
    ]
    .into_iter()
    .chain((0..shape.hosts).map(node))
    .chain((0..shape.block_count()).map(move |number| block(&shape, number)))
    .chain((0..shape.block_count()).map(move |number| affinity(&shape, number)))
}
