//! `GET /dags/{dag_id}/schedule`: when the next runs are due, as the timetable itself says it.

use axum::Json;
use dags::{
    ids::DagId,
    model::Schedule,
    time::Timestamp,
    timetable::{Bounds, DataInterval, Planned, Timetable},
};
use engine::rows::Cursor;
use migrations::policy::{Action, Kind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::{Access, Resource},
    error::Error,
    extract::{Asked, Named, Parameter, Parameters},
    v2::dags::find,
};

/// Runs if nobody says otherwise.
const RUNS: u32 = 20;
/// The most runs of one answer.
const RUNS_MAX: u32 = 200;

/// The next runs of a schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NextRuns {
    /// The schedule as it is written in the model.
    pub schedule: Schedule,
    /// Whether new runs wait.
    pub paused: bool,
    /// The next runs, as if each were made in time.
    pub runs: Vec<NextRun>,
}

/// A run that is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NextRun {
    /// When it is due.
    pub run_after: Timestamp,
    /// What it stands for.
    pub logical_date: Option<Timestamp>,
    /// Where its data interval begins.
    pub interval_start: Option<Timestamp>,
    /// Where its data interval ends.
    pub interval_end: Option<Timestamp>,
}

/// What may be asked.
pub(crate) struct Wanted;

impl Parameters for Wanted {
    const ALL: &'static [Parameter] =
        &[Parameter::one::<u32>("runs", "How many runs, from 1 to 200; 20 if absent.")];
}

/// `GET /dags/{dag_id}/schedule?runs=`
pub(crate) async fn get(
    access: Access,
    Named(dag_id): Named<DagId>,
    query: Asked<Wanted>,
) -> Result<Json<NextRuns>, Error> {
    let may = access.authorize(Resource::dag(Kind::Dag, &dag_id), Action::Read).await?;
    let count = query.read("runs")?.unwrap_or(RUNS);
    if !(1..=RUNS_MAX).contains(&count) {
        return Err(Error::value("query", "runs", format!("must be 1 to {RUNS_MAX}"), count));
    }
    let found = find(&may, &dag_id).await?;
    let model = found.model()?;
    let bounds = Bounds { start_date: model.start_date, end_date: model.end_date };
    let timetable = Timetable::new(&model.schedule, bounds)
        .map_err(|why| Error::Internal(format!("the schedule of `{dag_id}`: {why}")))?;
    let now = may.db().now().await?;
    let first = match found.row.next {
        Some(next) => Some(planned(next)),
        None => timetable.next(found.row.cursor.map(planned).as_ref(), now),
    };
    // A schedule that goes on when the last run ends has one next run only.
    let go_on = |last: &Planned| {
        timetable.is_periodic().then(|| timetable.next(Some(last), last.run_after)).flatten()
    };
    let runs = std::iter::successors(first, go_on).take(count as usize).map(|run| NextRun {
        run_after: run.run_after,
        logical_date: run.logical_date,
        interval_start: run.interval.map(|interval| interval.start),
        interval_end: run.interval.map(|interval| interval.end),
    });
    Ok(Json(NextRuns { schedule: model.schedule.clone(), paused: found.row.paused, runs: runs.collect() }))
}

fn planned(cursor: Cursor) -> Planned {
    Planned {
        run_after: cursor.run_after,
        logical_date: cursor.logical_date,
        interval: cursor.interval.map(|(start, end)| DataInterval { start, end }),
    }
}
