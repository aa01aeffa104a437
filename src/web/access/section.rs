//! A part of a YAML file whose fields are taken one by one; what is left over is a mistake.

use serde_yaml_ng::{Mapping, Value};

pub(super) const WHOLE: &str = "a whole number";

/// A mapping, and where it stands.
#[derive(Debug)]
pub(super) struct Section {
    path: String,
    fields: Mapping,
    known: Vec<&'static str>,
}

impl Section {
    /// Nothing at all is an empty one.
    pub(super) fn new(path: &str, value: Value) -> Result<Section, String> {
        let fields = match value {
            Value::Null => Mapping::new(),
            Value::Mapping(fields) => fields,
            _ if path.is_empty() => return Err("not a mapping of fields to values".to_owned()),
            _ => return Err(format!("{path}: not a mapping of fields to values")),
        };
        Ok(Section { path: path.to_owned(), fields, known: Vec::new() })
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    fn at(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// A message about a field. Its value is not in it: it may be a secret.
    pub(super) fn wrong(&self, name: &str, wanted: &str) -> String {
        format!("{}: must be {wanted}", self.at(name))
    }

    /// The value of a field, if it is there and not null.
    pub(super) fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.fields.remove(name).filter(|value| !value.is_null())
    }

    pub(super) fn section(&mut self, name: &'static str) -> Result<Section, String> {
        let path = self.at(name);
        Section::new(&path, self.take(name).unwrap_or(Value::Null))
    }

    /// A text that is not empty.
    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<String>, String> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let text = text(&value).ok_or_else(|| self.wrong(name, "text"))?;
        Ok((!text.is_empty()).then_some(text))
    }

    /// Also as YAML 1.1 wrote them, which Go's decoder takes.
    pub(super) fn boolean(&mut self, name: &'static str) -> Result<Option<bool>, String> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let said = match &value {
            Value::Bool(said) => Some(*said),
            Value::String(text) => match text.as_str() {
                "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
                "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
                _ => None,
            },
            _ => None,
        };
        said.map(Some).ok_or_else(|| self.wrong(name, "true or false"))
    }

    pub(super) fn texts(&mut self, name: &'static str) -> Result<Option<Vec<String>>, String> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let texts = match &value {
            Value::Sequence(values) => values.iter().map(text).collect::<Option<Vec<String>>>(),
            _ => None,
        };
        texts.map(Some).ok_or_else(|| self.wrong(name, "a list of texts"))
    }

    /// Every field of a section whose fields have no fixed names.
    pub(super) fn entries(self) -> Result<Vec<(String, String)>, String> {
        let entry = |(name, value): (&Value, &Value)| {
            let name = text(name).ok_or_else(|| format!("{}: a field's name must be text", self.path))?;
            // Null is nothing, for Go's decoder an empty text.
            let value = if value.is_null() { Some(String::new()) } else { text(value) };
            let value = value.ok_or_else(|| self.wrong(&name, "text"))?;
            Ok((name, value))
        };
        self.fields.iter().map(entry).collect()
    }

    /// Whether everything was understood.
    pub(super) fn end(self) -> Result<(), String> {
        let Some(name) = self.fields.keys().next() else { return Ok(()) };
        let name = text(name).unwrap_or_else(|| "a field's name that is not text".to_owned());
        Err(format!("{}: unknown field; those that are known are {}", self.at(&name), self.known.join(", ")))
    }
}

/// As Go's decoder: what looks like a number or a boolean is text where text is asked for.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(said) => Some(said.to_string()),
        _ => None,
    }
}
