//! The text format 0.0.4, which `prometheus-client` does not write. A counter's type and help carry its full name, an
//! info is a gauge, and there is neither `# UNIT` nor `# EOF`.

use std::fmt::{self, Write};

use super::catalogue::{Kind, Label, Series};
use super::exposition::{Exposition, Samples, Value, printable};
use crate::audit::Histogram;

/// Writes the text format 0.0.4.
pub(super) struct Text<'a> {
    out: &'a mut dyn Write,
    /// One line at a time, used again for each.
    line: String,
}

impl<'a> Text<'a> {
    /// A writer into `out`.
    pub(super) fn new(out: &'a mut dyn Write) -> Text<'a> {
        Text { out, line: String::with_capacity(256) }
    }
}

impl Exposition for Text<'_> {
    fn series(
        &mut self,
        series: &'static Series,
        samples: &mut dyn FnMut(&mut dyn Samples) -> fmt::Result,
    ) -> fmt::Result {
        samples(&mut TextSamples { out: self.out, line: &mut self.line, series, started: false })
    }
}

struct TextSamples<'a> {
    out: &'a mut dyn Write,
    line: &'a mut String,
    series: &'static Series,
    started: bool,
}

impl TextSamples<'_> {
    fn head(&mut self) -> fmt::Result {
        if self.started {
            return Ok(());
        }
        self.started = true;
        let Series { name, help, kind, .. } = self.series;
        let kind = match kind {
            Kind::Gauge | Kind::Info => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
        };
        writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}")
    }

    fn line(&mut self, suffix: &str, labels: &[&str], le: Option<f64>, value: Value) -> fmt::Result {
        let line = &mut *self.line;
        line.clear();
        line.push_str(self.series.name);
        line.push_str(suffix);
        if !labels.is_empty() || le.is_some() {
            line.push('{');
            // As prometheus-client has it: `le` first.
            if let Some(bound) = le {
                write_bound(line, bound)?;
            }
            write_labels(line, self.series.labels, labels, le.is_some());
            line.push('}');
        }
        line.push(' ');
        write_value(line, value)?;
        line.push('\n');
        self.out.write_str(line)
    }
}

impl Samples for TextSamples<'_> {
    fn sample(&mut self, labels: &[&str], value: Value) -> fmt::Result {
        debug_assert_eq!(labels.len(), self.series.labels.len(), "{}", self.series.name);
        self.head()?;
        self.line("", labels, None, value)
    }

    fn histogram(&mut self, labels: &[&str], histogram: &Histogram) -> fmt::Result {
        self.head()?;
        self.line("_sum", labels, None, histogram.sum.into())?;
        self.line("_count", labels, None, histogram.count().into())?;
        let mut cumulative = 0;
        for (count, bound) in histogram.buckets.iter().zip(Histogram::BOUNDS.into_iter().chain([f64::INFINITY])) {
            cumulative += count;
            self.line("_bucket", labels, Some(bound), cumulative.into())?;
        }
        Ok(())
    }
}

/// `le="1.0"`, with a point as OpenMetrics wants it: the same series in both formats.
fn write_bound(line: &mut String, bound: f64) -> fmt::Result {
    if bound.is_infinite() { line.write_str("le=\"+Inf\"") } else { write!(line, "le=\"{bound:?}\"") }
}

fn write_labels(line: &mut String, names: &[Label], values: &[&str], mut more: bool) {
    for (label, value) in names.iter().zip(values) {
        if more {
            line.push(',');
        }
        more = true;
        line.push_str(label.name);
        line.push_str("=\"");
        write_escaped(line, value);
        line.push('"');
    }
}

fn write_escaped(line: &mut String, value: &str) {
    // Nearly every value is a plain name, and a scrape of a large cluster has a hundred thousand of them.
    let odd = value.bytes().fold(false, |odd, byte| odd | (byte < 0x20) | matches!(byte, b'"' | b'\\' | 0x7f));
    if !odd {
        line.push_str(value);
        return;
    }
    for character in printable(value).chars() {
        match character {
            '\n' => line.push_str("\\n"),
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            other => line.push(other),
        }
    }
}

fn write_value(line: &mut String, value: Value) -> fmt::Result {
    match value {
        Value::Whole(value) => write!(line, "{value}"),
        Value::Float(value) if value.is_nan() => line.write_str("NaN"),
        Value::Float(f64::INFINITY) => line.write_str("+Inf"),
        Value::Float(f64::NEG_INFINITY) => line.write_str("-Inf"),
        // 1.8446744073709552e19 rather than twenty digits of which the last four are made up.
        Value::Float(value) => write!(line, "{value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::{IPPOOL_ADDRESSES, PROCESS_CPU, ROUTE_CONVERGENCE, ROUTES};
    use super::*;

    fn write(samples: &[(&'static Series, &[&str], Value)]) -> String {
        let mut out = String::new();
        let mut text = Text::new(&mut out);
        for (series, labels, value) in samples {
            text.series(series, &mut |samples| samples.sample(labels, *value)).unwrap();
        }
        out
    }

    #[test]
    fn escapes_what_would_end_a_value_or_a_line() {
        let out = write(&[(&IPPOOL_ADDRESSES, &["a\"b\\c\nd\\\"\n\n", "free"], 1u64.into())]);
        assert!(out.ends_with("{ippool=\"a\\\"b\\\\c\\nd\\\\\\\"\\n\\n\",state=\"free\"} 1\n"), "{out}");
    }

    #[test]
    fn numbers() {
        let line = |value: f64| write(&[(&PROCESS_CPU, &[], value.into())]).lines().last().unwrap().to_string();
        assert_eq!(line(0.03125), "process_cpu_seconds_total 0.03125");
        assert_eq!(line(18_446_744_073_709_551_616.0), "process_cpu_seconds_total 1.8446744073709552e19");
        assert_eq!(line(f64::INFINITY), "process_cpu_seconds_total +Inf");
        assert_eq!(line(f64::NEG_INFINITY), "process_cpu_seconds_total -Inf");
        assert_eq!(line(f64::NAN), "process_cpu_seconds_total NaN");
    }

    #[test]
    fn a_counter_is_described_by_its_full_name() {
        let out = write(&[(&PROCESS_CPU, &[], 1.5.into())]);
        assert!(out.contains("# TYPE process_cpu_seconds_total counter\n"), "{out}");
        assert!(out.starts_with("# HELP process_cpu_seconds_total "), "{out}");
    }

    #[test]
    fn a_series_without_sample_is_not_mentioned() {
        let mut out = String::new();
        Text::new(&mut out).series(&ROUTES, &mut |_| Ok(())).unwrap();
        assert_eq!(out, "");
    }

    #[test]
    fn buckets_are_cumulative() {
        let mut histogram = Histogram::default();
        for seconds in [0.01, 0.7, 1000.0] {
            histogram.observe(seconds);
        }
        let mut out = String::new();
        Text::new(&mut out)
            .series(&ROUTE_CONVERGENCE, &mut |samples| samples.histogram(&["borrowed"], &histogram))
            .unwrap();
        assert!(out.contains("_bucket{le=\"0.05\",class=\"borrowed\"} 1\n"), "{out}");
        assert!(out.contains("_bucket{le=\"1.0\",class=\"borrowed\"} 2\n"), "{out}");
        assert!(out.contains("_bucket{le=\"+Inf\",class=\"borrowed\"} 3\n"), "{out}");
        assert!(out.contains("_count{class=\"borrowed\"} 3\n"), "{out}");
    }
}
