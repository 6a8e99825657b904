//! Questions to people and their answers, as the engine's batches wrote them.

use dags::ids::{AttemptId, DagId, RunId, TaskId, TenantId};
use engine::rows::{INPUT_FORMAT, InputResponse, InputRow};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, QueryTrait as _,
};

use crate::{
    db::Db,
    entity::{input_request, run},
    error::{Doing as _, Error},
    rows,
    scope::TenantScope,
    store::{Page, Window, readable},
};

/// Which questions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InputFilter {
    /// Of this run.
    pub run: Option<RunId>,
    /// Of runs of this DAG.
    pub dag: Option<DagId>,
    /// Only answered ones, or only others.
    pub answered: Option<bool>,
}

/// Questions, newest first.
pub async fn list(
    db: &Db,
    scope: TenantScope,
    filter: &InputFilter,
    window: Window,
) -> Result<Page<InputRow>, Error> {
    let doing = "list questions to people";
    let mut query =
        input_request::Entity::find().filter(input_request::Column::TenantId.eq(scope.tenant().0));
    if let Some(run) = filter.run {
        query = query.filter(input_request::Column::RunId.eq(run.0));
    }
    if let Some(dag) = &filter.dag {
        let runs = run::Entity::find()
            .select_only()
            .column(run::Column::RunId)
            .filter(run::Column::TenantId.eq(scope.tenant().0))
            .filter(run::Column::DagId.eq(dag.as_str()))
            .into_query();
        query = query.filter(input_request::Column::RunId.in_subquery(runs));
    }
    query = match filter.answered {
        Some(true) => query.filter(input_request::Column::Response.is_not_null()),
        Some(false) => query.filter(input_request::Column::Response.is_null()),
        None => query,
    };
    let total = query.clone().count(db.read()).await.doing(doing)?;
    let found = query
        .order_by_desc(input_request::Column::CreatedAt)
        .order_by_asc(input_request::Column::AttemptId)
        .limit(window.limit)
        .offset(window.offset)
        .all(db.read())
        .await
        .doing(doing)?;
    Ok(Page { rows: readable(found, key, read), total })
}

/// The questions of a task instance, one for each try that asked, oldest first.
pub async fn of_task(
    db: &Db,
    scope: TenantScope,
    run: RunId,
    task: &TaskId,
    map_index: i32,
) -> Result<Vec<InputRow>, Error> {
    let found = input_request::Entity::find()
        .filter(input_request::Column::TenantId.eq(scope.tenant().0))
        .filter(input_request::Column::RunId.eq(run.0))
        .filter(input_request::Column::TaskId.eq(task.as_str()))
        .filter(input_request::Column::MapIndex.eq(map_index))
        .order_by_asc(input_request::Column::TryNumber)
        .all(db.read())
        .await
        .doing("read questions to people")?;
    Ok(readable(found, key, read))
}

fn key(row: &input_request::Model) -> String {
    format!("question of {} {}[{}] try {}", row.run_id, row.task_id, row.map_index, row.try_number)
}

/// What was answered to an attempt's question, if it was.
pub async fn response(
    db: &Db,
    scope: TenantScope,
    attempt: AttemptId,
) -> Result<Option<InputResponse>, Error> {
    let key = (scope.tenant().0, attempt.0);
    let found = input_request::Entity::find_by_id(key).one(db.read()).await.doing("read an answer")?;
    Ok(found.map(read).transpose()?.and_then(|row| row.response))
}

pub(crate) fn read(row: input_request::Model) -> Result<InputRow, Error> {
    let table = "input_request";
    rows::format(table, row.format, INPUT_FORMAT)?;
    Ok(InputRow {
        tenant: TenantId(row.tenant_id),
        run: RunId(row.run_id),
        task: rows::name(table, &row.task_id)?,
        map_index: row.map_index,
        attempt: AttemptId(row.attempt_id),
        try_number: row.try_number as u32,
        input: rows::json(table, &row.input)?,
        created_at: dags::time::Timestamp(row.created_at),
        respond_by: row.respond_by.map(dags::time::Timestamp),
        response: row.response.as_deref().map(|text| rows::json(table, text)).transpose()?,
    })
}
