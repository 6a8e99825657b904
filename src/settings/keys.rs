//! The list of all keys, made from the types of the settings.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::settings::Settings;

/// The part of a path that stands for a name of the user's.
pub(crate) const NAME: &str = "NAME";

/// One key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    /// Such as `scheduler.lease_ms`, or `executors.NAME.slots`.
    pub(crate) path: String,
    /// What it takes.
    pub(crate) takes: Takes,
    /// What it means.
    pub(crate) doc: String,
    /// What it is if nobody sets it; none if it is absent then.
    pub(crate) default: Option<Value>,
    /// Whether its value is shown.
    pub(crate) shown: Shown,
}

/// What a key takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Takes {
    /// A text.
    Text,
    /// A whole number within limits.
    Integer { min: i64, max: i64 },
    /// `true` or `false`.
    Boolean,
    /// One of some words, each with what it means.
    Word(Vec<(String, String)>),
    /// Several texts.
    Texts,
}

/// Whether a value is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// As it is.
    Whole,
    /// A URL, without its password.
    Url,
    /// Never.
    Never,
}

/// A section with its keys.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Section {
    /// Such as `scheduler`, or `executors.NAME`.
    pub(crate) path: String,
    /// What it is about.
    pub(crate) doc: String,
    /// Its keys in the order of the struct's fields.
    pub(crate) keys: Vec<Key>,
}

/// All sections, in the order of the struct's fields.
pub(crate) fn sections() -> Vec<Section> {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<Settings>().to_value();
    let mut sections = Vec::new();
    for (name, section) in properties(&schema) {
        let doc = text(section, "description");
        let (path, inner) = match section.get("additionalProperties") {
            Some(inner @ Value::Object(_)) => (format!("{name}.{NAME}"), inner),
            _ => (name.clone(), section),
        };
        let keys =
            properties(inner).map(|(key, schema)| self::key(format!("{path}.{key}"), schema)).collect();
        sections.push(Section { path, doc, keys });
    }
    sections
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

fn text(schema: &Value, field: &str) -> String {
    // A line break in a doc comment is no break in the sentence.
    schema.get(field).and_then(Value::as_str).unwrap_or_default().replace('\n', " ")
}

fn key(path: String, schema: &Value) -> Key {
    let is_null = |schema: &Value| schema.get("type").is_some_and(|kind| kind == "null");
    // `Option<enum>` is a choice between the enum and null.
    let own = schema.get("anyOf").and_then(Value::as_array);
    let own = own.and_then(|choices| choices.iter().find(|choice| !is_null(choice))).unwrap_or(schema);
    let kinds = match own.get("type") {
        Some(Value::String(kind)) => vec![kind.as_str()],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let number = |field| own.get(field).and_then(Value::as_i64);
    let takes = if let Some(words) = own.get("oneOf").and_then(Value::as_array) {
        let word = |word: &Value| (text(word, "const"), text(word, "description"));
        Takes::Word(words.iter().map(word).collect())
    } else if kinds.contains(&"integer") {
        let bounds = number("minimum").zip(number("maximum"));
        let (min, max) = bounds.unwrap_or((i64::MIN, i64::MAX));
        Takes::Integer { min, max }
    } else if kinds.contains(&"boolean") {
        Takes::Boolean
    } else if kinds.contains(&"array") {
        Takes::Texts
    } else {
        Takes::Text
    };
    let shown = match schema.get("x-secret") {
        None => Shown::Whole,
        Some(kind) if kind == "url" => Shown::Url,
        Some(_) => Shown::Never,
    };
    let default = schema.get("default").filter(|default| !default.is_null()).cloned();
    Key { path, takes, doc: text(schema, "description"), default, shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_meaning_and_every_number_has_limits() {
        let sections = sections();
        assert!(sections.len() >= 9, "{sections:#?}");
        for section in sections {
            assert!(!section.doc.is_empty(), "{} has no doc", section.path);
            assert!(!section.keys.is_empty(), "{} has no keys", section.path);
            for key in section.keys {
                assert!(!key.doc.is_empty(), "{} has no doc", key.path);
                if let Takes::Integer { min, .. } = key.takes {
                    assert_ne!(min, i64::MIN, "{} has no limits", key.path);
                }
                if let Takes::Word(words) = &key.takes {
                    assert!(words.iter().all(|(word, doc)| !word.is_empty() && !doc.is_empty()), "{words:?}");
                }
            }
        }
    }
}
