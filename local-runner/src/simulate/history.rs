//! How long tasks took on a service, as it remembers it.

use std::collections::BTreeMap;

use api::client::{Client, ClientError, RunQuery, Slice};
use dags::{
    model::Dag,
    time::{Span, Timestamp},
};

use crate::Error;

/// The most runs of a DAG that are looked into, the last ones.
const RUNS_MAX: u64 = 50;
/// How many rows are asked for at once.
const PAGE: u64 = 100;

/// By DAG and task: how long its instances took.
pub type Seen = BTreeMap<(String, String), Vec<Span>>;

/// A service, and how far back it is looked.
#[derive(Debug, Clone)]
pub struct History {
    /// The service.
    pub client: Client,
    /// Runs that ended before that don't count.
    pub since: Timestamp,
}

impl History {
    /// Reads how long the tasks of these DAGs took: the last try of each instance that succeeded, of the last runs of a DAG that
    /// are over, 50 at most. A DAG that the service doesn't have, or doesn't show, has no history;
    /// none at all is an error.
    pub(super) async fn read(&self, dags: &[Dag]) -> Result<Seen, Error> {
        let mut seen = Seen::new();
        for dag in dags {
            let query = RunQuery {
                dag_id: Some(dag.dag_id.to_string()),
                states: vec!["success".to_owned(), "failed".to_owned()],
                run_types: Vec::new(),
            };
            let slice = Slice { limit: Some(RUNS_MAX), offset: None };
            let runs = match self.client.runs(&query, slice).await {
                Err(ClientError::Refused { status: 404, .. }) => continue,
                runs => runs?.dag_runs,
            };
            for run in runs.iter().filter(|run| run.end_date.is_some_and(|ended| ended >= self.since)) {
                self.run(dag.dag_id.as_str(), &run.dag_run_id, &mut seen).await?;
            }
        }
        if seen.is_empty() {
            return Err(Error::usage(
                format!("{} has no finished run of these DAGs since {}", self.client.place(), self.since),
                "raise `--days`, or say with `--context` and `--tenant` where they run",
            ));
        }
        // The order in which they came says nothing, and the same history is to give the same report.
        seen.values_mut().for_each(|spans| spans.sort_unstable());
        Ok(seen)
    }

    async fn run(&self, dag: &str, run: &str, seen: &mut Seen) -> Result<(), Error> {
        let mut offset = 0;
        loop {
            let slice = Slice { limit: Some(PAGE), offset: Some(offset) };
            let page = self.client.task_instances(dag, run, &["success".to_owned()], slice).await?;
            let rows = page.task_instances.len() as u64;
            for task in page.task_instances {
                // What was marked by hand never ran.
                if let (Some(started), Some(ended)) = (task.start_date, task.end_date) {
                    seen.entry((task.dag_id, task.task_id)).or_default().push(ended.since(started));
                }
            }
            offset += rows;
            if rows == 0 || offset >= page.total_entries {
                return Ok(());
            }
        }
    }
}
