//! What stands in a `--web.config.file`: exporter-toolkit's form (`docs/web-configuration.md`, `web/tls_config.go`),
//! read as strictly as it reads it, and no text of it repeated that may be a secret.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use serde_yaml_ng::Value;

use super::section::Section;
use super::settings::TlsSettings;
use super::users::Users;
use super::{duration, section};

/// Everything in the file.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// Absent where plain HTTP is spoken.
    pub(super) tls: Option<TlsSettings>,
    /// Whether a client may choose HTTP/2, over TLS.
    pub(super) http2: bool,
    /// Added to every answer.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// Who is let in; everybody where nobody is named.
    pub(super) users: Users,
    /// How often anybody may ask.
    pub(super) rate: Option<Rate>,
    /// What is understood and does not do what one might think.
    pub(super) warnings: Vec<String>,
}

/// `rate_limit`: a bucket of `burst` requests into which another falls each `interval`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) interval: Duration,
    pub(super) burst: u32,
}

/// The headers that may be set, and to what; anything where nothing is listed.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];

impl Document {
    /// Reads `text`; files that it names are relative to `directory`, and are not opened.
    ///
    /// # Errors
    ///
    /// One line that names the field.
    pub(super) fn parse(text: &str, directory: &Path) -> Result<Document, String> {
        let mut value: Value = serde_yaml_ng::from_str(text).map_err(|error| format!("not YAML: {error}"))?;
        value.apply_merge().map_err(|error| format!("not YAML: {error}"))?;
        let mut top = Section::new("", value)?;
        let mut warnings = Vec::new();
        let tls = TlsSettings::parse(top.section("tls_server_config")?, directory, &mut warnings)?;
        let mut http = top.section("http_server_config")?;
        let http2 = http.boolean("http2")?.unwrap_or(true);
        let headers = headers(http.section("headers")?)?;
        http.end()?;
        let rate = rate(top.section("rate_limit")?)?;
        let users = Users::parse(top.section("basic_auth_users")?)?;
        top.end()?;
        Ok(Document { tls, http2, headers, users, rate, warnings })
    }
}

fn headers(section: Section) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let path = section.path().to_owned();
    let mut headers = Vec::new();
    for (name, value) in section.entries()? {
        let Some((_, allowed)) = HEADERS.iter().find(|(known, _)| *known == name) else {
            let known: Vec<&str> = HEADERS.iter().map(|(known, _)| *known).collect();
            return Err(format!("{path}: {name:?} cannot be set; those that can are {}", known.join(", ")));
        };
        if !allowed.is_empty() && !allowed.contains(&value.as_str()) {
            return Err(format!("{path}.{name}: {value:?} is not possible; use {}", allowed.join(" or ")));
        }
        let bad = |_| format!("{path}.{name}: {value:?} is not a header's value");
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|error| format!("{path}.{name}: {error}"))?;
        if !value.is_empty() {
            headers.push((header, HeaderValue::from_str(&value).map_err(bad)?));
        }
    }
    Ok(headers)
}

fn rate(mut section: Section) -> Result<Option<Rate>, String> {
    let interval = match section.take("interval") {
        None => 0,
        // As Go's decoder: a bare number is of nanoseconds.
        Some(Value::Number(number)) => number.as_i64().ok_or_else(|| section.wrong("interval", "a duration"))?,
        Some(Value::String(text)) => duration::nanoseconds(&text)
            .ok_or_else(|| section.wrong("interval", "a duration as Go writes it: 500ms, 1s, 1m30s"))?,
        Some(_) => return Err(section.wrong("interval", "a duration")),
    };
    let burst = match section.take("burst") {
        None => 0,
        Some(Value::Number(number)) => number.as_i64().ok_or_else(|| section.wrong("burst", section::WHOLE))?,
        Some(_) => return Err(section.wrong("burst", section::WHOLE)),
    };
    section.end()?;
    let interval = Duration::from_nanos(interval.try_into().unwrap_or(0));
    let burst = u32::try_from(burst.max(0)).unwrap_or(u32::MAX);
    Ok((!interval.is_zero()).then_some(Rate { interval, burst }))
}

/// Names and hashes of users as they stand in the file.
pub(super) type Hashes = BTreeMap<String, String>;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Document, String> {
        Document::parse(text, Path::new("/etc/exporter"))
    }

    #[test]
    fn an_empty_file_changes_nothing() {
        for text in
            ["", "# nothing\n", "tls_server_config:\nbasic_auth_users:\n", "{}", "---\n", "http_server_config: {}\n"]
        {
            let document = parse(text).unwrap();
            assert!(document.tls.is_none() && document.http2 && document.headers.is_empty(), "{text:?}");
            assert!(document.users.is_empty() && document.rate.is_none(), "{text:?}");
        }
    }

    #[test]
    fn headers_are_those_that_may_be_set() {
        let text = "http_server_config:\n  http2: no\n  headers:\n    X-Frame-Options: deny\n    X-XSS-Protection: 1\n    Content-Security-Policy: \"\"\n";
        let document = parse(text).unwrap();
        assert!(!document.http2);
        let headers: Vec<(&str, &[u8])> =
            document.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(headers, [("x-frame-options", &b"deny"[..]), ("x-xss-protection", b"1")]);
    }

    #[test]
    fn rates() {
        for (text, rate) in [
            ("{interval: 1s, burst: 20}", Some((1000, 20))),
            ("{interval: 1m0.5s}", Some((60_500, 0))),
            ("{interval: 5000000, burst: 1}", Some((5, 1))),
            ("{interval: 0, burst: 9}", None),
            ("{burst: 9}", None),
            ("{interval: -1s, burst: -9}", None),
        ] {
            let expected = rate.map(|(millis, burst)| Rate { interval: Duration::from_millis(millis), burst });
            assert_eq!(parse(&format!("rate_limit: {text}")).unwrap().rate, expected, "{text}");
        }
    }

    #[test]
    fn errors_name_the_field_and_no_secret() {
        const SECRET: &str = "sesame";
        for (text, wanted) in [
            ("tls_config: {}", "tls_config"),
            ("tls_server_config: {cert_filse: a}", "tls_server_config.cert_filse"),
            ("tls_server_config: [a]", "tls_server_config"),
            ("tls_server_config: {key_file: a}", "cert"),
            ("tls_server_config: {cert_file: a}", "key"),
            ("tls_server_config: {cert_file: a, key_file: ''}", "key"),
            ("tls_server_config: {cert: '', key_file: a}", "cert"),
            ("tls_server_config: {cert_file: a, key_file: b, client_ca_file: c}", "client_auth_type"),
            ("tls_server_config: {cert_file: a, key_file: b, client_auth_type: x}", "client_auth_type"),
            ("tls_server_config: {min_version: TLS111}", "TLS111"),
            ("tls_server_config: {max_version: TLS11}", "max_version"),
            ("tls_server_config: {min_version: TLS13, max_version: TLS12}", "min_version"),
            ("tls_server_config: {cipher_suites: [TLS_NONE]}", "TLS_NONE"),
            ("tls_server_config: {cert_file: a, key_file: b, curve_preferences: [CurveP521]}", "CurveP521"),
            ("tls_server_config: {curve_preferences: [CurveP257]}", "CurveP257"),
            ("tls_server_config: {prefer_server_cipher_suites: perhaps}", "prefer_server_cipher_suites"),
            ("tls_server_config: {key: [sesame]}", "tls_server_config.key"),
            ("http_server_config: {http3: true}", "http_server_config.http3"),
            ("http_server_config: {headers: {Content-Type: a}}", "Content-Type"),
            ("http_server_config: {headers: {X-Frame-Options: a}}", "X-Frame-Options"),
            ("http_server_config: {headers: {X-Content-Type-Options: sniff}}", "X-Content-Type-Options"),
            ("rate_limit: {interval: soon}", "rate_limit.interval"),
            ("rate_limit: {burst: many}", "rate_limit.burst"),
            ("rate_limit: {bursts: 1}", "rate_limit.bursts"),
            ("basic_auth_users: {alice: sesame}", "basic_auth_users.alice"),
            ("basic_auth_users: {alice: [sesame]}", "basic_auth_users.alice"),
            ("basic_auth_users: sesame", "basic_auth_users"),
            ("basic_auth_users: {alice: a, alice: b}", "alice"),
            ("sesame", "fields"),
            ("a: [sesame", "YAML"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
            assert!(!error.contains(SECRET) && !error.contains('\n'), "{text}: {error}");
        }
    }
}
