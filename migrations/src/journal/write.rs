//! One batch as set-based statements, in one transaction that the caller has begun and ends.
//!
//! What goes comes before what is new, so that a name that becomes free in a batch can be used in it.

use engine::rows::{Batch, Fence};
use sea_orm::{ConnectionTrait as _, Statement, Value};

use crate::{
    columns::{Both, Columns, Tx},
    db::Db,
    error::{Doing as _, Error},
};

mod alert;
mod asset;
mod backfill;
mod continuation;
mod dag;
mod delete;
mod event;
mod inbox;
mod input_request;
mod member;
mod pool;
mod quarantine;
mod quota;
mod result;
mod run;
mod task_instance;

/// Differing rows that a message names.
const DIFFERING_MAX: usize = 10;

/// Why a batch can't be written.
#[derive(Debug)]
pub(super) enum Refused {
    /// The shard's row doesn't have our epoch and the batch before this one.
    NotOurs,
    /// Fewer rows than the batch has were in the state that it expects.
    Count { doing: &'static str, expected: usize, touched: u64 },
    /// A statement failed.
    Statement { doing: &'static str, source: sqlx::Error },
}

/// Writes the batch; the fence first, so that the shard's row is locked before anything else is touched.
pub(super) async fn batch(tx: &mut Tx<'_>, fence: Fence, batch: &Batch) -> Result<(), Refused> {
    hold(tx, fence, batch).await?;
    rows(tx, fence, batch).await
}

/// The batch without the fence.
pub(super) async fn rows(tx: &mut Tx<'_>, fence: Fence, batch: &Batch) -> Result<(), Refused> {
    delete::runs(tx, &batch.deleted_runs).await?;
    delete::dags(tx, &batch.deleted_dags).await?;
    delete::pending_assets(tx, &batch.consumed_assets).await?;
    delete::tasks(tx, &batch.deleted_tasks).await?;
    pool::delete(tx, &batch.deleted_pools).await?;
    run::insert(tx, &batch.new_runs).await?;
    run::update(tx, &batch.runs).await?;
    task_instance::insert_attempts(tx, &batch.attempts).await?;
    task_instance::insert(tx, &batch.new_tasks).await?;
    task_instance::update(tx, &batch.tasks).await?;
    member::upsert(tx, &batch.members).await?;
    result::upsert(tx, &batch.results).await?;
    dag::upsert(tx, &batch.dags).await?;
    pool::upsert(tx, &batch.pools).await?;
    quota::write(tx, fence, &batch.quotas).await?;
    asset::insert(tx, fence, batch.number, &batch.asset_events).await?;
    asset::upsert_pending(tx, &batch.pending_assets).await?;
    backfill::upsert(tx, &batch.backfills).await?;
    event::insert(tx, fence, batch.number, &batch.events).await?;
    alert::insert(tx, &batch.alerts).await?;
    input_request::upsert(tx, &batch.inputs).await?;
    quarantine::write(tx, &batch.quarantine).await?;
    continuation::write(tx, fence, &batch.continuations).await?;
    inbox::take(tx, fence, batch).await
}

/// The fence.
async fn hold(tx: &mut Tx<'_>, fence: Fence, batch: &Batch) -> Result<(), Refused> {
    let doing = "hold the shard";
    let before = batch.number as i64 - 1;
    let touched = match tx {
        Tx::Sqlite(connection) => {
            let text =
                "UPDATE shard SET batch = batch + 1, now = ?4 WHERE id = ?1 AND epoch = ?2 AND batch = ?3";
            let query =
                sqlx::query(text).bind(fence.shard.0).bind(fence.epoch).bind(before).bind(batch.now.0);
            query.execute(&mut **connection).await.map(|done| done.rows_affected())
        }
        Tx::Postgres(connection) => {
            let text =
                "UPDATE shard SET batch = batch + 1, now = $4 WHERE id = $1 AND epoch = $2 AND batch = $3";
            let query =
                sqlx::query(text).bind(fence.shard.0).bind(fence.epoch).bind(before).bind(batch.now.0);
            query.execute(&mut **connection).await.map(|done| done.rows_affected())
        }
    };
    match touched {
        Ok(0) => Err(Refused::NotOurs),
        Ok(_) => Ok(()),
        Err(source) => Err(Refused::Statement { doing, source }),
    }
}

/// Runs a statement that must touch as many rows as the batch has.
async fn exactly<R>(
    tx: &mut Tx<'_>,
    both: &Both,
    columns: Columns<'_, R>,
    expected: usize,
) -> Result<(), Refused> {
    let doing = both.doing;
    let touched = columns.execute(tx, both).await.map_err(|source| Refused::Statement { doing, source })?;
    if touched == expected as u64 { Ok(()) } else { Err(Refused::Count { doing, expected, touched }) }
}

/// Runs a statement that may touch any number of rows.
async fn any_number<R>(tx: &mut Tx<'_>, both: &Both, columns: Columns<'_, R>) -> Result<(), Refused> {
    let doing = both.doing;
    columns.execute(tx, both).await.map(drop).map_err(|source| Refused::Statement { doing, source })
}

/// Rows with their places in the batch, the last part of a log's key.
fn numbered<R>(rows: &[R]) -> Vec<(i32, &R)> {
    rows.iter().zip(0..).map(|(row, n)| (n, row)).collect()
}

/// Which runs and task instances aren't in the states that a refused batch expects, in words.
///
/// Only read when a batch was refused, so it is one row at a time.
pub(super) async fn differing(db: &Db, batch: &Batch) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for changed in &batch.runs {
        let row = &changed.row;
        let sql = db.pick(
            "SELECT state FROM run WHERE run_id = ?1 AND tenant_id = ?2",
            "SELECT state FROM run WHERE run_id = $1 AND tenant_id = $2",
        );
        let state = state(db, sql, [row.run.0.into(), row.tenant.0.into()]).await?;
        if state.as_deref() != Some(changed.before.as_str()) {
            let (dag, name) = (&row.dag_id, &row.run_name);
            found.push(format!("run {} ({dag}, {name}): {}", row.run, words(changed.before.as_str(), state)));
        }
        if found.len() == DIFFERING_MAX {
            return Ok(found);
        }
    }
    for changed in &batch.tasks {
        let row = &changed.row;
        let sql = db.pick(
            "SELECT state FROM task_instance WHERE tenant_id = ?1 AND run_id = ?2 AND task_id = ?3 AND map_index = ?4",
            "SELECT state FROM task_instance WHERE tenant_id = $1 AND run_id = $2 AND task_id = $3 AND map_index = $4",
        );
        let key = [row.tenant.0.into(), row.run.0.into(), row.task.as_str().into(), row.map_index.into()];
        let state = state(db, sql, key).await?;
        if state.as_deref() != Some(changed.before.as_str()) {
            let (task, index) = (&row.task, row.map_index);
            found.push(format!(
                "task {task}[{index}] of run {}: {}",
                row.run,
                words(changed.before.as_str(), state)
            ));
        }
        if found.len() == DIFFERING_MAX {
            return Ok(found);
        }
    }
    Ok(found)
}

fn words(expected: &str, found: Option<String>) -> String {
    match found {
        Some(found) => format!("expected {expected}, found {found}"),
        None => format!("expected {expected}, found no row"),
    }
}

async fn state<const N: usize>(db: &Db, sql: &str, key: [Value; N]) -> Result<Option<String>, Error> {
    let doing = "find the rows that differ from the batch";
    let statement = Statement::from_sql_and_values(db.write().get_database_backend(), sql, key);
    let row = db.write().query_one_raw(statement).await.doing(doing)?;
    row.map(|row| row.try_get("", "state").doing(doing)).transpose()
}
