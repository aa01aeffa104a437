//! Why a value says nothing, in a line that names the place and the value there.

use crate::model::steers;

/// The longest message, in characters.
pub(in crate::source) const LENGTH: usize = 128;

/// Text without control characters, at most `limit` characters long: the middle gives way, since the ends say most.
pub(in crate::source) fn printable(text: &str, limit: usize) -> String {
    // Escapes make text longer: no more of a hostile value is looked at than can be shown.
    let escape = |part: &str| -> String {
        part.chars()
            .map(|char| match steers(char) {
                true => char.escape_default().to_string(),
                false => char.to_string(),
            })
            .collect()
    };
    let boundary = |at: usize| (at..).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    let escaped = match text.len() > limit * 16 {
        true => escape(&text[..boundary(limit * 4)]) + &escape(&text[boundary(text.len() - limit * 4)..]),
        false => escape(text),
    };
    let length = escaped.chars().count();
    if length <= limit {
        return escaped;
    }
    let (head, tail) = (limit * 3 / 5, limit - limit * 3 / 5 - 1);
    escaped.chars().take(head).chain(['…']).chain(escaped.chars().skip(length - tail)).collect()
}

/// A message of our own about a field.
pub(in crate::source) fn at(field: &str, message: &str) -> String {
    printable(&format!("{field}: {message}"), LENGTH)
}

/// What the JSON reader says, with the path of the field where it stopped.
pub(in crate::source) fn json(error: &serde_json::Error, value: &[u8]) -> String {
    let message = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    let message = message.strip_suffix(&position).unwrap_or(&message);
    let offset = offset(value, error.line(), error.column());
    let message = match error.is_data() {
        true => message.to_owned(),
        false => format!("{message} at byte {offset}"),
    };
    let path = path(&value[..offset]);
    match path.is_empty() {
        true => printable(&message, LENGTH),
        false => {
            let path = printable(&path, LENGTH / 2);
            let left = LENGTH - path.chars().count() - 2;
            format!("{path}: {}", printable(&message, left))
        }
    }
}

fn offset(value: &[u8], line: usize, column: usize) -> usize {
    let start = match line {
        0 | 1 => 0,
        _ => value.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(line - 2).map_or(0, |(at, _)| at + 1),
    };
    value.len().min(start + column)
}

/// Where the text before an error leads: `spec.bgp.ipv4Address`, `allocations[3]`.
fn path(before: &[u8]) -> String {
    enum Step<'a> {
        Key(&'a [u8]),
        Index(usize),
    }
    // Calico's own nesting is four deep; a hostile value's is only counted.
    const DEEPEST: usize = 8;
    let mut steps: Vec<Step<'_>> = Vec::new();
    let mut deeper = 0usize;
    let mut text: &[u8] = &[];
    let mut at = 0;
    while let Some(byte) = before.get(at) {
        match byte {
            b'"' => {
                let start = at + 1;
                at = start;
                while before.get(at).is_some_and(|byte| *byte != b'"') {
                    at += if before[at] == b'\\' { 2 } else { 1 };
                }
                text = &before[start..at.min(before.len())];
            }
            b'{' | b'[' if steps.len() == DEEPEST => deeper += 1,
            b'}' | b']' if deeper > 0 => deeper -= 1,
            b':' | b',' if deeper > 0 => {}
            b'{' => steps.push(Step::Key(&[])),
            b'[' => steps.push(Step::Index(0)),
            b'}' | b']' => {
                steps.pop();
            }
            b':' => {
                if let Some(Step::Key(key)) = steps.last_mut() {
                    *key = text;
                }
            }
            b',' => match steps.last_mut() {
                Some(Step::Key(key)) => *key = &[],
                Some(Step::Index(index)) => *index += 1,
                None => {}
            },
            _ => {}
        }
        at += 1;
    }
    let mut path = String::new();
    for step in &steps {
        match step {
            Step::Key([]) => {}
            Step::Key(key) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&String::from_utf8_lossy(&key[..key.len().min(200)]));
            }
            Step::Index(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "only the errors matter")]
    struct Sample {
        list: Option<Vec<i64>>,
        inner: Option<Box<Sample>>,
        name: Option<String>,
    }

    fn why(text: &str) -> String {
        json(&serde_json::from_str::<Sample>(text).unwrap_err(), text.as_bytes())
    }

    #[test]
    fn a_message_names_field_and_value() {
        for (text, expected) in [
            (r#"{"list":[1,2.5]}"#, "list[1]: invalid type: floating point `2.5`, expected i64"),
            (r#"{"inner":{"list":[0,0],"name":7}}"#, "inner.name: invalid type: integer `7`, expected a string"),
            ("{\n \"inner\": {\"list\":\n[1,\"x\"]}}", "inner.list[1]: invalid type: string \"x\", expected i64"),
            (r#"{"name":["#, "name: invalid type: sequence, expected a string"),
            (r#"{"list":[1,"#, "list[1]: EOF while parsing a value at byte 11"),
            (r#"{"name":"#, "name: EOF while parsing a value at byte 8"),
            ("", "EOF while parsing a value at byte 0"),
            (r#"{"u":[[[[[[[[[[1,2],{"a":3}]]]]]]]]],"name":7}"#, "name: invalid type: integer `7`, expected a string"),
            (r#"{"u":[[[[[[[[[[1,2],{"a":3},"#, "u[0][0][0][0][0][0][0]: EOF while parsing a value at byte 28"),
            ("[", "[0]: EOF while parsing a list at byte 1"),
        ] {
            assert_eq!(why(text), expected, "{text}");
        }
    }

    #[test]
    fn a_message_is_short_and_printable() {
        let text = format!(r#"{{"list":["{}\u001b[31m\n"]}}"#, "a\u{7f}".repeat(100_000));
        let message = why(&text);
        assert!(message.starts_with("list[0]: invalid type: string \"a"), "{message}");
        assert!(message.ends_with("expected i64"), "{message}");
        assert!(message.chars().count() <= LENGTH && !message.chars().any(char::is_control), "{message}");
        assert_eq!(printable("a\r\nb\u{1b}", 50), "a\\r\\nb\\u{1b}");
        let message = why(&format!(r#"{{"{}":"#, "k\u{e9}".repeat(1000)));
        assert!(message.chars().count() <= LENGTH, "{message}");
    }
}
