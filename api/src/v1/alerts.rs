//! `GET /alerts`: what routes were told of, and how far the delivery is.

use axum::Json;
use dags::{ids::AlertId, time::Timestamp};
use migrations::{
    policy::Kind,
    store::alert::{self, DeliveryState},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::Access,
    error::Error,
    extract::{Asked, Parameter, Parameters},
    list::{PAGE_LIMIT, PAGE_OFFSET},
};

/// An alert with its delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alert {
    /// Its identity; receivers tell repeats by it.
    pub id: AlertId,
    /// The route.
    pub route: String,
    /// What happened: `failure`, `success`, `retry` or `deadline`.
    pub what: String,
    /// The DAG.
    pub dag_id: String,
    /// The run.
    pub dag_run_id: String,
    /// The task, if it is about one.
    pub task_id: Option<String>,
    /// Its map index, -1 for an ordinary task.
    pub map_index: Option<i32>,
    /// The try.
    pub try_number: Option<u32>,
    /// Why, where that isn't plain.
    pub reason: Option<String>,
    /// When it happened.
    pub at: Timestamp,
    /// How far the delivery is: `pending`, `sent` or `failed`.
    pub state: DeliveryState,
    /// How often it was tried.
    pub tries: u32,
    /// When it is tried next.
    pub next_at: Option<Timestamp>,
    /// What went wrong last.
    pub error: Option<String>,
    /// When it was delivered or given up.
    pub ended_at: Option<Timestamp>,
}

/// A page of alerts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertCollection {
    /// The alerts.
    pub alerts: Vec<Alert>,
    /// How many there are on all pages.
    pub total_entries: u64,
}

/// What may be asked.
pub(crate) struct Filter;

impl Parameters for Filter {
    const ALL: &'static [Parameter] = &[
        PAGE_LIMIT,
        PAGE_OFFSET,
        Parameter::one::<DeliveryState>("state", "Only those whose delivery is so far."),
    ];
}

/// The newest first. They are about all DAGs of the tenant, so it takes the right to read its audit log.
pub(crate) async fn list(access: Access, query: Asked<Filter>) -> Result<Json<AlertCollection>, Error> {
    let may = access.list(Kind::Audit).await?;
    let state = query.words("state", DeliveryState::parse)?.into_iter().next();
    let page = alert::list(may.db(), may.scope, state, query.window()?).await?;
    let alerts = page.rows.into_iter().map(view).collect();
    Ok(Json(AlertCollection { alerts, total_entries: page.total }))
}

fn view(alert: alert::Alert) -> Alert {
    let row = alert.row;
    Alert {
        id: row.id,
        route: row.route.to_string(),
        what: row.what.as_str().to_owned(),
        dag_id: row.dag_id.to_string(),
        dag_run_id: row.run_name.to_string(),
        task_id: row.task.as_ref().map(|task| task.0.to_string()),
        map_index: row.task.as_ref().map(|task| task.1),
        try_number: row.task.as_ref().map(|task| task.2),
        reason: row.reason.as_deref().map(str::to_owned),
        at: row.at,
        state: alert.state,
        tries: alert.tries,
        next_at: Some(alert.next_at).filter(|_| alert.state == DeliveryState::Pending),
        error: alert.error,
        ended_at: alert.ended_at,
    }
}
