//! How etcd is reached may be said in three ways: flags, Calico's own environment, a calicoctl.cfg.

use etcd_client::{Certificate, Client, ConnectOptions, Identity, Permission, TlsOptions};

use crate::support::calico::pool;
use crate::support::certificates::Certificates;
use crate::support::etcd::Etcd;
use crate::support::exporter::{Exporter, program};

const PASSWORD: &str = "a word that nobody is told";

/// An etcd that asks for a certificate and for a user, who may read what Calico wrote and nothing else.
async fn guarded(certificates: &Certificates) -> Option<Etcd> {
    let arguments = [("--cert-file", "server.pem"), ("--key-file", "server.key"), ("--trusted-ca-file", "ca.pem")];
    let mut arguments: Vec<String> =
        arguments.iter().flat_map(|(flag, file)| [(*flag).to_owned(), certificates.path(file)]).collect();
    arguments.push("--client-cert-auth".to_owned());
    let client = ["client.pem", "client.key"].map(|file| certificates.read(file));
    let tls = TlsOptions::new()
        .ca_certificate(Certificate::from_pem(certificates.read("ca.pem")))
        .identity(Identity::from_pem(&client[0], &client[1]));
    let etcd = Etcd::start_with(arguments, ConnectOptions::new().with_tls(tls)).await?;
    let (key, value) = pool("main", "10.65.0.0/16", 26, "Always", "Never");
    etcd.put(&key, &value).await;
    let mut root: Client = etcd.client().await;
    root.role_add("root").await.unwrap();
    root.user_add("root", "secret", None).await.unwrap();
    root.user_grant_role("root", "root").await.unwrap();
    root.role_add("reader").await.unwrap();
    root.role_grant_permission("reader", Permission::read("/calico/").with_prefix()).await.unwrap();
    root.user_add("reader", PASSWORD, None).await.unwrap();
    root.user_grant_role("reader", "reader").await.unwrap();
    root.auth_enable().await.unwrap();
    Some(etcd)
}

#[tokio::test]
async fn flags_environment_and_calicoctls_file_all_let_it_in() {
    let dir = tempfile::tempdir().unwrap();
    let Some(certificates) = Certificates::make(dir.path()) else { return };
    let Some(etcd) = guarded(&certificates).await else { return };
    let url = etcd.url();
    let [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map(|file| certificates.path(file));
    let password = dir.path().join("password");
    std::fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    let config = dir.path().join("calicoctl.cfg");
    let spec = format!(
        "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\nspec:\n  datastoreType: etcdv3\n  etcdEndpoints: {url}\n  etcdUsername: reader\n  etcdPassword: {PASSWORD}\n  etcdCACertFile: {ca}\n  etcdCertFile: {cert}\n  etcdKeyFile: {key}\n"
    );
    std::fs::write(&config, spec).unwrap();
    let flags = [
        "--etcd.endpoints",
        &url,
        "--etcd.username",
        "reader",
        "--etcd.password-file",
        password.to_str().unwrap(),
        "--etcd.ca-file",
        &ca,
        "--etcd.cert-file",
        &cert,
        "--etcd.key-file",
        &key,
    ];
    let file = ["--calico.config", config.to_str().unwrap()];
    let environment = [
        ("ETCD_ENDPOINTS", url.as_str()),
        ("ETCD_USERNAME", "reader"),
        ("ETCD_PASSWORD", PASSWORD),
        ("ETCD_CA_CERT_FILE", &ca),
        ("ETCD_CERT_FILE", &cert),
        ("ETCD_KEY_FILE", &key),
        ("NODENAME", "h1"),
    ];
    // A variable of Calico's that is wrong is overruled by a flag, and ignored beside a file.
    let wrong = [("ETCD_ENDPOINTS", "https://127.0.0.1:1"), ("ETCD_USERNAME", "nobody"), ("NODENAME", "h1")];
    for (variables, arguments) in [(&wrong[..], &flags[..]), (&environment, &[]), (&wrong, &file)] {
        let prepared = || {
            let mut command = program();
            command.envs(variables.iter().copied());
            command
        };
        let exporter = Exporter::spawn(prepared(), &[arguments, &["--no-collector.routes"]].concat());
        let scrape = exporter.until_ready();
        assert!(scrape.names().contains("calico_ippool_info"), "{arguments:?}");
        let check = prepared().arg("check").args(arguments).arg("--no-collector.routes").output().unwrap();
        assert_eq!(check.status.code(), Some(0), "{arguments:?}: {check:?}");
        assert!(!exporter.log().contains(PASSWORD));
    }
    let strangers = [&flags[..2], &flags[6..]].concat();
    let refused = program().arg("check").args(&strangers).arg("--no-collector.routes").output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.lines().count() == 1 && said.contains("without user"), "{said}");
}
