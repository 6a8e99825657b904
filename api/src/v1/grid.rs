//! `GET /dags/{dag_id}/grid`: what became of each task in the last runs, one byte a cell.

mod rows;

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use dags::{
    ids::{DagId, RunId, RunName, TaskId},
    run_name::RunType,
    time::Timestamp,
};
use engine::{
    rows::RunRow,
    state::{RunState, TaskState},
};
use migrations::{
    policy::{Action, Kind},
    store::{
        Window,
        overview::{self, Cell},
        run::{self, RunFilter},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use self::rows::Row;
use crate::{
    access::{Access, Permit, Resource},
    error::Error,
    extract::{Asked, Named, Parameter, Parameters, Params},
    v2::{dag_runs, dags::find, select},
};

/// Runs if nobody says otherwise.
const RUNS: u64 = 30;
/// The most runs of one answer.
const RUNS_MAX: u64 = 100;
/// There was more than one try.
const TRIED: u8 = 1 << 4;
/// Somebody set the state.
const MARKED: u8 = 1 << 5;
/// There is an entry in `detail`.
const DETAILED: u8 = 1 << 6;

/// Tasks by runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Grid {
    /// The rows.
    pub structure: Structure,
    /// The columns, the newest first.
    pub runs: Vec<GridRun>,
    /// One byte for each run and row, in base64, all rows of a run before those of the next. Bits 0 to 3: 0 if the run has no
    /// such task, otherwise its state, from 1, in the order of `states`; of several instances the most telling one. Bit 4: more
    /// than one try. Bit 5: set by hand. Bit 6: see `detail`. A group's byte is 0.
    pub cells: String,
    /// How many instances of a repeated task are in each state, by `run,row`.
    pub detail: BTreeMap<String, BTreeMap<TaskState, u64>>,
    /// The states, in the order in which cells number them.
    pub states: Vec<TaskState>,
    /// The value of `before` that goes on with older runs; none at the end. The next page repeats runs of that instant.
    pub before: Option<Timestamp>,
}

/// The rows of a grid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Structure {
    /// Changes with the rows.
    pub hash: String,
    /// The rows, groups before what is in them.
    pub rows: Vec<Row>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GridRun {
    /// Its name.
    pub id: RunName,
    /// Its state.
    pub state: RunState,
    /// Why it exists.
    pub run_type: RunType,
    /// When it is or was due.
    pub run_after: Timestamp,
    /// What it stands for.
    pub logical_date: Option<Timestamp>,
    /// When it was last queued.
    pub queued_at: Timestamp,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The hash of its version.
    pub version: String,
    /// The backfill that made it.
    pub backfill: Option<i64>,
    /// A note for people.
    pub note: Option<String>,
    /// Why it ended as it did, where that isn't plain.
    pub reason: Option<String>,
}

pub(crate) fn column(run: &RunRow) -> GridRun {
    GridRun {
        id: run.run_name.clone(),
        state: run.state,
        run_type: run.run_type,
        run_after: run.run_after,
        logical_date: run.logical_date,
        queued_at: run.queued_at,
        started_at: run.started_at,
        ended_at: run.ended_at,
        version: run.version.to_string(),
        backfill: run.backfill.map(|backfill| backfill.0),
        note: run.note.as_deref().map(str::to_owned),
        reason: run.reason.as_deref().map(str::to_owned),
    }
}

/// What may be asked.
pub(crate) struct Wanted;

impl Parameters for Wanted {
    const ALL: &'static [Parameter] = &[
        Parameter::one::<u64>("runs", "How many runs, from 1 to 100; 30 if absent."),
        Parameter::one::<Timestamp>("before", "Only runs that were due then or earlier."),
        Parameter::many::<RunState>("state", "Only runs in one of these states."),
        Parameter::one::<RunName>("run", "That run only, with the rows of its own version."),
    ];
}

/// `GET /dags/{dag_id}/grid?runs=&before=&state=&run=`: the newest runs, or one run with the rows of its own version.
pub(crate) async fn get(
    access: Access,
    Named(dag_id): Named<DagId>,
    query: Asked<Wanted>,
) -> Result<Json<Grid>, Error> {
    access.authorize(Resource::dag(Kind::Run, &dag_id), Action::Read).await?;
    let may = access.authorize(Resource::dag(Kind::Task, &dag_id), Action::Read).await?;
    let found = find(&may, &dag_id).await?;
    let (model, runs, before) = match query.read::<RunName>("run")? {
        Some(name) => {
            let row = dag_runs::find(&may, &dag_id, &name).await?;
            (select::model(&may, &row).await?, vec![row], None)
        }
        None => {
            let (runs, before) = columns(&may, dag_id, &query).await?;
            (found.model()?.clone(), runs, before)
        }
    };
    let ids: Vec<RunId> = runs.iter().map(|run| run.run).collect();
    let cells = overview::cells(may.db(), may.scope, &ids).await?;
    let gone: BTreeSet<&TaskId> = cells
        .iter()
        .map(|cell| &cell.task)
        .filter(|task| model.tasks.binary_search_by(|known| known.task_id.cmp(task)).is_err())
        .collect();
    let rows = rows::of(&model, &gone);
    Ok(Json(grid(rows, &runs, &cells, before)?))
}

async fn columns(
    may: &Permit,
    dag_id: DagId,
    query: &Params,
) -> Result<(Vec<RunRow>, Option<Timestamp>), Error> {
    let limit = query.read("runs")?.unwrap_or(RUNS);
    if !(1..=RUNS_MAX).contains(&limit) {
        return Err(Error::value("query", "runs", format!("must be 1 to {RUNS_MAX}"), limit));
    }
    let filter = RunFilter {
        dag_id: Some(dag_id),
        run_after_to: query.instant("before")?,
        states: query.words("state", RunState::parse)?,
        ..RunFilter::default()
    };
    let mut page =
        run::list(may.db(), may.scope, &filter, Window { limit: limit + 1, offset: 0 }).await?.rows;
    let more = page.len() as u64 > limit;
    page.truncate(limit as usize);
    let before = page.last().filter(|_| more).map(|last| last.run_after);
    Ok((page, before))
}

fn grid(rows: Vec<Row>, runs: &[RunRow], cells: &[Cell], before: Option<Timestamp>) -> Result<Grid, Error> {
    let row_of: BTreeMap<&str, usize> = rows
        .iter()
        .enumerate()
        .filter(|(_, row)| row.kind != rows::RowKind::Group)
        .map(|(index, row)| (row.id.as_str(), index))
        .collect();
    let column_of: BTreeMap<RunId, usize> =
        runs.iter().enumerate().map(|(index, run)| (run.run, index)).collect();
    let mut by_cell: BTreeMap<(usize, usize), Vec<&Cell>> = BTreeMap::new();
    for cell in cells {
        if let (Some(column), Some(row)) = (column_of.get(&cell.run), row_of.get(cell.task.as_str())) {
            by_cell.entry((*column, *row)).or_default().push(cell);
        }
    }
    let mut bytes = vec![0; rows.len() * runs.len()];
    let mut detail = BTreeMap::new();
    for ((column, row), cells) in by_cell {
        let byte = byte(&cells);
        bytes[column * rows.len() + row] = byte;
        if byte & DETAILED != 0 {
            let counts = cells.iter().map(|cell| (cell.state, cell.count)).collect();
            detail.insert(format!("{column},{row}"), counts);
        }
    }
    let text = serde_json::to_vec(&rows).map_err(|why| Error::Internal(why.to_string()))?;
    let hash =
        Sha256::digest(&text)[..8].iter().fold(String::new(), |hash, byte| format!("{hash}{byte:02x}"));
    Ok(Grid {
        structure: Structure { hash, rows },
        runs: runs.iter().map(column).collect(),
        cells: STANDARD.encode(&bytes),
        detail,
        states: TaskState::ALL.to_vec(),
        before,
    })
}

/// The byte of a task's instances in one run.
pub(crate) fn byte(cells: &[&Cell]) -> u8 {
    let telling = cells.iter().map(|cell| cell.state).max_by_key(|state| telling(*state));
    let number = telling.and_then(|state| TaskState::ALL.iter().position(|known| *known == state));
    let Some(number) = number else { return 0 };
    let mut byte = number as u8 + 1;
    if cells.iter().any(|cell| cell.tries > 1) {
        byte |= TRIED;
    }
    if cells.iter().any(|cell| cell.marked) {
        byte |= MARKED;
    }
    if cells.iter().any(|cell| cell.mapped) {
        byte |= DETAILED;
    }
    byte
}

/// Which state of several is shown: what went wrong, then what goes on, then what waits, then what is over.
const fn telling(state: TaskState) -> u8 {
    match state {
        TaskState::Failed => 13,
        TaskState::UpstreamFailed => 12,
        TaskState::AwaitingInput => 11,
        TaskState::UpForRetry => 10,
        TaskState::Running => 9,
        TaskState::Restarting => 8,
        TaskState::UpForReschedule => 7,
        TaskState::Deferred => 6,
        TaskState::Queued => 5,
        TaskState::Scheduled => 4,
        TaskState::None => 3,
        TaskState::Success => 2,
        TaskState::Skipped => 1,
        TaskState::Removed => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(state: TaskState, tries: u32, mapped: bool) -> Cell {
        let task = TaskId::parse("t").unwrap();
        Cell { run: RunId(uuid::Uuid::nil()), task, state, count: 1, tries, marked: false, mapped }
    }

    #[test]
    fn a_cell_shows_what_went_wrong_before_what_went_well() {
        let well = cell(TaskState::Success, 1, true);
        let badly = cell(TaskState::Failed, 2, true);
        let number =
            |state: TaskState| TaskState::ALL.iter().position(|known| *known == state).unwrap() as u8 + 1;
        assert_eq!(byte(&[&well]), number(TaskState::Success) | DETAILED);
        assert_eq!(byte(&[&well, &badly]), number(TaskState::Failed) | TRIED | DETAILED);
        assert_eq!(byte(&[&cell(TaskState::Queued, 0, false)]), number(TaskState::Queued));
        assert_eq!(byte(&[]), 0);
        assert!(TaskState::ALL.len() < usize::from(TRIED), "a state's number has four bits");
    }
}
