//! Bars: drawn, since a policy that forbids scripts forbids widths in a style as well. Numbers stand beside them.

use super::html::{Markup, html};

/// A bar of parts, in the order given, each a class and how much of the whole.
pub(super) fn bar(out: &mut Markup, label: &str, whole: f64, parts: &[(&'static str, f64)]) {
    html!(
        out,
        "<svg class=\"bar\" viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"",
        label,
        "\">"
    );
    let mut at = 0.0;
    for (class, part) in parts {
        let share = if whole > 0.0 { part / whole * 100.0 } else { 0.0 };
        // What is there is seen.
        let width = if *part > 0.0 { share.clamp(0.5, 100.0 - f64::min(at, 99.5)) } else { continue };
        html!(
            out,
            "<rect class=\"",
            class,
            "\" x=\"",
            format_args!("{at:.1}"),
            "\" width=\"",
            format_args!("{width:.1}"),
            "\" height=\"10\"/>"
        );
        at += width;
    }
    out.raw("</svg>");
}
