//! What was asked for, on standard output. Values come from a datastore that anybody may have written to: whatever a
//! command forgot to escape is escaped here.

use std::io::{self, Write as _};

use crate::model::{Printable, printable_json, steers};

/// The styles of ECMA-48 that this program writes itself.
const STYLES: [&str; 6] = ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[2m", "\u{1b}[1;31m", "\u{1b}[1;33m", "\u{1b}[1;34m"];

/// A JSON document.
pub(super) fn json(document: String) {
    write(&printable_json(document));
}

/// Text for people.
pub(super) fn text(text: &str) {
    write(&plain(text));
}

fn write(text: &str) {
    // A reader that has seen enough is no error.
    let _ = writeln!(io::stdout().lock(), "{}", text.trim_end());
}

/// Text in which nothing steers the terminal but ends of lines and styles of our own.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|it| it != '\n' && steers(it)) {
        let (before, found) = rest.split_at(at);
        out.push_str(before);
        let style = STYLES.iter().find(|style| found.starts_with(*style));
        let length = style.map_or_else(|| found.chars().next().map_or(0, char::len_utf8), |style| style.len());
        let (first, after) = found.split_at(length);
        match style {
            Some(style) => out.push_str(style),
            None => out.push_str(&Printable(first).to_string()),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_styles_and_ends_of_lines_pass() {
        let text = "\u{1b}[1mhead\u{1b}[0m\nhost \u{1b}[2J\u{9b}31m\u{202e}x\u{7f}\r\n";
        assert_eq!(plain(text), "\u{1b}[1mhead\u{1b}[0m\nhost \\u001b[2J\\u009b31m\\u202ex\\u007f\\u000d\n");
    }
}
