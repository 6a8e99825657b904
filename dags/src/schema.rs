//! The JSON Schema of the YAML language with a catalog's operators, so that editors complete and check.
//!
//! It is made from the same lists of keys and choices as the compiler's checks. It can't say everything that
//! [`crate::compile`] checks (cycles, references between tasks), and never refuses what that accepts.

mod dag_test;
mod fields;
mod operators;

use serde_json::{Map, Value, json};

pub use self::dag_test::of_test;

use crate::{
    catalog::Catalog,
    compile::{DAG_KEYS, GROUP_KEYS, POLICY_KEYS, TASK_KEYS},
};

/// The schema of one document.
pub fn of_dag(catalog: &Catalog) -> Value {
    let mut defs = Map::new();
    defs.insert("duration".to_owned(), fields::duration());
    defs.insert("names".to_owned(), fields::names());
    defs.insert("map".to_owned(), fields::map());
    defs.insert("notify".to_owned(), fields::notify());
    defs.insert("assets".to_owned(), fields::assets());
    defs.insert("task".to_owned(), task(catalog));
    defs.insert("group".to_owned(), object(GROUP_KEYS, fields::group));
    for operator in catalog.iter() {
        defs.insert(operators::definition(&operator.name), operators::schema(operator));
    }
    let mut schema = object(DAG_KEYS, fields::dag);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Updraft DAG");
    schema["required"] = json!(["dag", "tasks"]);
    schema["$defs"] = Value::Object(defs);
    schema["properties"]["defaults"] = described(object(POLICY_KEYS, fields::task), "What all tasks share.");
    schema
}

fn task(catalog: &Catalog) -> Value {
    let mut schema = object(TASK_KEYS, fields::task);
    for operator in catalog.iter() {
        let reference = format!("#/$defs/{}", operators::definition(&operator.name));
        schema["properties"][&operator.name] = json!({"$ref": reference, "description": operator.doc});
    }
    let one: Vec<Value> = catalog.names().map(|name| json!({"required": [name]})).collect();
    if !one.is_empty() {
        schema["oneOf"] = Value::Array(one);
    }
    schema
}

fn object(keys: &[&str], field: fn(&str) -> Value) -> Value {
    let properties: Map<String, Value> = keys.iter().map(|key| ((*key).to_owned(), field(key))).collect();
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

fn described(mut schema: Value, doc: &str) -> Value {
    schema["description"] = json!(doc);
    schema
}
