//! What the engine keeps about DAGs.

use engine::rows::DagRow;

use crate::{
    columns::{Both, Columns, Tx, int},
    journal::write::{Refused, exactly},
    rows::to_json,
};

pub(super) const UPSERT: Both = Both {
    doing: "write DAGs",
    postgres: "
        INSERT INTO dag (
            tenant_id, dag_id, version, bundle, paused, stale, cursor_run_after, cursor_logical_date,
            cursor_start, cursor_end, next_run_after, next_logical_date, next_start, next_end,
            reserved, listening_since, failed_in_row
        ) SELECT * FROM unnest(
            $1::uuid[], $2::text[], $3::text[], $4::text[], $5::bool[], $6::bool[], $7::int8[], $8::int8[],
            $9::int8[], $10::int8[], $11::int8[], $12::int8[], $13::int8[], $14::int8[], $15::text[],
            $16::int8[], $17::int4[]
        )
        ON CONFLICT (tenant_id, dag_id) DO UPDATE SET
            version = excluded.version, bundle = excluded.bundle, paused = excluded.paused,
            stale = excluded.stale, cursor_run_after = excluded.cursor_run_after,
            cursor_logical_date = excluded.cursor_logical_date, cursor_start = excluded.cursor_start,
            cursor_end = excluded.cursor_end, next_run_after = excluded.next_run_after,
            next_logical_date = excluded.next_logical_date, next_start = excluded.next_start,
            next_end = excluded.next_end, reserved = excluded.reserved,
            listening_since = excluded.listening_since, failed_in_row = excluded.failed_in_row",
    sqlite: "
        INSERT INTO dag (
            tenant_id, dag_id, version, bundle, paused, stale, cursor_run_after, cursor_logical_date,
            cursor_start, cursor_end, next_run_after, next_logical_date, next_start, next_end,
            reserved, listening_since, failed_in_row
        ) SELECT
            unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
            value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13,
            value ->> 14, value ->> 15, value ->> 16
        FROM jsonb_each(?1) WHERE true
        ON CONFLICT (tenant_id, dag_id) DO UPDATE SET
            version = excluded.version, bundle = excluded.bundle, paused = excluded.paused,
            stale = excluded.stale, cursor_run_after = excluded.cursor_run_after,
            cursor_logical_date = excluded.cursor_logical_date, cursor_start = excluded.cursor_start,
            cursor_end = excluded.cursor_end, next_run_after = excluded.next_run_after,
            next_logical_date = excluded.next_logical_date, next_start = excluded.next_start,
            next_end = excluded.next_end, reserved = excluded.reserved,
            listening_since = excluded.listening_since, failed_in_row = excluded.failed_in_row",
};

pub(super) async fn upsert(tx: &mut Tx<'_>, rows: &[DagRow]) -> Result<(), Refused> {
    let columns = Columns::of(rows)
        .uuid(|r| r.tenant.0)
        .text(|r| r.dag_id.as_str())
        .text(|r| &r.version.0)
        .text(|r| &r.bundle.0)
        .bool(|r| r.paused)
        .bool(|r| r.stale)
        .long_or_null(|r| r.cursor.map(|c| c.run_after.0))
        .long_or_null(|r| r.cursor.and_then(|c| c.logical_date).map(|t| t.0))
        .long_or_null(|r| r.cursor.and_then(|c| c.interval).map(|i| i.0.0))
        .long_or_null(|r| r.cursor.and_then(|c| c.interval).map(|i| i.1.0))
        .long_or_null(|r| r.next.map(|c| c.run_after.0))
        .long_or_null(|r| r.next.and_then(|c| c.logical_date).map(|t| t.0))
        .long_or_null(|r| r.next.and_then(|c| c.interval).map(|i| i.0.0))
        .long_or_null(|r| r.next.and_then(|c| c.interval).map(|i| i.1.0))
        .made_or_null(|r| (!r.reserved.is_empty()).then(|| to_json(&r.reserved)))
        .long_or_null(|r| r.listening_since.map(|t| t.0))
        .int(|r| int(r.failed_in_row));
    exactly(tx, &UPSERT, columns, rows.len()).await
}
