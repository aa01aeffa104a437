//! Basic authentication, headers and rates; and that no secret is ever said.

use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{CERTIFICATE, Guarded, eventually};

const PASSWORD: &str = "a word that nobody is told";

fn users(entries: &[(&str, &str, u32)]) -> String {
    let line =
        |(name, password, cost): &(&str, &str, u32)| format!("  {name}: {}\n", bcrypt::hash(password, *cost).unwrap());
    format!("basic_auth_users:\n{}", entries.iter().map(line).collect::<String>())
}

#[test]
fn whoever_is_named_is_let_in_with_the_right_password() {
    let Some(guarded) = Guarded::start(&users(&[("alice", PASSWORD, 4), ("bob", "b:c", 5)])) else { return };
    let alice = format!("alice:{PASSWORD}");
    for path in ["/metrics", "/", "/healthz", "/readyz", "/nowhere"] {
        let got = guarded.http(&[], path);
        assert_eq!(got.status, 401, "{path}");
        assert!(got.head.contains("www-authenticate: basic"), "{}", got.head);
        assert!(!got.body.contains("calico_"));
        for wrong in ["alice:", "alice:wrong", "bob:a word that nobody is told", "carol:b:c", ":"] {
            assert_eq!(guarded.http(&["-u", wrong], path).status, 401, "{path} {wrong}");
        }
        for right in [alice.as_str(), "bob:b:c"] {
            let expected = if path == "/nowhere" { 404 } else { 200 };
            eventually("ready", || guarded.http(&["-u", right], path).status == expected);
        }
    }
    let scrape = guarded.http(&["-u", &alice], "/metrics").body;
    assert!(scrape.contains("calico_exporter_http_requests_total{code=\"401\"}"), "{scrape}");

    // Another password, another user, without a restart.
    guarded.write(&users(&[("alice", "new", 4)]));
    assert_eq!(guarded.http(&["-u", &alice], "/metrics").status, 401);
    assert_eq!(guarded.http(&["-u", "bob:b:c"], "/metrics").status, 401);
    assert_eq!(guarded.http(&["-u", "alice:new"], "/metrics").status, 200);
    // A file that cannot be used lets nobody in.
    guarded.write("basic_auth_users: {alice: sesame}\n");
    assert_eq!(guarded.http(&["-u", "alice:new"], "/metrics").status, 500);
    std::fs::remove_file(guarded.file()).unwrap();
    assert_eq!(guarded.http(&["-u", "alice:new"], "/metrics").status, 500);
    guarded.write(&users(&[("alice", "new", 4)]));
    assert_eq!(guarded.http(&["-u", "alice:new"], "/metrics").status, 200);
}

/// bcrypt is slow on purpose: what was found right once is remembered.
#[test]
fn a_password_that_was_right_is_not_worked_out_again() {
    // Half a second and more for each guess, whatever the machine.
    let Some(guarded) = Guarded::start(&users(&[("alice", PASSWORD, 13)])) else { return };
    let alice = format!("alice:{PASSWORD}");
    let takes = |user: &str, status: u16| {
        let start = Instant::now();
        assert_eq!(guarded.http(&["-u", user], "/healthz").status, status);
        start.elapsed()
    };
    let cpu = || {
        let scrape = guarded.http(&["-u", &alice], "/metrics").body;
        let line = scrape.lines().find_map(|line| line.strip_prefix("process_cpu_seconds_total ")).unwrap();
        line.parse::<f64>().unwrap()
    };
    takes(&alice, 200);
    let before = cpu();
    for _ in 0..10 {
        takes(&alice, 200);
    }
    let remembered = cpu() - before;
    let before = cpu();
    takes("alice:wrong", 401);
    let guessed = cpu() - before;
    let before = cpu();
    takes("nobody:wrong", 401);
    let unknown = cpu() - before;
    assert!(remembered < guessed, "ten remembered {remembered} s, one guess {guessed} s");
    assert!(unknown > guessed / 2.0, "a name that is nobody's takes {unknown} s, a known one {guessed} s");
}

#[test]
fn headers_of_the_file_are_on_every_answer() {
    let config = "http_server_config:\n  headers:\n    X-Frame-Options: deny\n    Strict-Transport-Security: max-age=31536000\n    Content-Security-Policy: default-src 'self'\n    X-XSS-Protection: 1\n";
    let Some(guarded) = Guarded::start(&format!("{config}{}", users(&[("alice", PASSWORD, 4)]))) else { return };
    let alice = format!("alice:{PASSWORD}");
    for (words, status) in [(&["-u", alice.as_str()][..], 200), (&[], 401)] {
        let got = guarded.http(words, "/");
        assert_eq!(got.status, status);
        for header in [
            "x-frame-options: deny",
            "strict-transport-security: max-age=31536000",
            "content-security-policy: default-src 'self'",
            "x-xss-protection: 1",
            "x-content-type-options: nosniff",
        ] {
            assert!(got.head.contains(header), "{header}: {}", got.head);
        }
        assert_eq!(got.head.matches("content-security-policy").count(), 1, "{}", got.head);
    }
}

#[test]
fn whoever_asks_too_often_is_told_so() {
    let Some(mut guarded) = Guarded::start("rate_limit:\n  interval: 1h\n  burst: 3\n") else { return };
    let asked = || (0..5).map(|_| guarded.http(&[], "/healthz").status).collect::<Vec<_>>();
    assert_eq!(asked(), [200, 200, 200, 429, 429]);
    guarded.serve("rate_limit:\n  interval: 0\n  burst: 0\n");
    assert!((0..5).all(|_| guarded.http(&[], "/healthz").status == 200));
}

/// No password, hash or key is written anywhere where somebody might read it.
#[test]
fn secrets_are_not_said() {
    let Some(mut guarded) = Guarded::prepare() else { return };
    let config = format!("{CERTIFICATE}{}", users(&[("alice", PASSWORD, 4)]));
    guarded.write(&config);
    let (file, secret_file) = (guarded.file(), guarded.dir.path().join("etcd-password"));
    std::fs::write(&secret_file, PASSWORD).unwrap();
    // etcd is not there, so that it is complained of; every message there is is written.
    let flags = [
        "--etcd.endpoints",
        "http://127.0.0.1:1",
        "--etcd.username",
        "reader",
        "--etcd.password-file",
        secret_file.to_str().unwrap(),
        "--node.name",
        "h1",
        "--no-collector.routes",
        "--log.level",
        "debug",
        "--web.config.file",
        file.to_str().unwrap(),
    ];
    guarded.exporter = Some(crate::support::exporter::Exporter::start(&flags));
    let alice = format!("alice:{PASSWORD}");
    let mut said = String::new();
    for (user, path) in
        [(alice.as_str(), "/"), (&alice, "/metrics"), (&alice, "/api/v1/findings"), ("alice:wrong", "/")]
    {
        let got = guarded.https(&["-u", user], path);
        said.push_str(&format!("{}{}", got.head, got.body));
    }
    for broken in
        ["basic_auth_users: a word that nobody is told", "basic_auth_users: {alice: a word that nobody is told}"]
    {
        guarded.write(broken);
        said.push_str(&guarded.https(&["-u", &alice], "/").said);
    }
    let key = String::from_utf8(guarded.certificates.read("server.key")).unwrap();
    guarded.write(&format!("tls_server_config: {{cert_file: server.pem, key: {:?}}}", key.replace('M', "!")));
    said.push_str(&guarded.https(&[], "/").said);
    eventually("etcd is complained of", || guarded.exporter().log().contains("127.0.0.1:1"));
    let process = format!("/proc/{}", guarded.exporter().pid());
    let process = std::path::Path::new(&process);
    for file in ["cmdline", "environ"] {
        said.push_str(&String::from_utf8_lossy(&std::fs::read(process.join(file)).unwrap()));
    }
    said.push_str(&guarded.exporter().log());
    let hash = config.split("alice: ").nth(1).unwrap().trim();
    let body = key.lines().nth(1).unwrap();
    for secret in [PASSWORD, &STANDARD.encode(&alice), hash, &hash[8..], body, &body.replace('M', "!")] {
        assert!(!said.contains(secret), "{secret} is said:\n{said}");
    }
    assert!(guarded.exporter().log().contains("basic_auth_users"), "what is wrong is said");
}
