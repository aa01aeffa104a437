//! JSON as Go reads it (`encoding/json`): unknown keys are ignored, `null` is the zero value, of a repeated key the last
//! one counts. What Go refuses (a string for a number, a fraction for an integer) is refused here as well: Calico itself
//! could not read it.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};

use crate::model::{AllocationBlock, Mac};

/// The longest list or map that is read. Calico's largest have an entry for each address of a block; what is longer is
/// garbage, and stops being read here.
pub(in crate::source) const LIMIT: usize = AllocationBlock::MAX_SIZE as usize;

/// Declares a struct and how it is read from a JSON object: `"key" => field: Type`, `"old" | "new" => …` where a field has
/// two names. The value of an unknown key must be a `rest` (`IgnoredAny`: anything). A key in another case is the same
/// field, as in Go, unless `rest` makes the object a map.
macro_rules! object {
    ($(#[$meta:meta])* $vis:vis $name:ident $(<$life:lifetime>)?, rest $rest:ty, { $($($key:literal)|+ => $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Default)]
        $vis struct $name $(<$life>)? { $(pub(super) $field: $type,)* }

        impl<'de> ::serde::Deserialize<'de> for $name $(<$life>)? {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Fields;
                impl<'de> ::serde::de::Visitor<'de> for Fields {
                    type Value = $name $(<$life>)?;

                    fn expecting(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: ::serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                        let mut object = Self::Value::default();
                        while let Some($crate::source::calico::json::Key(key)) = map.next_key()? {
                            let names = const { &[$($($key),+),*] };
                            match <$rest as $crate::source::calico::json::Rest>::field(&key, names) {
                                $($($key)|+ => object.$field = map.next_value::<$crate::source::calico::json::Nullable<$type>>()?.0,)*
                                _ => { map.next_value::<$rest>()?; }
                            }
                        }
                        Ok(object)
                    }
                }
                deserializer.deserialize_map(Fields)
            }
        }
    };
}
pub(in crate::source) use object;

/// What is made of the keys of an object that are not known.
pub(in crate::source) trait Rest {
    /// Whether the object is a Go struct, whose fields are known in any case; a map's keys are what they are.
    const IS_STRUCT: bool;

    /// The name of the field that a key is, or the key.
    fn field<'k>(key: &'k str, names: &[&'static str]) -> &'k str {
        let is_known = !Self::IS_STRUCT || names.contains(&key);
        let folded = || names.iter().copied().find(|name| name.eq_ignore_ascii_case(key));
        if is_known { key } else { folded().unwrap_or(key) }
    }
}

impl Rest for IgnoredAny {
    const IS_STRUCT: bool = true;
}

impl Rest for Nullable<Text<'_>> {
    const IS_STRUCT: bool = false;
}

/// A key of an object, borrowed where it has no escapes.
pub(in crate::source) struct Key<'de>(pub(in crate::source) Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Borrowing).map(Key)
    }
}

/// Text, borrowed where it has no escapes; empty is absent.
#[derive(Default)]
pub(in crate::source) struct Text<'de>(pub(in crate::source) Option<Cow<'de, str>>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Borrowing).map(|text| Text(Some(text).filter(|text| !text.is_empty())))
    }
}

impl Text<'_> {
    /// The text, if there is any.
    pub(in crate::source) fn get(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

struct Borrowing;

impl<'de> Visitor<'de> for Borrowing {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// Anything, or `null` for its zero value.
pub(in crate::source) struct Nullable<T>(pub(in crate::source) T);

impl<'de, T: Default + Deserialize<'de>> Deserialize<'de> for Nullable<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<T>::deserialize(deserializer).map(|value| Nullable(value.unwrap_or_default()))
    }
}

/// A list of at most [`LIMIT`] entries, each of which may be `null`.
pub(in crate::source) struct List<T>(pub(in crate::source) Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        List(Vec::new())
    }
}

impl<'de, T: Default + Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Default + Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {LIMIT} entries")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(Nullable(entry)) = seq.next_element()? {
                    if entries.len() == LIMIT {
                        return Err(A::Error::custom(format_args!("a list of more than {LIMIT} entries")));
                    }
                    entries.push(entry);
                }
                Ok(List(entries))
            }
        }
        deserializer.deserialize_seq(Entries(PhantomData))
    }
}

/// An object read as a map: its entries as written, at most [`LIMIT`], a repeated key repeatedly.
pub(in crate::source) struct Entries<'de, T>(pub(in crate::source) Vec<(Cow<'de, str>, T)>);

impl<T> Default for Entries<'_, T> {
    fn default() -> Self {
        Entries(Vec::new())
    }
}

impl<'de, T: Default + Deserialize<'de>> Deserialize<'de> for Entries<'de, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs<T>(PhantomData<T>);
        impl<'de, T: Default + Deserialize<'de>> Visitor<'de> for Pairs<T> {
            type Value = Entries<'de, T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object of at most {LIMIT} entries")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((Key(key), Nullable(value))) = map.next_entry()? {
                    if entries.len() == LIMIT {
                        return Err(A::Error::custom(format_args!("an object of more than {LIMIT} entries")));
                    }
                    entries.push((key, value));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Pairs(PhantomData))
    }
}

/// What is written as text and means something else.
pub(in crate::source) trait FromText: Sized {
    /// What the text ought to be, for the message: "an IPv4 address".
    const EXPECTED: &'static str;

    /// Reads text that is not empty.
    fn from_text(text: &str) -> Option<Self>;
}

impl FromText for String {
    const EXPECTED: &'static str = "a string";

    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl FromText for Mac {
    const EXPECTED: &'static str = "a hardware address such as 66:fc:0d:2e:98:f8";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// Text with a meaning; empty is absent.
pub(in crate::source) struct Maybe<T>(pub(in crate::source) Option<T>);

impl<T> Default for Maybe<T> {
    fn default() -> Self {
        Maybe(None)
    }
}

impl<'de, T: FromText> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Meaning<T>(PhantomData<T>);
        impl<T: FromText> Visitor<'_> for Meaning<T> {
            type Value = Maybe<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                match (text, T::from_text(text)) {
                    ("", _) => Ok(Maybe(None)),
                    (_, Some(value)) => Ok(Maybe(Some(value))),
                    (_, None) => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_str(Meaning(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    object! {
        #[derive(Debug, PartialEq)]
        Sample, rest IgnoredAny, {
            "number" => number: i64,
            "flag" => flag: Option<bool>,
            "name" => name: String,
        }
    }

    fn sample(text: &str) -> Option<(i64, Option<bool>, String)> {
        serde_json::from_str::<Sample>(text).ok().map(|it| (it.number, it.flag, it.name))
    }

    #[test]
    fn objects_are_read_as_go_reads_them() {
        assert_eq!(sample("{}"), Some((0, None, String::new())));
        assert_eq!(sample(r#"{"number":null,"flag":null,"name":null}"#), sample("{}"));
        assert_eq!(sample(r#"{"number":1,"flag":false,"number":2,"other":[{}]}"#), Some((2, Some(false), "".into())));
        assert_eq!(sample(r#"{"n\u0075mber":3}"#), Some((3, None, String::new())));
        assert_eq!(sample(r#"{"Number":3,"FLAG":true,"name ":"x"}"#), Some((3, Some(true), String::new())));
        assert_eq!(sample(r#"{"number":1,"NUMBER":2}"#), Some((2, None, String::new())));
        for refused in
            ["[]", "null", "1", "\"\"", r#"{"number":"1"}"#, r#"{"number":1.0}"#, r#"{"flag":0}"#, "{} {}", ""]
        {
            assert_eq!(sample(refused), None, "{refused}");
        }
    }

    #[test]
    fn lists_and_maps_end_at_a_bound() {
        let list = |entries: usize| format!("[{}0]", "0,".repeat(entries - 1));
        assert_eq!(serde_json::from_str::<List<i64>>(&list(LIMIT)).unwrap().0.len(), LIMIT);
        assert!(serde_json::from_str::<List<i64>>(&list(LIMIT + 1)).is_err());
        assert_eq!(serde_json::from_str::<List<Option<i64>>>("[null,1]").unwrap().0, [None, Some(1)]);
        let map = format!("{{{}\"a\":0}}", "\"a\":0,".repeat(LIMIT));
        assert!(serde_json::from_str::<Entries<'_, i64>>(&map).is_err());
    }
}
