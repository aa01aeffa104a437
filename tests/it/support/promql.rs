//! Which series an expression reads: enough of PromQL to find names and matchers.

use std::collections::{BTreeMap, BTreeSet};

use calico_exporter::metrics::catalogue::{ALL, Kind, Series};

/// `name{label="value"}`.
#[derive(Debug)]
pub(crate) struct Selector {
    pub(crate) name: String,
    /// Label, operator, value.
    pub(crate) matchers: Vec<(String, String, String)>,
}

fn is_name(it: char) -> bool {
    it.is_ascii_alphanumeric() || it == '_' || it == ':'
}

/// Every word of a text that may be a series' name, and what stands behind it.
pub(crate) fn words(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|it| !is_name(it));
        let length = rest.find(|it| !is_name(it)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(length);
        rest = behind;
        (!word.is_empty()).then_some((word, behind))
    })
}

/// The selectors of this exporter's series, of `up` and of what is recorded from them.
pub(crate) fn selectors(expression: &str) -> Vec<Selector> {
    let ours = |word: &str| word == "up" || word.contains("calico_") || word.starts_with("process_");
    words(expression)
        .filter(|(word, _)| ours(word))
        .map(|(word, behind)| Selector {
            name: word.to_owned(),
            matchers: behind.strip_prefix('{').map(matchers).unwrap_or_default(),
        })
        .collect()
}

fn matchers(text: &str) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', ',', '\n']);
        if rest.is_empty() || rest.starts_with('}') {
            return found;
        }
        let Some((label, behind)) = rest.split_once(['=', '!']) else { return found };
        let operator_start = rest.len() - behind.len() - 1;
        let Some((operator, behind)) = rest[operator_start..].split_once('"') else { return found };
        let Some((value, behind)) = behind.split_once('"') else { return found };
        found.push((label.trim().to_owned(), operator.trim().to_owned(), value.to_owned()));
        rest = behind;
    }
}

/// The series of the catalogue that has this name, or these buckets, sum or count.
pub(crate) fn exported(name: &str) -> Option<&'static Series> {
    let histogram = ["_bucket", "_sum", "_count"].into_iter().find_map(|suffix| name.strip_suffix(suffix));
    ALL.iter().copied().find(|series| {
        series.name == name || (series.kind == Kind::Histogram && histogram.is_some_and(|it| series.name == it))
    })
}

/// Labels that Prometheus adds, or its users.
const OF_TARGETS: [&str; 4] = ["cluster", "job", "instance", "le"];

/// Asserts that an expression reads only series that are exported or recorded, by labels and values that they have.
pub(crate) fn check(wherefrom: &str, expression: &str, recorded: &BTreeMap<String, String>) {
    for selector in selectors(expression) {
        if selector.name == "up" || recorded.contains_key(&selector.name) {
            continue;
        }
        let Some(series) = exported(&selector.name) else {
            panic!("{wherefrom}: {} is neither exported nor recorded", selector.name)
        };
        for (label, operator, value) in &selector.matchers {
            let known = series.labels.iter().find(|it| it.name == label);
            assert!(known.is_some() || OF_TARGETS.contains(&label.as_str()), "{wherefrom}: {}{{{label}}}", series.name);
            let values = known.map(|label| (label.values)()).unwrap_or_default();
            let literal = operator.trim_start_matches('!') == "=" || value.chars().all(|it| is_name(it) || it == '|');
            if literal && !values.is_empty() && !value.starts_with('$') && !value.starts_with('%') {
                for value in value.split('|') {
                    assert!(values.contains(&value), "{wherefrom}: {}{{{label}=\"{value}\"}}", series.name);
                }
            }
        }
    }
}

/// The names of exported series that expressions read, also through what is recorded.
pub(crate) fn read_by<'a>(
    expressions: impl IntoIterator<Item = &'a str>,
    recorded: &BTreeMap<String, String>,
) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut queue: Vec<String> = expressions.into_iter().map(str::to_owned).collect();
    while let Some(expression) = queue.pop() {
        for selector in selectors(&expression) {
            let name = exported(&selector.name).map_or(selector.name, |series| series.name.to_owned());
            if names.insert(name.clone())
                && let Some(expression) = recorded.get(&name)
            {
                queue.push(expression.clone());
            }
        }
    }
    names
}
