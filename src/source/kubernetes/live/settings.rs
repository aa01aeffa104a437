//! How to reach the Kubernetes API, in the ways that Calico's own tools are told: variables or a `calicoctl.cfg`
//! (`libcalico-go/lib/apiconfig`), which name a kubeconfig, lie over it, or leave all to the Pod's service account.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::http::Uri;
use serde_yaml_ng::{Mapping, Value};

use super::exec::Exec;
use super::kubeconfig;
use super::proxy::Proxy;
use crate::source::etcd::settings::{Identity, Pem, SettingsError, calicoctl_spec};

/// Where Kubernetes puts a Pod's own token and what the API server is trusted by.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How often a token's file is read again, at least: it is replaced long before the token in it ends.
pub(super) const TOKEN_AGE: Duration = Duration::from_secs(60);

/// How to reach the API server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// `https://HOST:PORT`, perhaps with a path below which the API is.
    pub server: Uri,
    /// What it is trusted by, and shown.
    pub tls: Tls,
    /// Who to be. Over `http://` nobody: no credential is sent in the clear.
    pub user: User,
    /// Whom to act as.
    pub impersonate: Option<Impersonate>,
    /// What stands between.
    pub proxy: Option<Proxy>,
    /// Ask for answers that are not packed.
    pub uncompressed: bool,
}

/// Whom to act as: the server then allows what they may do, if we may act as them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Impersonate {
    /// `as`.
    pub user: String,
    /// `as-uid`.
    pub uid: Option<String>,
    /// `as-groups`.
    pub groups: Vec<String>,
    /// `as-user-extra`.
    pub extra: Vec<(String, Vec<String>)>,
}

/// What a TLS session is made with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// What the API server's certificate is checked against; the system's authorities where unset.
    pub ca: Option<Pem>,
    /// The client's own certificate.
    pub identity: Option<Identity>,
    /// Take any certificate. Asked for by whoever wrote the settings, and dangerous.
    pub insecure: bool,
    /// The name that the certificate is for, where it is not that of the server's URL.
    pub server_name: Option<String>,
}

/// What a request says of who asks.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum User {
    /// Nothing: nobody, or whom the client's certificate names.
    #[default]
    Certificate,
    /// A token.
    Token(String),
    /// A token in a file that somebody else renews.
    TokenFile(PathBuf),
    /// A name and a password.
    Basic(String, String),
    /// What a program prints.
    Exec(Exec),
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            User::Certificate => f.write_str("Certificate"),
            User::Token(_) => f.write_str("Token(…)"),
            User::TokenFile(path) => f.debug_tuple("TokenFile").field(path).finish(),
            User::Basic(name, _) => write!(f, "Basic({name:?}, …)"),
            User::Exec(exec) => f.debug_tuple("Exec").field(&exec.command).finish(),
        }
    }
}

/// What lies over a kubeconfig, or stands in for one; each value with what to call it in a message.
#[derive(Default)]
pub(super) struct Overrides {
    pub endpoint: Option<Given>,
    pub ca: Option<Given>,
    pub cert: Option<Given>,
    pub key: Option<Given>,
    pub token: Option<Given>,
    pub insecure: Option<bool>,
    pub context: Option<Given>,
}

/// A value that is not empty, and its name.
#[derive(Clone)]
pub(super) struct Given {
    pub setting: String,
    pub value: String,
}

impl Given {
    pub(super) fn fail(&self, what: impl fmt::Display) -> SettingsError {
        SettingsError::Setting { setting: self.setting.clone(), what: what.to_string() }
    }
}

/// A setting: its variable and its key in `calicoctl.cfg`.
#[derive(Clone, Copy)]
struct Name(&'static str, &'static str);

const KUBECONFIG: Name = Name("KUBECONFIG", "kubeconfig");
const ENDPOINT: Name = Name("K8S_API_ENDPOINT", "k8sAPIEndpoint");
const CA_FILE: Name = Name("K8S_CA_FILE", "k8sCAFile");
const CERT_FILE: Name = Name("K8S_CERT_FILE", "k8sCertFile");
const KEY_FILE: Name = Name("K8S_KEY_FILE", "k8sKeyFile");
const INSECURE: Name = Name("K8S_INSECURE_SKIP_TLS_VERIFY", "k8sInsecureSkipTLSVerify");
const CONTEXT: Name = Name("K8S_CURRENT_CONTEXT", "k8sCurrentContext");
/// These two have no variable.
const TOKEN: Name = Name("", "k8sAPIToken");
const INLINE: Name = Name("", "kubeconfigInline");

type Find<'a> = &'a dyn Fn(Name) -> Result<Option<Given>, SettingsError>;
type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Settings {
    /// Reads the variables that Calico reads, each as `CALICO_NAME` first and then as `NAME`.
    ///
    /// # Errors
    ///
    /// A value, or a file that one names, cannot be used; or nothing says where the API server is.
    pub fn from_environment(variable: Variable<'_>) -> Result<Settings, SettingsError> {
        let find = |Name(name, _): Name| {
            let given = |setting: String| {
                let value = variable(&setting).filter(|it| !it.is_empty() && !name.is_empty())?;
                Some(Given { setting, value })
            };
            Ok(given(format!("CALICO_{name}")).or_else(|| given(name.to_owned())))
        };
        assemble(&find, variable)
    }

    /// Reads a `calicoctl.cfg`. The Pod's own service account and the home folder come from the environment.
    ///
    /// # Errors
    ///
    /// The file, a value in it, or a file that one names cannot be used.
    pub fn from_calicoctl(path: &Path, variable: Variable<'_>) -> Result<Settings, SettingsError> {
        let spec: Mapping = calicoctl_spec(path)?;
        let find = |Name(_, key): Name| {
            let setting = format!("{}: spec.{key}", path.display());
            let value = match spec.get(key) {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(Value::Bool(value)) => value.to_string(),
                // Not the value: it may be a secret that looks like a number.
                Some(_) => {
                    return Err(SettingsError::Setting {
                        setting,
                        what: "the value is no text; put it in quotes".to_owned(),
                    });
                }
            };
            Ok((!value.is_empty()).then_some(Given { setting, value }))
        };
        assemble(&find, variable)
    }
}

impl Settings {
    /// Sees that what the settings name can be read. It is read again with each connection: certificates and tokens are
    /// renewed in place. What cannot be read at the start is a mistake in the settings.
    ///
    /// # Errors
    ///
    /// A file cannot be used; the text names it.
    pub fn check(&self) -> Result<(), String> {
        if self.server.scheme_str() == Some("https") {
            super::tls::config(&self.tls, None)?;
        }
        match &self.user {
            User::TokenFile(path) => {
                std::fs::read_to_string(path).map(drop).map_err(|error| format!("{}: {error}", path.display()))
            }
            _ => Ok(()),
        }
    }
}

/// What a `calicoctl.cfg` says of which datastore is meant, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Written {
    /// `datastoreType`.
    pub datastore_type: Option<String>,
    /// Whether etcd's endpoints, or where to find them, are in it.
    pub names_etcd: bool,
    /// `calicoAPIGroup`.
    pub group: Option<String>,
    /// `usePodCIDR`.
    pub use_pod_cidr: bool,
}

impl Written {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is no `CalicoAPIConfig`.
    pub fn read(path: &Path) -> Result<Written, SettingsError> {
        let spec = calicoctl_spec(path)?;
        let text = |key: &str| spec.get(key).and_then(Value::as_str).filter(|it| !it.is_empty()).map(str::to_owned);
        Ok(Written {
            datastore_type: text("datastoreType"),
            names_etcd: text("etcdEndpoints").or(text("etcdDiscoverySrv")).is_some(),
            group: text("calicoAPIGroup"),
            use_pod_cidr: match spec.get("usePodCIDR") {
                Some(Value::Bool(value)) => *value,
                Some(Value::String(text)) => truth(text).unwrap_or(false),
                _ => false,
            },
        })
    }
}

/// In Calico's order (`applyConfigDefaults`, and client-go's loading rules below it): a kubeconfig that is named, the
/// one in the home folder unless an endpoint is given, the Pod's service account.
fn assemble(find: Find<'_>, variable: Variable<'_>) -> Result<Settings, SettingsError> {
    let mut settings = find_server(find, variable)?;
    if settings.proxy.is_none() {
        settings.proxy = Proxy::from_environment(&settings.server, variable)
            .map_err(|(setting, what)| SettingsError::Setting { setting, what })?;
    }
    if settings.server.scheme_str() == Some("http") {
        in_the_clear(&mut settings)?;
    }
    Ok(settings)
}

/// As client-go does, no credential is read for a server that is spoken to in the clear: anybody on the way could take it.
fn in_the_clear(settings: &mut Settings) -> Result<(), SettingsError> {
    let setting = settings.server.to_string();
    if settings.impersonate.is_some() {
        let what =
            "whom to act as (as, as-groups, …) cannot be said over http://: anybody could say it; write https://";
        return Err(SettingsError::Setting { setting, what: what.to_owned() });
    }
    let named = std::mem::take(&mut settings.user) != User::Certificate;
    if named | settings.tls.identity.take().is_some() {
        tracing::warn!(server = %setting, "no token, password or certificate is sent over http://; write https://");
    }
    Ok(())
}

/// Where the server is and who we are, in the order in which Calico looks for it.
fn find_server(find: Find<'_>, variable: Variable<'_>) -> Result<Settings, SettingsError> {
    let insecure = match find(INSECURE)? {
        None => None,
        Some(given) => {
            Some(truth(&given.value).ok_or_else(|| given.fail(format_args!("{:?}: say true or false", given.value)))?)
        }
    };
    let overrides = Overrides {
        endpoint: find(ENDPOINT)?,
        ca: find(CA_FILE)?,
        cert: find(CERT_FILE)?,
        key: find(KEY_FILE)?,
        token: find(TOKEN)?,
        insecure,
        context: find(CONTEXT)?,
    };
    if let Some(inline) = find(INLINE)? {
        let place = kubeconfig::Place { setting: inline.setting.clone(), path: None };
        return kubeconfig::settings(vec![(place, inline.value)], &overrides);
    }
    if let Some(given) = find(KUBECONFIG)? {
        return kubeconfig::settings(read_all(&given)?, &overrides);
    }
    if overrides.endpoint.is_none() {
        let home = variable("HOME").filter(|home| !home.is_empty());
        let path = home.map(|home| Path::new(&home).join(".kube/config")).filter(|path| path.is_file());
        if let Some(path) = path {
            let given = Given { setting: KUBECONFIG.0.to_owned(), value: path.display().to_string() };
            return kubeconfig::settings(read_all(&given)?, &overrides);
        }
        if let Some(settings) = in_cluster(variable, &overrides)? {
            return Ok(settings);
        }
    }
    kubeconfig::settings(Vec::new(), &overrides)
}

/// The files of a list, separated as in `PATH`. One that is not there is left out, as kubectl does, unless none is.
fn read_all(given: &Given) -> Result<Vec<(kubeconfig::Place, String)>, SettingsError> {
    let mut found = Vec::new();
    let mut missing = None;
    for path in std::env::split_paths(&given.value).filter(|path| !path.as_os_str().is_empty()) {
        match std::fs::read_to_string(&path) {
            Ok(text) => found.push((
                kubeconfig::Place { setting: format!("{}: {}", given.setting, path.display()), path: Some(path) },
                text,
            )),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => missing = Some((path, error)),
            Err(error) => return Err(given.fail(format_args!("{}: {error}", path.display()))),
        }
    }
    match missing {
        Some((path, error)) if found.is_empty() => {
            Err(given.fail(format_args!("{}: {error}; name a kubeconfig that can be read", path.display())))
        }
        _ => Ok(found),
    }
}

/// A Pod's own service account, where this is a Pod.
fn in_cluster(variable: Variable<'_>, over: &Overrides) -> Result<Option<Settings>, SettingsError> {
    const HOST: &str = "KUBERNETES_SERVICE_HOST";
    let value = |name: &str| variable(name).filter(|it| !it.is_empty());
    let (Some(host), Some(port)) = (value(HOST), value("KUBERNETES_SERVICE_PORT")) else { return Ok(None) };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let url = Given { setting: HOST.to_owned(), value: format!("https://{host}:{port}") };
    let folder = Path::new(SERVICE_ACCOUNT);
    let ca = Pem::File { setting: "the service account".to_owned(), path: folder.join("ca.crt") };
    let mut tls = Tls { ca: Some(ca), ..Tls::default() };
    let mut user = User::TokenFile(folder.join("token"));
    lay_over(over, &mut tls, &mut user)?;
    Ok(Some(Settings { server: server(&url)?, tls, user, ..Settings::default() }))
}

/// What is said beside a kubeconfig is stronger than what is said in it.
pub(super) fn lay_over(over: &Overrides, tls: &mut Tls, user: &mut User) -> Result<(), SettingsError> {
    let file = |given: &Given| Pem::File { setting: given.setting.clone(), path: PathBuf::from(&given.value) };
    if let Some(ca) = &over.ca {
        tls.ca = Some(file(ca));
    }
    match (&over.cert, &over.key) {
        (None, None) => {}
        (Some(cert), Some(key)) => tls.identity = Some(Identity { cert: file(cert), key: file(key) }),
        (Some(one), None) | (None, Some(one)) => {
            return Err(one.fail(
                "a certificate and its key belong together: set both K8S_CERT_FILE and K8S_KEY_FILE, or neither",
            ));
        }
    }
    if let Some(token) = &over.token {
        *user = User::Token(token.value.clone());
    }
    if let Some(insecure) = over.insecure {
        tls.insecure = insecure;
    }
    Ok(())
}

/// A server's URL.
pub(super) fn server(given: &Given) -> Result<Uri, SettingsError> {
    // As kubectl has it, what has no scheme is spoken to in the clear.
    let text = if given.value.contains("://") { given.value.clone() } else { format!("http://{}", given.value) };
    let usable = text.trim_end_matches('/').parse::<Uri>().ok().filter(|uri| {
        let clean = uri.authority().is_some_and(|it| !it.as_str().contains('@') && !it.host().is_empty());
        clean && uri.query().is_none() && matches!(uri.scheme_str(), Some("http" | "https"))
    });
    // What stands before an @ may be a password.
    let shown = text.rsplit_once('@').map_or(text.clone(), |(_, host)| format!("…@{host}"));
    usable.ok_or_else(|| given.fail(format_args!("{shown:?} is no API server; write https://HOST:PORT")))
}

/// As Go reads a truth value.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
