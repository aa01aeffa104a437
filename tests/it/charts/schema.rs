//! JSON Schema's few words that `deploy/schemas.yaml` uses.

use serde_yaml_ng::Value;

/// What is wrong with `value`; each line says where.
pub(super) fn faults(schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut faults = Vec::new();
    check(schema, value, at, &mut faults);
    faults
}

fn check(schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    if let Some(allowed) = schema["enum"].as_sequence()
        && !allowed.contains(value)
    {
        faults.push(format!("{at}: {value:?} is none of {allowed:?}"));
    }
    let is_of_type = match schema["type"].as_str() {
        None => true,
        Some("object") => value.is_mapping(),
        Some("array") => value.is_sequence(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("boolean") => value.is_bool(),
        Some(other) => panic!("the schema's type {other} is not known"),
    };
    if !is_of_type {
        return faults.push(format!("{at}: {value:?} is not of type {:?}", schema["type"]));
    }
    if let Some(fields) = value.as_mapping() {
        for name in schema["required"].as_sequence().into_iter().flatten() {
            if !fields.contains_key(name) {
                faults.push(format!("{at}: no {name:?}"));
            }
        }
        for (name, field) in fields {
            let at = format!("{at}.{}", name.as_str().unwrap_or("?"));
            match (schema["properties"].get(name), schema.get("additionalProperties")) {
                (Some(schema), _) | (None, Some(schema)) => check(schema, field, &at, faults),
                (None, None) => faults.push(format!("{at}: not a field of the API that is used here")),
            }
        }
    }
    if let Some(items) = value.as_sequence() {
        if (items.len() as u64) < schema["minItems"].as_u64().unwrap_or_default() {
            faults.push(format!("{at}: too few"));
        }
        for (number, item) in items.iter().enumerate() {
            check(&schema["items"], item, &format!("{at}[{number}]"), faults);
        }
    }
}
