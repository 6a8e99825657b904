//! Task instances and their tries as lists and pages show them.

use dags::ids::{RunId, TaskId};
use engine::{
    rows::{AttemptRow, MemberRow, TaskRow},
    state::TaskState,
};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};

use crate::{
    db::Db,
    entity::{attempt, member, task_instance},
    error::{Doing as _, Error},
    rows,
    scope::TenantScope,
    store::{Page, Window, readable},
};

/// Which task instances of a run. An empty list doesn't restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskFilter {
    /// Of this task.
    pub task: Option<TaskId>,
    /// In one of these states.
    pub states: Vec<TaskState>,
}

/// The task instances of a run by task and map index.
pub async fn list(
    db: &Db,
    scope: TenantScope,
    run: RunId,
    filter: &TaskFilter,
    window: Window,
) -> Result<Page<TaskRow>, Error> {
    let doing = "list task instances";
    let mut query = task_instance::Entity::find()
        .filter(task_instance::Column::TenantId.eq(scope.tenant().0))
        .filter(task_instance::Column::RunId.eq(run.0));
    if let Some(task) = &filter.task {
        query = query.filter(task_instance::Column::TaskId.eq(task.as_str()));
    }
    if !filter.states.is_empty() {
        query = query
            .filter(task_instance::Column::State.is_in(filter.states.iter().map(|state| state.as_str())));
    }
    let total = query.clone().count(db.read()).await.doing(doing)?;
    let found = query
        .order_by_asc(task_instance::Column::TaskId)
        .order_by_asc(task_instance::Column::MapIndex)
        .limit(window.limit)
        .offset(window.offset)
        .all(db.read())
        .await
        .doing(doing)?;
    let rows = readable(
        found,
        |row| format!("{} {}[{}]", row.run_id, row.task_id, row.map_index),
        |row| Ok(rows::Task::try_from(row)?.0),
    );
    Ok(Page { rows, total })
}

/// One task instance.
pub async fn get(
    db: &Db,
    scope: TenantScope,
    run: RunId,
    task: &TaskId,
    map_index: i32,
) -> Result<Option<TaskRow>, Error> {
    let key = (scope.tenant().0, run.0, task.to_string(), map_index);
    let found = task_instance::Entity::find_by_id(key).one(db.read()).await.doing("read a task instance")?;
    found.map(|row| Ok(rows::Task::try_from(row)?.0)).transpose()
}

/// The tries of a task instance that are over and have a successor, oldest first. The current one is the task instance.
pub async fn tries(
    db: &Db,
    scope: TenantScope,
    run: RunId,
    task: &TaskId,
    map_index: i32,
) -> Result<Vec<AttemptRow>, Error> {
    let found = attempt::Entity::find()
        .filter(attempt::Column::TenantId.eq(scope.tenant().0))
        .filter(attempt::Column::RunId.eq(run.0))
        .filter(attempt::Column::TaskId.eq(task.as_str()))
        .filter(attempt::Column::MapIndex.eq(map_index))
        .order_by_asc(attempt::Column::TryNumber)
        .all(db.read())
        .await
        .doing("list the tries of a task instance")?;
    let key = |row: &attempt::Model| {
        format!("{} {}[{}] try {}", row.run_id, row.task_id, row.map_index, row.try_number)
    };
    Ok(readable(found, key, rows::attempt))
}

/// The members of a task instance's gangs that have started or ended, by try, dispatch and member.
pub async fn members(
    db: &Db,
    scope: TenantScope,
    run: RunId,
    task: &TaskId,
    map_index: i32,
) -> Result<Vec<MemberRow>, Error> {
    let found = member::Entity::find()
        .filter(member::Column::TenantId.eq(scope.tenant().0))
        .filter(member::Column::RunId.eq(run.0))
        .filter(member::Column::TaskId.eq(task.as_str()))
        .filter(member::Column::MapIndex.eq(map_index))
        .order_by_asc(member::Column::TryNumber)
        .order_by_asc(member::Column::DispatchN)
        .order_by_asc(member::Column::Member)
        .all(db.read())
        .await
        .doing("list the members of a task instance")?;
    let key = |row: &member::Model| {
        let (run, task, index, n) = (row.run_id, &row.task_id, row.map_index, row.try_number);
        format!("{run} {task}[{index}] try {n} member {}", row.member)
    };
    Ok(readable(found, key, rows::member))
}

/// How many task instances of a run are in each state.
pub async fn counts(db: &Db, scope: TenantScope, run: RunId) -> Result<Vec<(TaskState, u64)>, Error> {
    let found: Vec<(String, i64)> = task_instance::Entity::find()
        .select_only()
        .column(task_instance::Column::State)
        .column_as(task_instance::Column::MapIndex.count(), "n")
        .filter(task_instance::Column::TenantId.eq(scope.tenant().0))
        .filter(task_instance::Column::RunId.eq(run.0))
        .group_by(task_instance::Column::State)
        .order_by_asc(task_instance::Column::State)
        .into_tuple()
        .all(db.read())
        .await
        .doing("count task instances")?;
    let read = |(state, n): (String, i64)| {
        let known = TaskState::parse(&state);
        let known = known.ok_or_else(|| Error::corrupt("task_instance", format!("state {state:?}")))?;
        Ok((known, n as u64))
    };
    Ok(readable(found, |row| format!("task instances that are {}", row.0), read))
}
