//! Certificates of clients: Go's five policies, and names that are allowed.

use super::{CERTIFICATE, Guarded};
use crate::support::certificates::CLIENT;

/// Whether a client with this certificate (none where it is empty) is answered, over TLS 1.2 and 1.3 alike.
fn is_served(guarded: &Guarded, client: &str) -> bool {
    let (cert, key) = (format!("{client}.pem"), format!("{client}.key"));
    let identity = if client.is_empty() { vec![] } else { vec!["--cert", &cert, "--key", &key] };
    let old = guarded.https(&[&identity[..], &["--tls-max", "1.2"]].concat(), "/metrics").status;
    let new = guarded.https(&[&identity[..], &["--tlsv1.3"]].concat(), "/metrics").status;
    assert_eq!(old, new, "{client}");
    assert!(matches!(new, 0 | 200), "{new}");
    new == 200
}

#[test]
fn each_policy_lets_in_whom_it_says() {
    let Some(mut guarded) = Guarded::prepare() else { return };
    guarded.certificates.sign_itself("stranger", 2);
    guarded.certificates.sign("expired", CLIENT, -1);
    // Not meant for clients.
    guarded.certificates.sign("only-server", "extendedKeyUsage=serverAuth\n", 2);
    for (policy, nobody, known, stranger, expired, misused) in [
        ("NoClientCert", true, true, true, true, true),
        ("RequestClientCert", true, true, true, true, true),
        ("RequireAnyClientCert", false, true, true, true, true),
        ("RequireClientCert", false, true, true, true, true),
        ("VerifyClientCertIfGiven", true, true, false, false, false),
        ("RequireAndVerifyClientCert", false, true, false, false, false),
    ] {
        let ca = if policy == "NoClientCert" { "" } else { "  client_ca_file: ca.pem\n" };
        guarded.serve(&format!("{CERTIFICATE}  client_auth_type: {policy}\n{ca}"));
        let served = ["", "client", "stranger", "expired", "only-server"].map(|client| is_served(&guarded, client));
        assert_eq!(served, [nobody, known, stranger, expired, misused], "{policy}");
    }
}

/// As in exporter-toolkit's own tests: the one client's certificate is its own authority.
#[test]
fn a_certificate_that_is_trusted_itself_is_enough() {
    let Some(mut guarded) = Guarded::prepare() else { return };
    guarded.certificates.sign_itself("lonely", 2);
    guarded.certificates.sign_itself("other", 2);
    guarded.certificates.sign_itself("past", -1);
    let policy = "  client_auth_type: RequireAndVerifyClientCert\n";
    guarded.serve(&format!("{CERTIFICATE}{policy}  client_ca_file: lonely.pem\n"));
    assert_eq!(["lonely", "other", "client", ""].map(|it| is_served(&guarded, it)), [true, false, false, false]);
    // Another authority, without a restart.
    std::fs::copy(guarded.dir.path().join("other.pem"), guarded.dir.path().join("lonely.pem")).unwrap();
    assert!(is_served(&guarded, "other"));
    guarded.serve(&format!("{CERTIFICATE}{policy}  client_ca_file: past.pem\n"));
    assert!(!is_served(&guarded, "past"), "it is out of force");
}

#[test]
fn one_of_the_allowed_names_has_to_be_in_the_certificate() {
    let Some(mut guarded) = Guarded::prepare() else { return };
    for (name, names) in [
        ("dns", "DNS:other.example,DNS:prometheus.example"),
        ("four", "IP:192.0.2.7"),
        ("six", "IP:2001:db8::7"),
        ("mail", "email:prometheus@example.org"),
        ("uri", "URI:spiffe://example.org/prometheus"),
        ("foreign", "DNS:sub.prometheus.example,IP:192.0.2.70,email:prometheus.example"),
    ] {
        guarded.certificates.sign(name, &format!("{CLIENT}subjectAltName={names}\n"), 2);
    }
    let allowed =
        ["prometheus.example", "192.0.2.7", "2001:db8::7", "prometheus@example.org", "spiffe://example.org/prometheus"];
    let policy = |policy: &str, names: &str| {
        format!(
            "{CERTIFICATE}  client_ca_file: ca.pem\n  client_auth_type: {policy}\n  client_allowed_sans: [{names}]\n"
        )
    };
    guarded.serve(&policy("RequireAndVerifyClientCert", &allowed.map(|name| format!("{name:?}")).join(", ")));
    for client in ["dns", "four", "six", "mail", "uri"] {
        assert!(is_served(&guarded, client), "{client}: {}", guarded.exporter().log());
    }
    // An e-mail address that is written like a name is one of the certificate's names all the same, as in Go.
    assert!(is_served(&guarded, "foreign"));
    assert!(!is_served(&guarded, "client"), "a certificate without names");
    guarded.serve(&policy("VerifyClientCertIfGiven", "192.0.2.7"));
    assert_eq!(["four", "six", "foreign", ""].map(|it| is_served(&guarded, it)), [true, false, false, false]);
}
