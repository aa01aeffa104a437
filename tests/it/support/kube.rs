//! A real API server for one test: Kubernetes' own code (`tests/kube-apiserver`) over a real etcd, on free ports, with
//! Calico's custom resources, one writer and one reader. Gone when the test ends.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use calico_exporter::source::etcd::settings::Pem;
use calico_exporter::source::kubernetes::Resource;
use calico_exporter::source::kubernetes::settings::{Settings, Tls, User};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde::Deserialize as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::etcd::{DEADLINE, Etcd, free_port};
use super::{repository, tool};

/// The two forms of Calico's API.
pub(crate) const V1: &str = "crd.projectcalico.org/v1";
pub(crate) const V3: &str = "projectcalico.org/v3";

/// Calico's resources: plural, kind, and the groups that have them.
const RESOURCES: [(&str, &str, &[&str]); 12] = [
    ("ipamblocks", "IPAMBlock", &[V1, V3]),
    ("blockaffinities", "BlockAffinity", &[V1, V3]),
    ("ipamhandles", "IPAMHandle", &[V1, V3]),
    ("ipamconfigs", "IPAMConfig", &[V1]),
    ("ipamconfigurations", "IPAMConfiguration", &[V3]),
    ("ippools", "IPPool", &[V1, V3]),
    ("ipreservations", "IPReservation", &[V1, V3]),
    ("felixconfigurations", "FelixConfiguration", &[V1, V3]),
    ("bgpconfigurations", "BGPConfiguration", &[V1, V3]),
    ("bgppeers", "BGPPeer", &[V1, V3]),
    ("clusterinformations", "ClusterInformation", &[V1, V3]),
    ("kubecontrollersconfigurations", "KubeControllersConfiguration", &[V1, V3]),
];

/// The reader's first token; the others are accepted in its place after [`ApiServer::accept_token`].
pub(crate) const TOKEN: &str = "reader-token";
const WRITER: &str = "writer-token";

pub(crate) struct ApiServer {
    pub(crate) etcd: Etcd,
    program: PathBuf,
    dir: TempDir,
    port: u16,
    child: Option<Child>,
    /// The writer's.
    connection: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

/// The program, where it was built. Where it was not, the test is to return, unless somebody promised that it is there.
fn program() -> Option<PathBuf> {
    let built = repository("target/kube-apiserver");
    if built.is_file() {
        return Some(built);
    }
    assert!(std::env::var_os("CALICO_EXPORTER_TEST_KUBERNETES").is_none(), "{} is missing", built.display());
    eprintln!("\n!!! SKIPPED: no target/kube-apiserver (make kube-apiserver), this test shows nothing !!!\n");
    None
}

/// The rules of a ClusterRole in `deploy/`, apart from these resources.
pub(crate) fn shipped_rules(role: &str, without: &[&str]) -> Value {
    let text = std::fs::read_to_string(repository("deploy/kubernetes-datastore/rbac.yaml")).unwrap();
    let documents = serde_yaml_ng::Deserializer::from_str(&text).map(|it| Value::deserialize(it).unwrap());
    let is_it = |it: &Value| it["kind"] == "ClusterRole" && it["metadata"]["name"] == role;
    let mut rules = documents.into_iter().find(is_it).unwrap()["rules"].take();
    for rule in rules.as_array_mut().unwrap() {
        let resources = rule["resources"].as_array_mut().unwrap();
        resources.retain(|resource| !without.contains(&resource.as_str().unwrap()));
    }
    rules.as_array_mut().unwrap().retain(|rule| !rule["resources"].as_array().unwrap().is_empty());
    rules
}

/// Where such objects are created.
pub(crate) fn folder(item: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (resource, group) = Resource::identify(&text(&item["apiVersion"]), &text(&item["kind"])).unwrap();
    match resource {
        Resource::Pods => format!("/api/v1/namespaces/{}/pods", text(&item["metadata"]["namespace"])),
        resource => resource.path(group),
    }
}

/// Where such an object is.
pub(crate) fn path(item: &Value) -> String {
    format!("{}/{}", folder(item), item["metadata"]["name"].as_str().unwrap())
}

/// An object without what the server says of it.
fn as_recorded(item: &Value) -> Value {
    let mut object = item.clone();
    let meta = object["metadata"].as_object_mut().unwrap();
    for field in ["resourceVersion", "uid", "managedFields", "creationTimestamp", "generation"] {
        meta.remove(field);
    }
    object
}

impl ApiServer {
    /// Starts one with the resources of a group and a reader that may read them. `None` where there is none to start.
    pub(crate) async fn start(group: &str) -> Option<ApiServer> {
        let server = ApiServer::bare().await?;
        server.add_resources(group).await;
        server.permit(&server.rules(&[])).await;
        Some(server)
    }

    /// Starts one that knows nothing of Calico.
    pub(crate) async fn bare() -> Option<ApiServer> {
        let (program, openssl) = (program()?, tool("openssl")?);
        let etcd = Etcd::start().await?;
        let dir = tempfile::tempdir().unwrap();
        let key = Command::new(openssl).args(["genrsa", "-out", "key.pem", "2048"]).current_dir(dir.path()).output();
        assert!(key.unwrap().status.success());
        let policy = json!({
            "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
            "rules": [{"level": "Metadata", "users": ["calico-exporter"]}],
        });
        std::fs::write(dir.path().join("policy.json"), policy.to_string()).unwrap();
        let mut server = ApiServer { etcd, program, dir, port: free_port(), child: None, connection: Mutex::default() };
        server.accept_token(TOKEN);
        server.start_again().await;
        Some(server)
    }

    /// From the next start on, this is the reader's token.
    pub(crate) fn accept_token(&self, token: &str) {
        let tokens = format!("{WRITER},writer,1,\"system:masters\"\n{token},calico-exporter,2,\"\"\n");
        std::fs::write(self.path("tokens.csv"), tokens).unwrap();
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From the next start on it listens elsewhere. Returns where it did.
    pub(crate) fn move_away(&mut self) -> u16 {
        std::mem::replace(&mut self.port, free_port())
    }

    /// From the next start on it listens there.
    pub(crate) fn move_to(&mut self, port: u16) {
        self.port = port;
    }

    /// Kills it. What it had answered is in etcd.
    pub(crate) fn stop(&mut self) {
        *self.connection.get_mut() = None;
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it on the same port, over the same etcd, and waits until it is ready.
    pub(crate) async fn start_again(&mut self) {
        let log = std::fs::File::create(self.path("log")).unwrap();
        let at = |file: &str| self.path(file).display().to_string();
        let child = Command::new(&self.program)
            .args(["--etcd-servers", &self.etcd.url(), "--etcd-compaction-interval", "0"])
            .args(["--bind-address", "127.0.0.1", "--secure-port", &self.port.to_string(), "--cert-dir", &at("certs")])
            .args(["--service-account-issuer", "https://kubernetes.default.svc"])
            .args(["--service-account-key-file", &at("key.pem"), "--service-account-signing-key-file", &at("key.pem")])
            .args(["--token-auth-file", &at("tokens.csv"), "--authorization-mode", "RBAC"])
            .args(["--audit-policy-file", &at("policy.json"), "--audit-log-path", &at("audit.log")])
            .args(["--service-cluster-ip-range", "10.96.0.0/16", "--endpoint-reconciler-type", "none"])
            .args(["--disable-admission-plugins", "ServiceAccount"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let started = Instant::now();
        while self.try_send("GET", "/readyz", None).await.is_none_or(|(code, _)| code != 200) {
            assert!(
                started.elapsed() < DEADLINE * 2,
                "the API server is not ready:\n{}",
                std::fs::read_to_string(self.path("log")).unwrap()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Settings that reach it as the reader, whose token is in this file.
    pub(crate) fn settings(&self) -> Settings {
        std::fs::write(self.path("token"), TOKEN).unwrap();
        let ca = Pem::File { setting: "K8S_CA_FILE".to_owned(), path: self.path("certs/apiserver.crt") };
        Settings {
            server: format!("https://127.0.0.1:{}", self.port).parse().unwrap(),
            tls: Tls { ca: Some(ca), ..Tls::default() },
            user: User::TokenFile(self.path("token")),
            ..Settings::default()
        }
    }

    /// The same as a kubeconfig; returns its path.
    pub(crate) fn kubeconfig(&self) -> String {
        self.settings();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "c", "cluster": {
                "server": format!("https://127.0.0.1:{}", self.port), "certificate-authority": "certs/apiserver.crt"}}],
            "users": [{"name": "u", "user": {"tokenFile": "token"}}],
            "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u"}}],
        });
        let path = self.path("kubeconfig");
        std::fs::write(&path, config.to_string()).unwrap();
        path.display().to_string()
    }

    /// Defines a group's resources and waits until all are served.
    pub(crate) async fn add_resources(&self, group: &str) {
        let (name, version) = group.split_once('/').unwrap();
        let there = || RESOURCES.into_iter().filter(|(_, _, groups)| groups.contains(&group));
        for (plural, kind, _) in there() {
            let definition = json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": format!("{plural}.{name}"), "annotations": {
                    "api-approved.kubernetes.io": "unapproved, a test's own"}},
                "spec": {
                    "group": name, "scope": "Cluster",
                    "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
                    "versions": [{"name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                        "type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
                },
            });
            self.send("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await;
        }
        let started = Instant::now();
        for (plural, _, _) in there() {
            let path = format!("/apis/{group}/{plural}");
            while self.try_send("GET", &path, None).await.is_none_or(|(code, _)| code != 200) {
                assert!(started.elapsed() < DEADLINE, "{plural} is not served");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// What the manifests give the IPAM collector, which reads most, apart from `without`.
    pub(crate) fn rules(&self, without: &[&str]) -> Value {
        shipped_rules("calico-exporter-ipam", without)
    }

    /// What the reader may do.
    pub(crate) async fn permit(&self, rules: &Value) {
        const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
        let meta = json!({"name": "calico-exporter"});
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": meta, "rules": rules});
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": meta,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "calico-exporter"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "calico-exporter"}],
        });
        for (plural, object) in [("clusterroles", role), ("clusterrolebindings", binding)] {
            let path = format!("{RBAC}/{plural}");
            if self.try_send("POST", &path, Some(&object)).await.is_none_or(|(code, _)| code != 201) {
                self.send("PUT", &format!("{path}/calico-exporter"), &object).await;
            }
        }
    }

    /// Creates what a recorded list holds, status included.
    pub(crate) async fn create_all(&self, path: &str, list: &Value) {
        for item in list["items"].as_array().unwrap() {
            self.create(path, item).await;
        }
    }

    /// Creates an object as it was recorded.
    pub(crate) async fn create(&self, path: &str, item: &Value) -> Value {
        let created = self.send("POST", path, &as_recorded(item)).await;
        let name = created["metadata"]["name"].as_str().unwrap().to_owned();
        self.complete(&format!("{path}/{name}"), created, item).await
    }

    /// Makes an object that there is one as it was recorded.
    pub(crate) async fn replace(&self, path: &str, item: &Value) -> Value {
        let before = self.send("GET", path, &Value::Null).await;
        let mut object = as_recorded(item);
        object["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
        let replaced = self.send("PUT", path, &object).await;
        self.complete(path, replaced, item).await
    }

    /// Writes the status of what was written, where that is apart.
    async fn complete(&self, path: &str, mut written: Value, item: &Value) -> Value {
        if !path.starts_with("/api/v1") || item.get("status").is_none() {
            return written;
        }
        written["status"] = item["status"].clone();
        self.send("PUT", &format!("{path}/status"), &written).await
    }

    /// Creates a namespace, unless it is there.
    pub(crate) async fn ensure_namespace(&self, name: &str) {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let created = self.try_send("POST", "/api/v1/namespaces", Some(&namespace)).await;
        assert!(matches!(created, Some((201 | 409, _))), "{created:?}");
    }

    /// Changes part of an object.
    pub(crate) async fn patch(&self, path: &str, change: &Value) -> Value {
        self.send("PATCH", path, change).await
    }

    pub(crate) async fn delete(&self, path: &str) {
        // A Pod would wait for its kubelet.
        self.send("DELETE", path, &json!({"gracePeriodSeconds": 0})).await;
    }

    /// Asks as the writer, which has to succeed.
    pub(crate) async fn send(&self, method: &str, path: &str, body: &Value) -> Value {
        let (code, answer) = self.try_send(method, path, Some(body)).await.expect("the API server answers");
        assert!((200..300).contains(&code), "{method} {path}: {code} {answer}");
        answer
    }

    async fn try_send(&self, method: &str, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
        let mut kept = self.connection.lock().await;
        if kept.as_ref().is_none_or(SendRequest::is_closed) {
            *kept = Some(self.connect().await?);
        }
        let sender = kept.as_mut()?;
        sender.ready().await.ok()?;
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "127.0.0.1")
            .header("authorization", format!("Bearer {WRITER}"))
            .header("content-type", kind)
            .body(Full::new(body.map(|it| Bytes::from(it.to_string())).unwrap_or_default()))
            .unwrap();
        let answer = sender.send_request(request).await.ok()?;
        let code = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.ok()?.to_bytes();
        Some((code, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }

    async fn connect(&self) -> Option<SendRequest<Full<Bytes>>> {
        let pem = std::fs::read(self.path("certs/apiserver.crt")).ok()?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate.ok()?).ok()?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.ok()?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.ok()?;
        tokio::spawn(connection);
        Some(sender)
    }

    /// What the reader has asked so far: verb, resource and code, by the server's own audit log.
    pub(crate) fn audited(&self) -> Vec<(String, String, u64)> {
        self.entries()
            .into_iter()
            .map(|entry| {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let code = entry["responseStatus"]["code"].as_u64().unwrap_or_default();
                (text(&entry["verb"]), text(&entry["objectRef"]["resource"]), code)
            })
            .collect()
    }

    /// The same as paths with their queries; a watch is there once when it begins.
    pub(crate) fn asked(&self) -> Vec<String> {
        let began = |entry: &Value| entry["verb"] != "watch" || entry["stage"] == "ResponseStarted";
        let entries = self.entries().into_iter().filter(began);
        entries.map(|entry| entry["requestURI"].as_str().unwrap_or_default().to_owned()).collect()
    }

    fn entries(&self) -> Vec<Value> {
        let log = std::fs::read_to_string(self.path("audit.log")).unwrap_or_default();
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop();
    }
}
