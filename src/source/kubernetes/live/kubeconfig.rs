//! A kubeconfig, or several laid on top of one another as kubectl does: the first that names a cluster, a user, a context
//! or the current context is the one that counts
//! (<https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/>).

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_yaml_ng::Value;

use super::exec::{Exec, Named};
use super::proxy::Proxy;
use super::settings::{Given, Impersonate, Overrides, Settings, Tls, User, lay_over, server};
use crate::source::etcd::settings::{Identity, Pem, SettingsError};

/// Where a kubeconfig stands: what to call it, and the file, to whose folder the paths in it are relative.
pub(super) struct Place {
    pub setting: String,
    pub path: Option<PathBuf>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct Config {
    current_context: String,
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
    contexts: Vec<NamedContext>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize, Default, Clone)]
#[serde(rename_all = "kebab-case", default)]
struct Cluster {
    server: String,
    certificate_authority: String,
    certificate_authority_data: String,
    insecure_skip_tls_verify: bool,
    tls_server_name: String,
    proxy_url: String,
    disable_compression: bool,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    #[serde(default)]
    user: Option<Account>,
}

#[derive(Deserialize, Default, Clone)]
#[serde(rename_all = "kebab-case", default)]
struct Account {
    client_certificate: String,
    client_certificate_data: String,
    client_key: String,
    client_key_data: String,
    token: String,
    #[serde(rename = "tokenFile")]
    token_file: String,
    username: String,
    password: String,
    r#as: String,
    as_uid: String,
    as_groups: Vec<String>,
    as_user_extra: BTreeMap<String, Vec<String>>,
    exec: Option<ExecConfig>,
    auth_provider: Option<Value>,
}

#[derive(Deserialize, Default, Clone)]
#[serde(rename_all = "camelCase", default)]
struct ExecConfig {
    api_version: String,
    command: String,
    args: Option<Vec<String>>,
    env: Option<Vec<Named>>,
    install_hint: String,
    interactive_mode: String,
    provide_cluster_info: bool,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
}

/// Settings from these texts, with what lies over them. Without a text the overrides alone have to say where to go.
pub(super) fn settings(texts: Vec<(Place, String)>, over: &Overrides) -> Result<Settings, SettingsError> {
    let (mut configs, mut values) = (Vec::new(), Vec::new());
    for (place, text) in texts {
        // Not the parser's own words where they quote: a line of this file may be a secret.
        let config = serde_yaml_ng::from_str::<Option<Config>>(&text).map_err(|error| {
            let at = error.location().map(|it| format!(" near line {}", it.line())).unwrap_or_default();
            fail(&place.setting, format_args!("no kubeconfig: it cannot be read as one{at}"))
        })?;
        let value = serde_yaml_ng::from_str::<Value>(&text).unwrap_or_default();
        fields(&place, "", &value, &TOP)?;
        configs.push((place, config.unwrap_or_default()));
        values.push(value);
    }
    let said = configs.iter().map(|(_, config)| &config.current_context).find(|it| !it.is_empty());
    let context = match &over.context {
        Some(given) => Some(given.value.clone()),
        None => said.cloned(),
    };
    let context = match context {
        None => Context::default(),
        Some(name) => configs
            .iter()
            .flat_map(|(_, config)| &config.contexts)
            .find(|it| it.name == name)
            .map(|it| it.context.clone())
            .ok_or_else(|| {
                let setting = over.context.as_ref().map(|it| it.setting.clone()).or(names(&configs));
                fail(&setting.unwrap_or_default(), format_args!("there is no context {name:?}"))
            })?,
    };
    for ((place, _), value) in configs.iter().zip(&values) {
        understood(place, value, &context)?;
    }
    let cluster = configs.iter().find_map(|(place, config)| {
        let named = config.clusters.iter().find(|it| it.name == context.cluster)?;
        Some((place, named.cluster.clone()))
    });
    let account = configs.iter().find_map(|(place, config)| {
        let named = config.users.iter().find(|it| it.name == context.user)?;
        Some((place, named.user.clone().unwrap_or_default()))
    });
    let (mut tls, written) = match &cluster {
        None => (Tls::default(), None),
        Some((place, cluster)) => (
            trust(place, cluster)?,
            Some(Given { setting: format!("{}: server", place.setting), value: cluster.server.clone() })
                .filter(|it| !it.value.is_empty()),
        ),
    };
    let Some(url) = over.endpoint.clone().or(written) else {
        let setting = names(&configs).unwrap_or_else(|| "KUBECONFIG".to_owned());
        return Err(fail(
            &setting,
            "nothing says where the API server is; name a kubeconfig with a current context, or set K8S_API_ENDPOINT \
             (in a Pod, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT say it)",
        ));
    };
    let mut user = match &account {
        None => User::Certificate,
        Some((place, account)) => {
            tls.identity = identity(place, account)?;
            who(place, account, &url.value, &tls)?
        }
    };
    lay_over(over, &mut tls, &mut user)?;
    let impersonate = match &account {
        None => None,
        Some((place, account)) => impersonate(place, account)?,
    };
    let proxy = match &cluster {
        Some((place, cluster)) if !cluster.proxy_url.is_empty() => {
            let what = |what: String| fail(&format!("{}: proxy-url", place.setting), what);
            Some(Proxy::parse(&cluster.proxy_url).map_err(what)?)
        }
        _ => None,
    };
    let uncompressed = cluster.is_some_and(|(_, cluster)| cluster.disable_compression);
    Ok(Settings { server: server(&url)?, tls, user, impersonate, proxy, uncompressed })
}

/// What may stand in each part of a kubeconfig (`client-go/tools/clientcmd/api/v1/types.go`). What else stands there may
/// say who we are, or whom we trust: it is not passed over.
const TOP: [&str; 8] =
    ["apiVersion", "kind", "preferences", "clusters", "users", "contexts", "current-context", "extensions"];
const CLUSTER: [&str; 8] = [
    "server",
    "tls-server-name",
    "insecure-skip-tls-verify",
    "certificate-authority",
    "certificate-authority-data",
    "proxy-url",
    "disable-compression",
    "extensions",
];
const USER: [&str; 15] = [
    "client-certificate",
    "client-certificate-data",
    "client-key",
    "client-key-data",
    "token",
    "tokenFile",
    "as",
    "as-uid",
    "as-groups",
    "as-user-extra",
    "username",
    "password",
    "auth-provider",
    "exec",
    "extensions",
];
const CONTEXT: [&str; 4] = ["cluster", "user", "namespace", "extensions"];
const EXEC: [&str; 7] =
    ["apiVersion", "command", "args", "env", "installHint", "interactiveMode", "provideClusterInfo"];

/// Refuses a field that is not known.
fn fields(place: &Place, part: &str, value: &Value, known: &[&str]) -> Result<(), SettingsError> {
    let Value::Mapping(fields) = value else { return Ok(()) };
    for (name, _) in fields {
        let name = name.as_str().unwrap_or_default();
        if !known.contains(&name) {
            let shown: String = name.chars().filter(|it| !it.is_control()).take(60).collect();
            let what = format!("{shown:?} is not understood; leave it out, or use one of {}", known.join(", "));
            return Err(fail(&format!("{}{part}", place.setting), what));
        }
    }
    Ok(())
}

/// Refuses what is not understood of the cluster and the user that are used. Others may be written for other programs.
fn understood(place: &Place, value: &Value, context: &Context) -> Result<(), SettingsError> {
    let entries = |list: &str| value.get(list).and_then(Value::as_sequence).into_iter().flatten();
    let named = |list: &str, name: &str| {
        entries(list).find(|it| it.get("name").and_then(Value::as_str) == Some(name)).cloned().unwrap_or_default()
    };
    let part = |entry: &Value, key: &str| entry.get(key).cloned().unwrap_or_default();
    for entry in entries("contexts") {
        let it = part(entry, "context");
        if part(&it, "cluster").as_str() == Some(&context.cluster) && part(&it, "user").as_str() == Some(&context.user)
        {
            fields(place, ": context", &it, &CONTEXT)?;
        }
    }
    let cluster = named("clusters", &context.cluster);
    fields(place, ": clusters", &cluster, &["name", "cluster"])?;
    fields(place, ": cluster", &part(&cluster, "cluster"), &CLUSTER)?;
    let user = named("users", &context.user);
    fields(place, ": users", &user, &["name", "user"])?;
    fields(place, ": user", &part(&user, "user"), &USER)?;
    let exec = part(&part(&user, "user"), "exec");
    fields(place, ": exec", &exec, &EXEC)?;
    for variable in part(&exec, "env").as_sequence().into_iter().flatten() {
        fields(place, ": exec.env", variable, &["name", "value"])?;
    }
    Ok(())
}

/// Whom the kubeconfig says to act as. Passed over, we would have more rights than were asked for.
fn impersonate(place: &Place, account: &Account) -> Result<Option<Impersonate>, SettingsError> {
    let Account { r#as: user, as_uid, as_groups, as_user_extra, .. } = account;
    let others = !as_uid.is_empty() || !as_groups.is_empty() || !as_user_extra.is_empty();
    match (user.is_empty(), others) {
        (true, false) => Ok(None),
        (true, true) => Err(fail(
            &format!("{}: as", place.setting),
            "as-uid, as-groups or as-user-extra without it: say whom to act as",
        )),
        (false, _) => Ok(Some(Impersonate {
            user: user.clone(),
            uid: Some(as_uid.clone()).filter(|it| !it.is_empty()),
            groups: as_groups.clone(),
            extra: as_user_extra.clone().into_iter().collect(),
        })),
    }
}

fn names(configs: &[(Place, Config)]) -> Option<String> {
    let names: Vec<&str> = configs.iter().map(|(place, _)| place.setting.as_str()).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn fail(setting: &str, what: impl fmt::Display) -> SettingsError {
    SettingsError::Setting { setting: setting.to_owned(), what: what.to_string() }
}

fn beside(place: &Place, file: &str) -> PathBuf {
    let folder = place.path.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    folder.join(file)
}

/// PEM inline, which is stronger, or in a file.
fn pem(place: &Place, key: &str, data: &str, file: &str) -> Result<Option<Pem>, SettingsError> {
    let setting = format!("{}: {key}", place.setting);
    if !data.is_empty() {
        let bytes = STANDARD
            .decode(data.split_ascii_whitespace().collect::<String>())
            .map_err(|_| fail(&format!("{setting}-data"), "no base64; paste it as kubectl writes it"))?;
        return Ok(Some(Pem::Inline(bytes)));
    }
    Ok((!file.is_empty()).then(|| Pem::File { setting, path: beside(place, file) }))
}

fn trust(place: &Place, cluster: &Cluster) -> Result<Tls, SettingsError> {
    let ca = pem(place, "certificate-authority", &cluster.certificate_authority_data, &cluster.certificate_authority)?;
    Ok(Tls {
        ca,
        identity: None,
        insecure: cluster.insecure_skip_tls_verify,
        server_name: Some(cluster.tls_server_name.clone()).filter(|it| !it.is_empty()),
    })
}

fn identity(place: &Place, account: &Account) -> Result<Option<Identity>, SettingsError> {
    let cert = pem(place, "client-certificate", &account.client_certificate_data, &account.client_certificate)?;
    let key = pem(place, "client-key", &account.client_key_data, &account.client_key)?;
    match (cert, key) {
        (None, None) => Ok(None),
        (Some(cert), Some(key)) => Ok(Some(Identity { cert, key })),
        _ => Err(fail(&place.setting, "client-certificate and client-key belong together: give both or neither")),
    }
}

/// client-go's order: a token's file, a token, a name and password, a program.
fn who(place: &Place, account: &Account, server: &str, tls: &Tls) -> Result<User, SettingsError> {
    if !account.token_file.is_empty() {
        return Ok(User::TokenFile(beside(place, &account.token_file)));
    }
    if !account.token.is_empty() {
        return Ok(User::Token(account.token.clone()));
    }
    if !account.username.is_empty() {
        return Ok(User::Basic(account.username.clone(), account.password.clone()));
    }
    if let Some(exec) = &account.exec {
        return Ok(User::Exec(program(place, exec, server, tls)?));
    }
    if account.auth_provider.is_some() {
        return Err(fail(
            &format!("{}: auth-provider", place.setting),
            "Kubernetes has given these up; use exec, a token or a certificate",
        ));
    }
    Ok(User::Certificate)
}

fn program(place: &Place, exec: &ExecConfig, server: &str, tls: &Tls) -> Result<Exec, SettingsError> {
    let setting = format!("{}: exec", place.setting);
    if !matches!(&*exec.api_version, "client.authentication.k8s.io/v1" | "client.authentication.k8s.io/v1beta1") {
        return Err(fail(
            &format!("{setting}.apiVersion"),
            format_args!("{:?}: expected client.authentication.k8s.io/v1", exec.api_version),
        ));
    }
    if exec.command.is_empty() {
        return Err(fail(&format!("{setting}.command"), "names no program"));
    }
    if exec.interactive_mode == "Always" {
        return Err(fail(&format!("{setting}.interactiveMode"), "Always: nobody is here to answer the program"));
    }
    // A bare name is looked up in PATH; what has a slash is relative to the kubeconfig.
    let command = if exec.command.contains('/') { beside(place, &exec.command) } else { PathBuf::from(&exec.command) };
    let ca = match (&tls.ca, exec.provide_cluster_info) {
        (Some(ca), true) => Some(STANDARD.encode(ca.read()?)),
        _ => None,
    };
    Ok(Exec {
        setting,
        api_version: exec.api_version.clone(),
        command,
        arguments: exec.args.clone().unwrap_or_default(),
        environment: exec.env.clone().unwrap_or_default(),
        hint: exec.install_hint.clone(),
        cluster: exec.provide_cluster_info.then(|| {
            serde_json::json!({
                "server": server, "tls-server-name": tls.server_name, "insecure-skip-tls-verify": tls.insecure,
                "certificate-authority-data": ca,
            })
        }),
    })
}
