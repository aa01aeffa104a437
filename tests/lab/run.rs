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

fn matches(notice: &Notice, expected: &Expected) -> bool {
    notice.name() == expected.0 && expected.1.iter().all(|(label, value)| notice.labels.get(*label).is_some_and(|is| is == value))
}

impl Scenario {
    /// Plays it; panics where the alerts are not those that they ought to be.
    pub(crate) fn play(&self, lab: &mut Lab) {
        lab.until(&format!("silence before: {}", self.name), |lab| lab.is_quiet());
        let (begun, first) = (Instant::now(), lab.monitoring.received());
        (self.fault)(lab);
        lab.until(&format!("alerts of: {}", self.name), |lab| {
            let notices = lab.monitoring.received_since(first);
            self.expected.iter().all(|one| notices.iter().any(|notice| notice.firing && matches(notice, one)))
        });
        let fired = begun.elapsed();
        let repaired = Instant::now();
        (self.repair)(lab);
        lab.until(&format!("the end of: {}", self.name), |lab| {
            let notices = lab.monitoring.received_since(first);
            let over = |one| {
                let about: Vec<_> = notices.iter().filter(|notice| matches(notice, one)).collect();
                about.iter().filter(|notice| notice.firing).all(|fired| {
                    about.iter().any(|later| !later.firing && later.labels == fired.labels && later.at > fired.at)
                })
            };
            self.expected.iter().all(over) && lab.is_quiet()
        });
        let unexpected: Vec<_> = lab
            .monitoring
            .received_since(first)
            .into_iter()
            .filter(|notice| notice.firing && !self.tolerated.contains(&notice.name()))
            .filter(|notice| !self.expected.iter().any(|one| matches(notice, one)))
            .collect();
        assert!(unexpected.is_empty(), "{}: these were not expected: {unexpected:#?}", self.name);
        let names: Vec<_> = self.expected.iter().map(|(name, _)| *name).collect();
        crate::say(&format!(
            "ok    {}: {} after {}, over {} after the repair",
            self.name,
            names.join(", "),
            seconds(fired),
            seconds(repaired.elapsed())
        ));
    }
}

/// Plays something healthy, at whose end nobody has been told anything.
pub(crate) fn in_silence(lab: &mut Lab, name: &str, play: impl FnOnce(&mut Lab)) {
    lab.until(&format!("silence before: {name}"), |lab| lab.is_quiet());
    let (begun, first) = (Instant::now(), lab.monitoring.received());
    play(lab);
    lab.until(&format!("silence after: {name}"), |lab| lab.is_quiet());
    let notices = lab.monitoring.received_since(first);
    assert!(notices.is_empty(), "{name}: not one alert was expected: {notices:#?}");
    crate::say(&format!("ok    {name}: not one alert in {}", seconds(begun.elapsed())));
}

pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
