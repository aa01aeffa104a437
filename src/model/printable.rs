//! Text of others, written so that it cannot steer what shows it: a terminal, a log, an editor.

use std::fmt;

/// Whether a character does something where it is shown, instead of being seen: C0 and C1 controls (ECMA-48), DEL,
/// Unicode's marks of direction (UAX 9) and its separators of lines.
pub fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text with characters that steer written as JSON writes them (`\u001b`).
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(steers) {
            let (before, found) = rest.split_at(at);
            out.write_str(before)?;
            let mut characters = found.chars();
            if let Some(character) = characters.next() {
                write!(out, "\\u{:04x}", u32::from(character))?;
            }
            rest = characters.as_str();
        }
        out.write_str(rest)
    }
}

/// A JSON document in which no character steers: outside of strings there is none, and inside them `\u202e` is the
/// character (RFC 8259, 7).
pub fn printable_json(document: String) -> String {
    match document.contains(steers) {
        true => Printable(&document).to_string(),
        false => document,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVIL: &str = "a\u{1b}[2Jb\u{9b}0mc\u{7f}d\u{202e}e\u{2028}f\u{200f}\r\n";

    #[test]
    fn what_steers_is_shown() {
        assert_eq!(Printable(EVIL).to_string(), r"a\u001b[2Jb\u009b0mc\u007fd\u202ee\u2028f\u200f\u000d\u000a");
        assert_eq!(Printable("Zoë’s 節点 🙂").to_string(), "Zoë’s 節点 🙂");
    }

    #[test]
    fn a_document_stays_the_same_document() {
        let document = serde_json::to_string(&serde_json::json!({EVIL: [EVIL, "plain"]})).unwrap();
        let written = printable_json(document.clone());
        assert!(!written.contains(steers) && document.contains(steers));
        let [before, after] = [&document, &written].map(|it| serde_json::from_str::<serde_json::Value>(it).unwrap());
        assert_eq!(before, after);
    }
}
