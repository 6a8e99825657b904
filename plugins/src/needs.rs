//! What an attempt must be given: the results, variables and connections that its task names.

use std::collections::BTreeSet;

use dags::model::Task;
use serde_json::Value;

use crate::{
    catalog,
    template::Error,
    user::{self, Description},
};

/// What a task names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Tasks whose results it uses. The direct upstream tasks of a `python` task belong to it anyway: its code isn't
    /// looked into.
    pub outputs: BTreeSet<String>,
    /// Whether it may ask for any upstream result, since it computes the name.
    pub all_outputs: bool,
    /// Variables.
    pub variables: BTreeSet<String>,
    /// Connections.
    pub connections: BTreeSet<String>,
}

/// Finds what a task names in its parameters, its environment and the templated files that it names.
///
/// `files` gives the text of a file of the bundle, or none if there is no such file, which the attempt will report.
pub fn of(task: &Task, files: impl Fn(&str) -> Option<String>) -> Result<Needs, Error> {
    let mut needs = Needs::default();
    needs.connections.extend(catalog::connections(task));
    for name in &task.templated {
        if let Some(value) = task.args.get(name) {
            needs.value(value)?;
        }
    }
    for text in task.env.values() {
        needs.text(text)?;
    }
    match task.operator.as_str() {
        "python" => {
            needs.all_outputs = true;
            let listed = task.args.get("variables").and_then(Value::as_array).into_iter().flatten();
            needs.variables.extend(listed.filter_map(Value::as_str).map(str::to_owned));
        }
        "sql" | "sql_check" | "sql_sensor" => {
            if let Some(text) = task.args.get("file").and_then(Value::as_str).and_then(files) {
                needs.text(&text)?;
            }
        }
        operator if crate::builtin::find(operator).is_none() => {
            let path = format!("{}/{operator}.yaml", user::FOLDER);
            // A plugin that is missing or wrong is reported by the attempt.
            if let Some(description) = files(&path).and_then(|text| Description::parse(&text, &path).ok()) {
                needs.connections.extend(description.connections(&task.args));
                for value in description.with().values() {
                    needs.value(value)?;
                }
            }
        }
        _ => {}
    }
    Ok(needs)
}

impl Needs {
    fn value(&mut self, value: &Value) -> Result<(), Error> {
        match value {
            Value::String(text) => self.text(text),
            Value::Array(list) => list.iter().try_for_each(|inner| self.value(inner)),
            Value::Object(object) => object.values().try_for_each(|inner| self.value(inner)),
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        }
    }

    fn text(&mut self, text: &str) -> Result<(), Error> {
        for path in updraft_template::names(text)? {
            let parts: Vec<&str> = path.split('.').collect();
            match parts[..] {
                ["outputs"] => self.all_outputs = true,
                // A task in a group has dots in its name: whoever resolves it takes the longest that fits.
                ["outputs", ..] => _ = self.outputs.insert(path["outputs.".len()..].to_owned()),
                ["var", "value" | "json", name, ..] => _ = self.variables.insert(name.to_owned()),
                ["conn", name, ..] => _ = self.connections.insert(name.to_owned()),
                _ => {}
            }
        }
        Ok(())
    }
}
