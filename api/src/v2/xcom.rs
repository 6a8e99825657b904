//! What tasks returned. A task has one value, under Airflow's key `return_value`.

use dags::{ids::TaskId, time::Timestamp};
use engine::{
    dispatch::ResultRef,
    rows::{ResultRow, RunRow},
};
use migrations::store::{result, task_instance};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{access::Permit, error::Error};

pub(crate) mod get;
pub(crate) mod list;

/// The one key.
const KEY: &str = "return_value";

/// What a task instance returned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct XCom {
    /// `return_value`.
    pub key: String,
    /// When the attempt ended.
    pub timestamp: Timestamp,
    /// What the run stands for.
    pub logical_date: Option<Timestamp>,
    /// The map index, -1 for an ordinary task.
    pub map_index: i32,
    /// The task.
    pub task_id: String,
    /// The DAG.
    pub dag_id: String,
    /// The run.
    pub run_id: String,
    /// The same as `dag_id`.
    pub dag_display_name: String,
    /// The same as `task_id`.
    pub task_display_name: String,
    /// When the run was due.
    pub run_after: Timestamp,
    /// The value; lists leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

/// A page of values, without the values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct XComCollection {
    /// The entries.
    pub xcom_entries: Vec<XCom>,
    /// How many there are on all pages.
    pub total_entries: u64,
}

async fn view(may: &Permit, run: &RunRow, row: &ResultRow) -> Result<XCom, Error> {
    let instance = task_instance::get(may.db(), may.scope, run.run, &row.task, row.map_index).await?;
    Ok(XCom {
        key: KEY.to_owned(),
        timestamp: instance.and_then(|instance| instance.ended_at).unwrap_or(run.run_after),
        logical_date: run.logical_date,
        map_index: row.map_index,
        task_id: row.task.to_string(),
        dag_id: run.dag_id.to_string(),
        run_id: run.run_name.to_string(),
        dag_display_name: run.dag_id.to_string(),
        task_display_name: row.task.to_string(),
        run_after: run.run_after,
        value: None,
    })
}

/// The value, wherever it is.
async fn value(may: &Permit, row: &ResultRow) -> Result<Value, Error> {
    match &row.value {
        ResultRef::Inline(value) => Ok(value.clone()),
        ResultRef::Stored { digest, .. } => {
            let text = may.state.objects.result(may.scope.tenant(), digest).await?;
            serde_json::from_slice(&text)
                .map_err(|error| Error::Internal(format!("the stored result {digest} is no JSON: {error}")))
        }
    }
}

/// The values of a task, by map index.
pub(crate) async fn values(may: &Permit, run: &RunRow, task: &TaskId) -> Result<Vec<(i32, Value)>, Error> {
    let mut values = Vec::new();
    for row in result::of_task(may.db(), may.scope, run.run, task).await? {
        values.push((row.map_index, value(may, &row).await?));
    }
    Ok(values)
}
