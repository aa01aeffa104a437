//! Certificates and passwords that run out or are replaced, without a restart.

use std::time::Duration;

use calico_exporter::source::etcd::Probe;
use calico_exporter::source::etcd::settings::{Credentials, Identity, Pem, Settings, Tls};
use etcd_client::{Certificate, Client, ConnectOptions, TlsOptions};

use crate::support::certificates::{CLIENT, Certificates, SERVER};
use crate::support::etcd::{Etcd, block};
use crate::support::follow::{Source, config};

/// As etcd's own user: it has to be let in whatever happens to the exporter's certificate.
fn tests_own(certificates: &Certificates) -> ConnectOptions {
    let tls = TlsOptions::new()
        .ca_certificate(Certificate::from_pem(certificates.read("ca.pem")))
        .identity(etcd_client::Identity::from_pem(certificates.read("own.pem"), certificates.read("own.key")));
    ConnectOptions::new().with_tls(tls)
}

/// An etcd that asks for certificates, and settings that name the files `ca.pem` and `client.{pem,key}`.
async fn guarded(certificates: &Certificates) -> Option<(Etcd, Settings)> {
    certificates.sign("own", CLIENT, 2);
    let files = [("--cert-file", "server.pem"), ("--key-file", "server.key"), ("--trusted-ca-file", "ca.pem")];
    let mut arguments: Vec<String> =
        files.iter().flat_map(|(flag, file)| [(*flag).to_owned(), certificates.path(file)]).collect();
    arguments.push("--client-cert-auth".to_owned());
    let etcd = Etcd::start_with(arguments, tests_own(certificates)).await?;
    let identity = Identity { cert: certificates.pem("client.pem"), key: certificates.pem("client.key") };
    let tls = Tls { ca: Some(certificates.pem("ca.pem")), identity: Some(identity) };
    let settings = Settings { tls, ..etcd.settings() };
    Some((etcd, settings))
}

#[tokio::test]
async fn a_certificate_that_runs_out_is_said_and_its_successor_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let Some(certificates) = Certificates::make(dir.path()) else { return };
    let Some((mut etcd, settings)) = guarded(&certificates).await else { return };
    let (key, value) = block(0, "before");
    etcd.put(&key, &value).await;
    let mut source = Source::start(config(settings));
    source.until_in_sync().await;

    // It runs out; what is connected stays so until etcd goes.
    certificates.sign("client", CLIENT, -1);
    etcd.stop();
    etcd.start_again().await;
    source.until("it is refused", |picture| picture.lost.iter().any(|why| why.contains("TLS"))).await;
    assert!(!source.picture.in_sync && source.picture.has_pod("before"), "{:?}", source.picture.lost);

    // The certificate is there before its key: neither is any use without the other.
    let old = certificates.read("client.key");
    certificates.sign("client", CLIENT, 2);
    let new = certificates.read("client.key");
    std::fs::write(certificates.path("client.key"), old).unwrap();
    let waits = source.until("nothing", |picture| picture.in_sync);
    tokio::time::timeout(Duration::from_secs(3), waits).await.expect_err("they do not fit");
    std::fs::write(certificates.path("client.key"), new).unwrap();
    source.until_in_sync().await;
    let (key, value) = block(1, "after");
    etcd.put(&key, &value).await;
    source.until("it follows again", |picture| picture.has_pod("after")).await;
    source.stop().await;
}

#[tokio::test]
async fn an_etcd_with_a_new_authority_is_trusted_once_the_file_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let Some(certificates) = Certificates::make(dir.path()) else { return };
    let Some((mut etcd, settings)) = guarded(&certificates).await else { return };
    // The exporter's files are its own.
    let own = tempfile::tempdir().unwrap();
    let hand_over = || {
        for file in ["ca.pem", "client.pem", "client.key"] {
            std::fs::copy(certificates.path(file), own.path().join(file)).unwrap();
        }
    };
    let pem = |file: &str| Pem::File { setting: "ETCD_CERT_FILE".to_owned(), path: own.path().join(file) };
    let identity = Identity { cert: pem("client.pem"), key: pem("client.key") };
    let tls = Tls { ca: Some(pem("ca.pem")), identity: Some(identity) };
    hand_over();
    let mut source = Source::start(config(Settings { tls, ..settings }));
    source.until_in_sync().await;
    etcd.stop();
    certificates.renew_authority();
    for name in ["server", "client", "own"] {
        certificates.sign(name, if name == "server" { SERVER } else { CLIENT }, 2);
    }
    etcd.connect_with(tests_own(&certificates));
    etcd.start_again().await;
    source.until("it is not trusted", |picture| picture.lost.iter().any(|why| why.contains("TLS"))).await;
    assert!(!source.picture.in_sync);
    hand_over();
    source.until_in_sync().await;
    source.stop().await;
}

#[tokio::test]
async fn a_password_that_was_changed_is_said_and_read_again() {
    let Some(etcd) = Etcd::start().await else { return };
    let (key, value) = block(0, "before");
    etcd.put(&key, &value).await;
    let mut root: Client = etcd.client().await;
    root.role_add("root").await.unwrap();
    for user in ["root", "reader"] {
        root.user_add(user, "old", None).await.unwrap();
        root.user_grant_role(user, "root").await.unwrap();
    }
    root.auth_enable().await.unwrap();
    let options = ConnectOptions::new().with_user("root", "old");
    let mut root = Client::connect([etcd.url()], Some(options)).await.unwrap();

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "old\n").unwrap();
    let credentials = Some(Credentials::from_file("reader".to_owned(), file.path().to_owned()));
    let mut config = config(Settings { credentials, ..etcd.settings() });
    // A watch that is open stays open: the next question is refused.
    config.probe = Probe { after: Duration::from_millis(300), timeout: Duration::from_secs(2) };
    config.resync = Duration::from_secs(2);
    let mut source = Source::start(config);
    source.until_in_sync().await;
    root.user_change_password("reader", "new").await.unwrap();
    source.until("it is refused", |picture| !picture.in_sync).await;
    assert!(source.picture.has_pod("before"));
    let why = source.picture.lost.join("\n");
    assert!(why.contains("reader") && !why.contains("old\n"), "{why}");
    std::fs::write(file.path(), "new\n").unwrap();
    source.until_in_sync().await;
    let (key, value) = block(1, "after");
    root.put(key, value, None).await.unwrap();
    source.until("it follows again", |picture| picture.has_pod("after")).await;
    source.stop().await;
}
