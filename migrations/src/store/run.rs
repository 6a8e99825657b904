//! Runs as lists and pages show them.

use std::collections::{BTreeMap, BTreeSet};

use dags::{
    ids::{DagId, RunId, RunName},
    time::Timestamp,
};
use engine::{
    rows::{RunRow, RunType},
    state::RunState,
};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, Order, PaginatorTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, sea_query::NullOrdering,
};

use crate::{
    db::Db,
    entity::run,
    error::{Doing as _, Error},
    policy::Visible,
    rows,
    scope::TenantScope,
    store::{Page, Window, readable},
};

/// What a list of runs is ordered by; runs without that instant come last in a falling order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RunOrder {
    /// When they are due.
    #[default]
    RunAfter,
    /// What they stand for.
    LogicalDate,
    /// When they started.
    StartedAt,
    /// When they ended.
    EndedAt,
}

/// Which runs. An empty list doesn't restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Of this DAG.
    pub dag_id: Option<DagId>,
    /// Of one of these DAGs.
    pub dag_ids: Vec<DagId>,
    /// In one of these states.
    pub states: Vec<RunState>,
    /// Of one of these types.
    pub run_types: Vec<RunType>,
    /// Due at or after this instant.
    pub run_after_from: Option<Timestamp>,
    /// Due at or before this instant.
    pub run_after_to: Option<Timestamp>,
    /// Standing for an instant at or after this one.
    pub logical_date_from: Option<Timestamp>,
    /// Standing for an instant at or before this one.
    pub logical_date_to: Option<Timestamp>,
    /// Started at or after this instant.
    pub started_from: Option<Timestamp>,
    /// Started at or before this instant.
    pub started_to: Option<Timestamp>,
    /// Ended at or after this instant.
    pub ended_from: Option<Timestamp>,
    /// Ended at or before this instant.
    pub ended_to: Option<Timestamp>,
    /// Made by this backfill.
    pub backfill: Option<i64>,
    /// Of these DAGs; none for the service itself, which sees all.
    pub visible: Option<Visible>,
    /// The order.
    pub order: RunOrder,
    /// From the first to the last instead of from the last to the first.
    pub ascending: bool,
}

/// Runs in the order of the filter: those that are due last first unless it says otherwise.
pub async fn list(
    db: &Db,
    scope: TenantScope,
    filter: &RunFilter,
    window: Window,
) -> Result<Page<RunRow>, Error> {
    let doing = "list runs";
    let mut query = run::Entity::find().filter(run::Column::TenantId.eq(scope.tenant().0));
    if let Some(dag) = &filter.dag_id {
        query = query.filter(run::Column::DagId.eq(dag.as_str()));
    }
    if !filter.dag_ids.is_empty() {
        query = query.filter(run::Column::DagId.is_in(filter.dag_ids.iter().map(DagId::as_str)));
    }
    if !filter.states.is_empty() {
        query = query.filter(run::Column::State.is_in(filter.states.iter().map(|state| state.as_str())));
    }
    if !filter.run_types.is_empty() {
        query = query.filter(run::Column::RunType.is_in(filter.run_types.iter().map(|kind| kind.as_str())));
    }
    let ranges = [
        (run::Column::RunAfter, filter.run_after_from, filter.run_after_to),
        (run::Column::LogicalDate, filter.logical_date_from, filter.logical_date_to),
        (run::Column::StartedAt, filter.started_from, filter.started_to),
        (run::Column::EndedAt, filter.ended_from, filter.ended_to),
    ];
    for (column, from, to) in ranges {
        if let Some(from) = from {
            query = query.filter(column.gte(from.0));
        }
        if let Some(to) = to {
            query = query.filter(column.lte(to.0));
        }
    }
    if let Some(backfill) = filter.backfill {
        query = query.filter(run::Column::BackfillId.eq(backfill));
    }
    if let Some(visible) = &filter.visible {
        query = query.filter(visible.condition(db, scope.tenant().0, run::Column::DagId));
    }
    let total = query.clone().count(db.read()).await.doing(doing)?;
    let column = match filter.order {
        RunOrder::RunAfter => run::Column::RunAfter,
        RunOrder::LogicalDate => run::Column::LogicalDate,
        RunOrder::StartedAt => run::Column::StartedAt,
        RunOrder::EndedAt => run::Column::EndedAt,
    };
    let (order, nulls) =
        if filter.ascending { (Order::Asc, NullOrdering::First) } else { (Order::Desc, NullOrdering::Last) };
    let query = match filter.order {
        // Never null: said plainly, so that the index serves.
        RunOrder::RunAfter => query.order_by(column, order.clone()),
        _ => query.order_by_with_nulls(column, order.clone(), nulls),
    };
    let found = query
        .order_by(run::Column::RunId, order)
        .limit(window.limit)
        .offset(window.offset)
        .all(db.read())
        .await
        .doing(doing)?;
    Ok(Page { rows: readable(found, |row| row.run_id.to_string(), shown), total })
}

/// A run by its name.
pub async fn by_name(
    db: &Db,
    scope: TenantScope,
    dag: &DagId,
    name: &RunName,
) -> Result<Option<RunRow>, Error> {
    let found = run::Entity::find()
        .filter(run::Column::TenantId.eq(scope.tenant().0))
        .filter(run::Column::DagId.eq(dag.as_str()))
        .filter(run::Column::RunName.eq(name.as_str()))
        .one(db.read())
        .await
        .doing("read a run")?;
    found.map(shown).transpose()
}

/// The newest successful run of a DAG that stands for a date before another.
pub async fn previous_success(
    db: &Db,
    scope: TenantScope,
    dag: &DagId,
    before: Timestamp,
) -> Result<Option<RunRow>, Error> {
    let found = run::Entity::find()
        .filter(run::Column::TenantId.eq(scope.tenant().0))
        .filter(run::Column::DagId.eq(dag.as_str()))
        .filter(run::Column::LogicalDate.lt(before.0))
        .filter(run::Column::State.eq(RunState::Success.as_str()))
        .order_by_desc(run::Column::LogicalDate)
        .one(db.read())
        .await
        .doing("read the run before a run")?;
    found.map(shown).transpose()
}

/// The DAGs and names of runs, those that are still there.
pub async fn names(
    db: &Db,
    scope: TenantScope,
    runs: &BTreeSet<RunId>,
) -> Result<BTreeMap<RunId, (DagId, RunName)>, Error> {
    let found: Vec<(uuid::Uuid, String, String)> = run::Entity::find()
        .select_only()
        .columns([run::Column::RunId, run::Column::DagId, run::Column::RunName])
        .filter(run::Column::TenantId.eq(scope.tenant().0))
        .filter(run::Column::RunId.is_in(runs.iter().map(|run| run.0)))
        .into_tuple()
        .all(db.read())
        .await
        .doing("read the names of runs")?;
    let read = |(run, dag, name): (uuid::Uuid, String, String)| {
        Ok((RunId(run), (rows::name("run", &dag)?, rows::name("run", &name)?)))
    };
    found.into_iter().map(read).collect()
}

/// A run as it is shown: one whose documents can't be read without them, with the reason.
pub(super) fn shown(row: run::Model) -> Result<RunRow, Error> {
    let unreadable = match rows::Run::try_from(row.clone()) {
        Ok(read) => return Ok(read.0),
        Err(why) => why,
    };
    let quarantine = row.quarantine.clone().or(Some(String::new()));
    let mut read = rows::Run::try_from(run::Model { quarantine, ..row })?.0;
    read.reason = Some(format!("unreadable: {unreadable}").into());
    Ok(read)
}

/// A run by its identity, whole.
pub async fn by_id(db: &Db, scope: TenantScope, run: RunId) -> Result<Option<RunRow>, Error> {
    let found = run::Entity::find()
        .filter(run::Column::TenantId.eq(scope.tenant().0))
        .filter(run::Column::RunId.eq(run.0))
        .one(db.read())
        .await
        .doing("read a run")?;
    found.map(|row| Ok(rows::Run::try_from(row)?.0)).transpose()
}

/// Those of some runs that are there and can be read, whole. [`by_id`] says what is wrong with one that can't.
pub async fn by_ids(db: &Db, scope: TenantScope, runs: &BTreeSet<RunId>) -> Result<Vec<RunRow>, Error> {
    let found = run::Entity::find()
        .filter(run::Column::TenantId.eq(scope.tenant().0))
        .filter(run::Column::RunId.is_in(runs.iter().map(|run| run.0)))
        .all(db.read())
        .await
        .doing("read runs")?;
    Ok(found.into_iter().filter_map(|row| rows::Run::try_from(row).ok()).map(|row| row.0).collect())
}

/// How many runs each DAG has in each state, for DAGs that have any, by DAG. An empty list of DAGs doesn't restrict.
pub async fn counts(
    db: &Db,
    scope: TenantScope,
    dags: &[DagId],
    visible: &Visible,
) -> Result<BTreeMap<DagId, BTreeMap<RunState, u64>>, Error> {
    let mut query = run::Entity::find()
        .select_only()
        .column(run::Column::DagId)
        .column(run::Column::State)
        .column_as(run::Column::RunId.count(), "n")
        .filter(run::Column::TenantId.eq(scope.tenant().0))
        .filter(visible.condition(db, scope.tenant().0, run::Column::DagId));
    if !dags.is_empty() {
        query = query.filter(run::Column::DagId.is_in(dags.iter().map(DagId::as_str)));
    }
    let found: Vec<(String, String, i64)> = query
        .group_by(run::Column::DagId)
        .group_by(run::Column::State)
        .into_tuple()
        .all(db.read())
        .await
        .doing("count the runs of DAGs")?;
    let mut counts: BTreeMap<DagId, BTreeMap<RunState, u64>> = BTreeMap::new();
    let read = |(dag, state, n): (String, String, i64)| {
        let dag_id = rows::name::<DagId>("run", &dag)?;
        let known = RunState::parse(&state);
        Ok((dag_id, known.ok_or_else(|| Error::corrupt("run", format!("state {state:?}")))?, n as u64))
    };
    for (dag, state, n) in readable(found, |row| format!("runs of {} that are {}", row.0, row.1), read) {
        counts.entry(dag).or_default().insert(state, n);
    }
    Ok(counts)
}
