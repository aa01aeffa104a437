//! Calico's objects behind the Kubernetes API: whether they are there, and how the API is reached.

use super::{ConfigError, DatastoreSource, Environment, etcd, flag};
use crate::cli::{DatastoreType, SourceArgs};
use crate::source::kubernetes::settings::{Settings, Written};
use crate::source::kubernetes::{ApiGroup, Config, Convention};

/// What is read, as far as it is the Kubernetes API: told, or where etcd's endpoints are not, as Calico itself decides
/// (`applyConfigDefaults`). A `calicoctl.cfg` is asked first, and completes the convention.
pub(super) fn datastore(
    told: Option<DatastoreType>,
    args: &SourceArgs,
    environment: Environment<'_>,
    convention: &mut Convention,
) -> Result<Option<DatastoreSource>, ConfigError> {
    let in_file = |error: &dyn std::fmt::Display| ConfigError::Flags(format!("--calico.config: {error}"));
    let written = match &args.calico_config {
        None => None,
        Some(path) => Some(Written::read(path).map_err(|error| in_file(&error))?),
    };
    // Flags and variables are stronger than the file only in this: which of its two halves counts.
    let said = written.as_ref().and_then(|it| it.datastore_type.as_deref());
    let is_kubernetes = match (told, &written) {
        (Some(told), _) => told == DatastoreType::Kubernetes,
        (None, Some(written)) => said == Some("kubernetes") || said.is_none() && !written.names_etcd,
        (None, None) => !names_etcd(args, environment),
    };
    if !is_kubernetes {
        return Ok(None);
    }
    if let Some((name, value)) = etcd::given_flag(&SourceArgs { calico_config: None, ..args.clone() }) {
        return Err(flag(name, value, "the datastore is the Kubernetes API (--datastore.type): leave it out"));
    }
    let settings = match (&args.calico_config, &written) {
        (Some(path), Some(written)) => {
            convention.group = convention.group.or(written.group.as_deref().map(ApiGroup::told));
            convention.use_pod_cidr |= written.use_pod_cidr;
            Settings::from_calicoctl(path, environment).map_err(|error| in_file(&error))?
        }
        _ => Settings::from_environment(environment).map_err(|error| match told {
            Some(_) => ConfigError::Settings(error),
            None => ConfigError::Flags(format!(
                "no datastore: name etcd's endpoints (--etcd.endpoints, ETCD_ENDPOINTS), or the Kubernetes API ({error})"
            )),
        })?,
    };
    settings.check().map_err(ConfigError::Flags)?;
    let mut config = Config::new(&settings);
    config.convention = convention.clone();
    Ok(Some(DatastoreSource::Kubernetes(Box::new(config))))
}

fn names_etcd(args: &SourceArgs, environment: Environment<'_>) -> bool {
    let set = |name: &str| environment(name).is_some_and(|value| !value.is_empty());
    let named = ["ETCD_ENDPOINTS", "CALICO_ETCD_ENDPOINTS", "ETCD_DISCOVERY_SRV", "CALICO_ETCD_DISCOVERY_SRV"];
    etcd::given_flag(args).is_some() || named.into_iter().any(set)
}
