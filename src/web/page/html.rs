//! A small writer of HTML: markup is what stands in this program's text, and everything else is escaped.

use std::fmt::{self, Display, Write};

use crate::model::steers;

/// One value is cut here: whoever can write to the datastore must not be able to make a page that nobody can load.
const LONGEST: usize = 1000;

/// A page under construction.
#[derive(Debug, Default)]
pub(super) struct Markup(String);

/// Writes literals as they are and every other argument as text: `html!(out, "<td>", name, "</td>")`.
macro_rules! html {
    ($out:expr $(,)?) => {{}};
    ($out:expr, $markup:literal $(, $($rest:tt)*)?) => {{
        $out.raw($markup);
        $(html!($out, $($rest)*);)?
    }};
    ($out:expr, $value:expr $(, $($rest:tt)*)?) => {{
        $out.text(&$value);
        $(html!($out, $($rest)*);)?
    }};
}
pub(super) use html;

impl Markup {
    /// Markup of our own.
    pub(super) fn raw(&mut self, markup: &'static str) {
        self.0.push_str(markup);
    }

    /// Text from anywhere, also inside a quoted attribute.
    pub(super) fn text(&mut self, text: &dyn Display) {
        // Writing to a string does not fail; an error is how a text that is too long ends.
        let _ = write!(Escape { out: &mut self.0, left: LONGEST }, "{text}");
    }

    /// What was written.
    pub(super) fn finish(self) -> String {
        self.0
    }
}

struct Escape<'a> {
    out: &'a mut String,
    left: usize,
}

impl Write for Escape<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.left == 0 {
                self.out.push('…');
                return Err(fmt::Error);
            }
            self.left -= 1;
            match character {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '"' => self.out.push_str("&quot;"),
                '\'' => self.out.push_str("&#39;"),
                '\n' | '\t' => self.out.push(character),
                // Neither what is not seen nor what turns the text around: a name must look like what it is.
                _ if steers(character) => self.out.push('\u{fffd}'),
                _ => self.out.push(character),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &str) -> String {
        let mut out = Markup::default();
        html!(out, "<p title=\"", value, "\">");
        out.finish()
    }

    #[test]
    fn only_literals_are_markup() {
        assert_eq!(written("<a href='x'>&\""), "<p title=\"&lt;a href=&#39;x&#39;&gt;&amp;&quot;\">");
        assert_eq!(written("line\nnext\0\u{202e}\u{1b}"), "<p title=\"line\nnext\u{fffd}\u{fffd}\u{fffd}\">");
    }

    #[test]
    fn a_value_is_cut() {
        assert_eq!(written(&"é".repeat(LONGEST)), format!("<p title=\"{}\">", "é".repeat(LONGEST)));
        assert_eq!(written(&"é".repeat(LONGEST + 1)), format!("<p title=\"{}…\">", "é".repeat(LONGEST)));
    }
}
