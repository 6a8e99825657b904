//! The reference page of the operators, made from the catalog.

use std::fmt::Write as _;

use dags::{
    catalog::{Catalog, Operator},
    model::Runner,
};
use serde_json::Value;

/// The page for these operators, in Markdown.
pub fn markdown(catalog: &Catalog) -> String {
    let mut page = String::from(
        "# Operators\n\n\
         What a task can do. This page is made from the program itself (`cargo test -p plugins` says when it is out of date).\n\n\
         An operator is a key of a task. Its value is an object with the parameters below, or, where a **main** parameter \
         is named, that parameter's value alone: `bash: echo hello` is `bash: { command: echo hello }`. Parameters marked \
         *templated* may hold `{{ expressions }}`; a parameter that is one whole expression keeps the expression's type. \
         In *code* an expression may only give harmless characters, or must pass a quoting filter.\n\n",
    );
    let operators: Vec<&Operator> = catalog.iter().collect();
    for operator in &operators {
        let _ = writeln!(page, "* [`{0}`](#{0}): {1}", operator.name, operator.doc);
    }
    page.push_str(SENSORS);
    for operator in operators {
        section(&mut page, operator);
    }
    page
}

const SENSORS: &str = "
## How sensors wait

`time_sensor` and `task_sensor` wait in the engine, in state `deferred`: no process, no slot, and nothing looks again and again.

`file_sensor`, `http_sensor` and `sql_sensor` must look. With `mode: reschedule`, the default, each look is a short attempt on the \
task's executor; between two looks the task is `up_for_reschedule` and holds no slot, no process and no place in its pool. The try \
stays the same, and `timeout` counts from its first start. `mode: poke` keeps the slot and the process between two looks: for \
intervals of a few seconds, or where a free slot is long in coming.

There is no mode in which the service looks, as Airflow's triggerer does for `deferrable` operators. It would have to reach \
whatever tasks reach and to hold their secrets, which here only attempts do; and `reschedule` gives the slot back as well, for the \
price of a process per look.
";

fn section(page: &mut String, operator: &Operator) {
    let text = operator.schema.get("description").and_then(Value::as_str).unwrap_or(&operator.doc);
    let _ = write!(page, "\n## {}\n\n{}\n", operator.name, paragraphs(text));
    let mut facts = Vec::new();
    if let Some(main) = &operator.main {
        facts.push(format!("Main parameter: `{main}`."));
    }
    match operator.runner {
        Runner::Engine => {
            facts.push("Carried out by the engine: it takes no executor and no slot.".to_owned());
        }
        Runner::Executor => {}
    }
    if let Some(names) = alternatives(&operator.schema) {
        facts.push(format!("Exactly one of {names} must be given."));
    }
    if !facts.is_empty() {
        let _ = write!(page, "\n{}\n", facts.join(" "));
    }
    if operator.parameters().next().is_none() {
        page.push_str("\nIt has no parameters.\n");
        return;
    }
    page.push_str("\n| parameter | type | default | |\n| --- | --- | --- | --- |\n");
    let required: Vec<&str> = operator.required().collect();
    for (name, schema) in operator.parameters() {
        let default = match schema.get("default") {
            _ if required.contains(&name) => "required".to_owned(),
            Some(Value::String(text)) => format!("`{text}`"),
            Some(value) => format!("`{value}`"),
            None => String::new(),
        };
        let mut doc = cell(schema.get("description").and_then(Value::as_str).unwrap_or_default());
        if operator.code.contains(name) {
            doc.push_str(" *Templated, code.*");
        } else if operator.templated.contains(name) {
            doc.push_str(" *Templated.*");
        }
        let _ = writeln!(page, "| `{name}` | {} | {default} | {doc} |", kind(schema));
    }
}

/// The type of a parameter, in words.
fn kind(schema: &Value) -> String {
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return words
            .iter()
            .map(|word| format!("`{}`", word.as_str().unwrap_or_default()))
            .collect::<Vec<_>>()
            .join(", ");
    }
    if let Some(variants) = schema.get("anyOf").and_then(Value::as_array) {
        return variants.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    match (schema.get("type").and_then(Value::as_str), schema.get("format").and_then(Value::as_str)) {
        (Some("string"), Some("span")) => "duration".to_owned(),
        (Some("string"), Some("moment")) => "time or time of day".to_owned(),
        (Some("string"), Some("timestamp")) => "time".to_owned(),
        (Some("string"), _) => "text".to_owned(),
        (Some("boolean"), _) => "`true` or `false`".to_owned(),
        (Some("integer"), _) => "whole number".to_owned(),
        (Some("number"), _) => "number".to_owned(),
        (Some("array"), _) => match schema.get("items").map(kind) {
            Some(items) if items != "anything" => format!("list of {items}s"),
            _ => "list".to_owned(),
        },
        (Some("object"), _) => match schema.get("additionalProperties").filter(|s| s.is_object()).map(kind) {
            Some(values) if values != "anything" => format!("name to {values}"),
            _ => "object".to_owned(),
        },
        _ => "anything".to_owned(),
    }
}

fn alternatives(schema: &Value) -> Option<String> {
    let branches = schema.get("oneOf")?.as_array()?;
    let names = branches.iter().map(|b| Some(format!("`{}`", b.get("required")?.get(0)?.as_str()?)));
    names.collect::<Option<Vec<_>>>().map(|names| names.join(" or "))
}

/// Paragraphs whose lines are joined, so that Markdown doesn't depend on where the source was wrapped.
fn paragraphs(text: &str) -> String {
    let joined = |paragraph: &str| paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    text.split("\n\n").map(joined).collect::<Vec<_>>().join("\n\n")
}

/// As one line of a table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
