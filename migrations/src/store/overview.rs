//! What pages show of many objects at once: each with one statement, however many DAGs, runs or tasks are on the page.

use std::collections::BTreeMap;

use dags::{
    ids::{DagId, RunId, RunName, TaskId},
    run_name::RunType,
    time::Timestamp,
};
use engine::{
    rows::{InputRow, RunRow, TaskRow},
    state::{RunState, TaskState},
};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, FromQueryResult, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    QueryTrait as _, Statement, Value,
    sea_query::{Expr, ExprTrait as _, SelectStatement},
};
use uuid::Uuid;

use crate::{
    db::Db,
    entity::{dag, input_request, run, task_instance},
    error::{Doing as _, Error},
    policy::Visible,
    rows,
    scope::TenantScope,
    store::{input_request::read as read_question, readable, run::shown},
};

/// A run in short, as a bar in a strip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    /// Its name.
    pub run_name: RunName,
    /// Why it exists.
    pub run_type: RunType,
    /// Its state.
    pub state: RunState,
    /// When it is or was due.
    pub run_after: Timestamp,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

#[derive(FromQueryResult)]
struct BarRow {
    dag_id: String,
    run_name: String,
    run_type: String,
    state: String,
    run_after: i64,
    started_at: Option<i64>,
    ended_at: Option<i64>,
}

/// The last runs of each of those DAGs, the newest first. DAGs without runs aren't there.
pub async fn strips(
    db: &Db,
    scope: TenantScope,
    dags: &[DagId],
    limit: u32,
) -> Result<BTreeMap<DagId, Vec<Bar>>, Error> {
    let sql = db.pick(
        // Runs are found by identity only, so that a DAG with a long history costs no more than another.
        "SELECT r.dag_id, r.run_name, r.run_type, r.state, r.run_after, r.started_at, r.ended_at
        FROM json_each(?2) AS d CROSS JOIN run AS r
        WHERE r.tenant_id = ?1 AND r.run_id IN (SELECT n.run_id FROM run AS n
          WHERE n.tenant_id = ?1 AND n.dag_id = d.value ORDER BY n.run_after DESC, n.run_id DESC LIMIT ?3)
        ORDER BY r.dag_id, r.run_after DESC, r.run_id DESC",
        "SELECT r.dag_id, r.run_name, r.run_type, r.state, r.run_after, r.started_at, r.ended_at
        FROM unnest($2::text[]) AS d (dag_id) CROSS JOIN LATERAL (SELECT n.* FROM run AS n
          WHERE n.tenant_id = $1 AND n.dag_id = d.dag_id ORDER BY n.run_after DESC, n.run_id DESC LIMIT $3) AS r
        ORDER BY r.dag_id, r.run_after DESC, r.run_id DESC",
    );
    let names: Vec<String> = dags.iter().map(ToString::to_string).collect();
    let names = match db {
        Db::Sqlite(_) => Value::from(rows::to_json(&names)),
        Db::Postgres(_) => Value::from(names),
    };
    let values = [Value::from(scope.tenant().0), names, Value::from(i64::from(limit))];
    let found = BarRow::find_by_statement(statement(db, sql, values));
    let found = found.all(db.read()).await.doing("read the last runs of DAGs")?;
    let read = |row: BarRow| {
        let corrupt = |what: &str| Error::corrupt("run", what.to_owned());
        let bar = Bar {
            run_name: rows::name("run", &row.run_name)?,
            run_type: RunType::parse(&row.run_type).ok_or_else(|| corrupt("run_type"))?,
            state: RunState::parse(&row.state).ok_or_else(|| corrupt("state"))?,
            run_after: Timestamp(row.run_after),
            started_at: row.started_at.map(Timestamp),
            ended_at: row.ended_at.map(Timestamp),
        };
        Ok((rows::name::<DagId>("run", &row.dag_id)?, bar))
    };
    let mut strips: BTreeMap<DagId, Vec<Bar>> = BTreeMap::new();
    for (dag, bar) in readable(found, |row| format!("run {} of {}", row.run_name, row.dag_id), read) {
        strips.entry(dag).or_default().push(bar);
    }
    Ok(strips)
}

/// The instances of one task in one run that are in one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// The run.
    pub run: RunId,
    /// The task.
    pub task: TaskId,
    /// The state.
    pub state: TaskState,
    /// How many there are.
    pub count: u64,
    /// The highest number of tries.
    pub tries: u32,
    /// Whether somebody set the state of one by hand.
    pub marked: bool,
    /// Whether the task is repeated.
    pub mapped: bool,
}

#[derive(FromQueryResult)]
struct CellRow {
    run_id: Uuid,
    task_id: String,
    state: String,
    count: i64,
    tries: i32,
    marked: i64,
    map_index: i32,
}

/// What became of each task in those runs.
pub async fn cells(db: &Db, scope: TenantScope, runs: &[RunId]) -> Result<Vec<Cell>, Error> {
    let found = of_runs(scope, runs)
        .select_only()
        .column(task_instance::Column::RunId)
        .column(task_instance::Column::TaskId)
        .column(task_instance::Column::State)
        .column_as(task_instance::Column::MapIndex.count(), "count")
        .column_as(task_instance::Column::TryNumber.max(), "tries")
        .column_as(task_instance::Column::MarkedBy.count(), "marked")
        .column_as(task_instance::Column::MapIndex.max(), "map_index")
        .group_by(task_instance::Column::RunId)
        .group_by(task_instance::Column::TaskId)
        .group_by(task_instance::Column::State)
        .into_model::<CellRow>()
        .all(db.read())
        .await
        .doing("read the states of tasks of runs")?;
    let read = |row: CellRow| {
        Ok(Cell {
            run: RunId(row.run_id),
            task: rows::name("task_instance", &row.task_id)?,
            state: state(&row.state)?,
            count: row.count as u64,
            tries: row.tries as u32,
            marked: row.marked > 0,
            mapped: row.map_index >= 0,
        })
    };
    Ok(readable(found, |row| format!("{} of {} that are {}", row.task_id, row.run_id, row.state), read))
}

/// How many task instances of each of those runs that may be seen are in each state.
pub async fn counts(
    db: &Db,
    scope: TenantScope,
    runs: &[RunId],
    visible: &Visible,
) -> Result<BTreeMap<RunId, BTreeMap<TaskState, u64>>, Error> {
    let found: Vec<(Uuid, String, i64)> = of_runs(scope, runs)
        .filter(task_instance::Column::RunId.in_subquery(seen(db, scope, runs, visible)))
        .select_only()
        .column(task_instance::Column::RunId)
        .column(task_instance::Column::State)
        .column_as(task_instance::Column::MapIndex.count(), "n")
        .group_by(task_instance::Column::RunId)
        .group_by(task_instance::Column::State)
        .into_tuple()
        .all(db.read())
        .await
        .doing("count the task instances of runs")?;
    let read = |(run, text, n): (Uuid, String, i64)| Ok((RunId(run), state(&text)?, n as u64));
    let mut counts: BTreeMap<RunId, BTreeMap<TaskState, u64>> = BTreeMap::new();
    for (run, state, n) in readable(found, |row| format!("tasks of {} that are {}", row.0, row.1), read) {
        counts.entry(run).or_default().insert(state, n);
    }
    Ok(counts)
}

/// The failed task instances of those runs that may be seen, those that ended first at the front.
pub async fn failed(
    db: &Db,
    scope: TenantScope,
    runs: &[RunId],
    visible: &Visible,
    limit: u64,
) -> Result<Vec<TaskRow>, Error> {
    let found = of_runs(scope, runs)
        .filter(task_instance::Column::RunId.in_subquery(seen(db, scope, runs, visible)))
        .filter(task_instance::Column::State.eq(TaskState::Failed.as_str()))
        .order_by_asc(task_instance::Column::EndedAt)
        .order_by_asc(task_instance::Column::TaskId)
        .order_by_asc(task_instance::Column::MapIndex)
        .limit(limit)
        .all(db.read())
        .await
        .doing("list the failed task instances of runs")?;
    Ok(readable(found, key, |row| Ok(rows::Task::try_from(row)?.0)))
}

/// How many task instances of unfinished runs are in each state, over all DAGs that may be seen.
pub async fn open(db: &Db, scope: TenantScope, visible: &Visible) -> Result<BTreeMap<TaskState, u64>, Error> {
    let found: Vec<(String, i64)> = task_instance::Entity::find()
        .select_only()
        .column(task_instance::Column::State)
        .column_as(task_instance::Column::MapIndex.count(), "n")
        .filter(task_instance::Column::TenantId.eq(scope.tenant().0))
        .filter(task_instance::Column::RunId.in_subquery(unfinished(db, scope, visible)))
        .group_by(task_instance::Column::State)
        .into_tuple()
        .all(db.read())
        .await
        .doing("count the task instances of unfinished runs")?;
    let read = |(text, n): (String, i64)| Ok((state(&text)?, n as u64));
    Ok(readable(found, |row| format!("open tasks that are {}", row.0), read).into_iter().collect())
}

/// What the queue goes by after the priority: the date that the run stands for.
const DATE_OF_RUN: &str = "(SELECT COALESCE(r.logical_date, r.run_after) FROM run AS r
  WHERE r.tenant_id = task_instance.tenant_id AND r.run_id = task_instance.run_id)";

/// Task instances of unfinished runs in those states, with their runs, in the order of the queue: the highest priority first,
/// then the earliest date of a run, then the oldest run.
pub async fn active(
    db: &Db,
    scope: TenantScope,
    visible: &Visible,
    states: &[TaskState],
    limit: u64,
) -> Result<Vec<(RunRow, TaskRow)>, Error> {
    let found = task_instance::Entity::find()
        .filter(task_instance::Column::TenantId.eq(scope.tenant().0))
        .filter(task_instance::Column::RunId.in_subquery(unfinished(db, scope, visible)))
        .filter(task_instance::Column::State.is_in(states.iter().map(|state| state.as_str())))
        .order_by_desc(task_instance::Column::Weight)
        .order_by_asc(Expr::cust(DATE_OF_RUN))
        .order_by_asc(task_instance::Column::RunId)
        .order_by_asc(task_instance::Column::MapIndex)
        .order_by_asc(task_instance::Column::TaskId)
        .limit(limit)
        .all(db.read())
        .await
        .doing("list the task instances of unfinished runs")?;
    let tasks = readable(found, key, |row| Ok(rows::Task::try_from(row)?.0));
    let runs = runs_of(db, scope, tasks.iter().map(|task| task.run)).await?;
    // A run that ended in between isn't shown any more.
    Ok(tasks.into_iter().filter_map(|task| Some((runs.get(&task.run)?.clone(), task))).collect())
}

/// Questions to people that nobody has answered, with their runs: the oldest first.
pub async fn questions(
    db: &Db,
    scope: TenantScope,
    visible: &Visible,
    limit: u64,
) -> Result<Vec<(RunRow, InputRow)>, Error> {
    let found = input_request::Entity::find()
        .filter(input_request::Column::TenantId.eq(scope.tenant().0))
        .filter(input_request::Column::Response.is_null())
        .filter(input_request::Column::RunId.in_subquery(unfinished(db, scope, visible)))
        .filter(Expr::cust(WAITS_STILL))
        .order_by_asc(input_request::Column::CreatedAt)
        .order_by_asc(input_request::Column::AttemptId)
        .limit(limit)
        .all(db.read())
        .await
        .doing("list the open questions to people")?;
    let key = |row: &input_request::Model| {
        format!("question of {} {}[{}] try {}", row.run_id, row.task_id, row.map_index, row.try_number)
    };
    let rows = readable(found, key, read_question);
    let runs = runs_of(db, scope, rows.iter().map(|row| row.run)).await?;
    Ok(rows.into_iter().filter_map(|row| Some((runs.get(&row.run)?.clone(), row))).collect())
}

async fn runs_of(
    db: &Db,
    scope: TenantScope,
    runs: impl Iterator<Item = RunId>,
) -> Result<BTreeMap<RunId, RunRow>, Error> {
    let ids: Vec<RunId> = runs.collect();
    Ok(by_ids(db, scope, &ids).await?.into_iter().map(|run| (run.run, run)).collect())
}

/// Those runs.
pub async fn by_ids(db: &Db, scope: TenantScope, runs: &[RunId]) -> Result<Vec<RunRow>, Error> {
    let found = run::Entity::find()
        .filter(run::Column::TenantId.eq(scope.tenant().0))
        .filter(run::Column::RunId.is_in(runs.iter().map(|run| run.0)))
        .all(db.read())
        .await
        .doing("read runs")?;
    Ok(readable(found, |row| row.run_id.to_string(), shown))
}

/// When the next automated runs are due, of the DAGs that may be seen and aren't paused; the next first.
pub async fn coming(
    db: &Db,
    scope: TenantScope,
    visible: &Visible,
    until: Timestamp,
    limit: u64,
) -> Result<Vec<(DagId, Timestamp)>, Error> {
    let found: Vec<(String, i64)> = dag::Entity::find()
        .select_only()
        .column(dag::Column::DagId)
        .column(dag::Column::NextRunAfter)
        .filter(dag::Column::TenantId.eq(scope.tenant().0))
        .filter(dag::Column::NextRunAfter.lte(until.0))
        .filter(dag::Column::Paused.eq(false))
        .filter(dag::Column::Stale.eq(false))
        .filter(visible.condition(db, scope.tenant().0, dag::Column::DagId))
        .order_by_asc(dag::Column::NextRunAfter)
        .order_by_asc(dag::Column::DagId)
        .limit(limit)
        .into_tuple()
        .all(db.read())
        .await
        .doing("list the next runs of DAGs")?;
    let read = |(dag, at): (String, i64)| Ok((rows::name("dag", &dag)?, Timestamp(at)));
    Ok(readable(found, |row| format!("the next run of {}", row.0), read))
}

/// How many runs of a DAG that are due in `from..to` are in each state, by day of UTC counted from 1970.
pub async fn days(
    db: &Db,
    scope: TenantScope,
    dag: &DagId,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<(i64, RunState, u64)>, Error> {
    let day = Expr::col(run::Column::RunAfter).div(DAY_US);
    let found: Vec<(i64, String, i64)> = run::Entity::find()
        .select_only()
        .column_as(day.clone(), "day")
        .column(run::Column::State)
        .column_as(run::Column::RunId.count(), "n")
        .filter(run::Column::TenantId.eq(scope.tenant().0))
        .filter(run::Column::DagId.eq(dag.as_str()))
        .filter(run::Column::RunAfter.gte(from.0))
        .filter(run::Column::RunAfter.lt(to.0))
        .group_by(Expr::cust("1"))
        .group_by(run::Column::State)
        .order_by_asc(Expr::cust("1"))
        .into_tuple()
        .all(db.read())
        .await
        .doing("count the runs of a DAG by day")?;
    let read = |(day, text, n): (i64, String, i64)| {
        let known = RunState::parse(&text);
        Ok((day, known.ok_or_else(|| Error::corrupt("run", format!("state {text:?}")))?, n as u64))
    };
    Ok(readable(found, |row| format!("runs of {dag} that are {}", row.1), read))
}

/// The try that asked is the present one, and waits: a task that was cleared asks anew.
const WAITS_STILL: &str = "EXISTS (SELECT 1 FROM task_instance AS t WHERE t.tenant_id = input_request.tenant_id
  AND t.run_id = input_request.run_id AND t.task_id = input_request.task_id AND t.map_index = input_request.map_index
  AND t.try_number = input_request.try_number AND t.state = 'awaiting_input')";

/// Microseconds of a day.
const DAY_US: i64 = 24 * 3600 * 1_000_000;

fn of_runs(scope: TenantScope, runs: &[RunId]) -> sea_orm::Select<task_instance::Entity> {
    task_instance::Entity::find()
        .filter(task_instance::Column::TenantId.eq(scope.tenant().0))
        .filter(task_instance::Column::RunId.is_in(runs.iter().map(|run| run.0)))
}

/// Those of the runs whose DAG may be seen.
fn seen(db: &Db, scope: TenantScope, runs: &[RunId], visible: &Visible) -> SelectStatement {
    run::Entity::find()
        .select_only()
        .column(run::Column::RunId)
        .filter(run::Column::TenantId.eq(scope.tenant().0))
        .filter(run::Column::RunId.is_in(runs.iter().map(|run| run.0)))
        .filter(visible.condition(db, scope.tenant().0, run::Column::DagId))
        .into_query()
}

fn unfinished(db: &Db, scope: TenantScope, visible: &Visible) -> SelectStatement {
    run::Entity::find()
        .select_only()
        .column(run::Column::RunId)
        .filter(run::Column::TenantId.eq(scope.tenant().0))
        .filter(run::Column::Finished.eq(false))
        .filter(visible.condition(db, scope.tenant().0, run::Column::DagId))
        .into_query()
}

fn state(text: &str) -> Result<TaskState, Error> {
    TaskState::parse(text).ok_or_else(|| Error::corrupt("task_instance", format!("state {text:?}")))
}

fn key(row: &task_instance::Model) -> String {
    format!("{} {}[{}]", row.run_id, row.task_id, row.map_index)
}

fn statement<const N: usize>(db: &Db, sql: &str, values: [Value; N]) -> Statement {
    Statement::from_sql_and_values(sea_orm::ConnectionTrait::get_database_backend(db.read()), sql, values)
}
