//! What a format must be able to do: the one interface between the walk over a report and the bytes.

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use super::catalogue::Series;
use crate::audit::Histogram;

/// A value of a sample. Both formats write a whole number without a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    /// A count.
    Whole(u64),
    /// Anything else.
    Float(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Value {
        Value::Whole(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Whole(u64::from(value))
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Value {
        // Up to here every whole number is a float of its own.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if (0.0..=EXACT).contains(&value) && value.fract() == 0.0 {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked on the line above")]
            Value::Whole(value as u64)
        } else {
            Value::Float(value)
        }
    }
}

/// A moment in unix time.
pub(super) fn unix(time: SystemTime) -> f64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => after.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

/// Takes the samples of one series. Labels are values only, in the order of the catalogue, which has the names.
pub(super) trait Samples {
    /// One sample of a gauge, a counter or an info.
    fn sample(&mut self, labels: &[&str], value: Value) -> fmt::Result;

    /// One histogram.
    fn histogram(&mut self, labels: &[&str], histogram: &Histogram) -> fmt::Result;
}

/// Takes series.
pub(super) trait Exposition {
    /// One series and its samples; without a sample nothing is written.
    fn series(
        &mut self,
        series: &'static Series,
        samples: &mut dyn FnMut(&mut dyn Samples) -> fmt::Result,
    ) -> fmt::Result;
}

/// A label's value with control characters written as `\u{0}` and the like. Both formats allow them and Prometheus'
/// own parsers stop at some; names come from a datastore that may hold anything. A line feed has its own escape.
pub(super) fn printable(value: &str) -> Cow<'_, str> {
    let strange = |byte: &u8| (*byte < 0x20 && *byte != b'\n') || *byte == 0x7f;
    if !value.as_bytes().iter().any(strange) {
        return Cow::Borrowed(value);
    }
    let mut out = String::with_capacity(value.len() + 8);
    for character in value.chars() {
        if character.is_ascii_control() && character != '\n' {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_floats_are_whole_and_others_stay() {
        assert_eq!(Value::from(64.0), Value::Whole(64));
        assert_eq!(Value::from(0.5), Value::Float(0.5));
        assert_eq!(Value::from(18_446_744_073_709_551_616.0), Value::Float(18_446_744_073_709_551_616.0));
        assert_eq!(Value::from(-1.0), Value::Float(-1.0));
    }

    #[test]
    fn control_characters_become_visible() {
        assert_eq!(printable("h1"), "h1");
        assert_eq!(printable("a\0b\r\x7f\n"), "a\\u{0}b\\u{d}\\u{7f}\n");
        assert_eq!(printable("größe\t"), "größe\\u{9}");
    }
}
