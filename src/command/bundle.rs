//! `bundle`: what this host and the datastore say, in a file that can be given away.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::check;
use super::output;
use super::patience::patiently;
use super::read::Dump;
use crate::audit::Now;
use crate::cli::BundleArgs;
use crate::config::{ConfigError, DatastoreSource, KernelSource, Sources};
use crate::source::bundle::{About, Bundle, Raw};
#[cfg(feature = "kubernetes")]
use crate::source::kubernetes;
use crate::source::{etcd, netlink};
use crate::web::findings_json;

/// Variables that say how Calico works on a host, and hold no secret.
const TOLD: [&str; 6] = [
    "CALICO_API_GROUP",
    "CALICO_NETWORKING_BACKEND",
    "FELIX_INTERFACEPREFIX",
    "FELIX_VXLANPORT",
    "FELIX_VXLANVNI",
    "USE_POD_CIDR",
];

/// Reads everything once and writes it down.
///
/// # Errors
///
/// A source cannot be read, or the file cannot be written.
pub async fn bundle(args: &BundleArgs, sources: Sources) -> Result<ExitCode, ConfigError> {
    let failed = |error: &dyn std::fmt::Display| ConfigError::Flags(error.to_string());
    let Some(node) = sources.node.clone() else {
        return Err(ConfigError::Flags("--node.name: name the host whose kernel this is".to_owned()));
    };
    let raw = match &sources.datastore {
        DatastoreSource::Etcd(settings) => {
            let pairs = patiently("reading etcd", etcd::raw(settings, etcd::Timeouts::default())).await;
            Raw::Etcd(pairs.map_err(|error| failed(&error))?)
        }
        #[cfg(feature = "kubernetes")]
        DatastoreSource::Kubernetes(config) => {
            let read = async {
                let reader = kubernetes::Reader::open(config).await?;
                reader.raw().await
            };
            let (group, lists) = patiently("reading the Kubernetes API", read).await.map_err(|error| failed(&error))?;
            Raw::Kubernetes(group, lists)
        }
        DatastoreSource::Files(_) => {
            return Err(ConfigError::Flags("bundle reads a live datastore: leave --datastore.file out".to_owned()));
        }
    };
    let mut kernel = None;
    if matches!(sources.kernel, Some(KernelSource::Netlink)) {
        let failed = |error| ConfigError::Flags(format!("this host's kernel: {error}"));
        let mut events = netlink::snapshot().await.map_err(failed)?;
        events.extend(netlink::tunnels_snapshot().await.map_err(failed)?);
        kernel = Some(events);
    }
    let environment: BTreeMap<String, String> =
        TOLD.into_iter().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))).collect();
    let now = Now { monotonic: Duration::ZERO, wall: SystemTime::now() };
    let dump = Dump { events: Vec::new(), newest: None, node: node.clone() };
    let (state, auditor) = check::look(&sources, &dump, now).await?;
    let in_sync = check::in_sync(&sources, &state);
    let report = auditor.report(&state, now);
    let findings = findings_json(&node, in_sync, &report.findings, &[]);
    let about = About {
        node: node.to_string(),
        written: OffsetDateTime::from(now.wall).format(&Rfc3339).unwrap_or_default(),
        environment,
        kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        findings: serde_json::from_str(&findings).unwrap_or(Value::Null),
    };
    let others = args.anonymise.then(|| super::picture::whole(&sources, &[]));
    let others = match others {
        Some(events) => Some(events.await?),
        None => None,
    };
    let bundle = Bundle::new(about, &raw, kernel.as_deref(), others.as_deref());
    let path = args.file.display();
    bundle
        .write(&args.file)
        .map_err(|error| ConfigError::Flags(format!("{path}: {error}; name a file that is not there yet")))?;
    let count = report.findings.len();
    output::text(&format!("{path}: {count} findings; `calico-exporter check --bundle {path}` reads it"));
    Ok(ExitCode::SUCCESS)
}
