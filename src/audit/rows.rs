//! Expected against actual, a row a destination: what a person looks at. Rows are made when somebody asks, and only
//! those that are shown.

use std::time::SystemTime;

use ipnet::IpNet;

use super::expect::{Context, Expectation, Form};
use super::fault::RouteReason;
use super::judge::{Verdict, needed_devices};
use super::now::Now;
use super::report::RouteClass;
use super::routes::RouteAudit;
use super::words;
use crate::model::{Name, Protocol};
use crate::state::State;

/// How a destination stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteState {
    /// What is there is what ought to be.
    Ok,
    /// A difference younger than the grace period.
    Pending(RouteReason),
    /// A difference that has stood for too long.
    Fault(RouteReason),
    /// Not judged by itself: the tunnel device that it needs is down or missing, which is one fault for all its routes
    /// (J19).
    NoDevice(Name),
    /// It changed since the last look, a moment ago; or another host's block is being read to judge it.
    Unsettled,
}

/// One destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRow {
    /// The destination; a single address bare.
    pub destination: String,
    /// What the route is for.
    pub class: Option<RouteClass>,
    /// The host that it leads to.
    pub host: Option<Name>,
    /// What ought to be there; empty where nothing ought to be.
    pub expected: String,
    /// What is there; empty where nothing is.
    pub actual: String,
    /// How both compare.
    pub state: RouteState,
    /// What is wrong, in a sentence; empty where nothing is.
    pub detail: String,
    /// Since when a difference stands, as far as this process saw.
    pub since: Option<SystemTime>,
}

/// Some of the rows: faults first, then younger differences, then the rest, each by destination.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoutePage {
    /// All destinations that are judged.
    pub total: usize,
    /// Those that are faults.
    pub faults: usize,
    /// Those that differ and are too young.
    pub pending: usize,
    /// The index of the first row shown.
    pub from: usize,
    /// Those shown.
    pub rows: Vec<RouteRow>,
}

/// Whether there is anything to show: endpoints that are only to be looked up are nothing.
fn is_shown(verdict: &Verdict) -> bool {
    verdict.actual.is_some() || verdict.expected.is_some() || verdict.difference.is_some()
}

impl RouteAudit {
    /// Rows from the one at `from` on, at most `limit`; beyond the end, the last ones. Nothing before the first look.
    pub fn rows(&self, state: &State, now: Now, from: usize, limit: usize) -> RoutePage {
        let Some(context) = self.context(state) else { return RoutePage::default() };
        let (faults, pending): (Vec<_>, Vec<_>) =
            self.differences().partition(|(net, difference)| self.is_fault(net, difference, now));
        let rest = || self.verdicts.iter().filter(|(_, it)| is_shown(it) && it.difference.is_none());
        let total = faults.len() + pending.len() + rest().count();
        let from = match total.checked_sub(1) {
            Some(last) if limit > 0 => from.min(last / limit * limit),
            _ => 0,
        };
        let differing = faults.iter().chain(&pending).map(|(net, _)| *net).skip(from).take(limit);
        let beside = from.saturating_sub(faults.len() + pending.len());
        let mut shown: Vec<&IpNet> = differing.collect();
        shown.extend(rest().map(|(net, _)| net).skip(beside).take(limit - shown.len()));
        let rows = (from..).zip(shown).filter_map(|(index, net)| {
            let verdict = self.verdicts.get(net)?;
            Some(match &verdict.difference {
                Some(difference) => RouteRow {
                    destination: words::destination(net),
                    class: Some(difference.class),
                    host: Some(difference.host.clone()),
                    expected: if difference.programmer.is_some() { difference.expected.clone() } else { String::new() },
                    actual: if difference.reason == RouteReason::Missing {
                        String::new()
                    } else {
                        difference.actual.clone()
                    },
                    state: match index < faults.len() {
                        true => RouteState::Fault(difference.reason),
                        false => RouteState::Pending(difference.reason),
                    },
                    detail: difference.detail.clone(),
                    since: self.since(self.differing.since(net)),
                },
                None => context.row(net, verdict),
            })
        });
        RoutePage { total, faults: faults.len(), pending: pending.len(), from, rows: rows.collect() }
    }
}

impl Context<'_> {
    /// A destination without difference, told anew: a verdict keeps no words for what is as it ought to be.
    fn row(&self, net: &IpNet, verdict: &Verdict) -> RouteRow {
        let route = self.kernel.route(net);
        let by_bird = route.is_some_and(|route| route.protocol == Protocol::BIRD);
        let mut expectations = self.expectations(net);
        expectations.retain(|expectation| by_bird || !expectation.bird_only);
        let meets = |expectation: &&Expectation| route.is_some_and(|it| self.compare(it, expectation).is_none());
        let met = expectations.iter().find(meets);
        let told = met.or(expectations.first());
        let needed = told.map(|it| needed_devices(&it.form)).unwrap_or_default();
        let undecided = verdict.doubt.as_ref().is_some_and(|doubt| !doubt.told);
        let state = match (met, told, needed.first()) {
            (None, ..) if undecided => RouteState::Unsettled,
            // What nobody expects and is no fault, or what is as it ought to be.
            (_, None, _) | (Some(_), ..) => RouteState::Ok,
            (None, _, Some(device)) if !self.is_any_up(needed) => RouteState::NoDevice((*device).into()),
            (None, ..) => RouteState::Unsettled,
        };
        let expected = told.map(|told| match told.form {
            Form::Unknown => "cannot be told".to_owned(),
            ref form => words::form(net, form),
        });
        RouteRow {
            destination: words::destination(net),
            class: verdict.actual.or(verdict.expected).map(|(class, _)| class),
            host: told.and_then(|told| told.host.clone()),
            expected: expected.unwrap_or_default(),
            actual: route.map(ToString::to_string).unwrap_or_default(),
            state,
            detail: String::new(),
            since: None,
        }
    }
}
