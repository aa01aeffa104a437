//! Small clusters rebuilt from public reports, each with its right answer, and a healthy one of each flavour of Calico,
//! which is silent: from files, from a real etcd or a real API server as the cluster has it, and by `serve` as by `check`.

use std::path::Path;

use etcd_client::DeleteOptions;

use crate::both_forms::pairs;
use crate::fixtures::folder;
use crate::support::etcd::Etcd;
use crate::support::exporter::{Exporter, findings, run};

/// One case.
struct Case {
    /// `cases` or `flavours`, in `tests/fixtures`.
    kind: &'static str,
    /// Its folder there. Every `.json` but those of [`KERNEL`] is the datastore's.
    folder: &'static str,
    /// Whose routes are judged, where they were recorded.
    node: Option<&'static str>,
    /// Flags beside the files.
    flags: &'static [&'static str],
    /// `check`'s exit status.
    exit: i32,
    /// What `check` and `serve` find: label values and subject.
    findings: &'static [&'static str],
    /// Words that `check`'s text output has, on either stream.
    says: &'static [&'static str],
    /// Subjects to explain.
    explains: &'static [Explain],
}

/// What was recorded of the host's kernel, with the flag of each.
const KERNEL: [(&str, &str); 6] = [
    ("routes.json", "--routes.file"),
    ("links.json", "--links.file"),
    ("neighbours.json", "--neighbours.file"),
    ("fdb.json", "--fdb.file"),
    ("rules.json", "--rules.file"),
    ("rules6.json", "--rules.file"),
];

/// What `explain` says of a subject.
struct Explain {
    subject: &'static str,
    exit: i32,
    says: &'static [&'static str],
    never: &'static [&'static str],
}

impl Explain {
    const OK: Explain = Explain { subject: "", exit: 0, says: &[], never: &["FAULT"] };
    const CANNOT_TELL: Explain = Explain { exit: 2, ..Explain::OK };
}

const HEALTHY: Case = Case {
    kind: "cases",
    folder: "",
    node: None,
    flags: &[],
    exit: 0,
    findings: &[],
    says: &["nothing is wrong"],
    explains: &[],
};

const CASES: &[Case] = &[
    Case {
        folder: "03-node-address-is-the-tunnels",
        node: Some("node2"),
        exit: 1,
        findings: &["address_of_tunnel node2"],
        says: &["10.1.69.0 of vxlan.calico"],
        explains: &[Explain {
            subject: "node1",
            exit: 1,
            says: &["node2: this host, where the way begins", "which is a tunnel's: vxlan.calico"],
            never: &["wrong_", "sends from 192.0.2.182"],
        }],
        ..HEALTHY
    },
    Case {
        folder: "06-two-nodes-one-address",
        node: Some("n42"),
        exit: 1,
        findings: &["address_duplicate n40", "address_duplicate n41"],
        says: &["10.43.0.1, which n41 has as well", "10.43.0.1, which n40 has as well"],
        explains: &[Explain {
            subject: "n40",
            exit: 1,
            says: &["Node n40 has the address 10.43.0.1, and so has n41"],
            never: &["every link is as it ought to be"],
        }],
        ..HEALTHY
    },
    Case {
        folder: "10b-block-over-the-nodes",
        node: Some("vm2"),
        exit: 1,
        findings: &["address_in_block vm1", "address_in_block vm2"],
        says: &["192.168.152.231, which lies in block 192.168.152.192/26 of host:vm1"],
        explains: &[Explain {
            subject: "vm1",
            exit: 1,
            says: &[
                "the way to 192.168.152.230 leads into the tunnel: 192.168.152.192/26 via 192.168.152.230 dev tunl0",
            ],
            never: &["every link is as it ought to be"],
        }],
        ..HEALTHY
    },
    Case {
        folder: "14-handles-of-an-old-cni-plugin",
        explains: &[Explain { subject: "192.168.106.67", says: &["endpoint         ok"], ..Explain::CANNOT_TELL }],
        ..HEALTHY
    },
    Case {
        folder: "24-ipv6-off-in-felix",
        node: Some("master"),
        exit: 1,
        findings: &[
            "vxlan-v6.calico missing vxlan-v6.calico",
            "local_block missing fd00:80::40/122",
            "local_workload missing fd00:80::45",
        ],
        says: &["FelixConfiguration default has ipv6Support: false, so that Felix does not"],
        explains: &[Explain {
            subject: "d/p",
            exit: 1,
            says: &["no route to fd00:80::45, a pod of this host: FelixConfiguration default has ipv6Support: false"],
            never: &["which Felix ought to have programmed"],
        }],
        ..HEALTHY
    },
    Case {
        folder: "33-ipam-prefix-only",
        exit: 2,
        says: &["no Nodes and no IPPools", "etcdctl get --prefix /calico -w json"],
        ..HEALTHY
    },
    Case {
        folder: "25-canal-healthy",
        node: Some("prod-master-1"),
        flags: &["--kubernetes.use-pod-cidr"],
        explains: &[Explain { subject: "10.42.1.5", never: &["FAULT", "lost", "allocated"], ..Explain::OK }],
        ..HEALTHY
    },
    Case { folder: "28-windows-healthy", node: Some("lin1"), ..HEALTHY },
    Case {
        folder: "34-host-local-bird-healthy",
        node: Some("192.168.1.4"),
        flags: &["--kubernetes.use-pod-cidr"],
        explains: &[
            Explain { subject: "172.16.1.4", never: &["FAULT", "lost", "allocated"], ..Explain::OK },
            Explain { subject: "192.168.0.4", says: &["172.16.1.0/24 via 192.168.0.4 dev tunl0"], ..Explain::OK },
            Explain { subject: "default/nginx-s2w9w", never: &["FAULT", "lost", "allocated"], ..Explain::OK },
        ],
        ..HEALTHY
    },
    Case {
        folder: "36-host-local-not-told",
        node: Some("192.168.1.4"),
        says: &["nothing is wrong", "is IPAM host-local? --kubernetes.use-pod-cidr"],
        explains: &[Explain { subject: "172.16.1.4", never: &["FAULT"], ..Explain::CANNOT_TELL }],
        ..HEALTHY
    },
    Case { folder: "44c-spurious-32-cross-subnet", node: Some("n1"), ..HEALTHY },
    Case {
        folder: "37b-block-blackholed-by-its-old-host",
        node: Some("old-e"),
        exit: 1,
        findings: &["remote_block wrong_type 172.16.192.192/26"],
        says: &["this host still announces it as a block of its own, as its former owner does"],
        explains: &[Explain {
            subject: "d/web",
            exit: 1,
            says: &["as its former owner does"],
            never: &["cannot resolve", "may be there or not"],
        }],
        ..HEALTHY
    },
    Case {
        folder: "40-mesh-off-and-no-peer",
        node: Some("ubuntu-1"),
        exit: 1,
        findings: &["ipip no_session ipip"],
        says: &["the datastore describes no BGP session from ubuntu-1 (IPv4)"],
        explains: &[Explain {
            subject: "ubuntu-2",
            exit: 1,
            says: &["path             FAULT", "describes no BGP session from ubuntu-1"],
            never: &["may be there or not", "every link is as it ought to be"],
        }],
        ..HEALTHY
    },
    Case { folder: "46-load-balancer-pool", flags: &["--no-collector.routes"], ..HEALTHY },
    Case {
        folder: "47-floating-ip-in-a-pool",
        node: Some("h1"),
        flags: &["--no-collector.ipam", "--routes.watch", "affinities"],
        ..HEALTHY
    },
    Case {
        folder: "47-floating-ip-in-a-pool",
        node: Some("h1"),
        flags: &["--no-collector.ipam", "--routes.watch", "blocks"],
        ..HEALTHY
    },
];

const fn flavour(folder: &'static str, node: &'static str, flags: &'static [&'static str]) -> Case {
    Case { kind: "flavours", folder, node: Some(node), flags, ..HEALTHY }
}

/// A healthy cluster of each flavour and of some versions.
const FLAVOURS: &[Case] = &[
    flavour("aks-policy-only", "aks-pool1-0", &[]),
    flavour("calico-v3.0-etcd", "m", &[]),
    flavour("calico-v3.33-felix-ipip", "h-1", &[]),
    flavour("charmed-etcd-peers", "juju-1", &[]),
    flavour("dual-stack-ipv4-host", "old-1", &[]),
    flavour("ebpf-vxlan", "bpf-1", &["--calico.backend", "vxlan"]),
    flavour("eks-policy-only", "ip-10-3-1-20.ec2.internal", &[]),
    Case {
        explains: &[Explain {
            subject: "ip-10-3-2-30.ec2.internal",
            says: &["10.3.2.30 dev wireguard.cali"],
            ..Explain::OK
        }],
        ..flavour("eks-wireguard-host-encryption", "ip-10-3-1-20.ec2.internal", &[])
    },
    flavour("gke-policy-only", "gke-a-1", &["--kubernetes.use-pod-cidr", "--calico.backend", "none"]),
    flavour("gke-policy-only", "gke-a-1", &[]),
    flavour("k3s-vxlan-cross-subnet", "k3s-server-0", &[]),
    flavour("kops-ipip-cross-subnet", "i-0aa1", &[]),
    flavour("kubespray-ipip-etcd", "node1", &[]),
    flavour("microk8s-vxlan", "mk8s-a", &["--calico.backend", "vxlan"]),
    flavour("openshift-vxlan-cross-subnet", "master-0", &[]),
    flavour("openstack-neutron", "compute-1", &[]),
    flavour("rke2-canal", "server-1", &["--kubernetes.use-pod-cidr"]),
    Case {
        explains: &[
            Explain { subject: "10.60.2.9", says: &["dev wireguard.cali"], ..Explain::OK },
            Explain { subject: "fd60::2:9", says: &["dev wg-v6.cali"], ..Explain::OK },
            Explain { subject: "10.60.3.9", says: &["dev vxlan.calico"], ..Explain::CANNOT_TELL },
            Explain { subject: "wg-2", exit: 0, says: &["192.168.60.2: 192.168.60.0/24 dev eth0"], never: &["FAULT"] },
        ],
        ..flavour("wireguard-dual-stack", "wg-1", &["--calico.backend", "vxlan"])
    },
    flavour("wireguard-dual-stack", "wg-1", &["--no-collector.ipam", "--routes.watch", "affinities"]),
    // As a host runs it: no endpoint is listed.
    flavour("kubespray-ipip-etcd", "node1", &["--no-collector.ipam"]),
    flavour("openstack-neutron", "compute-1", &["--no-collector.ipam"]),
    flavour("calico-v3.33-felix-ipip", "h-1", &["--no-collector.ipam", "--routes.watch", "affinities"]),
    flavour("openshift-vxlan-cross-subnet", "master-0", &["--no-collector.ipam", "--routes.watch", "affinities"]),
];

fn all() -> impl Iterator<Item = &'static Case> {
    CASES.iter().chain(FLAVOURS)
}

impl Case {
    fn path(&self, name: &str) -> String {
        folder(self.kind).join(self.folder).join(name).to_str().unwrap().to_owned()
    }

    fn has(&self, name: &str) -> bool {
        Path::new(&self.path(name)).is_file()
    }

    /// The datastore as files.
    fn files(&self) -> Vec<String> {
        let names = std::fs::read_dir(folder(self.kind).join(self.folder)).unwrap();
        let mut names: Vec<String> = names.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| !KERNEL.iter().any(|(file, _)| file == name));
        names.sort();
        names.iter().flat_map(|name| ["--datastore.file".to_owned(), self.path(name)]).collect()
    }

    /// Everything but the datastore.
    fn beside(&self) -> Vec<String> {
        let mut words: Vec<String> = self.flags.iter().map(|it| (*it).to_owned()).collect();
        if let Some(node) = self.node {
            words.extend(["--node.name".to_owned(), node.to_owned()]);
        }
        let recorded = KERNEL.iter().filter(|(file, _)| self.has(file));
        words.extend(recorded.flat_map(|(file, flag)| [(*flag).to_owned(), self.path(file)]));
        if !self.has("routes.json") && !words.iter().any(|it| it == "--no-collector.routes") {
            words.push("--no-collector.routes".to_owned());
        }
        words
    }

    /// Runs a command over a datastore; its status and everything that it wrote.
    fn run(&self, command: &[&str], datastore: &[String]) -> (i32, String) {
        let beside = self.beside();
        let words = datastore.iter().chain(&beside).map(String::as_str);
        let output = run(&command.iter().copied().chain(words).collect::<Vec<_>>());
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout) + &text(output.stderr))
    }

    fn check(&self, datastore: &[String], from: &str) {
        let what = format!("{} from {from}", self.folder);
        let (exit, said) = self.run(&["check", "--settle", "0s", "--log.level", "error"], datastore);
        assert_eq!(exit, self.exit, "{what}: {said}");
        // Wherever the lines are broken.
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        for words in self.says {
            assert!(said.contains(words), "{what}: {words:?} is not in: {said}");
        }
        if exit == 2 {
            return;
        }
        let json = ["check", "--output", "json", "--settle", "0s", "--log.level", "error"];
        let (exit, said) = self.run(&json, datastore);
        assert_eq!((exit, findings(&said)), (self.exit, self.found()), "{what}");
    }

    fn found(&self) -> Vec<String> {
        self.findings.iter().map(|it| (*it).to_owned()).collect()
    }

    fn explain(&self, datastore: &[String]) {
        for Explain { subject, exit, says, never } in self.explains {
            let (status, said) = self.run(&["explain", subject, "--log.level", "error"], datastore);
            let what = format!("{}: explain {subject}: {said}", self.folder);
            assert_eq!(status, *exit, "{what}");
            says.iter().for_each(|it| assert!(said.contains(it), "{it:?} is not in {what}"));
            never.iter().for_each(|it| assert!(!said.contains(it), "{it:?} is in {what}"));
        }
    }
}

#[test]
fn each_case_has_its_answer_from_files() {
    for case in all() {
        case.check(&case.files(), "files");
        case.explain(&case.files());
    }
}

#[test]
fn each_case_is_served_as_it_is_checked() {
    for case in all().filter(|case| case.exit != 2) {
        let words: Vec<String> = case.files().into_iter().chain(case.beside()).collect();
        let exporter = Exporter::start(&words.iter().map(String::as_str).collect::<Vec<_>>());
        exporter.until_ready();
        assert_eq!(exporter.findings(), case.found(), "{}: {}", case.folder, exporter.log());
    }
}

#[tokio::test]
async fn each_case_of_etcd_has_its_answer_from_a_real_etcd() {
    let Some(etcd) = Etcd::start().await else { return };
    // A part of a dump is all that an etcd has.
    for case in all().filter(|case| case.has("etcd.json") && case.exit != 2) {
        etcd.client().await.delete("/", Some(DeleteOptions::new().with_prefix())).await.unwrap();
        etcd.put_all(&pairs(Path::new(&case.path("etcd.json")))).await;
        let datastore = ["--etcd.endpoints".to_owned(), etcd.url()];
        case.check(&datastore, "etcd");
        case.explain(&datastore);
        if !case.findings.is_empty() {
            continue;
        }
        // A host's exporter lists no endpoint: not even a difference waits for its grace once those it asks for are known.
        let words: Vec<String> = datastore.into_iter().chain(case.beside()).collect();
        let exporter = Exporter::start(&words.iter().map(String::as_str).collect::<Vec<_>>());
        exporter.until_ready();
        exporter.until(case.folder, |scrape| scrape.sum("calico_routes_pending") == 0.0);
        assert_eq!(exporter.findings(), [""; 0], "{}: {}", case.folder, exporter.log());
    }
}

/// Nodes and Pods of a list, and Calico's resources, put behind a real API server.
#[cfg(feature = "kubernetes")]
#[tokio::test]
async fn each_flavour_of_the_kubernetes_datastore_is_silent_from_a_real_api_server() {
    use crate::support::exporter::program;
    use crate::support::kube::{ApiServer, V1, folder as place};

    for case in FLAVOURS.iter().filter(|case| case.has("kdd.json") && !case.flags.contains(&"--no-collector.ipam")) {
        let Some(server) = ApiServer::start(V1).await else { return };
        let list: serde_json::Value = serde_json::from_slice(&std::fs::read(case.path("kdd.json")).unwrap()).unwrap();
        for item in list["items"].as_array().unwrap() {
            if let Some(namespace) = item["metadata"]["namespace"].as_str() {
                server.ensure_namespace(namespace).await;
            }
            server.create(&place(item), item).await;
        }
        let mut check = program();
        check.env("KUBECONFIG", server.kubeconfig()).args([
            "check",
            "--settle",
            "0s",
            "--datastore.type",
            "kubernetes",
        ]);
        let output = check.args(case.beside()).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{}: {said}", case.folder);
        assert!(said.contains("nothing is wrong"), "{}: {said}", case.folder);
    }
}

#[test]
fn no_host_is_said_to_lack_a_block_of_a_pool_for_services() {
    let case = CASES.iter().find(|case| case.folder == "46-load-balancer-pool").unwrap();
    let words: Vec<String> = case.files().into_iter().chain(case.beside()).collect();
    let exporter = Exporter::start(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let scrape = exporter.until_ready();
    assert_eq!(scrape.value("calico_ippool_hosts_without_block", &[("ippool", "lb")]), Some(0.0));
    let info = scrape.samples.keys().find(|(name, labels)| name == "calico_ippool_info" && labels["ippool"] == "lb");
    assert_eq!(info.unwrap().1["assignment"], "load_balancer");
}

/// A case that no row names would show nothing.
#[test]
fn every_case_has_its_row() {
    for kind in ["cases", "flavours"] {
        for entry in std::fs::read_dir(folder(kind)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(all().any(|case| case.kind == kind && case.folder == name), "{name}");
        }
    }
}
