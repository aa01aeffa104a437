//! How to reach etcd, in the two ways that Calico's own tools are told: environment variables, or a `calicoctl.cfg`
//! (`libcalico-go/lib/apiconfig/{apiconfig,load}.go`). One or the other: Calico never merges them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use hyper::http::Uri;
use serde_yaml_ng::{Mapping, Value};
use thiserror::Error;

/// How to reach etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `http://HOST:PORT` or `https://HOST:PORT`, at least one.
    pub endpoints: Vec<String>,
    /// Who to be; `None` where etcd asks nobody.
    pub credentials: Option<Credentials>,
    /// What `https` endpoints are trusted by and shown.
    pub tls: Tls,
}

/// A user of etcd. Its password is in no message and no log.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user's name, not empty.
    pub username: String,
    password: Password,
}

#[derive(Clone, PartialEq, Eq)]
enum Password {
    Text(String),
    /// To be read whenever a connection is made: passwords are changed in place.
    File(PathBuf),
}

impl Credentials {
    /// Both or neither: Calico uses a name only together with a password (`libcalico-go/lib/backend/etcdv3/etcdv3.go`).
    pub fn new(username: String, password: String) -> Option<Credentials> {
        let both = !username.is_empty() && !password.is_empty();
        both.then_some(Credentials { username, password: Password::Text(password) })
    }

    /// A user whose password is in a file.
    pub fn from_file(username: String, path: PathBuf) -> Credentials {
        Credentials { username, password: Password::File(path) }
    }

    /// The password as it is now.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn password(&self) -> Result<String, SettingsError> {
        match &self.password {
            Password::Text(text) => Ok(text.clone()),
            Password::File(path) => read_password(path).map_err(|error| SettingsError::File {
                path: path.clone(),
                error,
                wanted: "a file with the password",
            }),
        }
    }
}

/// The first line's end is not the password's.
///
/// # Errors
///
/// The file cannot be read, or is not UTF-8.
pub fn read_password(path: &Path) -> io::Result<String> {
    Ok(std::fs::read_to_string(path)?.trim_end_matches(['\r', '\n']).to_owned())
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Certificates.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// What etcd's certificate is checked against; the system's authorities where unset.
    pub ca: Option<Pem>,
    /// The client's own certificate.
    pub identity: Option<Identity>,
}

/// A certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate.
    pub cert: Pem,
    /// Its private key.
    pub key: Pem,
}

/// PEM text, or where to find it.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// In a file, to be read whenever a connection is made: certificates are renewed in place.
    File {
        /// The variable or key that names the file.
        setting: String,
        /// The file.
        path: PathBuf,
    },
    /// In the configuration itself.
    Inline(Vec<u8>),
}

impl Pem {
    /// The PEM text.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or has no PEM block in it.
    pub fn read(&self) -> Result<Vec<u8>, SettingsError> {
        let (setting, path) = match self {
            Pem::Inline(pem) => return Ok(pem.clone()),
            Pem::File { setting, path } => (setting, path),
        };
        let fail = |what| SettingsError::Setting { setting: setting.clone(), what };
        let pem = std::fs::read(path)
            .map_err(|error| fail(format!("{}: {error}; name a PEM file that can be read", path.display())))?;
        match has_pem(&pem) {
            true => Ok(pem),
            false => Err(fail(format!("{}: no PEM block (-----BEGIN …) in it", path.display()))),
        }
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pem::File { setting, path } => {
                f.debug_struct("File").field("setting", setting).field("path", path).finish()
            }
            Pem::Inline(pem) => write!(f, "Inline({} bytes)", pem.len()),
        }
    }
}

fn has_pem(text: &[u8]) -> bool {
    const BEGIN: &[u8] = b"-----BEGIN ";
    text.windows(BEGIN.len()).any(|window| window == BEGIN)
}

/// Why there are no settings.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// A value is missing, or cannot be used.
    #[error("{setting}: {what}")]
    Setting {
        /// The variable, or the file and the key in it.
        setting: String,
        /// What is wrong with it and what to do.
        what: String,
    },
    /// The file cannot be read.
    #[error("{}: {error}; name {wanted} that can be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
        /// What it ought to be.
        wanted: &'static str,
    },
    /// The file is no configuration of Calico's.
    #[error("{}: {what}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong and what was expected.
        what: String,
    },
}

/// A setting: its variable and its key in `spec`. Inline PEM has no variable, on purpose.
#[derive(Clone, Copy)]
struct Name(&'static str, &'static str);

const TYPE: Name = Name("DATASTORE_TYPE", "datastoreType");
const ENDPOINTS: Name = Name("ETCD_ENDPOINTS", "etcdEndpoints");
const DISCOVERY: Name = Name("ETCD_DISCOVERY_SRV", "etcdDiscoverySrv");
const USERNAME: Name = Name("ETCD_USERNAME", "etcdUsername");
const PASSWORD: Name = Name("ETCD_PASSWORD", "etcdPassword");
const KEY_FILE: Name = Name("ETCD_KEY_FILE", "etcdKeyFile");
const CERT_FILE: Name = Name("ETCD_CERT_FILE", "etcdCertFile");
const CA_FILE: Name = Name("ETCD_CA_CERT_FILE", "etcdCACertFile");
const KEY: Name = Name("", "etcdKey");
const CERT: Name = Name("", "etcdCert");
const CA: Name = Name("", "etcdCACert");
const KNOWN: [Name; 11] = [TYPE, ENDPOINTS, DISCOVERY, USERNAME, PASSWORD, KEY_FILE, CERT_FILE, CA_FILE, KEY, CERT, CA];

/// Keys of `spec` that mean something only where the datastore is Kubernetes.
const KUBERNETES: [&str; 13] = [
    "kubeconfig",
    "kubeconfigInline",
    "k8sAPIEndpoint",
    "k8sKeyFile",
    "k8sCertFile",
    "k8sCAFile",
    "k8sAPIToken",
    "k8sInsecureSkipTLSVerify",
    "k8sDisableNodePoll",
    "k8sClientQPS",
    "k8sCurrentContext",
    "usePodCIDR",
    "calicoAPIGroup",
];

/// A value, and what to call it in a message.
struct Found {
    setting: String,
    value: String,
}

impl Found {
    fn fail(&self, what: impl fmt::Display) -> SettingsError {
        SettingsError::Setting { setting: self.setting.clone(), what: what.to_string() }
    }

    fn is_set(&self) -> bool {
        !self.value.is_empty()
    }
}

impl Settings {
    /// Reads the variables that Calico reads; each is looked up as `CALICO_NAME` first and then as `NAME`.
    ///
    /// # Errors
    ///
    /// There is no endpoint, a value cannot be used, or it asks for what the exporter does not do.
    pub fn from_environment(variable: &dyn Fn(&str) -> Option<String>) -> Result<Settings, SettingsError> {
        Settings::assemble(&|Name(name, _)| {
            let prefixed = format!("CALICO_{name}");
            match (name, variable(&prefixed)) {
                ("", _) => Found { setting: String::new(), value: String::new() },
                (_, Some(value)) => Found { setting: prefixed, value },
                (_, None) => Found { setting: name.to_owned(), value: variable(name).unwrap_or_default() },
            }
        })
    }

    /// Reads a `calicoctl.cfg`, as strictly as calicoctl does.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is no `CalicoAPIConfig`, has keys that Calico does not know, or values that cannot be
    /// used.
    pub fn from_calicoctl(path: &Path) -> Result<Settings, SettingsError> {
        let spec = calicoctl_spec(path)?;
        Settings::assemble(&|Name(_, key)| Found {
            setting: format!("{}: spec.{key}", path.display()),
            value: spec.get(key).and_then(Value::as_str).unwrap_or_default().to_owned(),
        })
    }

    fn assemble(find: &dyn Fn(Name) -> Found) -> Result<Settings, SettingsError> {
        let datastore = find(TYPE);
        match &*datastore.value {
            "" | "etcdv3" => {}
            "kubernetes" => {
                return Err(datastore.fail("kubernetes: this exporter reads etcd; set etcdv3, or point it to a cluster whose datastore is etcd"));
            }
            other => return Err(datastore.fail(format_args!("{other:?} is no datastore of Calico's; set etcdv3"))),
        }
        let discovery = find(DISCOVERY);
        if discovery.is_set() {
            let (name, value) = (find(ENDPOINTS).setting, &discovery.value);
            return Err(
                discovery.fail(format_args!("{value:?}: discovery is not supported; list the endpoints in {name}"))
            );
        }
        Ok(Settings {
            endpoints: endpoints(&find(ENDPOINTS))?,
            credentials: Credentials::new(find(USERNAME).value, find(PASSWORD).value),
            tls: tls(find)?,
        })
    }
}

fn endpoints(found: &Found) -> Result<Vec<String>, SettingsError> {
    let endpoints: Vec<&str> = found.value.split(',').map(str::trim).filter(|it| !it.is_empty()).collect();
    if endpoints.is_empty() {
        return Err(found.fail("not set; list etcd's endpoints, e.g. https://10.0.0.1:2379,https://10.0.0.2:2379"));
    }
    let usable = |endpoint: &str| {
        let uri: Uri = endpoint.parse().ok()?;
        let whole = matches!(uri.path(), "" | "/") && uri.query().is_none();
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@') && whole)?;
        // Without a port, an etcd client and an HTTP client would not go to the same place.
        (matches!(uri.scheme_str(), Some("http" | "https"))
            && authority.port().is_some()
            && !authority.host().is_empty())
        .then(|| endpoint.trim_end_matches('/').to_owned())
    };
    // What stands before an @ may be a password.
    let shown = |endpoint: &str| endpoint.rsplit_once('@').map_or(endpoint.to_owned(), |(_, host)| format!("…@{host}"));
    endpoints
        .into_iter()
        .map(|endpoint| {
            usable(endpoint).ok_or_else(|| {
                found.fail(format_args!(
                    "{:?} is no endpoint; write http://HOST:PORT or https://HOST:PORT",
                    shown(endpoint)
                ))
            })
        })
        .collect()
}

fn tls(find: &dyn Fn(Name) -> Found) -> Result<Tls, SettingsError> {
    let files = [CA_FILE, CERT_FILE, KEY_FILE].map(find);
    let inline = [CA, CERT, KEY].map(find);
    if let (Some(file), Some(inline)) = (files.iter().find(|it| it.is_set()), inline.iter().find(|it| it.is_set())) {
        let other = &file.setting;
        return Err(
            inline.fail(format_args!("certificates are given inline here and as files in {other}; use one of the two"))
        );
    }
    let inlined = inline.iter().any(Found::is_set);
    let [ca, cert, key] = if inlined { inline } else { files };
    let pem = |found: &Found| -> Result<Pem, SettingsError> {
        match inlined {
            true if has_pem(found.value.as_bytes()) => Ok(Pem::Inline(found.value.clone().into_bytes())),
            true => Err(found.fail("no PEM block (-----BEGIN …) in it; to name a file, use the key that ends in File")),
            false => Ok(Pem::File { setting: found.setting.clone(), path: PathBuf::from(&found.value) }),
        }
    };
    let identity = match (cert.is_set(), key.is_set()) {
        (false, false) => None,
        (true, true) => Some(Identity { cert: pem(&cert)?, key: pem(&key)? }),
        (true, false) => return Err(key.fail(format_args!("not set, though {} is; set both or neither", cert.setting))),
        (false, true) => return Err(cert.fail(format_args!("not set, though {} is; set both or neither", key.setting))),
    };
    Ok(Tls { ca: ca.is_set().then(|| pem(&ca)).transpose()?, identity })
}

/// The `spec` of a `calicoctl.cfg`, checked: for the other datastore's settings.
pub(in crate::source) fn calicoctl_spec(path: &Path) -> Result<Mapping, SettingsError> {
    let text = std::fs::read_to_string(path).map_err(|error| SettingsError::File {
        path: path.to_owned(),
        error,
        wanted: "a calicoctl.cfg",
    })?;
    spec(&text).map_err(|what| SettingsError::Content { path: path.to_owned(), what })
}

/// The `spec` of a `calicoctl.cfg`, checked: every key is known, and those of etcd hold text.
fn spec(text: &str) -> Result<Mapping, String> {
    let object: Value = serde_yaml_ng::from_str(text).map_err(|error| format!("no YAML: {error}"))?;
    let Value::Mapping(mut object) = object else {
        return Err("no object; expected apiVersion, kind, metadata and spec".to_owned());
    };
    for (key, expected) in [("apiVersion", "projectcalico.org/v3"), ("kind", "CalicoAPIConfig")] {
        match object.remove(key) {
            Some(Value::String(found)) if found == expected => {}
            None => return Err(format!("{key}: missing; expected {expected}")),
            Some(found) => return Err(format!("{key}: {}, expected {expected}", shown(&found))),
        }
    }
    object.remove("metadata");
    let spec = match object.remove("spec") {
        None | Some(Value::Null) => Mapping::new(),
        Some(Value::Mapping(spec)) => spec,
        Some(_) => return Err("spec: no object; expected keys such as etcdEndpoints".to_owned()),
    };
    if let Some((key, _)) = object.iter().next() {
        return Err(format!("{}: unknown key; expected apiVersion, kind, metadata and spec", shown(key)));
    }
    for (key, value) in &spec {
        let name = key.as_str().unwrap_or_default();
        match (KNOWN.iter().any(|Name(_, known)| *known == name), value) {
            (true, Value::String(_) | Value::Null) => {}
            // Not the value: it may be a password that looks like a number.
            (true, _) => return Err(format!("spec.{name}: the value is no text; put it in quotes")),
            (false, _) if KUBERNETES.contains(&name) => {}
            (false, _) => {
                let near = KNOWN.iter().map(|Name(_, known)| *known).find(|known| similar(known, name));
                let hint = near.map_or("see calicoctl's documentation for the keys".to_owned(), |it| {
                    format!("did you mean {it}?")
                });
                return Err(format!("spec.{}: unknown key; {hint}", shown(key)));
            }
        }
    }
    Ok(spec)
}

/// Whether a key is another with its case, its plural or its ending mistaken.
fn similar(known: &str, written: &str) -> bool {
    let (known, written) = (known.to_ascii_lowercase(), written.to_ascii_lowercase());
    written.len() > 6 && (known.starts_with(&written) || written.starts_with(&known))
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.escape_debug().take(60).collect(),
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) | Value::Tagged(_) => "an object".to_owned(),
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
