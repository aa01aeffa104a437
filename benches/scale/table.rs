//! Measurements beside their peers', and the table that they are printed in.

use std::fmt;
use std::io::{self, Write};

/// Several runs of one thing.
#[derive(Debug, Clone, Default)]
pub struct Runs(Vec<f64>);

impl Runs {
    /// One more.
    pub fn add(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    /// The value below which so much of all lies: 0.5 is the median.
    pub fn at(&self, part: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get((last as f64 * part).round() as usize).copied().unwrap_or(f64::NAN)
    }

    /// One run that stands for many, as a percentile does.
    pub fn only(&self, part: f64) -> Runs {
        Runs(vec![self.at(part)])
    }
}

impl FromIterator<f64> for Runs {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut runs = Runs::default();
        values.into_iter().for_each(|value| runs.add(value));
        runs
    }
}

impl fmt::Display for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = if self.at(0.5) < 10.0 { 2 } else { 0 };
        write!(f, "{:.digits$}", self.at(0.5))?;
        if self.0.len() > 1 {
            write!(f, " ({:.digits$}–{:.digits$})", self.at(0.0), self.at(1.0))?;
        }
        Ok(())
    }
}

/// What something has to keep to.
pub enum Goal {
    /// Ours divided by the peer's, at most.
    Ratio(f64),
    /// In the unit of the row, at most.
    AtMost(f64),
    /// Only to be known.
    None,
}

/// The table as it grows.
#[derive(Default)]
pub struct Table;

impl Table {
    /// Prints the head.
    pub fn begin() -> io::Result<Table> {
        let mut out = io::stdout();
        writeln!(out, "| work | unit | ours: median (spread) | peer | ratio | goal | met |")?;
        writeln!(out, "|---|---|---|---|---|---|---|")?;
        Ok(Table)
    }

    /// Prints one row.
    pub fn row(
        &mut self,
        work: &str,
        unit: &str,
        ours: &Runs,
        peer: Option<(&str, &Runs)>,
        goal: &Goal,
    ) -> io::Result<()> {
        let ratio = peer.map(|(_, runs)| ours.at(0.5) / runs.at(0.5));
        let (goal, met) = match goal {
            Goal::Ratio(most) => (format!("ratio ≤ {most:.2}"), ratio.map(|ratio| ratio <= *most)),
            Goal::AtMost(most) => (format!("≤ {most} {unit}"), Some(ours.at(0.5) <= *most)),
            Goal::None => (String::new(), None),
        };
        let met = met.map_or("", |met| if met { "yes" } else { "no" });
        let name = peer.map_or(String::new(), |(name, runs)| format!("{name}: {runs}"));
        let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
        let mut out = io::stdout();
        writeln!(out, "| {work} | {unit} | {ours} | {name} | {ratio} | {goal} | {met} |")?;
        out.flush()
    }
}
