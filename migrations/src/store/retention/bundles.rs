//! Bundles and versions of DAGs that nothing names any more.
//!
//! Whoever stores one that is there already says so in its row, so what is about to be activated isn't old. What a run or a DAG
//! names stays. Where a request to activate a bundle has waited for so long that what it names may have become old (no owner was there),
//! all bundles and versions of its tenant do; the day in these statements lies between storing one and asking for it at most.

use dags::{ids::BundleId, time::Timestamp};
use engine::rows::Fence;
use sea_orm::{ConnectionTrait as _, Statement, Value};

use super::{change, rows};
use crate::{
    db::Db,
    error::{Doing as _, Error},
};

fn values(fence: Fence, before: Timestamp, limit: u32) -> [Value; 4] {
    [before.0.into(), i64::from(limit).into(), fence.shard.0.into(), fence.epoch.into()]
}

/// Deletes at most `limit` versions of DAGs that were stored before an instant and that no run and no DAG has, and says how many; 0
/// when we don't own the shard any more. The newest version of a DAG stays, so that no number is given twice.
pub async fn delete_versions(db: &Db, fence: Fence, before: Timestamp, limit: u32) -> Result<u64, Error> {
    let sql = (
        "DELETE FROM dag_version AS v WHERE (tenant_id, dag_id, version) IN (
            SELECT c.tenant_id, c.dag_id, c.version FROM dag_version AS c JOIN tenant AS t ON t.id = c.tenant_id
            WHERE t.shard_id = ?3 AND coalesce(c.stored_at, c.created_at) < ?1
              AND NOT EXISTS (SELECT 1 FROM dag AS d
                WHERE d.tenant_id = c.tenant_id AND d.dag_id = c.dag_id AND d.version = c.version)
              AND NOT EXISTS (SELECT 1 FROM run AS r
                WHERE r.tenant_id = c.tenant_id AND r.version = c.version AND r.dag_id = c.dag_id)
              AND (EXISTS (SELECT 1 FROM dag_version AS n
                  WHERE n.tenant_id = c.tenant_id AND n.dag_id = c.dag_id AND n.number > c.number)
                OR NOT EXISTS (SELECT 1 FROM dag AS d WHERE d.tenant_id = c.tenant_id AND d.dag_id = c.dag_id))
              AND NOT EXISTS (SELECT 1 FROM inbox AS i
                WHERE i.tenant_id = c.tenant_id AND i.kind = 'activate_bundle' AND i.taken_in_batch IS NULL
                  AND i.created_at - 86400000000 < ?1)
            LIMIT ?2)
          AND EXISTS (SELECT 1 FROM shard WHERE id = ?3 AND epoch = ?4)",
        // Whoever stores it at this moment has written `stored_at`, which is looked at once more when their transaction is over.
        "DELETE FROM dag_version AS v USING (
            SELECT c.tenant_id, c.dag_id, c.version FROM dag_version AS c JOIN tenant AS t ON t.id = c.tenant_id
            WHERE t.shard_id = $3 AND coalesce(c.stored_at, c.created_at) < $1
              AND NOT EXISTS (SELECT 1 FROM dag AS d
                WHERE d.tenant_id = c.tenant_id AND d.dag_id = c.dag_id AND d.version = c.version)
              AND NOT EXISTS (SELECT 1 FROM run AS r
                WHERE r.tenant_id = c.tenant_id AND r.version = c.version AND r.dag_id = c.dag_id)
              AND (EXISTS (SELECT 1 FROM dag_version AS n
                  WHERE n.tenant_id = c.tenant_id AND n.dag_id = c.dag_id AND n.number > c.number)
                OR NOT EXISTS (SELECT 1 FROM dag AS d WHERE d.tenant_id = c.tenant_id AND d.dag_id = c.dag_id))
              AND NOT EXISTS (SELECT 1 FROM inbox AS i
                WHERE i.tenant_id = c.tenant_id AND i.kind = 'activate_bundle' AND i.taken_in_batch IS NULL
                  AND i.created_at - 86400000000 < $1)
            LIMIT $2) AS o
          WHERE v.tenant_id = o.tenant_id AND v.dag_id = o.dag_id AND v.version = o.version
            AND coalesce(v.stored_at, v.created_at) < $1
            AND EXISTS (SELECT 1 FROM shard WHERE id = $3 AND epoch = $4)",
    );
    change(db, "delete versions of DAGs that nothing names", sql, values(fence, before, limit)).await
}

/// Deletes at most `limit` bundles that were stored and activated before an instant and that no run, no DAG and no version has, and
/// says which; none when we don't own the shard any more. The one that is active stays, also without a DAG.
pub async fn delete_bundles(
    db: &Db,
    fence: Fence,
    before: Timestamp,
    limit: u32,
) -> Result<Vec<BundleId>, Error> {
    let doing = "delete bundles that nothing names";
    let sql = (
        "DELETE FROM bundle AS b WHERE (tenant_id, digest) IN (
            SELECT c.tenant_id, c.digest FROM bundle AS c JOIN tenant AS t ON t.id = c.tenant_id
            WHERE t.shard_id = ?3 AND coalesce(c.stored_at, c.created_at) < ?1 AND coalesce(c.activated_at, 0) < ?1
              AND (c.activated_at IS NULL OR EXISTS (SELECT 1 FROM bundle AS l
                WHERE l.tenant_id = c.tenant_id AND l.activated_at > c.activated_at))
              AND NOT EXISTS (SELECT 1 FROM dag AS d WHERE d.tenant_id = c.tenant_id AND d.bundle = c.digest)
              AND NOT EXISTS (SELECT 1 FROM dag_version AS v WHERE v.tenant_id = c.tenant_id AND v.bundle = c.digest)
              AND NOT EXISTS (SELECT 1 FROM run AS r WHERE r.tenant_id = c.tenant_id AND r.bundle = c.digest)
              AND NOT EXISTS (SELECT 1 FROM inbox AS i
                WHERE i.tenant_id = c.tenant_id AND i.kind = 'activate_bundle' AND i.taken_in_batch IS NULL
                  AND i.created_at - 86400000000 < ?1)
            LIMIT ?2)
          AND EXISTS (SELECT 1 FROM shard WHERE id = ?3 AND epoch = ?4) RETURNING digest",
        "DELETE FROM bundle AS b USING (
            SELECT c.tenant_id, c.digest FROM bundle AS c JOIN tenant AS t ON t.id = c.tenant_id
            WHERE t.shard_id = $3 AND coalesce(c.stored_at, c.created_at) < $1 AND coalesce(c.activated_at, 0) < $1
              AND (c.activated_at IS NULL OR EXISTS (SELECT 1 FROM bundle AS l
                WHERE l.tenant_id = c.tenant_id AND l.activated_at > c.activated_at))
              AND NOT EXISTS (SELECT 1 FROM dag AS d WHERE d.tenant_id = c.tenant_id AND d.bundle = c.digest)
              AND NOT EXISTS (SELECT 1 FROM dag_version AS v WHERE v.tenant_id = c.tenant_id AND v.bundle = c.digest)
              AND NOT EXISTS (SELECT 1 FROM run AS r WHERE r.tenant_id = c.tenant_id AND r.bundle = c.digest)
              AND NOT EXISTS (SELECT 1 FROM inbox AS i
                WHERE i.tenant_id = c.tenant_id AND i.kind = 'activate_bundle' AND i.taken_in_batch IS NULL
                  AND i.created_at - 86400000000 < $1)
            LIMIT $2) AS o
          WHERE b.tenant_id = o.tenant_id AND b.digest = o.digest
            AND coalesce(b.stored_at, b.created_at) < $1 AND coalesce(b.activated_at, 0) < $1
            AND EXISTS (SELECT 1 FROM shard WHERE id = $3 AND epoch = $4) RETURNING b.digest",
    );
    let backend = db.write().get_database_backend();
    let statement =
        Statement::from_sql_and_values(backend, db.pick(sql.0, sql.1), values(fence, before, limit));
    let deleted = db.write().query_all_raw(statement).await.doing(doing)?;
    let read = |row: &sea_orm::QueryResult| {
        let digest: String = row.try_get("", "digest").doing(doing)?;
        Ok(BundleId(digest.into()))
    };
    deleted.iter().map(read).collect()
}

/// Whether any tenant has this bundle.
pub async fn has_bundle(db: &Db, bundle: &BundleId) -> Result<bool, Error> {
    let sql = (
        "SELECT 1 AS one FROM bundle WHERE digest = ?1 LIMIT 1",
        "SELECT 1 AS one FROM bundle WHERE digest = $1 LIMIT 1",
    );
    Ok(!rows(db, "look for who has a bundle", sql, [bundle.to_string().into()]).await?.is_empty())
}
