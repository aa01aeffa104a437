//! `check`: look once, name everything that is wrong. Exit 0 clean, 1 findings, 2 cannot tell.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use tracing::info;

use super::output;
use super::patience::patiently;
use super::picture::picture;
use super::read::{self, Dump};
use crate::audit::{AuditOptions, Auditor, Finding, IpamOptions, Now, Report, RouteOptions, TunnelOptions};
use crate::cli::{CheckArgs, Output};
use crate::config::{ConfigError, Sources};
use crate::metrics::InSync;
use crate::model::Printable;
use crate::state::{Follow, Lookup, Side, State};
use crate::web::findings_json;

mod terminal;
mod text;

use terminal::Terminal;
use text::Text;

/// Looks once, or live twice, `--settle` apart: what stands both times is a finding.
///
/// # Errors
///
/// A flag or a file cannot be used.
pub async fn check(args: &CheckArgs, sources: Sources) -> Result<ExitCode, ConfigError> {
    let dump = read::dump(&sources)?;
    let now = Now { monotonic: Duration::ZERO, wall: dump.newest.unwrap_or_else(SystemTime::now) };
    let (state, auditor) = look(&sources, &dump, now).await?;
    let in_sync = in_sync(&sources, &state);
    let mut report = auditor.report(&state, now);
    if !sources.is_dump() && !report.findings.is_empty() {
        patiently("waiting for differences to settle (--settle)", tokio::time::sleep(args.settle)).await;
        let (state, auditor) = look(&sources, &dump, now).await?;
        let second = auditor.report(&state, now);
        let standing: BTreeSet<_> = report.findings.iter().map(Finding::identity).collect();
        let findings: Vec<Finding> =
            second.findings.iter().filter(|it| standing.contains(&it.identity())).cloned().collect();
        report = Report { causes: auditor.causes(&state, &findings), findings, ..second };
    }
    if args.output == Output::Json {
        report.notes.iter().for_each(|note| info!("{note}"));
    }
    match args.output {
        Output::Json => output::json(findings_json(&dump.node, in_sync, &report.findings, &report.causes)),
        Output::Text => {
            let terminal = Terminal::of_stdout(args.color);
            output::text(
                &Text { node: &dump.node, sources: &sources, report: &report, terminal, all: args.all }.write(),
            );
        }
    }
    Ok(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

pub(super) fn in_sync(sources: &Sources, state: &State) -> InSync {
    let tunnels = !sources.collectors.tunnels || state.in_sync(Side::Tunnels);
    InSync { datastore: state.in_sync(Side::Datastore), kernel: state.in_sync(Side::Kernel) && tunnels }
}

/// Takes a picture and judges everything that it shows at once: live, a second look says what stands.
///
/// # Errors
///
/// A source cannot be read, or what it says is too little for an answer.
pub(super) async fn look(sources: &Sources, dump: &Dump, now: Now) -> Result<(State, Auditor), ConfigError> {
    let (events, mut answers) = picture(sources, dump).await?;
    let follow = sources.follow(&dump.node);
    let mut state = State::new(follow == Follow::Blocks).following(follow);
    for event in events {
        state.apply(event, now.monotonic);
    }
    let mut auditor = Auditor::new(AuditOptions {
        ipam: sources.collectors.ipam.then_some(IpamOptions { live: false, affinity_grace: Duration::ZERO }),
        routes: sources.collectors.routes.then(|| RouteOptions {
            node: dump.node.clone(),
            backend: sources.backend,
            grace: None,
            tunnels: TunnelOptions { entries: sources.collectors.tunnels, felix: sources.felix },
        }),
        leaks: sources.collectors.leaks,
        leak_grace: Duration::ZERO,
    })
    .of_dump(sources.may_be_partial());
    auditor.look(&mut state, now);
    let mut asked = BTreeSet::new();
    loop {
        let lookups: Vec<Lookup> = auditor.wanted(&state).into_iter().filter(|it| asked.insert(it.id())).collect();
        if lookups.is_empty() {
            break;
        }
        for event in patiently("reading the datastore", answers.answer(&lookups)).await? {
            state.apply(event, now.monotonic);
        }
        auditor.look(&mut state, now);
    }
    if let Some(why) = auditor.cannot_tell(&state) {
        return Err(why.into());
    }
    Ok((state, auditor))
}

/// Values come from a datastore that anybody may have written to: no control sequence reaches the terminal.
pub(super) fn printable(text: &str) -> String {
    Printable(text).to_string()
}
