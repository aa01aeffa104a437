//! The chart's values: its README's table is made of them, and the schema knows each.

use serde_yaml_ng::Value;

use super::CHART;
use crate::alerts::yaml;
use crate::support::{repository, same_as_file};

const MARK: &str = "<!-- Below is values.yaml, made by `BLESS=1 cargo test --test it charts`. -->\n";
const HEAD: &str = "| value | default | |\n| --- | --- | --- |\n";

/// Each value with its default and its comment: those without a section first, then by section.
fn table(values: &str) -> String {
    let mut general = format!("\n### General\n\n{HEAD}");
    let (mut sections, mut section, mut comment) = (String::new(), "", Vec::new());
    for line in values.lines() {
        let text = line.trim();
        if let Some(words) = text.strip_prefix("# ") {
            comment.push(words);
            continue;
        }
        let about = std::mem::take(&mut comment).join(" ");
        let Some((key, default)) = text.split_once(':') else { continue };
        assert!(!about.is_empty(), "{line}: no comment");
        let default = default.trim();
        if default.is_empty() {
            section = key;
            sections += &format!("\n### `{key}`\n\n{about}\n\n{HEAD}");
        } else if line.starts_with("  ") {
            sections += &format!("| `{section}.{key}` | `{default}` | {about} |\n");
        } else {
            general += &format!("| `{key}` | `{default}` | {about} |\n");
        }
    }
    general + &sections
}

#[test]
fn the_readme_lists_the_values() {
    let path = format!("{CHART}/README.md");
    let readme = std::fs::read_to_string(repository(&path)).unwrap();
    let (text, _) = readme.split_once(MARK).unwrap();
    let values = std::fs::read_to_string(repository(&format!("{CHART}/values.yaml"))).unwrap();
    same_as_file(&path, &format!("{text}{MARK}{}", table(&values)));
}

/// Values that are free in their form have no fields in the schema.
fn assert_known(values: &Value, schema: &Value, at: &str) {
    let Some(properties) = schema["properties"].as_mapping() else { return };
    assert_eq!(schema["additionalProperties"].as_bool(), Some(false), "{at} takes any field");
    for (key, value) in values.as_mapping().unwrap() {
        let at = format!("{at}.{}", key.as_str().unwrap());
        let schema = properties.get(key).unwrap_or_else(|| panic!("values.schema.json has no {at}"));
        if value.is_mapping() {
            assert_known(value, schema, &at);
        }
    }
    for key in properties.keys().filter(|key| *key != "global") {
        // What is empty by default may have fields, too.
        let empty = values.as_mapping().is_some_and(|values| values.is_empty()) || at.ends_with("liveness");
        assert!(empty || at.ends_with("resources") || values.get(key).is_some(), "values.yaml has no {at}.{key:?}");
    }
}

#[test]
fn the_schema_knows_every_value_and_no_other() {
    // JSON is YAML.
    let (values, schema) = (format!("{CHART}/values.yaml"), format!("{CHART}/values.schema.json"));
    assert_known(&yaml(&repository(&values)), &yaml(&repository(&schema)), "");
}
