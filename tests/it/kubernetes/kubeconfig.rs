//! What a kubeconfig says is what is sent, to whom and over what: seen by a server and a proxy of the test's own.

use std::sync::{Arc, Mutex};

use calico_exporter::source::kubernetes::settings::Settings;
use calico_exporter::source::kubernetes::{Config, Reader};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::support::certificates::Certificates;

/// Heads of requests, as they came.
type Heads = Arc<Mutex<Vec<String>>>;

struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Refuses every request, over HTTP/1.1.
async fn refuse(stream: impl AsyncRead + AsyncWrite + Unpin, heads: Heads) {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while let Ok(length) = stream.read_line(&mut head).await {
        if length <= 2 {
            break;
        }
    }
    heads.lock().unwrap().push(head.to_lowercase());
    let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
    let _ = stream.shutdown().await;
}

/// A server at an address, over TLS if it has a certificate. Returns its port.
async fn serve(address: &str, identity: Option<(&Certificates, &str)>) -> Option<(u16, Heads, Task)> {
    let listener = TcpListener::bind((address, 0)).await.ok()?;
    let port = listener.local_addr().unwrap().port();
    let acceptor = identity.map(|(certificates, name)| {
        let chain =
            CertificateDer::pem_slice_iter(&certificates.read(&format!("{name}.pem"))).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(&certificates.read(&format!("{name}.key"))).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    });
    let heads = Heads::default();
    let seen = heads.clone();
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (seen, acceptor) = (seen.clone(), acceptor.clone());
            tokio::spawn(async move {
                match acceptor {
                    None => refuse(stream, seen).await,
                    Some(acceptor) => {
                        let Ok(stream) = acceptor.accept(stream).await else { return };
                        refuse(stream, seen).await;
                    }
                }
            });
        }
    });
    Some((port, heads, Task(task)))
}

/// A proxy that leads whatever is asked for to one port of this host, and what it was asked.
async fn lead(to: u16) -> (u16, Heads, Task) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads = Heads::default();
    let seen = heads.clone();
    let task = tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let seen = seen.clone();
            tokio::spawn(async move {
                let first = client.read_u8().await.unwrap();
                let mut head = vec![first];
                if first == 5 {
                    // SOCKS 5: user and password, then a name or an address.
                    let methods = client.read_u8().await.unwrap();
                    let mut rest = vec![0; usize::from(methods)];
                    client.read_exact(&mut rest).await.unwrap();
                    let method = if rest.contains(&2) { 2 } else { 0 };
                    client.write_all(&[5, method]).await.unwrap();
                    let text = async |client: &mut TcpStream| {
                        let mut text = vec![0; usize::from(client.read_u8().await.unwrap())];
                        client.read_exact(&mut text).await.unwrap();
                        String::from_utf8(text).unwrap()
                    };
                    let mut said = String::new();
                    if method == 2 {
                        assert_eq!(client.read_u8().await.unwrap(), 1);
                        said = format!("{}:{} ", text(&mut client).await, text(&mut client).await);
                        client.write_all(&[1, 0]).await.unwrap();
                    }
                    let mut request = [0; 4];
                    client.read_exact(&mut request).await.unwrap();
                    assert_eq!(request, [5, 1, 0, 3], "a name, which is left to the proxy");
                    said += &text(&mut client).await;
                    let port = client.read_u16().await.unwrap();
                    seen.lock().unwrap().push(format!("{said}:{port}"));
                    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
                } else {
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(client.read_u8().await.unwrap());
                    }
                    seen.lock().unwrap().push(String::from_utf8_lossy(&head).to_lowercase());
                    if !head.starts_with(b"CONNECT") {
                        return refuse(std::io::Cursor::new(head), Heads::default()).await;
                    }
                    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.unwrap();
                }
                let mut server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (port, heads, Task(task))
}

/// A kubeconfig with these fields of the cluster and of the user, read with these variables.
fn read(folder: &std::path::Path, cluster: &str, user: &str, variables: &[(&str, &str)]) -> Result<Settings, String> {
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: t\ncontexts: [{{name: t, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{{cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
    );
    let path = folder.join("kubeconfig");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    let find = |name: &str| match name {
        "KUBECONFIG" => Some(path.clone()),
        name => variables.iter().find(|it| it.0 == name).map(|it| it.1.to_owned()),
    };
    Settings::from_environment(&find).map_err(|error| error.to_string())
}

/// Asks for anything; returns why that failed.
async fn ask(settings: &Settings) -> String {
    Reader::open(&Config::new(settings)).await.err().expect("it refuses all").to_string()
}

fn first(heads: &Heads) -> String {
    heads.lock().unwrap().first().cloned().unwrap_or_default()
}

#[tokio::test]
async fn no_credential_is_sent_in_the_clear() {
    let folder = tempfile::tempdir().unwrap();
    let (port, heads, _task) = serve("127.0.0.1", None).await.unwrap();
    let cluster = format!("server: 'http://127.0.0.1:{port}'");
    for user in ["token: s3cret", "username: me, password: s3cret", "tokenFile: /nowhere"] {
        let settings = read(folder.path(), &cluster, user, &[]).unwrap();
        ask(&settings).await;
        // Nor by whoever has other settings than those of a file.
        let mut given = settings.clone();
        given.user = calico_exporter::source::kubernetes::settings::User::Token("s3cret".to_owned());
        ask(&given).await;
    }
    let heads = heads.lock().unwrap();
    assert!(heads.len() >= 6 && heads.iter().all(|head| !head.contains("authorization")), "{heads:?}");
    let error = read(folder.path(), &cluster, "token: s3cret, as: somebody", &[]).unwrap_err();
    assert!(error.contains("http://") && error.contains("as"), "{error}");
}

#[tokio::test]
async fn whom_to_act_as_is_said_and_the_server_is_known_by_the_name_given() {
    let folder = tempfile::tempdir().unwrap();
    let Some(certificates) = Certificates::make(folder.path()) else { return };
    certificates.sign("named", "subjectAltName=DNS:api.example.org\nextendedKeyUsage=serverAuth\n", 2);
    let (port, heads, _task) = serve("127.0.0.1", Some((&certificates, "named"))).await.unwrap();
    let ca = certificates.path("ca.pem");
    let cluster = format!("server: 'https://127.0.0.1:{port}', certificate-authority: '{ca}'");
    let named = format!("{cluster}, tls-server-name: api.example.org, disable-compression: true");
    let user =
        "token: t0ken, as: jane, as-uid: '7', as-groups: [dev, ops], as-user-extra: {'example.org/scope': [a, b]}";
    let error = ask(&read(folder.path(), &cluster, user, &[]).unwrap()).await;
    assert!(error.contains("no TLS session"), "{error}");
    let error = ask(&read(folder.path(), &named, user, &[]).unwrap()).await;
    assert!(!error.contains("TLS"), "{error}");
    let head = first(&heads);
    for line in [
        "authorization: bearer t0ken",
        "impersonate-user: jane",
        "impersonate-uid: 7",
        "impersonate-group: dev",
        "impersonate-group: ops",
        "impersonate-extra-example.org%2fscope: a",
        "impersonate-extra-example.org%2fscope: b",
    ] {
        assert!(head.contains(&format!("{line}\r\n")), "{line}: {head}");
    }
    assert!(!head.contains("accept-encoding"), "{head}");
    let error = read(folder.path(), &cluster, "token: t, as-groups: [admins]", &[]).unwrap_err();
    assert!(error.contains("as-groups"), "{error}");
}

#[tokio::test]
async fn every_kind_of_proxy_leads_to_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let Some(certificates) = Certificates::make(folder.path()) else { return };
    certificates.sign("named", "subjectAltName=DNS:api.example.org\nextendedKeyUsage=serverAuth\n", 2);
    let (port, heads, _task) = serve("127.0.0.1", Some((&certificates, "named"))).await.unwrap();
    let (proxy, asked, _proxy) = lead(port).await;
    let ca = certificates.path("ca.pem");
    let cluster = format!("server: 'https://api.example.org:6443', certificate-authority: '{ca}'");
    // A name that only the proxy knows.
    let url = |scheme: &str| format!("{scheme}://me:p%40ss@127.0.0.1:{proxy}");
    for (field, variables, connects) in [
        (format!(", proxy-url: '{}'", url("http")), vec![], "connect api.example.org:6443 http/1.1\r\n"),
        (String::new(), vec![("HTTPS_PROXY", url("http"))], "connect api.example.org:6443 http/1.1\r\n"),
        (
            format!(", proxy-url: '{}'", url("socks5")),
            vec![("HTTPS_PROXY", "http://127.0.0.1:1".to_owned())],
            "me:p@ss api.example.org:6443",
        ),
    ] {
        asked.lock().unwrap().clear();
        heads.lock().unwrap().clear();
        let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let settings = read(folder.path(), &format!("{cluster}{field}"), "token: t0ken", &variables).unwrap();
        assert!(!format!("{settings:?}").contains("p@ss"), "{settings:?}");
        ask(&settings).await;
        assert!(first(&asked).starts_with(connects), "{:?}", asked.lock().unwrap());
        if connects.starts_with("connect") {
            assert!(first(&asked).contains("proxy-authorization: basic bwu6cebzcw==\r\n"), "{}", first(&asked));
        }
        assert!(!first(&asked).contains("t0ken"), "the proxy sees no token");
        assert!(first(&heads).contains("authorization: bearer t0ken"), "{:?}", heads.lock().unwrap());
    }
    // Without TLS the proxy is asked for the page itself.
    asked.lock().unwrap().clear();
    let variables = [("HTTP_PROXY", url("http"))];
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    ask(&read(folder.path(), "server: 'http://api.example.org:8080'", "token: t0ken", &variables).unwrap()).await;
    let head = first(&asked);
    assert!(head.starts_with("get http://api.example.org:8080/apis http/1.1\r\n") && !head.contains("t0ken"), "{head}");
    // Nobody asks for it where NO_PROXY names it: then the name is not known.
    asked.lock().unwrap().clear();
    let both = [("HTTPS_PROXY", "http://127.0.0.1:1"), ("NO_PROXY", "10.0.0.0/8,.example.org")];
    let settings = read(folder.path(), &cluster, "token: t0ken", &both).unwrap();
    assert_eq!(settings.proxy, None);
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (port, _heads, _task) = serve("127.0.0.1", None).await.unwrap();
    let cluster = format!("server: 'https://api.example.org:6443', proxy-url: 'http://u:s3cret@127.0.0.1:{port}'");
    let error = ask(&read(folder.path(), &cluster, "token: t", &[]).unwrap()).await;
    assert!(error.contains("proxy 127.0.0.1") && error.contains("404") && !error.contains("s3cret"), "{error}");
    let error = read(folder.path(), "server: 'https://a', proxy-url: 'ftp://u:s3cret@p'", "token: t", &[]).unwrap_err();
    assert!(error.contains("proxy-url") && !error.contains("s3cret"), "{error}");
}

#[tokio::test]
async fn a_server_may_have_an_ipv6_address() {
    let folder = tempfile::tempdir().unwrap();
    let Some(certificates) = Certificates::make(folder.path()) else { return };
    certificates.sign("six", "subjectAltName=IP:::1\nextendedKeyUsage=serverAuth\n", 2);
    let Some((port, heads, _task)) = serve("::1", Some((&certificates, "six"))).await else { return };
    let ca = certificates.path("ca.pem");
    let cluster = format!("server: 'https://[::1]:{port}', certificate-authority: '{ca}'");
    let error = ask(&read(folder.path(), &cluster, "token: t0ken", &[]).unwrap()).await;
    let head = first(&heads);
    assert!(head.contains(&format!("host: [::1]:{port}\r\n")) && head.contains("bearer t0ken"), "{error} {head}");
}

#[test]
fn what_is_not_understood_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let good = "server: 'https://a:1'";
    for (cluster, user, named) in [
        ("server: 'https://a:1', certificate-authoritty: /ca", "token: s3cret", "certificate-authoritty"),
        (good, "token: s3cret, tokne: s3cret", "tokne"),
        (good, "token: s3cret, as-group: [a]", "as-group"),
        (good, "exec: {apiVersion: client.authentication.k8s.io/v1, command: a, stdin: s3cret}", "stdin"),
        (
            good,
            "exec: {apiVersion: client.authentication.k8s.io/v1, command: a, env: [{name: a, valeu: s3cret}]}",
            "valeu",
        ),
    ] {
        let error = read(folder.path(), cluster, user, &[]).unwrap_err();
        assert!(error.contains(&format!("{named:?}")) && !error.contains("s3cret"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    let understood = "server: 'https://a:1', extensions: [{name: minikube}]";
    read(folder.path(), understood, "token: s3cret, extensions: []", &[]).unwrap();
}
