//! What several commands read from their arguments.

use std::io::Read;

use api::client::RunQuery;
use serde_json::{Map, Value};

use super::{Session, Slice};
use crate::Error;

/// A task with one of its instances: `name` or `name[3]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TaskArg {
    pub(super) task: String,
    pub(super) map_index: Option<i32>,
}

impl std::str::FromStr for TaskArg {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let Some((task, index)) = text.strip_suffix(']').and_then(|text| text.split_once('[')) else {
            return Ok(Self { task: text.to_owned(), map_index: None });
        };
        let index = index.parse().map_err(|_| format!("`{index}` is no map index: write `{task}[0]`"))?;
        Ok(Self { task: task.to_owned(), map_index: Some(index) })
    }
}

/// `name=value`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write `name=value`".to_owned()),
    }
}

/// A JSON object from an option.
pub(super) fn object(option: &str, text: Option<&str>) -> Result<Map<String, Value>, Error> {
    let Some(text) = text else { return Ok(Map::new()) };
    serde_json::from_str(text).map_err(|error| {
        let message = format!("`{option}` isn't a JSON object: {error}");
        Error::usage(message, format!("write it as in `{option} '{{\"limit\": 10}}'`"))
    })
}

/// A secret from the standard input, without the line feed at its end: a command line is for everyone to see.
pub(super) fn from_stdin() -> Result<String, Error> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(Error::path("read", "the standard input"))?;
    let end = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(end);
    Ok(text)
}

impl Session<'_> {
    /// The name of a run; `latest` is the run of the DAG that was due last.
    pub(super) async fn run_name(&self, dag: &str, run: &str) -> Result<String, Error> {
        if run != "latest" {
            return Ok(run.to_owned());
        }
        let query = RunQuery { dag_id: Some(dag.to_owned()), ..RunQuery::default() };
        let page = self.client.runs(&query, Slice { limit: Some(1), offset: None }).await?;
        let newest = page.dag_runs.into_iter().next().map(|run| run.dag_run_id);
        newest.ok_or_else(|| {
            Error::usage(
                format!("`{dag}` has no run"),
                format!("start one with `updraft dags trigger {dag}`"),
            )
        })
    }

    /// `conf` with parameters put in, each in the type that the DAG gives it.
    pub(super) async fn conf(
        &self,
        dag: &str,
        conf: Option<&str>,
        params: &[(String, String)],
    ) -> Result<Map<String, Value>, Error> {
        let mut conf = object("--conf", conf)?;
        if params.is_empty() {
            return Ok(conf);
        }
        let known = self.client.dag(dag).await?.params.unwrap_or_default();
        for (name, text) in params {
            let schema = known.get(name).and_then(|param| param.get("schema")).ok_or_else(|| {
                let names: Vec<&str> = known.keys().map(String::as_str).collect();
                let help = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                Error::usage(format!("`{dag}` has no param `{name}`"), format!("its params: {help}"))
            })?;
            let is_text = schema.get("type").is_some_and(|kind| kind == "string");
            let parsed = if is_text { None } else { serde_json::from_str(text).ok() };
            conf.insert(name.clone(), parsed.unwrap_or_else(|| text.as_str().into()));
        }
        Ok(conf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_have_an_index_or_none() {
        let read = |text: &str| text.parse::<TaskArg>();
        assert_eq!(read("a.b"), Ok(TaskArg { task: "a.b".to_owned(), map_index: None }));
        assert_eq!(read("a[12]"), Ok(TaskArg { task: "a".to_owned(), map_index: Some(12) }));
        assert!(read("a[x]").unwrap_err().contains("`a[0]`"));
    }
}
