//! A run: one scenario after the other, each to begin and to end in silence.

use std::time::{Duration, Instant};

use crate::lab::Lab;
use crate::monitoring::Notice;

/// An alert that has to arrive, with some of its labels.
pub(crate) type Expected = (&'static str, &'static [(&'static str, &'static str)]);

/// A fault and its end.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Whether it is part of the shortened run.
    pub(crate) short: bool,
    pub(crate) expected: &'static [Expected],
    /// Alerts that may come as well, being true; any other one is a failure.
    pub(crate) tolerated: &'static [&'static str],
    pub(crate) fault: fn(&mut Lab),
    pub(crate) repair: fn(&mut Lab),
}

/// Whether this is that alert, and went to whom it concerns.
fn matches(notice: &Notice, expected: &Expected) -> bool {
    let label = |name: &str| notice.labels.get(name).map(String::as_str);
    let to = match label("severity") {
        Some("critical") => "pager",
        Some("info") => "digest",
        _ => "tickets",
    };
    notice.name() == expected.0 && notice.to == to && expected.1.iter().all(|(name, value)| label(name) == Some(value))
}

impl Scenario {
    /// Plays it; fails where the alerts are not those that they ought to be. The fault is taken out either way.
    pub(crate) fn play(&self, lab: &mut Lab) -> Result<(), String> {
        lab.wait("silence before", |lab| lab.is_quiet())?;
        let (begun, first) = (Instant::now(), lab.monitoring.received());
        (self.fault)(lab);
        let arrived = lab.wait("its alerts", |lab| {
            let notices = lab.monitoring.received_since(first);
            self.expected.iter().all(|one| notices.iter().any(|notice| notice.firing && matches(notice, one)))
        });
        let (fired, repaired) = (begun.elapsed(), Instant::now());
        (self.repair)(lab);
        arrived?;
        lab.wait("its end", |lab| {
            let notices = lab.monitoring.received_since(first);
            self.expected.iter().all(|one| is_over(&notices, one)) && lab.is_quiet()
        })?;
        let mut unexpected = lab.monitoring.received_since(first);
        unexpected.retain(|notice| notice.firing && !self.tolerated.contains(&notice.name()));
        unexpected.retain(|notice| !self.expected.iter().any(|one| matches(notice, one)));
        if !unexpected.is_empty() {
            return Err(format!("these were not expected: {unexpected:#?}"));
        }
        let names: Vec<_> = self.expected.iter().map(|(name, _)| *name).collect();
        crate::say(&format!(
            "ok    {}: {} after {}, over {} after the repair",
            self.name,
            names.join(", "),
            seconds(fired),
            seconds(repaired.elapsed())
        ));
        Ok(())
    }
}

/// Whether each of these alerts that arrived was followed by the word that it is resolved.
fn is_over(notices: &[Notice], expected: &Expected) -> bool {
    let about: Vec<_> = notices.iter().filter(|notice| matches(notice, expected)).collect();
    about
        .iter()
        .filter(|notice| notice.firing)
        .all(|fired| about.iter().any(|later| !later.firing && later.labels == fired.labels && later.at > fired.at))
}

/// Something healthy, at whose end nobody has been told anything.
pub(crate) struct Healthy {
    pub(crate) name: &'static str,
    /// Whether it is the shortened run's; the whole run does all others.
    pub(crate) short: bool,
    pub(crate) play: fn(&mut Lab),
}

impl Healthy {
    pub(crate) fn play(&self, lab: &mut Lab) -> Result<(), String> {
        lab.wait("silence before", |lab| lab.is_quiet())?;
        let (begun, first) = (Instant::now(), lab.monitoring.received());
        (self.play)(lab);
        lab.wait("silence after", |lab| lab.is_quiet())?;
        let mut notices = lab.monitoring.received_since(first);
        notices.retain(|notice| notice.firing);
        if !notices.is_empty() {
            return Err(format!("not one alert was expected: {notices:#?}"));
        }
        crate::say(&format!("ok    healthy: {}: not one alert in {}", self.name, seconds(begun.elapsed())));
        Ok(())
    }
}

pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
