//! `POST /dags/~/dagRuns/list`: the list of runs, asked for by a body because it can name many DAGs.

use axum::Json;
use dags::{
    ids::{DagId, RunName},
    time::Timestamp,
};
use engine::state::RunState;
use migrations::{
    policy::Kind,
    store::{
        Window,
        run::{self, RunFilter},
    },
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    access::Access,
    error::Error,
    extract::{Body, DagOrAll, Named},
    list::{LIMIT_MAX, begin, end},
    v2::dag_runs::{DagRunCollection, list},
};

/// Which runs.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RunsBody {
    /// Of these DAGs.
    pub(crate) dag_ids: Option<Vec<DagId>>,
    /// In one of these states.
    pub(crate) states: Option<Vec<RunState>>,
    /// Due at or after this instant.
    pub(crate) run_after_gte: Option<Timestamp>,
    /// Due after this instant.
    pub(crate) run_after_gt: Option<Timestamp>,
    /// Due at or before this instant.
    pub(crate) run_after_lte: Option<Timestamp>,
    /// Due before this instant.
    pub(crate) run_after_lt: Option<Timestamp>,
    /// Standing for an instant at or after this instant.
    pub(crate) logical_date_gte: Option<Timestamp>,
    /// Standing for an instant after this instant.
    pub(crate) logical_date_gt: Option<Timestamp>,
    /// Standing for an instant at or before this instant.
    pub(crate) logical_date_lte: Option<Timestamp>,
    /// Standing for an instant before this instant.
    pub(crate) logical_date_lt: Option<Timestamp>,
    /// Started at or after this instant.
    pub(crate) start_date_gte: Option<Timestamp>,
    /// Started after this instant.
    pub(crate) start_date_gt: Option<Timestamp>,
    /// Started at or before this instant.
    pub(crate) start_date_lte: Option<Timestamp>,
    /// Started before this instant.
    pub(crate) start_date_lt: Option<Timestamp>,
    /// Ended at or after this instant.
    pub(crate) end_date_gte: Option<Timestamp>,
    /// Ended after this instant.
    pub(crate) end_date_gt: Option<Timestamp>,
    /// Ended at or before this instant.
    pub(crate) end_date_lte: Option<Timestamp>,
    /// Ended before this instant.
    pub(crate) end_date_lt: Option<Timestamp>,
    /// Not supported.
    pub(crate) duration_gte: Option<f64>,
    /// Not supported.
    pub(crate) duration_gt: Option<f64>,
    /// Not supported.
    pub(crate) duration_lte: Option<f64>,
    /// Not supported.
    pub(crate) duration_lt: Option<f64>,
    /// Not supported.
    pub(crate) conf_contains: Option<String>,
    /// What the list is ordered by; with `-` before it the last comes first.
    pub(crate) order_by: Option<String>,
    /// Runs to leave out at the start.
    pub(crate) page_offset: u64,
    /// Runs of the page, 100 if it isn't there.
    pub(crate) page_limit: Option<u64>,
}

/// A page of the runs of all DAGs that one may see.
pub(crate) async fn batch(
    access: Access,
    Named((dag, name)): Named<(DagOrAll, RunName)>,
    Body(body): Body<RunsBody>,
) -> Result<Json<DagRunCollection>, Error> {
    let may = access.list(Kind::Run).await?;
    if dag != DagOrAll::All || name.as_str() != "list" {
        return Err(Error::NotFound("runs are listed by a body at `/dags/~/dagRuns/list`".to_owned()));
    }
    let durations = [body.duration_gte, body.duration_gt, body.duration_lte, body.duration_lt];
    if durations.iter().any(Option::is_some) || body.conf_contains.is_some() {
        let instead = "use the other filters";
        return Err(Error::unsupported("filtering runs by duration or `conf_contains`", instead));
    }
    let (order, ascending) = list::order(body.order_by.as_deref())?;
    // One of none: nothing.
    if body.dag_ids.as_ref().is_some_and(Vec::is_empty) || body.states.as_ref().is_some_and(Vec::is_empty) {
        return Ok(Json(DagRunCollection { dag_runs: Vec::new(), total_entries: 0 }));
    }
    let filter = RunFilter {
        dag_ids: body.dag_ids.unwrap_or_default(),
        states: body.states.unwrap_or_default(),
        run_after_from: begin(body.run_after_gte, body.run_after_gt),
        run_after_to: end(body.run_after_lte, body.run_after_lt),
        logical_date_from: begin(body.logical_date_gte, body.logical_date_gt),
        logical_date_to: end(body.logical_date_lte, body.logical_date_lt),
        started_from: begin(body.start_date_gte, body.start_date_gt),
        started_to: end(body.start_date_lte, body.start_date_lt),
        ended_from: begin(body.end_date_gte, body.end_date_gt),
        ended_to: end(body.end_date_lte, body.end_date_lt),
        visible: Some(may.visible.clone()),
        order,
        ascending,
        ..RunFilter::default()
    };
    let limit = body.page_limit.unwrap_or(LIMIT_MAX).min(LIMIT_MAX);
    let window = Window { limit, offset: body.page_offset.min(i64::MAX as u64) };
    let page = run::list(may.db(), may.scope, &filter, window).await?;
    list::shown(&may, page).await.map(Json)
}
