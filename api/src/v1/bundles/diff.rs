//! What differs between two versions of a DAG, as paths into its canonical form.

use std::collections::BTreeMap;

use dags::model::Dag;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A part of a DAG that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// Where, with tasks and groups by their names: `tasks.load.retries`.
    pub path: String,
    /// What it was; none if it is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What it is now; none if it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// All that differs, by path.
pub(super) fn between(before: &Dag, after: &Dag) -> Result<Vec<Difference>, serde_json::Error> {
    let (before, after) = (serde_json::to_value(before)?, serde_json::to_value(after)?);
    let mut found = Vec::new();
    compare(String::new(), Some(&before), Some(&after), &mut found);
    Ok(found)
}

fn compare(path: String, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Difference>) {
    if before == after {
        return;
    }
    if let (Some(before), Some(after)) = (before, after)
        && let (Some(before), Some(after)) = (parts(before), parts(after))
    {
        let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
        names.sort();
        names.dedup();
        for name in names {
            let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            compare(inner, before.get(name).copied(), after.get(name).copied(), found);
        }
        return;
    }
    found.push(Difference { path, before: before.cloned(), after: after.cloned() });
}

/// The parts of an object, or of a list whose elements have names of their own.
fn parts(value: &Value) -> Option<BTreeMap<String, &Value>> {
    match value {
        Value::Object(object) => Some(object.iter().map(|(name, value)| (name.clone(), value)).collect()),
        Value::Array(list) => list.iter().map(|value| Some((name(value)?, value))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn name(value: &Value) -> Option<String> {
    ["task_id", "group_id"].iter().find_map(|key| value.get(key)?.as_str()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use dags::{
        compile::{NoFiles, compile},
        diagnostic::Source,
    };

    use super::*;

    fn dag(text: &str) -> Dag {
        let compiled = compile(&Source::new("d.yaml", text), &plugins::catalog(), &NoFiles);
        assert!(!compiled.has_errors(), "{:?}", compiled.diagnostics);
        compiled.dags.into_iter().next().unwrap()
    }

    #[test]
    fn tasks_are_compared_by_name() {
        let before = dag("dag: d\ntasks:\n  a: { bash: one }\n  b: { bash: two, retries: 1 }\n");
        let after = dag("dag: d\ntasks:\n  b: { bash: two, retries: 3 }\n  c: { bash: three }\n");
        let found = between(&before, &after).unwrap();
        let paths: Vec<&str> = found.iter().map(|difference| difference.path.as_str()).collect();
        assert_eq!(paths, ["tasks.a", "tasks.b.retries", "tasks.c"]);
        assert_eq!((&found[1].before, &found[1].after), (&Some(1.into()), &Some(3.into())));
        assert!(found[0].after.is_none() && found[2].before.is_none());
        assert!(between(&after, &after).unwrap().is_empty());
    }
}
