//! The log of transitions, read in the order of commits.

use dags::ids::{RunId, ShardId};
use engine::rows::EventRow;
use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};

use crate::{
    db::Db,
    entity::event,
    error::{Doing as _, Error},
    rows,
    scope::TenantScope,
    store::readable,
};

/// A place in a shard's log: everything up to it was read. The batch is the fenced counter of the commit, so nothing
/// appears below a cursor later on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct EventCursor {
    /// The batch.
    pub batch: u64,
    /// The event within the batch.
    pub n: i32,
}

impl EventCursor {
    /// After everything in that batch.
    pub const fn after(batch: u64) -> Self {
        Self { batch, n: i32::MAX }
    }
}

/// The next events of a shard after a cursor, oldest first, with the cursor after each.
pub async fn since(
    db: &Db,
    scope: TenantScope,
    shard: ShardId,
    cursor: EventCursor,
    limit: u64,
) -> Result<Vec<(EventCursor, EventRow)>, Error> {
    let batch = cursor.batch as i64;
    let found = event::Entity::find()
        .filter(event::Column::ShardId.eq(shard.0))
        .filter(event::Column::TenantId.eq(scope.tenant().0))
        .filter(event::Column::Batch.gte(batch))
        .filter(Condition::any().add(event::Column::Batch.gt(batch)).add(event::Column::N.gt(cursor.n)))
        .order_by_asc(event::Column::Batch)
        .order_by_asc(event::Column::N)
        .limit(limit)
        .all(db.read())
        .await
        .doing("read events")?;
    let read =
        |row: event::Model| Ok((EventCursor { batch: row.batch as u64, n: row.n }, rows::event(&row)?));
    Ok(readable(found, key, read))
}

/// The history of one run, oldest first.
pub async fn of_run(db: &Db, scope: TenantScope, run: RunId) -> Result<Vec<EventRow>, Error> {
    let found = event::Entity::find()
        .filter(event::Column::TenantId.eq(scope.tenant().0))
        .filter(event::Column::RunId.eq(run.0))
        .order_by_asc(event::Column::At)
        .order_by_asc(event::Column::Batch)
        .order_by_asc(event::Column::N)
        .all(db.read())
        .await
        .doing("read the history of a run")?;
    Ok(readable(found, key, |row| rows::event(&row)))
}

/// The latest events of some runs, the last first.
pub async fn of_runs(
    db: &Db,
    scope: TenantScope,
    runs: &[RunId],
    limit: u64,
) -> Result<Vec<EventRow>, Error> {
    let found = event::Entity::find()
        .filter(event::Column::TenantId.eq(scope.tenant().0))
        .filter(event::Column::RunId.is_in(runs.iter().map(|run| run.0)))
        .order_by_desc(event::Column::Batch)
        .order_by_desc(event::Column::N)
        .limit(limit)
        .all(db.read())
        .await
        .doing("read the history of runs")?;
    Ok(readable(found, key, |row| rows::event(&row)))
}

fn key(row: &event::Model) -> String {
    format!("event {}-{} of run {}", row.batch, row.n, row.run_id)
}
