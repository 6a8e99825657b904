//! Backfills.

use engine::rows::BackfillRow;

use crate::{
    columns::{Both, Columns, Tx, int},
    journal::write::{Refused, exactly},
    rows::{BACKFILL_FORMAT, to_json},
};

pub(super) const UPSERT: Both = Both {
    doing: "write backfills",
    postgres: "
        INSERT INTO backfill (
            tenant_id, id, dag_id, format, spec, paused, created_at, ended_at, next_date, made
        ) SELECT * FROM unnest(
            $1::uuid[], $2::int8[], $3::text[], $4::int4[], $5::text[], $6::bool[], $7::int8[], $8::int8[],
            $9::int8[], $10::int4[]
        )
        ON CONFLICT (tenant_id, id) DO UPDATE SET
            dag_id = excluded.dag_id, format = excluded.format, spec = excluded.spec, paused = excluded.paused,
            created_at = excluded.created_at, ended_at = excluded.ended_at, next_date = excluded.next_date,
            made = excluded.made",
    sqlite: "
        INSERT INTO backfill (
            tenant_id, id, dag_id, format, spec, paused, created_at, ended_at, next_date, made
        ) SELECT
            unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
            value ->> 7, value ->> 8, value ->> 9
        FROM jsonb_each(?1) WHERE true
        ON CONFLICT (tenant_id, id) DO UPDATE SET
            dag_id = excluded.dag_id, format = excluded.format, spec = excluded.spec, paused = excluded.paused,
            created_at = excluded.created_at, ended_at = excluded.ended_at, next_date = excluded.next_date,
            made = excluded.made",
};

pub(super) async fn upsert(tx: &mut Tx<'_>, rows: &[BackfillRow]) -> Result<(), Refused> {
    let columns = Columns::of(rows)
        .uuid(|r| r.tenant.0)
        .long(|r| r.id)
        .text(|r| r.spec.dag_id.as_str())
        .int(|_| BACKFILL_FORMAT)
        .made(|r| to_json(&*r.spec))
        .bool(|r| r.paused)
        .long(|r| r.created_at.0)
        .long_or_null(|r| r.ended_at.map(|t| t.0))
        .long_or_null(|r| r.next_date.map(|t| t.0))
        .int(|r| int(r.made));
    exactly(tx, &UPSERT, columns, rows.len()).await
}
