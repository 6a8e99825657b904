//! `GET /dags/{dag_id}/calendar`: how a DAG's runs went, day by day.

use std::collections::BTreeMap;

use axum::Json;
use dags::{
    ids::DagId,
    time::{Span, Timestamp},
};
use engine::state::RunState;
use migrations::{
    policy::{Action, Kind},
    store::overview,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::{Access, Resource},
    error::Error,
    extract::{Asked, Named, Parameter, Parameters},
    v2::dags::find,
};

/// Microseconds of a day.
const DAY_US: i64 = 24 * 3600 * 1_000_000;
/// The most days of one answer.
const DAYS_MAX: i64 = 400;

/// The days on which runs were due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Calendar {
    /// The days that have runs, in order.
    pub days: Vec<Day>,
}

/// A day of UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Day {
    /// Its begin.
    pub at: Timestamp,
    /// Its runs by state.
    pub runs: BTreeMap<RunState, u64>,
}

/// What may be asked.
pub(crate) struct Days;

impl Parameters for Days {
    const ALL: &'static [Parameter] = &[
        Parameter::one::<Timestamp>("from", "The first instant, a year before `to` if absent."),
        Parameter::one::<Timestamp>(
            "to",
            "The last instant, a day from now if absent; at most 400 days after `from`.",
        ),
    ];
}

/// `GET /dags/{dag_id}/calendar?from=&to=`: a year up to now if nothing else is said.
pub(crate) async fn get(
    access: Access,
    Named(dag_id): Named<DagId>,
    query: Asked<Days>,
) -> Result<Json<Calendar>, Error> {
    let may = access.authorize(Resource::dag(Kind::Run, &dag_id), Action::Read).await?;
    find(&may, &dag_id).await?;
    let to = match query.instant("to")? {
        Some(to) => to,
        None => may.db().now().await?.after(Span::seconds(24 * 3600)),
    };
    let from = query.instant("from")?.unwrap_or_else(|| to.before(Span(366 * DAY_US)));
    if to < from || to.since(from).0 > DAYS_MAX * DAY_US {
        let message = format!("must lie before `to`, by {DAYS_MAX} days at most");
        return Err(Error::value("query", "from", message, query.text("from").unwrap_or_default()));
    }
    let mut days: BTreeMap<i64, BTreeMap<RunState, u64>> = BTreeMap::new();
    for (day, state, n) in overview::days(may.db(), may.scope, &dag_id, from, to).await? {
        days.entry(day).or_default().insert(state, n);
    }
    let day = |(day, runs)| Day { at: Timestamp(day * DAY_US), runs };
    Ok(Json(Calendar { days: days.into_iter().map(day).collect() }))
}
