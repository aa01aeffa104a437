//! `plan`: how much still fits. Exit 0 it does (or nothing was asked), 1 it does not or that is chance, 2 cannot tell.

use std::process::ExitCode;
use std::time::Duration;

use super::{output, picture, read};
use crate::audit::CannotTell;
use crate::audit::plan::{Fit, Newcomers, Plan, PlanQuestion};
use crate::cli::{Output, PlanArgs};
use crate::config::{ConfigError, Sources};
use crate::state::State;

mod json;
mod table;

/// Reads the datastore once and counts.
///
/// # Errors
///
/// A flag, a file or the datastore cannot be used.
pub async fn plan(args: &PlanArgs, sources: Sources) -> Result<ExitCode, ConfigError> {
    let question = PlanQuestion { newcomers: newcomers(args)?, sizes: args.block_size };
    // The plan is the cluster's: of this host's kernel it asks nothing.
    let sources = Sources { kernel: None, ..sources };
    let events = picture::whole(&sources, &read::datastore(&sources)?.0).await?;
    let mut state = State::new(true);
    for event in events {
        state.apply(event, Duration::ZERO);
    }
    if let Some(why) = CannotTell::of_datastore(&state.datastore, sources.may_be_partial()) {
        return Err(why.into());
    }
    let plan = Plan::of(&state.datastore, &question);
    match args.output {
        Output::Json => output::json(json::of(&plan, question.newcomers.as_ref())),
        Output::Text => output::text(&table::of(&plan, question.newcomers.as_ref())),
    }
    Ok(match (plan.unknown.is_empty(), plan.fits()) {
        (false, _) => ExitCode::from(2),
        (true, None | Some(Fit::Yes)) => ExitCode::SUCCESS,
        (true, Some(Fit::Depends | Fit::No)) => ExitCode::from(1),
    })
}

fn newcomers(args: &PlanArgs) -> Result<Option<Newcomers>, ConfigError> {
    let Some(hosts) = args.add_hosts else { return Ok(None) };
    let flag = |flag, value: String, what: &str| ConfigError::Flag { flag, value, what: what.to_owned() };
    if hosts > Newcomers::MOST_HOSTS {
        return Err(flag("--add-hosts", hosts.to_string(), "a million hosts is the most that can be planned"));
    }
    let mut labels = Vec::new();
    for pair in args.host_labels.iter().flat_map(|text| text.split(',')).filter(|pair| !pair.is_empty()) {
        let Some((name, value)) = pair.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(flag("--host-labels", pair.to_owned(), "write labels as zone=a,rack=7"));
        };
        labels.push((name, value));
    }
    Ok(Some(Newcomers {
        hosts,
        pods_per_host: args.pods_per_host.unwrap_or_default(),
        labels: labels.into_iter().collect(),
    }))
}
