//! Numbers and times in words.

use std::time::SystemTime;

use super::html::{Markup, html};
use crate::model::rfc3339;

/// A count with its digits in threes; of very large ones the magnitude.
pub(super) fn count(value: f64) -> String {
    if !(0.0..1e12).contains(&value) {
        return format!("{value:.1e}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::with_capacity(digits.len() + 4);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            // No line ends here.
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A share in percent. What is not quite none or all never looks like it.
pub(super) fn percent(part: f64, whole: f64) -> String {
    if whole <= 0.0 {
        return "–".to_owned();
    }
    let share = part / whole * 100.0;
    match share {
        _ if share > 0.0 && share < 0.1 => "<\u{202f}0.1\u{202f}%".to_owned(),
        _ if share < 10.0 && share.fract() != 0.0 => format!("{share:.1}\u{202f}%"),
        _ if share > 99.0 && share < 100.0 => format!("{:.1}\u{202f}%", share.min(99.9)),
        _ => format!("{share:.0}\u{202f}%"),
    }
}

/// How long ago a moment is, in one unit.
fn ago(time: SystemTime, now: SystemTime) -> Option<String> {
    let seconds = now.duration_since(time).ok()?.as_secs();
    Some(match seconds {
        0..=119 => format!("{seconds}\u{a0}s ago"),
        120..=7199 => format!("{}\u{a0}min ago", seconds / 60),
        7200..=172_799 => format!("{}\u{a0}h ago", seconds / 3600),
        _ => format!("{}\u{a0}days ago", seconds / 86_400),
    })
}

/// A moment, absolute and relative.
pub(super) fn moment(out: &mut Markup, time: SystemTime, now: SystemTime) {
    let Some(text) = rfc3339(time) else { return };
    let shown = text.replace('T', " ").replace('Z', "\u{a0}UTC");
    html!(out, "<time datetime=\"", text, "\">", shown, "</time>");
    if let Some(ago) = ago(time, now) {
        html!(out, " <small>(", ago, ")</small>");
    }
}

/// A label's value as words.
pub(super) fn plain(value: &str) -> String {
    value.replace('_', " ")
}

/// One thing or several.
pub(super) fn plural(count: usize, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn numbers() {
        let counts = [0.0, 999.0, 1000.0, 65_536.0, 1_234_567.0, 18_446_744_073_709_551_616.0].map(count);
        assert_eq!(counts, ["0", "999", "1\u{202f}000", "65\u{202f}536", "1\u{202f}234\u{202f}567", "1.8e19"]);
        let shares = [(0.0, 4.0), (1.0, 4.0), (1.0, 3000.0), (1.0, 15.0), (999.9, 1000.0), (4.0, 4.0), (0.0, 0.0)];
        let shares = shares.map(|(part, whole)| percent(part, whole).replace('\u{202f}', ""));
        assert_eq!(shares, ["0%", "25%", "<0.1%", "6.7%", "99.9%", "100%", "–"]);
    }

    #[test]
    fn ages_have_one_unit_and_the_future_none() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let age = |seconds| ago(now - Duration::from_secs(seconds), now).unwrap().replace('\u{a0}', " ");
        assert_eq!(
            [5, 119, 150, 9000, 200_000].map(age),
            ["5 s ago", "119 s ago", "2 min ago", "2 h ago", "2 days ago"]
        );
        assert_eq!(ago(now + Duration::from_secs(1), now), None);
    }
}
