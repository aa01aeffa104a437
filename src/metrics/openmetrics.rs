//! OpenMetrics 1.0.0, written by `prometheus-client`: its registry asks a collector, the collector walks the families.

use std::fmt::{self, Write};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{
    CounterValueEncoder, DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabel, EncodeLabelSet,
    GaugeValueEncoder, LabelSetEncoder, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::catalogue::{Kind, Label, Series};
use super::exposition::{Exposition, Samples, Value, printable};
use super::families::Families;
use crate::audit::Histogram;

/// Writes families, without the end mark: a body is made of several pieces.
pub(super) fn write(out: &mut dyn Write, families: &Families) -> fmt::Result {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Walk(families.clone())));
    encode_registry(&mut Dyn(out), &registry)
}

/// Writes the mark at the end of a body.
pub(super) fn write_end(out: &mut dyn Write) -> fmt::Result {
    encode_eof(&mut Dyn(out))
}

/// The crate wants a sized writer.
struct Dyn<'a>(&'a mut dyn Write);

impl Write for Dyn<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(text)
    }
}

/// Const metrics in the crate's sense: nothing is kept between two scrapes, so nothing can be stale.
#[derive(Debug)]
struct Walk(Families);

impl Collector for Walk {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.write(&mut OpenMetrics { encoder: &mut encoder })
    }
}

struct OpenMetrics<'a, 'd> {
    encoder: &'a mut DescriptorEncoder<'d>,
}

impl Exposition for OpenMetrics<'_, '_> {
    fn series(
        &mut self,
        series: &'static Series,
        samples: &mut dyn FnMut(&mut dyn Samples) -> fmt::Result,
    ) -> fmt::Result {
        let unit = series.unit().map(|unit| match unit {
            "seconds" => Unit::Seconds,
            "bytes" => Unit::Bytes,
            other => Unit::Other(other.to_string()),
        });
        samples(&mut OpenMetricsSamples { series, unit: unit.as_ref(), encoder: Some(self.encoder), metric: None })
    }
}

struct OpenMetricsSamples<'s, 'd> {
    series: &'static Series,
    unit: Option<&'s Unit>,
    /// Until the first sample.
    encoder: Option<&'s mut DescriptorEncoder<'d>>,
    /// From the first sample on.
    metric: Option<MetricEncoder<'s>>,
}

impl<'s> OpenMetricsSamples<'s, '_> {
    /// Describes the family before its first sample.
    fn metric(&mut self) -> Result<&mut MetricEncoder<'s>, fmt::Error> {
        if let Some(encoder) = self.encoder.take() {
            let kind = match self.series.kind {
                Kind::Gauge => MetricType::Gauge,
                Kind::Counter => MetricType::Counter,
                Kind::Histogram => MetricType::Histogram,
                Kind::Info => MetricType::Info,
            };
            // The crate puts the unit and the kind's suffix behind the name by itself.
            let family = self.series.family();
            let name = self
                .unit
                .and_then(|unit| family.strip_suffix(unit.as_str()))
                .and_then(|name| name.strip_suffix('_'))
                .unwrap_or(family);
            self.metric = Some(encoder.encode_descriptor(name, self.series.help, self.unit, kind)?);
        }
        self.metric.as_mut().ok_or(fmt::Error)
    }
}

impl Samples for OpenMetricsSamples<'_, '_> {
    fn sample(&mut self, labels: &[&str], value: Value) -> fmt::Result {
        debug_assert_eq!(labels.len(), self.series.labels.len(), "{}", self.series.name);
        let kind = self.series.kind;
        let set = LabelSet { names: self.series.labels, values: labels };
        let metric = self.metric()?;
        if kind == Kind::Info {
            return metric.encode_info(&set);
        }
        let write = |metric: &mut MetricEncoder<'_>| match kind {
            Kind::Counter => metric.encode_counter::<NoLabelSet, _, u64>(&value, None),
            _ => metric.encode_gauge(&value),
        };
        // An empty set would be written as `{}`.
        if labels.is_empty() { write(metric) } else { write(&mut metric.encode_family(&set)?) }
    }

    fn histogram(&mut self, labels: &[&str], histogram: &Histogram) -> fmt::Result {
        let set = LabelSet { names: self.series.labels, values: labels };
        let mut buckets = [(f64::INFINITY, 0); Histogram::BOUNDS.len() + 1];
        for (bucket, bound) in buckets.iter_mut().zip(Histogram::BOUNDS) {
            bucket.0 = bound;
        }
        for (bucket, count) in buckets.iter_mut().zip(histogram.buckets) {
            bucket.1 = count;
        }
        let (sum, count) = (histogram.sum, histogram.count());
        self.metric()?.encode_family(&set)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

/// Names from the catalogue beside the values of one sample.
#[derive(Debug)]
struct LabelSet<'a> {
    names: &'static [Label],
    values: &'a [&'a str],
}

impl EncodeLabelSet for LabelSet<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        for (label, value) in self.names.iter().zip(self.values) {
            (label.name, printable(value)).encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

impl EncodeGaugeValue for Value {
    fn encode(&self, encoder: &mut GaugeValueEncoder<'_>) -> fmt::Result {
        match self {
            Value::Whole(value) => EncodeGaugeValue::encode(value, encoder),
            Value::Float(value) => EncodeGaugeValue::encode(value, encoder),
        }
    }
}

impl EncodeCounterValue for Value {
    fn encode(&self, encoder: &mut CounterValueEncoder<'_>) -> fmt::Result {
        match self {
            Value::Whole(value) => EncodeCounterValue::encode(value, encoder),
            Value::Float(value) => EncodeCounterValue::encode(value, encoder),
        }
    }
}
