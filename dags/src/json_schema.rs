//! JSON Schema as Updraft uses it: references stay inside of the document, patterns are matched in linear time, and
//! errors are said in words.

use jsonschema::{
    PatternOptions, ValidationError, Validator,
    error::{TypeKind, ValidationErrorKind},
};
use serde_json::Value;

use crate::{
    amount, suggest,
    time::{Span, Timestamp, time_of_day},
};

/// Memory for one compiled pattern.
const PATTERN_BYTES_MAX: usize = 1024 * 1024;

/// Why a schema can't be used, as a sentence without its subject.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct InvalidSchema {
    /// Where in the schema.
    pub path: Vec<String>,
    /// What is wrong there.
    pub reason: String,
}

/// Checks a schema and prepares it.
pub fn compile(schema: &Value) -> Result<Validator, InvalidSchema> {
    jsonschema::options()
        .offline()
        .with_pattern_options(
            PatternOptions::regex().size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX),
        )
        .should_validate_formats(true)
        .with_format("span", |text: &str| text.parse::<Span>().is_ok())
        .with_format("timestamp", |text: &str| text.parse::<Timestamp>().is_ok())
        .with_format("moment", is_moment)
        .with_format("size", |text: &str| amount::bytes(text).is_ok())
        .build(schema)
        .map_err(|error| InvalidSchema { path: path(&error), reason: explain_schema(&error) })
}

/// A time of day or an instant.
fn is_moment(text: &str) -> bool {
    text.parse::<Timestamp>().is_ok() || time_of_day(text, "UTC", Timestamp(0)).is_ok()
}

fn explain_schema(error: &ValidationError<'_>) -> String {
    if matches!(error.kind(), ValidationErrorKind::Referencing(_)) {
        return "refers to another document; `$ref` may only point inside of the schema itself".to_owned();
    }
    if path(error).last().is_some_and(|key| key == "type") {
        let kinds = ["string", "integer", "number", "boolean", "array", "object", "null"];
        return format!(
            "must be one of {}, but is {}",
            suggest::list(kinds, "or"),
            describe(error.instance())
        );
    }
    explain(error)
}

/// Where in the value the error is.
pub(crate) fn path(error: &ValidationError<'_>) -> Vec<String> {
    error.instance_path().iter().map(|segment| segment.to_string()).collect()
}

/// What to write instead, where that is known.
pub(crate) fn help(error: &ValidationError<'_>, schema: Option<&Value>) -> Option<String> {
    let format = schema.and_then(|schema| schema.get("format")).and_then(Value::as_str);
    let text = match error.instance().as_ref() {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    match (format, error.kind()) {
        (Some("span"), _) => text.parse::<Span>().err().map(|error| error.to_string()),
        (Some("size"), _) => amount::bytes(&text).err().map(|error| error.to_string()),
        (_, ValidationErrorKind::Type { kind: TypeKind::Single(kind) }) if kind.as_str() == "string" => {
            Some(format!("put it into quotes: `\"{text}\"`"))
        }
        (_, ValidationErrorKind::Type { .. })
            if error.instance().is_string() && text.parse::<f64>().is_ok() =>
        {
            Some("remove the quotes".to_owned())
        }
        _ => None,
    }
}

/// What is wrong with a value, as a sentence without its subject.
pub(crate) fn explain(error: &ValidationError<'_>) -> String {
    use ValidationErrorKind as Kind;
    match error.kind() {
        Kind::Type { kind } => format!("must be {}, but is {}", types(kind), describe(error.instance())),
        Kind::Enum { options } => {
            let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
            let words: Vec<String> = options.iter().map(show).collect();
            let meant = match error.instance().as_ref() {
                Value::String(text) => suggest::did_you_mean(text, words.iter().map(String::as_str)),
                _ => None,
            };
            let meant = meant.map(|meant| format!("; {meant}")).unwrap_or_default();
            format!(
                "must be one of {}, but is {}{meant}",
                suggest::list(words.iter().map(String::as_str), "or"),
                describe(error.instance())
            )
        }
        Kind::Required { property } => format!("lacks `{}`", show(property)),
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            format!("has no field {}", suggest::list(unexpected.iter().map(String::as_str), "or"))
        }
        Kind::Format { format } => match format.as_str() {
            "span" => format!("isn't a duration, but {}", describe(error.instance())),
            "size" => format!("isn't a size, but {}", describe(error.instance())),
            "timestamp" => "must be a time such as `2026-01-31T06:00:00Z`".to_owned(),
            "moment" => {
                let is = describe(error.instance());
                format!(
                    "must be a time of day such as `06:30` or a time such as `2026-01-31T06:00:00Z`, but is {is}"
                )
            }
            format => format!("is {}, which isn't a valid {format}", describe(error.instance())),
        },
        Kind::Minimum { limit } => format!("must be at least {limit}, but is {}", describe(error.instance())),
        Kind::Maximum { limit } => format!("must be at most {limit}, but is {}", describe(error.instance())),
        Kind::ExclusiveMinimum { limit } => {
            format!("must be more than {limit}, but is {}", describe(error.instance()))
        }
        Kind::ExclusiveMaximum { limit } => {
            format!("must be less than {limit}, but is {}", describe(error.instance()))
        }
        Kind::MinLength { limit: 1 } => "must not be empty".to_owned(),
        Kind::MinItems { limit } => format!("must have at least {limit} entries"),
        Kind::MaxItems { limit } => format!("may have at most {limit} entries"),
        Kind::Pattern { pattern } => {
            format!("is {}, which doesn't match the pattern `{pattern}`", describe(error.instance()))
        }
        Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } => {
            format!("is {}, which is none of the forms that are allowed", describe(error.instance()))
        }
        _ => {
            let text = error.to_string();
            text.chars().take(300).collect()
        }
    }
}

fn show(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn types(kind: &TypeKind) -> String {
    let name = |name: &str| {
        match name {
            "integer" => "a whole number",
            "number" => "a number",
            "string" => "a text",
            "boolean" => "`true` or `false`",
            "array" => "a list",
            "object" => "a group of `key: value` pairs",
            _ => "nothing",
        }
        .to_owned()
    };
    match kind {
        TypeKind::Single(one) => name(one.as_str()),
        TypeKind::Multiple(many) => {
            let names: Vec<String> =
                many.iter().filter(|one| one.as_str() != "null").map(|one| name(one.as_str())).collect();
            names.join(" or ")
        }
    }
}

/// The value in words; long ones are cut.
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) | Value::Number(_) => format!("`{value}`"),
        Value::String(text) if text.len() <= 40 => format!("the text `{text}`"),
        Value::String(_) => "a long text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a group of `key: value` pairs".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_stay_inside() {
        for reference in ["http://127.0.0.1:1/x.json", "file:///etc/hostname", "other.json"] {
            assert!(compile(&json!({"$ref": reference})).is_err(), "{reference}");
        }
        assert!(compile(&json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}})).is_ok());
    }

    #[test]
    fn patterns_are_linear() {
        assert!(compile(&json!({"type": "string", "pattern": "(a)\\1"})).is_err(), "back references aren't");
        let validator = compile(&json!({"type": "string", "pattern": "^(a+)+$"})).unwrap();
        assert!(!validator.is_valid(&json!("a".repeat(50_000) + "!")));
    }

    #[test]
    fn errors_are_sentences() {
        let explain = |schema: Value, value: Value| {
            let validator = compile(&schema).unwrap();
            let error = validator.iter_errors(&value).next().unwrap();
            explain(&error)
        };
        assert_eq!(
            explain(json!({"type": "integer"}), json!("x")),
            "must be a whole number, but is the text `x`"
        );
        assert_eq!(
            explain(json!({"enum": ["eu", "us"]}), json!("ue")),
            "must be one of `eu` or `us`, but is the text `ue`; did you mean `eu`?"
        );
        assert_eq!(explain(json!({"format": "span"}), json!("30")), "isn't a duration, but the text `30`");
    }
}
