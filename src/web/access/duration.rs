//! Durations as Go's `time.ParseDuration` reads them.

/// In nanoseconds; `None` for what is no duration, or none that Go could hold.
pub(super) fn nanoseconds(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: f64 = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|it: char| !it.is_ascii_digit() && it != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest.find(|it: char| it.is_ascii_digit() || it == '.').unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        rest = &rest[end..];
        total += number * unit;
    }
    // Go refuses what does not fit; a float's rounding is far below what a rate is about.
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    (total < 9.2e18).then_some(total as i64 * sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_reads_them() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1s", Some(1_000_000_000)),
            ("-1.5h", Some(-5_400_000_000_000)),
            ("+5m", Some(300_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("100ms", Some(100_000_000)),
            ("3us2ns", Some(3002)),
            ("4µs", Some(4000)),
            (".5s", Some(500_000_000)),
            ("", None),
            ("-", None),
            ("1", None),
            ("s", None),
            (".s", None),
            ("1d", None),
            ("1 s", None),
            ("1s 1s", None),
            ("soon", None),
            ("9999999h", None),
        ] {
            assert_eq!(nanoseconds(text), expected, "{text:?}");
        }
    }
}
