//! What became of requests: outcome, audit row, and the bundles that were activated.

use engine::rows::{Batch, Fence};

use crate::{
    columns::{Both, Columns, Tx},
    journal::write::{Refused, any_number, exactly},
    rows::to_json,
    store::inbox::StoredOutcome,
};

/// A row that is gone was withdrawn by its caller, who told somebody that nothing would happen: then nothing may.
const TAKE: Both = Both {
    doing: "write the outcomes of requests (one that is gone was withdrawn meanwhile)",
    postgres: "
        UPDATE inbox AS t SET taken_in_batch = n.batch, outcome = n.outcome
        FROM unnest($1::uuid[], $2::int8[], $3::int8[], $4::text[]) AS n (shard_id, batch, id, outcome)
        WHERE t.id = n.id AND t.shard_id = n.shard_id AND t.taken_in_batch IS NULL",
    sqlite: "
        UPDATE inbox AS t SET taken_in_batch = n.batch, outcome = n.outcome
        FROM (SELECT unhex(value ->> 0) AS shard_id, value ->> 1 AS batch, value ->> 2 AS id, value ->> 3 AS outcome
            FROM jsonb_each(?1)) AS n
        WHERE t.id = n.id AND t.shard_id = n.shard_id AND t.taken_in_batch IS NULL",
};

const AUDIT: Both = Both {
    doing: "write the audit log",
    postgres: "
        INSERT INTO audit (at, tenant_id, actor, kind, payload, outcome, shard_id, batch)
        SELECT n.now, i.tenant_id, i.actor, i.kind, i.payload, i.outcome, i.shard_id, i.taken_in_batch
        FROM unnest($1::int8[], $2::int8[]) AS n (id, now) JOIN inbox AS i ON i.id = n.id ORDER BY i.id",
    sqlite: "
        INSERT INTO audit (at, tenant_id, actor, kind, payload, outcome, shard_id, batch)
        SELECT n.value ->> 1, i.tenant_id, i.actor, i.kind, i.payload, i.outcome, i.shard_id, i.taken_in_batch
        FROM jsonb_each(?1) AS n JOIN inbox AS i ON i.id = n.value ->> 0 ORDER BY i.id",
};

const ACTIVATE: Both = Both {
    doing: "note when bundles were activated",
    postgres: "
        UPDATE bundle AS b SET activated_at = n.now
        FROM unnest($1::int8[], $2::int8[]) AS n (id, now) JOIN inbox AS i ON i.id = n.id
        WHERE i.kind = 'activate_bundle' AND b.tenant_id = i.tenant_id AND b.digest = i.payload::json ->> 'bundle'",
    sqlite: "
        UPDATE bundle AS b SET activated_at = n.now
        FROM (SELECT e.value ->> 1 AS now, i.tenant_id AS tenant_id, i.payload ->> 'bundle' AS digest
            FROM jsonb_each(?1) AS e JOIN inbox AS i ON i.id = e.value ->> 0 WHERE i.kind = 'activate_bundle') AS n
        WHERE b.tenant_id = n.tenant_id AND b.digest = n.digest",
};

pub(super) async fn take(tx: &mut Tx<'_>, fence: Fence, batch: &Batch) -> Result<(), Refused> {
    let rows = &batch.inbox;
    let columns = Columns::of(rows)
        .uuid(|_| fence.shard.0)
        .long(|_| batch.number as i64)
        .long(|r| r.id)
        .made(|r| to_json(&StoredOutcome::from(&r.outcome)));
    exactly(tx, &TAKE, columns, rows.len()).await?;
    exactly(tx, &AUDIT, Columns::of(rows).long(|r| r.id).long(|_| batch.now.0), rows.len()).await?;
    let done: Vec<i64> = rows.iter().filter(|r| r.outcome.is_ok()).map(|r| r.id).collect();
    any_number(tx, &ACTIVATE, Columns::of(&done).long(|id| *id).long(|_| batch.now.0)).await
}
