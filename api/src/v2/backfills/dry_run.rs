//! `POST /backfills/dry_run`

use std::collections::BTreeMap;

use axum::Json;
use dags::{
    time::Timestamp,
    timetable::{Bounds, Timetable},
};
use engine::{
    command::{Command, Reprocess},
    rows::RunRow,
    state::RunState,
};
use migrations::{
    policy::{Action, Kind},
    store::{
        Window,
        run::{self, RunFilter, RunOrder},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::{Access, Permit, Resource},
    error::Error,
    extract::Body,
    v2::{
        backfills::{BackfillBody, post::command},
        dags::find,
    },
};

/// The most dates of one answer.
const DATES_MAX: usize = 1_000;

/// What becomes of a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// A run is made.
    Create,
    /// The run that is there runs again.
    Rerun,
    /// The run that is there stays as it is.
    Skip,
}

/// A date of a backfill that isn't made yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedDate {
    /// The date that the run stands for.
    pub logical_date: Timestamp,
    /// None: there are no partitions.
    pub partition_key: Option<String>,
    /// None.
    pub partition_date: Option<Timestamp>,
    /// What becomes of it: our addition.
    pub effect: Effect,
    /// The run that is there: our addition.
    pub dag_run_id: Option<String>,
    /// Its state: our addition.
    pub state: Option<RunState>,
}

/// What a backfill would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DryRun {
    /// Its dates in their order, at most 1,000. Those that are skipped are among them only where a run is there.
    pub backfills: Vec<PlannedDate>,
    /// How many dates that are.
    pub total_entries: u64,
    /// Whether there are more dates than are listed: our addition.
    pub truncated: bool,
}

/// Says what a backfill would do, date by date, and refuses what couldn't be made. Changes nothing.
pub(crate) async fn post(access: Access, Body(body): Body<BackfillBody>) -> Result<Json<DryRun>, Error> {
    let may = access.authorize(Resource::dag(Kind::Backfill, &body.dag_id), Action::Create).await?;
    let (reprocess, reverse) = (body.reprocess_behavior, body.run_backwards);
    let spec = command(body)?;
    may.request(Command::CheckBackfill(spec.clone())).await?;
    let found = find(&may, &spec.dag_id).await?;
    let model = found.model()?;
    let bounds = Bounds { start_date: model.start_date, end_date: model.end_date };
    let timetable = Timetable::new(&model.schedule, bounds)
        .map_err(|why| Error::Internal(format!("the schedule of `{}`: {why}", spec.dag_id)))?;
    let ticks = timetable.ticks_between(spec.from, spec.to).filter_map(|planned| planned.logical_date);
    let mut dates: Vec<Timestamp> = ticks.take(DATES_MAX + 1).collect();
    let truncated = dates.len() > DATES_MAX;
    if reverse && truncated {
        let why = format!(
            "dates that go backwards are previewed for at most {DATES_MAX} runs: take a shorter range"
        );
        return Err(Error::BadRequest(why));
    }
    dates.truncate(DATES_MAX);
    let there = runs_at(&may, &spec.dag_id, dates.first().copied(), dates.last().copied()).await?;
    if reverse {
        dates.reverse();
    }
    let mut backfills: Vec<PlannedDate> =
        dates.into_iter().map(|date| one(date, there.get(&date), reprocess)).collect();
    let runs = Permit { visible: access.seen(Kind::Run), ..may.clone() };
    if !runs.sees(spec.dag_id.as_str()).await? {
        for planned in &mut backfills {
            (planned.dag_run_id, planned.state) = (None, None);
        }
    }
    Ok(Json(DryRun { total_entries: backfills.len() as u64, backfills, truncated }))
}

fn one(logical_date: Timestamp, run: Option<&RunRow>, reprocess: Reprocess) -> PlannedDate {
    let effect = match (run, reprocess) {
        (None, _) => Effect::Create,
        (Some(run), Reprocess::Failed) if run.state == RunState::Failed => Effect::Rerun,
        (Some(run), Reprocess::Completed) if run.state.is_finished() => Effect::Rerun,
        (Some(_), _) => Effect::Skip,
    };
    PlannedDate {
        logical_date,
        partition_key: None,
        partition_date: None,
        effect,
        dag_run_id: run.map(|run| run.run_name.to_string()),
        state: run.map(|run| run.state),
    }
}

/// Runs of a DAG by their dates.
async fn runs_at(
    may: &Permit,
    dag_id: &dags::ids::DagId,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> Result<BTreeMap<Timestamp, RunRow>, Error> {
    let filter = RunFilter {
        dag_id: Some(dag_id.clone()),
        logical_date_from: from,
        logical_date_to: to,
        order: RunOrder::LogicalDate,
        ascending: true,
        ..RunFilter::default()
    };
    let mut found = BTreeMap::new();
    let mut window = Window { limit: DATES_MAX as u64, offset: 0 };
    loop {
        // Runs by hand may stand for dates in between.
        let page = run::list(may.db(), may.scope, &filter, window).await?;
        let n = page.rows.len() as u64;
        found.extend(page.rows.into_iter().filter_map(|run| Some((run.logical_date?, run))));
        window.offset += n;
        if n == 0 || window.offset >= page.total {
            return Ok(found);
        }
    }
}
