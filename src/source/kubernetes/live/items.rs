//! Takes a list apart while it arrives: each object as it was written, and what stands around them.

use memchr::memchr2;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

/// The largest object that is accepted, in bytes: etcd stores none of more than 1.5 MB.
const LARGEST: usize = 16 << 20;

/// A list in progress. Of all that was read it keeps what was not taken yet.
#[derive(Default)]
pub(super) struct Items {
    /// Objects that are whole.
    whole: Vec<Vec<u8>>,
    /// The one that is not yet.
    begun: Vec<u8>,
    /// Everything else.
    around: Vec<u8>,
    depth: usize,
    within: bool,
    in_string: bool,
    escaped: bool,
}

/// What a list says of itself.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ListMeta {
    /// The version that it is of.
    pub resource_version: String,
    /// Where the next page begins, unless it is the last one.
    pub r#continue: String,
    /// How many objects are on pages that follow; not said where a selector narrows the list.
    pub remaining_item_count: u64,
}

#[derive(Deserialize)]
struct Around {
    #[serde(default)]
    metadata: ListMeta,
    // Not one without items: what a proxy makes up is no empty list.
    #[serde(rename = "items", deserialize_with = "or_null")]
    _items: (),
}

/// Go writes an empty list as null, where it means one.
fn or_null<'de, D: Deserializer<'de>>(from: D) -> Result<(), D::Error> {
    Option::<Vec<IgnoredAny>>::deserialize(from).map(drop)
}

impl Items {
    /// Reads on.
    ///
    /// # Errors
    /// Among the objects is something else, or one that is too large.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(), String> {
        let (mut from, mut at) = (0, 0);
        while let Some(byte) = bytes.get(at) {
            if self.in_string {
                at = match (self.escaped, memchr2(b'"', b'\\', &bytes[at..])) {
                    (true, _) => at,
                    (false, Some(more)) => at + more,
                    (false, None) => break,
                };
                self.in_string = self.escaped || bytes[at] == b'\\';
                self.escaped = !self.escaped && bytes[at] == b'\\';
                at += 1;
                continue;
            }
            at += 1;
            if self.within && self.depth == 2 {
                match byte {
                    b'{' | b']' => from = at - 1,
                    b',' | b' ' | b'\n' | b'\r' | b'\t' => continue,
                    _ => return Err("among its items is something that is no object".to_owned()),
                }
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => {
                    self.depth += 1;
                    if *byte == b'[' && self.depth == 2 && self.is_items(&bytes[from..at - 1]) {
                        self.around.extend_from_slice(&bytes[from..at]);
                        (self.within, from) = (true, at);
                    }
                }
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.within && self.depth == 2 {
                        self.begun.extend_from_slice(&bytes[from..at]);
                        self.whole.push(std::mem::take(&mut self.begun));
                        from = at;
                    }
                    self.within &= self.depth > 1;
                }
                _ => {}
            }
        }
        match (self.within, self.depth) {
            (false, _) => self.around.extend_from_slice(&bytes[from..]),
            (true, 2) => {}
            (true, _) => self.begun.extend_from_slice(&bytes[from..]),
        }
        if self.begun.len().max(self.around.len()) > LARGEST {
            return Err(format!("something in it has more than {LARGEST} bytes"));
        }
        Ok(())
    }

    /// Whether the array that begins after these bytes is the list's own.
    fn is_items(&self, bytes: &[u8]) -> bool {
        // The key may have come in pieces.
        let last = |bytes: &[u8]| bytes[bytes.len().saturating_sub(64)..].to_vec();
        let before = [last(&self.around), last(bytes)].concat();
        let before = before.trim_ascii_end().strip_suffix(b":").unwrap_or_default();
        before.trim_ascii_end().ends_with(b"\"items\"")
    }

    /// What the list says of itself before its objects, once they have begun: a server writes that first, but for those
    /// that sort what they write.
    pub(super) fn heading(&self) -> Option<ListMeta> {
        let closed = [&self.around, &b"]}"[..]].concat();
        let around: Around = serde_json::from_slice(&closed).ok().filter(|_| self.within)?;
        Some(around.metadata)
    }

    /// The objects that are whole by now.
    pub(super) fn take(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.whole)
    }

    /// How many those are.
    pub(super) fn len(&self) -> usize {
        self.whole.len()
    }

    /// What the list says of itself, once all of it was read.
    ///
    /// # Errors
    /// It is none, or not whole.
    pub(super) fn end(&self) -> Result<ListMeta, String> {
        let around: Around = serde_json::from_slice(&self.around).map_err(|error| error.to_string())?;
        Ok(around.metadata)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str, piece: usize) -> Result<(Vec<String>, ListMeta), String> {
        let (mut items, mut found) = (Items::default(), Vec::new());
        for piece in text.as_bytes().chunks(piece) {
            items.read(piece)?;
            found.extend(items.take().into_iter().map(|item| String::from_utf8(item).unwrap()));
        }
        Ok((found, items.end()?))
    }

    #[test]
    fn where_the_next_page_begins_is_known_with_the_first_object() {
        let heading = |text: &str| {
            let mut items = Items::default();
            items.read(text.as_bytes()).unwrap();
            items.heading().map(|meta| meta.r#continue)
        };
        let metadata = r#""metadata":{"resourceVersion":"7","continue":"token"}"#;
        assert_eq!(heading(&format!(r#"{{"kind":"L",{metadata}"#)), None);
        assert_eq!(heading(&format!(r#"{{"kind":"L",{metadata},"items":["#)).as_deref(), Some("token"));
        assert_eq!(heading(&format!(r#"{{"kind":"L",{metadata},"items":[{{}},{{"a""#)).as_deref(), Some("token"));
        assert_eq!(heading(r#"{"kind":"L","items":[{}"#).as_deref(), Some(""), "it comes last");
    }

    #[test]
    fn what_is_no_list_has_no_end() {
        for text in [
            "",
            "Bad Gateway",
            "{}",
            r#"{"metadata":{"resourceVersion":"1"}}"#,
            r#"{"metadata":{"items":[{}]}}"#,
            r#"{"items":[{}"#,
            r#"{"items":[{}]"#,
            r#"{"items":[{},null]}"#,
            r#"{"items":["a"]}"#,
            r#"{"items":[[{}]]}"#,
            r#"{"items":{}}"#,
            r#"[{"items":[]}]"#,
        ] {
            assert!(read(text, 3).is_err(), "{text}: {:?}", read(text, 3));
        }
    }

    #[test]
    fn an_empty_list_is_one_in_each_of_its_forms() {
        for text in [r#"{"items":[]}"#, r#"{"items":null}"#, "{ \"items\" : [ ] }"] {
            assert_eq!(read(text, 1), Ok((vec![], ListMeta::default())), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_list_in_any_pieces_is_what_it_is_in_one(
            texts in proptest::collection::vec("[ -~\n]{0,12}", 0..6), metadata_first: bool, pretty: bool, piece in 1usize..40,
        ) {
            let items: Vec<serde_json::Value> = texts
                .iter()
                .map(|text| serde_json::json!({"metadata": {"name": text, "items": [text, {"}": "]"}]}, text.as_str(): [[], {}]}))
                .collect();
            let metadata = r#"{"resourceVersion":"7","continue":"a\"b"}"#;
            let write = |value: &serde_json::Value| match pretty {
                true => serde_json::to_string_pretty(value).unwrap(),
                false => value.to_string(),
            };
            let all: Vec<String> = items.iter().map(write).collect();
            let list = format!("[{}]", all.join(if pretty { ",\n " } else { "," }));
            let text = match metadata_first {
                true => format!(r#"{{"kind":"L","metadata":{metadata},"items":{list}}}"#),
                false => format!(r#"{{"apiVersion":"v1", "items" : {list} ,"metadata":{metadata}}}"#),
            };
            let wanted =
                ListMeta { resource_version: "7".to_owned(), r#continue: "a\"b".to_owned(), ..ListMeta::default() };
            prop_assert_eq!(read(&text, piece), Ok((all, wanted)));
        }
    }
}
