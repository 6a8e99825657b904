//! Work that is continued in later steps.

use engine::rows::{ContinuationRow, Fence};
use serde_json::Value;

use crate::{
    columns::{Both, Columns, Tx, int},
    journal::write::{Refused, any_number, exactly},
    rows::to_json,
};

pub(super) const UPSERT: Both = Both {
    doing: "write continuations",
    postgres: "
        INSERT INTO continuation (
            shard_id, id, format, work
        ) SELECT * FROM unnest(
            $1::uuid[], $2::int8[], $3::int4[], $4::text[]
        )
        ON CONFLICT (shard_id, id) DO UPDATE SET
            format = excluded.format, work = excluded.work",
    sqlite: "
        INSERT INTO continuation (
            shard_id, id, format, work
        ) SELECT
            unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3
        FROM jsonb_each(?1) WHERE true
        ON CONFLICT (shard_id, id) DO UPDATE SET
            format = excluded.format, work = excluded.work",
};

pub(super) const DELETE: Both = Both {
    doing: "delete continuations",
    postgres: "
        DELETE FROM continuation AS t USING unnest($1::uuid[], $2::int8[]) AS n (shard_id, id)
        WHERE t.shard_id = n.shard_id AND t.id = n.id",
    sqlite: "
        DELETE FROM continuation WHERE (shard_id, id) IN (SELECT unhex(value ->> 0), value ->> 1 FROM jsonb_each(?1))",
};

pub(super) async fn write(tx: &mut Tx<'_>, fence: Fence, rows: &[ContinuationRow]) -> Result<(), Refused> {
    let done: Vec<i64> = rows.iter().filter(|r| r.work.is_none()).map(|r| r.id).collect();
    let left: Vec<(i64, u32, &Value)> =
        rows.iter().filter_map(|r| Some((r.id, r.format, r.work.as_ref()?))).collect();
    any_number(tx, &DELETE, Columns::of(&done).uuid(|_| fence.shard.0).long(|id| *id)).await?;
    let columns =
        Columns::of(&left).uuid(|_| fence.shard.0).long(|r| r.0).int(|r| int(r.1)).made(|r| to_json(r.2));
    exactly(tx, &UPSERT, columns, left.len()).await
}
