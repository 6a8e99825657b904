//! `params`: the parameters of a run, each a JSON Schema with a default.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Context;
use crate::{
    diagnostic::{Draft, code},
    json_schema,
    model::When,
    tree::{Kind, Node},
};

const PARAMS_MAX: usize = 500;

impl Context<'_, '_> {
    pub(super) fn params(&mut self, node: &Node, when: &When) -> BTreeMap<String, Value> {
        let entries = self.pairs(node, "params", "a group of `name: JSON Schema` pairs");
        if entries.len() > PARAMS_MAX {
            self.push(
                Draft::error(code::DAG_LIMIT, format!("a DAG may have at most {PARAMS_MAX} params"))
                    .at(node.span, "too many"),
            );
            return BTreeMap::new();
        }
        let mut params = BTreeMap::new();
        for entry in entries {
            let (name, node) = (&entry.key.text, &entry.value);
            if name.is_empty() || name.len() > crate::ids::NAME_BYTES_MAX {
                self.push(
                    Draft::error(code::DAG_NAME, "a param's name must have 1 to 250 bytes")
                        .at(entry.key.span, "this name"),
                );
                continue;
            }
            if !matches!(node.kind, Kind::Map(_)) {
                let value = node.to_json();
                let kind = match value {
                    Value::Number(ref number) if number.is_f64() => "number",
                    Value::Number(_) => "integer",
                    Value::Bool(_) => "boolean",
                    Value::Array(_) => "array",
                    Value::String(_) | Value::Null | Value::Object(_) => "string",
                };
                let help = if value.is_null() {
                    format!("write `{name}: {{ type: {kind} }}`")
                } else {
                    format!("write `{name}: {{ type: {kind}, default: {value} }}`")
                };
                self.expected(node, name, "a JSON Schema with a `default`", Some(help));
                continue;
            }
            let schema = node.to_json();
            self.param(name, node, &schema, when);
            params.insert(name.clone(), schema);
        }
        params
    }

    fn param(&mut self, name: &str, node: &Node, schema: &Value, when: &When) {
        let validator = match json_schema::compile(schema) {
            Ok(validator) => validator,
            Err(error) => {
                let at = error.path.iter().fold(node, |node, key| node.get(key).unwrap_or(node));
                let inside = if error.path.is_empty() {
                    String::new()
                } else {
                    format!("`{}` in ", error.path.join("."))
                };
                let message = format!("{inside}the schema of param `{name}` {error}");
                self.push(Draft::error(code::DAG_PARAM, message).at(at.span, "in this schema").help(
                    "it is a JSON Schema, such as `{ type: string, enum: [eu, us], default: eu }`".to_owned(),
                ));
                return;
            }
        };
        let Some(default) = schema.get("default") else {
            if *when != When::Never {
                self.push(
                    Draft::error(code::DAG_PARAM, format!("param `{name}` has no default"))
                        .at(node.span, "scheduled runs would have no value for it")
                        .help("add `default: ...`, or remove the schedule so that runs are only started by hand".to_owned()),
                );
            }
            return;
        };
        if let Some(error) = validator.iter_errors(default).next() {
            let at = node.get("default").map_or(node.span, |node| node.span);
            let message = format!("the default of param `{name}` {}", json_schema::explain(&error));
            self.push(Draft::error(code::DAG_PARAM, message).at(at, "this default"));
        }
    }
}
