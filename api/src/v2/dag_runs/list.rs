//! `GET /dags/{dag_id}/dagRuns`

use std::collections::BTreeSet;

use axum::Json;
use dags::{ids::DagId, run_name::RunType, time::Timestamp};
use engine::{rows::RunRow, state::RunState};
use migrations::policy::Kind;
use migrations::store::{
    Page,
    run::{self, RunFilter, RunOrder},
};

use crate::{
    access::{Access, Permit},
    error::Error,
    extract::{Asked, DagOrAll, Named, Parameter, Parameters},
    list::{ORDER_BY, PAGE_LIMIT, PAGE_OFFSET},
    v2::{
        dag_runs::{DagRunCollection, view},
        dag_versions::Versions,
        dags::{find, missing},
    },
};

const ORDERS: [(&str, RunOrder); 4] = [
    ("run_after", RunOrder::RunAfter),
    ("logical_date", RunOrder::LogicalDate),
    ("start_date", RunOrder::StartedAt),
    ("end_date", RunOrder::EndedAt),
];

/// What may be asked.
pub(crate) struct Filter;

impl Parameters for Filter {
    const ALL: &'static [Parameter] = &[
        PAGE_LIMIT,
        PAGE_OFFSET,
        ORDER_BY,
        Parameter::many::<RunState>("state", "Only runs in one of these states."),
        Parameter::many::<RunType>("run_type", "Only runs of one of these types."),
        Parameter::one::<Timestamp>("run_after_gte", "Only runs whose due time is this or later."),
        Parameter::one::<Timestamp>("run_after_gt", "Only runs whose due time is later."),
        Parameter::one::<Timestamp>("run_after_lte", "Only runs whose due time is this or earlier."),
        Parameter::one::<Timestamp>("run_after_lt", "Only runs whose due time is earlier."),
        Parameter::one::<Timestamp>("logical_date_gte", "Only runs whose logical date is this or later."),
        Parameter::one::<Timestamp>("logical_date_gt", "Only runs whose logical date is later."),
        Parameter::one::<Timestamp>("logical_date_lte", "Only runs whose logical date is this or earlier."),
        Parameter::one::<Timestamp>("logical_date_lt", "Only runs whose logical date is earlier."),
        Parameter::one::<Timestamp>("start_date_gte", "Only runs whose start is this or later."),
        Parameter::one::<Timestamp>("start_date_gt", "Only runs whose start is later."),
        Parameter::one::<Timestamp>("start_date_lte", "Only runs whose start is this or earlier."),
        Parameter::one::<Timestamp>("start_date_lt", "Only runs whose start is earlier."),
        Parameter::one::<Timestamp>("end_date_gte", "Only runs whose end is this or later."),
        Parameter::one::<Timestamp>("end_date_gt", "Only runs whose end is later."),
        Parameter::one::<Timestamp>("end_date_lte", "Only runs whose end is this or earlier."),
        Parameter::one::<Timestamp>("end_date_lt", "Only runs whose end is earlier."),
        Parameter::one::<i64>("backfill_id", "Only runs of that backfill: our addition."),
    ];
}

/// Runs of one DAG or, with `~`, of all. `backfill_id` is our addition.
pub(crate) async fn list(
    access: Access,
    Named(dag): Named<DagOrAll>,
    query: Asked<Filter>,
) -> Result<Json<DagRunCollection>, Error> {
    let may = access.list(Kind::Run).await?;
    let (order, ascending) = order(query.all("order_by").next())?;
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
        run_after_from: query.from("run_after")?,
        run_after_to: query.to("run_after")?,
        logical_date_from: query.from("logical_date")?,
        logical_date_to: query.to("logical_date")?,
        started_from: query.from("start_date")?,
        started_to: query.to("start_date")?,
        ended_from: query.from("end_date")?,
        ended_to: query.to("end_date")?,
        backfill: query.read("backfill_id")?,
        visible: Some(may.visible.clone()),
        order,
        ascending,
        ..RunFilter::default()
    };
    let page = run::list(may.db(), may.scope, &filter, query.window()?).await?;
    shown(&may, page).await.map(Json)
}

/// A page of runs as it is answered.
pub(crate) async fn shown(may: &Permit, page: Page<RunRow>) -> Result<DagRunCollection, Error> {
    let dags: BTreeSet<DagId> = page.rows.iter().map(|row| row.dag_id.clone()).collect();
    let versions = Versions::of(may, &dags.into_iter().collect::<Vec<_>>()).await?;
    let dag_runs = page.rows.iter().map(|row| view(row, &versions)).collect();
    Ok(DagRunCollection { dag_runs, total_entries: page.total })
}

/// Ascending is the default of whoever names an order; nobody naming one gets the newest first.
pub(crate) fn order(wanted: Option<&str>) -> Result<(RunOrder, bool), Error> {
    let Some(wanted) = wanted else { return Ok((RunOrder::RunAfter, false)) };
    let name = wanted.strip_prefix('-').unwrap_or(wanted);
    let found = ORDERS.iter().find(|(known, _)| *known == name);
    found.map(|(_, order)| (*order, name == wanted)).ok_or_else(|| {
        let names: Vec<&str> = ORDERS.iter().map(|(name, _)| *name).collect();
        let message = format!(
            "can't be ordered by `{wanted}`; there are: {}, each with `-` before it as well",
            names.join(", ")
        );
        Error::BadRequest(message)
    })
}
