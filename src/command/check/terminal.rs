//! Where the text goes: how wide it is, and whether it takes colours.

use std::io::{self, IsTerminal as _};

use terminal_size::{Width, terminal_size_of};

use crate::audit::Severity;
use crate::cli::ColorArg;

/// Text that goes to a file or a pipe, and what a terminal is taken to have at least.
const WIDTH: usize = 80;
/// Below this, wrapped words stand one above the other.
const NARROWEST: usize = 40;
/// Above this, lines are hard to follow.
const WIDEST: usize = 120;

/// How text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terminal {
    pub(super) width: usize,
    pub(super) color: bool,
}

impl Terminal {
    /// Of standard output. `NO_COLOR` (no-color.org) counts where nobody says otherwise.
    pub(super) fn of_stdout(color: ColorArg) -> Terminal {
        let is_terminal = io::stdout().is_terminal();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty())
            || std::env::var_os("TERM").is_some_and(|it| it == "dumb");
        let color = match color {
            ColorArg::Always => true,
            ColorArg::Never => false,
            ColorArg::Auto => is_terminal && !plain,
        };
        let width = terminal_size_of(io::stdout()).map_or(WIDTH, |(Width(width), _)| usize::from(width));
        Terminal { width: width.clamp(NARROWEST, WIDEST), color }
    }

    fn styled(self, code: &str, text: &str) -> String {
        if self.color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.styled("1", text)
    }

    pub(super) fn faint(self, text: &str) -> String {
        self.styled("2", text)
    }

    /// A severity's name in its colour: red, yellow, blue.
    pub(super) fn severity(self, severity: Severity) -> String {
        let code = match severity {
            Severity::Critical => "1;31",
            Severity::Warning => "1;33",
            Severity::Info => "1;34",
        };
        self.styled(code, severity.as_str())
    }

    /// Words from column `indent` on, the first line after `first`, which takes those columns itself. A word longer than
    /// a line (a URL, a key) stays whole, so that it can be copied.
    pub(super) fn wrapped(self, first: &str, indent: usize, text: &str) -> String {
        let room = self.width.saturating_sub(indent).max(1);
        let mut lines: Vec<String> = vec![String::new()];
        for word in text.split_whitespace() {
            let last = lines.len() - 1;
            let line = &mut lines[last];
            let taken = line.chars().count();
            if taken == 0 {
                line.push_str(word);
            } else if taken + 1 + word.chars().count() <= room {
                line.push(' ');
                line.push_str(word);
            } else {
                lines.push(word.to_owned());
            }
        }
        let pad = format!("\n{}", " ".repeat(indent));
        format!("{first}{}\n", lines.join(&pad))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Terminal = Terminal { width: 40, color: false };

    #[test]
    fn words_are_wrapped_at_the_width_and_never_broken() {
        let text = "no route to 10.204.1.64/26, a block of h2, which BIRD ought to have programmed";
        let wrapped = PLAIN.wrapped("  do: ", 6, text);
        assert_eq!(
            wrapped,
            "  do: no route to 10.204.1.64/26, a\n      block of h2, which BIRD ought to\n      have programmed\n"
        );
        assert!(wrapped.lines().all(|line| line.chars().count() <= 40), "{wrapped}");
        let url = format!("https://{}", "x".repeat(60));
        assert_eq!(PLAIN.wrapped("", 2, &format!("see {url}")), format!("see\n  {url}\n"));
    }

    #[test]
    fn without_colour_there_is_no_escape() {
        assert_eq!(PLAIN.bold("a") + &PLAIN.faint("b") + &PLAIN.severity(Severity::Info), "abinfo");
        let colored = Terminal { color: true, ..PLAIN };
        assert_eq!(colored.severity(Severity::Critical), "\u{1b}[1;31mcritical\u{1b}[0m");
    }
}
