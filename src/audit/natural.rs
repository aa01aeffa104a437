//! The order in which people count: numbers inside names and addresses count as numbers.

use std::cmp::Ordering;

/// `h2` before `h10`, `10.0.0.9` before `10.0.0.10`.
pub fn natural(a: &str, b: &str) -> Ordering {
    let key = |text: &str| {
        let mut parts: Vec<(u64, String)> = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|it: char| !it.is_ascii_digit()).unwrap_or(rest.len());
            let number = rest[..digits].parse().unwrap_or(0);
            rest = &rest[digits..];
            let words = rest.find(|it: char| it.is_ascii_digit()).unwrap_or(rest.len());
            parts.push((number, rest[..words].to_owned()));
            rest = &rest[words..];
        }
        parts
    };
    key(a).cmp(&key(b)).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_count_as_numbers() {
        let mut names = ["h10", "h2", "h1", "a9-b10", "a9-b9", "10.0.0.9", "10.0.0.10"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["a9-b9", "a9-b10", "h1", "h2", "h10", "10.0.0.9", "10.0.0.10"]);
    }
}
