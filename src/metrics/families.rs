//! The two halves of a body: what a report says, encoded once for each report, and the exporter's own, fresh each time.

use std::fmt;
use std::sync::Arc;

use super::exposition::Exposition;
use super::published::Published;
use super::render;
use super::vitals::{self, VitalSigns};
use crate::audit::Report;

/// A half of a body.
#[derive(Debug, Clone)]
pub(super) enum Families {
    /// Figures and findings.
    Report(Arc<Report>),
    /// The exporter's own.
    Own(Arc<Published>, Arc<VitalSigns>),
}

impl Families {
    /// Walks all series that have a sample.
    pub(super) fn write(&self, out: &mut dyn Exposition) -> fmt::Result {
        match self {
            Families::Report(report) => render::write(report, out),
            Families::Own(published, signs) => vitals::write(published, signs, out),
        }
    }
}
