//! `tls_server_config`: what it asks for, in rustls' terms.
//!
//! rustls speaks TLS 1.2 and 1.3 with forward secrecy and authenticated encryption only. What Go's library knows
//! beyond that is taken and left out with a warning, as long as something remains.

use std::path::{Path, PathBuf};

use rustls::crypto::{CryptoProvider, ring};
use rustls::{CipherSuite, NamedGroup, ProtocolVersion, SupportedProtocolVersion};

use super::section::Section;

/// What TLS is spoken with.
#[derive(Debug)]
pub(super) struct TlsSettings {
    pub(super) cert: Pem,
    pub(super) key: Pem,
    pub(super) client: Option<Client>,
    pub(super) versions: Vec<&'static SupportedProtocolVersion>,
    pub(super) provider: CryptoProvider,
    pub(super) prefer_server: bool,
}

/// PEM text, or where it is.
pub(super) enum Pem {
    Inline(String),
    File(PathBuf),
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Pem::Inline(_) => f.write_str("Inline"),
            Pem::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// What is asked of a client.
#[derive(Debug)]
pub(super) struct Client {
    /// Whether one without a certificate is sent away.
    pub(super) required: bool,
    /// Whether its certificate has to lead to an authority.
    pub(super) verified: bool,
    /// Those authorities; the host's where none are given.
    pub(super) ca: Option<Pem>,
    /// One of these names has to be in its certificate.
    pub(super) sans: Option<Vec<String>>,
}

/// Go's names (`crypto/tls`, `CipherSuites()`) and rustls'. What rustls leaves out has none.
const SUITES: [(&str, Option<CipherSuite>); 13] = [
    ("TLS_AES_128_GCM_SHA256", Some(CipherSuite::TLS13_AES_128_GCM_SHA256)),
    ("TLS_AES_256_GCM_SHA384", Some(CipherSuite::TLS13_AES_256_GCM_SHA384)),
    ("TLS_CHACHA20_POLY1305_SHA256", Some(CipherSuite::TLS13_CHACHA20_POLY1305_SHA256)),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", None),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", None),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", None),
    ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", None),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384)),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", Some(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", Some(CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384)),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256)),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", Some(CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256)),
];

/// The curves that exporter-toolkit names.
const CURVES: [(&str, NamedGroup); 4] = [
    ("CurveP256", NamedGroup::secp256r1),
    ("CurveP384", NamedGroup::secp384r1),
    ("CurveP521", NamedGroup::secp521r1),
    ("X25519", NamedGroup::X25519),
];

const VERSIONS: [&str; 4] = ["TLS10", "TLS11", "TLS12", "TLS13"];

impl TlsSettings {
    /// `None` where no field asks for TLS.
    pub(super) fn parse(
        mut section: Section,
        directory: &Path,
        warnings: &mut Vec<String>,
    ) -> Result<Option<TlsSettings>, String> {
        let path = section.path().to_owned();
        let wrong = |field: &str, what: &str| format!("{path}.{field}: {what}");
        let file = |text: Option<String>| text.map(|text| Pem::File(directory.join(text)));
        let inline = |text: Option<String>| text.map(Pem::Inline);
        let (cert, cert_file) = (inline(section.text("cert")?), file(section.text("cert_file")?));
        let (key, key_file) = (inline(section.text("key")?), file(section.text("key_file")?));
        let (ca, ca_file) = (inline(section.text("client_ca")?), file(section.text("client_ca_file")?));
        // A file is stronger than what stands here.
        let (cert, key, ca) = (cert_file.or(cert), key_file.or(key), ca_file.or(ca));
        let policy = section.text("client_auth_type")?;
        let sans = section.texts("client_allowed_sans")?;
        let versions = versions(&mut section, warnings)?;
        let provider = provider(&mut section, warnings)?;
        let prefer_server = section.boolean("prefer_server_cipher_suites")?.unwrap_or(true);
        section.end()?;
        if cert.is_none() && key.is_none() && ca.is_none() && policy.is_none() {
            return Ok(None);
        }
        let cert = cert.ok_or_else(|| wrong("cert_file", "missing; give it, or cert"))?;
        let key = key.ok_or_else(|| wrong("key_file", "missing; give it, or key"))?;
        let client = match policy.as_deref() {
            None | Some("NoClientCert") => None,
            Some("RequestClientCert") => Some((false, false)),
            Some("RequireAnyClientCert" | "RequireClientCert") => Some((true, false)),
            Some("VerifyClientCertIfGiven") => Some((false, true)),
            Some("RequireAndVerifyClientCert") => Some((true, true)),
            Some(other) => return Err(wrong("client_auth_type", &format!("{other:?} is none of Go's ClientAuthType"))),
        };
        if client.is_none() && ca.is_some() {
            return Err(wrong("client_auth_type", "missing, while a client CA is given: RequireAndVerifyClientCert?"));
        }
        if client.is_none() && sans.is_some() {
            warnings.push(wrong("client_allowed_sans", "without client_auth_type nobody's certificate is asked for"));
        }
        let client = client.map(|(required, verified)| Client { required, verified, ca, sans });
        Ok(Some(TlsSettings { cert, key, client, versions, provider, prefer_server }))
    }
}

fn versions(
    section: &mut Section,
    warnings: &mut Vec<String>,
) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    let mut version = |field: &'static str, default: usize| -> Result<usize, String> {
        let Some(text) = section.text(field)? else { return Ok(default) };
        VERSIONS
            .iter()
            .position(|known| *known == text)
            .ok_or_else(|| format!("{}.{field}: {text:?} is none of {}", section.path(), VERSIONS.join(", ")))
    };
    let (oldest, newest) = (version("min_version", 2)?, version("max_version", 3)?);
    let path = section.path();
    if newest < 2 {
        return Err(format!("{path}.max_version: {} is not spoken any more; use TLS12 or TLS13", VERSIONS[newest]));
    }
    if oldest < 2 {
        warnings.push(format!("{path}.min_version: {} is not spoken any more; TLS12 is the oldest", VERSIONS[oldest]));
    }
    let spoken: Vec<_> = [(2, &rustls::version::TLS12), (3, &rustls::version::TLS13)]
        .into_iter()
        .filter(|(version, _)| (oldest..=newest).contains(version))
        .map(|(_, version)| version)
        .collect();
    if spoken.is_empty() {
        return Err(format!("{path}.min_version: {} is newer than max_version", VERSIONS[oldest]));
    }
    Ok(spoken)
}

/// Cipher suites of TLS 1.2, and curves, in the order given. Those of TLS 1.3 cannot be chosen, as in Go.
fn provider(section: &mut Section, warnings: &mut Vec<String>) -> Result<CryptoProvider, String> {
    let mut provider = ring::default_provider();
    if let Some(names) = section.texts("cipher_suites")?.filter(|names| !names.is_empty()) {
        let field = format!("{}.cipher_suites", section.path());
        let wanted = chosen(&names, &SUITES, &field, warnings)?;
        let all = provider.cipher_suites.clone();
        let is_new = |suite: &rustls::SupportedCipherSuite| suite.version().version == ProtocolVersion::TLSv1_3;
        provider.cipher_suites = all.iter().copied().filter(is_new).collect();
        let old = wanted.iter().filter_map(|id| all.iter().copied().find(|suite| suite.suite() == *id));
        provider.cipher_suites.extend(old.filter(|suite| !is_new(suite)));
    }
    if let Some(names) = section.texts("curve_preferences")?.filter(|names| !names.is_empty()) {
        let field = format!("{}.curve_preferences", section.path());
        let all = provider.kx_groups.clone();
        let spoken = CURVES.map(|(name, id)| (name, all.iter().copied().find(|group| group.name() == id)));
        provider.kx_groups = chosen(&names, &spoken, &field, warnings)?;
        if provider.kx_groups.is_empty() {
            return Err(format!("{field}: none of {} is spoken; add X25519, CurveP256 or CurveP384", names.join(", ")));
        }
    }
    Ok(provider)
}

/// What the names stand for; those that stand for nothing here are warned about.
fn chosen<T: Copy>(
    names: &[String],
    known: &[(&str, Option<T>)],
    field: &str,
    warnings: &mut Vec<String>,
) -> Result<Vec<T>, String> {
    let mut chosen = Vec::new();
    for name in names {
        match known.iter().find(|(known, _)| known == name) {
            Some((_, Some(value))) => chosen.push(*value),
            Some((_, None)) => warnings.push(format!("{field}: {name} is not spoken here and left out")),
            None => return Err(format!("{field}: unknown {name:?}")),
        }
    }
    Ok(chosen)
}
