//! `check`: look once, name everything that is wrong. Exit 0 clean, 1 findings, 2 cannot tell.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use super::read;
use crate::audit::{AuditOptions, Auditor, Finding, IpamOptions, Metric, Now, Report, RouteOptions};
use crate::cli::{CheckArgs, Output};
use crate::config::{ConfigError, DatastoreSource, KernelSource, Sources};
use crate::metrics::InSync;
use crate::model::Name;
use crate::source::etcd;
#[cfg(feature = "kubernetes")]
use crate::source::kubernetes;
use crate::source::netlink;
use crate::state::{Event, Side, State};
use crate::web::findings_json;

/// How long a person waits without a word.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks once, or live twice, `--settle` apart: what stands both times is a finding.
///
/// # Errors
///
/// A flag or a file cannot be used.
pub async fn check(args: &CheckArgs, sources: Sources) -> Result<ExitCode, ConfigError> {
    let dump = read::dump(&sources)?;
    let now = Now { monotonic: Duration::ZERO, wall: dump.newest.unwrap_or_else(SystemTime::now) };
    let first = picture(&sources, &dump.events).await?;
    let (mut report, in_sync) = judge(&sources, &dump.node, first, now);
    if !sources.is_dump() && !report.findings.is_empty() {
        patiently("waiting for differences to settle (--settle)", tokio::time::sleep(args.settle)).await;
        let (second, _) = judge(&sources, &dump.node, picture(&sources, &dump.events).await?, now);
        let standing: BTreeSet<_> = report.findings.iter().map(identity).collect();
        let findings = second.findings.iter().filter(|it| standing.contains(&identity(it))).cloned().collect();
        report = Report { findings, ..second };
    }
    let text = match args.output {
        Output::Json => findings_json(&dump.node, in_sync, &report.findings),
        Output::Text => in_words(&dump.node, &sources, &report.findings),
    };
    let mut out = io::stdout().lock();
    // A reader that has seen enough is no error.
    let _ = writeln!(out, "{}", text.trim_end());
    Ok(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

type Identity<'a> = (Metric, &'a crate::audit::Labels, &'a str, Option<&'a Name>);

fn identity(finding: &Finding) -> Identity<'_> {
    (finding.metric, &finding.labels, &finding.subject, finding.host.as_ref())
}

/// Says on a terminal what takes so long.
async fn patiently<T>(what: &str, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    let began = Instant::now();
    loop {
        match tokio::time::timeout(PATIENCE, &mut work).await {
            Ok(done) => return done,
            Err(_) if io::stderr().is_terminal() => {
                let _ = writeln!(io::stderr(), "still {what} after {} s", began.elapsed().as_secs());
            }
            Err(_) => {}
        }
    }
}

/// One whole picture: what was dumped, and what is read now.
pub(super) async fn picture(sources: &Sources, dumped: &[Event]) -> Result<Vec<Event>, ConfigError> {
    let mut events = dumped.to_vec();
    match &sources.datastore {
        DatastoreSource::Etcd(settings) => {
            let objects = patiently("reading etcd", etcd::snapshot(settings, etcd::Timeouts::default()));
            events.extend(objects.await.map_err(|error| ConfigError::Flags(error.to_string()))?);
        }
        #[cfg(feature = "kubernetes")]
        DatastoreSource::Kubernetes(config) => {
            let objects = patiently("reading the Kubernetes API", kubernetes::snapshot(config));
            events.extend(objects.await.map_err(|error| ConfigError::Flags(error.to_string()))?);
        }
        DatastoreSource::Files(_) => {}
    }
    if matches!(sources.kernel, Some(KernelSource::Netlink)) {
        let kernel = netlink::snapshot().await;
        events.extend(kernel.map_err(|error| ConfigError::Flags(format!("this host's kernel: {error}")))?);
    }
    Ok(events)
}

fn judge(sources: &Sources, node: &Name, events: Vec<Event>, now: Now) -> (Report, InSync) {
    let (state, auditor) = look(sources, node, events, now);
    let in_sync = InSync { datastore: state.in_sync(Side::Datastore), kernel: state.in_sync(Side::Kernel) };
    (auditor.report(&state, now), in_sync)
}

/// Everything that a picture shows is judged at once: live, a second look says what stands.
pub(super) fn look(sources: &Sources, node: &Name, events: Vec<Event>, now: Now) -> (State, Auditor) {
    let mut state = State::new(true);
    for event in events {
        state.apply(event, now.monotonic);
    }
    let mut auditor = Auditor::new(AuditOptions {
        ipam: sources.collectors.ipam.then_some(IpamOptions { live: false, affinity_grace: Duration::ZERO }),
        routes: sources.collectors.routes.then(|| RouteOptions {
            node: node.clone(),
            backend: sources.backend,
            grace: None,
        }),
        leaks: sources.collectors.leaks,
        leak_grace: Duration::ZERO,
    });
    auditor.look(&mut state, now);
    (state, auditor)
}

/// For people: grouped by the series that counts them.
fn in_words(node: &str, sources: &Sources, findings: &[Finding]) -> String {
    let mut text = String::new();
    let what = match (sources.collectors.ipam, sources.collectors.routes) {
        (true, true) => format!("the cluster's IPAM and the routes of {node}"),
        (true, false) => "the cluster's IPAM".to_owned(),
        (false, _) => format!("the routes of {node}"),
    };
    if findings.is_empty() {
        return format!("{what}: nothing is wrong");
    }
    let _ = writeln!(text, "{what}: {} finding{}", findings.len(), if findings.len() == 1 { "" } else { "s" });
    for group in findings.chunk_by(|a, b| a.metric == b.metric && a.labels == b.labels) {
        let labels: Vec<String> =
            group[0].labels.iter().map(|(name, value)| format!("{name}={:?}", value.as_ref())).collect();
        let _ = writeln!(text, "\n{}{{{}}} {}", group[0].metric.name(), labels.join(","), group.len());
        for finding in group {
            let host = finding.host.as_ref().map(|host| format!("  ({host})")).unwrap_or_default();
            let _ = writeln!(text, "  {}{host}", printable(&finding.subject));
            let lines = [
                ("", &finding.detail),
                ("expected: ", &finding.expected),
                ("actual:   ", &finding.actual),
                ("do:       ", &finding.action),
            ];
            for (what, words) in lines.iter().filter(|(_, words)| !words.is_empty()) {
                let _ = writeln!(text, "      {what}{}", printable(words));
            }
        }
    }
    text
}

/// Values come from a datastore that anybody may have written to: no control sequence reaches the terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { '\u{fffd}' } else { it }).collect()
}
