//! Where etcd is and how it is spoken to, by flags over the environment, or by a `calicoctl.cfg`.

use std::path::PathBuf;

use super::{ConfigError, Environment, flag};
use crate::cli::SourceArgs;
use crate::source::etcd::settings::{Credentials, Identity, Pem, Settings, SettingsError, read_password};

/// The first flag of etcd's that was given, and what it was given.
pub(super) fn given_flag(args: &SourceArgs) -> Option<(&'static str, String)> {
    let path = |path: &PathBuf| path.display().to_string();
    [
        ("--etcd.endpoints", args.etcd_endpoints.clone()),
        ("--etcd.username", args.etcd_username.clone()),
        ("--etcd.password-file", args.etcd_password_file.as_ref().map(path)),
        ("--etcd.ca-file", args.etcd_ca_file.clone()),
        ("--etcd.cert-file", args.etcd_cert_file.clone()),
        ("--etcd.key-file", args.etcd_key_file.clone()),
        ("--calico.config", args.calico_config.as_ref().map(path)),
    ]
    .into_iter()
    .find_map(|(flag, value)| Some((flag, value?)))
}

/// The file that `--calico.config` names, or the environment with the flags over it.
pub(super) fn settings(args: &SourceArgs, environment: Environment<'_>) -> Result<Settings, ConfigError> {
    if let Some(path) = &args.calico_config {
        if let Some((name, value)) = given_flag(&SourceArgs { calico_config: None, ..args.clone() }) {
            return Err(flag(name, value, "--calico.config is used instead: say it in that file"));
        }
        let settings = Settings::from_calicoctl(path).and_then(checked);
        return settings.map_err(|error| ConfigError::Flags(format!("--calico.config: {error}")));
    }
    let password = match &args.etcd_password_file {
        None => None,
        Some(path) => Some(read_password(path).map_err(|error| flag("--etcd.password-file", path.display(), error))?),
    };
    let given = |name: &str| match name {
        "ETCD_ENDPOINTS" => args.etcd_endpoints.clone(),
        "ETCD_USERNAME" => args.etcd_username.clone(),
        "ETCD_PASSWORD" => password.clone(),
        "ETCD_CA_CERT_FILE" => args.etcd_ca_file.clone(),
        "ETCD_CERT_FILE" => args.etcd_cert_file.clone(),
        "ETCD_KEY_FILE" => args.etcd_key_file.clone(),
        _ => None,
    };
    // A flag is stronger than either form of its variable.
    let variable = |name: &str| {
        let plain = name.strip_prefix("CALICO_").unwrap_or(name);
        match given(plain) {
            Some(_) if plain != name => None,
            Some(value) => Some(value),
            None => environment(name),
        }
    };
    let mut settings = Settings::from_environment(&variable).map_err(|error| in_flags(error, &given))?;
    if let (Some(user), Some(path)) = (&mut settings.credentials, &args.etcd_password_file) {
        *user = Credentials::from_file(user.username.clone(), path.clone());
    }
    Ok(checked(settings).map_err(|error| in_flags(error, &given))?)
}

/// Certificates are read again with each connection; one that cannot be read at the start is a mistake in the flags.
fn checked(settings: Settings) -> Result<Settings, SettingsError> {
    if let Some(ca) = &settings.tls.ca {
        Pem::read(ca)?;
    }
    if let Some(Identity { cert, key }) = &settings.tls.identity {
        cert.read()?;
        key.read()?;
    }
    Ok(settings)
}

/// Names the flag, where the value came from a flag.
fn in_flags(error: SettingsError, given: &dyn Fn(&str) -> Option<String>) -> SettingsError {
    match error {
        SettingsError::Setting { setting, what } => {
            let plain = setting.strip_prefix("CALICO_").unwrap_or(&setting).to_owned();
            let name = match plain.as_str() {
                "ETCD_ENDPOINTS" => "--etcd.endpoints",
                "ETCD_USERNAME" => "--etcd.username",
                "ETCD_PASSWORD" => "--etcd.password-file",
                "ETCD_CA_CERT_FILE" => "--etcd.ca-file",
                "ETCD_CERT_FILE" => "--etcd.cert-file",
                "ETCD_KEY_FILE" => "--etcd.key-file",
                _ => return SettingsError::Setting { setting, what },
            };
            let setting = if given(&plain).is_some() { name.to_owned() } else { format!("{name} ({setting})") };
            SettingsError::Setting { setting, what }
        }
        other => other,
    }
}
