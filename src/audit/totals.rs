//! What all verdicts on routes come to.

use std::collections::BTreeMap;

use super::causes::Required;
use super::expect::Devices;
use super::judge::{Evidence, Verdict};
use super::report::{ClassCounts, RouteClass};

/// Sums over verdicts, kept by adding and taking away.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Totals {
    pub(super) actual: ClassCounts,
    pub(super) expected: ClassCounts,
    pub(super) evidence: BTreeMap<Evidence, u64>,
    pub(super) devices: BTreeMap<Devices, u64>,
    /// Routes whose absence is a fault, by who programs them, family and class.
    pub(super) required: BTreeMap<(Required, RouteClass), u64>,
}

fn count<K: Ord>(map: &mut BTreeMap<K, u64>, key: K, add: bool) {
    let value = map.entry(key).or_default();
    *value = if add { *value + 1 } else { value.saturating_sub(1) };
}

impl Totals {
    /// Adds a verdict, or takes one away.
    pub(super) fn apply(&mut self, verdict: &Verdict, add: bool) {
        if let Some(key) = verdict.actual {
            count(&mut self.actual, key, add);
        }
        if let Some(key) = verdict.expected {
            count(&mut self.expected, key, add);
        }
        if let Some(evidence) = &verdict.evidence {
            count(&mut self.evidence, evidence.clone(), add);
        }
        if !verdict.needs_device.is_empty() {
            count(&mut self.devices, verdict.needs_device, add);
        }
        if let (Some(required), Some((class, _))) = (verdict.required, verdict.expected) {
            count(&mut self.required, (required, class), add);
        }
        if !add {
            self.evidence.retain(|_, count| *count > 0);
            self.devices.retain(|_, count| *count > 0);
        }
    }
}
