//! Being let in: users, roles, TLS, several endpoints; and what is said to whom is not.

use std::time::Duration;

use calico_exporter::model::EndpointId;
use calico_exporter::source::etcd::settings::{self, Credentials, Pem, Settings, Tls};
use calico_exporter::source::etcd::{EtcdError, Timeouts, snapshot};
use etcd_client::{Certificate, ConnectOptions, Identity, Permission, TlsOptions};

use crate::support::certificates::Certificates;
use crate::support::etcd::{Etcd, block, free_port, settings};
use crate::support::follow::{Source, config};

fn with_user(etcd: &Etcd, name: &str, password: &str) -> Settings {
    Settings { credentials: Credentials::new(name.to_owned(), password.to_owned()), ..etcd.settings() }
}

async fn refusal(settings: Settings) -> EtcdError {
    snapshot(&settings, Timeouts::default()).await.expect_err("it is refused")
}

#[tokio::test]
async fn a_user_who_may_read_calico_is_all_that_it_takes() {
    let Some(etcd) = Etcd::start().await else { return };
    let (key, value) = block(0, "first");
    etcd.put(&key, &value).await;
    let mut root = etcd.client().await;
    root.role_add("root").await.unwrap();
    root.user_add("root", "secret", None).await.unwrap();
    root.user_grant_role("root", "root").await.unwrap();
    root.role_add("reader").await.unwrap();
    root.role_grant_permission("reader", Permission::read("/calico/").with_prefix()).await.unwrap();
    root.user_add("reader", "pass", None).await.unwrap();
    root.user_grant_role("reader", "reader").await.unwrap();
    root.user_add("stranger", "pass", None).await.unwrap();

    // A user and password are no obstacle where etcd asks for none.
    assert!(snapshot(&with_user(&etcd, "reader", "pass"), Timeouts::default()).await.is_ok());

    root.auth_enable().await.unwrap();
    let mut source = Source::start(config(with_user(&etcd, "reader", "pass")));
    source.until_in_sync().await;
    assert!(source.picture.has_pod("first"));
    let options = ConnectOptions::new().with_user("root", "secret");
    let mut root = etcd_client::Client::connect([etcd.url()], Some(options)).await.unwrap();
    let (key, value) = block(1, "second");
    root.put(key, value, None).await.unwrap();
    source.until("the watch is allowed, too", |picture| picture.has_pod("second")).await;
    source.stop().await;

    let denied = refusal(with_user(&etcd, "stranger", "pass")).await;
    assert!(matches!(denied, EtcdError::Denied { .. }), "{denied}");
    assert!(denied.to_string().contains("user stranger") && denied.to_string().contains("read on the prefix /calico/"));
    let wrong = refusal(with_user(&etcd, "reader", "wrong")).await;
    assert!(matches!(wrong, EtcdError::Credentials { .. }), "{wrong}");
    let nobody = refusal(etcd.settings()).await;
    assert!(matches!(nobody, EtcdError::Credentials { .. }), "{nobody}");
    assert!(nobody.to_string().contains("without user"), "{nobody}");

    // A permission that comes later is noticed.
    let mut source = Source::start(config(with_user(&etcd, "stranger", "pass")));
    source.until("the refusal is said", |picture| !picture.lost.is_empty()).await;
    assert!(source.picture.lost[0].contains("user stranger"), "{:?}", source.picture.lost);
    root.user_grant_role("stranger", "reader").await.unwrap();
    source.until_in_sync().await;
    source.stop().await;
}

#[tokio::test]
async fn a_token_that_expires_is_replaced_without_a_loss() {
    let second = vec!["--auth-token-ttl".to_owned(), "1".to_owned()];
    let Some(etcd) = Etcd::start_with(second, ConnectOptions::new()).await else { return };
    let mut root = etcd.client().await;
    root.role_add("root").await.unwrap();
    root.user_add("root", "secret", None).await.unwrap();
    root.user_grant_role("root", "root").await.unwrap();
    root.auth_enable().await.unwrap();
    let mut config = config(with_user(&etcd, "root", "secret"));
    config.resync = Duration::from_secs(3);
    let mut source = Source::start(config);
    source.until("three lists", |picture| picture.syncs >= 3).await;
    // By now the token of the last list is old again.
    tokio::time::sleep(Duration::from_secs(2)).await;
    source.look_up(EndpointId::of_pod("node-a", "default", "web-0")).await;
    source.until("an answer", |picture| picture.deletions == 1).await;
    assert!(source.picture.lost.is_empty(), "{:?}", source.picture.lost);
    source.stop().await;
}

#[tokio::test]
async fn tls_with_a_certificate_of_ones_own() {
    let dir = tempfile::tempdir().unwrap();
    let Some(certificates) = Certificates::make(dir.path()) else { return };
    let arguments = [("--cert-file", "server.pem"), ("--key-file", "server.key"), ("--trusted-ca-file", "ca.pem")];
    let mut arguments: Vec<String> =
        arguments.iter().flat_map(|(flag, file)| [(*flag).to_owned(), certificates.path(file)]).collect();
    arguments.push("--client-cert-auth".to_owned());
    let client = ["client.pem", "client.key"].map(|file| certificates.read(file));
    let options = TlsOptions::new()
        .ca_certificate(Certificate::from_pem(certificates.read("ca.pem")))
        .identity(Identity::from_pem(&client[0], &client[1]));
    let Some(etcd) = Etcd::start_with(arguments, ConnectOptions::new().with_tls(options)).await else { return };
    let (key, value) = block(0, "first");
    etcd.put(&key, &value).await;

    let ca = Some(certificates.pem("ca.pem"));
    let identity = Some(settings::Identity {
        cert: certificates.pem("client.pem"),
        key: Pem::Inline(certificates.read("client.key")),
    });
    let with = |ca: &Option<Pem>, identity: &Option<settings::Identity>| Settings {
        tls: Tls { ca: ca.clone(), identity: identity.clone() },
        ..etcd.settings()
    };
    let mut source = Source::start(config(with(&ca, &identity)));
    source.until_in_sync().await;
    assert!(source.picture.has_pod("first"));
    source.stop().await;

    // Without a scheme, certificates mean https.
    let mut bare = with(&ca, &identity);
    bare.endpoints = vec![format!("127.0.0.1:{}", etcd.port())];
    assert!(snapshot(&bare, Timeouts::default()).await.is_ok());

    let error = refusal(with(&ca, &None)).await;
    assert!(matches!(error, EtcdError::Tls { .. }), "no certificate of ours: {error}");
    let error = refusal(with(&None, &identity)).await;
    assert!(matches!(error, EtcdError::Tls { .. }), "only the system's CAs: {error}");
    let elsewhere = tempfile::tempdir().unwrap();
    let Some(others) = Certificates::make(elsewhere.path()) else { return };
    let other = Some(others.pem("ca.pem"));
    let error = refusal(with(&other, &identity)).await;
    assert!(matches!(error, EtcdError::Tls { .. }), "another CA: {error}");
    drop(elsewhere);
    let error = refusal(with(&other, &identity)).await;
    assert!(matches!(error, EtcdError::Settings(_)), "a file that is gone: {error}");
    let error = refusal(settings(vec![format!("http://127.0.0.1:{}", etcd.port())])).await;
    assert!(matches!(error, EtcdError::Unreachable { .. }) && error.to_string().contains("https://"), "{error}");
}

#[tokio::test]
async fn one_endpoint_of_several_is_enough() {
    let Some(etcd) = Etcd::start().await else { return };
    let (key, value) = block(0, "first");
    etcd.put(&key, &value).await;
    let dead = format!("http://127.0.0.1:{}", free_port());
    let settings_of_three = settings(vec![dead.clone(), format!("127.0.0.1:{}", etcd.port()), dead]);
    for _ in 0..5 {
        assert!(snapshot(&settings_of_three, Timeouts::default()).await.is_ok());
        let mut source = Source::start(config(settings_of_three.clone()));
        source.until_in_sync().await;
        source.stop().await;
    }
    let error = refusal(settings(vec!["http://no such host".to_owned()])).await;
    assert!(matches!(error, EtcdError::Settings(_)), "{error}");
    let error = refusal(settings(Vec::new())).await;
    assert!(matches!(error, EtcdError::Settings(_)), "{error}");
}
