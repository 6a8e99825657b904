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
    /// Whether it may ask for the successful run before its own.
    pub previous: bool,
    /// Whether it may ask for the events of assets that its run stands for.
    pub asset_events: bool,
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
    for text in task.env.values().chain(&task.when) {
        needs.text(text)?;
    }
    match task.operator.as_str() {
        "python" => {
            (needs.all_outputs, needs.previous, needs.asset_events) = (true, true, true);
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
                ["triggering_asset_events", ..] => self.asset_events = true,
                [name, ..] if name.starts_with("prev_") => self.previous = true,
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use dags::{compile::compile, diagnostic::Source};

    use super::*;

    /// What the second task of this DAG needs.
    fn needs(task: &str, file: &str) -> Needs {
        let text = format!("dag: d\ntasks:\n  a: {{ empty: }}\n  t:\n    needs: a\n    {task}\n");
        let files = std::collections::BTreeMap::from([("q.sql".to_owned(), "0".repeat(64))]);
        let operators = [dags::catalog::Operator {
            name: "mine".into(),
            doc: "Mine.".into(),
            schema: serde_json::json!({"type": "object", "properties": {"where": {"type": "string"}}}),
            main: None,
            templated: BTreeSet::new(),
            code: BTreeSet::new(),
            files: BTreeSet::new(),
            runner: dags::model::Runner::Executor,
            plugin: None,
        }];
        let catalog = crate::catalog_with(operators).unwrap();
        let compiled = compile(&Source::new("d.yaml", text), &catalog, &files);
        assert_eq!(compiled.diagnostics, [], "{task}");
        let task = compiled.dags[0].tasks.iter().find(|task| task.task_id.as_str() == "t").unwrap();
        of(task, |path| (path == "q.sql" || path == "plugins/mine.yaml").then(|| file.to_owned())).unwrap()
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn templates_name_what_they_need() {
        let found = needs(
            "bash: echo {{ outputs.a.n }} {{ var.value.bucket }} {{ var.json['limits'].n }} {{ conn.shop.host | sh }} {{ ds }}",
            "",
        );
        let expected = Needs {
            outputs: set(&["a.n"]),
            all_outputs: false,
            variables: set(&["bucket", "limits"]),
            connections: set(&["shop"]),
            ..Needs::default()
        };
        assert_eq!(found, expected);
        assert_eq!(needs("bash: echo hello", ""), Needs::default());
        let found = needs("bash: 'true'\n    when: \"{{ outputs.a.n > 1 and var.value.on }}\"", "");
        assert_eq!((found.outputs, found.variables), (set(&["a.n"]), set(&["on"])));
        let found = needs("bash: echo {{ prev_start_date_success }}", "");
        assert_eq!((found.previous, found.asset_events), (true, false));
        let found = needs("bash: echo {{ triggering_asset_events['x'] | length }}", "");
        assert_eq!((found.previous, found.asset_events), (false, true));
    }

    #[test]
    fn parameters_and_files_name_connections() {
        let found = needs(
            "sql: { connection: w, file: q.sql }",
            "select {{ outputs.a | sql }}, {{ var.value.x | sql }}",
        );
        assert_eq!((found.connections, found.variables), (set(&["w"]), set(&["x"])));
        assert_eq!(found.outputs, set(&["a"]));
        let found = needs("python: { code: '1', connections: [b, a], variables: [v] }", "");
        assert_eq!((found.connections, found.variables), (set(&["a", "b"]), set(&["v"])));
        assert!(found.all_outputs);
    }

    #[test]
    fn a_plugin_names_its_own_and_its_tasks_connections() {
        let plugin = "operator: mine\ndoc: x\nparams: { where: { type: string } }\nconnections: [where]\n\
                      uses: http\nwith: { connection: chat, path: '/{{ var.value.v }}' }\n";
        let found = needs("mine: { where: w }", plugin);
        assert_eq!((found.connections, found.variables), (set(&["chat", "w"]), set(&["v"])));
    }
}
