//! The log of transitions.

use engine::rows::{EventRow, Fence};

use crate::{
    columns::{Both, Columns, Tx},
    journal::write::{Refused, exactly, numbered},
    rows::{EVENT_FORMAT, to_json},
};

pub(super) const INSERT: Both = Both {
    doing: "append events",
    postgres: "
        INSERT INTO event (
            shard_id, batch, n, tenant_id, run_id, dag_id, at, format, body
        ) SELECT * FROM unnest(
            $1::uuid[], $2::int8[], $3::int4[], $4::uuid[], $5::uuid[], $6::text[], $7::int8[], $8::int4[],
            $9::text[]
        )",
    sqlite: "
        INSERT INTO event (
            shard_id, batch, n, tenant_id, run_id, dag_id, at, format, body
        ) SELECT
            unhex(value ->> 0), value ->> 1, value ->> 2, unhex(value ->> 3), unhex(value ->> 4), value ->> 5,
            value ->> 6, value ->> 7, value ->> 8
        FROM jsonb_each(?1)",
};

pub(super) async fn insert(
    tx: &mut Tx<'_>,
    fence: Fence,
    batch: u64,
    rows: &[EventRow],
) -> Result<(), Refused> {
    let rows = numbered(rows);
    let columns = Columns::of(&rows)
        .uuid(|_| fence.shard.0)
        .long(|_| batch as i64)
        .int(|r| r.0)
        .uuid(|r| r.1.tenant.0)
        .uuid(|r| r.1.run.0)
        .text(|r| r.1.dag_id.as_str())
        .long(|r| r.1.at.0)
        .int(|_| EVENT_FORMAT)
        .made(|r| to_json(&r.1.transitions));
    exactly(tx, &INSERT, columns, rows.len()).await
}
