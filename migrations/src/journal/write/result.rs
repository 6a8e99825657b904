//! What attempts returned: the newest of each task instance.

use engine::{dispatch::ResultRef, rows::ResultRow};

use crate::{
    columns::{Both, Columns, Tx},
    journal::write::{Refused, exactly},
    rows::to_json,
};

pub(super) const UPSERT: Both = Both {
    doing: "write results",
    postgres: "
        INSERT INTO result (
            tenant_id, run_id, task_id, map_index, attempt_id, value, digest, bytes
        ) SELECT * FROM unnest(
            $1::uuid[], $2::uuid[], $3::text[], $4::int4[], $5::uuid[], $6::text[], $7::text[], $8::int8[]
        )
        ON CONFLICT (tenant_id, run_id, task_id, map_index) DO UPDATE SET
            attempt_id = excluded.attempt_id, value = excluded.value, digest = excluded.digest,
            bytes = excluded.bytes",
    sqlite: "
        INSERT INTO result (
            tenant_id, run_id, task_id, map_index, attempt_id, value, digest, bytes
        ) SELECT
            unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3, unhex(value ->> 4), value ->> 5,
            value ->> 6, value ->> 7
        FROM jsonb_each(?1) WHERE true
        ON CONFLICT (tenant_id, run_id, task_id, map_index) DO UPDATE SET
            attempt_id = excluded.attempt_id, value = excluded.value, digest = excluded.digest,
            bytes = excluded.bytes",
};

pub(super) async fn upsert(tx: &mut Tx<'_>, rows: &[ResultRow]) -> Result<(), Refused> {
    let columns = Columns::of(rows)
        .uuid(|r| r.tenant.0)
        .uuid(|r| r.run.0)
        .text(|r| r.task.as_str())
        .int(|r| r.map_index)
        .uuid(|r| r.attempt.0)
        .made_or_null(|r| inline(&r.value))
        .text_or_null(|r| match &r.value {
            ResultRef::Inline(_) => None,
            ResultRef::Stored { digest, .. } => Some(digest.as_str()),
        })
        .long(|r| match &r.value {
            ResultRef::Inline(value) => to_json(value).len() as i64,
            ResultRef::Stored { bytes, .. } => *bytes as i64,
        });
    exactly(tx, &UPSERT, columns, rows.len()).await
}

fn inline(value: &ResultRef) -> Option<String> {
    match value {
        ResultRef::Inline(value) => Some(to_json(value)),
        ResultRef::Stored { .. } => None,
    }
}
