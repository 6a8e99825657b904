//! What attempts returned. Readers see values of the current attempt only: after a clear or a new try, the old value is
//! there no more.

use dags::ids::{DispatchId, RunId, TaskId};
use engine::{dispatch::ResultRef, rows::ResultRow};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, QueryFilter as _,
    QueryOrder as _, Statement, sea_query::OnConflict,
};

use crate::{
    db::Db,
    entity::{result, task_instance},
    error::{Doing as _, Error},
    rows,
    scope::TenantScope,
};

/// The results of a task, one for each map index that has one, in the order of the indexes.
pub async fn of_task(
    db: &Db,
    scope: TenantScope,
    run: RunId,
    task: &TaskId,
) -> Result<Vec<ResultRow>, Error> {
    let doing = "read results";
    let found = result::Entity::find()
        .filter(result::Column::TenantId.eq(scope.tenant().0))
        .filter(result::Column::RunId.eq(run.0))
        .filter(result::Column::TaskId.eq(task.as_str()))
        .order_by_asc(result::Column::MapIndex)
        .all(db.read())
        .await
        .doing(doing)?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let current = task_instance::Entity::find()
        .filter(task_instance::Column::TenantId.eq(scope.tenant().0))
        .filter(task_instance::Column::RunId.eq(run.0))
        .filter(task_instance::Column::TaskId.eq(task.as_str()))
        .order_by_asc(task_instance::Column::MapIndex)
        .all(db.read())
        .await
        .doing(doing)?;
    let current =
        current.into_iter().map(|row| Ok(rows::Task::try_from(row)?.0)).collect::<Result<Vec<_>, Error>>()?;
    let found = found.into_iter().map(rows::result).collect::<Result<Vec<_>, _>>()?;
    Ok(found
        .into_iter()
        .filter(|result| {
            let instance = current.binary_search_by_key(&result.map_index, |task| task.map_index);
            instance.is_ok_and(|n| current[n].attempt() == result.attempt)
        })
        .collect())
}

/// The result of one task instance.
pub async fn get(
    db: &Db,
    scope: TenantScope,
    run: RunId,
    task: &TaskId,
    map_index: i32,
) -> Result<Option<ResultRow>, Error> {
    let doing = "read a result";
    let key = (scope.tenant().0, run.0, task.to_string(), map_index);
    let Some(found) = result::Entity::find_by_id(key.clone()).one(db.read()).await.doing(doing)? else {
        return Ok(None);
    };
    let Some(current) = task_instance::Entity::find_by_id(key).one(db.read()).await.doing(doing)? else {
        return Ok(None);
    };
    let (found, current) = (rows::result(found)?, rows::Task::try_from(current)?.0);
    Ok(Some(found).filter(|result| result.attempt == current.attempt()))
}

/// Stores a value that a running attempt sets before it ends. False if the dispatch isn't the current one: then nothing
/// was stored. The value that comes with the attempt's end replaces it.
pub async fn put(
    db: &Db,
    scope: TenantScope,
    run: RunId,
    task: &TaskId,
    map_index: i32,
    dispatch: DispatchId,
    value: &ResultRef,
) -> Result<bool, Error> {
    let doing = "store a result";
    let transaction = db.begin().await.doing(doing)?;
    // The lock orders this against the commit that would make another dispatch current.
    let sql = db.pick(
        "SELECT * FROM task_instance WHERE tenant_id = ?1 AND run_id = ?2 AND task_id = ?3 AND map_index = ?4",
        "SELECT * FROM task_instance WHERE tenant_id = $1 AND run_id = $2 AND task_id = $3 AND map_index = $4 FOR SHARE",
    );
    let key = [scope.tenant().0.into(), run.0.into(), task.as_str().into(), map_index.into()];
    let statement = Statement::from_sql_and_values(transaction.get_database_backend(), sql, key);
    let current =
        task_instance::Entity::find().from_raw_sql(statement).one(&transaction).await.doing(doing)?;
    let current = current.map(|row| Ok::<_, Error>(rows::Task::try_from(row)?.0)).transpose()?;
    let is_current = current.is_some_and(|row| {
        row.attempt() == dispatch.attempt && row.dispatch_n == dispatch.n && row.state.holds_slots()
    });
    if !is_current {
        transaction.rollback().await.doing(doing)?;
        return Ok(false);
    }
    let (inline, digest, bytes) = match value {
        ResultRef::Inline(value) => {
            let text = rows::to_json(value);
            let bytes = text.len() as i64;
            (Some(text), None, bytes)
        }
        ResultRef::Stored { digest, bytes } => (None, Some(digest.clone()), *bytes as i64),
    };
    result::Entity::insert(result::ActiveModel {
        tenant_id: Set(scope.tenant().0),
        run_id: Set(run.0),
        task_id: Set(task.to_string()),
        map_index: Set(map_index),
        attempt_id: Set(dispatch.attempt.0),
        value: Set(inline),
        digest: Set(digest),
        bytes: Set(bytes),
    })
    .on_conflict(
        OnConflict::columns([
            result::Column::TenantId,
            result::Column::RunId,
            result::Column::TaskId,
            result::Column::MapIndex,
        ])
        .update_columns([
            result::Column::AttemptId,
            result::Column::Value,
            result::Column::Digest,
            result::Column::Bytes,
        ])
        .to_owned(),
    )
    .exec_without_returning(&transaction)
    .await
    .doing(doing)?;
    transaction.commit().await.doing(doing)?;
    Ok(true)
}
