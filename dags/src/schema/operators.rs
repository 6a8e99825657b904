//! The schema of one operator: the object form, the short form, and expressions where templates may stand.

use serde_json::{Value, json};

use crate::catalog::Operator;

/// The name of an operator's definition.
pub(super) fn definition(operator: &str) -> String {
    format!("operator.{operator}")
}

pub(super) fn schema(operator: &Operator) -> Value {
    let mut long = operator.schema.clone();
    rebase(&mut long, &format!("#/$defs/{}/anyOf/0", definition(&operator.name)));
    long["additionalProperties"] = json!(false);
    for name in &operator.templated {
        let parameter = &mut long["properties"][name];
        *parameter = or_expression(parameter.take());
    }
    // The object form stands first: references to its definitions count on it.
    let mut forms = vec![long];
    if let Some(main) = &operator.main {
        let parameter = forms[0]["properties"][main].clone();
        forms.push(json!({"not": {"type": ["object", "null"]}, "allOf": [parameter]}));
    }
    if operator.required().next().is_none() {
        forms.push(json!({"type": "null"}));
    }
    json!({"description": operator.doc, "anyOf": forms})
}

/// A templated parameter may also be a text with an expression, whatever its type.
fn or_expression(schema: Value) -> Value {
    let plain_text = schema.get("type") == Some(&json!("string"))
        && ["format", "pattern", "enum", "maxLength"].iter().all(|keyword| schema.get(keyword).is_none());
    // Inside of a list or an object the expressions are the compiler's business.
    let structured = schema.get("type").is_none_or(|kind| *kind == "object" || *kind == "array");
    if plain_text || structured {
        return schema;
    }
    let doc = schema.get("description").cloned().unwrap_or_default();
    json!({"description": doc, "anyOf": [schema, {"type": "string", "pattern": r"\{[{%]"}]})
}

/// Points references that began at the operator's own schema to where it stands now.
// The recursion is bounded by the depth of the schema, which passed a parser with a limit.
fn rebase(schema: &mut Value, root: &str) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(reference) if key == "$ref" && reference.starts_with('#') => {
                        *reference = format!("{root}{}", &reference[1..]);
                    }
                    _ => rebase(value, root),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| rebase(value, root)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
