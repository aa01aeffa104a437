//! Which datastore Calico's objects are in, and what Calico was told of it: flags, and the variables that Calico's own
//! tools read (`libcalico-go/lib/apiconfig/apiconfig.go`), each as `CALICO_NAME` first and then as `NAME`.

use super::{ConfigError, Environment, flag};
use crate::cli::{DatastoreType, SourceArgs};
use crate::source::kubernetes::{ApiGroup, Convention};

fn variable(environment: Environment<'_>, name: &str) -> Option<(String, String)> {
    [format!("CALICO_{name}"), name.to_owned()].into_iter().find_map(|name| {
        let value = environment(&name).filter(|value| !value.is_empty())?;
        Some((name, value))
    })
}

/// Where the objects are; `None` where nothing says it.
pub(super) fn datastore_type(
    args: &SourceArgs,
    environment: Environment<'_>,
) -> Result<Option<DatastoreType>, ConfigError> {
    if args.datastore_type.is_some() {
        return Ok(args.datastore_type);
    }
    match variable(environment, "DATASTORE_TYPE") {
        None => Ok(None),
        Some((_, value)) if value == "etcdv3" => Ok(Some(DatastoreType::Etcdv3)),
        Some((_, value)) if value == "kubernetes" => Ok(Some(DatastoreType::Kubernetes)),
        Some((name, value)) => Err(ConfigError::Flags(format!(
            "--datastore.type ({name}) {value:?}: no datastore of Calico's; say etcdv3 or kubernetes"
        ))),
    }
}

/// A build without the feature reads dumps of the API alone.
///
/// # Errors
///
/// The API is to be followed.
#[cfg(not(feature = "kubernetes"))]
pub(super) fn not_built_in(told: Option<DatastoreType>) -> Result<Option<super::DatastoreSource>, ConfigError> {
    match told {
        Some(DatastoreType::Kubernetes) => {
            let what = "this program was built without the feature kubernetes: give its lists (--datastore.file)";
            Err(flag("--datastore.type", "kubernetes", what))
        }
        _ => Ok(None),
    }
}

/// What Calico was told of the Kubernetes API.
pub(super) fn convention(args: &SourceArgs, environment: Environment<'_>) -> Result<Convention, ConfigError> {
    // As Calico reads it: what is not the one group is the other.
    let told = || environment("CALICO_API_GROUP").filter(|text| !text.is_empty()).map(|text| ApiGroup::told(&text));
    let group = args.api_group.map(Into::into).or_else(told);
    let use_pod_cidr = match variable(environment, "USE_POD_CIDR").filter(|_| !args.use_pod_cidr) {
        None => args.use_pod_cidr,
        Some((name, value)) => truth(&value)
            .ok_or_else(|| flag("--kubernetes.use-pod-cidr", &value, format!("{name} is neither true nor false")))?,
    };
    let interface_prefix = environment("FELIX_INTERFACEPREFIX")
        .and_then(|list| list.split(',').next().filter(|first| !first.is_empty()).map(Into::into));
    Ok(Convention { group, use_pod_cidr, interface_prefix })
}

/// As Go reads a truth value (`strconv.ParseBool`).
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
