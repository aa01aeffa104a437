//! The exporter's own health: always there, also before the first report and while a source is away.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::catalogue as c;
use super::certificates::Certificates;
use super::exposition::{Exposition, Value, unix};
use super::process::Process;
use super::published::Published;

/// What is counted while running.
#[derive(Debug, Default)]
pub struct Vitals {
    /// By [`c::CODES`].
    requests: [AtomicU64; c::CODES.len()],
    certificates: Certificates,
}

impl Vitals {
    /// With certificates to look at.
    pub fn with(certificates: Certificates) -> Vitals {
        Vitals { certificates, ..Vitals::default() }
    }

    /// Counts an answer over HTTP.
    pub fn count_request(&self, code: u16) {
        let position = c::CODES.iter().position(|known| known.parse() == Ok(code));
        debug_assert!(position.is_some(), "the catalogue does not know the code {code}");
        if let Some(counter) = position.and_then(|position| self.requests.get(position)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// As of now.
    pub fn signs(&self) -> VitalSigns {
        VitalSigns {
            build: Build::THIS,
            requests: self.requests.each_ref().map(|counter| counter.load(Ordering::Relaxed)),
            process: Process::read(),
            certificates: self.certificates.expirations(),
        }
    }
}

/// What a scrape says about the exporter: plain data.
#[derive(Debug, Clone)]
pub struct VitalSigns {
    /// The running program.
    pub build: Build,
    /// Answers by [`c::CODES`].
    pub requests: [u64; c::CODES.len()],
    /// Its process.
    pub process: Process,
    /// By name, when certificates run out: seconds since 1970.
    pub certificates: Vec<(&'static str, u64)>,
}

/// The running program.
#[derive(Debug, Clone, Copy)]
pub struct Build {
    /// The package's version.
    pub version: &'static str,
    /// The commit, where the build was told.
    pub revision: &'static str,
    /// What it was built for.
    pub arch: &'static str,
}

impl Build {
    /// This program. A build names its commit in `CALICO_EXPORTER_REVISION`.
    pub const THIS: Build = Build {
        version: env!("CARGO_PKG_VERSION"),
        revision: match option_env!("CALICO_EXPORTER_REVISION") {
            Some(revision) => revision,
            None => "unknown",
        },
        arch: std::env::consts::ARCH,
    };
}

/// Writes the exporter's own series.
pub(super) fn write(published: &Published, signs: &VitalSigns, out: &mut dyn Exposition) -> fmt::Result {
    let Build { version, revision, arch } = signs.build;
    out.series(&c::BUILD_INFO, &mut |samples| samples.sample(&[version, revision, arch], Value::Whole(1)))?;
    if let Some(routes) = &published.report.routes {
        let dataplane = c::DATAPLANES[usize::from(routes.bpf)];
        out.series(&c::NODE_INFO, &mut |samples| samples.sample(&[&*published.node, dataplane], Value::Whole(1)))?;
    }
    sources(published, out)?;
    if let Some(time) = published.report_time {
        out.series(&c::REPORT_TIMESTAMP, &mut |samples| samples.sample(&[], unix(time).into()))?;
        out.series(&c::AUDIT_DURATION, &mut |samples| samples.sample(&[], published.audit_seconds.into()))?;
    }
    out.series(&c::HTTP_REQUESTS, &mut |samples| {
        c::CODES.iter().zip(signs.requests).try_for_each(|(code, count)| samples.sample(&[code], count.into()))
    })?;
    out.series(&c::CERTIFICATE_EXPIRATION, &mut |samples| {
        signs.certificates.iter().try_for_each(|(name, time)| samples.sample(&[name], (*time).into()))
    })?;
    let process = &signs.process;
    for (series, value) in [
        (&c::PROCESS_CPU, process.cpu_seconds.map(Value::from)),
        (&c::PROCESS_RESIDENT, process.resident_bytes.map(Value::from)),
        (&c::PROCESS_VIRTUAL, process.virtual_bytes.map(Value::from)),
        (&c::PROCESS_OPEN_FDS, process.open_fds.map(Value::from)),
        (&c::PROCESS_MAX_FDS, process.max_fds.map(Value::from)),
        (&c::PROCESS_START_TIME, process.start_seconds.map(Value::from)),
    ] {
        if let Some(value) = value {
            out.series(series, &mut |samples| samples.sample(&[], value))?;
        }
    }
    Ok(())
}

/// By name: a datastore and a kernel that are both read from files are one `file`, as current as the worse of them.
fn sources(published: &Published, out: &mut dyn Exposition) -> fmt::Result {
    struct Source {
        in_sync: bool,
        last_sync: Option<f64>,
        resyncs: u64,
        denied: usize,
    }
    let mut sources: BTreeMap<&str, Source> = BTreeMap::new();
    for status in published.enabled() {
        let last_sync = status.last_sync.map(unix);
        sources
            .entry(status.name)
            .and_modify(|source| {
                source.in_sync &= status.in_sync;
                source.last_sync = source.last_sync.zip(last_sync).map(|(one, other)| one.min(other));
                source.resyncs += status.resyncs;
                source.denied += status.denied.len();
            })
            .or_insert(Source {
                in_sync: status.in_sync,
                last_sync,
                resyncs: status.resyncs,
                denied: status.denied.len(),
            });
    }
    out.series(&c::SOURCE_IN_SYNC, &mut |samples| {
        sources.iter().try_for_each(|(name, source)| samples.sample(&[name], source.in_sync.into()))
    })?;
    out.series(&c::SOURCE_LAST_SYNC, &mut |samples| {
        for (name, source) in &sources {
            if let Some(time) = source.last_sync {
                samples.sample(&[name], time.into())?;
            }
        }
        Ok(())
    })?;
    out.series(&c::SOURCE_RESYNCS, &mut |samples| {
        sources.iter().try_for_each(|(name, source)| samples.sample(&[name], source.resyncs.into()))
    })?;
    out.series(&c::DATASTORE_CHANGES, &mut |samples| {
        c::CONFIGURED.into_iter().try_for_each(|kind| {
            samples.sample(&[kind.as_str()], published.changes.get(&kind).copied().unwrap_or_default().into())
        })
    })?;
    out.series(&c::SOURCE_DENIED, &mut |samples| {
        sources.iter().try_for_each(|(name, source)| samples.sample(&[name], Value::Whole(source.denied as u64)))
    })
}
