//! What is kept for how long, and deleting what isn't: finished runs by age, children first, a bounded number of rows at once.
//!
//! The engine marks a run before anything of it is deleted, in a batch of its own, so nobody works with it any more; whoever
//! deletes is the shard's owner. What was begun is found again by its mark. A run is kept, however old, as long as it is the
//! one that a later run's `depends_on_past` would look at.

use dags::{
    ids::{AttemptId, DagId, RunId, TaskId, TenantId},
    time::Timestamp,
};
use engine::rows::{Fence, RETIRED};
use sea_orm::{ConnectionTrait as _, QueryResult, Statement, Value};
use serde_json::json;
use uuid::Uuid;

use crate::{
    db::Db,
    error::{Doing as _, Error},
    scope::ShardScope,
    store::audit,
};

pub mod bundles;

/// The longest that can be said, in days.
pub const DAYS_MAX: u32 = 36_500;

/// A tenant of a shard with how long it keeps its finished runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Which tenant.
    pub tenant: TenantId,
    /// Its name.
    pub name: String,
    /// Days; 0 for ever. None if the service's setting holds.
    pub days: Option<u32>,
}

/// A run that is old enough to be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Old {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its DAG.
    pub dag_id: DagId,
    /// The run.
    pub run: RunId,
}

/// How far a look at a tenant's runs came; oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    run_after: i64,
    run: Uuid,
}

impl Place {
    /// Before everything.
    pub const START: Self = Self { run_after: i64::MIN, run: Uuid::nil() };
}

/// A try of which a log may be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// Its identity.
    pub attempt: AttemptId,
    /// The number of its last dispatch.
    pub dispatches: u32,
    /// Its members.
    pub members: u32,
}

/// Deletes some rows of a run from a table with that key, for SQLite and for PostgreSQL.
macro_rules! delete_some {
    ($table:literal, $key:literal) => {
        (
            concat!(
                "DELETE FROM ",
                $table,
                " WHERE (",
                $key,
                ") IN (SELECT ",
                $key,
                " FROM ",
                $table,
                " WHERE tenant_id = ?1 AND run_id = ?2 LIMIT ?3)
                AND EXISTS (SELECT 1 FROM shard WHERE id = ?4 AND epoch = ?5)"
            ),
            concat!(
                "DELETE FROM ",
                $table,
                " WHERE ctid = ANY (ARRAY(SELECT ctid FROM ",
                $table,
                " WHERE tenant_id = $1 AND run_id = $2 LIMIT $3))
                AND EXISTS (SELECT 1 FROM shard WHERE id = $4 AND epoch = $5)"
            ),
        )
    };
}

/// The same for the log of events, which is partitioned: where a row lies in a partition says nothing of the others.
const DELETE_EVENTS: (&str, &str) = (
    "DELETE FROM event WHERE (shard_id, batch, n) IN (SELECT shard_id, batch, n FROM event
        WHERE tenant_id = ?1 AND run_id = ?2 LIMIT ?3)
      AND EXISTS (SELECT 1 FROM shard WHERE id = ?4 AND epoch = ?5)",
    "DELETE FROM event AS t USING (SELECT tableoid, ctid FROM event WHERE tenant_id = $1 AND run_id = $2 LIMIT $3) AS n
      WHERE t.tenant_id = $1 AND t.run_id = $2 AND t.tableoid = n.tableoid AND t.ctid = n.ctid
      AND EXISTS (SELECT 1 FROM shard WHERE id = $4 AND epoch = $5)",
);

/// Empties the tables that hold rows of a run, in this order; the run itself comes last.
const CHILDREN: [(&str, &str); 8] = [
    delete_some!("task_instance", "tenant_id, run_id, task_id, map_index"),
    delete_some!("attempt", "tenant_id, run_id, task_id, map_index, try_number"),
    delete_some!("member", "tenant_id, run_id, task_id, map_index, try_number, dispatch_n, member"),
    delete_some!("attempt_claim", "attempt_id, n, member"),
    delete_some!("result", "tenant_id, run_id, task_id, map_index"),
    delete_some!("input_request", "tenant_id, attempt_id"),
    DELETE_EVENTS,
    delete_some!("alert", "tenant_id, id"),
];

async fn rows<const N: usize>(
    db: &Db,
    doing: &'static str,
    sql: (&str, &str),
    values: [Value; N],
) -> Result<Vec<QueryResult>, Error> {
    let statement =
        Statement::from_sql_and_values(db.read().get_database_backend(), db.pick(sql.0, sql.1), values);
    db.read().query_all_raw(statement).await.doing(doing)
}

async fn change<const N: usize>(
    db: &Db,
    doing: &'static str,
    sql: (&str, &str),
    values: [Value; N],
) -> Result<u64, Error> {
    let statement =
        Statement::from_sql_and_values(db.write().get_database_backend(), db.pick(sql.0, sql.1), values);
    Ok(db.write().execute_raw(statement).await.doing(doing)?.rows_affected())
}

/// How long each tenant of the shard keeps its finished runs, deleted tenants included.
pub async fn policies(db: &Db, scope: ShardScope) -> Result<Vec<Kept>, Error> {
    let doing = "read how long tenants keep their runs";
    let sql = (
        "SELECT id, name, retention_days FROM tenant WHERE shard_id = ?1 ORDER BY name",
        "SELECT id, name, retention_days FROM tenant WHERE shard_id = $1 ORDER BY name",
    );
    let found = rows(db, doing, sql, [scope.shard().0.into()]).await?;
    let read = |row: &QueryResult| {
        let days: Option<i32> = row.try_get("", "retention_days").doing(doing)?;
        let tenant = TenantId(row.try_get("", "id").doing(doing)?);
        let name = row.try_get("", "name").doing(doing)?;
        Ok(Kept { tenant, name, days: days.map(i32::unsigned_abs) })
    };
    found.iter().map(read).collect()
}

/// How long a tenant keeps its finished runs: days, 0 for ever, none as the service's setting says.
pub async fn policy(db: &Db, tenant: TenantId) -> Result<Option<u32>, Error> {
    let doing = "read how long a tenant keeps its runs";
    let sql = (
        "SELECT retention_days FROM tenant WHERE id = ?1",
        "SELECT retention_days FROM tenant WHERE id = $1",
    );
    let found = rows(db, doing, sql, [tenant.0.into()]).await?;
    let Some(row) = found.first() else { return Ok(None) };
    let days: Option<i32> = row.try_get("", "retention_days").doing(doing)?;
    Ok(days.map(i32::unsigned_abs))
}

/// How long a tenant keeps its finished runs: days, 0 for ever, none as the service's setting says. False if there is no such
/// tenant.
pub async fn set_policy(db: &Db, actor: &str, tenant: TenantId, days: Option<u32>) -> Result<bool, Error> {
    let doing = "set how long a tenant keeps its runs";
    let stored = days.map(|days| days.min(DAYS_MAX) as i32);
    let sql = (
        "UPDATE tenant SET retention_days = ?2 WHERE id = ?1",
        "UPDATE tenant SET retention_days = $2 WHERE id = $1",
    );
    let now = db.now().await?.0;
    let transaction = db.begin().await.doing(doing)?;
    let backend = db.write().get_database_backend();
    let statement =
        Statement::from_sql_and_values(backend, db.pick(sql.0, sql.1), [tenant.0.into(), stored.into()]);
    let changed = transaction.execute_raw(statement).await.doing(doing)?.rows_affected();
    let payload = json!({ "tenant": tenant.0, "days": days });
    audit::note(&transaction, audit::PLATFORM, now, actor, "set_retention", &payload).await?;
    transaction.commit().await.doing(doing)?;
    Ok(changed > 0)
}

/// Looks at the next `limit` runs of a tenant that were due before an instant, oldest first: those among them that have ended
/// before it and that nothing needs, and where to go on; none at the end.
pub async fn old(
    db: &Db,
    scope: ShardScope,
    tenant: TenantId,
    before: Timestamp,
    from: Place,
    limit: u32,
) -> Result<(Vec<Old>, Option<Place>), Error> {
    let doing = "look for runs that aren't kept any more";
    // The newest finished run with a logical date below every unfinished one is what `depends_on_past` looks at, with and
    // without manual runs among them; so are all that are newer.
    let sql = (
        "SELECT r.run_id, r.dag_id, r.run_after, (r.finished AND r.ended_at < ?2 AND r.quarantine IS NULL AND (
            r.logical_date IS NULL OR EXISTS (
              SELECT 1 FROM run AS k WHERE k.tenant_id = r.tenant_id AND k.dag_id = r.dag_id
                AND k.logical_date > r.logical_date AND k.finished AND k.quarantine IS NULL
                AND (r.run_type = 'manual' OR k.run_type <> 'manual')
                AND NOT EXISTS (SELECT 1 FROM run AS u WHERE u.tenant_id = r.tenant_id AND u.dag_id = r.dag_id
                  AND NOT u.finished AND u.logical_date <= k.logical_date)))) AS old
          FROM run AS r JOIN tenant AS t ON t.id = r.tenant_id
          WHERE r.tenant_id = ?1 AND t.shard_id = ?6 AND r.run_after < ?2 AND (r.run_after, r.run_id) > (?3, ?4)
          ORDER BY r.run_after, r.run_id LIMIT ?5",
        "SELECT r.run_id, r.dag_id, r.run_after, (r.finished AND r.ended_at < $2 AND r.quarantine IS NULL AND (
            r.logical_date IS NULL OR EXISTS (
              SELECT 1 FROM run AS k WHERE k.tenant_id = r.tenant_id AND k.dag_id = r.dag_id
                AND k.logical_date > r.logical_date AND k.finished AND k.quarantine IS NULL
                AND (r.run_type = 'manual' OR k.run_type <> 'manual')
                AND NOT EXISTS (SELECT 1 FROM run AS u WHERE u.tenant_id = r.tenant_id AND u.dag_id = r.dag_id
                  AND NOT u.finished AND u.logical_date <= k.logical_date)))) AS old
          FROM run AS r JOIN tenant AS t ON t.id = r.tenant_id
          WHERE r.tenant_id = $1 AND t.shard_id = $6 AND r.run_after < $2 AND (r.run_after, r.run_id) > ($3, $4)
          ORDER BY r.run_after, r.run_id LIMIT $5",
    );
    let values = [
        tenant.0.into(),
        before.0.into(),
        from.run_after.into(),
        from.run.into(),
        i64::from(limit).into(),
        scope.shard().0.into(),
    ];
    let found = rows(db, doing, sql, values).await?;
    let (mut old, mut last) = (Vec::new(), None);
    for row in &found {
        let run: Uuid = row.try_get("", "run_id").doing(doing)?;
        last = Some(Place { run_after: row.try_get("", "run_after").doing(doing)?, run });
        if row.try_get::<bool>("", "old").doing(doing)? {
            let dag_id: String = row.try_get("", "dag_id").doing(doing)?;
            // A name that is none is for `updraft doctor`.
            let Ok(dag_id) = DagId::parse(&dag_id) else { continue };
            old.push(Old { tenant, dag_id, run: RunId(run) });
        }
    }
    Ok((old, last.filter(|_| found.len() as u64 == u64::from(limit))))
}

/// Runs that are marked: to be deleted, or begun to be.
pub async fn marked(db: &Db, scope: ShardScope, limit: u32) -> Result<Vec<(TenantId, RunId)>, Error> {
    let doing = "look for runs that are being deleted";
    let sql = (
        "SELECT r.tenant_id, r.run_id FROM run AS r JOIN tenant AS t ON t.id = r.tenant_id
          WHERE r.quarantine IS NOT NULL AND r.quarantine = ?1 AND t.shard_id = ?2 AND r.finished LIMIT ?3",
        "SELECT r.tenant_id, r.run_id FROM run AS r JOIN tenant AS t ON t.id = r.tenant_id
          WHERE r.quarantine IS NOT NULL AND r.quarantine = $1 AND t.shard_id = $2 AND r.finished LIMIT $3",
    );
    let values = [RETIRED.into(), scope.shard().0.into(), i64::from(limit).into()];
    let found = rows(db, doing, sql, values).await?;
    let read = |row: &QueryResult| {
        let tenant = TenantId(row.try_get("", "tenant_id").doing(doing)?);
        Ok((tenant, RunId(row.try_get("", "run_id").doing(doing)?)))
    };
    found.iter().map(read).collect()
}

/// Some tries of a marked run whose rows are still there.
pub async fn tried(db: &Db, tenant: TenantId, run: RunId, limit: u32) -> Result<Vec<Tried>, Error> {
    let doing = "look for what a run's tries left";
    let sql = (
        "SELECT task_id, map_index, try_number, dispatch_n, members FROM (
            SELECT task_id, map_index, try_number, dispatch_n, members FROM task_instance
              WHERE tenant_id = ?1 AND run_id = ?2 LIMIT ?3)
          UNION ALL SELECT task_id, map_index, try_number, dispatch_n, members FROM (
            SELECT task_id, map_index, try_number, dispatch_n, members FROM attempt
              WHERE tenant_id = ?1 AND run_id = ?2 LIMIT ?3)",
        "SELECT task_id, map_index, try_number, dispatch_n, members FROM (
            SELECT task_id, map_index, try_number, dispatch_n, members FROM task_instance
              WHERE tenant_id = $1 AND run_id = $2 LIMIT $3) AS i
          UNION ALL SELECT task_id, map_index, try_number, dispatch_n, members FROM (
            SELECT task_id, map_index, try_number, dispatch_n, members FROM attempt
              WHERE tenant_id = $1 AND run_id = $2 LIMIT $3) AS a",
    );
    let found = rows(db, doing, sql, [tenant.0.into(), run.0.into(), i64::from(limit).into()]).await?;
    let mut tried = Vec::new();
    for row in &found {
        let task: String = row.try_get("", "task_id").doing(doing)?;
        let Ok(task) = TaskId::parse(&task) else { continue };
        let map_index: i32 = row.try_get("", "map_index").doing(doing)?;
        let try_number: i32 = row.try_get("", "try_number").doing(doing)?;
        let dispatches: i32 = row.try_get("", "dispatch_n").doing(doing)?;
        let members: i32 = row.try_get("", "members").doing(doing)?;
        let attempt = AttemptId::derive(run, &task, map_index, try_number.max(0) as u32);
        let (dispatches, members) = (dispatches.max(0) as u32, members.max(1) as u32);
        tried.push(Tried { attempt, dispatches, members });
    }
    Ok(tried)
}

/// The large results of a marked run.
pub async fn digests(db: &Db, tenant: TenantId, run: RunId) -> Result<Vec<String>, Error> {
    let doing = "look for a run's large results";
    let sql = (
        "SELECT DISTINCT digest FROM result WHERE tenant_id = ?1 AND run_id = ?2 AND digest IS NOT NULL",
        "SELECT DISTINCT digest FROM result WHERE tenant_id = $1 AND run_id = $2 AND digest IS NOT NULL",
    );
    let found = rows(db, doing, sql, [tenant.0.into(), run.0.into()]).await?;
    found.iter().map(|row| row.try_get("", "digest").doing(doing)).collect()
}

/// Whether a result names this object.
pub async fn names(db: &Db, digest: &str) -> Result<bool, Error> {
    let sql = (
        "SELECT 1 AS one FROM result WHERE digest = ?1 LIMIT 1",
        "SELECT 1 AS one FROM result WHERE digest = $1 LIMIT 1",
    );
    Ok(!rows(db, "look for who names a large result", sql, [digest.into()]).await?.is_empty())
}

/// Deletes at most `limit` rows of a marked run, children first, and says how many; 0 when the run itself is gone, or when we
/// don't own the shard any more.
pub async fn delete_some(
    db: &Db,
    fence: Fence,
    tenant: TenantId,
    run: RunId,
    limit: u32,
) -> Result<u64, Error> {
    let doing = "delete a run that isn't kept any more";
    for sql in CHILDREN {
        let values = [
            tenant.0.into(),
            run.0.into(),
            i64::from(limit).into(),
            fence.shard.0.into(),
            fence.epoch.into(),
        ];
        let deleted = change(db, doing, sql, values).await?;
        if deleted > 0 {
            return Ok(deleted);
        }
    }
    let sql = (
        "DELETE FROM run WHERE tenant_id = ?1 AND run_id = ?2 AND finished AND quarantine = ?3
          AND EXISTS (SELECT 1 FROM shard WHERE id = ?4 AND epoch = ?5)",
        "DELETE FROM run WHERE tenant_id = $1 AND run_id = $2 AND finished AND quarantine = $3
          AND EXISTS (SELECT 1 FROM shard WHERE id = $4 AND epoch = $5)",
    );
    let values = [tenant.0.into(), run.0.into(), RETIRED.into(), fence.shard.0.into(), fence.epoch.into()];
    change(db, doing, sql, values).await?;
    Ok(0)
}

/// Deletes at most `limit` rows of each table that only tells what was, older than an instant: requests that were taken, what
/// became of alerts, workers that have ended or are lost. Says how many.
pub async fn delete_leftovers(db: &Db, fence: Fence, before: Timestamp, limit: u32) -> Result<u64, Error> {
    let doing = "delete what is over";
    let texts = [
        (
            "DELETE FROM inbox WHERE id IN (SELECT id FROM inbox WHERE taken_in_batch IS NOT NULL AND created_at < ?1
              AND shard_id = ?3 ORDER BY id LIMIT ?2) AND EXISTS (SELECT 1 FROM shard WHERE id = ?3 AND epoch = ?4)",
            "DELETE FROM inbox WHERE id IN (SELECT id FROM inbox WHERE taken_in_batch IS NOT NULL AND created_at < $1
              AND shard_id = $3 ORDER BY id LIMIT $2) AND EXISTS (SELECT 1 FROM shard WHERE id = $3 AND epoch = $4)",
        ),
        (
            "DELETE FROM worker WHERE id IN (SELECT id FROM worker WHERE ended_at < ?1 OR lost_at < ?1 LIMIT ?2)
              AND EXISTS (SELECT 1 FROM shard WHERE id = ?3 AND epoch = ?4)",
            "DELETE FROM worker WHERE id IN (SELECT id FROM worker WHERE ended_at < $1 OR lost_at < $1 LIMIT $2)
              AND EXISTS (SELECT 1 FROM shard WHERE id = $3 AND epoch = $4)",
        ),
    ];
    let mut deleted = 0;
    for text in texts {
        let values = [before.0.into(), i64::from(limit).into(), fence.shard.0.into(), fence.epoch.into()];
        deleted += change(db, doing, text, values).await?;
    }
    Ok(deleted)
}
