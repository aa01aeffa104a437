//! The two forms in which Calico writes moments: RFC 3339, and what Go's `time.Time.String` prints.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// Go's `2006-01-02 15:04:05.999999999 -0700`, the readable part of `time.Time.String`.
const GO: &[BorrowedFormatItem<'_>] = format_description!(
    version = 2,
    "[year]-[month]-[day] [hour]:[minute]:[second][optional [.[subsecond]]] [offset_hour sign:mandatory][offset_minute]"
);

/// Reads `2026-08-20T09:14:59Z`, with any fraction and offset.
pub(in crate::source) fn rfc3339(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().and_then(moment)
}

/// Reads `2026-08-20 09:15:02.123456789 +0000 UTC`. The zone's name and a monotonic reading (` m=+0.1`) say nothing
/// that the offset does not.
pub(in crate::source) fn go(text: &str) -> Option<SystemTime> {
    let end = text.match_indices(' ').nth(2).map_or(text.len(), |(at, _)| at);
    OffsetDateTime::parse(&text[..end], GO).ok().and_then(moment)
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
