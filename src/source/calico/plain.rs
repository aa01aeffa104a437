//! Blocks as Go writes them: no spaces, no escapes, no fractions. Nearly every block is one of these, and blocks are
//! nearly all that is read, so that a reader which knows what comes next pays. Whatever it does not know it leaves to
//! [`parse`](super::parse), whose answer is the one that counts; where this one has an answer it is the same.

use std::borrow::Cow;

use memchr::memchr;

use super::attribute::{Entry, Pod};
use super::block::Block;
use super::json::{Entries, FromText, LIMIT, List, Maybe, Nullable, Text};
use super::parse;
use super::text::Masked;
use crate::state::Unreadable;

impl<'de> Block<'de> {
    /// Reads a block as etcd or a custom resource's `spec` holds it.
    pub(in crate::source) fn parse(value: &'de [u8]) -> Result<Block<'de>, Unreadable> {
        block(value).map_or_else(|| parse(value), Ok)
    }
}

/// The block that `value` is, if it is written as Calico does and holds nothing out of the ordinary.
fn block(value: &[u8]) -> Option<Block<'_>> {
    let mut plain = Plain::new(value)?;
    let mut block = Block::default();
    plain.object(|plain, key| {
        match key {
            "cidr" => block.cidr = Maybe(Some(Masked::from_text(plain.text()?)?)),
            "affinity" => block.affinity = plain.maybe_text()?,
            "affinity_claim_time" | "affinityClaimTime" => block.claimed_at = plain.maybe_text()?,
            "allocations" => block.allocations = plain.list(Plain::maybe_ordinal)?,
            "unallocated" => block.unallocated = plain.list(|it| i64::try_from(it.number()?).ok())?,
            "attributes" => block.attributes = plain.list(Plain::attribute)?,
            "sequenceNumber" => block.sequence_number = plain.number()?,
            "sequenceNumberForAllocation" => block.numbers = plain.numbers()?,
            "deleted" => block.deleted = plain.flag()?,
            // Required of a custom resource, and read by nobody.
            "strictAffinity" => drop(plain.flag()?),
            _ => return None,
        }
        Some(())
    })?;
    plain.is_at_end().then_some(block)
}

/// A place in a text of printable ASCII without backslashes, so that a string ends at the next quote. A method that
/// returns `None` leaves the place anywhere.
struct Plain<'de> {
    text: &'de str,
    at: usize,
}

impl<'de> Plain<'de> {
    fn new(value: &'de [u8]) -> Option<Plain<'de>> {
        // Without a way out of the loop it is done for many bytes at once.
        let odd = value.iter().fold(false, |odd, byte| odd | !(0x20..0x7f).contains(byte) | (*byte == b'\\'));
        let text = std::str::from_utf8(value).ok().filter(|_| !odd)?;
        Some(Plain { text, at: 0 })
    }

    fn rest(&self) -> &'de [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    /// Steps over `expected`, if that is what comes next.
    fn skip(&mut self, expected: &str) -> Option<()> {
        let is_next = self.rest().starts_with(expected.as_bytes());
        self.at += if is_next { expected.len() } else { 0 };
        is_next.then_some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.text.as_bytes().get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// The rest of a string whose opening quote has been read.
    fn rest_of_text(&mut self) -> Option<&'de str> {
        let length = memchr(b'"', self.rest())?;
        let text = self.text.get(self.at..self.at + length)?;
        self.at += length + 1;
        Some(text)
    }

    fn text(&mut self) -> Option<&'de str> {
        self.skip("\"")?;
        self.rest_of_text()
    }

    fn maybe_text(&mut self) -> Option<Text<'de>> {
        if self.skip("null").is_some() {
            return Some(Text::default());
        }
        let text = self.text()?;
        Some(Text(Some(Cow::Borrowed(text)).filter(|text| !text.is_empty())))
    }

    fn flag(&mut self) -> Option<bool> {
        self.skip("false").map(|()| false).or_else(|| self.skip("true").map(|()| true))
    }

    /// Decimal digits, of which nineteen fit whatever they are.
    fn number(&mut self) -> Option<u64> {
        let digits = self.rest().iter().take(20).take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, _) = self.rest().split_at_checked(digits).filter(|(digits, _)| (1..20).contains(&digits.len()))?;
        if digits.first() == Some(&b'0') && digits.len() > 1 {
            return None;
        }
        self.at += digits.len();
        Some(digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
    }

    fn maybe_ordinal(&mut self) -> Option<Option<i64>> {
        if self.skip("null").is_some() { Some(None) } else { Some(Some(i64::try_from(self.number()?).ok()?)) }
    }

    /// `[` entries `]`; nothing for `null`.
    fn list<T>(&mut self, mut entry: impl FnMut(&mut Self) -> Option<T>) -> Option<List<T>> {
        let mut entries = Vec::new();
        if self.skip("null").is_some() || self.skip("[]").is_some() {
            return Some(List(entries));
        }
        self.skip("[")?;
        entries.reserve(64);
        loop {
            entries.push(entry(self)?);
            match self.byte()? {
                b',' if entries.len() < LIMIT => {}
                b']' => return Some(List(entries)),
                _ => return None,
            }
        }
    }

    /// `{` keys and values `}`; `value` reads what follows the key's colon.
    fn object(&mut self, mut value: impl FnMut(&mut Self, &'de str) -> Option<()>) -> Option<()> {
        self.skip("{")?;
        if self.skip("}").is_some() {
            return Some(());
        }
        loop {
            let key = self.text()?;
            self.skip(":")?;
            value(self, key)?;
            match self.byte()? {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    fn numbers(&mut self) -> Option<Entries<'de, Option<u64>>> {
        let mut numbers = Vec::new();
        self.object(|plain, key| {
            numbers.push((Cow::Borrowed(key), Some(plain.number()?)));
            (numbers.len() <= LIMIT).then_some(())
        })?;
        Some(Entries(numbers))
    }

    /// An ordinary pod's attribute, or any other by the reader that knows them all.
    fn attribute(&mut self) -> Option<Entry<'de>> {
        let start = self.at;
        if let Some(pod) = self.pod() {
            return Some(Entry::Pod(pod));
        }
        self.at = start;
        let mut others = serde_json::Deserializer::from_slice(self.rest()).into_iter::<Nullable<Entry<'de>>>();
        let Nullable(entry) = others.next()?.ok()?;
        self.at += others.byte_offset();
        Some(entry)
    }

    fn pod(&mut self) -> Option<Pod<'de>> {
        let mut part = |before: &str| {
            self.skip(before)?;
            self.rest_of_text().filter(|text| !text.is_empty())
        };
        let pod = Pod {
            handle: part(r#"{"handle_id":""#)?,
            namespace: part(r#","secondary":{"namespace":""#)?,
            node: part(r#","node":""#)?,
            pod: part(r#","pod":""#)?,
            allocated_at: part(r#","timestamp":""#)?,
        };
        self.skip("}}")?;
        Some(pod)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::block::built;
    use super::*;
    use crate::model::{AllocationBlock, Detail};

    const POD: &str = r#"{"handle_id":"k8s-pod-network.6d1f","secondary":{"namespace":"default","node":"h1","pod":"web-0","timestamp":"2026-08-20 09:15:02.123456789 +0000 UTC"}}"#;

    /// Values with all that blocks are made of; most of them are plain.
    fn values() -> Vec<String> {
        let attributes = [
            POD,
            r#"{"handle_id":"ipip-tunnel-addr-h1","secondary":{"node":"h1","type":"ipipTunnelAddress"}}"#,
            r#"{"releasedAt":"2026-08-22T10:11:12Z"}"#,
            r#"{"handle_id":"n.vmi.vms.db","secondary":{"namespace":"vms","node":"h2","vmi-name":"db"},"alternateOwnerAttrs":{"node":"h1"}}"#,
            r#"{"handle_id":null,"secondary":null}"#,
            "{}",
            "null",
        ];
        let value = |attributes: &str| {
            format!(
                r#"{{"cidr":"10.0.0.0/29","affinity":"host:h1","affinity_claim_time":"2026-11-24T02:34:00Z","allocations":[0,1,2,3,null,null,4,null],"unallocated":[4,5,7,0],"attributes":[{attributes}],"sequenceNumber":1795487640768847841,"sequenceNumberForAllocation":{{"0":1795487640768847839,"9":3}},"deleted":false}}"#
            )
        };
        let mut values: Vec<String> = attributes.iter().map(|attribute| value(attribute)).collect();
        values.push(value(&attributes.join(",")));
        values.push(value(&[POD; 5].join(",")));
        values.push(r#"{"cidr":"10.0.0.0/29","affinity":null,"allocations":null,"unallocated":[],"attributes":null,"sequenceNumberForAllocation":{}}"#.to_owned());
        // Below a custom resource's `spec`.
        values.push(
            value(POD)
                .replace("affinity_claim_time", "affinityClaimTime")
                .replace(r#"false}"#, r#"false,"strictAffinity":false}"#),
        );
        values
    }

    fn of(block: Option<Block<'_>>) -> Vec<Option<AllocationBlock>> {
        let details = [Detail::Full, Detail::Rules("h1".into()), Detail::Rules("h2".into()), Detail::Digests];
        details.iter().map(|detail| built(block.as_ref()?, detail)).collect()
    }

    #[track_caller]
    fn agrees(value: &[u8]) {
        let Some(plain) = block(value) else { return };
        let text = String::from_utf8_lossy(value);
        let parsed: Block<'_> = parse(value).unwrap_or_else(|why| panic!("{text}: {why:?}"));
        assert_eq!(plain.deleted, parsed.deleted, "{text}");
        assert_eq!(of(Some(plain)), of(Some(parsed)), "{text}");
    }

    #[test]
    fn blocks_as_calico_writes_them_are_plain_and_say_what_they_say_otherwise() {
        for value in values() {
            assert!(block(value.as_bytes()).is_some(), "{value}");
            agrees(value.as_bytes());
        }
    }

    #[test]
    fn what_is_out_of_the_ordinary_is_left_to_others() {
        for value in [
            "",
            "{",
            "null",
            " {}",
            "{} ",
            "{},",
            r#"{"cidr":""}"#,
            r#"{"cidr":"10.0.0.0/29","other":1}"#,
            r#"{"cidr":"10.0.0.0\/29"}"#,
            r#"{"cidr":"10.0.0.0/29","affinity":"host:é"}"#,
            "{\"cidr\":\"10.0.0.0/29\",\"affinity\":\"host:\u{7}\"}",
            r#"{"cidr":"10.0.0.0/29","unallocated":[01]}"#,
            r#"{"cidr":"10.0.0.0/29","unallocated":[1.0]}"#,
            r#"{"cidr":"10.0.0.0/29","unallocated":[1e1]}"#,
            r#"{"cidr":"10.0.0.0/29","unallocated":[-1]}"#,
            r#"{"cidr":"10.0.0.0/29","unallocated":[null]}"#,
            r#"{"cidr":"10.0.0.0/29","unallocated":[1,]}"#,
            r#"{"cidr":"10.0.0.0/29","unallocated":[9999999999999999999]}"#,
            r#"{"cidr":"10.0.0.0/29","sequenceNumber":99999999999999999999}"#,
            r#"{"cidr":"10.0.0.0/29","deleted":null}"#,
        ] {
            assert!(block(value.as_bytes()).is_none(), "{value}");
        }
    }

    proptest! {
        /// However a value is broken, both readers say the same of it, or this one nothing.
        #[test]
        fn what_is_read_here_is_what_is_read_there(
            which in 0usize..10,
            edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..4, prop::sample::select(b"\"\\{}[],:0919.-ehn \x07u".to_vec())), 0..4),
        ) {
            let values = values();
            let mut value = values[which % values.len()].clone().into_bytes();
            for (place, edit, byte) in edits {
                let at = place.index(value.len());
                match edit {
                    0 => value[at] = byte,
                    1 => value.insert(at, byte),
                    2 => drop(value.remove(at)),
                    // A part twice.
                    _ => value.extend_from_within(at..),
                }
            }
            agrees(&value);
        }

        /// The same of texts that are nearly all grammar.
        #[test]
        fn any_text_of_json_is_read_alike(text in r#"\{("cidr":"10.0.0.0/29",)?("(cidr|affinity|allocations|unallocated|attributes|sequenceNumber|sequenceNumberForAllocation|deleted)":(null|true|false|0|12|-1|1.5|"a"|"10.0.0.0/29"|\[(0|null|,|7|\{\})*\]|\{("0":1|,)*\}),?){0,4}\}"#) {
            agrees(text.as_bytes());
        }
    }
}
