//! The audit log, in the shape of Airflow's event log: who changed what.

use axum::Json;
use dags::time::Timestamp;
use migrations::policy::Kind;
use migrations::store::audit::{self, AuditEntry};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    access::Access,
    error::Error,
    extract::{Asked, Named},
    list::Paged,
};

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventLog {
    /// Its number.
    pub event_log_id: i64,
    /// When.
    pub when: Timestamp,
    /// The DAG that it is about.
    pub dag_id: Option<String>,
    /// The task, where there is one.
    pub task_id: Option<String>,
    /// The run, where there is one.
    pub run_id: Option<String>,
    /// The map index, where there is one.
    pub map_index: Option<i32>,
    /// Nothing is about one try.
    pub try_number: Option<u32>,
    /// What kind of request.
    pub event: String,
    /// What the run stands for, where the request says it.
    pub logical_date: Option<Timestamp>,
    /// Who.
    pub owner: Option<String>,
    /// Request and outcome, as JSON text.
    pub extra: Option<String>,
    /// The same as `dag_id`.
    pub dag_display_name: Option<String>,
    /// The same as `task_id`.
    pub task_display_name: Option<String>,
}

/// A page of entries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventLogCollection {
    /// The entries.
    pub event_logs: Vec<EventLog>,
    /// How many there are on all pages.
    pub total_entries: u64,
}

/// `GET /eventLogs`: the newest first.
pub(crate) async fn list(access: Access, query: Asked<Paged>) -> Result<Json<EventLogCollection>, Error> {
    let may = access.list(Kind::Audit).await?;
    query.order(&["-when", "-event_log_id", "-id"])?;
    let page = audit::list(may.db(), may.scope, query.window()?).await?;
    let event_logs = page.rows.into_iter().map(view).collect();
    Ok(Json(EventLogCollection { event_logs, total_entries: page.total }))
}

/// `GET /eventLogs/{event_log_id}`
pub(crate) async fn get(access: Access, Named(id): Named<i64>) -> Result<Json<EventLog>, Error> {
    let may = access.list(Kind::Audit).await?;
    let found = audit::get(may.db(), may.scope, id).await?;
    found.map(view).map(Json).ok_or_else(|| Error::NotFound(format!("there is no entry {id}")))
}

fn view(entry: AuditEntry) -> EventLog {
    let select = entry.payload.get("select").unwrap_or(&entry.payload);
    let text = |from: &Value, key: &str| from.get(key).and_then(Value::as_str).map(str::to_owned);
    let dag_id = text(select, "dag_id");
    let task =
        select.get("tasks").and_then(Value::as_array).filter(|tasks| tasks.len() == 1).map(|tasks| &tasks[0]);
    let task_id = task.and_then(|task| task.get(0)).and_then(Value::as_str).map(str::to_owned);
    let map_index = task.and_then(|task| task.get(1)).and_then(Value::as_i64);
    let outcome = match &entry.outcome {
        Ok(value) => json!({ "ok": value }),
        Err(refusal) => json!({ "refused": refusal }),
    };
    EventLog {
        event_log_id: entry.id,
        when: entry.at,
        run_id: text(select, "run_name").or_else(|| made(&entry)),
        map_index: map_index.map(|index| index as i32),
        try_number: None,
        event: entry.kind.clone(),
        logical_date: text(&entry.payload, "logical_date").and_then(|date| date.parse().ok()),
        owner: Some(entry.actor.clone()),
        extra: Some(json!({ "request": entry.payload, "outcome": outcome }).to_string()),
        dag_display_name: dag_id.clone(),
        task_display_name: task_id.clone(),
        dag_id,
        task_id,
    }
}

/// The run that the request made.
fn made(entry: &AuditEntry) -> Option<String> {
    entry.outcome.as_ref().ok()?.get("run_id")?.as_str().map(str::to_owned)
}
