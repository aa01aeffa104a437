//! What a client asks for: `Accept` and `Accept-Encoding` with their weights (RFC 9110, 12.4.2 and 12.5).

use crate::metrics::Format;

/// The format to answer in. Text 0.0.4 unless OpenMetrics 1.0.0 is asked for with more weight, or named first with as
/// much; a client that accepts neither gets text, which is of more use to it than an error.
pub(super) fn format(accept: &str) -> Format {
    // How well a range fits, its weight, and where it stands.
    let mut text: Option<Fit> = None;
    let mut open: Option<Fit> = None;
    for (position, element) in elements(accept).enumerate() {
        let range = Range::of(element);
        let better = |best: &mut Option<Fit>, precision: Option<u8>| {
            let Some(precision) = precision else { return };
            if best.is_none_or(|best| precision > best.precision) {
                *best = Some(Fit { precision, weight: range.weight, position });
            }
        };
        better(&mut text, range.precision("text", "plain", "0.0.4"));
        better(&mut open, range.precision("application", "openmetrics-text", "1.0.0"));
    }
    // A wildcard alone is nobody's wish for OpenMetrics.
    let Some(open) = open.filter(|open| open.weight > 0.0 && open.precision >= Fit::NAMED) else { return Format::Text };
    match text {
        Some(text) if text.weight > open.weight => Format::Text,
        Some(text) if text.weight.total_cmp(&open.weight).is_eq() && text.position < open.position => Format::Text,
        _ => Format::OpenMetrics,
    }
}

/// Whether the answer may be compressed.
pub(super) fn gzip(accept_encoding: &str) -> bool {
    let mut named = None;
    let mut any = None;
    for element in elements(accept_encoding) {
        let mut parts = element.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default();
        let weight = weight(parts);
        if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
            named.get_or_insert(weight);
        } else if coding == "*" {
            any.get_or_insert(weight);
        }
    }
    named.or(any).is_some_and(|weight| weight > 0.0)
}

#[derive(Clone, Copy)]
struct Fit {
    precision: u8,
    weight: f32,
    position: usize,
}

impl Fit {
    const NAMED: u8 = 2;
}

/// One element of `Accept`.
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    version: Option<&'a str>,
    weight: f32,
}

impl<'a> Range<'a> {
    fn of(element: &'a str) -> Range<'a> {
        let mut parts = element.split(';').map(str::trim);
        let (kind, subtype) = parts.next().unwrap_or_default().split_once('/').unwrap_or_default();
        let version = parts.clone().filter_map(|part| part.split_once('=')).find_map(|(name, value)| {
            name.trim().eq_ignore_ascii_case("version").then_some(value.trim().trim_matches('"'))
        });
        Range { kind: kind.trim(), subtype: subtype.trim(), version, weight: weight(parts) }
    }

    /// How precisely this range means a type, if at all.
    fn precision(&self, kind: &str, subtype: &str, version: &str) -> Option<u8> {
        if self.kind == "*" && self.subtype == "*" {
            return Some(0);
        }
        if !self.kind.eq_ignore_ascii_case(kind) {
            return None;
        }
        if self.subtype == "*" {
            return Some(1);
        }
        if !self.subtype.eq_ignore_ascii_case(subtype) {
            return None;
        }
        match self.version {
            None => Some(Fit::NAMED),
            Some(asked) => (asked == version).then_some(Fit::NAMED + 1),
        }
    }
}

fn elements(header: &str) -> impl Iterator<Item = &str> {
    header.split(',').map(str::trim).filter(|element| !element.is_empty())
}

/// The parameter `q`: 1 where it is missing or cannot be read.
fn weight<'a>(parameters: impl Iterator<Item = &'a str>) -> f32 {
    parameters
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
        .and_then(|(_, value)| value.trim().parse::<f32>().ok())
        .filter(|weight| (0.0..=1.0).contains(weight))
        .unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Format::{OpenMetrics, Text};

    #[test]
    fn formats() {
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                            text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                            application/openmetrics-text;version=0.0.1;q=0.4,\
                            text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        for (accept, expected) in [
            ("", Text),
            ("*/*", Text),
            ("application/*", Text),
            ("text/plain", Text),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Text),
            ("application/openmetrics-text", OpenMetrics),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\"", OpenMetrics),
            ("application/openmetrics-text; version=1.0.0; charset=utf-8", OpenMetrics),
            ("application/openmetrics-text;version=0.0.1", Text),
            ("application/openmetrics-text;version=2.0.0", Text),
            ("application/openmetrics-text;q=0", Text),
            ("application/openmetrics-text;q=0.5,text/plain;q=0.4", OpenMetrics),
            ("application/openmetrics-text;q=0.4,text/plain;q=0.5", Text),
            ("application/openmetrics-text;q=0.4,*/*;q=0.5", Text),
            ("text/plain,application/openmetrics-text", Text),
            ("application/openmetrics-text,text/plain", OpenMetrics),
            ("text/plain;q=0,application/openmetrics-text;q=0.1", OpenMetrics),
            ("application/openmetrics-text;q=nan,text/plain;q=0.9", OpenMetrics),
            (",;,/;q=,=;;", Text),
            ("image/png", Text),
            (prometheus_2, OpenMetrics),
            (prometheus_3, OpenMetrics),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,text/plain;q=0.3",
                Text,
            ),
        ] {
            assert_eq!(format(accept), expected, "{accept}");
        }
    }

    #[test]
    fn encodings() {
        for (accept, expected) in [
            ("", false),
            ("gzip", true),
            ("GZIP;q=0.1", true),
            ("deflate, gzip;q=1.0, *;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip;q=0.000, *", false),
            ("*", true),
            ("*;q=0", false),
            ("identity", false),
            ("br, zstd", false),
            ("x-gzip", true),
            ("gzippy", false),
        ] {
            assert_eq!(gzip(accept), expected, "{accept}");
        }
    }
}
