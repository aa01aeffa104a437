//! An object of the JSON with its place, so that whatever is wrong with a field can say where it is.

use std::path::Path;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::FileError;

/// An object: an entry of the file's list, or one inside such an entry.
pub(super) struct Entry<'a> {
    file: &'a Path,
    number: usize,
    /// Path from the entry to this object with a trailing dot, empty for the entry itself.
    prefix: String,
    fields: &'a Map<String, Value>,
}

impl<'a> Entry<'a> {
    /// The entry at place `number`, counted from 1.
    pub(super) fn new(file: &'a Path, number: usize, fields: &'a Map<String, Value>) -> Self {
        Entry { file, number, prefix: String::new(), fields }
    }

    /// The error that `field` has this problem.
    pub(super) fn wrong(&self, field: &str, problem: impl Into<String>) -> FileError {
        FileError::Field {
            file: self.file.to_owned(),
            entry: self.number,
            field: format!("{}{field}", self.prefix),
            problem: problem.into(),
        }
    }

    /// The error that `field` ought to be there.
    pub(super) fn missing(&self, field: &str) -> FileError {
        self.wrong(field, "is missing")
    }

    /// Whether the field is there, whatever its value.
    pub(super) fn has(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    /// Whether there is a field that is none of these.
    pub(super) fn has_other_than(&self, known: &[&str]) -> bool {
        self.fields.keys().any(|field| !known.contains(&field.as_str()))
    }

    /// A text, where the field is there.
    pub(super) fn text(&self, field: &str) -> Result<Option<&'a str>, FileError> {
        match self.fields.get(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(field, format!("ought to be a text and is {other}"))),
        }
    }

    /// A number that fits the type, where the field is there.
    pub(super) fn number<T: TryFrom<u64>>(&self, field: &str) -> Result<Option<T>, FileError> {
        let Some(value) = self.fields.get(field) else { return Ok(None) };
        match value.as_u64().and_then(|number| T::try_from(number).ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(field, format!("ought to be a number in range and is {value}"))),
        }
    }

    /// A text that `T` can be read from, where the field is there.
    pub(super) fn parsed<T: FromStr>(&self, field: &str, what: &str) -> Result<Option<T>, FileError> {
        let Some(text) = self.text(field)? else { return Ok(None) };
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(self.wrong(field, format!("`{text}` is not {what}"))),
        }
    }

    /// What iproute2 writes as a name where it knows one and as a number where it does not, or with `-N`.
    /// `hint` completes the message about a name that is in no table.
    pub(super) fn named<T: TryFrom<u64> + Copy>(
        &self,
        field: &str,
        names: &[(&str, T)],
        hint: &str,
    ) -> Result<Option<T>, FileError> {
        if matches!(self.fields.get(field), Some(Value::Number(_))) {
            return self.number(field);
        }
        let Some(text) = self.text(field)? else { return Ok(None) };
        if let Some((_, value)) = names.iter().find(|(name, _)| *name == text) {
            return Ok(Some(*value));
        }
        let number = match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        };
        match number.and_then(|number| T::try_from(number).ok()) {
            Some(value) => Ok(Some(value)),
            None => Err(self.wrong(field, format!("`{text}` is {hint}"))),
        }
    }

    /// A list of texts; empty where the field is not there.
    pub(super) fn texts(&self, field: &str) -> Result<Vec<&'a str>, FileError> {
        let list = self.list(field)?;
        list.iter()
            .map(|value| value.as_str().ok_or_else(|| self.wrong(field, format!("holds {value}, which is no text"))))
            .collect()
    }

    /// An object, where the field is there.
    pub(super) fn object(&self, field: &str) -> Result<Option<Entry<'a>>, FileError> {
        match self.fields.get(field) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(self.inside(format!("{field}."), fields))),
            Some(other) => Err(self.wrong(field, format!("ought to be an object and is {other}"))),
        }
    }

    /// A list of objects; empty where the field is not there. Empty objects are left out.
    pub(super) fn objects(&self, field: &str) -> Result<Vec<Entry<'a>>, FileError> {
        let mut found = Vec::new();
        for (index, value) in self.list(field)?.iter().enumerate() {
            match value {
                Value::Object(fields) if fields.is_empty() => {}
                Value::Object(fields) => found.push(self.inside(format!("{field}[{index}]."), fields)),
                other => return Err(self.wrong(field, format!("holds {other}, which is no object"))),
            }
        }
        Ok(found)
    }

    fn list(&self, field: &str) -> Result<&'a [Value], FileError> {
        match self.fields.get(field) {
            None => Ok(&[]),
            Some(Value::Array(list)) => Ok(list),
            Some(other) => Err(self.wrong(field, format!("ought to be a list and is {other}"))),
        }
    }

    fn inside(&self, step: String, fields: &'a Map<String, Value>) -> Entry<'a> {
        Entry { file: self.file, number: self.number, prefix: format!("{}{step}", self.prefix), fields }
    }
}
