//! A strict reader of both text formats: whatever breaks a rule of the format panics.

use std::collections::{BTreeMap, BTreeSet};

use calico_exporter::metrics::Format;

/// A sample's name and labels.
pub(crate) type Key = (String, BTreeMap<String, String>);

#[derive(Debug, Default)]
pub(crate) struct Exposition {
    pub(crate) samples: BTreeMap<Key, f64>,
    /// The type of each family, under the name that the format gives the family.
    pub(crate) types: BTreeMap<String, String>,
}

impl Exposition {
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter().map(|(name, value)| ((*name).to_string(), (*value).to_string())).collect();
        self.samples.get(&(name.to_string(), labels)).copied()
    }

    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.samples.iter().filter(|((of, _), _)| of == name).map(|(_, value)| value).sum()
    }

    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.samples.keys().map(|(name, _)| name.as_str()).collect()
    }
}

pub(crate) fn parse(text: &str, format: Format) -> Exposition {
    let mut out = Exposition::default();
    let mut family = String::new();
    let mut ended = false;
    assert!(text.ends_with('\n'), "the last line is not ended");
    // Not `lines`, which would also end a line at `\r\n`.
    for line in text.strip_suffix('\n').unwrap().split('\n') {
        assert!(!ended, "something follows the end: {line:?}");
        if line == "# EOF" {
            assert_eq!(format, Format::OpenMetrics, "text 0.0.4 has no end mark");
            ended = true;
        } else if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (word, name, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            match word {
                "HELP" => {
                    assert!(!out.types.contains_key(name), "{name} is described twice");
                    family = name.to_string();
                }
                "TYPE" => {
                    assert_eq!(name, family);
                    out.types.insert(family.clone(), rest.to_string());
                }
                "UNIT" => {
                    assert_eq!(format, Format::OpenMetrics, "text 0.0.4 has no units");
                    assert!(family.ends_with(&format!("_{rest}")), "{family} does not end in its unit {rest}");
                }
                other => panic!("unknown comment {other:?}"),
            }
        } else {
            let (key, value) = sample(line);
            let suffix = key.0.strip_prefix(family.as_str()).unwrap_or_else(|| panic!("{line:?} under {family}"));
            let allowed: &[&str] = match (out.types.get(&family).map(String::as_str), format) {
                (Some("histogram"), _) => &["_bucket", "_sum", "_count"],
                (Some("counter"), Format::OpenMetrics) => &["_total"],
                (Some("info"), Format::OpenMetrics) => &["_info"],
                (Some("gauge" | "counter"), _) => &[""],
                (other, _) => panic!("{family} is of type {other:?}"),
            };
            assert!(allowed.contains(&suffix), "{line:?} under {family}");
            assert_eq!(out.samples.insert(key, value), None, "{line:?} twice");
        }
    }
    assert_eq!(ended, format == Format::OpenMetrics, "the end mark");
    out
}

fn sample(line: &str) -> (Key, f64) {
    let name_end = line.find(['{', ' ']).unwrap();
    let name = line[..name_end].to_string();
    assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line:?}");
    let mut labels = BTreeMap::new();
    let mut rest = &line[name_end..];
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").unwrap();
            let mut value = String::new();
            let mut characters = after.char_indices();
            let end = loop {
                let (position, character) = characters.next().unwrap();
                match character {
                    '"' => break position,
                    '\\' => value.push(match characters.next().unwrap().1 {
                        'n' => '\n',
                        escaped @ ('\\' | '"') => escaped,
                        other => panic!("escape {other:?} in {line:?}"),
                    }),
                    other => {
                        assert!(!other.is_ascii_control(), "control character in {line:?}");
                        value.push(other);
                    }
                }
            };
            assert_eq!(labels.insert(label.to_string(), value), None, "{label} twice in {line:?}");
            rest = &after[end + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').unwrap();
    }
    ((name, labels), rest.strip_prefix(' ').unwrap().parse().unwrap())
}
