//! JSON Schema of parameters: what `schemars` can't know by itself.

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::Value;

/// The schema of an operator's parameters, complete in itself.
pub(crate) fn of<P: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| {
        s.inline_subschemas = true;
        s.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<P>();
    schema.remove("title");
    let mut schema = schema.to_value();
    drop_null(&mut schema);
    join_choices(&mut schema);
    schema
}

/// A choice between documented words becomes a plain `enum`, which validation explains with a suggestion; what the words
/// mean moves into the parameter's description.
fn join_choices(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            let words = object.get("oneOf").and_then(Value::as_array).and_then(|choices| {
                choices
                    .iter()
                    .map(|choice| {
                        Some((choice.get("const")?.clone(), choice.get("description")?.as_str()?.to_owned()))
                    })
                    .collect::<Option<Vec<_>>>()
            });
            if let Some(words) = words {
                object.remove("oneOf");
                let mut text =
                    object.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
                for (word, meaning) in &words {
                    let word = word.as_str().unwrap_or_default();
                    text = format!("{text} `{word}`: {meaning}");
                }
                object.insert("description".to_owned(), text.into());
                object.insert("type".to_owned(), "string".into());
                object.insert("enum".to_owned(), words.into_iter().map(|(word, _)| word).collect());
            }
            object.values_mut().for_each(join_choices);
        }
        Value::Array(list) => list.iter_mut().for_each(join_choices),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// An optional parameter is left out, never `null`: authors read `string`, not `string or null`.
fn drop_null(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|t| t != "null");
                if types.len() == 1 {
                    let only = types.remove(0);
                    object.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(variants)) = object.get_mut("anyOf") {
                variants.retain(|v| v.get("type").is_none_or(|t| t != "null"));
                if variants.len() == 1
                    && let Value::Object(only) = variants.remove(0)
                {
                    object.remove("anyOf");
                    for (key, value) in only {
                        object.entry(key).or_insert(value);
                    }
                }
            }
            if object.get("default").is_some_and(Value::is_null) {
                object.remove("default");
            }
            for inner in object.values_mut() {
                drop_null(inner);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(drop_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A duration in its text form; `span` and `timestamp` are formats that `dags` checks.
pub(crate) fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "format": "span",
        "examples": ["30s", "20m", "1h30m"],
    })
}

/// An instant in its text form, or a template that gives one.
pub(crate) fn instant(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "timestamp", "examples": ["2026-01-01T06:00:00Z"] })
}

/// An instant or a time of day.
pub(crate) fn moment(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "moment", "examples": ["06:30", "2026-01-01T06:00:00Z"] })
}
