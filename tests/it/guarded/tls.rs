//! TLS: what is spoken, and that certificates and the file may change under it.

use std::process::{Command, Stdio};
use std::time::SystemTime;

use calico_exporter::metrics::Format;

use super::{CERTIFICATE, DUMP, Guarded, eventually, refused};
use crate::exposition::parse;
use crate::support::certificates::{CLIENT, SERVER};
use crate::support::exporter::{Exporter, run};
use crate::support::tool;

const PAGES: [&str; 6] = ["/metrics", "/", "/healthz", "/readyz", "/style.css", "/api/v1/findings"];

/// openssl's client, told to speak so; whether it shook hands, and what it wrote.
fn s_client(guarded: &Guarded, words: &[&str]) -> (bool, String) {
    let output = Command::new(tool("openssl").unwrap())
        .args(["s_client", "-connect", &guarded.exporter().address().to_string(), "-CAfile", "ca.pem", "-brief"])
        .args(words)
        .current_dir(guarded.dir.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (said.contains("CONNECTION ESTABLISHED"), said)
}

#[test]
fn everything_is_served_over_tls_and_nothing_without() {
    let Some(guarded) = Guarded::start(CERTIFICATE) else { return };
    eventually("it is ready", || guarded.https(&[], "/readyz").status == 200);
    for path in PAGES {
        let got = guarded.https(&[], path);
        assert_eq!((got.status, got.version.as_str()), (200, "2"), "{path}: {}", got.said);
        assert_eq!(guarded.https(&["--http1.1"], path).version, "1.1");
        let plain = guarded.http(&[], path);
        assert_eq!(plain.status, 400, "{path}");
        assert!(plain.body.contains("HTTPS"), "{}", plain.body);
    }
    assert!(guarded.https(&["--compressed"], "/metrics").body.contains("calico_ippool_info{"));
    let head = guarded.https(&["--head"], "/metrics");
    assert!(head.status == 200 && head.head.contains("content-length"), "{head:?}");
    assert!(!head.body.contains("calico_"), "{}", head.body);
    // Each answer arrives, whatever of the body is still on its way when it is given.
    std::fs::write(guarded.dir.path().join("body"), [b'x'; 50_000]).unwrap();
    for body in ["x=y", "@body"].repeat(10) {
        let got = guarded.https(&["-d", body], "/metrics");
        assert_eq!(got.status, 405, "{body}: {}", got.said);
    }
    assert_eq!(guarded.https(&["-X", "GET", "-d", "x=y"], "/metrics").status, 413);
    assert_eq!(guarded.https(&["--http1.1", "-X", "GET", "-d", "x=y"], "/metrics").status, 413);
    // Somebody who does not trust the CA is not served.
    assert_eq!(guarded.curl(&[], &guarded.url("https", "/metrics")).status, 0);
    assert!(guarded.exporter().log().contains("address=https://127.0.0.1:"), "{}", guarded.exporter().log());
}

#[test]
fn versions_suites_and_curves_are_those_of_the_file() {
    let Some(mut guarded) = Guarded::start(&format!("{CERTIFICATE}  min_version: TLS13\n")) else { return };
    assert!(!s_client(&guarded, &["-tls1_2"]).0 && s_client(&guarded, &["-tls1_3"]).0);
    let old = "  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]\n  curve_preferences: [CurveP384, CurveP521]\n";
    guarded.serve(&format!("{CERTIFICATE}{old}http_server_config:\n  http2: false\n"));
    let (shaken, said) = s_client(&guarded, &["-tls1_2"]);
    assert!(shaken && said.contains("ECDHE-ECDSA-AES256-GCM-SHA384") && said.contains("secp384r1"), "{said}");
    assert!(!s_client(&guarded, &["-tls1_3"]).0);
    assert!(!s_client(&guarded, &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"]).0);
    assert!(!s_client(&guarded, &["-tls1_2", "-curves", "X25519"]).0);
    assert_eq!(guarded.https(&[], "/metrics").version, "1.1", "HTTP/2 is off");
    for left_out in ["TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "CurveP521"] {
        assert!(guarded.exporter().log().contains(left_out), "{}", guarded.exporter().log());
    }
    guarded.serve(&format!("{CERTIFICATE}  min_version: TLS10\n"));
    assert!(s_client(&guarded, &["-tls1_2"]).0);
    assert!(!s_client(&guarded, &["-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"]).0, "there is no TLS 1.1");
}

#[test]
fn certificates_and_the_file_itself_are_read_again() {
    let Some(guarded) = Guarded::start(CERTIFICATE) else { return };
    let shown = || {
        let got = guarded.https(&["-v", "--http1.1"], "/healthz");
        let serial = got.said.lines().find_map(|line| line.split("start date:").nth(1)).map(str::to_owned);
        (got.status, serial)
    };
    assert_eq!(shown().0, 200);
    // The certificate first, its key after it: what does not fit is not served.
    let path = |file: &str| guarded.dir.path().join(file);
    let key = std::fs::read(path("server.key")).unwrap();
    guarded.certificates.sign("server", &SERVER.replace("localhost", "renewed.example"), 2);
    let renewed = std::fs::read(path("server.key")).unwrap();
    std::fs::write(path("server.key"), &key).unwrap();
    assert_eq!(shown().0, 200, "the pair of before is served");
    assert!(guarded.exporter().log().contains("stay in force"), "{}", guarded.exporter().log());
    let by_new_name = || {
        let port = guarded.exporter().address().port();
        let resolve = format!("renewed.example:{port}:127.0.0.1");
        let words = ["--cacert", "ca.pem", "--resolve", &resolve];
        guarded.curl(&words, &format!("https://renewed.example:{port}/healthz")).status
    };
    assert_eq!(by_new_name(), 0);
    std::fs::write(path("server.key"), &renewed).unwrap();
    assert_eq!(by_new_name(), 200, "the next handshake has the new certificate");

    // The file: broken, nobody is let in; mended, everybody is.
    guarded.write("tls_server_config: {cert_filse: server.pem}\n");
    assert_eq!(guarded.https(&[], "/metrics").status, 0);
    guarded.write("");
    assert_eq!(guarded.https(&[], "/metrics").status, 0, "TLS is not switched off by accident");
    guarded.write(&format!("{CERTIFICATE}  min_version: TLS13\n"));
    assert_eq!(guarded.https(&[], "/metrics").status, 200);
    assert!(!s_client(&guarded, &["-tls1_2"]).0, "what is new in it is in force");
    let log = guarded.exporter().log();
    assert!(log.contains("cert_filse") && log.contains("nobody is let in"), "{log}");
}

#[test]
fn it_is_served_until_when_certificates_are_in_force() {
    let Some(mut guarded) = Guarded::prepare() else { return };
    guarded.certificates.sign("client", CLIENT, 9);
    guarded.write(CERTIFICATE);
    let [config, cert, key] = ["web.yml", "client.pem", "client.key"].map(|file| guarded.certificates.path(file));
    // Nobody is there, which takes nothing away.
    let etcd = ["--etcd.endpoints", "http://127.0.0.1:1", "--etcd.cert-file", &cert, "--etcd.key-file", &key];
    let flags = ["--node.name", "h1", "--no-collector.routes", "--web.config.file", &config];
    guarded.exporter = Some(Exporter::start(&[&etcd[..], &flags].concat()));
    let days_left = |certificate: &str| {
        let scraped = parse(&guarded.https(&[], "/metrics").body, Format::Text);
        let name = "calico_exporter_certificate_expiration_timestamp_seconds";
        let until = scraped.value(name, &[("certificate", certificate)]).unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        ((until - now) / 86400.0).round()
    };
    assert_eq!([days_left("web"), days_left("etcd")], [2.0, 9.0]);
    guarded.certificates.sign("server", SERVER, 5);
    guarded.certificates.sign("client", CLIENT, -1);
    assert_eq!([days_left("web"), days_left("etcd")], [5.0, -1.0], "they are read again");
}

#[test]
fn text_in_the_file_itself_serves_as_well() {
    let Some(mut guarded) = Guarded::prepare() else { return };
    let indented = |file: &str| {
        let text = String::from_utf8(guarded.certificates.read(file)).unwrap();
        text.lines().map(|line| format!("    {line}\n")).collect::<String>()
    };
    let (cert, key, ca) = (indented("server.pem"), indented("server.key"), indented("ca.pem"));
    guarded.serve(&format!(
        "tls_server_config:\n  cert: |\n{cert}  key: |\n{key}  client_ca: |\n{ca}  client_auth_type: RequireAndVerifyClientCert\n"
    ));
    assert_eq!(guarded.https(&["--cert", "client.pem", "--key", "client.key"], "/metrics").status, 200);
    assert_eq!(guarded.https(&[], "/metrics").status, 0);
}

#[test]
fn what_cannot_be_used_is_named_at_the_start() {
    let Some(guarded) = Guarded::prepare() else { return };
    let dir = guarded.dir.path();
    guarded.certificates.sign("other", SERVER, 2);
    std::fs::write(dir.join("empty.pem"), "").unwrap();
    let with = |cert: &str, key: &str| format!("tls_server_config:\n  cert_file: {cert}\n  key_file: {key}\n");
    for (config, wanted) in [
        ("tls_server_config: {cert_filse: a}".to_owned(), &["tls_server_config.cert_filse"][..]),
        (with("nowhere.pem", "server.key"), &["cert_file", "nowhere.pem"]),
        (with("server.pem", "nowhere.key"), &["key_file", "nowhere.key"]),
        (with("empty.pem", "server.key"), &["cert_file", "empty.pem"]),
        (with("server.pem", "server.pem"), &["key_file", "server.pem"]),
        (with("server.pem", "other.key"), &["key_file", "other.key"]),
        (format!("{CERTIFICATE}  client_auth_type: Please\n"), &["client_auth_type", "Please"]),
        (
            format!("{CERTIFICATE}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: nowhere.pem\n"),
            &["client_ca_file", "nowhere.pem"],
        ),
        (
            format!("{CERTIFICATE}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: empty.pem\n"),
            &["client_ca_file"],
        ),
        (format!("{CERTIFICATE}  client_ca_file: ca.pem\n"), &["client_auth_type"]),
        ("basic_auth_users: {alice: sesame}".to_owned(), &["basic_auth_users.alice", "htpasswd"]),
    ] {
        refused(dir, &config, wanted);
    }
    let nowhere = run(&[&DUMP[..], &["--web.config.file", "/nowhere/web.yml"]].concat());
    let said = String::from_utf8(nowhere.stderr).unwrap();
    assert!(nowhere.status.code() == Some(2) && said.contains("/nowhere/web.yml"), "{said}");
}
