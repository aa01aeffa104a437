//! Which page is asked for: paths and the one query parameter that a page may have.

use super::Page;
use crate::web::history::HistoryQuery;

impl Page {
    /// The page of a path, if there is one there. A query that says nothing usable says nothing: the list begins at its
    /// beginning.
    pub(in crate::web) fn of(path: &str, query: Option<&str>) -> Option<Page> {
        let query = query.unwrap_or_default();
        // Pages are counted from 1, as people do; what is inside counts from 0.
        let page = number(query, "page").unwrap_or(1).saturating_sub(1);
        Some(match path {
            "/" => Page::Overview,
            "/findings" => Page::Findings(page),
            "/hosts" => Page::Hosts(page),
            "/routes" => Page::Routes(page),
            "/explain" => Page::Explain(text(query, "q")),
            "/history" => Page::History(HistoryQuery::parse(query)),
            _ => {
                let name = decode(path.strip_prefix("/host/")?).filter(|name| !name.is_empty())?;
                Page::Host(name.into(), number(query, "from").unwrap_or(0))
            }
        })
    }
}

/// A parameter's number. The last one counts; other parameters are not ours.
fn number(query: &str, name: &str) -> Option<usize> {
    let mut values = query.split('&').filter_map(|part| part.split_once('=')).filter(|(key, _)| *key == name);
    let (_, text) = values.next_back()?;
    // `usize` would also take `+1`. Nothing has as many rows as ten digits count, and no sum of nine overflows.
    let digits = (1..10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// A parameter's text, as a form sends it; the last one counts. What is no text is shown as what it is not.
pub(in crate::web) fn text(query: &str, name: &str) -> String {
    let mut values = query.split('&').filter_map(|part| part.split_once('=')).filter(|(key, _)| *key == name);
    let value = values.next_back().map(|(_, value)| value.replace('+', " ")).unwrap_or_default();
    decode(&value).unwrap_or_else(|| "\u{fffd}".to_owned())
}

/// The path that explains a subject.
pub(super) fn explain_path(subject: &str) -> String {
    host_path(subject).replacen("/host/", "/explain?q=", 1)
}

/// The path that shows what changed about a subject.
pub(super) fn history_path(subject: &str) -> String {
    host_path(subject).replacen("/host/", "/history?subject=", 1)
}

/// A percent-encoded part of a path; `None` where it is not text.
fn decode(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push(u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

/// The path of a host's page.
pub(super) fn host_path(name: &str) -> String {
    let mut path = "/host/".to_owned();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => path.push(char::from(byte)),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_what_is_none() {
        assert_eq!(Page::of("/", Some("page=x")), Some(Page::Overview));
        assert_eq!(Page::of("/routes", None), Some(Page::Routes(0)));
        assert_eq!(Page::of("/explain", Some("q=a+b%2Fc&page=1")), Some(Page::Explain("a b/c".to_owned())));
        assert_eq!(Page::of("/explain", Some("q=%ff")), Some(Page::Explain("\u{fffd}".to_owned())));
        assert_eq!(Page::of("/explain", None), Some(Page::Explain(String::new())));
        assert_eq!(Page::of("/routes", Some("a=b&page=7&c")), Some(Page::Routes(6)));
        assert_eq!(Page::of("/hosts", Some("from=9")), Some(Page::Hosts(0)));
        assert_eq!(Page::of("/host/h1", Some("from=9")), Some(Page::Host("h1".into(), 9)));
        for path in ["/host", "/host/", "/hosts/", "/host/%", "/host/%f", "/host/%ff", "/host/%zz", "/index.html"] {
            assert_eq!(Page::of(path, None), None, "{path}");
        }
    }

    #[test]
    fn a_query_that_says_nothing_begins_at_the_beginning() {
        for query in ["page=0", "page=", "page=-1", "page=+1", "page=x", "page=1e3", "page=5&page=99999999999999999999"]
        {
            assert_eq!(Page::of("/findings", Some(query)), Some(Page::Findings(0)), "{query}");
        }
        assert_eq!(Page::of("/host/h1", Some("from=1e3")), Some(Page::Host("h1".into(), 0)));
    }

    #[test]
    fn any_name_has_a_page() {
        for name in ["h1", "node-1.example", "a/b?c#d%20", "über", "<script>", ".."] {
            let path = host_path(name);
            assert!(path.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"'?#".contains(&byte)), "{path}");
            assert_eq!(Page::of(&path, None), Some(Page::Host(name.into(), 0)));
            let path = explain_path(name);
            let query = path.split_once('?').unwrap().1;
            assert_eq!(Page::of("/explain", Some(query)), Some(Page::Explain(name.to_owned())));
        }
    }
}
