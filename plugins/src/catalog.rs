//! The operators as data: what the compiler, the schema of the language and the console know of them.

use dags::{
    catalog::{Catalog, InvalidCatalog, Operator},
    model::Task,
};
use serde_json::Value;

use crate::builtin::{self, Builtin};

/// The catalog of the built-in operators.
pub fn catalog() -> Catalog {
    catalog_with([]).expect("invariant: the built-in operators form a catalog")
}

/// The catalog of the built-in operators and of those that users bring.
pub fn catalog_with(users: impl IntoIterator<Item = Operator>) -> Result<Catalog, InvalidCatalog> {
    Catalog::new(builtin::ALL.iter().map(operator).chain(users))
}

fn operator(builtin: &Builtin) -> Operator {
    let schema = (builtin.schema)();
    let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Operator {
        name: builtin.name.to_owned(),
        doc: text.lines().next().unwrap_or_default().to_owned(),
        schema,
        main: builtin.main.map(str::to_owned),
        templated: owned(builtin.templated),
        code: owned(builtin.code),
        files: owned(builtin.files),
        runner: builtin.runner,
        plugin: None,
    }
}

/// The connections that a task names in its parameters; those in its templates are found by
/// [`needs::of`](crate::needs::of).
pub(crate) fn connections(task: &Task) -> Vec<String> {
    let fields = builtin::find(&task.operator).map(|builtin| builtin.connections).unwrap_or_default();
    fields.iter().filter_map(|field| task.args.get(*field)).flat_map(names).collect()
}

/// A name or a list of names.
pub(crate) fn names(value: &Value) -> Vec<String> {
    match value {
        Value::String(name) => vec![name.clone()],
        Value::Array(names) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}
