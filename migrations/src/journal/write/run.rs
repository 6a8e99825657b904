//! Runs: new, changed, deleted.

use engine::{
    rows::{Changed, RunRow},
    state::RunState,
};

use crate::{
    columns::{Both, Columns, Tx, int},
    journal::write::{Refused, exactly},
    rows::to_json,
};

pub(super) const INSERT: Both = Both {
    doing: "insert runs",
    postgres: "
        INSERT INTO run (
            tenant_id, run_id, dag_id, run_name, run_type, version, bundle, state, finished, logical_date,
            interval_start, interval_end, run_after, created_at, queued_at, started_at, ended_at, conf, reason,
            note, clear_number, created_tasks, backfill_id, backfill_place, triggered_by, chain_depth,
            assets_after, assets_until
        ) SELECT * FROM unnest(
            $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
            $9::bool[], $10::int8[], $11::int8[], $12::int8[], $13::int8[], $14::int8[], $15::int8[],
            $16::int8[], $17::int8[], $18::text[], $19::text[], $20::text[], $21::int4[], $22::int4[],
            $23::int8[], $24::int4[], $25::text[], $26::int4[], $27::int8[], $28::int8[]
        )",
    sqlite: "
        INSERT INTO run (
            tenant_id, run_id, dag_id, run_name, run_type, version, bundle, state, finished, logical_date,
            interval_start, interval_end, run_after, created_at, queued_at, started_at, ended_at, conf, reason,
            note, clear_number, created_tasks, backfill_id, backfill_place, triggered_by, chain_depth,
            assets_after, assets_until
        ) SELECT
            unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3, value ->> 4, value ->> 5,
            value ->> 6, value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12,
            value ->> 13, value ->> 14, value ->> 15, value ->> 16, value ->> 17, value ->> 18, value ->> 19,
            value ->> 20, value ->> 21, value ->> 22, value ->> 23, value ->> 24, value ->> 25, value ->> 26,
            value ->> 27
        FROM jsonb_each(?1)",
};

/// Everything but what makes a run what it is: DAG, name, logical date, data interval, window of events of assets, time of
/// creation and place in a chain.
pub(super) const UPDATE: Both = Both {
    doing: "update runs",
    postgres: "
        UPDATE run AS t SET
            run_type = n.run_type, version = n.version, bundle = n.bundle, state = n.state,
            finished = n.finished, run_after = n.run_after, queued_at = n.queued_at, started_at = n.started_at,
            ended_at = n.ended_at, conf = n.conf, reason = n.reason, note = n.note,
            clear_number = n.clear_number, created_tasks = n.created_tasks, backfill_id = n.backfill_id,
            backfill_place = n.backfill_place, triggered_by = n.triggered_by
        FROM unnest(
            $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bool[], $8::int8[],
            $9::int8[], $10::int8[], $11::int8[], $12::text[], $13::text[], $14::text[], $15::int4[],
            $16::int4[], $17::int8[], $18::int4[], $19::text[], $20::text[]
        ) AS n (
            tenant_id, run_id, run_type, version, bundle, state, finished, run_after, queued_at, started_at,
            ended_at, conf, reason, note, clear_number, created_tasks, backfill_id, backfill_place,
            triggered_by, before
        )
        WHERE t.tenant_id = n.tenant_id AND t.run_id = n.run_id
          AND t.state = n.before",
    sqlite: "
        UPDATE run AS t SET
            run_type = n.run_type, version = n.version, bundle = n.bundle, state = n.state,
            finished = n.finished, run_after = n.run_after, queued_at = n.queued_at, started_at = n.started_at,
            ended_at = n.ended_at, conf = n.conf, reason = n.reason, note = n.note,
            clear_number = n.clear_number, created_tasks = n.created_tasks, backfill_id = n.backfill_id,
            backfill_place = n.backfill_place, triggered_by = n.triggered_by
        FROM (SELECT
            unhex(value ->> 0) AS tenant_id, unhex(value ->> 1) AS run_id, value ->> 2 AS run_type,
            value ->> 3 AS version, value ->> 4 AS bundle, value ->> 5 AS state, value ->> 6 AS finished,
            value ->> 7 AS run_after, value ->> 8 AS queued_at, value ->> 9 AS started_at,
            value ->> 10 AS ended_at, value ->> 11 AS conf, value ->> 12 AS reason, value ->> 13 AS note,
            value ->> 14 AS clear_number, value ->> 15 AS created_tasks, value ->> 16 AS backfill_id,
            value ->> 17 AS backfill_place, value ->> 18 AS triggered_by, value ->> 19 AS before
        FROM jsonb_each(?1)) AS n
        WHERE t.tenant_id = n.tenant_id AND t.run_id = n.run_id
          AND t.state = n.before",
};

pub(super) async fn insert(tx: &mut Tx<'_>, rows: &[RunRow]) -> Result<(), Refused> {
    let columns = Columns::of(rows)
        .uuid(|r| r.tenant.0)
        .uuid(|r| r.run.0)
        .text(|r| r.dag_id.as_str())
        .text(|r| r.run_name.as_str())
        .text(|r| r.run_type.as_str())
        .text(|r| &r.version.0)
        .text(|r| &r.bundle.0)
        .text(|r| r.state.as_str())
        .bool(|r| r.state.is_finished())
        .long_or_null(|r| r.logical_date.map(|t| t.0))
        .long_or_null(|r| r.interval.map(|i| i.0.0))
        .long_or_null(|r| r.interval.map(|i| i.1.0))
        .long(|r| r.run_after.0)
        .long(|r| r.created_at.0)
        .long(|r| r.queued_at.0)
        .long_or_null(|r| r.started_at.map(|t| t.0))
        .long_or_null(|r| r.ended_at.map(|t| t.0))
        .made(|r| to_json(&*r.conf))
        .free_or_null(|r| r.reason.as_deref())
        .free_or_null(|r| r.note.as_deref())
        .int(|r| int(r.clear_number))
        .int(|r| int(r.created_tasks))
        .long_or_null(|r| r.backfill.map(|b| b.0))
        .int_or_null(|r| r.backfill.map(|b| int(b.1)))
        .free_or_null(|r| r.triggered_by.as_deref())
        .int(|r| int(r.chain_depth))
        .long_or_null(|r| r.asset_window.map(|window| window.0.0))
        .long_or_null(|r| r.asset_window.map(|window| window.1.0));
    exactly(tx, &INSERT, columns, rows.len()).await
}

pub(super) async fn update(tx: &mut Tx<'_>, rows: &[Changed<RunState, RunRow>]) -> Result<(), Refused> {
    let columns = Columns::of(rows)
        .uuid(|r| r.row.tenant.0)
        .uuid(|r| r.row.run.0)
        .text(|r| r.row.run_type.as_str())
        .text(|r| &r.row.version.0)
        .text(|r| &r.row.bundle.0)
        .text(|r| r.row.state.as_str())
        .bool(|r| r.row.state.is_finished())
        .long(|r| r.row.run_after.0)
        .long(|r| r.row.queued_at.0)
        .long_or_null(|r| r.row.started_at.map(|t| t.0))
        .long_or_null(|r| r.row.ended_at.map(|t| t.0))
        .made(|r| to_json(&*r.row.conf))
        .free_or_null(|r| r.row.reason.as_deref())
        .free_or_null(|r| r.row.note.as_deref())
        .int(|r| int(r.row.clear_number))
        .int(|r| int(r.row.created_tasks))
        .long_or_null(|r| r.row.backfill.map(|b| b.0))
        .int_or_null(|r| r.row.backfill.map(|b| int(b.1)))
        .free_or_null(|r| r.row.triggered_by.as_deref())
        .text(|r| r.before.as_str());
    exactly(tx, &UPDATE, columns, rows.len()).await
}
