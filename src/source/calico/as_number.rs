//! AS numbers (`api/pkg/lib/numorstring/asnumber.go`).

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// An AS number: an integer, or text, in digits or as two 16 bit halves (`api/pkg/lib/numorstring/asnumber.go`).
#[derive(Default)]
pub(in crate::source) struct AsNumber(pub(in crate::source) Option<u32>);

impl<'de> Deserialize<'de> for AsNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = AsNumber;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an AS number such as 64512 or \"1.10\"")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                let number =
                    u32::try_from(number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))?;
                Ok(AsNumber(Some(number)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                let number = AsNumber::from_text(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))?;
                Ok(AsNumber(Some(number)))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

impl AsNumber {
    /// Reads digits, or two 16 bit halves.
    pub(in crate::source) fn from_text(text: &str) -> Option<u32> {
        let half = |half: &str| half.parse::<u16>().ok().map(u32::from);
        match text.split_once('.') {
            Some((high, low)) => half(high).zip(half(low)).map(|(high, low)| high << 16 | low),
            None => text.parse().ok(),
        }
    }
}
