//! What became of requests: outcome, audit row, and the bundles that were activated.

use engine::rows::{Batch, Fence};

use crate::{
    columns::{Both, Columns, Tx},
    journal::write::{Refused, exactly},
    rows::to_json,
    store::inbox::StoredOutcome,
};

/// A row that is gone was withdrawn by its caller, who told somebody that nothing would happen: then nothing may.
///
/// On PostgreSQL it writes the audit log and notes activations as well, and touches as many rows as it audits: somebody waits
/// for each journey to the database.
const TAKE: Both = Both {
    doing: "write the outcomes of requests (one that is gone was withdrawn meanwhile)",
    postgres: "
        WITH t AS (UPDATE inbox AS t SET taken_in_batch = n.batch, outcome = n.outcome
            FROM unnest($1::uuid[], $2::int8[], $3::int8[], $4::text[], $5::int8[], $6::bool[])
              AS n (shard_id, batch, id, outcome, now, done)
            WHERE t.id = n.id AND t.shard_id = n.shard_id AND t.taken_in_batch IS NULL
            RETURNING t.*, n.now, n.done),
        last AS (SELECT DISTINCT ON (tenant_id) tenant_id, now, payload FROM t
            WHERE done AND kind = 'activate_bundle' ORDER BY tenant_id, id DESC),
        activated AS (UPDATE bundle AS b SET activated_at = last.now FROM last
            WHERE b.tenant_id = last.tenant_id AND b.digest = last.payload::json ->> 'bundle')
        INSERT INTO audit (at, tenant_id, actor, kind, payload, outcome, shard_id, batch)
        SELECT t.now, t.tenant_id, t.actor, t.kind, t.payload,
            CASE WHEN t.kind = 'read_quotas' THEN '{\"format\":1,\"outcome\":{\"ok\":null}}' ELSE t.outcome END, t.shard_id, t.taken_in_batch
        FROM t ORDER BY t.id",
    sqlite: "
        UPDATE inbox AS t SET taken_in_batch = n.batch, outcome = n.outcome
        FROM (SELECT unhex(value ->> 0) AS shard_id, value ->> 1 AS batch, value ->> 2 AS id, value ->> 3 AS outcome
            FROM jsonb_each(?1)) AS n
        WHERE t.id = n.id AND t.shard_id = n.shard_id AND t.taken_in_batch IS NULL",
};

/// The audit log, on SQLite, from the rows of [`TAKE`]. What was read of quotas, here and there, is only for who asked: it may tell
/// of other tenants.
const AUDIT: &str = "
        INSERT INTO audit (at, tenant_id, actor, kind, payload, outcome, shard_id, batch)
        SELECT n.value ->> 4, i.tenant_id, i.actor, i.kind, i.payload,
            CASE WHEN i.kind = 'read_quotas' THEN '{\"format\":1,\"outcome\":{\"ok\":null}}' ELSE i.outcome END, i.shard_id, i.taken_in_batch
        FROM jsonb_each(?1) AS n JOIN inbox AS i ON i.id = n.value ->> 2 ORDER BY i.id";

/// When bundles were activated, on SQLite. Of several of a tenant in one batch it is the last one, here and in [`TAKE`]: the
/// others never were active, and no two of a tenant have the same instant.
const ACTIVATE: &str = "
        UPDATE bundle AS b SET activated_at = n.now
        FROM (SELECT e.value ->> 4 AS now, i.tenant_id AS tenant_id, i.payload ->> 'bundle' AS digest, max(i.id) AS id
            FROM jsonb_each(?1) AS e JOIN inbox AS i ON i.id = e.value ->> 2
            WHERE e.value ->> 5 AND i.kind = 'activate_bundle'
            GROUP BY i.tenant_id) AS n
        WHERE b.tenant_id = n.tenant_id AND b.digest = n.digest";

pub(super) async fn take(tx: &mut Tx<'_>, fence: Fence, batch: &Batch) -> Result<(), Refused> {
    let rows = &batch.inbox;
    let columns = || {
        Columns::of(rows)
            .uuid(|_| fence.shard.0)
            .long(|_| batch.number as i64)
            .long(|r| r.id)
            .made(|r| to_json(&StoredOutcome::from(&r.outcome)))
            .long(|_| batch.now.0)
            .bool(|r| r.outcome.is_ok())
    };
    exactly(tx, &TAKE, columns(), rows.len()).await?;
    let Tx::Sqlite(connection) = tx else { return Ok(()) };
    if rows.is_empty() {
        return Ok(());
    }
    let json = columns().to_json();
    let doing = "write the audit log";
    let audited = sqlx::query(AUDIT).bind(&json).execute(&mut **connection).await;
    let touched = audited.map_err(|source| Refused::Statement { doing, source })?.rows_affected();
    if touched != rows.len() as u64 {
        return Err(Refused::Count { doing, expected: rows.len(), touched });
    }
    let doing = "note when bundles were activated";
    let noted = sqlx::query(ACTIVATE).bind(&json).execute(&mut **connection).await;
    noted.map(drop).map_err(|source| Refused::Statement { doing, source })
}
