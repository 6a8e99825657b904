//! Alerts that are new. One that is there has the same cause, and its delivery goes on.

use engine::rows::AlertRow;

use crate::{
    columns::{Both, Columns, Tx, int},
    journal::write::{Refused, any_number},
};

pub(super) const INSERT: Both = Both {
    doing: "insert alerts",
    postgres: "
        INSERT INTO alert (
            tenant_id, id, route, what, dag_id, run_id, run_name, task_id, map_index, try_number, reason, at,
            chain_depth, next_at
        ) SELECT * FROM unnest(
            $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::text[], $8::text[],
            $9::int4[], $10::int4[], $11::text[], $12::int8[], $13::int4[], $14::int8[]
        )
        ON CONFLICT DO NOTHING",
    sqlite: "
        INSERT INTO alert (
            tenant_id, id, route, what, dag_id, run_id, run_name, task_id, map_index, try_number, reason, at,
            chain_depth, next_at
        ) SELECT
            unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3, value ->> 4, unhex(value ->> 5),
            value ->> 6, value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12,
            value ->> 13
        FROM jsonb_each(?1) WHERE true
        ON CONFLICT DO NOTHING",
};

pub(super) async fn insert(tx: &mut Tx<'_>, rows: &[AlertRow]) -> Result<(), Refused> {
    let columns = Columns::of(rows)
        .uuid(|r| r.tenant.0)
        .uuid(|r| r.id.0)
        .free(|r| &r.route)
        .text(|r| r.what.as_str())
        .text(|r| r.dag_id.as_str())
        .uuid(|r| r.run.0)
        .text(|r| r.run_name.as_str())
        .text_or_null(|r| r.task.as_ref().map(|task| task.0.as_str()))
        .int_or_null(|r| r.task.as_ref().map(|task| task.1))
        .int_or_null(|r| r.task.as_ref().map(|task| int(task.2)))
        .free_or_null(|r| r.reason.as_deref())
        .long(|r| r.at.0)
        .int(|r| int(r.chain_depth))
        .long(|r| r.at.0);
    any_number(tx, &INSERT, columns).await
}
