//! The two forms in which Calico writes moments: RFC 3339, and what Go's `time.Time.String` prints.

use std::time::{Duration, SystemTime};

use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

/// Go's `2006-01-02 15:04:05.999999999 -0700`, the readable part of `time.Time.String`.
const GO: &[BorrowedFormatItem<'_>] = format_description!(
    version = 2,
    "[year]-[month]-[day] [hour]:[minute]:[second][optional [.[subsecond]]] [offset_hour sign:mandatory][offset_minute]"
);

/// Reads `2026-08-20T09:14:59Z`, with any fraction and offset.
pub(in crate::source) fn rfc3339(text: &str) -> Option<SystemTime> {
    utc(text, b'T', "Z").or_else(|| OffsetDateTime::parse(text, &Rfc3339).ok().and_then(moment))
}

/// Reads `2026-08-20 09:15:02.123456789 +0000 UTC`. The zone's name and a monotonic reading (` m=+0.1`) say nothing
/// that the offset does not.
pub(in crate::source) fn go(text: &str) -> Option<SystemTime> {
    let end = text.match_indices(' ').nth(2).map_or(text.len(), |(at, _)| at);
    let text = &text[..end];
    utc(text, b' ', " +0000").or_else(|| OffsetDateTime::parse(text, GO).ok().and_then(moment))
}

/// The form that nearly every moment has, and a dump of half a million of them: a date, `between`, a time with or without
/// a fraction, `end`. It says what the formats' own reader says, or nothing.
fn utc(text: &str, between: u8, end: &str) -> Option<SystemTime> {
    let bytes = text.as_bytes();
    let marks = [(4, b'-'), (7, b'-'), (10, between), (13, b':'), (16, b':')];
    if marks.iter().any(|(at, mark)| bytes.get(*at) != Some(mark)) {
        return None;
    }
    let digits = |text: &[u8]| {
        let digit = |sum: u32, byte: &u8| byte.is_ascii_digit().then(|| sum * 10 + u32::from(byte - b'0'));
        text.iter().try_fold(0, digit)
    };
    let two = |at: usize| u8::try_from(digits(bytes.get(at..at + 2)?)?).ok();
    let year = i32::try_from(digits(bytes.get(..4)?)?).ok()?;
    let date = Date::from_calendar_date(year, two(5)?.try_into().ok()?, two(8)?).ok()?;
    let rest = bytes.get(19..)?.strip_suffix(end.as_bytes())?;
    let nanos = match rest.split_first() {
        None => 0,
        Some((b'.', fraction)) if (1..=9).contains(&fraction.len()) => {
            digits(fraction)? * 10u32.pow(9 - fraction.len() as u32)
        }
        _ => return None,
    };
    moment(date.with_hms_nano(two(11)?, two(14)?, two(17)?, nanos).ok()?.assume_utc())
}

/// Seconds since 1970, rounded down.
pub(in crate::source) fn unix_seconds(text: &str) -> Option<i64> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(OffsetDateTime::unix_timestamp)
}

fn moment(time: OffsetDateTime) -> Option<SystemTime> {
    let nanos = time.unix_timestamp_nanos();
    let distance = nanos.unsigned_abs();
    let distance =
        Duration::new(u64::try_from(distance / 1_000_000_000).ok()?, u32::try_from(distance % 1_000_000_000).ok()?);
    match nanos < 0 {
        false => SystemTime::UNIX_EPOCH.checked_add(distance),
        true => SystemTime::UNIX_EPOCH.checked_sub(distance),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64, nanos: u32) -> Option<SystemTime> {
        Some(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos))
    }

    #[test]
    fn rfc_3339_with_any_offset() {
        assert_eq!(rfc3339("2026-08-20T09:14:59Z"), at(1_787_217_299, 0));
        assert_eq!(rfc3339("2026-08-20T11:14:59+02:00"), at(1_787_217_299, 0));
        assert_eq!(rfc3339("2026-08-20T09:14:59.5Z"), at(1_787_217_299, 500_000_000));
        assert_eq!(unix_seconds("1970-01-01T00:00:10Z"), Some(10));
        assert_eq!(rfc3339("1969-12-31T23:59:59Z"), Some(SystemTime::UNIX_EPOCH - Duration::from_secs(1)));
    }

    #[test]
    fn what_go_prints() {
        for (text, nanos) in [
            ("2026-08-20 09:14:59.123456789 +0000 UTC", 123_456_789),
            ("2026-08-20 09:14:59 +0000 UTC", 0),
            ("2026-08-20 09:14:59.5 +0000 UTC m=+0.1", 500_000_000),
            ("2026-08-20 11:14:59 +0200 CEST", 0),
            ("2026-08-20 05:44:59 -0330 -0330 m=-12.000000001", 0),
            ("2026-08-20 09:14:59 +0000", 0),
        ] {
            assert_eq!(go(text), at(1_787_217_299, nanos), "{text}");
        }
    }

    proptest! {
        /// Both ways of reading agree wherever the short one has an answer.
        #[test]
        fn the_usual_form_is_read_like_any_other(text in "(1|2|0)[0-9]{3}-[0-1][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,10})?(Z| \\+0000)x?") {
            for (usual, long) in [
                (utc(&text, b'T', "Z"), OffsetDateTime::parse(&text, &Rfc3339)),
                (utc(&text, b' ', " +0000"), OffsetDateTime::parse(&text, GO)),
            ] {
                prop_assert!(usual.is_none() || usual == long.ok().and_then(moment), "{text}: {usual:?}");
            }
        }
    }

    #[test]
    fn other_text_is_no_moment() {
        for text in [
            "",
            " ",
            "   ",
            "yesterday",
            "2026-13-40 99:99:99 +0000 UTC",
            "2026-08-20 09:15:02",
            "ä ö ü ß",
            "0000-00-00",
        ] {
            assert_eq!((go(text), rfc3339(text), unix_seconds(text)), (None, None, None), "{text}");
        }
    }
}
