//! Runs as lists and pages show them.

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
    store::{Page, Window},
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
    if !filter.states.is_empty() {
        query = query.filter(run::Column::State.is_in(filter.states.iter().map(|state| state.as_str())));
    }
    if !filter.run_types.is_empty() {
        query = query.filter(run::Column::RunType.is_in(filter.run_types.iter().map(|kind| kind.as_str())));
    }
    if let Some(from) = filter.run_after_from {
        query = query.filter(run::Column::RunAfter.gte(from.0));
    }
    if let Some(to) = filter.run_after_to {
        query = query.filter(run::Column::RunAfter.lte(to.0));
    }
    if let Some(from) = filter.logical_date_from {
        query = query.filter(run::Column::LogicalDate.gte(from.0));
    }
    if let Some(to) = filter.logical_date_to {
        query = query.filter(run::Column::LogicalDate.lte(to.0));
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
    let rows = found.into_iter().map(|row| Ok(rows::Run::try_from(row)?.0)).collect::<Result<_, Error>>()?;
    Ok(Page { rows, total })
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
    found.map(|row| Ok(rows::Run::try_from(row)?.0)).transpose()
}

/// A run by its identity.
pub async fn by_id(db: &Db, scope: TenantScope, run: RunId) -> Result<Option<RunRow>, Error> {
    let found = run::Entity::find()
        .filter(run::Column::TenantId.eq(scope.tenant().0))
        .filter(run::Column::RunId.eq(run.0))
        .one(db.read())
        .await
        .doing("read a run")?;
    found.map(|row| Ok(rows::Run::try_from(row)?.0)).transpose()
}
