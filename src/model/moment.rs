//! Moments as text.

use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment as RFC 3339 in UTC, in whole seconds: what `date` and jq's `fromdate` read. `None` before 1970 and after the
/// year 9999, which only a broken clock or a made-up timestamp says.
pub fn rfc3339(time: SystemTime) -> Option<String> {
    let (seconds, _) = unix(time)?;
    OffsetDateTime::from_unix_timestamp(seconds).ok()?.format(&Rfc3339).ok()
}

/// The same with milliseconds: changes within a second have an order.
pub fn rfc3339_millis(time: SystemTime) -> Option<String> {
    let (_, millis) = unix(time)?;
    let whole = rfc3339(time)?;
    Some(format!("{}.{millis:03}Z", whole.strip_suffix('Z')?))
}

/// Seconds since 1970, and the milliseconds beyond them.
fn unix(time: SystemTime) -> Option<(i64, u32)> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some((i64::try_from(since.as_secs()).ok()?, since.subsec_millis()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn moments_that_no_clock_shows_have_no_text() {
        let after = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        assert_eq!(rfc3339(after(1_700_000_000_900)).as_deref(), Some("2023-11-14T22:13:20Z"));
        assert_eq!(rfc3339_millis(after(1_700_000_000_009)).as_deref(), Some("2023-11-14T22:13:20.009Z"));
        let before = SystemTime::UNIX_EPOCH - Duration::from_millis(1);
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_800);
        for none in [before, far] {
            assert_eq!((rfc3339(none), rfc3339_millis(none)), (None, None));
        }
    }
}
