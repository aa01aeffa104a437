//! The judgements that code, tests and documents cite by number are all on one page.

use std::collections::BTreeSet;

use crate::support::{files_below, repository};

fn numbers(text: &str) -> impl Iterator<Item = u32> + '_ {
    let starts = text.match_indices('J').filter(|(at, _)| !text[..*at].ends_with(|it: char| it.is_alphanumeric()));
    starts.filter_map(|(at, _)| {
        let digits: String = text[at + 1..].chars().take_while(char::is_ascii_digit).collect();
        let rest = text[at + 1 + digits.len()..].chars().next();
        let ends = rest.is_none_or(|it| !it.is_alphanumeric() && it != '_');
        digits.parse().ok().filter(|_| ends)
    })
}

#[test]
fn every_judgement_that_is_cited_is_written_down() {
    let page = std::fs::read_to_string(repository("docs/judgement.md")).unwrap();
    let headings = page.lines().filter_map(|line| line.strip_prefix("### J")?.parse().ok());
    let headings: Vec<u32> = headings.collect();
    let written: BTreeSet<u32> = headings.iter().copied().collect();
    assert_eq!(headings.len(), written.len(), "a number is given twice");
    assert!(written.iter().copied().eq(1..=45), "{written:?}");
    let mut cited = 0;
    for (folder, ending) in [("src", ".rs"), ("tests", ".rs"), ("docs", ".md")] {
        for path in files_below(folder, ending) {
            let text = std::fs::read_to_string(&path).unwrap();
            for number in numbers(&text) {
                assert!(written.contains(&number), "{}: J{number} is nowhere written", path.display());
                cited += 1;
            }
        }
    }
    assert!(cited > 300, "only {cited} citations were found");
}
