//! `GET /dags/{dag_id}/dagRuns`

use std::collections::BTreeSet;

use axum::Json;
use dags::{ids::DagId, run_name::RunType};
use engine::state::RunState;
use migrations::policy::Kind;
use migrations::store::run::{self, RunFilter, RunOrder};

use crate::{
    access::Access,
    error::Error,
    extract::{DagOrAll, Named, Params},
    v2::{
        dag_runs::{DagRunCollection, view},
        dag_versions::Versions,
        dags::{find, missing},
    },
};

const KNOWN: [&str; 10] = [
    "limit",
    "offset",
    "order_by",
    "state",
    "run_type",
    "run_after_gte",
    "run_after_lte",
    "logical_date_gte",
    "logical_date_lte",
    "backfill_id",
];
const ORDERS: [(&str, RunOrder); 4] = [
    ("run_after", RunOrder::RunAfter),
    ("logical_date", RunOrder::LogicalDate),
    ("start_date", RunOrder::StartedAt),
    ("end_date", RunOrder::EndedAt),
];

/// Runs of one DAG or, with `~`, of all. `backfill_id` is our addition.
pub(crate) async fn list(
    access: Access,
    Named(dag): Named<DagOrAll>,
    query: Params,
) -> Result<Json<DagRunCollection>, Error> {
    let may = access.list(Kind::Run).await?;
    query.only(&KNOWN)?;
    let (order, ascending) = order(&query)?;
    let dag_id = dag.one();
    if let Some(dag_id) = &dag_id {
        if !may.sees(dag_id.as_str()).await? {
            return Err(missing(dag_id));
        }
        find(&may, dag_id).await?;
    }
    let filter = RunFilter {
        dag_id,
        states: query.words("state", RunState::parse)?,
        run_types: query.words("run_type", RunType::parse)?,
        run_after_from: query.instant("run_after_gte")?,
        run_after_to: query.instant("run_after_lte")?,
        logical_date_from: query.instant("logical_date_gte")?,
        logical_date_to: query.instant("logical_date_lte")?,
        backfill: query.read("backfill_id")?,
        visible: Some(may.visible.clone()),
        order,
        ascending,
    };
    let page = run::list(may.db(), may.scope, &filter, query.window()?).await?;
    let dags: BTreeSet<DagId> = page.rows.iter().map(|row| row.dag_id.clone()).collect();
    let versions = Versions::of(&may, &dags.into_iter().collect::<Vec<_>>()).await?;
    let dag_runs = page.rows.iter().map(|row| view(row, &versions)).collect();
    Ok(Json(DagRunCollection { dag_runs, total_entries: page.total }))
}

/// Ascending is the default of whoever names an order; nobody naming one gets the newest first.
fn order(query: &Params) -> Result<(RunOrder, bool), Error> {
    let falling: Vec<String> = ORDERS.iter().map(|(name, _)| format!("-{name}")).collect();
    let orders: Vec<&str> =
        ORDERS.iter().map(|(name, _)| *name).chain(falling.iter().map(String::as_str)).collect();
    let Some(wanted) = query.order(&orders)? else { return Ok((RunOrder::RunAfter, false)) };
    let name = wanted.trim_start_matches('-');
    let order =
        ORDERS.iter().find(|(known, _)| *known == name).map_or(RunOrder::RunAfter, |(_, order)| *order);
    Ok((order, name == wanted))
}
